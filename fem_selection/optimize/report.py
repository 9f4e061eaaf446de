# SPDX-License-Identifier: MIT
"""The results of an optimization: the frozen reports at its end, the lines of its history, and its callbacks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fem_selection.typing import Floats

__all__ = ["EpochRow", "IterationRow", "OptimizationReport", "Save", "StochasticReport", "Stop"]


@dataclass(frozen=True)
class IterationRow:
    """One line of the history: an iteration of the deterministic phase.

    Attributes:
        iteration: Number of the iteration, counted from the run's beginning; 0 is the start.
        objective: J at the iterate.
        gradient_norm: Norm of the (projected) gradient in x̂, which is the L² norm in collocated mode.
        step: Step length that the method took.
        evaluations: Evaluations of objective and gradient so far, from the run's beginning.
        maximum_principle_gap: ∫ (H − min H) dt at the iterate; NaN if the method did not measure it.
        hamiltonian_drift: max H − min H over the layers; NaN if the method did not measure it.
    """

    iteration: int
    objective: float
    gradient_norm: float
    step: float
    evaluations: int
    maximum_principle_gap: float = math.nan
    hamiltonian_drift: float = math.nan


@dataclass(frozen=True)
class EpochRow:
    """One line of the stochastic phase's history.

    Attributes:
        epoch: Number of the epoch, from 1.
        objective: Mean of the mini-batches' objectives over the epoch.
        rate: Step size at the end of the epoch.
        validation_score: What `descend` was given to validate by, after the epoch; larger is better.  NaN if it was
            given nothing.
    """

    epoch: int
    objective: float
    rate: float
    validation_score: float


@dataclass(frozen=True)
class OptimizationReport:
    """How the deterministic phase ended.

    Attributes:
        scaled_solution: Shard of the best x̂.
        objective: J at the solution.
        gradient_norm: Norm of the gradient at the last iterate, for Pontryagin's methods at the solution.
        iterations: Iterations from the run's beginning, resumed parts included.
        evaluations: Evaluations of objective and gradient, resumed parts included.
        reason: Why the phase stopped, as a sentence.
        converged: Whether a tolerance was met.
        stopped: Whether the caller's `Stop` ended the phase.
    """

    scaled_solution: Floats
    objective: float
    gradient_norm: float
    iterations: int
    evaluations: int
    reason: str
    converged: bool
    stopped: bool


@dataclass(frozen=True)
class StochasticReport:
    """How the stochastic phase ended.

    Attributes:
        scaled_solution: Shard of x̂: the best by validation, or the last without a validation part.
        epochs: Epochs done, from the run's beginning.
        steps: Mini-batch steps done, from the run's beginning.
        best_epoch: The epoch of the solution.
        reason: Why the phase stopped, as a sentence.
        stopped: Whether the caller's `Stop` ended the phase.
    """

    scaled_solution: Floats
    epochs: int
    steps: int
    best_epoch: int
    reason: str
    stopped: bool


Save = Callable[[dict[str, Any], dict[str, Floats]], None]
"""Writes a checkpoint of a state and of shards by name (collective)."""
Stop = Callable[[], bool]
"""Returns whether to stop after this iteration, the same answer on every rank (collective)."""
