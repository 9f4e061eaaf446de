# SPDX-License-Identifier: MIT
"""Compiled loops: errors of the elementary functions, special values, agreement with NumPy, layouts, places."""

from __future__ import annotations

import math

import numpy as np
import pytest
import ufl
from problems import make_domain
from scipy.special import erf

from fem_selection.functions import programs
from fem_selection.functions.activations import ACTIVATIONS, ActivationFamily
from fem_selection.functions.instructions import UNARY, translate
from fem_selection.functions.loops import write_source
from fem_selection.functions.programs import BlockProgram

x = ufl.SpatialCoordinate(make_domain("quadrilateral", 1).mesh)
s, r = x[0], x[1]
RNG = np.random.default_rng(3)
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, -5e-324, 1e-310, -1e-310, 1e308, -1e308, 745.2, -745.2])
NUMBERS = np.concatenate(
    [
        SPECIAL,
        np.linspace(-1.0, 1.0, 4001),
        np.linspace(-45.0, 45.0, 4001),
        RNG.standard_normal(4000) * 10.0 ** RNG.integers(-300, 300, 4000),
    ]
)


def run(*expressions, variables=(s,), arrays=(NUMBERS,)):
    """The values of some expressions by a compiled loop."""
    program = BlockProgram([ufl.as_ufl(e) for e in expressions], *variables, compiled=True)
    out = [np.full_like(arrays[0], 9.0) for _ in expressions]
    assert program.loop is not None, "there is no compiler"
    assert program.loop([*arrays, *out])
    return out


def by_numpy(program, *arrays, results):
    """What NumPy's instructions of a program give."""
    plain = BlockProgram.__new__(BlockProgram)
    plain.__dict__.update(program.__dict__, _compiled=False)
    out = [np.empty_like(arrays[0]) for _ in range(results)]
    with np.errstate(all="ignore"):
        plain(*arrays, *out)
    return out


ELEMENTARY = {
    "exp": (ufl.exp(s), np.exp, RNG.uniform(-745.0, 709.7, 20000)),
    "expm1": (ufl.exp(s) - 1, np.expm1, np.concatenate([RNG.uniform(-40.0, 709.7, 20000), RNG.uniform(-1, 1, 20000)])),
    "log": (ufl.ln(s), np.log, 10.0 ** RNG.uniform(-323.0, 308.0, 20000)),
    "log near 1": (ufl.ln(s), np.log, 1.0 + RNG.uniform(-0.5, 1.0, 20000)),
    "log1p": (
        ufl.ln(1 + s),
        np.log1p,
        np.concatenate([RNG.uniform(-1.0, 3.0, 20000), 10.0 ** RNG.uniform(-320, 308, 9999)]),
    ),
    "tanh": (ufl.tanh(s), np.tanh, RNG.uniform(-25.0, 25.0, 20000)),
    "sin": (ufl.sin(s), np.sin, RNG.uniform(-1e6, 1e6, 20000)),
    "sin near its zeros": (ufl.sin(s), np.sin, np.pi * np.arange(-9000.0, 9000.0)),
    "cos": (ufl.cos(s), np.cos, RNG.uniform(-1e6, 1e6, 20000)),
    "cos near its zeros": (ufl.cos(s), np.cos, np.pi * (np.arange(-9000.0, 9000.0) + 0.5)),
}


@pytest.mark.parametrize("name", ELEMENTARY)
def test_errors_are_within_four_units_in_the_last_place(name):
    """Fails if a series is too short or a reduction loses digits."""
    expression, exact_function, numbers = ELEMENTARY[name]
    numbers = np.concatenate([numbers, RNG.standard_normal(9000) * 10.0 ** RNG.integers(-300, 2, 9000)])
    if "log" in name:
        numbers = np.abs(numbers)
    (found,) = run(expression, arrays=(numbers,))
    exact = exact_function(numbers.astype(np.longdouble))
    error = np.abs(found - exact) / np.spacing(np.abs(exact.astype(np.float64)))
    assert error.max() <= 4.0, numbers[np.argmax(error)]


