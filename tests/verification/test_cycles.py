# SPDX-License-Identifier: MIT
"""Hopf points and cycles: normal forms by hand, SciPy's DOP853 on the equation itself, Liouville's formula."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cases import CELLWISE, HALVES, build_equation
from scipy.integrate import quad, solve_ivp
from scipy.optimize import brentq

from fem_selection.errors import NotConverged
from fem_selection.settings import StabilitySettings
from fem_selection.steady import (
    ReducedFamily,
    analyze_hopf,
    follow_cycles,
    follow_departure,
    measure_cycles,
)
from fem_selection.steady.branches.periodic_orbits import Guess, solve_orbit
from fem_selection.studies.continuation import branches

COSINES = "a - 3*sqrt(2)*cos(pi*z) + sqrt(2)*cos(pi*y) - 1.8*cos(pi*y)*cos(pi*z)"
POINTS, WEIGHTS = np.polynomial.legendre.leggauss(80)
POINTS, WEIGHTS = (POINTS + 1) / 2, WEIGHTS / 2
PAIR = np.column_stack([np.ones(80), np.sqrt(2) * np.cos(np.pi * POINTS)])
TIGHT = {"method": "DOP853", "rtol": 1e-11, "atol": 1e-13}


def matrix(a):
    """A = [[a, −3], [1, −0.9]]."""
    return np.array([[a, -3.0], [1.0, -0.9]])


def family_of(activation, kernel=HALVES, *, cells=8, space=CELLWISE, bias="0"):
    """The reduced family in a on (0.5, 1.5)."""
    dynamics = {"activation": activation, "kernel": kernel, "bias": bias}
    problem = build_equation(dynamics, cells=cells, space=space, parameters={"a": 1.0})
    return ReducedFamily(problem.space, lambda value: problem.field_at({"a": value}), lower=0.5, upper=1.5)


def settle(rate, start, transient):
    """Amplitude and period of the cycle that x' = rate(x) reaches, by DOP853; (2 ⟨‖x − x̄‖²⟩)^{1/2} over one period."""
    late = solve_ivp(lambda _, x: rate(x), (0, transient), start, **TIGHT).y[:, -1]

    def section(_, x):
        return rate(late) @ (x - late)

    section.direction = 1.0
    found = solve_ivp(lambda _, x: rate(x), (0, 40.0), late, events=section, dense_output=True, **TIGHT)
    period = found.t_events[0][found.t_events[0] > 1e-3][0]
    x = found.sol(np.linspace(0, period, 257)[:-1])
    return np.sqrt(2 * np.mean(np.sum((x - x.mean(axis=1, keepdims=True)) ** 2, axis=0))), period, late


# ── the normal form ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_lyapunov_coefficient_in_closed_form():
    """tanh on the halves of Y: the coefficients follow by hand (demos/bifurcations.py).

    Fails if a factor of the normal form is wrong, or its error bar does not hold.
    """
    point = analyze_hopf(family_of("tanh"), np.zeros(2), 0.9)
    omega = np.sqrt(2.19)
    assert point.criticality == "supercritical" and point.side == 1
    assert abs(point.lyapunov + 0.45 * omega) < point.lyapunov_error < 1e-7
    assert abs(point.speed - (0.5 - 0.45j / omega)) < point.speed_error + 1e-9
    assert point.period == pytest.approx(2 * np.pi / omega)
    assert point.amplitude_constant == pytest.approx(2 * np.sqrt(10) / (3 * omega), rel=1e-7)


