# SPDX-License-Identifier: MIT
"""Problems of every study whose answers textbooks give: linear flows, Fredholm equations, folds and cusps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from gallery import Answer, problem, states
from scipy.integrate import solve_ivp
from scipy.linalg import expm

QUICK = {"exponents": 0}


def matrix_of(answer: Answer, kernel) -> np.ndarray:
    """K as a matrix: w(y_i, y_k) times the nodal weights."""
    y = answer.y
    return np.broadcast_to(kernel(y[:, None], y[None, :]), (len(y), len(y))) * answer.weights


# ── flows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@problem(
    "forward",
    kernel="3*sin(y - z)",
    activation="identity",
    initial="1 + y",
    settings={"until": 30.0},
    says="‖f‖ is conserved, and the run is neither steady nor unbounded",
    route="SciPy's matrix exponential; K is skew",
)
def skew_flow(answer: Answer):
    """Fails if a rotation is damped, or called steady or unbounded."""
    run = answer.report.integration
    exact = expm(30.0 * matrix_of(answer, lambda y, z: 3 * np.sin(y - z))) @ (1 + answer.y)
    assert np.max(np.abs(answer.everywhere(run.final)[:, 0] - exact)) < 1e-5
    assert answer.report.norms[-1, 0] == pytest.approx(answer.report.norms[0, 0], rel=1e-6)
    return run.outcome


@problem(
    "forward",
    kernel="-8*cos(pi*y)*cos(pi*z)",
    initial="2*cos(pi*y) + 0.5*cos(2*pi*y)",
    settings={"until": 2.0},
    says="the component along cos πy falls; the rest follows through tanh",
    route="SciPy's DOP853 on the nodes",
)
def rank_one_decay(answer: Answer):
    """Fails if the nonlinear flow differs from that of another integrator."""
    k = matrix_of(answer, lambda y, z: -8 * np.cos(np.pi * y) * np.cos(np.pi * z))
    start = 2 * np.cos(np.pi * answer.y) + 0.5 * np.cos(2 * np.pi * answer.y)
    exact = solve_ivp(lambda _, f: np.tanh(k @ f), (0, 2), start, method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    assert np.max(np.abs(answer.everywhere(answer.report.integration.final)[:, 0] - exact)) < 1e-6
    return answer.report.integration.outcome


@problem(
    "forward",
    kernel="1",
    activation="identity",
    initial="1",
    settings={"until": 60.0, "growth_bound": 1e6},
    says="grows exponentially at the rate 1, until it passes 10⁶ at t = log 10⁶",
    route="closed form: f = e^t",
)
def exponential_growth(answer: Answer):
    """Fails if e^t is given another law or another rate."""
    run = answer.report.integration
    assert run.growth is not None and run.growth.rate == pytest.approx(1.0, abs=1e-4)
    assert run.times[-1] == pytest.approx(math.log(1e6), rel=0.05)
    return [run.outcome, run.growth.kind]


@problem(
    "forward",
    kernel="0",
    bias="1",
    initial="0",
    settings={"until": 1e4, "growth_bound": 1e3},
    says="grows linearly at the rate tanh 1",
    route="closed form: f = t tanh 1",
)
def linear_growth(answer: Answer):
    """Fails if t tanh(1) is given another law or another rate."""
    run = answer.report.integration
    assert run.growth is not None and run.growth.rate == pytest.approx(math.tanh(1.0), rel=1e-6)
    return [run.outcome, run.growth.kind]


# ── steady states ─────────────────────────────────────────────────────────────────────────────────────────────────────


@problem(
    "steady",
    kernel="-exp(y + z)",
    bias="exp(y)",
    initial="cos(3*y)",
    says="the limit is f^I plus the multiple of e^y for which ∫ e^z f = 1",
    route="closed form for identity's limit: f − f^I lies along e^y",
    activation="identity",
)
def limit_of_rank_one(answer: Answer):
    """Fails if the limit is not the oblique projection of the initial state on the steady states."""
    (limit,) = answer.report.limits
    y, m = answer.y, answer.weights
    start, e = np.cos(3 * y), np.exp(y)
    exact = start + e * (1 - m @ (e * start)) / (m @ e**2)
    assert np.max(np.abs(answer.everywhere(limit.state) - exact)) < 1e-6
    return limit.outcome


@problem(
    "steady",
    kernel="cos(pi*y)*cos(pi*z)",
    bias="1",
    initial="0",
    settings={"horizon": 1e3},
    says="no state is steady: 1 is not in the range of K",
    route="Fredholm alternative for rank one",
)
def bias_outside_of_the_range(answer: Answer):
    """Fails if a steady state of an equation without one is reported, or its run is called steady."""
    assert answer.report.states == ()
    assert answer.report.picard is not None and not answer.report.picard.holds
    assert answer.report.limits[0].outcome != "steady"
    return "none"


@problem(
    "steady",
    kernel="-1",
    activation="relu",
    bias="1",
    initial="where(y < 0.5, 0, 2)",
    says="nothing moves on the boundary of {∫ f ≥ 1}",
    route="closed form: K f + b = 1 − ∫ f = 0",
    space={"family": "dg", "degree": 0},
)
def relu_at_its_constraint(answer: Answer):
    """Fails if a state on the boundary of the convex set of steady states moves."""
    (limit,) = answer.report.limits
    assert limit.distance_from_initial < 1e-9
    return limit.outcome


@problem(
    "steady",
    kernel="-1",
    activation="relu",
    bias="1",
    initial=states([0.0, 0.5]),
    says="the mean rises to 1: f = f^I + 3/4 at the end",
    route="closed form: m' = max(1 − m, 0)",
    space={"family": "dg", "degree": 0},
)
def relu_fills_up(answer: Answer):
    """Fails if ReLU's limit is missed."""
    (limit,) = answer.report.limits
    exact = np.where(answer.y < 0.5, 0.75, 1.25)
    assert np.max(np.abs(answer.everywhere(limit.state) - exact)) < 1e-6
    return limit.outcome


