# SPDX-License-Identifier: MIT
"""Discretization errors of the objective by dual weights, against closed forms and much finer levels."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
from mesh_files import save
from optima import ALPHA, MU, RHO, closed_form_value
from problems import MOVING_KERNELS, make_domain, make_problem

import fem_selection as fs
from fem_selection.cases.levels import finer_case
from fem_selection.config import Case, parse_case
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import InvalidInput
from fem_selection.learning import LearningProblem, prolong_controls
from fem_selection.learning.discretization_error import estimate_in_depth, estimate_in_width, width_order
from fem_selection.settings import DomainSettings

R_0 = float(np.sqrt(9 / 8))
CLOSED_FORM = {
    "domain": {"shape": "interval", "cells": 8},
    "dynamics": {"activation": "identity", "kernel": "0.1", "layers": 10},
    "data": {"initial": "1 + sin(2*pi*y)/2", "target": f"{RHO / R_0!r}*(1 + sin(2*pi*y)/2)"},
    "objective": {"loss": "tracking", "weight": MU, "controls": ["kernel", "bias"]},
    "regularization": {"kernel": ALPHA, "bias": ALPHA},
    "optimizer": {"method": "ntr", "gradient_tolerance": 1e-9, "max_iterations": 100},
}
TANH = {
    **CLOSED_FORM,
    "dynamics": {"kernel": "0.1", "layers": 4},
    "data": {"initial": "cos((1 + s)*y)", "target": "1.5*sin(2*y + s)", "samples": 4},
    "regularization": {"kernel": 0.05, "bias": 0.05},
}


STRONG = fs.Regularization(kernel=0.2, bias=0.2, readout=0.2)


def case_of(tables: dict, *, changes: dict | None = None) -> Case:
    """The case of some tables, with some keys of them changed."""
    return parse_case({**tables, **{name: {**tables.get(name, {}), **keys} for name, keys in (changes or {}).items()}})


def solve(case: Case) -> tuple[LearningProblem, float, np.ndarray]:
    """The problem, its optimal value and its optimal controls."""
    problem = fs.build_problem(case)
    report = fs.minimize(problem.scaled_functional, problem.scaled_start, case.optimizer)
    assert report.converged, report.reason
    return problem, report.objective, problem.scaled_functional.to_controls(report.scaled_solution)


def classifier(cells: int = 4, layers: int = 4) -> LearningProblem:
    """Five waves of three classes on a square, two control intervals, Heun's scheme; it knows its finer mesh."""
    space = StateSpace(make_domain("quadrilateral", cells))
    made = make_problem(space, scheme="heun", layers=layers, intervals=2, activation="softplus", regularization=STRONG)
    return LearningProblem.from_functional(made.functional, finer=lambda: classifier(2 * cells, layers))


@cache
def trained_classifier() -> tuple[LearningProblem, np.ndarray]:
    """The problem and its stationary controls."""
    problem = classifier()
    start = np.zeros_like(problem.scaled_start)
    report = fs.minimize(problem.scaled_functional, start, fs.OptimizerSettings(method="ntr", gradient_tolerance=1e-7))
    assert report.converged, report.reason
    return problem, problem.scaled_functional.to_controls(report.scaled_solution)


def limit_at(problem: LearningProblem, controls: np.ndarray, others: list[LearningProblem], order: int) -> float:
    """J at the same functions of t and y, extrapolated from two finer levels."""
    spaces = [p.functional.control_space for p in (problem, *others)]
    moved = [prolong_controls(spaces[0], space, controls) for space in spaces[1:]]
    coarse, fine = (other.functional.evaluate(x)[0] for other, x in zip(others, moved, strict=True))
    return fine + (fine - coarse) / (2**order - 1)


@pytest.mark.parametrize("layers", [5, 20])
def test_depth_against_the_closed_form(layers):
    """Fails if local errors are weighted by costates of other layers, or extrapolated with another order.

    The true error is that of the optimal value, 12 % and 5 % of it at these numbers of layers.
    """
    problem, value, controls = solve(case_of(CLOSED_FORM, changes={"dynamics": {"layers": layers}}))
    found = estimate_in_depth(problem.functional, controls)
    true = value - closed_form_value(R_0)
    assert found.order == 1 and found.error == pytest.approx(true, rel=2 / layers)
    assert abs(found.error - true) < found.spread and found.why_not_of_value is None


def test_width_against_optimal_values():
    """Fails if the penalty, the targets or the quadrature of the finer mesh are left out: each is larger than the sum.

    The limit is extrapolated from optimal values, the controls of each mesh its own.
    """
    (problem, value, controls), *finer = (
        solve(case_of(TANH, changes={"domain": {"cells": cells}})) for cells in (8, 16, 32)
    )
    (_, coarse, _), (_, fine, _) = finer
    found = estimate_in_width(problem, controls)
    true = value - (fine + (fine - coarse) / 3)
    assert found.order == 2 and 0.8 < found.error / true < 1.25
    assert abs(found.penalty) > abs(found.error) and found.why_not_of_value is None


