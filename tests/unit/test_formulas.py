# SPDX-License-Identifier: MIT
"""Formulas: the two interpreters agree with NumPy and with each other, and nothing but formulas passes."""

from __future__ import annotations

import ast
import builtins
import math
import pickle

import numpy as np
import pytest
import ufl
from ufl.algorithms import estimate_total_polynomial_degree

from fem_selection.errors import InvalidInput
from fem_selection.functions.activations import ActivationFamily
from fem_selection.functions.formulas import FUNCTIONS, coordinate_names, parse_formula

y = np.linspace(0.1, 0.9, 5)
z = np.linspace(-0.5, 0.5, 3)

CASES = [
    ("2*y - z/3 + 1", lambda y, z: 2 * y - z / 3 + 1),
    ("-y**2", lambda y, z: -(y**2)),
    ("2**-y", lambda y, z: 2.0 ** (-y)),
    ("2**3**2 + 0*y", lambda y, z: 512 + 0 * y),
    ("+y - -z", lambda y, z: y + z),
    ("sin(pi*y)*cos(z) + tan(y)", lambda y, z: np.sin(np.pi * y) * np.cos(z) + np.tan(y)),
    ("sinh(y)*cosh(z)*tanh(y)", lambda y, z: np.sinh(y) * np.cosh(z) * np.tanh(y)),
    ("exp(-((y - z)/0.2)**2)", lambda y, z: np.exp(-(((y - z) / 0.2) ** 2))),
    ("log(y) + ln(y) + sqrt(y) + e", lambda y, z: 2 * np.log(y) + np.sqrt(y) + math.e),
    ("abs(z) + sign(z) + atan(z)", lambda y, z: np.abs(z) + np.sign(z) + np.arctan(z)),
    ("erf(z)", lambda y, z: np.vectorize(math.erf)(z)),
    ("max(y, z) - min(y, 0.5)", lambda y, z: np.maximum(y, z) - np.minimum(y, 0.5)),
    ("where(y < 0.4, y, z)", lambda y, z: np.where(y < 0.4, y, z)),
    ("where(0.2 <= y < 0.6, 1, -1)", lambda y, z: np.where((y >= 0.2) & (y < 0.6), 1, -1)),
    ("where(y != y, 1, where(y == y, 2, 3))", lambda y, z: 2 + 0 * y),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_evaluate_is_numpy(text, expected):
    """Fails if an operator or function is not NumPy's, binds otherwise than in Python, or does not broadcast."""
    formula = parse_formula(text, ("t", "y", "z"))
    values = formula.evaluate(y=y[:, None], z=z[None, :])
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, np.broadcast_to(expected(y[:, None], z[None, :]), (5, 3)), rtol=1e-14)


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_ufl_agrees_with_evaluate(text, expected):
    """Fails if the tree is another one in UFL, which evaluates its own expressions at a point: an independent route."""
    formula = parse_formula(text, ("y", "z"))
    symbols = ufl.SpatialCoordinate(ufl.Mesh(_plane()))
    expression = formula.ufl(y=symbols[0], z=symbols[1])
    for point in [(0.3, -0.2), (0.7, 0.4)]:
        wanted = float(formula.evaluate(y=point[0], z=point[1]))
        assert float(expression(point)) == pytest.approx(wanted, rel=1e-13)


def _plane():
    import basix.ufl

    return basix.ufl.element("Lagrange", "triangle", 1, shape=(2,))


