# SPDX-License-Identifier: MIT
"""Bounds of a case's coefficients on whole intervals of time, by interval arithmetic on their formulas.

Bounds hold for whole intervals of t, at some points of Y: all nodes of a small mesh, some 48 of a larger one, and pairs
of these for the kernel.  Where a kernel is singular, at y = z, it has no bound and no value that is used, and counts
as zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fem_selection.discretization.spaces import StateSpace
from fem_selection.functions.formulas import Formula
from fem_selection.functions.intervals import Interval, point
from fem_selection.typing import Floats

__all__ = ["bounds_in_time"]

_POINTS, _POINTS_OF_PAIRS = 48, 12


def bounds_in_time(space: StateSpace, formulas: Sequence[Formula]) -> Callable[[Floats, Floats], tuple[Floats, Floats]]:
    """The function that a `SelectionField` takes as `coefficient_bounds` (collective).

    Args:
        space: The state space.
        formulas: The formulas of kernel and bias, in t, y and z, or x = y − z; their terms without t are left out.
    """
    terms = [term for formula in formulas for term in formula.terms if "t" in term.names]
    singles = _chosen(space, _POINTS)
    pairs = _chosen(space, _POINTS_OF_PAIRS)
    others = np.concatenate(space.comm.allgather(pairs))
    first, second = np.repeat(pairs, len(others), axis=0), np.tile(others, (len(pairs), 1))
    same = np.all(first == second, axis=1)
    rows = max(len(singles), len(first))

    def bounds(starts: Floats, ends: Floats) -> tuple[Floats, Floats]:
        t = Interval(starts[None, :], ends[None, :])
        low = np.zeros((len(terms), rows, starts.size))
        high = low.copy()
        for number, term in enumerate(terms):
            letters = {n[0] for n in term.names if n != "t"}
            of_pairs = "x" in letters or {"y", "z"} <= letters
            y, z = (first, second) if of_pairs else (singles, singles)
            values = {"t": t} | {
                name: point(points[:, [int(name[1:] or 0)]])
                for letter, points in (("y", y), ("z", z), ("x", first - second))
                for name in term.names
                if name[0] == letter and name != "t"
            }
            found = term.enclose(**{name: values[name] for name in term.names})
            lower, upper = found.lower, found.upper
            if of_pairs:
                singular = same[:, None] & ~(np.isfinite(found.lower) & np.isfinite(found.upper))
                lower, upper = np.where(singular, 0.0, found.lower), np.where(singular, 0.0, found.upper)
            low[number, : len(y)], high[number, : len(y)] = lower, upper
        return low, high

    return bounds


def _chosen(space: StateSpace, count: int) -> Floats:
    """Coordinates of about `count` nodes of the whole mesh that lie on this rank, shape (n, dimension)."""
    stride = max(space.num_nodes // count, 1)
    return np.ascontiguousarray(space.coordinates[space.canonical % stride == 0])
