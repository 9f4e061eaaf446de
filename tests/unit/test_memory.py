# SPDX-License-Identifier: MIT
"""Cases that no machine holds are refused before anything is made, with their keys and what they would need."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from mpi4py import MPI

import fem_selection as fs
from fem_selection import parallel
from fem_selection.cases import field, learning
from fem_selection.settings import InvalidSettings, SpaceSettings

DEMOS = Path(__file__).resolve().parents[2] / "demos"


@pytest.fixture
def small_machine(monkeypatch):
    """A machine of one gigabyte, on which a mesh must not even be begun."""
    monkeypatch.setattr(parallel, "_memory_here", lambda: float(2**30))

    def refuse(*_, **__):
        pytest.fail("a mesh was made")

    for module in (field, learning):
        monkeypatch.setattr(module, "build_space", refuse)


@pytest.mark.parametrize(
    ("build", "demo", "settings", "words"),
    [
        ("build_field", "pitchfork", ["data.samples=10000000"], "data.samples, domain.cells: 1e+07 states of 16 nodes"),
        ("build_field", "pitchfork", ["domain.cells=20000"], "domain.cells, dynamics.layers: a dense kernel of 2e+04"),
        ("build_problem", "gap", ["dynamics.layers=10000000"], "dynamics.layers, dynamics.control_intervals: 1e+07"),
        (
            "build_problem",
            "tracking",
            ["domain.cells=4000"],
            "domain.cells, dynamics.layers: the dense kernels",
        ),
        (
            "build_problem",
            "tracking",
            ["dynamics.layers=1000000", "dynamics.control_intervals=1", "tape.schedule=all"],
            "tape.schedule, dynamics.layers, parallel.block: the tape of 1e+06 of 1e+06 layers for",
        ),
    ],
)
def test_what_does_not_fit_is_refused_at_once(small_machine, build, demo, settings, words):
    """Fails if a case is begun whose arrays are larger than the machine, or if no key or no estimate is named."""
    case = fs.load_case(DEMOS / f"{demo}.toml", settings)
    with pytest.raises(fs.InvalidInput) as raised:
        getattr(fs, build)(case, MPI.COMM_SELF)
    assert words in str(raised.value)
    told = r"would take ([\d.e+]+) GB of memory at least, .* more than the 1 GB that are there"
    needed = re.search(told, str(raised.value))
    assert needed is not None and float(needed[1]) > 1.0


@pytest.mark.parametrize("kernel", ["dense", "representer"])
@pytest.mark.parametrize("tape", ["auto", "memory", "disk"])
def test_layers_that_are_not_stored_need_no_memory(monkeypatch, tape, kernel):
    """Fails if the estimate counts all layers where the schedule stores some of them."""
    monkeypatch.setattr(parallel, "_memory_here", lambda: float(2**27))
    given = ["dynamics.layers=100000", "dynamics.control_intervals=1", f"tape.schedule={tape}"]
    case = fs.load_case(DEMOS / "tracking.toml", given)
    dynamics = dataclasses.replace(case.dynamics, representation=(kernel,), kernel=None)
    case = dataclasses.replace(case, dynamics=dynamics)
    with pytest.raises(fs.InvalidInput, match=r"tape\.schedule"):
        learning.require_memory(
            dataclasses.replace(case, tape=fs.TapeSettings(schedule="all")),
            parallel.Ensemble(MPI.COMM_SELF),
            intervals=1,
            with_tape=True,
        )
    learning.require_memory(case, parallel.Ensemble(MPI.COMM_SELF), intervals=1, with_tape=True)


def test_a_value_function_that_does_not_fit_is_refused(monkeypatch):
    """Fails if a mesh of the states is begun that is larger than the machine."""
    monkeypatch.setattr(parallel, "_memory_here", lambda: float(2**30))
    problem = fs.build_problem(fs.load_case(DEMOS / "hjb.toml"), MPI.COMM_SELF)
    with pytest.raises(fs.InvalidInput, match=r"hjb\.cells, hjb\.snapshots: .* 7\.\d+ GB of memory at least"):
        fs.studies.hjb(problem, fs.HjbSettings(cells=(4800,)))


def test_the_memory_of_this_machine():
    """Fails if the machine's memory is unknown, or is counted once for each rank of one machine."""
    assert 2**28 < parallel.memory_of_machines(MPI.COMM_WORLD) < 2**50
    assert parallel.memory_of_machines(MPI.COMM_WORLD) == parallel._memory_here()


@pytest.mark.parametrize(
    ("table", "key"),
    [
        (SpaceSettings, "quadrature_degree"),
        (fs.OptimizerSettings, "starts"),
        (fs.SteadySettings, "starts"),
        (fs.HjbSettings, "starts"),
    ],
)
def test_numbers_of_starts_and_degrees_have_a_limit(table, key):
    """Fails if a list of 10⁹ starts is made before a run begins, or a rule of quadrature of that degree."""
    with pytest.raises(InvalidSettings, match=rf"{key}: must be in \["):
        table(**{key: 10**9})
