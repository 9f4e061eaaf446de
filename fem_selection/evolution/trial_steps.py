# SPDX-License-Identifier: MIT
"""`ExplicitSteps`: trial steps of an embedded explicit pair for a block of samples.

    R_i = F(f + h Σ_{j<i} a_ij R_j),   f₊ = f + h Σ_i b_i R_i,   ε = h Σ_i e_i R_i

A trial step is computed, and its error estimated, before the caller decides whether to take it.

The stages are the rows f, R_0, R_1, … of one array, so that each linear combination of them is one product of a
vector and that array.  If there are many samples, their stages are computed group by group.  A row is used again as
soon as no later combination needs its rate.  After the construction nothing of the size of a block is allocated.

Norms are those of L² by the nodal weights m_k > 0: ‖ε_j‖² = Σ_k m_k ε_kj² (in Galerkin mode the lumped mass matrix's).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from mpi4py import MPI

from fem_selection.dynamics.field import SelectionField
from fem_selection.evolution.embedded import EmbeddedPair, Row
from fem_selection.parallel import share
from fem_selection.typing import Block, Floats, create_block

__all__ = ["ExplicitSteps", "TrialSteps", "sums_of_squares"]

_LARGEST = 2**21
"""Most entries of the stages of one group of samples, 16 MiB: a part of the last-level cache.  Smaller groups would fit
faster caches, but products with few columns lose more time than that saves.
"""


class TrialSteps(Protocol):
    """A method that computes trial steps.

    Attributes:
        pair: Its coefficients.
        new: States at the end of the last trial step.
        new_rate: Their rates; valid after `finish`.
    """

    pair: EmbeddedPair
    new: Block
    new_rate: Block

    @property
    def evaluations(self) -> int:
        """Number of evaluations of F, for all samples at once, so far."""

    def attempt(self, time: float, step: float, state: Block, *, rate: Block, inside: Sequence[float]) -> Floats:
        """Compute a step and return the norms of its estimated local error, shape (samples,) (collective over space).

        Args:
            time: Begin of the step.
            step: h.
            state: f, shape (num_local, samples); not changed.
            rate: F(f); not changed.
            inside: Fractions θ of the step at which `outputs` is to return the states.
        """

    def outputs(self) -> list[Block]:
        """Return the states at the fractions that the last `attempt` was given."""

    def finish(self, time: float) -> None:
        """Compute `new_rate`, the rate of `new`, at the time given, the end of the step (collective over space)."""

    def exchange(self, state: Block, rate: Block) -> tuple[Block, Block]:
        """Take the step: return the blocks `new` and `new_rate`, and use the given blocks for the next step.

        Args:
            state: A block of the same shape; it is overwritten later.
            rate: Likewise.
        """

    def destroy(self) -> None:
        """Destroy PETSc's objects, if there are any (collective)."""


