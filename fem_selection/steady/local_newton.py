# SPDX-License-Identifier: MIT
"""Newton's method for σ(K f + b) = 0 where K has a local part, with the sparse factorization of that part.

    (I − a F'(f)) d = a F(f),   f ← f + d,      a large: d = −F'(f)⁻¹ F(f) up to 1/(a |λ|)

Diffusion makes F' so ill-conditioned, ~ h⁻², that methods which take products with F' and its adjoint alone do not find
d.  A large implicit step of the equation f' = F(f) is nearly Newton's, and its systems have a preconditioner.
"""

from __future__ import annotations

import numpy as np

from fem_selection.dynamics.field import SelectionField
from fem_selection.errors import NotConverged
from fem_selection.numbering import hashed_normal
from fem_selection.steady.resolvent import Resolvent
from fem_selection.typing import Block

__all__ = ["local_newton", "round_off"]

_STEP = 1e6  # a
_ITERATIONS = 40
_DAMPINGS = 0.5 ** np.arange(10)
_SLOW = 0.5  # a residual that falls by less than this has reached round-off


def local_newton(field: SelectionField, start: Block, tolerance: float) -> tuple[Block, float, list[float]] | None:
    """A steady state near a start, shape (num_local, 1), its residual, and the residuals of all iterates.

    Converged is what has a residual below the tolerance or at the level of round-off; else None (collective).
    """
    space = field.space
    f, rate = start, field.rate(start)
    residuals = [float(space.norm(rate)[0])]
    while len(residuals) <= _ITERATIONS and residuals[-1] > tolerance:
        linearization = field.linearize(f)
        resolvent = Resolvent(linearization, linearization, _STEP)
        try:
            step = resolvent.apply(np.asfortranarray(_STEP * rate))
        except NotConverged:
            break
        finally:
            resolvent.destroy()
        for damping in _DAMPINGS:
            moved = np.asfortranarray(f + damping * step)
            new = field.rate(moved)
            size = float(space.norm(new)[0])
            if size < (1 - 0.1 * damping) * residuals[-1]:
                break
        else:
            break
        is_slow = damping == 1.0 and size > _SLOW * residuals[-1]
        f, rate = moved, new
        residuals.append(size)
        if is_slow:
            break
    if not residuals[-1] <= max(tolerance, round_off(field, f)):
        return None
    return f, residuals[-1], residuals


def round_off(field: SelectionField, f: Block) -> float:
    """What the rounding of f alone may change of ‖F(f)‖, generously (collective)."""
    noise = 1.0 + np.finfo(float).eps * hashed_normal(3, field.space.canonical)[:, None]
    return 10.0 * float(
        field.space.norm(np.asfortranarray(field.rate(np.asfortranarray(f * noise)) - field.rate(f)))[0]
    )
