# SPDX-License-Identifier: MIT
"""Simplices in pieces: division at the midpoints of edges, division along a cut, and the rules of a simplex.

A simplex has its vertices v_0 … v_d and a point e_ij on each edge; parts of it have their corners among these, numbered
in this order, the edges as in `edges`.

Reference: J. Bey, Tetrahedral grid refinement, Computing 55 (1995), doi:10.1007/BF02238487.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations, permutations

import basix
import numpy as np

from fem_selection.typing import Floats, Integers

__all__ = ["corner_simplices", "cut_parts", "edges", "halved", "simplex_rule", "volumes"]

_BASIX = (basix.CellType.point, basix.CellType.interval, basix.CellType.triangle, basix.CellType.tetrahedron)
_HALVED = {1: ["0a", "a1"], 2: ["0ab", "a1c", "bc2", "abc"]}
_HALVED[3] = ["0abc", "a1de", "bd2f", "cef3", "abce", "abde", "bcef", "bdef"]


@cache
def edges(dimension: int) -> Integers:
    """The edges of a simplex as pairs of vertices, shape (number of edges, 2)."""
    return np.array(list(combinations(range(dimension + 1), 2)))


@cache
def halved(dimension: int) -> Integers:
    """The 2^d parts of a simplex that is divided at the midpoints of its edges, shape (2^d, d + 1)."""
    letters = "0123"[: dimension + 1] + "abcdef"
    return np.array([[letters.index(corner) for corner in part] for part in _HALVED[dimension]])


@cache
def cut_parts(dimension: int) -> dict[int, Integers]:
    """The parts of a simplex that a surface cuts, by the set of vertices on one side.

    Returns:
        For each number Σ_{i on the side} 2^i the corners of the parts, shape (k, d + 1).
    """
    numbers = {tuple(edge): dimension + 1 + n for n, edge in enumerate(edges(dimension).tolist())}

    def on(i: int, j: int) -> int:
        return numbers[min(i, j), max(i, j)]

    found = {}
    for size in range(1, dimension + 1):
        for side in combinations(range(dimension + 1), size):
            rest = [v for v in range(dimension + 1) if v not in side]
            parts: list[list[int]] = []
            for here, there in ((list(side), rest), (rest, list(side))):
                # the part of `here`: a fan of the vertices, each with its cuts, in a chain
                if len(here) == 1:
                    parts.append([here[0], *(on(here[0], j) for j in there)])
                    continue
                cuts = [[i, *(on(i, j) for j in there)] for i in here]
                parts += _prism(cuts, len(there) + len(here))
            found[sum(1 << v for v in side)] = np.array(parts)
    return found


def _prism(columns: list[list[int]], corners: int) -> list[list[int]]:
    """The simplices of the part of a simplex at several vertices, each column a vertex with its cuts.

    The part is the product of two simplices, along the vertices and across; the paths through the lattice of its
    corners, from the first to the last, are the simplices of its standard division.
    """
    rows, width = len(columns), len(columns[0])
    found = []
    steps = [0] * (rows - 1) + [1] * (width - 1)
    for path in sorted(set(permutations(steps))):
        i = j = 0
        corner = [columns[0][0]]
        for step in path:
            i, j = (i + 1, j) if step == 0 else (i, j + 1)
            corner.append(columns[i][j])
        assert len(corner) == corners
        found.append(corner)
    return found


@cache
def corner_simplices(cell: str) -> Floats:
    """The simplices that a reference cell is made of, shape (k, d + 1, d): one, or d! of a tensor cell."""
    if cell in ("triangle", "tetrahedron"):
        return np.asarray(basix.geometry(basix.CellType[cell]))[None]
    d = {"quadrilateral": 2, "hexahedron": 3}[cell]
    found = []
    for order in permutations(range(d)):
        corner = np.zeros((d + 1, d))
        for k, axis in enumerate(order):
            corner[k + 1 :, axis] = 1.0
        found.append(corner)
    return np.array(found)


@cache
def simplex_rule(dimension: int, degree: int) -> tuple[Floats, Floats]:
    """Barycentric coordinates, shape (q, d + 1), and weights of a rule, whose sum is 1/d!.

    Args:
        dimension: d.
        degree: Polynomials up to it are integrated exactly.
    """
    if dimension == 0:
        return np.ones((1, 1)), np.ones(1)
    points, weights = basix.make_quadrature(_BASIX[dimension], degree)
    return np.column_stack([1 - points.sum(axis=1), points]), np.asarray(weights)


def volumes(corners: Floats) -> Floats:
    """d! times the volumes of simplices of dimension d in R^d, shape (m,).

    Args:
        corners: Shape (m, d + 1, d).
    """
    found: Floats = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1]))
    return found
