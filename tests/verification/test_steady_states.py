# SPDX-License-Identifier: MIT
"""Steady states against closed forms: Newton, Fredholm analysis, projection, and the limit of the dynamics."""

from __future__ import annotations

import numpy as np
import pytest
import ufl
from cases import build_equation
from petsc4py import PETSc
from problems import MODES, make_field
from scipy.optimize import brentq

from fem_selection.dynamics import SelectionField
from fem_selection.errors import InvalidInput, NotConverged
from fem_selection.functions.activations import Activation
from fem_selection.settings import LimitSettings, SteadySettings
from fem_selection.steady import (
    IsometricCoordinates,
    IsometricOperator,
    KernelOperator,
    analyze_steady_states,
    differentiate_in_bias,
    expand,
    find_equilibria,
    find_limit,
    find_steady_state,
    project,
    solve_first_kind,
)

FULL = ("full",)
PITCHFORK = Activation(name="pitchfork", expression=lambda s: ufl.tanh(2 * s) - s)
ROOT = brentq(lambda g: np.tanh(2 * g) - g, 0.5, 1.0, xtol=1e-15)


def minimum(y, z):
    """Regular, of singular values 1 / ((k − ½)² π²) on (0, 1)."""
    return np.minimum(y, z)


def decaying(y, z):
    """Regular, with a kink on the diagonal."""
    return np.exp(-np.abs(y - z))


def gaussian(y, z):
    """Smooth: singular values that fall below round-off."""
    return np.exp(-30 * (y - z) ** 2)


def field_and_nodes(space, kernel, bias=0.0, activation="tanh"):
    """The right-hand side of `make_field`, and the nodes."""
    return make_field(space, kernel, bias, activation), space.coordinates[:, 0]


def kernel_of(field):
    """K in isometric coordinates."""
    return IsometricOperator(coordinates=IsometricCoordinates(field.space), operator=KernelOperator(field.kernel))


def column(values):
    """A block of one column."""
    return np.asfortranarray(np.asarray(values, dtype=float)[:, None])


# ── coordinates ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", ["interval", "quadrilateral"])
def test_coordinates_are_isometric_and_the_transpose_is_the_adjoint(spaces, mode, shape):
    """Fails if Q is no isometry (a weight or the basis wrong), or Âᵀ is not the L² adjoint of A."""
    space = spaces(shape, 3, 2, mode)
    field, y = field_and_nodes(space, lambda y, z: np.cos(y + 2 * z), np.sin, "tanh")
    c = IsometricCoordinates(space)
    f, g = column(np.cos(3 * y)), column(1 + y**2)
    x, z = c.to_euclidean(f), c.to_euclidean(g)
    assert c.inner(x, z) == pytest.approx(space.inner(f, g)[0], rel=1e-12)
    np.testing.assert_allclose(c.to_function(x), f, atol=1e-12)
    for operator in (kernel_of(field), IsometricOperator(coordinates=c, operator=field.linearize(f))):
        assert c.inner(operator.apply(x), z) == pytest.approx(c.inner(x, operator.apply_adjoint(z)), rel=1e-11)


# ── Newton's method ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", MODES)
def test_newton_is_quadratic_and_its_limit_the_nearest(spaces, mode):
    """Fails if the Jacobian is not that of the residual (linear convergence), or if steps have parts in ker K: the
    nearest point of {∫ f = g*} to f₀ is f₀ + (g* − ∫ f₀), at the distance |g* − ∫ f₀|."""
    field, y = field_and_nodes(spaces("interval", 10, 2, mode), 1.0, 0.0, PITCHFORK)
    start = 0.3 + y
    result = find_steady_state(field, start, strategies=FULL)
    np.testing.assert_allclose(result.state, start + (ROOT - 0.8), atol=1e-12)
    assert result.distance == pytest.approx(ROOT - 0.8, rel=1e-10)
    r = np.array(result.residuals)
    late = r[:-1] < 0.03
    assert np.all(r[1:][late] <= 2.0 * r[:-1][late] ** 2 + 1e-15)
    assert late.sum() >= 2


