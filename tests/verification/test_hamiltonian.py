# SPDX-License-Identifier: MIT
"""The Hamiltonian: its derivative is the reduced gradient's integrand, and its minimisers are what they claim to be."""

from __future__ import annotations

import numpy as np
import pytest
import ufl
from optima import problem_with_a_gap
from problems import SCHEMES_AND_LOSSES, make_problem, smooth_states

from fem_selection.adjoint.hamiltonian import Control, Hamiltonian, Search
from fem_selection.errors import InvalidInput
from fem_selection.functions.activations import Activation, find_activation
from fem_selection.learning.extremals import Extremals, obstacles
from fem_selection.settings import Regularization

L2 = Regularization(kernel=0.2, bias=0.3, readout=0.1)


def make(spaces, **options):
    """A tracking problem with one control per layer."""
    space = spaces("interval", 3, 2)
    settings = {"loss": "tracking", "layers": 4, "intervals": 4, "regularization": L2, **options}
    return make_problem(space, **settings)


def brute(spaces, samples: int, activation: str = "tanh", seed: int = 0) -> Hamiltonian:
    """A Hamiltonian on three nodes with random states and costates."""
    space, rng = spaces("interval", 2, 1), np.random.default_rng(seed)
    return Hamiltonian(
        activation=find_activation(activation),
        states=rng.normal(size=(3, samples)), costates=2 * rng.normal(size=(3, samples)),
        column_weights=space.weights, row_weights=space.weights,
        alpha_kernel=0.5, alpha_bias=0.7, row_numbers=space.canonical, column_numbers=space.canonical_global,
    )  # fmt: skip


@pytest.mark.parametrize(("scheme", "loss"), SCHEMES_AND_LOSSES)
def test_derivative_is_the_integrand_of_the_reduced_gradient(spaces, scheme, loss):
    """Fails if states and costates of different layers are paired, if a stage is left out or its weight, if 1/J or μ is
    missing in the costates: Δt ∂H_n is the L² gradient's part of layer n, to round-off, for every scheme and loss."""
    problem = make(spaces, scheme=scheme, loss=loss)
    f, x = problem.functional, problem.moved()
    extremals = Extremals(f)
    value, dual = extremals.sweep(x)
    assert value == pytest.approx(f.evaluate(x)[0], rel=1e-14)
    gradient = f.control_space.unpack(f.control_space.riesz(dual))
    for layer in range(4):
        d = extremals.hamiltonian(layer).derivative(extremals.control(layer))
        expected = gradient["kernel"].reshape(4, 7, 7)[layer].T
        assert d.kernel == pytest.approx(expected, abs=1e-12 * np.abs(expected).max())
        assert d.bias == pytest.approx(gradient["bias"][layer], abs=1e-12 * np.abs(gradient["bias"]).max())


def test_value_agrees_with_its_formula(spaces):
    """Fails if a weight of the inner products is missing in H: written out with explicit sums."""
    h, rng = brute(spaces, 2), np.random.default_rng(5)
    u, m = Control(kernel=rng.normal(size=(3, 3)), bias=rng.normal(size=3)), h.row_weights
    expected = 0.0
    for i in range(3):
        for j in range(2):
            s = sum(m[k] * u.kernel[i, k] * h.states[k, j] for k in range(3)) + u.bias[i]
            expected += m[i] * h.costates[i, j] * np.tanh(s)
        expected += m[i] * (0.25 * sum(m[k] * u.kernel[i, k] ** 2 for k in range(3)) + 0.35 * u.bias[i] ** 2)
    assert h.value(u) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("samples", [1, 2, 9], ids=["one sample", "fewer than N + 1", "more than N + 1"])
def test_identity_has_the_closed_form(spaces, samples):
    """Fails if the coordinates are not isometric or Γ is wrong: λ = −p, so w = −(1/α_w) p ⊗ f, b = −(1/α_b) Σ p, and
    the minimum is −½ pᵀΓp at each node."""
    h = brute(spaces, samples, "identity")
    u, density = h.minimize(Control(kernel=np.ones((3, 3)), bias=np.ones(3)), Search(starts=1))
    assert u.kernel == pytest.approx(-h.costates @ h.states.T / 0.5, abs=1e-9)
    assert u.bias == pytest.approx(-h.costates.sum(axis=1) / 0.7, abs=1e-9)
    gram = h.states.T @ (h.column_weights[:, None] * h.states) / 0.5 + 1 / 0.7
    assert density == pytest.approx(-0.5 * np.einsum("ij,jk,ik->i", h.costates, gram, h.costates), abs=1e-9)


