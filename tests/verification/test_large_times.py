# SPDX-License-Identifier: MIT
"""Adaptive integration against closed forms and an outside integrator; its events, tolerances and dense output."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from dense import kernel_matrix
from mpi4py import MPI
from problems import make_field, smooth_states
from scipy.integrate import solve_ivp

from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.meshes import domains
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics import SelectionField
from fem_selection.errors import InvalidInput
from fem_selection.evolution import integrate
from fem_selection.evolution.estimates import estimate_run
from fem_selection.functions.activations import ACTIVATIONS, Activation, find_activation
from fem_selection.kernels import DenseKernel, LocalKernel, SeparableKernel
from fem_selection.settings import StepSettings

INSTANT = DepthGrid(layers=1)


@pytest.fixture(scope="module")
def space(spaces):
    """A space in collocated mode."""
    return spaces("interval", 6, 2)


def random_kernel(seed):
    """A smooth kernel with random coefficients."""
    a = np.random.default_rng(seed).standard_normal((3, 3))
    return lambda y, z: sum(
        a[i, j] * np.cos(i * 2 * y + 0.3) * np.sin(j * 3 * z + 0.5) for i in range(3) for j in range(3)
    )


def solve_outside(field, initial, times):
    """The states by scipy's DOP853 at tight tolerances, from a matrix that is assembled column by column."""
    matrix = kernel_matrix(field)
    value = field.activation.value

    def rate(t, f):
        s = matrix @ f.reshape(initial.shape) + field.bias[:, None]
        out = np.empty_like(s)
        value(s, out)
        return out.ravel()

    found = solve_ivp(rate, times[[0, -1]], initial.ravel(), "DOP853", times, rtol=1e-13, atol=1e-13, max_step=0.02)
    return found.y.T.reshape(-1, *initial.shape)


def ask(rtol=1e-6, atol=1e-9, **others):
    """Settings with which a run ends at its horizon alone, unless another event is asked for."""
    return StepSettings(**{"rtol": rtol, "atol": atol, "steady_tolerance": 0.0, "growth_bound": np.inf, **others})


TIGHT = ask(rtol=1e-12, atol=1e-13)


