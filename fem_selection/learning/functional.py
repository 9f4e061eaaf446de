# SPDX-License-Identifier: MIT
"""`Functional`: the reduced objective of the learning problem and its exact derivative.

    J(x) = μ/J Σ_j Φ(f_j(T)) + R(x),    f_j the discrete states under the controls x = (w, b, c, μ)

The samples are swept in blocks that stay in cache: states forward with a tape, costates backward, derivatives added up.
Memory is the trajectory of one block, whatever J is, or a part of it (`dynamics.checkpointing`).  Each member of the
ensemble takes a contiguous share of the samples, and an evaluation takes one sum over the members.  `derivative`
returns the dual, `gradient` its Riesz representative in L².
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

from fem_selection.adjoint.anchors import AnchorsBack, finish_back
from fem_selection.adjoint.backward import sweep_back
from fem_selection.dynamics.checkpointing import TapedSweeps
from fem_selection.dynamics.stepper import Stepper
from fem_selection.dynamics.tape import Tape
from fem_selection.errors import InvalidInput, NonFinite
from fem_selection.learning.anchored_samples import AnchoredSamples
from fem_selection.learning.controls import ControlSpace
from fem_selection.learning.penalty import Penalty
from fem_selection.objectives.terminal import ReadoutCost, TerminalCost
from fem_selection.settings import ObjectiveSettings, ParallelSettings, Regularization, TapeSettings
from fem_selection.settings.tables import settings_or_default
from fem_selection.typing import Block, Floats, create_block, real_array, real_block, real_number, whole_number

__all__ = ["Functional", "Observe", "SweepCounts"]


Observe = Callable[[slice, Tape, list[list[Block]]], None]
"""Called with a block's columns, a tape and the costates I of its stages; the next call overwrites all of them.

