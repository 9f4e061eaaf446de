# SPDX-License-Identifier: MIT
"""`FunctionalLinearization`: the tapes of all samples at one control, which actions of the Hessian read.

The first action at a control takes one sweep forward and, for the exact Hessian, one back.  Further actions at the same
control read stages, slopes, curvatures and duals from the tapes.  Blocks of samples whose tapes exceed the memory limit
are swept again at every action, with the same results.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from mpi4py import MPI

from fem_selection.adjoint.second_order import SecondTape, linearize_adjoint, linearize_forward
from fem_selection.learning.functional import Functional
from fem_selection.objectives.terminal import LinearizedCost

__all__ = ["FunctionalLinearization"]


class FunctionalLinearization:
    """The blocks of a functional's samples, linearized at the controls that its dynamics hold.

    Args:
        functional: J.
        gauss_newton: Whether to leave out the terms with the costate.
        memory: Bytes of tapes to keep on this rank; the blocks that do not fit share one or two further tapes.
    """

    def __init__(self, functional: Functional, gauss_newton: bool, memory: int) -> None:
        self.functional, self.gauss_newton, self.memory = functional, gauss_newton, memory
        self._columns: list[slice] = []
        self._tapes: list[SecondTape] = []
        self._costs: list[LinearizedCost] = []
        self._other_tapes: dict[int, SecondTape] = {}
        self._kept_share, self._current = 0.0, False

    def renew(self) -> None:
        """Linearize again at the next iteration over the blocks, because the controls have changed."""
        self._current = False

    def __iter__(self) -> Iterator[tuple[SecondTape, LinearizedCost]]:
        """Yield tape and cost of block after block; the next block may overwrite a tape (collective over space)."""
        if not self._current:
            self._allocate()
            pairs = zip(self._columns, self._tapes, strict=False)
            self._costs = [self._linearize(columns, tape) for columns, tape in pairs]
            self._count(self._kept_share)
            self._current = True
        yield from zip(self._tapes, self._costs, strict=True)
        for columns in self._columns[len(self._tapes) :]:
            width = columns.stop - columns.start
            if width not in self._other_tapes:
                self._other_tapes[width] = self._create(width)
            tape = self._other_tapes[width]
            yield tape, self._linearize(columns, tape)
        self._count(1.0 - self._kept_share)

    def _allocate(self) -> None:
        """Create tapes for as many blocks as fit, equally many on all ranks of a mesh; keep the tapes if they fit."""
        f = self.functional
        columns = f.blocks(f.initial.shape[1])
        sizes = (SecondTape.size(f.stepper, c.stop - c.start, self.gauss_newton) for c in columns)
        count = sum(total <= self.memory for total in accumulate(sizes))
        if f.control_space.space.comm.size > 1:
            count = f.control_space.space.comm.allreduce(count, op=MPI.MIN)
        if columns != self._columns or count != len(self._tapes):
            self._tapes.clear()  # free the memory before new tapes are allocated
            self._other_tapes.clear()
            self._columns, self._tapes = columns, [self._create(c.stop - c.start) for c in columns[:count]]
        done = columns[count - 1].stop if count else 0
        self._kept_share = done / columns[-1].stop if columns else 1.0

    def _create(self, num_samples: int) -> SecondTape:
        return SecondTape(self.functional.stepper, num_samples, self.gauss_newton)

    def _linearize(self, columns: slice, tape: SecondTape) -> LinearizedCost:
        f = self.functional
        final = linearize_forward(f.stepper, f.initial[:, columns], tape)
        scale = f.weight / f.num_samples
        cost, dual = f.cost.linearize(final, f.targets[:, columns], scale, gauss_newton=self.gauss_newton)
        if dual is not None:
            linearize_adjoint(f.stepper, tape, dual)
        return cost

    def _count(self, share: float) -> None:
        counts = self.functional.counts
        counts.forward += share
        counts.adjoint += 0.0 if self.gauss_newton else share
