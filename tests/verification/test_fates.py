# SPDX-License-Identifier: MIT
"""What becomes of states after a long time, against closed forms and SciPy: rest, growth, blow-up, cycles."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CELLWISE, HALVES, build_equation
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from fem_selection.errors import InvalidInput
from fem_selection.evolution import integrate
from fem_selection.evolution.growth import fit_growth
from fem_selection.evolution.rest import decay_exponents, examine_rest
from fem_selection.evolution.sliding import find_jumps
from fem_selection.settings import LimitSettings, StepSettings
from fem_selection.steady import find_limit


def limit_of(kernel, activation, initial, *, samples=1, cells=16, **settings):
    """The long-time limits of an equation on cells."""
    dynamics = {"kernel": kernel, "activation": activation}
    problem = build_equation(dynamics, cells=cells, space=CELLWISE, initial=initial, samples=samples)
    return find_limit(problem.field, problem.initial, LimitSettings(**settings))


# ── rest ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_small_state_is_not_at_rest():
    """f' = f from 1e-10 is e^t 1e-10, 2.7e33 at t = 100. Fails if a small rate is called rest, or if errors are
    compared with a tolerance that is larger than the state."""
    problem = build_equation({"kernel": "1", "activation": "identity"}, cells=8, space=CELLWISE, initial="1e-10")
    run = integrate(problem.field, problem.initial, np.array([0.0, 100.0]), settings=StepSettings(growth_bound=np.inf))
    assert run.outcome == "horizon"
    np.testing.assert_allclose(run.final, 1e-10 * np.exp(100.0), rtol=1e-5)
    assert run.growth.kind == "exponential" and run.growth.rate == pytest.approx(1.0, rel=1e-6)


def test_a_horizon_beside_its_least():
    """Fails if the snapshots, spaced geometrically from a thousandth on, coincide where the horizon is no larger."""
    limit = limit_of("1", "identity", "1", horizon=float(np.nextafter(1e-3, 1.0)))
    np.testing.assert_allclose(limit.states, np.exp(1e-3), rtol=1e-9)


def test_a_small_state_selects_the_root():
    """tanh(2g) − g from 1e-10 selects 0.9575, the root. Fails if it is called steady near 0."""
    limit = limit_of("1", "tanh(2*s) - s", "1e-10")
    assert limit.outcomes == ("steady",)
    root = brentq(lambda s: np.tanh(2 * s) - s, 0.5, 2.0, xtol=1e-14)
    rest = limit.ends[0].rest
    assert np.max(np.abs(limit.states - root)) <= 2 * rest.distance < 1e-7 and rest.perturbation_rate == 0.0


def test_a_state_that_lingers_at_a_saddle_goes_on():
    """Halves g₁' = −0.02 s(g₁), g₂' = 0.01 s(g₂): the first decays, while the second, 1e-16 at first, is still small
    where the rate is below the tolerance; it selects the root. Fails if the saddle is called the limit."""
    kernel = "2*where(y<0.5, where(z<0.5, -0.02, 0), where(z<0.5, 0, 0.01))"
    limit = limit_of(kernel, "tanh(2*s) - s", "where(y<0.5, 1, 1e-16)", steady_tolerance=1e-8)
    assert limit.outcomes == ("steady",)
    root = brentq(lambda s: np.tanh(2 * s) - s, 0.5, 2.0)
    np.testing.assert_allclose(limit.states[-1, 0], root / 0.01, rtol=1e-4)


def test_a_part_in_the_null_space_does_not_hide_growth():
    """f' = ∫ f: cos πy is in ker K and large, the mean 1e-10 grows. Fails if rest is relative to ‖f‖ alone."""
    limit = limit_of("1", "identity", "cos(pi*y) + 1e-10")
    assert limit.outcomes == ("unbounded",) and limit.growth_rates[0] == pytest.approx(1.0, abs=1e-2)


def test_unstable_limit_is_called_so():
    """f = 0 of tanh(2s) − s is steady and unstable at the rate 1. Fails if the report does not say so."""
    limit = limit_of("1", "tanh(2*s) - s", "0")
    assert limit.outcomes == ("steady",) and limit.time == 0.0
    assert limit.ends[0].rest.perturbation_rate == pytest.approx(1.0, abs=1e-9) and "unstable" in limit.reasons[0]