def test_linear_equation_is_the_matrix_exponential(space):
    """σ = id: the matrix exponential. Fails if a stage, the kernel or the bias is wrong."""
    field = make_field(space, random_kernel(1), 0.0, "identity")
    initial, matrix = smooth_states(space, slice(0, 3)), kernel_matrix(field)
    for method in ("explicit", "auto"):
        settings = ask(rtol=1e-12, atol=1e-13, method=method)
        found = integrate(field, initial, np.array([0.0, 0.7, 2.0]), settings=settings)
        for time, state in zip(found.times, found.states, strict=True):
            np.testing.assert_allclose(state, scipy.linalg.expm(time * matrix) @ initial, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("strength", [1.3, -2.0])
def test_rank_one_kernel_is_a_scalar_equation(space, strength):
    """w = λ u ⊗ u, b = 0: with s = ⟨u, f⟩ the equation is s' = ⟨u, tanh(λ s u)⟩, f' = tanh(λ s u), solved beside it.
    Fails if the tolerances are not kept."""
    u = np.cos(space.coordinates[:, 0]) + 0.2
    field = make_field(space, lambda y, z: strength * (np.cos(y) + 0.2) * (np.cos(z) + 0.2))
    initial = smooth_states(space, slice(0, 2))

    def rate(t, s):
        return [space.weights @ (u * np.tanh(strength * s[0] * u))]

    found = integrate(field, initial, np.array([0.0, 3.0]), settings=ask(rtol=1e-14, atol=1e-14))
    for j in range(2):
        start = [space.weights @ (u * initial[:, j])]
        scalar = solve_ivp(rate, (0, 3), start, "DOP853", rtol=1e-13, atol=1e-15, max_step=0.05)
        assert space.weights @ (u * found.final[:, j]) == pytest.approx(scalar.y[0, -1], rel=1e-12, abs=1e-12)


def test_skew_kernel_conserves_the_norm(space):
    """Fails if K f is not antisymmetric in L², as with nodal weights on the wrong side."""
    field = make_field(space, lambda y, z: 4 * np.sin(3 * (y - z)), 0.0, "identity")
    initial = smooth_states(space, slice(0, 3))
    found = integrate(field, initial, np.linspace(0, 30, 4), settings=TIGHT)
    for state in found.states:
        np.testing.assert_allclose(space.norm(state), space.norm(initial), rtol=1e-9)


def test_relu_without_kernel(space):
    """w = 0: f^I + t max(b, 0), up to t = 10⁶; fails if it takes many steps, or if the growth is not linear at the rate
    ‖max(b, 0)‖."""
    field = make_field(space, 0.0, lambda y: np.cos(4 * y), "relu")
    initial = smooth_states(space, slice(0, 3))
    found = integrate(field, initial, np.array([0.0, 1.0, 123.0, 1e6]), settings=ask())
    positive = np.maximum(field.bias, 0.0)[:, None]
    for time, state in zip(found.times, found.states, strict=True):
        np.testing.assert_allclose(state, initial + time * positive, rtol=1e-12, atol=1e-11 * max(time, 1))
    assert found.steps < 30 and found.outcome == "horizon"
    assert found.growth.kind == "linear"
    assert found.growth.rate == pytest.approx(float(space.norm(positive)[0]), rel=1e-4)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("method", ["explicit", "implicit"])
def test_against_scipy(space, activation, method):
    """Random smooth kernels, all activations, at asked times: fails if a method drifts from the equation."""
    field = make_field(space, random_kernel(sum(map(ord, activation))), lambda y: 0.4 * np.sin(5 * y), activation)
    initial, times = smooth_states(space, slice(0, 3)), np.array([0.0, 0.31, 1.0, 1.5])
    tolerance = 1e-10 if method == "explicit" else 1e-7
    found = integrate(field, initial, times, settings=ask(rtol=tolerance, atol=tolerance, method=method))
    outside = solve_outside(field, initial, times)
    scale = 1 + np.abs(outside).max()
    np.testing.assert_array_equal(found.times, times)
    np.testing.assert_allclose(found.states, outside, atol=300 * tolerance * scale)


@pytest.mark.parametrize("method", ["explicit", "implicit"])
def test_error_is_proportional_to_the_tolerance(space, method):
    """Fails if the estimate is not that of the step, or the controller does not use its order: from tolerance to
    tolerance the error falls by about the same factor."""
    field = make_field(space, random_kernel(5), 0.3)
    initial, times = smooth_states(space, slice(0, 3)), np.linspace(0, 4, 9)
    outside = solve_outside(field, initial, times)
    tolerances = np.array([1e-6, 1e-8, 1e-10] if method == "explicit" else [1e-4, 1e-6, 1e-8])
    errors, steps = [], []
    for tolerance in tolerances:
        settings = ask(rtol=float(tolerance), atol=float(tolerance), method=method)
        found = integrate(field, initial, times, settings=settings)
        errors.append(max(space.norm(a - b).max() for a, b in zip(found.states, outside, strict=True)))
        steps.append(found.steps)
        assert found.rejected <= 1 + 0.1 * found.steps
    slope = np.polyfit(np.log(tolerances), np.log(errors), 1)[0]
    assert 0.7 < slope < 1.35, errors
    assert all(0.001 < e / t < 50 for e, t in zip(errors, tolerances, strict=True)), errors
    order = 8 if method == "explicit" else 4
    assert np.log(steps[2] / steps[0]) / np.log(1e4) == pytest.approx(1 / order, abs=0.5 / order)


def test_times_asked_for_do_not_change_the_steps(space):
    """Dense output: fails if it costs steps or accuracy."""
    field = make_field(space, random_kernel(2), 0.3)
    initial = smooth_states(space, slice(0, 3))
    settings = ask(rtol=1e-9, atol=1e-9)
    few = integrate(field, initial, np.array([0.0, 5.0]), settings=settings)
    many = integrate(field, initial, np.linspace(0.0, 5.0, 101), settings=settings)
    assert (few.steps, few.rejected) == (many.steps, many.rejected)
    np.testing.assert_array_equal(few.final, many.final)
    np.testing.assert_array_equal(many.times, np.linspace(0.0, 5.0, 101))
    outside = solve_outside(field, initial, np.linspace(0.0, 5.0, 101))
    errors = [space.norm(a - b).max() for a, b in zip(many.states, outside, strict=True)]
    assert max(errors) < 5 * errors[-1] + 1e-8


def test_steps_do_not_change_with_the_mesh():
    """Norms, not entries, are compared: fails if a finer mesh takes other steps."""
    counts = []
    for cells in (10, 40):
        space = StateSpace(domains.interval(MPI.COMM_SELF, cells), 2)
        field = make_field(space, random_kernel(3), lambda y: np.sin(2 * y))
        found = integrate(field, smooth_states(space, slice(0, 3)), np.array([0.0, 10.0]), settings=ask())
        counts.append((found.steps, found.rejected))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("method", ["explicit", "implicit"])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-8])
