# SPDX-License-Identifier: MIT
"""The spectrum of the linearization A = Π σ'(g*) K at a state f*: eigenvalues, their error, the kernel of A.

    ∂_t v = A v,   g* = K f* + b

*Numerically finite rank* (smooth and separable kernels, and dense ones on few nodes): A = U S V* to round-off
(`factors`).  The nonzero eigenvalues are those of the small matrix S V*U, all of them; those of largest real part are
found by Krylov–Schur as well, and the difference is kept.  0 is semisimple if rank A² = rank A, that is, if no vector
of range A lies in ker A: the cosines between the two spaces range A and (ker A)^⊥, the singular values of V*U, stay
above a tolerance.  *Local parts*: all eigenvalues of the balanced nodal matrix (`balanced`); on many nodes,
Krylov–Schur alone, of the resolvent if need be.

Of a compact K the eigenvalues accumulate at 0, so that those that do not grow are shown by their modulus; with a local
part the largest real parts are those that matter.

An eigenvalue is only as certain as its condition κ allows: λ may be off by κ ε ‖A‖, ε being the tolerance of the
factors.  Of a nilpotent A the computed eigenvalues are that noise, and count as zero.  Krylov–Schur's are found once
more of A + E, E of rank one and 3·10⁻¹⁰ ‖A‖, which moves a λ by about κ ‖E‖ / N, and one that is no eigenvalue at all,
but a number for which ‖(A − λ)⁻¹‖ is beyond 1/‖E‖, to anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg

from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.field import Linearization, SelectionField
from fem_selection.dynamics.resolvent import has_local_part, resolvents_of
from fem_selection.errors import NonFinite, NotConverged
from fem_selection.linalg.balanced import balanced_spectrum, count_above
from fem_selection.linalg.factors import MAX_RANK, Factors, factorize
from fem_selection.linalg.krylov import Resolvents, by_real_part, leading_eigenpairs, normalize_modes, residual_norms
from fem_selection.linalg.operators import Disturbed, Operator, products
from fem_selection.settings import StabilitySettings
from fem_selection.steady.stability.regularity import count_kinks, flat_share
from fem_selection.typing import Block, Complexes, Floats

__all__ = ["Spectrum", "analyze_spectrum", "spectrum_of_operator"]

_WITNESS_RESTARTS = 60
_DISTURBANCE = 3e-10  # of ‖A‖: some thirty times what Krylov–Schur's residuals may be
_NOISE = 1e-6  # of ‖A‖: where eigenvalues of a balanced matrix are less certain, none of them counts as zero
_LARGEST_MATRIX = 1024  # nodes: a few seconds

COSINE = 1e-8
"""Cosines between range A and (ker A)^⊥ below this count as zero."""


@dataclass(frozen=True)
class Spectrum:
    """What was found of the spectrum of A.

    Attributes:
        values: Eigenvalues that differ from zero, by decreasing real part: all of them if `is_complete`, else those of
            largest real part (among which 0 may be).
        modes: Their eigenfunctions of unit L² norm, complex, shape (num_local, k); of the first `number` only.
        shown: Which of `values` the modes belong to.
        residuals: ‖A v − λ v‖ of these.
        uncertainties: By how much round-off may move each of `values`: κ ε ‖A‖, or what was seen at a disturbed A.
        norm: ‖A‖ in L².
        num_nodes: N.
        rank: Number of singular values above `tolerance` ‖A‖; None if that is too many to find.
        rank_of_square: The same of A².
        tolerance: What is zero, relative to ‖A‖.
        krylov_schur: Eigenvalues of largest real part by Krylov–Schur; empty if it does not converge.
        slope_range: Smallest and largest |σ'(g*)|.
        factors: A = U S V*, if it has numerically finite rank.
        method: "factors", "balanced matrix" or "Krylov–Schur", which finds the leading eigenvalues alone.
        flat: Share of the nodes at which g* is a multiple zero of σ: σ' would vanish there, were f* exact.
        kinks: Points at which σ' jumps at the value that g* has there, up to a part 10⁻⁸ of 1 + max |g*|.
    """

    values: Complexes
    modes: Complexes
    shown: tuple[int, ...]
    residuals: Floats
    uncertainties: Floats
    norm: float
    num_nodes: int
    rank: int | None
    rank_of_square: int | None
    tolerance: float
    krylov_schur: Complexes
    slope_range: tuple[float, float]
    factors: Factors | None
    method: str
    kinks: int = 0
    flat: float = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether all eigenvalues that differ from zero are known."""
        return self.method != "Krylov–Schur"

    @property
    def leading(self) -> Complexes:
        """The eigenvalues that have modes: those that grow, then by modulus, or by real part with a local kernel."""
        return self.values[list(self.shown)]

    @property
    def num_growing(self) -> int:
        """How many of the known eigenvalues have a positive real part, beyond tolerance and uncertainty."""
        return int(np.sum(self.values.real > np.maximum(self.tolerance * self.norm, self.uncertainties)))

    @property
    def krylov_schur_difference(self) -> float:
        """Distance of the two routes to the largest real part, 0 included where A has a kernel; relative to ‖A‖.

        0 where there is but one route.
        """
        if not self.is_complete or not self.krylov_schur.size:
            return 0.0
        known = float(self.values[0].real) if self.values.size else 0.0
        if self.rank is None or self.rank < self.num_nodes:
            known = max(known, 0.0)
        return abs(known - float(self.krylov_schur[0].real)) / self.norm


