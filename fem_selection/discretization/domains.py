# SPDX-License-Identifier: MIT
"""Domains Y ⊂ R^d, the continuum of neurons: intervals, rectangles, boxes, mesh files, or a given mesh.

A `Domain` is a mesh with its bounding box and, if it comes from a gmsh file, the named groups of its cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import basix.ufl
import numpy as np
from dolfinx import cpp
from dolfinx import io as dio
from dolfinx import mesh as dmesh
from mpi4py import MPI

from fem_selection.discretization.mesh_files import GmshCells, describe, read_gmsh
from fem_selection.errors import InvalidInput
from fem_selection.typing import Floats, Integers

__all__ = ["Domain", "box", "from_mesh", "interval", "rectangle"]


@dataclass(frozen=True)
class Domain:
    """A bounded domain with its mesh.

    Attributes:
        mesh: The dolfinx mesh, on the space communicator.
        name: A description for reports.
        bounds: Lower and upper corner of the bounding box, each of shape (d,).
        groups: This rank's own cells in each named group of a mesh file.
    """

    mesh: dmesh.Mesh
    name: str
    bounds: tuple[Floats, Floats]
    groups: dict[str, Integers] = field(default_factory=dict)

    @classmethod
    def from_file(cls, comm: MPI.Intracomm, path: str | Path, group: str | None = None) -> Domain:
        """Read a mesh from a gmsh (.msh) or XDMF (.xdmf) file and distribute it over the ranks (collective).

        Args:
            comm: The ranks that share the mesh.
            path: The file.
            group: In a gmsh file the named group of cells that make the domain; all cells if None.

        Raises:
            InvalidInput: on all ranks, if the file cannot be read or has no such mesh; the message says what was found.
        """
        path = Path(path)
        found = _on_root(comm, lambda: describe(path, group))
        if path.suffix.lower() == ".xdmf":
            mesh, groups = _read_xdmf(comm, path, found.grid), dict[str, Integers]()
        else:
            mesh, groups = _distribute(comm, _on_root(comm, lambda: read_gmsh(path, group), share=False))
        cells = mesh.topology.index_map(mesh.topology.dim).size_global
        name = f"{path.name}{'' if group is None else f', {group}'}, {cells} {mesh.topology.cell_name()} cells"
        return cls(mesh=mesh, name=name, bounds=_bounding_box(mesh), groups=groups)

    @property
    def comm(self) -> MPI.Intracomm:
        """The communicator that the mesh is distributed over."""
        return self.mesh.comm

    @property
    def dimension(self) -> int:
        """The dimension d of the space that the domain lies in."""
        return int(self.mesh.geometry.dim)

    @property
    def cell(self) -> str:
        """Name of the cell type ("interval", "triangle", "quadrilateral", …)."""
        return str(self.mesh.topology.cell_name())


def interval(
    comm: MPI.Intracomm, cells: int, *, lower: float = 0.0, upper: float = 1.0, grading: float = 1.0
) -> Domain:
    """Create the interval (lower, upper) (collective).

    Args:
        comm: The ranks that share the mesh.
        cells: Number of cells.
        lower: Left end.
        upper: Right end.
        grading: Ratio of the last cell's size to the first's; the sizes are a geometric sequence.

    Raises:
        InvalidInput: if `grading` is not positive.

    Example:
        >>> domain = fs.interval(MPI.COMM_SELF, cells=3, upper=7.0, grading=4.0)  # cells of size 1, 2 and 4
        >>> domain.mesh.geometry.x[:, 0].round(6).tolist()
        [0.0, 1.0, 3.0, 7.0]
    """
    mesh = dmesh.create_interval(comm, cells, (lower, upper), ghost_mode=dmesh.GhostMode.none)
    return _finish(mesh, "interval", np.array([lower]), np.array([upper]), (cells,), grading)


def rectangle(
    comm: MPI.Intracomm,
    cells: Sequence[int],
    *,
    lower: Sequence[float] = (0.0, 0.0),
    upper: Sequence[float] = (1.0, 1.0),
    cell: str = "quadrilateral",
    grading: float = 1.0,
) -> Domain:
    """Create a rectangle of cells[0] × cells[1] quadrilaterals, or twice as many triangles (collective).

    Args:
        comm: The ranks that share the mesh.
        cells: Number of quadrilaterals, or of pairs of triangles, in each direction.
        lower: Lower left corner.
        upper: Upper right corner.
        cell: "quadrilateral" or "triangle".
        grading: In each direction the ratio of the last cell's size to the first's.

    Raises:
        InvalidInput: if `cell` is another type or `grading` is not positive.
    """
    _check_cell(cell, ("quadrilateral", "triangle"), "rectangle")
    mesh = dmesh.create_rectangle(
        comm,
        [np.asarray(lower, dtype=float), np.asarray(upper, dtype=float)],
        list(cells),
        getattr(dmesh.CellType, cell),
        ghost_mode=dmesh.GhostMode.none,
    )
    return _finish(mesh, "rectangle", np.asarray(lower, float), np.asarray(upper, float), tuple(cells), grading)


def box(
    comm: MPI.Intracomm,
    cells: Sequence[int],
    *,
    lower: Sequence[float] = (0.0, 0.0, 0.0),
    upper: Sequence[float] = (1.0, 1.0, 1.0),
    cell: str = "hexahedron",
    grading: float = 1.0,
) -> Domain:
    """Create a box of cells[0] × cells[1] × cells[2] hexahedra, or six times as many tetrahedra (collective).

    Args:
        comm: The ranks that share the mesh.
        cells: Number of hexahedra, or of groups of six tetrahedra, in each direction.
        lower: Lowest corner.
        upper: Highest corner.
        cell: "hexahedron" or "tetrahedron".
        grading: In each direction the ratio of the last cell's size to the first's.

    Raises:
        InvalidInput: if `cell` is another type or `grading` is not positive.
    """
    _check_cell(cell, ("hexahedron", "tetrahedron"), "box")
    mesh = dmesh.create_box(
        comm,
        [np.asarray(lower, dtype=float), np.asarray(upper, dtype=float)],
        list(cells),
        getattr(dmesh.CellType, cell),
        ghost_mode=dmesh.GhostMode.none,
    )
    return _finish(mesh, "box", np.asarray(lower, float), np.asarray(upper, float), tuple(cells), grading)


def from_mesh(mesh: dmesh.Mesh, name: str = "mesh") -> Domain:
    """Make a domain of a mesh that the user already has (collective over its communicator).

    Args:
        mesh: The dolfinx mesh; kept by reference.
        name: A description for reports.

    Example:
        >>> from dolfinx import mesh
        >>> domain = fs.from_mesh(mesh.create_unit_square(MPI.COMM_SELF, 2, 2))
        >>> domain.dimension, domain.cell
        (2, 'triangle')
    """
    return Domain(mesh=mesh, name=name, bounds=_bounding_box(mesh))


def _bounding_box(mesh: dmesh.Mesh) -> tuple[Floats, Floats]:
    x = mesh.geometry.x[:, : mesh.geometry.dim]
    low = np.min(x, axis=0, initial=np.inf)
    high = np.max(x, axis=0, initial=-np.inf)
    mesh.comm.Allreduce(MPI.IN_PLACE, low, op=MPI.MIN)
    mesh.comm.Allreduce(MPI.IN_PLACE, high, op=MPI.MAX)
    return low, high


# ── mesh files ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _on_root(comm: MPI.Intracomm, read: Callable[[], Any], share: bool = True) -> Any:
    """Return what rank 0 reads, or raise its error, on all ranks (collective).

    If the result is not shared, the other ranks get None.
    """
    result: Any = None
    error: InvalidInput | None = None
    if comm.rank == 0:
        try:
            result = read()
        except InvalidInput as fault:
            error = fault
    if (shared := comm.bcast(error)) is not None:
        raise shared
    return comm.bcast(result) if share else result


def _read_xdmf(comm: MPI.Intracomm, path: Path, grid: str) -> dmesh.Mesh:
    """The mesh of a grid in the file, read in parallel."""
    try:
        with dio.XDMFFile(comm, path, "r") as file:
            return file.read_mesh(ghost_mode=dmesh.GhostMode.none, name=grid)
    except RuntimeError as error:
        raise InvalidInput(f"{path}: the grid {grid!r} cannot be read: {error}") from error


def _distribute(comm: MPI.Intracomm, found: GmshCells | None) -> tuple[dmesh.Mesh, dict[str, Integers]]:
    """A mesh from cells and points on rank 0, and each rank's own cells in its groups (collective)."""
    head = None if found is None else (found.cell, found.degree, found.cells.shape[1], found.points.shape[1])
    cell, degree, nodes, d = comm.bcast(head)
    shape = basix.ufl.element("Lagrange", cell, degree, basix.LagrangeVariant.equispaced, shape=(d,))
    cells, points = np.empty((0, nodes), dtype=np.int64), np.empty((0, d))
    if found is not None:
        order = cpp.io.perm_vtk(dmesh.to_type(cell), nodes)
        cells, points = np.ascontiguousarray(found.cells[:, order]), found.points
    partitioner = dmesh.create_cell_partitioner(dmesh.GhostMode.none, 2)
    mesh = dmesh.create_mesh(comm, cells, shape, points, partitioner)
    own = mesh.topology.original_cell_index[: mesh.topology.index_map(mesh.topology.dim).size_local]
    groups = comm.bcast(None if found is None else found.groups)
    return mesh, {name: np.flatnonzero(np.isin(own, members)) for name, members in groups.items()}


def _check_cell(cell: str, valid: tuple[str, ...], shape: str) -> None:
    if cell not in valid:
        raise InvalidInput(f"a {shape} is made of {' or '.join(valid)} cells, not {cell!r}")


def _finish(
    mesh: dmesh.Mesh, shape: str, lower: Floats, upper: Floats, cells: tuple[int, ...], grading: float
) -> Domain:
    """Grade the mesh geometrically in every direction: cell sizes h_i ∝ grading^{i/(n−1)}."""
    if grading <= 0:
        raise InvalidInput(f"grading must be positive, {grading} was given")
    if grading != 1.0:
        x = mesh.geometry.x
        for k, n in enumerate(cells):
            sizes = grading ** (np.arange(n) / max(n - 1, 1))
            nodes = np.concatenate([[0.0], np.cumsum(sizes)]) / np.sum(sizes)
            side = upper[k] - lower[k]
            x[:, k] = lower[k] + side * np.interp((x[:, k] - lower[k]) / side, np.linspace(0, 1, n + 1), nodes)
    name = f"{shape}, {'×'.join(str(n) for n in cells)} {mesh.topology.cell_name()} cells"
    return Domain(mesh=mesh, name=name, bounds=(lower, upper))
