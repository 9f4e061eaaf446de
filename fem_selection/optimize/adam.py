# SPDX-License-Identifier: MIT
"""One step of Adam on a shard, in place, in one pass over memory.

    m ← β₁ m + g,   v ← β₂ v + g²,   x ← x − η m / (√v + ε)

Here m and v are the moments divided by 1 − β, and η and ε have the factors that make up for this and for the start from
zero.  The pass is a compiled loop; without a compiler NumPy makes nine passes.  The two agree to round-off.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import ufl

from fem_selection.functions.callables import Symbol
from fem_selection.functions.programs import SMALLEST, BlockProgram
from fem_selection.linalg.blas import add_scaled
from fem_selection.typing import Floats

__all__ = ["step_by_adam"]


def step_by_adam(
    x: Floats,
    first: Floats,
    second: Floats,
    *,
    gradient: Floats,
    decays: tuple[float, float],
    length: float,
    epsilon: float,
    work: Floats,
) -> None:
    """Move x and its moments by one step.

    Args:
        x: Contiguous, shape (n,); overwritten, as are the next two.
        first: m.
        second: v.
        gradient: g, contiguous.
        decays: β₁ and β₂.
        length: η.
        epsilon: ε.
        work: Overwritten.
    """
    numbers = *map(float, decays), float(length), float(epsilon)
    loop = _program().loop if x.size >= SMALLEST else None
    if loop is not None and loop((x, first, second, gradient, *numbers, x, first, second)):
        return
    first *= decays[0]
    first += gradient
    second *= decays[1]
    np.multiply(gradient, gradient, out=work)
    second += work
    np.sqrt(second, out=work)
    work += epsilon
    np.divide(first, work, out=work)
    add_scaled(-length, work, x)


@cache
def _program() -> BlockProgram:
    x, first, second, gradient, decay, second_decay, length, epsilon = symbols = [Symbol(f"adam{k}") for k in range(8)]
    moved = decay * first + gradient
    grown = second_decay * second + gradient * gradient
    new = x - length * moved / (ufl.sqrt(grown) + epsilon)
    return BlockProgram((new, moved, grown), *symbols, numbers=4, compiled=True)