@pytest.mark.parametrize(("square", "cube"), [(0.4, -0.3), (0.5, 0.4)])
def test_lyapunov_coefficient_with_quadratic_terms(square, cube):
    """σ = s + q s² + r s³ against the planar formula of Guckenheimer and Holmes, (3.4.11), in real arithmetic.

    With x = P u, P of columns Re v and −Im v, u' = ω J u + P⁻¹(σ(A P u) − A P u) and ρ' = (Re λ) ρ + α ρ³.
    Fails if the terms with A⁻¹ and (2iω − A)⁻¹ are wrong, which vanish for odd σ.
    """
    point = analyze_hopf(family_of(f"s + {square}*s**2 + ({cube})*s**3"), np.zeros(2), 0.9)
    # the values x of f on the halves obey x' = σ(A x), and ‖f‖² = |x|²/2
    values, vectors = np.linalg.eig(matrix(0.9))
    v, omega = vectors[:, np.argmax(values.imag)], float(np.max(values.imag))
    p = np.column_stack([v.real, -v.imag])
    inverse, rows = np.linalg.inv(p), matrix(0.9) @ p  # s_k = rows[k] · u
    second = 2 * square * np.einsum("ki,kj,lk->lij", rows, rows, inverse)
    third = 6 * cube * np.einsum("ki,kj,km,lk->lijm", rows, rows, rows, inverse)
    f, g = second
    alpha = (third[0, 0, 0, 0] + third[0, 0, 1, 1] + third[1, 0, 0, 1] + third[1, 1, 1, 1]) / 16
    turn = omega if (inverse @ matrix(0.9) @ p)[1, 0] > 0 else -omega
    products = f[0, 1] * (f[0, 0] + f[1, 1]) - g[0, 1] * (g[0, 0] + g[1, 1]) - f[0, 0] * g[0, 0] + f[1, 1] * g[1, 1]
    alpha += products / (16 * turn)
    constant = np.sqrt(0.5 / abs(alpha)) * np.linalg.norm(p) / np.sqrt(2)
    assert np.sign(point.lyapunov) == np.sign(alpha)
    assert point.amplitude_constant == pytest.approx(constant, rel=1e-6)


def test_galerkin_mode_agrees():
    """Fails if the derivatives of σ are taken at the nodes in Galerkin mode."""
    sigma = "tanh(s) + 0.2*s**2"
    families = [family_of(sigma, COSINES, space={"degree": 2, "mode": mode}) for mode in ("collocated", "galerkin")]
    points = [analyze_hopf(family, np.zeros(2), 0.9) for family in families]
    assert points[0].lyapunov == pytest.approx(points[1].lyapunov, rel=1e-4)


@pytest.mark.parametrize(("activation", "word"), [("identity", "degenerate"), ("tanh(s) + 0.1*abs(s)", "not smooth")])
def test_criticality_is_withheld(activation, word):
    """Fails if a sign is claimed for a coefficient that is round-off, or where σ has a kink at the state."""
    point = analyze_hopf(family_of(activation), np.zeros(2), 0.9)
    assert point.criticality == "" and point.side == 0
    assert word in point.criticality_declined


# ── cycles ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_cycle_against_dop853():
    """Amplitude, period and multiplier at a = 1.1 against a run of x' = tanh(A x), to which nothing of the package
    contributes: the multiplier is exp ∫ div by Liouville's formula.  Fails if the orbit found is another one, or its
    amplitude is not that of the L² norm."""
    family = family_of("tanh")
    (cycle,) = measure_cycles(family, analyze_hopf(family, np.zeros(2), 0.9), (0.2,)).orbits
    a = matrix(1.1)
    amplitude, period, start = settle(lambda x: np.tanh(a @ x), [0.5, 0.0], 150.0)
    assert cycle.parameter == pytest.approx(1.1) and cycle.closure < cycle.closure_tolerance
    assert cycle.amplitude == pytest.approx(amplitude / np.sqrt(2), rel=1e-7)
    assert cycle.period == pytest.approx(period, rel=1e-8)

    def with_divergence(_, x):
        slope = 1 / np.cosh(a @ x[:2]) ** 2
        return [*np.tanh(a @ x[:2]), slope @ np.diag(a)]

    exponent = solve_ivp(with_divergence, (0, period), [*start, 0.0], **TIGHT).y[2, -1]
    assert cycle.multipliers.real == pytest.approx([np.exp(exponent)], rel=1e-6)
    assert cycle.stability == "attracting" and cycle.trivial_error < 1e-6


@pytest.mark.slow
def test_amplitude_grows_as_predicted():
    """amplitude / √(a − a₀) tends to the constant of the normal form; by runs at two distances, extrapolated.

    Fails if the quadratic terms of σ are left out of the normal form, or the constant has a wrong factor.
    """
    point = analyze_hopf(family_of("tanh(s) + 0.3*s**2"), np.zeros(2), 0.9)
    squares = []
    for distance in (0.02, 0.01):
        a = matrix(0.9 + distance)
        start = [point.amplitude_constant * np.sqrt(2 * distance), 0.0]
        amplitude, _, _ = settle(lambda x, a=a: np.tanh(a @ x) + 0.3 * (a @ x) ** 2, start, 12 / distance)
        squares.append(amplitude**2 / 2 / distance)
    assert 2 * squares[1] - squares[0] == pytest.approx(point.amplitude_constant**2, rel=2e-3)


