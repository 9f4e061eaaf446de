# SPDX-License-Identifier: MIT
"""Fredholm equations of the first kind, A f = r, by the singular value expansion of A in L²(Y).

    A f = Σ_k s_k (f, v_k) u_k,    f† = Σ_{k ≤ rank} (r, u_k) / s_k v_k

Where σ vanishes at one s₀ only, the steady states are the solutions of K f = s₀ − b: an affine set, f† + ker K, if the
right-hand side is in the range of K, and empty otherwise.  K is compact, so the range is not closed and membership is
a matter of decay: Picard's condition Σ_k |(r, u_k)|² / s_k² < ∞.  From finitely many ratios it cannot be decided;
`PicardReport.verdict` says what they look like.

The expansion is computed by SLEPc as the positive part of the spectrum of the self-adjoint operator [[0, A], [A*, 0]],
which keeps small singular values that A*A would lose, and finished by a Rayleigh–Ritz step on the left vectors.

References:
    P. C. Hansen, Numer. Algorithms 3 (1992) 299, doi:10.1007/BF02141937 (the discrete Picard condition).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from slepc4py import SLEPc

from fem_selection.errors import InvalidInput, NotConverged
from fem_selection.linalg.coordinates import IsometricOperator, orthonormalize
from fem_selection.petsc import create_shell
from fem_selection.settings import SteadySettings
from fem_selection.typing import Block, Floats, Integers

__all__ = ["PicardReport", "SingularExpansion", "expand", "solve_first_kind"]

_FIRST = 24  # triplets of the first attempt
_ROUND_OFF = 1e-14
_RESTARTS = 500
_RESOLVED = 3  # nodes per singular function that a mesh resolves
_SUMMABLE = -0.5  # k^p is square summable for p below
_MARGIN = 0.1  # around it, within which nothing is claimed


@dataclass(frozen=True)
class SingularExpansion:
    """The leading part of a singular value expansion.

    Attributes:
        operator: A.
        values: s_1 ≥ s_2 ≥ … > tolerance · s_1, shape (k,).
        left: Coordinates of u_k, orthonormal columns.
        right: Coordinates of v_k.
        tolerance: Relative to s_1, what counts as zero.
        is_complete: Whether all singular values above the tolerance are there, so that k is the numerical rank.
    """

    operator: IsometricOperator
    values: Floats
    left: Block
    right: Block
    tolerance: float
    is_complete: bool

    @property
    def rank(self) -> int:
        """The numerical rank, or a lower bound of it if the expansion is not complete."""
        return int(self.values.size)

    @property
    def nullity(self) -> int | None:
        """Dimension of the numerical null space in V_h; None if the expansion is not complete."""
        return self.operator.coordinates.space.num_nodes - self.rank if self.is_complete else None

    def coefficients(self, x: Block) -> Floats:
        """(x, u_k) for the columns of x, shape (k, columns) (collective)."""
        return self.operator.coordinates.products(self.left, x)

    def pseudo_solve(self, x: Block) -> Block:
        """Σ_k (x, u_k) / s_k v_k, the solution of A f = x of minimal norm on the span of the expansion (collective)."""
        return np.asfortranarray(self.right @ (self.coefficients(x) / self.values[:, None]))

    def functions(self, count: int) -> tuple[Block, Block]:
        """Nodal values of the first left and right singular functions (collective)."""
        c = self.operator.coordinates
        return c.to_function(self.left[:, :count]), c.to_function(self.right[:, :count])


def expand(
    operator: IsometricOperator,
    tolerance: float = SteadySettings.tolerance,
    triplets: int = SteadySettings.triplets,
) -> SingularExpansion:
    """The singular triplets of an operator down to `tolerance` · s_1, at most `triplets` of them (collective).

    Args:
        operator: A, in isometric coordinates.
        tolerance: Below which a singular value counts as zero, relative to s_1.
        triplets: How many there are at most.

    Raises:
        NotConverged: if SLEPc finds fewer than asked for.
    """
    if not 0 < tolerance < 1 or triplets < 1:
        raise InvalidInput(
            f"tolerance = {tolerance} and triplets = {triplets}: expected a number in (0, 1) and 1 at least"
        )
    c = operator.coordinates
    nodes = c.space.num_nodes
    largest = _leading_left(operator, 1, 1e-3, None)[0]
    if not largest.size:  # the zero operator
        nothing = np.zeros((c.num_local, 0), order="F")
        return SingularExpansion(operator, np.empty(0), nothing, nothing.copy(), tolerance, True)
    count = min(_FIRST, triplets, nodes)
    while True:
        values, left = _leading_left(operator, count, _ROUND_OFF, float(largest[0]))
        below = values.size < count or values[-1] <= tolerance * values[0]
        if below or count >= min(triplets, nodes):
            break
        count = min(2 * count, triplets, nodes)
    values, left, right = _rayleigh_ritz(operator, left)
    kept = values > tolerance * values[0]
    return SingularExpansion(
        operator,
        values[kept],
        np.asfortranarray(left[:, kept]),
        np.asfortranarray(right[:, kept]),
        tolerance,
        bool(below or count == nodes),
    )


def _leading_left(
    operator: IsometricOperator, count: int, tolerance: float, scale: float | None
) -> tuple[Floats, Block]:
    """The leading singular values and left vectors by Krylov–Schur, those that are not positive left out.

    `tolerance` is that of the residuals, relative to `scale`, or to each value if that is None.
    """
    c = operator.coordinates
    rows = c.num_local

    def apply(x: Floats, y: Floats) -> None:
        """[[0, Â], [Âᵀ, 0]] on pairs (u, v), each rank's part of u before that of v."""
        y[:rows] = operator.apply(x[rows:, None])[:, 0]
        y[rows:] = operator.apply_adjoint(x[:rows, None])[:, 0]

    matrix = create_shell(c.space.comm, 2 * rows, apply, is_symmetric=True)
    solver = SLEPc.EPS().create(c.space.comm)
    start, vector = matrix.createVecs()
    try:
        solver.setOperators(matrix)
        solver.setProblemType(SLEPc.EPS.ProblemType.HEP)
        solver.setWhichEigenpairs(SLEPc.EPS.Which.LARGEST_REAL)
        solver.setDimensions(count, min(2 * count + 16, 2 * c.num_global))
        solver.setConvergenceTest(SLEPc.EPS.Conv.REL if scale is None else SLEPc.EPS.Conv.ABS)
        solver.setTolerances(tolerance * (1.0 if scale is None else scale), _RESTARTS)
        start.array[: c.num_local] = c.random(1)[:, 0]
        start.array[c.num_local :] = c.random(2)[:, 0]
        solver.setInitialSpace([start])
        solver.solve()
        found = min(solver.getConverged(), count)
        values, left = np.empty(found), np.empty((c.num_local, found), order="F")
        for k in range(found):
            values[k] = solver.getEigenpair(k, vector).real
            left[:, k] = vector.array_r[: c.num_local]
        if found < count and not _is_zero(operator, values):
            raise NotConverged(f"{found} of {count} singular triplets after {_RESTARTS} restarts")
    finally:
        for thing in (start, vector, solver, matrix):
            thing.destroy()
    positive = values > 0
    return values[positive], np.asfortranarray(left[:, positive])


