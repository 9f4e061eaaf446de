# SPDX-License-Identifier: MIT
"""Our side of the forward benchmark, started on several ranks, each with a share of the samples and the whole mesh."""

from __future__ import annotations

import sys
import time
from typing import Any

import forward_problem as problem
import numpy as np
from mpi4py import MPI
from serving import serve

from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.meshes import domains
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics import SelectionField
from fem_selection.evolution import integrate
from fem_selection.functions.activations import find_activation
from fem_selection.kernels import DenseKernel
from fem_selection.parallel import Ensemble
from fem_selection.settings import StepSettings

_OF_TOLERANCE = 0.1
"""Relative error of the compressed kernel over the tolerance of the integrator."""


def main(folder: str, path: str) -> None:
    """Serve on all ranks; rank 0 writes the problem for the others."""
    ensemble = Ensemble()
    space = StateSpace(domains.interval(ensemble.space_comm, problem.NODES - 1))
    dense = DenseKernel.interpolate(space, lambda t, y, z: problem.kernel(y[0], z[0]), DepthGrid(layers=1))
    y = space.coordinates[:, 0]
    bias, sigma = problem.bias(y), find_activation("tanh")
    mine = ensemble.samples(problem.SAMPLES)
    initial = np.asfortranarray(problem.initial(y, np.arange(problem.SAMPLES)[mine]))
    if ensemble.is_root:
        operator = dense.weights[0] * space.weights
        whole = problem.initial(y, np.arange(problem.SAMPLES))
        np.savez(path, operator=operator, bias=bias, initial=whole, mass=space.weights)

    def solve(tolerance: float, compressed: bool, save: str = "") -> dict[str, Any]:
        ensemble.world.Barrier()
        start, kernel, rank = time.perf_counter(), dense, 0
        if compressed:
            kernel, _ = dense.compress(_OF_TOLERANCE * tolerance)
            rank = kernel.rank
        field = SelectionField(space, kernel, bias, activation=sigma)
        compression = time.perf_counter() - start
        settings = StepSettings(rtol=tolerance, atol=tolerance, steady_tolerance=0.0)
        found = integrate(
            field, initial, np.array([0.0, problem.HORIZON]), settings=settings, sample_comm=ensemble.sample_comm
        )
        ensemble.world.Barrier()
        seconds = time.perf_counter() - start
        if save:
            parts = ensemble.sample_comm.allgather(found.final)
            if ensemble.is_root:
                np.save(save, np.concatenate(parts, axis=1))
        return {
            "seconds": seconds,
            "compression": compression,
            "rank": rank,
            "evaluations": found.evaluations,
            "steps": found.steps,
            "rejected": found.rejected,
        }

    serve(folder, {"solve": solve}, ready={"ranks": ensemble.world.size}, rank=MPI.COMM_WORLD.rank)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
