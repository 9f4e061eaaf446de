# SPDX-License-Identifier: MIT
"""`StageSolver`: the equations of implicit Runge–Kutta stages and their linearizations, for a whole block of samples.

    G − H − a Π σ(K G + b) = 0                        stage, by PETSc's SNES (Newton with a line search)
    (I − a D K) X = B,   D = Π σ'(S), S = K G + b     tangent, by GMRES
    (I − a Kᵀ Dᵀ) X = B                               adjoint, by GMRES with the transpose

with a = Δt a_ii.  These are M⁻¹ times the weak form and its `ufl.derivative` in `fem_selection.dynamics.equation`, to
round-off.  The Jacobian is a PETSc shell matrix: one product with K and one with D.  The unknown is one PETSc vector of
all entries of the block; samples do not couple, but share Krylov spaces and the step length.  A kernel that offers
the sparse matrix of its local part gets it as a preconditioner (`fem_selection.dynamics.preconditioner`).

Tolerances are at the level of round-off, so that the discrete derivatives are exact: a stage is solved when its
residual is below 10⁻¹⁴ of H, or where round-off in K G forbids that, when Newton's step is below 10⁻¹⁰ of G, after
which the next one would be below 10⁻¹⁵.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from petsc4py import PETSc

from fem_selection.dynamics.preconditioner import LocalPreconditioner
from fem_selection.dynamics.superposition import Derivative, Superposition, derivative_from_tape
from fem_selection.kernels.base import Kernel
from fem_selection.petsc import ksp_reason, options, snes_reason, unique_prefix
from fem_selection.spaces import StateSpace
from fem_selection.typing import Block, Floats, create_block

__all__ = ["SolverCounts", "StageEquation", "StageSolver", "StageSystem"]

_RESIDUAL = 1e-14  # of a stage, relative to H; of a linear solve, to its right-hand side
_STEP = 1e-10  # of Newton's method, relative to G
_INNER = 1e-6  # of the linear solves in Newton's method
_ACCEPTED = 1e-10  # a linear solve that stagnates at round-off is one
_MAX_NEWTON, _MAX_KRYLOV = 25, 400
_SMALLEST_PART = 1e-4  # of the step in a continuation
_KEPT = 4  # block sizes whose solvers are kept

_SNES_NOT_FINITE = int(PETSc.SNES.ConvergedReason.DIVERGED_FUNCTION_NANORINF)
_SNES_DIVERGED = int(PETSc.SNES.ConvergedReason.DIVERGED_DTOL)
_KSP_NOT_FINITE = int(PETSc.KSP.ConvergedReason.DIVERGED_NANORINF)
_OPTIONS: dict[str, str | float | bool | None] = {
    "snes_type": "newtonls",
    "snes_linesearch_type": "bt",
    "ksp_type": "gmres",
    "ksp_gmres_restart": 40,
}


@dataclass
class SolverCounts:
    """What has been done so far, summed over blocks and layers.

    Attributes:
        stages: Implicit stages solved.
        newton: Newton iterations of these.
        linear: Linear solves with a tangent or an adjoint.
        krylov: Krylov iterations of all kinds.
        factorizations: Of the preconditioner.
    """

    stages: int = 0
    newton: int = 0
    linear: int = 0
    krylov: int = 0
    factorizations: int = 0


class StageSolver:
    """Solves implicit stages.

    Args:
        space: The state space.
        kernel: K.
        bias: The columns of b, one (num_local, 1) view per control interval.
        superposition: Π σ.

    Attributes:
        counts: What has been done.
        trouble: Why the last solve that failed did, in words; None if none has.  Its block is NaN then, which whoever
            asked for the sweep sees.  An overflow is no trouble: it shows in the state as in explicit schemes.

    Note:
        Solves are collective over the space communicator.
    """

    def __init__(self, space: StateSpace, kernel: Kernel, bias: Sequence[Floats], superposition: Superposition) -> None:
        self.space, self.kernel, self.bias, self.superposition = space, kernel, bias, superposition
        self.counts = SolverCounts()
        self.trouble: str | None = None
        self._preconditioner = LocalPreconditioner(space, kernel)
        self._systems: dict[int, StageSystem] = {}

    def solve(self, interval: int, step: float, guess: Block, stage: Block) -> None:
        """Solve G − H − a Π σ(K G + b) = 0.

        Args:
            interval: The control interval of K and b.
            step: a.
            guess: Where Newton's method starts; not changed.
            stage: H, overwritten by G.
        """
        if stage.shape[1] == 0:
            return
        self.counts.stages += 1
        known = stage.copy(order="F")
        np.copyto(stage, guess)
        reason = self._newton(interval, step, known, stage)
        if reason < 0 and reason != _SNES_NOT_FINITE:
            reason = self._continue(interval, step, known, stage)
        if reason < 0:
            words = None if reason == _SNES_NOT_FINITE else f"an implicit stage was not solved: {snes_reason(reason)}"
            self._fail(stage, words)

    def solve_linear(
        self, interval: int, step: float, derivative: Derivative, right: Block, out: Block, transpose: bool = False
    ) -> None:
        """`out` = (I − a D K)⁻¹ B, or (I − a Kᵀ Dᵀ)⁻¹ B if `transpose`; `right` and `out` may be the same."""
        if right.shape[1] == 0:
            return
        system = self.system(right.shape[1])
        system.equation.pose_linear(interval, step, derivative)
        reason = system.solve_linear(right, transpose)
        self._count(system.ksp.getIterationNumber())
        self._preconditioner.review(system.ksp.getIterationNumber())
        self.counts.linear += 1
        if reason > 0:
            np.copyto(out, _as_block(system.x.array_r, out))
        else:
            kind = "adjoint" if transpose else "tangent"
            words = f"the {kind} equation of an implicit stage was not solved: {ksp_reason(reason)}"
            self._fail(out, None if reason == _KSP_NOT_FINITE else words)

    def destroy(self) -> None:
        """Release PETSc's objects (collective); they are made again when they are needed."""
        for system in self._systems.values():
            system.destroy()
        self._systems.clear()
        self._preconditioner.release()

    def system(self, samples: int) -> StageSystem:
        """PETSc's solvers for blocks of that many samples; those of other sizes may be destroyed (collective)."""
        if samples not in self._systems:
            if len(self._systems) >= _KEPT:
                self._systems.pop(next(iter(self._systems))).destroy()
            self._systems[samples] = StageSystem(self.space, StageEquation(self, self._preconditioner, samples))
        return self._systems[samples]

    def _newton(self, interval: int, step: float, known: Block, stage: Block) -> int:
        """Newton's method from what `stage` holds, which is the solution afterwards if PETSc's reason is positive."""
        system = self.system(stage.shape[1])
        system.equation.pose(interval, step, known)
        reason = system.solve(stage)
        if reason != _SNES_NOT_FINITE:
            self._count(system.snes.getLinearSolveIterations())
            self.counts.newton += system.snes.getIterationNumber()
        if reason > 0:
            np.copyto(stage, _as_block(system.x.array_r, stage))
        return reason

    def _continue(self, interval: int, step: float, known: Block, stage: Block) -> int:
        """Follow the solution in the size of the step, from G = H at 0 to a, where Newton's method alone failed."""
        done, part, reason = 0.0, 0.5, 0
        np.copyto(stage, known)
        while done < 1.0:
            reason = self._newton(interval, min(done + part, 1.0) * step, known, stage)
            if reason > 0:
                done, part = min(done + part, 1.0), 2.0 * part
            elif part > _SMALLEST_PART:
                part *= 0.25
            else:
                break
        return reason

    def _count(self, iterations: int) -> None:
        self.counts.krylov += iterations
        self.counts.factorizations = self._preconditioner.factorizations

    def _fail(self, block: Block, words: str | None) -> None:
        block.fill(np.nan)
        self.trouble = words or self.trouble


