# SPDX-License-Identifier: MIT
"""Errors travel between ranks; fails if one arrives with another message, or without what it knows."""

from __future__ import annotations

import pickle

import pytest

from fem_selection.errors import ConfigError, InvalidInput, MissingDependency, NonFinite, NotConverged


@pytest.mark.parametrize(
    "error",
    [
        ConfigError(["dynamics.layers: must be at least 1", "seed: must be a number"]),
        NonFinite("the state", layer=3, reason="no solution"),
        NonFinite("the gradient").at_iteration(7),
        InvalidInput("a"),
        NotConverged("b"),
        MissingDependency("c"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_errors_survive_pickling(error):
    """Fails if an error loses its class, its message or what it knows when MPI sends it to another rank."""
    found = pickle.loads(pickle.dumps(error))
    assert type(found) is type(error) and str(found) == str(error) and vars(found) == vars(error)