@pytest.mark.parametrize("samples", [2, 3, 9])
@pytest.mark.parametrize("part", ["both", "kernel", "bias"])
def test_minimisers_beat_random_controls(spaces, samples, part):
    """Fails if the search over λ ∈ R^J misses what the N + 1 numbers reach, or a fixed part is moved: 4000 random
    controls, and the gradient at the minimiser vanishes."""
    h = brute(spaces, samples, seed=samples)
    if part != "both":
        fixed = {"alpha_bias": None} if part == "kernel" else {"alpha_kernel": None}
        h = Hamiltonian(**{**vars(h), **fixed})
    rng = np.random.default_rng(1)
    present = Control(kernel=rng.normal(size=(3, 3)), bias=rng.normal(size=3))
    u, density = h.minimize(present, Search(starts=16))
    d = h.derivative(u)
    assert max(np.abs(d.kernel).max(), np.abs(d.bias).max()) < 1e-8
    assert part != "bias" or np.array_equal(u.kernel, present.kernel)
    assert part != "kernel" or np.array_equal(u.bias, present.bias)
    for _ in range(4000):
        kernel = present.kernel if part == "bias" else 4 * rng.normal(size=(3, 3))
        bias = present.bias if part == "kernel" else 4 * rng.normal(size=3)
        assert np.all(h.density(Control(kernel=kernel, bias=bias)) >= density - 1e-10)


def test_states_that_see_no_kernel(spaces):
    """Fails if γ = 0 is divided by: at f = 0, without a bias, the kernel has no effect and the best one is zero."""
    space, u = spaces("interval", 2, 1), Control(kernel=np.ones((3, 3)), bias=np.zeros(3))
    h = Hamiltonian(
        activation=find_activation("tanh"), states=np.zeros((3, 1)), costates=np.ones((3, 1)),
        column_weights=space.weights, row_weights=space.weights,
        alpha_kernel=0.5, alpha_bias=None, row_numbers=space.canonical, column_numbers=space.canonical_global,
    )  # fmt: skip
    found, density = h.minimize(u, Search(starts=8))
    np.testing.assert_array_equal(found.kernel, 0.0)
    np.testing.assert_allclose(density, 0.0)
    assert h.value(u) == pytest.approx(0.25)


def test_fewer_samples_or_numbers_find_the_same(spaces):
    """Fails if the reduction to the range of F changes the problem: a sample whose costate is zero changes nothing, but
    moves the search from λ to the N + 1 numbers."""
    h = brute(spaces, 3)
    states, costates = np.hstack([h.states, np.ones((3, 3))]), np.hstack([h.costates, np.zeros((3, 3))])
    more = Hamiltonian(**{**vars(h), "states": states, "costates": costates})
    zero = Control(kernel=np.zeros((3, 3)), bias=np.zeros(3))
    few, many = h.minimize(zero, Search(starts=2)), more.minimize(zero, Search(starts=2))
    assert few[1] == pytest.approx(many[1], abs=1e-12)
    assert few[0].kernel == pytest.approx(many[0].kernel, abs=1e-7)


