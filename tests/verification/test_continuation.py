# SPDX-License-Identifier: MIT
"""Branches of steady states against closed forms: folds, pitchforks, Hopf points, and what is no bifurcation."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CELLWISE, HALVES, build_equation
from scipy.optimize import brentq

from fem_selection.errors import InvalidInput, NotConverged
from fem_selection.steady import ReducedFamily, analyze_hopf, continue_branches, measure_cycles


def follow(kernel, activation, parameter, lower, upper, start="0", bias="0", cells=10, space=None, **options):
    """The family of an equation over a parameter, and its branches through the state at the start."""
    dynamics = {"activation": activation, "kernel": kernel, "bias": bias}
    value = options.get("at", lower)
    problem = build_equation(dynamics, cells=cells, space=space, initial=start, parameters={parameter: value})
    family = ReducedFamily(problem.space, lambda value: problem.field_at({parameter: value}), lower=lower, upper=upper)
    return family, continue_branches(family, family.coordinates(problem.initial), lower=lower, upper=upper, **options)


@pytest.mark.parametrize("space", [{}, {"mode": "galerkin"}], ids=["collocated", "galerkin"])
def test_pitchfork(space):
    """w = 1, σ = tanh(μ s) − s: g = ∫f obeys g' = tanh(μ g) − g, with a pitchfork at μ = 1.

    Fails if the neutral space of f (all f with ∫f = 0) is taken for a bifurcation, if the parameter does not reach σ,
    or if the crossing branch is not followed to both sides.
    """
    family, diagram = follow("1", "tanh(mu*s) - s", "mu", 0.5, 2.0, cells=4, space=space, step=0.1)
    assert family.dimension == 1
    (found,) = diagram.bifurcations
    assert (found.kind, found.criticality, found.unstable) == ("pitchfork", "supercritical", (0, 1))
    assert found.parameter == pytest.approx(1.0, abs=1e-9)
    assert len(diagram.branches) == 3
    ends = sorted(branch.points[-1].coordinates[0] for branch in diagram.branches)  # |Y| = 1: c = ±∫f
    np.testing.assert_allclose(ends, [-0.95750402407, 0.0, 0.95750402407], atol=1e-9)  # tanh(2 g) = g
    assert [branch.points[-1].unstable for branch in diagram.branches] == [1, 0, 0]
    assert max(point.drift for branch in diagram.branches for point in branch.points) < 1e-12


def test_pitchfork_met_along_the_parabola():
    """Started on the upper branch, the continuation passes the same point where the branch turns round.

    No eigenvalue changes sign there.  Fails if the sign of the bordered determinant is not looked at.
    """
    _, diagram = follow("1", "tanh((2.5 - mu)*s) - s", "mu", 0.5, 2.0, start="0.95", step=0.1)
    (found,) = diagram.bifurcations
    assert (found.kind, found.criticality) == ("pitchfork", "supercritical")
    assert found.parameter == pytest.approx(1.5, abs=1e-8)
    assert sorted(branch.points[-1].parameter for branch in diagram.branches) == pytest.approx([0.5, 0.5, 2.0])


def test_hopf_point():
    """A = [[a, −3], [1, −0.9]] on the normalised halves of Y: a pair ±i √2.19 at a = 0.9.

    Fails if pairs are not told from two real eigenvalues, or if bisection stops early.
    """
    family, diagram = follow(HALVES, "tanh", "a", 0.5, 1.5, space=CELLWISE, cells=8, step=0.1)
    (found,) = diagram.bifurcations
    assert (found.kind, found.unstable) == ("hopf", (0, 2))
    assert found.parameter == pytest.approx(0.9, abs=1e-9)
    assert found.frequency == pytest.approx(np.sqrt(2.19), abs=1e-8)
    cycles = measure_cycles(family, analyze_hopf(family, found.point.coordinates, found.parameter), (0.04, 0.02, 0.01))
    assert cycles.exponent == pytest.approx(0.5, abs=0.02)
    assert np.all(np.diff(cycles.amplitudes) < 0)


def test_folds():
    """σ(s) = μ + s − s³ has two zeros that merge at s = ∓1/√3, μ = ±2/(3√3): a branch in the form of an S.

    Fails if the corrector cannot turn round, or if a fold is taken for a branch point.
    """
    _, diagram = follow("1", "mu + s - s**3", "mu", -1.0, 1.0, start="-1.3", step=0.1)
    assert [found.kind for found in diagram.bifurcations] == ["fold", "fold"]
    values = [found.parameter for found in diagram.bifurcations]
    np.testing.assert_allclose(values, [2 / 27**0.5, -2 / 27**0.5], atol=1e-9)
    assert [found.unstable for found in diagram.bifurcations] == [(0, 1), (1, 0)]
    assert len(diagram.branches) == 1
    assert diagram.branches[0].points[-1].parameter == pytest.approx(1.0)


def test_transcritical():
    """σ(s) = μ s − s²: the zeros 0 and μ exchange stability at μ = 0; fails if it passes for a pitchfork."""
    _, diagram = follow("1", "mu*s - s**2", "mu", -1.0, 1.0, step=0.1)
    (found,) = diagram.bifurcations
    assert found.kind == "transcritical" and found.parameter == pytest.approx(0.0, abs=1e-9)


def test_affine_families_are_no_bifurcations():
    """σ = tanh, b = β: the steady states are the affine set ∫f = −β for every β, and nothing bifurcates.

    Fails if the equation is solved in f, whose Jacobian is singular everywhere.
    """
    family, diagram = follow("1", "tanh", "beta", -1.0, 1.0, bias="beta", start="1")
    assert diagram.bifurcations == ()
    last = diagram.branches[0].points[-1]
    np.testing.assert_allclose(family.at(1.0).lift(last.coordinates), -1.0, atol=1e-10)


def test_exchange_of_stability():
    """w = λ u ⊗ u − c δ, σ = tanh: at λ ‖u‖² = c the line of multiples of u becomes steady, at that λ alone.

    Fails if the line is taken for a pitchfork, or if the gauge of ker K holds the direction fixed that enters it.
    """
    cells = 12
    family, diagram = follow(
        f"lam*exp(y + z) - where(y == z, {cells}, 0)", "tanh", "lam", 0.0, 1.0, space=CELLWISE, cells=cells, step=0.1
    )
    u = np.exp((np.arange(cells) + 0.5) / cells)
    (found,) = diagram.bifurcations
    assert found.kind == "exchange of stability" and found.unstable == (0, 1)
    assert found.parameter == pytest.approx(cells / (u @ u), abs=1e-9)
    assert family.dimension == cells and len(diagram.branches) == 1


def test_a_kernel_that_turns_with_the_parameter():
    """w = sin(μ y) sin(μ z): the space that K sees changes with μ, the rank, one, does not.

    Fails if the gauge is left out: the directions that K no longer sees are then eigenvalues zero at every μ.
    """
    family, diagram = follow("sin(mu*y)*sin(mu*z)", "tanh", "mu", 1.0, 2.0)
    assert family.dimension > 2
    assert diagram.bifurcations == ()
    assert all(point.eigenvalues.size == 1 for point in diagram.branches[0].points)
    exact = 0.5 - np.sin(4.0) / 8.0
    assert diagram.branches[0].points[-1].eigenvalues[0].real == pytest.approx(exact, rel=1e-2)


def test_several_eigenvalues_at_once():
    """A kernel of rank two and σ = tanh(μ s) − s at f = 0: both eigenvalues are zero at μ = 1.

    Fails if two real eigenvalues pass for a Hopf point.
    """
    _, diagram = follow("1 + cos(pi*y)*cos(pi*z)", "tanh(mu*s) - s", "mu", 0.55, 2.0, step=0.1)
    assert [found.kind for found in diagram.bifurcations] == ["multiple"]


def test_zero_kernel_is_refused():
    """Fails if an empty reduced equation is continued."""
    with pytest.raises(InvalidInput, match="kernel is zero"):
        follow("0", "tanh", "mu", 0.0, 1.0)


@pytest.mark.parametrize("start", ["0.1*y", *(pytest.param(f, marks=pytest.mark.slow) for f in ("0", "0.1", "0.3"))])
def test_a_pitchfork_is_no_fold(start):
    """The kind does not depend on the start, of which Newton's method leaves a trace of round-off.

    Fails if a zero eigenvalue alone makes a fold: the parameter does not turn.
    """
    _, diagram = follow("1", "tanh(mu*s) - s", "mu", 0.5, 2.0, start=start, cells=8)
    assert [(b.kind, b.criticality) for b in diagram.bifurcations] == [("pitchfork", "supercritical")]
    assert diagram.bifurcations[0].parameter == pytest.approx(1.0, abs=1e-9)
    assert diagram.undecided == ()


def test_the_branch_of_the_state_is_followed_both_ways():
    """σ = tanh(μ s + 0.01) − s from −0.9 at μ = 1.5: a fold where σ = σ' = 0, and a branch that it does not reach.

    Fails if another branch is followed, if one way is left out, or if a branch is called complete without a search.
    """
    _, diagram = follow("1", "tanh(mu*s + 0.01) - s", "mu", 2.0, 0.5, start="-0.9", cells=4, at=1.5)
    (fold,) = diagram.bifurcations

    def at_fold(s):  # μ by σ' = 0: cosh² (μ s + 0.01) = μ
        mu = brentq(lambda mu: mu / np.cosh(mu * s + 0.01) ** 2 - 1, 0.9, 1.0 / abs(s))
        return np.tanh(mu * s + 0.01) - s, mu

    s = brentq(lambda s: at_fold(s)[0], -0.4, -0.15)
    assert fold.kind == "fold" and fold.parameter == pytest.approx(at_fold(s)[1], abs=1e-8)
    first, other = diagram.branches
    assert [b.origin for b in diagram.branches] == ["state", "deflation"]
    assert [b.points[k].parameter for b in diagram.branches for k in (0, -1)] == pytest.approx([2.0, 2.0, 2.0, 0.5])
    assert first.points[first.start].parameter == 1.5 and (first.beginning, first.ending) == ("the range ends",) * 2
    assert max(point.parameter for point in other.points) == pytest.approx(2.0)
    assert [search.parameter for search in diagram.searches] == pytest.approx([0.65, 0.95, 1.25, 1.55, 1.85])
    assert sum(search.found for search in diagram.searches) == 1


def test_affine_families_hold_no_disconnected_branches():
    """σ = tanh, b = β: deflation compares states modulo ker K; fails if it invents branches along the family."""
    _, diagram = follow("1", "tanh", "beta", -1.0, 1.0, bias="beta", start="1")
    assert len(diagram.branches) == 1 and [search.found for search in diagram.searches] == [0] * 5


def test_continua_are_not_followed():
    """ReLU with K = 1, b = −μ: all ∫f ≤ μ are steady; fails if deflation follows point after point of them."""
    _, diagram = follow("1", "relu", "mu", 0.5, 1.0, bias="-mu", start="0")
    assert len(diagram.branches) == 1 and diagram.bifurcations == ()
    assert sum(search.found for search in diagram.searches) == 0


@pytest.mark.parametrize(
    ("kernel", "parameter", "lower", "upper"), [("-exp(-(y-z)**2/w)", "w", 0.05, 0.5), ("a*sin(y-z)", "a", 1.0, 2.0)]
)
def test_smooth_and_skew_kernels_have_none(kernel, parameter, lower, upper):
    """Eigenvalues that fall to round-off, and a pair on the axis; fails if their signs are counted."""
    _, diagram = follow(kernel, "tanh", parameter, lower, upper, cells=16)
    assert diagram.bifurcations == () and diagram.undecided == ()
    assert max(point.undecided for point in diagram.branches[0].points) > 0


def test_continuation_ends_with_its_budgets():
    """Fails if a budget is not kept, or if what was not done is not said."""
    kernel = "1", "tanh(mu*s) - s", "mu", 0.5, 2.0
    _, diagram = follow(*kernel, cells=4, seconds=1e-9)
    assert [len(branch.points) for branch in diagram.branches] == [1]
    assert diagram.branches[0].ending == "the time is over" and "were not begun" in diagram.limits[0]
    _, diagram = follow(*kernel, cells=4, branches=2, searches=0)
    assert len(diagram.branches) == 2
    assert diagram.limits == ("1 further branch was not followed: 2 branches are the limit",)
    _, diagram = follow(*kernel, cells=4, points=5, searches=0)
    assert all(len(branch.points) <= 5 for branch in diagram.branches)
    assert diagram.branches[0].ending == "the limit of points is reached"


def test_a_state_outside_of_the_range_is_refused():
    """Fails if the branch is begun at a value at which the state is not given."""
    with pytest.raises(InvalidInput, match="given at 3, outside"):
        follow("1", "tanh(mu*s) - s", "mu", 0.5, 2.0, at=3.0)


@pytest.mark.parametrize(
    ("activation", "undecided"), [("s**3 - mu", ""), ("mu**3*s - s**3", "its speed vanishes")], ids=["cubic", "flat"]
)
def test_degenerate_points_are_not_named(activation, undecided):
    """The cube root touches σ' = 0 without a turn; at μ³ = 0 an eigenvalue passes zero with the speed 0.

    Fails if a multiple zero, known to few digits, is a new branch, or if a degenerate point gets a name.
    """
    start = "-1" if activation.startswith("s") else "0"
    _, diagram = follow("1", activation, "mu", -1.0, 1.0, start=start, cells=4)
    assert diagram.bifurcations == ()
    assert [undecided in doubt.reason for doubt in diagram.undecided] == [True] * bool(undecided)
    if not undecided:
        assert len(diagram.branches) == 1 and sum(search.continua for search in diagram.searches) > 0


@pytest.mark.parametrize("unit", [1e-6, 1e8])
def test_units_of_the_parameter_do_not_matter(unit):
    """μ s + s³ − s⁵: a subcritical pitchfork at 0 and folds of both its branches at −¼, in any units of μ.

    Fails if steps along a branch, or the distances at which branches and bifurcations are one, know the units.
    """
    _, diagram = follow("1", f"mu/{unit}*s + s**3 - s**5", "mu", -0.5 * unit, 0.5 * unit, searches=0)
    found = sorted((b.parameter / unit, b.kind) for b in diagram.bifurcations)
    assert [kind for _, kind in found] == ["fold", "fold", "pitchfork"]
    assert [value for value, _ in found] == pytest.approx([-0.25, -0.25, 0.0], abs=1e-9)
    assert all(abs(b.uncertainty) < 1e-9 * unit for b in diagram.bifurcations)
    assert diagram.branches[1].points[-1].parameter == pytest.approx(0.5 * unit)


def test_zeros_at_infinity_are_no_states():
    """exp(s) has no zero, though Newton's method brings it below every tolerance.

    Fails if a small residual alone makes a steady state.
    """
    with pytest.raises(NotConverged, match="do not become shorter"):
        follow("-1", "exp(s) + mu", "mu", 0.0, 1.0)


def test_hopf_point_of_small_states():
    """σ(s) = ε tanh(s/ε), ε = 1e-8: l₁ = −0.45 √2.19 / ε², and the point is supercritical.

    Fails if difference quotients with steps longer than ε tell that σ is not smooth.
    """
    family, diagram = follow(HALVES, "1e-8*tanh(1e8*s)", "a", 0.5, 1.5, space=CELLWISE, cells=8, step=0.1, searches=0)
    (found,) = diagram.bifurcations
    point = analyze_hopf(family, found.point.coordinates, found.parameter)
    assert point.criticality == "supercritical" and point.criticality_declined is None
    assert point.lyapunov == pytest.approx(-0.45 * np.sqrt(2.19) * 1e16, rel=1e-6)
