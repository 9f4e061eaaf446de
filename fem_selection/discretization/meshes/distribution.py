# SPDX-License-Identifier: MIT
"""Cells of a file on rank 0 become a mesh on all ranks, after they were examined, as a user's mesh is too.

The numbers of cells and points in messages are those of the file, or those that a user's mesh was created with.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import basix.ufl
import numpy as np
from dolfinx import cpp
from dolfinx import mesh as dmesh
from mpi4py import MPI

from fem_selection.discretization.meshes.conformity import Conformity, examine
from fem_selection.discretization.meshes.mesh_files import describe, read_gmsh, read_xdmf
from fem_selection.errors import InvalidInput
from fem_selection.parallel import act_on_root
from fem_selection.typing import Floats, Integers

__all__ = ["ExaminedCells", "distribute", "examine_mesh", "read_cells"]


@dataclass(frozen=True)
class ExaminedCells:
    """The cells of a mesh file.

    Attributes:
        cell: The cell type by dolfinx's name.
        degree: Degree of the geometry.
        cells: Rows of `points`, in dolfinx's order of a cell's nodes, shape (num_cells, nodes of a cell).
        points: Shape (num_points, d).
        groups: Rows of `cells` in each named group.
        pieces: Number of parts that share no node.
        links: The largest number of cells at a facet.
        doubts: What is unusual, one sentence each.
    """

    cell: str
    degree: int
    cells: Integers
    points: Floats
    groups: dict[str, Integers]
    pieces: int
    links: int
    doubts: tuple[str, ...]


def read_cells(path: Path, group: str | None) -> ExaminedCells:
    """Read the cells of a mesh file, and examine them.

    Args:
        path: The file.
        group: In a gmsh file the named group of cells that make the domain; all cells if None.

    Raises:
        InvalidInput: if the file cannot be read, has no such mesh, or its cells make no mesh.
    """
    describe(path, group)
    is_xdmf = path.suffix.lower() == ".xdmf"
    file = read_xdmf(path) if is_xdmf else read_gmsh(path, group)
    permutation = cpp.io.perm_gmsh if file.order == "gmsh" else cpp.io.perm_vtk
    cells = np.ascontiguousarray(file.cells[:, permutation(dmesh.to_type(file.cell), file.cells.shape[1])])
    element = basix.ufl.element("Lagrange", file.cell, file.degree, basix.LagrangeVariant.equispaced)
    found = examine(element, cells, file.points, cell_numbers=file.cell_numbers, point_numbers=file.point_numbers)
    _require_mesh(str(path), found, from_zero=is_xdmf)
    return ExaminedCells(
        cell=file.cell,
        degree=file.degree,
        cells=cells,
        points=file.points,
        groups=file.groups,
        pieces=found.pieces,
        links=found.links,
        doubts=(*file.doubts, *found.doubts),
    )


def distribute(comm: MPI.Intracomm, read: ExaminedCells | None) -> dmesh.Mesh:
    """Return a mesh on all ranks from the cells on rank 0 (collective).

    Args:
        comm: The ranks that share the mesh.
        read: The cells on rank 0, None on the others.
    """
    head = None
    if read is not None:
        head = (read.cell, read.degree, read.cells.shape[1], read.points.shape[1], read.links)
    cell, degree, nodes, d, links = comm.bcast(head)
    shape = basix.ufl.element("Lagrange", cell, degree, basix.LagrangeVariant.equispaced, shape=(d,))
    cells, points = np.empty((0, nodes), dtype=np.int64), np.empty((0, d))
    if read is not None:
        cells, points = read.cells, read.points
    partitioner = dmesh.create_cell_partitioner(dmesh.GhostMode.none, links)
    return dmesh.create_mesh(comm, cells, shape, points, partitioner, links)


def examine_mesh(mesh: dmesh.Mesh, name: str) -> Conformity:
    """Return what is found about a user's mesh (collective over its communicator).

    Args:
        mesh: The mesh.
        name: Its name in messages.

    Raises:
        InvalidInput: on all ranks, if its cells make no mesh.
    """
    cells, points = _gather_cells(mesh)

    def on_root() -> Conformity:
        found = _examine_gathered(cells, points, mesh)
        _require_mesh(name, found, from_zero=True)
        return found

    return act_on_root(mesh.comm, on_root)


def _require_mesh(name: str, found: Conformity, *, from_zero: bool) -> None:
    if found.faults:
        counted = " (cells and nodes are counted from 0)" if from_zero else ""
        raise InvalidInput(f"{name} has cells that make no mesh{counted}: {'; '.join(found.faults)}")


def _gather_cells(mesh: dmesh.Mesh) -> tuple[list[Any] | None, list[Any] | None]:
    """On rank 0 the cells and points of each rank, with the numbers that the user gave them (collective)."""
    geometry, cell_map = mesh.geometry, mesh.topology.index_map(mesh.topology.dim)
    own, points = cell_map.size_local, geometry.index_map()
    try:
        numbers_of_cells = mesh.topology.original_cell_index[:own]
    except RuntimeError:  # a submesh
        numbers_of_cells = cell_map.local_range[0] + np.arange(own)
    nodes = points.local_to_global(geometry.dofmaps[0][:own].reshape(-1).astype(np.int32)).reshape(own, -1)
    cells = mesh.comm.gather((nodes, numbers_of_cells))
    numbers = geometry.input_global_indices[: points.size_local]
    return cells, mesh.comm.gather((geometry.x[: points.size_local, : geometry.dim], numbers))


def _examine_gathered(cells: list[Any] | None, points: list[Any] | None, mesh: dmesh.Mesh) -> Conformity:
    assert cells is not None and points is not None
    (nodes, cell_numbers), (x, point_numbers) = (
        map(np.concatenate, zip(*parts, strict=True)) for parts in (cells, points)
    )
    element = mesh.ufl_domain().ufl_coordinate_element()
    element = getattr(element, "sub_elements", [element])[0]
    first, order = np.argsort(cell_numbers, kind="stable"), np.argsort(point_numbers, kind="stable")
    place = np.empty_like(order)  # the order of the user's numbers is that of no partition
    place[order] = np.arange(len(order))
    return examine(
        element, place[nodes[first]], x[order], cell_numbers=cell_numbers[first], point_numbers=point_numbers[order]
    )
