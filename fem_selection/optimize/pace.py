# SPDX-License-Identifier: MIT
"""When a checkpoint is due: every n iterations, or as often as a small part of the time allows.

    the next one begins at t ≥ t_end + c (1 − p) / p,    c the shorter time of the last two, p = 2 %

So writing takes at most the part p of a run, and a kill loses c/p of work: two seconds if writing takes 40 ms.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from mpi4py import MPI

from fem_selection.typing import whole_number

__all__ = ["Pace"]

_PART = 0.02
_FIRST = 0.2  # seconds that the first one counts at most: it may wait for a file system that wakes up


class Pace:
    """Tells after which iterations to write a checkpoint; the same on all ranks.

    Args:
        every: Iterations between two checkpoints; None for as many as the time for writing asks.
        world: The ranks.

    Raises:
        InvalidInput: if `every` is no positive whole number.
    """

    def __init__(self, every: int | None, world: MPI.Intracomm) -> None:
        self._every = None if every is None else whole_number(every, "checkpoint_every", 1)
        self._world, self._next, self._before = world, 0.0, _FIRST

    def is_due(self, iteration: int) -> bool:
        """Whether a checkpoint is due after an iteration (collective)."""
        if self._every is not None:
            return iteration % self._every == 0
        return bool(self._world.bcast(time.monotonic() >= self._next))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Take the time of what is done in this context; the time before counts if that was shorter."""
        start = time.monotonic()
        yield
        end = time.monotonic()
        self._next = end + min(end - start, self._before) * (1.0 - _PART) / _PART
        self._before = end - start
