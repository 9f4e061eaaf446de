# SPDX-License-Identifier: MIT
"""The choice of anchors of a representer kernel among states, by pivoted Cholesky of their Gram matrix.

Each step takes the state that lies farthest, in L²(Y), from the span of those taken before.

References:
    Harbrecht, Peters, Schneider, Appl. Numer. Math. 62 (2012) 428, doi:10.1016/j.apnum.2011.10.001.
"""

from __future__ import annotations

import numpy as np

from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import InvalidInput
from fem_selection.typing import Block, Floats, Integers, real_block, whole_number

__all__ = ["choose_anchors", "number_equal"]

_TIE = 1e-9  # relative; of equal distances the first state is taken, on every partition alike
_DEPENDENT = 1e-14  # of the largest square


def choose_anchors(space: StateSpace, states: Block, number: int | None = None) -> Integers:
    """Choose states as anchors (collective over space).

    Of equal states one is enough, and no more states than nodes are, for that many span V_h if they are independent.

    Args:
        space: The state space.
        states: The states at t = 0, shape (num_local, J).
        number: How many to choose; as many as there are different ones if None.

    Returns:
        Their columns, in the order of the choice; in their own order if all different states are taken.

    Raises:
        InvalidInput: if there are no states, or the number is not positive.
    """
    states = real_block(states, space.num_local, "states")
    if not states.shape[1]:
        raise InvalidInput("anchors are chosen among states, and there are none")
    different = _different(space, states)
    wanted = len(different) if number is None else whole_number(number, "the number of anchors", 1)
    count = min(wanted, len(different), space.num_nodes)
    if count == len(different):
        return different
    return different[_pivots(space, np.asfortranarray(states[:, different]), count)]


def number_equal(space: StateSpace, states: Block) -> Integers:
    """Number states such that equal ones have the same number, shape (J,), on all ranks alike (collective over space).

    Args:
        space: The state space.
        states: Shape (num_local, J).
    """
    own: dict[bytes, int] = {}
    # −0 + 0 is 0
    labels = [own.setdefault((column + 0.0).tobytes(), len(own)) for column in states.T]
    together: dict[tuple[int, ...], int] = {}
    rows = zip(*space.comm.allgather(labels), strict=True)
    return np.array([together.setdefault(row, len(together)) for row in rows], dtype=np.int64)


def _different(space: StateSpace, states: Block) -> Integers:
    """The first of each set of equal columns, in order."""
    _, first = np.unique(number_equal(space, states), return_index=True)
    return np.sort(first).astype(np.int64)


def _pivots(space: StateSpace, states: Block, count: int) -> Integers:
    duals = space.apply_mass(states)
    left = space.inner(states, states)
    smallest, taken = _DEPENDENT * float(np.max(left)), np.zeros(count, dtype=np.int64)
    factor, free = np.zeros((len(left), count)), np.ones(len(left), dtype=bool)
    for k in range(count):
        best = float(np.max(left[free]))
        pivot = int(np.flatnonzero(free & (left >= best - _TIE * abs(best)))[0])
        taken[k], free[pivot] = pivot, False
        if left[pivot] > smallest:
            column: Floats = space.comm.allreduce(duals.T @ states[:, pivot]) - factor @ factor[pivot]
            factor[:, k] = column / np.sqrt(left[pivot])
            left = left - factor[:, k] ** 2
    return taken
