# SPDX-License-Identifier: MIT
"""Check that MPI and the launcher of this process agree on the number of ranks.

If a launcher speaks another protocol than the MPI library (`srun` without `--mpi=pmi2`, the mpiexec of another MPI), it
starts n processes, and MPI gives each of them a world of one rank: n runs write into one folder, and no error is
raised.  The environment variables set by a launcher say how many processes it started.
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
    """What a launcher says about this process.

    Attributes:
        launcher: Its name.
        tasks: Number of processes that it started.
        task: Number of this process among them.
        remedy: What to do if MPI does not see the other processes.
    """

    launcher: str
    tasks: int
    task: int
    remedy: str


def check_launch(environment: Mapping[str, str] = os.environ) -> None:
    """Raise an error if a launcher started several processes and MPI sees only this one.

    Args:
        environment: The environment variables of this process.

    Raises:
        InvalidInput: in the first of the processes.
        SystemExit: with status 2 in the other processes, without a message and a second later, because a launcher may
            end all processes as soon as one fails.
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
    """Return the launcher that started several processes of which MPI's world has only one; None if there is none.

    A process inherits the variables of outer launchers: mpiexec's daemons may be tasks of srun, and a batch shell may
    belong to a larger job.  So one launcher that started a single process settles the question, and Slurm's variables
    are read only if no other launcher left any.

    Args:
        environment: The environment variables of this process.
        size: Number of ranks in MPI's world.
    """
    if size > 1:
        return None
    found = [launch for launch in (_pmi(environment), _open_mpi(environment)) if launch is not None]
    if not found and (step := _slurm_step(environment)) is not None:
        found = [step]
    return None if any(launch.tasks == 1 for launch in found) else next(iter(found), None)


def _pmi(environment: Mapping[str, str]) -> Launch | None:
    """The variables of MPICH's mpiexec and its relatives, and of srun --mpi=pmi2."""
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
    """The variables of a task of srun.

    A batch shell has no step of its own and a terminal opened by srun is no task of a run: both give None.
    """
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
