# SPDX-License-Identifier: MIT
"""Interval arithmetic: bounds contain all values, and are sharp where each variable occurs once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fem_selection.functions.formulas import parse_formula
from fem_selection.functions.intervals import Interval

FORMULAS = [
    "exp(-((t-1)/0.5)**2) + 1/(2+sin(3*t))",
    "where(t < 0.3, cos(t), t**3) - max(t, abs(t - 1))",
    "tanh(2*t)*sqrt(1 + t**2) - log(3 + cos(t))",
    "sign(t)*erf(t) + atan(t)/(1 + abs(t)) + min(t, 0.2)",
    "cosh(t) - sinh(t)*tan(0.1*t) + (1 + t**2)**0.3",
    "where(0.1 < t < 0.4, 1, -t) + (2 + t)**(-2) - t**0",
]


@given(formula=st.sampled_from(FORMULAS), low=st.floats(-1.9, 3), width=st.floats(0, 2), seed=st.integers(0, 99))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_bounds_contain_all_values(formula, low, width, seed):
    """Fails if an operation is not rounded outward, or an extremum within an interval is forgotten."""
    parsed = parse_formula(formula, ["t"])
    bound = parsed.enclose(t=Interval(np.array([low]), np.array([low + width])))
    points = low + width * np.random.default_rng(seed).random(50)
    values = parsed.evaluate(t=np.append(points, [low, low + width]))
    assert np.all(values >= bound.lower) and np.all(values <= bound.upper)


@pytest.mark.parametrize(
    ("formula", "low", "high", "expected"),
    [
        ("cos(t)", 1.0, 4.0, (-1.0, np.cos(1.0))),
        ("sin(t)", 0.0, 3.0, (0.0, 1.0)),
        ("t**2", -1.0, 3.0, (0.0, 9.0)),
        ("1/t", 0.5, 4.0, (0.25, 2.0)),
        ("1/t", -1.0, 4.0, (-np.inf, np.inf)),
        ("1/t", 0.0, 4.0, (0.25, np.inf)),
        ("log(t)", -1.0, 1.0, (-np.inf, 0.0)),
        ("where(t > 0, 2, -1)", -1.0, 1.0, (-1.0, 2.0)),
        ("where(t > 0, 1/t, 5)", -2.0, -1.0, (5.0, 5.0)),
        ("sqrt(t)", 4.0, 9.0, (2.0, 3.0)),
    ],
)
def test_bounds_are_sharp_for_one_occurrence(formula, low, high, expected):
    """Fails if the bounds of one operation are wider than round-off makes them."""
    parsed = parse_formula(formula, ["t"])
    found = parsed.enclose(t=Interval(np.array([low]), np.array([high])))
    np.testing.assert_allclose([found.lower[0], found.upper[0]], expected, rtol=1e-14, atol=1e-14)


def test_kinks_and_jumps_are_marked():
    """Fails if a mean value form would be used across a kink."""
    smooth, kinked = [("abs(t)", 1), ("t**2", -1)], [("abs(t)", -1), ("where(t < 0.5, t, 1)", 0)]
    for formula, low, rough in [*((*f, False) for f in smooth), *((*f, True) for f in kinked)]:
        parsed = parse_formula(formula, ["t"])
        found = parsed.enclose(t=Interval(np.array([low]), np.array([low + 2.0])))
        assert bool(np.all(found.rough)) == rough, formula


def test_terms_of_a_formula():
    """Fails if the terms of a sum are not found, or keep the names of the whole."""
    terms = parse_formula("t*y - (cos(t) + 3) + -exp(y)", ["t", "y"]).terms
    assert [sorted(term.names) for term in terms] == [["t", "y"], ["t"], [], ["y"]]
