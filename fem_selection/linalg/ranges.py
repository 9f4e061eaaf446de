# SPDX-License-Identifier: MIT
"""The range of an operator from what it makes of random functions.

    Q with orthonormal columns and A ≈ Q Q* A

Block after block of random functions is multiplied by A, and what their images have outside of the span of Q is added
to Q, until they have nothing there or the caller says that it is enough.  The next block tells how much of A is left.

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
    """An orthonormal basis of the range of an operator (collective).

    Args:
        space: The state space.
        apply: F ↦ A F.
        width: How many random functions come next, at least one, if the basis has so many columns.
        tolerance: Directions below this part of the largest are round-off and left out.
        limit: The last block is the one with which the basis has more columns; no limit if None.
        is_enough: Asked about the basis after each block, the same answer on all ranks.
        seed: Of the random functions.

    Returns:
        Q, shape (num_local, r), and whether it is all of the range, to the tolerance.
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
