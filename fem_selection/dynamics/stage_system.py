# SPDX-License-Identifier: MIT
"""`StageSystem`: PETSc's solvers for one implicit stage of a block of samples.

The unknown is one vector of all entries of the block.  Residual and Jacobian,

    G − H − a Π σ(K G + b)   and   I − a D K,   D = Π σ'(K G + b),

are M⁻¹ times the weak form and its `ufl.derivative` in `fem_selection.dynamics.equation`, to round-off.  SNES solves
the residual, by Newton's method with a line search; GMRES solves with the Jacobian, a shell matrix whose product is one
with K and one with D.  Samples do not couple, but share Krylov spaces and the length of the step.  The preconditioner
uses the sparse matrix of a kernel's local part (`fem_selection.dynamics.preconditioner`).

Tolerances are at the level of round-off.  A stage is solved when its residual is below 10⁻¹⁴ of H.  If round-off in K G
forbids that, it is solved when Newton's step is below 10⁻¹⁰ of G: the next one would be below 10⁻¹⁵.  A linear system
is solved when its error is below 10⁻¹⁵ of the solution.
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

__all__ = ["KSP_NOT_FINITE", "SNES_NOT_FINITE", "SNES_NO_END", "StageEquation", "StageSystem"]

SNES_NOT_FINITE = int(PETSc.SNES.ConvergedReason.DIVERGED_FUNCTION_NANORINF)
"""PETSc's reason if the residual is not finite at the start of Newton's method."""
SNES_NO_END = int(PETSc.SNES.ConvergedReason.DIVERGED_MAX_IT)
"""PETSc's reason at the limit of iterations."""
KSP_NOT_FINITE = int(PETSc.KSP.ConvergedReason.DIVERGED_NANORINF)

