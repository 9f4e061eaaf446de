# SPDX-License-Identifier: MIT
"""Block programs: random expressions against UFL's own evaluation, sharing of subexpressions, broadcasting."""

from __future__ import annotations

from unittest.mock import Mock

import numpy as np
import pytest
import ufl
from problems import make_domain

from fem_selection.errors import InvalidInput
from fem_selection.functions import instructions
from fem_selection.functions.programs import BlockProgram

x = ufl.SpatialCoordinate(make_domain("quadrilateral", 1).mesh)
s, r = x[0], x[1]
S = np.asfortranarray(np.linspace(-1.5, 1.4, 12).reshape(3, 4))
R = np.asfortranarray(np.cos(3.0 * S))


def evaluate(*expressions, variables=(s, r), arrays=(S, R)):
    """The values of some expressions by one program."""
    out = [np.full(arrays[0].shape, np.nan, order="F") for _ in expressions]
    BlockProgram(expressions, *variables)(*arrays, *out)
    return out


def random_expression(rng, depth):
    """A random tree over s, r and small constants; values stay moderate."""
    if depth == 0 or rng.random() < 0.1:
        return [s, r, ufl.as_ufl(-1.0), ufl.as_ufl(1.0), ufl.as_ufl(2.0), ufl.as_ufl(0.5)][rng.integers(6)]
    a, b = random_expression(rng, depth - 1), random_expression(rng, depth - 1)
    unary = [lambda a: -a, lambda a: 1 - a, ufl.tanh, ufl.sin, ufl.cos, ufl.atan, ufl.erf, lambda a: -a * (1 - a)]
    binary = [
        lambda a, b: a + b,
        lambda a, b: a - b,
        lambda a, b: a * b,
        lambda a, b: a / (2 + b * b),
        ufl.max_value,
        ufl.min_value,
        lambda a, b: ufl.conditional(ufl.gt(a, b), a, -b),
        lambda a, b: a - b * (a - b),
        lambda a, b: ufl.tanh(a) ** 2 + b,
    ]
    if rng.random() < 0.35:
        return unary[rng.integers(len(unary))](a)
    return binary[rng.integers(len(binary))](a, b)


def test_random_expressions_equal_ufl(rng):
    """Fails if constant folding, a + (−1)·b → a − b, squaring, sharing or dead code removal changes a value."""
    for _ in range(60):
        expressions = [ufl.as_ufl(random_expression(rng, 4)) for _ in range(2)]
        for e, values in zip(expressions, evaluate(*expressions), strict=True):
            expected = [float(e((a, b))) for a, b in zip(S.ravel(), R.ravel(), strict=True)]
            np.testing.assert_allclose(values.ravel(), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (-s * (1 - s), -S * (1 - S)),
        ((1 - s) * -s - s, (1 - S) * -S - S),
        (-s + -r, -S - R),
        (r - s + s - r, 0 * S),
        (-1 * (-s), S),
        (s**2 - s, S**2 - S),
        (s + 0, S),
        (1 * s, S),
        (s, S),
        (ufl.as_ufl(3.0), 3.0 + 0 * S),
        (ufl.as_ufl(0), 0 * S),
    ],
)
def test_negations_and_trivial_results(expression, expected):
    """Fails if a negation that is folded into a subtraction is dropped where it is still read, or results that are
    variables or constants are not copied out."""
    np.testing.assert_allclose(evaluate(expression)[0], expected, rtol=1e-15, atol=1e-15)


def test_logarithms_and_exponentials_near_zero():
    """Fails if ln(1 + x) or exp(x) − 1 lose the digits of a small x, or if 1 is dropped where no term is 1."""
    small = np.asfortranarray(S * 1e-12)
    arrays = (small, R)
    np.testing.assert_allclose(evaluate(ufl.ln(1 + s), arrays=arrays)[0], np.log1p(small), rtol=1e-15)
    np.testing.assert_allclose(evaluate(ufl.exp(s) - 1, arrays=arrays)[0], np.expm1(small), rtol=1e-15)
    np.testing.assert_allclose(evaluate(ufl.ln(2 + s))[0], np.log(2 + S), rtol=1e-15)
    np.testing.assert_allclose(evaluate(ufl.exp(s) - 2)[0], np.exp(S) - 2, rtol=1e-14)
    np.testing.assert_allclose(evaluate(ufl.sin(s) - 1)[0], np.sin(S) - 1, rtol=1e-14)


def functions_of(*expressions):
    """The functions that a translation calls."""
    return [i.function for i in instructions.translate([ufl.as_ufl(e) for e in expressions], (s, r)).code]


