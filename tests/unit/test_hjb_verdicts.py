# SPDX-License-Identifier: MIT
"""What the report of the value function may say: box, error bars, loops that leave the box, agreement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mpi4py import MPI
from scipy.integrate import solve_ivp

from fem_selection.errors import InvalidInput
from fem_selection.functions.activations import find_activation
from fem_selection.hjb import ClosedLoop, Grid, ReducedProblem, ValueFunction, compare, find_box, follow, simulate
from fem_selection.hjb.refinement import _decline, _estimate
from fem_selection.studies.value_function import _best_loop

COMM = MPI.COMM_SELF


def one_neuron(activation: str = "identity", *, start: float = 0.0, target: float = 1.0) -> ReducedProblem:
    """One neuron of area one, T = 1, weights one."""
    return ReducedProblem(
        activation=find_activation(activation),
        areas=np.array([1.0]),
        initial=np.array([[start]]),
        targets=np.array([[target]]),
        alpha_kernel=1.0,
        alpha_bias=1.0,
        horizon=1.0,
    )


def linear_value(problem: ReducedProblem, grid: Grid, slopes: tuple[float, float, float]) -> ValueFunction:
    """V = slope · x with a slope for each of the times 0, T/2, T."""
    values = np.stack([slope * grid.axes[0] for slope in slopes])
    times = problem.horizon * np.array([0.0, 0.5, 1.0])
    return ValueFunction(grid=grid, times=times, values=values, steps=2, outflow_share=0.0, outflow_time=0.0)


# ── closed loop ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("activation", ["identity", "relu", "gelu"])
def test_a_loop_that_leaves_the_box_has_no_cost(activation):
    """Fails if a trajectory is followed beyond the box, where extrapolated gradients let it overflow, or if its cost is
    told; the other trajectory stays and has one.  With σ = id and V = −x the velocity is 1 + x²."""
    problem = one_neuron(activation)
    found = linear_value(problem, Grid.uniform([-2.0], [2.0], 8), (-1.0, -1.0, -1.0))
    loop = simulate(problem, found, np.array([[1.5], [-1.5]]), steps=50)
    assert loop.left_box.tolist() == [True, False]
    assert np.isnan(loop.costs[0]) and np.isfinite(loop.costs[1])
    ended = np.isnan(loop.states[:, 0, 0])
    assert ended[-1] and not ended[0] and np.nanmax(loop.states[:, 0, 0]) <= 2.0
    assert loop.exit_times[0] == pytest.approx(loop.times[np.argmax(ended)]) and np.isnan(loop.exit_times[1])
    if activation == "identity":
        assert loop.exit_times[0] == pytest.approx(np.arctan(2.0) - np.arctan(1.5), abs=0.03)
    np.testing.assert_array_equal(np.isnan(loop.kernels[:, 0, 0, 0]), ended[1:])


def test_all_loops_may_leave_the_box():
    """Fails if the steps after the last exit need a state."""
    problem = one_neuron()
    found = linear_value(problem, Grid.uniform([-2.0], [2.0], 8), (-1.0, -1.0, -1.0))
    loop = simulate(problem, found, np.array([[1.9]]), steps=50)
    assert loop.left_box.all() and np.isnan(loop.costs).all() and loop.kernels.shape == (50, 1, 1, 1)


def test_a_loop_that_comes_back_has_left_the_box():
    """Fails if only the last state is compared with the box: V = −8 x, then 8 x takes the state out, and back in if it
    were followed."""
    problem = replace(one_neuron(), alpha_kernel=None)
    found = linear_value(problem, Grid.uniform([-1.0], [1.0], 8), (-8.0, 0.0, 8.0))
    loop = simulate(problem, found, steps=100)
    assert loop.left_box[0]


def test_the_gradient_of_the_loop_is_that_of_its_time():
    """Fails if the gradient in the middle of a step is that of its beginning: for σ = id, no kernel and V = c(t) x the
    velocity is −c(t), and the midpoint rule integrates c = 1 − t exactly."""
    problem = replace(one_neuron(), alpha_kernel=None)
    found = linear_value(problem, Grid.uniform([-1.0], [1.0], 8), (1.0, 0.5, 0.0))
    loop = simulate(problem, found, steps=2)
    assert loop.states[-1, 0, 0] == pytest.approx(-0.5, abs=1e-12)
    np.testing.assert_allclose(loop.states[1, 0, 0], -(0.5 - 0.125), atol=1e-12)


def closed_loop(cost: float) -> ClosedLoop:
    """A loop of one trajectory with this cost; NaN for one that left the box."""
    one, left = np.zeros((1, 1, 1)), np.array([np.isnan(cost)])
    return ClosedLoop(
        times=np.zeros(2),
        states=one,
        kernels=one,
        biases=one[0],
        running=np.array([cost]),
        terminal=np.zeros(1),
        left_box=left,
        exit_times=np.where(left, 0.5, np.nan),
    )


@pytest.mark.parametrize("costs", [(0.5, 0.7), (0.7, 0.5), (np.nan, 0.5), (0.5, np.nan)])
def test_the_best_loop_is_reported(costs):
    """Fails if the worse loop is reported, or one that left the box beside one that did not."""
    assert _best_loop([closed_loop(c) for c in costs]).costs[0] == 0.5
    assert _best_loop([closed_loop(np.nan)] * 2).left_box[0]


# ── time of the value function ────────────────────────────────────────────────────────────────────────────────────────


def test_values_between_snapshots():
    """Fails if a time is looked up in the interval before or after its own: V = c(t) x with c = 1, 4, 2."""
    found = linear_value(one_neuron(), Grid.uniform([-1.0], [1.0], 8), (1.0, 4.0, 2.0))
    times, expected = (0.0, 0.25, 0.5, 0.75, 1.0), (1.0, 2.5, 4.0, 3.0, 2.0)
    x = np.array([[0.3], [-0.7]])
    for t, c in zip(times, expected, strict=True):
        np.testing.assert_allclose(found.value(t, x), c * x[:, 0], atol=1e-14)
        np.testing.assert_allclose(found.gradient(t, x), c, atol=1e-12)


# ── error bars ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("values", "orders", "error", "reason"),
    [
        ([1.16, 1.04, 1.01], (2.0,), 0.03, None),
        ([1.5, 1.25, 1.125], (1.0,), 0.125, "1.00 is not between 1.32"),
        ([0.76162, 0.708936, 0.72597], (np.nan,), 0.052684, "not monotone"),
        ([1.4, 1.3, 1.23], (0.51,), 0.1, "0.51"),
        ([3.0, 1.02, 1.01], (7.6,), 0.01, "7.60"),
        ([1.1, 1.0], (), 0.1, "2 meshes show no order"),
        ([1.0], (), np.nan, "1 mesh shows no order"),
    ],
)
def test_the_error_of_the_extrapolation_is_withheld(values, orders, error, reason):
    """Fails if the change by the extrapolation is called a bound of its error where three meshes do not show an order
    for which it is one, as at kinks; the third values are those of a kink whose true value is 0.743."""
    assert _estimate(values, orders) == pytest.approx(error, abs=1e-6, nan_ok=True)
    declined = _decline(len(values), orders)
    assert declined is None if reason is None else reason in str(declined)


@pytest.mark.parametrize("order", [1.33, 1.5, 2.0, 2.5, 3.0])
def test_the_change_by_the_extrapolation_is_a_bound(order):
    """Fails if an order is admitted for which |V_h − V*| is smaller than the error of V*: V_h = 1 + hᵖ."""
    values = [1.0 + h**order for h in (0.4, 0.2, 0.1)]
    observed = np.log2((values[0] - values[1]) / (values[1] - values[2]))
    assert _decline(3, (float(observed),)) is None
    change = (values[2] - values[1]) / 3.0
    assert abs(values[2] + change - 1.0) <= abs(change) * (1 + 1e-9)


# ── open loop ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_open_loop_by_scipy(rng):
    """Fails if an area, a weight or the layer of a control is wrong: SciPy's DOP853 for two cells, layer by layer."""
    problem = ReducedProblem(
        activation=find_activation("tanh"),
        areas=np.array([0.3, 0.9]),
        initial=rng.normal(size=(2, 1)),
        targets=rng.normal(size=(2, 1)),
        alpha_kernel=0.2,
        alpha_bias=0.7,
        horizon=1.5,
        weight=4.0,
    )
    w, b = rng.normal(size=(3, 2, 2)), rng.normal(size=(3, 2))
    x, running, a = problem.start, 0.0, problem.areas
    for k in range(3):
        right = lambda t, x, k=k: np.tanh(w[k] @ (a * x) + b[k])  # noqa: E731
        x = solve_ivp(right, (0.0, 0.5), x, method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
        for i in range(2):
            running += 0.5 * a[i] * (0.2 * sum(a[j] * w[k, i, j] ** 2 for j in range(2)) + 0.7 * b[k, i] ** 2) / 2
    found = follow(problem, w, b)
    np.testing.assert_allclose(found.states[-1], x, atol=1e-9)
    assert found.cost == pytest.approx(running + problem.terminal_cost(x[None])[0], abs=1e-9)
    with pytest.raises(InvalidInput, match="expected"):
        follow(problem, w, b[:2])


# ── box ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_box_grows_until_a_larger_one_changes_nothing():
    """Fails if a box is kept that cuts the optimal trajectory, or grows without end: σ = id, from 0 to 3 by the bias,
    where V(0, 0) = 9/4 and the state ends at 3/2, in a box that ends at 1."""
    problem = replace(one_neuron(target=3.0), alpha_kernel=None)
    small = Grid.uniform([-1.0], [1.0], 48)
    judged = find_box(problem, small, fixed=True, comm=COMM)
    assert judged.verdict == "too small" and judged.grid == small and judged.rounds == 1
    found = find_box(problem, small, comm=COMM)
    assert found.verdict == "large enough" and found.rounds > 1
    assert found.grid.upper[0] > 1.45 and found.grid.cells == (48,)
    assert found.influence.values[0] == pytest.approx(2.25, abs=0.05)
    assert found.grid.lower[0] == -1.0  # nothing goes there


def test_a_box_holds_the_known_trajectories():
    """Fails if a trajectory that is known from an open loop is left outside, or without room beyond it."""
    problem = one_neuron()
    found = find_box(problem, Grid.uniform([-1.0], [2.0], 16), np.array([[0.0], [4.0]]), comm=COMM)
    assert found.grid.upper[0] >= 4.0 + 0.15 * 3.0 and found.grid.lower[0] <= -1.0


def test_a_mesh_that_is_too_coarse_decides_nothing():
    """Fails if the influence of the box is compared with an error that a mesh without a coarser one cannot have."""
    problem = replace(one_neuron(target=1.0), alpha_kernel=None)
    found = find_box(problem, Grid.uniform([-0.5], [0.9], 6), fixed=True, comm=COMM)
    assert found.verdict == "not decided" and np.isnan(found.tolerance) and "too coarse" in found.reason


# ── agreement ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def agreement(value: float, error: float, **others: float):
    """`compare` with errors that are small unless given."""
    rest = {"witness": np.nan, "witness_error": 0.01, "open_loop": 0.72, "open_loop_error": 1e-4}
    return compare(value, error, **{**rest, "closed_loop": 0.737, "resolution": 1e-3, **others})


def test_numbers_that_part_are_told():
    """Fails if V, far above costs that controls attain, passes because its own error estimate is as large, or without
    one, or if a difference within the error estimates contradicts them: the numbers are those of a wide box and a
    coarse mesh."""
    for error, verdict in ((0.01, "disagree"), (2.0, "not decided"), (np.nan, "not decided")):
        found = agreement(1.187, error, witness=1.254, witness_error=2.0)
        assert found.verdict == verdict
        assert any(s.startswith("finite elements 4.67e-01 above the attained cost, ") for s in found.reasons)
    assert "more than 1.45e-01 but within the error estimates 2.00e+00" in agreement(1.187, 2.0).reasons[0]


def test_numbers_that_agree_are_called_so():
    """Fails if a difference below the error estimates is a disagreement, or if a missing number is compared."""
    found = agreement(0.735, 0.02, witness=0.74, witness_error=0.03)
    assert found.verdict == "agree" and len(found.comparisons) == 4
    alone = agreement(0.735, 0.02, closed_loop=np.nan)
    assert alone.verdict == "agree" and [c.second for c in alone.comparisons] == ["the attained cost"]
    assert agreement(0.735, np.nan).verdict == "not decided"
    assert agreement(0.6, 0.02).verdict == "disagree"  # below: the open loop is not the optimum, or V is too low
    assert agreement(0.725, 0.02, closed_loop=0.9).verdict == "disagree"
    assert agreement(np.nan, np.nan, open_loop=np.nan, closed_loop=np.nan).verdict == "not decided"


def test_an_open_loop_that_is_no_optimum_is_a_bound_alone():
    """Fails if a V far below the cost of controls that are not optimal contradicts it, or one far above does not."""
    found = agreement(0.6, 0.02, witness=0.6, open_loop_is_optimum=False, closed_loop=0.73)
    assert found.verdict == "agree" and [c.second for c in found.comparisons] == ["dynamic programming", "open loop"]
    assert agreement(0.6, 0.02, open_loop=0.8, open_loop_is_optimum=False).verdict == "disagree"  # the closed loop
    assert agreement(0.9, 0.02, open_loop_is_optimum=False).verdict == "disagree"
