# SPDX-License-Identifier: MIT
"""Newton's methods for boxes in Galerkin mode, where the preconditioner is no identity."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI

import fem_selection as fs
from fem_selection.config import parse_case

CASE = {
    "domain": {"shape": "interval", "cells": 4},
    "space": {"mode": "galerkin"},
    "dynamics": {"layers": 3, "kernel": "0.04*cos(y - z)"},
    "data": {"source": "formula", "initial": "cos(3*y) + s", "target": "sin(3*y) - s", "samples": 3},
    "objective": {
        "loss": "tracking",
        "controls": ["kernel", "bias"],
        "kernel_bounds": [-0.05, 0.05],
        "bias_bounds": [-0.1, 0.1],
    },
}


@pytest.mark.parametrize("method", ["bnls", "bntr"])
def test_some_controls_at_their_bounds(method):
    """Fails if the Riesz map is applied to the vectors of the free controls alone, which are shorter, or if the end is
    above that of BLMVM."""
    found = {}
    for name in (method, "blmvm"):
        case = parse_case(CASE | {"optimizer": {"method": name, "max_iterations": 200}})
        problem = fs.build_problem(case, MPI.COMM_SELF)
        report = fs.optimize.minimize(
            problem.scaled_functional, problem.scaled_start, case.optimizer, scaled_bounds=problem.scaled_bounds
        )
        lower, upper = problem.scaled_bounds
        x = report.scaled_solution
        assert np.all((lower <= x) & (x <= upper)) and np.any(x == upper)
        found[name] = report.objective
    assert found[method] <= found["blmvm"] * (1 + 1e-6)
