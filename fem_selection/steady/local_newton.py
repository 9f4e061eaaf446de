# SPDX-License-Identifier: MIT
"""Newton's method for σ(K f + b) = 0 where K has a local part, with the sparse factorization of that part.

    (I − a F'(f)) d = a F(f),   f ← f + d,      a large: d = −F'(f)⁻¹ F(f) up to 1/(a |λ|)

Diffusion makes F' so ill-conditioned, ~ h⁻², that methods which take products with F' and its adjoint alone do not find
d.  A large implicit step of the equation f' = F(f) is nearly Newton's, and its systems have a preconditioner.

The same steps solve linear equations, F' x = y by x ← x − a (I − a F')⁻¹ (y − F' x), whose error falls by 1/(1 + a |λ|)
each time, and find the eigenvalue nearest to zero by inverse iteration.
"""

from __future__ import annotations

import numpy as np

from fem_selection.dynamics.field import Linearization, SelectionField
from fem_selection.errors import NotConverged
from fem_selection.numbering import hashed_normal
from fem_selection.steady.resolvent import Resolvent
from fem_selection.typing import Block

__all__ = ["local_newton", "nearest_to_zero", "round_off", "solve_linearized"]

_STEP = 1e6  # a
_ITERATIONS = 40
_DAMPINGS = 0.5 ** np.arange(10)
_SLOW = 0.5  # a residual that falls by less than this has reached round-off
_SOLVED = 1e-6  # of the right-hand side: with a residual above it a system counts as singular
_ROUNDS = 30  # of inverse iteration, the last third of which is measured


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


def solve_linearized(at: Linearization, right: Block) -> Block:
    """x with F' x = y, a column at a time, to round-off (collective).

    Raises:
        NotConverged: if y is not in the range of F', or nearly so.
    """
    space, out = at.field.space, np.zeros_like(right)
    resolvent = Resolvent(at, at, _STEP)
    try:
        for k in range(right.shape[1]):
            x, y = out[:, k : k + 1], np.asfortranarray(right[:, k : k + 1])
            size, last, defect = float(space.norm(y)[0]), np.inf, y
            while (now := float(space.norm(defect)[0])) < _SLOW * last:
                x -= _STEP * resolvent.apply(defect)
                last, defect = now, np.asfortranarray(y - at.apply(np.asfortranarray(x)))
            if min(now, last) > _SOLVED * size:
                raise NotConverged(
                    f"a system with the linearization was not solved: its residual stays at {now / size:.1e} of the "
                    "right-hand side"
                )
    finally:
        resolvent.destroy()
    return out


def nearest_to_zero(at: Linearization) -> float:
    """|λ| of the eigenvalue of F' nearest to zero, from the growth of (I − a F')⁻ᵏ v, a mean for a complex pair."""
    space = at.field.space
    v = np.asfortranarray(hashed_normal(5, space.canonical)[:, None])
    growth = []
    resolvent = Resolvent(at, at, _STEP)
    try:
        for _ in range(_ROUNDS):
            v = np.asfortranarray(v / space.norm(v))
            v = resolvent.apply(v)
            growth.append(float(space.norm(v)[0]))
    finally:
        resolvent.destroy()
    mean = float(np.exp(np.mean(np.log(growth[-_ROUNDS // 3 :]))))
    return max(1.0 / mean - 1.0, 0.0) / _STEP
