# SPDX-License-Identifier: MIT
"""Fixtures of all tests: small spaces that are made once, calls of the command line, runs on several ranks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from commands import Outcome, call_application, read_report, with_settings
from ranks import run_command_on_ranks, run_on_ranks

# MPICH's ranks wait busily; where more of them run than there are cores, which tests do, they let others go first.
os.environ.setdefault("MPIR_CVAR_CH4_PROGRESS_THROTTLE", "1")
os.environ.setdefault("UCX_NET_DEVICES", "lo")  # all ranks of a test are on this machine

import fem_selection  # noqa: F401  (loads MPI, which dolfinx and PETSc from wheels look for)

TESTS = Path(__file__).parent
_WITH_RANKS = ("parallel", "cluster", "container", "faults/test_killed_ranks.py", "faults/test_checkpoint_files.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file in one process, for what they share is made once, and all jobs of several ranks in one.

    The problems of the gallery, which are long and share nothing, may go to several processes.
    Ranks that wait for each other do so busily: two jobs at once on few cores take longer than one after the other.
    """
    for item in items:
        place = item.path.relative_to(TESTS).as_posix()
        parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        several = isinstance(ranks := parameters.get("ranks"), int) and ranks > 1
        with_ranks = place.startswith(_WITH_RANKS) or "run_mpi" in getattr(item, "fixturenames", ()) or several
        place = f"{place}: {parameters['name']}" if place.startswith("gallery") and "name" in parameters else place
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
        return StateSpace(make_domain(shape, cells), degree, family, mode=mode)

    return make


@pytest.fixture(scope="session", params=["collocated", "galerkin"])
def space(request: pytest.FixtureRequest, spaces: Callable):
    """Quadratic elements on four cells of an interval, in collocated and in Galerkin mode."""
    return spaces("interval", 4, 2, request.param)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """A function (*arguments) that runs `fem-selection` in this process; a traceback is no outcome."""
    monkeypatch.setenv("COLUMNS", "160")

    def invoke(*arguments: object) -> Outcome:
        capfd.readouterr()
        status = call_application(*arguments)
        out, err = capfd.readouterr()
        assert "Traceback" not in err, err
        folder = str(arguments[arguments.index("--output") + 1]) if "--output" in arguments else ""
        report = read_report(Path(folder)) if folder and os.path.isfile(f"{folder}/report.json") else {}
        return Outcome(status, out, err, report)

    return invoke


@pytest.fixture
def call_on_case(
    call: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """A function (command, text, *settings, output="run") that calls a command on a case file of that text.

    The working directory is `tmp_path`.
    """
    monkeypatch.chdir(tmp_path)

    def invoke(command: str, text: str, *settings: str, output: str = "run") -> Outcome:
        (tmp_path / "case.toml").write_text(text)
        return call(command, "case.toml", "--output", output, *with_settings(*settings))

    return invoke


@pytest.fixture(scope="session")
def run_mpi() -> Callable[..., str]:
    """The function `ranks.run_on_ranks`; a test that asks for it runs in the process of all jobs of several ranks."""
    return run_on_ranks


@pytest.fixture(scope="module")
def results_on(request: pytest.FixtureRequest, run_mpi: Callable[..., str]) -> Callable[..., dict]:
    """A function (num_ranks, *arguments) that runs the test's own file and returns what its `print_results` printed.

    Equal calls are made once for all tests of a file.
    """
    return cache(lambda ranks, *arguments: json.loads(run_mpi(ranks, request.path, *arguments).splitlines()[-1]))


@pytest.fixture
def command_on_ranks(run_mpi: Callable[..., str]) -> Callable[..., dict]:
    """The function `ranks.run_command_on_ranks`, in the process of all jobs of several ranks."""
    return run_command_on_ranks
