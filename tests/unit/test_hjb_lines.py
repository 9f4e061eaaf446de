# SPDX-License-Identifier: MIT
"""Single lines of the value function's parts, beside a closed form, brute force, or numbers that a fake returns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import ufl
from mpi4py import MPI

from fem_selection.cases.learning import build_problem
from fem_selection.config import load_case
from fem_selection.errors import InvalidInput, NonFinite
from fem_selection.functions.activations import Activation, find_activation
from fem_selection.hjb import (
    Grid,
    ReducedProblem,
    ValueFunction,
    reduction,
    refine,
    refinement,
    solve_by_dynamic_programming,
    solve_value,
)
from fem_selection.hjb.scalar import ScalarMinimizer
from fem_selection.hjb.scheme import ViscousScheme
from fem_selection.studies import value_function as study

COMM = MPI.COMM_SELF
DEMO = Path(__file__).resolve().parents[2] / "demos" / "hjb.toml"


def problem_of(activation: Activation, cells: int, samples: int, *, horizon: float = 1.0) -> ReducedProblem:
    """A reduced problem with areas that are not one and states that are not alike."""
    count = cells * samples
    return ReducedProblem(
        activation=activation,
        areas=np.linspace(0.25, 0.4, cells),
        initial=np.linspace(0.2, 0.7, count).reshape(cells, samples),
        targets=np.linspace(-0.5, 0.3, count).reshape(cells, samples),
        alpha_kernel=0.5,
        alpha_bias=2.0,
        horizon=horizon,
        weight=3.0,
    )


# ── dynamic programming ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("cells", "samples"), [(1, 1), (2, 1), (1, 2)])
def test_one_step_of_dynamic_programming(cells, samples):
    """Fails if the running cost lacks the area, with several samples too, or if the search ends before the slope of σ
    is counted: for σ = 3 s and V(T, x) = ξ·x one short step from a node inside is V + Δt H, with
    H = −½ 9 Σ_i a_i p_iᵀ Γ p_i, p_i = ξ_i / a_i."""
    problem = problem_of(Activation(name="steep", expression=lambda s: 3.0 * s), cells, samples, horizon=1e-4)
    n = problem.dimension
    xi = np.array([0.8, -1.3])[:n]
    grid = Grid.uniform([-1.0] * n, [1.0] * n, 4)
    found = solve_by_dynamic_programming(problem, grid, 1, comm=COMM, terminal=lambda x: x @ xi).values
    x = grid.nodes
    states, p = x.reshape(-1, cells, samples), xi.reshape(cells, samples) / problem.areas[:, None]
    gamma = np.einsum("nij,nik,i->njk", states, states, problem.areas) / 0.5 + 1 / 2.0
    H = -0.5 * 9.0 * np.einsum("ij,njk,ik,i->n", p, gamma, p, problem.areas)
    inside = np.all(np.abs(x) < 0.9, axis=1)
    change = (found[0].ravel() - found[1].ravel()) / problem.horizon
    np.testing.assert_allclose(change[inside], H[inside], rtol=2e-3)


# ── Hamiltonian ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shift", [2.0, -2.0])
def test_both_branches_at_a_jump(shift):
    """Fails if one of the two branches is never chosen beside a jump of s*: for σ(s) = tanh(4 (s − 2)) and κ < −1.6 the
    minimum is beyond s = 2, and near 0 else; with the other sign the same for κ > 1.6.  Brute force over s at points of
    the table's interval in which s* jumps."""
    sigma = Activation(name="step", expression=lambda s: ufl.tanh(4.0 * (s - shift)))
    minimizer = ScalarMinimizer(sigma)
    points, values = minimizer._points, minimizer._values
    jumps = np.flatnonzero((np.abs(np.diff(values)) > 1.0) & (np.abs(points[:-1]) < 5.0))
    assert len(jumps) == 1
    kappa = np.linspace(points[jumps[0]], points[jumps[0] + 1], 41)
    s = np.linspace(-6.0, 6.0, 120001)
    value = np.empty_like(s)
    sigma.value(s, value)
    brute = np.array([np.min(k * value + 0.5 * s * s) for k in kappa])
    found = minimizer(kappa)
    at = np.empty_like(found)
    sigma.value(found, at)
    assert np.max(kappa * at + 0.5 * found**2 - brute) < 1e-9
    assert {True, False} == set((np.abs(found) > 1.0).tolist())  # on both sides of the jump


@pytest.mark.parametrize(("cells", "samples"), [(1, 1), (1, 3), (3, 1)])
def test_terminal_cost_is_a_mean_over_the_samples(rng, cells, samples):
    """Fails if the sum over the samples is not divided by their number, or an area or μ is missing."""
    problem = problem_of(find_activation("tanh"), cells, samples)
    x = rng.normal(size=(4, cells * samples))
    expected = [
        3.0 / samples * sum(0.5 * problem.areas @ (y.reshape(cells, samples) - problem.targets)[:, j] ** 2
        for j in range(samples))
        for y in x
    ]  # fmt: skip
    np.testing.assert_allclose(problem.terminal_cost(x), expected, rtol=1e-13)