@pytest.mark.parametrize("mode", MODES)
def test_three_states_by_deflation(spaces, mode):
    """Fails if a known state is found again or one of the three is missed, from one start that is itself near one."""
    field, y = field_and_nodes(spaces("interval", 6, 1, mode), 1.0, 0.0, PITCHFORK)
    found = find_equilibria(field, [0.3 + y], SteadySettings(states=4))
    levels = sorted(float(e.preactivation.mean()) for e in found)
    np.testing.assert_allclose(levels, [-ROOT, 0.0, ROOT], atol=1e-10)
    for e in found:
        assert np.ptp(e.preactivation) < 1e-12 and e.newton.residual < 1e-11
        assert e.jacobian.rank == 1 and e.jacobian.nullity == 6  # seven nodes, K of rank one
        assert e.regular and "affine family of dimension 6" in e.kind
    with pytest.raises(InvalidInput, match="affine family"):
        differentiate_in_bias(field, found[0], column(y))


def test_the_start_may_be_a_known_state(spaces):
    """Fails if the deflated residual, infinite there, stops the search."""
    field, y = field_and_nodes(spaces("interval", 6, 1), 1.0, 0.0, PITCHFORK)
    assert len(find_equilibria(field, [0 * y], SteadySettings(states=3))) == 3


def test_isolated_states_on_a_mesh_and_their_sensitivity(spaces):
    """A kernel that is regular on the mesh has as many states as there are choices of a zero of σ at each node.  Fails
    if the derivative in b lacks a factor or a sign, or an isolated state is not told from a family."""
    space = spaces("interval", 5, 0, "collocated", "dg")
    field, y = field_and_nodes(space, decaying, 0.1, PITCHFORK)
    found = find_equilibria(field, [0.3 + y, -y], SteadySettings(states=6))
    assert len(found) == 6 and all(e.is_isolated and e.kind == "isolated" for e in found)
    patterns = {tuple(np.round(e.preactivation, 6)) for e in found}
    assert len(patterns) == 6
    for g in patterns:
        assert np.min(np.abs(np.array([[-ROOT], [0.0], [ROOT]]) - np.array(g)), axis=0).max() < 1e-6
    directions = np.asfortranarray(np.column_stack([np.ones_like(y), np.cos(3 * y)]))
    derivative = differentiate_in_bias(field, found[0], directions)
    bias, h = field.bias.copy(), 1e-4
    for k in range(2):
        ends = []
        for sign in (1, -1):
            field.bias[:] = bias + sign * h * directions[:, k]
            ends.append(find_steady_state(field, found[0].state, strategies=FULL).state)
        np.testing.assert_allclose((ends[0] - ends[1]) / (2 * h), derivative[:, k], rtol=1e-7)


def test_a_limit_of_singular_values_leaves_isolation_undecided(spaces):
    """Fails if an expansion that was cut short passes for a full one."""
    field, y = field_and_nodes(spaces("interval", 8, 1), decaying, 0.0, PITCHFORK)
    (state,) = find_equilibria(field, [0.1 + 0 * y], SteadySettings(states=1, triplets=3))
    assert state.jacobian.nullity is None and not state.is_isolated and "undecided" in state.kind


# ── Fredholm analysis ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", MODES)
def test_singular_value_expansion_of_the_minimum(spaces, mode):
    """w = min(y, z): s_k = 1 / ((k − ½)² π²), u_k = v_k = √2 sin((k − ½) π y); the kink of w limits the order to 2;
    at the nodes of the trapezoidal rule the functions are exact.  Fails if values or functions belong to another inner
    product: the order drops to 0."""
    k = np.arange(1, 6)
    exact = 1.0 / ((k - 0.5) * np.pi) ** 2
    errors = []
    for cells in (16, 32, 64):
        space = spaces("interval", cells, 1, mode)
        field, y = field_and_nodes(space, minimum)
        expansion = expand(kernel_of(field), 1e-10, 5)
        assert not expansion.is_complete and expansion.rank == 5
        left, right = expansion.functions(5)
        functions = np.sqrt(2) * np.sin(np.outer(y, k - 0.5) * np.pi)
        sign = np.sign(np.diag(functions.T @ left))
        away = space.norm(np.asfortranarray(left * sign - functions))
        errors.append([np.abs(expansion.values - exact).max(), away.max()])
        np.testing.assert_allclose(left, right, atol=1e-8)  # w is symmetric and positive
    if mode == "collocated":
        assert errors[-1][1] < 1e-12
        errors = [error[:1] for error in errors]
    orders = -np.diff(np.log2(errors), axis=0)
    assert np.all((orders > 1.9) & (orders < 2.4)), orders


