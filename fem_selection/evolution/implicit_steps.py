# SPDX-License-Identifier: MIT
"""`ImplicitSteps`: trial steps of a diagonally implicit pair for a block of samples.

    G_i = f + h Σ_{j<i} a_ij R_j + hγ F(G_i),   R_i = F(G_i) = (G_i − f − h Σ_{j<i} a_ij R_j) / (hγ),   f₊ = G_s

Newton's method and GMRES solve the stages (`fem_selection.dynamics.implicit`).  R_i is the quotient: another evaluation
of F would multiply the error that Newton's method leaves by h|F'|.  The first stage is explicit, R_0 = F(f), and the
last is f₊: the pair is stiffly accurate and L-stable, so only the accuracy of the solution limits the step.  If a stage
cannot be solved, the error is infinite, and the step is rejected.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mpi4py import MPI

from fem_selection.dynamics.field import SelectionField
from fem_selection.dynamics.implicit import StageSolver
from fem_selection.evolution.embedded import ESDIRK4, Row
from fem_selection.evolution.trial_steps import sums_of_squares
from fem_selection.typing import Block, Floats, create_block

__all__ = ["ImplicitSteps"]


class ImplicitSteps:
    """Steps of Kennedy and Carpenter's pair of order 4.

    Args:
        field: F.
        num_samples: Samples on this rank.
    """

    pair = ESDIRK4

    def __init__(self, field: SelectionField, num_samples: int) -> None:
        self.field = field
        shape = (field.space.num_local, num_samples)
        self.new, self.new_rate = create_block(*shape), create_block(*shape)
        self._stages = np.zeros((1 + self.pair.num_rates, shape[0] * shape[1]))
        self._stage, self._known, self._guess = (create_block(*shape) for _ in range(3))
        self._sums = np.zeros(num_samples)
        self._outputs: list[Block] = []
        self._solver = StageSolver(field.space, field.kernel, [field.bias[:, None]], superposition=field.superposition)

    @property
    def evaluations(self) -> int:
        """Number of residuals and products with F' so far."""
        counts = self._solver.counts
        return counts.newton + counts.krylov + counts.stages

    def attempt(self, time: float, step: float, state: Block, *, rate: Block, inside: Sequence[float]) -> Floats:
        """Return the norms of the estimated error; infinite if a stage cannot be solved.  See `TrialSteps.attempt`."""
        self._row(0)[...], self._row(1)[...] = state, rate
        np.copyto(self._stage, state)
        for stage in range(1, self.pair.num_stages + 1):
            if not self._solve(stage, time, step):
                return np.full(state.shape[1], np.inf)
        np.copyto(self.new, self._stage)
        np.copyto(self.new_rate, self._row(1 + self.pair.num_stages))
        self._combine(0.0, step, self.pair.errors[0], self._stage)
        sums_of_squares(self.field.space.weights, self._stage, self._known, out=self._sums)
        if self.field.space.comm.size > 1:
            self.field.space.comm.Allreduce(MPI.IN_PLACE, self._sums)
        self._outputs = [create_block(*state.shape) for _ in inside]
        for theta, block in zip(inside, self._outputs, strict=True):
            self._combine(1.0, step, dict(enumerate(self.pair.weights(theta))), block)
        return np.sqrt(self._sums)

    def _solve(self, stage: int, time: float, step: float) -> bool:
        """Solve a stage, with Newton's method starting at the stage before; return whether it succeeded."""
        a = step * self.pair.diagonal
        others = {i: value for i, value in self.pair.a[stage].items() if i != stage}
        self._combine(1.0, step, others, self._known)
        np.copyto(self._guess, self._stage)
        np.copyto(self._stage, self._known)
        self.field.move_to(time + self.pair.node(stage) * step)
        self._solver.solve(0, a, self._guess, stage=self._stage)
        rate = self._row(1 + stage)
        np.subtract(self._stage, self._known, out=rate)
        rate /= a
        return self._stage.size == 0 or not np.isnan(self._stage).all()  # a failed solve writes NaN on all ranks

    def outputs(self) -> list[Block]:
        """Return the states inside the step.  See `TrialSteps.outputs`."""
        return self._outputs

    def finish(self, time: float) -> None:
        """Do nothing: the rate at the end is that of the last stage.  See `TrialSteps.finish`."""

    def exchange(self, state: Block, rate: Block) -> tuple[Block, Block]:
        """Take the step.  See `TrialSteps.exchange`."""
        taken = self.new, self.new_rate
        self.new, self.new_rate = state, rate
        return taken

    def destroy(self) -> None:
        """Destroy PETSc's objects (collective)."""
        self._solver.destroy()

    def _row(self, number: int) -> Block:
        return self._stages[number].reshape(self._stage.shape, order="F")

    def _combine(self, state: float, step: float, weights: Row, out: Block) -> None:
        """`out` = state · f + step · Σ_i weights_i R_i."""
        factors = np.zeros(1 + max(weights) + 1)
        factors[0] = state
        for i, value in weights.items():
            factors[1 + i] = step * value
        np.dot(factors, self._stages[: factors.size], out=out.T.reshape(-1))
