# SPDX-License-Identifier: MIT
"""The study `verify` on a functional that no case file made, and on one whose derivative is wrong."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from mpi4py import MPI
from own_networks import make_classifier, numpy_objective
from problems import KERNELS, MODES, MOVING_KERNELS, make_problem

import fem_selection as fs
from fem_selection.adjoint import backward
from fem_selection.dynamics import stepper as stepper_module
from fem_selection.dynamics.superposition import create_superposition
from fem_selection.learning import Functional, weak_form
from fem_selection.learning.weak_form import measure_weak_form


@pytest.fixture(scope="module")
def problem() -> fs.LearningProblem:
    """The classifier on this process."""
    return make_classifier(MPI.COMM_SELF)


def controls_of(problem: fs.LearningProblem) -> np.ndarray:
    """The controls that a run starts from."""
    return problem.scaled_functional.to_controls(problem.scaled_start)


def test_a_right_gradient_passes(problem):
    """Fails if the judgement asks too much of an exact derivative, or looks at another number than it prints."""
    report = fs.studies.verify(problem.functional, controls_of(problem), seed=1)
    found = report.certificate
    assert report.passed and found.taylor_order == pytest.approx(2.0, abs=0.05)
    assert found.adjoint_identity_error < 1e-13 and found.samples == 15
    assert len(report.rows) == len(found.steps) and report.rows[0][2] == ""
    assert report.rows[1][2] == f"{found.orders[0]:.3f}"
    assert f"{found.taylor_order:.4f}" in report.sentences[0] and "at most 1e-10" in report.sentences[1]


def test_the_gradient_is_that_of_numpy(problem):
    """Fails if what passes is the derivative of another objective: against differences of one by NumPy."""
    x, J = problem.functional.control_space.random_direction(2), problem.functional
    direction = problem.functional.control_space.random_direction(3)
    _, dual = J.evaluate(x)
    slope = (numpy_objective(problem, x + 1e-5 * direction) - numpy_objective(problem, x - 1e-5 * direction)) / 2e-5
    assert dual @ direction == pytest.approx(slope, rel=1e-8)


@pytest.mark.parametrize("factor", [1.001, 0.0])
def test_a_wrong_gradient_fails(problem, monkeypatch, factor):
    """Fails if a derivative that is wrong by a thousandth, or missing, passes."""
    evaluate = Functional.evaluate

    def wrong(self, shard, observe=None):
        value, dual = evaluate(self, shard, observe)
        return value, factor * dual

    monkeypatch.setattr(Functional, "evaluate", wrong)
    report = fs.studies.verify(problem.functional, controls_of(problem))
    assert not report.passed and report.certificate.taylor_order < 1.2
    assert report.as_dict()["passed"] is False


def test_a_wrong_adjoint_fails(problem, monkeypatch):
    """Fails if the adjoint identity does not count beside the order."""
    import fem_selection.learning.verification as module

    monkeypatch.setattr(module, "adjoint_identity_error", lambda *_: 1e-9)
    report = fs.studies.verify(problem.functional, controls_of(problem))
    assert report.certificate.taylor_order > 1.9 and not report.passed


def test_an_objective_that_is_linear_passes():
    """Fails if the absence of an order counts against a derivative that is right to round-off."""
    straight = fs.Activation(name="straight", expression=lambda s: s)
    problem = make_classifier(MPI.COMM_SELF, activation=straight, parts=("bias",))
    functional = problem.functional
    linear = Functional(
        functional.control_space, functional.stepper, fs.TrackingCost(space=problem.space), initial=functional.initial,
        targets=functional.initial, num_samples=15,
        regularization=fs.Regularization(kernel=0.0, bias=0.0, readout=0.0), weight=0.0,
    )  # fmt: skip
    report = fs.studies.verify(linear, controls_of(problem))
    assert report.certificate.is_linear and report.passed
    assert "none, the objective is linear" in report.sentences[0]


def test_the_report_is_kept_and_written(problem, tmp_path):
    """Fails if the report holds a PETSc object, or the file is not what `as_dict` says."""
    report = fs.studies.verify(problem.functional, controls_of(problem))
    again = pickle.loads(pickle.dumps(report))
    path = again.write(tmp_path / "folder", figures=False, comm=MPI.COMM_SELF)
    assert path == tmp_path / "folder" / "verify.json" and [p.name for p in path.parent.iterdir()] == ["verify.json"]
    written = json.loads(path.read_text())
    assert written["passed"] is True and written["taylor_order"] == report.certificate.taylor_order
    assert written.keys() == json.loads(json.dumps(report.as_dict())).keys()


@pytest.mark.parametrize("scheme", ["euler", "heun", "rk4", "crank_nicolson", "implicit_midpoint"])
@pytest.mark.parametrize("kernel", ["dense", "local + separable + dense"])
def test_sweeps_solve_the_assembled_form(spaces, scheme, kernel):
    """Fails if the comparison takes a stage, a weight or a dual of another place, in either mode."""
    for mode in MODES:
        space = spaces("triangle", 2, 1, mode)
        problem = make_problem(space, scheme=scheme, activation="gelu", kernel=KERNELS[kernel](space, 2), horizon=0.3)
        found = measure_weak_form(problem.functional, problem.moved())
        assert found.layers == (0, 2, 3)
        assert found.adjoint > 0.0 and found.largest < 1e-12


@pytest.mark.parametrize("scheme", ["euler", "heun"])
def test_kernels_that_move_solve_it_too(spaces, scheme):
    """Fails if the comparison takes the kernel of another stage, or a tangent without that of the anchors."""
    for mode, kernel in zip(MODES, MOVING_KERNELS.values(), strict=True):
        space = spaces("interval", 4, 1, mode)
        problem = make_problem(space, scheme=scheme, activation="gelu", kernel=kernel(space, 2))
        assert measure_weak_form(problem.functional, problem.moved()).largest < 1e-12


def test_a_sweep_of_another_equation_fails(spaces):
    """Fails if a gradient passes that is exact for another σ than the case has: Taylor's order cannot see that."""
    space = spaces("interval", 4, 1)
    problem = make_problem(space)
    problem.stepper.evaluation = "layers"
    problem.stepper.superposition = create_superposition(fs.SelectionEquation(space, fs.find_activation("sine")))
    report = fs.studies.verify(problem.functional, problem.moved())
    assert report.certificate.taylor_order > 1.9 and report.certificate.adjoint_identity_error < 1e-12
    assert report.weak_form.rate > 1e-4 and not report.passed
    assert "assembled weak form" in report.sentences[2]