# ── steps of the value function ───────────────────────────────────────────────────────────────────────────────────────


def test_policies_start_afresh_again_and_again(monkeypatch):
    """Fails if the minimisation tries all starts in the first step only, so that a policy stays in a basin that has
    become the worse one: of any three steps one has a fresh start."""
    asked: list[bool] = []
    steps: list[int] = []
    original, bounds = ReducedProblem.hamiltonian, ViscousScheme.bounds

    def hamiltonian(self, x, xi, warm=None):
        asked.append(warm is None)
        return original(self, x, xi, warm)

    def count(self):
        steps.append(len(asked))
        return bounds(self)

    monkeypatch.setattr(ReducedProblem, "hamiltonian", hamiltonian)
    monkeypatch.setattr(ViscousScheme, "bounds", count)
    problem = problem_of(find_activation("tanh"), 1, 2)
    found = solve_value(problem, Grid.uniform([-1.0, -1.0], [1.0, 1.0], 6), 3, comm=COMM)
    assert found.steps == len(steps) >= 6
    fresh = [asked[k - 1] for k in steps]  # the minimisation at the beginning of each step
    assert all(any(fresh[k : k + 3]) for k in range(len(fresh) - 2))


def test_the_largest_outflow_is_reported(monkeypatch):
    """Fails if the outflow of the last step is reported, or that of the first one: it rises to 0.5 and falls again."""
    shares, times = iter([0.1, 0.5, 0.2, 0.3] + [0.0] * 1000), []
    bounds = ViscousScheme.bounds

    def scripted(self):
        times.append(next(shares))
        return bounds(self)[0], times[-1]

    monkeypatch.setattr(ViscousScheme, "bounds", scripted)
    problem = problem_of(find_activation("tanh"), 1, 1)
    found = solve_value(problem, Grid.uniform([-1.0], [1.0], 16), 5, comm=COMM)
    assert found.outflow_share == 0.5
    assert 0.0 < found.outflow_time < problem.horizon


def test_refinement_of_known_values(monkeypatch):
    """Fails if an error is a third of what it should be, or the extrapolation has other weights: V_h = 2 + 3 h²."""

    def fake(problem, grid, snapshots, *, comm=None):
        values = np.full((2, *grid.shape), 2.0 + 3.0 / grid.cells[0] ** 2)
        times = np.array([0.0, problem.horizon])
        return ValueFunction(grid=grid, times=times, values=values, steps=1, outflow_share=0.0, outflow_time=0.0)

    monkeypatch.setattr(refinement, "solve_value", fake)
    problem = problem_of(find_activation("tanh"), 1, 1)
    found = refine(problem, Grid.uniform([-1.0], [1.0], 40), levels=3, comm=COMM)
    error = 3.0 / 40**2
    assert found.extrapolated == pytest.approx(2.0, abs=1e-14)
    assert found.extrapolated_error == pytest.approx(error)
    assert found.error_estimate == pytest.approx(3.0 * error)
    assert found.orders[0] == pytest.approx(2.0) and found.extrapolated_declined is None
    np.testing.assert_allclose(found.improved.values, 2.0, atol=1e-14)


def test_where_kappa_is_not_finite_there_is_no_minimizer():
    """Fails if a κ that is NaN or infinite ends in an index beyond the table, or changes the entries beside it."""
    minimizer = ScalarMinimizer(find_activation("tanh"))
    kappa = np.array([[0.3, np.nan, -2.0], [np.inf, -np.inf, 5.0]])
    found = minimizer(kappa)
    np.testing.assert_array_equal(np.isnan(found), ~np.isfinite(kappa))
    np.testing.assert_array_equal(found[np.isfinite(kappa)], minimizer(np.array([0.3, -2.0, 5.0])))


# ── open loop ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_best_open_loop_comes_first(monkeypatch):
    """Fails if the worst of the optimizations is reported as the best, or if a path belongs to another objective: the
    biases are the fake optimizations' own numbers, and the paths move by them."""
    settings = ("domain.cells=1", "dynamics.activation=identity", "objective.controls=['bias']", "dynamics.layers=4")
    problem = build_problem(load_case(DEMO, settings), COMM)
    reduced = ReducedProblem.from_functional(problem.functional)
    objectives = iter([0.7, 0.2, 0.9])

    def fake(functional, start, settings, *, observe, stop):
        observe(SimpleNamespace(gradient_norm=1.0, evaluations=1))
        objective = next(objectives)
        return SimpleNamespace(
            objective=objective,
            scaled_solution=functional.to_scaled(np.full(start.size, objective)),
            gradient_norm=objective,
            evaluations=7,
            stopped=stop(),
            reason="it was tired",
        )

    monkeypatch.setattr(study, "minimize", fake)
    found, loops, declined = study._optimize(problem, reduced, 2, 0)
    assert found == (0.2, 0.7, 0.9)
    assert declined == "7 evaluations left a gradient of 2.0e-01 of its first norm; it was tired"
    ends = [loop.states[-1, 0] - reduced.start[0] for loop in loops]
    np.testing.assert_allclose(ends, reduced.horizon * np.array(found), rtol=1e-12)


