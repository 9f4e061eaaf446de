# SPDX-License-Identifier: MIT
"""The numerical range of an operator: A ≈ Σ_k s_k u_k ⊗ v_k, its singular value decomposition in L².

A kernel in L² gives a compact operator, and a smooth or separable one has few singular values above round-off.  Then
all that stability asks of A is asked of small matrices: with U = (u_k), V = (v_k), S = diag(s_k), A = U S V*,

    nonzero spectrum of A = spectrum of S V*U,      ker A = (span V)^⊥,      A² = U S (V*U) S V*.

The range is found by products with random blocks, in which the next block tells how much of A is left.

References:
    N. Halko, P.-G. Martinsson, J. A. Tropp, Finding structure with randomness, SIAM Review 53 (2011) 217,
    doi:10.1137/090771806.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.discretization.spaces import StateSpace
from fem_selection.linalg.operators import Operator, adjoint, orthonormalize, products, random_block
from fem_selection.typing import Block, Floats, create_block

__all__ = ["Factors", "factorize", "orthonormal_basis"]

_BLOCK = 24
_ENTRIES = 3e7  # of the largest basis


@dataclass(frozen=True)
class Factors:
    """A ≈ U diag(s) V*.

    Attributes:
        left: U, L²-orthonormal columns, shape (num_local, k).
        values: s, decreasing, shape (k,).
        right: V, likewise L²-orthonormal.
        tolerance: What is left out is below this part of the largest.
        is_complete: Whether that holds; else k reached its limit before, and the values are those of a part of A.
    """

    left: Block
    values: Floats
    right: Block
    tolerance: float
    is_complete: bool

    @property
    def norm(self) -> float:
        """‖A‖ in L²; 0 for an operator without a range."""
        return float(self.values[0]) if self.values.size else 0.0

    def rank(self, tolerance: float) -> int:
        """The number of singular values above `tolerance` times the largest."""
        return int(np.sum(self.values > tolerance * self.norm))


def factorize(
    space: StateSpace, operator: Operator, tolerance: float = 1e-13, max_rank: int = 400, seed: int = 0
) -> Factors:
    """The singular value decomposition of an operator down to a tolerance (collective).

    Args:
        space: The state space.
        operator: A.
        tolerance: Singular values below this part of the largest are left out.
        max_rank: Limit of k; lower where N is so large that the factors would not fit.
        seed: Of the random blocks.
    """
    basis, is_complete = _range(space, operator, tolerance, max_rank, seed)
    if not basis.shape[1]:
        return Factors(basis, np.zeros(0), basis.copy(order="F"), tolerance, is_complete)
    right, triangle = orthonormalize(space, adjoint(space, operator, basis))
    u, values, vt = np.linalg.svd(triangle.T)
    kept = values > tolerance * values[0]
    left = np.asfortranarray(basis @ u[:, kept])
    return Factors(left, values[kept], np.asfortranarray(right @ vt[kept].T), tolerance, is_complete)


def _range(space: StateSpace, operator: Operator, tolerance: float, max_rank: int, seed: int) -> tuple[Block, bool]:
    """An orthonormal basis of the range, and whether it is all of it."""
    limit = min(max_rank, max(_BLOCK, int(_ENTRIES / space.num_nodes)))
    basis, largest = create_block(space.num_local, 0), 0.0
    while True:
        width = min(_BLOCK, space.num_nodes - basis.shape[1])
        if width == 0:
            return basis, True
        if basis.shape[1] > limit:
            return basis, False
        images = operator.apply(random_block(space, width, seed, first=basis.shape[1]))
        new, values = _new_directions(space, basis, images)
        largest = max(largest, float(values[0]))
        kept = int(np.sum(values > tolerance * largest))
        fresh, _ = orthonormalize(space, _without(space, basis, np.asfortranarray(new[:, :kept])))
        basis = np.asfortranarray(np.concatenate([basis, fresh], axis=1))
        if kept < width:
            return basis, True


def orthonormal_basis(space: StateSpace, blocks: list[Block], tolerance: float) -> Block:
    """An orthonormal basis of the span of several blocks' columns; directions below a part of the largest are dropped.

    Note:
        Collective. The columns' lengths count: a short column is a direction of little weight.
    """
    basis, largest = create_block(space.num_local, 0), 0.0
    for block in blocks:
        if not block.shape[1]:
            continue
        new, values = _new_directions(space, basis, block)
        largest = max(largest, float(values[0]))
        kept = min(int(np.sum(values > tolerance * largest)), space.num_nodes - basis.shape[1])
        fresh, _ = orthonormalize(space, _without(space, basis, np.asfortranarray(new[:, :kept])))
        basis = np.asfortranarray(np.concatenate([basis, fresh], axis=1))
    return basis


def _new_directions(space: StateSpace, basis: Block, block: Block) -> tuple[Block, Floats]:
    """Orthonormal directions of what a block has outside of a basis, with their singular values."""
    q, r = orthonormalize(space, _without(space, basis, _without(space, basis, block)))
    u, values, _ = np.linalg.svd(r)
    return np.asfortranarray(q @ u), values


def _without(space: StateSpace, basis: Block, block: Block) -> Block:
    """A block less its part in the span of a basis."""
    if not basis.shape[1] or not block.shape[1]:
        return block
    return np.asfortranarray(block - basis @ products(space, basis, block))
