# SPDX-License-Identifier: MIT
"""`Functional`: the reduced objective of the learning problem and its exact derivative.

    J(x) = μ/J Σ_j Φ(f_j(T)) + R(x),    f_j the discrete states under the controls x = (w, b, c, μ)

Samples go through in blocks that stay in cache: forward with a tape, costates backward, derivatives added up.  Memory
is one block's trajectory whatever J.  Members of the ensemble take contiguous shares of the samples; one sum over
them per evaluation.  `derivative` is the dual, `gradient` its Riesz representative in L².
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

from fem_selection.adjoint.backward import sweep_back
from fem_selection.dynamics.stepper import Stepper, Tape
from fem_selection.errors import InvalidInput, NonFinite
from fem_selection.kernels.base import Kernel, KernelDirection
from fem_selection.learning.controls import ControlSpace
from fem_selection.objectives.terminal import ReadoutCost, TerminalCost
from fem_selection.settings import ObjectiveSettings, ParallelSettings, Regularization
from fem_selection.typing import Block, Floats, create_block

__all__ = ["Functional", "Observe", "SweepCounts"]


Observe = Callable[[slice, Tape, list[list[Block]]], None]
"""Takes a block's columns, its tape and the costates I that its stages met; all are used again for the next block."""


@dataclass
class SweepCounts:
    """Sweeps of all samples through all layers: forward and adjoint; a mini-batch counts for its share.

    Attributes:
        hessian: Actions of the Hessian; sweeps on which they are based count as forward and adjoint.
    """

    forward: float = 0.0
    adjoint: float = 0.0
    hessian: float = 0.0


