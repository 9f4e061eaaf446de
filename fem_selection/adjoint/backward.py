# SPDX-License-Identifier: MIT
"""The exact discrete adjoint: a block's duals backward through the layers, and the derivative in kernel and bias.

With P = ∂J/∂F_{n+1} (a dual: Euclidean derivative in the nodal values), for the stages i = s … 1

    Q_i = (Π σ'(S_i))ᵀ ( b_i P + Σ_{j>i} a_ji Ḡ_j ),   Ḡ_i = Δt Kᵀ Q_i,
    ∂J/∂θ += Δt ∂_θ⟨K G_i, Q_i⟩,   ∂J/∂b += Δt Q_i 1,   ∂J/∂F_n = P + Σ_i Ḡ_i.

It is the transpose of the tangent step to round-off, for every scheme: no continuous adjoint is discretised.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.blas import dgemv

from fem_selection.dynamics.stepper import Stepper, Tape
from fem_selection.typing import Block, Floats

__all__ = ["mix", "sweep_back"]


def sweep_back(
    stepper: Stepper,
    tape: Tape,
    dual: Block,
    kernel_pullback: Floats | None,
    bias_dual: Floats | None,
    to_initial: bool = False,
) -> None:
    """Carry the dual of the final states back to the first layer.

    Args:
        stepper: The dynamics that wrote the tape.
        tape: What `Stepper.advance` left.
        dual: ∂J/∂F_L, overwritten; at the end ∂J/∂F_0 if `to_initial`.
        kernel_pullback: Sum of the kernel's pullbacks, added to; None to leave the kernel out.
        bias_dual: ∂J/∂b, shape (intervals, num_local), added to; None to leave the bias out.
        to_initial: Whether the last product, Kᵀ in the first layer, is wanted.
    """
    scheme, grid, kernel = stepper.scheme, stepper.grid, stepper.kernel
    dt, num_stages = grid.step, scheme.num_stages
    pulled = stepper.work("pulled", dual, num_stages)
    q, mixed = stepper.work("back", dual, 2)
    ones = np.ones(dual.shape[1])
    for n in reversed(range(grid.layers)):
        for i in reversed(range(num_stages)):
            terms = [(scheme.a[j][i], pulled[j]) for j in range(i + 1, num_stages)]
            incoming = mix(scheme.b[i], dual, terms, mixed)
            stepper.superposition.apply_transpose(tape.slopes[n][i], incoming, q)
            c = stepper.intervals[n][i]
            if kernel_pullback is not None:
                kernel.add_pullback(c, q, tape.stages[n][i], dt, kernel_pullback)
            if bias_dual is not None and ones.size:  # BLAS refuses vectors without entries
                dgemv(dt, q, ones, 1.0, bias_dual[c], overwrite_y=1)
            if n > 0 or i > 0 or to_initial:
                # the first stage is the last one needed: its term goes straight into the dual
                target = dual if i == 0 else pulled[i]
                if i > 0:
                    target.fill(0.0)
                kernel.add_transpose(c, q, dt, target)
        for g in pulled[1:]:
            dual += g


def mix(weight: float, dual: Block, terms: list[tuple[float, Block]], out: Block) -> Block:
    """b P + Σ a Ḡ: in `out`, or P itself where it is no more than that."""
    if weight == 1.0 and not terms:
        return dual
    np.multiply(dual, weight, out=out)
    for a, g in terms:
        if a != 0.0:
            out += a * g
    return out
