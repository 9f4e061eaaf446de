# SPDX-License-Identifier: MIT
"""Where in time a right-hand side changes: pieces of a run in which its formulas vary little.

    |b(t, y) − b(s, y)| ≤ ½ max_{r, r'} |b(r, y) − b(r', y)|   for t, s in one piece,   likewise for w and for each term

An integrator with error control sees a narrow pulse only if a stage falls on it.  Therefore the run is divided into
pieces by repeated halving until each term of each formula changes by at most half of its whole change within each
piece; then no step is longer than twice a piece that it touches.  The changes are bounds on whole intervals where the
coefficients are formulas (`SelectionField.coefficient_bounds`), and samples otherwise, between which something may
hide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from mpi4py import MPI

from fem_selection.discretization.numbering import hashed_normal
from fem_selection.dynamics.field import SelectionField
from fem_selection.typing import Floats

__all__ = ["TimePieces", "divide_time"]

_PART = 0.5  # of the whole change of a term that a piece may hold
_STEP = 2.0  # longest step, in units of a piece that it touches
_MOST = 8192  # pieces
_FAR = 1e-2  # of the largest bound: smaller ones wait until the largest are known better
_FIRST, _FIRST_SAMPLED = 16, 64
_MOST_SAMPLED = 1024
_SHORTEST = 2.0**-40  # of the range
Bounds = Callable[[Floats, Floats], tuple[Floats, Floats]]


@dataclass(frozen=True)
class TimePieces:
    """A division of a range of time.

    Attributes:
        edges: Ends of the pieces, increasing, shape (num_pieces + 1,).
        sampled: Whether the changes were sampled, so that shorter ones may be missed.
        complete: Whether all pieces hold little change; else the shortest are as short as their number allows.
    """

    edges: Floats
    sampled: bool
    complete: bool

    @property
    def shortest(self) -> float:
        """The length of the shortest piece."""
        return float(np.min(np.diff(self.edges)))

    def longest_step(self, time: float, step: float) -> float:
        """Return the longest step from a time that is at most a given one and fits the pieces that it touches.

        Args:
            time: t.
            step: The step wanted.
        """
        edges = self.edges
        first = int(np.clip(np.searchsorted(edges, time, side="right") - 1, 0, edges.size - 2))
        for piece in range(first, edges.size - 1):
            before = max(float(edges[piece]) - time, 0.0)
            if step <= before:
                break
            longest = _STEP * float(edges[piece + 1] - edges[piece])
            if step > longest:  # end at the piece, unless a step of its length reaches into it
                step = max(before, longest)
        return step


def divide_time(field: SelectionField, start: float, end: float) -> TimePieces:
    """Divide a range of time into pieces in which kernel and bias vary little (collective over space).

    Args:
        field: F; if it has no `coefficient_bounds`, it is set to other times.
        start: Begin of the range.
        end: Its end.
    """
    sampled = field.coefficient_bounds is None
    bounds = partial(_sampled_bounds, field) if field.coefficient_bounds is None else field.coefficient_bounds
    changes = _Changes(field.space.comm, bounds)
    edges = np.linspace(start, end, (_FIRST_SAMPLED if sampled else _FIRST) + 1)
    starts, ends = edges[:-1], edges[1:]
    found = changes(starts, ends)
    shortest = _SHORTEST * max(end - start, abs(end))
    most = _MOST_SAMPLED if sampled else _MOST
    while True:
        # a bound may exceed the change by far on long pieces: these are halved first, to find how large the change is
        large = np.maximum(changes.seen, _FAR * np.max(np.where(np.isfinite(found), found, 0.0), axis=1))
        restless = np.any(found > _PART * large[:, None], axis=0) & (ends - starts > shortest)
        halved = int(np.sum(restless))
        if not halved or starts.size + halved > most:
            return TimePieces(edges=np.append(np.sort(starts), end), sampled=sampled, complete=not halved)
        middle = 0.5 * (starts[restless] + ends[restless])
        new_starts = np.concatenate([starts[restless], middle])
        new_ends = np.concatenate([middle, ends[restless]])
        found = np.concatenate([found[:, ~restless], changes(new_starts, new_ends)], axis=1)
        starts, ends = np.concatenate([starts[~restless], new_starts]), np.concatenate([ends[~restless], new_ends])


class _Changes:
    """Bounds of the changes of all terms in intervals, the largest of all points of all ranks.

    Attributes:
        seen: The largest change of each term between the middles of all intervals so far.
    """

    def __init__(self, comm: MPI.Intracomm, bounds: Bounds) -> None:
        self._comm, self._bounds = comm, bounds
        self._low: Floats | None = None
        self._high: Floats | None = None
        self.seen = np.zeros(0)

    def __call__(self, starts: Floats, ends: Floats) -> Floats:
        """Return bounds, shape (terms, intervals) (collective)."""
        middle = 0.5 * (starts + ends)
        low, high = self._bounds(middle, middle)
        with np.errstate(invalid="ignore"):
            values = 0.5 * (low + high)
        values = np.where(np.isfinite(values), values, np.nan)
        least = np.fmin.reduce(values, axis=2, initial=np.inf)
        most = np.fmax.reduce(values, axis=2, initial=-np.inf)
        if self._low is not None and self._high is not None:
            least, most = np.minimum(least, self._low), np.maximum(most, self._high)
        self._low, self._high = least, most
        self.seen = self._largest(np.where(most > least, most - least, 0.0))
        low, high = self._bounds(starts, ends)
        with np.errstate(invalid="ignore"):
            return self._largest(np.moveaxis(np.nan_to_num(high - low, nan=np.inf, posinf=np.inf), 1, -1))

    def _largest(self, values: Floats) -> Floats:
        """The maximum over the last axis and over all ranks."""
        largest = np.ascontiguousarray(np.max(values, axis=-1, initial=0.0))
        self._comm.Allreduce(MPI.IN_PLACE, largest, op=MPI.MAX)
        return largest


def _sampled_bounds(field: SelectionField, starts: Floats, ends: Floats) -> tuple[Floats, Floats]:
    """The least and the largest of a few samples of b, and of K r with a random r, at each node, in each interval."""
    probe = np.asfortranarray(hashed_normal(2, field.space.canonical)[:, None])
    low, high = np.empty((2, 2, field.space.num_local, starts.size))
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        samples = []
        for time in np.unique([start, 0.5 * (start + end), end]):
            field.move_to(float(time))
            samples.append([field.bias.copy(), field.preactivation(probe)[:, 0] - field.bias])
        low[:, :, k], high[:, :, k] = np.min(samples, axis=0), np.max(samples, axis=0)
    return low, high
