# SPDX-License-Identifier: MIT
"""Problems of large times: rest that is none, growth and its laws, blow-up, cycles, drift, sliding."""

from __future__ import annotations

import math

import numpy as np
import pytest
from gallery import Answer, problem
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

CELLS = {"family": "dg", "degree": 0}
HALVES = "2*where(y < 0.5, where(z < 0.5, 1, -3), where(z < 0.5, 1, -0.9))"
SIGN = "where(s > 0, 1, where(s < 0, -1, 0))"


@problem(
    "forward",
    kernel="1",
    activation="identity",
    initial="1e-10",
    settings={"until": 100.0, "growth_bound": 1e40},
    says="not steady: grows exponentially at the rate 1, to 2.7e33 at t = 100",
    route="closed form: f = 1e-10 e^t",
)
def small_but_not_at_rest(answer: Answer):
    """Fails if a small rate is taken for rest, or a small state is computed roughly."""
    run = answer.report.integration
    assert np.allclose(run.final, 1e-10 * math.exp(100.0), rtol=1e-5, atol=0)
    assert run.growth is not None and run.growth.rate == pytest.approx(1.0, rel=1e-6)
    return [run.outcome, run.growth.kind]


@problem(
    "forward",
    kernel="1",
    activation="exp(s)",
    initial="0",
    settings={"until": 5.0},
    says="blows up at t = 1 like log 1/(1 − t)",
    route="closed form: f = −log(1 − t)",
)
def explosion_of_an_exponential(answer: Answer):
    """Fails if the report is lost, or the time is off by more than its error bar."""
    run = answer.report.integration
    growth = run.growth
    assert growth is not None and abs(growth.blow_up_time - 1.0) <= growth.blow_up_error < 1e-5
    return [run.outcome, growth.kind]


@problem(
    "steady",
    kernel="1",
    activation="s**2",
    initial="where(s < 0.25, 1, where(s < 0.75, -1, 0.5))",
    samples=3,
    says="two samples blow up at 1 and 2; the other tends to 0 like −1/t",
    route="closed form: f = f₀/(1 − f₀ t)",
)
def explosions_leave_the_others(answer: Answer):
    """Fails if one exploding sample loses the others."""
    first, second, third = answer.report.limits
    for limit, time in ((first, 1.0), (third, 2.0)):
        assert limit.growth is not None
        assert abs(limit.growth.blow_up_time - time) <= limit.growth.blow_up_error < 1e-4
    end = answer.everywhere(second.state)
    assert np.allclose(end, -1.0 / (1.0 + second.time), rtol=1e-5, atol=0)
    assert second.rest is not None and -end[0] <= second.rest.distance <= 3 * -end[0]
    return [limit.outcome for limit in answer.report.limits]


@problem(
    "steady",
    kernel="1",
    activation="abs(s)**(1/3)",
    initial="1",
    says="unbounded, like t^1.5",
    route="closed form: f = (1 + 2t/3)^{3/2}",
)
def growth_by_a_power(answer: Answer):
    """Fails if t^1.5 is called linear or exponential."""
    (limit,) = answer.report.limits
    assert limit.growth is not None and limit.growth.exponent == pytest.approx(1.5, rel=1e-2)
    return [limit.outcome, limit.growth.kind]


@problem(
    "steady",
    kernel="-1",
    activation="exp(s)",
    initial="0",
    settings={"horizon": 1e10},
    says="drifts like log t, and is never steady",
    route="closed form: f = log(1 + t)",
)
def slow_drift(answer: Answer):
    """Fails if the drift is called steady where its rate passes the tolerance."""
    (limit,) = answer.report.limits
    assert np.allclose(limit.state, math.log1p(1e10), rtol=1e-6)
    assert limit.growth is not None and limit.growth.rate == pytest.approx(1.0, rel=1e-3)
    return [limit.outcome, limit.growth.kind]


@problem(
    "steady",
    kernel="1",
    activation="tanh(2*s) - s",
    initial="1e-10*(1 - 2*s)",
    samples=3,
    says="the small states select ±0.9575, and 0 stays, unstable at the rate 1",
    route="the roots of tanh 2g = g by SciPy's brentq; σ'(0) = 1",
)
def small_states_select_roots(answer: Answer):
    """Fails if a state that leaves 0 slowly is called steady there, or 0 is not called unstable."""
    root = brentq(lambda g: math.tanh(2 * g) - g, 0.5, 1.5, xtol=1e-14)
    up, none, down = answer.report.limits
    assert np.allclose(up.state, root, atol=1e-6) and np.allclose(down.state, -root, atol=1e-6)
    assert none.distance_from_initial == 0.0 and none.rest is not None
    assert none.rest.perturbation_rate == pytest.approx(1.0, abs=1e-6)
    assert up.rest is not None and up.rest.perturbation_rate == 0.0
    return [limit.outcome for limit in answer.report.limits]


