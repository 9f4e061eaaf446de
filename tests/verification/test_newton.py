# SPDX-License-Identifier: MIT
"""The one way to a steady state: its strategies against closed forms, SciPy and PETSc, and what it says where there is
none."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import ufl
from cases import build_equation
from petsc4py import PETSc
from problems import MODES, make_field

import fem_selection as fs
from fem_selection.dynamics import SelectionField
from fem_selection.errors import InvalidInput, NotConverged, TooManyCoordinates
from fem_selection.functions.activations import Activation
from fem_selection.steady import IsometricCoordinates, SteadyState, find_steady_state
from fem_selection.steady.equilibria import equilibria, steady_state
from fem_selection.steady.equilibria.deflation import MinimalNormEquation
from fem_selection.steady.equilibria.newton import LineSearch, solve_newton
from fem_selection.studies import depth_stability, state_stability

PITCHFORK = Activation(name="pitchfork", expression=lambda s: ufl.tanh(1.5 * s) - s)
LEVEL = scipy.optimize.brentq(lambda g: np.tanh(1.5 * g) - g, 0.5, 1.0, xtol=1e-15)
COMPACT = ("reduced", "full")
LOCAL = {"representation": "local", "multiplication": "-1", "diffusion": "0.01"}


def pattern(field, f):
    """K f + b, shape (num_local,)."""
    return field.preactivation(np.asfortranarray(f[:, None]))[:, 0]


def falls_quadratically(residuals, factor=3.0, round_off=1e-14):
    """Whether after each residual below 0.05, of two at least, the next is at most its square times a factor."""
    before, after = np.array(residuals[:-1]), np.array(residuals[1:])
    late = before < 0.05
    return late.sum() >= 2 and np.all(after[late] <= factor * before[late] ** 2 + round_off)


# ── one way ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_studies_share_one_function(monkeypatch):
    """Fails if a study finds its states in a way of its own, or if a strategy has a Newton's method of its own."""
    for module in (equilibria, state_stability, depth_stability):
        assert module.find_steady_state is find_steady_state is steady_state.find_steady_state
    calls: list[str] = []

    def counted(equation, start, **keywords):
        calls.append(type(equation).__name__)
        return solve_newton(equation, start, **keywords)

    monkeypatch.setattr(steady_state, "solve_newton", counted)
    problem = build_equation({"activation": "tanh(1.5*s) - s", "kernel": "1"}, cells=4, initial="0.3 + y")
    fs.studies.steady(problem.field, problem.initial, fs.SteadySettings(starts=0, states=2, horizon=10.0))
    assert "MinimalNormEquation" in calls
    calls.clear()
    state_stability.find_state(problem.field, problem.initial[:, 0])
    assert calls == ["ReducedEquation"]
    local = build_equation({**LOCAL, "bias": "y"}, cells=8)
    calls.clear()
    state_stability.find_state(local.field, local.initial[:, 0])
    assert calls == ["LocalEquation"]


# ── where it ends ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("strategy", COMPACT)
@pytest.mark.parametrize(("mean", "level"), [(0.9, LEVEL), (-0.7, -LEVEL), (0.1, 0.0)])
def test_the_states_of_a_pitchfork(spaces, mode, strategy, mean, level):
    """K = 1, σ(s) = tanh(1.5 s) − s: g = ∫ f is 0 or ±LEVEL, and of {∫ f = g} the nearest to f₀ is f₀ + (g − ∫ f₀).

    Fails if another member of the family is returned, or if the Jacobian is not that of the residual: convergence is
    quadratic, at g = 0, where σ'' = 0, cubic.
    """
    field = make_field(spaces("interval", 8, 2, mode), 1.0, 0.0, PITCHFORK)
    start = mean - 0.5 + field.space.coordinates[:, 0]
    found = find_steady_state(field, start, strategies=(strategy,))
    np.testing.assert_allclose(found.state, start + (level - mean), atol=1e-12)
    assert found.strategy == strategy and found.is_steady and found.residual < 1e-12
    assert found.distance == pytest.approx(abs(level - mean), rel=1e-10)
    assert falls_quadratically(found.residuals)


