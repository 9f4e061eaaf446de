# SPDX-License-Identifier: MIT
"""Branches of steady states whose bifurcations are known: none where kernels have eigenvalues near zero or the axis."""

from __future__ import annotations

import math

import numpy as np
import pytest
from gallery import Answer, blocks, problem
from scipy.optimize import brentq

CELLWISE = {"family": "dg", "degree": 0}


def along(parameter: str, first: float, last: float, **more) -> dict:
    """The table of a branch in a parameter."""
    return {"parameter": parameter, "range": [first, last], **more}


def found(answer: Answer) -> list:
    """Kind and rounded parameter of each bifurcation, in the order of the parameter."""
    listed = sorted((b.parameter, b.kind) for b in answer.report.bifurcations)
    return [[kind, round(value, 4) + 0.0] for value, kind in listed]


def nothing(answer: Answer) -> str:
    """Asserts that no bifurcation is reported, and that the branch runs through the range."""
    assert answer.report.bifurcations == () and answer.report.diagram.undecided == ()
    first = answer.report.diagram.branches[0]
    assert {first.beginning, first.ending} == {"the range ends"}
    return "none"


@problem(
    "branches",
    kernel="-exp(-(y - z)**2/w)",
    state="0",
    parameters={"w": 0.05},
    settings=along("w", 0.05, 0.5),
    says="no bifurcation, and that small eigenvalues are not counted",
    route="a Gaussian is positive definite: K is negative definite",
)
def gaussian_that_widens(answer: Answer):
    """Fails if eigenvalues that fall to round-off change their sign."""
    assert "not counted" in " ".join(answer.report.undecided)
    return nothing(answer)


@problem(
    "branches",
    kernel="a*sin(y - z)",
    state="0",
    parameters={"a": 1.0},
    settings=along("a", 1.0, 2.0),
    says="no bifurcation: a pair stays on the imaginary axis",
    route="K is skew",
)
def skew_that_grows(answer: Answer):
    """Fails if a pair on the axis is a Hopf point."""
    assert {point.unstable for point in answer.report.diagram.branches[0].points} == {0}
    return nothing(answer)


@problem(
    "branches",
    kernel=blocks([[0, "a", 0], [0, 0, "a"], [0, 0, 0]]),
    state="0",
    parameters={"a": 1.0},
    space=CELLWISE,
    settings=along("a", 0.5, 2.0),
    says="no bifurcation: all eigenvalues are zero",
    route="K³ = 0",
)
def nilpotent_that_grows(answer: Answer):
    """Fails if the noise of a defective eigenvalue is counted."""
    return nothing(answer)


@problem(
    "branches",
    kernel="1",
    activation="tanh(mu*s) - s",
    state="0.1*y",
    parameters={"mu": 0.5},
    settings=along("mu", 0.5, 2.0),
    says="a pitchfork at μ = 1, from a start that is not the state",
    route="closed form: g' = tanh μg − g",
)
def pitchfork_from_beside(answer: Answer):
    """Fails if a pitchfork passes for a fold, though the parameter does not turn."""
    assert found(answer) == [["pitchfork", 1.0]]
    return found(answer)


@problem(
    "branches",
    kernel="1",
    activation="tanh(mu*s + 0.01) - s",
    state="-0.9",
    parameters={"mu": 1.5},
    settings=along("mu", 0.5, 2.0),
    says="the fold of the branch of the state, at μ = 1.0616, and another branch that has none",
    route="SciPy: σ = 0 and σ' = 0",
)
def imperfect_pitchfork(answer: Answer):
    """Fails if the branch of another state is followed, or the disconnected one is not found."""

    def residual(s: float) -> float:
        return math.tanh(rises(s) * s + 0.01) - s

    def rises(s: float) -> float:
        return brentq(lambda mu: mu / math.cosh(mu * s + 0.01) ** 2 - 1, 0.9, 1.0 / abs(s))

    (fold,) = answer.report.bifurcations
    assert fold.kind == "fold" and abs(fold.parameter - rises(brentq(residual, -0.4, -0.15))) < 1e-7
    assert [branch.origin for branch in answer.report.diagram.branches] == ["state", "deflation"]
    return found(answer)


@problem(
    "branches",
    kernel="-1",
    activation="s**2 - mu",
    state="1",
    parameters={"mu": 1.0},
    settings=along("mu", 2.0, -0.5),
    says="a fold at μ = 0, met from the middle of the range",
    route="closed form: g = ±√μ",
)
def fold_from_the_middle(answer: Answer):
    """Fails if the branch is followed one way only."""
    (branch,) = answer.report.diagram.branches
    assert branch.points[0].parameter == branch.points[-1].parameter == 2.0
    assert found(answer) == [["fold", 0.0]]
    return found(answer)


