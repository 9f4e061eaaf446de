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


def main(space_ranks: int) -> None:
    """Print all numbers of both estimates for two cases, and the shares of cells in the order of the cells' places."""
    from mpi4py import MPI

    import fem_selection as fs
    from fem_selection.config import parse_case
    from fem_selection.learning.discretization_error import estimate_in_depth, estimate_in_width

    found = {}
    for mode, loss in (("collocated", "tracking"), ("galerkin", "tracking")):
        tables = {
            "domain": {"shape": "rectangle", "cells": [4, 3]},
            "space": {"mode": mode},
            "dynamics": {"layers": 3, "scheme": "heun", "kernel": "cos(y0 - z1)", "bias": "y0*y1"},
            "data": {"initial": "cos((1 + s)*y0 + y1)", "target": "sin(2*y1 + s)", "samples": 7},
            "objective": {"loss": loss},
            "parallel": {"space": space_ranks},
        }
        problem = fs.build_problem(parse_case(tables))
        controls = problem.scaled_functional.to_controls(problem.scaled_start)
        mesh = problem.space.domain.mesh
        own = mesh.topology.index_map(2).size_local
        middles = mesh.geometry.x[mesh.geometry.dofmaps[0][:own]].mean(axis=1) @ [1.0, 10.0, 0.0]
        for estimate in (
            estimate_in_depth(problem.functional, controls),
            estimate_in_width(problem, controls),
        ):
            places, shares = (
                np.concatenate(problem.space.comm.allgather(np.ascontiguousarray(v)))
                for v in (middles, estimate.by_cell)
            )
            numbers = [
                estimate.error,
                estimate.measured_difference,
                estimate.final,
                estimate.penalty,
                *estimate.by_layer,
            ]
            found[f"{mode} {estimate.parameter}"] = [*numbers, *shares[np.argsort(places)].tolist()]
    if MPI.COMM_WORLD.size > 0:
        print_results(found)


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "space"), RUNS)
def test_estimates_are_the_same(results_on, ranks, space):
    """Fails if a term is counted on several ranks or on none, or goes to the node of another rank."""
    alone, found = results_on(1, 1), results_on(ranks, space)
    assert found.keys() == alone.keys() and len(alone) == 4
    for name, numbers in alone.items():
        assert len(numbers) == 7 + 12 and abs(numbers[0]) > 1e-5
        assert found[name] == pytest.approx(numbers, rel=1e-9, abs=1e-13), name


if __name__ == "__main__":
    main(int(sys.argv[1]))
