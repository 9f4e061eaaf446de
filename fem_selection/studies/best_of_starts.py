# SPDX-License-Identifier: MIT
"""Train from several starts and keep the best, all of them listed.

    folder/starts/0, 1, …      the trainings, each with its history and checkpoint; 0 is the problem's own start
    folder/                    history and checkpoint of the best, as if it were the only one

Each training is resumable by itself: a resumed run ends those at once that were done, and goes on with the rest.  The
other starts are those of `learning.starts`.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fem_selection.errors import InvalidInput, NonFinite
from fem_selection.io.runs import CHECKPOINT, replacing
from fem_selection.learning import LearningProblem, random_start
from fem_selection.parallel import act_on_root
from fem_selection.studies.run_files import prepare_folder
from fem_selection.studies.training_report import TrainingResult

__all__ = ["STARTS", "refuse_unknown_starts", "train_best_of"]

STARTS = "starts"
"""Name of the folder of the trainings from several starts."""

TrainOne = Callable[[LearningProblem, Path | None, Mapping[str, str]], TrainingResult]
"""Trains a problem in a folder, which gets these texts."""


def train_best_of(
    train_one: TrainOne,
    problem: LearningProblem,
    count: int,
    *,
    folder: Path | None,
    resume: bool,
    seed: int,
    texts: Mapping[str, str],
) -> TrainingResult:
    """The result of the lowest objective, whose report lists all (collective).

    Args:
        train_one: Trains from one start.
        problem: The learning problem.
        count: Number of starts.
        folder: The folder of the run, or None.
        resume: Whether the run in the folder is continued.
        seed: Seed of the starts.
        texts: The contents, by name, of further files that belong to the run.

    Raises:
        NonFinite: if no training has finite states.
        InvalidInput: as `train`.
    """
    world = problem.ensemble.world
    if folder is not None:
        act_on_root(world, lambda: prepare_folder(folder, texts, parts=STARTS, resume=resume))
    best: tuple[int, TrainingResult] | None = None
    listed: list[dict[str, Any]] = []
    fault: NonFinite | None = None
    for number in range(count):
        start = random_start(
            problem.scaled_functional,
            problem.scaled_start,
            number,
            seed=seed,
            scaled_bounds=problem.scaled_bounds,
        )
        where = None if folder is None else folder / STARTS / str(number)
        try:
            result = train_one(dataclasses.replace(problem, scaled_start=start), where, texts)
        except NonFinite as error:
            fault = error
            listed.append({"start": number, "objective": np.nan, "iterations": 0, "reason": str(error)})
            continue
        if result.report is None:
            return result
        found = result.report
        names = ("objective", "gradient_norm", "iterations", "reason", "converged")
        listed.append({"start": number} | {name: getattr(found, name) for name in names})
        if best is None or best[1].report is None or found.objective < best[1].report.objective:
            best = number, result
    if best is None or best[1].report is None:
        assert fault is not None
        raise fault
    if folder is not None:
        act_on_root(world, lambda: _copy(folder / STARTS / str(best[0]), folder))
    report = dataclasses.replace(best[1].report, starts=tuple(listed), best_start=best[0])
    return dataclasses.replace(best[1], report=report)


def refuse_unknown_starts(problem: LearningProblem, folder: Path) -> None:
    """Raise an error if the run in a folder was begun with several starts (collective).

    Args:
        problem: The learning problem.
        folder: The folder of a run that is to be resumed as one of a single start.

    Raises:
        InvalidInput: on all ranks, if it was.
    """
    if act_on_root(problem.ensemble.world, (folder / STARTS).is_dir):
        raise InvalidInput(f"{folder} was begun with several starts: give their number (--starts N) to resume it")


def _copy(best: Path, folder: Path) -> None:
    for name in ("history.csv", "stochastic.csv", CHECKPOINT):
        (folder / name).unlink(missing_ok=True)
        if (best / name).exists():
            with replacing(folder / name) as partial:
                shutil.copyfile(best / name, partial)