class StageEquation:
    """Residual and Jacobian of one stage of blocks of one size, as PETSc calls them.

    PETSc's line search ends with a residual at the point that it accepts, so the slopes that the residual leaves are
    those of the Jacobian that is asked for next.
    """

    def __init__(self, solver: StageSolver, preconditioner: LocalPreconditioner, samples: int) -> None:
        # no reference to the solver, which owns this: PETSc's objects must not wait for Python's collector
        self.kernel, self.bias, self.superposition = solver.kernel, solver.bias, solver.superposition
        self.preconditioner = preconditioner
        self.known, self._x, self._s, self._y = (create_block(solver.space.num_local, samples) for _ in range(4))
        self._slopes = create_block(solver.superposition.tape_rows, samples)
        self._own = derivative_from_tape(solver.superposition, self._slopes)
        self.interval, self.step, self.derivative = 0, 0.0, self._own

    def pose(self, interval: int, step: float, known: Block) -> None:
        """Take these K, b, a and H from now on."""
        self.interval, self.step, self.derivative = interval, step, self._own
        np.copyto(self.known, known)

    def pose_linear(self, interval: int, step: float, derivative: Derivative) -> None:
        """Take these K, a and D from now on."""
        self.interval, self.step, self.derivative = interval, step, derivative
        self.preconditioner.prepare(interval, step, derivative, self._x)

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
        self.preconditioner.prepare(self.interval, self.step, self.derivative, self._x)
        jacobian.assemble()

    def mult(self, matrix: PETSc.Mat | None, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """X − a D K X."""
        np.copyto(self._x, _as_block(x.array_r, self._x))
        self.kernel.apply(self.interval, self._x, self._s)
        out = _as_block(y.array, self._x)
        self.derivative.apply(self._s, out)
        out *= -self.step
        out += self._x

    def multTranspose(self, matrix: PETSc.Mat | None, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """X − a Kᵀ Dᵀ X."""
        np.copyto(self._x, _as_block(x.array_r, self._x))
        self.derivative.apply_transpose(self._x, self._s)
        out = _as_block(y.array, self._x)
        np.copyto(out, self._x)
        self.kernel.add_transpose(self.interval, self._s, -self.step, out)


class StageSystem:
    """PETSc's solvers and vectors for blocks of one size.

    Attributes:
        equation: The stage that is posed.
        snes: For it, with `jacobian`, a shell matrix, and the linear solver `ksp`.
        x: The solution.
    """

    def __init__(self, space: StateSpace, equation: StageEquation) -> None:
        self.equation = equation
        size = equation.known.size
        self.x = PETSc.Vec().createMPI((size, None), comm=space.comm)
        self.right, self.work = self.x.duplicate(), self.x.duplicate()
        self.jacobian = PETSc.Mat().createPython(((size, None), (size, None)), equation, comm=space.comm)
        self.jacobian.setUp()
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

    def solve(self, guess: Block) -> int:
        """Newton's method from a guess; `x` is the solution if the result, PETSc's reason, is positive."""
        np.copyto(_as_block(self.right.array, guess), self.equation.known)
        limit = _RESIDUAL * self.right.norm()
        if not np.isfinite(limit):
            return _SNES_NOT_FINITE
        np.copyto(_as_block(self.x.array, guess), guess)
        self.snes.setTolerances(rtol=_RESIDUAL, atol=limit, stol=_STEP, max_it=_MAX_NEWTON)
        self.ksp.setTolerances(rtol=_INNER, atol=0.1 * limit, max_it=_MAX_KRYLOV)
        self.snes.solve(None, self.x)
        reason = int(self.snes.getConvergedReason())
        started = (
            self.snes.getIterationNumber() > 0
        )  # then it is the method that left the finite numbers, not the state
        return _SNES_DIVERGED if reason == _SNES_NOT_FINITE and started else reason

    def solve_linear(self, right: Block, transpose: bool) -> int:
        """`x` from the right-hand side; the result is PETSc's reason."""
        np.copyto(_as_block(self.right.array, right), right)
        self.ksp.setTolerances(rtol=_RESIDUAL, atol=1e-300, max_it=_MAX_KRYLOV)
        (self.ksp.solveTranspose if transpose else self.ksp.solve)(self.right, self.x)
        reason = int(self.ksp.getConvergedReason())
        if reason < 0 and reason != _KSP_NOT_FINITE:
            (self.equation.multTranspose if transpose else self.equation.mult)(None, self.x, self.work)
            self.work.axpy(-1.0, self.right)
            if self.work.norm() <= _ACCEPTED * self.right.norm():
                return 1
        return reason

    def destroy(self) -> None:
        """Release PETSc's objects (collective)."""
        for thing in (self.snes, self.jacobian, self.x, self.right, self.work):
            thing.destroy()


def _as_block(array: Floats, like: Block) -> Block:
    """The entries of a vector as a block of the shape of another, on the same memory."""
    return array.reshape(like.shape, order="F")
