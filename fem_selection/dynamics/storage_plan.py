# SPDX-License-Identifier: MIT
"""`StoragePlan`: which states of a sweep are stored for the way back, and how many layers are swept again for it.

L layers are cut into S segments.  One segment at a time has a tape of all its layers; c states at boundaries of
segments are stored.  Revolve's binomial schedule [1] then sweeps, beside each segment once for its tape, a number of
segments again that is the least for S and c,

    r S − C(c + r, c + 1),    where r is the number with C(c + r − 1, c) < S ≤ C(c + r, c).

With one segment all layers are stored and none is swept again.  The package `checkpoint_schedules` [2] gives the order.

References:
    [1] A. Griewank, A. Walther, Algorithm 799: Revolve, ACM Transactions on Mathematical Software 26 (2000) 19–45,
    doi:10.1145/347837.347846.
    [2] D. I. Dolci, J. R. Maddison, D. A. Ham, G. Pallez, J. Herrmann, checkpoint_schedules, Journal of Open Source
    Software 9 (2024) 6148, doi:10.21105/joss.06148.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from fem_selection.errors import InvalidInput
from fem_selection.settings import TapeSettings

__all__ = ["StoragePlan", "plan_storage", "repeated_segments"]

_MOST = 3  # times that a layer is swept again at most where a case names the checkpoints, but not the memory


@dataclass(frozen=True)
class StoragePlan:
    """What is stored of one block's sweep.

    Attributes:
        layers: L.
        segments: S.
        checkpoints: c, at most S − 1.
        on_disk: Whether the states are stored in a file rather than in memory.
    """

    layers: int
    segments: int
    checkpoints: int
    on_disk: bool = False

    @property
    def longest(self) -> int:
        """Number of layers of the longest segment."""
        return -(-self.layers // self.segments)

    def boundary(self, segment: int) -> int:
        """Return the number of the first layer of a segment; segments differ by at most one layer."""
        return self.layers * segment // self.segments

    def span(self, begin: int, end: int) -> range:
        """Return the layers of consecutive segments.

        Args:
            begin: Number of the first segment.
            end: Number of the last segment, plus one.
        """
        return range(self.boundary(begin), self.boundary(end))

    def cut(self, layers: range) -> Iterator[range]:
        """Yield the layers of each of the consecutive segments that some layers consist of."""
        number = self.segments * layers.start // self.layers  # of the segment that begins there, or one before
        number += self.boundary(number) < layers.start
        while self.boundary(number) < layers.stop:
            yield self.span(number, number + 1)
            number += 1

    def actions(self) -> Iterator[object]:
        """Yield the actions of `checkpoint_schedules`, whose steps are our segments."""
        from checkpoint_schedules import MultistageCheckpointSchedule

        numbers = (0, self.checkpoints) if self.on_disk else (self.checkpoints, 0)
        yield from MultistageCheckpointSchedule(self.segments, *numbers)

    @property
    def swept_layers(self) -> int:
        """Number of layers that the forward sweep and the sweeps for the way back have together, at least L."""
        from checkpoint_schedules import EndReverse, Forward

        total = 0
        for action in self.actions():
            if isinstance(action, EndReverse):
                break
            if isinstance(action, Forward):
                total += len(self.span(action.n0, action.n1))
        return total

    def memory(self, state: int, layer: int) -> int:
        """Return the bytes of memory of the tape and the states, beside the block's initial states.

        Args:
            state: Bytes of a state.
            layer: Bytes that the tape takes for a layer.
        """
        if self.segments == 1:
            return self.layers * layer
        return (1 if self.on_disk else 1 + self.checkpoints) * state + self.longest * layer


def repeated_segments(segments: int, checkpoints: int) -> int:
    """Return the number of segments that Revolve's schedule sweeps beside those for the tape.

    Args:
        segments: S.
        checkpoints: c, at least one if there are two segments or more.
    """
    if segments == 1:
        return 0
    checkpoints = min(checkpoints, segments - 1)
    if checkpoints == 1:
        return segments * (segments - 1) // 2
    r, reach = 0, 1  # reach = C(c + r, c)
    while reach < segments:
        r += 1
        reach = reach * (checkpoints + r) // r
    return r * segments - math.comb(checkpoints + r, checkpoints + 1)


def plan_storage(layers: int, state: int, layer: int, *, settings: TapeSettings, free: float) -> StoragePlan:
    """Return the plan for a block.

    Args:
        layers: L.
        state: Bytes of a state, as often as it is stored.
        layer: Bytes that the tape takes for a layer.
        settings: What the case says.
        free: Bytes that the tape and the states may take if the case names no number.

    Raises:
        InvalidInput: if `tape.memory` does not suffice for a state and the tape of one layer.
    """
    limit, c = settings.memory, settings.checkpoints
    least = (2 if settings.schedule != "disk" else 1) * state + layer
    if settings.schedule == "all" or layers == 1:
        return _everything(layers)
    if limit is not None and limit < min(least, layers * layer):
        raise InvalidInput(
            f"tape.memory = {limit}: a state and the tape of one layer of a block take {least} bytes; "
            "allow more, or make blocks smaller by parallel.block"
        )
    if settings.schedule == "disk":
        if limit is not None:
            length = max((limit - state) // layer, 1)
        else:
            length = math.isqrt(layers - 1) + 1 if c is None else -(-layers // (c + 1))
        return _with(layers, length, layers if c is None else c, on_disk=True)
    if c is not None and limit is None:
        return _with(layers, -(-layers // math.comb(c + _MOST, _MOST)), c)
    if c is not None and limit is not None:
        if (left := limit - (1 + c) * state) < layer:
            raise InvalidInput(
                f"tape.memory = {limit}: tape.checkpoints = {c} states and the tape of one layer of a block take "
                f"{(1 + c) * state + layer} bytes; allow more, or fewer checkpoints"
            )
        return _with(layers, left // layer, c)
    return _within(layers, state, layer, free if limit is None else limit, is_strict=limit is not None)


def _everything(layers: int) -> StoragePlan:
    return StoragePlan(layers=layers, segments=1, checkpoints=0)


def _with(layers: int, length: int, checkpoints: int, on_disk: bool = False) -> StoragePlan:
    """The plan with segments of at most that many layers."""
    segments = -(-layers // min(length, layers))
    return StoragePlan(layers=layers, segments=segments, checkpoints=min(checkpoints, segments - 1), on_disk=on_disk)


def _within(layers: int, state: int, layer: int, limit: float, *, is_strict: bool) -> StoragePlan:
    """The plan that sweeps fewest layers again among those that fit; of equal ones that with the longest segments.

    A limit that is not strict is raised to the memory of one layer and log₂ L states, with which Revolve is fast.
    """
    if layers * layer <= limit:
        return _everything(layers)
    if not is_strict:
        limit = max(limit, (2 + layers.bit_length()) * state + layer)
    best, least = _with(layers, 1, 1), math.inf
    length = min(int((limit - state) // layer), layers)
    while length > 0:
        segments = -(-layers // length)
        length = -(-layers // segments)  # the shortest segments of that number
        states = int((limit - state - length * layer) // state)
        if states > 0 or segments == 1:
            cost = length * repeated_segments(segments, max(states, 1))
            if cost < least:
                best, least = _with(layers, length, states), cost
        length -= 1
    return best
