# SPDX-License-Identifier: MIT
"""What tests on several ranks share: the launcher, a program or a command under it, results that come back as JSON.

A file of such tests computes in its `main` what it compares, and ends with `print_results`; the fixture `results_on`
runs the file under mpiexec, once for each number of ranks, and returns what it printed:

    def main() -> None:
        print_results({"norm": ...})  # computed on all ranks

    @pytest.mark.parametrize("ranks", TWO_OR_THREE)
    def test_same_norm(results_on, ranks):
        assert results_on(ranks)["norm"] == pytest.approx(results_on(1)["norm"])

    if __name__ == "__main__":
        main()
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from commands import PROGRAM, read_report, with_settings

__all__ = [
    "TWO_OR_THREE",
    "find_launcher",
    "launch",
    "print_results",
    "require_launcher",
    "run_command_on_ranks",
    "run_on_ranks",
    "slow_beyond_two",
]

TESTS = Path(__file__).parent


def slow_beyond_two(ranks: int, *values: object):
    """A parameter set that is slow on more than two ranks, which wait for each other for long on two cores."""
    return pytest.param(*(values or (ranks,)), marks=pytest.mark.slow if ranks > 2 else ())


TWO_OR_THREE = [slow_beyond_two(ranks) for ranks in (2, 3)]
"""Values of a parameter `ranks`."""


@cache
def find_launcher() -> str | None:
    """mpiexec from the folder of this Python, else from the path, else None."""
    beside = Path(sys.executable).parent / "mpiexec"
    return str(beside) if beside.exists() else shutil.which("mpiexec")


def require_launcher() -> str:
    """mpiexec; skips the test that asks where there is none."""
    launcher = find_launcher()
    if launcher is None:
        pytest.skip(f"no mpiexec beside {sys.executable} and none on the path")
    return launcher


def launch(
    num_ranks: int, *arguments: str | Path, folder: Path | None = None, timeout: float = 600.0
) -> subprocess.CompletedProcess[str]:
    """Runs this Python under mpiexec, on one rank without it, and returns status and streams.

    `tests/` is on the ranks' module path.

    Args:
        num_ranks: Number of ranks.
        arguments: Arguments of Python: a file and its arguments, or `-c` and a program.
        folder: Working directory; the current one if None.
        timeout: Seconds after which the ranks count as hanging.
    """
    environment = dict(os.environ)
    environment.setdefault("OMP_NUM_THREADS", "1")
    paths = [str(TESTS), str(TESTS.parent), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(p for p in paths if p)
    launcher = [require_launcher(), "-n", str(num_ranks)] if num_ranks > 1 else []
    # an error on one rank ends all of them at once, rather than when they have waited for it up to the timeout
    runner = ["-m", "mpi4py"] if num_ranks > 1 and str(arguments[0]).endswith(".py") else []
    command = [*launcher, sys.executable, *runner, *map(str, arguments)]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=timeout)


def run_on_ranks(num_ranks: int, *arguments: str | Path, folder: Path | None = None, timeout: float = 600.0) -> str:
    """Launches as `launch` does; returns standard output and fails with both streams if a rank fails."""
    done = launch(num_ranks, *arguments, folder=folder, timeout=timeout)
    assert done.returncode == 0, f"{done.args}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_command_on_ranks(
    num_ranks: int, command: str, case: Path, *, output: Path, settings: tuple[str, ...] = ()
) -> dict:
    """Runs `fem-selection` on several ranks and returns its report.

    Args:
        num_ranks: Number of ranks.
        command: Name of the command, such as "steady".
        case: Case file.
        output: Folder that the command writes to.
        settings: Changes of the case, such as "domain.cells=10".
    """
    run_on_ranks(num_ranks, "-c", PROGRAM, command, case, "--output", output, *with_settings(*settings))
    return read_report(output)


def print_results(results: dict) -> None:
    """Prints what all ranks hold as one line of JSON, from rank 0 of MPI's world alone."""
    from mpi4py import MPI

    if MPI.COMM_WORLD.rank == 0:
        print(json.dumps(results))