def test_time_of_a_steady_state(spaces, method, tolerance):
    """f' = −f, f(0) = 1, 2: ‖∂_t f‖ = 2 e^{−t} falls to the tolerance at t = log(2 / tolerance).

    Fails if that time is the end of a step that went far beyond.
    """
    space = spaces("interval", 8, 1)
    field = make_field(space, -1.0, 0.0, "identity")
    initial = np.asfortranarray(np.ones((space.num_local, 2)) * [1.0, 2.0])
    settings = ask(rtol=1e-9, atol=1e-12, method=method, steady_tolerance=tolerance)
    found = integrate(field, initial, np.array([0.0, 1.0, 1e4]), settings=settings)
    wanted = np.log(2.0 / tolerance)
    assert found.outcome == "steady" and found.steady_time == found.times[-1]
    assert wanted <= found.steady_time <= wanted + 0.02
    assert np.max(space.norm(found.rate)) <= tolerance
    np.testing.assert_allclose(found.final, initial * np.exp(-found.steady_time), rtol=1e-3)
    np.testing.assert_allclose(found.states[1], initial * np.exp(-1.0), rtol=1e-6)


def test_a_steady_state_ends_the_run(space):
    """w = −1, σ = tanh: the mean decays, f' → 0. Fails if the event comes late or early, or on one sample alone."""
    field = make_field(space, -1.0)
    initial = smooth_states(space, slice(0, 3))
    settings = ask(rtol=1e-10, atol=1e-12, steady_tolerance=1e-6)
    found = integrate(field, initial, np.linspace(0, 1e6, 5), settings=settings)
    assert found.outcome == "steady" and "steady" in found.reason
    rates = space.norm(field.rate(found.final))
    assert rates.max() <= 1e-6 and found.steady_time == found.times[-1] < 40
    slower = integrate(field, initial, np.array([0.0, 0.9 * found.steady_time]), settings=settings)
    assert space.norm(slower.rate).max() > 1e-6 and slower.outcome == "horizon"


@pytest.mark.parametrize(("activation", "kind"), [("identity", "exponential"), ("tanh", "linear"), ("sine", None)])
def test_growth_law_and_its_rate(space, activation, kind):
    """w = 2: exponential with the eigenvalue 2 for σ = id, linear with |Y|^{1/2} for tanh; sin leads to a steady state.
    Fails if the law or its rate is another."""
    field = make_field(space, 2.0, 0.1, activation)
    initial = np.ones((space.num_local, 1), order="F")
    bound = 1e6 if kind == "exponential" else 1e4
    settings = ask(rtol=1e-9, atol=1e-9, growth_bound=bound)
    found = integrate(field, initial, np.array([0.0, 1e5]), settings=settings)
    if kind is None:
        assert found.outcome in ("horizon", "steady") and found.growth is None
        return
    assert found.outcome == "unbounded" and found.times[-1] < 1.01e5
    assert found.growth.kind == kind
    assert found.growth.rate == pytest.approx({"exponential": 2.0, "linear": 1.0}[kind], rel=1e-3)


def test_a_stiff_decay_to_a_million_is_cheap(space):
    """A stiff decay up to t = 10⁶ in few evaluations: explicit steps are left when stability limits them.
    Fails if the switch does not come (10⁷ evaluations) or the implicit steps lose the solution."""
    field = make_field(space, lambda y, z: -50.0 - np.cos(y) * np.cos(z), 0.2)
    initial = smooth_states(space, slice(0, 2))
    found = integrate(field, initial, np.array([0.0, 1e6]), settings=ask(rtol=1e-7, atol=1e-9))
    assert [name for _, name in found.methods] == ["Dormand–Prince 8(5,3)", "Kennedy–Carpenter ESDIRK 4(3)"]
    assert found.evaluations < 50_000
    # b lies in the span of 1, cos y up to what K cannot reach: K f + b is as small there as it can be
    g = field.preactivation(found.final)
    assert np.abs(space.weights @ g).max() < 1e-5


