# SPDX-License-Identifier: MIT
"""The zero set of an activation from its values."""

from __future__ import annotations

import numpy as np
import pytest
import ufl

from fem_selection.errors import InvalidInput
from fem_selection.functions.activations import ACTIVATIONS, Activation, find_activation
from fem_selection.steady.equilibria.zero_set import find_zeros

AT_ZERO = ("identity", "tanh", "leaky_relu", "elu", "gelu", "silu")
NOWHERE = ("softplus", "sigmoid")


@pytest.mark.parametrize("within", [20.0, 100.0])
@pytest.mark.parametrize("name", AT_ZERO + NOWHERE)
def test_built_in_activations(name, within):
    """Fails if underflow or cancellation far from 0, as of gelu and softplus at s = -50, is taken for zeros."""
    zeros = find_zeros(find_activation(name), within)
    assert zeros.kind == ("point" if name in AT_ZERO else "none")
    assert zeros.segments == () and zeros.points == ((0.0,) if name in AT_ZERO else ())


def test_every_built_in_activation_is_covered():
    """Fails if one is added without a word on its zeros here."""
    assert set(ACTIVATIONS) == {*AT_ZERO, *NOWHERE, "relu", "sine"}


def test_several_zeros_and_their_slopes():
    """Fails if a root between samples is not refined, or roots near 0 are missed."""
    sine = find_zeros(find_activation("sine"), 10.0)
    np.testing.assert_allclose(sine.points, np.pi * np.arange(-3, 4), atol=1e-14)
    np.testing.assert_allclose(sine.slopes, [-1, 1, -1, 1, -1, 1, -1], atol=1e-14)
    for mu in (2.0, 1.000001):
        zeros = find_zeros(Activation(name="pitchfork", expression=lambda s, mu=mu: ufl.tanh(mu * s) - s))
        assert zeros.kind == "points" and len(zeros.points) == 3
        low, middle, high = zeros.points
        assert middle == 0.0 and low == pytest.approx(-high, rel=1e-9)
        assert np.tanh(mu * high) - high == pytest.approx(0.0, abs=1e-15)
        assert high > 1e-3
    touching = find_zeros(Activation(name="touching", expression=lambda s: (s - 0.3) ** 2 * (s + 1.7)))
    np.testing.assert_allclose(touching.points, [-1.7, 0.3], atol=1e-6)
    jump = find_zeros(Activation(name="jump", expression=lambda s: ufl.conditional(ufl.gt(s, 0.1), 1.0, -1.0)))
    assert jump.kind == "none"


@pytest.mark.parametrize(
    ("expression", "segment"),
    [
        (lambda s: ufl.max_value(s, 0.0), (-np.inf, 0.0)),
        (lambda s: ufl.max_value(s - 1, 0.0) ** 2, (-np.inf, 1.0)),
        (lambda s: ufl.max_value(2 - s, 0.0), (2.0, np.inf)),
        (lambda s: ufl.max_value(s - 1, 0.0) + ufl.min_value(s + 0.5, 0.0), (-0.5, 1.0)),
    ],
)
def test_segments_by_their_values(expression, segment):
    """Fails if a half line is known by the name of an activation only, or its end is that of a sample."""
    zeros = find_zeros(Activation(name="mine", expression=expression))
    assert zeros.kind == "segment" and zeros.points == ()
    np.testing.assert_allclose(zeros.segments[0], segment, atol=1e-15)


def test_other_zero_sets_are_told_apart():
    """Fails if sets that none of the instruments is made for pass as one of those."""
    both = find_zeros(Activation(name="bump", expression=lambda s: ufl.max_value(1 - s**2, 0.0)))
    assert both.kind == "other" and both.segments == ((-np.inf, -1.0), (1.0, np.inf))
    assert find_zeros(Activation(name="zero", expression=lambda s: 0 * s)).kind == "other"
    point_too = find_zeros(Activation(name="both", expression=lambda s: ufl.max_value(s, 0.0) * (s - 3)))
    assert point_too.kind == "other" and point_too.points == pytest.approx((3.0,))
    assert "s ≤ 0" in str(point_too) and "s = 3" in str(point_too)
    with pytest.raises(InvalidInput, match="R > 0"):
        find_zeros(find_activation("tanh"), 0.0)