@pytest.mark.slow
def test_multipliers_against_the_poincare_map():
    """Three populations: both multipliers beside the derivative of the Poincaré map, by differences of DOP853 runs.

    Fails if a multiplier is lost, or the trivial one, 1, is counted among them.
    """
    a = np.array([[0.0, -3.0, 0.3], [1.0, -0.9, -0.2], [0.2, 0.3, -0.8]])
    rows = ["a, -3, 0.3", "1, -0.9, -0.2", "0.2, 0.3, -0.8"]
    row = ["where(z < 1/3, {}, where(z < 2/3, {}, {}))".format(*text.split(", ")) for text in rows]
    family = family_of("tanh", f"3*where(y < 1/3, {row[0]}, where(y < 2/3, {row[1]}, {row[2]}))", cells=9)

    def real_part(value):
        a[0, 0] = value
        return np.linalg.eigvals(a).real.max()

    hopf = analyze_hopf(family, np.zeros(3), brentq(real_part, 0.5, 1.5, xtol=1e-14))
    (cycle,) = measure_cycles(family, hopf, (0.1,)).orbits
    a[0, 0] = cycle.parameter
    basis = family.basis[[0, 3, 6]]  # values on the thirds
    start = basis @ cycle.guess.points[0]
    normal = np.tanh(a @ start) / np.linalg.norm(np.tanh(a @ start))
    plane = np.linalg.svd(normal[None, :])[2][1:].T

    def section(_, x):
        return normal @ (x - start)

    section.direction = 1.0

    def returned(u):
        span = 0, 1.2 * cycle.period
        found = solve_ivp(lambda _, x: np.tanh(a @ x), span, start + plane @ u, events=section, **TIGHT)
        return plane.T @ (found.y_events[0][-1] - start)

    h = 1e-4
    derivative = np.column_stack([(returned(h * e) - returned(-h * e)) / (2 * h) for e in np.eye(2)])
    expected = np.linalg.eigvals(derivative)
    expected = expected[np.argsort(-np.abs(expected))]
    np.testing.assert_allclose(np.abs(cycle.multipliers), np.abs(expected), atol=1e-6)


def test_subcritical_point_has_no_attracting_cycle():
    """The same A with the functions 1 and √2 cos πy: beyond 0.9 states leave, and cycles lie before it and repel.

    Fails if a ramp with a constant amplitude in a window passes for a cycle, or the law of a state that turns while it
    grows is not found.  The repelling cycle at 0.85 is that of
    DOP853 backwards in time on 80 Gauss points.
    """
    family = family_of("tanh", COSINES, cells=16, space={"degree": 2})
    point = analyze_hopf(family, np.zeros(2), 0.9)
    assert (point.criticality, point.side) == ("subcritical", -1)
    leaving = follow_departure(family, np.zeros(2), 1.0)
    assert leaving.outcome == "growth" and leaving.orbit is None
    assert "the distance grows as t^1.03 ± 0.02" in leaving.sentence  # |f'| ≤ 1
    (cycle,) = measure_cycles(family, point, (0.05,)).orbits
    assert cycle.stability == "repelling in 1 direction"
    a = matrix(0.85)
    amplitude, period, _ = settle(lambda c: -PAIR.T @ (WEIGHTS * np.tanh(PAIR @ (a @ c))), [0.27, 0.0], 400.0)
    assert cycle.amplitude == pytest.approx(amplitude, rel=1e-5)
    assert cycle.period == pytest.approx(period, rel=1e-5)


@pytest.mark.slow
def test_family_is_followed_to_the_end_of_the_range():
    """Fails if the family stops early or loses its cycles; the period at a = 1.5 is DOP853's."""
    family = family_of("tanh")
    cycles = follow_cycles(family, analyze_hopf(family, np.zeros(2), 0.9), 24)
    assert cycles.ending == "the range ends" and cycles.parameters[-1] == pytest.approx(1.5)
    assert cycles.exponent == pytest.approx(0.5, abs=0.01)
    assert all(orbit.stability == "attracting" for orbit in cycles.orbits)
    _, period, _ = settle(lambda x: np.tanh(matrix(1.5) @ x), [0.5, 0.0], 100.0)
    assert cycles.orbits[-1].period == pytest.approx(period, rel=1e-7)