There is one call for all layers, the numbers `Tape.layers`; or one for each part of them, from the last to the first.
"""


@dataclass
class SweepCounts:
    """The number of sweeps of all samples through all layers; a mini-batch counts as its share of the samples.

    Attributes:
        forward: Forward sweeps.
        adjoint: Adjoint sweeps.
        hessian: Actions of the Hessian; the sweeps at which it is linearized count as forward and adjoint.
        repeated: Forward sweeps on the way back, where not all layers are stored; a layer counts as its share.
    """

    forward: float = 0.0
    adjoint: float = 0.0
    hessian: float = 0.0
    repeated: float = 0.0


class Functional:
    """The reduced objective J(x).

    Args:
        control_space: Layout and coordinates of the controls.
        stepper: The dynamics; their kernel and bias are overwritten by the controls.
        cost: The terminal cost; its readout is overwritten by the controls.
        initial: Initial states of this member's samples, shape (num_local, J_member); copied.
        targets: Their targets, shape (C, J_member); for target functions (num_local, J_member); copied.
        num_samples: J over all members.
        regularization: The weights of R.
        weight: μ, the factor of the data term.
        block: Largest number of samples of a block.
        tape: What is stored of a block's sweep for the way back.

    Attributes:
        sweeps: The sweeps of blocks forward and back.
        penalty: R with its derivative.
        pullback, bias_dual: Sweeps add the derivatives in kernel and bias to these; None for a part that is fixed.
        counts: The number of sweeps so far.
        anchored: This member's samples, if the kernel follows all of them (`initial` is read-only then); else None.

    Raises:
        InvalidInput: on all ranks, if initial states or targets are no finite real numbers or do not fit the space and
            the cost, their numbers differ, or those of the members do not add up to `num_samples`; if `tape.memory`
            does not suffice, or there is no place for states on disk.

    Note:
        All evaluations are collective over the world.  Methods on arrays take and return shards of x and of duals in
        x (see `ControlSpace`).

    Example:
        >>> functional = fs.build_problem(fs.load_case("demos/gap.toml")).functional  # w of ten layers
        >>> value, dual = functional.evaluate(np.ones(10))
        >>> nearby, _ = functional.evaluate(np.full(10, 1.0 + 1e-6))
        >>> print(f"{dual.sum():.4f} {(nearby - value) / 1e-6:.4f}")
        0.0443 0.0443
    """

    def __init__(
        self,
        control_space: ControlSpace,
        stepper: Stepper,
        cost: TerminalCost,
        *,
        initial: Block,
        targets: Block,
        num_samples: int,
        regularization: Regularization,
        weight: float = ObjectiveSettings.weight,
        block: int = ParallelSettings.block,
        tape: TapeSettings | None = None,
    ) -> None:
        num_samples, block = whole_number(num_samples, "num_samples", 0), whole_number(block, "block", 1)
        if not 0 <= (weight := real_number(weight, "weight")) < np.inf:
            raise InvalidInput(f"weight = {weight}: expected a finite number, at least 0")
        if stepper.anchors is not None and "kernel" not in control_space.parts:
            raise InvalidInput(
                "a representer kernel changes with every control: optimize it too, or fix it by as_separable()"
            )
        self.initial, self.targets = _check_samples(control_space, cost, initial, targets, num_samples)
        self.control_space, self.stepper, self.cost = control_space, stepper, cost
        self.num_samples, self.regularization, self.weight, self.block = num_samples, regularization, weight, block
        self.penalty, self.counts = Penalty(control_space, regularization), SweepCounts()
        share = -(-num_samples // control_space.ensemble.num_members)
        widest = max((-(-n // -(-n // block)) for n in (share, share - 1) if n > 0), default=0)
        tape, world = settings_or_default(tape, TapeSettings), control_space.ensemble.world
        self.sweeps = TapedSweeps(stepper, tape, world, widest=widest)
        self.anchored = AnchoredSamples.find(stepper, self.initial)
        self.initial.flags.writeable = self.anchored is None
        # local arrays: D x as the dynamics hold it, and the dual in D x that sweeps add up
        self._operators, self._operator_dual = (np.empty(control_space.local_size) for _ in range(2))
        self._met: list[list[Block]] = []
        self.bias_dual = np.zeros_like(stepper.bias) if "bias" in control_space.parts else None
        self.pullback: Floats | None = None
        self._pulls_in_place = control_space.operator_factor is not None
        if "kernel" in control_space.parts:
            # if D is diagonal, sweeps add the pullbacks directly to the dual in D x
            buffer = self._operator_dual[control_space.slices["kernel"]] if self._pulls_in_place else None
            self.pullback = stepper.kernel.create_pullback(buffer)

    # ── for users and solvers: PETSc vectors over the world ───────────────────────────────────────────────────────

    def value(self, controls: PETSc.Vec) -> float:
        """J(x), by forward sweeps only (collective).

        Raises:
            NonFinite: on all ranks alike, with the layer where a state first was not finite.
        """
        self.set_controls(controls.array_r)
        regular, _ = self.penalty.evaluate(controls.array_r)
        data = self.weight / self.num_samples * self._over_blocks(self._cost_of_block)
        value = self.control_space.ensemble.sum(self._own(data) + regular)
        self._check(value)
        return value

    def derivative(self, controls: PETSc.Vec) -> PETSc.Vec:
        """The dual J'(x), a new vector: ⟨J'(x), h⟩ is the Euclidean product of the vectors (collective).

        Raises:
            NonFinite: as `evaluate`.
        """
        return self.control_space.create_vector(self.evaluate(controls.array_r)[1])

    def gradient(self, controls: PETSc.Vec) -> PETSc.Vec:
        """The Riesz representative of J'(x) in the L² inner product of the controls, a new vector (collective).

        Raises:
            NonFinite: as `evaluate`.
        """
        return self.control_space.create_vector(self.control_space.riesz(self.evaluate(controls.array_r)[1]))

    # ── on shards ─────────────────────────────────────────────────────────────────────────────────────────────────

    def evaluate(self, controls: Floats, observe: Observe | None = None) -> tuple[float, Floats]:
        """J(x) and the shard of the dual J'(x) (collective).

        Args:
            controls: Shard of x.
            observe: Called after each block's sweep, before its tape is used again.

        Raises:
            NonFinite: on all ranks alike, if J or its derivative is not finite, with the layer where a state first was
                not finite.
        """
        controls = self.control_space.as_shard(controls)
        self.set_controls(controls)
        data, regular, dual = self._sweep(controls, self.initial, self.targets, self.num_samples, observe)
        with np.errstate(over="ignore", invalid="ignore"):
            own_square = float(dual @ dual)
        value, square = self.control_space.ensemble.sums(self._own(data) + regular, own_square)
        self._check(value)
        if not np.isfinite(square):
            raise NonFinite("the gradient", reason=self._explain_failure_anywhere())
        return value, dual

    def final_states(self, controls: Floats) -> Block:
        """States at T of this member's samples under controls x, a shard; shape (num_local, J_member) (collective)."""
        self.set_controls(controls)
        result = np.full(self.initial.shape, np.nan, order="F")

        def keep(initial: Block, columns: slice) -> float:
            result[:, columns] = self.stepper.advance_without_tape(initial)[0]
            return 0.0

        self._over_blocks(keep)
        return result

    def value_at(self, controls: Floats, final: Block) -> float:
        """J(x) from the states at T under x, without a sweep (collective).

        Args:
            controls: Shard of x.
            final: States at T of this member's samples, shape (num_local, J_member), as `final_states` returns them.

        Returns:
            J(x), not checked for finiteness.
        """
        controls = self.control_space.as_shard(controls)
        self.set_controls(controls)
        regular, _ = self.penalty.evaluate(controls)
        with np.errstate(over="ignore", invalid="ignore"):
            data = sum(self.cost.value(final[:, c], self.targets[:, c]) for c in self.blocks(final.shape[1]))
        return self.control_space.ensemble.sum(self._own(self.weight / self.num_samples * data) + regular)

    def evaluate_batch(
        self, controls: Floats, initial: Block, targets: Block, *, batch_size: int
    ) -> tuple[float, Floats]:
        """This rank's share of the objective on a mini-batch, and the shard of its dual (collective).

        Args:
            controls: Shard of x.
            initial: Initial states of this member's part of the batch, shape (num_local, any).
            targets: Their targets, one column for each of these samples.
            batch_size: Samples of the batch over all members.

        Returns:
            Numbers whose sum over the world is the objective (not checked for finiteness), and the dual.
        """
        controls = self.control_space.as_shard(controls)
        self.set_controls(controls)
        data, regular, dual = self._sweep(controls, initial, targets, batch_size)
        return self._own(data) + regular, dual

    def set_controls(self, controls: Floats) -> None:
        """Assign controls x, a shard, to the dynamics and the readout (collective).

        Raises:
            InvalidInput: if the controls are no real numbers, or have another shape.
        """
        self.stepper.take_failure()  # it was of other controls
        operators = self.control_space.to_operators(self.control_space.as_shard(controls), self._operators)
        if "kernel" in operators:
            self.control_space.assign_kernel(self.stepper.kernel, operators)
        if "bias" in operators:
            self.stepper.bias[...] = operators["bias"]
        if "readout" in operators and isinstance(self.cost, ReadoutCost):
            self.cost.assign_moments(operators["readout"].T, operators["offset"])

    def outputs(self, initial: Block) -> Block:
        """The readout's outputs under the controls last set; the final states if there is no readout.

        Returns:
            Shape (C, num_samples), or (num_local, num_samples) without a readout.
        """
        rows = self.cost.num_outputs if isinstance(self.cost, ReadoutCost) else initial.shape[0]
        result = np.empty((rows, initial.shape[1]), order="F")
        for columns in self.blocks(initial.shape[1]):
            final, _ = self.stepper.advance_without_tape(initial[:, columns])
            result[:, columns] = self.cost.outputs(final) if isinstance(self.cost, ReadoutCost) else final
        return result

    def _sweep(
        self, controls: Floats, initial: Block, targets: Block, num_samples: int, observe: Observe | None = None
    ) -> tuple[float, float, Floats]:
        """Sweep all blocks forward and back; return the data term, this shard's share of R, and its dual."""
        if self.anchored is not None and initial is self.initial and observe is None:
            data = self._sweep_anchors(self.anchored, targets, num_samples)
        else:
            self.clear_duals()
            data = self.sweep_blocks(initial, targets, num_samples, observe=observe)
            with np.errstate(over="ignore", invalid="ignore"):
                finish_back(self.stepper, kernel_pullback=self.pullback, bias_dual=self.bias_dual)
        with np.errstate(over="ignore", invalid="ignore"):
            regular, regular_dual = self.penalty.evaluate(controls)
            regular_dual += self.collect_dual()
        return data, regular, regular_dual

    def _sweep_anchors(self, samples: AnchoredSamples, targets: Block, num_samples: int) -> float:
        """Sweep the anchors forward and back, which all samples are; return this member's share of the data term."""
        self.clear_duals(with_factors=False)
        scale, flow = self.weight / num_samples, samples.flow
        with np.errstate(over="ignore", invalid="ignore"):
            if flow.keeps_all:
                data, dual = self.cost.evaluate(samples.final(), targets, scale)
                duals = {"kernel_pullback": self.pullback, "bias_dual": self.bias_dual}
                finish_back(self.stepper, dual=samples.spread(dual), **duals)
            else:
                sweep = self.sweeps.of(0)
                sweep.forward(create_block(len(self.initial), 0))
                data, dual = self.cost.evaluate(samples.pick(flow.final), targets, scale)
                back = AnchorsBack(self.stepper, self.pullback, self.bias_dual, dual=samples.spread(dual))
                for tape in sweep.back():
                    back.through(tape.layers)
                self.counts.repeated += sweep.repeated / self.stepper.grid.layers
        self.counts.forward += 1.0
        self.counts.adjoint += 1.0
        return data

    def sweep_blocks(
        self, initial: Block, targets: Block, num_samples: int, *, observe: Observe | None = None
    ) -> float:
        """Sweep all blocks forward and back under the controls last set (collective over space).

        The derivatives are added to the duals of kernel, bias and readout.  Those of a kernel that follows anchors are
        duals of its factors, which `adjoint.anchors.finish_back` carries on to the controls.

        Args:
            initial: Initial states of this member's samples, shape (num_local, any).
            targets: Their targets.
            num_samples: Number of samples over all members.
            observe: Called after each block's sweep, before its tape is used again.

        Returns:
            This member's share of the data term.
        """
        data, repeated = 0.0, 0
        with np.errstate(over="ignore", invalid="ignore"):
            for columns in self.blocks(initial.shape[1]):
                block = initial[:, columns]
                sweep = self.sweeps.of(block.shape[1])
                final = sweep.forward(block)
                if self.stepper.failed_layer is not None:
                    data = np.nan  # the other blocks would take long to tell the same
                    break
                value, dual = self.cost.evaluate(final, targets[:, columns], self.weight / num_samples)
                data += value
                anchors = AnchorsBack(self.stepper, self.pullback, self.bias_dual)
                for tape in sweep.back():
                    incoming = None if observe is None else self._incoming(block, sweep.plan.longest, tape.layers)
                    sweep_back(
                        self.stepper,
                        tape,
                        dual,
                        kernel_pullback=self.pullback,
                        bias_dual=self.bias_dual,
                        incoming=incoming,
                    )
                    anchors.through(tape.layers)
                    if observe is not None and incoming is not None:
                        observe(columns, tape, incoming)
                repeated += block.shape[1] * sweep.repeated
        share = num_samples / self.num_samples if self.num_samples else 1.0
        self.counts.forward += share
        self.counts.adjoint += share
        self.counts.repeated += share * repeated / (self.stepper.grid.layers * max(initial.shape[1], 1))
        return data

    def _incoming(self, like: Block, longest: int, layers: range) -> list[list[Block]]:
        """Blocks for the costates I of each stage of some layers; consecutive blocks of one size share them."""
        if not self._met or self._met[0][0].shape != like.shape:
            stages = range(self.stepper.scheme.num_stages)
            self._met = [[create_block(*like.shape) for _ in stages] for _ in range(longest)]
        return self._met[: len(layers)]

    def clear_duals(self, *, with_factors: bool = True) -> None:
        """Set the arrays to zero to which sweeps add derivatives.

        Args:
            with_factors: Whether blocks will be swept, which add to the duals of all factors of a representer kernel.
        """
        if self.pullback is not None:
            self.pullback[: None if with_factors else self.stepper.kernel.num_parameters].fill(0.0)
        if self.bias_dual is not None:
            self.bias_dual.fill(0.0)
        self.cost.clear()

    def collect_dual(self) -> Floats:
        """The shard of the dual in x, from the derivatives that sweeps have added on all members (collective)."""
        where, dual = self.control_space.slices, self._operator_dual
        if self.pullback is not None and not self._pulls_in_place:
            self.stepper.kernel.parameter_dual(self.pullback, out=dual[where["kernel"]])
        if self.bias_dual is not None:
            # the bias enters the dynamics by its nodal values: its dual needs no further map
            dual[where["bias"]] = self.bias_dual.ravel()
        if isinstance(self.cost, ReadoutCost) and "readout" in self.control_space.parts:
            dual[where["readout"]] = self.cost.readout_dual.T.ravel()
            dual[where["offset"]] = self.cost.offset_dual[: where["offset"].stop - where["offset"].start]
        return self.control_space.dual_to_controls(dual)

    def _over_blocks(self, function: Callable[[Block, slice], float]) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            total = 0.0
            for columns in self.blocks(self.initial.shape[1]):
                total += function(self.initial[:, columns], columns) if self.stepper.failed_layer is None else np.nan
        self.counts.forward += 1
        return total

    def _cost_of_block(self, initial: Block, columns: slice) -> float:
        final, _ = self.stepper.advance_without_tape(initial)
        return self.cost.value(final, self.targets[:, columns])

    def blocks(self, num_samples: int) -> list[slice]:
        """Cut `num_samples` columns into nearly equal blocks of at most `block` samples."""
        if num_samples == 0:
            return []
        count = -(-num_samples // self.block)
        edges = [num_samples * k // count for k in range(count + 1)]
        return [slice(a, b) for a, b in itertools.pairwise(edges)]

    def _own(self, data: float) -> float:
        """The data term on rank 0 of each space communicator, zero on its other ranks."""
        return data if self.control_space.space.comm.rank == 0 else 0.0

    def _check(self, value: float) -> None:
        """Raise if an objective, the same number on all ranks, is not finite."""
        if not np.isfinite(value):
            layer = self.stepper.failed_layer
            if layer is None and self.initial.shape[1]:
                layer = self.stepper.first_bad_layer(self.initial)
            never = self.stepper.grid.layers + 1
            first = self.control_space.ensemble.world.allreduce(never if layer is None else layer, op=MPI.MIN)
            raise NonFinite("the objective", None if first == never else first, reason=self._explain_failure_anywhere())

    def explain_failure(self, initial: Block) -> str | None:
        """Why a sweep of these states under the controls last set was not finite; None if it overflowed.

        An implicit stage was not solved, or the activation has no finite value or slope where it was evaluated.
        Collective over the space communicator; ranks may find different reasons.
        """
        words = self.stepper.take_failure()
        comm = self.control_space.space.comm
        if comm.allreduce(int(words is not None or not initial.shape[1]), op=MPI.MAX):
            return words
        if (found := self.stepper.first_undefined(initial)) is None:
            return None
        layer, s, has_value = found
        name, what = self.stepper.activation.name, "has no finite slope" if has_value else "has no finite value"
        return (
            f"the activation {name} {what} at s = {s:.6g}, which K f + b takes in layer {layer}; "
            "take another activation, or begin where K f + b stays away from there, by dynamics.bias or dynamics.kernel"
        )

    def _explain_failure_anywhere(self) -> str | None:
        """Why the sweep was not finite on some rank, the same text on all; None if it overflowed (collective)."""
        found = self.control_space.ensemble.world.allgather(self.explain_failure(self.initial))
        return next((words for words in found if words), None)


def _check_samples(
    control_space: ControlSpace, cost: TerminalCost, initial: Block, targets: Block, num_samples: int
) -> tuple[Block, Block]:
    """Copies of initial states and targets in float64, or an error on all ranks (collective over the world)."""
    ensemble, space = control_space.ensemble, control_space.space
    rows = cost.num_outputs if isinstance(cost, ReadoutCost) else space.num_local
    fault, columns = None, 0
    states = aims = np.empty((0, 0))
    try:
        states = np.array(real_block(initial, space.num_local, "initial states"), order="F")
        columns = states.shape[1]
        aims = np.array(real_array(targets, "targets"))
        aims = aims.reshape(rows, columns) if aims.ndim == 1 and aims.size == rows * columns else aims
        if aims.ndim != 2 or aims.shape[1] != columns:
            fault = f"{columns} initial states but {aims.shape[-1] if aims.ndim else 1} targets"
        elif len(aims) != rows:
            fault = f"targets of shape {aims.shape}: expected ({rows}, {columns}), one column for each initial state"
        elif not (np.all(np.isfinite(states)) and np.all(np.isfinite(aims))):
            fault = "initial states or targets are not finite: they have infinite values or NaN"
    except InvalidInput as error:
        fault = str(error)
    found = ensemble.world.allgather((fault, columns if space.comm.rank == 0 else 0))
    if first := next((words for words, _ in found if words is not None), None):
        raise InvalidInput(first)
    if (total := sum(count for _, count in found)) != num_samples:
        raise InvalidInput(
            f"num_samples = {num_samples}, but there are {total} initial states in all: num_samples counts the samples "
            "of all members of the ensemble, of which each has its share, ensemble.samples(num_samples)"
        )
    return states, aims
