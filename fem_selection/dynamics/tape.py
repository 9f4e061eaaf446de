# SPDX-License-Identifier: MIT
"""`Tape`: the stages G_i and the slopes σ' of one block's sweep through all layers, which derivatives need.

A problem with more samples than a block overwrites the tape with every block, so its size does not depend on them.
"""

from __future__ import annotations

import numpy as np

from fem_selection.dynamics.schemes import Scheme
from fem_selection.typing import Block

__all__ = ["Tape"]


class Tape:
    """Stage states and derivatives of one block's sweep through all layers.

    Args:
        rows: Number of owned nodes, num_local.
        tape_rows: Rows of the superposition's tape.
        num_samples: Number of columns of the block.
        layers: Number of layers.
        scheme: The Runge–Kutta scheme.

    Attributes:
        states: F_0 … F_L, a list of (num_local, num_samples) blocks; F_0 is the caller's array, not a copy.
        stages: G_{n,i} as `stages[n][i]`.  G_{n,0} is `states[n]` itself if the scheme starts at the state, and the
            last stage is `states[n + 1]` if it ends at the state.
        slopes: The tapes of σ' as `slopes[n][i]` (see `Superposition.evaluate_with_tape`).
        arrays: The memory of F_1 … F_L, of the inner stages and of the slopes, for compiled sweeps.
    """

    def __init__(self, rows: int, tape_rows: int, num_samples: int, *, layers: int, scheme: Scheme) -> None:
        states = np.empty((layers + 1, num_samples, rows))
        inner = np.empty((layers, scheme.num_inner_stages, num_samples, rows))
        slopes = np.empty((layers, scheme.num_stages, num_samples, tape_rows))
        self._shares_start = scheme.starts_at_state
        self.states: list[Block] = [f.T for f in states]
        self.stages: list[list[Block]] = []
        for n in range(layers):
            first, last = self.states[n : n + 1], self.states[n + 1 : n + 2]
            own = [g.T for g in inner[n]]
            self.stages.append([*(first if self._shares_start else []), *own, *(last if scheme.ends_at_state else [])])
        self.slopes: list[list[Block]] = [[d.T for d in slopes[n]] for n in range(layers)]
        self.arrays = (states[1:], inner, slopes)

    def start(self, initial: Block) -> None:
        """Set F_0 to the caller's block, by reference."""
        self.states[0] = initial
        if self._shares_start:
            self.stages[0][0] = initial
