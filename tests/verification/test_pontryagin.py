# SPDX-License-Identifier: MIT
"""Pontryagin's methods: the closed form, objectives that fall, boxes, readouts, resumed runs, what gradients miss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from optima import (
    SHORT_OF_LAYERS,
    closed_form_problem,
    closed_form_value,
    numpy_neuron,
    one_neuron,
    problem_with_a_gap,
    six_samples,
)
from problems import as_from_a_file, make_problem, observed_orders
from scipy.optimize import minimize as minimize_by_scipy

from fem_selection.errors import InvalidInput, NonFinite
from fem_selection.learning import ScaledFunctional
from fem_selection.learning.readout import optimize_readout
from fem_selection.optimize import approximate_successively, minimize
from fem_selection.settings import OptimizerSettings
from fem_selection.settings.names import PONTRYAGIN

MONOTONE = ("damped_msa", "sqh")
LMVM = OptimizerSettings(max_iterations=100, gradient_tolerance=0.0, absolute_tolerance=1e-8, memory=20)


def solve(scaled: ScaledFunctional, method: str, start=None, bounds=None, **settings):
    """The report of successive approximations, from zero if no start is given, and their history."""
    rows: list = []
    start = np.zeros(scaled.control_space.local_size) if start is None else start
    chosen = OptimizerSettings(method=method, **{"max_iterations": 300, **settings})
    return approximate_successively(scaled, start, chosen, scaled_bounds=bounds, observe=rows.append), rows


@pytest.mark.parametrize("method", [pytest.param(m, marks=pytest.mark.slow) if m == "sqh" else m for m in MONOTONE])
def test_closed_form_value_is_reached(spaces, method):
    """Fails if minimisers, costates or layers do not belong together: first order in Δt against the closed form, and
    the same discrete optimum as LMVM's."""
    space, gaps = spaces("interval", 4, 1), []
    for layers in (4, 8, 16):
        scaled = closed_form_problem(space, layers)
        found, _ = solve(scaled, method, gradient_tolerance=1e-4, gap_every=0)
        assert found.converged, found.reason
        gaps.append(found.objective - closed_form_value(float(space.norm(scaled.functional.initial)[0])))
    assert 0.9 <= observed_orders(gaps, [1 / 4, 1 / 8, 1 / 16])[-1] <= 1.4
    lmvm = OptimizerSettings(max_iterations=300, gradient_tolerance=1e-6, memory=20)
    by_tao = minimize(scaled, np.zeros(scaled.control_space.local_size), lmvm)
    assert found.objective == pytest.approx(by_tao.objective, rel=1e-5)


def test_plain_approximations_converge_where_controls_are_dear(spaces):
    """Fails if `msa` does not go the whole way, or hides that it may diverge: it converges linearly for α = 30, and for
    α = 0.7 leaves the finite numbers, which is reported with the iteration."""
    found, rows = solve(closed_form_problem(spaces("interval", 4, 1), 10, alpha=30.0), "msa", gradient_tolerance=1e-9)
    assert found.converged
    norms = np.array([row.gradient_norm for row in rows])
    assert np.all(norms[2:7] < 0.5 * norms[1:6])
    with pytest.raises(NonFinite, match="iteration"):
        solve(closed_form_problem(spaces("interval", 4, 1), 10), "msa")


@pytest.mark.parametrize("method", MONOTONE)
@pytest.mark.parametrize("loss", ["softmax", "tracking"])
def test_objective_never_rises(spaces, method, loss):
    """Fails if a step is taken that raises the objective, readout included; gap and drift are reported with it."""
    scaled = six_samples(spaces("interval", 3, 2), loss)
    found, rows = solve(scaled, method, max_iterations=25, gradient_tolerance=1e-8)
    objectives = np.array([row.objective for row in rows])
    assert np.all(np.diff(objectives) < 0)
    assert found.objective == objectives[-1]
    assert loss == "softmax" or rows[0].maximum_principle_gap > 100 * rows[-1].maximum_principle_gap > 0
    assert np.isfinite([row.hamiltonian_drift for row in rows]).all()


@pytest.mark.parametrize("scheme", ["heun", "rk4"])
def test_schemes_with_stages(spaces, scheme):
    """Fails if stages are not counted as samples of their own: the stationary point found is one of the functional."""
    scaled = six_samples(spaces("interval", 3, 1), "tracking", scheme)
    found, _ = solve(scaled, "damped_msa", gradient_tolerance=1e-6)
    assert found.converged
    assert scaled.norm(scaled.evaluate(found.scaled_solution)[1]) <= 1.01 * found.gradient_norm


