# SPDX-License-Identifier: MIT
"""The shapes of cells: which are degenerate, folded or doubtful, by their scaled Jacobian and its rounding error.

The map x(ξ) of a cell has the Jacobian J = ∂x/∂ξ.  At a point ξ the *scaled Jacobian* is

    s = det J / max over corners Π_k |J d_k|,        d_k the edges of the reference cell at the corner,

at most 1; for a triangle the sine of its smallest angle.  On manifolds |det J| is the root of det JᵀJ, and its sign is
negative where the normal points away from the mean one.  A cell has the smallest s over a lattice of points (one point
if J is constant), in an orientation that makes the mean positive: how the nodes are numbered does not matter.

Coordinates at the distance X from the origin carry rounding errors ε X, which change det J by the relative error

    ε X Σ_n |∇φ_n|,       φ_n the basis functions of the cell's nodes, |∇φ_n| ≤ |J⁺| |∂φ_n/∂ξ|,

that is ε X over the heights of a simplex.  On manifolds gradients are computed from det JᵀJ, which is s² of its largest
value, with a rounding error of ε; elsewhere from J itself, and thin cells lose few digits.  There a cell is *flat* if
even the corner of the smallest edges has a small scaled Jacobian, the largest then: an angle is near to 180°, and the
interpolation error of gradients grows with the inverse.  A thin cell with a right angle, as in a boundary layer, is not
flat.  A cell is

    degenerate  if s² ≤ ε or the error of det J is 1 or more: nothing of its measure is known,
    folded      if det J changes its sign in it, as in a quadrilateral whose edges cross,
    doubtful    if half of the digits are lost, since the error of det J is √ε or more, or s² ≤ √ε on a manifold; or if
                it is flat, with √ε for the square again.

References:
    Knupp: Algebraic mesh quality metrics, https://doi.org/10.1137/S1064827500371499
    Babuška, Aziz: On the angle condition in the finite element method, https://doi.org/10.1137/0713021
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
        largest: The scaled Jacobian with the smallest product of edges, there, shape (num_cells,).
        error: The relative error of det J that the rounding of the coordinates makes, shape (num_cells,).
        on_manifold: Whether the cells lie on a curve or a surface in a space of more dimensions.
    """

    scaled: Floats
    largest: Floats
    error: Floats
    on_manifold: bool

    @property
    def degenerate(self) -> Integers:
        """The cells without a measure."""
        return np.flatnonzero((np.abs(self.scaled) <= SMALLEST) | (self.error >= 1.0))

    @property
    def folded(self) -> Integers:
        """The cells whose Jacobian changes sign."""
        return np.flatnonzero((self.scaled < -SMALLEST) & (self.error < 1.0))

    @property
    def flat(self) -> Integers:
        """The cells, neither degenerate nor folded, with a doubtful shape."""
        shape = self.scaled if self.on_manifold else self.largest
        return np.flatnonzero(self._sound & (shape <= DOUBTFUL))

    @property
    def rounded(self) -> Integers:
        """The cells, neither degenerate nor folded, of whose measure half of the digits are lost by rounding."""
        return np.flatnonzero(self._sound & (self.error >= SMALLEST))

    @property
    def _sound(self) -> Any:
        return (self.scaled > SMALLEST) & (self.error < 1.0)


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
    edges = _edges_of_corners(kind)
    found = np.empty((3, len(cells)))
    for start in range(0, len(cells), _CHUNK):
        here = slice(start, start + _CHUNK)
        found[:, here] = _of_chunk(slopes, edges, points[cells[here]])
    scaled, largest, error = found
    return CellShapes(scaled=scaled, largest=largest, error=error, on_manifold=points.shape[1] != len(slopes))


def _midpoint(kind: basix.CellType) -> Floats:
    return np.asarray(basix.geometry(kind)).mean(axis=0)[None]


def _edges_of_corners(kind: basix.CellType) -> Floats:
    """The reference edges at each corner, t of them, shape (corners, t, t); for tensor cells those of one corner."""
    corners = np.asarray(basix.geometry(kind))
    t = corners.shape[1]
    if kind not in (basix.CellType.triangle, basix.CellType.tetrahedron):
        return np.eye(t)[None]
    return np.array([np.delete(corners, k, axis=0) - corners[k] for k in range(len(corners))])


def _of_chunk(slopes: Floats, edges: Floats, x: Floats) -> tuple[Floats, Floats, Floats]:
    """The scaled Jacobians and the error, where the first is smallest, of cells with the nodes x, (cells, nodes, d)."""
    away = x - x[:, :1]
    size = np.abs(away).max(axis=(1, 2), initial=0.0)
    size = np.where(size > 0, size, 1.0)
    away = away / size[:, None, None]
    jacobian = np.einsum("kqn,cnd->cqdk", slopes, away)
    determinant = _determinant(jacobian)
    products = np.prod(np.linalg.norm(np.einsum("cqdk,vek->cqved", jacobian, edges), axis=4), axis=3)
    scale, least = products.max(axis=2), products.min(axis=2)
    scaled = np.divide(determinant, scale, out=np.zeros_like(scale), where=scale > 0)
    worst = (np.arange(len(x)), np.argmin(scaled, axis=1))
    largest = np.divide(determinant, least, out=np.zeros_like(scale), where=least > 0)[worst]
    steps = np.linalg.norm(slopes, axis=0).sum(axis=1)[worst[1]]  # Σ_n |∂φ_n/∂ξ|
    far = np.abs(x).max(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        inverse = _cofactors(jacobian[worst]) / np.abs(determinant[worst])
        error = _EPS * far / size * steps * inverse
    return scaled[worst], largest, np.where(np.isnan(error), np.inf, error)


def _cofactors(jacobian: Floats) -> Floats:
    """|J⁺| |det J| in the norm of Frobenius, shape (cells,)."""
    t = jacobian.shape[2]
    if t == 1:
        return np.ones(len(jacobian))
    if t == 2:
        return np.asarray(np.linalg.norm(jacobian, axis=(1, 2)))
    normals = np.cross(jacobian, np.roll(jacobian, 1, axis=2), axis=1)
    return np.asarray(np.linalg.norm(normals, axis=(1, 2)))


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
