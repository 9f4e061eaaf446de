# SPDX-License-Identifier: MIT
"""Orders and structure of kernels with kinks, jumps and weak singularities on an interval, beside closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from cases import build_equation
from dense import kernel_matrix, mass_matrix, mass_root
from known_spectra import KERNELS
from mpi4py import MPI
from scipy.special import erf, erfi, exp1, expi, j0

import fem_selection as fs
from fem_selection.functions.formulas import coordinate_names, parse_formula

NAMES = ["t", *coordinate_names("y", 1), *coordinate_names("z", 1)]
ROOT_PI = np.sqrt(np.pi)


def _log_on_exp(y: np.ndarray) -> np.ndarray:
    """∫ log|y − z| e^z dz, by parts."""
    inside = np.clip(y, 1e-300, None), np.clip(1 - y, 1e-300, None)
    left = (1 - np.exp(-y)) * np.log(inside[0]) - (exp1(inside[0]) + np.log(inside[0]) + np.euler_gamma)
    right = (np.exp(1 - y) - 1) * np.log(inside[1]) - (expi(inside[1]) - np.log(inside[1]) - np.euler_gamma)
    return np.exp(y) * (left + right)


# kernel, exponent, f, K f, largest order of degree p
APPLIED = {
    "kink": ("abs(y-z)", None, np.cos, lambda y: 1 + np.sin(1) + np.cos(1) - y * np.sin(1) - 2 * np.cos(y), 3.0),
    "jump": ("where(z<y,1,-2)", None, np.cos, lambda y: 3 * np.sin(y) - 2 * np.sin(1), 2.0),
    "triangle": ("where(y+z<1,1,0)", None, np.cos, lambda y: np.sin(1 - y), 2.0),
    "root": (
        "abs(y-z)**(-0.5)",
        0.5,
        np.exp,
        lambda y: np.exp(y) * ROOT_PI * (erf(np.sqrt(np.abs(y))) + erfi(np.sqrt(np.abs(1 - y)))),
        1.5,
    ),
    "logarithm": ("log(abs(y-z))", 0.0, np.exp, _log_on_exp, 2.0),
}
SPACES = [("lagrange", 1), ("lagrange", 2), ("lagrange", 3), ("lagrange", 4), ("dg", 0), ("dg", 1), ("dg", 2)]


def make(text: str, cells: int, *, singularity: float | None = None, grading: float = 1.0, degree: int = 1, **space):
    """The kernel of a formula on the unit interval."""
    space = fs.StateSpace(fs.interval(MPI.COMM_SELF, cells, grading=grading), degree, **space)
    source = parse_formula(text, NAMES)
    return fs.DenseKernel.interpolate(space, source, fs.DepthGrid(layers=1), singularity=singularity)


def applied(kernel: fs.DenseKernel, f) -> np.ndarray:
    """K f at the nodes."""
    result = kernel.space.create_block(1)
    kernel.apply(0, np.asfortranarray(f(kernel.space.coordinates)), result)
    return result[:, 0]


def observed(errors: list[float]) -> np.ndarray:
    """Orders from errors on meshes of half the size."""
    return np.log2(np.array(errors[:-1]) / errors[1:])


@pytest.mark.parametrize(("family", "degree"), SPACES)
@pytest.mark.parametrize("name", APPLIED)
def test_orders_at_the_nodes(name, family, degree):
    """K f of a smooth f: order 2p at the nodes (2 if cellwise constant), but at most that of the error of one cell.

    Fails if a cell that the diagonal divides is not divided, if the limits at a vertex are those of the other side, or
    if points near a singularity do not crowd.
    """
    text, exponent, f, exact, more = APPLIED[name]
    errors = []
    for cells in (10, 20, 40):
        kernel = make(text, cells, singularity=exponent, grading=1.5, degree=degree, family=family)
        y = kernel.space.coordinates[:, 0]
        difference = np.abs(applied(kernel, f) - exact(np.round(y, 14)))  # roots magnify the round-off of the ends
        if name in ("jump", "triangle") and (family, degree) == ("lagrange", 1):
            difference = difference[(y > 0) & (y < 1)]  # see the next test
        errors.append(float(np.max(difference)))
    regular = 2 * max(degree, 1)
    wanted = min(regular, degree + more) if degree > 1 else regular
    if (family, degree) == ("dg", 0) and exponent is not None:
        wanted = 2 - max(exponent, 0.3)  # the slope of f on the cells about the singularity; h² log h for a logarithm
    floor = 2e-10 if exponent is not None else 1e-14
    rates = observed([max(error, floor) for error in errors])
    assert errors[-1] < 5 * floor or np.all(rates > wanted - 0.25)


def test_a_jump_keeps_the_structure():
    """Continuous elements of degree 1 on a graded mesh: W skew if w is, and Volterra's −1_{z<y} a contraction.

    Fails if W is that of the nodal rule (real parts of size h), or if K f has order one anywhere but at two nodes.
    """
    kernel = make("where(z<y,1,-1)", 15, grading=3.0)
    assert np.max(np.abs(kernel.weights[0] + kernel.weights[0].T)) < 1e-12
    for text in ("exp(-abs(y-z))", "where(y+z<1,1,0)"):
        w = make(text, 16).weights[0]
        assert np.max(np.abs(w - w.T)) < 1e-12
    volterra = make("-where(z<y,1,0)", 15, grading=3.0)
    root = np.sqrt(volterra.space.weights)
    matrix = root[:, None] * volterra.weights[0] * root
    assert np.linalg.eigvalsh(matrix + matrix.T)[-1] < 1e-12
    errors, ends, integrals = [], [], []
    for cells in (20, 40, 80):
        kernel = make("where(z<y,1,-2)", cells)
        difference = applied(kernel, np.cos) - APPLIED["jump"][3](kernel.space.coordinates[:, 0])
        errors.append(np.max(np.abs(difference[1:-1])))
        ends.append(np.max(np.abs(difference[[0, -1]])))
        integrals.append(abs(difference @ kernel.space.weights))
    np.testing.assert_allclose(observed(errors), 2.0, atol=0.1)
    np.testing.assert_allclose(observed(ends), 1.0, atol=0.1)
    np.testing.assert_allclose(observed(integrals), 2.0, atol=0.1)


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("exponential, degree 2", 4),
        ("exponential, degree 3", 6),
        ("minimum, dg 1", 2),
        ("weighted green, degree 2", 4),
        ("sign", 2),
        ("sign, degree 2", 4),
        ("sign, degree 3", 6),
        ("triangle", 2),
        ("triangle, degree 3", 6),
        ("triangle, galerkin", 6),
        ("distance, galerkin", 6),
        ("log|y-z|, degree 3", 2),
        ("|y-z|^-0.5, degree 2", 1.5),
        ("|y-z|^-0.75, degree 3", 1.25),
        pytest.param("|y-z|^-0.25, galerkin", 2.5, marks=pytest.mark.slow),  # 3 − 2a: that of the best approximation
    ],
)
def test_orders_of_eigenvalues(name, order):
    """2p collocated and 2p + 2 by Galerkin's method; 2 − a and 3 − 2a where eigenfunctions behave like y^{1−a}.

    Fails if the jump, kink or singularity is not integrated as such: the orders are then one, two, or none.
    """
    known = KERNELS[name]
    true = known.eigenvalues(8)[0]
    errors = []
    for cells in (8, 16, 32):
        field = build_equation({"activation": "identity", **known.dynamics}, cells=cells, space=known.space).field
        values = np.linalg.eigvals(kernel_matrix(field))
        errors.append(np.min(np.abs(values - true)))
    rates = observed(errors)
    assert order - 0.3 < rates[-1] < order + 0.75 and errors[-1] < 0.05 * abs(true)


@pytest.mark.parametrize("space", [{"degree": 3}, {"mode": "galerkin", "degree": 2}, {"family": "dg", "degree": 0}])
@pytest.mark.parametrize(("text", "exponent"), [("where(z<y,exp(y),0)", None), ("abs(y-z)**(-0.5)", 0.5)])
def test_the_adjoint_is_exact_and_the_controls_are_plain(space, text, exponent):
    """⟨K f, q⟩ = ⟨f, K* q⟩ to round-off, and parameters that are read and set again change nothing.

    Fails if product integration lives beside W: the adjoint, gradients and checkpoints know W alone.
    """
    kernel = make(text, 9, singularity=exponent, **space)
    n, v = kernel.space.num_nodes, kernel.space
    f, q = (np.asfortranarray(np.cos(np.arange(1, n + 1)[:, None] * (k + 1.3))) for k in range(2))
    result, transposed = v.create_block(1), v.create_block(1)
    kernel.apply(0, f, result)
    kernel.add_transpose(0, v.apply_mass(q), 1.0, out=transposed)
    assert v.inner(result, q)[0] == pytest.approx(v.inner(f, v.riesz(transposed))[0], rel=1e-12)
    copy = fs.DenseKernel(v, 1)
    copy.assign(kernel.parameters())
    again = v.create_block(1)
    copy.apply(0, f, again)
    np.testing.assert_allclose(again, result, rtol=1e-12)


def test_nodal_values_stay_where_the_kernel_is_smooth():
    """Fails if W differs from w(y_i, y_k) at nodes of cells that the diagonal does not divide."""
    kernel = make("exp(-abs(y-z))", 8, degree=3)
    y = kernel.space.coordinates[:, 0]
    far = np.abs(y[:, None] - y) > 2 / 8
    np.testing.assert_allclose(kernel.weights[0][far], np.exp(-np.abs(y[:, None] - y))[far], rtol=1e-14)
    smooth = make("abs(y-z)**2", 8)  # no kink after all: degree 1 has nothing to divide
    np.testing.assert_allclose(
        smooth.weights[0], (smooth.space.coordinates - smooth.space.coordinates.T) ** 2, atol=1e-14
    )
    galerkin = make("abs(y-z)**2", 8, degree=2, mode="galerkin")  # w is in V_h ⊗ V_h: its projection is itself
    y = galerkin.space.coordinates
    np.testing.assert_allclose(galerkin.weights[0], (y - y.T) ** 2, atol=1e-12)


def test_breaks_of_python_functions():
    """Fails if functions that no formula shows cannot be declared, or the time does not reach them."""
    space = fs.StateSpace(fs.interval(MPI.COMM_SELF, 11), degree=0, family="dg")
    grid = fs.DepthGrid(layers=2, horizon=2.0)

    def w(t, y, z):
        return np.where(z[0] < (0.3 + 0.2 * t) * y[0], 1.0, 0.0)

    kernel = fs.DenseKernel.interpolate(space, w, grid, breaks=[lambda t, y, z: z[0] - (0.3 + 0.2 * t) * y[0]])
    ones, result = np.ones((11, 1), order="F"), space.create_block(1)
    for interval, time in enumerate(grid.sample_times):
        kernel.apply(interval, ones, result)
        np.testing.assert_allclose(result[:, 0], (0.3 + 0.2 * time) * space.coordinates[:, 0], rtol=1e-12)


@pytest.mark.parametrize(
    ("space", "order"),
    [({}, 1.5), ({"degree": 2}, 4), ({"family": "dg", "degree": 0}, 2), ({"mode": "galerkin"}, 2)],
)
def test_volterra_in_time(space, order):
    """∂_t f = −∫_0^y f, f(0) = 1: f = J₀(2 √(t y)), beside the exponential of the matrix.

    Fails if the jump on the diagonal is that of the nodal rule, of order one.
    """
    errors = []
    for cells in (16, 32, 64):
        problem = build_equation({"activation": "identity", "kernel": "-where(z<y,1,0)"}, cells=cells, space=space)
        matrix, v = kernel_matrix(problem.field), problem.space
        found = scipy.linalg.expm(4.0 * matrix) @ np.ones((v.num_nodes, 1))
        difference = np.asfortranarray(found - j0(2 * np.sqrt(4.0 * v.coordinates)))
        errors.append(float(v.norm(difference)[0]))
    np.testing.assert_allclose(observed(errors), order, atol=0.15)


@pytest.mark.parametrize("space", [{}, {"family": "dg", "degree": 0}, {"mode": "galerkin"}])
def test_volterra_is_a_contraction_for_long(space):
    """‖f(1000)‖ = ‖J₀(2 √(1000 y))‖ = 0.1001, with twenty oscillations on 64 cells.

    Fails if the mesh makes states grow: the symmetric part of −1_{z<y} is −½ 1 ⊗ 1, and must be negative.
    """
    problem = build_equation({"activation": "identity", "kernel": "-where(z<y,1,0)"}, cells=64, space=space)
    matrix, v = kernel_matrix(problem.field), problem.space
    root = mass_root(v)
    here = root @ matrix @ np.linalg.inv(root)
    assert np.linalg.eigvalsh(here + here.T)[-1] < 1e-12
    found = scipy.linalg.expm(1000.0 * matrix) @ np.ones(v.num_nodes)
    assert np.sqrt(found @ mass_matrix(v) @ found) == pytest.approx(0.1001, abs=0.002)


def test_galerkin_is_symmetric():
    """Fails if the two variables are integrated in different ways."""
    for text, exponent in (("min(y,z)", None), ("where(y+z<0.9,1,0)", None), ("abs(y-z)**(-0.5)", 0.5)):
        w = make(text, 6, degree=2, mode="galerkin", singularity=exponent, grading=1.4).weights[0]
        assert np.max(np.abs(w - w.T)) < 1e-9 * np.max(np.abs(w))


def test_singular_integrals_of_polynomials():
    """∫ |y−z|^{−a} z² dz by hand: f is in V_h, so that nothing but the rule near the singularity is seen.

    Fails if its points do not crowd, or if z is rounded at distances where |y − z|^{−a} feels it.
    """

    def moment(length, power, a):
        return np.maximum(length, 0.0) ** (power + 1 - a) / (power + 1 - a)

    for a in (0.25, 0.75, 0.95):
        kernel = make(f"abs(y-z)**(-{a})", 7, degree=2, singularity=a, grading=1.7)
        y = kernel.space.coordinates[:, 0]
        left = y**2 * moment(y, 0, a) - 2 * y * moment(y, 1, a) + moment(y, 2, a)
        right = y**2 * moment(1 - y, 0, a) + 2 * y * moment(1 - y, 1, a) + moment(1 - y, 2, a)
        np.testing.assert_allclose(applied(kernel, np.square), left + right, rtol=3e-9)
