# SPDX-License-Identifier: MIT
"""The exact discrete tangent: how a block's final states move with the initial states, the kernel and the bias.

δS_i = K δG_i + δK G_i + δb,   δK = K'(θ)δθ,   δR_i = Π σ'(S_i) δS_i,   δF_{n+1} = δF_n + Δt Σ_i b_i δR_i
"""

from __future__ import annotations

import numpy as np

from fem_selection.dynamics.stepper import Stepper, Tape
from fem_selection.kernels.base import KernelDirection
from fem_selection.typing import Block, Floats

__all__ = ["sweep_tangent"]


def sweep_tangent(
    stepper: Stepper,
    tape: Tape,
    initial: Block | None = None,
    kernel: KernelDirection | None = None,
    bias: Floats | None = None,
) -> Block:
    """The tangent of the final states in a direction.

    Args:
        stepper: The dynamics that wrote the tape.
        tape: What `Stepper.advance` left.
        initial: δF_0; zero if None.
        kernel: The direction δθ of the kernel; zero if None.
        bias: δb, shape (intervals, num_local); zero if None.

    Returns:
        δF_L, a new block.
    """
    scheme, grid, dt = stepper.scheme, stepper.grid, stepper.grid.step
    like = tape.states[-1]
    state = np.zeros_like(like, order="F") if initial is None else initial.copy(order="F")
    s, other = np.empty_like(state, order="F"), np.empty_like(state, order="F")
    for n in range(grid.layers):
        rates: list[Block] = []
        for i in range(scheme.num_stages):
            stage = np.asfortranarray(state + dt * sum((a * r for a, r in zip(scheme.a[i], rates, strict=True)), 0.0))
            c = grid.interval(n, i)
            stepper.kernel.apply(c, stage, s)
            if kernel is not None:
                kernel.apply(c, tape.stages[n][i], other)
                s += other
            if bias is not None:
                s += bias[c][:, None]
            rate = np.empty_like(s, order="F")
            stepper.superposition.apply_derivative(tape.slopes[n][i], s, rate)
            rates.append(rate)
        state += dt * sum((b * r for b, r in zip(scheme.b, rates, strict=True)), 0.0)
    return state