@pytest.mark.parametrize("mode", MODES)
def test_separable_kernels_are_exact(spaces, mode):
    """w = 3 φ_1 ⊗ φ_2 + φ_2 ⊗ φ_1 with the normalised indicators of the halves: s = 3, 1 and rank two.  Fails if the
    weights of the inner product are missing, or zero singular values break the method."""
    space = spaces("interval", 6, 0 if mode == "collocated" else 1, mode, "dg")

    def kernel(y, z):
        low_y, low_z = (y < 0.5).astype(float), (z < 0.5).astype(float)
        return 2 * (3 * low_y * (1 - low_z) + (1 - low_y) * low_z)

    if mode == "galerkin":  # nodes at 1/2 belong to both halves

        def kernel(y, z):
            return 3 + 12 * (y - 0.5) * (z - 0.5)

    field, _ = field_and_nodes(space, kernel)
    expansion = expand(kernel_of(field), 1e-10, 200)
    np.testing.assert_allclose(expansion.values, [3.0, 1.0], rtol=1e-12)
    assert expansion.is_complete and expansion.nullity == space.num_nodes - 2
    c = expansion.operator.coordinates
    np.testing.assert_allclose(c.products(expansion.left, expansion.left), np.eye(2), atol=1e-13)
    np.testing.assert_allclose(expansion.operator.apply(expansion.right), expansion.left * expansion.values, atol=1e-12)


def test_the_zero_kernel_has_rank_zero(spaces):
    """Fails if an expansion without a singular value, of which SLEPc finds none, ends in an error or counts one."""
    field, _ = field_and_nodes(spaces("interval", 6, 1), 0.0, 0.5)
    expansion = expand(kernel_of(field), 1e-10, 200)
    assert expansion.rank == 0 and expansion.is_complete
    report = solve_first_kind(expansion, -field.bias)
    assert not report.holds and report.residual == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("right_hand_side", "power"), [(lambda y: y - y**2 / 2, -1.0), (lambda y: y, 0.0), (lambda y: 1 + 0 * y, 1.0)]
)
def test_picard_ratios_of_the_minimum(spaces, right_hand_side, power):
    """K 1 = y − y²/2 is in the range, y (whose derivative does not vanish at 1) and 1 are not; the ratios are
    √2 ((k − ½) π)^power.  Fails if ratios or the judgement of their decay are wrong."""
    field, y = field_and_nodes(spaces("interval", 120, 1), minimum)
    expansion = expand(kernel_of(field), 1e-10, 30)
    report = solve_first_kind(expansion, right_hand_side(y))
    k = np.arange(1, 9)
    np.testing.assert_allclose(report.ratios[:8], np.sqrt(2) * ((k - 0.5) * np.pi) ** power, rtol=0.02)
    assert report.holds == (power < -0.5)
    assert report.decay == pytest.approx(power, abs=0.2)
    assert ("hold" in report.verdict) == report.holds


def test_minimal_norm_solution_of_a_smooth_kernel(spaces):
    """b = K f for f in the range of K*: fails if the truncation or a norm is wrong."""
    field, y = field_and_nodes(spaces("interval", 20, 2), gaussian)
    operator = kernel_of(field)
    f = operator.operator.apply(column(np.cos(2 * y)))
    expansion = expand(operator, 1e-10, 200)
    assert expansion.is_complete and 10 < expansion.rank < 41
    report = solve_first_kind(expansion, operator.operator.apply(f)[:, 0])
    np.testing.assert_allclose(report.solution, f[:, 0], atol=1e-6)  # round-off over the least singular value
    assert report.holds and report.residual < 1e-12
    assert report.solution_norm == pytest.approx(field.space.norm(f)[0], rel=1e-8)
    out = solve_first_kind(expansion, np.abs(y - 0.5))
    assert not out.holds and out.residual > 1e-4


