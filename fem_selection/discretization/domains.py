# SPDX-License-Identifier: MIT
"""Domains Y ⊂ R^d, the continuum of neurons: intervals, rectangles, boxes, mesh files, or a given mesh.

A `Domain` is a mesh with its bounding box and, if it comes from a gmsh file, the named groups of its cells.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import basix.ufl
import numpy as np
from dolfinx import cpp
from dolfinx import mesh as dmesh
from mpi4py import MPI

from fem_selection.discretization.cell_shapes import SMALLEST
from fem_selection.discretization.conformity import Conformity, examine
from fem_selection.discretization.mesh_files import describe, read_gmsh, read_xdmf
from fem_selection.errors import InvalidInput
from fem_selection.parallel import act_on_root
from fem_selection.typing import Floats, Integers

__all__ = ["Domain", "box", "from_mesh", "interval", "rectangle"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Domain:
    """A bounded domain with its mesh.

    Attributes:
        mesh: The dolfinx mesh, on the space communicator.
        name: A description for reports.
        bounds: Lower and upper corner of the bounding box, each of shape (d,).
        groups: This rank's own cells in each named group of a mesh file.
        pieces: Number of parts of the mesh that share no node; local kernels do not couple them.
        doubts: What is unusual about the mesh, one sentence each; also logged as warnings when the domain was made.
    """

    mesh: dmesh.Mesh
    name: str
    bounds: tuple[Floats, Floats]
    groups: dict[str, Integers] = field(default_factory=dict)
    pieces: int = 1
    doubts: tuple[str, ...] = ()

    @classmethod
    def from_file(cls, comm: MPI.Intracomm, path: str | Path, group: str | None = None) -> Domain:
        """Read a mesh from a gmsh (.msh) or XDMF (.xdmf) file and distribute it over the ranks (collective).

        Args:
            comm: The ranks that share the mesh.
            path: The file.
            group: In a gmsh file the named group of cells that make the domain; all cells if None.

        Raises:
            InvalidInput: on all ranks, if the file cannot be read, has no such mesh, or its cells make no mesh (see
                `conformity`); the message says what was found.
        """
        path = Path(path)
        read: _Read | None = None

        def on_root() -> tuple[int, int, tuple[str, ...], dict[str, Integers]]:
            nonlocal read
            read = _read(path, group)
            found = read.found
            return found.pieces, found.links, read.doubts, read.groups

        pieces, links, doubts, groups = act_on_root(comm, on_root)
        mesh = _distribute(comm, read, links)
        own = mesh.topology.original_cell_index[: mesh.topology.index_map(mesh.topology.dim).size_local]
        cells = mesh.topology.index_map(mesh.topology.dim).size_global
        _warn(comm, str(path), doubts)
        return cls(
            mesh=mesh,
            name=f"{path.name}{'' if group is None else f', {group}'}, {cells} {mesh.topology.cell_name()} cells",
            bounds=_bounding_box(mesh),
            groups={name: np.flatnonzero(np.isin(own, members)) for name, members in groups.items()},
            pieces=pieces,
            doubts=doubts,
        )

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
        InvalidInput: if an argument is out of range, or cells are too small for double precision.

    Example:
        >>> domain = fs.interval(MPI.COMM_SELF, cells=3, upper=7.0, grading=4.0)  # cells of size 1, 2 and 4
        >>> domain.mesh.geometry.x[:, 0].round(6).tolist()
        [0.0, 1.0, 3.0, 7.0]
    """
    doubts = _check_extents("interval", (lower,), (upper,), (cells,), grading=grading)
    with _creating("interval"):
        mesh = dmesh.create_interval(comm, cells, (lower, upper), ghost_mode=dmesh.GhostMode.none)
    return _finish(mesh, "interval", np.array([lower]), np.array([upper]), (cells,), grading, doubts)


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
        InvalidInput: if an argument is out of range, or cells are too small for double precision.
    """
    _check_cell(cell, ("quadrilateral", "triangle"), "rectangle")
    doubts = _check_extents("rectangle", lower, upper, cells, grading=grading)
    with _creating("rectangle"):
        mesh = dmesh.create_rectangle(
            comm,
            [np.asarray(lower, dtype=float), np.asarray(upper, dtype=float)],
            list(cells),
            getattr(dmesh.CellType, cell),
            ghost_mode=dmesh.GhostMode.none,
        )
    return _finish(mesh, "rectangle", np.asarray(lower, float), np.asarray(upper, float), tuple(cells), grading, doubts)


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
        InvalidInput: if an argument is out of range, or cells are too small for double precision.
    """
    _check_cell(cell, ("hexahedron", "tetrahedron"), "box")
    doubts = _check_extents("box", lower, upper, cells, grading=grading)
    with _creating("box"):
        mesh = dmesh.create_box(
            comm,
            [np.asarray(lower, dtype=float), np.asarray(upper, dtype=float)],
            list(cells),
            getattr(dmesh.CellType, cell),
            ghost_mode=dmesh.GhostMode.none,
        )
    return _finish(mesh, "box", np.asarray(lower, float), np.asarray(upper, float), tuple(cells), grading, doubts)