def test_slow_drift_is_not_rest():
    """K = −1, σ = exp: f = log(1 + t), and σ has no zero. Fails if the run is called steady where its rate 1/(1 + t)
    passes the tolerance, or if the law is another."""
    limit = limit_of("-1", "exp(s)", "0", horizon=1e10)
    assert limit.outcomes == ("drift",)
    growth = limit.ends[0].growth
    assert growth.kind == "logarithmic" and growth.rate == pytest.approx(1.0, rel=1e-4) and growth.residual < 1e-3
    np.testing.assert_allclose(limit.states, np.log1p(1e10), rtol=1e-6)


def test_algebraic_decay_has_its_distance():
    """f' = −f³: f = (1 + 2t)^{−1/2}. Fails if the distance to the limit is that of an exponential decay."""
    limit = limit_of("1", "-s**3", "1")
    assert limit.outcomes == ("steady",)
    left = float(limit.states[0, 0])
    assert left <= limit.ends[0].rest.distance <= 2 * left


def test_decay_of_an_oscillation_is_that_of_its_envelope():
    """t^{−1/2} and t^{−2}, times 1 + 0.9 sin 5t, ended where the sine is least: fails if the last rate, at whatever
    phase, stands for the envelope."""
    end = (2 * np.pi * 160 - np.pi / 2) / 5
    t = np.linspace(end / 2, end, 2000)
    wave = 1 + 0.9 * np.sin(5 * t)
    slow, fast = decay_exponents(t, np.stack([wave / np.sqrt(t), wave / t**2], axis=1))
    assert np.isnan(slow) and fast == pytest.approx(2.0, rel=0.02)


def test_rest_is_relative_to_the_size():
    """f' = −f from 1e-10: the rate is 1e-8 times the size at t = log 1e8. Fails if the tolerance is absolute."""
    limit = limit_of("1", "-s", "1e-10", steady_tolerance=1e-8)
    assert limit.outcomes == ("steady",) and limit.times[0] == pytest.approx(np.log(1e8), abs=0.02)


def test_slow_decay_outweighs_the_linearization():
    """f' = −f at 1e-9, with a rate that fell like t^{−0.9} so far, or like t^{−2}. Fails if the history does not
    count."""
    field = build_equation({"kernel": "1", "activation": "-s"}, cells=4, space=CELLWISE).field
    state = np.full((4, 1), 1e-9, order="F")
    near = [
        examine_rest(field, state, field.rate(state), decay=np.array([q]), elapsed=1e3, sizes=np.ones(1))[0]
        for q in (0.9, 2.0, np.nan)
    ]
    assert [rest.is_steady for rest in near] == [False, True, True]
    assert [rest.distance for rest in near[1:]] == pytest.approx([1e-6, 1e-9])


# ── growth and blow-up ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("law", "kind", "exponent", "rate"),
    [
        (lambda t: (1 + t, 1 + 0 * t), "linear", 1.0, 1.0),
        (lambda t: ((1 + t) ** 1.5, 1.5 * (1 + t) ** 0.5), "power", 1.5, None),
        (lambda t: ((1 + t) ** 0.5, 0.5 * (1 + t) ** -0.5), "power", 0.5, None),
        (lambda t: (3 + np.log1p(t), 1 / (1 + t)), "logarithmic", None, 1.0),
        (lambda t: (2 - 1 / (1 + t), (1 + t) ** -2), "other", None, None),
    ],
)
def test_laws_of_growth(law, kind, exponent, rate):
    """Laws over six decades of t, each from its own formula, and a limit, which is none. Fails if a law is named
    that does not fit, or if its exponent or rate is another."""
    t = np.concatenate([[0.0], np.geomspace(1e-3, 1e6, 150)])
    n, slope = law(t)
    found = fit_growth(t, n, slope)
    assert found.kind == kind
    if exponent is not None:
        assert found.exponent == pytest.approx(exponent, rel=1e-3)
    if rate is not None:
        assert found.rate == pytest.approx(rate, rel=1e-3)


def test_growth_of_a_spiral():
    """e^t (2 + sin 9t): fails if states that turn as they grow have no law."""
    t = np.linspace(0, 60, 1200)
    n, wave = np.exp(t), 2 + np.sin(9 * t)
    found = fit_growth(t, n * wave, n * (wave + 9 * np.cos(9 * t)))
    assert found.kind == "exponential" and found.rate == pytest.approx(1.0, rel=1e-2)