# ── ReLU: projection and selection ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", MODES)
def test_projections_in_closed_form(spaces, mode):
    """w = c is a half space of ∫ f.  Fails if the sign of the constraint or the metric of the projection is wrong."""
    space = spaces("interval", 7, 2, mode)
    field, y = field_and_nodes(space, 1.0, -1.0, "relu")  # ∫ f ≤ 1
    high = project(field, 2 + np.sin(2 * np.pi * y))
    np.testing.assert_allclose(high.state, 1 + np.sin(2 * np.pi * y), atol=1e-12)
    assert high.distance == pytest.approx(1.0, rel=1e-12)
    inside = project(field, 0.5 * y)
    assert inside.distance == 0.0 and inside.contacts == 0
    field, _ = field_and_nodes(space, -1.0, 1.0, "relu")  # ∫ f ≥ 1
    np.testing.assert_allclose(project(field, 0 * y).state, 1.0, atol=1e-12)
    both = project(field, 3 + 0 * y, lower=-0.5, upper=0.25)  # −0.5 ≤ 1 − ∫ f ≤ 0.25
    np.testing.assert_allclose(both.state, 1.5, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kernel", [gaussian, decaying, minimum])
def test_projections_satisfy_their_optimality_conditions(spaces, kernel, mode):
    """Fails if the active set is left too early, a multiplier has the wrong sign or weight: the conditions are
    evaluated afresh with K and K*."""
    field, y = field_and_nodes(
        spaces("interval", 24, 2, mode), lambda *a: -kernel(*a), lambda y: y * np.cos(9 * y), "relu"
    )
    state = np.sin(4 * y) - 1
    found = project(field, state)
    scale = 1 + found.distance
    assert found.exists and 0 < found.contacts < 20
    assert found.violation <= 1e-10 * scale
    assert found.stationarity <= 1e-10 * scale
    assert found.complementarity <= 1e-10 * scale
    nearer = field.space.norm(column(found.state - state))[0]
    assert nearer == pytest.approx(found.distance, rel=1e-12)
    for other in (5 + 0 * y, 4 + y):  # other steady states are further away
        assert np.all(field.preactivation(column(other)) <= 0)
        assert field.space.norm(column(other - state))[0] > found.distance


def solve_dual_by_tao(field, state):
    """min ½ ‖K* λ‖² − (K f⁰ + b, λ) over λ ≥ 0 in isometric coordinates, by a bound-constrained Newton method."""
    operator = kernel_of(field)
    c, unit = operator.coordinates, np.eye(state.size, order="F")
    adjoint = operator.apply_adjoint(unit)
    hessian, linear = operator.apply(adjoint), c.to_euclidean(field.preactivation(column(state)))[:, 0]
    matrix = PETSc.Mat().createDense(hessian.shape, array=hessian.ravel(order="F"), comm=PETSc.COMM_SELF)
    matrix.assemble()
    x, low, high = (matrix.createVecLeft() for _ in range(3))
    high.set(1e20)

    def evaluate(tao, x, g):
        g.array[:] = hessian @ x.array_r - linear
        return 0.5 * float(x.array_r @ (g.array_r - linear))

    tao = PETSc.TAO().create(PETSc.COMM_SELF)
    tao.setType("bnls")
    tao.setObjectiveGradient(evaluate, None)
    tao.setHessian(lambda *_: None, matrix, matrix)
    tao.setVariableBounds((low, high))
    tao.setTolerances(gatol=1e-12, grtol=0.0, gttol=0.0)
    tao.setMaximumIterations(500)
    tao.setSolution(x)
    tao.solve()
    result = state - c.to_function(np.asfortranarray((adjoint @ x.array_r)[:, None]))[:, 0]
    for thing in (tao, x, low, high, matrix):
        thing.destroy()
    return result


@pytest.mark.parametrize("kernel", [gaussian, decaying, minimum])
def test_projections_are_those_of_tao(spaces, kernel):
    """The dual problem by another method and another library; fails if the two differ by more than round-off."""
    field, y = field_and_nodes(
        spaces("interval", 24, 2), lambda *a: -kernel(*a), lambda y: 0.3 - np.cos(25 * y), "relu"
    )
    state = np.sin(4 * y) - 1
    found = project(field, state)
    assert found.exists and found.contacts >= 1
    np.testing.assert_allclose(solve_dual_by_tao(field, state), found.state, atol=1e-8)


def test_empty_sets_are_reported(spaces):
    """w = 0 with b > 0, and a kernel whose range contains no function of one sign: fails if the limit of distances is
    not seen."""
    space = spaces("interval", 10, 1)
    for kernel in (0.0, lambda y, z: np.cos(2 * np.pi * y) * np.sin(2 * np.pi * z)):
        field, y = field_and_nodes(space, kernel, 0.5, "relu")
        found = project(field, y)
        assert not found.exists and found.distance == np.inf
    field, y = field_and_nodes(space, 0.0, -0.5, "relu")
    assert project(field, y).distance == 0.0


def test_selection_by_relu_in_closed_form(spaces):
    """w = −1, b = y, f^I = 0: f(∞) = −2 y − 2 log(1 − y), while the nearest steady state is 1.  Fails if the dynamics
    are stopped too early, or the projection is taken for what they select.  The logarithm limits the order in L² to
    one half; away from its end midpoints have order two."""
    errors = []
    for cells in (20, 40, 80):
        space = spaces("interval", cells, 0, "collocated", "dg")
        field, y = field_and_nodes(space, -1.0, lambda y: y, "relu")
        limit = find_limit(field, np.zeros((cells, 1), order="F"), LimitSettings(steady_tolerance=1e-7))
        assert limit.outcomes == ("steady",)
        left = y < 0.7
        exact = -2 * y - 2 * np.log1p(-y)
        errors.append(np.abs(limit.states[:, 0] - exact)[left].max())
        nearest = project(field, 0 * y)
        assert nearest.distance < field.space.norm(limit.states)[0]
    orders = -np.diff(np.log2(errors))
    assert np.all((orders > 1.5) & (orders < 2.5)), (errors, orders)


def test_limits_sample_by_sample(spaces):
    """K = 1, b = −1: f^I = 2 explodes with rate 1, f^I = 0.5 stays.  Fails if one sample's event ends the others' runs,
    or if the growth law is not reported."""
    field, y = field_and_nodes(spaces("interval", 6, 1), 1.0, -1.0, "relu")
    initial = np.asfortranarray(np.column_stack([2 + 0 * y, 0.5 + 0 * y]))
    limit = find_limit(field, initial)
    assert limit.outcomes == ("unbounded", "steady") and limit.rates[1] == 0.0
    assert limit.growth_rates[0] == pytest.approx(1.0, rel=1e-3)
    np.testing.assert_array_equal(limit.states[:, 1], initial[:, 1])
    still, y = field_and_nodes(spaces("interval", 6, 1), 0.0, lambda y: y - 0.5, "relu")
    moving = find_limit(still, column(0 * y), LimitSettings(horizon=1e3))
    assert moving.outcomes == ("unbounded",) and "t^1.00" in moving.reasons[0]
    np.testing.assert_allclose(moving.states[:, 0], 1e3 * np.maximum(y - 0.5, 0), rtol=1e-7)


def test_limit_agrees_with_newton(spaces):
    """The run from a state near a stable root ends where Newton's method does in g.  Fails if either is wrong."""
    field, y = field_and_nodes(spaces("interval", 6, 1), 1.0, 0.0, PITCHFORK)
    limit = find_limit(field, column(0.2 * y))
    assert limit.outcomes == ("steady",) and 10 < limit.time < 100
    end = limit.states[:, 0]
    result = find_steady_state(field, end, strategies=FULL)
    assert result.distance < 1e-7
    np.testing.assert_allclose(field.preactivation(column(result.state)), ROOT, atol=1e-10)
    finite = limit.distances[np.isfinite(limit.distances[:, 0]), 0]
    assert finite[0] == pytest.approx(field.space.norm(column(end - 0.2 * y))[0]) and finite[-1] < 1e-3


# ── all of it ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("activation", "words"),
    [
        ("softplus", "there are no steady states: σ has no zero"),
        ("relu", "convex set"),
        ("tanh", "K f = 0 - b"),
        (PITCHFORK, "3 steady states found"),
    ],
)
def test_analysis_chooses_by_the_zeros(spaces, activation, words):
    """Fails if an instrument is used where it does not apply, or is missing where it does."""
    field, y = field_and_nodes(spaces("interval", 5, 1), -1.0, 0.0, activation)
    settings = SteadySettings(starts=1, horizon=50.0)
    found = analyze_steady_states(field, column(-1 + y), settings)
    assert words in found.verdict
    assert (found.picard is None) == (activation == "softplus") == ("picard_ratios" in found.declined)
    assert bool(found.projections) == (activation == "relu") == ("projection" not in found.declined)
    assert bool(found.equilibria) == (activation in ("tanh", PITCHFORK)) == ("states" not in found.declined)
    assert all(r < 1e-10 for r in found.residuals)


