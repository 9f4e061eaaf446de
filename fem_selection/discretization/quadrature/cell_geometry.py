# SPDX-License-Identifier: MIT
"""The cells of a mesh in two or three dimensions, known on every rank: their geometry, nodes and basis functions.

Points of a cell are given in the coordinates X of its reference cell; x(X) is affine on simplices with straight edges,
and a polynomial on other cells.
"""

from __future__ import annotations

import numpy as np

from fem_selection.discretization.quadrature.points import reference_rule
from fem_selection.discretization.quadrature.simplices import corner_simplices
from fem_selection.discretization.spaces import StateSpace
from fem_selection.typing import Floats, Integers

__all__ = ["CellGeometry"]

_NEWTON_STEPS = 8


class CellGeometry:
    """All cells of a space's mesh (collective).

    Args:
        space: A space on a domain of two or three dimensions.

    Attributes:
        dimension: d.
        simplices: The simplices that each cell is made of, in coordinates of the reference cell, shape (num_cells, k,
            d + 1, d).  They begin at the corner that comes first in space, so that no numbering of corners matters.
        dofs: Global numbers of a cell's nodes, shape (num_cells, nodes).
        weights: Their weights m_k of the nodal rule on this cell, the same shape.
        centers: Places of the midpoints, shape (num_cells, d).
        radii: Largest distances of a corner from the midpoint, shape (num_cells,).
    """

    def __init__(self, space: StateSpace) -> None:
        mesh, self._element = space.domain.mesh, space.V.element.basix_element
        self.dimension = d = mesh.topology.dim
        own = mesh.topology.index_map(d).size_local
        self._map = mesh.ufl_domain().ufl_coordinate_element().basix_element
        places = mesh.geometry.x[mesh.geometry.dofmaps[0][:own]][:, :, :d]
        dofs = space.V.dofmap.index_map.local_to_global(space.V.dofmap.list[:own].ravel()).reshape(own, -1)
        places, dofs = (np.concatenate(space.comm.allgather(part)) for part in (places, dofs))
        self._places: Floats = places
        self.dofs: Integers = dofs.astype(np.int64)
        reference = corner_simplices(space.domain.cell)
        self._affine = self._map.degree == 1 and len(reference) == 1
        if self._affine:
            self._jacobians = np.ascontiguousarray(places[:, 1:] - places[:, :1])
            self._measures = np.abs(np.linalg.det(self._jacobians))
        everything = np.arange(len(places))
        points, rule = reference_rule(space)
        shape = (len(places), *points.shape)
        measures = self.measures(everything, np.broadcast_to(points, shape))
        self.weights: Floats = (measures * rule) @ self._element.tabulate(0, points)[0, :, :, 0]
        corners = np.unique(reference.reshape(-1, d), axis=0)
        known = np.concatenate([corners.mean(axis=0, keepdims=True), corners])
        x = self.points(everything, np.broadcast_to(known, (len(places), *known.shape)))
        self.centers: Floats = x[:, 0]
        self.radii: Floats = np.linalg.norm(x[:, 1:] - x[:, :1], axis=2).max(axis=1)
        order = _order_in_space(x[:, 1:])
        if len(reference) == 1:
            self.simplices: Floats = corners[order][:, None]
        else:  # the first corner becomes the origin
            origin = corners[order[:, 0]][:, None, None]
            self.simplices = np.abs(reference - origin)

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.dofs)

    def points(self, cells: Integers, reference: Floats) -> Floats:
        """Return x(X), shape (m, q, d).

        Args:
            cells: Numbers of cells, shape (m,).
            reference: Points X of each, shape (m, q, d).
        """
        if self._affine:
            return self._places[cells, :1] + reference @ self._jacobians[cells]
        table = self._map.tabulate(0, reference.reshape(-1, self.dimension))[0, :, :, 0]
        found: Floats = table.reshape(*reference.shape[:2], table.shape[1]) @ self._places[cells]
        return found

    def measures(self, cells: Integers, reference: Floats) -> Floats:
        """Return |det ∂x/∂X|, shape (m, q).

        Args:
            cells: Numbers of cells, shape (m,).
            reference: Points X of each, shape (m, q, d).
        """
        if self._affine:
            return np.broadcast_to(self._measures[cells, None], reference.shape[:2])
        return np.abs(np.linalg.det(self._derivatives(cells, reference)))

    def _derivatives(self, cells: Integers, reference: Floats) -> Floats:
        """∂x_l/∂X_k as [m, q, k, l]."""
        table = self._map.tabulate(1, reference.reshape(-1, self.dimension))[1:, :, :, 0]
        table = table.reshape(self.dimension, *reference.shape[:2], table.shape[2])
        return np.stack([part @ self._places[cells] for part in table], axis=2)

    def basis(self, reference: Floats) -> Floats:
        """Return the values of a cell's basis functions at points X, shape (m, q, nodes).

        Args:
            reference: Shape (m, q, d).
        """
        table = self._element.tabulate(0, reference.reshape(-1, self.dimension))
        return np.asarray(table[0, :, :, 0]).reshape(*reference.shape[:2], table.shape[2])

    def locate(self, cells: Integers, places: Floats) -> Floats:
        """Return the X with x(X) = x of cells and points, shape (m, d); far outside of a cell some X outside.

        Args:
            cells: Numbers of cells, shape (m,).
            places: Points x, shape (m, d).
        """
        found = self.simplices[cells].mean(axis=(1, 2))
        for _ in range(1 if self._affine else _NEWTON_STEPS):
            misfit = places - self.points(cells, found[:, None])[:, 0]
            slopes = self._jacobians[cells] if self._affine else self._derivatives(cells, found[:, None])[:, 0]
            with np.errstate(all="ignore"):
                step = np.linalg.solve(slopes.transpose(0, 2, 1), misfit[:, :, None])[:, :, 0]
            found = np.clip(found + np.nan_to_num(step), -10.0, 10.0)
        return found


def _order_in_space(places: Floats) -> Integers:
    """The order of each cell's corners by their first coordinate, then the second, …, shape (num_cells, corners)."""
    size = np.max(np.ptp(places, axis=1), axis=1)[:, None, None]
    steps = np.round((places - places.min(axis=1, keepdims=True)) / size, 9)
    keys = [steps[:, :, k] for k in range(steps.shape[2])]
    return np.lexsort(keys[::-1], axis=1)
