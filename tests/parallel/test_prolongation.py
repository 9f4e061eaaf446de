# SPDX-License-Identifier: MIT
"""Controls carried to other meshes: the same functions, for every kernel and meshes of any kind, on 1–4 ranks.

Run by mpiexec this file computes on its ranks and prints JSON; run by pytest it launches itself.
"""

from __future__ import annotations

import numpy as np
import pytest
from ranks import print_results, slow_beyond_two

KERNELS = ("dense", "separable", "local", "local + separable + dense")
RUNS = [slow_beyond_two(r, r, space) for r in (1, 2, 4) for space in (1, 2, 4) if r % space == 0]


def make_controls(ensemble, domain, kernel: str, intervals: int):
    """A control space with all parts, on a mesh."""
    import fem_selection as fs

    space, grid = fs.StateSpace(domain), fs.DepthGrid(layers=intervals)
    makers = {
        "dense": lambda: fs.DenseKernel(space, intervals),
        "separable": lambda: fs.SeparableKernel(space, intervals, 2),
        "local": lambda: fs.LocalKernel(space, intervals, ["multiplication"]),
    }
    parts = [makers[name]() for name in kernel.split(" + ")]
    whole = parts[0] if len(parts) == 1 else fs.SumKernel(parts)
    return fs.ControlSpace(ensemble, space, whole, grid=grid, num_outputs=2)


def affine(controls) -> np.ndarray:
    """Shard of x whose parts are affine functions of y (and of z), the same function on any mesh."""
    space = controls.space
    y = 1.0 + space.coordinates.sum(axis=1)
    everywhere = np.concatenate(space.comm.allgather(y))
    of_kind = {
        "DenseKernel": everywhere[:, None] * y,
        "SeparableKernel": np.array([1.0, 2.0, 3.0, 4.0])[:, None] * y,
        "LocalKernel": y[None, :],
    }
    kernels = getattr(controls.kernel, "parts", (controls.kernel,))
    c = controls.grid.intervals
    kernel = np.concatenate([np.broadcast_to(v := of_kind[type(k).__name__], (c, *v.shape)).ravel() for k in kernels])
    offset = np.array([5.0, 6.0]) if space.comm.rank == 0 else np.empty(0)
    values = {"kernel": kernel, "bias": np.tile(y, c), "readout": np.tile(y, 2), "offset": offset}
    return controls.pack(values)[controls.shard]


def main(space_ranks: int) -> None:
    """Print the largest defect of carried affine functions for each kernel and pair of meshes."""
    from mpi4py import MPI

    import fem_selection as fs
    from fem_selection.learning import prolong_controls

    ensemble = fs.Ensemble(space=space_ranks)
    comm = ensemble.space_comm
    pairs = {
        "graded": (fs.interval(comm, cells=7, grading=3.0), fs.interval(comm, cells=12, grading=0.5)),
        "triangles": (
            fs.rectangle(comm, cells=(3, 4), cell="triangle"),
            fs.rectangle(comm, cells=(5, 5), cell="triangle"),
        ),
    }
    found = {}
    for name, (coarse, fine) in pairs.items():
        for kernel in KERNELS:
            source, target = (make_controls(ensemble, d, kernel, c) for d, c in ((coarse, 2), (fine, 3)))
            defect = np.abs(prolong_controls(source, target, affine(source)) - affine(target)).max(initial=0.0)
            found[f"{name} {kernel}"] = ensemble.world.allreduce(float(defect), op=MPI.MAX)
    print_results(found)


@pytest.mark.parametrize(("ranks", "space"), RUNS)
def test_affine_functions_stay_themselves(results_on, ranks, space):
    """Fails if another coordinate than x is interpolated, rows of W are mixed with its columns or with those of another
    rank, or shares of intervals do not sum to one."""
    for name, defect in results_on(ranks, space).items():
        assert defect < 1e-12, name


if __name__ == "__main__":
    import sys

    main(int(sys.argv[1]))
