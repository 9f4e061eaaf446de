# SPDX-License-Identifier: MIT
"""Growth measured from runs beside eigenvalues, non-normality, and finite-time Lyapunov exponents."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from cases import CELLWISE, HALVES, build_equation
from dense import identity, kernel_matrix, mass_root
from mpi4py import MPI
from problems import make_field, make_problem, smooth_states
from scipy.integrate import solve_ivp

import fem_selection as fs
from fem_selection.adjoint import sweep_back, sweep_tangent
from fem_selection.errors import InvalidInput
from fem_selection.kernels import DenseKernel
from fem_selection.steady import (
    analyze_spectrum,
    finite_time_exponents,
    flow_exponents,
    measure_growth,
    numerical_abscissa,
    transient_growth,
)
from fem_selection.steady.stability import lyapunov


def at_zero(kernel, activation="tanh", parameters=None, cells=8, **space):
    """An equation, its state 0, and the spectrum of the linearization there."""
    dynamics = {"activation": activation, "kernel": kernel}
    problem = build_equation(dynamics, cells=cells, space=space, parameters=parameters)
    zero = problem.space.create_block(1)
    return problem, zero, analyze_spectrum(problem.field, zero)


@pytest.mark.parametrize(
    ("kernel", "activation", "space", "a"),
    [
        ("1 + y*z", "tanh", {}, 0.0),
        ("1 + y*z", "tanh", {"mode": "galerkin"}, 0.0),
        ("-1 - y*z", "tanh(2*s) - s", {"degree": 2}, 0.0),
        (HALVES, "tanh", CELLWISE, 1.2),
        (HALVES, "tanh", CELLWISE, 0.7),
        ("sin(2*pi*(y - z))", "sine", {}, 0.0),
    ],
)
def test_growth_of_a_perturbation(kernel, activation, space, a):
    """The rates of runs of the nonlinear equation are the eigenvalues, growth and decay, real and in pairs.

    Required is 1 %, reached is 1e-5. Fails if σ' is left out of the linearization, if the coordinate in the mode mixes
    real and imaginary parts, or if the run leaves the neighbourhood of the steady state.
    """
    problem, zero, spectrum = at_zero(kernel, activation, {"a": a}, **space)
    run = measure_growth(
        problem.field, zero, spectrum.leading, modes=spectrum.modes, duals=spectrum.duals, norm=spectrum.norm
    )
    assert len(run.predicted) >= 1
    np.testing.assert_allclose(run.measured.real, run.predicted.real, atol=1e-5 * spectrum.norm)
    np.testing.assert_allclose(run.measured.imag, run.predicted.imag, atol=1e-5 * spectrum.norm)
    assert np.all(run.relative_errors < 1e-2)


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_abscissa_and_transient_growth_are_those_of_the_dense_matrix(mode):
    """Numerical abscissa by both routes, and max ‖e^{tA}‖ against the matrix exponential in L².

    Fails if the symmetric part is taken in the Euclidean product, or if the identity beside the range is forgotten.
    """
    problem, zero, spectrum = at_zero("-3*exp(-2*y - z) + 20*sin(3*y)*cos(pi*z)", mode=mode)
    space, linearization = problem.space, problem.field.linearize(zero)
    root = mass_root(space)
    dense = root @ linearization.apply(identity(space)) @ np.linalg.inv(root)
    exact = np.linalg.eigvalsh(0.5 * (dense + dense.T))[-1]
    by_factors = numerical_abscissa(space, linearization, spectrum.norm, factors=spectrum.factors)
    by_krylov = numerical_abscissa(space, linearization, spectrum.norm, factors=None)
    assert by_factors == pytest.approx(exact, rel=1e-9) and by_krylov == pytest.approx(exact, rel=1e-8)
    growth = transient_growth(space, spectrum.factors)
    for k in (10, 30, 45):
        assert growth.norms[k] == pytest.approx(np.linalg.norm(scipy.linalg.expm(growth.times[k] * dense), 2), rel=1e-8)
    assert growth.largest > 2.5 and growth.is_bounded


def test_transient_growth_to_a_projection():
    """K = −1 − y: e^{tA} tends to the projection along its range, which is not orthogonal: of norm √(7/3)/1.5.

    Fails if a norm that stands still passes for one that grows.
    """
    problem, _, spectrum = at_zero("-1 - y", cells=200)
    growth = transient_growth(problem.space, spectrum.factors)
    assert growth.is_bounded and growth.largest == pytest.approx(np.sqrt(7 / 3) / 1.5, rel=1e-4)


def test_transient_growth_without_bound():
    """A nilpotent kernel: ‖e^{tA}‖ grows linearly; fails if a largest value is claimed."""
    problem, _, spectrum = at_zero("sin(pi*y)*cos(pi*z)")
    growth = transient_growth(problem.space, spectrum.factors)
    assert not growth.is_bounded
    assert growth.norms[-1] / growth.times[-1] == pytest.approx(spectrum.norm, rel=1e-3)


def test_a_run_does_not_confirm_itself():
    """The rate is that of the equation, whatever eigenfunction was computed: 1.2 beside a wrong one.

    Fails if the run begins at the eigenfunction, where any projection gives its own rate back.
    """
    problem, zero, spectrum = at_zero("1.2 + 3*sin(pi*y)*(z - 0.5)")
    wrong = spectrum.modes + 0.3 * np.sin(5 * problem.space.coordinates)
    run = measure_growth(problem.field, zero, spectrum.leading, modes=wrong, duals=spectrum.duals, norm=spectrum.norm)
    np.testing.assert_allclose(run.measured.real, spectrum.leading.real, rtol=1e-5)
    turned = spectrum.duals + 0.3 * np.sin(5 * problem.space.coordinates)
    run = measure_growth(problem.field, zero, spectrum.leading, modes=wrong, duals=turned, norm=spectrum.norm)
    assert np.max(np.abs(run.measured.real - spectrum.leading.real)) > 1e-2


SPACES = [("interval", 4, 2, "collocated"), ("interval", 4, 2, "galerkin")]


@pytest.mark.parametrize("scheme", ["euler", "rk4"])
@pytest.mark.parametrize("key", SPACES, ids=lambda key: key[-1])
def test_exponents_are_the_singular_values(spaces, key, scheme):
    """log s_i / T of the whole product, each sample at its own trajectory; the adjoint's are those of the transpose.

    Fails if a layer's tangent or its adjoint is not that of the scheme, if the inner product is Euclidean, or if the
    samples' slopes are mixed up.
    """
    space = spaces(*key)
    stepper = make_problem(space, scheme=scheme, layers=6, intervals=2, horizon=1.5).stepper
    initial, n = smooth_states(space, slice(0, 2)), space.num_nodes
    found = finite_time_exponents(stepper, initial, n)
    root, inverse = mass_root(space), np.linalg.inv(mass_root(space))
    for j in range(2):
        same = np.asfortranarray(np.repeat(initial[:, j : j + 1], n, axis=1))
        tape = stepper.tape(n)
        stepper.advance(same, tape)
        product = sweep_tangent(stepper, tape, initial=identity(space))
        values = np.linalg.svd(root @ product @ inverse, compute_uv=False)
        np.testing.assert_allclose(found.state[j], np.log(values) / 1.5, atol=1e-10)
        back = identity(space)
        sweep_back(stepper, tape, back, kernel_pullback=None, bias_dual=None, to_initial=True)
        dual_values = np.linalg.svd(inverse.T @ back @ root.T, compute_uv=False)
        np.testing.assert_allclose(found.adjoint[j], np.log(dual_values) / 1.5, atol=1e-10)
    assert found.amplification.shape == (2, n)


def test_leading_exponents_converge(spaces):
    """Six of all exponents by sweeps to and fro, of a random kernel, whose exponents lie close together.

    Fails if the frame is not carried on from sweep to sweep, or if it holds no more vectors than are wanted.
    """
    space = spaces("interval", 20, 2)
    kernel = DenseKernel.random(space, 1, 2.0, seed=1)
    stepper = make_problem(space, layers=6, intervals=1, horizon=1.5, kernel=kernel).stepper
    initial = smooth_states(space, slice(0, 1))
    whole = finite_time_exponents(stepper, initial, space.num_nodes)
    assert whole.sweeps == 2
    few = finite_time_exponents(stepper, initial, 6)
    assert few.sweeps < 20 and few.change < 1e-8
    np.testing.assert_allclose(few.state, whole.state[:, :6], atol=1e-8)
    np.testing.assert_allclose(few.adjoint, few.state, atol=1e-8)
    with pytest.raises(InvalidInput, match="42 exponents are wanted"):
        finite_time_exponents(stepper, initial, 42)


def test_exponents_of_widely_spread_growth(spaces):
    """σ = id, T = 30: exponents of a matrix exponential that spread over 26 decades.

    Fails if the small ones are taken from the product of the triangles, where they drown.
    """
    space = spaces("interval", 3, 1)
    y = space.coordinates
    modes = np.linalg.qr(np.sqrt(space.weights)[:, None] * y ** np.arange(4))[0] / np.sqrt(space.weights)[:, None]
    kernel = DenseKernel(space, 1)
    kernel.assign(((modes * [1.0, 0.2, -0.4, -1.0]) @ modes.T).T.ravel().copy())
    stepper = make_problem(
        space, scheme="rk4", layers=300, intervals=1, horizon=30.0, activation="identity", kernel=kernel
    ).stepper
    found = finite_time_exponents(stepper, smooth_states(space, slice(0, 1)), 4)
    np.testing.assert_allclose(found.state[0], [1.0, 0.2, -0.4, -1.0], atol=1e-5)
    np.testing.assert_allclose(found.adjoint[0], [1.0, 0.2, -0.4, -1.0], atol=1e-5)


def test_exponents_of_the_equation_are_those_of_its_flow(spaces):
    """A = diag(−30, −1) on halves, to T = 2: all exponents are eigenvalues of A, or 0. Fails if layers too few for
    stability are taken as they are: ten Euler layers give +8."""
    space = spaces("interval", 8, 0, "collocated", "dg")
    field = make_field(space, lambda y, z: -60.0 * (y < 0.5) * (z < 0.5) - 2.0 * (y > 0.5) * (z > 0.5))
    found = flow_exponents(field, space.create_block(1), 8, horizon=2.0)
    np.testing.assert_allclose(found.state[0], [0, 0, 0, 0, 0, 0, -1, -30], atol=max(found.error, 1e-9))
    np.testing.assert_allclose(found.adjoint[0], found.state[0], atol=1e-7)
    assert found.error < 1e-4 and found.layers > 100


def test_exponents_along_a_trajectory_by_an_outside_integrator(spaces):
    """tanh along a moving state: the singular values of the flow's derivative by SciPy's DOP853. Fails if the error
    that is shown is smaller than the true one."""
    space = spaces("interval", 4, 2)
    field = make_field(space, lambda y, z: 3 * np.sin(2 * (y - z)) - np.cos(y + z), 0.4)
    initial, n = smooth_states(space, slice(0, 1)), space.num_nodes
    matrix, bias, root = kernel_matrix(field), field.bias, mass_root(space)

    def rate(t, x):
        f, phi = x[:n], x[n:].reshape(n, n)
        s = np.tanh(matrix @ f + bias)
        return np.concatenate([s, ((1 - s**2)[:, None] * (matrix @ phi)).ravel()])

    start = np.concatenate([initial[:, 0], np.eye(n).ravel()])
    end = solve_ivp(rate, (0.0, 2.0), start, "DOP853", rtol=1e-12, atol=1e-13).y[n:, -1].reshape(n, n)
    exact = np.log(np.linalg.svd(root @ end @ np.linalg.inv(root), compute_uv=False)) / 2.0
    found = flow_exponents(field, initial, 3, horizon=2.0)
    assert np.max(np.abs(found.state[0] - exact[:3])) <= found.error + 1e-9
    assert found.error < 1e-5


def test_sweeps_through_thousands_of_layers_have_an_end(monkeypatch):
    """Fails if a horizon that asks for the most layers lets forty sweeps go through them: minutes for a few nodes."""
    space = fs.StateSpace(fs.interval(MPI.COMM_SELF, cells=2))
    kernel = fs.DenseKernel.random(space, 1, 3.0, seed=1)
    field = fs.SelectionField(space, kernel, np.zeros(3), activation=fs.find_activation("sine"))
    calls, tangent = [], lyapunov.layer_tangent
    monkeypatch.setattr(lyapunov, "layer_tangent", lambda *a, **b: calls.append(1) or tangent(*a, **b))
    monkeypatch.setattr(lyapunov, "_PASSES_OF_ONE", 400)
    monkeypatch.setattr(lyapunov, "_MOST", 256)
    initial = np.asfortranarray(np.linspace(0.3, 1.0, 3)[:, None])
    found = lyapunov.flow_exponents(field, initial, 2, horizon=1e4)
    assert len(calls) <= 3 * 128 + 2 * 256 and found.layers == 256