def test_every_function_is_covered():
    """Fails if formulas learn a function that no case above uses."""
    used = {node.id for text, _ in CASES for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    assert used >= set(FUNCTIONS)


def test_polynomial_degree_survives_float_literals():
    """Fails if an exponent reaches UFL as a float, for which it takes the degree of the base plus two."""
    x = ufl.SpatialCoordinate(ufl.Mesh(_plane()))
    for degree in (2, 3, 5):
        formula = parse_formula(f"y**{degree} + 1", ["y"])
        assert estimate_total_polynomial_degree(formula.ufl(y=x[0])) == degree


def test_constant_fills_the_common_shape():
    """Fails if a constant does not take the shape of the arguments, or is a view of one number."""
    values = parse_formula("0.5", ("t", "y", "z")).evaluate(t=0.0, y=np.ones((4, 1)), z=np.ones((1, 3)))
    assert values.shape == (4, 3)
    values[0, 0] = 2.0  # an array of its own
    assert values.sum() == pytest.approx(7.5)
    assert parse_formula("1", ()).evaluate().shape == ()


def test_identity_does_not_alias_its_argument():
    """Fails if the formula y returns the caller's own array."""
    given = np.ones(3)
    parse_formula("y", ["y"]).evaluate(y=given)[:] = 5
    assert given.sum() == 3


def test_a_formula_knows_its_names_and_is_frozen():
    """Fails if constants count as names, if pickling, which sends formulas to ranks, alters one, or if one can be
    changed in place."""
    formula = parse_formula("  y0 + pi*e ", coordinate_names("y", 2))
    assert formula.names == {"y0"}
    assert pickle.loads(pickle.dumps(formula)) == formula
    with pytest.raises(AttributeError):
        formula.text = "0"


def test_coordinate_names():
    """Fails if a single coordinate has no name without a number, or one of several does."""
    assert coordinate_names("y", 1) == ("y", "y0")
    assert coordinate_names("z", 3) == ("z0", "z1", "z2")


def test_variable_hides_constant():
    """Fails if the constant e wins over a variable of that name."""
    assert parse_formula("e", ["e"]).evaluate(e=1.0) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "__import__('os')",
        "y.__class__",
        "y.real",
        "(lambda: 1)()",
        "lambda y: y",
        "[y for y in (1, 2)]",
        "y[0]",
        "open('x')",
        "eval('1')",
        "f'{y}'",
        "'text'",
        "b'1'",
        "True",
        "None",
        "...",
        "1j",
        "y if y else 1",
        "(y := 2)",
        "y and y",
        "not y",
        "~y",
        "y % 2",
        "y // 2",
        "y @ y",
        "y ^ 2",
        "y << 1",
        "sin(x=y)",
        "sin(*y)",
        "sin(**y)",
        "sin()(y)",
        "sin(y, y)",
        "max(y)",
        "where(y, 1, 2)",
        "where(y is y, 1, 2)",
        "where(y in y, 1, 2)",
        "y < 1",
        "y, y",
        "{y}",
        "await y",
        "y; y",
        "y = 1",
        "import os",
        "y # comment",
        "1) + (2",
        "",
        "   ",
        "y +",
        "1e999",
        "1" * 400,
        "0x" + "f" * 400,
        "y" + "+y" * 1500,
        "y" + "+y" * 200,
        "-" * 1500 + "y",
        "(" * 1000 + "y" + ")" * 999,
        "y\0",
        "sin",
    ],
)
def test_what_is_no_formula_is_refused(text, monkeypatch):
    """Fails if attributes, keywords, comprehensions or text pass for a formula, if code of it runs, or if its length or
    depth breaks the parser."""

    def forbidden(*args, **kwargs):
        raise AssertionError("code was run")

    for name in ("eval", "exec", "open"):
        monkeypatch.setattr(builtins, name, forbidden)
    with pytest.raises(InvalidInput):
        parse_formula(text, ["y"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 + tnh(y0)", ["'tnh'", "column 5", "did you mean 'tanh'?"]),
        ("y0 + y", ["'y'", "column 6", "did you mean 'y0'?"]),
        ("  y0 + qqq", ["'qqq'", "column 8", "variables: t, y0"]),
        ("y0 + 'é' + y0.é", ["column 6"]),
        ("y0^2", ["**", "column 1"]),
        ("y0 +\n+ foo", ["'foo'", "column 8"]),
        ("2*(y0", ["column 3"]),
        ("exp(y0, 2)", ["exp takes 1 argument, not 2"]),
        ("sin + 1", ["'sin' is a function"]),
    ],
)
def test_message_names_the_place(text, words):
    """Fails if the message lacks what is wrong, the column in the text as given, or the nearest known name."""
    with pytest.raises(InvalidInput) as caught:
        parse_formula(text, ("t", "y0"))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_integer_towers_do_not_grow():
    """Fails if numbers stay integers, which would fill the memory; floats overflow at once."""
    formula = parse_formula("9**9**9**9**9", ())
    assert np.isinf(formula.evaluate())
    with pytest.raises(InvalidInput, match="not a finite real number"):
        formula.ufl()


@pytest.mark.parametrize("text", ["1/0", "sqrt(-1)", "(-1)**0.5", "log(0)", "log(-1)", "exp(1e9)", "1e300*1e300"])
def test_ufl_refuses_constants_that_are_not_finite(text):
    """Fails if a constant that is infinite, complex or undefined is compiled into a form."""
    with pytest.raises(InvalidInput, match="not a finite real number"):
        parse_formula(text, ()).ufl()


def test_where_guards_what_is_not_finite(recwarn):
    """Fails if the branch of `where` that is not chosen leaves NaN or a warning."""
    values = parse_formula("where(y > 0, log(y), 0)", ["y"]).evaluate(y=[0.0, 1.0, math.e])
    np.testing.assert_allclose(values, [0, 0, 1])
    assert not recwarn.list


def test_values_must_match():
    """Fails if a formula is evaluated without one of its variables, or takes one that it does not know."""
    formula = parse_formula("y + z", ("t", "y", "z"))
    with pytest.raises(InvalidInput, match="needs a value for z"):
        formula.evaluate(y=1.0)
    with pytest.raises(InvalidInput, match="x given to"):
        formula.ufl(y=1.0, z=1.0, x=1.0)


def test_a_formula_that_is_no_number_says_so_itself():
    """Fails if a formula of a case is answered with advice on functions of UFL, or with an empty list of parameters."""
    formula = parse_formula("s + 1/0", ("s",))
    with pytest.raises(InvalidInput, match=r"^activation of s: a constant part of 's \+ 1/0' is not a") as caught:
        ActivationFamily(lambda s: formula.ufl(s=s), ())
    assert "ufl" not in str(caught.value)
