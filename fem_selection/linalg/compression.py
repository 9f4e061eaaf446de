# SPDX-License-Identifier: MIT
"""Truncated singular value decompositions of kernels in L²(Y), on any number of ranks.

    w = Σ_k s_k a_k ⊗ b_k,   (a_k, a_l) = (b_k, b_l) = δ_kl,   ‖w − Σ_{k≤r} s_k a_k ⊗ b_k‖² = Σ_{k>r} s_k²

The first r terms are the best kernel of rank r in the norm of L²(Y × Y).  In nodal values this is the decomposition of
M^{1/2} W M^{1/2}, but no root of M is formed: the columns of blocks are made orthonormal in the inner product of the
space, and a small matrix is decomposed.

If a kernel is not given by factors, `compress` finds the range of K from its action on random functions
(`fem_selection.linalg.ranges`) and doubles their number until the part of w outside the range is below the tolerance.
It needs only products with K and K*, O(N² r) work, while LAPACK's decomposition takes O(N³) with a large constant.  The
part of w that is missed is computed, not estimated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import InvalidInput
from fem_selection.linalg.operators import Operator, adjoint
from fem_selection.linalg.orthonormal import orthonormal_directions
from fem_selection.linalg.ranges import find_range
from fem_selection.typing import Block, Floats, real_number, whole_number

__all__ = ["Factorization", "Truncation", "compress", "truncate"]

_FIRST_SAMPLES = 16
_OVERSAMPLING = 8
_ROUND_OFF = 1e-13  # directions with singular values below this times the largest are left out of a range
_SETTLED = 1e-11  # relative change of the captured part of ‖w‖² at which a range of given rank has settled
_SWEEPS = 200


@dataclass(frozen=True)
class Factorization:
    """w ≈ Σ_r u_r ⊗ v_r.

    Attributes:
        left: u, shape (num_local, rank).
        right: v, likewise; ‖u_r‖ = ‖v_r‖.
        missed: ‖w − Σ_r u_r ⊗ v_r‖ in L²(Y × Y).
    """

    left: Block
    right: Block
    missed: float


@dataclass(frozen=True)
class Truncation:
    """Where to cut: at a rank, or at the lowest rank whose error is at most a tolerance times ‖w‖.

    Args:
        rank: The rank, or None.
        tolerance: The tolerance, or None.

    Raises:
        InvalidInput: unless exactly one of the two is given, and is positive.
    """

    rank: int | None = None
    tolerance: float | None = None

    def __post_init__(self) -> None:
        if (self.rank is None) == (self.tolerance is None):
            raise InvalidInput(f"compression to {self.rank=}, {self.tolerance=}: give one of the two")
        if self.rank is not None:
            object.__setattr__(self, "rank", whole_number(self.rank, "rank"))
        if self.tolerance is not None:
            object.__setattr__(self, "tolerance", real_number(self.tolerance, "tolerance"))
        if (self.rank is not None and self.rank < 1) or (self.tolerance is not None and not self.tolerance > 0):
            raise InvalidInput(f"compression to {self.rank=}, {self.tolerance=}: it must be positive")

    def rank_of(self, singular_values: Floats, norm: float, missed: float = 0.0) -> int:
        """Return how many singular values to keep, at least one.

        Args:
            singular_values: s, decreasing.
            norm: ‖w‖.
            missed: The norm of the part of w that the singular values do not contain.
        """
        if self.rank is not None:
            return min(self.rank, len(singular_values))
        assert self.tolerance is not None
        tails = np.sqrt(np.append(np.cumsum(singular_values[::-1] ** 2)[::-1], 0.0) + missed**2)
        small = np.flatnonzero(tails <= self.tolerance * norm)
        return max(1, int(small[0]) if small.size else len(singular_values))


def truncate(space: StateSpace, left: Block, right: Block, *, cut: Truncation, missed: float = 0.0) -> Factorization:
    """Return the truncated singular value decomposition of Σ_r u_r ⊗ v_r, balanced: ‖u_r‖ = ‖v_r‖ (collective).

    Args:
        space: The state space.
        left: u, shape (num_local, rank).
        right: v, likewise.
        cut: Where to cut.
        missed: The norm of the part of a kernel, orthogonal to the factors, that they miss: it counts in the error.
    """
    q_left, r_left = orthonormal_directions(space, left, _ROUND_OFF)
    q_right, r_right = orthonormal_directions(space, right, _ROUND_OFF)
    a, values, b = np.linalg.svd(r_left @ r_right.T, full_matrices=False)
    norm = float(np.sqrt(np.sum(values**2) + missed**2))
    rank = cut.rank_of(values, norm, missed)
    roots = np.sqrt(values[:rank])
    error = float(np.sqrt(np.sum(values[rank:] ** 2) + missed**2))
    return Factorization(left=q_left @ (a[:, :rank] * roots), right=q_right @ (b[:rank].T * roots), missed=error)


def compress(
    space: StateSpace,
    operator: Operator,
    residual: Callable[[Block, Block], float],
    *,
    norm: float,
    cut: Truncation,
    seed: int = 0,
) -> Factorization:
    """Return the truncated singular value decomposition of a kernel, from its range (collective).

    Args:
        space: The state space.
        operator: K.
        residual: Function of two blocks to ‖w − Σ_k q_k ⊗ v_k‖.
        norm: ‖w‖.
        cut: Where to cut.  At a tolerance the range misses at most a tenth of it, if round-off allows; at a rank the
            sum of its squared singular values has settled.
        seed: Seed of the random functions.
    """
    first = _FIRST_SAMPLES if cut.rank is None else cut.rank + max(_OVERSAMPLING, cut.rank)
    right, missed = space.create_block(0), norm

    def width(found: int) -> int:
        if not found:
            return first
        return found if 4 * found <= space.num_nodes else space.num_nodes - found

    def take(basis: Block) -> None:
        """Right factors V = K* Q for the whole basis, so that w ≈ Σ_k q_k ⊗ v_k."""
        nonlocal right
        fresh = adjoint(space, operator, np.asfortranarray(basis[:, right.shape[1] :]))
        right = np.asfortranarray(np.concatenate([right, fresh], axis=1))

    def is_enough(basis: Block) -> bool:
        nonlocal missed
        if cut.tolerance is None:
            return True
        take(basis)
        missed = residual(basis, right)
        return missed <= 0.1 * cut.tolerance * norm

    left, _ = find_range(space, operator.apply, width=width, tolerance=_ROUND_OFF, is_enough=is_enough, seed=seed)
    if right.shape[1] < left.shape[1] or not left.shape[1]:  # `is_enough` was not called for the last block
        take(left)
        if cut.rank is not None:
            left, right = _settle(space, operator, left, right, cut.rank)
        missed = residual(left, right)
    return truncate(space, left, right, cut=cut, missed=missed)


def _settle(space: StateSpace, operator: Operator, left: Block, right: Block, rank: int) -> tuple[Block, Block]:
    """Iterate the subspaces until the leading singular values no longer change (collective)."""
    captured = -1.0
    for _ in range(_SWEEPS):
        basis, triangle = orthonormal_directions(space, right, _ROUND_OFF)
        values = scipy.linalg.svdvals(triangle)[:rank] if triangle.size else np.zeros(1)
        previous, captured = captured, float(np.sum(values**2))
        if captured - previous <= _SETTLED * captured or left.shape[1] == space.num_nodes:
            break
        left, _ = orthonormal_directions(space, operator.apply(basis), _ROUND_OFF)
        right = adjoint(space, operator, left)
    return left, right
