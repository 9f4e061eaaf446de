# SPDX-License-Identifier: MIT
"""Runge–Kutta tableaux: the order conditions of the declared order hold, and one of the next order does not."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from fem_selection.dynamics import SCHEMES, Scheme, find_scheme
from fem_selection.dynamics.schemes import take_step
from fem_selection.errors import InvalidInput


def order_conditions(scheme):
    """Defects of Butcher's conditions, listed by order: Hairer, Nørsett, Wanner, Table II.2.1."""
    s = scheme.num_stages
    a = np.zeros((s, s))
    for i, row in enumerate(scheme.a):
        a[i, : len(row)] = row
    b, c = np.asarray(scheme.b), np.asarray(scheme.nodes, dtype=float)
    return {
        1: [b.sum() - 1],
        2: [b @ c - 1 / 2],
        3: [b @ c**2 - 1 / 3, b @ a @ c - 1 / 6],
        4: [b @ c**3 - 1 / 4, (b * c) @ a @ c - 1 / 8, b @ a @ c**2 - 1 / 12, b @ a @ a @ c - 1 / 24],
        5: [b @ c**4 - 1 / 5],
    }


@pytest.mark.parametrize("name", SCHEMES)
def test_declared_order_is_the_order(name):
    """Fails if a coefficient is mistyped, or a scheme declares more or less than its order."""
    scheme = SCHEMES[name]
    conditions = order_conditions(scheme)
    for order in range(1, scheme.order + 1):
        np.testing.assert_allclose(conditions[order], 0, atol=1e-15)
    assert np.abs(conditions[scheme.order + 1]).max() > 1e-3


def test_nodes_are_row_sums():
    """Fails if coefficients in time are sampled at other times than the stages'."""
    assert find_scheme("rk4").nodes == (0, 0.5, 0.5, 1.0)
    assert find_scheme("ssprk3").nodes == (0, 1.0, 0.5)
    assert [Fraction(c) for c in find_scheme("euler").nodes] == [0]


def test_ssp_coefficients_are_convex():
    """Fails if SSPRK3 is another third-order scheme: its Shu–Osher form is u₂ = ¾ u + ¼ (u₁ + Δt F(u₁)), …"""
    _, _, third = find_scheme("ssprk3").a
    assert third == (0.25, 0.25)
    np.testing.assert_allclose(find_scheme("ssprk3").b, [1 / 6, 1 / 6, 2 / 3])


@pytest.mark.parametrize(("a", "b"), [(((), (1.0, 0.5, 0.2)), (0.5, 0.5)), (((),), (0.5, 0.5)), (((), ()), (0.5, 0.5))])
def test_other_tableaux_are_refused(a, b):
    """Fails if a tableau that is fully implicit or incomplete is accepted and read as another."""
    with pytest.raises(InvalidInput, match="row i of a must have i entries"):
        Scheme(name="broken", order=1, a=a, b=b)


def test_unknown_name_lists_the_known():
    """Fails if the message names neither the nearest name nor those that are known."""
    with pytest.raises(InvalidInput, match=r"'rk45'; did you mean 'rk4'\?; known are euler, midpoint, heun, ssprk3"):
        find_scheme("rk45")


@pytest.mark.parametrize("name", [name for name, scheme in SCHEMES.items() if not scheme.is_implicit])
def test_a_step_has_the_local_error_of_its_order(name):
    """f' = f², f(0) = 1: f(t) = 1/(1 − t).  Fails if a stage or the end takes other coefficients than the tableau's,
    or if the state is overwritten."""
    scheme, state = find_scheme(name), np.ones((2, 1), order="F")
    steps = np.array([0.04, 0.02, 0.01])
    errors = [abs(float(take_step(scheme, np.square, state, step=h)[0, 0]) - 1 / (1 - h)) for h in steps]
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all((rates > scheme.order + 0.9) & (rates < scheme.order + 1.4))
    assert np.all(state == 1.0)


def test_a_step_with_implicit_stages_is_refused():
    """Fails if the diagonal of a tableau is left out in silence."""
    with pytest.raises(InvalidInput, match="implicit stages"):
        take_step(find_scheme("implicit_euler"), np.square, np.ones(2), step=0.1)