def analyze_spectrum(
    field: SelectionField,
    f: Block,
    number: int = StabilitySettings.number,
    *,
    tolerance: float = StabilitySettings.tolerance,
    max_rank: int = MAX_RANK,
) -> Spectrum:
    """The spectrum of the linearization at one state (collective over space).

    Args:
        field: The right-hand side.
        f: The state f*, shape (num_local, 1).
        number: Eigenvalues with modes.
        tolerance: What counts as zero, relative to ‖A‖.
        max_rank: Largest rank that is factorized.

    Raises:
        NonFinite: if σ' is not finite there.
    """
    linearization: Linearization = field.linearize(f)
    space, slope = field.space, np.abs(linearization.slope)
    lowest = float(np.min(slope, initial=np.inf))
    highest = float(np.max(slope, initial=0.0))
    bounds = space.comm.allgather((lowest, highest if np.all(np.isfinite(slope)) else np.inf))
    low, high = min(b[0] for b in bounds), max(b[1] for b in bounds)
    if not np.isfinite(high):
        raise NonFinite("the derivative of the activation at the state")
    found = spectrum_of_operator(
        space, linearization, (low, high), number=number, tolerance=tolerance, max_rank=max_rank
    )
    flat = flat_share(linearization)
    slope_range = (0.0 if flat > 0 else low, high)
    return replace(found, kinks=count_kinks(linearization, high), flat=flat, slope_range=slope_range)


def spectrum_of_operator(
    space: StateSpace,
    operator: Operator,
    slope_range: tuple[float, float],
    *,
    number: int = StabilitySettings.number,
    tolerance: float = StabilitySettings.tolerance,
    max_rank: int = MAX_RANK,
) -> Spectrum:
    """The same of any operator on V_h (collective over space)."""
    factors = factorize(space, operator, max_rank=max_rank)
    local = operator if isinstance(operator, Linearization) else None
    is_local = local is not None and has_local_part(local.field.kernel, local.field.interval)
    norm, krylov = factors.norm, np.zeros(0, complex)
    if is_local and space.num_nodes <= max(max_rank, _LARGEST_MATRIX):
        method, balanced = "balanced matrix", balanced_spectrum(space, operator, tolerance, cosine=COSINE)
        values, uncertainties = balanced.values, balanced.uncertainties
        ranks = (balanced.rank, balanced.rank_of_square)
        # where strong convection makes all uncertain, nothing is called zero for that, and a verdict is withheld
        noise = np.where(uncertainties <= _NOISE * norm, uncertainties, 0.0)
    elif factors.is_complete:
        method, (values, vectors, uncertainties) = "factors", _small_eigenpairs(space, factors)
        rank = factors.rank(tolerance)
        ranks = (rank, _rank_of_square(space, factors, rank))
        krylov, noise = _witness(space, operator, norm), uncertainties
    else:
        return _leading(space, operator, slope_range, number, tolerance, norm, local)
    differs = np.flatnonzero(np.abs(values) > np.maximum(tolerance * norm, noise))
    values, uncertainties = values[differs], uncertainties[differs]
    shown = _choose(values, number, tolerance * norm, by_modulus=not is_local)
    chosen = values[list(shown)]
    modes = factors.left @ vectors[:, differs[list(shown)]] if method == "factors" else balanced.modes(space, chosen)
    modes = normalize_modes(space, modes)
    residuals = residual_norms(space, operator, chosen, modes=modes)
    return Spectrum(
        values=values,
        modes=modes,
        shown=shown,
        residuals=residuals,
        uncertainties=uncertainties,
        norm=norm,
        num_nodes=space.num_nodes,
        rank=ranks[0],
        rank_of_square=ranks[1],
        tolerance=tolerance,
        krylov_schur=krylov,
        slope_range=slope_range,
        factors=factors if factors.is_complete else None,
        method=method,
    )


