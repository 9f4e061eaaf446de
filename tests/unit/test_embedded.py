# SPDX-License-Identifier: MIT
"""Embedded pairs: orders of the solution, of the error estimate and of the polynomial; stages in groups."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from problems import observed_orders, smooth_states

from fem_selection.dynamics import SelectionField
from fem_selection.evolution.embedded import DOP853, DOPRI5, ESDIRK4
from fem_selection.evolution.implicit_steps import ImplicitSteps
from fem_selection.evolution.trial_steps import ExplicitSteps
from fem_selection.functions.activations import find_activation
from fem_selection.kernels import DenseKernel
from fem_selection.typing import create_block

PAIRS = {pair.name: pair for pair in (DOPRI5, DOP853, ESDIRK4)}
DENSE_ORDER = {5: 4, 8: 7, 4: 3}
STEPS = {5: (8, 16, 32, 64), 8: (5, 7, 10, 14), 4: (16, 32, 64, 128)}


@pytest.fixture(scope="module")
def field(spaces):
    """A field of size one, time-dependent through its bias, so that the nodes c_i matter too."""
    space = spaces("interval", 4, 1)
    kernel, bias = DenseKernel.random(space, 1, 0.8, seed=3), np.zeros(space.num_local)

    def refresh(time):
        bias[:] = np.sin(2 * time + space.coordinates[:, 0])

    return SelectionField(space, kernel, bias, activation=find_activation("tanh"), refresh=refresh)


def create_steps(field, pair, samples):
    """Steps of the pair's kind."""
    return ImplicitSteps(field, samples) if pair.diagonal else ExplicitSteps(field, pair, samples)


def march(field, pair, steps, horizon=2.0, theta=0.4):
    """The state at the end, the error estimate of the first step, and the states at θ of all steps."""
    method, h = create_steps(field, pair, 2), horizon / steps
    state = smooth_states(field.space, slice(0, 2))
    field.move_to(0.0)
    rate = field.rate(state)
    estimates, between = [], []
    for n in range(steps):
        estimates.append(method.attempt(n * h, h, state, rate=rate, inside=[theta]))
        between += method.outputs()
        method.finish((n + 1) * h)
        state, rate = method.exchange(state, rate)
    method.destroy()
    return state, estimates[0].max(), between, [(n + theta) * h for n in range(steps)]


def reference(field, times):
    """The states at these times by SciPy's DOP853."""
    from scipy.integrate import solve_ivp

    start = smooth_states(field.space, slice(0, 2))

    def rate(t, f):
        field.move_to(t)
        return field.rate(np.asfortranarray(f.reshape(start.shape))).ravel()

    found = solve_ivp(rate, (0, 2.0), start.ravel(), "DOP853", np.atleast_1d(times), rtol=1e-13, atol=1e-14)
    return found.y.T.reshape(-1, *start.shape)


@pytest.mark.parametrize("name", PAIRS)
def test_solution_estimate_and_dense_output_have_their_orders(field, name):
    """Fails if a coefficient is mistyped, if a stage is evaluated at another time, if a row of the stages is used again
    too early, if the last rate is not that of the end, or if the polynomial takes another rate."""
    pair = PAIRS[name]
    runs = [march(field, pair, n) for n in STEPS[pair.order]]
    sizes = [1.0 / n for n in STEPS[pair.order]]
    end = reference(field, [2.0])[0]
    errors = [np.abs(run[0] - end).max() for run in runs]
    # of all refinements together: where steps are long enough to be seen above round-off, order 8 is not reached evenly
    order = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert pair.order - 0.4 < order < pair.order + 2.5, errors
    estimates = observed_orders([run[1] for run in runs], sizes)
    assert pair.error_order - 0.4 < estimates[-1] < pair.error_order + 0.6, estimates
    dense = [max(np.abs(a - b).max() for a, b in zip(run[2], reference(field, run[3]), strict=True)) for run in runs]
    order = np.polyfit(np.log(sizes), np.log(dense), 1)[0]
    assert DENSE_ORDER[pair.order] + 0.6 < order < DENSE_ORDER[pair.order] + 2.0, dense


@pytest.mark.parametrize("name", PAIRS)
def test_weights_are_consistent(name):
    """Fails if weights at the end are not b, or an error estimate does not vanish for a constant rate."""
    pair = PAIRS[name]
    b = np.array([pair.a[-1].get(i, 0.0) for i in range(pair.num_rates)])
    np.testing.assert_allclose(pair.weights(1.0), b, atol=1e-12)
    np.testing.assert_array_equal(pair.weights(0.0), 0.0)
    assert pair.node(pair.num_stages) == pytest.approx(1.0, abs=1e-14)
    assert all(abs(sum(row.values())) < 1e-14 for row in pair.errors)


def test_groups_of_samples_make_no_difference(spaces):
    """Fails if a group of samples writes into another's columns or reads its stages."""
    space = spaces("interval", 5, 2)
    field = SelectionField(
        space, DenseKernel.random(space, 1, 2.0, seed=1), np.ones(space.num_local), activation=find_activation("tanh")
    )
    state = smooth_states(space, slice(0, 7))
    rate, found = field.rate(state), []
    for group in (1, 3, 7):
        steps = ExplicitSteps(field, DOP853, 7, group=group)
        errors = steps.attempt(0.0, 0.3, state, rate=rate, inside=[0.2, 0.9])
        steps.finish(0.3)
        found.append((errors, steps.new.copy(), steps.new_rate.copy(), *steps.outputs()))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(found[0][2], field.rate(found[0][1]), rtol=1e-13)


def test_a_step_allocates_nothing(spaces):
    """Fails if a step makes an array of the size of the block."""
    space = spaces("interval", 50, 2)
    field = SelectionField(
        space, DenseKernel.random(space, 1, 2.0, seed=1), np.ones(space.num_local), activation=find_activation("tanh")
    )
    state, steps = smooth_states(space, slice(0, 40)), ExplicitSteps(field, DOP853, 40, group=40)
    rate = field.rate(state)
    for measured in (False, True):
        if measured:
            tracemalloc.start()
        steps.attempt(0.0, 0.1, state, rate=rate, inside=[])
        steps.finish(0.1)
        state, rate = steps.exchange(state, rate)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.2 * create_block(*state.shape).nbytes
