# SPDX-License-Identifier: MIT
"""Meshes from files are the same on 1, 2 and 3 ranks: nodes, groups, integrals, gradients, pictures, refusals.

Run by mpiexec this file prints numbers of each mesh as JSON; run by pytest it launches itself.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mesh_files import FILES, TWO_SQUARES, Part, Sketch, msh41, save
from ranks import TWO_OR_THREE, print_results

MESHES = Path(__file__).parents[2] / "meshes"
NAMES = ("disk.msh", "annulus.msh", "ball.msh", "torus.msh", "graded_interval.msh", "width.xdmf")


def main(folder: Path) -> None:
    """Reads every mesh and prints its nodes, groups, triangles and a gradient."""
    from mpi4py import MPI
    from problems import make_problem

    from fem_selection.discretization.meshes.domains import Domain, from_mesh
    from fem_selection.discretization.spaces import StateSpace
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
    results["moments"] = {name: moments(Domain.from_file(comm, folder / name)) for name in FILES if ".bin" not in name}
    results["branching"] = moments(Domain.from_file(comm, folder / "branching.msh"))[""]
    results["errors"] = [
        refused(lambda: Domain.from_file(comm, MESHES / "disk.msh", "rim")),
        refused(lambda: Domain.from_file(comm, folder / "degenerate.msh")),
        refused(lambda: from_mesh(moved(comm, (1.0, 0.5)))),
        refused(lambda: from_mesh(moved(comm, (1.4, 0.5)))),
    ]
    print_results(results)


def moments(domain) -> dict[str, float]:
    """∫ y₁ over the domain and over each group."""
    import ufl
    from dolfinx import fem

    everything = np.arange(domain.mesh.topology.index_map(2).size_local)
    found = {}
    for group, cells in {"": everything, **domain.groups}.items():
        dx = ufl.Measure("dx", domain=domain.mesh, subdomain_data=[(1, cells.astype(np.int32))])
        y = ufl.SpatialCoordinate(domain.mesh)
        found[group] = domain.comm.allreduce(fem.assemble_scalar(fem.form(y[1] * dx(1))))
    return found


def moved(comm, place: tuple[float, float]):
    """A square of 2 × 2 pairs of triangles whose middle node is elsewhere."""
    import dolfinx.mesh

    mesh = dolfinx.mesh.create_unit_square(comm, 2, 2)
    middle = np.abs(mesh.geometry.x[:, :2] - 0.5).sum(axis=1) < 0.1
    mesh.geometry.x[middle, :2] = place
    return mesh


def refused(make) -> list[str]:
    """The message on each rank."""
    from mpi4py import MPI

    from fem_selection.errors import InvalidInput

    try:
        make()
        message = "accepted"
    except InvalidInput as error:
        message = str(error)
    return MPI.COMM_WORLD.allgather(message)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a mesh that dolfinx wrote as width.xdmf."""
    import dolfinx.io
    from mpi4py import MPI

    from fem_selection.discretization.meshes.domains import rectangle

    folder = tmp_path_factory.mktemp("meshes")
    mesh = rectangle(MPI.COMM_SELF, (4, 3), cell="triangle").mesh
    with dolfinx.io.XDMFFile(mesh.comm, folder / "width.xdmf", "w") as file:
        file.write_mesh(mesh)
    for name in FILES:
        save(folder, name)
    points = (*TWO_SQUARES.points[:6], (0.5, 1e-13, 0.0), TWO_SQUARES.points[7])
    save(folder, "branching.msh", msh41(three_leaves()))
    save(folder, "degenerate.msh", msh41(replace(TWO_SQUARES, points=points)))
    return folder


def three_leaves() -> Sketch:
    """Three rectangles of three squares each that meet at one line, 0 < y₁ < 3."""
    points = tuple((a, float(y), b) for a, b in ((0.0, 0.0), (1.0, 0.0), (-1.0, 0.0), (0.0, 1.0)) for y in range(4))
    cells = tuple((k, k + 1, k + 1 + away, k + away) for away in (4, 8, 12) for k in (1, 2, 3))
    return Sketch(points, (Part(2, 1, 3, (), cells),))


@pytest.mark.parametrize("ranks", TWO_OR_THREE)
def test_same_meshes(results_on, folder, ranks):
    """Fails if cells are numbered by the partition, a group loses or doubles cells, or an error hangs a rank."""
    one, several = results_on(1, folder), results_on(ranks, folder)
    for few, many in zip(one["errors"], several["errors"], strict=True):
        assert set(many) == set(few), "every rank says the same"
    words = [texts[0] for texts in one["errors"]]
    for text, word in zip(words, ("no group 'rim'", "degenerate cell 1 (", "degenerate cells", "overlap"), strict=True):
        assert word in text
    for name in NAMES:
        a, b = one[name], several[name]
        np.testing.assert_allclose(a["nodes"], b["nodes"], atol=1e-13)
        assert (a["groups"], a["triangles"]) == (b["groups"], b["triangles"])
        assert b["value"] == pytest.approx(a["value"], rel=1e-12)
        assert b["slope"] == pytest.approx(a["slope"], rel=1e-10)


@pytest.mark.parametrize("ranks", [1, *TWO_OR_THREE])
def test_integrals_over_groups(results_on, folder, ranks):
    """Fails if on some number of ranks a cell of two groups is missing in one of them, or counts twice, or a surface
    that branches loses a cell."""
    assert results_on(ranks, folder)["branching"] == pytest.approx(3 * 4.5, rel=1e-13)
    for name, found in results_on(ranks, folder)["moments"].items():
        groups = {"": 2.0}
        if name.endswith("msh"):
            groups |= {"lower": 0.5, "all": 2.0 if name.startswith("two") else 0.5}
        assert found == pytest.approx(groups, rel=1e-13)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
