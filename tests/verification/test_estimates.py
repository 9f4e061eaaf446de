# SPDX-License-Identifier: MIT
"""Estimates of the theory: they hold on random cases, and a case that breaks a hypothesis is reported by its name."""

from __future__ import annotations

import re

import numpy as np
import pytest
import ufl
from dense import kernel_matrix, mass_root
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import make_field, smooth_states

from fem_selection.discretization.depth import DepthGrid
from fem_selection.dynamics import SelectionField
from fem_selection.errors import InvalidInput
from fem_selection.evolution import integrate
from fem_selection.evolution.estimates import (
    Antiderivative,
    estimate_run,
    examine,
)
from fem_selection.evolution.estimates.hypotheses import Premises
from fem_selection.functions.activations import ACTIVATIONS, Activation, find_activation
from fem_selection.functions.formulas import parse_formula
from fem_selection.kernels import DenseKernel, KernelOperator
from fem_selection.linalg.norms import operator_norm, require_moderate, skew_part_norm, symmetric_part_maximum
from fem_selection.settings import StepSettings

INSTANT = DepthGrid(layers=1)
NAMES = {"growth", "dependence", "energy", "potential", "preactivation", "monotonicity"}


@pytest.fixture(scope="module", params=["collocated", "galerkin"])
def any_space(request, spaces):
    """A space of each mode."""
    return spaces("interval", 5, 2, request.param)


@pytest.fixture(scope="module")
def space(spaces):
    """A space in collocated mode."""
    return spaces("interval", 5, 2)


def run(field, samples=2, horizon=2.0):
    """The estimates of an accurate run, and the run."""
    initial = smooth_states(field.space, slice(0, samples))
    settings_ = StepSettings(rtol=1e-10, atol=1e-11, steady_tolerance=0.0)
    found = integrate(field, initial, np.linspace(0, horizon, 9), settings=settings_)
    return estimate_run(field, found.times, found.states), found


def test_norms_of_operators_are_those_of_dense_matrices(any_space):
    """Against dense linear algebra in the mass-weighted product. Fails if K* is taken for Kᵀ, or M is left out."""
    space = any_space
    field = make_field(space, lambda y, z: np.sin(3 * y + z) + 0.5 * y * z)
    root = mass_root(space)
    a = root @ kernel_matrix(field) @ np.linalg.inv(root)
    kernel = KernelOperator(field.kernel)
    norm = operator_norm(space, kernel)
    assert norm == pytest.approx(np.linalg.norm(a, 2), rel=1e-9)
    assert symmetric_part_maximum(space, kernel, norm) == pytest.approx(
        np.linalg.eigvalsh(0.5 * (a + a.T)).max(), rel=1e-8
    )
    assert skew_part_norm(space, kernel, norm) == pytest.approx(np.linalg.norm(0.5 * (a - a.T), 2), rel=1e-6)
    zero = KernelOperator(DenseKernel(space, 1))
    assert operator_norm(space, zero) == 0.0 == symmetric_part_maximum(space, zero, 0.0)


LIPSCHITZ = {"sigmoid": 0.25, "gelu": 1.128904145, "silu": 1.0998393194}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_lipschitz_constants_are_the_largest_slopes(name):
    """Fails if the largest slope is missed; then the growth bound is no bound."""
    assert examine(find_activation(name)).lipschitz == pytest.approx(LIPSCHITZ.get(name, 1.0), rel=1e-8)


