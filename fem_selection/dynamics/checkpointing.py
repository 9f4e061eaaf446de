# SPDX-License-Identifier: MIT
"""Sweeps forward and back of which as much is stored as a plan says; the rest is computed again on the way back.

    sweeps = TapedSweeps(stepper, settings, world)
    sweep = sweeps.of(num_samples)
    final = sweep.forward(initial)
    for tape in sweep.back():  # the last layers first; one tape if all layers are stored
        sweep_back(stepper, tape, dual, …)

`dynamics.storage_plan` decides what is stored, `Replay` runs the actions of the schedule.  States are computed again by
the same operations, so derivatives do not depend on the plan but for round-off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from mpi4py import MPI

from fem_selection.dynamics.anchors import AnchorFlow
from fem_selection.dynamics.checkpoints import Checkpoints, FileCheckpoints, MemoryCheckpoints, Pool
from fem_selection.dynamics.stepper import Stepper
from fem_selection.dynamics.storage_plan import StoragePlan, plan_storage
from fem_selection.dynamics.tape import Tape
from fem_selection.errors import InvalidInput
from fem_selection.parallel import free_memory_of_rank
from fem_selection.settings import TapeSettings
from fem_selection.typing import Block

__all__ = ["Replay", "TapedSweep", "TapedSweeps"]

_SHARE = 0.5  # of the free memory: optimizers and products of the Hessian need some too


class Replay:
    """Runs the actions of a plan's schedule with the caller's functions for a range of layers.

    Args:
        plan: The plan.
        checkpoints: Where states are stored.
        state: The blocks of the state at the place where the sweep stands; overwritten.
        advance: Carries the state through consecutive layers.
        record: Fills the tape with consecutive layers, from the state before them, to which it may refer.

    Attributes:
        swept: Number of layers that have been swept forward since the last `forward` began.
    """

    def __init__(
        self,
        plan: StoragePlan,
        checkpoints: Checkpoints,
        state: Sequence[Block],
        *,
        advance: Callable[[range], object],
        record: Callable[[range], object],
    ) -> None:
        self.swept = 0
        self._plan, self._checkpoints, self._state = plan, checkpoints, state
        self._advance, self._record = advance, record
        self._actions: Iterator[object] = iter(())

    def forward(self) -> None:
        """Sweep forward from the state, that at 0; the tape has the last segment afterwards."""
        from checkpoint_schedules import EndForward

        self.swept = 0
        self._checkpoints.clear()
        self._actions = self._plan.actions()
        for action in self._actions:
            if isinstance(action, EndForward):
                return
            self._follow(action)

    def back(self) -> Iterator[range]:
        """Yield the layers of each segment, the last segment first, when the tape has it."""
        from checkpoint_schedules import EndReverse, Reverse

        for action in self._actions:
            if isinstance(action, EndReverse):
                return
            if isinstance(action, Reverse):
                yield self._plan.span(action.n0, action.n1)
            else:
                self._follow(action)

    def _follow(self, action: object) -> None:
        from checkpoint_schedules import Copy, Forward, Move

        if isinstance(action, Forward):
            layers = self._plan.span(action.n0, action.n1)
            if action.write_ics:
                self._checkpoints.save(action.n0, self._state)
            (self._record if action.write_adj_deps else self._advance)(layers)
            self.swept += len(layers)
        else:
            assert isinstance(action, Copy | Move)
            self._checkpoints.load(action.n, self._state, forget=isinstance(action, Move))


class TapedSweep:
    """A block's sweep forward and back.

    Args:
        stepper: The dynamics.
        plan: What is stored.
        num_samples: Number of samples of the block.
        allocate: What gives memory.
        checkpoints: Where states are stored; None if all layers are.

    Attributes:
        plan: What is stored.
        repeated: Number of layers that were swept again on the last way back, as often as they were.
    """

    def __init__(
        self, stepper: Stepper, plan: StoragePlan, num_samples: int, *, allocate: Pool, checkpoints: Checkpoints | None
    ) -> None:
        self.plan, self._stepper = plan, stepper
        self.repeated = 0
        self._tape = tape = stepper.create_tape(num_samples, plan.longest, allocate)
        self._replay: Replay | None = None
        self._anchors: _Anchors | None = None
        if checkpoints is not None:
            rank = 0 if stepper.anchors is None else stepper.anchors.kernel.rank
            blocks = allocate("current state", (num_samples + rank, stepper.space.num_local)).T
            self._state = state = blocks[:, :num_samples]
            advance: Callable[[range], object] = partial(stepper.advance_in_place, state)
            record: Callable[[range], object] = partial(_record, stepper, state, tape)
            if stepper.anchors is not None:
                self._anchors = anchors = _Anchors(stepper.anchors, blocks[:, num_samples:], plan)
                advance, record = anchors.before(advance), anchors.before(record)
            self._replay = Replay(plan, checkpoints, [blocks], advance=advance, record=record)

    def forward(self, initial: Block) -> Block:
        """Sweep a block through all layers and return F_L, a block of the tape (collective over space).

        Args:
            initial: F_0, shape (num_local, num_samples), in Fortran order.
        """
        if self._replay is None:
            return self._stepper.advance(initial, self._tape)
        np.copyto(self._state, initial)
        if self._anchors is not None:
            self._anchors.restart()
        self._replay.forward()
        return self._tape.states[-1]

    def back(self) -> Iterator[Tape]:
        """Yield the tape of consecutive layers after the last `forward`, the last layers first (collective over space).

        Together the tapes hold each layer once.  The next one overwrites a tape.
        """
        if self._replay is None:
            yield self._tape
            return
        for _ in self._replay.back():
            yield self._tape
        self.repeated = self._replay.swept - self.plan.layers

    def through(self, initial: Block) -> Iterator[Tape]:
        """Sweep a block forward and yield the tapes of its layers, the first layers first (collective over space).

        Args:
            initial: F_0, shape (num_local, num_samples), in Fortran order.
        """
        state = initial
        if self._anchors is not None:
            self._anchors.restart()
        for layers in self.plan.cut(range(self.plan.layers)):
            if self._anchors is not None:
                self._anchors.cover(layers)
            end = self._stepper.advance(state, self._tape, layers)
            yield self._tape
            if self._replay is not None:
                np.copyto(self._state, end)
                state = self._state


def _record(stepper: Stepper, state: Block, tape: Tape, layers: range) -> None:
    stepper.advance(state, tape, layers)


class _Anchors:
    """The anchors of a kernel beside a block: a part of the state that is stored, and taken up again."""

    def __init__(self, flow: AnchorFlow, state: Block, plan: StoragePlan) -> None:
        self._flow, self._state, self._plan = flow, state, plan

    def restart(self) -> None:
        """Take the anchors at t = 0."""
        self._flow.state = self._state
        self._flow.restart()

    def cover(self, layers: range) -> None:
        """Let the anchors, which stand before a segment, flow through it."""
        self._flow.position = layers.start
        self._flow.cover(layers)

    def before(self, go: Callable[[range], object]) -> Callable[[range], None]:
        """Return a function that goes through layers with the anchors one segment ahead."""

        def with_anchors(layers: range) -> None:
            for segment in self._plan.cut(layers):
                self.cover(segment)
                go(segment)

        return with_anchors


class TapedSweeps:
    """The sweeps of blocks of all sizes, which share memory; the sweep of one block at a time is valid.

    Args:
        stepper: The dynamics.
        settings: What is stored.
        world: All ranks that have a part in the problem; its ranks take equal shares of a machine's memory.
        widest: Number of samples of the widest blocks that are expected, the same on all ranks.

    Raises:
        InvalidInput: on all ranks, if `tape.memory` does not suffice, or there is no place for states on disk.

    Note:
        The constructor is collective over the world.
    """

    def __init__(self, stepper: Stepper, settings: TapeSettings, world: MPI.Intracomm, *, widest: int) -> None:
        self.settings, self._stepper, self._widest = settings, stepper, widest
        rows, points = stepper.space.num_local, stepper.superposition.tape_rows
        self._rows, self._points = (world.allreduce(count, op=MPI.MAX) for count in (rows, points))
        self._free = np.inf
        if settings.memory is None and settings.schedule in ("auto", "memory"):
            self._free = _SHARE * free_memory_of_rank(world)
        self._pool, self._sweeps = Pool(), dict[int, TapedSweep]()
        self._plans: dict[tuple[int, int, int], StoragePlan] = {}
        self._files: dict[int, FileCheckpoints] = {}
        self._anchors = stepper.anchors
        plan = self.plan(widest)
        if self._anchors is not None and self._anchors.plan is None:
            self._anchors.plan = plan
            self._anchors.keep(plan.longest)
        self.reserve(world, plan)

    @property
    def limit(self) -> float:
        """Bytes that a block's tape and its stored states may take on this rank; infinite if nothing limits them."""
        return self._free if self.settings.memory is None else float(self.settings.memory)

    def plan(
        self, num_samples: int, *, blocks: int = 1, bytes_of_layer: Callable[..., int] = Tape.bytes_of_layer
    ) -> StoragePlan:
        """Return the plan for a block, the same on all ranks of a mesh and for all blocks as wide as expected.

        Args:
            num_samples: Number of samples of the block.
            blocks: Number of blocks that are stored as one state.
            bytes_of_layer: Function of rows, tape rows and scheme: bytes that a tape takes for a layer and a sample.

        Raises:
            InvalidInput: if `tape.memory` does not suffice.
        """
        samples = max(num_samples, self._widest, 1)
        layer = samples * bytes_of_layer(self._rows, self._points, self._stepper.scheme)
        columns = samples
        if self._anchors is not None and blocks == 1:  # the anchors belong to the state
            if self._anchors.plan is not None:
                return self._anchors.plan
            columns += self._anchors.kernel.rank
            layer += self._anchors.kernel.rank * AnchorFlow.bytes_of_layer(
                self._rows, self._points, self._stepper.scheme
            )
        key = (samples, blocks, layer)
        if key not in self._plans:
            self._plans[key] = plan_storage(
                self._stepper.grid.layers,
                8 * columns * self._rows * blocks,
                layer,
                settings=self.settings,
                free=self._free,
            )
        return self._plans[key]

    def of(self, num_samples: int) -> TapedSweep:
        """Return the sweep for blocks of that many samples, the same one in every call (collective over space)."""
        if num_samples not in self._sweeps:
            plan = self.plan(num_samples)
            if len(self._sweeps) > 3 or num_samples > max(self._sweeps, default=num_samples):
                self._sweeps.clear()  # their memory is replaced
            if not self._sweeps and num_samples < self._widest:
                self._create(plan, self._widest)  # memory that fits all blocks
            self._sweeps[num_samples] = self._create(plan, num_samples)
        return self._sweeps[num_samples]

    def _create(self, plan: StoragePlan, num_samples: int) -> TapedSweep:
        checkpoints = self.checkpoints(plan, num_samples, 1, pool=self._pool)
        return TapedSweep(self._stepper, plan, num_samples, allocate=self._pool, checkpoints=checkpoints)

    def checkpoints(self, plan: StoragePlan, num_samples: int, blocks: int, *, pool: Pool) -> Checkpoints | None:
        """Return where the states of a sweep are stored; None if all of its layers are.

        Args:
            plan: What is stored.
            num_samples: Number of samples of the block.
            blocks: Number of blocks that are stored as one state.
            pool: What gives memory.

        Raises:
            InvalidInput: on this rank, if there is no place on disk.
        """
        if plan.segments == 1:
            return None
        rows, more = self._stepper.space.num_local, 0
        if self._anchors is not None and blocks == 1:
            more = self._anchors.kernel.rank
        if not plan.on_disk:
            return MemoryCheckpoints(pool("checkpoints", (plan.checkpoints, blocks, num_samples + more, rows)))
        size = 8 * rows * (max(num_samples, self._widest) + more) * blocks
        file = self._files.get(blocks)
        if file is None or file.size < size or file.slots < plan.checkpoints:
            self._files.pop(blocks, None)
            self._files[blocks] = FileCheckpoints(plan.checkpoints, size, self.settings.directory)
        return self._files[blocks]

    def reserve(self, world: MPI.Intracomm, plan: StoragePlan, blocks: int = 1) -> None:
        """Reserve the place on disk that the widest blocks need (collective over the world).

        Args:
            world: All ranks that have a part in the problem.
            plan: What is stored.
            blocks: Number of blocks that are stored as one state.

        Raises:
            InvalidInput: on all ranks, if one of them has no such place.
        """
        if not plan.on_disk or plan.segments == 1:
            return
        fault = None
        try:
            self.checkpoints(plan, self._widest, blocks, pool=self._pool)
        except InvalidInput as error:
            fault = str(error)
        if words := next((words for words in world.allgather(fault) if words is not None), None):
            raise InvalidInput(words)
