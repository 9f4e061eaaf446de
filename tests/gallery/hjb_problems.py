# SPDX-License-Identifier: MIT
"""Value functions with known optima: closed forms in one and two variables, boxes that are too small, coarse meshes.

One cell of area |Y| = 1 and the bias alone, σ = id: the best velocity is constant, and

    V(0, x) = ½ (x − g)² / (1/μ + T/α_b)

The same holds for each of several cells, with its area as weight.  For σ = tanh the cost α_b/2 artanh²(v) of a velocity
is convex, so that the best one is constant as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gallery import problem
from scipy.optimize import minimize_scalar

T, MU, ALPHA = 1.0, 4.0, 0.5


def network(
    cells: int,
    initial: str,
    target: str,
    *,
    activation: str = "identity",
    samples: int = 1,
    controls: tuple[str, ...] = ("bias",),
    hjb: dict[str, Any] | None = None,
) -> dict[str, dict[str, Any]]:
    """Tables that change `hjb.toml`: T = 1, μ = 4, α_w = α_b = 1/2."""
    return {
        "domain": {"cells": cells},
        "data": {"samples": samples, "initial": initial, "target": target},
        "dynamics": {"activation": activation, "horizon": T, "layers": 16},
        "objective": {"controls": list(controls), "weight": MU},
        "regularization": {"kernel": ALPHA, "bias": ALPHA},
        "hjb": {"cells": 48, "starts": 1, "snapshots": 21} | (hjb or {}),
    }


def agreeing(answer, optimum: float) -> list[str]:
    """What is said of an optimum: asserts that every number lies within the error that stands beside it."""
    report = answer.report
    assert abs(report.value - optimum) <= report.value_error
    assert abs(report.witness - optimum) <= report.witness_error + report.influence.difference + 1e-3
    if report.extrapolated_declined is None:
        assert abs(report.refinement.extrapolated - optimum) <= report.refinement.extrapolated_error + 1e-3
    assert report.attained >= optimum - 1e-6
    assert report.closed_loop_declined is None and report.closed_loop_cost >= optimum - 1e-3
    return [report.agreement.verdict, report.box_verdict]


def straight(x: np.ndarray | float, g: np.ndarray | float) -> np.ndarray | float:
    """V(0, x) of one cell by the bias, σ = id."""
    return 0.5 * (np.asarray(x) - g) ** 2 / (1.0 / MU + T / ALPHA)


@problem("hjb", demo="hjb.toml", tables=network(1, "0", "1"), says="optimum, all routes agree", route="closed form")
def one_neuron_by_its_bias(answer):
    """Fails if an error bar does not hold the closed form, or routes that agree are said to part."""
    assert answer.report.attained < straight(0.0, 1.0) + 1e-6
    said = agreeing(answer, float(straight(0.0, 1.0)))
    assert said == ["agree", "large enough"]
    return said


@problem("hjb", demo="hjb.toml", tables=network(2, "0", "1 - 3*y", hjb={"cells": 24}),
         says="optimum of two cells, each by its area", route="closed form")  # fmt: skip
def two_neurons_by_their_biases(answer):
    """Fails if an area is missing on one of the routes."""
    optimum = 0.5 * float(np.sum(straight(0.0, np.array([0.25, -1.25]))))
    assert answer.report.attained < optimum + 1e-6
    said = agreeing(answer, optimum)
    assert said[0] == "agree"
    return said[0]


@problem("hjb", demo="hjb.toml", tables=network(1, "1", "2", controls=("kernel", "bias")),
         says="optimum of kernel and bias", route="closed form: geodesic, asinh")  # fmt: skip
def one_neuron_by_kernel_and_bias(answer):
    """Fails if γ is wrong on one of the routes."""
    optimum = minimize_scalar(
        lambda r: ALPHA * (np.arcsinh(r) - np.arcsinh(1.0)) ** 2 / (2 * T) + MU / 2 * (r - 2.0) ** 2,
        bounds=(0.0, 4.0), method="bounded",
    ).fun  # fmt: skip
    assert answer.report.attained < optimum + 1e-3
    said = agreeing(answer, float(optimum))
    assert said[0] == "agree"
    return said


@problem("hjb", demo="hjb.toml", tables=network(1, "-1", "1", activation="tanh"),
         says="optimum at a bounded velocity", route="closed form: constant velocity, a number by Brent")  # fmt: skip
def a_bounded_velocity(answer):
    """Fails if the Hamiltonian of tanh or its costs are wrong."""
    optimum = minimize_scalar(
        lambda v: ALPHA / 2 * T * np.arctanh(v) ** 2 + MU / 2 * (-1.0 + T * v - 1.0) ** 2,
        bounds=(0.0, 0.999999), method="bounded", options={"xatol": 1e-10},
    ).fun  # fmt: skip
    assert answer.report.attained < optimum + 1e-4
    said = agreeing(answer, float(optimum))
    assert said == ["agree", "large enough"]
    return said


@problem("hjb", demo="hjb.toml", tables=network(1, "1", "0", activation="relu"),
         says="nothing can be done: V = Φ", route="relu never moves a state down")  # fmt: skip
def relu_against_its_direction(answer):
    """Fails if a control is found that relu does not allow."""
    report = answer.report
    assert abs(report.attained - MU / 2) < 1e-9 and abs(report.closed_loop_cost - MU / 2) < 1e-9
    assert abs(report.value - MU / 2) <= report.value_error + 1e-3
    return [report.agreement.verdict, report.box_verdict]


@problem("hjb", demo="hjb.toml", tables=network(1, "s", "1 - s", samples=2, hjb={"cells": 24}),
         says="two samples with one bias: the mean is where it should be, and nothing can be done",
         route="closed form: Φ(x(0)), by symmetry")  # fmt: skip
def two_samples_that_want_to_change_places(answer):
    """Fails if the samples are moved apart, or their mean is taken twice."""
    optimum = MU / 2  # (1/2) Σ_j μ/2 · 1
    assert abs(answer.report.attained - optimum) < 1e-6
    said = agreeing(answer, optimum)
    assert said[0] == "agree"
    return said


LONG_WAY = {
    "objective": {"controls": ["kernel"]},
    "data": {"initial": "1.5 - 2*y", "target": "-1.5 + 2*y"},
    "regularization": {"kernel": 0.1},
    "dynamics": {"horizon": 3.0},
}


@problem("hjb", demo="hjb.toml", tables={**LONG_WAY, "hjb": {"cells": 48, "starts": 3}},
         says="the box grows to hold the way round, and the closed loop goes it",
         route="optimization from many starts: 0.248")  # fmt: skip
def a_box_that_grows(answer):
    """Fails if the box cuts the way round, so that V lies below the optimum."""
    report = answer.report
    assert report.box_verdict == "large enough" and report.box.grid.upper[1] > 0.9
    assert abs(report.closed_loop_cost - 0.248) < 0.01
    assert abs(report.value - 0.248) <= report.value_error
    return report.box_verdict


@problem("hjb", demo="hjb.toml",
         tables={**LONG_WAY, "hjb": {"cells": 32, "starts": 3, "lower": [-2.5, -0.5], "upper": [2.5, 0.5]}},
         says="the box is too small: the closed loop leaves it and has no cost, and the extrapolation no error bar",
         route="the optimal trajectory of another box leaves this one")  # fmt: skip
def a_box_that_is_too_small(answer):
    """Fails if the box passes, or a loop that leaves it has a cost."""
    report = answer.report
    assert report.box_verdict == "too small" and report.closed_loop_declined is not None
    assert np.isnan(report.closed_loop_cost) and report.extrapolated_declined is not None
    assert abs(report.attained - 0.248) < 0.002
    return [report.box_verdict, report.as_dict()["closed_loop_cost"] is None]


@problem("hjb", demo="hjb.toml",
         tables={"objective": {"weight": 20.0},
                 "hjb": {"cells": 60, "levels": 1, "starts": 3, "lower": [-5.0], "upper": [5.0]}},
         says="V lies far above a cost that is attained: not decided, for the error estimate is as large",
         route="a cost that controls attain bounds V from above")  # fmt: skip
def a_wide_box_and_a_coarse_mesh(answer):
    """Fails if V passes although a cost that is attained is far below."""
    report = answer.report
    row = report.agreement.comparisons[0]
    assert row.verdict == "not decided" and 0.3 < row.difference < 0.6 and row.tolerance < 0.25 < row.estimate
    return report.agreement.verdict


@problem("hjb", demo="hjb.toml",
         tables={"domain": {"cells": 1}, "data": {"samples": 2, "initial": "0.5 - s", "target": "-0.5 + s"},
                 "regularization": {"bias": 0.1}, "hjb": {"cells": 32, "starts": 1, "snapshots": 11, "witness": False}},
         says="no error bar for the extrapolation: the meshes show no order at a kink",
         route="optimization from many starts: 0.743")  # fmt: skip
def an_extrapolation_at_a_kink(answer):
    """Fails if the extrapolation has an error bar that no order supports."""
    report = answer.report
    assert report.extrapolated_declined is not None
    assert abs(report.value - 0.7433) <= report.value_error
    return [report.agreement.verdict, report.box_verdict]


@problem("hjb", demo="hjb.toml", tables={"dynamics": {"activation": "gelu"}, "hjb": {"cells": 24, "starts": 1}},
         says="a report: trajectories that leave the box have no cost, and the costs of the others are attained",
         route="optimization from many starts: 2.3549")  # fmt: skip
def loops_that_grow_fast(answer):
    """Fails if a trajectory that leaves the box overflows and takes the report with it."""
    report = answer.report
    assert abs(report.attained - 2.3549) < 1e-3
    assert np.all(np.isnan(report.loop.costs) == report.loop.left_box)
    assert report.loop.left_box[0] or report.closed_loop_cost >= 2.3549 - 1e-3
    return report.box_verdict