def test_activations_that_break_a_hypothesis():
    """Fails if a quadratic, a jump or an oscillation of growing slope passes for Lipschitz."""
    for expression in (
        lambda s: s**2,
        lambda s: ufl.conditional(ufl.gt(s, 0.3), 1.0, 0.0),
        lambda s: s * ufl.sin(s),
        ufl.exp,
    ):
        assert examine(Activation(name="broken", expression=expression)).lipschitz == np.inf
    steep = examine(Activation(name="steep", expression=lambda s: ufl.tanh(400 * s)))
    assert steep.lipschitz == pytest.approx(400, rel=1e-6)
    turned = examine(Activation(name="turned", expression=lambda s: ufl.tanh(2 * s) - s))
    assert turned.wrong_sign < -1 and turned.antiderivative_minimum == -np.inf and min(turned.slopes) < 0
    assert examine(find_activation("relu")).slopes[0] == 0.0


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("tanh", lambda s: np.logaddexp(s, -s) - np.log(2)),
        ("relu", lambda s: 0.5 * np.maximum(s, 0) ** 2),
        ("sigmoid", lambda s: np.logaddexp(0, s) - np.log(2)),
        ("sine", lambda s: 1 - np.cos(s)),
    ],
)
def test_antiderivatives_in_closed_form(name, exact):
    """Fails if a panel is counted twice or from the wrong end."""
    s = np.array([[-2e4, -7.3, -1e-3], [0.0, 0.26, 2500.0]])
    found = Antiderivative(find_activation(name), -2e4, 2500.0)(s)
    tolerance = 1e-6 if name == "sine" else 1e-10  # sine oscillates within the long panels far out
    near = np.abs(s) < 1e3
    np.testing.assert_allclose(found[near], exact(s)[near], rtol=1e-11, atol=1e-13)
    if name != "sine":
        np.testing.assert_allclose(found, exact(s), rtol=tolerance)


