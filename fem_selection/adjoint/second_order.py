# SPDX-License-Identifier: MIT
"""Second derivatives of the discrete dynamics: tangent and second-order adjoint of a block, for every scheme.

In the direction δθ, δb, with the stages G_i, S_i = K G_i + b, R_i = Π σ(S_i) of a layer and P the costate,

    δS_i = K δG_i + δK G_i + δb,    δR_i = Π σ'(S_i) δS_i                                       forward, with the states
    δQ_i = (Π σ'(S_i))ᵀ δI_i + (Π σ''(S_i) δS_i)ᵀ I_i,    I_i = b_i P + Σ_{j>i} a_ji Ḡ_j          backward, with Q_i
    δḠ_i = Δt (Kᵀ δQ_i + δKᵀ Q_i),    δP⁻ = δP + Σ_i δḠ_i
    δ(∂J/∂θ) += Δt (∂_θ⟨K G_i, δQ_i⟩ + ∂_θ⟨K δG_i, Q_i⟩),    δ(∂J/∂b) += Δt δQ_i 1.

It is the derivative of `sweep_back` to round-off.  With P = 0 throughout it is the Gauss–Newton action.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg.blas import dgemv

from fem_selection.adjoint.backward import mix
from fem_selection.dynamics.stepper import Stepper, combine
from fem_selection.kernels.base import Kernel
from fem_selection.typing import Block, Floats, create_block

__all__ = ["Direction", "SecondTape", "advance_with_tangent", "sweep_back_second"]


@dataclass(frozen=True)
class Direction:
    """A direction in the controls of the dynamics.

    Attributes:
        kernel: A kernel that holds δθ (K is linear in θ); None for zero.
        bias: δb, shape (intervals, num_local); None for zero.
    """

    kernel: Kernel | None
    bias: Floats | None


class SecondTape:
    """What the second-order sweep back needs of one block: per layer and stage G, δG, σ'(S) and σ''(S) δS.

    Attributes:
        stages, d_stages: Blocks of (num_local, num_samples) as `stages[layer][stage]`; stage 0 is the layer's state.
        slopes, curvatures: Blocks of (tape_rows, num_samples), likewise.
        final, d_final: The states at T and their derivative.
    """

    def __init__(self, stepper: Stepper, num_samples: int) -> None:
        rows, points = stepper.space.num_local, stepper.superposition.tape_rows
        layers, stages = stepper.grid.layers, stepper.scheme.num_stages

        def blocks(count: int) -> list[list[Block]]:
            return [[create_block(count, num_samples) for _ in range(stages)] for _ in range(layers)]

        self.stages, self.d_stages = blocks(rows), blocks(rows)
        self.slopes, self.curvatures = blocks(points), blocks(points)
        self.final, self.d_final = create_block(rows, num_samples), create_block(rows, num_samples)


def advance_with_tangent(stepper: Stepper, initial: Block, direction: Direction, tape: SecondTape) -> None:
    """Carry a block and its derivative, zero at the start, through all layers, writing the tape."""
    scheme, dt, layers = stepper.scheme, stepper.grid.step, stepper.grid.layers
    np.copyto(tape.stages[0][0], initial)
    tape.d_stages[0][0].fill(0.0)
    rates = stepper.work("rates", initial, scheme.num_stages)
    d_rates = stepper.work("tangent rates", initial, scheme.num_stages)
    s, ds = stepper.work("second", initial, 2)
    for n in range(layers):
        stages, d_stages = tape.stages[n], tape.d_stages[n]
        for i in range(scheme.num_stages):
            c = stepper.intervals[n][i]
            if i > 0:
                combine(stages[0], dt, scheme.a[i], rates, stages[i])
                combine(d_stages[0], dt, scheme.a[i], d_rates, d_stages[i])
            np.copyto(s, stepper.bias[c][:, None])
            stepper.kernel.apply(c, stages[i], s, keep=True)
            np.copyto(ds, 0.0 if direction.bias is None else direction.bias[c][:, None])
            if n > 0 or i > 0:  # nothing has moved before
                stepper.kernel.apply(c, d_stages[i], ds, keep=True)
            if direction.kernel is not None:
                direction.kernel.apply(c, stages[i], ds, keep=True)
            stepper.superposition.evaluate_to_second(
                s, ds, rates[i], d_rates[i], tape.slopes[n][i], tape.curvatures[n][i]
            )
        last = n + 1 == layers
        combine(stages[0], dt, scheme.b, rates, tape.final if last else tape.stages[n + 1][0])
        combine(d_stages[0], dt, scheme.b, d_rates, tape.d_final if last else tape.d_stages[n + 1][0])


def sweep_back_second(
    stepper: Stepper,
    tape: SecondTape,
    dual: Block,
    d_dual: Block,
    direction: Direction,
    kernel_pullback: Floats | None,
    bias_dual: Floats | None,
    gauss_newton: bool = False,
) -> None:
    """Carry P and δP back to the first layer.

    Args:
        stepper: The dynamics.
        tape: What `advance_with_tangent` left.
        dual: P at T, overwritten; zero with `gauss_newton`.
        d_dual: δP at T, overwritten.
        direction: The direction of the tape.
        kernel_pullback: The derivative of ∂J/∂θ, added to; None to leave the kernel out.
        bias_dual: The derivative of ∂J/∂b, added to; None to leave the bias out.
        gauss_newton: Leave out all terms with P.
    """
    scheme, kernel, dt = stepper.scheme, stepper.kernel, stepper.grid.step
    transpose = stepper.superposition.apply_weights_transpose
    pulled = stepper.work("pulled", dual, scheme.num_stages)
    d_pulled = stepper.work("pulled to second", dual, scheme.num_stages)
    q, dq, other, *mixed = stepper.work("back to second", dual, 5)
    ones = np.ones(dual.shape[1])
    for n in reversed(range(stepper.grid.layers)):
        for i in reversed(range(scheme.num_stages)):
            c, later = stepper.intervals[n][i], range(i + 1, scheme.num_stages)
            d_incoming = mix(scheme.b[i], d_dual, [(scheme.a[j][i], d_pulled[j]) for j in later], mixed[1])
            transpose(tape.slopes[n][i], d_incoming, dq)
            if not gauss_newton:
                incoming = mix(scheme.b[i], dual, [(scheme.a[j][i], pulled[j]) for j in later], mixed[0])
                transpose(tape.slopes[n][i], incoming, q)
                transpose(tape.curvatures[n][i], incoming, other)
                dq += other
            if kernel_pullback is not None:
                kernel.add_pullback(c, dq, tape.stages[n][i], dt, kernel_pullback)
                if not gauss_newton:
                    kernel.add_pullback(c, q, tape.d_stages[n][i], dt, kernel_pullback)
            if bias_dual is not None and ones.size:
                dgemv(dt, dq, ones, 1.0, bias_dual[c], overwrite_y=1)
            if n == 0 and i == 0:
                break
            target, d_target = (dual, d_dual) if i == 0 else (pulled[i], d_pulled[i])
            if i > 0:
                target.fill(0.0)
                d_target.fill(0.0)
            kernel.add_transpose(c, dq, dt, d_target)
            if not gauss_newton:
                kernel.add_transpose(c, q, dt, target)
                if direction.kernel is not None:
                    direction.kernel.add_transpose(c, q, dt, d_target)
        for g, dg in zip(pulled[1:], d_pulled[1:], strict=True):
            dual += g
            d_dual += dg
