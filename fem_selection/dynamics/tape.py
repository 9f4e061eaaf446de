# SPDX-License-Identifier: MIT
"""`Tape`: the stages G_i and the slopes σ' of one block's sweep through consecutive layers, which derivatives need.

A problem with more samples than a block overwrites the tape with every block, so its size does not depend on them; a
tape of a few layers is overwritten as the sweep goes on (`dynamics.checkpointing`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fem_selection.dynamics.schemes import Scheme
from fem_selection.typing import Block, Floats

__all__ = ["Allocate", "Tape", "allocate"]

Allocate = Callable[[str, tuple[int, ...]], Floats]
"""Returns an array of a shape for a named use; its contents are undefined."""


def allocate(name: str, shape: tuple[int, ...]) -> Floats:
    """Return new memory.

    Args:
        name: Its use.
        shape: Its shape.
    """
    return np.empty(shape)


class Tape:
    """Stage states and derivatives of one block's sweep through consecutive layers.

    Args:
        rows: Number of owned nodes, num_local.
        tape_rows: Rows of the superposition's tape.
        num_samples: Number of columns of the block.
        layers: Largest number of layers.
        scheme: The Runge–Kutta scheme.
        allocate: What gives memory.

    Attributes:
        layers: Numbers of the layers n_0, n_0 + 1, … that the tape holds.
        states: F_n at their boundaries, one more than there are layers: a list of (num_local, num_samples) blocks; the
            first is the caller's array, not a copy.
        stages: G_{n,i} as `stages[n - n_0][i]`.  G_{n,0} is the layer's first state itself if the scheme starts at the
            state, and the last stage is the layer's last state if it ends at the state.
        slopes: The tapes of σ' as `slopes[n - n_0][i]` (see `Superposition.evaluate_with_tape`).
        arrays: The memory of the states but the first, of the inner stages and of the slopes, for compiled sweeps.
    """

    def __init__(
        self,
        rows: int,
        tape_rows: int,
        num_samples: int,
        *,
        layers: int,
        scheme: Scheme,
        allocate: Allocate = allocate,
    ) -> None:
        states = allocate("states", (layers, num_samples, rows))
        inner = allocate("inner stages", (layers, scheme.num_inner_stages, num_samples, rows))
        slopes = allocate("slopes", (layers, scheme.num_stages, num_samples, tape_rows))
        self._shares_start = scheme.starts_at_state
        ends: list[Block] = [f.T for f in states]
        self._states = [np.empty((rows, 0)), *ends]
        self._stages: list[list[Block]] = []
        for n in range(layers):
            first, last = self._states[n : n + 1], self._states[n + 1 : n + 2]
            own = [g.T for g in inner[n]]
            self._stages.append([*(first if self._shares_start else []), *own, *(last if scheme.ends_at_state else [])])
        self._slopes: list[list[Block]] = [[d.T for d in slopes[n]] for n in range(layers)]
        self.layers = range(layers)
        self.states, self.stages, self.slopes = self._states, self._stages, self._slopes
        self.arrays = (states, inner, slopes)

    @staticmethod
    def bytes_of_layer(rows: int, tape_rows: int, scheme: Scheme) -> int:
        """Return the bytes that a layer takes for each sample.

        Args:
            rows: Number of owned nodes.
            tape_rows: Rows of the superposition's tape.
            scheme: The Runge–Kutta scheme.
        """
        return 8 * ((1 + scheme.num_inner_stages) * rows + scheme.num_stages * tape_rows)

    def start(self, initial: Block, layers: range | None = None) -> None:
        """Begin to hold other layers.

        Args:
            initial: The state before them, kept by reference.
            layers: Their numbers, at most as many as fit; the first ones, as many as fit, if None.
        """
        self.layers = range(len(self._slopes)) if layers is None else layers
        count = len(self.layers)
        self._states[0] = initial
        if self._shares_start:
            self._stages[0][0] = initial
        if count == len(self._slopes):
            self.states, self.stages, self.slopes = self._states, self._stages, self._slopes
        else:
            self.states = self._states[: count + 1]
            self.stages, self.slopes = self._stages[:count], self._slopes[:count]