def test_cycles_of_a_center():
    """σ = identity: cycles of every amplitude at a = 0.9 alone; fails if they are followed as a family in a."""
    family = family_of("identity")
    cycles = follow_cycles(family, analyze_hopf(family, np.zeros(2), 0.9), 24)
    assert "a center" in cycles.ending and len(cycles.orbits) == 3
    assert not any(orbit.is_decided for orbit in cycles.orbits)


def test_f_drifts_while_g_is_periodic():
    """A bias of mean zero on each half: g = K f + b has the cycle, and f moves on within ker K in each period.

    Fails if the cycle of g passes for one of f; the distance is a quadrature of σ(g) over a period of DOP853.
    """
    family = family_of("tanh", bias="0.5*cos(4*pi*y)")
    space = family.space
    b = family.at(1.0).field.bias
    (cycle,) = measure_cycles(family, analyze_hopf(family, np.zeros(2), 0.9), (0.1,)).orbits
    left = space.coordinates[:, 0] < 0.5
    halves = np.array([b[left], b[~left]])
    a = matrix(1.0)

    def rate(x):
        return np.tanh((a @ x)[:, None] + halves).mean(axis=1)

    amplitude, period, start = settle(rate, [0.3, 0.0], 300.0)
    assert cycle.amplitude == pytest.approx(amplitude / np.sqrt(2), rel=1e-6)
    run = solve_ivp(lambda _, x: rate(x), (0, period), start, dense_output=True, **TIGHT).sol
    moved = [
        quad(lambda t, k=k, value=value: np.tanh(a[k] @ run(t) + value), 0, period, epsabs=1e-8)[0]
        for k in range(2)
        for value in halves[k, :2]
    ]
    expected = np.sqrt(np.mean(np.square(moved)))  # each pair of cells stands twice in its half
    assert cycle.drift == pytest.approx(expected, rel=1e-4) and cycle.drift > 100 * cycle.drift_error


def test_what_is_no_cycle_is_refused():
    """Fails if a steady state, a ramp or twice a cycle is accepted as a cycle."""
    family = family_of("tanh")
    (cycle,) = measure_cycles(family, analyze_hopf(family, np.zeros(2), 0.9), (0.1,)).orbits
    twice = Guess(points=cycle.guess.points[[0, 0]], period=2 * cycle.period, parameter=cycle.parameter)
    with pytest.raises(NotConverged, match="2 times"):
        solve_orbit(family, twice)
    rest = Guess(points=np.zeros((2, 2)), period=4.0, parameter=1.0)
    with pytest.raises(NotConverged):
        solve_orbit(family, rest)
    constant = family_of("tanh", "a*where(z < 0.5, 0, 1)")  # f' does not change sign: states ramp
    ramp = Guess(points=np.array([[1.0], [1.1]])[:, : constant.dimension], period=1.0, parameter=1.0)
    with pytest.raises(NotConverged):
        solve_orbit(constant, ramp)


@pytest.mark.slow
def test_report_of_a_subcritical_point():
    """The study says what the parts find, with the tolerance of each.

    Fails if a cycle is reported where states leave, or if closures and errors are missing from the report.
    """
    problem = build_equation({"activation": "tanh", "kernel": COSINES}, cells=20, parameters={"a": 0.95})
    settings = StabilitySettings(parameter="a", range=(0.85, 0.95), searches=0)
    report = branches(lambda value: problem.field_at({"a": value}), np.zeros(problem.space.num_local), settings)
    (entry,) = json.loads(json.dumps(report.as_dict()))["bifurcations"]
    assert (entry["kind"], entry["criticality"]) == ("hopf", "subcritical")
    assert entry["departure"]["outcome"] == "growth"
    cycles = entry["cycles"]
    assert max(cycles["parameters"]) < 0.9 and set(cycles["stability"]) == {"repelling in 1 direction"}
    assert all(c <= t for c, t in zip(cycles["closures"], cycles["closure_tolerances"], strict=True))
    assert "no attracting cycle was found" in " ".join(report.sentences)
