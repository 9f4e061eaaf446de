# SPDX-License-Identifier: MIT
"""Whether MPI and whoever started this process agree on the number of ranks.

A launcher that speaks another protocol than the MPI library (`srun` without `--mpi=pmi2`, the mpiexec of another MPI)
starts n processes, each of which finds itself alone: n runs of one rank, in one folder, and no error.  What a launcher
believes stands in the environment of what it starts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from fem_selection.errors import InvalidInput

__all__ = ["Launch", "check_launch", "find_split"]

_SPECIAL_STEP = 0xFFFFFFF0  # Slurm numbers its batch, interactive and extern steps from here on


@dataclass(frozen=True)
class Launch:
    """What a launcher says of this process.

    Attributes:
        launcher: Its name.
        tasks: How many processes it started.
        task: Which of them this is.
        remedy: What to do if MPI does not know the others.
    """

    launcher: str
    tasks: int
    task: int
    remedy: str


def check_launch(environment: Mapping[str, str] = os.environ) -> None:
    """Refuse to go on alone where a launcher started several processes.

    Raises:
        InvalidInput: in the first of the processes; the others leave with status 2, in silence and a second later,
            for a launcher may end all of them with the first that fails.
    """
    from mpi4py import MPI

    split = find_split(environment, MPI.COMM_WORLD.size)
    if split is None:
        return
    if split.task > 0:
        time.sleep(1.0)
        raise SystemExit(2)
    library = MPI.Get_library_version().split("\n")[0].strip("\x00 ")
    raise InvalidInput(
        f"{split.launcher} started {split.tasks} processes, but in MPI ({library}) each of them is alone: they would "
        f"be {split.tasks} separate runs. {split.remedy}"
    )


def find_split(environment: Mapping[str, str], size: int) -> Launch | None:
    """The launcher that started several processes of which MPI's world, of `size` ranks, knows but one, if any did.

    The variables of an outer launcher are inherited: mpiexec's daemons may be tasks of srun, a batch shell may itself
    belong to a larger job.  So one that agrees with MPI settles it, and Slurm is asked last.
    """
    if size > 1:
        return None
    found = [launch for launch in (_pmi(environment), _open_mpi(environment)) if launch is not None]
    if not found and (step := _slurm_step(environment)) is not None:
        found = [step]
    return None if any(launch.tasks == 1 for launch in found) else next(iter(found), None)


def _pmi(environment: Mapping[str, str]) -> Launch | None:
    """MPICH's mpiexec and its relatives, and srun --mpi=pmi2."""
    tasks = _number(environment, "PMI_SIZE")
    if tasks is None:
        return None
    remedy = "Start them with the mpiexec that belongs to this MPI, or with the --mpi type of srun that it speaks"
    return Launch(
        launcher="a launcher that speaks PMI", tasks=tasks, task=_number(environment, "PMI_RANK") or 0, remedy=remedy
    )


def _open_mpi(environment: Mapping[str, str]) -> Launch | None:
    tasks = _number(environment, "OMPI_COMM_WORLD_SIZE")
    if tasks is None:
        return None
    remedy = "Start them with the mpiexec that belongs to this MPI; Open MPI's comes first on the path"
    return Launch(
        launcher="Open MPI's mpiexec",
        tasks=tasks,
        task=_number(environment, "OMPI_COMM_WORLD_RANK") or 0,
        remedy=remedy,
    )


def _slurm_step(environment: Mapping[str, str]) -> Launch | None:
    """A task of srun: not a batch shell, which has no step of its own, nor a terminal that srun opened."""
    step, tasks = _number(environment, "SLURM_STEP_ID"), _number(environment, "SLURM_STEP_NUM_TASKS")
    if step is None or tasks is None or step >= _SPECIAL_STEP or "SLURM_PTY_PORT" in environment:
        return None
    remedy = (
        "Start them with `srun --mpi=pmi2` (`srun --mpi=list` shows the types there are; Open MPI speaks pmix), or "
        "with mpiexec from the batch script; if separate runs are what you want, give each an `srun --ntasks=1`"
    )
    return Launch(launcher="srun", tasks=tasks, task=_number(environment, "SLURM_PROCID") or 0, remedy=remedy)


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() else None