_RESIDUAL = 1e-14  # residual of a stage, relative to H
_STEP = 1e-10  # step of Newton's method, relative to G
_FULL_STEP = 1e-8  # step of Newton's method that no line search has shortened, relative to G
_INNER = 1e-6  # relative tolerance of the linear solves in Newton's method
_CORRECTION, _SMALL_CORRECTION = 1e-8, 1e-7  # other linear solves: relative to the residual, size relative to x
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
    """Residual and Jacobian of a stage, for blocks of one size, in the form that PETSc calls.

    PETSc's line search evaluates the residual last at the point that it accepts.  The slopes of that evaluation are
    therefore those of the next Jacobian.

    Args:
        space: The state space.
        kernel: K.
        bias: The columns of b, one (num_local, 1) view per control interval.
        superposition: Π σ.
        preconditioner: The preconditioner of the linear solves.
        samples: Number of columns of the blocks.
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
        """Set K, b, a and H of the stage to solve.

        Args:
            interval: The control interval of K and b.
            step: a.
            known: H, shape (num_local, samples); copied.
        """
        self.interval, self.step, self.derivative = interval, step, self._own
        np.copyto(self.known, known)

    def pose_linear(self, interval: int, step: float, derivative: Derivative) -> None:
        """Set K, a and D of the linear system to solve, and prepare the preconditioner (collective).

        Args:
            interval: The control interval of K.
            step: a.
            derivative: D.
        """
        self.interval, self.step, self.derivative = interval, step, derivative
        self.preconditioner.prepare(interval, step, derivative, like=self._x)

    def residual(self, snes: PETSc.SNES | None, x: PETSc.Vec, f: PETSc.Vec) -> None:
        """f = G − H − a Π σ(K G + b), and keep the slopes for the Jacobian (collective).

        Args:
            snes: The PETSc solver that calls; not used.
            x: G, a vector that holds a block.
            f: The residual; overwritten.
        """
        np.copyto(self._x, _as_block(x.array_r, self._x))
        np.copyto(self._s, self.bias[self.interval])
        self.kernel.apply(self.interval, self._x, self._s, keep=True)
        self.superposition.evaluate_with_tape(self._s, self._y, self._slopes)
        out = _as_block(f.array, self._x)
        np.multiply(self._y, -self.step, out=out)
        out += self._x
        out -= self.known

    def linearize(self, snes: PETSc.SNES, x: PETSc.Vec, jacobian: PETSc.Mat, _: PETSc.Mat) -> None:
        """Prepare the preconditioner for the Jacobian at the last residual, whose slopes are at hand (collective).

        Args:
            snes: The PETSc solver that calls.
            x: G; not used.
            jacobian: The shell matrix.
            _: The matrix of the preconditioner; not used.
        """
        self.preconditioner.review(snes.getKSP().getIterationNumber())
        self.preconditioner.prepare(self.interval, self.step, self.derivative, like=self._x)
        jacobian.assemble()

    def apply_jacobian(self, x: Floats, y: Floats) -> None:
        """y = x − a D K x (collective).

        Args:
            x: The entries of a block, shape (num_local · samples,).
            y: Likewise; overwritten.
        """
        np.copyto(self._x, _as_block(x, self._x))
        self.kernel.apply(self.interval, self._x, self._s)
        out = _as_block(y, self._x)
        self.derivative.apply(self._s, out)
        out *= -self.step
        out += self._x

    def apply_jacobian_transpose(self, x: Floats, y: Floats) -> None:
        """y = x − a Kᵀ Dᵀ x (collective).

        Args:
            x: The entries of a block, shape (num_local · samples,).
            y: Likewise; overwritten.
        """
        np.copyto(self._x, _as_block(x, self._x))
        self.derivative.apply_transpose(self._x, self._s)
        out = _as_block(y, self._x)
        np.copyto(out, self._x)
        self.kernel.add_transpose(self.interval, self._s, -self.step, out=out)


class StageSystem:
    """PETSc's solvers and vectors for blocks of one size.

    Args:
        space: The state space.
        kernel: K.
        bias: The columns of b, one (num_local, 1) view per control interval.
        superposition: Π σ.
        preconditioner: The preconditioner of the linear solves.
        samples: Number of columns of the blocks.

    Attributes:
        equation: The stage that is posed.
        snes: PETSc's nonlinear solver, with the shell matrix `jacobian` and the linear solver `ksp`.
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
        # PETSc's objects refer to the equation and not the reverse: there is no cycle for Python's collector
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
        self.snes.setMaxLinearSolveFailures(_MAX_NEWTON)  # an inexact step is good if it lowers the residual
        equation.preconditioner.attach(self.ksp.getPC())

    @property
    def solution(self) -> Block:
        """The solution of the last solve, on PETSc's memory."""
        return _as_block(self.x.array_r, self.equation.known)

    def solve(self, guess: Block) -> int:
        """Run Newton's method from a guess (collective).

        Returns:
            PETSc's reason; if it is positive, `x` is the solution.
        """
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
            return _SNES_DIVERGED  # Newton's method diverged; the state itself is finite
        if reason == _SNES_SMALL_STEP and not self._is_solved():
            return _SNES_STUCK
        return reason

    def _is_solved(self) -> bool:
        """Whether a step that PETSc calls small means a solution.

        If the Jacobian is singular, the line search makes steps small without a solution; a full step is then not
        small.
        """
        self.equation.residual(None, self.x, self.work)
        self.ksp.solve(self.work, self.right)
        small = self.right.norm() <= _FULL_STEP * self.x.norm()
        return bool(small and self.ksp.getConvergedReason() > 0)

    def solve_linear(self, right: Block, transpose: bool) -> int:
        """Solve the linear system that is posed and return PETSc's reason; `x` is the solution (collective).

        Corrections from true residuals reach the round-off of x, where one Krylov solve alone stagnates before.
        `iterations` is set to the number of Krylov iterations.

        Args:
            right: The right-hand side B, shape (num_local, samples).
            transpose: Whether to solve with the transpose.
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
            # the error is now `_CORRECTION` times the correction, or it is round-off, which does not decrease
            if size <= _SMALL_CORRECTION * self.x.norm() and (reason > 0 or size >= 0.5 * last):
                return max(reason, 1)
            last = size
            multiply(self.x.array_r, self.work.array)
        return reason

    def destroy(self) -> None:
        """Destroy PETSc's objects (collective)."""
        for thing in (self.snes, self.jacobian, self.x, self.right, self.work, self.correction):
            thing.destroy()


def _as_block(array: Floats, like: Block) -> Block:
    """A vector's entries as a block of the shape of another, on the same memory."""
    return array.reshape(like.shape, order="F")
