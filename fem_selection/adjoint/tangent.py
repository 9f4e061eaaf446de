# SPDX-License-Identifier: MIT
"""The exact discrete tangent: the derivative of a block's final states in initial states, kernel and bias.

    δS_i = K δG_i + δK G_i + δb,   δK = K'(θ)δθ,   δR_i = Π σ'(S_i) δS_i,
    δG_i = δF_n + Δt Σ_{j≤i} a_ij δR_j,   δF_{n+1} = δF_n + Δt Σ_i b_i δR_i

An implicit stage is the linear system (I − a Π σ' K) δG_i = δF_n + Δt Σ_{j<i} a_ij δR_j + a Π σ' (δK G_i + δb) with
a = Δt a_ii.
"""

from __future__ import annotations

import numpy as np

from fem_selection.dynamics.stepper import Stepper
from fem_selection.dynamics.tape import Tape
from fem_selection.kernels.base import KernelDirection
from fem_selection.typing import Block, Floats

__all__ = ["step_tangent", "sweep_tangent"]


def sweep_tangent(
    stepper: Stepper,
    tape: Tape,
    initial: Block | None = None,
    *,
    kernel: KernelDirection | None = None,
    bias: Floats | None = None,
) -> Block:
    """The tangent δF_L of the final states in a direction; on a tape of some layers, of the state after them.

    Args:
        stepper: The dynamics that wrote the tape.
        tape: The tape that `Stepper.advance` filled.
        initial: δF_0, of the state before the tape's layers, shape (num_local, num_samples); zero if None.
        kernel: The direction δθ of the kernel; zero if None.
        bias: δb, shape (intervals, num_local); zero if None.

    Returns:
        δF_L, a new block.
    """
    like = tape.states[-1]
    state = np.zeros_like(like, order="F") if initial is None else initial.copy(order="F")
    for n, stages, slopes in zip(tape.layers, tape.stages, tape.slopes, strict=True):
        step_tangent(stepper, n, stages, slopes=slopes, state=state, kernel=kernel, bias=bias)
    return state


def step_tangent(
    stepper: Stepper,
    n: int,
    stages: list[Block],
    *,
    slopes: list[Block],
    state: Block,
    kernel: KernelDirection | None = None,
    bias: Floats | None = None,
) -> list[Block]:
    """Carry the tangent δF_n through layer n.

    Args:
        stepper: The dynamics that wrote the tape.
        n: Number of the layer.
        stages: The stage states G_i of this layer; not used, and possibly empty, if `kernel` is None.
        slopes: The tapes of σ'(S_i) of this layer.
        state: δF_n, shape (num_local, num_samples), overwritten by δF_{n+1}.
        kernel: The direction δθ of the kernel; zero if None.
        bias: δb, shape (intervals, num_local); zero if None.

    Returns:
        The tangents δG_i of the stages, new blocks.
    """
    scheme, dt = stepper.scheme, stepper.grid.step
    rates: list[Block] = []
    moved: list[Block] = []
    s = stepper.work("tangent", state, 1)[0]
    for i in range(scheme.num_stages):
        lower = zip(scheme.lower[i], rates, strict=True)
        stage = np.asfortranarray(state + dt * sum((a * r for a, r in lower), 0.0))
        c, p = stepper.intervals[n][i], stepper.places[n][i]
        s.fill(0.0)
        if kernel is not None:
            kernel.apply(p, stages[i], s, keep=True)
        if bias is not None:
            s += bias[c][:, None]
        derivative, rate = stepper.derivative(slopes[i]), np.empty_like(s, order="F")
        if scheme.diagonal[i]:
            derivative.apply(s, rate)
            stage += dt * scheme.diagonal[i] * rate
            stepper.solve_tangent(n, i, derivative, right=stage, out=stage)
        stepper.kernel.apply(p, stage, s, keep=True)
        derivative.apply(s, rate)
        rates.append(rate)
        moved.append(stage)
    state += dt * sum((b * r for b, r in zip(scheme.b, rates, strict=True)), 0.0)
    return moved
