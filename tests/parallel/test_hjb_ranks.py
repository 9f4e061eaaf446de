# SPDX-License-Identifier: MIT
"""The value function is the same on 1, 2 and 3 ranks, and the command runs with fewer samples than ranks.

Run by mpiexec this file solves on its ranks and prints the numbers as JSON; run by pytest it launches itself.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ranks import TWO_OR_THREE, print_results

DEMO = Path(__file__).resolve().parents[2] / "demos" / "hjb.toml"
SETTINGS = {
    "plane": (),
    "interval": ("domain.cells=1",),
    "samples": ("domain.cells=1", "data.samples=2", "data.initial=1 - 1.5*s", "data.target=0.2 + 0.6*s"),
    "space": ("domain.cells=3",),
}
CELLS = {"plane": 10, "interval": 30, "samples": 6, "space": 4}


def main() -> None:
    """Solves every case and prints the value functions."""
    from mpi4py import MPI

    from fem_selection.cases.learning import build_problem
    from fem_selection.config import load_case
    from fem_selection.hjb import Grid, ReducedProblem, default_box, solve_by_dynamic_programming, solve_value
    from fem_selection.studies.value_function import _controls

    results = {}
    for name, settings in SETTINGS.items():
        problem = build_problem(load_case(DEMO, settings))
        reduced = ReducedProblem.from_functional(problem.functional)
        grid = Grid.uniform(*default_box(reduced.start, reduced.targets.ravel()), CELLS[name])
        value = solve_value(reduced, grid, 5)
        steps = 2 if name == "space" else 4
        witness = solve_by_dynamic_programming(reduced, grid, steps)
        controls = _controls(problem.functional, problem.functional.control_space.random_direction(3))
        same = {x.tobytes() for x in MPI.COMM_WORLD.allgather(value.values)}
        results[name] = {
            "value": value.values.ravel().tolist(),
            "witness": witness.values.ravel().tolist(),
            "numbers": [value.steps, value.outflow_share, value.outflow_time],
            "controls": np.concatenate([c.ravel() for c in controls]).tolist(),
            "problem": [*reduced.initial.ravel(), *reduced.targets.ravel(), *reduced.areas],
            "same_everywhere": len(same) == 1,
        }
    print_results(results)


@pytest.mark.parametrize("ranks", TWO_OR_THREE)
@pytest.mark.parametrize("name", SETTINGS)
def test_same_value_function(results_on, name, ranks):
    """Fails if a node's dual lacks what another rank's cells add, if a step bound is a rank's own, if a share of the
    nodes is lost, if samples that lie on other ranks are missing in the reduced problem, or if one rank's shard of the
    controls is taken for all of them."""
    here, reference = results_on(ranks)[name], results_on(1)[name]
    assert here["same_everywhere"]
    for key in ("value", "witness", "numbers", "problem", "controls"):
        np.testing.assert_allclose(here[key], reference[key], rtol=1e-10, atol=1e-10)


@pytest.mark.slow
def test_command_on_two_ranks(command_on_ranks, tmp_path):
    """Fails if root alone enters something collective, or if one sample on two ranks leaves one of them without."""
    settings = ("hjb.cells=8", "hjb.levels=2", "hjb.starts=0", "output.figures=false")
    report = command_on_ranks(2, "hjb", DEMO, output=tmp_path, settings=settings)
    assert report["ranks"] == 2
    assert report["open_loop_objective"] == pytest.approx(0.534, abs=0.02)


if __name__ == "__main__":
    main()
