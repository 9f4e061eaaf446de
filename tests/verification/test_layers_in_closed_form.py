# SPDX-License-Identifier: MIT
"""Problems with known solutions: linear, ReLU without a kernel, skew kernels, rank one."""

from __future__ import annotations

import numpy as np
import pytest
from problems import MODES, assert_order, observed_orders, smooth_states
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from fem_selection.discretization.depth import DepthGrid
from fem_selection.dynamics import SCHEMES, Stepper, solve_forward
from fem_selection.errors import NonFinite
from fem_selection.functions.activations import find_activation
from fem_selection.kernels import DenseKernel


def solve(space, kernel, activation, scheme, layers, initial, bias=0.0, horizon=1.0, keep=None):
    """The trajectory of layers with one control interval."""
    grid = DepthGrid(layers=layers, horizon=horizon, intervals=1)
    source = DenseKernel.interpolate(space, kernel, grid)
    values = np.broadcast_to(bias, (1, space.num_local)).astype(float)
    return solve_forward(
        Stepper(space, source, values, activation=find_activation(activation), scheme=SCHEMES[scheme], grid=grid),
        initial,
        keep,
    )


def operator(space, w):
    """A = W M from nodal values and a mass matrix assembled here: M is read from PETSc, W from the formula."""
    y = space.coordinates[:, 0]
    mass = space.mass.convert("dense").getDenseArray().copy()
    space.mass.convert("aij")
    return w(0, y[None, :, None], y[None, None, :]) @ mass


def separable(t, y, z):
    """A kernel of rank two."""
    return 2 * np.cos(y[0]) * np.sin(1 + z[0]) - y[0] * z[0]


@pytest.mark.parametrize("mode", MODES)
def test_linear_case_is_the_matrix_exponential(spaces, mode):
    """Fails if K is not W M, or a stage is combined wrongly: identity, b = 0, f(T) = e^{TA} f^I; Euler is (1 + ΔtA)ⁿ to
    round-off, RK4 the truncated series."""
    space = spaces("interval", 4, 2, mode)
    f0, a = smooth_states(space, slice(0, 2)), operator(space, separable)
    euler = solve(space, separable, "identity", "euler", 5, f0).final
    np.testing.assert_allclose(euler, np.linalg.matrix_power(np.eye(len(a)) + a / 5, 5) @ f0, rtol=1e-12, atol=1e-12)
    h = a / 4
    step = np.eye(len(a)) + h + h @ h / 2 + h @ h @ h / 6 + h @ h @ h @ h / 24
    rk4 = solve(space, separable, "identity", "rk4", 4, f0).final
    np.testing.assert_allclose(rk4, np.linalg.matrix_power(step, 4) @ f0, rtol=1e-12, atol=1e-12)
    fine = solve(space, separable, "identity", "rk4", 64, f0).final
    np.testing.assert_allclose(fine, expm(a) @ f0, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_relu_without_a_kernel(spaces, scheme):
    """Fails if a bias is scaled, or the weights of a scheme do not sum to one: f = f^I + t max(b, 0) to round-off."""
    space = spaces("interval", 4, 2, "collocated")
    f0 = smooth_states(space, slice(0, 3))
    b = np.cos(5 * space.coordinates[:, 0])
    trajectory = solve(space, 0.0, "relu", scheme, 6, f0, bias=b, horizon=1.5)
    assert len(trajectory.states) == 7
    for t, f in zip(trajectory.times, trajectory.states, strict=True):
        np.testing.assert_allclose(f, f0 + t * np.maximum(b, 0)[:, None], rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("scheme", "order"), [("euler", 1), ("midpoint", 3), ("heun", 3), ("ssprk3", 3), ("rk4", 5)])
def test_skew_kernel_conserves_the_norm(spaces, mode, scheme, order):
    """Fails if K is not skew in the inner product of the space (the wrong mass on one side): then the norm changes
    however small Δt.  The drift is that of |R(iy)|² − 1: y², y⁴/4, −y⁴/12, −y⁶/72 per step."""
    space = spaces("interval", 4, 2, mode)
    f0 = smooth_states(space, slice(0, 1))

    def skew(t, y, z):
        return 4 * (np.exp(y[0]) * z[0] - y[0] * np.exp(z[0]))

    layers = (40, 80, 160) if order == 1 else (10, 20, 40)
    drift = []
    for n in layers:
        final = solve(space, skew, "identity", scheme, n, f0, keep=[n], horizon=2.0).final
        drift.append(abs(space.norm(final)[0] - space.norm(f0)[0]))
    assert_order(observed_orders(drift, [1 / n for n in layers]), order)
    assert np.abs(final - f0).max() > 0.1  # the state itself moves


@pytest.mark.parametrize("strength", [-3.0, 2.0])
def test_rank_one_kernel_is_a_scalar_equation(spaces, strength):
    """Fails if K f is not λ u ⟨u, f⟩ in the continuum: g = ⟨u, f⟩ obeys g' = ∫ u tanh(λ u g) dy, solved by SciPy with a
    Gauss rule; at degree 6 the error of space is below 1e-9."""
    z, weights = np.polynomial.legendre.leggauss(30)
    z, weights = 0.5 + z / 2, weights / 2
    u = np.cos(2 * z)
    start = weights @ (u * np.exp(z))
    exact = solve_ivp(lambda t, g: weights @ (u * np.tanh(strength * u * g)), (0, 1), [start], rtol=1e-12, atol=1e-13)
    space = spaces("interval", 4, 6, "collocated")
    f0 = np.exp(space.coordinates)
    final = solve(
        space, lambda t, y, z: strength * np.cos(2 * y[0]) * np.cos(2 * z[0]), "tanh", "rk4", 60, f0, keep=[60]
    ).final
    g = space.inner(np.cos(2 * space.coordinates), np.asfortranarray(final))[0]
    assert g == pytest.approx(exact.y[0, -1], abs=2e-8)
    assert np.sign(abs(g) - abs(start)) == np.sign(strength)


def test_kept_states_are_those_of_the_whole_sweep(spaces):
    """Fails if the states kept are of other layers than asked for, are views of one work block, or change the input."""
    space = spaces("interval", 4, 2, "collocated")
    f0 = smooth_states(space, slice(0, 2))
    before = f0.copy()
    everything = solve(space, separable, "tanh", "heun", 6, f0)
    some = solve(space, separable, "tanh", "heun", 6, f0, keep=[0, 3, 6])
    np.testing.assert_allclose(some.times, [0, 0.5, 1.0])
    for k, f in zip((0, 3, 6), some.states, strict=True):
        np.testing.assert_array_equal(f, everything.states[k])
    np.testing.assert_array_equal(f0, before)
    assert not np.array_equal(some.states[1], some.states[2])


def test_explosion_names_the_layer(spaces):
    """Fails if a state that overflows is returned, or the layer at which it did is not said: each Euler layer
    multiplies by 1 + 10³⁰⁰."""
    space = spaces("interval", 4, 2, "collocated")
    with pytest.raises(NonFinite, match="the state is not finite at layer 2"):
        solve(space, 1e300, "identity", "euler", 4, np.ones((space.num_local, 1), order="F"), horizon=4.0)
