# SPDX-License-Identifier: MIT
"""`SecondSweep`: second derivatives of a block's sweep of which as much is stored as a plan says.

The state that is stored and computed again is the pair (F, δF), and (P, δP) is what is carried back.  A segment's tape
has G, σ', σ'' from the pair before it; with P after it come C and Q, with δF before it C δS, and with δP after it its
part of the product (`adjoint.second_order`).  Use `SecondTape` alone where it fits into memory: it serves any number of
directions, and this sweep one.
"""

from __future__ import annotations

import numpy as np

from fem_selection.adjoint.second_order import (
    Direction,
    SecondTape,
    advance_with_tangent,
    linearize_adjoint,
    linearize_forward,
    sweep_back_second,
)
from fem_selection.dynamics.checkpointing import Replay
from fem_selection.dynamics.checkpoints import Checkpoints, Pool
from fem_selection.dynamics.schemes import Scheme
from fem_selection.dynamics.stepper import Stepper
from fem_selection.dynamics.storage_plan import StoragePlan
from fem_selection.typing import Block, Floats

__all__ = ["BLOCKS", "SecondSweep"]

BLOCKS = 2
"""Blocks of a stored state: F and δF."""


class SecondSweep:
    """A block's sweep forward and back with its derivative in a direction.

    Args:
        stepper: The dynamics.
        plan: What is stored; it has two segments or more.
        num_samples: Number of samples of the block.
        gauss_newton: Whether the terms with the costate are left out.
        allocate: What gives memory.
        checkpoints: Where states are stored.

    Attributes:
        plan: What is stored.
    """

    def __init__(
        self,
        stepper: Stepper,
        plan: StoragePlan,
        num_samples: int,
        *,
        gauss_newton: bool,
        allocate: Pool,
        checkpoints: Checkpoints,
    ) -> None:
        self.plan, self._stepper = plan, stepper
        self._tape = SecondTape(stepper, num_samples, gauss_newton, layers=plan.longest, allocate=allocate)
        self._state, self._tangent = (
            f.T for f in allocate("state and tangent", (BLOCKS, num_samples, stepper.space.num_local))
        )
        self._direction = Direction(kernel=None, bias=None)
        self._checkpoints = checkpoints
        self._replay: Replay | None = None

    @staticmethod
    def bytes_of_layer(rows: int, tape_rows: int, scheme: Scheme, *, gauss_newton: bool) -> int:
        """Return the bytes that a layer takes for each sample, those of C δS among them.

        Args:
            rows: Number of owned nodes.
            tape_rows: Rows of the superposition's tape.
            scheme: The Runge–Kutta scheme.
            gauss_newton: Whether the terms with the costate are left out.
        """
        turns = 0 if gauss_newton else 8 * scheme.num_stages * tape_rows
        return SecondTape.bytes_of_layer_to_second(rows, tape_rows, scheme, gauss_newton=gauss_newton) + turns

    def forward(self, initial: Block, direction: Direction) -> tuple[Block, Block]:
        """Sweep a block and its tangent, δF_0 = 0, through all layers (collective over space).

        Args:
            initial: F_0, shape (num_local, num_samples), in Fortran order.
            direction: δθ and δb.

        Returns:
            F_L and δF_L, work blocks that `back` overwrites.
        """
        np.copyto(self._state, initial)
        self._tangent.fill(0.0)
        self._direction = direction
        self._replay = Replay(
            self.plan,
            self._checkpoints,
            [self._state, self._tangent],
            advance=self._advance,
            record=lambda layers: linearize_forward(self._stepper, self._state, self._tape, layers=layers),
        )
        self._replay.forward()
        return self._tape.states[-1], self._move_tangent()

    def back(
        self, dual: Block | None, d_dual: Block, *, kernel_pullback: Floats | None, bias_dual: Floats | None
    ) -> int:
        """Carry P and δP back to the first layer, and add up δ(∂J/∂θ) and δ(∂J/∂b) (collective over space).

        Args:
            dual: P at T, shape (num_local, num_samples), overwritten; None for Gauss–Newton's product.
            d_dual: δP at T, overwritten.
            kernel_pullback: δ(∂J/∂θ) as a pullback, added to; None to leave the kernel out.
            bias_dual: δ(∂J/∂b), shape (intervals, num_local), added to; None to leave the bias out.

        Returns:
            Number of layers swept forward since `forward` began.
        """
        assert self._replay is not None
        stepper, tape, direction = self._stepper, self._tape, self._direction
        for _ in self._replay.back():
            if dual is not None:
                linearize_adjoint(stepper, tape, dual)
            _, turns = advance_with_tangent(
                stepper, tape, direction, kernel_pullback=kernel_pullback, tangent=self._tangent
            )
            sweep_back_second(
                stepper,
                tape,
                turns,
                d_dual=d_dual,
                direction=direction,
                kernel_pullback=kernel_pullback,
                bias_dual=bias_dual,
            )
        swept, self._replay = self._replay.swept, None
        return swept

    def _advance(self, layers: range) -> None:
        """Carry F and δF through consecutive layers, one part after another on the tape."""
        for begin in range(layers.start, layers.stop, self.plan.longest):
            part = range(begin, min(begin + self.plan.longest, layers.stop))
            end = linearize_forward(self._stepper, self._state, self._tape, layers=part, to_second=False)
            np.copyto(self._tangent, self._move_tangent())
            np.copyto(self._state, end)

    def _move_tangent(self) -> Block:
        """δF after the tape's layers, from δF before them."""
        moved, _ = advance_with_tangent(
            self._stepper,
            self._tape,
            self._direction,
            kernel_pullback=None,
            tangent=self._tangent,
            with_costates=False,
        )
        return moved
