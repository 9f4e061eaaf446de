# SPDX-License-Identifier: MIT
"""`QuadraturePoints`: values, gradients and integrals of blocks at the quadrature points of a space's own measure.

    values      (B F)_qj = f_j(x_q) = Σ_i φ_i(x_q) F_ij          gradients   (G_k F)_qj = ∂_k f_j(x_q)
    integrate   (Bᵀ ω V)_ij = ∫ φ_i v_j dy,   ω_q > 0 the weights times the cells' Jacobians

B and G_k are sparse matrices, made once from the tabulated element.  The points are those of `space.dx`: the nodes in
collocated mode, full quadrature in Galerkin mode.  Integrals formed with them equal the assembled forms of the same
measure to round-off, for all columns of a block at once.
"""

from __future__ import annotations

import basix
import numpy as np
import ufl
from dolfinx import fem
from petsc4py import PETSc

from fem_selection.compilation import compile_with
from fem_selection.discretization.block_products import BlockProducts
from fem_selection.discretization.spaces import StateSpace
from fem_selection.typing import Block, Floats, create_block

__all__ = ["QuadraturePoints", "reference_rule"]


class QuadraturePoints:
    """The quadrature points of this rank's cells.

    Args:
        space: The state space.
        gradients: Whether to tabulate gradients as well; without it `gradients` returns an empty list.

    Attributes:
        weights: ω, shape (num_points,).
        num_points: Number of points on this rank.

    Note:
        All methods are collective over the space communicator.
    """

    def __init__(self, space: StateSpace, gradients: bool = False) -> None:
        self.space = space
        mesh = space.domain.mesh
        points, weights = reference_rule(space)
        self._num_cells = mesh.topology.index_map(mesh.topology.dim).size_local
        self._points = points
        scale = np.abs(self._geometry(ufl.JacobianDeterminant(mesh), ()))
        self.weights: Floats = (scale * weights).ravel()
        self.num_points = self.weights.size
        tables = space.V.element.basix_element.tabulate(1 if gradients else 0, points)[:, :, :, 0]
        basis = self._matrix(np.broadcast_to(tables[0], (self._num_cells, *tables[0].shape)))
        self._basis, self._transpose = BlockProducts(basis), BlockProducts(basis.transpose(PETSc.Mat()))
        self._gradients: list[BlockProducts] = []
        if gradients:
            shape = (mesh.topology.dim, mesh.geometry.dim)  # on a surface the inverse is the pseudo-inverse
            inverse = self._geometry(ufl.JacobianInverse(mesh), shape)  # ∂X_m/∂x_k as [cell, point, m, k]
            physical = np.einsum("mqi,cqmk->kcqi", tables[1:], inverse)
            self._gradients = [BlockProducts(self._matrix(table)) for table in physical]

    def values(self, block: Block) -> Block:
        """Return B F, shape (num_points, J)."""
        return self._product(self._basis, block)

    def gradients(self, block: Block) -> list[Block]:
        """Return G_k F for each direction k, each of shape (num_points, J)."""
        return [self._product(matrix, block) for matrix in self._gradients]

    def integrate(self, values: Block, out: Block) -> None:
        """`out` = Bᵀ ω V, the integrals of V times the basis functions.

        Args:
            values: V, shape (num_points, J); overwritten by ω V.
            out: Shape (num_local, J); overwritten.
        """
        values *= self.weights[:, None]
        self._transpose.apply(values, out)

    def _product(self, products: BlockProducts, block: Block) -> Block:
        result = create_block(self.num_points, block.shape[1])
        products.apply(block, result)
        return result

    def _geometry(self, expression: ufl.core.expr.Expr, shape: tuple[int, ...]) -> Floats:
        """A geometric quantity at the points of all owned cells, shape (num_cells, points of a cell, …)."""
        evaluated = compile_with(self.space.comm, lambda: fem.Expression(expression, self._points))
        size = (self._num_cells, len(self._points), *shape)
        if not self._num_cells:
            return np.empty(size)
        cells = np.arange(self._num_cells, dtype=np.int32)
        return np.asarray(evaluated.eval(self.space.domain.mesh, cells)).reshape(size)

    def _matrix(self, tables: Floats) -> PETSc.Mat:
        """The sparse matrix of values at points, shape (num_cells, points of a cell, nodes of a cell)."""
        space, dofmap = self.space, self.space.V.dofmap
        local = dofmap.list[: self._num_cells]
        dofs = dofmap.index_map.local_to_global(local.ravel()).reshape(local.shape)
        columns = np.repeat(dofs, tables.shape[1], axis=0).astype(PETSc.IntType)
        order = np.argsort(columns, axis=1)
        values = np.take_along_axis(tables.reshape(columns.shape), order, 1)
        columns = np.take_along_axis(columns, order, 1)
        indptr = np.arange(len(columns) + 1, dtype=PETSc.IntType) * columns.shape[1]
        matrix = PETSc.Mat().createAIJ(
            ((len(columns), None), (space.num_local, space.num_nodes)),
            csr=(indptr, columns.ravel(), values.ravel()),
            comm=space.comm,
        )
        matrix.assemble()
        return matrix


def reference_rule(space: StateSpace) -> tuple[Floats, Floats]:
    """Points and weights on the reference cell of the measure `space.dx`, as FFCx takes them."""
    metadata = space.dx.metadata()
    cell = space.V.element.basix_element.cell_type
    if metadata["quadrature_rule"] == "vertex":
        vertices = basix.geometry(cell)
        return vertices, np.full(len(vertices), basix.cell.volume(cell) / len(vertices))
    rule = basix.quadrature.string_to_type(metadata["quadrature_rule"])
    points, weights = basix.make_quadrature(cell, metadata["quadrature_degree"], rule=rule)
    return np.asarray(points), np.asarray(weights)