@pytest.mark.parametrize("strategy", COMPACT)
def test_an_isolated_state_is_that_of_scipy(spaces, strategy):
    """A regular kernel on eight cells: the same f as MINPACK's hybrid method finds from there, with dense matrices.

    Fails if a strategy solves another equation; K, b and σ are written out once more here.
    """
    space = spaces("interval", 8, 0, "collocated", "dg")
    field = make_field(space, lambda y, z: np.exp(-2 * np.abs(y - z)), lambda y: 0.3 - y**2, "tanh")
    y = space.coordinates[:, 0]
    matrix = np.exp(-2 * np.abs(y[:, None] - y)) / 8
    start = 0.2 * np.cos(3 * y)
    exact = scipy.optimize.root(lambda f: np.tanh(matrix @ f + 0.3 - y**2), start, tol=1e-12)
    assert exact.success
    found = find_steady_state(field, start, strategies=(strategy,))
    np.testing.assert_allclose(found.state, exact.x, rtol=1e-9)


def test_a_local_kernel_by_its_factorization():
    """K = 0.01 Δ − 1 and σ = tanh(1.5 s) − s: g = LEVEL everywhere, so that f* is the solution of a linear system.

    Fails if the sparse steps are none of Newton's: quadratic convergence, and the state to round-off.
    """
    problem = build_equation({**LOCAL, "activation": "tanh(1.5*s) - s", "bias": "y"}, cells=60, initial="y - 0.9")
    field, size = problem.field, problem.space.num_nodes
    columns = [pattern(field, e) - field.bias for e in np.eye(size)]
    exact = np.linalg.solve(np.column_stack(columns), LEVEL - field.bias)
    found = find_steady_state(field, exact + 0.1)
    np.testing.assert_allclose(found.state, exact, atol=1e-10)
    assert found.strategy == "sparse"
    assert falls_quadratically(found.residuals, round_off=1e-11)


@pytest.mark.parametrize("strategy", COMPACT)
def test_a_saturated_start(spaces, strategy):
    """K = 1, b = 30, tanh: at f = 0 the slope is 4 e^{-60}; at f = −30, with g = 0, it is 1.

    Fails if Newton's method does not begin again from K f + b = 0, or if it does so though it may not.
    """
    field = make_field(spaces("interval", 6, 1), 1.0, 30.0, "tanh")
    start = field.space.coordinates[:, 0] - 0.5
    found = find_steady_state(field, start, strategies=(strategy,))
    np.testing.assert_allclose(found.state, start - 30.0, atol=1e-10)
    with pytest.raises(NotConverged, match=f"‖F‖ = 1; {strategy}: "):
        find_steady_state(field, start, strategies=(strategy,), restart=False)


@pytest.mark.parametrize("strategy", COMPACT)
def test_a_singular_derivative_is_named(spaces, strategy):
    """σ(s) = 1 + s² has no zero, and its minimum at g = 0.  Fails if a minimum of ‖F‖ passes for a state, or if the
    error does not say what was met."""
    field = make_field(spaces("interval", 6, 1), 1.0, 0.0, Activation(name="no zero", expression=lambda s: 1 + s**2))
    for mean in (0.0, 0.7):
        with pytest.raises(NotConverged, match="the derivative is singular there: the residual has a local minimum"):
            find_steady_state(field, mean + 0 * field.bias, strategies=(strategy,))


def test_what_stands_still_in_g_alone(spaces):
    """K = 1, b = y − ½, tanh: ∫ σ(g + b) = 0 at g = 0, but σ(b) ≠ 0 and f moves within ker K.

    Fails if that passes for a steady state.
    """
    field = make_field(spaces("interval", 6, 1), 1.0, lambda y: y - 0.5, "tanh")
    found = find_steady_state(field, 0.2 + 0 * field.bias)
    assert not found.is_steady
    exact = field.space.norm(np.asfortranarray(np.tanh(field.bias)[:, None]))[0]
    assert found.residual == pytest.approx(exact, rel=1e-12)


def test_known_states_are_left(spaces):
    """From the state 0, which is known, to one of the others.

    Fails if the deflated residual, infinite there, stops the search, or if its derivative lacks that of the factor.
    """
    field = make_field(spaces("interval", 6, 1), 1.0, 0.0, PITCHFORK)
    zero = 0 * field.bias
    here = find_steady_state(field, zero, strategies=("full",))
    assert (here.strategy, here.distance, len(here.residuals)) == ("none", 0.0, 1)
    there = find_steady_state(field, zero, known=[here.state], strategies=("full",))
    assert np.abs(pattern(field, there.state)).min() == pytest.approx(LEVEL, rel=1e-9)
    assert falls_quadratically(there.residuals, round_off=1e-12)
    assert there.distance == pytest.approx(field.space.norm(there.state[:, None])[0])


