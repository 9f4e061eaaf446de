# SPDX-License-Identifier: MIT
"""Orders of convergence: p + 1 in L² and 2p at the nodes as h → 0, every scheme's declared order as Δt → 0.

Manufactured solutions of ∂_t f = σ(K f + b): f and w are chosen, b = σ^{-1}(∂_t f) − K f.  For rates in h, f is linear
in t: the scheme integrates it exactly, and what is left is the error of space.  For rates in Δt, K f is the
discrete one: what is left is the error of time.
"""

from __future__ import annotations

import numpy as np
import pytest
import ufl
from dolfinx import fem
from problems import assert_order, make_domain, observed_orders, smooth_states

from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics import SCHEMES, Stepper, find_scheme, solve_forward
from fem_selection.functions.activations import find_activation
from fem_selection.kernels import DenseKernel

TANH = find_activation("tanh")
GAUSS, GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(24)
GAUSS, GAUSS_WEIGHTS = 0.5 + GAUSS / 2, GAUSS_WEIGHTS / 2


class OneDimension:
    """f = sin(2y + 0.3) + 0.4 t cos 3y, w = e^{−(y−z)²} + y z: nothing is even, periodic or a polynomial."""

    points, weights = GAUSS[None, :], GAUSS_WEIGHTS

    @staticmethod
    def start(y, m=np):
        """f at t = 0."""
        return m.sin(2 * y[0] + 0.3)

    @staticmethod
    def rate(y, m=np):
        """∂_t f, constant in t."""
        return 0.4 * m.cos(3 * y[0])

    @staticmethod
    def kernel(t, y, z):
        """w."""
        return np.exp(-((y[0] - z[0]) ** 2)) + y[0] * z[0]


class TwoDimensions:
    """f = sin(y₀ + 2 y₁) + 0.4 t cos(y₀ − y₁), w = e^{y₀ z₁} cos(y₁ − z₀)."""

    points = np.stack([g.ravel() for g in np.meshgrid(GAUSS[::1], GAUSS[::1])])
    weights = np.outer(GAUSS_WEIGHTS, GAUSS_WEIGHTS).ravel()

    @staticmethod
    def start(y, m=np):
        """f at t = 0."""
        return m.sin(y[0] + 2 * y[1])

    @staticmethod
    def rate(y, m=np):
        """∂_t f, constant in t."""
        return 0.4 * m.cos(y[0] - y[1])

    @staticmethod
    def kernel(t, y, z):
        """w."""
        return np.exp(y[0] * z[1]) * np.cos(y[1] - z[0])


def errors(problem, space: StateSpace, scheme: str, layers: int) -> tuple[float, float]:
    """Errors at T = 1: in L² by full quadrature against the exact function, and the largest at a node."""
    tableau = find_scheme(scheme)
    grid = DepthGrid(layers=layers, horizon=1.0, stage_nodes=tableau.nodes)
    y = space.coordinates.T
    operator = problem.kernel(0, y[:, :, None], problem.points[:, None, :]) * problem.weights
    k_start, k_rate = operator @ problem.start(problem.points), operator @ problem.rate(problem.points)
    bias = np.arctanh(problem.rate(y)) - k_start - grid.sample_times[:, None] * k_rate
    kernel = DenseKernel.interpolate(space, problem.kernel, grid)
    stepper = Stepper(space, kernel, bias, activation=TANH, scheme=tableau, grid=grid)
    final = solve_forward(stepper, problem.start(y)[:, None], keep=[layers]).final[:, 0]
    x = ufl.SpatialCoordinate(space.domain.mesh)
    exact = problem.start(x, ufl) + problem.rate(x, ufl)
    dx = ufl.Measure("dx", domain=space.domain.mesh, metadata={"quadrature_degree": 2 * space.degree + 5})
    squared = fem.assemble_scalar(fem.form((space.function(final) - exact) ** 2 * dx))
    return np.sqrt(squared), np.abs(final - problem.start(y) - problem.rate(y)).max()


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_order_in_space(mode, degree):
    """Fails if K f, b or the mass is of lower order than the elements; collocated mode also if its quadrature is not
    the Gauss–Lobatto rule of the nodes (any other loses the order 2p at the nodes)."""
    cells = {1: (8, 16, 32), 2: (6, 12, 24), 3: (4, 8, 16)}[degree]
    found = [errors(OneDimension, StateSpace(make_domain("interval", n), degree, mode=mode), "rk4", 2) for n in cells]
    l2, nodal = zip(*found, strict=True)
    assert_order(observed_orders(l2, [1 / n for n in cells]), degree + 1)
    if mode == "collocated":
        assert_order(observed_orders(nodal, [1 / n for n in cells]), 2 * degree)


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_order_on_quadrilaterals(mode):
    """Fails if rows and columns of a 2-D kernel meet the wrong nodes or weights: order 3 at p = 2."""
    cells = (3, 6, 12)
    found = [
        errors(TwoDimensions, StateSpace(make_domain("quadrilateral", n), 2, mode=mode), "euler", 2) for n in cells
    ]
    assert_order(observed_orders([e[0] for e in found], [1 / n for n in cells]), 3)


