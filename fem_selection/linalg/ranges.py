# SPDX-License-Identifier: MIT
"""The range of an operator from its action on random functions.

    Q with orthonormal columns and A ≈ Q Q* A

A is applied to random functions, block by block, and the parts of their images outside the span of Q are added to Q.
This ends when an image has no such part, or when the caller has enough.  The part outside the span measures how much of
A is missing.

References:
    N. Halko, P.-G. Martinsson, J. A. Tropp, Finding structure with randomness, SIAM Review 53 (2011) 217,
    doi:10.1137/090771806.
"""

from __future__ import annotations

from collections.abc import Callable

from fem_selection.discretization.spaces import StateSpace
from fem_selection.linalg.operators import random_block
from fem_selection.linalg.orthonormal import extend_basis
from fem_selection.typing import Block, create_block

__all__ = ["find_range"]


def find_range(
    space: StateSpace,
    apply: Callable[[Block], Block],
    *,
    width: Callable[[int], int],
    tolerance: float,
    limit: int | None = None,
    is_enough: Callable[[Block], bool] | None = None,
    seed: int = 0,
) -> tuple[Block, bool]:
    """Return an orthonormal basis of the range of an operator (collective).

    Args:
        space: The state space.
        apply: F ↦ A F.
        width: Function of the number of columns of the basis to the number of random functions that come next, at least
            1.
        tolerance: Directions below this part of the largest are round-off and left out.
        limit: No block is added to a basis of more columns than this; no limit if None.
        is_enough: Function of the basis, called after each block; if it returns True, the search ends.  It must return
            the same on all ranks.
        seed: Seed of the random functions.

    Returns:
        Q, shape (num_local, r), and whether it spans all of the range, to the tolerance.
    """
    basis, largest = create_block(space.num_local, 0), 0.0
    while basis.shape[1] < space.num_nodes:
        if limit is not None and basis.shape[1] > limit:
            return basis, False
        columns = min(width(basis.shape[1]), space.num_nodes - basis.shape[1])
        images = apply(random_block(space, columns, seed, first=basis.shape[1]))
        basis, largest, added = extend_basis(space, basis, images, tolerance=tolerance, largest=largest)
        if added < columns:
            return basis, True
        if is_enough is not None and is_enough(basis):
            return basis, False
    return basis, True
