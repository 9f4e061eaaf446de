# SPDX-License-Identifier: MIT
"""Runs on the same number of ranks give the same objective and gradient to the last bit."""

from __future__ import annotations

import hashlib

import pytest
from ranks import print_results

MODES = ("collocated", "galerkin")


def main() -> None:
    """Computes digests of objective and gradient, each twice, for one mesh over all ranks and for one on each rank."""
    from mpi4py import MPI
    from problems import KERNELS, make_domain, make_problem

    from fem_selection.discretization.spaces import StateSpace
    from fem_selection.parallel import Ensemble

    world, found = MPI.COMM_WORLD, {}
    for ranks in {1, world.size}:
        for mode in MODES:
            ensemble = Ensemble(space=ranks)
            space = StateSpace(make_domain("interval", 40, comm=ensemble.space_comm), 2, mode=mode)
            kernel = KERNELS["dense"](space, 2)
            problem = make_problem(space, ensemble, layers=4, samples=9, kernel=kernel, scheme="heun")
            digests = []
            for _ in range(2):
                value, dual = problem.functional.evaluate(problem.moved())
                parts = world.allgather((value.hex(), dual.tobytes()))
                digests.append(hashlib.sha256(repr(parts).encode()).hexdigest())
            found[f"{mode}/{ranks}"] = digests
    print_results(found)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_gradients_of_all_runs_are_equal(results_on, ranks):
    """Fails if the place of arrays in memory, or the order in which ranks arrive, changes the last bit of a result."""
    runs = [results_on(ranks, f"run {number}") for number in range(5)]
    assert len(runs[0]) == (2 if ranks == 1 else 4)
    for key in runs[0]:
        assert len({digest for run in runs for digest in run[key]}) == 1, key


if __name__ == "__main__":
    main()
