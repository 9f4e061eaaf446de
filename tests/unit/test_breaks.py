# SPDX-License-Identifier: MIT
"""Kinks, jumps and singularities of kernels: what a formula shows, what must be declared, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI

from fem_selection.cases.kernel import build_kernel, describe_quadrature
from fem_selection.config import parse_case
from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.domains import interval, rectangle
from fem_selection.discretization.roots import find_roots
from fem_selection.discretization.singularities import observed_exponent
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import ConfigError, InvalidInput
from fem_selection.functions.breaks import break_functions
from fem_selection.functions.formulas import coordinate_names, parse_formula
from fem_selection.kernels import DenseKernel

LINE = {"domain": {"shape": "interval", "cells": 6}, "data": {"initial": "y"}}
PLANE = {"domain": {"shape": "rectangle", "cells": 3}, "data": {"initial": "y0"}}


def formula(text: str, dimension: int = 1):
    """A formula of a kernel, with the parameter c = 2."""
    names = ["t", *coordinate_names("y", dimension), *coordinate_names("z", dimension)]
    return parse_formula(text, names, {"c": 2.0})


def build(kernel: str, tables=LINE, space=None, **dynamics):
    """The kernel of a case with this formula, and the case."""
    case = parse_case({**tables, "dynamics": {"kernel": kernel, **dynamics}})
    domain = interval(MPI.COMM_SELF, 6) if tables is LINE else rectangle(MPI.COMM_SELF, (3, 3))
    return build_kernel(case, StateSpace(domain, **space or {}), DepthGrid(layers=1)), case


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("exp(-abs(y-z)/c)", ["y - z"]),
        ("c*min(y, z) - y*z", ["y - z"]),
        ("where(y + z < 1, 1, 0)", ["y + z - 1"]),
        ("where(0 < y - z <= c*t, sign(y - z), 2)", ["0 - (y - z)", "y - z - c * t", "y - z"]),
        ("max(0, 1 - abs(y - z)/0.3)", ["0 - (1 - abs(y - z) / 0.3)", "y - z"]),
        ("where(z < 0.5, abs(y - 1), c)", []),  # a break of one of the points alone
        ("where(y == z, 1, where(y != z, 2, 3))", []),  # values at points, which no integral sees
        ("exp(-(y - z)**2)", []),
    ],
)
def test_what_a_formula_shows(text, wanted):
    """Fails if a function that breaks is overlooked, or a break that does not depend on both points counts."""
    assert [g.text for g in break_functions(formula(text))] == wanted


def test_a_break_is_a_formula_of_its_own():
    """Fails if the parameters of the kernel do not reach its break, or in two dimensions its coordinates do not."""
    (g,) = break_functions(formula("where(y < c*z + t, 1, 0)"))
    assert float(g.evaluate(t=0.5, y=3.0, z=1.0)) == 0.5 and g.names == {"t", "y", "z"}
    (g,) = break_functions(formula("abs(y0 - z1)", 2))
    assert float(g.evaluate(y0=3.0, z1=1.0)) == 2.0


def test_roots():
    """Fails if a zero is not found to the last bit where g is linear, at an end, or if bisection stops early."""
    y = np.array([0.1, 0.3, 0.75, 2.0])
    numbers, roots = find_roots(lambda n, x: y[n, None] - x, np.full(4, 0.3), np.full(4, 1.0))
    assert sorted(zip(numbers.tolist(), roots.tolist(), strict=True)) == [(1, 0.3), (2, 0.75)]
    _, roots = find_roots(lambda n, x: np.exp(x) - 2.0, np.zeros(1), np.ones(1))
    np.testing.assert_allclose(roots, np.log(2.0), rtol=1e-15)


@pytest.mark.parametrize(
    ("text", "exponent"),
    [
        ("abs(y-z)**(-0.5)", 0.5),
        ("3 - 2*abs(y-z)**(-0.9)*exp(y)", 0.9),
        ("log(abs(y-z))", 0.0),
        ("where(z < y, 1/sqrt(y - z), 0)", 0.5),
        ("1/(y-z)", 1.0),
        ("sqrt(abs(y-z))", -0.5),
        ("exp(-abs(y-z))", -1.0),
    ],
)
def test_growth_at_the_diagonal(text, exponent):
    """Fails if the exponent is measured with the constant part of w, or on one side only."""
    space = StateSpace(interval(MPI.COMM_SELF, 3, lower=-1.0, upper=2.0))
    assert observed_exponent(space, formula(text), 0.0) == pytest.approx(exponent, abs=0.02)


@pytest.mark.parametrize(
    ("kernel", "dynamics", "words"),
    [
        ("abs(y-z)**(-0.5)", {}, r"dynamics\.kernel: .* infinite where y = z .*\|y - z\|\^-0\.5.* singularity = 0\.5"),
        ("-log(abs(y-z))", {}, r"grows like log\|y - z\|: declare it by singularity = 0 \(dynamics"),
        ("((y-z)**2)**(-0.1)", {}, r"singularity = 0\.2"),
        ("abs(y-z)**(-1)", {}, "has no integral"),
        ("abs(y-z)**(-0.75)", {"singularity": 0.5}, r"grows like \|y - z\|\^-0\.75, faster than the declared"),
        ("1/y", {}, "not finite at some node"),
    ],
)
@pytest.mark.parametrize("space", [{}, {"mode": "galerkin", "degree": 2}])
def test_what_must_be_declared(kernel, dynamics, words, space):
    """Fails if an infinite diagonal enters the matrix, or if the error does not say what to declare."""
    with pytest.raises(InvalidInput, match=words):
        build(kernel, space=space, **dynamics)


def test_what_is_finite_but_has_no_value_on_the_diagonal():
    """sin|y−z| / |y−z| is 0/0 there, and smooth: fails if it must be declared, or if its value is not the limit 1."""
    kernel, _ = build("sin(abs(y-z))/abs(y-z)")
    y = kernel.space.coordinates[:, 0]
    np.testing.assert_allclose(kernel.weights[0], np.sinc((y[:, None] - y) / np.pi), atol=1e-12)


@pytest.mark.parametrize(
    ("tables", "dynamics", "words"),
    [
        (LINE, {"singularity": 0.5}, r"dynamics\.singularity: is that of dynamics\.kernel"),
        (LINE, {"kernel": "1", "singularity": 1.0}, r"dynamics\.singularity"),
        (PLANE, {"kernel": "1", "singularity": 0.5}, r"dynamics\.singularity: is integrated in one dimension only"),
        (
            LINE,
            {"representation": "separable", "singularity": 0.5},
            r"dynamics\.singularity: belongs to a dense kernel",
        ),
    ],
)
def test_declarations_that_fit_nothing(tables, dynamics, words):
    """Fails if the key is read where no quadrature uses it."""
    with pytest.raises(ConfigError, match=words):
        parse_case({**tables, "dynamics": dynamics})


def test_more_than_one_dimension_is_named():
    """Fails if a kinked kernel on a rectangle passes for one whose kink the quadrature knows."""
    kernel, case = build("exp(-abs(y0 - z0))", PLANE)
    y = kernel.space.coordinates[:, 0]
    np.testing.assert_array_equal(kernel.weights[0], np.exp(-np.abs(y[:, None] - y)))
    said = describe_quadrature(case)
    assert "in 2 dimensions the quadrature does not know the kinks or jumps where y0 - z0 = 0" in said
    assert "order 2 at kinks and 1 at jumps" in said
    assert "the cells that y - z = 0 divides" in describe_quadrature(build("exp(-abs(y-z))")[1])
    singular = describe_quadrature(build("abs(y-z)**(-0.5)", singularity=0.5)[1])
    assert "crowd where it grows like |y - z|^-0.5" in singular
    assert describe_quadrature(build("y*z")[1]) is None and describe_quadrature(parse_case(LINE)) is None
    with pytest.raises(InvalidInput, match="more than one dimension no quadrature"):
        build("((y0-z0)**2 + (y1-z1)**2)**(-0.25)", PLANE)
    with pytest.raises(InvalidInput, match="on intervals only"):
        DenseKernel.interpolate(kernel.space, 1.0, DepthGrid(layers=1), singularity=0.5)