def _is_zero(operator: IsometricOperator, values: Floats) -> bool:
    """Whether the operator vanishes, for which SLEPc finds nothing (collective)."""
    c = operator.coordinates
    return values.size == 0 and c.norm(operator.apply(c.random(1))) == 0.0


def _rayleigh_ritz(operator: IsometricOperator, left: Block) -> tuple[Floats, Block, Block]:
    """The singular triplets of A restricted to the span of approximate left vectors (collective)."""
    c = operator.coordinates
    left, _ = orthonormalize(c, left)
    right, factor = orthonormalize(c, operator.apply_adjoint(left))  # A* U = V R
    turn_right, values, turn_left = np.linalg.svd(factor)
    return values, np.asfortranarray(left @ turn_left.T), np.asfortranarray(right @ turn_right)


@dataclass(frozen=True)
class PicardReport:
    """What the singular value expansion says of A f = r.

    Attributes:
        expansion: Of A.
        coefficients: |(r, u_k)|, shape (rank,).
        ratios: |(r, u_k)| / s_k.
        norm: ‖r‖.
        solution: Nodal values of f†, shape (space.num_local,).
        solution_norm: ‖f†‖.
        residual: ‖A f† − r‖.
        outside: Part of ‖r‖ outside of the span of the u_k.
        decay: Fitted p in ratio_k ∝ k^p for the envelope of the ratios, k up to a third of the nodes; NaN with fewer
            than 8 of them above round-off.
        holds: Whether the condition seems to hold.
        verdict: In words.
    """

    expansion: SingularExpansion
    coefficients: Floats
    ratios: Floats
    norm: float
    solution: Floats
    solution_norm: float
    residual: float
    outside: float
    decay: float
    holds: bool
    verdict: str


