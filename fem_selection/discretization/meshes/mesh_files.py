# SPDX-License-Identifier: MIT
"""What a mesh file holds: the cells of a domain, each of them once, its points, and the named groups of the cells.

A domain consists of cells of one type: the cells of highest dimension, of one named group or of all.  Gmsh always
writes three coordinates; trailing ones that are rounding errors everywhere are dropped.  A plane mesh therefore lies in
R², while a surface that leaves that plane is a manifold of neurons in R³.  The coordinates of an XDMF file are not
changed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from fem_selection.discretization.meshes.equal_rows import equal_rows
from fem_selection.discretization.meshes.gmsh_format import KINDS, GmshBlock, GmshFile, parse_gmsh
from fem_selection.discretization.meshes.xdmf_format import files_beside, find_grid, read_grid
from fem_selection.errors import InvalidInput
from fem_selection.typing import Floats, Integers

__all__ = [
    "MeshCells",
    "MeshDescription",
    "describe",
    "files_of_mesh",
    "read_gmsh",
    "read_xdmf",
    "used_coordinates",
]

_CELLS = {  # the name of gmsh's type: dolfinx's name, degree of the geometry
    "line": ("interval", 1),
    "line3": ("interval", 2),
    "triangle": ("triangle", 1),
    "triangle6": ("triangle", 2),
    "quad": ("quadrilateral", 1),
    "quad9": ("quadrilateral", 2),
    "tetra": ("tetrahedron", 1),
    "tetra10": ("tetrahedron", 2),
    "hexahedron": ("hexahedron", 1),
    "hexahedron27": ("hexahedron", 2),
}
_NOISE = 16 * np.finfo(float).eps
"""Coordinates are zero up to rounding if they are below this times the largest: a few rounding errors of a rotation."""


@dataclass(frozen=True)
class MeshCells:
    """The cells of a domain, as they stand in a mesh file, each of them once.

    Attributes:
        cell: The cell type by dolfinx's name.
        degree: Degree of the geometry; 2 for curved cells.
        order: Whose order of a cell's nodes it is, "gmsh" or "vtk".
        cells: Rows of `points`, shape (num_cells, nodes of a cell).
        points: Coordinates of the points that the cells use, shape (num_points, d).
        groups: Numbers of the rows of `cells` in each named group that is not empty.
        cell_numbers: Numbers of the cells in the file, shape (num_cells,).
        point_numbers: Numbers of the points in the file, shape (num_points,).
        doubts: What is unusual about the file, one sentence each.
    """

    cell: str
    degree: int
    order: str
    cells: Integers
    points: Floats
    groups: dict[str, Integers]
    cell_numbers: Integers
    point_numbers: Integers
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class MeshDescription:
    """What a case needs to know about a mesh file before the mesh is made.

    Attributes:
        dimension: Dimension of the space that the points lie in.
        cell: The cell type by dolfinx's name.
    """

    dimension: int
    cell: str


def describe(path: str | Path, group: str | None = None) -> MeshDescription:
    """Read the description of a mesh file.

    Args:
        path: A gmsh (.msh) or XDMF (.xdmf) file.
        group: In a gmsh file the named group of cells that make the domain; all cells if None.

    Raises:
        InvalidInput: if the file cannot be read, or has no mesh for a domain; the message says what was found.
    """
    try:
        stamp = os.stat(path)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    suffix = Path(path).suffix.lower()
    if suffix == ".msh":
        return _describe_gmsh(str(path), group, (stamp.st_mtime_ns, stamp.st_size, stamp.st_ino))
    if suffix == ".xdmf":
        if group is not None:
            raise InvalidInput(f"{path}: named groups are read from gmsh files; give one, or leave the group out")
        grid = find_grid(Path(path))
        return MeshDescription(dimension=grid.width, cell=grid.cell)
    raise InvalidInput(f"{path}: a mesh is read from gmsh (.msh) and XDMF (.xdmf) files, not from {suffix or 'this'!r}")


def files_of_mesh(path: str | Path) -> list[Path]:
    """Return the files that a mesh is read from: the file itself, and those beside an XDMF file.

    Raises:
        InvalidInput: if an XDMF file has no mesh, or a file with its numbers is missing.
    """
    path = Path(path)
    return [path, *(files_beside(path) if path.suffix.lower() == ".xdmf" else ())]


# ── gmsh ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_gmsh(path: str | Path, group: str | None = None) -> MeshCells:
    """Read the cells of highest dimension of a gmsh file, or those of a named group.

    Args:
        path: The file.
        group: The name of a group; all cells if None.  Groups of several dimensions may share a name: then it means
            those of the highest dimension in which they have cells.

    Raises:
        InvalidInput: if the file cannot be read, has no such group, no cells, cells of several types, or points that
            are not finite.
    """
    file = _parsed(Path(path))
    dimensions = sorted({d for d, name in file.names if name == group}, reverse=True)
    if group is not None and not dimensions:
        raise InvalidInput(f"{path} has no group {group!r}; {_groups_found(file)}")
    blocks = [block for block in file.blocks if len(block.numbers) and _dimension(block) > 0]
    if group is not None:
        tags = {(d, tag) for d in dimensions for tag in file.names[d, group]}
        blocks = [block for block in blocks if any((_dimension(block), tag) in tags for tag in block.groups)]
    dimension = max((_dimension(block) for block in blocks), default=0)
    chosen = [block for block in blocks if _dimension(block) == dimension]
    kinds = {KINDS[block.kind][0] for block in chosen}
    where = "" if group is None else f" in the group {group!r}"
    if not kinds & set(_CELLS):
        hint = "; in gmsh, Mesh.SecondOrderIncomplete = 0 saves these cells with the nodes in their middle"
        raise InvalidInput(
            f"{path} has no cells{where} that make a domain (gmsh's types {', '.join(_CELLS)}); it has "
            f"{_cells_found(file)}, {_groups_found(file)}{hint if kinds & {'quad8', 'hexahedron20'} else ''}"
        )
    if len(kinds) > 1:
        raise InvalidInput(f"{path} has cells of several types{where}, {_cells_found(file)}; a domain is made of one")
    alike = [block for block in file.blocks if block.kind == chosen[0].kind]
    rows, numbers, nodes, doubts = _each_once(alike, file.repeats_cells)
    picked = np.unique(np.concatenate([found for block, found in zip(alike, rows, strict=True) if block in chosen]))
    numbers = numbers[picked]
    used, cells = np.unique(nodes[picked], return_inverse=True)
    cells = cells.reshape(len(picked), -1)
    points = _points(path, file, used, cells, numbers)
    groups = {}
    for (d, name), members in file.names.items():
        found = [r for block, r in zip(alike, rows, strict=True) if set(block.groups) & set(members)]
        if d == dimension and found:
            groups[name] = np.flatnonzero(np.isin(picked, np.concatenate(found)))
    cell, degree = _CELLS[kinds.pop()]
    kept = used_coordinates(points, dimension)
    return MeshCells(
        cell=cell,
        degree=degree,
        order="gmsh",
        cells=np.ascontiguousarray(cells, dtype=np.int64),
        points=np.ascontiguousarray(points[:, :kept]),
        groups={name: members for name, members in groups.items() if members.size},
        cell_numbers=numbers,
        point_numbers=used,
        doubts=(*doubts, *_flatness(points[:, :kept], dimension, "set {} to zero")),
    )


def _parsed(path: Path) -> GmshFile:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        return parse_gmsh(data)
    except InvalidInput as error:
        raise InvalidInput(f"{path} is no gmsh file that can be read (format 2.2, 4.0 or 4.1): {error}") from error


@lru_cache(maxsize=8)
def _describe_gmsh(path: str, group: str | None, stamp: tuple[int, int, int]) -> MeshDescription:
    """The description of a gmsh file, read again only when its modification time, size or place has changed."""
    found = read_gmsh(path, group)
    return MeshDescription(dimension=found.points.shape[1], cell=found.cell)


def _dimension(block: GmshBlock) -> int:
    return KINDS[block.kind][1]


def _each_once(blocks: list[GmshBlock], repeats: bool) -> tuple[list[Integers], Integers, Integers, tuple[str, ...]]:
    """Every cell once, at its first place, whatever its orientation.

    Returns:
        For each block the rows of its cells; the numbers of the cells in the file; their nodes; and a sentence on cells
        that the file lists more often than its format does for groups.
    """
    nodes = np.concatenate([block.nodes for block in blocks])
    numbers = np.concatenate([block.numbers for block in blocks])
    first, row = equal_rows(np.sort(nodes, axis=1))
    rows = np.split(row, np.cumsum([len(block.numbers) for block in blocks])[:-1])
    doubles = len(row) - len(first)
    if repeats:
        same = {
            block.groups: [r for b, r in zip(blocks, rows, strict=True) if b.groups == block.groups] for block in blocks
        }
        doubles = sum(r.size - np.unique(r).size for r in map(np.concatenate, same.values()))
    listed = "1 cell is" if doubles == 1 else f"{doubles} cells are"
    doubt = f"{listed} listed more than once, with the same nodes, and taken once"
    return rows, numbers[first], nodes[first], (doubt,) if doubles else ()


def _points(path: str | Path, file: GmshFile, used: Integers, cells: Integers, numbers: Integers) -> Floats:
    """The coordinates of the nodes with the numbers `used`."""
    order = np.argsort(file.numbers, kind="stable")
    known = file.numbers[order]
    twice = known[:-1][(np.diff(known) == 0) & np.any(np.diff(file.points[order], axis=0) != 0, axis=1)]
    if (bad := np.intersect1d(twice, used)).size:
        raise InvalidInput(f"{path} has the node {bad[0]} twice, at different points")
    places = np.minimum(np.searchsorted(known, used), max(len(known) - 1, 0))
    missing = np.ones(len(used), dtype=bool) if not len(known) else known[places] != used
    if np.any(missing):
        k = int(np.flatnonzero(np.any(missing[cells], axis=1))[0])
        lost = used[cells[k]][missing[cells[k]]]
        raise InvalidInput(f"{path}: cell {numbers[k]} has the node {lost[0]}, which the file does not have")
    points = np.asarray(file.points[order[places]], dtype=float)
    _require_finite(path, points, used)
    return points


def _groups_found(file: GmshFile) -> str:
    if not file.names:
        tags = sorted({tag for block in file.blocks for tag in block.groups})
        numbered = f", only the tags {', '.join(map(str, tags))}: give them names in gmsh" if tags else ""
        return f"it has no named groups{numbered}"
    names = sorted(file.names, key=lambda key: (key[1], key[0]))
    lost = "" if any(block.groups for block in file.blocks) else ", but no cell belongs to one"
    if lost and file.repeats_cells:
        lost += " (where gmsh saves all, MSH 2.2 has no groups: save it as MSH 4.1)"
    return "its groups are " + ", ".join(f"{name!r} (dimension {d})" for d, name in names) + lost


def _cells_found(file: GmshFile) -> str:
    counts: dict[str, int] = {}
    for block in file.blocks:
        counts[KINDS[block.kind][0]] = counts.get(KINDS[block.kind][0], 0) + len(block.numbers)
    return ", ".join(f"{n} of type {kind}" for kind, n in counts.items() if n) or "no cells"


# ── XDMF ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_xdmf(path: str | Path) -> MeshCells:
    """Read the cells and points of the mesh in an XDMF file.

    Args:
        path: The file.

    Raises:
        InvalidInput: if the file cannot be read or has no mesh for a domain.
    """
    grid = find_grid(Path(path))
    nodes, points = read_grid(Path(path), grid)
    block = GmshBlock(kind=1, groups=(), numbers=np.arange(len(nodes)), nodes=nodes)
    _, numbers, nodes, doubts = _each_once([block], repeats=False)
    used, cells = np.unique(nodes, return_inverse=True)
    _require_finite(path, points[used], used)
    return MeshCells(
        cell=grid.cell,
        degree=grid.degree,
        order="vtk",
        cells=np.ascontiguousarray(cells.reshape(nodes.shape), dtype=np.int64),
        points=np.ascontiguousarray(points[used]),
        groups={},
        cell_numbers=numbers,
        point_numbers=used,
        doubts=(*doubts, *_flatness(points[used], grid.dimension, "leave {} out")),
    )


# ── coordinates ───────────────────────────────────────────────────────────────────────────────────────────────────────


def used_coordinates(points: Floats, at_least: int) -> int:
    """Return the number of coordinates up to the last one that is more than rounding errors around zero.

    Args:
        points: Shape (num_points, 3).
        at_least: The least result.
    """
    sizes = np.abs(points).max(axis=0, initial=0.0)
    varying = np.flatnonzero(~(sizes <= _NOISE * sizes.max(initial=0.0)))
    return max(at_least, int(varying[-1]) + 1 if varying.size else 0)


def _flatness(points: Floats, dimension: int, remedy: str) -> tuple[str, ...]:
    """A sentence if a mesh counts as a surface or a curve for a coordinate that hardly varies.

    Args:
        points: Shape (num_points, d).
        dimension: Dimension of the cells.
        remedy: What to do about the last coordinate, with a place for its name.
    """
    if points.shape[1] == dimension:
        return ()
    extents = np.ptp(points, axis=0)
    flat = int(np.argmin(extents))
    if not extents[flat] <= np.sqrt(np.finfo(float).eps) * extents.max():
        return ()
    what, d, name = {1: "curve", 2: "surface"}[dimension], points.shape[1], "xyz"[flat]
    last = (
        remedy.format(name) if flat == d - 1 else f"turn the mesh so that {name} is the last, and {remedy.format('it')}"
    )
    noise = f" up to {extents[flat]:.1e}" if extents[flat] else ""
    return (
        f"{name} is {points[0, flat]:.6g} everywhere{noise}; the mesh counts as a {what} in R^{d}. "
        f"For a mesh in R^{d - 1} {last}",
    )


def _require_finite(path: str | Path, points: Floats, numbers: Integers) -> None:
    """Raise an error that names the first points that are infinite or NaN."""
    bad = np.flatnonzero(~np.all(np.isfinite(points), axis=1))
    if bad.size:
        some = ", ".join(f"{numbers[k]} at ({', '.join(f'{c:g}' for c in points[k])})" for k in bad[:3])
        more = f" and {bad.size - 3} more" if bad.size > 3 else ""
        raise InvalidInput(f"{path} has points that are not finite: {some}{more}")
