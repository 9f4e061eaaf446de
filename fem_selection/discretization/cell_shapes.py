# SPDX-License-Identifier: MIT
"""The shapes of cells: which are degenerate, folded or doubtful, by their scaled Jacobian and its rounding error.

The map x(ξ) of a cell has the Jacobian J = ∂x/∂ξ.  At a point ξ the *scaled Jacobian* is

    s = det J / max over corners Π_k |J d_k|,        d_k the edges of the reference cell at the corner,

at most 1; for a triangle the sine of its smallest angle.  On manifolds |det J| is the root of det JᵀJ, and its sign is
negative where the normal points away from the mean one.  A cell has the smallest s over a lattice of points (one point
if J is constant), in an orientation that makes the mean positive: how the nodes are numbered does not matter.

The coordinates carry a relative rounding error ε, so edges of length ℓ at the distance X from the origin have the
relative error ε X/ℓ and s, a determinant of order t, has t · 2 ε X/(ℓ |s|).  And det JᵀJ, from which integrals on
surfaces and gradients are computed, is s² of its largest value, with a rounding error of ε.  A cell is

    degenerate  if s² ≤ ε or the error of s is 1 or more: nothing of its measure is known,
    folded      if det J changes its sign in it, as in a quadrilateral whose edges cross,
    doubtful    if s² ≤ √ε or the error of s is √ε or more: half of the digits are lost.

References:
    Knupp: Algebraic mesh quality metrics, https://doi.org/10.1137/S1064827500371499
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import basix
import numpy as np

from fem_selection.typing import Floats, Integers

__all__ = ["DOUBTFUL", "SMALLEST", "CellShapes", "judge_shapes"]

_EPS = float(np.finfo(float).eps)
SMALLEST = _EPS**0.5
"""The scaled Jacobian of a cell that is not degenerate is above this, 1.5e-8."""
DOUBTFUL = _EPS**0.25
"""The scaled Jacobian of a cell that is not doubtful is above this, 1.2e-4."""
_CHUNK = 20000


@dataclass(frozen=True)
class CellShapes:
    """The shapes of some cells.

    Attributes:
        scaled: The smallest scaled Jacobian of each cell, negative if it is folded, shape (num_cells,).
        error: The relative error of it that the rounding of the coordinates makes, shape (num_cells,).
    """

    scaled: Floats
    error: Floats

    @property
    def degenerate(self) -> Integers:
        """The cells without a measure."""
        return np.flatnonzero((np.abs(self.scaled) <= SMALLEST) | (self.error >= 1.0))

    @property
    def folded(self) -> Integers:
        """The cells whose Jacobian changes sign."""
        return np.flatnonzero((self.scaled < -SMALLEST) & (self.error < 1.0))

    @property
    def doubtful(self) -> Integers:
        """The cells of whose measure half of the digits are lost, and no more."""
        sound = (self.scaled > SMALLEST) & (self.error < 1.0)
        return np.flatnonzero(sound & ((self.scaled <= DOUBTFUL) | (self.error >= SMALLEST)))


def judge_shapes(element: Any, cells: Integers, points: Floats) -> CellShapes:
    """Return the scaled Jacobians of cells and their errors.

    Args:
        element: The scalar element of the geometry, of basix.ufl.
        cells: Rows of points, in dolfinx's order, shape (num_cells, nodes of a cell).
        points: Shape (num_points, d).
    """
    kind, degree = element.cell_type, element.embedded_superdegree
    affine = degree == 1 and kind in (
        basix.CellType.interval,
        basix.CellType.triangle,
        basix.CellType.tetrahedron,
    )
    lattice = 0 if affine else min(2 * max(degree, 1), 4)
    at = basix.create_lattice(kind, lattice, basix.LatticeType.equispaced, True) if lattice else _midpoint(kind)
    slopes = np.asarray(element.tabulate(1, at))[1:]  # derivative, point, node
    edges, sides = _edges_of_corners(kind), np.array(basix.topology(kind)[1])
    scaled, error = np.empty(len(cells)), np.empty(len(cells))
    for start in range(0, len(cells), _CHUNK):
        here = slice(start, start + _CHUNK)
        scaled[here], error[here] = _of_chunk(slopes, edges, sides, points[cells[here]])
    return CellShapes(scaled=scaled, error=error)


def _midpoint(kind: basix.CellType) -> Floats:
    return np.asarray(basix.geometry(kind)).mean(axis=0)[None]


def _edges_of_corners(kind: basix.CellType) -> Floats:
    """The reference edges at each corner, t of them, shape (corners, t, t); for tensor cells those of one corner."""
    corners = np.asarray(basix.geometry(kind))
    t = corners.shape[1]
    if kind not in (basix.CellType.triangle, basix.CellType.tetrahedron):
        return np.eye(t)[None]
    return np.array([np.delete(corners, k, axis=0) - corners[k] for k in range(len(corners))])


def _of_chunk(slopes: Floats, edges: Floats, sides: Integers, x: Floats) -> tuple[Floats, Floats]:
    """The worst scaled Jacobian and its error of cells with the nodes x, shape (cells, nodes, d)."""
    t = len(slopes)
    away = x - x[:, :1]
    size = np.abs(away).max(axis=(1, 2), initial=0.0)
    size = np.where(size > 0, size, 1.0)
    away = away / size[:, None, None]
    jacobian = np.einsum("kqn,cnd->cqdk", slopes, away)
    determinant = _determinant(jacobian)
    lengths = np.linalg.norm(np.einsum("cqdk,vek->cqved", jacobian, edges), axis=4)
    scale = np.prod(lengths, axis=3).max(axis=2)
    scaled = np.divide(determinant, scale, out=np.zeros_like(scale), where=scale > 0).min(axis=1)
    shortest = np.linalg.norm(away[:, sides[:, 0]] - away[:, sides[:, 1]], axis=2).min(axis=1) * size
    far = np.abs(x).max(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        error = 2 * t * _EPS * far / (shortest * np.abs(scaled))
    return scaled, np.where(np.isnan(error), np.inf, error)


def _determinant(jacobian: Floats) -> Floats:
    """det J at each point, positive if it has the sign of the mean, shape (cells, points)."""
    d, t = jacobian.shape[2:]
    if d == t:
        determinant = jacobian[..., 0, 0] if t == 1 else np.linalg.det(jacobian)
        sign = np.where(determinant.mean(axis=1, keepdims=True) < 0, -1.0, 1.0)
        return determinant * sign
    normal = jacobian[..., 0] if t == 1 else np.cross(jacobian[..., 0], jacobian[..., 1])
    forward = np.einsum("cqd,cd->cq", normal, normal.mean(axis=1))
    return np.linalg.norm(normal, axis=2) * np.where(forward < 0, -1.0, 1.0)
