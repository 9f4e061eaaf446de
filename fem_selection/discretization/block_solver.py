# SPDX-License-Identifier: MIT
"""`BlockSolver`: solutions X of A X = B and Aᵀ X = B for blocks, by one factorization of a sparse matrix.

On few rows messages cost more than arithmetic: then every rank holds the whole factorization, all gather the rows of B
in one message, and each rank solves by itself and keeps its own rows of X.  On many rows MUMPS divides the work.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

from fem_selection.discretization.block_products import create_dense
from fem_selection.petsc import options, unique_prefix
from fem_selection.typing import Block, Floats, create_block

__all__ = ["BlockSolver"]

_FEW = 5000  # up to so many rows each of several ranks holds the whole factorization
_KEPT = 2**18  # numbers of a block up to which its matrices are kept


class BlockSolver:
    """A factorization and the solves with it (collective over the matrix's communicator).

    Args:
        matrix: A, square, with the same rows as columns on each rank; not needed afterwards.
        factorization: "lu", or "cholesky" if A is symmetric and positive definite.
    """

    def __init__(self, matrix: PETSc.Mat, factorization: Literal["lu", "cholesky"] = "lu") -> None:
        self._comm: MPI.Intracomm = matrix.comm.tompi4py()
        self._rows = matrix.getSizes()[0]
        self._ranges = np.asarray(matrix.getOwnershipRanges())
        self._is_whole = self._comm.size == 1 or self._rows[1] <= _FEW
        self._kept: dict[int, tuple[PETSc.Mat, PETSc.Mat]] = {}
        whole = self._gathered(matrix) if self._is_whole and self._comm.size > 1 else matrix
        prefix = unique_prefix("factors")
        direct: dict[str, str | float | bool | None] = {"ksp_type": "preonly", "pc_type": factorization}
        if not self._is_whole:
            direct["pc_factor_mat_solver_type"] = "mumps"
        self._solver = PETSc.KSP().create(whole.comm)
        self._solver.setOptionsPrefix(prefix)
        self._solver.setOperators(whole)
        with options(prefix, direct):
            self._solver.setFromOptions()
            self._solver.setUp()
        failed = int(self._solver.getPC().getFailedReason()) != 0  # a pivot was zero
        self._has_failed = failed if self._is_whole else bool(self._comm.allreduce(failed, op=MPI.LOR))
        if whole is not matrix:
            whole.destroy()  # the solver keeps it

    def solve(self, right: Block, out: Block, *, transpose: bool = False) -> None:
        """`out` = A⁻¹ B, or A⁻ᵀ B; infinite if A is singular (collective).

        Args:
            right: B, shape (this rank's rows, J), J the same on all ranks; not changed.
            out: Shape (this rank's rows, J); overwritten.
            transpose: Whether to solve with Aᵀ.
        """
        if not right.shape[1]:
            return  # the same on all ranks; MUMPS takes no system without right sides
        if self._has_failed:
            out.fill(np.inf)
        elif self._comm.size > 1 and self._is_whole:
            out[...] = self._solved(self._everywhere(right), transpose)[self._ranges[self._comm.rank] :][: len(right)]
        else:
            out[...] = self._solved(right, transpose)

    def destroy(self) -> None:
        """Destroy PETSc's objects (collective)."""
        for pair in self._kept.values():
            for matrix in pair:
                matrix.destroy()
        self._kept.clear()
        self._solver.destroy()

    def _solved(self, right: Block, transpose: bool) -> Block:
        """The solution, on memory that the next solve uses again."""
        columns = right.shape[1]
        keeps = columns * self._rows[1] <= _KEPT
        b, x = self._work(columns) if keeps else self._create(columns)
        np.copyto(b.getDenseArray(), right)
        (self._solver.matSolveTranspose if transpose else self._solver.matSolve)(b, x)
        solution: Block = x.getDenseArray(readonly=True)
        if not keeps:
            solution = solution.copy(order="F")
            b.destroy()
            x.destroy()
        return solution

    def _work(self, columns: int) -> tuple[PETSc.Mat, PETSc.Mat]:
        """B and X with this number of columns; those of the last other number are destroyed."""
        if columns not in self._kept:
            for number in list(self._kept):
                for matrix in self._kept.pop(number):
                    matrix.destroy()
            self._kept[columns] = self._create(columns)
        return self._kept[columns]

    def _create(self, columns: int) -> tuple[PETSc.Mat, PETSc.Mat]:
        comm = self._solver.comm
        rows = (self._rows[1], self._rows[1]) if comm.size == 1 else self._rows
        return create_dense(comm, rows, columns), create_dense(comm, rows, columns)

    def _everywhere(self, right: Block) -> Block:
        """All rows of a block, on every rank, by one message (collective)."""
        columns, ends = right.shape[1], self._ranges * right.shape[1]
        parts = np.empty(ends[-1])
        mine = np.ascontiguousarray(right.reshape(-1, order="F"))
        self._comm.Allgatherv(mine, (parts, np.diff(ends), ends[:-1], MPI.DOUBLE))
        whole = create_block(int(self._ranges[-1]), columns)
        for k in range(self._comm.size):
            rows = slice(self._ranges[k], self._ranges[k + 1])
            whole[rows] = parts[ends[k] : ends[k + 1]].reshape((-1, columns), order="F")
        return whole

    def _gathered(self, matrix: PETSc.Mat) -> PETSc.Mat:
        """The whole matrix on every rank (collective)."""
        indptr, columns, values = matrix.getValuesCSR()
        pieces: list[tuple[Floats, Floats, Floats]] = self._comm.allgather((np.diff(indptr), columns, values))
        lengths, columns, values = (np.concatenate(part) for part in zip(*pieces, strict=True))
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(PETSc.IntType)
        size = self._rows[1]
        return PETSc.Mat().createAIJ((size, size), csr=(starts, columns, values), comm=MPI.COMM_SELF)
