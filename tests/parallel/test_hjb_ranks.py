# SPDX-License-Identifier: MIT
"""The value function is the same on 1, 2 and 3 ranks, and the command runs with fewer samples than ranks.

Run by mpiexec this file solves on its ranks and prints the numbers as JSON; run by pytest it launches itself.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

DEMO = Path(__file__).resolve().parents[2] / "demos" / "hjb.toml"
SETTINGS = {
    "plane": (),
    "interval": ("domain.cells=1",),
    "samples": ("domain.cells=1", "data.samples=2", "data.initial=1 - 1.5*s", "data.target=0.2 + 0.6*s"),
    "space": ("domain.cells=3",),
}
CELLS = {"plane": 10, "interval": 30, "samples": 6, "space": 4}


def main() -> None:
    from mpi4py import MPI

    from fem_selection.cases.learning import build_problem
    from fem_selection.config import load_case
    from fem_selection.hjb import Grid, ReducedProblem, default_box, solve_by_dynamic_programming, solve_value

    results = {}
    for name, settings in SETTINGS.items():
        problem = build_problem(load_case(DEMO, settings))
        reduced = ReducedProblem.from_functional(problem.functional)
        grid = Grid.uniform(*default_box(reduced.start, reduced.targets.ravel()), CELLS[name])
        value = solve_value(reduced, grid, 5)
        steps = 2 if name == "space" else 4
        witness = solve_by_dynamic_programming(reduced, grid, steps)
        same = {x.tobytes() for x in MPI.COMM_WORLD.allgather(value.values)}
        results[name] = {
            "value": value.values.ravel().tolist(),
            "witness": witness.values.ravel().tolist(),
            "numbers": [value.steps, value.outflow_share, value.outflow_time],
            "problem": [*reduced.initial.ravel(), *reduced.targets.ravel(), *reduced.areas],
            "same_everywhere": len(same) == 1,
        }
    if MPI.COMM_WORLD.rank == 0:
        print(json.dumps(results))


@pytest.fixture(scope="module")
def launched(run_mpi):
    return cache(lambda ranks: json.loads(run_mpi(ranks, __file__).splitlines()[-1]))


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SETTINGS)
def test_same_value_function(launched, name, ranks):
    """Fails if a node's dual lacks what another rank's cells add, if a step bound is a rank's own, if a share of the
    nodes is lost, or if samples that lie on other ranks are missing in the reduced problem."""
    here, reference = launched(ranks)[name], launched(1)[name]
    assert here["same_everywhere"]
    for key in ("value", "witness", "numbers", "problem"):
        np.testing.assert_allclose(here[key], reference[key], rtol=1e-10, atol=1e-10)


@pytest.mark.slow
def test_command_on_two_ranks(run_mpi, tmp_path):
    """Fails if root alone enters something collective, or if one sample on two ranks leaves one of them without."""
    settings = [
        "--set",
        "hjb.cells=8",
        "--set",
        "hjb.levels=2",
        "--set",
        "hjb.starts=0",
        "--set",
        "output.figures=false",
    ]
    program = [sys.executable, "-c", "from fem_selection.cli import main; main()", "hjb", DEMO, "--output", tmp_path]
    run_mpi(2, *program[1:], *settings)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["ranks"] == 2
    assert report["open_loop_objective"] == pytest.approx(0.534, abs=0.02)


if __name__ == "__main__":
    main()