def test_proximal_term_and_box(spaces):
    """Fails if ε is centred at zero, or a bound is crossed: a large ε keeps the control, one in between moves it part
    of the way, and in a box the minimiser stays inside without being worse than the present control."""
    h = brute(spaces, 4)
    present = Control(kernel=np.full((3, 3), 0.2), bias=np.full(3, -0.1))
    far, _ = h.minimize(present, Search(starts=4))
    half, value = h.minimize(present, Search(starts=4, proximal=2.0))
    near, _ = h.minimize(present, Search(starts=4, proximal=1e8))
    assert near.kernel == pytest.approx(present.kernel, abs=1e-6)
    assert 0 < np.linalg.norm(half.kernel - present.kernel) < np.linalg.norm(far.kernel - present.kernel)
    d = h.derivative(half)  # of the plain H: the proximal term's derivative must cancel it
    assert d.kernel == pytest.approx(-2.0 * (half.kernel - present.kernel), abs=1e-7)
    assert d.bias == pytest.approx(-2.0 * (half.bias - present.bias), abs=1e-7)
    assert np.all(value <= h.density(present))
    bound = Control(kernel=np.full((3, 3), 0.25), bias=np.full(3, 0.25))
    lower = Control(kernel=-bound.kernel, bias=-bound.bias)
    boxed, _ = h.minimize(present, Search(starts=4, lower=lower, upper=bound))
    assert np.abs(boxed.kernel).max() <= 0.25 + 1e-15 and np.abs(boxed.bias).max() <= 0.25 + 1e-15
    assert np.any(np.abs(boxed.kernel) > 0.25 - 1e-12)
    assert np.all(h.density(far) <= h.density(boxed) + 1e-12) and np.all(h.density(boxed) <= h.density(present))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"intervals": 2}, "several steps per control"),
        ({"regularization": Regularization(kernel=1.0, bias=1.0, readout=1.0, kernel_depth=0.1)}, "H¹ term"),
        ({"regularization": Regularization(kernel=0.0, bias=1.0, readout=1.0)}, "regularization.kernel = 0"),
    ],
)
def test_obstacles_are_named(spaces, options, named):
    """Fails if the principle is applied where it does not hold, or refused without saying why."""
    problem = make(spaces, **options)
    assert named in " ".join(obstacles(problem.functional))
    with pytest.raises(InvalidInput, match=named):
        Extremals(problem.functional)


def test_galerkin_mode_is_an_obstacle(spaces):
    """Fails if the node-wise minimisation is used where σ is not evaluated at the nodes."""
    problem = make_problem(spaces("interval", 3, 2, "galerkin"), loss="tracking", layers=2, regularization=L2)
    assert "Galerkin" in obstacles(problem.functional)[0]


def test_states_that_are_recorded_are_those_of_the_sweep(spaces):
    """Fails if blocks of samples are put at wrong columns: the first layer's states are the initial states."""
    problem = make(spaces, samples=7, block=3)
    extremals = Extremals(problem.functional)
    extremals.sweep(problem.moved())
    assert extremals.hamiltonian(0).states == pytest.approx(smooth_states(problem.space, slice(0, 7)), abs=0)


def test_a_search_that_misses_keeps_the_present_control(spaces):
    """Fails if a control with a higher Hamiltonian replaces the present one: σ(s) = sin(60 s) has minima narrower than
    the samples of the search for one sample, which ends in another one than the global one by 20 001 samples."""
    space, fine = spaces("interval", 2, 1), Activation(name="fine", expression=lambda s: ufl.sin(60 * s))
    h = Hamiltonian(
        activation=fine, states=np.ones((3, 1)), costates=np.array([[5.0], [-5.0], [4.0]]),
        column_weights=space.weights, row_weights=space.weights,
        alpha_kernel=None, alpha_bias=0.7, row_numbers=space.canonical, column_numbers=space.canonical_global,
    )  # fmt: skip
    grid = np.linspace(-0.5, 0.5, 20001)
    best = grid[np.argmin(h.costates * np.sin(60 * grid) + 0.35 * grid**2, axis=1)]
    present = Control(kernel=np.zeros((3, 3)), bias=best)
    found, density = h.minimize(present, Search(starts=1))
    assert np.all(density <= h.density(present)) and np.all(h.density(found) <= h.density(present))


def test_drift_is_that_of_all_layers():
    """Fails if the drift looks at the first and the last layer alone: one neuron whose Hamiltonian, computed by NumPy,
    is largest in between."""
    problem = problem_with_a_gap()
    controls = 0.2 + np.sin(np.pi * np.arange(10) / 9)
    extremals = Extremals(problem.functional)
    extremals.sweep(controls)
    f, p = [np.array([1.0, -3.0])], [np.zeros(2)]
    for w in controls:
        f.append(f[-1] + 0.01 * np.tanh(w * f[-1]))
    p[0] = (f[-1] - [-1.0, -4.0]) / 2
    for w, state in zip(controls[::-1], f[-2::-1], strict=True):
        p.insert(0, p[0] * (1 + 0.01 * w / np.cosh(w * state) ** 2))
    values = [p[n + 1] @ np.tanh(w * f[n]) + 0.01 * w**2 for n, w in enumerate(controls)]
    drift = max(values) - min(values)
    assert drift > 1.5 * abs(values[-1] - values[0])
    assert extremals.minimize(Search(starts=1)).drift == pytest.approx(drift, rel=1e-10)
