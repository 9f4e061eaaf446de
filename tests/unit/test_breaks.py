# SPDX-License-Identifier: MIT
"""Kinks, jumps and singularities of kernels: what a formula shows, what must be declared, and what is refused."""

from __future__ import annotations

import meshio
import numpy as np
import pytest
from mpi4py import MPI

from fem_selection.cases.kernel import build_kernel, describe_quadrature
from fem_selection.config import parse_case
from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.meshes.domains import Domain, interval, rectangle
from fem_selection.discretization.quadrature.roots import find_roots
from fem_selection.discretization.quadrature.singularities import observed_exponent
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import ConfigError, InvalidInput
from fem_selection.functions.breaks import break_functions
from fem_selection.functions.formulas import coordinate_names, parse_formula
from fem_selection.kernels import DenseKernel

LINE = {"domain": {"shape": "interval", "cells": 6}, "data": {"initial": "y"}}
BOX = {"domain": {"shape": "box", "cells": 2}, "data": {"initial": "y0"}}
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
        (PLANE, {"kernel": "1", "singularity": 2.0}, r"dynamics\.singularity.* no integral in 2 dimensions"),
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


def test_what_is_said_of_the_quadrature():
    """Fails if the sentence names another rule than the one that is used."""
    assert "the cells that y - z = 0 divides" in describe_quadrature(build("exp(-abs(y-z))")[1])
    singular = describe_quadrature(build("abs(y-z)**(-0.5)", singularity=0.5)[1])
    assert "crowd where it grows like |y - z|^-0.5" in singular
    assert describe_quadrature(build("y*z")[1]) is None and describe_quadrature(parse_case(LINE)) is None
    assert "y0 - z0 = 0 divides or touches" in describe_quadrature(build("exp(-abs(y0 - z0))", PLANE)[1])
    assert describe_quadrature(build("y0*z1", PLANE)[1]) is None
    said = describe_quadrature(build("where(z0**2 < z1, abs(y0-z0), 0)", PLANE)[1])
    assert "curved sets are cut straight in parts of 1/32 of a cell" in said
    solid = parse_case({**BOX, "dynamics": {"kernel": "where(z0**2 < y1, 1, 0)"}})
    assert "parts of 1/2 of a cell, with errors of order 2" in describe_quadrature(solid)


DISTANCE = "((y0-z0)**2 + (y1-z1)**2)"


@pytest.mark.parametrize(
    ("kernel", "dynamics", "words"),
    [
        (f"{DISTANCE}**(-0.25)", {}, r"grows like \|y - z\|\^-0\.5: declare it by singularity = 0\.5"),
        (f"log{DISTANCE}", {}, r"grows like log\|y - z\|: declare it by singularity = 0 \(dynamics"),
        (f"sin(sqrt{DISTANCE})/sqrt{DISTANCE}", {}, "no value where y = z.* singularity = -2"),
        (f"1/{DISTANCE}", {}, "has no integral"),
        (f"{DISTANCE}**(-0.75)", {"singularity": 0.5}, r"grows like \|y - z\|\^-1\.5, faster than the declared"),
        ("abs(y0-z0)**(-0.5)", {"singularity": 0.5}, "infinite wherever y0 = z0"),
        ("abs(y1-z1)**(-0.5)", {}, "infinite wherever y1 = z1"),
    ],
)
def test_what_must_be_declared_in_the_plane(kernel, dynamics, words):
    """Fails if an infinite diagonal enters the matrix, or a line of singularities passes for a point."""
    with pytest.raises(InvalidInput, match=words):
        build(kernel, PLANE, **dynamics)


def test_surfaces_in_space_are_refused(tmp_path):
    """Fails if a singular kernel on a surface is integrated by a rule that is not for it."""
    mesh = meshio.Mesh(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 1.0]]), [("triangle", np.array([[0, 1, 2]]))])
    mesh.write(tmp_path / "surface.msh", file_format="gmsh22")
    tables = {"domain": {"file": str(tmp_path / "surface.msh")}, "data": {"initial": "y0"}}
    case = parse_case({**tables, "dynamics": {"kernel": "abs(y0-z0)"}})
    assert "on a curve or surface the quadrature does not know" in describe_quadrature(case)
    with pytest.raises(ConfigError, match=r"dynamics\.singularity.* curves and surfaces"):
        parse_case({**tables, "dynamics": {"kernel": "1", "singularity": 0.5}})
    space = StateSpace(Domain.from_file(MPI.COMM_SELF, tmp_path / "surface.msh"))
    with pytest.raises(InvalidInput, match="curves and surfaces"):
        DenseKernel.interpolate(space, 1.0, DepthGrid(layers=1), singularity=0.5)
