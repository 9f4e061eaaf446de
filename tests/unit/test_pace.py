# SPDX-License-Identifier: MIT
"""When checkpoints are due."""

from __future__ import annotations

import pytest
from mpi4py import MPI

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
        pace, start = Pace(None, MPI.COMM_SELF), clock[0]
        assert pace.is_due(0)
        spent = -cost  # the first one begins at once
        for iteration in range(20000):
            clock[0] += 0.01 * cost * (1.0 + iteration % 3)
            if pace.is_due(iteration):
                with pace.writing():
                    clock[0] += cost
                spent += cost
        assert 0.0190 < spent / (clock[0] - start) <= 0.0201


def test_no_number_of_iterations_is_refused():
    """Fails if zero iterations between two checkpoints are taken for a pace."""
    with pytest.raises(InvalidInput, match="checkpoint_every"):
        Pace(0, MPI.COMM_SELF)