@pytest.mark.parametrize("method", MONOTONE)
def test_boxes_are_kept_and_used(spaces, method):
    """Fails if a bound is crossed on the way, or if the end is no minimiser within the box: as good as BLMVM's, which
    works with projected gradients."""
    scaled = six_samples(spaces("interval", 3, 1), "tracking")
    upper = scaled.to_scaled(np.full(scaled.control_space.local_size, 0.5))
    found, rows = solve(scaled, method, bounds=(-upper, upper), gradient_tolerance=1e-5)
    assert found.converged, found.reason
    assert np.all(np.abs(found.scaled_solution) <= upper * (1 + 1e-12))
    assert np.sum(np.abs(found.scaled_solution) > upper * (1 - 1e-4)) > 3
    blmvm = OptimizerSettings(method="blmvm", max_iterations=500, gradient_tolerance=1e-7, memory=20)
    by_tao = minimize(scaled, np.zeros(len(upper)), blmvm, scaled_bounds=(-upper, upper))
    assert found.objective <= by_tao.objective + 1e-6
    assert rows[-1].objective < rows[0].objective


def test_bounded_readouts_are_refused(spaces):
    """Fails if bounds of the readout are ignored."""
    scaled = six_samples(spaces("interval", 3, 1))
    upper = np.full(scaled.control_space.local_size, np.inf)
    upper[scaled.control_space.slices["readout"]] = 1.0
    with pytest.raises(InvalidInput, match="readout_bounds"):
        solve(scaled, "sqh", bounds=(-upper, upper))


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
@pytest.mark.parametrize("loss", ["softmax", "logistic", "least_squares"])
def test_readout_for_given_final_states_is_optimal(spaces, mode, loss):
    """Fails if the mass matrix, 1/J, μ or the regularization is missing: the reduced gradient's part of the readout
    vanishes, kernel and bias stay as they are."""
    problem = make_problem(spaces("interval", 3, 2, mode), loss=loss)
    f, x = problem.functional, problem.moved()
    final = f.final_states(x)
    y = optimize_readout(f, final, x)
    where = slice(f.control_space.slices["readout"].start, f.control_space.slices["offset"].stop)
    assert np.array_equal(y[: where.start], x[: where.start])
    before, after = f.evaluate(x), f.evaluate(y)
    assert np.linalg.norm(after[1][where]) < 1e-7 * np.linalg.norm(before[1][where])
    assert f.value_at(y, final) == pytest.approx(after[0], rel=1e-13)


@pytest.mark.parametrize("method", PONTRYAGIN)
def test_resumed_run_follows_the_uninterrupted_one(spaces, method):
    """Fails if the weight, the iterate or a counter is not in the checkpoint: bit by bit the same history."""
    scaled = six_samples(spaces("interval", 3, 1), "softmax", horizon=0.2)
    start, settings = np.zeros(scaled.control_space.local_size), OptimizerSettings(method=method, max_iterations=9)
    saved: dict = {}

    def save(state, vectors):
        saved[state["iteration"]] = as_from_a_file(state, vectors)

    whole: list = []
    found = approximate_successively(scaled, start, settings, save=save, observe=whole.append, checkpoint_every=4)
    assert set(saved) == {0, 4, 8, 9}
    rest: list = []
    again = approximate_successively(scaled, start, settings, resume=saved[4], observe=rest.append)
    assert rest == whole[5:]
    assert np.array_equal(again.scaled_solution, found.scaled_solution)
    cold: list = []
    approximate_successively(scaled, saved[4][1]["now"], settings, observe=cold.append)
    assert method != "sqh" or cold[1].objective != whole[5].objective