def test_analysis_refuses_what_depends_on_time(spaces):
    """Fails if a steady state is looked for where there can be none."""
    field, y = field_and_nodes(spaces("interval", 5, 1), 1.0)
    moving = SelectionField(field.space, field.kernel, field.bias, activation=field.activation, refresh=lambda t: None)
    for look in (analyze_steady_states, find_limit):
        with pytest.raises(InvalidInput, match="depends on time"):
            look(moving, column(y))
    with pytest.raises(InvalidInput, match="depends on time"):
        find_equilibria(moving, [y])


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_a_local_kernel_on_a_fine_mesh(mode):
    """K f = D f'' − f + ∫ u v f with σ = tanh(2 s) − s: f* by the sparse factorization.

    b is chosen so that f* = cos(πy), up to the mesh, for the zero g = 0.  Fails if Newton's steps are left to products
    with F' and its adjoint, which round-off of ‖F'‖ ~ h⁻² defeats, or if that round-off passes for no convergence.
    """
    problem = build_equation(
        {
            "activation": "tanh(2*s) - s",
            "representation": "local + separable",
            "multiplication": "-1",
            "diffusion": "0.05",
            "factors": [["y", "cos(pi*z)"]],
            "bias": "(1 + 0.05*pi**2)*cos(pi*y) - y/2",
        },
        cells=1500,
        space={"mode": mode},
        initial="cos(pi*y) + 0.05*cos(2*pi*y)",
    )
    start = problem.initial[:, 0].copy()
    found = find_steady_state(problem.field, start)
    exact = np.cos(np.pi * problem.space.coordinates[:, 0])
    assert found.strategy == "sparse" and found.residual < 1e-9 and len(found.residuals) < 12
    assert np.abs(found.state - exact).max() < 1e-5


