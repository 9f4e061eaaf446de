# SPDX-License-Identifier: MIT
"""`Stepper`: one block of states through the layers, by an explicit or diagonally implicit Runge–Kutta scheme.

    G_i = F_n + Δt Σ_{j≤i} a_ij R_j,   S_i = K(θ_c) G_i + b_c,   R_i = Π_h σ(S_i),   F_{n+1} = F_n + Δt Σ_i b_i R_i

`fem_selection.dynamics.implicit` solves the implicit stages, a_ii ≠ 0, with Newton's method starting at F_n.  K needs
communication; σ is local in collocated mode.  A `Tape` keeps what derivatives need.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.anchors import AnchorFlow
from fem_selection.dynamics.compiled import CompiledSweep, create_sweep
from fem_selection.dynamics.equation import SelectionEquation, Statement
from fem_selection.dynamics.implicit import StageSolver
from fem_selection.dynamics.schemes import Scheme, combine
from fem_selection.dynamics.superposition import Derivative, create_superposition, derivative_from_tape
from fem_selection.dynamics.tape import Allocate, Tape, allocate
from fem_selection.errors import InvalidInput
from fem_selection.functions.activations import Activation
from fem_selection.functions.programs import SMALLEST
from fem_selection.kernels.base import Kernel
from fem_selection.kernels.representer import RepresenterKernel
from fem_selection.settings import DynamicsSettings
from fem_selection.typing import Block, Floats, real_array, real_block, whole_number

__all__ = ["Stepper"]

# an overflow shows in the state; the caller of the sweep looks for it and names the layer
_QUIET: dict[str, Any] = {"over": "ignore", "invalid": "ignore", "divide": "ignore"}


class Stepper:
    """The discrete dynamics: space, kernel, bias, activation, scheme and depth grid.

    Args:
        space: The state space.
        kernel: K, with one set of parameters per interval of the grid.
        bias: Nodal values of b, shape (intervals, num_local), or (num_local,) for one interval; copied.
        activation: σ.
        scheme: The Runge–Kutta scheme.
        grid: Layers and control intervals.
        evaluation: How σ is evaluated, as `dynamics.evaluation` of a case.
        equation: States the equation for a space and σ: `SelectionEquation`, or a class derived from it.

    Attributes:
        equation: The equation, from whose form σ is read.
        intervals: The control interval of each stage, as `intervals[layer][stage]`.
        places: What the kernel is told at each stage, as `places[layer][stage]`: the control interval, or the number of
            the stage's place if the kernel follows anchors.
        anchors: The flow of the kernel's anchors, if it follows any; else None.
        solver: The solver of implicit stages, with its counts; None if the scheme is explicit.
        evaluation: "compiled": whole sweeps by one compiled call where that is possible; "layers": layer by layer;
            "assembled": layer by layer, σ by assembled forms.
        failed_layer: Number of the first layer boundary that a sweep could not reach, since a stage before it was not
            solved; None if there is none since the last call of `take_failure`.

    Raises:
        InvalidInput: if kernel or bias have another number of intervals than the grid, the bias is no array of real
            numbers, the evaluation is unknown, or the form of the equation runs by assembly alone and the evaluation
            is another.

    Example:
        >>> space, grid = fs.StateSpace(fs.interval(MPI.COMM_SELF, cells=2)), fs.DepthGrid(layers=2)
        >>> kernel, bias = fs.DenseKernel(space, 2), np.ones((2, 3))  # w = 0, b = 1
        >>> tanh, euler = fs.find_activation("tanh"), fs.find_scheme("euler")
        >>> stepper = fs.Stepper(space, kernel, bias, activation=tanh, scheme=euler, grid=grid)
        >>> print(stepper.advance_without_tape(space.create_block(1))[0].T.round(4))  # tanh 1
        [[0.7616 0.7616 0.7616]]
    """

    def __init__(
        self,
        space: StateSpace,
        kernel: Kernel,
        bias: Floats,
        *,
        activation: Activation,
        scheme: Scheme,
        grid: DepthGrid,
        evaluation: str = DynamicsSettings.evaluation,
        equation: Statement = SelectionEquation,
    ) -> None:
        bias = real_array(bias, "a bias").copy()
        if bias.ndim == 1 and grid.intervals == 1:
            bias = bias[None, :]
        if kernel.num_intervals != grid.intervals or bias.shape != (grid.intervals, space.num_local):
            raise InvalidInput(
                f"the depth grid has {grid.intervals} intervals; the kernel has {kernel.num_intervals}, "
                f"the bias shape {bias.shape} where ({grid.intervals}, {space.num_local}) was expected"
            )
        self.space, self.kernel, self.bias, self.grid = space, kernel, bias, grid
        self.scheme, self.equation = scheme, equation(space, activation)
        self.superposition = create_superposition(self.equation, evaluation)
        self._bias_columns = [b[:, None] for b in bias]
        self.intervals = [[grid.interval(n, i) for i in range(scheme.num_stages)] for n in range(grid.layers)]
        self.evaluation = evaluation
        self.solver: StageSolver | None = None
        if scheme.is_implicit:
            self.solver = StageSolver(space, kernel, self._bias_columns, superposition=self.superposition)
        self.anchors: AnchorFlow | None = None
        self.places = self.intervals
        if isinstance(kernel, RepresenterKernel):
            self.anchors, stages = AnchorFlow(self, kernel), scheme.num_stages
            self.places = [[n * stages + i for i in range(stages)] for n in range(grid.layers)]
        self.failed_layer: int | None = None
        self._work: dict[tuple[str | int, ...], list[Block]] = {}
        self._tapes: dict[int, Tape] = {}

    @property
    def activation(self) -> Activation:
        """σ as it stands in the equation's form.

        Raises:
            InvalidInput: if the form is no form ∫ σ(s) φ dy.
        """
        return self.equation.activation

    def compiled_for(self, block: Block) -> CompiledSweep | None:
        """Return what sweeps a block in one call, or None if the sweep goes layer by layer.

        Layer by layer go implicit stages, local kernels, Galerkin mode, spaces on several ranks, activations that
        cannot be compiled here, and sweeps so small that they do not earn the compilation.
        """
        if block.size * self.grid.layers < SMALLEST or not block.flags.f_contiguous or self.evaluation != "compiled":
            return None
        return self._compiled

    @cached_property
    def _compiled(self) -> CompiledSweep | None:
        return create_sweep(self)

    def bind_kernel(self) -> None:
        """Let the kernel follow its anchors in these dynamics, if it follows any and another stepper had it last."""
        if self.anchors is not None:
            self.anchors.bind()

    def tape(self, num_samples: int) -> Tape:
        """Return the tape for blocks of that many samples.

        Every call returns the same tape, so a sweep overwrites the tape of the sweep before.
        """
        num_samples = whole_number(num_samples, "num_samples", 0)
        if num_samples not in self._tapes:
            if len(self._tapes) > 3:
                self._tapes.clear()
            self._tapes[num_samples] = self.create_tape(num_samples, self.grid.layers)
        return self._tapes[num_samples]

    def create_tape(self, num_samples: int, layers: int, allocate: Allocate = allocate) -> Tape:
        """Return a new tape.

        Args:
            num_samples: Number of samples of its blocks.
            layers: Largest number of consecutive layers that it holds.
            allocate: What gives it memory.
        """
        return Tape(
            self.space.num_local,
            self.superposition.tape_rows,
            num_samples,
            layers=layers,
            scheme=self.scheme,
            allocate=allocate,
        )

    def advance(self, initial: Block, tape: Tape, layers: range | None = None) -> Block:
        """Sweep a block through consecutive layers and return the state after them (collective over space).

        Args:
            initial: The state before them, shape (num_local, J); kept by reference on the tape.
            tape: A tape for J samples and at least as many layers; overwritten.
            layers: Their numbers; all layers if None.

        Returns:
            The state after the last of them, a block of the tape.
        """
        initial = real_block(initial, self.space.num_local, "initial states")
        self.bind_kernel()
        tape.start(initial, range(self.grid.layers) if layers is None else layers)
        if (sweep := self.compiled_for(initial)) is not None:
            sweep.forward(initial, tape.arrays, tape.layers)
            return tape.states[-1]
        work = self._step_work(initial)
        with np.errstate(**_QUIET):
            for k, n in enumerate(tape.layers):
                self._step(n, tape.states[k], tape.stages[k], tape.slopes[k], tape.states[k + 1], *work)
        return tape.states[-1]

    def advance_in_place(self, state: Block, layers: range) -> None:
        """Sweep a block through consecutive layers without a tape (collective over space).

        Args:
            state: The state before them, shape (num_local, J), in Fortran order; overwritten by the state after them.
            layers: Their numbers.
        """
        self.bind_kernel()
        if (sweep := self.compiled_for(state)) is not None:
            sweep.forward_in_place(state, layers)
            return
        stages = self.work("stages", state, self.scheme.num_stages)
        if self.scheme.starts_at_state:
            stages = [state, *stages[1:]]
        work = self._step_work(state)
        with np.errstate(**_QUIET):
            for n in layers:
                self._step(n, state, stages, None, state, *work)

    def advance_without_tape(self, initial: Block, keep: Sequence[int] = ()) -> tuple[Block, list[Block]]:
        """Sweep a block through all layers without storing slopes (collective over space).

        Args:
            initial: F_0, shape (num_local, J); not changed.
            keep: Layer boundaries at which the states are wanted, 0 … layers.

        Returns:
            F_L, and copies of the states at the layer boundaries in `keep`.
        """
        state = real_block(initial, self.space.num_local, "initial states").copy(order="F")
        layers = self.grid.layers
        kept = [state.copy(order="F")] if 0 in keep else []
        boundaries = sorted({n for n in keep if 0 < n < layers} | {layers})
        for begin, end in itertools.pairwise((0, *boundaries)):
            self.advance_in_place(state, range(begin, end))
            if end in keep:
                kept.append(state.copy(order="F"))
        return state, kept

    def first_bad_layer(self, initial: Block) -> int | None:
        """Return the first layer boundary at which a state of this rank is not finite; None if all are (collective).

        If an implicit stage was not solved, `take_failure` then returns the reason.
        """
        before, found = self.take_failure(), None
        state = real_block(initial, self.space.num_local, "initial states").copy(order="F")
        for n in range(self.grid.layers + 1):
            if n > 0:
                self.advance_in_place(state, range(n - 1, n))
            if found is None and not np.all(np.isfinite(state)):
                found = n
        if self.solver is not None and self.solver.failure is None:
            self.solver.failure = before
        return found

    def first_undefined(self, initial: Block) -> tuple[int, float, bool] | None:
        """Find the first layer where σ has no value or an infinite slope, overflow aside (collective over space).

        Returns:
            The number of the layer's end, as that of `first_bad_layer`; the preactivation, of a node in Galerkin mode
            too; and whether σ itself is finite there.  None if there is none on this rank, or the form is not
            pointwise.
        """
        if not self.equation.is_pointwise:
            return None
        state, found = initial.copy(order="F"), None
        tape, s = self.create_tape(initial.shape[1], 1), np.empty_like(state)
        for n in range(self.grid.layers):
            end = self.advance(state, tape, range(n, n + 1))
            for i, stage in enumerate(tape.stages[0]):
                np.copyto(s, self._bias_columns[self.intervals[n][i]])
                with np.errstate(**_QUIET):
                    self.kernel.apply(self.places[n][i], stage, s, keep=True)
                value, slope = self.activation.evaluate(s)
                pole = np.isinf(value) & (np.abs(s) <= 1)
                bad = (np.abs(s) < 1e100) & (np.isnan(value) | pole | (np.isfinite(value) & ~np.isfinite(slope)))
                if found is None and np.any(bad):
                    found = n + 1, float(s[bad][0]), bool(np.isfinite(value[bad][0]))
            np.copyto(state, end)
        return found

    def work(self, name: str, like: Block, count: int) -> list[Block]:
        """Return work blocks, allocated once per name and shape; their contents are undefined.

        Args:
            name: What they are used for: callers with different names get different blocks.
            like: A block of their shape.
            count: Number of blocks.
        """
        key = (name, count, *like.shape)
        if key not in self._work:
            if len(self._work) > 32:
                self._work.clear()
            self._work[key] = [np.empty(like.shape, order="F") for _ in range(count)]
        return self._work[key]

    def create_stages(self, state: Block) -> list[Block]:
        """Return blocks for the stages of a layer; the first is `state` itself if the scheme starts at the state."""
        own = self.scheme.starts_at_state
        return [state if own and i == 0 else np.empty_like(state, order="F") for i in range(self.scheme.num_stages)]

    def advance_layer(self, n: int, state: Block, stages: list[Block], *, slopes: list[Block], out: Block) -> None:
        """Advance a block by one layer and store the slopes (collective over space).

        Args:
            n: The layer.
            state: F_n, shape (num_local, J).
            stages: Blocks made by `create_stages(state)`; overwritten.
            slopes: One tape per stage; overwritten.
            out: F_{n+1}; overwritten.
        """
        with np.errstate(**_QUIET):
            self._step(n, state, stages, slopes, out, *self._step_work(out))

    # ── implicit stages ───────────────────────────────────────────────────────────────────────────────────────────

    def take_failure(self) -> str | None:
        """Return why the last failed solve of an implicit stage failed, as a sentence, or None; clear the record."""
        if self.solver is None:
            return None
        words, self.solver.failure, self.failed_layer = self.solver.failure, None, None
        return words

    def derivative(self, slopes: Block) -> Derivative:
        """Return D = Π σ'(S) of a stage from its tape."""
        return derivative_from_tape(self.superposition, slopes)

    def solve_tangent(self, n: int, i: int, derivative: Derivative, *, right: Block, out: Block) -> None:
        """`out` = (I − Δt a_ii D K)⁻¹ B for stage i of layer n (collective over space).

        Args:
            n: The layer.
            i: The stage; it is implicit.
            derivative: D.
            right: B, shape (num_local, J).
            out: Overwritten; may be `right`.
        """
        self._solve_linear(n, i, derivative, right, out, transpose=False)

    def solve_adjoint(self, n: int, i: int, derivative: Derivative, *, right: Block, out: Block) -> None:
        """`out` = (I − Δt a_ii Kᵀ Dᵀ)⁻¹ B for stage i of layer n (collective over space).

        It is the transpose of `solve_tangent`.

        Args:
            n: The layer.
            i: The stage; it is implicit.
            derivative: D.
            right: B, shape (num_local, J).
            out: Overwritten; may be `right`.
        """
        self._solve_linear(n, i, derivative, right, out, transpose=True)

    def _solve_linear(self, n: int, i: int, derivative: Derivative, right: Block, out: Block, transpose: bool) -> None:
        assert self.solver is not None
        step = self.grid.step * self.scheme.diagonal[i]
        self.solver.solve_linear(self.intervals[n][i], step, derivative, right=right, out=out, transpose=transpose)

    def solve_stage(self, n: int, i: int, state: Block, *, stage: Block) -> None:
        """Solve stage i of layer n for G_i; do nothing if the stage is explicit (collective over space).

        Args:
            n: The layer.
            i: The stage.
            state: F_n, where Newton's method starts; not changed.
            stage: H_i = F_n + Δt Σ_{j<i} a_ij R_j, overwritten by G_i.
        """
        if self.solver is not None and self.scheme.diagonal[i]:
            self.solver.solve(self.intervals[n][i], self.grid.step * self.scheme.diagonal[i], state, stage=stage)
            if self.solver.failure is not None and self.failed_layer is None:
                self.failed_layer = n + 1

    def _step_work(self, like: Block) -> tuple[list[Block], Block]:
        """Work blocks for the stage rates R_i and for S, the same in every call."""
        return self.work("rates", like, self.scheme.num_stages), self.work("preactivation", like, 1)[0]

    def _step(
        self,
        n: int,
        state: Block,
        stages: list[Block],
        slopes: list[Block] | None,
        out: Block,
        rates: list[Block],
        s: Block,
    ) -> None:
        """One layer; `out` may be `state`."""
        scheme, dt = self.scheme, self.grid.step
        if slopes is not None and self.superposition.tapes_value:
            rates = slopes  # one block for both
        for i, rate in enumerate(rates):
            if stages[i] is not state:
                combine(state, dt, scheme.lower[i], rates=rates, out=stages[i])
                self.solve_stage(n, i, state, stage=stages[i])
            np.copyto(s, self._bias_columns[self.intervals[n][i]])
            self.kernel.apply(self.places[n][i], stages[i], s, keep=True)
            if slopes is None:
                self.superposition.evaluate(s, rate)
            else:
                self.superposition.evaluate_with_tape(s, rate, slopes[i])
        self.finish_layer(state, stages, rates, out=out)

    def finish_layer(self, state: Block, stages: list[Block], rates: list[Block], *, out: Block) -> None:
        """`out` = F_{n+1}: the last stage if the scheme ends at the state, else F_n + Δt Σ_i b_i R_i.

        The last stage has less round-off than the sum, whose rates contain that of K G.

        Args:
            state: F_n, shape (num_local, J).
            stages: G_i.
            rates: R_i.
            out: Overwritten; may be `state`.
        """
        if not self.scheme.ends_at_state:
            combine(state, self.grid.step, self.scheme.b, rates=rates, out=out)
        elif out is not stages[-1]:
            np.copyto(out, stages[-1])