@problem(
    "branches",
    kernel="1",
    activation="mu*s - s**2",
    state="0",
    parameters={"mu": -1.0},
    settings=along("mu", -1.0, 1.0),
    says="a transcritical point at μ = 0",
    route="closed form: g = 0 and g = μ",
)
def transcritical_point(answer: Answer):
    """Fails if it passes for a pitchfork or a fold."""
    assert found(answer) == [["transcritical", 0.0]]
    return found(answer)


@problem(
    "branches",
    kernel=blocks([["a", -3], [1, -0.9]]),
    state="0",
    parameters={"a": 0.5},
    space=CELLWISE,
    settings=along("a", 0.5, 1.5, cycles=False),
    says="a Hopf point at a = 0.9 of frequency √2.19",
    route="closed form: trace and determinant of the matrix",
)
def hopf_of_two_populations(answer: Answer):
    """Fails if the pair is missed, or two real eigenvalues pass for one."""
    (hopf,) = answer.report.bifurcations
    assert abs(hopf.parameter - 0.9) < 1e-8 and hopf.frequency == pytest.approx(math.sqrt(2.19), abs=1e-7)
    assert hopf.witnesses[0] < 0 < hopf.witnesses[1]
    return found(answer)


@problem(
    "branches",
    kernel="1 + cos(pi*y)*cos(pi*z)",
    activation="tanh(mu*s) - s",
    state="0",
    parameters={"mu": 0.55},
    settings=along("mu", 0.55, 1.5),
    says="two eigenvalues are zero at μ = 1: a multiple point",
    route="closed form: σ'(0) = μ − 1 times the eigenvalues of K",
)
def two_at_once(answer: Answer):
    """Fails if one of the two is reported alone."""
    assert found(answer) == [["multiple", 1.0]]
    assert answer.report.bifurcations[0].right.shape[1] == 2
    return found(answer)


@problem(
    "branches",
    kernel="mu*cos(pi*y)*cos(pi*z) - 2*cos(2*pi*y)*cos(2*pi*z)",
    state="0",
    parameters={"mu": -0.7},
    settings=along("mu", -0.7, 1.0),
    says="an exchange of stability at μ = 0, where cos πy enters ker K",
    route="closed form: the eigenvalue is μ/2",
)
def direction_that_enters_the_kernel(answer: Answer):
    """Fails if a line of steady states passes for a pitchfork."""
    assert found(answer) == [["exchange of stability", 0.0]]
    return found(answer)


@problem(
    "branches",
    kernel="-1",
    activation="tanh",
    bias="beta",
    state="0",
    parameters={"beta": 0.0},
    settings=along("beta", -1.0, 1.0),
    says="no bifurcation and no other branch: for each β an affine family ∫ f = β",
    route="closed form: tanh vanishes at 0 alone",
)
def affine_families(answer: Answer):
    """Fails if deflation finds the members of a family one after the other."""
    assert sum(search.found for search in answer.report.diagram.searches) == 0
    state = answer.report.states[0][-1]
    assert abs(answer.weights @ state - answer.report.diagram.branches[0].points[-1].parameter) < 1e-9
    return nothing(answer)


@problem(
    "branches",
    kernel="3*sin(mu*y)*sin(mu*z)",
    activation="tanh(s) - 2*s",
    state="0",
    parameters={"mu": 2.0},
    settings=along("mu", 1.0, 4.0),
    says="no bifurcation, although the direction that K sees turns",
    route="closed form: −3 ∫ sin² μy < 0 is the one eigenvalue",
)
def kernel_that_turns(answer: Answer):
    """Fails if directions that K no longer sees are counted, or the eigenvalue is lost."""
    ends = [answer.report.diagram.branches[0].points[k] for k in (0, -1)]
    for point in ends:
        mu = point.parameter
        exact = -3 * (0.5 - math.sin(2 * mu) / (4 * mu))
        assert np.min(np.abs(point.eigenvalues - exact)) < 1e-2
    return nothing(answer)


@problem(
    "branches",
    kernel="1",
    activation="tanh(mu*s) - s",
    state="0",
    parameters={"mu": 1.0},
    settings=along("mu", 1.0, 2.0),
    says="a pitchfork at μ = 1, met from a range that begins there",
    route="closed form: μ = artanh(g)/g",
)
def range_that_begins_at_the_pitchfork(answer: Answer):
    """Fails if the shape of a curve is read from points nearer to its turn than the turn is known."""
    kinds = found(answer)
    assert kinds == [["pitchfork", 1.0]] and answer.report.bifurcations[0].criticality == "supercritical"
    assert all(1.0 <= p.parameter <= 2.0 for branch in answer.report.diagram.branches for p in branch.points)
    return kinds


