# SPDX-License-Identifier: MIT
"""Functions of one finite element space interpolated in another, on whatever meshes and ranks the two live.

    (P F)_i = Σ_k φ_k(y_i) F_k,    y_i the nodes of the target, φ_k the basis of the source

`interpolate_block` moves a few functions.  `Transfer` holds P as a sparse matrix, for many functions or many uses.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from dolfinx import fem, geometry
from mpi4py import MPI

from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import InvalidInput
from fem_selection.typing import Block, Floats, Integers, real_block

__all__ = ["Transfer", "interpolate_block"]

_PADDING = 1e-8  # of the domain's size: how far outside a cell a node may lie


def interpolate_block(source: StateSpace, block: Block, target: StateSpace) -> Block:
    """Return the nodal values on the target space of functions of the source space (collective).

    Args:
        source: The space of the functions.
        block: Their nodal values, shape (source.num_local, k).
        target: A space on another mesh of the same domain, or of another degree, on the same ranks.

    Returns:
        Shape (target.num_local, k).  If a node of the target lies in no cell of the source, its value is 0.
    """
    mesh = target.domain.mesh
    cells = np.arange(mesh.topology.index_map(mesh.topology.dim).size_local, dtype=np.int32)
    padding = _PADDING * float(np.max(np.subtract(*target.domain.bounds[::-1])))
    data = fem.create_interpolation_data(target.V, source.V, cells, padding)
    result = target.create_block(block.shape[1])
    moved = fem.Function(target.V)
    for k, values in enumerate(block.T):
        moved.x.array[:] = 0.0
        moved.interpolate_nonmatching(source.function(values), cells, data)
        result[:, k] = moved.x.array[: target.num_local]
    return result


class Transfer:
    """Interpolation P from one space to another as a sparse matrix; constants stay constants.

    A node of the target that lies in no cell of the source, as at a curved boundary, takes the values of the nearest
    cell's polynomials, continued to it.

    Args:
        source: The space of the functions, on any mesh of the domain.
        target: The space of the results, on as many ranks.

    Attributes:
        matrix: The rows of P of this rank's nodes, shape (target.num_local, source.num_nodes); the columns are the
            source's nodes in the order of its ranks.

    Raises:
        InvalidInput: on all ranks, if a node of the target is farther from the source's mesh than a cell is wide.

    Note:
        Collective, as are its methods.

    Example:
        >>> coarse, fine = (fs.StateSpace(fs.interval(MPI.COMM_SELF, cells=n)) for n in (2, 4))
        >>> Transfer(coarse, fine).apply(np.array([[0.0], [1.0], [4.0]])).ravel()
        array([0. , 0.5, 1. , 2.5, 4. ])
    """

    def __init__(self, source: StateSpace, target: StateSpace) -> None:
        if source.domain.mesh.geometry.dim != target.domain.mesh.geometry.dim:
            raise InvalidInput("functions cannot be moved between meshes in spaces of different dimensions")
        self.source, self.target = source, target
        points = target.V.tabulate_dof_coordinates()[: target.num_local]
        size = float(np.max(np.subtract(*source.domain.bounds[::-1])))
        num_basis = source.V.dofmap.dof_layout.num_dofs
        columns = np.zeros((target.num_local, num_basis), dtype=np.int64)
        values = np.zeros((target.num_local, num_basis))
        missing = np.arange(target.num_local)
        for padding in (_PADDING * size, _largest_cell(source)):
            if source.comm.allreduce(len(missing)) == 0:
                break
            found, columns_found, values_found = _basis_at(source, points[missing], padding)
            columns[missing[found]], values[missing[found]] = columns_found, values_found
            missing = np.delete(missing, found)
        if lost := source.comm.allreduce(len(missing)):
            raise InvalidInput(
                f"{lost} nodes of a mesh are farther from another mesh than its cells are wide: both must be meshes of "
                "one domain"
            )
        rows = np.repeat(np.arange(target.num_local), num_basis)
        shape = (target.num_local, source.num_nodes)
        self.matrix = sparse.csr_matrix((values.ravel(), (rows, columns.ravel())), shape=shape)
        self.matrix.eliminate_zeros()

    def apply(self, block: Block) -> Block:
        """Return P F, shape (target.num_local, k), from nodal values F of the source, shape (source.num_local, k)."""
        block = real_block(block, self.source.num_local, "a block")
        everything = np.concatenate(self.source.comm.allgather(np.ascontiguousarray(block)))
        return np.asfortranarray(self.matrix @ everything)

    def apply_to_functions(self, values: Floats) -> Floats:
        """Return the interpolated functions of an array whose last axis is this rank's nodes, in the same shape."""
        moved = self.apply(np.asfortranarray(values.reshape(-1, values.shape[-1]).T))
        return np.ascontiguousarray(moved.T).reshape(*values.shape[:-1], self.target.num_local)

    def whole_matrix(self) -> sparse.csr_matrix:
        """Return all rows of P on every rank, in the order of the target's ranks."""
        return sparse.vstack(self.target.comm.allgather(self.matrix), format="csr")


def _largest_cell(space: StateSpace) -> float:
    """The diameter of the largest cell over all ranks."""
    mesh = space.domain.mesh
    dim = mesh.topology.dim
    cells = np.arange(mesh.topology.index_map(dim).size_local, dtype=np.int32)
    return float(space.comm.allreduce(float(mesh.h(dim, cells).max(initial=0.0)), op=MPI.MAX))


def _basis_at(space: StateSpace, points: Floats, padding: float) -> tuple[Integers, Integers, Floats]:
    """Numbers of the points that lie in cells, and for each the nodes of its cell and their basis functions there.

    The nodes are numbered in the order of the ranks.  Collective: each rank asks for points of its own.
    """
    mesh, V, comm = space.domain.mesh, space.V, space.comm
    held = geometry.determine_point_ownership(mesh, np.ascontiguousarray(points), padding)
    asking, cells, asked = held.dest_owner, held.dest_cells, np.asarray(held.dest_points).reshape(-1, 3)
    num_basis, gdim = V.dofmap.dof_layout.num_dofs, mesh.geometry.dim
    columns, values = np.zeros((len(cells), num_basis), dtype=np.int64), np.zeros((len(cells), num_basis))
    order = np.argsort(cells, kind="stable")
    starts = np.flatnonzero(np.diff(cells[order], prepend=-1))
    for group in np.split(order, starts[1:]) if len(order) else ():
        cell = int(cells[group[0]])
        corners = mesh.geometry.x[mesh.geometry.dofmaps[0][cell], :gdim]
        reference = mesh.geometry.cmaps[0].pull_back(np.ascontiguousarray(asked[group, :gdim]), corners)
        values[group] = V.element.basix_element.tabulate(0, reference)[0, :, :, 0]
        columns[group] = V.dofmap.index_map.local_to_global(V.dofmap.cell_dofs(cell))
    answers = [(columns[asking == rank], values[asking == rank]) for rank in range(comm.size)]
    answers = comm.alltoall(answers)
    found = [np.flatnonzero(held.src_owner == rank) for rank in range(comm.size)]
    return (
        np.concatenate(found),
        np.concatenate([columns for columns, _ in answers]),
        np.concatenate([values for _, values in answers]),
    )