def test_a_local_kernel_where_the_activation_is_saturated():
    """K = D Δ − 1, b up to 10, tanh, on more nodes than branches have coordinates: Newton's first steps lead nowhere.

    Fails if it does not begin again from K f + b = 0.
    """
    problem = build_equation(
        {"representation": "local", "multiplication": "-1", "diffusion": "0.01", "bias": "10*sin(9*y)"},
        cells=450,
        initial="1",
    )
    found = find_steady_state(problem.field, problem.initial[:, 0])
    assert found.residual < 1e-9
    assert np.abs(problem.field.preactivation(np.asfortranarray(found.state[:, None]))).max() < 1e-8
    with pytest.raises(NotConverged, match="the line search found no smaller residual"):
        find_steady_state(problem.field, problem.initial[:, 0], restart=False)


def test_analysis_of_a_local_kernel():
    """K = D Δ − 1 with more singular values than are asked for: the state is found from the limit of the dynamics.

    Fails if a part of an unbounded operator's singular values passes for its Picard condition, or if the long-time
    limit is no start: from the initial states themselves, where tanh is saturated, Newton's method finds no way.
    """
    problem = build_equation(
        {"representation": "local", "multiplication": "-1", "diffusion": "0.05", "bias": "y"},
        cells=30,
        initial="2*sin(2*pi*y)",
    )
    found = analyze_steady_states(problem.field, problem.initial, SteadySettings(starts=0, triplets=10, horizon=200.0))
    assert found.limit.outcomes == ("steady",) and found.picard is None
    assert "local part" in found.declined["picard_ratios"]
    (only,) = found.equilibria
    assert only.newton.residual < 1e-10 and "1 steady state found" in found.verdict
    k = np.sqrt(1 / 0.05)  # D f'' − f + y = 0 with f' = 0 at both ends
    y = problem.space.coordinates[:, 0]
    exact = y + (-np.sinh(k * y) + (np.cosh(k) - 1) / np.sinh(k) * np.cosh(k * y)) / k
    np.testing.assert_allclose(only.state, exact, atol=2e-3)
    # K 1 = −1: f* rises with b; the singular values asked for do not reach −1, the eigenvalue nearest to zero
    assert only.jacobian.nullity is None and only.is_isolated and only.kind == "isolated"
    assert only.nearest == pytest.approx(1.0, rel=1e-6)
    assert found.sensitivities == (pytest.approx(1.0, abs=1e-9),)
    direction = np.asfortranarray(np.cos(np.pi * y)[:, None])
    derivative, h = differentiate_in_bias(problem.field, only, direction), 1e-3
    problem.field.bias[:] += h * direction[:, 0]
    (moved,) = find_equilibria(problem.field, [only.state], SteadySettings(states=1, triplets=10))
    np.testing.assert_allclose((moved.state - only.state) / h, derivative[:, 0], atol=1e-7)


