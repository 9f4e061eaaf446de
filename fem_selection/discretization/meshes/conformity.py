# SPDX-License-Identifier: MIT
"""Whether cells make a mesh: their shapes, and how they meet at nodes and facets.

In a mesh each facet belongs to one cell or to two on either side of it, cells that touch share their nodes, and one can
walk from every cell to every other.  What cannot be integrated over is a fault: degenerate, folded, equal or
overlapping cells.  What is possible and rarely meant is a doubt.  Local kernels couple neighbours alone: neither nodes
that coincide without being one, nor parts of the mesh that share no node.

Nodes coincide if a cell that has both would be degenerate: if their distance is at most √ε of the shortest edge at
them, or a rounding error of their coordinates.  Whether cells overlap is seen at facets: the middles of both cells lie
on one side.  A node that hangs in a side of a cell is none of its corners (`hanging_nodes`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import basix
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from fem_selection.discretization.meshes.cell_shapes import DOUBTFUL, SMALLEST, judge_shapes
from fem_selection.discretization.meshes.equal_rows import equal_rows
from fem_selection.discretization.meshes.hanging_nodes import find_hanging_nodes
from fem_selection.typing import Floats, Integers

__all__ = ["Conformity", "examine"]

_EPS = float(np.finfo(float).eps)
_SHOWN = 3


@dataclass(frozen=True)
class Conformity:
    """What was found about the cells of a mesh.

    Attributes:
        faults: Why they make no mesh, one sentence each.
        doubts: What is rarely meant, one sentence each.
        pieces: Number of parts that share no node.
        links: The largest number of cells at a facet.
    """

    faults: tuple[str, ...]
    doubts: tuple[str, ...]
    pieces: int
    links: int


def examine(
    element: Any, cells: Integers, points: Floats, *, cell_numbers: Integers, point_numbers: Integers
) -> Conformity:
    """Find out whether cells make a mesh.

    Args:
        element: The scalar element of the geometry, of basix.ufl.
        cells: Rows of points, in dolfinx's order, shape (num_cells, nodes of a cell).
        points: Shape (num_points, d).
        cell_numbers: The numbers of the cells in messages, shape (num_cells,).
        point_numbers: The numbers of the points in messages, shape (num_points,).
    """
    corners = cells[:, : len(basix.geometry(element.cell_type))]

    def show(found: Integers) -> str:
        return _some([f"{cell_numbers[k]} ({_places(points[corners[k]])})" for k in found[:_SHOWN]], len(found))

    bad = np.flatnonzero(~np.all(np.isfinite(points[cells]), axis=(1, 2)))
    if bad.size:
        return Conformity(
            faults=(f"coordinates are not finite in {len(bad)} cells, {show(bad)}",), doubts=(), pieces=1, links=2
        )
    faults, doubts = _shapes(element, cells, points, show)
    links, sides = 2, np.zeros((0, 2), dtype=np.int64)
    equal = _equal_cells(corners)
    if equal.size:
        faults.append(f"cells are listed twice, with the same corners: {_pairs(equal, cell_numbers)}")
    elif not faults:
        facets = _facets(element.cell_type, corners)
        links, sides = _meetings(element, facets, corners, points)
        branching = f"up to {links} cells meet at one facet; a local kernel couples them all there"
        doubts += [branching] if links > 2 else []
    if sides.size:
        text = f"neighbours overlap, both on one side of their common facet: cells {_pairs(sides, cell_numbers)}"
        plane = element.embedded_superdegree == 1 and element.cell_type != basix.CellType.hexahedron
        (faults if plane else doubts).append(text)
    pieces = _num_pieces(corners, len(points))
    if not faults:
        doubts += _coinciding(element.cell_type, corners, points, point_numbers)
        hanging = find_hanging_nodes(_facets(element.cell_type, corners), points)
        doubts += _hanging(hanging, points, point_numbers, cell_numbers)
    return Conformity(faults=tuple(faults), doubts=tuple(doubts), pieces=pieces, links=links)


# ── single cells ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _shapes(
    element: Any, cells: Integers, points: Floats, show: Callable[[Integers], str]
) -> tuple[list[str], list[str]]:
    shapes = judge_shapes(element, cells, points)
    faults, doubts = [], []
    if (bad := shapes.degenerate).size:
        least = np.abs(shapes.scaled[bad]).min()
        why = f"the scaled Jacobian is down to {least:.1e}, and {SMALLEST:.1e} is the root of the rounding error"
        if least > SMALLEST:
            why = "at their distance from the origin, the coordinates cannot resolve them"
        faults.append(f"{_cells('degenerate', bad)} {show(bad)}: {why}")
    if (bad := shapes.folded).size:
        why = "the Jacobian changes its sign in them: do edges cross, or are corners in a wrong order?"
        faults.append(f"{_cells('folded', bad)} {show(bad)}: {why}")
    if (bad := shapes.flat).size:
        what, why = shapes.scaled, "in gradients on curves and surfaces half of the digits are lost"
        if not shapes.on_manifold:
            what, why = shapes.largest, "with angles so near to 180° gradients are approximated badly"
        least = f"the scaled Jacobian is down to {what[bad].min():.1e}, below {DOUBTFUL:.1e}"
        doubts.append(f"{_cells('nearly degenerate', bad)} {show(bad)}: {least}, and {why}")
    if (bad := shapes.rounded).size:
        why = f"rounding of the coordinates makes a relative error of {shapes.error[bad].max():.1e} of their measure"
        doubts.append(f"{_cells('nearly degenerate', bad)} {show(bad)}: {why}, and half of the digits are lost")
    return faults, doubts


# ── cells and their neighbours ────────────────────────────────────────────────────────────────────────────────────────


def _equal_cells(corners: Integers) -> Integers:
    """Pairs of cells with the same corners, shape (num_pairs, 2)."""
    first, index = equal_rows(np.sort(corners, axis=1))
    again = np.flatnonzero(first[index] != np.arange(len(corners)))
    return np.stack([first[index[again]], again], axis=1)


def _facets(kind: basix.CellType, corners: Integers) -> Integers:
    """The corners of each facet of each cell, shape (num_cells, num_facets, corners of a facet)."""
    local = np.array(basix.topology(kind)[-2])
    return corners[:, local]


def _meetings(element: Any, facets: Integers, corners: Integers, points: Floats) -> tuple[int, Integers]:
    """The largest number of cells at a facet, and the pairs of cells on one side of their common facet."""
    num_cells, num_facets = facets.shape[:2]
    flat = np.sort(facets.reshape(num_cells * num_facets, -1), axis=1)
    _, index = equal_rows(flat)
    links = int(np.bincount(index).max(initial=1))
    t, d = len(basix.topology(element.cell_type)) - 1, points.shape[1]
    if t != d:
        return links, np.zeros((0, 2), dtype=np.int64)
    order = np.argsort(index, kind="stable")
    shared = np.flatnonzero(np.diff(index[order]) == 0)
    first, second = order[shared], order[shared + 1]
    middles = points[corners].mean(axis=1)
    x = points[facets.reshape(num_cells * num_facets, -1)[first]]  # of both cells the first one's order
    a = _side(x, middles[first // num_facets])
    b = _side(x, middles[second // num_facets])
    same = np.sign(a) * np.sign(b) > 0
    return links, np.stack([first[same] // num_facets, second[same] // num_facets], axis=1)


def _side(x: Floats, middle: Floats) -> Floats:
    """On which side of the facets with the corners x, shape (num_facets, corners, d), points lie, by sign."""
    to = middle - x[:, 0]
    if x.shape[2] == 1:
        return to[:, 0]
    edge = x[:, 1] - x[:, 0]
    if x.shape[2] == 2:
        return edge[:, 0] * to[:, 1] - edge[:, 1] * to[:, 0]
    normal = np.cross(edge, x[:, 2] - x[:, 0]) if x.shape[1] == 3 else np.cross(x[:, 3] - x[:, 0], x[:, 2] - x[:, 1])
    return np.einsum("kd,kd->k", normal, middle - x.mean(axis=1))


def _num_pieces(corners: Integers, num_points: int) -> int:
    rows = np.repeat(corners[:, 0], corners.shape[1] - 1)
    columns = corners[:, 1:].reshape(-1)
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(num_points, num_points))
    _, labels = connected_components(graph, directed=False)
    return len(np.unique(labels[corners[:, 0]]))


def _coinciding(kind: basix.CellType, corners: Integers, points: Floats, numbers: Integers) -> list[str]:
    """A sentence on corners of cells that coincide without being one."""
    used = np.unique(corners)
    if len(used) < 2:
        return []
    shortest = np.full(len(points), np.inf)
    for a, b in basix.topology(kind)[1]:
        length = np.linalg.norm(points[corners[:, a]] - points[corners[:, b]], axis=1)
        np.minimum.at(shortest, corners[:, a], length)
        np.minimum.at(shortest, corners[:, b], length)
    distance, nearest = cKDTree(points[used]).query(points[used], k=2)
    rounding = 4 * _EPS * np.abs(points[used]).max(axis=1)
    close = np.flatnonzero(distance[:, 1] <= np.maximum(SMALLEST * shortest[used], rounding))
    if not close.size:
        return []
    partner = np.where(nearest[close, 0] == close, nearest[close, 1], nearest[close, 0])
    pairs = np.unique(np.sort(np.stack([close, partner], axis=1), axis=1), axis=0)
    text = [f"{numbers[used[a]]} and {numbers[used[b]]} at {_place(points[used[a]])}" for a, b in pairs[:_SHOWN]]
    return [
        f"nodes coincide, but are not one: {_some(text, len(pairs))}; a local kernel does not couple the cells on both "
        "sides. Merge them if this is no slit (in gmsh by Coherence or removeDuplicateNodes)"
    ]


def _hanging(found: Integers, points: Floats, point_numbers: Integers, cell_numbers: Integers) -> list[str]:
    """A sentence on corners of cells that lie inside a facet of another cell."""
    if not len(found):
        return []
    text = [f"{point_numbers[p]} at {_place(points[p])} on a side of cell {cell_numbers[c]}" for p, c in found[:_SHOWN]]
    return [
        f"nodes hang: they lie on the side of a cell that has no node there, {_some(text, len(found))}; functions may "
        "jump across that side, and a local kernel does not couple the cells on both. Divide the larger cell, unless "
        "this is a slit"
    ]


# ── words ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _cells(what: str, found: Integers) -> str:
    return f"{what} cell" if len(found) == 1 else f"{len(found)} {what} cells,"


def _pairs(pairs: Integers, numbers: Integers) -> str:
    return _some([f"{numbers[a]} and {numbers[b]}" for a, b in pairs[:_SHOWN]], len(pairs))


def _some(texts: Sequence[str], total: int) -> str:
    return ", ".join(texts) + (f" and {total - len(texts)} more" if total > len(texts) else "")


def _places(points: Floats) -> str:
    """Points with so many digits that they differ, as far from the origin."""
    size = np.ptp(points, axis=0).max()
    far = np.abs(points).max() / size if size > 0 else 1.0
    digits = 6 + int(np.clip(np.ceil(np.log10(far)), 0, 11)) if np.isfinite(far) and far > 0 else 6
    return ", ".join(_place(point, digits) for point in points)


def _place(point: Floats, digits: int = 6) -> str:
    return f"({', '.join(f'{c:.{digits}g}' for c in point)})"
