# SPDX-License-Identifier: MIT
"""The exact discrete adjoint carries a block's duals back through the layers and adds up ∂J/∂θ and ∂J/∂b.

With P = ∂J/∂F_{n+1} (a dual: Euclidean derivative in the nodal values), for the stages i = s … 1

    I_i = b_i P + Σ_{j≥i} a_ji Ḡ_j,   Q_i = (Π σ'(S_i))ᵀ I_i,   Ḡ_i = Δt Kᵀ Q_i,
    ∂J/∂θ += Δt ∂_θ⟨K G_i, Q_i⟩,   ∂J/∂b += Δt Q_i 1,   ∂J/∂F_n = P + Σ_i Ḡ_i.

For an implicit stage, a_ii ≠ 0, the first of these is a linear system for I_i,

    (I − Δt a_ii Kᵀ (Π σ'(S_i))ᵀ) I_i = b_i P + Σ_{j>i} a_ji Ḡ_j.

For every scheme this sweep is the transpose of the tangent step to round-off: the discrete equations are transposed,
and no continuous adjoint is discretised.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.blas import dgemv

from fem_selection.dynamics.stepper import Stepper
from fem_selection.dynamics.tape import Tape
from fem_selection.typing import Block, Floats

__all__ = ["mix", "step_back", "sweep_back"]


def sweep_back(
    stepper: Stepper,
    tape: Tape,
    dual: Block,
    *,
    kernel_pullback: Floats | None,
    bias_dual: Floats | None,
    to_initial: bool = False,
    incoming: list[list[Block]] | None = None,
) -> None:
    """Carry the dual of the final states back to the first layer; on a tape of some layers, through these.

    Args:
        stepper: The dynamics that wrote the tape.
        tape: The tape that `Stepper.advance` filled.
        dual: ∂J/∂F_L, shape (num_local, num_samples), overwritten; it holds ∂J/∂F_0 at the end if `to_initial`.  On a
            tape of some layers it is the dual of the state after them, and at the end of that before them.
        kernel_pullback: A pullback of the kernel (`Kernel.create_pullback`), to which this block's is added; None to
            leave the kernel out.
        bias_dual: ∂J/∂b, shape (intervals, num_local), added to; None to leave the bias out.
        to_initial: Whether to compute ∂J/∂F_0, which takes one more product, Kᵀ in the first layer.
        incoming: Blocks that receive the costates I_i as `incoming[layer][stage]`, the layers counted from the tape's
            first, overwritten; None to keep none.
    """
    sweep = stepper.compiled_for(tape.states[0])
    if sweep is not None and _fit(tape, dual, kernel_pullback, bias_dual, incoming=incoming):
        sweep.back(
            tape.states[0],
            tape.arrays,
            dual,
            layers=tape.layers,
            kernel_pullback=kernel_pullback,
            bias_dual=bias_dual,
            to_initial=to_initial,
            incoming=incoming,
        )
        return
    for k, n in reversed(list(enumerate(tape.layers))):
        step_back(
            stepper,
            n,
            tape.stages[k],
            slopes=tape.slopes[k],
            dual=dual,
            kernel_pullback=kernel_pullback,
            bias_dual=bias_dual,
            to_state=n > 0 or to_initial,
            incoming=None if incoming is None else incoming[k],
        )


def _fit(
    tape: Tape,
    dual: Block,
    kernel_pullback: Floats | None,
    bias_dual: Floats | None,
    *,
    incoming: list[list[Block]] | None,
) -> bool:
    """Whether all arrays have the layout that compiled code takes for granted."""
    blocks = [dual, *(block for row in incoming or () for block in row)]
    sums = [a for a in (kernel_pullback, bias_dual) if a is not None]
    return all(
        block.shape == tape.states[0].shape and block.dtype == np.float64 and block.flags.f_contiguous
        for block in blocks
    ) and all(a.dtype == np.float64 and a.flags.c_contiguous for a in sums)


def step_back(
    stepper: Stepper,
    n: int,
    stages: list[Block],
    *,
    slopes: list[Block],
    dual: Block,
    kernel_pullback: Floats | None,
    bias_dual: Floats | None,
    to_state: bool = True,
    incoming: list[Block] | None = None,
) -> None:
    """Carry the dual of F_{n+1} back through layer n.

    Args:
        stepper: The dynamics that wrote the tape.
        n: Number of the layer.
        stages: The stage states G_i of this layer; not used, and possibly empty, if `kernel_pullback` is None.
        slopes: The tapes of σ'(S_i) of this layer.
        dual: ∂J/∂F_{n+1}, overwritten: by ∂J/∂F_n if `to_state`, else by values that mean nothing.
        kernel_pullback: As in `sweep_back`.
        bias_dual: As in `sweep_back`.
        to_state: Whether to compute ∂J/∂F_n.
        incoming: Blocks that receive the costates I_i of the stages, overwritten; None to keep none.
    """
    scheme, dt, kernel = stepper.scheme, stepper.grid.step, stepper.kernel
    pulled = stepper.work("pulled", dual, scheme.num_stages)
    q, mixed = stepper.work("back", dual, 2)
    ones = np.ones(dual.shape[1])
    for i in reversed(range(scheme.num_stages)):
        terms = [(scheme.a[j][i], pulled[j]) for j in range(i + 1, scheme.num_stages)]
        met = mix(scheme.b[i], dual, terms, out=mixed)
        if scheme.diagonal[i]:
            stepper.solve_adjoint(n, i, stepper.derivative(slopes[i]), right=met, out=mixed)
            met = mixed
        if incoming is not None:
            np.copyto(incoming[i], met)
        stepper.superposition.apply_transpose(slopes[i], met, q)
        c, p = stepper.intervals[n][i], stepper.places[n][i]
        if kernel_pullback is not None:
            kernel.add_pullback(p, q, stages[i], scale=dt, out=kernel_pullback)
        if bias_dual is not None and ones.size:  # BLAS refuses vectors without entries
            bias_dual[c] = dgemv(dt, q, ones, 1.0, bias_dual[c], overwrite_y=1)  # a copy if the row is strided
        if to_state or i > 0:
            # the loop ends with the first stage, so its term is added to the dual at once
            target = dual if i == 0 else pulled[i]
            if i > 0:
                target.fill(0.0)
            kernel.add_transpose(p, q, dt, out=target)
    for g in pulled[1:]:
        dual += g


def mix(weight: float, dual: Block, terms: list[tuple[float, Block]], *, out: Block) -> Block:
    """Return b P + Σ a Ḡ, in `out`; or `dual` itself, not a copy, if b = 1 and there are no terms.

    Args:
        weight: b.
        dual: P, shape (num_local, num_samples).
        terms: Pairs (a, Ḡ).
        out: A block of the same shape, overwritten unless `dual` itself is returned.
    """
    if weight == 1.0 and not terms:
        return dual
    np.multiply(dual, weight, out=out)
    for a, g in terms:
        if a != 0.0:
            out += a * g
    return out
