# SPDX-License-Identifier: MIT
"""What a run has saved in its folder: controls, the form of its samples, and the tables that identify its problem.

`load_network` applies to a run whose samples are not needed, as for predictions: no data file is read.  `load_run` also
builds the problem of the training, after checking that the data file is the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mpi4py import MPI

from fem_selection import config
from fem_selection.cases.anchors import anchors_need_samples
from fem_selection.cases.learning import build_network, build_problem
from fem_selection.data import SampleFormat
from fem_selection.discretization.meshes.mesh_files import files_of_mesh
from fem_selection.errors import InvalidInput
from fem_selection.io.checkpoints import jsonable, read_checkpoint, read_state, refuse_another
from fem_selection.io.runs import CHECKPOINT
from fem_selection.learning import LearningProblem, describe_problem
from fem_selection.parallel import act_on_root
from fem_selection.typing import Floats

__all__ = ["default_tables", "load_controls", "load_network", "load_run", "problem_key"]

# tables that identify the problem of a checkpoint: with any of them changed it is another problem
_PROBLEM_TABLES = ("domain", "space", "dynamics", "data", "objective", "regularization")
# those of them that determine the network; a problem without a case has its domain among the keys of "space"
_NETWORK_TABLES = ("domain", "space", "dynamics", "objective")


def problem_key(case: config.Case, comm: MPI.Comm, tables: Sequence[str] = _PROBLEM_TABLES) -> dict[str, Any]:
    """The tables of a case by which a checkpoint identifies its problem (collective).

    The path of a file is replaced by a hash of its content, since a file may be moved or changed.

    Args:
        case: The case.
        comm: The ranks that call; the first of them reads the files.
        tables: Names of the tables; the files of others are not read.

    Raises:
        InvalidInput: on all ranks, if a file cannot be read.
    """
    return act_on_root(comm, lambda: _problem_tables(case, tables))


def _problem_tables(case: config.Case, names: Sequence[str]) -> dict[str, Any]:
    tables: dict[str, Any] = {name: dataclasses.asdict(getattr(case, name)) for name in names}
    for table in ("domain", "data"):
        if table in tables and (path := tables[table]["file"]) is not None:
            tables[table]["file"] = _fingerprint(*(files_of_mesh(path) if table == "domain" else [path]))
    return jsonable(tables)


def default_tables() -> dict[str, dict[str, Any]]:
    """The tables of a case in which nothing is set: a checkpoint of an earlier version lacks keys that came later."""
    everything = jsonable(dataclasses.asdict(config.Case()))
    return {name: table for name, table in everything.items() if isinstance(table, dict)}


def _fingerprint(*paths: str | Path) -> str:
    digests = []
    for path in paths:
        with open(path, "rb") as file:
            digests.append(hashlib.file_digest(file, "sha256"))
    for other in digests[1:]:
        digests[0].update(other.digest())
    return f"a file of sha256 {digests[0].hexdigest()[:16]}…"


def load_network(folder: Path, case: config.Case, comm: MPI.Intracomm | None = None) -> tuple[LearningProblem, Floats]:
    """The network of a run without its samples, and the shard of the best controls x (collective).

    Args:
        folder: The folder of the run.
        case: The case of the run.
        comm: The ranks; all ranks if None.

    Raises:
        InvalidInput: on all ranks, for a checkpoint that is missing, damaged or of another problem.  A run of an
            earlier version has left scaling and classes in its data file, which has to be there and the same; so has
            that of a run whose kernel follows training samples.
    """
    world = MPI.COMM_WORLD if comm is None else comm
    state = act_on_root(world, lambda: read_state(folder / CHECKPOINT))
    if anchors_need_samples(case):
        return load_run(folder, case, comm)  # its kernel follows them
    if "samples" not in state:
        why = "scaling and classes are in that file alone, since an earlier version saved the run"
        act_on_root(world, lambda: _require_same_data(case, state, why, "put the file of the training back there"))
        problem = build_problem(case, comm)
    else:
        problem = build_network(case, act_on_root(world, lambda: _format_in(state, folder)), comm)
    return problem, load_controls(problem, folder, case=case)


def load_run(
    folder: Path, case: config.Case, comm: MPI.Intracomm | None = None, *, also: Sequence[str] = ()
) -> tuple[LearningProblem, Floats]:
    """The learning problem of a run with its samples, and the shard of the best controls x (collective).

    Args:
        folder: The folder of the run.
        case: The case of the run; `data.file` may have been moved, and is known by its content.
        comm: The ranks; all ranks if None.
        also: Further tables that must agree with the checkpoint, beside "data" and those that determine the network.

    Raises:
        InvalidInput: on all ranks, for a checkpoint that is missing, damaged or of another problem, or a data file that
            is missing or has changed since the training.
    """
    world = MPI.COMM_WORLD if comm is None else comm
    state = act_on_root(world, lambda: read_state(folder / CHECKPOINT))
    why, remedy = "the samples of the training are needed", "name the file of the training where it is now (--data)"
    act_on_root(world, lambda: _require_same_data(case, state, why, remedy))
    problem = build_problem(case, comm)
    return problem, load_controls(problem, folder, case=case, also=("data", *also))


def _format_in(state: Mapping[str, Any], folder: Path) -> SampleFormat:
    try:
        return SampleFormat.from_dict(state["samples"])
    except InvalidInput as error:
        raise InvalidInput(f"the checkpoint {folder / CHECKPOINT} cannot be used: {error}") from error


def _require_same_data(case: config.Case, state: Mapping[str, Any], why: str, remedy: str) -> None:
    """Raise an error if the data file of a case is missing, or is another than that of the checkpoint."""
    path = case.data.file
    if path is None or case.data.source != "npz":
        return
    saved = state.get("problem", {}).get("data", {}).get("file")
    if not os.path.isfile(path):
        raise InvalidInput(f"data.file: {path} is missing, and {why}: {remedy}")
    if saved is not None and (found := _fingerprint(path)) != saved:
        raise InvalidInput(
            f"data.file: {path} has changed since the training (it was {saved} and is {found}), and {why}: {remedy}"
        )


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
    tables = (*_NETWORK_TABLES, *also)
    key = describe_problem(problem) if case is None else problem_key(case, problem.ensemble.world, tables)
    given = {table: key[table] for table in tables if table in key}
    _, vectors = read_checkpoint(
        folder / CHECKPOINT,
        problem.ensemble,
        control_space.indices,
        global_size=control_space.global_size,
        check=lambda found: refuse_another(found, given, default_tables()),
    )
    return problem.scaled_functional.to_controls(vectors["best"])
