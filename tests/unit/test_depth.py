# SPDX-License-Identifier: MIT
"""Layers, control intervals and sample times."""

from __future__ import annotations

import numpy as np
import pytest

from fem_selection.discretization.depth import DepthGrid
from fem_selection.dynamics import SCHEMES
from fem_selection.errors import InvalidInput


def test_one_interval_per_layer_by_default():
    """Fails if a layer reads another layer's control, or times are not n Δt."""
    grid = DepthGrid(layers=4, horizon=2.0)
    assert (grid.intervals, grid.step, grid.interval_length) == (4, 0.5, 0.5)
    np.testing.assert_allclose(grid.times, [0, 0.5, 1, 1.5, 2])
    assert [grid.interval(n, 0) for n in range(4)] == [0, 1, 2, 3]
    np.testing.assert_allclose(grid.sample_times, [0.25, 0.75, 1.25, 1.75])


@pytest.mark.parametrize(("layers", "intervals"), [(6, 1), (6, 2), (6, 3), (6, 6), (10, 5)])
def test_intervals_hold_equally_many_layers(layers, intervals):
    """Fails if an interval holds other layers than those in its span of depth, at any stage."""
    grid = DepthGrid(layers=layers, horizon=3.0, intervals=intervals)
    assert grid.interval_length == pytest.approx(3.0 / intervals)
    for n in range(layers):
        middle = (n + 0.5) * grid.step
        for stage in range(4):
            assert grid.interval(n, stage) == int(middle // grid.interval_length)
    centres = (np.arange(intervals) + 0.5) * grid.interval_length
    np.testing.assert_allclose(grid.sample_times, centres)


@pytest.mark.parametrize("name", SCHEMES)
def test_stage_times_are_those_of_the_scheme(name):
    """Fails if coefficients are not sampled at t_n + c_i Δt: a scheme of order 2 or more would fall back to order 1."""
    nodes = SCHEMES[name].nodes
    grid = DepthGrid(layers=3, horizon=1.5, stage_nodes=nodes)
    assert grid.intervals == 3 * len(nodes)
    for n in range(3):
        for i, c in enumerate(nodes):
            assert grid.sample_times[grid.interval(n, i)] == pytest.approx(0.5 * (n + c), abs=1e-15)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"layers": 0}, "must be positive"),
        ({"layers": 4, "horizon": 0.0}, "must be positive"),
        ({"layers": 4, "horizon": float("nan")}, "must be positive"),
        ({"layers": 4, "horizon": -1.0}, "must be positive"),
        ({"layers": 4, "horizon": 1.0, "intervals": 3}, "3 control intervals do not divide 4 layers"),
        ({"layers": 4, "horizon": 1.0, "intervals": 8}, "8 control intervals do not divide 4 layers"),
        ({"layers": 4, "horizon": 1.0, "intervals": -2}, "-2 control intervals"),
    ],
)
def test_grids_that_cannot_be_are_refused(arguments, reason):
    """Fails if a grid is made of intervals that do not fit the layers, or of no layers."""
    with pytest.raises(InvalidInput, match=reason):
        DepthGrid(**arguments)
