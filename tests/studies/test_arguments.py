# SPDX-License-Identifier: MIT
"""Arguments that no study can use are refused in words, before anything is computed."""

from __future__ import annotations

import numpy as np
import pytest
from cases import build_equation

import fem_selection as fs
from fem_selection.errors import InvalidInput
from fem_selection.studies import branches, forward, stability, steady


@pytest.fixture(scope="module")
def problem():
    """A small equation."""
    return build_equation({"kernel": "-1", "activation": "tanh"}, cells=4)


def test_blocks_without_a_sample_are_refused(problem):
    """Fails if a block of shape (N, 0) ends in an error of NumPy or PETSc."""
    nothing = np.zeros((problem.space.num_local, 0), order="F")
    start = np.zeros(problem.space.num_local)
    for ask in (
        lambda: forward(problem.field, nothing),
        lambda: steady(problem.field, nothing),
        lambda: stability(problem.field, start, initial=nothing, horizon=1.0),
    ):
        with pytest.raises(InvalidInput, match="give 1 sample at least"):
            ask()


def test_settings_of_another_class_are_refused(problem):
    """Fails if they end in an AttributeError, or None does."""
    one, start = np.ones((problem.space.num_local, 1), order="F"), np.zeros(problem.space.num_local)
    wrong = fs.HjbSettings()
    for ask in (
        lambda: forward(problem.field, one, wrong),
        lambda: steady(problem.field, one, wrong),
        lambda: stability(problem.field, start, wrong),
        lambda: branches(lambda value: problem.field, start, wrong),
    ):
        with pytest.raises(InvalidInput, match="settings of type HjbSettings: expected"):
            ask()
    with pytest.raises(InvalidInput, match="range"):
        branches(lambda value: problem.field, start, None)
