# SPDX-License-Identifier: MIT
"""Spectra, growth, exponents and branches are the same on 1, 2 and 3 ranks.

Run by mpiexec this file computes on its ranks and prints the numbers as JSON; run by pytest it launches itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from ranks import TWO_OR_THREE, print_results

HALVES = "2*where(y < 0.5, where(z < 0.5, mu, -3), where(z < 0.5, 1, -0.9))"
CASES = {
    "collocated": ({"degree": 2}, "tanh", "exp(-(y - 0.5*z)**2) - mu*y", "0.2*cos(3*y)"),
    "galerkin": ({"mode": "galerkin"}, "tanh", "exp(-(y - 0.5*z)**2) - mu*y", "0.2*cos(3*y)"),
    "pitchfork": ({}, "tanh(mu*s) - s", "1", "0"),
    "hopf": ({"family": "dg", "degree": 0}, "tanh", HALVES, "0"),
    "local": ({}, "tanh", None, "0"),
    "disk": ({}, "tanh", "1 + y0*z0 - 0.5*y1*z1", "0"),
}
DISK = Path(__file__).resolve().parents[2] / "meshes" / "disk.msh"
LOCAL = {
    "representation": "local + separable",
    "multiplication": "-1",
    "diffusion": "0.05",
    "factors": [["cos(3*y)", "2*cos(3*z)"], ["sin(3*y)", "sin(2*z)"]],
}


def main() -> None:
    """Assesses the cases of this job and prints spectra, growth, exponents and branches."""
    from fem_selection.cases.field import build_field
    from fem_selection.cases.stability import family_of, finer_start, start_state, why_not_finer
    from fem_selection.config import parse_case
    from fem_selection.steady import leading_eigenpairs
    from fem_selection.studies import stability

    results = {}
    for name, (space, activation, kernel, bias) in CASES.items():
        if (name == "galerkin") != (sys.argv[1:] == ["galerkin"]):
            continue  # a job of its own, for its mass solves are slow
        case = parse_case(
            {
                "parameters": {"mu": 1.2},
                "domain": {"file": str(DISK)} if name == "disk" else {"shape": "interval", "cells": 8},
                "space": space,
                "dynamics": {
                    **{"activation": activation, "bias": bias, "layers": 4, "scheme": "heun"},
                    **(LOCAL if kernel is None else {"kernel": kernel}),
                },
                "data": {"initial": "sin(2*y0) + s" if name == "disk" else "sin(2*y) + s", "samples": 2},
                "stability": {"parameter": "mu", "range": [0.5, 1.5], "step": 0.2, "refine": False, "cycles": False}
                if name in ("pitchfork", "hopf")
                else {"state": "0"},
            }
        )
        problem = build_field(case)
        start = start_state(problem)
        found = stability(
            problem.field,
            start,
            case.stability,
            # the other kernels' ranges do not hold the bias: a state that is not steady does for the comparison
            state=None if name in ("pitchfork", "hopf") else start,
            finer=lambda problem=problem: finer_start(problem),
            finer_declined=why_not_finer(problem),
            initial=problem.initial,
            horizon=problem.case.dynamics.horizon,
            family=family_of(problem),
        )
        s, diagram = found.spectrum, None if found.branches is None else found.branches.diagram
        krylov = leading_eigenpairs(
            problem.space, problem.field.linearize(np.asfortranarray(found.state[:, None])), 2, norm=s.norm
        )
        values = [] if diagram is None else [[b.parameter, b.frequency] for b in diagram.bifurcations]
        results[name] = {
            "eigenvalues": [*s.leading.real, *s.leading.imag, *np.abs(krylov.values[:1])],
            "modes": [*found.modes.real.ravel(), *found.modes.imag.ravel()],
            "rank": [s.rank, s.rank_of_square],
            "error_bars": [] if found.error_bars is None else found.error_bars.tolist(),
            "growth": [*found.growth.measured.real, *found.growth.measured.imag, found.abscissa],
            "exponents": [*found.exponents.state.ravel(), *found.exponents.adjoint.ravel()],
            "bifurcations": np.ravel(values).tolist(),
            "verdict": found.verdict.kind,
            "kinds": [] if diagram is None else [b.kind for b in diagram.bifurcations],
        }
    print_results(results)


@pytest.mark.parametrize("ranks", TWO_OR_THREE)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "galerkin" else []) for name in CASES]
)
def test_same_stability(results_on, name, ranks):
    """Fails if a product lacks its sum over the ranks, if random blocks depend on the partition, or if two ranks take
    different decisions along a branch (then the run hangs)."""
    job = ["galerkin"] if name == "galerkin" else []
    here, reference = results_on(ranks, *job)[name], results_on(1, *job)[name]
    assert here["rank"] == reference["rank"] and here["kinds"] == reference["kinds"]
    assert here["verdict"] == reference["verdict"]
    assert (here["verdict"] == "not steady") == (name in ("collocated", "galerkin"))
    assert bool(reference["error_bars"]) == (name in ("local", "disk"))  # the others refine nothing, or are not steady
    for key in ("eigenvalues", "error_bars", "growth", "exponents", "bifurcations"):
        np.testing.assert_allclose(here[key], reference[key], atol=1e-8)
    np.testing.assert_allclose(here["modes"], reference["modes"], atol=1e-6)


if __name__ == "__main__":
    main()