LAYERS = {1: (40, 80, 160), 2: (10, 20, 40), 3: (8, 16, 32), 4: (8, 16, 32)}


@pytest.mark.parametrize("name", SCHEMES)
def test_order_in_depth_of_sampled_coefficients(spaces, name):
    """Fails if a coefficient of t is sampled at another time than its stage's, or a tableau is wrong:
    f = sin(1 + y + 0.8 t), w = (1 + ½ sin 2t) e^{yz}, K f the discrete integral."""
    space, scheme = spaces("interval", 3, 1, "collocated"), SCHEMES[name]
    y = space.coordinates[:, 0]
    found = []
    for layers in LAYERS[scheme.order]:
        grid = DepthGrid(layers=layers, horizon=1.0, stage_nodes=scheme.nodes)
        t = grid.sample_times[:, None]
        factor = 1 + 0.5 * np.sin(2 * t)
        kf = factor * (np.sin(1 + y + 0.8 * t) @ (np.exp(np.outer(y, y)) * space.weights).T)
        bias = np.arctanh(0.8 * np.cos(1 + y + 0.8 * t)) - kf
        kernel = DenseKernel.interpolate(space, lambda t, y, z: (1 + 0.5 * np.sin(2 * t)) * np.exp(y[0] * z[0]), grid)
        final = solve_forward(
            Stepper(space, kernel, bias, activation=TANH, scheme=scheme, grid=grid), np.sin(1 + y)[:, None]
        ).final
        found.append(np.abs(final[:, 0] - np.sin(1.8 + y)).max())
    assert_order(observed_orders(found, [1 / n for n in LAYERS[scheme.order]]), scheme.order)


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
@pytest.mark.parametrize("name", SCHEMES)
def test_order_in_depth_of_controls(spaces, mode, name):
    """Fails if a scheme loses its order with controls constant on two intervals, or where σ is projected; against RK4
    with many more layers."""
    space, scheme = spaces("interval", 4, 2, mode), SCHEMES[name]
    kernel = DenseKernel.random(space, 2, 2.0, seed=3)
    initial = smooth_states(space, slice(0, 2))
    bias = np.sin(3 * space.coordinates[:, 0] + np.arange(2)[:, None])

    def final(scheme, layers):
        return solve_forward(
            Stepper(
                space,
                kernel,
                bias,
                activation=TANH,
                scheme=scheme,
                grid=DepthGrid(layers=layers, horizon=1.0, intervals=2),
            ),
            initial,
        ).final

    reference = final(SCHEMES["rk4"], 400)
    found = [np.abs(final(scheme, n) - reference).max() for n in LAYERS[scheme.order]]
    assert_order(observed_orders(found, [1 / n for n in LAYERS[scheme.order]]), scheme.order)