def test_coefficients_that_depend_on_time(space):
    """b = cos t, w = 0, σ = id: f^I + sin t. Fails if a stage or a trial leaves the time elsewhere, or if a rate that
    passes zero is taken for a steady state."""
    bias = np.zeros(space.num_local)

    def refresh(time):
        bias[:] = np.cos(time)

    field = SelectionField(space, DenseKernel(space, 1), bias, activation=find_activation("identity"), refresh=refresh)
    initial = smooth_states(space, slice(0, 2))
    for method in ("explicit", "implicit"):
        settings = ask(rtol=1e-8, atol=1e-8, method=method, steady_tolerance=0.5)
        found = integrate(field, initial, np.linspace(0, 9, 7), settings=settings)
        assert found.outcome == "horizon"
        for time, state in zip(found.times, found.states, strict=True):
            np.testing.assert_allclose(state, initial + np.sin(time), atol=1e-6)


def test_blow_up_is_located(space):
    """σ(s) = s²: f' = f² from f = 1 ends at t = 1. Fails if the integrator goes beyond, does not say where it stopped,
    or if a bound on ‖f‖ changes the time of the blow-up by more than its error bar."""
    field = make_field(space, 1.0, 0.0, Activation(name="square", expression=lambda s: s**2))
    initial = np.ones((space.num_local, 1), order="F")
    for bound in (np.inf, 1e5):
        found = integrate(field, initial, np.array([0.0, 2.0]), settings=ask(growth_bound=bound))
        assert found.outcome == "blow-up" and found.times[-1] == pytest.approx(1.0, abs=1e-3)
        law = found.growth
        assert law.kind == "blow-up" and law.exponent == pytest.approx(1.0, rel=1e-3)
        assert abs(law.blow_up_time - 1.0) <= law.blow_up_error < 1e-4


def test_stopping_and_faults(space):
    """Fails if a stopped run loses what it has, or faulty input is not named."""
    field = make_field(space, random_kernel(2), 0.3)
    initial = smooth_states(space, slice(0, 2))
    found = integrate(field, initial, np.linspace(0, 50, 11), settings=ask(), progress=lambda t, n: n >= 3)
    assert found.outcome == "stopped" and found.steps == 3 and 0 < found.times[-1] < 50
    short = integrate(field, initial, np.array([0.0, 0.01, 50.0]), settings=ask(max_steps=5))
    assert short.outcome == "step limit" and short.reason.startswith("5 steps reached t = ")
    assert short.times[1] == 0.01 and short.steps + short.rejected == 5
    with pytest.raises(InvalidInput, match="increasing"):
        integrate(field, initial, np.array([0.0, 0.0]))
    initial[0, 1] = np.nan
    with pytest.raises(InvalidInput, match=r"initial states are not finite: 1 of 2 .*number 2,"):
        integrate(field, initial, np.array([0.0, 1.0]))
    initial = smooth_states(space, slice(0, 2))
    nothing = integrate(field, initial[:, :0], np.array([0.0, 1.0]))
    assert nothing.outcome == "steady" and nothing.final.shape == (space.num_local, 0)


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_diffusion_is_left_to_implicit_steps(spaces, mode):
    """K = Δ − 1 + u ⊗ v on a fine mesh, σ = tanh, to a steady state: stability limits explicit steps to 10⁻⁴, which are
    left at once. Fails if the local part does not precondition the implicit stages, or the steady state is not one; and
    the functional that falls is claimed for the symmetric kernel."""
    space = spaces("interval", 40, 2, mode)
    local = LocalKernel.interpolate(space, {"diffusion": 0.2, "multiplication": -1.0}, INSTANT)
    smooth = SeparableKernel.interpolate(space, [(lambda t, y: 0.5 * np.cos(y[0]), lambda t, y: np.cos(y[0]))], INSTANT)
    bias = np.sin(3 * space.coordinates[:, 0])
    field = SelectionField(space, local + smooth, bias, activation=find_activation("tanh"))
    settings = ask(rtol=1e-6, atol=1e-8, steady_tolerance=1e-7)
    found = integrate(field, smooth_states(space, slice(0, 3)), np.linspace(0.0, 100.0, 5), settings=settings)
    assert found.outcome == "steady" and len(found.methods) == 2
    assert found.steps < 300 and found.evaluations < 15_000
    assert space.norm(field.preactivation(found.final)).max() < 1e-6
    estimates = estimate_run(field, found.times, found.states)
    assert estimates["energy"].claimed and estimates["potential"].claimed and estimates["growth"].claimed
    assert max(estimates[name].excess for name in ("energy", "potential", "growth")) < 1e-5