def test_branches_that_call_one_function_call_it_once():
    """Fails if softplus calls exp and log1p in each branch, or if a call that both outcomes need is merged away."""
    positive = ufl.gt(s, 0.0)
    softplus = ufl.conditional(positive, s + ufl.ln(1 + ufl.exp(-s)), ufl.ln(1 + ufl.exp(s)))
    assert functions_of(softplus).count(np.exp) == 1
    assert functions_of(softplus).count(np.log1p) == 1
    np.testing.assert_allclose(evaluate(softplus)[0], np.logaddexp(0.0, S), rtol=1e-15)

    shared = ufl.conditional(positive, ufl.exp(s), ufl.exp(r))
    first, second = evaluate(shared, ufl.exp(s))  # the second result needs exp s everywhere
    np.testing.assert_allclose(first, np.exp(np.where(S > 0, S, R)), rtol=1e-15)
    np.testing.assert_allclose(second, np.exp(S), rtol=1e-15)
    two = ufl.conditional(positive, ufl.exp(s), r) + ufl.conditional(ufl.gt(r, 0.0), s, ufl.exp(r))  # two conditions
    assert functions_of(two).count(np.exp) == 2
    np.testing.assert_allclose(evaluate(two)[0], np.where(S > 0, np.exp(S), R) + np.where(R > 0, S, np.exp(R)))


def test_nested_branches_equal_numpy():
    """Fails if merging calls in nested branches picks the argument of another branch."""
    inner = ufl.conditional(ufl.gt(r, 0.0), ufl.sin(s), ufl.sin(2 * s))
    nested = ufl.conditional(ufl.gt(s, 0.0), inner, ufl.sin(3 * s) * ufl.conditional(ufl.gt(r, 0.3), s, ufl.exp(r)))
    other = np.sin(3 * S) * np.where(R > 0.3, S, np.exp(R))
    expected = np.where(S > 0, np.where(R > 0, np.sin(S), np.sin(2 * S)), other)
    np.testing.assert_allclose(evaluate(nested)[0], expected, rtol=1e-14)


def test_common_subexpressions_run_once(monkeypatch):
    """Fails if an expression that occurs three times in two results is evaluated more than once."""
    exp = Mock(side_effect=np.exp)
    monkeypatch.setitem(instructions.UNARY, ufl.classes.Exp, exp)
    e = ufl.exp(-s * (1 - s))
    first, second = evaluate(e * (1 + e), e)
    assert exp.call_count == 1
    wanted = np.exp(-S * (1 - S))
    np.testing.assert_allclose(first, wanted * (1 + wanted), rtol=1e-15)
    np.testing.assert_allclose(second, wanted, rtol=1e-15)


def test_equal_results_are_both_written():
    """Fails if two results that share a register leave one output unwritten."""
    first, second = evaluate(ufl.sin(s), ufl.sin(s))
    np.testing.assert_array_equal(first, np.sin(S))
    np.testing.assert_array_equal(second, np.sin(S))


def test_result_that_another_result_uses():
    """Fails if writing a result into the caller's array hides it from later instructions."""
    first, second = evaluate(ufl.tanh(s), ufl.tanh(s) ** 2 - r)
    np.testing.assert_allclose(first, np.tanh(S))
    np.testing.assert_allclose(second, np.tanh(S) ** 2 - R)


def test_program_is_reusable_on_changing_shapes_and_values():
    """Fails if registers of an earlier call or of another shape leak into a result."""
    program = BlockProgram((ufl.exp(s) - ufl.sin(r) ** 2,), s, r)
    for columns in (1, 5, 2, 3, 7, 6, 4, 9, 8, 10, 5, 1):
        for order in ("F", "C"):
            a, b = (
                np.asarray(np.random.default_rng(columns + k).normal(size=(3, columns)), order=order) for k in (0, 1)
            )
            out = np.empty_like(a)
            program(a, b, out)
            np.testing.assert_allclose(out, np.exp(a) - np.sin(b) ** 2, rtol=1e-13, atol=1e-14)


def test_arguments_are_not_changed():
    """Fails if a variable's array serves as a work register."""
    a, b = S.copy(order="F"), R.copy(order="F")
    evaluate(ufl.exp(s) * r + s, -r, arrays=(a, b))
    np.testing.assert_array_equal(a, S)
    np.testing.assert_array_equal(b, R)


def test_variables_broadcast():
    """Fails if registers take a variable's shape instead of the result's: kernels are evaluated on (n, 1) × (1, N)."""
    a, b = np.linspace(0, 1, 3)[:, None], np.linspace(-1, 1, 4)[None, :]
    out = np.empty((3, 4))
    BlockProgram((ufl.exp(-((s - r) ** 2)) + ufl.sin(s) * 2,), s, r)(a, b, out)
    np.testing.assert_allclose(out, np.exp(-((a - b) ** 2)) + 2 * np.sin(a), rtol=1e-14)


def test_unsupported_operator_is_named():
    """Fails if an operator without an array counterpart is skipped or raises something unexplained."""
    with pytest.raises(InvalidInput, match="BesselJ"):
        BlockProgram((ufl.bessel_J(0, s),), s)


def test_shared_expressions_are_translated_once():
    """Fails if the time grows with the paths through an expression, 3⁶⁰ here, and not with its nodes."""
    tower, expected = s, S
    for level in range(60):
        tower = ufl.conditional(ufl.gt(tower, 0.1 * level), 1.01 * tower, tower + 0.1)
        expected = np.where(expected > 0.1 * level, 1.01 * expected, expected + 0.1)
    (found,) = evaluate(tower)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