def test_a_local_kernel_with_a_null_space():
    """K = D Δ with no flux: constants are in ker K. Fails if the state passes for isolated, or gets a derivative."""
    problem = build_equation({"representation": "local", "diffusion": "1", "bias": "y - 0.5"}, cells=30)
    found = analyze_steady_states(problem.field, problem.initial, SteadySettings(starts=0, triplets=10, horizon=200.0))
    (only,) = found.equilibria
    assert not only.is_isolated and only.is_decided and only.nearest < 1e-10 and "degenerate" in only.kind
    assert found.sensitivities == (None,) and "degenerate" in found.declined["sensitivity"]


@pytest.mark.parametrize("a", [0.1, 5e-7, -5e-7])
def test_eigenvalues_near_zero_of_a_local_kernel(a):
    """K = D Δ + a with no flux: a is the eigenvalue nearest to zero, and K 1 = a gives ∂f*/∂b 1 = −1/a.

    Fails if positive eigenvalues count for less, or if a state passes for isolated whose derivative is not found.
    """
    field = build_equation(
        {"representation": "local", "multiplication": str(a), "diffusion": "0.05", "bias": "0"}, cells=40
    ).field
    (only,) = find_equilibria(field, [np.zeros(field.space.num_local)], SteadySettings(states=1, triplets=10))
    assert only.nearest == pytest.approx(abs(a), rel=1e-4) and only.is_isolated
    one = np.ones((field.space.num_local, 1), order="F")
    np.testing.assert_allclose(a * differentiate_in_bias(field, only, one), -one, rtol=1e-4)


@pytest.mark.parametrize("table", [{"convection": "1"}, {"multiplication": "1e-6"}])
def test_systems_that_are_not_solved_leave_it_undecided(table):
    """Convection without diffusion, and a step of Newton's that is singular. Fails if either ends in an error."""
    problem = build_equation({"representation": "local", "bias": "0", **table}, cells=300)
    settings = SteadySettings(starts=0, triplets=10, horizon=10.0)
    found = analyze_steady_states(problem.field, problem.initial, settings)
    for state in found.equilibria:
        assert state.is_isolated or state.kind.startswith(("undecided", "degenerate"))
    assert len(found.equilibria) == 1
