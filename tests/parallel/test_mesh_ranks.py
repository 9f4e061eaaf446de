# SPDX-License-Identifier: MIT
"""Meshes from files are the same on 1, 2 and 3 ranks: nodes, groups, gradients, pictures.

Run by mpiexec this file prints numbers of each mesh as JSON; run by pytest it launches itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from ranks import TWO_OR_THREE, print_results

MESHES = Path(__file__).parents[2] / "meshes"
NAMES = ("disk.msh", "annulus.msh", "ball.msh", "torus.msh", "graded_interval.msh", "width.xdmf")


def main(folder: Path) -> None:
    """Reads every mesh and prints its nodes, groups, triangles and a gradient."""
    from mpi4py import MPI
    from problems import make_problem

    from fem_selection.discretization.domains import Domain
    from fem_selection.discretization.spaces import StateSpace
    from fem_selection.errors import InvalidInput
    from fem_selection.io.triangles import gather_triangles
    from fem_selection.parallel import Ensemble

    comm, results = MPI.COMM_WORLD, {}
    for name in NAMES:
        domain = Domain.from_file(comm, (folder if name.endswith("xdmf") else MESHES) / name)
        space = StateSpace(domain, 1)
        problem = make_problem(space, Ensemble(comm, space=comm.size), samples=3, layers=2)
        value, dual = problem.functional.evaluate(problem.moved())
        triangles = gather_triangles(space)
        results[name] = {
            "nodes": space.gather(space.coordinates).tolist(),
            "groups": {group: comm.allreduce(len(cells)) for group, cells in domain.groups.items()},
            "triangles": None if triangles is None else sorted(map(sorted, triangles.tolist())),
            "value": value,
            "slope": problem.control_space.inner(dual, problem.control_space.random_direction(3)),
        }
    try:
        Domain.from_file(comm, MESHES / "disk.msh", "rim")
    except InvalidInput as error:
        results["error"] = str(error)
    print_results(results)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a mesh that dolfinx wrote as width.xdmf."""
    import dolfinx.io
    from mpi4py import MPI

    from fem_selection.discretization.domains import rectangle

    folder = tmp_path_factory.mktemp("meshes")
    mesh = rectangle(MPI.COMM_SELF, (4, 3), cell="triangle").mesh
    with dolfinx.io.XDMFFile(mesh.comm, folder / "width.xdmf", "w") as file:
        file.write_mesh(mesh)

    return folder


@pytest.mark.parametrize("ranks", TWO_OR_THREE)
def test_same_meshes(results_on, folder, ranks):
    """Fails if cells are numbered by the partition, a group loses or doubles cells, or an error hangs a rank."""
    one, several = results_on(1, folder), results_on(ranks, folder)
    assert several["error"] == one["error"]
    for name in NAMES:
        a, b = one[name], several[name]
        np.testing.assert_allclose(a["nodes"], b["nodes"], atol=1e-13)
        assert (a["groups"], a["triangles"]) == (b["groups"], b["triangles"])
        assert b["value"] == pytest.approx(a["value"], rel=1e-12)
        assert b["slope"] == pytest.approx(a["slope"], rel=1e-10)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
