# SPDX-License-Identifier: MIT
"""Truncated singular value decompositions of kernels in L²(Y), on any number of ranks.

    w = Σ_k s_k a_k ⊗ b_k,   (a_k, a_l) = (b_k, b_l) = δ_kl,   ‖w − Σ_{k≤r} s_k a_k ⊗ b_k‖² = Σ_{k>r} s_k²

the best kernels of rank r in the norm of L²(Y × Y).  In nodal values it is the decomposition of M^{1/2} W M^{1/2}, but
no root of M is formed: blocks are made orthonormal in the inner product of the space (`Orthonormalizer`), and what is
left is the decomposition of a small matrix.

Of a kernel that is not given by factors, a range finder takes the range of K on random functions, doubling their
number until what the range misses is below the tolerance; all that it needs are products with K and K*, O(N² r) work
where LAPACK's decomposition takes O(N³) with a large constant.  What is missed is measured, not estimated.

References:
    Halko, Martinsson, Tropp, SIAM Review 53 (2011) 217, doi:10.1137/090771806.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from fem_selection.discretization.numbering import hashed_normal
from fem_selection.discretization.quadrature import QuadraturePoints
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import InvalidInput
from fem_selection.typing import Block, Floats

__all__ = ["Factorization", "Orthonormalizer", "Truncation", "find_range", "truncate"]

_FIRST_SAMPLES = 16
_OVERSAMPLING = 8
_ROUND_OFF = 1e-13  # singular values below it, relative to the largest, are no directions of a range
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

    Raises:
        InvalidInput: unless exactly one of the two is given, and is positive.
    """

    rank: int | None = None
    tolerance: float | None = None

    def __post_init__(self) -> None:
        if (self.rank is None) == (self.tolerance is None):
            raise InvalidInput(f"compression to {self.rank=}, {self.tolerance=}: give one of the two")
        if (self.rank is not None and self.rank < 1) or (self.tolerance is not None and not self.tolerance > 0):
            raise InvalidInput(f"compression to {self.rank=}, {self.tolerance=}: it must be positive")

    def rank_of(self, singular_values: Floats, norm: float, missed: float = 0.0) -> int:
        """How many singular values to keep, at least one, if ‖w‖ and what they miss already are given."""
        if self.rank is not None:
            return min(self.rank, len(singular_values))
        assert self.tolerance is not None
        tails = np.sqrt(np.append(np.cumsum(singular_values[::-1] ** 2)[::-1], 0.0) + missed**2)
        small = np.flatnonzero(tails <= self.tolerance * norm)
        return max(1, int(small[0]) if small.size else len(singular_values))


class Orthonormalizer:
    """Makes blocks orthonormal in L²(Y).

    By Householder decompositions of each rank's part and of the stacked triangles, in the isometric values ω^{1/2} f
    at the quadrature points.

    Args:
        space: The state space.
    """

    def __init__(self, space: StateSpace) -> None:
        self.space = space
        self._points = None if space.is_collocated else QuadraturePoints(space)
        weights = space.weights if self._points is None else self._points.weights
        self._roots = np.sqrt(weights)[:, None]

    def __call__(self, block: Block) -> tuple[Block, Floats]:
        """Q and R with F = Q R to round-off and (q_k, q_l) = δ_kl, shapes (num_local, k) and (k, J) (collective).

        Directions below round-off are left out: k ≤ J.  Twice, since after the first time Q is orthonormal up to the
        conditioning of F only.
        """
        block, first = self._once(block)
        block, second = self._once(block)
        return block, second @ first

    def _once(self, block: Block) -> tuple[Block, Floats]:
        values = block if self._points is None else self._points.values(block)
        triangle = np.linalg.qr(self._roots * values, mode="r")
        if self.space.comm.size > 1:
            triangle = np.linalg.qr(np.concatenate(self.space.comm.allgather(triangle)), mode="r")
        _, values, right = np.linalg.svd(triangle, full_matrices=False)
        keep = values > _ROUND_OFF * max(values.max(initial=0.0), 1e-300)
        values, right = values[keep], right[keep]
        return np.asfortranarray(block @ (right.T / values)), values[:, None] * right


