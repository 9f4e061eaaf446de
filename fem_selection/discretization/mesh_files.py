# SPDX-License-Identifier: MIT
"""What a mesh file holds: the cells of a gmsh file by their named groups, and the description of an XDMF file.

A domain consists of cells of one type: the cells of highest dimension, of one named group or of all.  Gmsh always
writes three coordinates; trailing ones that vanish everywhere are dropped.  A plane mesh therefore lies in R², while a
surface that leaves that plane is a manifold of neurons in R³.  The coordinates of an XDMF file are not changed.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fem_selection.errors import InvalidInput
from fem_selection.typing import Floats, Integers

__all__ = ["GmshCells", "MeshDescription", "describe", "read_gmsh", "used_coordinates"]

_CELLS = {  # meshio's name: dolfinx's name, degree of the geometry, dimension
    "line": ("interval", 1, 1),
    "line3": ("interval", 2, 1),
    "triangle": ("triangle", 1, 2),
    "triangle6": ("triangle", 2, 2),
    "quad": ("quadrilateral", 1, 2),
    "quad9": ("quadrilateral", 2, 2),
    "tetra": ("tetrahedron", 1, 3),
    "tetra10": ("tetrahedron", 2, 3),
    "hexahedron": ("hexahedron", 1, 3),
    "hexahedron27": ("hexahedron", 2, 3),
}
_XDMF_CELLS = {
    "polyline": ("interval", 1),
    "triangle": ("triangle", 2),
    "triangle_6": ("triangle", 2),
    "quadrilateral": ("quadrilateral", 2),
    "quadrilateral_9": ("quadrilateral", 2),
    "tetrahedron": ("tetrahedron", 3),
    "tetrahedron_10": ("tetrahedron", 3),
    "hexahedron": ("hexahedron", 3),
    "hexahedron_27": ("hexahedron", 3),
}


@dataclass(frozen=True)
class GmshCells:
    """The cells of a domain, as they stand in a gmsh file.

    Attributes:
        cell: The cell type by dolfinx's name.
        degree: Degree of the geometry; 2 for curved cells.
        cells: Rows of `points`, in meshio's order of a cell's nodes, shape (num_cells, nodes of a cell).
        points: Coordinates of the points that the cells use, shape (num_points, d).
        groups: Numbers of the cells in each named group that is not empty.
    """

    cell: str
    degree: int
    cells: Integers
    points: Floats
    groups: dict[str, Integers]


@dataclass(frozen=True)
class MeshDescription:
    """What a case needs to know about a mesh file before the mesh is made.

    Attributes:
        dimension: Dimension of the space that the points lie in.
        cell: The cell type by dolfinx's name.
        grid: The name of the grid in an XDMF file.
    """

    dimension: int
    cell: str
    grid: str = ""


def describe(path: str | Path, group: str | None = None) -> MeshDescription:
    """Read the description of a mesh file.

    Args:
        path: A gmsh (.msh) or XDMF (.xdmf) file.
        group: In a gmsh file the named group of cells that make the domain; all cells if None.

    Raises:
        InvalidInput: if the file cannot be read, or has no mesh for a domain; the message says what was found.
    """
    try:
        stamp = os.stat(path).st_mtime_ns
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from error
    suffix = Path(path).suffix.lower()
    if suffix == ".msh":
        return _describe_gmsh(str(path), group, stamp)
    if suffix == ".xdmf":
        if group is not None:
            raise InvalidInput(f"{path}: named groups are read from gmsh files; give one, or leave the group out")
        return _describe_xdmf(Path(path))
    raise InvalidInput(f"{path}: a mesh is read from gmsh (.msh) and XDMF (.xdmf) files, not from {suffix or 'this'!r}")


# ── gmsh ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_gmsh(path: str | Path, group: str | None = None) -> GmshCells:
    """Read the cells of highest dimension of a gmsh file, or those of a named group.

    Args:
        path: The file.
        group: The name of the group; all cells if None.

    Raises:
        InvalidInput: if the file cannot be read, has no such group, no cells, cells of several types, or points that
            are not finite.
    """
    mesh = _read_with_meshio(Path(path))
    names = {str(name): (int(tag), int(dimension)) for name, (tag, dimension) in mesh.field_data.items()}
    known = [(k, *_CELLS[block.type]) for k, block in enumerate(mesh.cells) if block.type in _CELLS and len(block.data)]
    if group is not None and group not in names:
        raise InvalidInput(f"{path} has no group {group!r}; {_groups_found(names)}")
    dimension = max((d for *_, d in known), default=0) if group is None else names[group][1]
    chosen = [(k, cell, degree) for k, cell, degree, d in known if d == dimension]
    others = {b.type for b in mesh.cells if b.type not in _CELLS and b.type != "vertex"}
    tags = mesh.cell_data.get("gmsh:physical")
    if group is not None:
        masks = {k: np.asarray(tags[k]) == names[group][0] for k, *_ in chosen} if tags is not None else {}
        chosen = [entry for entry in chosen if np.any(masks.get(entry[0], False))]
    if not dimension or not chosen:
        where = "" if group is None else f" in the group {group!r}"
        raise InvalidInput(
            f"{path} has no cells{where} that make a domain (intervals, triangles, quadrilaterals, tetrahedra or "
            f"hexahedra, with straight or quadratic edges); it has {_cells_found(mesh)}, {_groups_found(names)}"
        )
    kinds = {(cell, degree) for _, cell, degree in chosen}
    if len(kinds) > 1 or (group is None and others):
        raise InvalidInput(f"{path} has cells of several types, {_cells_found(mesh)}; a domain is made of one")
    blocks, numbers = [], []
    for k, *_ in chosen:
        picked = np.ones(len(mesh.cells[k].data), dtype=bool) if group is None else masks[k]
        blocks.append(mesh.cells[k].data[picked])
        numbers.append(np.full(int(picked.sum()), -1) if tags is None else np.asarray(tags[k])[picked])
    used, cells = np.unique(np.concatenate(blocks), return_inverse=True)
    points = np.asarray(mesh.points, dtype=float)[used]
    if not np.all(np.isfinite(points)):
        raise InvalidInput(f"{path} has points that are not finite")
    tag_of_cells = np.concatenate(numbers)
    groups = {n: np.flatnonzero(tag_of_cells == tag) for n, (tag, d) in names.items() if d == dimension}
    shape = np.concatenate(blocks).shape
    cell, degree = kinds.pop()
    return GmshCells(
        cell=cell,
        degree=degree,
        cells=np.ascontiguousarray(cells.reshape(shape), dtype=np.int64),
        points=np.ascontiguousarray(points[:, : used_coordinates(points, dimension)]),
        groups={name: cells for name, cells in groups.items() if cells.size},
    )


@lru_cache(maxsize=8)
def _describe_gmsh(path: str, group: str | None, stamp: int) -> MeshDescription:
    """The description of a gmsh file, read again only when its modification time `stamp` has changed."""
    found = read_gmsh(path, group)
    return MeshDescription(dimension=found.points.shape[1], cell=found.cell)


def used_coordinates(points: Floats, at_least: int) -> int:
    """Return the number of coordinates up to the last one that is not zero everywhere.

    Args:
        points: Shape (num_points, 3).
        at_least: The least result.
    """
    varying = np.flatnonzero(np.any(points != 0.0, axis=0)) if len(points) else np.zeros(0, dtype=int)
    return max(at_least, int(varying[-1]) + 1 if varying.size else 0)


def _read_with_meshio(path: Path) -> Any:
    import contextlib
    import io

    import meshio  # imported here, since few cases have a mesh file

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return meshio.gmsh.read(path)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from error
    except (Exception, SystemExit) as error:  # meshio raises exceptions of many kinds
        raise InvalidInput(f"{path} is no gmsh file that can be read (format 2.2 or 4.1): {error}") from error


def _groups_found(names: dict[str, tuple[int, int]]) -> str:
    if not names:
        return "it has no named groups"
    return "its groups are " + ", ".join(f"{name!r} (dimension {d})" for name, (_, d) in sorted(names.items()))


def _cells_found(mesh: Any) -> str:
    counts: dict[str, int] = {}
    for block in mesh.cells:
        counts[block.type] = counts.get(block.type, 0) + len(block.data)
    return ", ".join(f"{n} of type {kind}" for kind, n in counts.items()) or "no cells"


# ── XDMF ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _describe_xdmf(path: Path) -> MeshDescription:
    """Find the first grid with a topology and a geometry of its own; check that the files with its numbers exist."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise InvalidInput(f"{path} is no XDMF file: {error}") from error
    found = []
    for grid in root.iter("Grid"):
        topology, geometry = grid.find("Topology"), grid.find("Geometry")
        if topology is None or geometry is None:
            continue
        kind = (topology.get("TopologyType") or topology.get("Type") or "").lower()
        layout = (geometry.get("GeometryType") or geometry.get("Type") or "XYZ").upper()
        found.append(kind)
        if kind not in _XDMF_CELLS:
            continue
        for item in (*topology.iter("DataItem"), *geometry.iter("DataItem")):
            _check_data_file(path, item)
        cell, dimension = _XDMF_CELLS[kind]
        return MeshDescription(dimension=max(dimension, len(layout)), cell=cell, grid=grid.get("Name") or "")
    raise InvalidInput(
        f"{path} has no mesh of intervals, triangles, quadrilaterals, tetrahedra or hexahedra; "
        + (f"it has grids of type {', '.join(map(repr, found))}" if found else "it has no grid with cells and points")
    )


def _check_data_file(path: Path, item: ElementTree.Element) -> None:
    """Raise InvalidInput if the HDF5 file beside an XDMF file is missing; the library's own message would say less."""
    if (item.get("Format") or "").upper() != "HDF":
        return
    name = (item.text or "").strip().split(":")[0]
    if name and not (path.parent / name).is_file():
        raise InvalidInput(f"{path} keeps its numbers in {path.parent / name}, which is not there")
