# SPDX-License-Identifier: MIT
"""The singular value expansion of an operator in L²(Y), down to a tolerance.

    A f = Σ_k s_k (f, v_k) u_k,    (u_k, u_l) = (v_k, v_l) = δ_kl

It is the positive part of the spectrum of the self-adjoint operator [[0, A], [A*, 0]], which keeps small singular
values that A*A would lose.  A Rayleigh–Ritz step on the left vectors follows.  If the first of these values do not fall
below the tolerance, LAPACK decomposes the matrix of an operator of moderate size, which takes less time than a search
for many.  For all of A down to round-off use `fem_selection.linalg.factors`, which finds the range with random blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fem_selection.errors import InvalidInput
from fem_selection.linalg.coordinates import IsometricOperator
from fem_selection.linalg.eigensolver import Limits, symmetric_eigenpairs
from fem_selection.linalg.orthonormal import qr_over_ranks
from fem_selection.typing import Block, Floats

__all__ = ["SingularExpansion", "expand"]

_FIRST = 24  # triplets of the first attempt
_ROUND_OFF = 1e-14
_RESTARTS = 500
_DENSE = 1500  # coordinates of an operator whose matrix LAPACK decomposes: about two seconds
_COLUMNS = 128  # columns of this matrix that are computed at a time
_EXTRA = 16  # vectors of the Krylov basis beyond two for each triplet


@dataclass(frozen=True)
class SingularExpansion:
    """The leading part of a singular value expansion.

    Attributes:
        operator: A.
        values: s_1 ≥ s_2 ≥ … > tolerance · s_1, shape (k,).
        left: Coordinates of u_k, orthonormal columns.
        right: Coordinates of v_k.
        tolerance: Singular values up to this part of s_1 count as zero.
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
        """Return (x, u_k) for the columns of x, shape (k, columns) (collective)."""
        return self.operator.coordinates.products(self.left, x)

    def pseudo_solve(self, x: Block) -> Block:
        """Return Σ_k (x, u_k) / s_k v_k (collective).

        It solves A f = x with minimal norm, for the part of x in the span of the u_k.
        """
        return np.asfortranarray(self.right @ (self.coefficients(x) / self.values[:, None]))

    def functions(self, count: int) -> tuple[Block, Block]:
        """Return nodal values of the first left and right singular functions (collective)."""
        c = self.operator.coordinates
        return c.to_function(self.left[:, :count]), c.to_function(self.right[:, :count])


def expand(operator: IsometricOperator, tolerance: float, triplets: int) -> SingularExpansion:
    """Return the singular triplets of an operator down to `tolerance` · s_1 (collective).

    Args:
        operator: A.
        tolerance: Singular values up to this part of the largest count as zero, in (0, 1).
        triplets: Largest number of triplets, at least 1.

    Raises:
        InvalidInput: if the tolerance or the number is out of range.
        NotConverged: if fewer eigenpairs converge than the search asks for.
    """
    if not 0 < tolerance < 1 or triplets < 1:
        raise InvalidInput(
            f"tolerance = {tolerance} and triplets = {triplets}: expected a number in (0, 1) and 1 at least"
        )
    c = operator.coordinates
    nodes = c.space.num_nodes
    if c.norm(operator.apply(c.random(1))) == 0.0:  # the zero operator
        nothing = np.zeros((c.num_local, 0), order="F")
        return SingularExpansion(
            operator=operator,
            values=np.empty(0),
            left=nothing,
            right=nothing.copy(),
            tolerance=tolerance,
            is_complete=True,
        )
    rough = Limits(tolerance=1e-3, is_relative=True, max_restarts=_RESTARTS, basis=2 + _EXTRA)
    largest, _ = _leading_left(operator, 1, rough)
    fine = replace(rough, tolerance=_ROUND_OFF * float(largest[0]), is_relative=False)
    count = min(_FIRST, triplets, nodes)
    while True:
        values, left = _leading_left(operator, count, replace(fine, basis=2 * count + _EXTRA))
        below = values.size < count or values[-1] <= tolerance * values[0]
        if below or count >= min(triplets, nodes):
            values, left, right = _rayleigh_ritz(operator, left)
            break
        if c.num_global <= _DENSE:
            values, left, right = _by_lapack(operator, tolerance)
            below, chosen = values.size <= triplets, slice(triplets)
            values, left, right = values[chosen], left[:, chosen], right[:, chosen]
            break
        count = min(2 * count, triplets, nodes)
    kept = values > tolerance * values[0]
    return SingularExpansion(
        operator=operator,
        values=values[kept],
        left=np.asfortranarray(left[:, kept]),
        right=np.asfortranarray(right[:, kept]),
        tolerance=tolerance,
        is_complete=bool(below or count == nodes),
    )


def _leading_left(operator: IsometricOperator, count: int, limits: Limits) -> tuple[Floats, Block]:
    """The leading positive singular values, and their left vectors."""
    c = operator.coordinates
    rows = c.num_local

    def apply(x: Floats) -> Floats:
        """[[0, Â], [Âᵀ, 0]] on pairs (u, v), each rank's part of u before that of v."""
        y = np.empty(2 * rows)
        y[:rows] = operator.apply(x[rows:, None])[:, 0]
        y[rows:] = operator.apply_adjoint(x[:rows, None])[:, 0]
        return y

    start = np.concatenate([c.random(1)[:, 0], c.random(2)[:, 0]])
    values, pairs = symmetric_eigenpairs(c.space.comm, apply, start, count=count, end="largest", limits=limits)
    positive = values > 0
    return values[positive], np.asfortranarray(pairs[:rows, positive])


def _by_lapack(operator: IsometricOperator, tolerance: float) -> tuple[Floats, Block, Block]:
    """The singular triplets of A above the tolerance by a decomposition of its whole matrix on root (collective)."""
    c, comm = operator.coordinates, operator.coordinates.space.comm
    counts = comm.allgather(c.num_local)
    first = sum(counts[: comm.rank])
    rows = np.empty((c.num_local, c.num_global))
    for start in range(0, c.num_global, _COLUMNS):
        columns = np.arange(start, min(start + _COLUMNS, c.num_global))
        rows[:, columns] = operator.apply(
            np.asfortranarray(np.arange(first, first + c.num_local)[:, None] == columns, dtype=np.float64)
        )
    gathered = comm.gather(rows)
    parts: list[tuple[Floats, Floats, Floats]] | None = None
    if gathered is not None:
        left, values, right = np.linalg.svd(np.concatenate(gathered))
        k = int((values > tolerance * values[0]).sum())
        ends = np.cumsum(counts)[:-1]
        sides = (np.split(left[:, :k], ends), np.split(right[:k].T, ends))
        parts = [(values[:k], *side) for side in zip(*sides, strict=True)]
    values, left, right = comm.scatter(parts)
    return values, np.asfortranarray(left), np.asfortranarray(right)


def _rayleigh_ritz(operator: IsometricOperator, left: Block) -> tuple[Floats, Block, Block]:
    """The singular triplets of A restricted to the span of approximate left vectors (collective)."""
    comm = operator.coordinates.space.comm
    left = np.asfortranarray(qr_over_ranks(comm, left)[0])
    right, factor = qr_over_ranks(comm, operator.apply_adjoint(left))  # A* U = V R
    turn_right, values, turn_left = np.linalg.svd(factor)
    return values, np.asfortranarray(left @ turn_left.T), np.asfortranarray(right @ turn_right)