def solve_first_kind(expansion: SingularExpansion, right_hand_side: Floats) -> PicardReport:
    """The minimal-norm solution of A f = r truncated at the numerical rank, and the Picard ratios (collective).

    Args:
        expansion: Of A.
        right_hand_side: Nodal values of r, shape (num_local,).
    """
    operator = expansion.operator
    c = operator.coordinates
    r = c.to_euclidean(np.asfortranarray(right_hand_side[:, None]))
    signed = expansion.coefficients(r)
    norm = c.norm(r)
    outside = c.norm(r - expansion.left @ signed)
    x = expansion.pseudo_solve(r)
    coefficients = np.abs(signed[:, 0])
    ratios = coefficients / expansion.values
    resolved = np.arange(ratios.size) < max(c.space.num_nodes // _RESOLVED, 8)
    decay = _decay(ratios, np.flatnonzero(resolved & (coefficients > _ROUND_OFF * norm)))
    holds, verdict = _judge(expansion, norm, outside, decay)
    return PicardReport(
        expansion=expansion,
        coefficients=coefficients,
        ratios=ratios,
        norm=norm,
        solution=c.to_function(x)[:, 0],
        solution_norm=c.norm(x),
        residual=c.norm(operator.apply(x) - r),
        outside=outside,
        decay=decay,
        holds=holds,
        verdict=verdict,
    )


def _decay(ratios: Floats, above: Integers) -> float:
    """The slope of log ratio over log k, for the second half of the ratios at the indices `above`.

    Symmetries make some coefficients small: fitted is the envelope max_{j ≥ k} ratio_j, or where the ratios grow
    max_{j ≤ k} ratio_j.  The first terms are no asymptotics.
    """
    if above.size < 8:
        return float("nan")
    falling = np.maximum.accumulate(ratios[above][::-1])[::-1]
    growing = np.maximum.accumulate(ratios[above])
    tail = slice(above.size // 2, None)
    number = np.log(above[tail] + 1.0)
    slopes = [float(np.polyfit(number, np.log(envelope[tail]), 1)[0]) for envelope in (falling, growing)]
    return max(slopes, key=abs)


def _judge(expansion: SingularExpansion, norm: float, outside: float, decay: float) -> tuple[bool, str]:
    rank, tolerance = expansion.rank, expansion.tolerance
    if norm == 0.0:
        return True, "the right-hand side is zero: the solutions are the null space"
    part = f"{outside / norm:.1e} of the right-hand side is outside of the first {rank} singular functions"
    if np.isnan(decay):
        if outside <= 100 * tolerance * norm:
            return True, f"solvable: {part}"
        if expansion.is_complete:
            return False, f"not solvable: {part} (numerical rank {rank})"
        return False, f"undecided, with fewer than 8 ratios above round-off: {part}"
    trend = f"the ratios behave as k^{decay:.2f}"
    if decay > _SUMMABLE + _MARGIN:
        return False, f"the Picard condition seems to fail: {trend}, whose squares have no finite sum; {part}"
    if expansion.is_complete and outside > np.sqrt(tolerance) * norm:
        return False, f"the Picard condition seems to fail: {trend}, but {part} (numerical rank {rank})"
    if decay < _SUMMABLE - _MARGIN:
        return True, f"the Picard condition seems to hold: {trend}; {part}"
    return False, f"the Picard condition is on the edge: {trend}; {part}"
