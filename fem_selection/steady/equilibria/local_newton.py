# SPDX-License-Identifier: MIT
"""Newton's method for σ(K f + b) = 0 where K has a local part, with the sparse factorization of that part.

    (I − a F'(f)) d = a F(f),   f ← f + d,      a large: d = −F'(f)⁻¹ F(f) up to 1/(a |λ|)

Diffusion makes F' so ill-conditioned, ~ h⁻², that methods which take products with F' and its adjoint alone do not find
d.  A large implicit step of the equation f' = F(f) is nearly Newton's, and its systems have a preconditioner.

The same steps precondition linear equations with F', and find its eigenvalue nearest to zero by inverse iteration.
"""

from __future__ import annotations

import numpy as np
from petsc4py import PETSc

from fem_selection.discretization.numbering import hashed_normal
from fem_selection.dynamics.field import Linearization, SelectionField
from fem_selection.dynamics.resolvent import Resolvent
from fem_selection.errors import NotConverged
from fem_selection.petsc import create_shell, set_preconditioner
from fem_selection.typing import Block, Floats

__all__ = ["local_newton", "nearest_to_zero", "round_off", "solve_linearized"]

_STEP = 1e6  # a
_ITERATIONS = 40
_DAMPINGS = 0.5 ** np.arange(10)
_SLOW = 0.5  # a residual that falls by less than this, and is of the size of round-off, falls no further
_SOLVED = 1e-5  # of the right-hand side: with more left a system counts as singular (round-off: eps s₁ / |λ|)
_ROUNDS = 30  # of inverse iteration


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
        has_stalled = damping == 1.0 and size > _SLOW * residuals[-1] and size <= round_off(field, moved)
        f, rate = moved, new
        residuals.append(size)
        if has_stalled:
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

    GMRES with −a (I − a F')⁻¹ as its preconditioner, whose product with F' differs from the identity only where |λ| is
    not large beside 1/a.

    Raises:
        NotConverged: if y is not in the range of F', or nearly so.
    """
    space, out = at.field.space, np.zeros_like(right)
    resolvent = Resolvent(at, at, _STEP)

    def multiply(x: Floats, y: Floats) -> None:
        """y = F' x."""
        y[:] = at.apply(np.asfortranarray(x[:, None]))[:, 0]

    def nearly_solve(x: Floats, y: Floats) -> None:
        """y = −a (I − a F')⁻¹ x."""
        y[:] = -_STEP * resolvent.apply(np.asfortranarray(x[:, None]))[:, 0]

    matrix = create_shell(space.comm, space.num_local, multiply)
    x, y = matrix.createVecs()
    solver = PETSc.KSP().create(space.comm)
    try:
        solver.setOperators(matrix)
        solver.setType(PETSc.KSP.Type.FGMRES)
        set_preconditioner(solver.getPC(), nearly_solve)
        solver.setTolerances(rtol=1e-14, atol=1e-300, max_it=_ITERATIONS)
        for k in range(right.shape[1]):
            y.array[:] = right[:, k]
            x.set(0.0)
            solver.solve(y, x)
            out[:, k] = x.array_r
            defect = float(space.norm(np.asfortranarray(right[:, k : k + 1] - at.apply(out[:, k : k + 1])))[0])
            if not defect <= _SOLVED * float(space.norm(right[:, k : k + 1])[0]):
                raise NotConverged("a system with the linearization was not solved: it is singular, or nearly so")
    except PETSc.Error as error:
        raise NotConverged("a system with the linearization was not solved") from error
    finally:
        resolvent.destroy()
        for thing in (solver, matrix, x, y):
            thing.destroy()
    return out


def nearest_to_zero(at: Linearization) -> float:
    """|λ| of the eigenvalue of F' nearest to zero, by inverse iteration with (I − a F')⁻¹; a mean for a complex pair.

    Raises:
        NotConverged: if a system is not solved.
    """
    space = at.field.space
    v = np.asfortranarray(hashed_normal(5, space.canonical)[:, None])
    resolvent = Resolvent(at, at, _STEP)
    try:
        for _ in range(_ROUNDS):
            v = resolvent.apply(np.asfortranarray(v / space.norm(v)))
    finally:
        resolvent.destroy()
    return float((space.norm(at.apply(v)) / space.norm(v))[0])
