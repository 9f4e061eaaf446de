# SPDX-License-Identifier: MIT
"""Branches at points with several zero eigenvalues: against roots counted by brute force, and where none is counted."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CELLWISE, build_equation
from scipy.optimize import root

from fem_selection.steady import ReducedFamily, find_branch_directions
from fem_selection.steady.branches.homogeneous import solve_homogeneous

POINTS, WEIGHTS = np.polynomial.legendre.leggauss(80)
POINTS, WEIGHTS = (POINTS + 1) / 2, WEIGHTS / 2
COSINES = "1 + cos(pi*y)*cos(pi*z)"


def family_of(kernel, activation, cells=16, space=None):
    """The reduced family in μ on (0.5, 2)."""
    dynamics = {"activation": activation, "kernel": kernel}
    problem = build_equation(dynamics, cells=cells, space=space or {"degree": 2}, parameters={"mu": 1.0})
    return ReducedFamily(problem.space, lambda value: problem.field_at({"mu": value}), lower=0.5, upper=2.0)


def roots_by_brute_force(sigma, singular_values, radius):
    """All zeros g of V* σ(g), g = Σ s_i c_i φ_i, |c| < radius, from a grid of starts, as c on 80 Gauss points."""
    modes = np.column_stack([np.ones(80), np.sqrt(2) * np.cos(np.pi * POINTS)])
    found = []
    for x in np.linspace(-radius, radius, 9):
        for y in np.linspace(-radius, radius, 9):
            solved = root(lambda c: modes.T @ (WEIGHTS * sigma(modes @ (singular_values * c))), (x, y), tol=1e-13)
            is_new = all(np.linalg.norm(solved.x - c) > 1e-4 * radius for c in found)
            if solved.success and is_new and np.linalg.norm(solved.x) < radius:
                found.append(solved.x)
    return np.array(found)


@pytest.mark.parametrize("mu", [1.01, 0.99])
def test_cubic_double_point_by_brute_force(mu):
    """σ = tanh(μ s) − s and a kernel of rank two at μ = 1: four parabolas beside the trivial branch, no more, no less.

    Fails if a branch is lost or invented, if its side of μ₀ is wrong, or its amplitude to leading order.
    """
    family = family_of(COSINES, "tanh(mu*s) - s")
    point = find_branch_directions(family, np.zeros(2), 1.0)
    assert (point.dimension, point.is_odd, point.declined, point.roots) == (2, True, None, 9)
    assert len(point.directions) == 5 and sum(d.slope == 1.0 for d in point.directions) == 1
    predicted = [
        sign * np.sqrt((mu - 1) / d.bend) * d.state
        for d in point.directions
        if d.slope == 0.0 and d.bend * (mu - 1) > 0
        for sign in (1.0, -1.0)
    ]
    values = np.array([1.0, 0.5])
    found = roots_by_brute_force(lambda g: np.tanh(mu * g) - g, values, 0.45)
    found = found[np.linalg.norm(found, axis=1) > 1e-3]
    assert len(found) == len(predicted) == (8 if mu > 1 else 0)
    # the basis of the family is known up to signs, and the set of branches is symmetric in both
    for c in np.abs(predicted):
        assert np.min(np.linalg.norm(np.abs(found) - c, axis=1)) < 0.02 * np.linalg.norm(c)


def test_quadratic_double_point_by_brute_force():
    """σ = (μ − 1) s + s²: the two equations are quadratic, with four real roots at every μ near 1 (Bézout: four).

    Fails if a direction is lost, found twice, or of a wrong slope.
    """
    point = find_branch_directions(family_of(COSINES, "(mu - 1)*s + s**2"), np.zeros(2), 1.0)
    assert (point.roots, len(point.directions), point.is_odd, point.declined) == (4, 4, False, None)
    found = roots_by_brute_force(lambda g: 0.01 * g + g**2, np.array([1.0, 0.5]), 0.2)
    assert len(found) == 4
    for d in point.directions:
        predicted = np.abs(0.01 * d.state / d.slope)
        assert np.min(np.linalg.norm(np.abs(found) - predicted, axis=1)) < 1e-8


def test_uncoupled_halves():
    """Two halves that do not see each other: each has its pitchfork x² = 3 (μ − 1), so 3 · 3 states in closed form.

    Fails if the directions with both halves bent are lost, or the cubic terms mix the halves.
    """
    kernel = "2*where(y < 0.5, where(z < 0.5, 1, 0), where(z < 0.5, 0, 1))"
    point = find_branch_directions(family_of(kernel, "tanh(mu*s) - s", space=CELLWISE), np.zeros(2), 1.0)
    bends = sorted(d.bend for d in point.directions if d.slope == 0.0)
    np.testing.assert_allclose(bends, [1 / 3, 1 / 3, 2 / 3, 2 / 3], rtol=1e-9)  # ‖f‖² = 3/2 (μ − 1) a half


def test_a_circle_of_branches_is_not_counted():
    """w = cos 2π(y − z): rotations make a circle of branches; fails if a number of them is invented."""
    point = find_branch_directions(family_of("cos(2*pi*(y - z))", "tanh(mu*s) - s"), np.zeros(2), 1.0)
    assert (point.dimension, point.is_odd, point.continuous_symmetry) == (2, True, 1)
    assert "symmetry" in point.declined and "not decided" in point.sentence


def test_kernels_of_many_dimensions_are_reported():
    """exp(−(y − z)²): every mode reaches zero at μ = 1; their number and the symmetry are said, no directions.

    Fails if directions are made up in a kernel of more dimensions than are examined.
    """
    family = family_of("exp(-(y - z)**2)", "tanh(mu*s) - s")
    point = find_branch_directions(family, np.zeros(family.dimension), 1.0)
    assert point.dimension == family.at(1.0).significant.shape[1] > 4 and point.is_odd
    assert point.directions == () and "up to 4" in point.declined


def test_no_zero_eigenvalue():
    """Fails if directions are found where there is no kernel."""
    point = find_branch_directions(family_of(COSINES, "tanh(mu*s) - s"), np.zeros(2), 1.3)
    assert point.dimension == 0 and point.declined is not None


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_products_of_linear_forms(rng, size):
    """F_j = (a_j · x)(b_j · x): the roots are the intersections of hyperplanes, which linear algebra finds.

    Fails if a path is lost or two paths end at one root.
    """
    a, b = rng.standard_normal((2, size, size + 1))
    forms = 0.5 * (np.einsum("ji,jk->jik", a, b) + np.einsum("ji,jk->jik", b, a))
    roots = solve_homogeneous(forms, tolerance=1e-12)
    assert roots.is_complete and roots.paths == 2**size
    for choice in range(2**size):
        rows = np.array([(a if choice >> j & 1 else b)[j] for j in range(size)])
        line = np.linalg.svd(rows)[2][-1]
        assert np.max(np.abs(roots.points @ line)) == pytest.approx(1.0, abs=1e-10)


def test_a_double_root_is_not_counted():
    """x₁² = 0 and x₂ (x₀ − x₂) = 0 has double roots only; fails if they pass for regular ones."""
    forms = np.zeros((2, 3, 3))
    forms[0, 1, 1] = 1.0
    forms[1, 0, 2] = forms[1, 2, 0] = 0.5
    forms[1, 2, 2] = -1.0
    roots = solve_homogeneous(forms, tolerance=1e-12)
    assert not roots.is_complete and len(roots.points) == 0
