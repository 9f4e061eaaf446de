# SPDX-License-Identifier: MIT
"""Integration over large times and its estimates are the same on 1, 2 and 3 ranks: equal steps, equal numbers.

Run by mpiexec this file integrates on its ranks and prints the numbers as JSON; run by pytest it launches itself.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cases import merge_tables
from ranks import TWO_OR_THREE, print_results

CASES = {
    "smooth": {},
    "galerkin": {"space": {"degree": 2, "mode": "galerkin"}},
    "plane": {"domain": {"shape": "rectangle", "cells": 4}, "dynamics": {"kernel": "-cos(y0 - z1) + sin(y1 + z0)"}},
    "stiff": {
        "dynamics": {"kernel": "-40*exp(-(y - z)**2)", "bias": "0.3"},
        "forward": {"until": 200.0, "rtol": 1e-6, "atol": 1e-8},
    },
    "growing": {"dynamics": {"activation": "identity", "kernel": "2*y*z"}, "forward": {"growth_bound": 100.0}},
    "moving": {"dynamics": {"bias": "cos(3*t) + y"}},
}


def create_case(name):
    """The case of that name."""
    from fem_selection.config import parse_case

    tables = {
        "domain": {"shape": "interval", "cells": 9},
        "space": {"degree": 2},
        "dynamics": {"kernel": "-cos(2*(y - z)) - 0.5*y*z", "bias": "0.2"},
        "data": {"initial": "cos(3*y0 + s)" if name == "plane" else "cos(3*y + s)", "samples": 3},
        "forward": {"until": 8.0, "times": 7},
    }
    return parse_case(merge_tables(tables, CASES[name]))


def main() -> None:
    """Integrates every case and prints steps, states and estimates."""
    from mpi4py import MPI

    from fem_selection.cases.field import build_field
    from fem_selection.evolution import integrate
    from fem_selection.evolution.estimates import estimate_run

    results = {}
    for name in CASES:
        problem = build_field(create_case(name))
        f = problem.case.forward
        run = integrate(problem.field, problem.initial, np.linspace(0, f.until, f.times), settings=f)
        found = estimate_run(problem.field, run.times, run.states)
        results[name] = {
            "counts": [run.steps, run.rejected],
            "methods": [m for _, m in run.methods],
            "times": run.times.tolist(),
            "states": np.concatenate([problem.space.gather(s).ravel() for s in run.states]).tolist(),
            "growth": None if run.growth is None else run.growth.rate,
            "claimed": {n: e.claimed for n, e in found.items()},
            "measured": np.concatenate([e.measured.ravel() for e in found.values()]).tolist(),
            "bounds": np.concatenate([e.bound.ravel() for e in found.values() if e.claimed]).tolist(),
            "defects": [min(h.defect, 1e300) for e in found.values() for h in e.hypotheses],
        }
    results["shared"] = integrate_with_samples_apart(MPI.COMM_WORLD)
    print_results(results)


def integrate_with_samples_apart(world):
    """Six samples over the ranks, each with the whole mesh: all take the steps of the worst sample."""
    from problems import make_domain, smooth_states

    from fem_selection.discretization.spaces import StateSpace
    from fem_selection.dynamics import SelectionField
    from fem_selection.evolution import integrate
    from fem_selection.functions.activations import find_activation
    from fem_selection.kernels import DenseKernel
    from fem_selection.parallel import Ensemble

    ensemble = Ensemble(world)
    space = StateSpace(make_domain("interval", 6, ensemble.space_comm), 2)
    field = SelectionField(
        space, DenseKernel.random(space, 1, 3.0, seed=4), np.ones(space.num_local), activation=find_activation("tanh")
    )
    mine = ensemble.samples(6)
    scale = 4.0 ** np.arange(6)[mine]
    initial = np.asfortranarray(smooth_states(space, mine) * scale)
    run = integrate(field, initial, np.array([0.0, 3.0]), sample_comm=ensemble.sample_comm)
    final = np.concatenate(ensemble.sample_comm.allgather(run.final.T.copy()))
    return {"counts": [run.steps, run.rejected], "states": final.ravel().tolist()}


@pytest.mark.parametrize("ranks", TWO_OR_THREE)
@pytest.mark.parametrize("name", [*CASES, "shared"])
def test_same_run(results_on, name, ranks):
    """Fails if a norm or a decision is a rank's own, if a sum or an extremum misses a rank, or if SLEPc starts
    elsewhere."""
    here, reference = results_on(ranks)[name], results_on(1)[name]
    assert here["counts"] == reference["counts"]
    np.testing.assert_allclose(here["states"], reference["states"], rtol=1e-7, atol=1e-8)
    if name == "shared":
        return
    assert here["methods"] == reference["methods"] and here["claimed"] == reference["claimed"]
    np.testing.assert_allclose(here["times"], reference["times"], rtol=1e-10)
    if reference["growth"] is not None:
        assert here["growth"] == pytest.approx(reference["growth"], rel=1e-6)
    np.testing.assert_allclose(here["measured"], reference["measured"], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(here["bounds"], reference["bounds"], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(here["defects"], reference["defects"], rtol=1e-4, atol=1e-7)


def test_command_on_two_ranks(command_on_ranks, tmp_path):
    """Fails if root alone enters something collective."""
    demo = Path(__file__).resolve().parents[2] / "demos" / "forward.toml"
    settings = ("forward.until=1.0", "domain.cells=10", "forward.times=11", "output.figures=false")
    report = command_on_ranks(2, "forward", demo, output=tmp_path, settings=settings)
    assert report["ranks"] == 2 and len(report["norms"]) == 11


if __name__ == "__main__":
    main()
