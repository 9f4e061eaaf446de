# SPDX-License-Identifier: MIT
"""Whether ranks that do not see each other are noticed, and right starts are left alone.

The environments are those that Slurm 22.05, MPICH 5 and Open MPI 4 give; the tests fail if a batch shell, a terminal or
the daemons of mpiexec under Slurm are taken for ranks, or if separate ranks are not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mpi4py import MPI

from fem_selection.errors import InvalidInput
from fem_selection.launch import check_launch, find_split

STEP = {
    **{"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "1"},
    **{"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2"},
}
BATCH = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_NPROCS": "2", "SLURM_PROCID": "0"}
PMI = {"PMI_RANK": "1", "PMI_SIZE": "2", "PMI_FD": "9"}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": "2"}


@pytest.mark.parametrize(
    ("environment", "launcher", "tasks", "task"),
    [
        (STEP, "srun", 2, 1),
        (PMI, "PMI", 2, 1),
        ({**STEP, **PMI}, "PMI", 2, 1),
        (OPEN_MPI, "Open MPI", 3, 2),
        ({**BATCH, **OPEN_MPI}, "Open MPI", 3, 2),
    ],
)
def test_ranks_that_do_not_see_each_other_are_found(
    environment: dict[str, str], launcher: str, tasks: int, task: int
) -> None:
    """Fails if several processes that MPI takes for one each pass for a right start, or if the wrong launcher is
    named."""
    found = find_split(environment, 1)
    assert found is not None
    assert (found.tasks, found.task) == (tasks, task) and launcher in found.launcher
    assert find_split(environment, tasks) is None


@pytest.mark.parametrize(
    "environment",
    [
        {},
        BATCH,
        {**STEP, "SLURM_STEP_NUM_TASKS": "1"},
        {**STEP, "SLURM_PTY_PORT": "40000"},
        {**STEP, "SLURM_STEP_ID": str(0xFFFFFFFA)},  # the interactive step of salloc
        {**STEP, "PMI_RANK": "0", "PMI_SIZE": "1"},  # mpiexec -n 1, whose daemons are srun's tasks on two nodes
        {**STEP, "OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"},
        {**PMI, "OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"},
        {**STEP, "SLURM_STEP_NUM_TASKS": "many"},
        {"PMI_SIZE": ""},
    ],
)
def test_right_starts_are_left_alone(environment: dict[str, str]) -> None:
    """Fails if a batch shell, a terminal of Slurm, the daemons of mpiexec or a variable that is no number is taken for
    separate ranks."""
    assert find_split(environment, 1) is None


@pytest.mark.skipif(MPI.COMM_WORLD.size > 1, reason="asks what one rank does")
def test_the_first_speaks_and_the_others_wait() -> None:
    """Fails if every rank tells the fault, or if the others leave at once, upon which a launcher may end the one that
    speaks."""
    with pytest.raises(InvalidInput, match=r"srun started 2 processes.*srun --mpi=pmi2"):
        check_launch({**STEP, "SLURM_PROCID": "0"})
    began = time.monotonic()
    with pytest.raises(SystemExit) as leave:
        check_launch(STEP)
    assert leave.value.code == 2 and time.monotonic() - began > 0.9


def test_a_wrong_launch_ends_before_anything_is_written(tmp_path: Path) -> None:
    """Fails if the case is read, FEniCSx imported or a folder made before the launch is checked."""
    code = "import sys; from fem_selection.cli import main\ntry: main()\nfinally: assert 'dolfinx' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "nowhere.toml", "--output", str(tmp_path / "r")],
        env={**os.environ, **STEP, "SLURM_PROCID": "0"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: srun started 2 processes") and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