class Functional:
    """The reduced objective J(x).

    Args:
        control_space: Layout and coordinates of the controls.
        stepper: The dynamics; their kernel and bias are overwritten by the controls.
        cost: The terminal cost; its readout is overwritten.
        initial: Initial states of this member's samples, shape (num_local, J_member).
        targets: Their targets: (C, J_member) of outputs, or (num_local, J_member) of target functions.
        num_samples: J over all members.
        regularization: R.
        weight: μ, the factor of the data term.
        block: Samples per block.

    Attributes:
        pullback, bias_dual: What sweeps add the derivatives in kernel and bias to; None for a part that is fixed.

    Note:
        All evaluations are collective over the world.  Methods on arrays take and return shards (see `ControlSpace`).
    """

    def __init__(
        self,
        control_space: ControlSpace,
        stepper: Stepper,
        cost: TerminalCost,
        initial: Block,
        targets: Block,
        num_samples: int,
        regularization: Regularization,
        weight: float = ObjectiveSettings.weight,
        block: int = ParallelSettings.block,
    ) -> None:
        if initial.shape[1] != targets.shape[1]:
            raise InvalidInput(f"{initial.shape[1]} initial states but {targets.shape[1]} targets")
        self.control_space, self.stepper, self.cost = control_space, stepper, cost
        self.initial, self.targets = np.asfortranarray(initial), np.ascontiguousarray(targets)
        self.num_samples, self.regularization, self.weight, self.block = num_samples, regularization, weight, block
        self.counts = SweepCounts()
        self._local, self._local_dual = np.empty(control_space.local_size), np.empty(control_space.local_size)
        self._met: list[list[Block]] = []
        self.bias_dual = np.zeros_like(stepper.bias) if "bias" in control_space.parts else None
        self._factor = control_space.operator_factor()
        self.pullback: Floats | None = None
        if "kernel" in control_space.parts:
            # with a factor the pullbacks are summed where the dual is wanted
            buffer = None if self._factor is None else self._local_dual[control_space.slices["kernel"]]
            self.pullback = stepper.kernel.create_pullback(buffer)

    # ── for users and solvers: PETSc vectors over the world ───────────────────────────────────────────────────────

    def value(self, x: PETSc.Vec) -> float:
        """J(x), by forward sweeps alone."""
        self.set_controls(x.array_r)
        regular, _ = self.control_space.regularize(self.regularization, x.array_r)
        data = self.weight / self.num_samples * self._over_blocks(self._cost_of_block)
        value = self.control_space.ensemble.sum(self._own(data) + regular)
        self._check(value)
        return value

    def derivative(self, x: PETSc.Vec) -> PETSc.Vec:
        """J'(x), a dual: ⟨J'(x), h⟩ is the Euclidean product of the vectors."""
        return self.control_space.create_vector(self.evaluate(x.array_r)[1])

    def gradient(self, x: PETSc.Vec) -> PETSc.Vec:
        """The Riesz representative of J'(x) in the L² inner product of the controls."""
        local = self.control_space.riesz(self.control_space.gather(self.evaluate(x.array_r)[1]))
        return self.control_space.create_vector(local[self.control_space.shard])

    # ── on shards ─────────────────────────────────────────────────────────────────────────────────────────────────

    def evaluate(self, shard: Floats, observe: Observe | None = None) -> tuple[float, Floats]:
        """J(x) and the shard of the dual J'(x).

        Args:
            shard: The controls.
            observe: Called after each block's sweep, before its tape is used again.

        Raises:
            NonFinite: on all ranks alike, with the layer where a state first was not finite.
        """
        self.set_controls(shard)
        data, regular, dual = self._sweep(shard, self.initial, self.targets, self.weight / self.num_samples, observe)
        self.counts.forward += 1
        self.counts.adjoint += 1
        value, square = self.control_space.ensemble.sums(self._own(data) + regular, float(dual @ dual))
        self._check(value)
        if not np.isfinite(square):
            raise NonFinite("the gradient", reason=self._trouble())
        return value, dual

    def final_states(self, shard: Floats) -> Block:
        """States at T of this member's samples under some controls, by forward sweeps alone."""
        self.set_controls(shard)
        result = np.empty(self.initial.shape, order="F")

        def keep(initial: Block, columns: slice) -> float:
            result[:, columns] = self.stepper.advance_without_tape(initial)[0]
            return 0.0

        self._over_blocks(keep)
        return result

    def value_at(self, shard: Floats, final: Block) -> float:
        """J(x) from the states at T that belong to x; without a sweep."""
        self.set_controls(shard)
        regular, _ = self.control_space.regularize(self.regularization, shard)
        with np.errstate(over="ignore", invalid="ignore"):
            data = sum(self.cost.value(final[:, c], self.targets[:, c]) for c in self.blocks(final.shape[1]))
        return self.control_space.ensemble.sum(self._own(self.weight / self.num_samples * data) + regular)

    def evaluate_batch(self, shard: Floats, initial: Block, targets: Block, batch: int) -> tuple[float, Floats]:
        """This rank's share of the objective on a mini-batch, and the shard of its dual.

        Args:
            shard: The controls.
            initial: Initial states of this member's part of the batch, shape (num_local, any).
            targets: Their targets.
            batch: Samples of the batch over all members.

        Returns:
            Numbers whose sum over the world is the objective (not checked for finiteness), and the dual.
        """
        self.set_controls(shard)
        data, regular, dual = self._sweep(shard, initial, targets, self.weight / batch)
        self.counts.forward += batch / self.num_samples
        self.counts.adjoint += batch / self.num_samples
        return self._own(data) + regular, dual

    def set_controls(self, shard: Floats) -> None:
        """Let dynamics and readout hold these controls."""
        parts = self.gather_parts(shard, self._local)
        if "kernel" in parts:
            self.assign_kernel(self.stepper.kernel, parts["kernel"])
        if "bias" in parts:
            self.stepper.bias[...] = parts["bias"]
        if "readout" in parts and isinstance(self.cost, ReadoutCost):
            self.cost.assign_moments(parts["readout"].T, parts["offset"])

    def gather_parts(self, shard: Floats, local: Floats) -> dict[str, Floats]:
        """Kernel, bias, M c, shape (C, num_local), and μ of a control or direction on every rank (collective).

        `local` is the buffer of which most are views; the kernel's part is for `assign_kernel`.
        """
        space = self.control_space.space
        sent = shard if self._factor is None else shard * self._factor
        parts = self.control_space.unpack(self.control_space.ensemble.gather_shards(sent, local))
        if "readout" in parts:
            offset = parts["offset"] if space.comm.size == 1 else space.comm.bcast(parts["offset"])
            parts["offset"] = offset.copy()
            if self._factor is None:
                parts["readout"] = space.apply_mass(np.asfortranarray(parts["readout"].T)).T
        return parts

    def assign_kernel(self, kernel: Kernel | KernelDirection, part: Floats) -> None:
        """Let our stepper's kernel, or a direction of it, hold what `gather_parts` gave."""
        (kernel.assign if self._factor is None else kernel.assign_operator)(part)

    def outputs(self, initial: Block) -> Block:
        """Readout outputs, or final states where there is no readout, under the controls last set, block by block."""
        rows = self.cost.num_outputs if isinstance(self.cost, ReadoutCost) else initial.shape[0]
        result = np.empty((rows, initial.shape[1]), order="F")
        for columns in self.blocks(initial.shape[1]):
            final, _ = self.stepper.advance_without_tape(initial[:, columns])
            result[:, columns] = self.cost.outputs(final) if isinstance(self.cost, ReadoutCost) else final
        return result

    def _sweep(
        self, shard: Floats, initial: Block, targets: Block, scale: float, observe: Observe | None = None
    ) -> tuple[float, float, Floats]:
        """Forward and back over all blocks: data term, the shard's share of the regularization, dual shard."""
        self.clear_duals()
        data = 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            for columns in self.blocks(initial.shape[1]):
                block = initial[:, columns]
                tape = self.stepper.tape(block.shape[1])
                final = self.stepper.advance(block, tape)
                value, dual = self.cost.evaluate(final, targets[:, columns], scale)
                data += value
                incoming = None if observe is None else self._incoming(block)
                sweep_back(self.stepper, tape, dual, self.pullback, self.bias_dual, incoming=incoming)
                if observe is not None and incoming is not None:
                    observe(columns, tape, incoming)
            regular, regular_dual = self.control_space.regularize(self.regularization, shard)
            regular_dual += self.collect_dual()
        return data, regular, regular_dual

    def _incoming(self, like: Block) -> list[list[Block]]:
        """Blocks for the costates that each stage of each layer meets, the same ones for blocks of one size."""
        if not self._met or self._met[0][0].shape != like.shape:
            stages, layers = range(self.stepper.scheme.num_stages), range(self.stepper.grid.layers)
            self._met = [[create_block(*like.shape) for _ in stages] for _ in layers]
        return self._met

    def clear_duals(self) -> None:
        """Set to zero what sweeps add to."""
        if self.pullback is not None:
            self.pullback.fill(0.0)
        if self.bias_dual is not None:
            self.bias_dual.fill(0.0)
        self.cost.clear()

    def collect_dual(self) -> Floats:
        """The shard of the dual of the controls from what sweeps on all members have added (collective)."""
        dual = self.control_space.ensemble.sum_to_shard(self._pack_dual())
        if self._factor is not None:
            dual *= self._factor
        return dual

    def _pack_dual(self) -> Floats:
        """This member's derivative of the data term as a local array, in a buffer that the next sweep reuses.

        In the operators (A, b, M c, μ) if there is a factor, else in the controls.
        """
        where, dual = self.control_space.slices, self._local_dual
        if self.pullback is not None and self._factor is None:
            self.stepper.kernel.parameter_dual(self.pullback, out=dual[where["kernel"]])
        if self.bias_dual is not None:
            # the bias enters by its nodal values: its dual is complete
            dual[where["bias"]] = self.bias_dual.ravel()
        if isinstance(self.cost, ReadoutCost) and "readout" in self.control_space.parts:
            of_readout = self.cost.readout_dual
            if self._factor is None:
                of_readout = self.control_space.space.apply_mass(of_readout)
            dual[where["readout"]] = of_readout.T.ravel()
            dual[where["offset"]] = self.cost.offset_dual[: where["offset"].stop - where["offset"].start]
        return dual

    def _over_blocks(self, function: Callable[[Block, slice], float]) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            total = sum(function(self.initial[:, c], c) for c in self.blocks(self.initial.shape[1]))
        self.counts.forward += 1
        return total

    def _cost_of_block(self, initial: Block, columns: slice) -> float:
        final, _ = self.stepper.advance_without_tape(initial)
        return self.cost.value(final, self.targets[:, columns])

    def blocks(self, num_samples: int) -> list[slice]:
        """Nearly equal blocks of at most `block` samples."""
        if num_samples == 0:
            return []
        count = -(-num_samples // self.block)
        edges = [num_samples * k // count for k in range(count + 1)]
        return [slice(a, b) for a, b in itertools.pairwise(edges)]

    def _own(self, data: float) -> float:
        """The data term on one rank of each space communicator, zero on the others."""
        return data if self.control_space.space.comm.rank == 0 else 0.0

    def _check(self, value: float) -> None:
        """Raise if an objective, the same number on all ranks, is not finite."""
        if not np.isfinite(value):
            layer = self.stepper.first_bad_layer(self.initial) if self.initial.shape[1] else None
            never = self.stepper.grid.layers + 1
            first = self.control_space.ensemble.world.allreduce(never if layer is None else layer, op=MPI.MIN)
            raise NonFinite("the objective", None if first == never else first, reason=self._trouble())

    def _trouble(self) -> str | None:
        """Why an implicit stage was not solved on some rank, the same words on all; None if all were (collective)."""
        found = self.control_space.ensemble.world.allgather(self.stepper.take_trouble())
        return next((words for words in found if words), None)
