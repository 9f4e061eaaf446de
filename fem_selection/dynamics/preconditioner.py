# SPDX-License-Identifier: MIT
"""`LocalPreconditioner`: a sparse factorization for implicit stages whose kernel has a local part.

A kernel may offer the matrix L of its local part, (K_local f, φ_i) = Σ_k L_ik F_k, sparse where K is not: diffusion,
convection, multiplication.  Then

    I − a D K ≈ M⁻¹ P,   P = M − a diag(d) L,   d = the mean over the samples of D 1, the slopes σ' at the nodes,

and P⁻¹ M, by a sparse LU factorization, leaves GMRES a number of iterations that grows neither with Δt nor as h → 0:
the spread of the slopes around their mean and the non-local part of K bound it.  For σ = identity and K = K_local it is
the inverse itself.  The factorization is renewed when a or L is another, and when the last solve took many iterations.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from petsc4py import PETSc

from fem_selection.dynamics.superposition import Derivative
from fem_selection.kernels.base import HasLocalPart, Kernel
from fem_selection.petsc import options, unique_prefix
from fem_selection.spaces import StateSpace
from fem_selection.typing import Block, create_block

__all__ = ["LocalPreconditioner"]

_MANY = 15  # Krylov iterations after which slopes are looked at again


class LocalPreconditioner:
    """P⁻¹ M as a PETSc preconditioner for vectors that hold blocks; the identity where there is no local part.

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
        self._solver: PETSc.KSP | None = None
        self._made_of: tuple[PETSc.Mat | None, int, float] = (None, 0, 0.0)
        self._stale = False

    def attach(self, pc: PETSc.PC) -> None:
        """Let a preconditioner of type "python" be this one."""
        if self._kernel is not None:
            pc.setPythonContext(self)

    def prepare(self, interval: int, step: float, derivative: Derivative, like: Block) -> None:
        """Fit the stages with these K, a and D, if what is there does not."""
        if self._kernel is None:
            return
        local = self._kernel.sparse_operator(interval)
        made_of = (local, 0 if local is None else local.stateGet(), step)
        if made_of == self._made_of and not self._stale:
            return
        self._made_of, self._stale = made_of, False
        if local is None:
            self.destroy()
            return
        self._factorize(local, step, derivative, like)

    def review(self, iterations: float) -> None:
        """Say how many iterations the last linear solve took."""
        self._stale = iterations > _MANY

    def apply(self, pc: PETSc.PC, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """Y = P⁻¹ M X."""
        out = self._block(y.array)
        if self._solver is None:
            np.copyto(out, self._block(x.array_r))
        else:
            self._solve(self.space.apply_mass(self._block(x.array_r).copy(order="F")), out, self._solver.matSolve)

    def applyTranspose(self, pc: PETSc.PC, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """Y = M P⁻ᵀ X."""
        out = self._block(y.array)
        np.copyto(out, self._block(x.array_r))
        if self._solver is not None:
            solved = create_block(*out.shape)
            self._solve(out, solved, self._solver.matSolveTranspose)
            np.copyto(out, self.space.apply_mass(solved))

    def destroy(self) -> None:
        """Release PETSc's objects; they are made again when they are needed."""
        if self._solver is not None:
            self._solver.destroy()
            self._solver = None

    def _factorize(self, local: PETSc.Mat, step: float, derivative: Derivative, like: Block) -> None:
        slopes = create_block(*like.shape)
        derivative.apply(np.ones_like(like, order="F"), slopes)
        factors, matrix = local.createVecLeft(), local.copy()
        factors.array[:] = slopes.mean(axis=1)
        matrix.diagonalScale(L=factors)
        matrix.aypx(-step, self.space.mass, structure=PETSc.Mat.Structure.DIFFERENT_NONZERO_PATTERN)
        if self._solver is None:
            self._solver = self._create_solver()
        self._solver.setOperators(matrix)
        self._solver.setUp()
        self.factorizations += 1
        factors.destroy()
        matrix.destroy()  # the solver keeps it

    def _create_solver(self) -> PETSc.KSP:
        solver, prefix = PETSc.KSP().create(self.space.comm), unique_prefix("local")
        solver.setOptionsPrefix(prefix)
        direct = {"ksp_type": "preonly", "pc_type": "lu"}
        if self.space.comm.size > 1:
            direct["pc_factor_mat_solver_type"] = "mumps"
        with options(prefix, direct):
            solver.setFromOptions()
        return solver

    def _solve(self, right: Block, out: Block, method: Callable[[PETSc.Mat, PETSc.Mat], None]) -> None:
        b, x = self.space.dense(right), self.space.dense(out)
        method(b, x)
        b.destroy()
        x.destroy()

    def _block(self, array: Block) -> Block:
        """The entries of a vector as a block on the same memory."""
        return array.reshape((self.space.num_local, -1), order="F")