def test_rate_of_a_staircase():
    """1 + t + 1.2 sin t, whose slope changes its sign: fails if a secant and the level that it belongs to are taken at
    different places, by which the rate 1 is missed by a percent."""
    t = np.linspace(0, 2000, 8001)
    found = fit_growth(t, 1 + t + 1.2 * np.sin(t), 1 + 1.2 * np.cos(t))
    assert found.kind == "linear" and found.rate == pytest.approx(1.0, rel=2e-3)


def test_a_norm_within_a_decade_has_no_law():
    """e^t from 1 to 9: fails if less than a decade supports a law."""
    t = np.linspace(0, np.log(9), 100)
    assert fit_growth(t, np.exp(t), np.exp(t)).kind == "other"
    t = np.linspace(0, np.log(11), 100)
    assert fit_growth(t, np.exp(t), np.exp(t)).kind == "exponential"


def test_a_bend_is_no_power():
    """√(1 + t²) − 1 + t/2, which begins like t/2 and goes on like 3t/2, looks like t^1.2 for a decade. Fails if a power
    is read off a part of a curve that bends."""
    t = np.geomspace(0.1, 5, 100)
    assert fit_growth(t, np.sqrt(1 + t**2) - 1 + t / 2, t / np.sqrt(1 + t**2) + 0.5).kind == "other"


def test_growth_faster_than_any_power_is_none():
    """e^{2√t} and e^{t²}: between the laws. Fails if one of these is called a power, an exponential or a blow-up."""
    t = np.linspace(1e-3, 100, 300)
    n = np.exp(2 * np.sqrt(t))
    assert fit_growth(t, n, n / np.sqrt(t)).kind == "other"
    s = t / 20
    assert fit_growth(s, np.exp(s**2), 2 * s * np.exp(s**2)).kind == "other"


@pytest.mark.parametrize(
    ("activation", "initial", "time"),
    [
        ("s**2", "1", 1.0),
        ("s**2", "3", 1 / 3),
        ("s**3", "2", 1 / 8),
        ("exp(s)", "0", 1.0),
        ("s + s**2", "1", np.log(2)),
    ],
)
def test_blow_up_times(activation, initial, time):
    """f' = f², f³, e^f, f + f² blow up at 1/f₀, 1/(2f₀²), e^{−f₀}, log(1 + 1/f₀). Fails if the error bar is exceeded or
    says nothing."""
    limit = limit_of("1", activation, initial, cells=4)
    growth = limit.ends[0].growth
    assert limit.outcomes == ("blow-up",) and growth.kind == "blow-up"
    assert abs(growth.blow_up_time - time) <= growth.blow_up_error <= 1e-4 * time


@pytest.mark.slow
def test_blow_up_against_scipy():
    """σ = s² with a kernel of rank two: SciPy's Radau runs to ‖f‖ = 1e8, where 1/f is what is left. Fails if the time
    of the blow-up of a system, whose parts differ, is wrong."""
    kernel = "1 + 0.5*y*z"
    problem = build_equation({"kernel": kernel, "activation": "s**2"}, cells=40, space=CELLWISE, initial="1 + y")
    growth = find_limit(problem.field, problem.initial).ends[0].growth
    y = problem.space.coordinates[:, 0]
    matrix = (1 + 0.5 * y[:, None] * y) * problem.space.weights

    def large(t, f):
        return np.max(f) - 1e8

    large.terminal = True
    run = solve_ivp(lambda t, f: (matrix @ f) ** 2, (0, 2), 1 + y, "Radau", rtol=1e-10, atol=1e-12, events=large)
    assert abs(growth.blow_up_time - run.t[-1]) <= growth.blow_up_error + 2e-8


