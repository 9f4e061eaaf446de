# SPDX-License-Identifier: MIT
"""Further minimisations beside a trained control: descents from inserted minimisers, trainings from random starts.

They answer what no condition at the control itself can: whether another minimum is lower.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from fem_selection.errors import NonFinite
from fem_selection.learning import LearningProblem, random_start
from fem_selection.learning.insertion import Insertions
from fem_selection.optimize import approximate_successively, minimize
from fem_selection.settings import OptimizerSettings
from fem_selection.settings.names import BOUNDED, PONTRYAGIN
from fem_selection.typing import Floats

__all__ = ["FurtherTraining", "descend_from_insertions", "train_from_random_starts"]

_DESCENT_TOLERANCE = 1e-8


@dataclass(frozen=True)
class FurtherTraining:
    """The end of one further minimisation.

    Attributes:
        start: Where it began, as a phrase.
        objective: J at its end; NaN if it had no states.
        gradient_norm: Norm of the (projected) gradient there.
        iterations: Number of iterations.
        reason: Why it ended, as a sentence.
    """

    start: str
    objective: float
    gradient_norm: float
    iterations: int
    reason: str


def descend_from_insertions(
    problem: LearningProblem, insertions: Insertions, max_iterations: int
) -> list[FurtherTraining]:
    """Descend by L-BFGS from the lowest insertion, from the minimisers of all layers and of single ones (collective).

    Args:
        problem: The learning problem; its controls are overwritten.
        insertions: The insertions at a control.
        max_iterations: Limit of iterations of each descent.
    """
    method = "lmvm" if problem.scaled_bounds is None else "blmvm"
    settings = OptimizerSettings(
        method=method, max_iterations=max_iterations, gradient_tolerance=_DESCENT_TOLERANCE, absolute_tolerance=0.0
    )
    starts = {insertions.lowest.where: insertions.controls, **insertions.whole}
    return [
        _minimized(problem, f"inserted: {where}", problem.scaled_functional.to_scaled(controls), settings, 0)
        for where, controls in starts.items()
    ]


def train_from_random_starts(
    problem: LearningProblem, optimizer: OptimizerSettings, count: int, *, seed: int = 0
) -> Iterator[FurtherTraining]:
    """Yield the ends of trainings from random starts (collective; see `learning.starts`).

    Args:
        problem: The learning problem; its controls are overwritten.
        optimizer: Method, limits and tolerances of each.
        count: Number of starts.
        seed: Seed of the starts.
    """
    if problem.scaled_bounds is not None and optimizer.method not in (*BOUNDED, *PONTRYAGIN):
        optimizer = replace(optimizer, method="blmvm")
    for number in range(1, count + 1):
        start = random_start(
            problem.scaled_functional,
            problem.scaled_start,
            number,
            seed=seed,
            scaled_bounds=problem.scaled_bounds,
        )
        yield _minimized(problem, f"random start {number}", start, optimizer, seed)


def _minimized(
    problem: LearningProblem, where: str, scaled_start: Floats, settings: OptimizerSettings, seed: int
) -> FurtherTraining:
    functional, bounds = problem.scaled_functional, problem.scaled_bounds
    try:
        if settings.method in PONTRYAGIN:
            found = approximate_successively(functional, scaled_start, settings, scaled_bounds=bounds, seed=seed)
        else:
            found = minimize(functional, scaled_start, settings, scaled_bounds=bounds)
    except NonFinite as error:
        return FurtherTraining(start=where, objective=np.nan, gradient_norm=np.nan, iterations=0, reason=str(error))
    return FurtherTraining(
        start=where,
        objective=found.objective,
        gradient_norm=found.gradient_norm,
        iterations=found.iterations,
        reason=found.reason,
    )
