# SPDX-License-Identifier: MIT
"""Train from coarse to fine: each level starts at the controls of the level before, as functions of t and y.

    folder/levels/0, 1, …      the trainings of the coarse levels, each with its history and checkpoint
    folder/                    history and checkpoint of the finest, as if it were the only one

A coarse level is trained no further than its discretisation is worth.  Its optimal value differs from that of the
finest level L by errors of orders p + 1 in h = nodes^{-1/d} and q in Δt, p the degree of the space, q the scheme's
order, and a value differs from the optimum by the order of the gradient's square.  Thus level k stops at

    |∇J| ≤ slack · √e_k · τ |∇J(x₀)|,     e_k = max( (h_k / h_L)^{p+1}, (Δt_k / Δt_L)^q ),

τ = optimizer.gradient_tolerance and x₀ the start on the coarsest level.

The L² norm of a gradient hardly depends on the mesh, so that the finest level ends as a training without levels does,
whose tolerance is relative to its first gradient.  A coarse level reduces the first gradient by a tenth at least.

Each level is resumable by itself: a resumed run ends those at once that were done, and goes on with the rest.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fem_selection.cases.kernel import at_key
from fem_selection.errors import InvalidInput
from fem_selection.learning import LearningProblem, prolong_controls
from fem_selection.optimize.report import Stop
from fem_selection.parallel import act_on_root
from fem_selection.settings import MultilevelSettings, OptimizerSettings, OutputSettings, StochasticSettings
from fem_selection.settings.tables import settings_or_default
from fem_selection.studies.report import Progress
from fem_selection.studies.run_files import prepare_folder
from fem_selection.studies.training import train
from fem_selection.studies.training_report import TrainingReport, TrainingResult
from fem_selection.typing import Floats

__all__ = ["LEVELS", "train_levels"]

LEVELS = "levels"
"""Name of the folder of the coarse levels' trainings."""

_LEAST_REDUCTION = 0.1  # of the first gradient, by the coarse levels


