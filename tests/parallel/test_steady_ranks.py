# SPDX-License-Identifier: MIT
"""Steady states, singular values, projections and limits are the same on 1, 2 and 3 ranks.

Run by mpiexec this file analyzes its cases and prints the numbers as JSON; run by pytest it launches itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from cases import merge_tables
from ranks import print_results

CASES = {
    "pitchfork": {"dynamics": {"activation": "tanh(2*s) - s", "kernel": "1", "bias": "0"}},
    "first kind": {"dynamics": {"activation": "tanh", "kernel": "-min(y, z)", "bias": "y - y**2/2"}},
    "galerkin": {
        "space": {"mode": "galerkin"},
        "dynamics": {"activation": "tanh", "kernel": "-exp(-4*(y - z)**2)", "bias": "exp(-4*(y - 0.5)**2)"},
    },
    "relu": {"dynamics": {"activation": "relu", "kernel": "-exp(-9*(y - z)**2)", "bias": "cos(5*y)"}},
    "relu galerkin": {
        "space": {"mode": "galerkin"},
        "dynamics": {"activation": "relu", "kernel": "-1", "bias": "y"},
    },
    "plane": {
        "domain": {"shape": "rectangle", "cells": 3},
        "dynamics": {"activation": "relu", "kernel": "-exp(-abs(y0 - z0) - (y1 - z1)**2)", "bias": "y0*y1"},
        "data": {"initial": "s - y0"},
    },
    "local": {
        "dynamics": {
            **{"representation": "local + separable", "activation": "tanh", "multiplication": "-1", "bias": "y"},
            **{"diffusion": "0.05", "factors": [["cos(3*y)", "sin(2*z)"]]},
        },
    },
    "local alone": {
        "dynamics": {
            **{"representation": "local", "activation": "tanh(s) - 2*where(s > 3, s - 3, 0)", "multiplication": "-1"},
            **{"diffusion": "0.05", "bias": "y"},
        },
        "data": {"initial": "y + s + where(s > 0.8, -9, 0)", "samples": 3},
    },
    "explosion": {"dynamics": {"activation": "relu", "kernel": "1", "bias": "-1"}, "data": {"initial": "2*s"}},
}


GALERKIN = [name for name in CASES if "galerkin" in name]
"""A job of their own: mass solves are slow, on three ranks and two cores far too slow, and show nothing new there."""
RUNS = [pytest.param(name, 2, marks=[pytest.mark.slow] if name in GALERKIN else []) for name in CASES]
RUNS += [pytest.param(name, 3, marks=pytest.mark.slow) for name in CASES if name not in GALERKIN]


def main() -> None:
    """Analyzes the cases of this job and prints states, singular values, projections and limits."""
    from fem_selection.cases.field import build_field
    from fem_selection.config import parse_case
    from fem_selection.settings import SteadySettings
    from fem_selection.steady import analyze_steady_states, differentiate_in_bias

    results = {}
    for name, changes in CASES.items():
        if (name in GALERKIN) != (sys.argv[1:] == ["galerkin"]):
            continue
        tables = {
            "domain": {"shape": "interval", "cells": 8},
            "space": {"degree": 2},
            "data": {"initial": "y + s", "samples": 2},
        }
        problem = build_field(parse_case(merge_tables(tables, changes)), may_share_samples=True)
        field, space = problem.field, problem.space
        triplets = 6 if name == "local" else 200  # fewer than nodes: the eigenvalue nearest to zero decides
        settings = SteadySettings(starts=1, states=3, triplets=triplets, horizon=100.0)
        shared = problem.ensemble.sample_comm
        found = analyze_steady_states(field, problem.initial, settings, sample_comm=shared)

        def gather(values, space=space):
            return space.gather(np.asfortranarray(values[:, None])).ravel().tolist()

        results[name] = {
            "singular_values": found.kernel.values.tolist(),
            "picard": [] if found.picard is None else [found.picard.residual, found.picard.norm],
            "rank": [found.kernel.rank, *(e.jacobian.rank for e in found.equilibria)],
            "states": [gather(e.state) for e in found.equilibria],
            "projections": [gather(p.state) for p in found.projections],
            "distances": [p.distance for p in found.projections],
            "limits": [gather(f) for f in found.limit.states.T],
            "outcomes": list(found.limit.outcomes),
            "times": found.limit.times.tolist(),
            "kinds": [e.kind for e in found.equilibria],
            "nearest": [e.nearest for e in found.equilibria if e.nearest is not None],
            "derivatives": [
                gather(differentiate_in_bias(field, e, np.ones((space.num_local, 1), order="F"))[:, 0])
                for e in found.equilibria
                if e.is_isolated
            ],
        }
    print_results(results)


@pytest.mark.parametrize(("name", "ranks"), RUNS)
def test_same_analysis(results_on, name, ranks):
    """Fails if a sum, an extremum, a contact point or a singular vector misses what another rank has, or if random
    starts depend on the partition."""
    job = ["galerkin"] if name in GALERKIN else []
    here, reference = results_on(ranks, *job)[name], results_on(1, *job)[name]
    for key in ("outcomes", "kinds", "rank"):
        assert here[key] == reference[key]
    values = np.array(reference["singular_values"])
    np.testing.assert_allclose(here["singular_values"], values, atol=1e-13 * values[0])
    np.testing.assert_allclose(here["distances"], reference["distances"], rtol=1e-9)
    kept = values[
        values > 1e-10 * values[0]
    ]  # the tolerance of the numerical rank; round-off in K f is divided by these
    amplified = max(1e-7, 1e2 * np.finfo(float).eps * values[0] / kept[-1])
    for key, tolerance in (("picard", 1e-9), ("states", amplified), ("projections", 1e-8), ("limits", 1e-5)):
        size = max(1.0, float(np.max(np.abs(reference[key]), initial=0.0)))
        np.testing.assert_allclose(here[key], reference[key], atol=tolerance * size)
    np.testing.assert_allclose(here["times"], reference["times"], rtol=1e-2)
    assert len(reference["nearest"]) == (name == "local")
    np.testing.assert_allclose(here["nearest"], reference["nearest"], rtol=1e-8)
    np.testing.assert_allclose(here["derivatives"], reference["derivatives"], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_command_on_two_ranks(command_on_ranks, tmp_path):
    """Fails if root alone enters something collective."""
    demo = Path(__file__).resolve().parents[2] / "demos" / "steady.toml"
    settings = ("domain.cells=10", "output.figures=false", "steady.horizon=100.0")
    report = command_on_ranks(2, "steady", demo, output=tmp_path, settings=settings)
    assert report["ranks"] == 2 and report["kernel"]["numerical_rank"] == 1


if __name__ == "__main__":
    main()
