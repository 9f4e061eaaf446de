# SPDX-License-Identifier: MIT
"""Domains Y ⊂ R^d, the continuum of neurons: intervals, rectangles, boxes, mesh files, or a given mesh.

A `Domain` is a mesh with its bounding box and, if it comes from a gmsh file, the named groups of its cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from dolfinx import mesh as dmesh
from mpi4py import MPI

from fem_selection.discretization.elements import CELLS
from fem_selection.discretization.meshes.distribution import ExaminedCells, distribute, examine_mesh, read_cells
from fem_selection.discretization.meshes.extents import check_extents, graded_ends
from fem_selection.errors import InvalidInput
from fem_selection.parallel import act_on_root, warn_on_root
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
        pieces: Number of parts of the mesh that share no node; local kernels do not couple them.
        doubts: What is unusual about the mesh, one sentence each; a `SelectionWarning` too.
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
        read: ExaminedCells | None = None

        def on_root() -> tuple[int, tuple[str, ...], dict[str, Integers]]:
            nonlocal read
            read = read_cells(path, group)
            return read.pieces, read.doubts, read.groups

        pieces, doubts, groups = act_on_root(comm, on_root)
        mesh = distribute(comm, read)
        own = mesh.topology.original_cell_index[: mesh.topology.index_map(mesh.topology.dim).size_local]
        cells = mesh.topology.index_map(mesh.topology.dim).size_global
        _warn(str(path), doubts)
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
    doubts = check_extents("interval", lower=(lower,), upper=(upper,), cells=(cells,), grading=grading)
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
    return _create(dmesh.create_rectangle, "rectangle", comm, cells, (lower, upper), cell=cell, grading=grading)


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
    return _create(dmesh.create_box, "box", comm, cells, (lower, upper), cell=cell, grading=grading)


def from_mesh(mesh: dmesh.Mesh, name: str = "mesh") -> Domain:
    """Make a domain of a mesh that the user already has (collective over its communicator).

    Args:
        mesh: The dolfinx mesh; kept by reference.
        name: A description for reports.

    Raises:
        InvalidInput: on all ranks, if this is no mesh of dolfinx with supported cells and coordinates in double
            precision, or its cells make no mesh (see `conformity`); cells have the numbers that they had when the mesh
            was created.

    Example:
        >>> from dolfinx import mesh
        >>> domain = fs.from_mesh(mesh.create_unit_square(MPI.COMM_SELF, 2, 2))
        >>> domain.dimension, domain.cell
        (2, 'triangle')
    """
    if not isinstance(mesh, dmesh.Mesh):
        raise InvalidInput(f"{name}: expected a mesh of dolfinx, got an object of type {type(mesh).__name__}")
    if mesh.ufl_domain() is None or len(mesh.topology.entity_types[-1]) > 1:
        raise InvalidInput(
            f"{name}: expected cells of one type, and a mesh that was made with an element of UFL or basix"
        )
    if (cell := mesh.topology.cell_name()) not in CELLS:
        raise InvalidInput(f"{name} has {cell} cells; supported are {', '.join(CELLS)}")
    if mesh.geometry.x.dtype != np.float64:
        raise InvalidInput(
            f"{name} has coordinates of type {mesh.geometry.x.dtype}: give it dtype=numpy.float64 when it is created"
        )
    found = examine_mesh(mesh, name)
    _warn(name, found.doubts)
    return Domain(mesh=mesh, name=name, bounds=_bounding_box(mesh), pieces=found.pieces, doubts=found.doubts)


def _bounding_box(mesh: dmesh.Mesh) -> tuple[Floats, Floats]:
    x = mesh.geometry.x[:, : mesh.geometry.dim]
    low = np.min(x, axis=0, initial=np.inf)
    high = np.max(x, axis=0, initial=-np.inf)
    mesh.comm.Allreduce(MPI.IN_PLACE, low, op=MPI.MIN)
    mesh.comm.Allreduce(MPI.IN_PLACE, high, op=MPI.MAX)
    return low, high


def _warn(name: str, doubts: Sequence[str]) -> None:
    """Warn of what is doubtful, once: other members of an ensemble have the same mesh."""
    for doubt in doubts:
        warn_on_root(f"{name}: {doubt}")


# ── intervals, rectangles and boxes ───────────────────────────────────────────────────────────────────────────────────


def _check_cell(cell: str, valid: tuple[str, ...], shape: str) -> None:
    if cell not in valid:
        raise InvalidInput(f"a {shape} is made of {' or '.join(valid)} cells, not {cell!r}")


@contextmanager
def _creating(shape: str) -> Iterator[None]:
    """Raise dolfinx's errors, such as that a domain is too small, as InvalidInput."""
    try:
        yield
    except RuntimeError as error:
        raise InvalidInput(f"no {shape} can be made: {next(iter(str(error).splitlines()), '')}") from error


def _create(
    create: Callable[..., dmesh.Mesh],
    shape: str,
    comm: MPI.Intracomm,
    cells: Sequence[int],
    corners: tuple[Sequence[float], Sequence[float]],
    *,
    cell: str,
    grading: float,
) -> Domain:
    """Create a rectangle or a box with one of dolfinx's functions (collective)."""
    doubts = check_extents(shape, lower=corners[0], upper=corners[1], cells=cells, grading=grading)
    lower, upper = (np.asarray(corner, dtype=float) for corner in corners)
    with _creating(shape):
        mesh = create(comm, [lower, upper], list(cells), getattr(dmesh.CellType, cell), ghost_mode=dmesh.GhostMode.none)
    return _finish(mesh, shape, lower, upper, tuple(cells), grading, doubts)


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
            x[:, k] = lower[k] + side * np.interp((x[:, k] - lower[k]) / side, even, graded_ends(n, grading))
    name = f"{shape}, {'×'.join(str(n) for n in cells)} {mesh.topology.cell_name()} cells"
    _warn(name, doubts)
    return Domain(mesh=mesh, name=name, bounds=(lower, upper), doubts=doubts)
