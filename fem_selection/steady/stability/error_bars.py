# SPDX-License-Identifier: MIT
"""Error bars of eigenvalues from the spectra on other meshes, matched by their eigenfunctions.

Let λ_h belong to the eigenfunction v_h.  On another mesh its counterparts are those eigenvalues μ_j whose
eigenfunctions u_j make up v_h: v_h is interpolated on that mesh and expanded there, I v_h = Σ_j c_j u_j + rest, and j
counts if |c_j| is at least 0.3 of the largest.  If the rest is larger than half of I v_h, the eigenvalue has no
counterpart and its bar is infinite.  The difference to a mesh is the largest |λ_h − μ_j| that counts.

If the error falls by a factor ρ from mesh to mesh, the difference d between neighbours is the part 1 − 1/ρ of the
error.  So the distance to the next mesh *is no bound*: at order one it is half of the error, at order two three
quarters.  With three meshes ρ is observed, and it is trusted between 3/2 and 4 only:

    meshes h, h/2, h/4:   bar = 5/4 (max(|λ_h − λ_{h/2}|, |λ_h − λ_{h/4}|) + |λ_{h/2} − λ_{h/4}| / (ρ − 1))
    meshes 2h, h, h/2:    bar = 5/4 max(|λ_h − λ_{h/2}| ρ / (ρ − 1), |λ_h − λ_{2h}| / (ρ' − 1))
    meshes h, h/2:        bar = 5/4 · 2 |λ_h − λ_{h/2}|, that of order one

ρ' is the median ratio of all eigenvalues: a difference that is small by chance, as where a mesh cuts the jump of a
kernel now here, now there, shows no high order.  In all three, what round-off may do to λ_h is added.  The bars are
estimates: they hold if the errors fall at least as ρ says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.discretization.spaces import StateSpace
from fem_selection.discretization.transfer import interpolate_block
from fem_selection.steady.stability.spectrum import Spectrum
from fem_selection.typing import Complexes, Floats

__all__ = ["ErrorBars", "estimate_error_bars", "match_eigenvalues"]

SAFETY = 1.25
_RATIOS = (1.5, 4.0)  # of the errors on neighbouring meshes: what is trusted
_UNKNOWN_RATIO = 2.0
_COUNTS = 0.3  # of the largest coefficient
_REST = 0.5  # of the eigenfunction: the largest part that is not explained
_ROUND_OFF = 1e-14  # of ‖A‖: no eigenvalue is known better


@dataclass(frozen=True, kw_only=True, eq=False)
class ErrorBars:
    """Estimates of |λ_h − λ| for the leading eigenvalues.

    Attributes:
        values: The bars, shape (k,); infinite if an eigenvalue has no counterpart on another mesh.
        ratios: How often larger the error is than on a mesh of half the size, as observed; nan if it is not known.
        nodes: Numbers of nodes of the meshes, from coarse to fine.
        unstable_on_finer_space: Number of eigenvalues that grow on the mesh that is next in fineness.
    """

    values: Floats
    ratios: Floats
    nodes: tuple[int, ...]
    unstable_on_finer_space: int

    @property
    def sentence(self) -> str:
        """Which meshes were compared, and which order was observed."""
        meshes = f"meshes of {' and '.join(map(str, self.nodes))} nodes, matched by eigenfunctions"
        with np.errstate(divide="ignore", invalid="ignore"):
            orders = np.log2(self.ratios)
        orders = orders[np.isfinite(orders)]
        if not orders.size:
            return f"{meshes}; no order is observed, and one is assumed"
        return f"{meshes}; errors fall by the orders {orders.min():.1f} to {orders.max():.1f} from mesh to mesh"


def estimate_error_bars(
    spectrum: Spectrum,
    space: StateSpace,
    finer: tuple[Spectrum, StateSpace],
    *,
    third: tuple[Spectrum, StateSpace] | None = None,
) -> ErrorBars:
    """Estimate the errors of the leading eigenvalues (collective over space).

    Args:
        spectrum: The spectrum whose eigenvalues are assessed.
        space: Its space.
        finer: The spectrum on the next finer space; it should select more eigenvalues than `spectrum`.
        third: That on a space finer still, or coarser than `space`, or None.
    """
    floor = spectrum.uncertainties[list(spectrum.shown)] + _ROUND_OFF * spectrum.norm
    near, partners = match_eigenvalues(spectrum, space, finer)
    bars = near * _UNKNOWN_RATIO / (_UNKNOWN_RATIO - 1)
    ratios = np.full(len(near), np.nan)
    if third is not None:
        far, others = match_eigenvalues(spectrum, space, third)
        is_finest = third[0].num_nodes > finer[0].num_nodes
        known = np.isfinite(near) & np.isfinite(far)
        step = np.abs(partners - others)
        with np.errstate(divide="ignore", invalid="ignore"):
            seen = near / step if is_finest else far / near
        ratios = np.where(known & (np.minimum(near, far) > 10 * floor), seen, np.nan)
        trusted = np.clip(np.where(np.isnan(seen), _UNKNOWN_RATIO, seen), *_RATIOS)
        with np.errstate(invalid="ignore"):
            if is_finest:
                found = np.maximum(near, far) + step / (trusted - 1)
            else:
                observed = ratios[np.isfinite(ratios)]
                usual = max(float(np.median(observed)), _RATIOS[0]) if observed.size else np.nan
                found = np.fmax(near * trusted / (trusted - 1), far / (usual - 1))
        bars = np.where(known, found, bars)
    return ErrorBars(
        values=SAFETY * bars + floor,
        ratios=ratios,
        nodes=tuple(sorted(s.num_nodes for s in (spectrum, finer[0], *([] if third is None else [third[0]])))),
        unstable_on_finer_space=finer[0].num_growing,
    )


def match_eigenvalues(
    spectrum: Spectrum, space: StateSpace, other: tuple[Spectrum, StateSpace]
) -> tuple[Floats, Complexes]:
    """Find the leading eigenvalues again on another space, by their eigenfunctions (collective over space).

    Args:
        spectrum: The spectrum.
        space: Its space.
        other: Another spectrum and its space.

    Returns:
        The largest distance of each eigenvalue to its counterparts, infinite if there is none, and the counterpart
        whose eigenfunction is most like its own, nan if there is none.
    """
    there, target = other
    values, modes = spectrum.leading, spectrum.modes
    k = len(values)
    distances, partners = np.full(k, np.inf), np.full(k, np.nan, complex)
    if not k or not there.modes.shape[1]:
        return distances, partners
    parts = np.asfortranarray(np.hstack([modes.real, modes.imag]))
    moved = interpolate_block(space, parts, target)
    moved = moved[:, :k] + 1j * moved[:, k:]
    gram, right, squares = _products(target, there.modes, moved)
    coefficients = np.linalg.pinv(gram, rcond=1e-10, hermitian=True) @ right
    explained = np.einsum("jk,jk->k", coefficients.conj(), right).real
    found = np.flatnonzero(squares - explained <= _REST**2 * squares)
    for n in found.tolist():
        sizes = np.abs(coefficients[:, n])
        counts = sizes >= _COUNTS * sizes.max()
        distances[n] = np.max(np.abs(there.leading[counts] - values[n]))
        partners[n] = there.leading[np.argmax(sizes)]
    return distances, partners


def _products(space: StateSpace, modes: Complexes, moved: np.ndarray) -> tuple[Complexes, Complexes, Floats]:
    """U* U, U* V and |v_n|² in L² (collective)."""
    both = np.hstack([modes, moved])
    weighted = space.apply_mass(np.asfortranarray(both.real)) + 1j * space.apply_mass(np.asfortranarray(both.imag))
    products = np.asarray(space.comm.allreduce(both.conj().T @ weighted))
    m = modes.shape[1]
    return products[:m, :m], products[:m, m:], np.diag(products)[m:].real
