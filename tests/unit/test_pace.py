# SPDX-License-Identifier: MIT
"""When checkpoints are due."""

from __future__ import annotations

import pytest
from mpi4py import MPI

import fem_selection as fs
from fem_selection.errors import InvalidInput
from fem_selection.optimize import pace as module
from fem_selection.optimize.pace import Pace


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_given_number_is_kept(clock):
    """Fails if iterations asked for are left out because writing is slow."""
    pace = Pace(3, MPI.COMM_SELF)
    with pace.writing():
        clock[0] += 1000.0
    assert [n for n in range(10) if pace.is_due(n)] == [0, 3, 6, 9]


def test_writing_takes_two_percent_of_the_time(clock):
    """Fails if cheap checkpoints are rare, or dear ones take more than their part of the time."""
    for cost in (0.01, 5.0):
        pace = Pace(None, MPI.COMM_SELF)
        assert pace.is_due(0)
        for _ in range(2):
            with pace.writing():
                clock[0] += cost
        start, spent = clock[0], 0.0
        for iteration in range(20000):
            clock[0] += 0.01 * cost * (1.0 + iteration % 3)
            if pace.is_due(iteration):
                with pace.writing():
                    clock[0] += cost
                spent += cost
        assert 0.0190 < spent / (clock[0] - start) <= 0.0201


def test_the_time_between_two_is_counted_from_the_end_of_the_first(clock):
    """Fails if the time that writing takes counts as time between two checkpoints: 49 times 2 s lie between them."""
    pace = Pace(None, MPI.COMM_SELF)
    for _ in range(2):
        with pace.writing():
            clock[0] += 2.0
    clock[0] += 97.9
    assert not pace.is_due(1)
    clock[0] += 0.2
    assert pace.is_due(2)


def test_one_slow_write_does_not_keep_others_back(clock):
    """Fails if a file system that wakes up, or a moment of load, leaves a run without checkpoints for a long time."""
    pace = Pace(None, MPI.COMM_SELF)
    for cost, wait in ((60.0, 9.81), (0.1, 4.91), (60.0, 4.91)):
        with pace.writing():
            clock[0] += cost
        assert not pace.is_due(1)
        clock[0] += wait
        assert pace.is_due(1)


def test_the_first_rank_decides(clock):
    """Fails if ranks whose clocks differ disagree, so that one writes and waits for the others."""

    class World:
        """Another rank's view: the first rank answers otherwise."""

        def bcast(self, own: bool) -> bool:
            """What the first rank says."""
            return not own

    assert Pace(None, MPI.COMM_SELF).is_due(1) and not Pace(None, World()).is_due(1)


def test_no_number_of_iterations_is_refused():
    """Fails if zero iterations between two checkpoints are taken for a pace."""
    with pytest.raises(InvalidInput, match="checkpoint_every"):
        Pace(0, MPI.COMM_SELF)


@pytest.mark.parametrize("cost", [0.0, 1e9])
@pytest.mark.parametrize("method", ["lmvm", "sqh", "adam"])
def test_optimizers_keep_the_pace(clock, method, cost):
    """Fails if an optimizer does not take the time of writing: dear checkpoints are the first and the last alone."""
    problem = fs.build_problem(fs.load_case("demos/gap.toml"))
    functional, start, calls = problem.scaled_functional, problem.scaled_start + 1.0, []

    def save(state, vectors):
        calls.append(1)
        clock[0] += cost

    if method == "adam":
        stochastic = fs.StochasticSettings(epochs=5)
        fs.optimize.descend(functional, start, stochastic, source=problem.batches(stochastic.batch), save=save)
    else:
        settings = fs.OptimizerSettings(method=method, max_iterations=4, gradient_tolerance=0.0)
        run = fs.minimize if method == "lmvm" else fs.optimize.approximate_successively
        run(functional, start, settings, save=save)
    assert len(calls) > 4 if cost == 0.0 else len(calls) == 2
