# SPDX-License-Identifier: MIT
"""Thousands of layers on two ranks, which share the samples or the mesh: flat memory, no communicators left behind.

Run by mpiexec this file takes a gradient and, of a dense kernel, a product of the Hessian at two depths and prints the
numbers as JSON; run by pytest it launches itself.
"""

from __future__ import annotations

import resource
import sys

import numpy as np
import pytest
from ranks import print_results

LIMIT = 4_000_000  # bytes
CELLS, SAMPLES = 64, 50
LAYERS = {"dense": (500, 10_000), "representer": (500, 4_000)}


def peak_memory() -> float:
    """The largest memory of this process so far, in bytes."""
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def evaluate(ranks_of_mesh: int, kernel: str, layers: int, schedule: str) -> dict:
    """Objective, dual and a product of the Hessian, and what they took."""
    from counting import next_communicator  # after MPI
    from mpi4py import MPI
    from problems import KERNELS, MOVING_KERNELS, make_domain, make_problem

    from fem_selection.discretization.spaces import StateSpace
    from fem_selection.learning.hessian import Hessian
    from fem_selection.parallel import Ensemble
    from fem_selection.settings import TapeSettings

    ensemble = Ensemble(space=ranks_of_mesh)
    space = StateSpace(make_domain("interval", CELLS, ensemble.space_comm), 1, mode="collocated")
    problem = make_problem(
        space,
        ensemble,
        layers=layers,
        intervals=10,
        samples=SAMPLES,
        block=SAMPLES,
        loss="tracking",
        kernel=MOVING_KERNELS["representer-all"](space, 10) if kernel == "representer" else KERNELS[kernel](space, 10),
        tape=TapeSettings(schedule=schedule, memory=None if schedule == "all" else LIMIT),
    )
    J, x = problem.functional, problem.moved(size=1.0)
    h = problem.control_space.random_direction(3)
    before = [next_communicator(comm) for comm in (MPI.COMM_SELF, MPI.COMM_WORLD)]
    value, dual = J.evaluate(x)
    repeated = J.counts.repeated
    product = np.zeros(1)
    if kernel == "dense":
        hessian = Hessian(J)
        hessian.linearize(x)
        product = hessian.apply(h)
    J.evaluate(x)
    plan = J.sweeps.of(problem.functional.initial.shape[1]).plan
    gather = MPI.COMM_WORLD.allgather
    return {
        "value": value,
        "dual": np.concatenate(gather(dual)).tolist(),
        "product": np.concatenate(gather(product)).tolist(),
        "communicators": [next_communicator(comm) for comm in (MPI.COMM_SELF, MPI.COMM_WORLD)] == before,
        "peak": max(gather(peak_memory())),
        "segments": plan.segments,
        "repeated": [repeated, plan.swept_layers / layers - 1.0],
    }


def main() -> None:
    """Few layers, many, and many with all of them stored, whose memory is the last to be taken."""
    from mpi4py import MPI

    assert MPI.COMM_WORLD.size == 2
    ranks_of_mesh, kernel = int(sys.argv[1]), sys.argv[2]
    few, many = LAYERS[kernel]
    print_results(
        {
            "few": evaluate(ranks_of_mesh, kernel, few, "memory"),
            "many": evaluate(ranks_of_mesh, kernel, many, "memory"),
            "all": evaluate(ranks_of_mesh, kernel, many, "all"),
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize("ranks_of_mesh", [1, 2], ids=["samples shared", "mesh shared"])
@pytest.mark.parametrize("kernel", LAYERS)
def test_thousands_of_layers(results_on, ranks_of_mesh, kernel):
    """Fails if memory or the number of communicators grows with the layers, a rank takes another schedule than those it
    shares the mesh with, or the derivatives are not those of all layers stored."""
    found = results_on(2, str(ranks_of_mesh), kernel)
    few, many, whole = found["few"], found["many"], found["all"]
    assert many["segments"] > few["segments"] > 1 and whole["segments"] == 1
    assert many["repeated"][0] == pytest.approx(many["repeated"][1])
    assert all(entry["communicators"] for entry in found.values())
    stored = 2 * 8 * LAYERS[kernel][1] * (CELLS + 1) * SAMPLES / 2
    assert many["peak"] - few["peak"] < 0.1 * stored < 0.2 * (whole["peak"] - many["peak"])
    assert many["value"] == pytest.approx(whole["value"], rel=1e-14)
    for name in ("dual", "product"):
        wanted = np.array(whole[name])
        np.testing.assert_allclose(many[name], wanted, rtol=0.0, atol=1e-14 * max(1.0, np.abs(wanted).max()))


if __name__ == "__main__":
    main()
