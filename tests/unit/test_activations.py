# SPDX-License-Identifier: MIT
"""Activations: the array programs of σ, σ' and σ'' against UFL's own evaluation, differences and large arguments."""

from __future__ import annotations

import math
from unittest.mock import Mock

import numpy as np
import pytest
import ufl
from problems import make_domain

from fem_selection.errors import InvalidInput
from fem_selection.functions import instructions
from fem_selection.functions.activations import ACTIVATIONS, Activation, find_activation

# symmetric about 0, where some activations have a kink, without containing it
POINTS = np.asfortranarray(np.linspace(-3.0, 3.0, 24).reshape(4, 6))

CLOSED_FORMS = {
    "identity": lambda s: s,
    "tanh": np.tanh,
    "relu": lambda s: np.maximum(s, 0),
    "leaky_relu": lambda s: np.where(s > 0, s, 0.01 * s),
    "softplus": lambda s: np.logaddexp(0, s),
    "sigmoid": lambda s: 1 / (1 + np.exp(-s)),
    "elu": lambda s: np.where(s > 0, s, np.expm1(s)),
    "gelu": lambda s: s * np.vectorize(math.erfc)(-s / np.sqrt(2)) / 2,
    "silu": lambda s: s / (1 + np.exp(-s)),
    "sine": np.sin,
}