@pytest.mark.parametrize("mode", MODES)
def test_a_step_on_the_deflated_residual(spaces, mode):
    """d against the least-squares solution with the derivative of m F by differences, and (m F, (m F)' d) likewise.

    Fails if the derivative lacks that of m, or if LSQR is given another transpose.
    """
    field = make_field(spaces("interval", 5, 1, mode), lambda y, z: np.exp(-2 * np.abs(y - z)), 0.1, PITCHFORK)
    y = field.space.coordinates[:, 0]
    c = IsometricCoordinates(field.space)
    equation = MinimalNormEquation(field, c, 1e-12, known=[np.cos(3 * y), 1 - y])
    x = c.to_euclidean(np.asfortranarray((0.3 + y)[:, None]))
    residual = equation.residual(x)
    h = 1e-6
    basis = [c.to_euclidean(np.asfortranarray(e[:, None])) for e in np.eye(y.size)]
    slopes = [(equation.residual(x + h * e) - equation.residual(x - h * e))[:, 0] / (2 * h) for e in basis]
    weights = np.linalg.lstsq(np.column_stack(slopes), residual[:, 0])[0]
    step, slope = equation.newton_step(x, residual)
    np.testing.assert_allclose(step, sum(w * e for w, e in zip(weights, basis, strict=True)), rtol=1e-6, atol=1e-6)
    assert slope == pytest.approx(float(residual[:, 0] @ (np.column_stack(slopes) @ weights)), rel=1e-6)


# ── what is refused, and the order ────────────────────────────────────────────────────────────────────────────────────


def test_the_order_of_the_strategies():
    """Sparse before reduced, reduced before full, whatever the order in which they are named; fails if it is another.

    With 450 cells the local kernel has too many coordinates for `reduced`, which is an error where nothing else is
    tried.
    """
    small = build_equation({**LOCAL, "bias": "y"}, cells=8, initial="0.1")
    start = small.initial[:, 0]
    assert find_steady_state(small.field, start, strategies=("full", "reduced", "sparse")).strategy == "sparse"
    assert find_steady_state(small.field, start, strategies=("full", "reduced")).strategy == "reduced"
    large = build_equation({**LOCAL, "bias": "y"}, cells=450, initial="0.1")
    with pytest.raises(TooManyCoordinates):
        find_steady_state(large.field, large.initial[:, 0], strategies=("reduced",))


def test_what_is_refused(spaces):
    """Fails if a strategy that does not exist, a block for a function or an equation with t is let through."""
    field = make_field(spaces("interval", 4, 1), 1.0)
    with pytest.raises(InvalidInput, match=r"unknown strategies \['dense'\]; known are sparse, reduced, full"):
        find_steady_state(field, field.bias, strategies=("dense",))
    moving = SelectionField(field.space, field.kernel, field.bias, activation=field.activation, refresh=lambda t: None)
    with pytest.raises(InvalidInput, match="depends on time"):
        find_steady_state(moving, field.bias)
    assert isinstance(find_steady_state(field, field.bias), SteadyState)


# ── Newton's method itself ────────────────────────────────────────────────────────────────────────────────────────────


class Plane:
    """F(x) = 0 in the plane, from F and F' as functions."""

    def __init__(self, values, matrix):
        self.values, self.matrix = values, matrix

    def residual(self, x):
        """F(x)."""
        return self.values(x)

    def newton_step(self, x, residual):
        """d of least norm, and (F, F' d)."""
        step = np.linalg.lstsq(self.matrix(x), residual)[0]
        return step, float(residual @ (self.matrix(x) @ step))

    def inner(self, a, b):
        """Euclidean."""
        return float(a @ b)

    def tolerance(self, x):
        """Of round-off."""
        return 1e-13

    def round_off(self, x):
        """The same."""
        return 1e-13


def rosenbrock(x):
    """The gradient parts of a narrow valley, bent like a banana."""
    return np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def rosenbrock_slopes(x):
    """Their derivative."""
    return np.array([[-20 * x[0], 10.0], [-1.0, 0.0]])


def valley(x):
    """Two coupled arcs of tangents: full steps from afar overshoot."""
    return np.array([np.arctan(x[0]) + 0.1 * x[1] ** 3, np.arctan(2 * x[1]) - 0.2 * x[0]])


def valley_slopes(x):
    """Their derivative."""
    return np.array([[1 / (1 + x[0] ** 2), 0.3 * x[1] ** 2], [-0.2, 2 / (1 + 4 * x[1] ** 2)]])


