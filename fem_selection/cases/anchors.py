# SPDX-License-Identifier: MIT
"""The anchors of a case's representer kernel: training samples, all or some, or functions given by formulas."""

from __future__ import annotations

import numpy as np

from fem_selection import config
from fem_selection.cases.kernel import case_formula, require_finite
from fem_selection.discretization.coefficients import function_values
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import InvalidInput
from fem_selection.kernels import choose_anchors
from fem_selection.learning import SampleStates
from fem_selection.typing import Block, Integers

__all__ = ["anchor_numbers", "anchor_states", "anchors_need_samples", "representer_rank"]


def anchors_need_samples(case: config.Case) -> bool:
    """Whether the kernel of a case follows training samples."""
    return "representer" in case.dynamics.representation and not isinstance(case.dynamics.anchors, tuple)


def representer_rank(case: config.Case, train: SampleStates) -> int:
    """The largest number of anchors that a case can have; 1 without a representer kernel.

    Args:
        case: The case.
        train: The training samples.
    """
    anchors = case.dynamics.anchors
    if "representer" not in case.dynamics.representation:
        return 1
    if isinstance(anchors, tuple):
        return len(anchors)
    return min(anchors, train.num_samples) if isinstance(anchors, int) else train.num_samples


def anchor_numbers(case: config.Case, space: StateSpace, train: SampleStates) -> Integers:
    """The numbers of the training samples that are anchors (collective over space).

    Every rank computes them from all samples.

    Args:
        case: The case; its kernel follows training samples.
        space: The state space.
        train: The training samples.
    """
    chosen, states = case.dynamics.anchors, train.states(np.arange(train.num_samples), None)
    return choose_anchors(space, states, chosen if isinstance(chosen, int) else None)


def anchor_states(
    case: config.Case, space: StateSpace, train: SampleStates, *, numbers: Integers | None = None
) -> Block:
    """The anchors at t = 0, shape (num_local, r) (collective over space).

    Args:
        case: The case; its kernel is a representer kernel.
        space: The state space.
        train: The training samples.
        numbers: Which of them are the anchors; `anchor_numbers` if None.

    Raises:
        InvalidInput: if there are no samples, or a formula is faulty or not finite at some node.
    """
    formulas = case.dynamics.anchors
    if isinstance(formulas, tuple):
        values = [function_values(space, case_formula(case, text, "y")) for text in formulas]
        require_finite(space, np.array(values), "dynamics.anchors", *formulas)
        return np.asfortranarray(np.array(values).T)
    if train.num_samples == 0:
        raise InvalidInput("dynamics.anchors: the kernel follows training samples, and there are none")
    return train.states(anchor_numbers(case, space, train) if numbers is None else numbers, None)
