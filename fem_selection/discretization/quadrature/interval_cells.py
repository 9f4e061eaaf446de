# SPDX-License-Identifier: MIT
"""The cells of an interval, known on every rank: their ends, nodes, nodal weights and basis functions.

Together with them here are the rules on (0, 1) by which a function of one variable is integrated over parts of a cell.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
from scipy.special import roots_jacobi, roots_legendre

from fem_selection.discretization.quadrature.points import reference_rule
from fem_selection.discretization.spaces import StateSpace
from fem_selection.typing import Floats, Integers

__all__ = ["IntervalCells", "gauss_rule", "graded_rule"]

_POINTS = 10
_RATIO, _LEVELS = 0.25, 12  # of a graded rule: its last part is 6e-8 of the whole


class IntervalCells:
    """All cells of a space on an interval, from left to right (collective).

    Args:
        space: A space on a domain of one dimension.

    Attributes:
        ends: Left and right end, shape (num_cells, 2).
        dofs: Global numbers of a cell's nodes, shape (num_cells, p + 1).
        nodes: Their places, the space's own coordinates, shape (num_cells, p + 1).
        weights: Their weights m_k of the nodal rule on this cell, shape (num_cells, p + 1); those of the basis
            functions' integrals in Galerkin mode.
        reference_mass: The mass matrix of a cell of size one, shape (p + 1, p + 1).
    """

    def __init__(self, space: StateSpace) -> None:
        mesh, self._element = space.domain.mesh, space.V.element.basix_element
        own = mesh.topology.index_map(1).size_local
        corners = mesh.geometry.x[mesh.geometry.dofmaps[0][:own]][:, :2, 0]  # in the order of the reference cell
        dofs = space.V.dofmap.index_map.local_to_global(space.V.dofmap.list[:own].ravel()).reshape(own, -1)
        corners, dofs = (np.concatenate(space.comm.allgather(part)) for part in (corners, dofs))
        order = np.argsort(corners.min(axis=1))
        self._first, self._length = corners[order, 0], corners[order, 1] - corners[order, 0]
        self.dofs: Integers = dofs[order].astype(np.int64)
        self.ends: Floats = np.sort(corners[order], axis=1)
        self.nodes: Floats = np.concatenate(space.comm.allgather(space.coordinates[:, 0]))[self.dofs]
        points, weights = reference_rule(space)
        table = self._element.tabulate(0, points)[0, :, :, 0]
        self.weights: Floats = np.abs(self._length)[:, None] * (weights @ table)
        self.reference_mass: Floats = np.einsum("q,qj,qk->jk", weights, table, table)

    @property
    def sizes(self) -> Floats:
        """Lengths of the cells, shape (num_cells,)."""
        return np.abs(self._length)

    def basis(self, cells: Integers, points: Floats) -> Floats:
        """Return the values of each cell's basis functions at points of the cell, shape (m, q, p + 1).

        Args:
            cells: Numbers of cells, shape (m,).
            points: Points of each, shape (m, q).
        """
        reference = (points - self._first[cells, None]) / self._length[cells, None]
        table = self._element.tabulate(0, np.clip(reference, 0.0, 1.0).reshape(-1, 1))
        return np.asarray(table[0, :, :, 0]).reshape(*points.shape, -1)


@cache
def gauss_rule() -> tuple[Floats, Floats]:
    """Points and weights of the Gauss–Legendre rule of ten points on (0, 1)."""
    x, w = roots_legendre(_POINTS)
    return (1 + x) / 2, w / 2


@cache
def graded_rule(exponent: float, levels: int = _LEVELS) -> tuple[Floats, Floats]:
    """Points and weights on (0, 1) for functions that behave like x^{−a} or log x at 0.

    The interval is divided at 1/4, 1/16, …; each part has a Gauss rule, the last one a Gauss–Jacobi rule, so that
    functions x^{−a} times a polynomial are integrated exactly there.

    Args:
        exponent: a < 1; 0 for a logarithm.
        levels: Number of divisions.
    """
    x, w = gauss_rule()
    cuts = _RATIO ** np.arange(levels + 1)
    points = [b + (a - b) * x for a, b in pairwise(cuts)]
    weights = [(a - b) * w for a, b in pairwise(cuts)]
    s, v = roots_jacobi(_POINTS, 0.0, -exponent)
    s, v = (1 + s) / 2, v / 2 ** (1 - exponent)
    points.append(cuts[-1] * s)
    weights.append(cuts[-1] * v * s**exponent)
    return np.concatenate(points), np.concatenate(weights)
