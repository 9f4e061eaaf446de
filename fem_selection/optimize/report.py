# SPDX-License-Identifier: MIT
"""What an optimization leaves: frozen reports, and the callbacks through which it tells of itself on the way."""

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
        objective: J.
        gradient_norm: Norm of the (projected) gradient in x̂, which is the L² norm in collocated mode.
        step: Length of the line search's step.
        evaluations: Evaluations of objective and gradient so far, from the run's beginning.
        maximum_principle_gap: ∫ (H − min H) dt at the iterate, by Pontryagin's methods; else NaN.
        hamiltonian_drift: max H − min H over the layers, likewise.
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
        rate: Step size at its end.
        validation_accuracy: Score of the validation part after the epoch, or NaN.
    """

    epoch: int
    objective: float
    rate: float
    validation_accuracy: float


@dataclass(frozen=True)
class OptimizationReport:
    """How the deterministic phase ended.

    Attributes:
        scaled_solution: Shard of the best x̂.
        objective: J there.
        gradient_norm: Norm of the gradient at the last iterate, for Pontryagin's methods at the solution.
        iterations: Iterations from the run's beginning, resumed parts included.
        evaluations: Evaluations of objective and gradient, likewise.
        reason: Why it stopped, as a sentence.
        converged: Whether a tolerance was met.
        stopped: Whether the caller's `Stop` ended it.
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
        steps: Mini-batch steps done, likewise.
        best_epoch: The epoch of the solution.
        reason: Why it stopped, as a sentence.
        stopped: Whether the caller's `Stop` ended it.
    """

    scaled_solution: Floats
    epochs: int
    steps: int
    best_epoch: int
    reason: str
    stopped: bool


Save = Callable[[dict[str, Any], dict[str, Floats]], None]
"""Writes a checkpoint of a state and named shards; collective."""
Stop = Callable[[], bool]
"""Whether to stop after this iteration; collective, the same answer on every rank."""
