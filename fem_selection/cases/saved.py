# SPDX-License-Identifier: MIT
"""What a checkpoint's problem is known by, and the controls that a run left in its folder."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fem_selection import config
from fem_selection.errors import InvalidInput
from fem_selection.io.checkpoints import read_checkpoint
from fem_selection.io.runs import CHECKPOINT
from fem_selection.learning import LearningProblem
from fem_selection.parallel import act_on_root
from fem_selection.typing import Floats

__all__ = ["differing_keys", "load_controls", "problem_key", "refuse_another"]

# tables whose change would make a checkpoint belong to another problem
_PROBLEM_TABLES = ("domain", "space", "dynamics", "data", "objective", "regularization")


def problem_key(case: config.Case) -> dict[str, Any]:
    """What a checkpoint's problem is known by; a file by what is in it, for it may have been moved or changed."""
    tables: dict[str, Any] = {name: dataclasses.asdict(getattr(case, name)) for name in _PROBLEM_TABLES}
    for table in ("domain", "data"):
        if (path := tables[table]["file"]) is not None:
            with open(path, "rb") as file:
                tables[table]["file"] = f"a file of sha256 {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}…"
    stochastic = dataclasses.asdict(case.stochastic)
    tables["stochastic"] = stochastic
    tables["optimizer"] = {"method": case.optimizer.method, "memory": case.optimizer.memory}
    tables["seed"] = {"seed": case.seed}
    result: dict[str, Any] = _jsonable(tables)
    return result


def differing_keys(saved: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Sentences on the keys in which two problems differ."""
    differences = []
    for table, values in given.items():
        for key, value in values.items():
            old = saved.get(table, {}).get(key)
            if old != value:
                name = key if table == key else f"{table}.{key}"
                differences.append(f"{name} was {old!r} and is {value!r}")
    return differences


def refuse_another(state: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise InvalidInput if a checkpoint's state is of another problem."""
    if differing := differing_keys(state.get("problem", {}), given):
        raise InvalidInput(f"it belongs to another problem: {'; '.join(differing)}")


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _jsonable(v) for k, v in value.items()}
    return [_jsonable(v) for v in value] if isinstance(value, list | tuple) else value


def load_controls(problem: LearningProblem, case: config.Case, folder: Path, *, also: Sequence[str] = ()) -> Floats:
    """Shard of the best controls x of a run's checkpoint (collective).

    Args:
        problem: The problem they belong to.
        case: The case that it was made from.
        folder: Of the run.
        also: Tables of the case that must be the run's, beside those of domain, space, dynamics and objective.

    Raises:
        InvalidInput: for a checkpoint that is missing, damaged or of another problem.
    """
    control_space = problem.functional.control_space
    key = act_on_root(problem.ensemble.world, lambda: problem_key(case))
    given = {table: key[table] for table in ("domain", "space", "dynamics", "objective", *also)}
    _, vectors = read_checkpoint(
        folder / CHECKPOINT,
        problem.ensemble,
        control_space.indices,
        control_space.global_size,
        lambda found: refuse_another(found, given),
    )
    return problem.scaled.to_physical(vectors["best"])