@pytest.mark.parametrize("method", PONTRYAGIN)
def test_the_principle_leaves_a_stationary_point(method):
    """Fails if minimisations start at the present control only: LMVM ends at 1.2437 with a gradient of 1e-8; from there
    successive approximations reach 1.2126, since the Hamiltonian has a lower minimum elsewhere."""
    scaled = problem_with_a_gap()
    start = scaled.to_scaled(np.full(10, 0.2))
    by_tao = minimize(scaled, start, LMVM)
    assert by_tao.gradient_norm <= 1e-8
    assert by_tao.objective == pytest.approx(1.243742, abs=1e-6)
    settings = {"gradient_tolerance": 0.0, "absolute_tolerance": 1e-8}
    found, rows = solve(scaled, method, scaled.to_scaled(np.full(10, 0.2)), starts=12, **settings)
    assert rows[0].maximum_principle_gap == pytest.approx(0.0419, abs=1e-3)
    assert found.objective == pytest.approx(1.212607, abs=1e-6)
    blind, _ = solve(scaled, method, scaled.to_scaled(np.full(10, 0.2)), starts=1, **settings)
    assert blind.objective == pytest.approx(by_tao.objective, abs=1e-9)


def test_a_stationary_point_is_no_end_where_a_gap_is_open():
    """Fails if a vanishing gradient ends the iteration at once: begun at the stationary point, with tolerances that it
    meets, the method leaves it all the same; with the present control as the only start there is nothing to see."""
    scaled = problem_with_a_gap()
    at = minimize(scaled, scaled.to_scaled(np.full(10, 0.2)), LMVM).scaled_solution
    found, _ = solve(scaled, "damped_msa", at, starts=12, absolute_tolerance=1e-7)
    assert found.converged and found.objective == pytest.approx(1.212607, abs=1e-6)
    blind, rows = solve(scaled, "damped_msa", at, starts=1, absolute_tolerance=1e-7)
    assert blind.converged and len(rows) == 1


def test_the_nearest_minimisers_are_tried_where_the_best_are_far():
    """Fails if damped steps know the best minimisers alone: near the global minimum of a problem of four layers they
    lie so far away that no part of the way lowers J, while the nearest lead to the minimum, which SciPy knows; and if
    that end, stationary with a gap that no step can use, is not called converged."""
    data = {name: SHORT_OF_LAYERS[name] for name in ("initial", "target", "horizon", "alpha")}

    def objective(w: np.ndarray) -> float:
        return float(numpy_neuron(w[:, None], **data)[0])

    best = minimize_by_scipy(objective, [-0.2, -0.2, -0.2, 2.4], method="BFGS", options={"gtol": 1e-9})
    assert best.fun == pytest.approx(0.0431634, abs=1e-7)
    scaled = one_neuron(**SHORT_OF_LAYERS)
    start = scaled.to_scaled(1.05 * best.x)
    found, rows = solve(scaled, "damped_msa", start, starts=12, gradient_tolerance=0.0, absolute_tolerance=1e-7)
    assert rows[0].objective > best.fun + 1e-4
    assert found.objective == pytest.approx(best.fun, abs=1e-10)
    assert found.converged and "no step towards the minimisers lowers the objective" in found.reason


@pytest.mark.parametrize("gap_every", [1, 5])
def test_a_resumed_run_leaves_a_stationary_point_too(gap_every):
    """Fails if a run that is resumed, or whose gap is not measured at every iterate, takes a small gradient for the end
    where a gap is open."""
    scaled, saved = problem_with_a_gap(), {}
    start = scaled.to_scaled(np.full(10, 0.2))
    settings = OptimizerSettings(
        method="sqh", max_iterations=1, gradient_tolerance=10.0, starts=12, gap_every=gap_every
    )
    approximate_successively(scaled, start, settings, save=lambda state, vectors: saved.update({0: (state, vectors)}))
    found = approximate_successively(scaled, start, replace(settings, max_iterations=100), resume=saved[0])
    assert found.objective < 1.2127 and found.converged


def test_the_report_is_of_one_iterate(spaces):
    """Fails if the objective of the best iterate stands beside the gradient of the last, where the approximations jump
    about."""
    scaled = six_samples(spaces("interval", 3, 1), "tracking")
    found, rows = solve(scaled, "msa", scaled.to_scaled(5 * scaled.control_space.random_direction(2)), max_iterations=6)
    assert rows[-1].objective > found.objective
    value, gradient = scaled.evaluate(found.scaled_solution)
    assert (found.objective, found.gradient_norm) == pytest.approx((value, scaled.norm(gradient)), rel=1e-10)


def test_settings_are_refused_by_name(spaces):
    """Fails if a misspelt method runs another one."""
    scaled = six_samples(spaces("interval", 3, 1))
    with pytest.raises(InvalidInput, match="mas"):
        approximate_successively(
            scaled, np.zeros(scaled.control_space.local_size), replace(OptimizerSettings(), method="mas")
        )
