# SPDX-License-Identifier: MIT
"""Domains Y ⊂ R^d, the continuum of neurons: intervals, rectangles, boxes, or a mesh that the user already has.

A `Domain` is a mesh together with what its numbering hides: which cell is which independently of the partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from dolfinx import mesh as dmesh
from mpi4py import MPI

from fem_selection.errors import InvalidInput
from fem_selection.typing import Floats

__all__ = ["Domain", "box", "from_mesh", "interval", "rectangle"]


@dataclass(frozen=True)
class Domain:
    """A bounded domain with its mesh.

    Attributes:
        mesh: The dolfinx mesh, on the space communicator.
        name: What it is, for reports.
        bounds: Lower and upper corner of the bounding box, each of shape (d,).
    """

    mesh: dmesh.Mesh
    name: str
    bounds: tuple[Floats, Floats]

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


def interval(comm: MPI.Intracomm, cells: int, lower: float = 0.0, upper: float = 1.0, grading: float = 1.0) -> Domain:
    """The interval (lower, upper) with `cells` cells; `grading` is the ratio of the last cell's size to the first's."""
    mesh = dmesh.create_interval(comm, cells, (lower, upper), ghost_mode=dmesh.GhostMode.none)
    return _finish(mesh, "interval", np.array([lower]), np.array([upper]), (cells,), grading)


def rectangle(
    comm: MPI.Intracomm,
    cells: Sequence[int],
    lower: Sequence[float] = (0.0, 0.0),
    upper: Sequence[float] = (1.0, 1.0),
    cell: str = "quadrilateral",
    grading: float = 1.0,
) -> Domain:
    """A rectangle of cells[0] × cells[1] quadrilaterals, or twice as many triangles."""
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
    lower: Sequence[float] = (0.0, 0.0, 0.0),
    upper: Sequence[float] = (1.0, 1.0, 1.0),
    cell: str = "hexahedron",
    grading: float = 1.0,
) -> Domain:
    """A box of cells[0] × cells[1] × cells[2] hexahedra, or six times as many tetrahedra."""
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
    """A mesh that the user already has, on its own communicator (collective)."""
    d = mesh.geometry.dim
    x = mesh.geometry.x[:, :d]
    low = np.min(x, axis=0, initial=np.inf)
    high = np.max(x, axis=0, initial=-np.inf)
    mesh.comm.Allreduce(MPI.IN_PLACE, low, op=MPI.MIN)
    mesh.comm.Allreduce(MPI.IN_PLACE, high, op=MPI.MAX)
    return Domain(mesh, name, (low, high))


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
    return Domain(mesh, name, (lower, upper))
