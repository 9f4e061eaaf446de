# SPDX-License-Identifier: MIT
"""The tables by which a checkpoint identifies its problem, and the controls that a run has saved in its folder."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpi4py import MPI

from fem_selection import config
from fem_selection.io.checkpoints import jsonable, read_checkpoint, refuse_another
from fem_selection.io.runs import CHECKPOINT
from fem_selection.learning import LearningProblem, describe_problem
from fem_selection.parallel import act_on_root
from fem_selection.typing import Floats

__all__ = ["load_controls", "problem_key"]

# tables that identify the problem of a checkpoint: with any of them changed it is another problem
_PROBLEM_TABLES = ("domain", "space", "dynamics", "data", "objective", "regularization")
# those of them that determine the network; a problem without a case has its domain among the keys of "space"
_NETWORK_TABLES = ("domain", "space", "dynamics", "objective")


def problem_key(case: config.Case, comm: MPI.Comm) -> dict[str, Any]:
    """The tables of a case by which a checkpoint identifies its problem (collective).

    The path of a file is replaced by a hash of its content, since a file may be moved or changed.

    Args:
        case: The case.
        comm: The ranks that call; the first of them reads the files.

    Raises:
        InvalidInput: on all ranks, if a file cannot be read.
    """
    return act_on_root(comm, lambda: _problem_tables(case))


def _problem_tables(case: config.Case) -> dict[str, Any]:
    tables: dict[str, Any] = {name: dataclasses.asdict(getattr(case, name)) for name in _PROBLEM_TABLES}
    for table in ("domain", "data"):
        if (path := tables[table]["file"]) is not None:
            with open(path, "rb") as file:
                tables[table]["file"] = f"a file of sha256 {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}…"
    return jsonable(tables)


def load_controls(
    problem: LearningProblem, folder: Path, *, case: config.Case | None = None, also: Sequence[str] = ()
) -> Floats:
    """The shard of the best controls x in the checkpoint of a run (collective).

    Args:
        problem: The problem to which the controls belong.
        folder: The folder of the run.
        case: The case from which the problem was made; None if there was none.
        also: Further tables that must agree with the checkpoint, beside those that determine the network.

    Raises:
        InvalidInput: for a checkpoint that is missing, damaged or of another problem.
    """
    control_space = problem.functional.control_space
    key = describe_problem(problem) if case is None else problem_key(case, problem.ensemble.world)
    given = {table: key[table] for table in (*_NETWORK_TABLES, *also) if table in key}
    _, vectors = read_checkpoint(
        folder / CHECKPOINT,
        problem.ensemble,
        control_space.indices,
        global_size=control_space.global_size,
        check=lambda found: refuse_another(found, given),
    )
    return problem.scaled_functional.to_controls(vectors["best"])