def train_levels(
    problems: Sequence[LearningProblem],
    optimizer: OptimizerSettings | None = None,
    stochastic: StochasticSettings | None = None,
    *,
    levels: MultilevelSettings | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    output: OutputSettings | None = None,
    seed: int = 0,
    keys: Sequence[Mapping[str, Mapping[str, Any]]] | None = None,
    texts: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> TrainingResult:
    """Train the same problem on several discretisations, from the coarsest to the finest (collective).

    Args:
        problems: The problem on each level, from coarse to fine; their controls are overwritten.
        optimizer: Settings of the finest level; the others have their own tolerances and limits of iterations.
        stochastic: Settings of a phase on mini-batches, on the coarsest level only.
        levels: Limits of iterations of the coarse levels and the slack of their tolerances; meshes and layers in it are
            not read, since the problems have their own.
        folder: Folder for histories and checkpoints; a run in it is replaced unless it is resumed.
        resume: Whether to continue from the folder's checkpoints, on any number of ranks.
        output: As for `train`.
        seed: As for `train`.
        keys: For each level the tables that identify its problem, in place of `describe_problem`.
        texts: The contents, by name, of further files that belong to the run.
        progress: As for `train`; the phases of coarse levels are named after their level.
        stop: As for `train`.

    Returns:
        The result of the finest level; `report.levels` lists the cost and the gain of all.

    Raises:
        InvalidInput: as `train` and `prolong_controls`, and if a list does not fit the number of levels, or the readout
            has another number of outputs on each.
        NonFinite: as `train`.

    Example:
        >>> from fem_selection import cases, config
        >>> case = config.parse_case({"domain": {"cells": 8}, "dynamics": {"layers": 4, "kernel": "0"},
        ...     "data": {"initial": "cos(3*y) + s", "target": "sin(3*y) - s", "samples": 3},
        ...     "objective": {"loss": "tracking"}, "multilevel": {"cells": [2, 4]}})
        >>> problems = [fs.build_problem(level) for level in cases.level_cases(case)]
        >>> report = fs.studies.train_levels(problems, case.optimizer).report
        >>> [level["nodes"] for level in report.levels], report.converged
        ([3, 5, 9], True)
    """
    optimizer = settings_or_default(optimizer, OptimizerSettings)
    levels = settings_or_default(levels, MultilevelSettings)
    if not problems or (levels.iterations and len(levels.iterations) != len(problems) - 1):
        raise InvalidInput(f"{len(levels.iterations)} limits of iterations for {len(problems)} levels: one less")
    outputs = [problem.functional.control_space.num_outputs for problem in problems]
    if len(set(outputs)) > 1:
        raise InvalidInput(
            f"multilevel: the readout has {', '.join(map(str, outputs))} outputs on the levels, one for each node: it "
            "cannot be carried on; take objective.loss = 'tracking' for targets that are functions"
        )
    where = None if folder is None else Path(folder)
    if where is not None:
        path = where
        act_on_root(problems[-1].ensemble.world, lambda: prepare_folder(path, texts or {}, parts=LEVELS, resume=resume))
    first = problems[0].scaled_functional
    value, gradient = first.evaluate(problems[0].scaled_start)
    norm, listed, controls, result = first.norm(gradient), [], None, None
    before = np.nan
    for number, problem in enumerate(problems):
        is_last = number == len(problems) - 1
        own = _own_settings(optimizer, levels, problems, number=number, norm=norm)
        begin = time.perf_counter()
        value_without = value if number == 0 else problem.scaled_functional.evaluate(problem.scaled_start)[0]
        value_at_start = value_without
        if controls is not None:
            problem = dataclasses.replace(problem, scaled_start=_prolonged(problems[number - 1], problem, controls))
            value_at_start = problem.scaled_functional.evaluate(problem.scaled_start)[0]
        result = train(
            problem,
            own,
            stochastic if number == 0 else None,
            folder=where if where is None or is_last else where / LEVELS / str(number),
            resume=resume,
            output=output if is_last else dataclasses.replace(output or OutputSettings(), figures=False, fields=False),
            seed=seed,
            key=None if keys is None else keys[number],
            texts=texts if is_last else None,
            progress=None if progress is None else _named(progress, "" if is_last else f"level {number}: "),
            stop=stop,
        )
        if result.report is None:
            return result
        controls = result.controls
        entry = _entry(problem, result.report, number=number, tolerance=own.absolute_tolerance)
        listed.append(
            entry
            | {
                "objective_without_levels": float(value_without),
                "objective_at_start": float(value_at_start),
                "change_of_level": None if number == 0 else float(value_at_start - before),
                "seconds_of_level": time.perf_counter() - begin,
            }
        )
        before = result.report.objective
    assert result is not None and result.report is not None
    finest = listed[-1]["work_of_evaluation"]
    for entry in listed:
        entry["work"] = entry["evaluations"] * entry.pop("work_of_evaluation") / finest
    return dataclasses.replace(result, report=dataclasses.replace(result.report, levels=tuple(listed)))


def _entry(problem: LearningProblem, report: TrainingReport, *, number: int, tolerance: float) -> dict[str, Any]:
    layers = problem.functional.stepper.grid.layers
    nodes = problem.space.num_nodes
    rows = problem.functional.stepper.kernel.num_global_parameters / problem.functional.stepper.kernel.num_intervals
    return {
        "level": number,
        "nodes": nodes,
        "layers": layers,
        "controls": report.controls,
        "gradient_tolerance": tolerance,
        "objective": float(report.objective),
        "gradient_norm": report.gradient_norm,
        "iterations": report.iterations,
        "evaluations": report.evaluations,
        "reason": report.reason,
        "converged": report.converged,
        "seconds": report.seconds,
        "work_of_evaluation": float(layers * (rows + nodes)),
    }


def _prolonged(source: LearningProblem, target: LearningProblem, controls: Floats) -> Floats:
    """Shard of x̂ on the target's level, inside of its box."""
    control_space = target.functional.control_space
    with at_key("multilevel"):
        moved = prolong_controls(source.functional.control_space, control_space, controls)
    scaled = control_space.to_scaled(moved)
    return scaled if target.scaled_bounds is None else np.clip(scaled, *target.scaled_bounds)


def _own_settings(
    optimizer: OptimizerSettings,
    levels: MultilevelSettings,
    problems: Sequence[LearningProblem],
    *,
    number: int,
    norm: float,
) -> OptimizerSettings:
    """The settings of a level: its tolerance as a norm, its limit of iterations."""
    is_last = number == len(problems) - 1
    ratio = 1.0 if is_last else levels.slack * np.sqrt(_error(problems[number], problems[-1]))
    relative = optimizer.gradient_tolerance * ratio
    if not is_last:
        relative = min(relative, max(_LEAST_REDUCTION, optimizer.gradient_tolerance))
    limit = levels.iterations[number] if levels.iterations and not is_last else optimizer.max_iterations
    return dataclasses.replace(
        optimizer,
        gradient_tolerance=0.0,
        absolute_tolerance=max(optimizer.absolute_tolerance, float(relative * norm)),
        max_iterations=limit,
    )


def _error(problem: LearningProblem, finest: LearningProblem) -> float:
    """e_k of a level, relative to the finest."""
    stepper, space = problem.functional.stepper, problem.space
    width = (finest.space.num_nodes / space.num_nodes) ** ((space.degree + 1) / space.domain.dimension)
    depth = stepper.grid.step / finest.functional.stepper.grid.step
    return float(max(width, depth**stepper.scheme.order, 1.0))


def _named(progress: Progress, prefix: str) -> Progress:
    def show(phase: str, done: int, total: int, values: Mapping[str, float]) -> None:
        progress(prefix + phase, done, total, values)

    return show