def test_one_explosion_leaves_the_others():
    """s² from 1, −1 and 0.5: two blow up, at 1 and 2, while −1/(1 + t) goes on to its limit. Fails if one sample's end
    is that of the others, or if a state after its end is taken for a value."""
    dynamics, start = {"kernel": "1", "activation": "s**2"}, "where(s<0.25, 1, where(s<0.75, -1, 0.5))"
    problem = build_equation(dynamics, cells=4, space=CELLWISE, initial=start, samples=3)
    first = problem.initial[0]
    run = integrate(problem.field, problem.initial, np.linspace(0, 10, 11), settings=StepSettings(growth_bound=np.inf))
    assert run.outcome == "horizon"
    for start, end, column in zip(first, run.ends, np.array(run.states)[:, 0].T, strict=True):
        times = np.linspace(0, 10, 11)
        if start < 0:
            assert end.outcome == "horizon"
            np.testing.assert_allclose(column, -1 / (1 + times), rtol=1e-6)
        else:
            assert end.outcome == "blow-up" and abs(end.growth.blow_up_time - 1 / start) <= end.growth.blow_up_error
            lives = times < 1 / start - end.growth.blow_up_error
            np.testing.assert_allclose(column[lives], start / (1 - start * times[lives]), rtol=1e-5)
            assert np.all(np.isnan(column[times > 1 / start + end.growth.blow_up_error]))


def test_end_of_the_domain_of_an_activation():
    """σ = 1/(1 − s): f' is infinite at t = 1/2, where f = 1. Fails if the run has no end, or is called a blow-up."""
    limit = limit_of("1", "1/(1-s)", "0", cells=4)
    assert limit.outcomes == ("stuck",) and limit.times[0] == pytest.approx(0.5, abs=1e-6)


def test_initial_states_that_are_not_finite():
    """Fails if NaN is blamed on a setting, or the sample is not named."""
    problem = build_equation({"kernel": "1"}, cells=4, space=CELLWISE, initial="s", samples=3)
    initial = problem.initial.copy(order="F")
    initial[1, 2] = np.nan
    with pytest.raises(InvalidInput, match=r"initial states are not finite: 1 of 3 .*number 3,"):
        find_limit(problem.field, initial)


# ── cycles ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_limit_cycle_has_period_and_amplitude():
    """The Hopf normal form of tanh at a = 1: period and amplitude of SciPy's DOP853 in two numbers. Fails if the cycle
    is not recognized, or if its error bars do not hold."""
    dynamics, start = {"kernel": HALVES, "activation": "tanh"}, "where(y<0.5, 0.3, 0)"
    problem = build_equation(dynamics, cells=4, space=CELLWISE, initial=start, parameters={"a": 1.0})
    limit = find_limit(problem.field, problem.initial)
    assert limit.outcomes == ("cycle",) and limit.times[0] < 1e3
    cycle = limit.ends[0].cycle
    matrix = np.array([[1.0, -3.0], [1.0, -0.9]])  # on the values of the halves

    def rate(t, f):
        return np.tanh(matrix @ f)

    def crossing(t, f):
        return f[0]

    crossing.direction = 1
    run = solve_ivp(rate, (0, 600), [0.3, 0.0], "DOP853", rtol=1e-12, atol=1e-13, events=crossing, dense_output=True)
    ends = run.t_events[0][-2:]
    period = ends[1] - ends[0]
    values = run.sol(np.linspace(ends[0], ends[1], 400, endpoint=False))
    amplitude = np.sqrt(2 * np.mean(np.sum((values - values.mean(axis=1, keepdims=True)) ** 2, axis=0) / 2))
    assert abs(cycle.period - period) <= cycle.period_error < 1e-3
    assert abs(cycle.amplitude - amplitude) <= cycle.amplitude_error < 1e-3
    assert cycle.contraction < 1


def test_rotation_is_a_cycle():
    """A skew kernel conserves ‖f‖: 3 sin(y − z) has the eigenvalues ± iω. Fails if its period is not 2π/ω."""
    problem = build_equation(
        {"kernel": "3*sin(y - z)", "activation": "identity"}, cells=20, space=CELLWISE, initial="1+y"
    )
    limit = find_limit(problem.field, problem.initial)
    y = problem.space.coordinates[:, 0]
    omega = np.abs(np.linalg.eigvals(3 * np.sin(y[:, None] - y) * problem.space.weights).imag).max()
    cycle = limit.ends[0].cycle
    assert limit.outcomes == ("cycle",)
    assert abs(cycle.period - 2 * np.pi / omega) <= cycle.period_error < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("turn", [0.02, -0.02])
def test_spirals_are_no_cycles(turn):
    """Rotation with weak growth or decay. Fails if a spiral is taken for a cycle because a turn changes little."""
    kernel = f"2*where(y<0.5, where(z<0.5, {turn}, -1), where(z<0.5, 1, {turn}))"
    limit = limit_of(kernel, "identity", "where(y<0.5, 1, 0)", cells=4)
    assert limit.outcomes == ("unbounded" if turn > 0 else "steady",)


