# SPDX-License-Identifier: MIT
"""`LocalPreconditioner`: a sparse factorization for implicit stages whose kernel has a local part.

The local part of a kernel (diffusion, convection, multiplication) has a sparse matrix L, (K_local f, φ_i) =
Σ_k L_ik F_k, while the matrix of K may be dense.  Then

    I − a D K ≈ M⁻¹ P,   P = M − a diag(d) L,   d_i = (σ'(s), φ_i) / m_i, means of the slopes around the nodes,

and with the preconditioner P⁻¹ M, by a sparse LU factorization, the number of GMRES iterations grows neither with Δt
nor as h → 0.  In collocated mode it is the inverse itself for a local K.  If the slopes of the samples differ little,
or the block is large, their mean is used for all samples, and one factorization of N rows is applied to all columns;
otherwise each sample has its own, in one block diagonal matrix.  The factorization is made anew when a or L has
changed, and after a solve that took many iterations, since the slopes may have changed.
"""

from __future__ import annotations

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

from fem_selection.discretization.block_solver import BlockSolver
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.superposition import Derivative
from fem_selection.kernels.base import HasLocalPart, Kernel
from fem_selection.typing import Block, Floats, create_block

__all__ = ["LocalPreconditioner"]

_MANY = 10  # after more Krylov iterations than this the factorization is made anew
_ALIKE = 0.1  # up to this spread of the slopes their mean is used
_LARGE = 200_000  # in a block of more unknowns than this the mean is always used


class LocalPreconditioner:
    """P⁻¹ M as a PETSc preconditioner for vectors that hold blocks; the identity if the kernel has no local part.

    Args:
        space: The state space.
        kernel: K.

    Attributes:
        pc_type: The PETSc type that fits the kernel: "python", or "none" without a local part.
        factorizations: Number of factorizations so far.

    Note:
        Everything is collective over the space communicator.
    """

    def __init__(self, space: StateSpace, kernel: Kernel) -> None:
        self.space, self.factorizations = space, 0
        self._kernel = kernel if isinstance(kernel, HasLocalPart) else None
        self.pc_type = "none" if self._kernel is None else "python"
        self._solver: BlockSolver | None = None
        self._samples = 0  # number of samples with slopes of their own; 0 if the mean is used
        self._made_of: tuple[PETSc.Mat | None, int, float] = (None, 0, 0.0)
        self._stale = False

    def attach(self, pc: PETSc.PC) -> None:
        """Make a PETSc preconditioner of type "python" call this one."""
        if self._kernel is not None:
            pc.setPythonContext(self)

    def prepare(self, interval: int, step: float, derivative: Derivative, *, like: Block) -> None:
        """Make P for these K, a and D, unless the present factorization fits them.

        Args:
            interval: The control interval of K.
            step: a.
            derivative: D.
            like: A block of the shape of the stages, (num_local, J); not read.
        """
        if self._kernel is None:
            return
        local = self._kernel.sparse_operator(interval)
        made_of = (local, 0 if local is None else local.stateGet(), step)
        fits = self._samples in (0, like.shape[1])
        if made_of == self._made_of and fits and not self._stale:
            return
        self._made_of, self._stale = made_of, False
        self.release()
        if local is not None:
            self._factorize(local, step, derivative, like)

    def review(self, iterations: int) -> None:
        """Take note of the iterations of the last linear solve: after many, `prepare` makes a new factorization."""
        self._stale = iterations > _MANY

    def apply(self, pc: PETSc.PC, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """Y = P⁻¹ M X; PETSc calls it.

        Args:
            pc: The PETSc preconditioner.
            x: X, a vector that holds a block.
            y: Y, likewise; overwritten.
        """
        moments = self.space.apply_mass(self._block(x.array_r).copy(order="F"))
        self._solve(moments, self._block(y.array), transpose=False)

    def applyTranspose(self, pc: PETSc.PC, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """Y = M P⁻ᵀ X; PETSc calls it.

        Args:
            pc: The PETSc preconditioner.
            x: X, a vector that holds a block.
            y: Y, likewise; overwritten.
        """
        right = self._block(x.array_r).copy(order="F")
        solved = create_block(*right.shape)
        self._solve(right, solved, transpose=True)
        np.copyto(self._block(y.array), self.space.apply_mass(solved))

    def release(self) -> None:
        """Destroy PETSc's objects (collective)."""
        if self._solver is not None:
            self._solver.destroy()
            self._solver = None

    def _solve(self, right: Block, out: Block, transpose: bool) -> None:
        if self._solver is None:  # no local part: P = M
            np.copyto(out, self.space.riesz(right))
            return
        if self._samples:  # the block is one vector
            right, out = (np.reshape(block, (-1, 1), order="F") for block in (right, out))
        self._solver.solve(right, out, transpose=transpose)

    def _factorize(self, local: PETSc.Mat, step: float, derivative: Derivative, like: Block) -> None:
        slopes = create_block(*like.shape)
        derivative.apply(np.ones_like(like, order="F"), slopes)
        slopes = self.space.apply_mass(slopes) / self.space.weights[:, None]
        mean = slopes.mean(axis=1, keepdims=True)
        spread = self.space.comm.allreduce(float(np.abs(slopes - mean).max(initial=0.0)), op=MPI.MAX)
        samples, large = like.shape[1], like.shape[1] * self.space.num_nodes > _LARGE
        self._samples = 0 if large or spread <= _ALIKE else samples
        factors = slopes if self._samples else mean
        matrix = self._repeated(self.space.mass, np.ones_like(factors))
        scaled = self._repeated(local, factors)
        matrix.axpy(-step, scaled, structure=PETSc.Mat.Structure.DIFFERENT_NONZERO_PATTERN)
        scaled.destroy()
        self._solver = BlockSolver(matrix)
        self.factorizations += 1
        matrix.destroy()

    def _repeated(self, matrix: PETSc.Mat, factors: Floats) -> PETSc.Mat:
        """The block diagonal matrix of diag(d_j) A, in the layout of a block's vector.

        The d_j are the columns of `factors`.
        """
        rows, samples = factors.shape
        indptr, columns, values = matrix.getValuesCSR()
        entries = np.repeat(factors, np.diff(indptr), axis=0).T * values
        owner = np.searchsorted(self.space.offsets, columns, side="right") - 1
        first, counts = self.space.offsets[owner], np.asarray(self.space.counts)[owner]
        sample = np.arange(samples)[:, None]
        moved = samples * first + sample * counts + (columns - first)
        starts = np.concatenate([[0], (sample * len(columns) + indptr[1:]).ravel()])
        return PETSc.Mat().createAIJ(
            ((rows * samples, None), (rows * samples, None)),
            csr=(starts.astype(PETSc.IntType), moved.ravel().astype(PETSc.IntType), entries.ravel()),
            comm=self.space.comm,
        )

    def _block(self, array: Floats) -> Block:
        """A vector's entries as a block on the same memory."""
        return array.reshape((self.space.num_local, -1), order="F")