def test_a_start_without_states_is_left_out(monkeypatch):
    """Fails if one random start whose states overflow takes the other starts' optima with it, or if none is missed
    when all overflow."""
    settings = ("domain.cells=1", "dynamics.activation=identity", "objective.controls=['bias']", "dynamics.layers=4")
    problem = build_problem(load_case(DEMO, settings), COMM)
    reduced = ReducedProblem.from_functional(problem.functional)

    def fake(ends):
        def run(functional, start, settings, *, observe, stop):
            if (objective := next(ends)) is None:
                raise NonFinite("the state")
            solution = functional.to_scaled(np.zeros(start.size))
            return SimpleNamespace(objective=objective, scaled_solution=solution, gradient_norm=0.0)

        return run

    for given in ([0.7, None, 0.2], [None, 0.2, 0.7], [0.2, 0.7, None]):
        monkeypatch.setattr(study, "minimize", fake(iter(given)))
        assert study._optimize(problem, reduced, 2, 0)[0] == (0.2, 0.7)
    monkeypatch.setattr(study, "minimize", fake(iter([None, None, None])))
    with pytest.raises(NonFinite):
        study._optimize(problem, reduced, 2, 0)


def test_an_open_loop_near_a_fold_ends():
    """Fails if an optimization that climbs after a failed line search goes on for its two thousand iterations, fifty
    evaluations each, or passes for an optimum: two implicit layers, whose stages end at a fold, so that J jumps."""
    settings = ("domain.cells=1", "dynamics.activation=tanh", "objective.controls=['kernel', 'bias']")
    settings += ("dynamics.scheme=implicit_euler", "dynamics.layers=2", "dynamics.horizon=1.0", "data.samples=2")
    settings += ("data.initial=(1e-3)**2", "data.target=atan(tanh(s))", "objective.weight=0.1")
    settings += ("regularization.kernel=0.0001", "regularization.bias=7.110973571417442", "parameters.a=-0.64")
    problem = build_problem(load_case(DEMO, settings), COMM)
    report, declined = study._optimize_one(problem.scaled_functional, problem.scaled_start)
    assert report.evaluations < 1000 and not report.stopped
    assert declined is not None and "no lower objective" in declined


@pytest.mark.parametrize(
    ("activation", "reason"), [("s**2", "grows without bound"), ("exp(s) - 1", "grows"), ("sign(s)", "σ jumps by 2")]
)
def test_hamiltonians_without_minimum_are_refused(activation, reason):
    """Fails if V is computed although the Hamiltonian falls without bound, or has an infimum only."""
    problem = build_problem(load_case(DEMO, ("domain.cells=1", f"dynamics.activation='{activation}'")), COMM)
    with pytest.raises(InvalidInput, match=reason):
        ReducedProblem.from_functional(problem.functional)


def test_minimisers_from_all_starts_do_not_depend_on_how_many_go_together(monkeypatch, rng):
    """Fails if the best of the starts is taken from another row, or a start is left out where they go in parts."""
    problem = replace(problem_of(find_activation("tanh"), 1, 2), alpha_bias=0.1)
    x, xi = rng.normal(size=(20, 2)), 3.0 * rng.normal(size=(20, 2))
    together = problem.hamiltonian(x, xi)[0]
    monkeypatch.setattr(reduction, "_TOGETHER", 40)
    in_parts = problem.hamiltonian(x, xi)[0]
    np.testing.assert_allclose(in_parts, together, atol=1e-9)
    alone = [problem.hamiltonian(x[k : k + 1], xi[k : k + 1])[0][0] for k in range(20)]
    np.testing.assert_allclose(alone, together, atol=1e-9)
    grid = np.linspace(-12.0, 12.0, 481)
    c = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)  # (√α_w a w, √α_b b), by brute force
    for k in range(3):
        values = np.tanh(c @ problem.features(x[k : k + 1])[0]) @ (xi[k] / problem.areas[0]) + 0.5 * (c**2).sum(axis=1)
        assert together[k] == pytest.approx(problem.areas[0] * values.min(), abs=1e-2)
        assert together[k] <= problem.areas[0] * values.min() + 1e-9
