# SPDX-License-Identifier: MIT
"""Losses and terminal costs: values, derivatives against differences, and outputs that are huge."""

from __future__ import annotations

import numpy as np
import pytest
from problems import make_targets, smooth_states

from fem_selection.errors import InvalidInput
from fem_selection.objectives import (
    LOSSES,
    ReadoutCost,
    TrackingCost,
    encode_labels,
    find_loss,
)
from fem_selection.settings import Regularization

NAIVE = {
    "softmax": lambda o, z: np.sum(np.log(np.sum(np.exp(o), axis=0)) - np.sum(z * o, axis=0)),
    "logistic": lambda o, z: np.sum(np.log(1 + np.exp(o)) - z * o),
    "least_squares": lambda o, z: 0.5 * np.sum((o - z) ** 2),
}


def data(name, rng, outputs=4, samples=6):
    """Outputs and targets that fit a loss."""
    o = np.asfortranarray(2 * rng.normal(size=(outputs, samples)))
    labels = np.arange(samples) % outputs
    return o, encode_labels(labels, outputs, "softmax") if name != "least_squares" else np.cos(o)


@pytest.mark.parametrize("name", LOSSES)
def test_value_is_the_formula(name, rng):
    """Fails if a loss is not the sum over the columns of its formula."""
    o, z = data(name, rng)
    assert LOSSES[name].value_and_derivative(o, z)[0] == pytest.approx(NAIVE[name](o, z), rel=1e-13)


@pytest.mark.parametrize("name", LOSSES)
def test_derivative_equals_differences(name, rng):
    """Fails if ∂ℓ/∂o is wrong in any entry, or the inputs are overwritten."""
    o, z = data(name, rng)
    before = o.copy(), z.copy()
    derivative = LOSSES[name].value_and_derivative(o, z)[1]
    step = 1e-5
    for i, j in np.ndindex(o.shape):
        ends = []
        for sign in (1, -1):
            moved = o.copy(order="F")
            moved[i, j] += sign * step
            ends.append(LOSSES[name].value_and_derivative(moved, z)[0])
        assert derivative[i, j] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-8)
    np.testing.assert_array_equal(o, before[0])
    np.testing.assert_array_equal(z, before[1])


@pytest.mark.parametrize("name", ["softmax", "logistic"])
def test_huge_outputs_do_not_overflow(name):
    """Fails if e^o overflows: the loss grows linearly, and its derivative lies in [−1, 1]."""
    o = np.asfortranarray([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]])
    z = encode_labels(np.array([0, 0, 1]), 2, "softmax")
    with np.errstate(over="raise", invalid="raise"):
        value, derivative = LOSSES[name].value_and_derivative(o, z)
    wanted = {"softmax": 2e4 + np.log(2), "logistic": 2e4 + 2 * np.log(2)}[name]
    assert value == pytest.approx(wanted, rel=1e-13)
    np.testing.assert_allclose(derivative[:, 0], 0, atol=1e-15)
    np.testing.assert_allclose(derivative[:, 1], [-1, 1])


def test_softmax_ignores_a_common_shift(rng):
    """Fails if the softmax is not shifted by its largest output: values at o + 10⁶ lose digits but no more."""
    o, z = data("softmax", rng)
    loss = find_loss("softmax")
    value, derivative = loss.value_and_derivative(o, z)
    shifted_value, shifted = loss.value_and_derivative(o + 1e6, z)
    assert shifted_value == pytest.approx(value, abs=1e-8)
    np.testing.assert_allclose(shifted, derivative, atol=1e-9)


def test_no_columns_cost_nothing():
    """Fails if a member without samples cannot take part."""
    for loss in LOSSES.values():
        value, derivative = loss.value_and_derivative(np.empty((3, 0), order="F"), np.empty((3, 0), order="F"))
        assert (value, derivative.shape) == (0.0, (3, 0))


def test_labels_are_encoded_by_class():
    """Fails if classes are encoded in the wrong row, or two classes with the logistic loss do not take one output."""
    labels = np.array([2, 0, 1])
    np.testing.assert_array_equal(encode_labels(labels, 3, "softmax"), [[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(encode_labels(np.array([1, 0]), 2, "logistic"), [[1, 0]])
    assert encode_labels(labels, 3, "logistic").shape == (3, 3)
    assert encode_labels(labels, 3, "softmax").flags.f_contiguous


def test_unknown_name_lists_the_known():
    """Fails if the message names neither the nearest name nor those that are known."""
    with pytest.raises(InvalidInput, match=r"'hinge'; did you mean 'logistic'\?; known are softmax, logistic"):
        find_loss("hinge")


def test_negative_regularization_is_refused():
    """Fails if a negative or undefined weight, which makes the problem unbounded, is accepted."""
    for value in (-1e-3, float("nan")):
        with pytest.raises(InvalidInput, match=r"Regularization.bias_depth: must be (at least 0|a finite number), got"):
            Regularization(bias_depth=value)


# ── terminal costs ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
@pytest.mark.parametrize("name", [*LOSSES, "tracking"])
def test_dual_of_the_final_states(spaces, mode, name):
    """Fails if P_T is not the derivative of scale · Σ Φ in the nodal values: a mass matrix too many or too few."""
    space = spaces("interval", 4, 2, mode)
    final, direction = smooth_states(space, slice(0, 4)), smooth_states(space, slice(4, 8))
    targets = make_targets(space, name, slice(0, 4), 3)
    cost = (
        TrackingCost(space=space)
        if name == "tracking"
        else ReadoutCost(space=space, loss=find_loss(name), num_outputs=3)
    )
    if name != "tracking":
        cost.assign(smooth_states(space, slice(1, 4)), np.array([0.1, -0.2, 0.3]))
    value, dual = cost.evaluate(final, targets, 0.25)
    assert value == pytest.approx(0.25 * cost.value(final, targets), rel=1e-13)
    step = 1e-4
    ends = [cost.value(np.asfortranarray(final + e * direction), targets) for e in (step, -step)]
    assert np.vdot(dual, direction) == pytest.approx(0.25 * (ends[0] - ends[1]) / (2 * step), rel=1e-7)


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_outputs_are_integrals(spaces, mode):
    """Fails if o is not ∫ c f dy + μ: exact here for c = 1, y and f = 1, y."""
    space = spaces("interval", 4, 2, mode)
    y = space.coordinates[:, 0]
    cost = ReadoutCost(space=space, loss=find_loss("softmax"), num_outputs=2)
    functions = np.asfortranarray(np.column_stack([np.ones_like(y), y]))
    cost.assign(functions, np.array([10.0, 20.0]))
    np.testing.assert_allclose(cost.outputs(functions), [[11, 10.5], [20.5, 20 + 1 / 3]], rtol=1e-13)


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_tracking_is_half_the_squared_distance(spaces, mode):
    """Fails if the tracking cost is not ½ Σ_j ‖f_j − g_j‖²."""
    space = spaces("interval", 4, 2, mode)
    f, g = smooth_states(space, slice(0, 3)), smooth_states(space, slice(3, 6))
    wanted = 0.5 * np.sum(space.norm(np.asfortranarray(f - g)) ** 2)
    assert TrackingCost(space=space).value(f, g) == pytest.approx(wanted, rel=1e-13)
