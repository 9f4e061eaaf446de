# SPDX-License-Identifier: MIT
"""Kernels with kinks, jumps and weak singularities in two and three dimensions, beside closed forms and fine rules."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from mpi4py import MPI
from scipy.integrate import quad
from scipy.special import roots_legendre

import fem_selection as fs
from fem_selection.discretization.quadrature.simplices import cut_parts, halved, volumes
from fem_selection.discretization.quadrature.zero_sets import Parts, divide_at_zeros, extended
from fem_selection.functions.formulas import coordinate_names, parse_formula

SQUARE = "((y0-z0)**2+(y1-z1)**2)"
POINTS, WEIGHTS = roots_legendre(80)
POINTS, WEIGHTS = (POINTS + 1) / 2, WEIGHTS / 2


def make(text: str, cells: int, degree: int = 1, *, cell="triangle", singularity=None, domain=None, **space):
    """The kernel of a formula on the unit square or cube."""
    if domain is None:
        dimension = 2 if cell in ("triangle", "quadrilateral") else 3
        domain = (fs.rectangle if dimension == 2 else fs.box)(MPI.COMM_SELF, (cells,) * dimension, cell=cell)
    space = fs.StateSpace(domain, degree, **space)
    d = domain.dimension
    source = parse_formula(text, ["t", *coordinate_names("y", d), *coordinate_names("z", d)])
    return fs.DenseKernel.interpolate(space, source, fs.DepthGrid(layers=1), singularity=singularity)


def applied(kernel: fs.DenseKernel, f=None) -> np.ndarray:
    """K f at the nodes; K 1 without f."""
    z = kernel.space.coordinates
    values = np.ones(len(z)) if f is None else f(z)
    result = kernel.space.create_block(1)
    kernel.apply(0, np.asfortranarray(values[:, None]), result)
    return result[:, 0]


def observed(errors: list[float]) -> np.ndarray:
    """Orders from errors on meshes of half the size."""
    return np.log2(np.array(errors[:-1]) / errors[1:])


# ── one point ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def over_square(y: np.ndarray, primitive) -> float:
    """∫ k(|y − z|) dz over the unit square in polar coordinates about y: ∫ dθ ∫_0^R k r dr in four rectangles."""
    total = 0.0
    for a, b in product((y[0], 1 - y[0]), (y[1], 1 - y[1])):
        if min(a, b) > 1e-12:
            corner = np.arctan2(b, a)
            total += quad(lambda s, a=a: primitive(a / np.cos(s)), 0, corner, epsabs=1e-13)[0]
            total += quad(lambda s, b=b: primitive(b / np.sin(s)), corner, np.pi / 2, epsabs=1e-13)[0]
    return total


RADIAL = {  # formula of |y − z|², exponent, ∫_0^R k r dr, error on 8 cells that is allowed
    "root": ("**(-0.25)", 0.5, lambda r: r**1.5 / 1.5, 1e-6),
    "inverse": ("**(-0.5)", 1.0, lambda r: r, 1e-5),
    "strong": ("**(-0.875)", 1.75, lambda r: 4 * r**0.25, 2e-4),
    "logarithm": ("**0*log{}/2", 0.0, lambda r: r * r * (np.log(r) / 2 - 0.25), 1e-6),
    "distance": ("**0.5", -1.0, lambda r: r**3 / 3, 1e-6),
}


@pytest.mark.parametrize("space", [{}, {"cell": "quadrilateral", "degree": 3}, {"degree": 0, "family": "dg"}])
@pytest.mark.parametrize("name", RADIAL)
def test_constants_on_the_square(name, space):
    """∫ k(|y−z|) dz at every node: f = 1 is in V_h, so that nothing but the rule is seen.

    Fails if a cell at y is not divided there, if the power of the radius is another one, or if near cells have the rule
    of far ones.
    """
    text, exponent, primitive, allowed = RADIAL[name]
    kernel = make(SQUARE + text.format(SQUARE), 4 if space else 8, singularity=exponent, **space)
    y = np.round(kernel.space.coordinates, 13)
    some = slice(None, None, 7)
    exact = [over_square(point, primitive) for point in y[some]]
    np.testing.assert_allclose(applied(kernel)[some], exact, rtol=0, atol=allowed)


def over_cube(y: np.ndarray, exponent: float) -> float:
    """∫ |y − z|^{−a} dz over the unit cube: the divergence of (z − y) r^{−a} is (3 − a) r^{−a}."""
    total = 0.0
    for axis, side in product(range(3), (0.0, 1.0)):
        height = abs(y[axis] - side)
        others = [k for k in range(3) if k != axis]
        if height < 1e-12:
            continue
        for ends in product(*[((0.0, y[k]), (y[k], 1.0)) for k in others]):
            u, v = (a + (b - a) * POINTS - y[k] for (a, b), k in zip(ends, others, strict=True))
            area = (ends[0][1] - ends[0][0]) * (ends[1][1] - ends[1][0])
            r = np.sqrt(height**2 + u[:, None] ** 2 + v**2)
            total += height * area * np.sum(WEIGHTS[:, None] * WEIGHTS * r**-exponent)
    return total / (3 - exponent)


@pytest.mark.parametrize(("cell", "exponent"), [("tetrahedron", 1.0), ("tetrahedron", 2.0), ("hexahedron", 0.5)])
def test_constants_on_the_cube(cell, exponent):
    """∫ |y−z|^{−a} dz at nodes of a cube, by the divergence theorem.

    Fails if the faces opposite to y are not divided, or the rule in space is that of the plane.
    """
    square = "((y0-z0)**2+(y1-z1)**2+(y2-z2)**2)"
    kernel = make(f"{square}**(-{exponent}/2)", 2, cell=cell, singularity=exponent)
    y = np.round(kernel.space.coordinates, 13)
    exact = [over_cube(point, exponent) for point in y]
    np.testing.assert_allclose(applied(kernel), exact, rtol=3e-6)


@pytest.mark.parametrize(
    ("text", "exponent", "space", "order"),
    [
        ("**(-0.25)", 0.5, {}, 2),
        pytest.param("**0*log{}", 0.0, {}, 2, marks=pytest.mark.slow),
        pytest.param("**(-0.5)", 1.0, {"cell": "quadrilateral", "degree": 2}, 3, marks=pytest.mark.slow),
        pytest.param("**(-0.5)", 1.0, {"mode": "galerkin"}, 2, marks=pytest.mark.slow),
        pytest.param("**(-0.5)", 1.0, {"mode": "galerkin", "degree": 2}, 2.6, marks=pytest.mark.slow),
    ],
)
def test_orders_of_singular_kernels(text, exponent, space, order):
    """K f at the center beside degree 5: the order p + 1 of the interpolated f.

    Fails if the singular cells, or those near them, spoil it.
    """

    def center(cells, **space):
        kernel = make(SQUARE + text.format(SQUARE), cells, singularity=exponent, **space)
        values = applied(kernel, lambda z: np.cos(2 * z[:, 0]) * np.exp(z[:, 1]))
        return values[np.argmin(np.linalg.norm(kernel.space.coordinates - 0.5, axis=1))]

    true = center(2, cell="quadrilateral", degree=5)
    errors = [abs(center(cells, **space) - true) for cells in (2, 4, 8)]
    assert observed(errors)[-1] > order - 0.2


# ── curves and surfaces ───────────────────────────────────────────────────────────────────────────────────────────────


def smooth(z: np.ndarray) -> np.ndarray:
    """The f of the next tests: cos z_0 exp z_1."""
    return np.cos(z[:, 0]) * np.exp(z[:, 1])


def disk_around(y: np.ndarray) -> np.ndarray:
    """∫ cos z_0 e^{z_1} over the part of a disk of radius 0.3 about y that lies in the square."""
    found = []
    for a, b in y:
        ends = {-np.pi / 2, np.pi / 2}
        ends |= {np.arcsin((side - a) / 0.3) for side in (0.0, 1.0) if abs(side - a) < 0.3}
        ends |= {s * np.arccos(gap / 0.3) for gap in (b, 1 - b) if gap < 0.3 for s in (-1, 1)}
        cuts, total = sorted(ends), 0.0
        for low, high in pairwise(cuts):
            s = low + (high - low) * POINTS
            z0, half = a + 0.3 * np.sin(s), 0.3 * np.cos(s)
            inner = np.exp(np.clip(b + half, 0, 1)) - np.exp(np.clip(b - half, 0, 1))
            total += (high - low) * np.sum(WEIGHTS * half * np.cos(z0) * inner * ((z0 >= 0) & (z0 <= 1)))
        found.append(total)
    return np.array(found)


def quarter_disk(y: np.ndarray) -> np.ndarray:
    """∫ cos z_0 e^{z_1} over |z| < 0.7 in the square."""
    s = POINTS * np.pi / 2
    values = 0.7 * np.cos(s) * np.cos(0.7 * np.sin(s)) * (np.exp(0.7 * np.cos(s)) - 1)
    return np.full(len(y), np.pi / 2 * np.sum(WEIGHTS * values))


E = np.e
CUT = {
    "jump": ("where(y0+z0<1,1,0)", lambda y: np.sin(1 - y[:, 0]) * (E - 1)),
    "kink": ("abs(y0-z1)", lambda y: np.sin(1) * (2 * np.exp(y[:, 0]) - y[:, 0] - 1 - y[:, 0] * E)),
    "corner": ("where(z0<y0,1,0)*where(z1<y1,1,0)", lambda y: np.sin(y[:, 0]) * (np.exp(y[:, 1]) - 1)),
    "disk": ("where(z0**2+z1**2<0.49,1,0)", quarter_disk),
    "disk around y": (f"where({SQUARE}<0.09,1,0)", disk_around),
}


@pytest.mark.parametrize(
    ("space", "cells", "order"),
    [
        ({}, (4, 8, 16), 2),
        pytest.param({"cell": "quadrilateral"}, (5, 10, 20), 2, marks=pytest.mark.slow),
        pytest.param({"cell": "quadrilateral", "degree": 2}, (4, 8, 16), 4, marks=pytest.mark.slow),
        pytest.param({"cell": "quadrilateral", "degree": 3}, (3, 6, 12), 4.5, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", CUT)
def test_orders_across_curves(name, space, cells, order):
    """K f of a smooth f at the nodes: 2p for straight and curved sets, at most p + 2 for jumps.

    Fails if cells that the set cuts or touches have the nodal rule (orders 1 and 2), or a curve is cut straight.
    """
    text, exact = CUT[name]
    errors = []
    for n in cells:
        kernel = make(text, n, **space)
        errors.append(np.max(np.abs(applied(kernel, smooth) - exact(kernel.space.coordinates))))
    assert np.log2(errors[0] / errors[-1]) / 2 > order - 0.25


@pytest.mark.parametrize("degree", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_orders_in_galerkin_mode(degree):
    """K f in L², order p + 1.

    Fails if the inner integral does not know the jump.
    """
    text, exact = CUT["jump"]
    errors = []
    for n in (2, 4, 8):
        kernel = make(text, n, degree, mode="galerkin")
        v, y = kernel.space, kernel.space.coordinates
        difference = np.asfortranarray((applied(kernel, smooth) - exact(y))[:, None])
        errors.append(v.norm(difference)[0])
    assert observed(errors)[-1] > degree + 1 - 0.2


def test_surfaces_in_space():
    """1_{y_0+z_1<1} exactly in order two; a ball cut straight in parts.

    Fails if a tetrahedron with two vertices on either side is divided in the wrong way.
    """
    errors = []
    for cells in (2, 4):
        kernel = make("where(y0+z1<1,1,0)", cells, cell="tetrahedron")
        y = kernel.space.coordinates
        errors.append(np.max(np.abs(applied(kernel, lambda z: np.exp(z[:, 1])) - (np.exp(1 - y[:, 0]) - 1))))
    assert observed(errors)[0] > 1.8
    ball = make("where(z0**2+z1**2+z2**2<0.49,1,0)", 2, cell="tetrahedron")
    np.testing.assert_allclose(applied(ball), np.pi * 0.7**3 / 6, rtol=0.02)


def test_an_octant_of_a_moving_corner_is_exact():
    """Three planes that meet in y, f = 1: fails if parts of one cut are not cut by the next one."""
    text = "*".join(f"where(z{k}<0.3+0.5*y{k},1,0)" for k in range(3))
    kernel = make(text, 2, cell="tetrahedron")
    np.testing.assert_allclose(applied(kernel), np.prod(0.3 + 0.5 * kernel.space.coordinates, axis=1), rtol=1e-12)


def test_a_singularity_and_a_jump_at_once():
    """|y−z|^{−1} on one side of a line through y: half of the integral by symmetry, at the center.

    Fails if the parts of a cut cell do not crowd towards y.
    """
    kernel = make(f"where(z0-y0<0.3*(z1-y1),{SQUARE}**(-0.5),0)", 6, singularity=1.0)
    center = np.argmin(np.linalg.norm(kernel.space.coordinates - 0.5, axis=1))
    whole = over_square(np.array([0.5, 0.5]), lambda r: r)
    assert applied(kernel)[center] == pytest.approx(whole / 2, rel=1e-6)


@pytest.mark.slow
def test_curved_cells():
    """The disk of degree 2 in `meshes/`: K 1 for |y|-independent jumps, as far as the mesh is a disk.

    Fails if cells with curved edges are integrated as straight ones: the areas on both sides do not add up.
    """
    from pathlib import Path

    path = Path(__file__).resolve().parents[2] / "meshes" / "disk.msh"
    domain = fs.Domain.from_file(MPI.COMM_SELF, path)
    inside, outside = (
        make(f"where(z0**2+z1**2{sign}0.25,1,0)", 0, domain=domain, mode="galerkin") for sign in ("<", ">=")
    )
    total = float(np.sum(inside.space.mass_columns))
    np.testing.assert_allclose(applied(inside), np.pi / 4, rtol=1e-4)
    np.testing.assert_allclose(applied(inside) + applied(outside), total, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("space", [{}, {"cell": "quadrilateral", "degree": 2}, {"mode": "galerkin"}])
def test_largest_eigenvalue_on_the_square(space):
    """e^{−|y−z|} on the square, beside degree 4: order 2 (3 for p = 2).  Fails if the kink costs an order."""

    def largest(cells, **space):
        kernel = make(f"exp(-sqrt{SQUARE})", cells, singularity=-1.0, **space)
        mass = kernel.space.mass_columns
        matrix = kernel.weights[0] * mass if kernel.space.is_collocated else (mass.T @ kernel.weights[0].T).T
        return np.max(np.linalg.eigvals(matrix).real)

    true = largest(5, cell="quadrilateral", degree=4)
    errors = [abs(largest(cells, **space) - true) for cells in (3, 6, 12)]
    assert observed(errors)[-1] > 1.8 + (space.get("degree", 1) > 1)
    assert errors[-1] < 2e-3 * true


def test_the_adjoint_is_exact():
    """⟨K f, q⟩ = ⟨f, K* q⟩ to round-off.  Fails if product integration lives beside W."""
    kernel = make(CUT["disk around y"][0], 5)
    n, v = kernel.space.num_nodes, kernel.space
    f, q = (np.asfortranarray(np.cos(np.arange(1, n + 1)[:, None] * (k + 1.3))) for k in range(2))
    result, transposed = v.create_block(1), v.create_block(1)
    kernel.apply(0, f, result)
    kernel.add_transpose(0, v.apply_mass(q), 1.0, out=transposed)
    assert v.inner(result, q)[0] == pytest.approx(v.inner(f, v.riesz(transposed))[0], rel=1e-12)


# ── parts of simplices ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_parts_fill_the_simplex(dimension):
    """Fails if parts of a divided simplex overlap, or leave something out."""
    rng = np.random.default_rng(3)
    corners = rng.standard_normal((1, dimension + 1, dimension))
    points = extended(corners)
    whole = volumes(corners)[0]
    np.testing.assert_allclose(volumes(points[0][halved(dimension)]), whole / 2**dimension)
    for table in cut_parts(dimension).values():
        assert np.sum(volumes(points[0][table])) == pytest.approx(whole)


@pytest.mark.parametrize("curved_points", [None, 4])
def test_areas_on_both_sides_of_a_curve(curved_points):
    """A circle about random points divides random triangles: areas within beside sampled fans.

    Fails if a part with a curved side has another orientation, or its curve is another one.
    """
    rng = np.random.default_rng(5)
    corners = rng.random((40, 3, 2))
    corners = corners[volumes(corners) > 0.2]
    parts = Parts(pair=np.arange(len(corners)), corners=corners)

    def g(pair, points):
        return np.sum((points - 0.45) ** 2, axis=2) - 0.16

    straight, curved, _ = divide_at_zeros(parts, [g], curved_points=curved_points)
    centers = straight.corners.mean(axis=1, keepdims=True)
    sizes = volumes(straight.corners) / 2
    within = np.bincount(straight.pair, sizes * (g(None, centers)[:, 0] < 0), minlength=len(corners))
    total = np.bincount(straight.pair, sizes, minlength=len(corners))
    for part in curved:
        middle = np.einsum("mq,mqd->md", part.weights, part.points) / part.weights.sum(axis=1)[:, None]
        share = part.weights.sum(axis=1)
        np.add.at(total, part.pair, share)
        np.add.at(within, part.pair, share * (g(None, middle[:, None])[:, 0] < 0))
    np.testing.assert_allclose(total, volumes(corners) / 2, rtol=1e-9)
    fine = [g(None, _fine(corner)[None])[0] < 0 for corner in corners]
    wanted = [volumes(corner[None])[0] / 2 * np.mean(inside) for corner, inside in zip(corners, fine, strict=True)]
    np.testing.assert_allclose(within, wanted, atol=2e-4)


def _fine(corner: np.ndarray, n: int = 700) -> np.ndarray:
    """Points spread evenly over a triangle."""
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    keep = i + j < n
    u, v = (i[keep] + 1 / 3) / n, (j[keep] + 1 / 3) / n
    return corner[0] + u[:, None] * (corner[1] - corner[0]) + v[:, None] * (corner[2] - corner[0])


def test_breaks_of_python_functions():
    """Fails if functions that no formula shows cannot be declared, or the time does not reach them."""
    space = fs.StateSpace(fs.rectangle(MPI.COMM_SELF, (3, 3), cell="triangle"))
    grid = fs.DepthGrid(layers=2, horizon=2.0)

    def w(t, y, z):
        return np.where(z[0] < 0.3 + 0.2 * t + 0 * y[0], 1.0, 0.0)

    kernel = fs.DenseKernel.interpolate(space, w, grid, breaks=[lambda t, y, z: z[0] - 0.3 - 0.2 * t + 0 * y[0]])
    for interval, time in enumerate(grid.sample_times):
        result = space.create_block(1)
        kernel.apply(interval, np.ones((space.num_nodes, 1), order="F"), result)
        np.testing.assert_allclose(result, 0.3 + 0.2 * time, rtol=1e-12)


def test_a_set_that_is_not_decided_is_named():
    """sin(300 z_0) changes its sign many times in a cell: fails if that passes for one cut."""
    space = fs.StateSpace(fs.rectangle(MPI.COMM_SELF, (3, 3), cell="triangle"))
    source = parse_formula("where(sin(300*z0)*sin(280*z1)<0,1,0)", ["t", "y0", "y1", "z0", "z1"])
    with pytest.warns(fs.SelectionWarning, match="kernel: on .*% of the cells that are divided it is not known"):
        kernel = fs.DenseKernel.interpolate(space, source, fs.DepthGrid(layers=1))
    assert "errors may be those of the nodal rule" in kernel.quadrature_declined
    assert make("where(y0+z0<1,1,0)", 3).quadrature_declined is None