class ExplicitSteps:
    """Steps of an embedded explicit pair.

    Args:
        field: F.
        pair: An explicit pair.
        num_samples: Number of samples on this rank.
        group: Number of samples whose stages are computed together; as many as fit the cache by default.
    """

    def __init__(
        self, field: SelectionField, pair: EmbeddedPair, num_samples: int, *, group: int | None = None
    ) -> None:
        self.field, self.pair = field, pair
        self._evaluations = 0
        rows, self._slots = _assign_rows(pair)
        width = _group_width(field, num_samples, rows) if group is None else max(group, 1)
        count = max(-(-num_samples // width), 1)
        self._groups = [share(num_samples, count, k) for k in range(count)]
        width = max(g.stop - g.start for g in self._groups)
        n = field.space.num_local
        self.new, self.new_rate = create_block(n, num_samples), create_block(n, num_samples)
        self._stages = np.zeros((rows, width * n))
        self._state, self._preactivation = create_block(n, width), create_block(n, width)
        self._sums = np.zeros((len(pair.errors), num_samples))
        self._outputs: list[Block] = []
        self._coefficients = [self._on_rows(row) for row in pair.rows]
        self._errors = [self._on_rows(row) for row in pair.errors]
        self._error_needs_rate = any(pair.num_stages in row for row in pair.errors)
        self._has_rate = False

    @property
    def evaluations(self) -> int:
        """Number of evaluations of F so far.  See `TrialSteps.evaluations`."""
        return self._evaluations

    def attempt(self, time: float, step: float, state: Block, *, rate: Block, inside: Sequence[float]) -> Floats:
        """Return the norms of the estimated error of a step.  See `TrialSteps.attempt`."""
        while len(self._outputs) < len(inside):
            self._outputs.append(create_block(*self.new.shape))
        del self._outputs[len(inside) :]
        self._has_rate = bool(inside) or self._error_needs_rate
        polynomial = [self._on_rows(dict(enumerate(self.pair.weights(theta)))) for theta in inside]
        for columns in self._groups:
            self._try_group(time, step, state, rate, columns, polynomial)
        self._evaluations += self.pair.num_stages - 1 + self._has_rate + len(self.pair.additional) * bool(inside)
        if self.field.space.comm.size > 1:
            self.field.space.comm.Allreduce(MPI.IN_PLACE, self._sums)
        return _estimate(step, self._sums)

    def outputs(self) -> list[Block]:
        """Return copies of the states inside the step.  See `TrialSteps.outputs`."""
        return [block.copy(order="F") for block in self._outputs]

    def finish(self, time: float) -> None:
        """Evaluate the rate at the end, unless `attempt` did.  See `TrialSteps.finish`."""
        if self._has_rate:
            return
        self.field.move_to(time)
        for columns in self._groups:
            self._evaluate(self.new[:, columns], self.new_rate[:, columns])
        self._evaluations += 1
        self._has_rate = True

    def exchange(self, state: Block, rate: Block) -> tuple[Block, Block]:
        """Take the step.  See `TrialSteps.exchange`."""
        taken = self.new, self.new_rate
        self.new, self.new_rate = state, rate
        return taken

    def destroy(self) -> None:
        """Do nothing: there is nothing to release."""

    def _try_group(
        self, time: float, step: float, state: Block, rate: Block, columns: slice, polynomial: list[Floats]
    ) -> None:
        """Compute all stages of some samples; fill their columns of `new`, `new_rate`, the sums and the outputs."""
        pair, count = self.pair, columns.stop - columns.start
        work, new, new_rate = self._state[:, :count], self.new[:, columns], self.new_rate[:, columns]
        self._row(0, count)[...] = state[:, columns]
        self._row(1, count)[...] = rate[:, columns]
        for stage in range(1, pair.num_stages):
            self._combine(1.0, step, self._coefficients[stage], work)
            self._evaluate_at(time, step, stage, work)
        self._combine(1.0, step, self._coefficients[pair.num_stages], new)
        if self._has_rate:
            self._evaluate_at(time, step, pair.num_stages, new)
            new_rate[...] = self._row(self._slots[pair.num_stages], count)
        for number, error in enumerate(self._errors):
            self._combine(0.0, 1.0, error, work)
            sums_of_squares(
                self.field.space.weights, work, self._preactivation[:, :count], out=self._sums[number, columns]
            )
        if polynomial:
            for stage in range(pair.num_stages + 1, pair.num_rates):
                self._combine(1.0, step, self._coefficients[stage], work)
                self._evaluate_at(time, step, stage, work)
            for block, weights in zip(self._outputs, polynomial, strict=True):
                self._combine(1.0, step, weights, block[:, columns])

    def _evaluate_at(self, time: float, step: float, stage: int, state: Block) -> None:
        self.field.move_to(time + self.pair.node(stage) * step)
        self._evaluate(state, self._row(self._slots[stage], state.shape[1]))

    def _evaluate(self, state: Block, out: Block) -> None:
        self.field.rate(state, out, self._preactivation[:, : state.shape[1]])

    def _row(self, number: int, samples: int) -> Block:
        """A row of the stages as a block, on the same memory."""
        n = self.field.space.num_local
        return self._stages[number, : samples * n].reshape(samples, n).T

    def _combine(self, state: float, step: float, weights: Floats, out: Block) -> None:
        """`out` = state · f + step · Σ_i weights_i R_i."""
        factors = step * weights
        factors[0] = state
        np.dot(factors, self._stages[: weights.size, : out.size], out=out.T.reshape(-1))

    def _on_rows(self, row: Row) -> Floats:
        """Coefficients of the rates as coefficients of the rows of the stages, without zeros at the end."""
        weights = np.zeros(1 + max((self._slots[i] for i, value in row.items() if value), default=0))
        for i, value in row.items():
            if value:
                weights[self._slots[i]] = value
        return weights


def sums_of_squares(weights: Floats, block: Block, scratch: Block, *, out: Floats) -> None:
    """`out_j` = Σ_k m_k B_kj² over the nodes of this rank.

    Args:
        weights: m, shape (num_local,).
        block: B, shape (num_local, J).
        scratch: A work block of the same shape; overwritten.
        out: Shape (J,); overwritten.
    """
    np.multiply(block, block, out=scratch)
    np.dot(weights, scratch, out=out)


def _estimate(step: float, sums: Floats) -> Floats:
    """The norms of the local error from the squared norms of one or two estimates."""
    if len(sums) == 1:
        return step * np.sqrt(sums[0])
    fifth, third = sums
    bottom = fifth + 0.01 * third
    with np.errstate(invalid="ignore", divide="ignore"):
        return step * np.where(bottom > 0, fifth / np.sqrt(bottom), bottom)


def _assign_rows(pair: EmbeddedPair) -> tuple[int, list[int]]:
    """The number of rows that the stages need, row 0 for f included, and the row of each rate.

    A combination reads all rows up to the last one that it needs, some with coefficient zero.  Those rows hold rates of
    the same step, since the lowest free row is taken first.
    """
    last = dict.fromkeys(range(pair.num_rates), 0)
    for stage, row in enumerate(pair.rows):
        last.update({i: stage for i, value in row.items() if value})
    for row in (*pair.errors, *pair.dense, {0: 1.0, pair.num_stages: 1.0}):
        last.update({i: pair.num_rates for i, value in row.items() if value})
    occupant: list[int] = []
    slots = []
    for rate in range(pair.num_rates):
        free = next((k for k, other in enumerate(occupant) if last[other] <= rate), len(occupant))
        if free == len(occupant):
            occupant.append(rate)
        occupant[free] = rate
        slots.append(free + 1)
    return len(occupant) + 1, slots


def _group_width(field: SelectionField, num_samples: int, rows: int) -> int:
    """Samples of a group: as many as fit the cache; all, if each group would cost messages or a kernel's refresh."""
    if field.space.comm.size > 1 or not field.is_autonomous:
        return max(num_samples, 1)
    return max(_LARGEST // (rows * field.space.num_local), 8)