@pytest.mark.parametrize("part", ["rate", "tangent", "adjoint", "stage"])
def test_a_wrong_tableau_costate_or_solve_fails(spaces, monkeypatch, part):
    """Fails if the comparison does not notice a weight that is wrong by a millionth, forward, in the tangent or back,
    or such a factor in the linear system of an implicit stage."""
    problem = make_problem(spaces("interval", 4, 1), scheme="implicit_midpoint" if part == "stage" else "heun")
    problem.stepper.evaluation = "layers"
    if part == "rate":
        combine = stepper_module.combine

        def wrong(state, dt, coefficients, *, rates, out):
            combine(state, dt * (1 + 1e-6), coefficients, rates=rates, out=out)

        monkeypatch.setattr(stepper_module, "combine", wrong)
    elif part == "tangent":
        step = weak_form.step_tangent

        def wrong_step(stepper, n, stages, *, slopes, state, kernel, bias):
            return step(stepper, n, stages, slopes=slopes, state=state, kernel=kernel, bias=bias * (1 + 1e-6))

        monkeypatch.setattr(weak_form, "step_tangent", wrong_step)
    elif part == "stage":
        solve = problem.stepper.solver.solve_linear

        def wrong_solve(interval, step, derivative, **named):
            solve(interval, step * (1 + 1e-6), derivative, **named)

        monkeypatch.setattr(problem.stepper.solver, "solve_linear", wrong_solve)
    else:
        mix = backward.mix
        monkeypatch.setattr(backward, "mix", lambda b, *rest, **named: mix(b * (1 + 1e-6), *rest, **named))
    found = measure_weak_form(problem.functional, problem.moved())
    assert getattr(found, part) > 1e-9 and found.largest >= getattr(found, part)


def scaled_after(function, index):
    """The function; then its argument of that number, an array, is made larger by a millionth."""

    def wrong(*given, **named):
        result = function(*given, **named)
        given[index][...] *= 1 + 1e-6
        return result

    return wrong


@pytest.mark.parametrize("fault", ["stages alone", "tangent of states", "first costate", "implicit stage"])
def test_each_part_of_the_comparison_counts(spaces, monkeypatch, fault):
    """Fails if stages are not compared beside layers, a tangent begins at zero, the costate of the initial states is
    left out, or the residual of an implicit stage is."""
    implicit = fault == "implicit stage"
    problem = make_problem(spaces("interval", 4, 1), scheme="implicit_midpoint" if implicit else "heun")
    stepper, part = problem.stepper, "rate"
    stepper.evaluation = "layers"
    if fault == "stages alone":
        combine = stepper_module.combine

        def wrong(state, dt, coefficients, *, rates, out):
            size = 1.0 if coefficients is stepper.scheme.b else 1 + 1e-6
            combine(state, size * dt, coefficients, rates=rates, out=out)

        monkeypatch.setattr(stepper_module, "combine", wrong)
    elif fault == "tangent of states":
        step, part = weak_form.step_tangent, "tangent"

        def wrong_step(*given, state, **named):
            state *= 1 + 1e-6
            return step(*given, state=state, **named)

        monkeypatch.setattr(weak_form, "step_tangent", wrong_step)
    elif fault == "first costate":
        part = "adjoint"
        monkeypatch.setattr(weak_form, "sweep_back", scaled_after(weak_form.sweep_back, 2))
    else:
        solve, part = stepper.solver.solve, "stage"

        def wrong_solve(*given, stage):
            solve(*given, stage=stage)
            stage *= 1 + 1e-6

        monkeypatch.setattr(stepper.solver, "solve", wrong_solve)
    assert getattr(measure_weak_form(problem.functional, problem.moved()), part) > 1e-9
