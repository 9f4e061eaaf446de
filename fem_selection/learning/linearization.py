# SPDX-License-Identifier: MIT
"""`FunctionalLinearization`: the tapes of all samples at one control, which actions of the Hessian read.

The first action at a control takes one sweep forward and, for the exact Hessian, one back.  Further actions at the same
control read stages, slopes, curvatures and duals from the tapes.  Blocks of samples whose tapes exceed the memory limit
are swept again at every action, with the same results; where even one tape of all layers is too large, layers are swept
again as the functional's `tape` settings say (`adjoint.second_sweep`).
"""

from __future__ import annotations

from functools import partial
from itertools import accumulate

from mpi4py import MPI

from fem_selection.adjoint.second_order import (
    Direction,
    SecondTape,
    advance_with_tangent,
    linearize_adjoint,
    linearize_forward,
    sweep_back_second,
)
from fem_selection.adjoint.second_sweep import BLOCKS, SecondSweep
from fem_selection.dynamics.checkpoints import Pool
from fem_selection.errors import InvalidInput
from fem_selection.learning.functional import Functional
from fem_selection.objectives.terminal import LinearizedCost
from fem_selection.typing import Block

__all__ = ["FunctionalLinearization"]


class FunctionalLinearization:
    """The blocks of a functional's samples, linearized at the controls that its dynamics hold.

    Args:
        functional: J.
        gauss_newton: Whether to leave out the terms with the costate.
        memory: Bytes of tapes to keep on this rank, at most what `tape.memory` allows; the blocks that do not fit share
            further memory.

    Raises:
        InvalidInput: on all ranks, if `tape.memory` does not suffice, there is no place for states on disk, or not all
            anchors of a representer kernel are stored.

    Note:
        The constructor is collective over the world.
    """

    def __init__(self, functional: Functional, gauss_newton: bool, memory: int) -> None:
        self.functional, self.gauss_newton = functional, gauss_newton
        self.memory = min(memory, functional.sweeps.limit)
        self._columns: list[slice] = []
        self._tapes: list[SecondTape] = []
        self._costs: list[LinearizedCost] = []
        self._pool, self._other_tapes = Pool(), dict[int, SecondTape]()
        self._sweeps: dict[int, SecondSweep] = {}
        self._kept_share, self._current = 0.0, False
        if (anchors := functional.stepper.anchors) is not None and not anchors.keeps_all:
            raise InvalidInput(
                "second derivatives of a representer kernel need its anchors at all layers, of which some are stored: "
                "choose tape.schedule = 'all', or a method without the Hessian"
            )
        self._plan = functional.sweeps.plan(
            0, blocks=BLOCKS, bytes_of_layer=partial(SecondSweep.bytes_of_layer, gauss_newton=gauss_newton)
        )
        functional.sweeps.reserve(functional.control_space.ensemble.world, self._plan, BLOCKS)

    def renew(self) -> None:
        """Linearize again at the next product, because the controls have changed."""
        self._current = False

    def add_products(self, direction: Direction) -> None:
        """Add the products of all blocks with a direction to the functional's duals (collective over space).

        Args:
            direction: The direction in kernel and bias; the cost holds that in the readout.
        """
        if not self._current:
            self._allocate()
            pairs = zip(self._columns, self._tapes, strict=False)
            self._costs = [self._linearize(columns, tape) for columns, tape in pairs]
            self._count(self._kept_share)
            self._current = True
        for tape, cost in zip(self._tapes, self._costs, strict=True):
            self._add_product(tape, cost, direction)
        for columns in self._columns[len(self._tapes) :]:
            width = columns.stop - columns.start
            if self._plan.segments > 1:
                self._sweep(columns, direction)
                continue
            if width not in self._other_tapes:
                if width > max(self._other_tapes, default=width):
                    self._other_tapes.clear()  # their memory is replaced
                self._other_tapes[width] = SecondTape(
                    self.functional.stepper, width, self.gauss_newton, allocate=self._pool
                )
            tape = self._other_tapes[width]
            self._add_product(tape, self._linearize(columns, tape), direction)
        self._count(1.0 - self._kept_share)

    def _add_product(self, tape: SecondTape, cost: LinearizedCost, direction: Direction) -> None:
        """Add the product of a block whose tape has all layers."""
        f = self.functional
        d_final, turns = advance_with_tangent(f.stepper, tape, direction, kernel_pullback=f.pullback)
        sweep_back_second(
            f.stepper,
            tape,
            turns,
            d_dual=f.cost.evaluate_second(cost, d_final),
            direction=direction,
            kernel_pullback=f.pullback,
            bias_dual=f.bias_dual,
        )

    def _sweep(self, columns: slice, direction: Direction) -> None:
        """Add the product of a block of which not all layers are stored."""
        f, width = self.functional, columns.stop - columns.start
        if width not in self._sweeps:
            if width > max(self._sweeps, default=width):
                self._sweeps.clear()  # their memory is replaced
            checkpoints = f.sweeps.checkpoints(self._plan, width, BLOCKS, pool=self._pool)
            assert checkpoints is not None
            self._sweeps[width] = SecondSweep(
                f.stepper,
                self._plan,
                width,
                gauss_newton=self.gauss_newton,
                allocate=self._pool,
                checkpoints=checkpoints,
            )
        sweep = self._sweeps[width]
        final, d_final = sweep.forward(f.initial[:, columns], direction)
        cost, dual = self._linearize_cost(final, columns)
        d_dual = f.cost.evaluate_second(cost, d_final)
        swept = sweep.back(dual, d_dual, kernel_pullback=f.pullback, bias_dual=f.bias_dual)
        layers = f.stepper.grid.layers
        f.counts.repeated += (swept - layers) / layers * width / f.initial.shape[1]

    def _allocate(self) -> None:
        """Create tapes for as many blocks as fit, equally many on all ranks of a mesh; keep the tapes if they fit."""
        f = self.functional
        columns = f.blocks(f.initial.shape[1])
        sizes = (SecondTape.size(f.stepper, c.stop - c.start, self.gauss_newton) for c in columns)
        count = sum(total <= self.memory for total in accumulate(sizes))
        if self._plan.segments > 1:
            count = 0  # no tape of all layers fits
        if f.control_space.space.comm.size > 1:
            count = f.control_space.space.comm.allreduce(count, op=MPI.MIN)
        if columns != self._columns or count != len(self._tapes):
            self._tapes.clear()  # free the memory before new tapes are allocated
            self._other_tapes.clear()
            self._columns = columns
            self._tapes = [SecondTape(f.stepper, c.stop - c.start, self.gauss_newton) for c in columns[:count]]
        done = columns[count - 1].stop if count else 0
        self._kept_share = done / columns[-1].stop if columns else 1.0

    def _linearize(self, columns: slice, tape: SecondTape) -> LinearizedCost:
        f = self.functional
        final = linearize_forward(f.stepper, f.initial[:, columns], tape)
        cost, dual = self._linearize_cost(final, columns)
        if dual is not None:
            linearize_adjoint(f.stepper, tape, dual)
        return cost

    def _linearize_cost(self, final: Block, columns: slice) -> tuple[LinearizedCost, Block | None]:
        f = self.functional
        scale = f.weight / f.num_samples
        return f.cost.linearize(final, f.targets[:, columns], scale, gauss_newton=self.gauss_newton)

    def _count(self, share: float) -> None:
        counts = self.functional.counts
        counts.forward += share
        counts.adjoint += 0.0 if self.gauss_newton else share