def test_error_of_erf():
    """Fails if one of the two series of erf loses digits, or where they meet; math.erf is exact to one unit."""
    numbers = np.concatenate(
        [np.linspace(-7.0, 7.0, 60001), RNG.standard_normal(9000) * 10.0 ** RNG.integers(-300, 1, 9000)]
    )
    (found,) = run(ufl.erf(s), arrays=(numbers,))
    exact = np.array([math.erf(n) for n in numbers])
    assert np.max(np.abs(found - exact) / np.spacing(np.abs(exact))) <= 4.0


@pytest.mark.parametrize("kind", [*UNARY, "expm1", "log1p"])
def test_special_values(kind):
    """Fails if NaN, an infinity, a signed zero or a subnormal number becomes another value than NumPy's."""
    expression = {"expm1": ufl.exp(s) - 1, "log1p": ufl.ln(1 + s)}.get(kind) if isinstance(kind, str) else None
    function = {"expm1": np.expm1, "log1p": np.log1p}.get(kind) if isinstance(kind, str) else UNARY[kind]
    numbers = np.concatenate([SPECIAL, [1.0, -1.0, 2.0, -2.0, 1e5, 1e6, 1e9, -1e22]])
    with np.errstate(all="ignore"):
        expected = function(numbers)
        (found,) = run(kind(s) if expression is None else expression, arrays=(numbers,))
    np.testing.assert_allclose(found, expected, rtol=1e-15, atol=0.0)
    zero = expected == 0.0
    np.testing.assert_array_equal(np.signbit(found[zero]), np.signbit(expected[zero]))


PROGRAMS = {
    "value": (1, 1),
    "value_and_derivative": (1, 2),
    "value_and_two_derivatives": (1, 3),
    "second_derivative": (1, 1),
    "third_derivative": (1, 1),
    "pullback_from_value": (2, 1),
}
"""Numbers of variables and of results."""


