# SPDX-License-Identifier: MIT
"""`BlockProducts`: products Y = A X of a PETSc matrix with blocks, in a few messages however often they are taken.

PETSc multiplies a matrix by a `MATDENSE`.  The creation of one is a collective call that takes longer than the product
of a few thousand rows.  Therefore small blocks are copied into matrices that are kept, a pair for each of the last
numbers of columns, together with PETSc's plan of the product.  Large blocks are used in place.
"""

from __future__ import annotations

import numpy as np
from petsc4py import PETSc

from fem_selection.errors import InvalidInput
from fem_selection.typing import Block

__all__ = ["BlockProducts", "create_dense"]

_SMALL = 2**15  # entries of a block, over all ranks, up to which it is copied
_KEPT = 4  # numbers of columns for which matrices are kept


class BlockProducts:
    """Products of one matrix with blocks (collective over its communicator).

    Args:
        matrix: A, assembled.  Its entries may change later, its pattern may not.
    """

    def __init__(self, matrix: PETSc.Mat) -> None:
        self.matrix = matrix
        self._x, self._y = matrix.createVecs()
        self._kept: dict[int, tuple[PETSc.Mat, PETSc.Mat]] = {}

    def apply(self, block: Block, out: Block) -> None:
        """`out` = A X (collective).

        Args:
            block: X, shape (this rank's columns of A, J).
            out: Shape (this rank's rows of A, J); overwritten.

        Raises:
            InvalidInput: if a large block is not in Fortran order.
        """
        columns = block.shape[1]
        if columns == 1 and block.flags.f_contiguous and out.flags.f_contiguous:
            self._apply_to_vector(block, out)
        elif columns * max(self.matrix.getSize()) <= _SMALL:
            x, y = self._work(columns)
            np.copyto(x.getDenseArray(), block)
            self.matrix.matMult(x, result=y)
            np.copyto(out, y.getDenseArray(readonly=True))
        else:
            (rows, inner), comm = self.matrix.getSizes(), self.matrix.comm
            x, y = create_dense(comm, inner, columns, block=block), create_dense(comm, rows, columns, block=out)
            self.matrix.matMult(x, result=y)
            x.destroy()
            y.destroy()

    def _apply_to_vector(self, block: Block, out: Block) -> None:
        self._x.placeArray(block[:, 0])
        self._y.placeArray(out[:, 0])
        self.matrix.mult(self._x, self._y)
        self._x.resetArray()
        self._y.resetArray()

    def _work(self, columns: int) -> tuple[PETSc.Mat, PETSc.Mat]:
        """X and Y = A X with this number of columns; the pair that was made first is destroyed if there are many."""
        if columns not in self._kept:
            if len(self._kept) == _KEPT:
                for matrix in self._kept.pop(next(iter(self._kept))):
                    matrix.destroy()
            x = create_dense(self.matrix.comm, self.matrix.getSizes()[1], columns)
            self._kept[columns] = x, self.matrix.matMult(x)
        return self._kept[columns]


def create_dense(comm: PETSc.Comm, rows: tuple[int, int], columns: int, *, block: Block | None = None) -> PETSc.Mat:
    """Return a `MATDENSE` of zeros, or on the memory of a block; the caller destroys it (collective).

    Args:
        comm: The ranks that share its rows.
        rows: Their numbers, on this rank and in all.
        columns: Number of columns.
        block: This rank's rows, in Fortran order; zeros if None.

    Raises:
        InvalidInput: if the block is not of float64 and in Fortran order, so that PETSc would work on a copy.
    """
    if block is not None and not (block.flags.f_contiguous and block.dtype == np.float64):
        raise InvalidInput("a block must be of float64 and in Fortran order to be seen as a PETSc matrix")
    sizes = (rows, (columns if comm.rank == comm.size - 1 else 0, columns))
    array = None if block is None else block.reshape(-1, order="F")
    matrix = PETSc.Mat().createDense(sizes, array=array, comm=comm)
    if block is None:
        matrix.zeroEntries()
    return matrix
