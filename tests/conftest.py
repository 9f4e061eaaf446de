# SPDX-License-Identifier: MIT
"""Fixtures of all tests: small spaces that are made once, and runs of a script on several ranks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

# MPICH's ranks wait busily; where more of them run than there are cores, which tests do, they let others go first.
os.environ.setdefault("MPIR_CVAR_CH4_PROGRESS_THROTTLE", "1")
os.environ.setdefault("UCX_NET_DEVICES", "lo")  # all ranks of a test are on this machine

import fem_selection  # noqa: F401  (loads MPI, which dolfinx and PETSc from wheels look for)

TESTS = Path(__file__).parent
_WITH_RANKS = ("parallel", "cluster", "container", "faults/test_killed_ranks.py", "faults/test_checkpoint_files.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file in one process, for what they share is made once, and all jobs of several ranks in one.

    Ranks that wait for each other do so busily: two jobs at once on few cores take longer than one after the other.
    """
    for item in items:
        place = item.path.relative_to(TESTS).as_posix()
        parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        several = isinstance(ranks := parameters.get("ranks"), int) and ranks > 1
        with_ranks = place.startswith(_WITH_RANKS) or "run_mpi" in getattr(item, "fixturenames", ()) or several
        item.add_marker(pytest.mark.xdist_group("ranks" if with_ranks else place))


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20200519)


@pytest.fixture(scope="session")
def spaces() -> Callable:
    """A function (shape, cells, degree, mode, family) to a state space on this process; equal ones are made once."""
    from problems import make_domain

    from fem_selection.discretization.spaces import StateSpace

    @cache
    def make(shape: str, cells: int, degree: int, mode: str = "collocated", family: str = "lagrange") -> StateSpace:
        return StateSpace(make_domain(shape, cells), degree, family, mode)

    return make


@pytest.fixture(scope="session")
def run_mpi() -> Callable[..., str]:
    """A function (num_ranks, *arguments) that runs this Python with these arguments under mpiexec.

    It returns standard output and fails with both streams if a rank fails.  mpiexec is taken from the folder of this
    Python, else from the path; without one the test is skipped.  `tests/` is on the ranks' module path.
    """
    beside = Path(sys.executable).parent / "mpiexec"
    launcher = str(beside) if beside.exists() else shutil.which("mpiexec")

    def run(num_ranks: int, *arguments: str | Path, timeout: float = 600.0) -> str:
        if launcher is None:
            pytest.skip(f"no mpiexec beside {sys.executable} and none on the path")
        environment = dict(os.environ)
        environment.setdefault("OMP_NUM_THREADS", "1")
        paths = [str(TESTS), str(TESTS.parent), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(p for p in paths if p)
        command = [launcher, "-n", str(num_ranks), sys.executable, *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