@pytest.mark.parametrize("program_name", PROGRAMS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_agree_with_numpy(name, program_name):
    """Fails if a program in C differs from NumPy's by more than 1e-14, at special values too."""
    program = getattr(ACTIVATIONS[name], program_name)
    if program is None or not program._code:
        return
    variables, results = PROGRAMS[program_name]
    if variables == 2:
        arrays = (np.tanh(NUMBERS), NUMBERS[::-1].copy())
        scale = 1.0 + np.abs(arrays[1])
    else:
        arrays, scale = (NUMBERS,), 1.0
    found = [np.empty_like(NUMBERS) for _ in range(results)]
    assert program.loop([*arrays, *found])
    for a, b in zip(found, by_numpy(program, *arrays, results=results), strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        finite = np.isfinite(b)
        np.testing.assert_array_equal(a[~finite], b[~finite])
        with np.errstate(all="ignore"):
            assert np.all(np.abs(a - b)[finite] <= 1e-14 * (scale + np.abs(b))[finite])


def test_all_instructions_agree_with_numpy():
    """Fails if an operation is written with another meaning in C: extrema of NaN, conditions, powers."""
    a, b = RNG.uniform(-2.0, 2.0, (2, 2000))
    a[:3], b[2:5], a[7], b[7] = np.nan, np.nan, 1.0, 1.0
    conditions = [ufl.gt, ufl.ge, ufl.lt, ufl.le, ufl.eq, ufl.ne]
    expressions = [ufl.conditional(c(s, r), s, 3 * r) for c in conditions]
    expressions += [
        ufl.max_value(s, r),
        ufl.min_value(s, r),
        s - r,
        s / (3 + r),
        s**2,
        s**3,
        s**4,
        s**5,
        s**-1,
        s**-3,
        (1 + s * s) ** 0.3,
        ufl.atan2(s, r),
        ufl.conditional(ufl.And(ufl.gt(s, 0), ufl.Not(ufl.lt(r, 0))), ufl.tan(s), ufl.atan(r)),
        ufl.conditional(ufl.Or(ufl.gt(s, 0), ufl.lt(r, 0)), ufl.sinh(s), ufl.exp(r)),
        ufl.sin(ufl.exp(s)) * ufl.exp(ufl.sin(r)) + ufl.conditional(ufl.gt(s, r), ufl.cos(s), ufl.erf(r)),
        ufl.as_ufl(2.5) + 0 * s,
    ]
    program = BlockProgram(expressions, s, r)
    found = run(*expressions, variables=(s, r), arrays=(a, b))
    for e, values, expected in zip(expressions, found, by_numpy(program, a, b, results=len(expressions)), strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-14, atol=1e-14, err_msg=str(e))


def test_zeros_and_roots_are_those_of_numpy():
    """Fails if C picks the other of two zeros of different sign, or a power ½ of −∞ or −0 is another number."""
    numbers = np.repeat([0.0, -0.0, np.inf, -np.inf, np.nan, 2.0], 100)
    others = numbers[::-1].copy()
    expressions = [ufl.max_value(s, r), ufl.min_value(s, r), ufl.max_value(s, 0.0), ufl.min_value(0.0, s), s**0.5]
    found = run(*expressions, variables=(s, r), arrays=(numbers, others))
    expected = by_numpy(BlockProgram(expressions, s, r), numbers, others, results=len(expressions))
    for values, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(values, right)
        np.testing.assert_array_equal(np.signbit(values[right == 0.0]), np.signbit(right[right == 0.0]))


def test_an_entry_does_not_depend_on_its_place():
    """Fails if what remains behind whole vectors is computed by other operations, or alignment chooses them."""
    for expression in (ufl.erf(s) + ufl.exp(s), ufl.sin(s), ufl.conditional(ufl.gt(s, 0.3), ufl.tanh(s), s)):
        program = BlockProgram((expression,), s, compiled=True)
        numbers = RNG.standard_normal(700)
        whole = np.empty(700)
        assert program.loop([numbers, whole])
        for start, length in ((0, 1), (1, 63), (3, 64), (5, 65), (7, 511), (11, 689)):
            room = np.empty(length + 3)
            for shift in range(3):
                part = room[shift : shift + length]
                assert program.loop([numbers[start : start + length], part])
                np.testing.assert_array_equal(part, whole[start : start + length])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_does_not_depend_on_the_place(name):
    """Fails if σ or σ' of the same number differ by a bit between blocks of other lengths and alignments."""
    program = ACTIVATIONS[name].value_and_derivative
    whole = np.empty_like(NUMBERS), np.empty_like(NUMBERS)
    assert program.loop([NUMBERS, *whole])
    size = NUMBERS.size
    for start, length in ((0, 1), (1, 63), (3, 64), (5, 65), (7, size // 2), (11, size - 11)):
        for shift in range(3):
            parts = [np.empty(length + 3)[shift : shift + length] for _ in whole]
            assert program.loop([NUMBERS[start : start + length], *parts])
            for part, expected in zip(parts, whole, strict=True):
                np.testing.assert_array_equal(part.view(np.int64), expected[start : start + length].view(np.int64))


def test_one_large_angle_leaves_the_others_alone():
    """Fails if the other entries of a chunk change because one angle is too large for the reduction."""
    numbers = RNG.uniform(-50.0, 50.0, 640)
    (expected,) = run(ufl.sin(s), arrays=(numbers,))
    numbers[17] = 1e15
    (found,) = run(ufl.sin(s), arrays=(numbers,))
    assert found[17] == math.sin(1e15)
    np.testing.assert_allclose(found[18:], expected[18:], rtol=4e-16)


def test_results_in_the_place_of_a_variable():
    """Fails if a loop reads a variable after its place was written."""
    for expression in (ufl.exp(s) * ufl.sin(s) + ufl.erf(s) * s, ufl.exp(s) * ufl.tanh(s) * s):
        (expected,) = run(expression, arrays=(NUMBERS[13:1013].copy(),))
        numbers = NUMBERS[13:1013].copy()
        assert BlockProgram((expression,), s, compiled=True).loop([numbers, numbers])
        np.testing.assert_array_equal(numbers, expected)


def test_layouts():
    """Fails if a loop runs on arrays that it cannot read in one pass, or refuses two orders that are alike."""
    program = BlockProgram((ufl.tanh(s) * r,), s, r, compiled=True)
    a, b = RNG.standard_normal((2, 30, 40))
    expected = np.tanh(a) * b
    for order in "CF":
        out = np.empty((30, 40), order=order)
        assert program.loop([np.asarray(a, order=order), np.asarray(b, order=order), out])
        np.testing.assert_allclose(out, expected, rtol=1e-14)
    out = np.empty((30, 40))
    assert not program.loop([np.asfortranarray(a), b, out])
    assert not program.loop([a[:1], b, out])
    assert not program.loop([a.astype(np.float32), b, out])
    assert not program.loop([a, 0.5, out])
    assert not program.loop([a, b, np.empty((60, 40))[::2]])
    for arrays in ((np.asfortranarray(a), b), (a[:, :1], b), (a.astype(np.float32).astype(float), b[0]), (a, 0.5)):
        program(*arrays, out)  # NumPy's instructions answer
        np.testing.assert_allclose(out, np.tanh(arrays[0]) * arrays[1], rtol=1e-14)
    strided = np.full((60, 40), 9.0)
    program(a, b, strided[::2])
    np.testing.assert_allclose(strided[::2], expected, rtol=1e-14)
    np.testing.assert_array_equal(strided[1::2], 9.0)


def test_read_only_result():
    """Fails if a loop writes where NumPy refuses to."""
    program = BlockProgram((ufl.exp(s),), s, compiled=True)
    frozen = np.zeros(1000)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        program(np.ones(1000), frozen)
    assert not frozen.any()


def test_families_share_a_loop(monkeypatch):
    """Fails if a loop is compiled for every value of a parameter, or takes the parameter of another member."""
    family = ActivationFamily(lambda s, mu, c: ufl.tanh(mu * s) - c * s, ["mu", "c"])
    members = [family.at("member", {"mu": mu, "c": 0.5}) for mu in (0.5, 2.0)]
    numbers = RNG.standard_normal(1000)
    found = np.empty((2, 1000))
    members[0].value(numbers, found[0])
    monkeypatch.setattr(programs, "create_loop", lambda *a: pytest.fail("compiled again"))
    members[1].value(numbers, found[1])
    for mu, values in zip((0.5, 2.0), found, strict=True):
        np.testing.assert_allclose(values, np.tanh(mu * numbers) - 0.5 * numbers, rtol=1e-13, atol=1e-15)


def test_small_blocks_compile_nothing(monkeypatch):
    """Fails if an activation that is looked at in a few points costs a compilation."""
    monkeypatch.setattr(programs, "create_loop", lambda *a: pytest.fail("compiled"))
    program = BlockProgram((ufl.exp(s),), s, compiled=True)
    out = np.empty(programs.SMALLEST - 1)
    program(np.zeros_like(out), out)
    np.testing.assert_array_equal(out, 1.0)


def test_without_a_compiler_numpy_answers(monkeypatch):
    """Fails if a machine without a compiler has no activations."""
    monkeypatch.setattr(programs, "create_loop", lambda *a: None)
    program = BlockProgram((ufl.erf(s), ufl.exp(s)), s, compiled=True)
    numbers = RNG.standard_normal(1000)
    found = [np.empty(1000), np.empty(1000)]
    program(numbers, *found)
    np.testing.assert_array_equal(found[0], erf(numbers))
    np.testing.assert_array_equal(found[1], np.exp(numbers))


def test_numbers_are_written_exactly():
    """Fails if a constant loses digits on its way into C: a third, subnormal numbers, infinities."""
    for number in (1.0 / 3.0, 5e-324, 1e308, math.pi):
        (found,) = run(number * s, arrays=(np.array([1.0, 2.0]),))
        assert found[0] == number
    source = write_source(translate([ufl.as_ufl(float("inf")) * s], (s,)))
    assert "INFINITY" in source
