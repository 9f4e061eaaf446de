# SPDX-License-Identifier: MIT
"""`StageSystem`: one implicit stage of a block of samples as PETSc sees it.

The unknown is one vector of all entries of the block.  Residual and Jacobian,

    G − H − a Π σ(K G + b)   and   I − a D K,   D = Π σ'(K G + b),

are M⁻¹ times the weak form and its `ufl.derivative` in `fem_selection.dynamics.equation`, to round-off.  The residual
is solved by SNES, Newton's method with a line search, and the Jacobian, a shell matrix with a product with K and one
with D, by GMRES.  Samples do not couple, but share Krylov spaces and the length of the step.  The sparse matrix of a
kernel's local part serves as a preconditioner (`fem_selection.dynamics.preconditioner`).

Tolerances are at the level of round-off: a stage is solved when its residual is below 10⁻¹⁴ of H, or, where round-off
in K G forbids that, when Newton's step is below 10⁻¹⁰ of G, after which the next one would be below 10⁻¹⁵; a linear
system when what is left is below 10⁻¹⁵ of its solution.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from petsc4py import PETSc

from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.preconditioner import LocalPreconditioner
from fem_selection.dynamics.superposition import Derivative, Superposition, derivative_from_tape
from fem_selection.kernels.base import Kernel
from fem_selection.petsc import create_shell, options, unique_prefix
from fem_selection.typing import Block, Floats, create_block

__all__ = ["KSP_NOT_FINITE", "SNES_NOT_FINITE", "StageEquation", "StageSystem"]

SNES_NOT_FINITE = int(PETSc.SNES.ConvergedReason.DIVERGED_FUNCTION_NANORINF)
"""PETSc's reason for a residual that is not finite where Newton's method starts."""
KSP_NOT_FINITE = int(PETSc.KSP.ConvergedReason.DIVERGED_NANORINF)

_RESIDUAL = 1e-14  # of a stage, relative to H
_STEP = 1e-10  # of Newton's method, relative to G
_FULL_STEP = 1e-8  # the same for a step that no line search shortens
_INNER = 1e-6  # of the linear solves in Newton's method
_CORRECTION, _SMALL_CORRECTION = 1e-8, 1e-7  # of the other linear solves, relative to the residual and to x
_MAX_NEWTON, _MAX_KRYLOV, _MAX_CORRECTIONS = 25, 400, 6
_SNES_SMALL_STEP = int(PETSc.SNES.ConvergedReason.CONVERGED_SNORM_RELATIVE)
_SNES_STUCK = int(PETSc.SNES.ConvergedReason.DIVERGED_LINE_SEARCH)
_SNES_DIVERGED = int(PETSc.SNES.ConvergedReason.DIVERGED_DTOL)
_OPTIONS: dict[str, str | float | bool | None] = {
    "snes_type": "newtonls",
    "snes_linesearch_type": "bt",
    "ksp_type": "gmres",
    "ksp_gmres_restart": 40,
}


class StageEquation:
    """Residual and Jacobian of one stage of blocks of one size, as PETSc calls them.

    PETSc's line search ends with a residual at the point that it accepts, so the slopes that the residual leaves are
    those of the Jacobian that is asked for next.
    """

    def __init__(
        self,
        space: StateSpace,
        kernel: Kernel,
        bias: Sequence[Floats],
        *,
        superposition: Superposition,
        preconditioner: LocalPreconditioner,
        samples: int,
    ) -> None:
        self.kernel, self.bias, self.superposition, self.preconditioner = kernel, bias, superposition, preconditioner
        self.known, self._x, self._s, self._y = (create_block(space.num_local, samples) for _ in range(4))
        self._slopes = create_block(superposition.tape_rows, samples)
        self._own = derivative_from_tape(superposition, self._slopes)
        self.interval, self.step, self.derivative = 0, 0.0, self._own

    def pose(self, interval: int, step: float, known: Block) -> None:
        """Take these K, b, a and H from now on."""
        self.interval, self.step, self.derivative = interval, step, self._own
        np.copyto(self.known, known)

    def pose_linear(self, interval: int, step: float, derivative: Derivative) -> None:
        """Take these K, a and D from now on."""
        self.interval, self.step, self.derivative = interval, step, derivative
        self.preconditioner.prepare(interval, step, derivative, like=self._x)

    def residual(self, snes: PETSc.SNES | None, x: PETSc.Vec, f: PETSc.Vec) -> None:
        """G − H − a Π σ(K G + b), leaving the slopes."""
        np.copyto(self._x, _as_block(x.array_r, self._x))
        np.copyto(self._s, self.bias[self.interval])
        self.kernel.apply(self.interval, self._x, self._s, keep=True)
        self.superposition.evaluate_with_tape(self._s, self._y, self._slopes)
        out = _as_block(f.array, self._x)
        np.multiply(self._y, -self.step, out=out)
        out += self._x
        out -= self.known

    def linearize(self, snes: PETSc.SNES, x: PETSc.Vec, jacobian: PETSc.Mat, _: PETSc.Mat) -> None:
        """Nothing to assemble: the slopes are there."""
        self.preconditioner.review(snes.getKSP().getIterationNumber())
        self.preconditioner.prepare(self.interval, self.step, self.derivative, like=self._x)
        jacobian.assemble()

    def apply_jacobian(self, x: Floats, y: Floats) -> None:
        """Y = X − a D K X, for the arrays of vectors."""
        np.copyto(self._x, _as_block(x, self._x))
        self.kernel.apply(self.interval, self._x, self._s)
        out = _as_block(y, self._x)
        self.derivative.apply(self._s, out)
        out *= -self.step
        out += self._x

    def apply_jacobian_transpose(self, x: Floats, y: Floats) -> None:
        """Y = X − a Kᵀ Dᵀ X."""
        np.copyto(self._x, _as_block(x, self._x))
        self.derivative.apply_transpose(self._x, self._s)
        out = _as_block(y, self._x)
        np.copyto(out, self._x)
        self.kernel.add_transpose(self.interval, self._s, -self.step, out=out)


class StageSystem:
    """PETSc's solvers and vectors for blocks of one size.

    Attributes:
        equation: The stage that is posed.
        snes: For it, with `jacobian`, a shell matrix, and the linear solver `ksp`.
        x: The solution.
        iterations: Krylov iterations of the last linear solve.
    """

    def __init__(
        self,
        space: StateSpace,
        kernel: Kernel,
        bias: Sequence[Floats],
        *,
        superposition: Superposition,
        preconditioner: LocalPreconditioner,
        samples: int,
    ) -> None:
        # PETSc's objects refer to the equation, which knows nothing of them: they do not wait for Python's collector
        equation = StageEquation(
            space, kernel, bias, superposition=superposition, preconditioner=preconditioner, samples=samples
        )
        self.equation = equation
        size = equation.known.size
        self.x = PETSc.Vec().createMPI((size, None), comm=space.comm)
        self.right, self.work, self.correction = (self.x.duplicate() for _ in range(3))
        self.iterations = 0
        self.jacobian = create_shell(
            space.comm, size, equation.apply_jacobian, apply_transpose=equation.apply_jacobian_transpose
        )
        prefix = unique_prefix("stage")
        self.snes = PETSc.SNES().create(space.comm)
        self.snes.setOptionsPrefix(prefix)
        self.snes.setFunction(equation.residual, self.work)
        self.snes.setJacobian(equation.linearize, self.jacobian)
        self.ksp = self.snes.getKSP()
        self.ksp.setOperators(self.jacobian)
        with options(prefix, _OPTIONS | {"pc_type": equation.preconditioner.pc_type}):
            self.snes.setFromOptions()
        self.snes.setMaxLinearSolveFailures(_MAX_NEWTON)  # what was found is a step, if it lowers the residual
        equation.preconditioner.attach(self.ksp.getPC())

    @property
    def solution(self) -> Block:
        """What the last solve found, on PETSc's memory."""
        return _as_block(self.x.array_r, self.equation.known)

    def solve(self, guess: Block) -> int:
        """Newton's method from a guess; `x` is the solution if the result, PETSc's reason, is positive."""
        np.copyto(_as_block(self.right.array, guess), self.equation.known)
        limit = _RESIDUAL * self.right.norm()
        if not np.isfinite(limit):
            return SNES_NOT_FINITE
        np.copyto(_as_block(self.x.array, guess), guess)
        self.snes.setTolerances(rtol=_RESIDUAL, atol=limit, stol=_STEP, max_it=_MAX_NEWTON)
        self.ksp.setTolerances(rtol=_INNER, atol=0.1 * limit, max_it=_MAX_KRYLOV)
        self.snes.solve(None, self.x)
        reason = int(self.snes.getConvergedReason())
        if reason == SNES_NOT_FINITE and self.snes.getIterationNumber() > 0:
            return _SNES_DIVERGED  # it is the method that left the finite numbers, not the state
        if reason == _SNES_SMALL_STEP and not self._is_solved():
            return _SNES_STUCK
        return reason

    def _is_solved(self) -> bool:
        """Whether a step that PETSc calls small is: without a solution it is small, too, where J is singular."""
        self.equation.residual(None, self.x, self.work)
        self.ksp.solve(self.work, self.right)
        small = self.right.norm() <= _FULL_STEP * self.x.norm()
        return bool(small and self.ksp.getConvergedReason() > 0)

    def solve_linear(self, right: Block, transpose: bool) -> int:
        """`x` from the right-hand side; the result is PETSc's reason, `iterations` the number of Krylov iterations.

        Corrections from true residuals reach the round-off of x, where one Krylov solve alone stagnates before.
        """
        solve, multiply = self.ksp.solve, self.equation.apply_jacobian
        if transpose:
            solve, multiply = self.ksp.solveTranspose, self.equation.apply_jacobian_transpose
        np.copyto(_as_block(self.right.array, right), right)
        self.ksp.setTolerances(rtol=_CORRECTION, atol=1e-300, max_it=_MAX_KRYLOV)
        self.x.zeroEntries()
        self.work.zeroEntries()
        self.iterations, last = 0, np.inf
        for _ in range(_MAX_CORRECTIONS):
            self.work.aypx(-1.0, self.right)
            solve(self.work, self.correction)
            self.iterations += self.ksp.getIterationNumber()
            reason, size = int(self.ksp.getConvergedReason()), self.correction.norm()
            if reason == KSP_NOT_FINITE or not np.isfinite(size):
                return KSP_NOT_FINITE
            self.x.axpy(1.0, self.correction)
            # what is left is a part `_CORRECTION` of the correction, or it is round-off that does not become less
            if size <= _SMALL_CORRECTION * self.x.norm() and (reason > 0 or size >= 0.5 * last):
                return max(reason, 1)
            last = size
            multiply(self.x.array_r, self.work.array)
        return reason

    def destroy(self) -> None:
        """Release PETSc's objects (collective)."""
        for thing in (self.snes, self.jacobian, self.x, self.right, self.work, self.correction):
            thing.destroy()


def _as_block(array: Floats, like: Block) -> Block:
    """The entries of a vector as a block of the shape of another, on the same memory."""
    return array.reshape(like.shape, order="F")