def from_mesh(mesh: dmesh.Mesh, name: str = "mesh") -> Domain:
    """Make a domain of a mesh that the user already has (collective over its communicator).

    Args:
        mesh: The dolfinx mesh; kept by reference.
        name: A description for reports.

    Raises:
        InvalidInput: if this is no mesh of dolfinx with coordinates in double precision, or its cells make no mesh (see
            `conformity`); they have the numbers that they had when dolfinx made the mesh.

    Example:
        >>> from dolfinx import mesh
        >>> domain = fs.from_mesh(mesh.create_unit_square(MPI.COMM_SELF, 2, 2))
        >>> domain.dimension, domain.cell
        (2, 'triangle')
    """
    if not isinstance(mesh, dmesh.Mesh):
        raise InvalidInput(f"{name}: expected a mesh of dolfinx, got an object of type {type(mesh).__name__}")
    if mesh.geometry.x.dtype != np.float64:
        raise InvalidInput(
            f"{name} has coordinates of type {mesh.geometry.x.dtype}: give it dtype=numpy.float64 when it is created"
        )
    found = act_on_root(mesh.comm, partial(_examine_gathered, *_gather_cells(mesh), mesh))
    if found.faults:
        raise InvalidInput(_words_of_faults(name, found, from_zero=True))
    _warn(mesh.comm, name, found.doubts)
    return Domain(mesh=mesh, name=name, bounds=_bounding_box(mesh), pieces=found.pieces, doubts=found.doubts)


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


def _bounding_box(mesh: dmesh.Mesh) -> tuple[Floats, Floats]:
    x = mesh.geometry.x[:, : mesh.geometry.dim]
    low = np.min(x, axis=0, initial=np.inf)
    high = np.max(x, axis=0, initial=-np.inf)
    mesh.comm.Allreduce(MPI.IN_PLACE, low, op=MPI.MIN)
    mesh.comm.Allreduce(MPI.IN_PLACE, high, op=MPI.MAX)
    return low, high


# ── mesh files ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Read:
    """What rank 0 has read of a file: cells in dolfinx's order of their nodes."""

    cell: str
    degree: int
    cells: Integers
    points: Floats
    groups: dict[str, Integers]
    found: Conformity
    doubts: tuple[str, ...]


def _read(path: Path, group: str | None) -> _Read:
    """The cells of a file, examined."""
    describe(path, group)
    is_xdmf = path.suffix.lower() == ".xdmf"
    file = read_xdmf(path) if is_xdmf else read_gmsh(path, group)
    permutation = cpp.io.perm_gmsh if file.order == "gmsh" else cpp.io.perm_vtk
    order = permutation(dmesh.to_type(file.cell), file.cells.shape[1])
    cells = np.ascontiguousarray(file.cells[:, order])
    element = basix.ufl.element("Lagrange", file.cell, file.degree, basix.LagrangeVariant.equispaced)
    found = examine(element, cells, file.points, cell_numbers=file.cell_numbers, point_numbers=file.point_numbers)
    if found.faults:
        raise InvalidInput(_words_of_faults(str(path), found, from_zero=is_xdmf))
    return _Read(
        cell=file.cell,
        degree=file.degree,
        cells=cells,
        points=file.points,
        groups=file.groups,
        found=found,
        doubts=(*file.doubts, *found.doubts),
    )


def _distribute(comm: MPI.Intracomm, read: _Read | None, links: int) -> dmesh.Mesh:
    """A mesh from cells and points on rank 0 (collective)."""
    head = None if read is None else (read.cell, read.degree, read.cells.shape[1], read.points.shape[1])
    cell, degree, nodes, d = comm.bcast(head)
    shape = basix.ufl.element("Lagrange", cell, degree, basix.LagrangeVariant.equispaced, shape=(d,))
    cells, points = np.empty((0, nodes), dtype=np.int64), np.empty((0, d))
    if read is not None:
        cells, points = read.cells, read.points
    partitioner = dmesh.create_cell_partitioner(dmesh.GhostMode.none, links)
    return dmesh.create_mesh(comm, cells, shape, points, partitioner, links)


