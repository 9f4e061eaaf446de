# SPDX-License-Identifier: MIT
"""Hopf points, cycles and multiple points with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from gallery import Answer, blocks, problem

OMEGA = 2.19**0.5
FLAT = {"family": "dg", "degree": 0}
HALVES = blocks([["a", -3], [1, -0.9]])
COSINES = "a - 3*sqrt(2)*cos(pi*z) + sqrt(2)*cos(pi*y) - 1.8*cos(pi*y)*cos(pi*z)"
"""The matrix [[a, −3], [1, −0.9]] on the orthonormal functions 1 and √2 cos πy."""
IN_A = {"parameter": "a", "range": [0.5, 1.5], "searches": 0}
IN_MU = {"parameter": "mu", "range": [0.5, 1.5], "searches": 0}


def kinds(answer: Answer) -> list:
    """Kind and rounded parameter of each bifurcation, in the order of the parameter."""
    return [
        [kind, round(value, 4)] for value, kind in sorted((b.parameter, b.kind) for b in answer.report.bifurcations)
    ]


def hopf(answer: Answer):
    """What was found at the only bifurcation, a Hopf point at a = 0.9."""
    assert kinds(answer) == [["hopf", 0.9]]
    (findings,) = answer.report.cycles.values()
    assert findings.contradiction is None
    for orbit in findings.cycles.orbits:
        assert orbit.closure <= orbit.closure_tolerance
    return findings


def in_words(findings) -> list:
    """Criticality, stability of the cycles, and where the run goes: the same on every mesh."""
    return [findings.criticality, sorted({o.stability for o in findings.cycles.orbits}), findings.departure.outcome]


@problem(
    "branches",
    kernel=HALVES,
    space=FLAT,
    state="0",
    parameters={"a": 1.0},
    settings=IN_A,
    says="a supercritical Hopf point at 0.9, l₁ = −0.45 √2.19, and attracting cycles up to the end of the range",
    route="closed form of l₁; amplitude constant 2√10/(3ω)",
)
def supercritical_hopf_point(answer: Answer):
    """Fails if l₁ or the amplitude leave their closed forms, or the cycles are lost."""
    findings = hopf(answer)
    assert findings.hopf.lyapunov == pytest.approx(-0.45 * OMEGA, abs=1e-6)
    assert findings.hopf.amplitude_constant == pytest.approx(2 * np.sqrt(10) / (3 * OMEGA), rel=1e-6)
    assert findings.cycles.exponent == pytest.approx(0.5, abs=0.01)
    assert findings.cycles.parameters[-1] == pytest.approx(1.5)
    return in_words(findings)


@problem(
    "branches",
    kernel=COSINES,
    state="0",
    parameters={"a": 1.0},
    settings=IN_A,
    says="a subcritical Hopf point: no attracting cycle, states leave beyond 0.9, cycles before it repel",
    route="l₁ by 80 Gauss points; DOP853 backwards in time: period 4.44228434 at 0.85, 9.02358204 at 0.5",
)
def subcritical_hopf_point(answer: Answer):
    """Fails if a ramp passes for a cycle, or a cycle is claimed beyond the point."""
    findings = hopf(answer)
    assert findings.hopf.lyapunov == pytest.approx(0.7491815847, abs=1e-5)
    assert np.all(findings.cycles.parameters < 0.9) and findings.departure.orbit is None
    assert findings.cycles.orbits[-1].parameter == pytest.approx(0.5)
    assert findings.cycles.orbits[-1].period == pytest.approx(9.02358204, rel=1e-4)
    return in_words(findings)


@problem(
    "branches",
    kernel=HALVES,
    space=FLAT,
    activation="identity",
    state="0",
    parameters={"a": 1.0},
    settings=IN_A,
    says="a pair crosses at 0.9, where the equation is a center: no criticality, no cycle at any other a",
    route="linear equation",
)
def linear_center(answer: Answer):
    """Fails if a criticality or an isolated cycle is claimed for a linear equation."""
    findings = hopf(answer)
    assert "degenerate" in findings.hopf.criticality_declined
    np.testing.assert_allclose(findings.cycles.parameters, 0.9, atol=1e-7)
    assert "center" in findings.cycles.ending
    return in_words(findings)


@problem(
    "branches",
    kernel=HALVES,
    space=FLAT,
    activation="s + s**3",
    state="0",
    parameters={"a": 1.0},
    settings=IN_A,
    says="a subcritical Hopf point with l₁ = 1.35 √2.19; states beyond it leave",
    route="closed form: σ‴(0) is −3 times that of tanh",
)
def hardening_activation(answer: Answer):
    """Fails if the sign of l₁ is lost."""
    findings = hopf(answer)
    assert findings.hopf.lyapunov == pytest.approx(1.35 * OMEGA, abs=1e-5)
    assert np.all(findings.cycles.parameters < 0.9)
    return in_words(findings)


@problem(
    "branches",
    kernel=HALVES,
    space=FLAT,
    activation="tanh(s) + 0.1*abs(s)",
    state="0",
    parameters={"a": 1.0},
    settings={**IN_A, "cycles": True},
    says="the criticality is not decided: σ has a kink at the state",
    route="by hand: |s| has no second derivative at 0",
)
def kink_at_a_hopf_point(answer: Answer):
    """Fails if derivatives of σ are believed where it has none."""
    said = []
    for findings in answer.report.cycles.values():
        assert findings.criticality == ""
        said.append("not smooth" in findings.hopf.criticality_declined)
    return said


@problem(
    "branches",
    kernel=HALVES,
    space=FLAT,
    activation="tanh(s) + 0.3*s**2",
    state="0",
    parameters={"a": 1.0},
    settings=IN_A,
    says="cycles end at a homoclinic orbit at 1.357: their period grows without bound, they do not reach 1.5",
    route="DOP853 on the two numbers: period 15.0 at 1.356, and no cycle at 1.4",
)
def homoclinic_end(answer: Answer):
    """Fails if cycles are claimed beyond the homoclinic orbit, or the search never ends."""
    findings = hopf(answer)
    last = findings.cycles.orbits[-1]
    assert "homoclinic" in findings.cycles.ending
    assert last.parameter == pytest.approx(1.3571, abs=1e-3) and last.period > 12
    return in_words(findings)


@problem(
    "branches",
    kernel=HALVES,
    space=FLAT,
    bias="0.5*cos(4*pi*y)",
    state="0",
    parameters={"a": 1.0},
    settings=IN_A,
    says="K f + b has attracting cycles beyond 0.9, while f drifts within ker K",
    route="the drift at a = 1 by DOP853 and a quadrature (tests/verification/test_cycles.py)",
)
def cycle_that_does_not_close_in_f(answer: Answer):
    """Fails if a cycle of g passes for one of f."""
    findings = hopf(answer)
    assert all(orbit.drift > 100 * orbit.drift_error for orbit in findings.cycles.orbits)
    assert any("f drifts" in phrase for phrase in findings.phrases("a"))
    return in_words(findings)


@problem(
    "branches",
    kernel="1 + cos(pi*y)*cos(pi*z)",
    activation="tanh(mu*s) - s",
    state="0",
    parameters={"mu": 0.7},
    settings=IN_MU,
    says="at μ = 1 both eigenvalues are zero: five branches, all in one sense; eight half-branches beyond",
    route="brute force on 80 Gauss points (tests/verification/test_branch_directions.py)",
)
def double_point(answer: Answer):
    """Fails if branches at a double point are lost or invented."""
    assert kinds(answer) == [["multiple", 1.0]]
    (found,) = answer.report.bifurcations
    bends = sorted(round(d.bend, 3) for d in found.multiple.directions if d.slope == 0)
    assert len(found.departures) == 8 and found.multiple.declined is None
    return [found.multiple.dimension, found.multiple.is_odd, bends]


@problem(
    "branches",
    kernel="cos(2*pi*(y - z))",
    activation="tanh(mu*s) - s",
    state="0",
    parameters={"mu": 0.7},
    settings=IN_MU,
    says="at μ = 1 a circle of branches leaves, by rotation: dimension two, symmetry one, not counted",
    route="by hand: the equation commutes with translations of the circle",
)
def circle_of_branches(answer: Answer):
    """Fails if a number of branches is invented where there is a continuum."""
    assert kinds(answer) == [["multiple", 1.0]]
    (found,) = answer.report.bifurcations
    assert found.multiple.declined is not None
    return [found.multiple.dimension, found.multiple.is_odd, found.multiple.continuous_symmetry]


@problem(
    "branches",
    kernel="1 + cos(pi*y)*cos(pi*z) + cos(2*pi*y)*cos(2*pi*z)",
    activation="(mu - 1)*s + s**2",
    state="0",
    parameters={"mu": 0.7},
    settings={**IN_MU, "branches": 3},
    says="at μ = 1 three quadratic equations: 2³ branches, all of them real",
    route="Bézout's theorem; roots on Gauss points by starts on a grid, for the kernel of rank two",
)
def triple_point_of_a_parabola(answer: Answer):
    """Fails if branches with λ ~ s are taken for pitchforks, or some are lost."""
    assert kinds(answer) == [["multiple", 1.0]]
    (found,) = answer.report.bifurcations
    return [found.multiple.dimension, len(found.multiple.directions), found.multiple.declined is None]


@problem(
    "branches",
    kernel="1",
    activation="tanh(mu*s) - s",
    bias="0.01",
    state="-0.01",
    parameters={"mu": 0.5},
    settings={"parameter": "mu", "range": [0.5, 1.5]},
    says="a constant bias does not break the pitchfork at μ = 1",
    route="closed form: g' = K σ(g) whatever b is",
)
def pitchfork_with_a_bias(answer: Answer):
    """Fails if the bias is taken for a term of the equation of g."""
    assert kinds(answer) == [["pitchfork", 1.0]]
    return kinds(answer)