def waves(x):
    """With minima of the norm that are no zeros."""
    return np.array([np.exp(x[0]) - 2 + x[1], np.sin(3 * x[0]) + x[1] ** 3])


def waves_slopes(x):
    """Its derivative."""
    return np.array([[np.exp(x[0]), 1.0], [3 * np.cos(3 * x[0]), 3 * x[1] ** 2]])


@pytest.mark.parametrize(
    ("values", "slopes", "start"),
    [
        (rosenbrock, rosenbrock_slopes, (-1.2, 1.0)),
        (valley, valley_slopes, (3.0, 2.0)),
        (valley, valley_slopes, (20.0, 1.0)),
        (waves, waves_slopes, (3.0, 2.0)),
        (waves, waves_slopes, (2.0, 0.2)),
        (waves, waves_slopes, (-3.0, 1.0)),
    ],
)
def test_the_line_search_is_that_of_petsc(values, slopes, start):
    """The norms at all iterates against SNES with its line search `bt`, on problems where full steps do not do.

    Fails if a parabola, a cubic, a bound of λ or the condition of decrease is another.
    """
    run = solve_newton(Plane(values, slopes), np.array(start))
    norms: list[float] = []
    snes = PETSc.SNES().create(PETSc.COMM_SELF)
    x, r = PETSc.Vec().createSeq(2), PETSc.Vec().createSeq(2)
    jacobian = PETSc.Mat().createDense((2, 2), comm=PETSc.COMM_SELF)
    jacobian.setUp()
    x.array[:] = start

    def function(snes, x, out):
        with np.errstate(over="ignore"):
            out.array[:] = values(x.array_r)

    def derivative(snes, x, matrix, _):
        matrix.setValues(range(2), range(2), slopes(x.array_r))
        matrix.assemble()

    snes.setFunction(function, r)
    snes.setJacobian(derivative, jacobian)
    snes.setTolerances(rtol=0.0, atol=1e-13, stol=0.0, max_it=60)
    snes.setMonitor(lambda _, __, norm: norms.append(norm))
    snes.getKSP().setType("preonly")
    snes.getKSP().getPC().setType("lu")
    snes.solve(None, x)
    compared = 9 if start == (-3.0, 1.0) else max(len(norms), len(run.residuals))  # this one nears a minimum
    np.testing.assert_allclose(run.residuals[:compared], norms[:compared], rtol=1e-7, atol=1e-13)
    full = solve_newton(Plane(values, slopes), np.array(start), line_search=None)
    assert len(full.residuals) != len(norms) or not np.allclose(full.residuals, norms)
    for thing in (snes, x, r, jacobian):
        thing.destroy()


def test_why_newton_ends():
    """Fails if a reason is taken for another, or if what has not converged passes for it."""
    cube = Plane(lambda x: x**3, lambda x: np.diag(3 * x**2))
    assert solve_newton(cube, np.array([1.0])).reason == "the residual fell below the tolerance"
    limited = solve_newton(cube, np.array([1.0]), max_iterations=3)
    assert limited.reason == "the iteration limit was reached" and not limited.converged and len(limited.residuals) == 4
    hill = Plane(lambda x: 1 + x**2, lambda x: np.diag(2 * x))
    for start in (0.0, 0.8):
        stuck = solve_newton(hill, np.array([start]))
        assert "local minimum" in stuck.reason and not stuck.converged
        assert stuck.residuals[-1] == pytest.approx(1.0, abs=1e-6)
    broken = solve_newton(Plane(np.log, lambda x: np.diag(1 / x)), np.array([np.inf]))
    assert broken.reason == "the residual became infinite or NaN"
    wrong = Plane(lambda x: x, lambda x: -np.eye(1))  # every step leads uphill
    assert solve_newton(wrong, np.ones(1)).reason == "the line search found no smaller residual"
    coarse = solve_newton(wrong, np.ones(1), line_search=LineSearch(shortest=0.5))
    assert coarse.residuals == (1.0,)


def test_a_step_out_of_the_domain_is_shortened():
    """log x = 0 from x = 20: the first step leads to x < 0, where the logarithm is NaN.  Fails if that ends the run."""
    with np.errstate(invalid="ignore"):
        run = solve_newton(Plane(np.log, lambda x: np.diag(1 / x)), np.array([20.0]))
    assert run.converged and run.solution[0] == pytest.approx(1.0, rel=1e-13)
