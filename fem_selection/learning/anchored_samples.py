# SPDX-License-Identifier: MIT
"""`AnchoredSamples`: samples that are anchors of the representer kernel themselves, which need no sweeps of their own.

Where all samples are anchors, the flow of the anchors has their states, and its adjoint, from the cost's dual at T, the
whole derivative: ten products of N × r × r numbers a stage, where sweeps of blocks beside it take more than twice that.
"""

from __future__ import annotations

import numpy as np

from fem_selection.dynamics.anchors import AnchorFlow
from fem_selection.dynamics.stepper import Stepper
from fem_selection.kernels.anchor_choice import number_equal
from fem_selection.typing import Block, Integers, create_block

__all__ = ["AnchoredSamples"]


class AnchoredSamples:
    """A member's samples among the anchors.

    Args:
        flow: The flow of the anchors.
        columns: The anchor that each sample is, shape (J_member,).

    Attributes:
        flow: The flow of the anchors.
    """

    def __init__(self, flow: AnchorFlow, columns: Integers) -> None:
        self.flow, self._columns = flow, columns
        self._is_all = np.array_equal(columns, np.arange(flow.kernel.rank))

    @classmethod
    def find(cls, stepper: Stepper, initial: Block) -> AnchoredSamples | None:
        """Find samples among the anchors; None if one of them is none, or there are none (collective over space).

        Args:
            stepper: The dynamics.
            initial: Initial states of the samples, shape (num_local, J_member).
        """
        flow = stepper.anchors
        if flow is None or not initial.shape[1]:
            return None
        rank = flow.kernel.rank
        numbers = number_equal(stepper.space, np.concatenate([flow.kernel.anchors, initial], axis=1))
        places = {int(number): k for k, number in reversed(list(enumerate(numbers[:rank])))}
        columns = [places.get(int(number), -1) for number in numbers[rank:]]
        return None if -1 in columns else cls(flow, np.array(columns, dtype=np.int64))

    def final(self) -> Block:
        """Return the samples' states at T under the controls last set, not to be written to (collective over space)."""
        self.flow.bind()
        self.flow.kernel.place(0)
        return self.pick(self.flow.final)

    def pick(self, anchors: Block) -> Block:
        """Return the samples' columns of a block of the anchors."""
        return anchors if self._is_all else np.asfortranarray(anchors[:, self._columns])

    def spread(self, dual: Block) -> Block:
        """Return the anchors' dual from that of the samples: the transpose of `pick`."""
        if self._is_all:
            return dual
        result = create_block(len(dual), self.flow.kernel.rank)
        for column, own in zip(self._columns, dual.T, strict=True):
            result[:, column] += own
        return result