@pytest.mark.parametrize(
    ("expression", "at", "error"),
    [
        (lambda s: ufl.tanh(s) - s, 0.0, (3 * 2.4e-13) ** (1 / 3)),  # |σ| = |s|³/3, max |σ| on [-1, 1] is 0.24
        (lambda s: s - ufl.tanh(s), 0.0, (3 * 2.4e-13) ** (1 / 3)),
        (lambda s: ufl.sin(s - 1) - (s - 1), 1.0, (6 * 1.1e-12) ** (1 / 3)),
        (lambda s: (s - 0.3) ** 3, 0.3, (2.2e-12) ** (1 / 3)),
        (lambda s: (s - 0.3) ** 3 - 3 * (s - 0.3) ** 5, 0.3, (8.8e-12) ** (1 / 3)),
    ],
)
def test_multiple_zeros_count_once(expression, at, error):
    """Fails if round-off, which changes its sign many times near a multiple zero, is taken for zeros and intervals."""
    zeros = find_zeros(Activation(name="mine", expression=expression))
    near = [k for k, p in enumerate(zeros.points) if abs(p - at) < 0.1]
    assert zeros.segments == () and len(near) == 1
    (k,) = near
    assert abs(zeros.points[k] - at) <= zeros.errors[k]
    assert 0.4 * error <= zeros.errors[k] <= 2.5 * error
    assert "±" in str(zeros)


def test_an_interval_of_no_width():
    """Fails if the number of samples between the searched interval and what states reach overflows."""
    assert find_zeros(find_activation("tanh"), 5e-324, reach=1.0).points == (0.0,)


def test_simple_zeros_have_small_errors():
    """Fails if a simple zero is reported with an error, or near zeros that σ tells apart are joined."""
    sine = find_zeros(find_activation("sine"))
    assert max(sine.errors) < 1e-10 and "±" not in str(sine)
    near = find_zeros(Activation(name="near", expression=lambda s: s * (s - 1e-3) * (s + 1e-3)))
    np.testing.assert_allclose(near.points, [-1e-3, 0, 1e-3], rtol=1e-5, atol=1e-12)


def test_zeros_are_looked_for_where_states_go():
    """Fails if a zero beyond the searched interval counts as none."""
    shifted = Activation(name="shifted", expression=lambda s: ufl.tanh(s - 25))
    assert find_zeros(shifted).points == pytest.approx((25.0,))  # beyond 20, up to where its expansion begins
    far = Activation(name="far", expression=lambda s: ufl.tanh(s - 4321))
    assert find_zeros(far).kind == "none" and not find_zeros(far).proved
    assert find_zeros(far, reach=4321.0).points == pytest.approx((4321.0,))


@pytest.mark.parametrize(
    ("expression", "proved"),
    [
        (lambda s: 1 / (1 + ufl.exp(-s)), True),
        (lambda s: 1.01 + ufl.sin(s), True),
        (lambda s: 0.5 + s**2 - 0.3 * s, True),
        (lambda s: ufl.exp(s), True),
        (lambda s: ufl.conditional(ufl.gt(s, 0.1), 1.0, -1.0), False),
        (lambda s: ufl.sqrt(1 + s**2) - s, True),
        (lambda s: ufl.exp(-(s**2)), False),
    ],
)
def test_none_is_proved_or_left_open(expression, proved):
    """Fails if samples alone say that σ has no zero: it may have one between or beyond them."""
    zeros = find_zeros(Activation(name="mine", expression=expression))
    assert zeros.kind == "none" and zeros.proved == proved
    assert ("prove" in str(zeros)) and ("not proved" in str(zeros)) != proved