def _words_of_faults(name: str, found: Conformity, *, from_zero: bool) -> str:
    counted = " (cells and nodes are counted from 0)" if from_zero else ""
    return f"{name} has cells that make no mesh{counted}: {'; '.join(found.faults)}"


def _warn(comm: MPI.Intracomm, name: str, doubts: Sequence[str]) -> None:
    for doubt in doubts if comm.rank == 0 else ():
        _LOG.warning("%s: %s", name, doubt)


# ── checks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _check_cell(cell: str, valid: tuple[str, ...], shape: str) -> None:
    if cell not in valid:
        raise InvalidInput(f"a {shape} is made of {' or '.join(valid)} cells, not {cell!r}")


@contextmanager
def _creating(shape: str) -> Iterator[None]:
    """Raise the library's errors, as that a domain is too small, as InvalidInput."""
    try:
        yield
    except RuntimeError as error:
        raise InvalidInput(f"no {shape} can be made: {next(iter(str(error).splitlines()), '')}") from error


def _check_extents(
    shape: str, lower: Sequence[float], upper: Sequence[float], cells: Sequence[int], *, grading: float
) -> tuple[str, ...]:
    """Refuse what makes no mesh, and return what is doubtful about it, with the bounds of `cell_shapes`."""
    d = {"interval": 1, "rectangle": 2, "box": 3}[shape]
    for name, values in (("lower", lower), ("upper", upper), ("cells", cells)):
        if np.shape(values) != (d,) or not np.all(np.isfinite(values)):
            raise InvalidInput(f"a{'n' * (d == 1)} {shape} needs {d} finite numbers as {name}, not {values}")
    if not 0 < grading < np.inf:
        raise InvalidInput(f"grading must be positive, {grading} was given")
    worst = 0.0
    for low, high, n in zip(lower, upper, cells, strict=True):
        if n < 1 or n != int(n):
            raise InvalidInput(f"the number of cells must be a positive integer in each direction, not {n}")
        if not 0 < high - low < np.inf:
            raise InvalidInput(
                f"upper must be above lower in each direction, and their difference finite: {low}, {high}"
            )
        ends = low + (high - low) * (np.array([0.0, 1.0]) if grading == 1.0 else _grid(int(n), grading))
        far, gaps = np.maximum(np.abs(ends[:-1]), np.abs(ends[1:])), np.diff(ends)
        gaps = gaps / n if grading == 1.0 else gaps
        with np.errstate(divide="ignore", invalid="ignore"):
            worst = max(worst, float(np.max(np.where(gaps > 0, 2 * np.finfo(float).eps * far / gaps, np.inf))))
    if worst >= 1.0:
        raise InvalidInput(
            f"the smallest cells of the {shape} are no larger than the rounding errors of its coordinates: use fewer "
            "cells, a grading nearer to 1 or a domain nearer to the origin"
        )
    if worst >= SMALLEST:
        return (f"rounding of the coordinates makes relative errors up to {worst:.1e} of the sizes of cells",)
    return ()


def _grid(n: int, grading: float) -> Floats:
    """The ends of n cells on (0, 1) with sizes h_i ∝ grading^{i/(n−1)}."""
    sizes = grading ** (np.arange(n) / max(n - 1, 1))
    return np.concatenate([[0.0], np.cumsum(sizes)]) / np.sum(sizes)


def _finish(
    mesh: dmesh.Mesh,
    shape: str,
    lower: Floats,
    upper: Floats,
    cells: tuple[int, ...],
    grading: float,
    doubts: tuple[str, ...],
) -> Domain:
    """Grade the mesh geometrically in every direction."""
    if grading != 1.0:
        x = mesh.geometry.x
        for k, n in enumerate(cells):
            side = upper[k] - lower[k]
            even = np.linspace(0, 1, n + 1)
            x[:, k] = lower[k] + side * np.interp((x[:, k] - lower[k]) / side, even, _grid(n, grading))
    name = f"{shape}, {'×'.join(str(n) for n in cells)} {mesh.topology.cell_name()} cells"
    _warn(mesh.comm, name, doubts)
    return Domain(mesh=mesh, name=name, bounds=(lower, upper), doubts=doubts)