@problem(
    "steady",
    kernel="1",
    activation="tanh(2*s) - s",
    initial="0.3 + 0.2*sin(2*pi*y)",
    says="the mean tends to the positive root of tanh 2g = g, 0.95750402",
    route="closed form: g = ∫ f",
)
def mean_field_selects(answer: Answer):
    """Fails if the selected preactivation is not the stable root."""
    (limit,) = answer.report.limits
    assert answer.weights @ answer.everywhere(limit.state) == pytest.approx(0.957504024079, abs=1e-6)
    roots = sorted(round(state.preactivation_range[0], 6) for state in answer.report.states)
    assert any(abs(root - 0.957504) < 2e-6 for root in roots)
    return limit.outcome


# ── spectra ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@problem(
    "stability",
    kernel="-min(y, z)",
    activation="identity",
    state="0",
    settings=QUICK,
    says="stable modulo the kernel; eigenvalues −1/((k − ½)² π²)",
    route="closed form: Green's function of −u″, u(0) = u′(1) = 0",
)
def greens_function(answer: Answer):
    """Fails if a compact negative operator is called unstable, or uniformly stable."""
    verdict = answer.report.verdict
    values = np.array(answer.report.eigenvalues)
    assert np.min(np.abs(values + 4 / np.pi**2)) < 1e-3
    return verdict.kind


@problem(
    "stability",
    kernel="cos(2*pi*(y - z))",
    activation="identity",
    state="0",
    settings=QUICK,
    says="unstable with the double eigenvalue ½",
    route="closed form: cos and sin 2πy",
)
def periodic_kernel(answer: Answer):
    """Fails if a double eigenvalue is counted once."""
    assert answer.report.verdict.rate == pytest.approx(0.5, abs=1e-3)
    assert answer.report.unstable == 2
    return answer.report.verdict.kind


@problem(
    "stability",
    kernel="cos(pi*y)*cos(2*pi*z)",
    activation="identity",
    state="0",
    settings=QUICK,
    says="all eigenvalues are zero, and perturbations grow linearly",
    route="closed form: K² = 0",
)
def nilpotent_of_rank_one(answer: Answer):
    """Fails if a nilpotent operator is called stable or unstable."""
    return answer.report.verdict.kind


@problem(
    "stability",
    kernel="1",
    activation="tanh(s) - s",
    state="0.1*y",
    settings=QUICK,
    says="neutral: σ has a zero of order three, which Newton's method approaches slowly",
    route="closed form: σ(s) = −s³/3 + …",
)
def triple_zero(answer: Answer):
    """Fails if Newton's slow approach to a multiple zero is called a state that moves, or given a rate."""
    return answer.report.verdict.kind


# ── branches ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def found(answer: Answer) -> list:
    """Kind and rounded parameter of each bifurcation, in the order of the parameter."""
    listed = sorted((b.parameter, b.kind) for b in answer.report.bifurcations)
    return [[kind, round(value, 4) + 0.0] for value, kind in listed]


@problem(
    "branches",
    kernel="2*cos(pi*y)*cos(pi*z)",
    activation="tanh(mu*s) - s",
    state="0",
    parameters={"mu": 0.5},
    settings={"parameter": "mu", "range": [0.5, 1.5]},
    says="a pitchfork at μ = 1 and nothing else",
    route="closed form: σ is odd and σ'(0) = μ − 1",
)
def pitchfork_of_a_cosine(answer: Answer):
    """Fails if the pitchfork is missed, moved or called something else."""
    listed = found(answer)
    assert listed == [["pitchfork", 1.0]]
    return listed


@problem(
    "branches",
    kernel="-1",
    activation="s**2 - mu",
    state="-1",
    parameters={"mu": 1.0},
    settings={"parameter": "mu", "range": [1.0, -0.5]},
    says="a fold at μ = 0 and nothing else",
    route="closed form: g = ±√μ",
)
def fold_of_a_parabola(answer: Answer):
    """Fails if the fold is missed, or the range cannot be followed downwards."""
    listed = found(answer)
    assert listed == [["fold", 0.0]]
    return listed


@problem(
    "branches",
    kernel="1",
    activation="tanh(2*s) - s + mu",
    state="-2",
    parameters={"mu": -0.6},
    settings={"parameter": "mu", "range": [-0.6, 0.6]},
    says="two folds at μ = ±0.2664 and nothing else",
    route="closed form: 2 / cosh² 2g = 1",
)
def hysteresis(answer: Answer):
    """Fails if one of the folds is missed."""
    g = 0.5 * math.acosh(math.sqrt(2.0))
    at = round(math.tanh(2 * g) - g, 4)
    listed = found(answer)
    assert listed == [["fold", -at], ["fold", at]]
    return listed