def test_depth_of_a_classifier():
    """Fails if the readout's derivative, the stages of Heun's scheme or the control intervals are others."""
    problem, controls = trained_classifier()
    found = estimate_in_depth(problem.functional, controls)
    value = problem.functional.evaluate(controls)[0]
    true = value - limit_at(problem, controls, [classifier(layers=n) for n in (32, 64)], 2)
    assert found.order == 2 and 0.8 < found.error / true < 1.25


def test_width_of_a_classifier():
    """Fails if the terms of the readout on the two meshes are not those of the loss, or quadrilaterals are mixed up."""
    problem, controls = trained_classifier()
    found = estimate_in_width(problem, controls)
    value = problem.functional.evaluate(controls)[0]
    true = value - limit_at(problem, controls, [classifier(cells) for cells in (8, 16)], 2)
    assert found.order == 2 and 0.8 < found.error / true < 1.25


@pytest.mark.parametrize("parameter", ["depth", "width"])
def test_terms_add_up(parameter):
    """Fails if a term is lost on the way to layers, to the coarse mesh or to cells, or the spread is another."""
    problem, controls = trained_classifier()
    found = estimate_in_depth(problem.functional, controls)
    if parameter == "width":
        found = estimate_in_width(problem, controls)
    assert sum(found.by_layer) + found.final + found.penalty == pytest.approx(found.error, rel=1e-12)
    assert found.by_cell.shape == (16,) and found.by_cell.sum() == pytest.approx(found.error, rel=1e-12)
    assert found.error == pytest.approx(-4 / 3 * found.weighted_difference, rel=1e-14)
    assert found.spread == pytest.approx(8 / 3 * abs(found.weighted_difference - found.measured_difference))
    assert found.weighted_difference == pytest.approx(found.measured_difference, rel=2e-3)


ORDERS = [
    ({"mode": "galerkin"}, 2),
    ({"degree": 2}, 4),
    ({"degree": 2, "mode": "galerkin"}, 4),
    ({"family": "dg", "degree": 0}, 2),
]


def test_the_order_in_width_of_elements():
    """Fails if simplices of degree two are given the order of Gauß–Lobatto–Legendre nodes, or others are not."""
    triangles, squares = (make_domain(cell, 2) for cell in ("triangle", "quadrilateral"))
    assert [width_order(StateSpace(triangles)), width_order(StateSpace(triangles, 0, "dg"))] == [2, 2]
    assert width_order(StateSpace(triangles, 2, mode="galerkin")) == 3
    assert [width_order(StateSpace(squares, p)) for p in (1, 2, 3)] == [2, 4, 6]


@pytest.mark.slow
@pytest.mark.parametrize(("space", "order"), ORDERS, ids=str)
def test_width_on_other_elements(space, order):
    """Fails if the order in width is another for these elements, or masses are applied where they are not diagonal.

    Data that no mesh resolves, as cells of DG0 do not, are carried by the initial states and targets of the finer mesh.
    """
    made = {n: case_of(TANH, changes={"domain": {"cells": n}, "space": space}) for n in (8, 16, 32, 64)}
    problem, value, controls = solve(made[8])
    found = estimate_in_width(problem, controls)
    true = value - limit_at(problem, controls, [fs.build_problem(made[n]) for n in (32, 64)], order)
    assert found.order == order and 0.7 < found.error / true < 1.4
    assert (found.why_not_of_value is None) == (space == {"degree": 2})
    other, _, others = solve(made[16])
    finer = estimate_in_width(other, others)
    assert abs(np.log2(found.measured_difference / finer.measured_difference) - order) < 0.5
    assert finer.weighted_difference == pytest.approx(finer.measured_difference, rel=0.1)


@pytest.mark.slow
def test_increments_are_carried_to_the_finer_mesh():
    """Fails if states or costates are interpolated without the data of the finer mesh, which DG0 interpolates badly."""
    problem, _, controls = solve(case_of(TANH, changes={"space": {"family": "dg", "degree": 0}}))
    found = estimate_in_width(problem, controls)
    assert found.weighted_difference == pytest.approx(found.measured_difference, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["midpoint", "ssprk3", "rk4", "implicit_euler", "crank_nicolson"])
def test_depth_by_other_schemes(scheme):
    """Fails if two steps of half the size are not those of the scheme; the order is the declared one."""
    at = [
        case_of(TANH, changes={"dynamics": {"scheme": scheme, "control_intervals": 2, "layers": n}})
        for n in (8, 32, 64)
    ]
    problem, value, controls = solve(at[0])
    found = estimate_in_depth(problem.functional, controls)
    true = value - limit_at(problem, controls, [fs.build_problem(case) for case in at[1:]], found.order)
    smallest = 0.45 if scheme == "implicit_euler" else 0.7
    assert smallest < found.error / true < 1.4


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["euler", "implicit_euler"])
def test_the_spread_of_first_order_schemes_is_what_is_left_out(scheme):
    """Fails if the spread is not the distance to the true error up to higher order; the next order is large here."""
    dynamics = {"scheme": scheme, "control_intervals": 2}
    at = [case_of(TANH, changes={"dynamics": dynamics | {"layers": n}}) for n in (32, 128, 256)]
    problem, value, controls = solve(at[0])
    found = estimate_in_depth(problem.functional, controls)
    true = value - limit_at(problem, controls, [fs.build_problem(case) for case in at[1:]], 1)
    assert abs(found.error - true) == pytest.approx(found.spread, rel=0.1)