@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(["any", "symmetric", "negative", "skew"]),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    strength=st.floats(0.1, 4.0),
    bias=st.floats(-1.0, 1.0),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_bounds_hold_on_random_cases(space, seed, kind, activation, strength, bias):
    """No estimate whose hypotheses hold is violated, on any kind of kernel. Fails if a bound lacks a term or an
    estimate is claimed that should not be."""
    a = strength * np.random.default_rng(seed).standard_normal((3, 3))
    if kind == "symmetric":
        a = a + a.T
    elif kind == "negative":
        a = -a @ a.T + 0.3 * (a - a.T)
    elif kind == "skew":
        a = a - a.T
    waves = [(i, j) for i in range(3) for j in range(3)]
    kernel = lambda y, z: sum(a[i, j] * np.cos(2 * i * y) * np.cos(2 * j * z) for i, j in waves)  # noqa: E731
    found, outcome = run(make_field(space, kernel, bias, activation), horizon=1.0)
    assert set(found) == NAMES
    assert found["growth"].claimed and found["dependence"].claimed
    odd = activation in ("identity", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu")
    assert found["energy"].claimed == (kind == "symmetric" and odd)
    falls = bool(np.linalg.eigvalsh(a + a.T).max() <= 1e-12)  # of a kernel in independent functions: as its matrix
    assert found["potential"].claimed == falls
    coercive = activation in ("identity", "tanh", "leaky_relu", "elu")
    assert found["preactivation"].claimed == (falls and coercive)
    assert found["monotonicity"].claimed == (activation in ("relu", "softplus", "sigmoid"))
    for name, estimate in found.items():
        if estimate.claimed:
            assert estimate.excess < 1e-7, (name, estimate.excess, outcome.reason)


def test_bounds_are_attained(space):
    """Equality where theory has it: σ = id, K = λ on one function. Fails if a bound is larger than it has to be."""
    field = make_field(space, 1.5, 0.0, "identity")
    initial = np.ones((space.num_local, 2), order="F") * [1.0, 2.0]
    found = integrate(
        field, np.asfortranarray(initial), np.linspace(0, 2, 5), settings=StepSettings(rtol=1e-11, atol=1e-9)
    )
    estimates = estimate_run(field, found.times, found.states)
    np.testing.assert_allclose(estimates["growth"].ratio, 1.0, rtol=1e-8)
    np.testing.assert_allclose(estimates["dependence"].ratio, 1.0, rtol=1e-8)
    np.testing.assert_allclose(estimates["growth"].bound[:, 0], np.exp(1.5 * found.times), rtol=1e-8)
    with_bias = make_field(space, 1.5, 0.7, "identity")
    found = integrate(
        with_bias, np.asfortranarray(initial), np.linspace(0, 2, 5), settings=StepSettings(rtol=1e-11, atol=1e-9)
    )
    np.testing.assert_allclose(estimate_run(with_bias, found.times, found.states)["growth"].ratio, 1.0, rtol=1e-7)


def test_energy_against_its_formula(any_space):
    """E by dense products, and its fall by the integral of ⟨g, σ(g)⟩. Fails if a sign or a half is missing."""
    field = make_field(any_space, lambda y, z: -np.exp(-((y - z) ** 2)) + np.cos(y - z), 0.3)
    estimates, found = run(field, horizon=1.0)
    energy = estimates["energy"]
    assert energy.claimed
    f = found.states[3]
    k = field.preactivation(f) - field.bias[:, None]
    bias = np.asfortranarray(np.broadcast_to(field.bias[:, None], f.shape))
    expected = -0.5 * any_space.inner(f, k) - any_space.inner(bias, f)
    np.testing.assert_allclose(energy.measured[3], expected, rtol=1e-12)
    g, rate = field.preactivation(f), field.rate(f)
    slope = -any_space.inner(g, rate)
    fine = integrate(field, f, np.array([0.0, 1e-4]), settings=StepSettings(rtol=1e-13, atol=1e-14)).final
    moved = estimate_run(field, np.array([0.0, 1e-4]), [f, fine])["energy"].measured
    np.testing.assert_allclose((moved[1] - moved[0]) / 1e-4, slope, rtol=1e-3)


def test_potential_of_a_skew_kernel_with_relu(space):
    """∫Σ(g) is constant while g need not stay bounded; fails if the potential is not claimed or moves, or if a bound of
    g is claimed."""
    field = make_field(space, lambda y, z: 3 * np.sin(2 * (y - z)), 0.5, "relu")
    estimates, _ = run(field, horizon=4.0)
    potential = estimates["potential"]
    assert potential.claimed
    np.testing.assert_allclose(
        potential.measured, np.broadcast_to(potential.measured[0], potential.measured.shape), rtol=1e-6
    )
    assert [h.statement for h in estimates["preactivation"].failed] == ["Σ(s) → ∞ for s → ±∞"]
    assert estimates["preactivation"].bound is None


SYMMETRIC = "w(y, z) = w(z, y)"
DISSIPATIVE = "the symmetric part of K is negative semidefinite"
BROKEN = [
    ("growth", "σ is Lipschitz", {"activation": Activation(name="square", expression=lambda s: 0.1 * s**2)}),
    ("dependence", "σ is Lipschitz", {"activation": Activation(name="cubic", expression=lambda s: -(s**3))}),
    ("energy", SYMMETRIC, {"kernel": lambda y, z: -np.cos(y - z) + 1e-3 * np.sin(y - z)}),
    ("energy", "s σ(s) ≥ 0 for all s", {"activation": "sigmoid"}),
    (
        "energy",
        "s σ(s) ≥ 0 for all s",
        {"activation": Activation(name="falling", expression=lambda s: s / 20 - ufl.sinh(s) / 10)},
    ),
    ("potential", DISSIPATIVE, {"kernel": lambda y, z: -np.cos(y - z) + 2e-3 * np.cos(7 * y) * np.cos(7 * z)}),
    (
        "potential",
        "there is Σ ≥ 0 with Σ' = σ",
        {"activation": Activation(name="pitchfork", expression=lambda s: ufl.tanh(2 * s) - s)},
    ),
    ("preactivation", "Σ(s) → ∞ for s → ±∞", {"activation": "relu"}),
    ("monotonicity", "σ(s) ≥ 0 for all s", {"activation": "gelu"}),
]


@pytest.mark.parametrize(
    "text", ["exp(s)", "-exp(s)", "s**3", "-s**3", "1/s", "s*sin(s)", "log(s**2)", "exp(s**2)", "1e300*s"]
)
def test_hypotheses_print_no_infinities(space, text):
    """Fails if a bound that is unknown or infinite is printed as a number."""
    formula = parse_formula(text, ("s",))
    premises = Premises(make_field(space, 1.0, activation=Activation(name=text, expression=lambda s: formula.ufl(s=s))))
    found = [premises.lipschitz(), premises.sign_preserving(), premises.antiderivative_bounded()]
    found += [premises.coercive(), premises.nonnegative()]
    assert not re.search(r"\b(inf|nan)\b", " ".join(h.measured for h in found)), found


@pytest.mark.parametrize(("name", "statement", "change"), BROKEN, ids=[f"{n}-{k}" for k, (n, *_) in enumerate(BROKEN)])
def test_broken_hypotheses_are_named(space, name, statement, change):
    """A case that satisfies all hypotheses but one. Fails if the one is not found, another one is named, or the bound
    is claimed all the same."""
    given_ = {"kernel": lambda y, z: -np.cos(y - z), "bias": 0.2, "activation": "tanh"}
    if name == "monotonicity":
        given_["activation"] = "softplus"
    whole, _ = run(make_field(space, **given_), horizon=0.5)
    assert whole[name].claimed and not whole[name].failed
    broken, _ = run(make_field(space, **{**given_, **change}), horizon=0.5)
    estimate = broken[name]
    assert not estimate.claimed and estimate.bound is None and estimate.ratio is None and np.isnan(estimate.excess)
    assert [h.statement for h in estimate.failed] == [statement]
    assert not re.search(r"\b(inf|nan)\b", " ".join(h.measured for h in estimate.hypotheses))
    assert estimate.failed[0].defect > estimate.failed[0].allowed
    assert np.all(np.isfinite(estimate.measured))


def test_hypotheses_on_the_discretisation_and_on_time(spaces, space):
    """Fails if signs are claimed in Galerkin mode, which keeps none, or if more than Gronwall's bounds is claimed where
    coefficients move."""
    galerkin, _ = run(make_field(spaces("interval", 5, 2, "galerkin"), lambda y, z: y * z, 0.1, "relu"), horizon=0.5)
    assert [h.statement for h in galerkin["monotonicity"].failed] == ["σ acts at the nodes (collocated mode)"]
    bias = np.zeros(space.num_local)

    def refresh(time):
        bias[:] = 1 + np.cos(3 * time)

    kernel = DenseKernel.interpolate(space, lambda t, y, z: -np.cos(y[0] - z[0]), INSTANT)
    field = SelectionField(space, kernel, bias, activation=find_activation("tanh"), refresh=refresh)
    moving, _ = run(field)
    for name in ("energy", "potential"):
        assert [h.statement for h in moving[name].failed] == ["w and b do not depend on t"]
    assert moving["growth"].claimed and moving["growth"].excess <= 1e-9


def test_a_small_skew_part_is_no_symmetry(space):
    """w = e^{−(y−z)²} + 9e-7 sin(y − z). Fails if symmetry has a tolerance of its own that the bound does not know."""

    def energy(size):
        field = make_field(space, lambda y, z: -np.exp(-((y - z) ** 2)) + size * np.sin(y - z), 0.3)
        return run(field, horizon=1.0)[0]["energy"], field

    broken, field = energy(9e-7)
    root = mass_root(space)
    a = root @ kernel_matrix(field) @ np.linalg.inv(root)
    skew = np.linalg.norm(0.5 * (a - a.T), 2)
    assert not broken.claimed
    assert broken.failed[0].defect * broken.constants["kernel_norm"] == pytest.approx(skew, rel=1e-4)
    nearly, field = energy(2e-10)
    assert nearly.claimed and 1e-11 < nearly.allowance < 1e-8 and nearly.excess <= 1e-12
    a = root @ kernel_matrix(field) @ np.linalg.inv(root)
    skew = np.linalg.norm(0.5 * (a - a.T), 2)
    assert skew <= nearly.constants["skew_part"] <= 1.2 * skew


def test_norms_of_kernels_whose_squares_overflow(space):
    """Fails if ‖K‖² is formed without scaling: then 1e200 has the norm infinity, and 1e-200 is the zero operator."""
    shape = lambda y, z: np.cos(y - z) + 0.3 * np.sin(y + 2 * z)  # noqa: E731
    expected = KernelOperator(make_field(space, shape).kernel)
    norm = operator_norm(space, expected)
    for size in (1e200, 1e-200):
        kernel = KernelOperator(make_field(space, lambda y, z, size=size: size * shape(y, z)).kernel)
        assert operator_norm(space, kernel) / size == pytest.approx(norm, rel=1e-9)
        for part in (symmetric_part_maximum, skew_part_norm):
            assert part(space, kernel, norm * size) / size == pytest.approx(part(space, expected, norm), rel=1e-7)
        with pytest.raises(InvalidInput, match="leave the range of double precision"):
            require_moderate(space, kernel)
        np.testing.assert_allclose(space.norm(np.full((space.num_local, 1), size, order="F")), size, rtol=1e-14)
    require_moderate(space, expected)