def run(activation, s):
    """σ, σ' and σ'' at s."""
    value, derivative, second = (np.empty_like(s) for _ in range(3))
    activation.value_and_derivative(s, value, derivative)
    activation.second_derivative(s, second)
    return value, derivative, second


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_are_the_textbook_functions(name):
    """Fails if a built-in's expression is another function than its name says."""
    np.testing.assert_allclose(run(ACTIVATIONS[name], POINTS)[0], CLOSED_FORMS[name](POINTS), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives_equal_differences(name):
    """Fails if `ufl.diff`, the sech² rewriting or the translation of a derivative is wrong; differences err by 1e-9."""
    step = 1e-5
    up, down = run(ACTIVATIONS[name], POINTS + step), run(ACTIVATIONS[name], POINTS - step)
    _, derivative, second = run(ACTIVATIONS[name], POINTS)
    np.testing.assert_allclose(derivative, (up[0] - down[0]) / (2 * step), atol=2e-9)
    np.testing.assert_allclose(second, (up[1] - down[1]) / (2 * step), atol=2e-9)
    third = np.empty_like(POINTS)
    ACTIVATIONS[name].third_derivative(POINTS, third)
    np.testing.assert_allclose(third, (up[2] - down[2]) / (2 * step), atol=2e-9)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_programs_equal_ufl_at_points(name):
    """Fails if the instructions for blocks compute another number than the UFL expression that forms use."""
    activation = ACTIVATIONS[name]
    s = ufl.SpatialCoordinate(make_domain("interval", 1).mesh)[0]
    only = np.empty_like(POINTS)
    activation.value(POINTS, only)
    computed = run(activation, POINTS)
    np.testing.assert_array_equal(only, computed[0])
    for order, values in enumerate(computed):
        expression = ufl.as_ufl(activation.derivative(s, order))
        expected = [float(expression((x,))) for x in POINTS.ravel()]
        np.testing.assert_allclose(values.ravel(), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nothing_overflows(name):
    """Fails if σ, σ' or σ'' is written by way of e^{|s|}: inf or NaN for large preactivations."""
    s = np.array([-1e3, -400.0, -50.0, 0.0, 50.0, 400.0, 1e3])
    with np.errstate(over="ignore", invalid="ignore"):  # in branches that are not chosen
        computed = run(ACTIVATIONS[name], s)
    for values in computed:
        assert np.all(np.isfinite(values))
    assert np.all(np.abs(computed[1]) <= 1.2)


def test_derivative_at_a_kink_is_one_sided():
    """Fails if σ'(0) of ReLU is NaN or neither of the one-sided derivatives."""
    for name in ("relu", "leaky_relu", "elu"):
        assert run(ACTIVATIONS[name], np.zeros(2))[1][0] in (0.0, 0.01, 1.0)


def test_one_lambda_is_a_whole_activation():
    """Fails if a user's activation needs more than its UFL expression."""
    value, derivative, second = run(Activation(name="cubic", expression=lambda s: s**3 - s), POINTS)
    np.testing.assert_allclose(value, POINTS**3 - POINTS, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(derivative, 3 * POINTS**2 - 1, rtol=1e-13)
    np.testing.assert_allclose(second, 6 * POINTS, rtol=1e-13)


USERS = {
    "softsign": lambda s: s / (1 + abs(s)),
    "hard_tanh": lambda s: ufl.max_value(ufl.min_value(s, 1.0), -1.0),
    "mish": lambda s: s * ufl.tanh(ufl.ln(1 + ufl.exp(s))),
    "pitchfork": lambda s: ufl.tanh(2 * s) - s,
    "window": lambda s: ufl.conditional(ufl.And(ufl.gt(s, -1.0), ufl.lt(s, 1.0)), s, 0.5 * s),
    "arctangent": ufl.atan,
    "root": lambda s: s / ufl.sqrt(1 + s**2),
    "angle": lambda s: ufl.atan2(s, 1 + s**2),
}


@pytest.mark.parametrize("name", USERS)
def test_activations_that_users_write(name):
    """Fails if UFL's derivative of a common activation has an operator that cannot be translated (sign, and)."""
    step = 1e-5
    activation = Activation(name=name, expression=USERS[name])
    s = POINTS + 0.01
    up, down = run(activation, s + step), run(activation, s - step)
    _, derivative, second = run(activation, s)
    np.testing.assert_allclose(derivative, (up[0] - down[0]) / (2 * step), atol=2e-9)
    np.testing.assert_allclose(second, (up[1] - down[1]) / (2 * step), atol=2e-9)


def test_tanh_and_its_derivative_cost_one_tanh(monkeypatch):
    """Fails if common subexpressions are evaluated twice, or σ' goes back to two cosh: both double a sweep's time."""
    activation = Activation(name="tanh", expression=ufl.tanh)
    tanh, cosh = Mock(side_effect=np.tanh), Mock(side_effect=np.cosh)
    monkeypatch.setitem(instructions.UNARY, ufl.classes.Tanh, tanh)
    monkeypatch.setitem(instructions.UNARY, ufl.classes.Cosh, cosh)
    run(activation, POINTS)
    assert tanh.call_count == 2  # one for σ and σ' together, one for σ''
    assert cosh.call_count == 0


@pytest.mark.parametrize("name", [*ACTIVATIONS, *USERS])
def test_derivative_from_the_value(name):
    """Fails if σ' d from σ differs from σ' d from s, or a σ' that needs s is taken for one that does not."""
    activation = ACTIVATIONS[name] if name in ACTIVATIONS else Activation(name=name, expression=USERS[name])
    value, derivative, _ = run(activation, POINTS)
    pullback, dual, found = activation.pullback_from_value, np.cos(POINTS), np.empty_like(POINTS)
    assert (pullback is not None) == (name in ("identity", "tanh"))
    if pullback is not None:
        pullback(value, dual, found)
        np.testing.assert_allclose(found, derivative * dual, rtol=1e-15, atol=1e-16)


@pytest.mark.parametrize("scale", [1.0, 2.0, 0.5])
def test_scaled_tanh_does_not_overflow(scale):
    """Fails if the sech² rewriting misses tanh(μ s): UFL's form overflows at |μ s| = 355."""
    s = np.array([-1e3, 0.3, 1e3])
    _, derivative, second = run(Activation(name="scaled", expression=lambda s: ufl.tanh(scale * s)), s)
    np.testing.assert_allclose(derivative, [0, scale * (1 - np.tanh(0.3 * scale) ** 2), 0], atol=1e-15)
    assert np.all(np.isfinite(second))


def test_unknown_name_lists_the_known():
    """Fails if the message names neither the nearest name nor those that are known."""
    with pytest.raises(InvalidInput, match=r"'swish'; did you mean 'silu'\?; known are identity, tanh"):
        find_activation("swish")
