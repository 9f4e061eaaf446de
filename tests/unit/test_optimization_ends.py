# SPDX-License-Identifier: MIT
"""The ends of an optimization: a start without a gradient, bounds all around, faults of TAO, slopes without bound."""

from __future__ import annotations

from typing import Any

import pytest

import fem_selection as fs
from fem_selection.config import Case, parse_case
from fem_selection.errors import NonFinite
from fem_selection.optimize import OptimizationReport, StochasticReport, approximate_successively, descend, minimize
from fem_selection.settings.names import BOUNDED, PONTRYAGIN, TAO


def case(activation: str, method: str = "lmvm", **tables: dict[str, Any]) -> Case:
    """Two states on three cells that are to become 1 in two layers, from the kernel and bias 0."""
    return parse_case(
        {
            "domain": {"shape": "interval", "cells": 3},
            "dynamics": {"activation": activation, "layers": 2, "kernel": "0", **tables.get("dynamics", {})},
            "data": {"initial": "y + s", "target": "1", "samples": 2, **tables.get("data", {})},
            "objective": {"loss": "tracking", **tables.get("objective", {})},
            "optimizer": {"method": method, "max_iterations": 5, **tables.get("optimizer", {})},
            "regularization": tables.get("regularization", {}),
            "stochastic": {"epochs": 4, "batch": 1, **tables.get("stochastic", {})},
        }
    )


def run(of: Case, **more: Any) -> OptimizationReport:
    """The phase on all samples."""
    problem = fs.build_problem(of)
    optimize = approximate_successively if of.optimizer.method in PONTRYAGIN else minimize
    given = {"scaled_bounds": problem.scaled_bounds, **more}
    return optimize(problem.scaled_functional, problem.scaled_start, of.optimizer, **given)


def run_batches(of: Case, **more: Any) -> StochasticReport:
    """The phase on mini-batches."""
    problem = fs.build_problem(of)
    source = problem.batches(of.stochastic.batch, problem.hold_out(0.0, 1)[0])
    return descend(problem.scaled_functional, problem.scaled_start, of.stochastic, source=source, **more)


@pytest.mark.parametrize("method", TAO)
@pytest.mark.parametrize("activation", ["relu", "s**3", "1"])
def test_a_start_without_a_gradient_is_no_convergence(activation: str, method: str) -> None:
    """Fails if 0 ≤ 1e-5 · 0 counts as a gradient that fell."""
    found = run(case(activation, method))
    assert not found.converged and found.iterations == 0
    assert "zero at the start" in found.reason and "dynamics.kernel" in found.reason and "--starts" in found.reason


@pytest.mark.parametrize("method", ["damped_msa", "sqh"])
def test_the_maximum_principle_tells_a_minimum_from_a_flat_start(method: str) -> None:
    """Fails if these methods call a start with an open gap converged, or one with a closed gap not converged."""
    flat = run(case("s**3", method))
    assert flat.iterations > 0 or (not flat.converged and "zero at the start" in flat.reason)
    constant = run(case("1", method))
    assert (
        constant.converged
        and constant.reason == "the gradient is zero, and the gap of the maximum principle is closed there"
    )


@pytest.mark.parametrize("method", ["adam", "momentum"])
def test_batches_without_a_gradient_end_the_phase(method: str) -> None:
    """Fails if epochs go by in which no step moves the controls, and the report calls them done."""
    found = run_batches(case("relu", stochastic={"method": method}))
    assert found.epochs == 1 and "every mini-batch of an epoch was zero" in found.reason
    moved = run_batches(case("tanh", stochastic={"method": method}))
    assert moved.epochs == 4 and moved.reason == "all epochs were done"


@pytest.mark.parametrize("method", BOUNDED)
def test_a_gradient_that_points_out_of_the_bounds_is_convergence(method: str) -> None:
    """Fails if the vertex of a box, at which every component of the gradient is held by a bound, is called flat."""
    bounds = {"controls": ["bias"], "bias_bounds": [-1.0, 0.0]}
    found = run(case("tanh", method, objective=bounds, data={"target": "5"}))
    assert found.converged and "points out of the bounds" in found.reason


@pytest.mark.parametrize("method", BOUNDED)
@pytest.mark.parametrize("tolerance", [0.0, 1e-5])
def test_a_box_that_holds_almost_everything(method: str, tolerance: float) -> None:
    """Fails if PETSc crashes where all variables are at bounds, or if the better point that `bntr` met while it chose
    its radius is lost: its first value is then reported as the result."""
    bounds = {"kernel_bounds": [0.0, 1e-9], "bias_bounds": [-0.1, 0.1]}
    tolerances = {"gradient_tolerance": tolerance, "absolute_tolerance": 0.0}
    of = case("tanh", method, objective=bounds, optimizer=tolerances, dynamics={"kernel": "0.3*y*z"})
    rows = []
    found = run(of, observe=rows.append)
    assert found.converged and found.objective < 0.154 < rows[0].objective
    assert [row.iteration for row in rows] == list(range(len(rows)))
    assert found.objective == min(row.objective for row in rows)


@pytest.mark.parametrize(
    ("method", "options", "weight", "words"),
    [
        ("lmvm", {"tao_ls_ftol": 1.0}, 1e-4, "does not point downhill"),
        ("blmvm", {"tao_ls_ftol": 1.0}, 1e-4, "does not point downhill"),
        ("bqnls", {"tao_ls_ftol": 1.0}, 1e-4, "does not point downhill"),
        ("cg", {"tao_ls_type": "more-thuente", "tao_ls_ftol": 1.0}, 1e-4, "does not point downhill"),
        ("bnls", {}, 1e300, "its direction is zero"),
        ("ntr", {}, 1e300, "its direction is zero"),
    ],
)
def test_a_fault_of_tao_becomes_a_reason(method: str, options: dict[str, Any], weight: float, words: str) -> None:
    """Fails if an error that TAO raises by itself comes out as a traceback, and with it the best iterate is lost."""
    tolerances = {"gradient_tolerance": 0.0, "absolute_tolerance": 0.0}
    of = case(
        "sine",
        method,
        optimizer={"options": options, "max_iterations": 20, **tolerances},
        dynamics={"kernel": "y*z"},
        objective={"controls": ["bias"]},
        regularization={"bias": weight},
    )
    rows, saved = [], []
    found = run(of, observe=rows.append, save=lambda state, vectors: saved.append(state))
    assert "PETSc's TAO broke off in iteration" in found.reason and words in found.reason and not found.converged
    assert found.objective == min(row.objective for row in rows) == saved[-1]["best_objective"]


@pytest.mark.parametrize("activation", ["abs(s)**0.5", "sqrt(s)", "sqrt(s - 0.1)", "ln(s)"])
def test_an_activation_without_value_or_slope_at_the_start_is_named(activation: str) -> None:
    """Fails if the error says only that the gradient or the objective is not finite."""
    with pytest.raises(NonFinite, match=r"in iteration 0: the activation .* has no finite (value|slope) at s = 0"):
        run(case(activation))
    with pytest.raises(NonFinite, match=r"mini-batch is not finite.* in iteration 1: the activation .* at s = 0"):
        run_batches(case(activation))


def test_an_overflow_is_not_blamed_on_the_activation() -> None:
    """Fails if a state that overflows is reported as an activation without a value."""
    with pytest.raises(NonFinite) as error:
        run(case("s**3", dynamics={"kernel": "1e120"}))
    assert "activation" not in str(error.value)
