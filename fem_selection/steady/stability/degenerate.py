# SPDX-License-Identifier: MIT
"""What eigenvalues cannot say: Jordan blocks on the imaginary axis, and eigenvalues that are not distinct from 0.

Eigenvalues λ of the matrix of A are *not distinct from 0* if round-off can move each by its own modulus, and the points
between the largest of them, the rightmost one and 0 lie in the pseudospectrum of A as well:

    κ δ ≥ |λ|,      σ_min(A − z) ≤ δ   for z = λ, λ/2

δ is 10⁻¹¹ ‖A‖, or what is left out of a truncated A.  Nilpotent matrices have such eigenvalues, of modulus δ^{1/d}, and
so have meshes of quasi-nilpotent operators.  The Jordan structure at 0 and at i ω comes from `linalg.staircase`; the
law of growth then comes from ‖e^{tA}‖ (`slow_growth`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fem_selection.linalg.staircase import distance_from_singular, nullities_at
from fem_selection.steady.stability.slow_growth import Exponentials, SlowGrowth, exponential_norms, law_of_growth
from fem_selection.typing import Complexes, Floats

__all__ = ["LEVEL", "SINGULAR", "DegeneratePart", "analyze_degeneracy", "not_distinct_from_zero"]

LEVEL = 1e-11
"""Level of the pseudospectrum, relative to ‖A‖, at which an eigenvalue is not distinct from another number."""
SINGULAR = 1e-9
"""Singular values of A − i ω up to this, relative to ‖A‖, count as zero."""
_SPLIT = 1e-3  # of |λ|: round-off splits the eigenvalue of a block of size three by 1e-5, and of size five by 1e-3
_LARGEST_INDEX = 8  # of a block at 0: beyond, the growth itself must show the power


@dataclass(frozen=True, kw_only=True)
class DegeneratePart:
    """Jordan blocks on the imaginary axis, and the eigenvalues that are not distinct from 0.

    Attributes:
        nullities: Numbers of Jordan blocks of size at least 1, 2, … at 0.
        frequency: ω of the eigenvalue i ω with the largest Jordan block; 0 if this block belongs to 0.
        axis: Numbers of its Jordan blocks of size at least 1, 2, …; empty if no multiple eigenvalue is on the axis.
        radius: Largest modulus of the eigenvalues that are not distinct from 0; 0 if there are none.
        level: Level of the pseudospectrum, or ‖A − A_k‖ if A is truncated.
        zero: The size that counts as zero.
        abscissa: ω(A).
        curve: ‖e^{tA}‖; None where nothing asks for it.
    """

    nullities: tuple[int, ...]
    frequency: float
    axis: tuple[int, ...]
    radius: float
    level: float
    zero: float
    abscissa: float
    curve: Exponentials | None

    @property
    def index(self) -> int:
        """The size of the largest Jordan block on the imaginary axis; 1 if all eigenvalues there are semisimple."""
        return max(len(self.nullities), len(self.axis), 1)

    def law(self, finer: DegeneratePart | None = None) -> SlowGrowth | None:
        """The law of growth if there is no growing eigenvalue; None if the eigenvalues decide.

        Args:
            finer: The same on a finer mesh, or None.
        """
        if self.curve is None:
            return None
        other = None if finer is None else finer.curve
        index = self.index if finer is None or finer.index == self.index else 1
        law = law_of_growth(
            self.curve, abscissa=self.abscissa, zero=self.zero, index=index, radius=self.radius, finer=other
        )
        is_small = self.index > 1 and index > 1 and self.radius * self.curve.times[-1] < 1.0
        if law.law in ("undecided", "bounded") and is_small and index <= _LARGEST_INDEX:
            return replace(law, law="polynomial", power=index - 1, coefficient=float("nan"), misfit=float("inf"))
        return law


def not_distinct_from_zero(matrix: Floats, values: Complexes, doubtful: np.ndarray, *, level: float) -> np.ndarray:
    """Return which of the doubtful eigenvalues are not distinct from 0, as a mask of all.

    Args:
        matrix: A in an orthonormal basis, shape (n, n).
        values: Its eigenvalues.
        doubtful: Mask of those that round-off can move by their own modulus.
        level: δ.
    """
    rest = doubtful.copy()
    while np.any(rest):
        near = values[rest & (values.imag >= 0)]
        last, right = near[np.argmax(np.abs(near))], near[np.argmax(near.real)]
        points = {last, 0.5 * last, right, 0.5 * (last + right)}
        if all(distance_from_singular(matrix, point) <= level for point in points):
            break
        inner = 0.5 * abs(last)
        rest &= np.abs(values) <= inner
        if inner <= level:
            break
    return rest


def analyze_degeneracy(
    matrix: Floats,
    values: Complexes,
    uncertainties: Floats,
    *,
    nullities: tuple[int, ...],
    norm: float,
    radius: float,
    level: float,
    zero: float,
    has_rest: bool,
    has_doubt: bool = False,
) -> DegeneratePart:
    """Find what the eigenvalues of A leave open.

    Args:
        matrix: A in an orthonormal basis of a subspace, shape (n, n).
        values: The eigenvalues that are distinct from 0.
        uncertainties: How far round-off may move them.
        nullities: Jordan blocks at 0.
        norm: ‖A‖.
        radius: Largest modulus of the eigenvalues that are not distinct from 0.
        level: δ.
        zero: The size that counts as zero.
        has_rest: Whether the subspace is a proper one; A vanishes beside it.
        has_doubt: Whether round-off may move some of `values` by their own modulus.
    """
    frequency, axis = _largest_block(matrix, values, uncertainties, norm=norm, zero=zero)
    if len(axis) <= max(len(nullities), 1):
        frequency = 0.0
    abscissa = float(np.linalg.eigvalsh(0.5 * (matrix + matrix.T))[-1]) if len(matrix) else 0.0
    abscissa = max(abscissa, 0.0) if has_rest else abscissa
    is_open = has_doubt or radius > 0 or len(nullities) > 1 or len(axis) > 1
    curve = None
    if is_open and abscissa <= zero:
        curve = Exponentials(times=np.zeros(1), norms=np.ones(1), per_octave=1, is_cut=False)
    elif is_open:
        curve = exponential_norms(matrix, norm, has_rest=has_rest)
    return DegeneratePart(
        nullities=nullities,
        frequency=frequency,
        axis=axis,
        radius=radius,
        level=level,
        zero=zero,
        abscissa=abscissa,
        curve=curve,
    )


def _largest_block(
    matrix: Floats, values: Complexes, uncertainties: Floats, *, norm: float, zero: float
) -> tuple[float, tuple[int, ...]]:
    """ω > 0 and the nullities of the eigenvalue i ω with the largest Jordan block, of multiple ones on the axis."""
    reach = np.maximum(np.minimum(uncertainties, _SPLIT * np.abs(values)), zero)
    places = np.flatnonzero((np.abs(values.real) <= reach) & (values.imag > reach))
    best: tuple[float, tuple[int, ...]] = (0.0, ())
    while places.size:
        near = np.abs(values[places] - values[places[0]]) <= 10.0 * (reach[places] + reach[places[0]])
        group, places = values[places[near]], places[~near]
        if group.size < 2:
            continue
        mean = 1j * float(np.mean(group.imag))
        found = nullities_at(matrix, mean, tolerance=SINGULAR * norm, most=int(group.size))
        if len(found) > len(best[1]):
            best = (abs(mean), found)
    return best
