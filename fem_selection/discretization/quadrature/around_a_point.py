# SPDX-License-Identifier: MIT
"""Rules on simplices for functions of z that are singular at one point y, like |y − z|^{−a} or log|y − z|.

A simplex that contains y is divided into simplices with a vertex at y.  On each of them, with F the face opposite to y,

    ∫ w dz = d! |T| ∫_0^1 ∫_F s^{d−1} w(y + s (p − y)) dp ds                  (Duffy's transformation)

where w s^{d−1} behaves like s^{d−1−a}: a rule graded towards 0, with a Gauss–Jacobi rule in its last part, knows it.
The face is halved until none of its parts is large beside its distance from y.  A simplex that does not contain y is
halved until none of its parts is large beside its distance from y.

Reference: M. G. Duffy, SIAM J. Numer. Anal. 19 (1982), doi:10.1137/0719090.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fem_selection.discretization.quadrature.cell_geometry import CellGeometry
from fem_selection.discretization.quadrature.interval_cells import graded_rule
from fem_selection.discretization.quadrature.simplices import edges, halved, simplex_rule, volumes
from fem_selection.discretization.quadrature.zero_sets import Parts
from fem_selection.typing import Floats, Integers

__all__ = ["RATIOS", "PointRule", "rule_points"]

RATIOS = {2: 1.507, 3: 1.307}
"""A simplex has a rule if y is farther from its midpoint than this times its radius; no ratio of a regular mesh."""
_DEGREES = {2: 8, 3: 4}  # of this rule, plus 2p
_FACE_RATIO, _FACE_DEGREES = 0.993, {2: 13, 3: 8}
_GRADING = {2: 3, 3: 0}  # levels of the rule in s
_LEVELS = 8
_INSIDE = 1e-9

PointSet = tuple[Integers, Floats, Floats]
"""Numbers of pairs, shape (m,), points X, shape (m, q, d), and weights in the reference cell, shape (m, q)."""


def rule_points(parts: Parts, degree: int) -> PointSet:
    """Return the points of a rule on simplices.

    Args:
        parts: The simplices.
        degree: Degree of the rule.
    """
    known, weights = simplex_rule(parts.corners.shape[2], degree)
    points = np.tensordot(parts.corners, known, axes=(1, 1)).transpose(0, 2, 1)
    return parts.pair, points, volumes(parts.corners)[:, None] * weights


@dataclass(frozen=True, kw_only=True)
class PointRule:
    """Pairs of a point y and a cell, and the growth of the function there.

    Attributes:
        cells: The cells of the mesh.
        cell: Numbers of the pairs' cells, shape (m,).
        places: The points y, shape (m, d).
        exponent: a < d if w grows like |y − z|^{−a}, 0 if like log|y − z|; negative for kinks.
        degree: p, that of the basis functions.
    """

    cells: CellGeometry
    cell: Integers
    places: Floats
    exponent: float
    degree: int

    def points(self, parts: Parts) -> Iterator[PointSet]:
        """Yield points and weights on simplices.

        Args:
            parts: The simplices, each within the cell of its pair.
        """
        d = self.cells.dimension
        inner = self.cells.locate(self.cell, self.places)
        for level in range(_LEVELS + 1):
            distance, radius = self._distance(parts.pair, parts.corners)
            known = _barycentric(parts.corners, inner[parts.pair])
            inside = known.min(axis=1) > -_INSIDE
            clear = ~inside & ((distance >= RATIOS[d] * radius) | (level == _LEVELS))
            yield rule_points(parts.take(clear), _DEGREES[d] + 2 * self.degree)
            yield from self._with_vertex(parts.take(inside), inner, known[inside])
            parts = parts.take(~clear & ~inside)
            if not parts.pair.size:
                return
            parts = parts.refined()

    def _distance(self, pair: Integers, corners: Floats) -> tuple[Floats, Floats]:
        """Distances of y from the midpoints of simplices of any dimension, and their radii."""
        places = self.cells.points(self.cell[pair], corners)
        middle = places.mean(axis=1)
        radius = np.linalg.norm(places - middle[:, None], axis=2).max(axis=1)
        return np.linalg.norm(self.places[pair] - middle, axis=1), radius

    def _with_vertex(self, parts: Parts, inner: Floats, known: Floats) -> Iterator[PointSet]:
        """Duffy's transformation on simplices that contain y, whose barycentric coordinates are known."""
        d = self.cells.dimension
        part, vertex = np.nonzero(known > _INSIDE)
        others = np.array([[k for k in range(d + 1) if k != v] for v in range(d + 1)])
        pair = parts.pair[part]
        faces = parts.corners[part[:, None], others[vertex]]
        s, graded = graded_rule(self.exponent - d + 1, _GRADING[d])
        rule, weights = simplex_rule(d - 1, _FACE_DEGREES[d])
        for level in range(_LEVELS + 1):
            distance, radius = self._distance(pair, faces)
            clear = (distance >= _FACE_RATIO * radius) | (level == _LEVELS)
            own, face = pair[clear], faces[clear]
            apex = inner[own][:, None]
            size = np.abs(np.linalg.det(face - apex))
            points = apex[:, None] + s[:, None, None] * (rule @ face - apex)[:, None]
            factors = size[:, None, None] * (graded * s ** (d - 1))[:, None] * weights
            count = len(s) * len(rule)
            yield own, points.reshape(len(own), count, d), factors.reshape(len(own), count)
            pair, faces = pair[~clear], faces[~clear]
            if not pair.size:
                return
            pair, faces = _halved_faces(pair, faces)


def _halved_faces(pair: Integers, faces: Floats) -> tuple[Integers, Floats]:
    """Simplices of dimension d − 1 in R^d, divided at the midpoints of their edges."""
    d = faces.shape[2]
    ends = edges(d - 1)
    known = np.concatenate([faces, (faces[:, ends[:, 0]] + faces[:, ends[:, 1]]) / 2], axis=1)
    return np.repeat(pair, 2 ** (d - 1)), known[:, halved(d - 1)].reshape(-1, d, d)


def _barycentric(corners: Floats, points: Floats) -> Floats:
    """Barycentric coordinates of points, shape (m, d + 1); −1 for simplices without volume."""
    slopes = (corners[:, 1:] - corners[:, :1]).transpose(0, 2, 1)
    flat = np.abs(np.linalg.det(slopes)) < 1e-14
    slopes[flat] = np.eye(slopes.shape[1])
    found = np.linalg.solve(slopes, (points - corners[:, 0])[:, :, None])[:, :, 0]
    found = np.column_stack([1 - found.sum(axis=1), found])
    found[flat] = -1.0
    return found
