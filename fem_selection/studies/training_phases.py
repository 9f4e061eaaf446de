# SPDX-License-Identifier: MIT
"""The two phases of a training, on mini-batches and then on all samples; what each tells and saves on the way.

The first is `optimize.descend`; the second `optimize.minimize`, or for the methods of Pontryagin's principle
`optimize.approximate_successively`.  Each writes its history, a line for an epoch or an iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fem_selection.cases.kernel import at_key
from fem_selection.learning import LearningProblem, SampleStates
from fem_selection.optimize import (
    EpochRow,
    IterationRow,
    OptimizationReport,
    StochasticReport,
    approximate_successively,
    descend,
    minimize,
)
from fem_selection.optimize.report import Stop
from fem_selection.settings import OptimizerSettings, StochasticSettings
from fem_selection.settings.names import PONTRYAGIN
from fem_selection.studies.report import Progress
from fem_selection.studies.run_files import RunFiles
from fem_selection.typing import Floats

__all__ = ["Saved", "TrainingPhases"]

Saved = tuple[Mapping[str, Any], Mapping[str, Floats]]
"""State and vectors of a phase, as a checkpoint holds them."""

SavePhase = Callable[[str, Mapping[str, Any], Mapping[str, Floats]], None]
"""Writes a checkpoint of a phase, by its name, its state and its vectors (collective)."""


@dataclass(frozen=True, kw_only=True)
class TrainingPhases:
    """The phases of one training.

    Attributes:
        problem: The learning problem.
        optimizer: Settings of the phase on all samples.
        stochastic: Settings of the phase on mini-batches.
        seed: Seed of the order of the samples, of the split of a validation part and of random starts.
        files: Histories and checkpoints.
        checkpoint_every: Epochs or iterations between two checkpoints; None for as often as 2 % of the time allows.
        progress: Called on root after every iteration and epoch; None on the other ranks.
        stop: Called between iterations; the run ends if it returns True.
    """

    problem: LearningProblem
    optimizer: OptimizerSettings
    stochastic: StochasticSettings
    seed: int
    files: RunFiles
    checkpoint_every: int | None
    progress: Progress | None
    stop: Stop | None

    def run_stochastic(self, scaled_start: Floats, resume: Saved | None, save: SavePhase) -> StochasticReport:
        """Run the phase on mini-batches (collective).

        Args:
            scaled_start: Shard of the first x̂; ignored when resuming.
            resume: State and vectors that `save` was given earlier.
            save: Writes a checkpoint.
        """
        settings, problem = self.stochastic, self.problem
        with at_key("stochastic.validation"):
            fit, validation = problem.hold_out(settings.validation, self.seed + 1)
        by_accuracy = (validation or problem.train).labels is not None
        columns = ("epoch", "objective", "rate", "validation_accuracy" if by_accuracy else "validation_cost")
        kept = None if resume is None else int(resume[0]["epoch"])
        with self.files.history("stochastic.csv", columns, kept) as append:

            def observe(row: EpochRow) -> None:
                validated = row.validation_score if by_accuracy else -row.validation_score
                append(row.epoch, row.objective, row.rate, validated)
                self._show("stochastic phase", row.epoch, settings.epochs, {"objective": row.objective})

            return descend(
                problem.scaled_functional,
                scaled_start,
                settings,
                source=problem.batches(settings.batch, fit),
                validate=self._score(validation),
                scaled_bounds=problem.scaled_bounds,
                resume=resume,
                save=lambda state, vectors: save("stochastic", state, vectors),
                observe=observe,
                stop=self._ask_to_stop,
                seed=self.seed,
                checkpoint_every=self.checkpoint_every,
            )

    def run_deterministic(self, scaled_start: Floats, resume: Saved | None, save: SavePhase) -> OptimizationReport:
        """Run the phase on all samples (collective).

        Args:
            scaled_start: Shard of the first x̂; ignored when resuming.
            resume: State and vectors that `save` was given earlier.
            save: Writes a checkpoint.
        """
        settings, functional = self.optimizer, self.problem.scaled_functional
        by_pontryagin = settings.method in PONTRYAGIN
        columns: tuple[str, ...] = ("iteration", "objective", "gradient_norm", "step", "evaluations", "seconds")
        columns += ("maximum_principle_gap", "hamiltonian_drift") if by_pontryagin else ()
        kept = None if resume is None else int(resume[0]["iteration"])
        with self.files.history("history.csv", columns, kept) as append:

            def observe(row: IterationRow) -> None:
                more = (row.maximum_principle_gap, row.hamiltonian_drift) if by_pontryagin else ()
                values = (row.objective, row.gradient_norm, row.step, row.evaluations, self.files.seconds())
                append(row.iteration, *values, *more)
                shown = {"objective": row.objective, "gradient": row.gradient_norm}
                self._show(settings.method.upper(), row.iteration, settings.max_iterations, shown)

            given: dict[str, Any] = {
                "scaled_bounds": self.problem.scaled_bounds,
                "resume": resume,
                "save": lambda state, vectors: save("deterministic", state, vectors),
                "observe": observe,
                "stop": self._ask_to_stop,
                "checkpoint_every": self.checkpoint_every,
            }
            if by_pontryagin:
                return approximate_successively(functional, scaled_start, settings, seed=self.seed, **given)
            return minimize(functional, scaled_start, settings, **given)

    def _score(self, part: SampleStates | None) -> Callable[[Floats], float] | None:
        """The function that scores a shard of x̂ on the validation part; None without such a part.

        The score is the accuracy where there are labels, else minus the mean cost.
        """
        if part is None:
            return None
        problem, to_controls = self.problem, self.problem.scaled_functional.to_controls
        if part.labels is not None:
            return lambda scaled: problem.accuracy(part, to_controls(scaled))
        return lambda scaled: -problem.mean_cost(part, to_controls(scaled))

    def _show(self, phase: str, done: int, total: int, values: Mapping[str, float]) -> None:
        if self.progress is not None:
            self.progress(phase, done, total, values)

    def _ask_to_stop(self) -> bool:
        """Whether the run is to stop between two iterations, the same answer on all ranks (collective)."""
        self.files.raise_fault()
        return self.stop is not None and self.stop()
