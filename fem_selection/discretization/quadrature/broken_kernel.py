# SPDX-License-Identifier: MIT
"""`BrokenKernel`: what the integrals of a kernel that is not smooth have in common on intervals and in more dimensions.

On most cells one rule does, or the nodal rule; these parts of the matrix are computed here.  The cells on which w is
not smooth are the task of the classes for intervals (`kernel_on_cells`) and other meshes (`mesh_integration`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

import numpy as np
from scipy import sparse

from fem_selection.discretization.coefficients import KernelSource
from fem_selection.discretization.spaces import StateSpace
from fem_selection.typing import Floats, Integers

__all__ = ["BrokenKernel", "Cells"]


class Cells(Protocol):
    """All cells of a mesh, known on every rank.

    Attributes:
        dofs: Global numbers of a cell's nodes, shape (num_cells, nodes).
        weights: Their weights of the nodal rule on this cell, the same shape.
    """

    dofs: Integers
    weights: Floats


class BrokenKernel[C: Cells]:
    """A kernel, the functions g at whose zeros it is not smooth, and the cells.

    Args:
        space: A space.
        source: The kernel w.
        time: t.
        breaks: The functions g.
        exponent: a, if w grows like |g|^{−a} or |y − z|^{−a}; 0 for a logarithm, None for kinks and jumps.
        cells: The cells of the space.
    """

    chunk: ClassVar[int]
    """Largest number of values of w at once."""

    def __init__(
        self,
        space: StateSpace,
        source: KernelSource,
        time: float,
        *,
        breaks: Sequence[KernelSource],
        exponent: float | None,
        cells: C,
    ) -> None:
        self.space, self.source, self.time = space, source, time
        self.breaks, self.exponent, self.cells = breaks, exponent, cells

    def own_cells(self) -> Integers:
        """The cells with a node of this rank."""
        owned, dofs = self.space.owned, self.cells.dofs
        return np.flatnonzero(np.any((dofs >= owned.start) & (dofs < owned.stop), axis=1))

    def add_to_own_rows(self, cells: Integers, rows: Floats, out: Floats) -> None:
        """Add rows of cells' nodes to a matrix of this rank's rows.

        Args:
            cells: Numbers of cells, shape (m,).
            rows: A row for each of their nodes, shape (m, nodes, N).
            out: The matrix, shape (num_local, N); changed.
        """
        local = self.cells.dofs[cells] - self.space.owned.start
        cell, j = np.nonzero((local >= 0) & (local < self.space.num_local))
        np.add.at(out, local[cell, j], rows[cell, j])

    def integrate_by_one_rule(
        self, y: Floats, basis: Floats, values: Callable[[Floats], Floats], *, left_out: tuple[Integers, Integers]
    ) -> Floats:
        """Return ∫ w(y_i, z) φ_k(z) dz by one rule on all cells but some of each row, shape (len(y), N).

        Args:
            y: The points y_i.
            basis: φ_k at the points of the rule on each cell, times weights and measures, shape (num_cells, q, nodes).
            values: w at some of the y_i and all points of the rule, shape (number of y_i, num_cells, q).
            left_out: Numbers i and cells that are left out in these rows, each of shape (m,).
        """
        row, cell = left_out
        columns = np.broadcast_to(self.cells.dofs[:, None, :], basis.shape)
        size = basis.shape[0] * basis.shape[1]
        points = np.broadcast_to(np.arange(size).reshape(*basis.shape[:2], 1), basis.shape)
        shape = (size, self.space.num_nodes)
        table = sparse.csr_matrix((basis.ravel(), (points.ravel(), columns.ravel())), shape=shape)
        result = np.empty((len(y), self.space.num_nodes))
        step = max(1, self.chunk // size)
        for start in range(0, len(y), step):
            part = slice(start, start + step)
            with np.errstate(all="ignore"):
                found = values(y[part])
            mine = (row >= start) & (row < start + step)
            found[row[mine] - start, cell[mine]] = 0.0
            result[part] = found.reshape(len(found), -1) @ table
        return result

    def replace(self, nodal: Floats, keys: Integers, *, taken: Floats, added: Floats) -> Floats:
        """Return w(y_i, z_k) m_k where the weights of some cells are taken out of m_k for integrals over these cells.

        Args:
            nodal: w(y_i, z_k) at the owned nodes y_i and all nodes z_k, shape (num_local, N).
            keys: The entries i N + k that change, one or several times, shape (m,).
            taken: The weights, shape (m,).
            added: The integrals, shape (m,).
        """
        count = self.space.num_nodes
        mass = np.concatenate(self.space.comm.allgather(self.space.weights))
        where, index = np.unique(keys, return_inverse=True)
        i, k = where // count, where % count
        rest = mass[k] - np.bincount(index, taken, minlength=len(where))
        kept = np.where(rest > 1e-12 * mass[k], nodal[i, k] * rest, 0.0)
        values = nodal * mass
        values[i, k] = kept + np.bincount(index, added, minlength=len(where))
        return values