def _leading(
    space: StateSpace,
    operator: Operator,
    slope_range: tuple[float, float],
    number: int,
    tolerance: float,
    norm: float,
    local: Linearization | None,
) -> Spectrum:
    """The eigenvalues of largest real part alone, and how far a small disturbance of A moves them."""
    found = leading_eigenpairs(space, operator, number, norm=norm, resolvents=_resolvents(local, operator))
    disturbed = Disturbed(space, operator, _DISTURBANCE * norm)
    try:
        other = leading_eigenpairs(space, disturbed, number, norm=norm, resolvents=_resolvents(local, disturbed)).values
        moved = np.array([np.min(np.abs(other - value)) for value in found.values])
    except NotConverged:
        moved = np.full(len(found.values), np.inf)
    shown = tuple(range(len(found.values)))
    return Spectrum(
        values=found.values,
        modes=found.modes,
        shown=shown,
        residuals=found.residuals,
        uncertainties=moved,
        norm=norm,
        num_nodes=space.num_nodes,
        rank=None,
        rank_of_square=None,
        tolerance=tolerance,
        krylov_schur=found.values,
        slope_range=slope_range,
        factors=None,
        method="Krylov–Schur",
    )


def _resolvents(local: Linearization | None, operator: Operator) -> Resolvents | None:
    """The resolvents of an operator that is the linearization or near it."""
    return None if local is None else resolvents_of(local, operator)


def _witness(space: StateSpace, operator: Operator, norm: float) -> Complexes:
    """The eigenvalues of largest real part by Krylov–Schur; none where it does not converge, as about Volterra's 0."""
    try:
        return leading_eigenpairs(space, operator, 2, norm=norm, max_restarts=_WITNESS_RESTARTS).values
    except NotConverged:
        return np.zeros(0, complex)


def _small_eigenpairs(space: StateSpace, factors: Factors) -> tuple[Complexes, Complexes, Floats]:
    """Eigenvalues of S V*U, eigenvectors x (of A: U x), and κ ε ‖A‖.

    With y the left eigenvector, that of A is V S y, and κ = ‖x‖ ‖S y‖ / (|λ| |y* x|).
    """
    if not factors.values.size:
        return np.zeros(0, complex), np.zeros((0, 0), complex), np.zeros(0)
    small = factors.values[:, None] * products(space, factors.right, factors.left)
    values, left, right = scipy.linalg.eig(small, left=True, right=True)
    sizes = np.linalg.norm(right, axis=0) * np.linalg.norm(factors.values[:, None] * left, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        condition = sizes / (np.abs(values) * np.abs(np.einsum("ik,ik->k", left.conj(), right)))
    condition = np.where(np.isfinite(condition), condition, np.inf)
    order = by_real_part(values)
    return values[order], right[:, order], (condition * factors.tolerance * factors.norm)[order]


def _rank_of_square(space: StateSpace, factors: Factors, rank: int) -> int:
    """rank A² = rank(V*U) for an A of that rank, by cosines."""
    if rank == 0:
        return 0
    cosines = products(space, factors.right[:, :rank].copy(order="F"), factors.left[:, :rank].copy(order="F"))
    return count_above(cosines, COSINE)


def _choose(values: Complexes, number: int, zero: float, by_modulus: bool) -> tuple[int, ...]:
    """Those of largest real part if positive, then the next, or those of largest modulus; pairs stay together."""
    growing = [k for k in range(len(values)) if values[k].real > zero]
    others = [k for k in range(len(values)) if values[k].real <= zero]
    if by_modulus:
        others.sort(key=lambda k: -float(abs(values[k])))
    chosen = [*growing, *others][: max(number, 0)]
    partners = {
        j
        for k in chosen
        for j in range(len(values))
        if values[k].imag != 0 and abs(values[j] - values[k].conjugate()) <= 1e-12 * abs(values[k])
    }
    return tuple(sorted({*chosen, *partners}))