@problem(
    "branches",
    kernel="1",
    activation="1e8*(tanh(mu*s/1e8) - s/1e8)",
    state="0",
    parameters={"mu": 0.5},
    settings=along("mu", 0.5, 2.0),
    says="a pitchfork at μ = 1 whose states have the size 1e8, no line of steady states",
    route="closed form, states times 1e8",
)
def pitchfork_of_large_states(answer: Answer):
    """Fails if a curve whose bend is not seen near the point passes for a line."""
    assert answer.report.bifurcations[0].criticality == "supercritical"
    return found(answer)


@problem(
    "branches",
    kernel="1",
    activation="mu/1e8*s + s**3 - s**5",
    state="0",
    parameters={"mu": 0.0},
    settings=along("mu", -0.5e8, 0.5e8),
    says="a subcritical pitchfork at 0 and two folds at −0.25e8",
    route="closed form: the same with the parameter in units of 1e8",
)
def parameter_in_small_units(answer: Answer):
    """Fails if steps and distances know the units of the parameter: branches pass for each other, folds are one."""
    listed = sorted((b.parameter / 1e8, b.kind) for b in answer.report.bifurcations)
    assert [kind for _, kind in listed] == ["fold", "fold", "pitchfork"]
    assert max(abs(value - exact) for (value, _), exact in zip(listed, (-0.25, -0.25, 0.0), strict=True)) < 1e-9
    return [kind for _, kind in listed]


@problem(
    "branches",
    kernel="1",
    activation="mu*1e6*s + s**3 - s**5",
    state="0",
    parameters={"mu": 0.0},
    settings=along("mu", -0.5e-6, 0.5e-6),
    says="a subcritical pitchfork at 0 and two folds at −0.25e-6",
    route="closed form: the same with the parameter in units of 1e-6",
)
def parameter_in_large_units(answer: Answer):
    """Fails if steps and distances know the units of the parameter: branches end after a part of their points."""
    listed = sorted((b.parameter * 1e6, b.kind) for b in answer.report.bifurcations)
    assert [kind for _, kind in listed] == ["fold", "fold", "pitchfork"]
    assert max(abs(value - exact) for (value, _), exact in zip(listed, (-0.25, -0.25, 0.0), strict=True)) < 1e-9
    return [kind for _, kind in listed]


@problem(
    "branches",
    kernel="1",
    activation="1e6*(tanh(mu*s) - s)",
    state="0",
    parameters={"mu": 0.5},
    settings=along("mu", 0.5, 2.0),
    says="a pitchfork at μ = 1 and its two branches, each once",
    route="closed form, time divided by 1e6",
)
def fast_pitchfork(answer: Answer):
    """Fails if round-off of large rates counts as no convergence, and known branches are found again."""
    assert [branch.origin for branch in answer.report.diagram.branches] == ["state", "bifurcation", "bifurcation"]
    return found(answer)


@problem(
    "branches",
    kernel="mu*(cos(pi*y)*cos(pi*z) + cos(2*pi*y)*cos(2*pi*z))",
    state="0",
    parameters={"mu": -0.7},
    settings=along("mu", -0.7, 1.0),
    says="two directions enter ker K at μ = 0, where K vanishes",
    route="K(0) = 0: every state is steady",
)
def kernel_that_vanishes_at_a_value(answer: Answer):
    """Fails if a kernel of rank zero ends in an error."""
    assert answer.report.bifurcations[0].multiple.entering == 2
    assert "2 directions enter ker K" in answer.report.sentences[0]
    return found(answer)


@problem(
    "branches",
    kernel=blocks([["a", -1, 0], [1, "a", 0], [0, 0, "a"]]),
    state="0",
    parameters={"a": -0.5},
    space=CELLWISE,
    settings=along("a", -0.5, 0.5),
    says="a zero eigenvalue and a pair ±i reach the axis together at a = 0",
    route="closed form: the eigenvalues are a and a ± i",
)
def zero_and_pair_at_once(answer: Answer):
    """Fails if one of the two is counted twice, or the number and kind are not said."""
    assert sorted(answer.report.bifurcations[0].frequencies) == pytest.approx([0.0, 1.0], abs=1e-9)
    assert "1 zero eigenvalue and 1 pair ±1 i" in answer.report.sentences[0]
    return found(answer)


@problem(
    "branches",
    kernel="-1",
    activation="tanh(s)*sqrt(mu)",
    state="0",
    parameters={"mu": 0.5},
    settings=along("mu", -1.0, 1.0, searches=0),
    says="the branch ends where σ is not defined, at μ = 0",
    route="√μ is real for μ ≥ 0 only",
)
def formula_that_ends(answer: Answer):
    """Fails if an equation that is not defined beyond a value ends in an error."""
    (branch,) = answer.report.diagram.branches
    assert 0 <= min(p.parameter for p in branch.points) < 1e-4
    assert "the corrector fails" in (branch.beginning, branch.ending)
    return found(answer)
