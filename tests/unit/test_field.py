# SPDX-License-Identifier: MIT
"""The right-hand side as one object: against the stepper, against differences, and from a case file."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI
from problems import make_problem, smooth_states

from fem_selection.cases.field import build_field
from fem_selection.config import parse_case
from fem_selection.dynamics import SelectionField
from fem_selection.errors import InvalidInput

SPACES = [("interval", 5, 2, "collocated"), ("interval", 5, 2, "galerkin")]


@pytest.fixture(params=SPACES, ids=lambda key: key[-1])
def problem(request, spaces):
    """A problem of one Euler layer of length one."""
    return make_problem(spaces(*request.param), intervals=1, layers=1, horizon=1.0)


@pytest.fixture
def field(problem):
    """The right-hand side of that problem's layer."""
    s = problem.stepper
    return SelectionField(s.space, s.kernel, s.bias[0], activation=s.activation)


def test_one_euler_layer_is_the_rate(problem, field):
    """Fails if the rate is not that of the layers: other bias, kernel or projection."""
    f = smooth_states(problem.space, slice(0, 4))
    final, _ = problem.stepper.advance_without_tape(f)
    np.testing.assert_allclose(f + field.rate(f), final, rtol=1e-14, atol=1e-15)


def test_linearization_is_the_derivative(field):
    """Fails if F' is not the derivative of F, differs between columns, or its transpose is not the adjoint."""
    f, v = smooth_states(field.space, slice(0, 3)), smooth_states(field.space, slice(5, 8))
    at = field.linearize(f)
    np.testing.assert_allclose(at.rate, field.rate(f), rtol=1e-13)
    h = 1e-5
    difference = (field.rate(f + h * v) - field.rate(f - h * v)) / (2 * h)
    np.testing.assert_allclose(at.apply(v), difference, atol=1e-9)
    d = smooth_states(field.space, slice(2, 5), 0.3)
    assert np.vdot(at.apply(v), d) == pytest.approx(np.vdot(v, at.apply_transpose(d)), rel=1e-12)
    one = field.linearize(np.asfortranarray(f[:, :1]))
    np.testing.assert_allclose(one.apply(v)[:, :1], at.apply(v)[:, :1], rtol=1e-13)
    with pytest.raises(InvalidInput, match="linearization at 3 states"):
        at.apply(v[:, :2])


def test_a_case_with_parameters_and_time():
    """Fails if a parameter or the time does not reach kernel, bias and activation."""
    case = parse_case(
        {
            "parameters": {"mu": 2.0},
            "domain": {"shape": "interval", "cells": 3},
            "dynamics": {"activation": "tanh(mu*s) - s", "kernel": "mu", "bias": "t*y"},
            "data": {"initial": "1 + s", "samples": 2},
        }
    )
    problem = build_field(case, MPI.COMM_SELF)
    assert not problem.field.is_autonomous
    y = problem.space.coordinates

    def wanted(mu, t):
        s = mu * np.array([[1.0, 2.0]]) + t * y
        return np.tanh(mu * s) - s

    np.testing.assert_allclose(problem.field.rate(problem.initial), wanted(2.0, 0.0), rtol=1e-14)
    problem.field.move_to(0.5)
    np.testing.assert_allclose(problem.field.rate(problem.initial), wanted(2.0, 0.5), rtol=1e-14)
    other = problem.field_at({"mu": 3.0})
    np.testing.assert_allclose(other.rate(problem.initial), wanted(3.0, 0.0), rtol=1e-14)
    with pytest.raises(InvalidInput, match=r"parameters\.nu"):
        problem.field_at({"nu": 3.0})
