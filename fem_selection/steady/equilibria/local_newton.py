# SPDX-License-Identifier: MIT
"""Newton's equation for σ(K f + b) = 0 if K has a local part, by a sparse factorization of this part.

    (I − a F'(f)) d = −a F(f),      a large: d = F'(f)⁻¹ F(f) up to 1/(a |λ|)

Diffusion makes F' so ill-conditioned, ~ h⁻², that methods which use only products with F' and its adjoint do not find
d.  A large implicit step of the equation f' = F(f) is nearly Newton's step, and its linear system has a preconditioner.

The same step preconditions linear equations with F'; inverse iteration with it finds the eigenvalue of F' nearest to
zero.
"""

from __future__ import annotations

import numpy as np
from petsc4py import PETSc

from fem_selection.discretization.numbering import hashed_normal
from fem_selection.dynamics.field import Linearization, SelectionField
from fem_selection.dynamics.resolvent import Resolvent
from fem_selection.errors import NotConverged
from fem_selection.petsc import create_shell, set_preconditioner
from fem_selection.steady.equilibria.newton import LineSearch
from fem_selection.typing import Block, Floats

__all__ = ["LINE_SEARCH", "LocalEquation", "nearest_to_zero", "solve_linearized"]

_STEP = 1e6  # a
_ITERATIONS = 40  # of GMRES
_SOLVED = 1e-5  # residual, relative to the right-hand side, above which a system counts as singular
_ROUNDS = 30  # of inverse iteration

LINE_SEARCH = LineSearch(decrease=0.1, shortest=2.0**-9)
"""Limit of Newton's iterations with these steps: if they are slow (σ is saturated), another start is more promising."""


class LocalEquation:
    """The equation F(f) = 0 in nodal values, shape (num_local, 1); its Newton steps are large implicit steps.

    All methods are collective.

    Args:
        field: F, whose kernel has a local part.
        tolerance: ‖F‖ at which Newton's method stops.
    """

    def __init__(self, field: SelectionField, tolerance: float) -> None:
        self._field, self._tolerance = field, tolerance

    def residual(self, x: Block) -> Block:
        """F(f).  See `Equation.residual`."""
        return self._field.rate(np.asfortranarray(x))

    def newton_step(self, x: Block, residual: Block) -> tuple[Block, float]:
        """The step d with (I − a F') d = −a F, and (F, F' d), F' d = F + d/a.  See `Equation.newton_step`."""
        linearization = self._field.linearize(np.asfortranarray(x))
        resolvent = Resolvent(linearization, linearization, _STEP)
        try:
            step = -resolvent.apply(np.asfortranarray(_STEP * residual))
        finally:
            resolvent.destroy()
        return step, self.inner(residual, residual + step / _STEP)

    def inner(self, a: Block, b: Block) -> float:
        """The product in L².  See `Equation.inner`."""
        return float(self._field.space.inner(np.asfortranarray(a), np.asfortranarray(b))[0])

    def tolerance(self, x: Block) -> float:
        """The given tolerance.  See `Equation.tolerance`."""
        return self._tolerance

    def round_off(self, x: Block) -> float:
        """Ten times the change of F(f) if f is rounded to double precision.  See `Equation.round_off`."""
        noise = 1.0 + np.finfo(float).eps * hashed_normal(3, self._field.space.canonical)[:, None]
        change = self.residual(x * noise) - self.residual(x)
        return 10.0 * float(np.sqrt(self.inner(change, change)))


def solve_linearized(at: Linearization, right: Block) -> Block:
    """Solve F' x = y to round-off, column by column (collective).

    GMRES is preconditioned by −a (I − a F')⁻¹.  The product of F' and the preconditioner differs from the identity only
    on eigenvalues with |λ| not much larger than 1/a.

    Args:
        at: F', whose kernel has a local part.
        right: Nodal values of y, shape (num_local, k); not changed.

    Returns:
        Nodal values of x, shape (num_local, k).

    Raises:
        NotConverged: if a system is not solved because F' is singular, or nearly so.
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
    """|λ| of the eigenvalue of F' nearest to zero, by inverse iteration with (I − a F')⁻¹ (collective).

    For a complex pair it is a mean over the iterations.

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
