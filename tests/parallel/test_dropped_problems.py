# SPDX-License-Identifier: MIT
"""Problems that are made and dropped on several ranks, where each rank collects its garbage at moments of its own."""

from __future__ import annotations

import gc
import random
import sys

import numpy as np
import pytest
from mpi4py import MPI
from ranks import print_results

import fem_selection as fs


def make_and_drop(comm: MPI.Intracomm, number: int, rng: random.Random) -> float:
    """One gradient of a problem with PETSc objects on all communicators, which ends in a reference cycle."""
    ensemble = fs.Ensemble(comm, comm.size if number % 3 else 1)
    domain = fs.interval(ensemble.space_comm, 8)
    space = fs.StateSpace(domain, 1, mode="galerkin" if number % 2 else "collocated")
    grid, everyone = fs.DepthGrid(layers=2), np.arange(6)
    kernel = fs.LocalKernel.interpolate(space, {"multiplication": -1.0, "diffusion": 0.01}, grid)
    kernel = kernel + fs.DenseKernel.interpolate(space, lambda t, y, z: y[0] * z[0], grid)
    tanh, euler = fs.find_activation("tanh"), fs.find_scheme("euler")
    stepper = fs.Stepper(space, kernel, np.zeros((2, space.num_local)), activation=tanh, scheme=euler, grid=grid)
    controls = fs.ControlSpace(ensemble, space, kernel, grid=grid, num_outputs=0, parts=("kernel", "bias"))
    own = everyone[ensemble.samples(len(everyone))]
    initial = np.asfortranarray(np.outer(space.coordinates[:, 0], own + 1.0))
    functional = fs.Functional(
        controls,
        stepper,
        fs.TrackingCost(space=space),
        initial=initial,
        targets=0.5 * initial,
        num_samples=len(everyone),
        regularization=fs.Regularization(),
    )
    start = controls.create_vector(np.zeros(controls.shard.stop - controls.shard.start))
    gradient = functional.gradient(start)  # neither vector is destroyed: the collector does it
    cycle = [functional, start, gradient]
    cycle.append(cycle)
    if rng.random() < 0.3:
        gc.collect()
    return functional.value(start)


def count(comm: MPI.Intracomm) -> int:
    """Communicators that a rank can still make, when all ranks have collected and made one problem more."""
    from counting import count_communicators  # after MPI

    gc.collect()
    make_and_drop(comm, 1, random.Random(0))
    gc.collect()
    make_and_drop(comm, 1, random.Random(0))
    return count_communicators(comm)


def main() -> None:
    """Makes and drops problems; on the last rank the collector runs only where this file asks it to."""
    world, rounds = MPI.COMM_WORLD, int(sys.argv[1])
    rng = random.Random(world.rank)
    if world.rank == world.size - 1:
        gc.disable()
    before, values = 0, []
    for number in range(rounds):
        comm = world.Dup()
        values.append(make_and_drop(comm, number % 6, rng))
        comm.Free()
        if number == 11:
            before = count(world)
    print_results({"before": before, "after": count(world), "values": values})


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_that_collect_at_different_moments(results_on, ranks):
    """Fails if a destructor communicates, so that ranks wait for each other, or if communicators stay behind: six for
    each space in Galerkin mode, three for each communicator of the caller."""
    results = results_on(ranks, "60")
    assert results["before"] > 1000
    assert results["after"] >= results["before"] - 2
    assert results["values"][:6] == pytest.approx(results["values"][-6:], rel=1e-12)


if __name__ == "__main__":
    main()