def truncate(
    orthonormalize: Orthonormalizer, left: Block, right: Block, cut: Truncation, missed: float = 0.0
) -> Factorization:
    """The truncated singular value decomposition of Σ_r u_r ⊗ v_r, balanced (collective).

    Args:
        orthonormalize: Of the state space.
        left: u, shape (num_local, rank).
        right: v, likewise.
        cut: Where to cut.
        missed: What the factors miss already of a kernel, orthogonal to them: it counts in the error.
    """
    (q_left, r_left), (q_right, r_right) = orthonormalize(left), orthonormalize(right)
    a, values, b = np.linalg.svd(r_left @ r_right.T, full_matrices=False)
    norm = float(np.sqrt(np.sum(values**2) + missed**2))
    rank = cut.rank_of(values, norm, missed)
    roots = np.sqrt(values[:rank])
    error = float(np.sqrt(np.sum(values[rank:] ** 2) + missed**2))
    return Factorization(q_left @ (a[:, :rank] * roots), q_right @ (b[:rank].T * roots), error)


def find_range(
    orthonormalize: Orthonormalizer,
    apply: Callable[[Block], Block],
    apply_adjoint: Callable[[Block], Block],
    residual: Callable[[Block, Block], float],
    norm: float,
    cut: Truncation,
    seed: int = 0,
) -> Factorization:
    """Q with orthonormal columns and V = K* Q, so that w ≈ Σ_k q_k ⊗ v_k (collective).

    Args:
        orthonormalize: Of the state space.
        apply: F ↦ K F.
        apply_adjoint: Q ↦ K* Q, the adjoint in L².
        residual: ‖w − Σ_k q_k ⊗ v_k‖ of two blocks.
        norm: ‖w‖.
        cut: What the result is for: at a tolerance it misses at most a tenth of it, where round-off allows; at a rank
            the sum of its squared singular values has settled.
        seed: Of the random functions.
    """
    space = orthonormalize.space
    samples = _FIRST_SAMPLES if cut.rank is None else cut.rank + max(_OVERSAMPLING, cut.rank)
    known = space.create_block(0)
    while True:
        samples = min(samples, space.num_nodes)
        numbers = np.arange(known.shape[1], samples)
        random = hashed_normal(seed, space.canonical[:, None], numbers[None, :]) / np.sqrt(space.weights[:, None])
        known = np.concatenate([known, apply(np.asfortranarray(random))], axis=1)
        left, _ = orthonormalize(np.asfortranarray(known))
        right = apply_adjoint(left)
        if cut.tolerance is None:
            left, right = _settle(orthonormalize, apply, apply_adjoint, left, right, cut)
        missed = residual(left, right)
        enough = np.inf if cut.tolerance is None else 0.1 * cut.tolerance * norm
        if missed <= enough or samples == space.num_nodes:
            return Factorization(left, right, missed)
        samples = 2 * samples if 4 * samples <= space.num_nodes else space.num_nodes


def _settle(
    orthonormalize: Orthonormalizer,
    apply: Callable[[Block], Block],
    apply_adjoint: Callable[[Block], Block],
    left: Block,
    right: Block,
    cut: Truncation,
) -> tuple[Block, Block]:
    """Subspace iteration until the leading singular values no longer change."""
    captured = -1.0
    for _ in range(_SWEEPS):
        basis, triangle = orthonormalize(right)
        values = scipy.linalg.svdvals(triangle)[: cut.rank] if triangle.size else np.zeros(1)
        previous, captured = captured, float(np.sum(values**2))
        if captured - previous <= _SETTLED * captured or left.shape[1] == orthonormalize.space.num_nodes:
            break
        left, _ = orthonormalize(apply(basis))
        right = apply_adjoint(left)
    return left, right
