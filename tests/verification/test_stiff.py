# SPDX-License-Identifier: MIT
"""Stiff local kernels: diffusion at steps far beyond the explicit limit, forward, in derivatives and at what cost.

With quadrature at the nodes and linear elements the cosines are eigenvectors of the discrete diffusion, its eigenvalues
−2 D (1 − cos kπh)/h²; those of the continuous one are −D k²π².  Explicit schemes need Δt < 2/λ_max = h²/2D.
"""

from __future__ import annotations

import numpy as np
import pytest
from problems import UNPENALIZED, make_problem, taylor_orders

from fem_selection.discretization.depth import DepthGrid
from fem_selection.dynamics import SCHEMES, Stepper, solve_forward
from fem_selection.functions.activations import find_activation
from fem_selection.kernels import DenseKernel, LocalKernel, SumKernel
from fem_selection.learning.hessian import Hessian
from fem_selection.learning.verification import adjoint_identity_error

CELLS, D = 200, 0.7
LIMIT = 0.5 / (D * CELLS**2)
MODES = np.arange(1, 4)


def solve(space, scheme: str, activation: str, size: float = 1.0, layers: int = 20):
    """The first three cosines, one per sample, by steps of 1000 times the explicit limit."""
    grid = DepthGrid(layers=layers, horizon=layers * 1000 * LIMIT, intervals=1)
    kernel = LocalKernel.interpolate(space, {"diffusion": D}, grid)
    bias = np.zeros((1, space.num_local))
    stepper = Stepper(space, kernel, bias, activation=find_activation(activation), scheme=SCHEMES[scheme], grid=grid)
    initial = np.asfortranarray(size * np.cos(np.pi * MODES * space.coordinates))
    return stepper, initial, solve_forward(stepper, initial).final


FACTORS = {
    "implicit_euler": lambda z: 1 / (1 + z),
    "crank_nicolson": lambda z: (1 - z / 2) / (1 + z / 2),
    "implicit_midpoint": lambda z: (1 - z / 2) / (1 + z / 2),
}


@pytest.mark.parametrize("scheme", FACTORS)
def test_diffusion_at_a_thousand_times_the_explicit_limit(spaces, scheme):
    """Fails if a stiff step is not solved: each cosine decays by the scheme's own factor to round-off, by the exact one
    to the scheme's error z²/2 or z³/12 a step, and explicit schemes explode."""
    space = spaces("interval", CELLS, 1, "collocated")
    stepper, initial, final = solve(space, scheme, "identity")
    dt, found = 1000 * LIMIT, space.inner(initial, final) / space.inner(initial, initial)
    discrete = 2 * D * CELLS**2 * (1 - np.cos(np.pi * MODES / CELLS))
    factors = FACTORS[scheme](dt * discrete) ** 20
    np.testing.assert_allclose(found, factors, rtol=1e-8, atol=1e-13)
    np.testing.assert_allclose(final, initial * factors, atol=1e-11)
    z = dt * D * np.pi**2
    error = z / 2 if scheme == "implicit_euler" else z**2 / 12
    assert abs(-np.log(found[0]) / 20 - z) <= 1.1 * error * z
    assert stepper.solver.counts.factorizations == 1
    assert stepper.solver.counts.krylov <= 2 * stepper.solver.counts.newton <= 6 * 20
    for explicit in ("euler", "rk4"):
        assert np.abs(solve(space, explicit, "identity")[2]).max() > 1e20


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_tanh_decays_like_the_identity_near_zero(spaces, mode):
    """Fails if the slopes of a small state are not one in the preconditioner or the Jacobian: rates of the exact
    diffusion to the error of Crank–Nicolson, and few iterations."""
    space = spaces("interval", CELLS, 1, mode)
    stepper, initial, final = solve(space, "crank_nicolson", "tanh", 1e-4)
    found = -np.log(space.inner(initial, final) / space.inner(initial, initial)) / (20 * 1000 * LIMIT)
    assert found[0] == pytest.approx(D * np.pi**2, rel=2e-3)
    assert stepper.solver.counts.newton <= 4 * 20
    assert stepper.solver.counts.krylov <= 3 * stepper.solver.counts.newton


def test_iterations_do_not_grow_with_the_mesh(spaces):
    """Fails if the preconditioner is not the inverse of the stiff part: iterations at one Δt, where σ' varies between
    nodes and samples, on a mesh and on one whose diffusion is sixteen times as stiff."""
    numbers = []
    for cells in (40, 160):
        space = spaces("interval", cells, 1, "collocated")
        kernel = LocalKernel.interpolate(space, {"diffusion": 0.1}, DepthGrid(layers=10, horizon=1.0, intervals=1))
        bias = np.sin(3 * space.coordinates[:, 0])[None]
        tanh, scheme = find_activation("tanh"), SCHEMES["implicit_euler"]
        stepper = Stepper(
            space, kernel, bias, activation=tanh, scheme=scheme, grid=DepthGrid(layers=10, horizon=1.0, intervals=1)
        )
        solve_forward(stepper, np.asfortranarray(np.cos(np.pi * space.coordinates * MODES)))
        numbers.append(stepper.solver.counts.krylov / stepper.solver.counts.newton)
    assert numbers[1] <= 1.5 * numbers[0] and max(numbers) < 10


@pytest.mark.parametrize(("scheme", "mode", "parts"), [
    ("implicit_euler", "collocated", "local"), ("implicit_euler", "galerkin", "sum"),
    ("crank_nicolson", "collocated", "sum"),
])  # fmt: skip
def test_derivatives_are_exact_there(spaces, scheme, mode, parts):
    """Fails if a preconditioner of the transposed equation is that of the plain one, or stops before round-off: Taylor
    order, adjoint identity and the Hessian at a Δt of 200 times the explicit limit, σ' not constant.  The direction of
    the identity is rough: the explicit half of Crank–Nicolson magnifies its round-off by Δt λ_max."""
    space = spaces("interval", 40, 1, mode)
    grid = DepthGrid(layers=4, horizon=0.8, intervals=2)
    kernel = LocalKernel.interpolate(space, {"diffusion": lambda t, y: 0.35 + 0.1 * np.cos(3 * y[0])}, grid)
    if parts == "sum":
        kernel = SumKernel([kernel, DenseKernel.random(space, 2, 1.0, seed=7)])
    values = kernel.parameters()
    problem = make_problem(space, kernel=kernel, scheme=scheme, loss="tracking", regularization=UNPENALIZED)
    J, controls = problem.functional, problem.control_space
    J.initial *= 0.02
    x = controls.pack({"kernel": values, "bias": problem.stepper.bias.ravel().copy()})
    h, k = 0.2 * controls.random_direction(2), 0.2 * controls.random_direction(3)
    dual = J.evaluate(x)[1]
    rates = taylor_orders(lambda x: J.evaluate(x)[0], x, h, controls.inner(dual, h))
    np.testing.assert_allclose(rates, 2.0, atol=0.05)
    assert adjoint_identity_error(J, x) <= (1e-12 if scheme == "implicit_euler" else 1e-11)
    hessian = Hessian(J)
    hessian.linearize(x)
    along, other = hessian.apply(h), hessian.apply(k)
    assert abs(k @ along - h @ other) <= 1e-10 * np.linalg.norm(along) * np.linalg.norm(k)
    up, down = (J.evaluate(x + e * h)[1] for e in (1e-5, -1e-5))
    assert along == pytest.approx((up - down) / 2e-5, abs=1e-6 * np.abs(along).max())
