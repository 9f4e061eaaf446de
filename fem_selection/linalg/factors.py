# SPDX-License-Identifier: MIT
"""The numerical range of an operator: A ≈ Σ_k s_k u_k ⊗ v_k, its singular value decomposition in L².

A kernel in L² gives a compact operator, and if it is smooth or separable, few singular values are above round-off.  The
questions of stability are then questions about small matrices: with U = (u_k), V = (v_k), S = diag(s_k), A = U S V*,

    nonzero spectrum of A = spectrum of S V*U,      ker A = (span V)^⊥,      A² = U S (V*U) S V*.

`fem_selection.linalg.ranges` finds the range.  To cut a kernel at a tolerance, use `fem_selection.linalg.compression`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.discretization.spaces import StateSpace
from fem_selection.linalg.operators import Operator, adjoint, products, random_block
from fem_selection.linalg.orthonormal import orthonormalize
from fem_selection.linalg.ranges import find_range
from fem_selection.typing import Block, Floats

__all__ = ["MAX_RANK", "MAX_WHOLE", "Factors", "factorize", "missing_norm"]

MAX_RANK = 400
"""Default of the largest rank."""
MAX_WHOLE = 2048
"""Nodes up to which all factors of an operator, and their eigenvalues, take a few seconds, whatever its rank."""
_BLOCK = 24
_ENTRIES = 3e7  # largest number of entries of a basis
_STEPS, _SAFETY = 6, 1.5  # of block power iterations for the norm of what is left out, which they approach from below


@dataclass(frozen=True, eq=False)
class Factors:
    """A ≈ U diag(s) V*.

    Attributes:
        left: U, L²-orthonormal columns, shape (num_local, k).
        values: s, decreasing, shape (k,).
        right: V, likewise L²-orthonormal.
        tolerance: Singular values below this part of the largest are left out.
        is_complete: Whether all others are there; if not, k reached its limit, and the values are those of a part of A.
    """

    left: Block
    values: Floats
    right: Block
    tolerance: float
    is_complete: bool

    @property
    def norm(self) -> float:
        """‖A‖ in L²; 0 for the zero operator."""
        return float(self.values[0]) if self.values.size else 0.0

    def rank(self, tolerance: float) -> int:
        """Return the number of singular values above `tolerance` times the largest."""
        return int(np.sum(self.values > tolerance * self.norm))


def factorize(
    space: StateSpace, operator: Operator, tolerance: float = 1e-13, *, max_rank: int = MAX_RANK, seed: int = 0
) -> Factors:
    """Return the singular value decomposition of an operator down to a tolerance (collective).

    Args:
        space: The state space.
        operator: A.
        tolerance: Singular values below this part of the largest are left out.
        max_rank: Limit of k; lower if N is so large that the factors would need too much memory.
        seed: Seed of the random functions.
    """
    limit = min(max_rank, max(_BLOCK, int(_ENTRIES / space.num_nodes)))
    basis, is_complete = find_range(
        space,
        operator.apply,
        width=lambda known: max(_BLOCK, min(known // 2, limit - known)),
        tolerance=tolerance,
        limit=limit,
        seed=seed,
    )
    if not basis.shape[1]:
        return Factors(
            left=basis,
            values=np.zeros(0),
            right=basis.copy(order="F"),
            tolerance=tolerance,
            is_complete=is_complete,
        )
    right, triangle = orthonormalize(space, adjoint(space, operator, basis))
    u, values, vt = np.linalg.svd(triangle.T)
    kept = values > tolerance * values[0]
    return Factors(
        left=np.asfortranarray(basis @ u[:, kept]),
        values=values[kept],
        right=np.asfortranarray(right @ vt[kept].T),
        tolerance=tolerance,
        is_complete=is_complete,
    )


def missing_norm(space: StateSpace, operator: Operator, factors: Factors) -> float:
    """Return ‖A − U S V*‖ in L², estimated from above by block power iterations (collective).

    Args:
        space: The state space.
        operator: A.
        factors: Some factors of it.
    """
    left, right = factors.left * factors.values, factors.right * factors.values

    def rest(v: Block) -> Block:
        return np.asfortranarray(operator.apply(v) - left @ products(space, factors.right, v))

    def rest_adjoint(v: Block) -> Block:
        return np.asfortranarray(adjoint(space, operator, v) - right @ products(space, factors.left, v))

    block, size = orthonormalize(space, random_block(space, min(_BLOCK, space.num_nodes), 7))[0], 0.0
    for _ in range(_STEPS):
        block, triangle = orthonormalize(space, rest(block))
        size = float(np.linalg.norm(triangle, 2))
        if size == 0.0:
            break
        block = orthonormalize(space, rest_adjoint(block))[0]
    return _SAFETY * size
