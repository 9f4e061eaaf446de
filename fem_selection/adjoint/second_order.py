# SPDX-License-Identifier: MIT
"""Second derivatives of the discrete dynamics: tangent and second-order adjoint of a block, for every scheme.

These are computed once for all directions, from the stages G_i, S_i = K G_i + b of a layer and the costate P (see
`sweep_back`),

    I_i = b_i P + Σ_{j≥i} a_ji Ḡ_j,    Q_i = (Π σ'(S_i))ᵀ I_i,    C_i = σ''(S_i) I_i            `linearize_adjoint`

(in Galerkin mode C_i is taken at the quadrature points), and these in each direction δθ, δb, with δK = K'(θ)δθ,

    δS_i = K δG_i + δK G_i + δb,    δR_i = Π σ'(S_i) δS_i                                    `advance_with_tangent`
    δQ_i = (Π σ'(S_i))ᵀ δI_i + C_i δS_i,    δḠ_i = Δt (Kᵀ δQ_i + δKᵀ Q_i)                       `sweep_back_second`
    δ(∂J/∂θ) += Δt (∂_θ⟨K G_i, δQ_i⟩ + ∂_θ⟨K δG_i, Q_i⟩ + ∂²_θθ⟨K G_i, Q_i⟩ δθ),    δ(∂J/∂b) += Δt δQ_i 1,

where the term with ∂² is zero, and not computed, if K is linear in θ.

An implicit stage, a = Δt a_ii ≠ 0, takes one linear solve forward and one back, with D = Π σ'(S_i):

    (I − a D K) δG_i = δF_n + Δt Σ_{j<i} a_ij δR_j + a D (δK G_i + δb)
    (I − a Kᵀ Dᵀ) (δI_i − δI°) = a Kᵀ (Dᵀ δI° + C_i δS_i) + a δKᵀ Q_i,    δI° = b_i δP + Σ_{j>i} a_ji δḠ_j.

On a tape of some layers each of these goes through the tape's layers alone (`adjoint.second_sweep`).

The result is the derivative of `sweep_back` to round-off.  Each stage takes six products with K or operators of the
same cost, and no evaluation of σ.  With P = 0 throughout it is the Gauss–Newton action: four products a stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg.blas import dgemv

from fem_selection.adjoint.backward import mix
from fem_selection.dynamics.schemes import Scheme, combine
from fem_selection.dynamics.stepper import Stepper
from fem_selection.dynamics.superposition import Derivative, derivative_from_slope
from fem_selection.dynamics.tape import Allocate, Tape, allocate
from fem_selection.kernels.base import KernelDirection
from fem_selection.typing import Block, Floats

__all__ = [
    "Direction",
    "SecondTape",
    "advance_with_tangent",
    "linearize_adjoint",
    "linearize_forward",
    "sweep_back_second",
]


@dataclass(frozen=True)
class Direction:
    """A direction in the controls of the dynamics.

    Attributes:
        kernel: The direction δθ of the kernel; None for zero.
        bias: δb, shape (intervals, num_local); None for zero.
    """

    kernel: KernelDirection | None
    bias: Floats | None


class SecondTape(Tape):
    """A tape of one block at one control for actions of the Hessian; its slopes are σ'(S) itself, and it keeps C and Q.

    Args:
        stepper: The dynamics.
        num_samples: Number of samples of the block.
        gauss_newton: Whether to leave out C and Q.
        layers: Largest number of layers; all layers if None.
        allocate: What gives memory.

    Attributes:
        curvatures: C as `curvatures[k][stage]`, k counted from the first layer; an empty list with `gauss_newton`.
        duals: Q as `duals[k][stage]`; an empty list with `gauss_newton`.
    """

    def __init__(
        self,
        stepper: Stepper,
        num_samples: int,
        gauss_newton: bool,
        *,
        layers: int | None = None,
        allocate: Allocate = allocate,
    ) -> None:
        rows, points = stepper.space.num_local, stepper.superposition.tape_rows
        layers, stages = stepper.grid.layers if layers is None else layers, stepper.scheme.num_stages
        super().__init__(rows, points, num_samples, layers=layers, scheme=stepper.scheme, allocate=allocate)
        self.gauss_newton = gauss_newton
        self.curvatures: list[list[Block]] = []
        self.duals: list[list[Block]] = []
        if not gauss_newton:
            curvatures = allocate("curvatures", (layers, stages, num_samples, points))
            duals = allocate("duals", (layers, stages, num_samples, rows))
            self.curvatures = [[c.T for c in layer] for layer in curvatures]
            self.duals = [[q.T for q in layer] for layer in duals]

    @staticmethod
    def size(stepper: Stepper, num_samples: int, gauss_newton: bool) -> int:
        """The number of bytes that such a tape takes, computed without creating one.

        Args:
            stepper: The dynamics.
            num_samples: Number of samples of the block.
            gauss_newton: Whether C and Q are left out.
        """
        rows, points, layers = stepper.space.num_local, stepper.superposition.tape_rows, stepper.grid.layers
        return (
            num_samples
            * layers
            * SecondTape.bytes_of_layer_to_second(rows, points, stepper.scheme, gauss_newton=gauss_newton)
        )

    @staticmethod
    def bytes_of_layer_to_second(rows: int, tape_rows: int, scheme: Scheme, *, gauss_newton: bool) -> int:
        """Return the bytes that a layer takes for each sample.

        Args:
            rows: Number of owned nodes.
            tape_rows: Rows of the superposition's tape.
            scheme: The Runge–Kutta scheme.
            gauss_newton: Whether C and Q are left out.
        """
        more = 0 if gauss_newton else 8 * scheme.num_stages * (tape_rows + rows)
        return Tape.bytes_of_layer(rows, tape_rows, scheme) + more


def linearize_forward(
    stepper: Stepper, initial: Block, tape: SecondTape, *, layers: range | None = None, to_second: bool = True
) -> Block:
    """Carry a block through consecutive layers and record G, σ' and σ'', which Gauss–Newton's tape lacks, on the tape.

    Args:
        stepper: The dynamics, holding the control.
        initial: The state before them, shape (num_local, num_samples); the tape keeps it by reference.
        tape: Overwritten; its `curvatures` hold σ''(S) until `linearize_adjoint` turns them into C.
        layers: Their numbers; all layers if None.
        to_second: Whether σ'' is recorded; if not, the tape serves `advance_with_tangent` without costates alone.

    Returns:
        The state after them, a block of the tape.
    """
    scheme, dt = stepper.scheme, stepper.grid.step
    tape.start(initial, range(stepper.grid.layers) if layers is None else layers)
    rates, s = stepper.work("rates", initial, scheme.num_stages), stepper.work("preactivation", initial, 1)[0]
    for k, n in enumerate(tape.layers):
        state, stages = tape.states[k], tape.stages[k]
        for i, rate in enumerate(rates):
            if stages[i] is not state:
                combine(state, dt, scheme.lower[i], rates=rates, out=stages[i])
                stepper.solve_stage(n, i, state, stage=stages[i])
            c, p = stepper.intervals[n][i], stepper.places[n][i]
            np.copyto(s, stepper.bias[c][:, None])
            stepper.kernel.apply(p, stages[i], s, keep=True)
            curvature = None if tape.gauss_newton or not to_second else tape.curvatures[k][i]
            stepper.superposition.evaluate_to_second(s, rate, tape.slopes[k][i], curvature=curvature)
        stepper.finish_layer(state, stages, rates, out=tape.states[k + 1])
    return tape.states[-1]


def linearize_adjoint(stepper: Stepper, tape: SecondTape, dual: Block) -> None:
    """Carry P back through the tape's layers and record C and Q on the tape.

    Args:
        stepper: The dynamics, holding the same control as in `linearize_forward`.
        tape: The tape that `linearize_forward` filled; its `curvatures` and `duals` are overwritten by C and Q.
        dual: P after the last of them, shape (num_local, num_samples), overwritten by P before the first,
            unless that is layer 0.
    """
    scheme, dt = stepper.scheme, stepper.grid.step
    pulled, mixed = stepper.work("pulled", dual, scheme.num_stages), stepper.work("back", dual, 2)[1]
    for k, n in reversed(list(enumerate(tape.layers))):
        for i in reversed(range(scheme.num_stages)):
            q = tape.duals[k][i]
            terms = [(scheme.a[j][i], pulled[j]) for j in range(i + 1, scheme.num_stages)]
            incoming = mix(scheme.b[i], dual, terms, out=mixed)
            if scheme.diagonal[i]:
                stepper.solve_adjoint(n, i, _derivative(stepper, tape, k, i), right=incoming, out=mixed)
                incoming = mixed
            stepper.superposition.transpose_to_second(tape.slopes[k][i], tape.curvatures[k][i], incoming, out=q)
            if n == 0 and i == 0:
                return
            target = dual if i == 0 else pulled[i]
            if i > 0:
                target.fill(0.0)
            stepper.kernel.add_transpose(stepper.places[n][i], q, dt, out=target)
        for g in pulled[1:]:
            dual += g


def advance_with_tangent(
    stepper: Stepper,
    tape: SecondTape,
    direction: Direction,
    *,
    kernel_pullback: Floats | None,
    tangent: Block | None = None,
    with_costates: bool = True,
) -> tuple[Block, list[Block]]:
    """Carry the tangent δF of a block through the tape's layers.

    Args:
        stepper: The dynamics.
        tape: The tape that `linearize_forward` and, unless it is Gauss–Newton's, `linearize_adjoint` filled.
        direction: δθ and δb.
        kernel_pullback: δ(∂J/∂θ) as a pullback, to which Δt ∂_θ⟨K δG, Q⟩ is added; None to leave the kernel out.
        tangent: δF before these layers, shape (num_local, num_samples); zero if None.
        with_costates: Whether C and Q are on the tape; without them, as for Gauss–Newton's, only δF is computed.

    Returns:
        δF after these layers and, for `sweep_back_second`, C δS of all stages.  Both are work blocks that the next call
        overwrites.
    """
    scheme, kernel, dt, count = stepper.scheme, stepper.kernel, stepper.grid.step, stepper.scheme.num_stages
    state, ds, *work = stepper.work("tangent", tape.states[-1], 2 * count + 2)
    d_stages, d_rates = [state, *work[1:count]] if scheme.starts_at_state else work[:count], work[count:]
    turns: list[Block] = []
    if with_costates and not tape.gauss_newton:
        turns = stepper.work("turns", tape.slopes[0][0], len(tape.curvatures) * count)
    np.copyto(state, 0.0 if tangent is None else tangent)
    for k, n in enumerate(tape.layers):
        for i in range(count):
            c, p = stepper.intervals[n][i], stepper.places[n][i]
            np.copyto(ds, 0.0 if direction.bias is None else direction.bias[c][:, None])
            if direction.kernel is not None:
                direction.kernel.apply(p, tape.stages[k][i], ds, keep=True)
            if d_stages[i] is not state:
                combine(state, dt, scheme.lower[i], rates=d_rates, out=d_stages[i])
            if scheme.diagonal[i]:
                derivative = _derivative(stepper, tape, k, i)
                derivative.apply(ds, d_rates[i])
                d_stages[i] += (dt * scheme.diagonal[i]) * d_rates[i]
                stepper.solve_tangent(n, i, derivative, right=d_stages[i], out=d_stages[i])
            if n > 0 or i > 0 or scheme.diagonal[i]:  # else δG = 0
                kernel.apply(p, d_stages[i], ds, keep=True)
                if turns and kernel_pullback is not None:
                    kernel.add_pullback(p, tape.duals[k][i], d_stages[i], scale=dt, out=kernel_pullback)
            curvature, turn = (tape.curvatures[k][i], turns[k * count + i]) if turns else (None, None)
            stepper.superposition.move(tape.slopes[k][i], curvature, ds, out=d_rates[i], turn=turn)
        combine(state, dt, scheme.b, rates=d_rates, out=state)
    return state, turns


def sweep_back_second(
    stepper: Stepper,
    tape: SecondTape,
    turns: Sequence[Block],
    *,
    d_dual: Block,
    direction: Direction,
    kernel_pullback: Floats | None,
    bias_dual: Floats | None,
) -> None:
    """Carry δP back through the tape's layers, and add up δ(∂J/∂θ) and δ(∂J/∂b).

    Args:
        stepper: The dynamics.
        tape: As in `advance_with_tangent`.
        turns: C δS from `advance_with_tangent`.
        d_dual: δP after the last of them, shape (num_local, num_samples), overwritten by δP before the first, unless
            that is layer 0.
        direction: δθ and δb.
        kernel_pullback: δ(∂J/∂θ) as a pullback, to which the terms that `advance_with_tangent` has not added are added;
            None to leave the kernel out.
        bias_dual: δ(∂J/∂b), shape (intervals, num_local), added to; None to leave the bias out.
    """
    scheme, kernel, dt, count = stepper.scheme, stepper.kernel, stepper.grid.step, stepper.scheme.num_stages
    dq, mixed, *d_pulled = stepper.work("back to second", d_dual, 2 + count)
    ones = np.ones(d_dual.shape[1])
    bilinear = direction.kernel if turns and not kernel.is_linear else None
    for k, n in reversed(list(enumerate(tape.layers))):
        for i in reversed(range(count)):
            c, p = stepper.intervals[n][i], stepper.places[n][i]
            terms = [(scheme.a[j][i], d_pulled[j]) for j in range(i + 1, count)]
            d_incoming = mix(scheme.b[i], d_dual, terms, out=mixed)
            turn = turns[k * count + i] if turns else None
            if scheme.diagonal[i]:
                d_incoming = _solve_second(stepper, tape, k, i, turn, d_incoming, direction, dq)
            stepper.superposition.move_transpose(tape.slopes[k][i], turn, d_incoming, out=dq)
            if kernel_pullback is not None:
                kernel.add_pullback(p, dq, tape.stages[k][i], scale=dt, out=kernel_pullback)
                if bilinear is not None:
                    bilinear.add_second_pullback(p, tape.duals[k][i], tape.stages[k][i], scale=dt, out=kernel_pullback)
            if bias_dual is not None and ones.size:
                dgemv(dt, dq, ones, 1.0, bias_dual[c], overwrite_y=1)
            if n == 0 and i == 0:
                return
            target = d_dual if i == 0 else d_pulled[i]
            if i > 0:
                target.fill(0.0)
            kernel.add_transpose(p, dq, dt, out=target)
            if turns and direction.kernel is not None:
                direction.kernel.add_transpose(p, tape.duals[k][i], dt, out=target)
        for g in d_pulled[1:]:
            d_dual += g


def _solve_second(
    stepper: Stepper,
    tape: SecondTape,
    k: int,
    i: int,
    turn: Block | None,
    d_incoming: Block,
    direction: Direction,
    work: Block,
) -> Block:
    """Return δI_i of an implicit stage of the tape's k-th layer, from δI° = b_i δP + Σ_{j>i} a_ji δḠ_j."""
    n = tape.layers[k]
    step, p = stepper.grid.step * stepper.scheme.diagonal[i], stepper.places[n][i]
    right = stepper.work("right to second", work, 1)[0]
    right.fill(0.0)
    stepper.superposition.move_transpose(tape.slopes[k][i], turn, d_incoming, out=work)
    stepper.kernel.add_transpose(p, work, step, out=right)
    if turn is not None and direction.kernel is not None:
        direction.kernel.add_transpose(p, tape.duals[k][i], step, out=right)
    stepper.solve_adjoint(n, i, _derivative(stepper, tape, k, i), right=right, out=right)
    right += d_incoming
    return right


def _derivative(stepper: Stepper, tape: SecondTape, k: int, i: int) -> Derivative:
    return derivative_from_slope(stepper.superposition, tape.slopes[k][i])