@problem(
    "steady",
    kernel="2*where(y < 0.5, where(z < 0.5, -0.02, 0), where(z < 0.5, 0, 0.01))",
    activation="tanh(2*s) - s",
    initial="where(y < 0.5, 1, 1e-16)",
    space=CELLS,
    says="lingers at 0, where its rate is below the tolerance, and goes on to g = 0.9575 on one half",
    route="the halves are two scalar equations; the root by SciPy's brentq",
)
def lingering_at_a_saddle(answer: Answer):
    """Fails if the saddle is called the limit of a state that leaves it."""
    (limit,) = answer.report.limits
    root = brentq(lambda g: math.tanh(2 * g) - g, 0.5, 1.5, xtol=1e-14)
    values = answer.everywhere(limit.state)
    assert np.allclose(values[answer.y > 0.5], root / 0.01, rtol=1e-4)
    assert np.allclose(values[answer.y < 0.5], 0.0, atol=1e-4)
    return limit.outcome


@problem(
    "steady",
    kernel=HALVES,
    initial="where(y < 0.5, 0.3, 0)",
    space=CELLS,
    says="a limit cycle; period and amplitude with error bars",
    route="SciPy's DOP853 on the two halves",
)
def limit_cycle(answer: Answer):
    """Fails if the run does not end at the cycle, is called unbounded, or if an error bar does not hold."""
    (limit,) = answer.report.limits
    cycle = limit.cycle
    assert cycle is not None and limit.time < 1e3

    def rate(_, f):
        return np.tanh([f[0] - 3 * f[1], f[0] - 0.9 * f[1]])

    def crossing(_, f):
        return f[0]

    crossing.direction = 1
    run = solve_ivp(rate, (0, 500), [0.3, 0.0], "DOP853", rtol=1e-11, atol=1e-12, events=crossing, dense_output=True)
    begin, end = run.t_events[0][-2:]
    f = run.sol(np.linspace(begin, end, 400, endpoint=False))
    amplitude = np.sqrt(np.mean(np.sum((f - f.mean(axis=1, keepdims=True)) ** 2, axis=0)))
    assert abs(cycle.period - (end - begin)) <= cycle.period_error < 1e-2
    assert abs(cycle.amplitude - amplitude) <= cycle.amplitude_error < 1e-2
    return limit.outcome


@problem(
    "steady",
    kernel="3*sin(y - z)",
    activation="identity",
    initial="1 + y",
    says="a rotation: periodic from the start",
    route="the eigenvalues ± iω of the skew matrix by NumPy",
)
def rotation(answer: Answer):
    """Fails if a rotation is followed to the horizon, or has another period."""
    (limit,) = answer.report.limits
    y = answer.y
    omega = np.abs(np.linalg.eigvals(3 * np.sin(y[:, None] - y[None, :]) * answer.weights).imag).max()
    assert limit.cycle is not None
    assert abs(limit.cycle.period - 2 * np.pi / omega) <= limit.cycle.period_error < 1e-3
    return limit.outcome


@problem(
    "steady",
    kernel="2*where(y < 0.5, where(z < 0.5, -0.02, -1), where(z < 0.5, 1, -0.02))",
    activation="identity",
    initial="where(y < 0.5, 1, 0)",
    space=CELLS,
    says="a weakly damped spiral ends at 0; it is no cycle",
    route="closed form: eigenvalues −0.02 ± i",
)
def damped_spiral(answer: Answer):
    """Fails if a turn that changes little is called a cycle."""
    (limit,) = answer.report.limits
    assert np.max(np.abs(answer.everywhere(limit.state))) < 1e-5
    assert limit.time == pytest.approx(math.log(1e8 / math.sqrt(2)) / 0.02, rel=0.05)
    return limit.outcome


@problem(
    "steady",
    kernel="3*where(y < 1/3, where(z < 1/3, 0, where(z < 2/3, 1, 0)), where(y < 2/3, where(z < 2/3, 0, 1), 0))",
    activation="identity",
    initial="where(y < 2/3, 0, 1e-9)",
    space=CELLS,
    says="unbounded like t², although the rate is below the tolerance at first and all eigenvalues are zero",
    route="closed form: a Jordan block of order three",
)
def nilpotent_growth(answer: Answer):
    """Fails if a small rate with a vanishing linearization along it is taken for rest."""
    (limit,) = answer.report.limits
    assert limit.growth is not None and limit.growth.exponent == pytest.approx(2.0, rel=0.02)
    values = answer.everywhere(limit.state)
    assert values[0] == pytest.approx(0.5e-9 * limit.time**2, rel=1e-3)
    return [limit.outcome, limit.growth.kind]


@problem(
    "forward",
    activation=SIGN,
    initial="1.5*cos(3*y)",
    dynamics={"representation": "local", "multiplication": "-1", "kernel": None},
    settings={"until": 1.0, "estimates": False},
    space=CELLS,
    says="each node slides along the jump of σ from a time of its own, in Filippov's sense",
    route="closed form: sign(f^I) max(|f^I| − t, 0)",
)
def sliding_node_by_node(answer: Answer):
    """Fails if the steps become short without end, or the jump is not named."""
    run = answer.report.integration
    start = 1.5 * np.cos(3 * answer.y)
    exact = np.sign(start) * np.maximum(np.abs(start) - 1.0, 0.0)
    assert np.max(np.abs(answer.everywhere(run.final)[:, 0] - exact)) < 1e-3
    assert "Filippov" in run.reason and "σ jumps at s = 0 (by 2)" in run.reason
    return run.outcome
