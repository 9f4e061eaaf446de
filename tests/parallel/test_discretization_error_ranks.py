# SPDX-License-Identifier: MIT
"""Estimates of discretization errors are the same on 1–4 ranks, for every split of space and samples.

Run by mpiexec this file computes on its ranks and prints JSON; run by pytest it launches itself.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
from ranks import print_results

RUNS = [(2, 1), (2, 2), (4, 2)]


def problem_of_a_case(mode: str, space_ranks: int):
    """Seven functions to track on a rectangle, from a case; and the controls that it starts from."""
    import fem_selection as fs
    from fem_selection.config import parse_case

    tables = {
        "domain": {"shape": "rectangle", "cells": [4, 3]},
        "space": {"mode": mode},
        "dynamics": {"layers": 3, "scheme": "heun", "kernel": "cos(y0 - z1)", "bias": "y0*y1"},
        "data": {"initial": "cos((1 + s)*y0 + y1)", "target": "sin(2*y1 + s)", "samples": 7},
        "objective": {"loss": "tracking"},
        "parallel": {"space": space_ranks},
    }
    problem = fs.build_problem(parse_case(tables))
    return problem, problem.scaled_functional.to_controls(problem.scaled_start)


def classifier(space_ranks: int, refinement: int = 1):
    """Seven samples of three classes on the same rectangle, with smooth controls."""
    from problems import make_problem

    import fem_selection as fs

    ensemble = fs.Ensemble(space=space_ranks)
    domain = fs.rectangle(ensemble.space_comm, (4 * refinement, 3 * refinement))
    made = make_problem(fs.StateSpace(domain), ensemble, layers=3, intervals=3, samples=7)
    space, control_space = made.space, made.control_space
    y = space.coordinates
    everywhere = np.concatenate(space.comm.allgather(y))
    kernel = np.tile(np.cos(everywhere[:, :1] - y[:, 1]).ravel(), 3)  # columns z, rows y
    readout = np.array([y[:, 0], y[:, 1], 1 - y[:, 0]])
    offset = np.array([0.1, 0.2, 0.3])[: None if space.comm.rank == 0 else 0]
    values = {"kernel": kernel, "bias": np.tile(y[:, 0], 3), "readout": readout, "offset": offset}
    controls = control_space.pack(values)[control_space.shard]
    finer = lambda: classifier(space_ranks, 2 * refinement)[0]  # noqa: E731
    return fs.LearningProblem.from_functional(made.functional, finer=finer), controls


def main(space_ranks: int) -> None:
    """Print all numbers of both estimates for three problems, and the shares of cells in the order of their places."""
    from fem_selection.learning import estimate_in_depth, estimate_in_width

    found = {}
    problems = {mode: problem_of_a_case(mode, space_ranks) for mode in ("collocated", "galerkin")}
    for name, (problem, controls) in (problems | {"classifier": classifier(space_ranks)}).items():
        mesh = problem.space.domain.mesh
        own = mesh.topology.index_map(2).size_local
        middles = mesh.geometry.x[mesh.geometry.dofmaps[0][:own]].mean(axis=1) @ [1.0, 10.0, 0.0]
        for e in (estimate_in_depth(problem.functional, controls), estimate_in_width(problem, controls)):
            gather = problem.space.comm.allgather
            places, shares = (np.concatenate(gather(v)) for v in (middles, e.by_cell))
            numbers = [e.error, e.measured_difference, e.final, e.penalty, *e.by_layer]
            found[f"{name} {e.parameter}"] = [*numbers, *shares[np.argsort(places)].tolist()]
    print_results(found)


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "space"), RUNS)
def test_estimates_are_the_same(results_on, ranks, space):
    """Fails if a term is counted on several ranks or on none, or goes to the node of another rank."""
    alone, found = results_on(1, 1), results_on(ranks, space)
    assert found.keys() == alone.keys() and len(alone) == 6
    for name, numbers in alone.items():
        assert len(numbers) == 7 + 12 and abs(numbers[0]) > 1e-5
        assert found[name] == pytest.approx(numbers, rel=1e-9, abs=1e-13), name


if __name__ == "__main__":
    main(int(sys.argv[1]))