def test_drift_is_no_cycle():
    """Rotation in a drift without end: f in ker K moves. Fails if returns of a part are those of the state."""
    kernel = "3*where(y<1/3, where(z<1/3, 0, where(z<2/3, -1, 0)), where(y<2/3, where(z<1/3, 1, 0), 0))"
    dynamics = {"kernel": kernel, "activation": "identity", "bias": "where(y>2/3, 0.01, 0)"}
    problem = build_equation(dynamics, cells=6, space=CELLWISE, initial="where(y<1/3, 1, 0)")
    limit = find_limit(problem.field, problem.initial, LimitSettings(horizon=300.0))
    assert limit.outcomes != ("cycle",) and limit.outcomes != ("steady",)


def test_steps_have_a_budget():
    """Fails if a run that reaches its limit of steps loses what it has."""
    limit = limit_of("3*sin(y - z)", "identity", "1 + y", max_steps=7)
    assert limit.outcomes == ("not steady",) and "7 steps reached t = " in limit.reasons[0] and limit.times[0] > 0


# ── jumps of σ ────────────────────────────────────────────────────────────────────────────────────────────────────────

SIGN = "where(s>0, 1, where(s<0, -1, 0))"


@pytest.mark.parametrize(
    ("activation", "jumps"),
    [
        (SIGN, [(0.0, 2.0)]),
        ("where(s>0.3, 2, s)", [(0.3, 1.7)]),
        ("tanh(1e4*s)", []),
        ("1/(1-s)", []),
        ("relu", []),
        ("where(s>-1, s, -s) + where(s>2, 1, 0)", [(-1.0, -2.0), (2.0, 1.0)]),
    ],
)
def test_jumps_are_found(activation, jumps):
    """Fails if a steep slope, a pole or a kink is taken for a jump, or a jump is missed."""
    found = find_jumps(build_equation({"activation": activation}, cells=2).field.activation)
    assert [(j.at, j.size) for j in found] == [(pytest.approx(a, abs=1e-9), pytest.approx(d)) for a, d in jumps]


def test_sliding_in_the_sense_of_filippov():
    """K = −1 pointwise, σ = sign: f = sign(f^I) max(|f^I| − t, 0), each node slides from a time of its own. Fails if
    steps become short without end, if the solution is another, or if nothing is said."""
    dynamics = {"representation": "local", "multiplication": "-1", "activation": SIGN}
    problem = build_equation(dynamics, cells=12, space=CELLWISE, initial="1.5*cos(3*y)")
    for until in (0.7, 2.0):
        run = integrate(problem.field, problem.initial, np.array([0.0, until]), settings=StepSettings())
        exact = np.sign(problem.initial) * np.maximum(np.abs(problem.initial) - until, 0.0)
        np.testing.assert_allclose(run.final, exact, atol=2e-4)
        assert "Filippov" in run.reason and "σ jumps at s = 0 (by 2)" in run.reason and run.steps + run.rejected < 1500
    assert run.outcome == "steady"


def test_many_jumps():
    """sign(sin 20s) jumps 637 times for |s| ≤ 50; with K = −1 the state 1 slides to the jump at g = −6π/20. Fails if
    conditions lie as deep in one another as there are jumps, or if ramps are put at others than the nearest."""
    problem = build_equation(
        {"kernel": "-1", "activation": "sign(sin(20*s))"}, cells=4, space=CELLWISE, initial="1", samples=1
    )
    run = integrate(problem.field, problem.initial, np.array([0.0, 1.0]))
    np.testing.assert_allclose(run.final, 0.3 * np.pi, atol=1e-3)
    assert "of 637 jumps the 128 nearest" in run.reason


def test_limit_of_a_sliding_mean():
    """K = −1, σ = sign: f^I less its mean. Fails if `find_limit` does not end where the mean slides."""
    limit = limit_of("-1", SIGN, "1 + y")
    assert limit.outcomes == ("steady",) and "Filippov" in limit.reasons[0]
    y = (np.arange(16) + 0.5) / 16
    np.testing.assert_allclose(limit.states[:, 0], y - 0.5, atol=1e-3)
