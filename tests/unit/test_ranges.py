# SPDX-License-Identifier: MIT
"""Constants of activations that hold for every s, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import ufl

from fem_selection.evolution.estimates import examine
from fem_selection.functions.activations import ACTIVATIONS, Activation
from fem_selection.functions.ranges import find_jump, range_of, tail_of
from fem_selection.functions.tails import operations, variable

E = math.e


def positive(s):
    """s > 0 in UFL."""
    return ufl.gt(s, 0.0)


# name: σ, Lipschitz constant, whether σ' ≥ 0 is proved (of the logarithm it is not, at its kink), whether s σ(s) ≥ 0,
# whether some Σ is ≥ 0
KNOWN = {
    "log_exp": (lambda s: ufl.ln(1 + ufl.exp(s)) - math.log(2), 1.0, True, True, True),
    "softsign": (lambda s: s / (1 + abs(s)), 1.0, True, True, True),
    "mish": (lambda s: s * ufl.tanh(ufl.ln(1 + ufl.exp(s))), 1.08849816125, False, True, True),
    "hard_tanh": (lambda s: ufl.max_value(ufl.min_value(s, 1.0), -1.0), 1.0, True, True, True),
    "arctangent": (ufl.atan, 1.0, True, True, True),
    "root": (lambda s: s / ufl.sqrt(1 + s**2), 1.0, True, True, True),
    "gauss": (lambda s: s * ufl.exp(-(s**2)), 1.0, False, True, True),
    "pitchfork": (lambda s: ufl.tanh(2 * s) - s, 1.0, False, False, False),
    "shifted": (lambda s: ufl.tanh(s - 25), 1.0, True, False, True),
    "selu": (lambda s: 1.05 * ufl.conditional(positive(s), s, 1.67 * (ufl.exp(s) - 1)), 1.7535, True, True, True),
    "steep": (lambda s: ufl.tanh(400 * s), 400.0, True, True, True),
    "wave": (lambda s: s + 0.5 * ufl.sin(3 * s), 2.5, False, True, True),
    "two_waves": (lambda s: ufl.sin(s) + 0.5 * ufl.sin(2 * s), 2.0, False, False, True),
    "window": (lambda s: ufl.exp(-(s**2)), math.sqrt(2 / E), False, False, True),
    "falling": (lambda s: -ufl.tanh(s), 1.0, False, False, False),
    "error": (ufl.erf, 2 / math.sqrt(math.pi), True, True, True),
    "logarithm": (lambda s: ufl.conditional(positive(s), 1.0, -1.0) * ufl.ln(1 + abs(s)), 1.0, False, True, True),
    "above": (lambda s: ufl.cos(s) + 1.5, 1.0, False, False, False),
}


@pytest.mark.parametrize("name", KNOWN)
def test_constants_in_closed_form(name):
    """Fails if a constant is one of samples, or a property is claimed of some s and not of all."""
    expression, lipschitz, increases, odd, bounded = KNOWN[name]
    activation = Activation(name=name, expression=expression)
    found = examine(activation)
    assert found.lipschitz == pytest.approx(lipschitz, rel=2e-6) and found.lipschitz >= lipschitz * (1 - 1e-11)
    assert found.not_lipschitz is None and find_jump(activation) is None
    assert (range_of(activation, 1).lower >= -1e-3) == increases
    assert (found.wrong_sign >= -1e-12) == odd
    assert np.isfinite(found.antiderivative_minimum) == bounded == (found.not_bounded is None)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        (lambda s: s**2, "grows with"),
        (ufl.exp, "grows with"),
        (lambda s: ufl.conditional(ufl.gt(s, 0.3), 1.0, 0.0), "σ jumps by 1 at s = 0.3"),
        (lambda s: ufl.conditional(ufl.gt(s, 0.0), 1.0, -1.0), "σ jumps by 2 at s = 0"),
        (lambda s: ufl.conditional(ufl.gt(s, 0.0), ufl.sqrt(abs(s)), -ufl.sqrt(abs(s))), "no sharp bound"),
        (lambda s: ufl.conditional(ufl.And(ufl.gt(s, -1.0), ufl.lt(s, 1.0)), s, 0.5 * s), "σ jumps by -0.5 at s = -1"),
        (lambda s: abs(s) ** (1 / 3), "near s ="),
        (lambda s: s * ufl.sin(s), "no expansion"),
    ],
)
def test_reasons_why_there_is_no_constant(expression, why):
    """Fails if the reason is false, as for a jump that is none."""
    found = examine(Activation(name="mine", expression=expression))
    assert found.lipschitz == np.inf and why in found.not_lipschitz


@pytest.mark.parametrize("name", [*ACTIVATIONS, *KNOWN])
def test_bounds_contain_samples(name):
    """Fails if a bound is crossed by a value, near 0 or far away."""
    activation = ACTIVATIONS[name] if name in ACTIVATIONS else Activation(name=name, expression=KNOWN[name][0])
    s = np.concatenate([np.linspace(-40, 40, 4001), np.geomspace(40, 600, 200), -np.geomspace(40, 600, 200)])
    value, slope = np.empty_like(s), np.empty_like(s)
    with np.errstate(all="ignore"):
        activation.value_and_derivative(s, value, slope)
    for order, values in ((0, value), (1, slope)):
        bounds = range_of(activation, order)
        assert np.all(values <= bounds.upper + 1e-14) and np.all(values >= bounds.lower - 1e-14)
        for sign in (-1.0, 1.0):
            tail = tail_of(activation, order, sign, start=60.0)
            if tail is not None:
                low, high = tail.bounds()
                beyond = values[sign * s >= 60]
                assert np.all(beyond >= low - 1e-12 * abs(beyond)) and np.all(beyond <= high + 1e-12 * abs(beyond))


def test_expansions_in_closed_form():
    """Fails if a series has a wrong coefficient: coth, a square root, and softplus."""
    s, table = variable(20.0, 1.0), operations(20.0)
    e = table["exp"](table["mul"](s, table["number"](-2.0)))
    one = table["number"](1.0)
    coth = table["truediv"](table["add"](one, e), table["sub"](one, e))
    assert list(coth.terms.items())[:3] == [((0.0, 0.0), 1.0), ((-2.0, 0.0), 2.0), ((-4.0, 0.0), 2.0)]
    root = table["sqrt"](table["add"](one, table["mul"](s, s)))
    assert list(root.terms.items())[:3] == [((0.0, 1.0), 1.0), ((0.0, -1.0), 0.5), ((0.0, -3.0), -0.125)]
    softplus = table["log"](table["add"](one, table["exp"](s)))
    assert list(softplus.terms.items())[:3] == [((0.0, 1.0), 1.0), ((-1.0, 0.0), 1.0), ((-2.0, 0.0), -0.5)]


def test_activations_of_one_name_are_told_apart():
    """Fails if constants are kept by the name, as in a family tanh(μ s) − s whose members are called alike."""
    slopes = [examine(Activation(name="mine", expression=lambda s, mu=mu: ufl.tanh(mu * s))).lipschitz for mu in (2, 5)]
    np.testing.assert_allclose(slopes, [2.0, 5.0], rtol=1e-6)
