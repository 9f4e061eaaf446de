# SPDX-License-Identifier: MIT
"""`StageSolver`: implicit Runge–Kutta stages and their linearizations, for whole blocks of samples.

    G − H − a Π σ(K G + b) = 0                        stage
    (I − a D K) X = B,   D = Π σ'(S), S = K G + b     tangent
    (I − a Kᵀ Dᵀ) X = B                               adjoint

with a = Δt a_ii.  Each block is one system of `fem_selection.dynamics.stage_system`, which solves all three to
round-off, so that the discrete derivatives are exact.  If Newton's method fails, the solver follows the solution in a
from a = 0, where it is H, for at most a thousand Newton steps.  If that fails too, the solver fills the block with NaN
and records the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.preconditioner import LocalPreconditioner
from fem_selection.dynamics.stage_system import KSP_NOT_FINITE, SNES_NO_END, SNES_NOT_FINITE, StageSystem
from fem_selection.dynamics.superposition import Derivative, Superposition
from fem_selection.kernels.base import Kernel
from fem_selection.petsc import ksp_reason, snes_reason
from fem_selection.typing import Block, Floats

__all__ = ["SolverCounts", "StageSolver"]

_SMALLEST_PART = 1e-4  # of the step in a continuation
_MAX_NEWTON = 1000  # Newton steps of a continuation: a stage that takes more makes every sweep take seconds
_KEPT = 4  # solvers are kept for so many block sizes


@dataclass
class SolverCounts:
    """Numbers of solves and iterations so far, summed over blocks and layers.

    Attributes:
        stages: Implicit stages, whether solved or not.
        newton: Newton iterations of these.
        linear: Linear solves with a tangent or an adjoint.
        krylov: Krylov iterations of all solves.
        factorizations: Factorizations of the preconditioner.
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
        counts: Numbers of solves and iterations so far.
        failure: Why the last failed solve failed, as a sentence; None if none has failed.  The block of that solve is
            NaN.  An overflow is not recorded: it shows in the state, as with explicit schemes.

    Note:
        Solves are collective over the space communicator.
    """

    def __init__(
        self, space: StateSpace, kernel: Kernel, bias: Sequence[Floats], *, superposition: Superposition
    ) -> None:
        self.space, self.kernel, self.bias, self.superposition = space, kernel, bias, superposition
        self.counts = SolverCounts()
        self.failure: str | None = None
        self._preconditioner = LocalPreconditioner(space, kernel)
        self._systems: dict[int, StageSystem] = {}

    def solve(self, interval: int, step: float, guess: Block, *, stage: Block) -> None:
        """Solve G − H − a Π σ(K G + b) = 0.

        Args:
            interval: The control interval of K and b.
            step: a.
            guess: Where Newton's method starts, shape (num_local, J); not changed.
            stage: H, overwritten by G; by NaN if the stage cannot be solved.
        """
        if stage.shape[1] == 0:
            return
        self.counts.stages += 1
        known = stage.copy(order="F")
        np.copyto(stage, guess)
        reason = self._newton(interval, step, known, stage)
        if reason < 0 and reason != SNES_NOT_FINITE:
            reason = self._continue(interval, step, known, stage)
        if reason < 0:
            words = f"an implicit stage was not solved: {snes_reason(reason)}"
            words += "; more dynamics.layers make its step shorter"
            self._fail(stage, None if reason == SNES_NOT_FINITE else words)

    def solve_linear(
        self, interval: int, step: float, derivative: Derivative, *, right: Block, out: Block, transpose: bool = False
    ) -> None:
        """`out` = (I − a D K)⁻¹ B, or (I − a Kᵀ Dᵀ)⁻¹ B if `transpose`.

        Args:
            interval: The control interval of K.
            step: a.
            derivative: D.
            right: B, shape (num_local, J).
            out: Overwritten by the solution, or by NaN if there is none; may be `right`.
            transpose: Whether to solve the adjoint system.
        """
        if right.shape[1] == 0:
            return
        system = self.system(right.shape[1])
        system.equation.pose_linear(interval, step, derivative)
        reason = system.solve_linear(right, transpose)
        self._count(system.iterations)
        self._preconditioner.review(system.ksp.getIterationNumber())
        self.counts.linear += 1
        if reason > 0:
            np.copyto(out, system.solution)
        else:
            kind = "adjoint" if transpose else "tangent"
            words = f"the {kind} equation of an implicit stage was not solved: {ksp_reason(reason)}"
            self._fail(out, None if reason == KSP_NOT_FINITE else words)

    def destroy(self) -> None:
        """Destroy PETSc's objects (collective); a later solve creates them again."""
        for system in self._systems.values():
            system.destroy()
        self._systems.clear()
        self._preconditioner.release()

    def system(self, samples: int) -> StageSystem:
        """Return the PETSc solvers for blocks of that many samples (collective).

        Solvers are kept for four block sizes: a fifth destroys the oldest.
        """
        if samples not in self._systems:
            if len(self._systems) >= _KEPT:
                self._systems.pop(next(iter(self._systems))).destroy()
            self._systems[samples] = StageSystem(
                self.space,
                self.kernel,
                self.bias,
                superposition=self.superposition,
                preconditioner=self._preconditioner,
                samples=samples,
            )
        return self._systems[samples]

    def _newton(self, interval: int, step: float, known: Block, stage: Block) -> int:
        """Run Newton's method from the values in `stage` and return PETSc's reason.

        If the reason is positive, `stage` is the solution afterwards.
        """
        system = self.system(stage.shape[1])
        system.equation.pose(interval, step, known)
        reason = system.solve(stage)
        if reason != SNES_NOT_FINITE:
            self._count(system.snes.getLinearSolveIterations())
            self.counts.newton += system.snes.getIterationNumber()
        if reason > 0:
            np.copyto(stage, system.solution)
        return reason

    def _continue(self, interval: int, step: float, known: Block, stage: Block) -> int:
        """Follow the solution from G = H at step 0 to the step a, after Newton's method alone has failed."""
        done, part, reason, before = 0.0, 0.5, 0, self.counts.newton
        np.copyto(stage, known)
        while done < 1.0:
            if self.counts.newton - before > _MAX_NEWTON:
                return SNES_NO_END
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
        self.failure = words or self.failure