def test_only_a_layer_that_errs_has_a_share():
    """Fails if residuals go to another layer: without a kernel the rate is constant, and has no error."""
    problem = fs.build_problem(case_of(TANH))
    control_space = problem.functional.control_space
    local = np.ones(control_space.local_size)
    kernel = control_space.unpack(local)["kernel"].reshape(4, -1)
    kernel[[0, 1, 3]] = 0.0
    found = estimate_in_depth(problem.functional, local[control_space.shard])
    others = [abs(found.by_layer[n]) for n in (0, 1, 3)]
    assert abs(found.by_layer[2]) > 1e-3 and max(others) < 1e-15


def test_cells_at_a_front_have_the_largest_shares():
    """Fails if terms of nodes go to cells elsewhere: data vary near y = 0.9 alone, between the cells 8 and 9 of ten."""
    front = {"initial": "1/(1 + exp(60*(0.9 - y)))", "target": "0*y", "samples": 1}
    changes = {"domain": {"cells": 10}, "dynamics": {"kernel": "2"}, "data": front}
    problem = fs.build_problem(case_of(TANH, changes=changes))
    found = estimate_in_width(problem, problem.scaled_functional.to_controls(problem.scaled_start))
    mesh = problem.space.domain.mesh
    middles = mesh.geometry.x[mesh.geometry.dofmaps[0], 0].mean(axis=1)
    shares = np.abs(found.by_cell[np.argsort(middles)])
    assert np.argmax(shares) in (8, 9) and shares[:6].max() < 0.2 * shares.max()


def test_what_is_declined(tmp_path):
    """Fails if a mesh that cannot be refined passes for a fine one, or a moving kernel is given a number.

    What a sweep measures is told of moving kernels all the same, and the controls are left as they were.
    """
    problem, controls = trained_classifier()
    found = estimate_in_width(dataclasses.replace(problem, finer=None), controls)
    assert found.error is None and found.spread is None and "on its own mesh alone" in found.declined
    with pytest.raises(InvalidInput, match="the mesh of a file is not refined"):
        finer_case(dataclasses.replace(case_of(TANH), domain=DomainSettings(file=str(save(tmp_path, "two_22.msh")))))
    of_two = {"initial": "y0", "target": "y1"}
    with pytest.raises(InvalidInput, match="one grading"):
        finer_case(
            case_of(TANH, changes={"domain": {"shape": "rectangle", "cells": [2, 3], "grading": 2.0}, "data": of_two})
        )
    with pytest.raises(InvalidInput, match="random kernel"):
        finer_case(parse_case({"objective": {"controls": ["bias"]}}))
    space = StateSpace(make_domain("interval", 6))
    made = make_problem(space, kernel=MOVING_KERNELS["representer"](space, 2))
    x = made.moved()
    value, dual = made.functional.evaluate(x)
    moving = estimate_in_depth(made.functional, x)
    assert moving.error is None and "moves with the states" in moving.declined
    other = make_problem(space, kernel=MOVING_KERNELS["representer"](space, 2), layers=8)
    assert moving.measured_difference == pytest.approx(other.functional.evaluate(x)[0] - value, rel=1e-9)
    again, same = made.functional.evaluate(x)
    assert again == value and np.array_equal(same, dual)


def test_finer_meshes_bisect_graded_cells():
    """Fails if the nodes of a graded mesh are not among those of the finer one."""
    case = case_of(TANH, changes={"domain": {"cells": 5, "grading": 7.0}})
    coarse, fine = (np.sort(fs.build_problem(c).space.coordinates[:, 0]) for c in (case, finer_case(case)))
    assert fine[::2] == pytest.approx(coarse, abs=1e-13) and len(fine) == 11


def test_the_certificate_tells_of_it(tmp_path):
    """Fails if table, verdict or file lack the estimates or their spreads."""
    problem, _, controls = solve(case_of(CLOSED_FORM, changes={"dynamics": {"layers": 4}}))
    report = fs.studies.certify(problem, controls, fs.CertificateSettings(starts=1, eigenvalue_tolerance=1e-2))
    rows = {row[1]: row[2] for row in report.rows}
    assert "no bound" in rows["error in depth"] and "order 2" in rows["error in width"]
    assert any("limit of infinitely many layers" in sentence for sentence in report.verdict)
    kept = report.as_dict()["discretization"]
    assert kept["depth"]["by_layer"] == pytest.approx(report.discretization[0].by_layer)
    assert kept["depth"]["spread"] == report.discretization[0].spread and "by_cell" not in kept["width"]
