# SPDX-License-Identifier: MIT
"""Newton's method for σ(K f + b) = 0 with steps of minimal norm, by SNES and LSQR.

    F'(f) d = −F(f),   d of minimal L² norm,   F'(f) = Π σ'(K f + b) K

F' is singular on ker K, where nothing can be known about f.  LSQR needs F' and its adjoint only and returns the step
that is orthogonal to ker F'; where σ'(g) has no zero this is ker K, so that all iterates differ from the start by
elements of (ker K)^⊥, and the limit is the point of its family f* + ker K that is nearest to the start.  Convergence is
quadratic where σ'(g*) has no zero and F lies in the range of F'.

Known solutions g_i = K f_i + b are *deflated*: Newton is applied to m(f) F(f),

    m(f) = Π_i ( 1 / ‖g − g_i‖² + 1 ),

which does not vanish there.  Distances are those of g, in which all members of a family coincide.  A kernel with a
local part first has `local_newton`, which solves for d by its sparse factorization.

References:
    P. Farrell, Á. Birkisson, S. Funke, SIAM J. Sci. Comput. 37 (2015) A2026, doi:10.1137/140984798 (deflation).
    C. Paige, M. Saunders, ACM Trans. Math. Softw. 8 (1982) 43, doi:10.1145/355984.355989 (LSQR).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from petsc4py import PETSc

from fem_selection.dynamics.field import Linearization, SelectionField
from fem_selection.dynamics.resolvent import has_local_part
from fem_selection.kernels.base import KernelOperator
from fem_selection.linalg.coordinates import IsometricCoordinates, IsometricOperator
from fem_selection.petsc import options, snes_reason, unique_prefix
from fem_selection.settings import NewtonSettings
from fem_selection.steady.equilibria.local_newton import local_newton
from fem_selection.typing import Block, Floats

__all__ = ["NewtonResult", "solve_newton"]

_INNER_TOLERANCE = 1e-10  # of LSQR, relative to the residual
_INNER_ITERATIONS = 400  # of LSQR; a step that this cuts short is used all the same
_NEAR = 1e-24  # squared distance of g below which m grows no more

_AT_ROUND_OFF = "the residual is at the level of round-off"


@dataclass(frozen=True)
class NewtonResult:
    """Where Newton's method ended.

    Attributes:
        state: Nodal values of f, shape (space.num_local,).
        residual: ‖σ(K f + b)‖.
        residuals: ‖m F‖ at every iterate, m = 1 without deflation.
        converged: Whether the residual is below the tolerance.
        reason: In words.
        distance: ‖f − f₀‖ from the start.
    """

    state: Floats
    residual: float
    residuals: tuple[float, ...]
    converged: bool
    reason: str
    distance: float


def solve_newton(
    field: SelectionField,
    start: Floats,
    settings: NewtonSettings | None = None,
    known: Sequence[Floats] = (),
    coordinates: IsometricCoordinates | None = None,
) -> NewtonResult:
    """A steady state near a start (collective).

    Args:
        field: The right-hand side, not depending on time.
        start: Nodal values of f₀, shape (num_local,).
        settings: When to stop.
        known: Nodal values of steady states to keep away from.
        coordinates: Those of the space, if they are there already.
    """
    settings = NewtonSettings() if settings is None else settings
    c = IsometricCoordinates(field.space) if coordinates is None else coordinates
    first = c.to_euclidean(np.asfortranarray(start[:, None]))
    block = np.asfortranarray(start[:, None])
    if (
        not known
        and has_local_part(field.kernel, field.interval)
        and (f := local_newton(field, block, settings.residual))
    ):
        away = c.norm(c.to_euclidean(f[0]) - first)
        below = snes_reason(PETSc.SNES.ConvergedReason.CONVERGED_FNORM_ABS)
        reason = below if f[1] <= settings.residual else _AT_ROUND_OFF
        return NewtonResult(f[0][:, 0], f[1], tuple(f[2]), True, reason, away)
    problem = _Deflated(field, c, known)
    residuals: list[float] = []
    x, code = _run_snes(problem, first, settings, residuals)
    state = c.to_function(x)
    residual = c.norm(c.to_euclidean(field.rate(state)))
    converged = bool(residual <= settings.residual)
    reason = _AT_ROUND_OFF if converged and code < 0 else snes_reason(code)
    return NewtonResult(state[:, 0], residual, tuple(residuals), converged, reason, c.norm(x - first))


def _run_snes(problem: _Deflated, first: Block, settings: NewtonSettings, residuals: list[float]) -> tuple[Block, int]:
    """The last iterate and SNES's reason; residual norms are appended."""
    c = problem.coordinates
    prefix = unique_prefix("newton")
    solver = PETSc.SNES().create(c.space.comm)
    x, r = c.create_vector(first), c.create_vector()
    jacobian = c.create_matrix(problem)
    try:
        solver.setOptionsPrefix(prefix)
        solver.setFunction(problem.function, r)
        solver.setJacobian(problem.refresh, jacobian, jacobian)
        solver.setTolerances(rtol=0.0, atol=settings.residual, stol=0.0, max_it=settings.max_iterations)
        solver.setMonitor(lambda _, __, norm: residuals.append(float(norm)))
        inner: dict[str, str | float | bool | None] = {
            "ksp_type": "lsqr",
            "pc_type": "none",
            "ksp_rtol": _INNER_TOLERANCE,
            "ksp_max_it": _INNER_ITERATIONS,
            "snes_max_linear_solve_fail": settings.max_iterations + 1,
            "snes_linesearch_type": "bt",
        }
        with options(prefix, inner):
            solver.setFromOptions()
        solver.solve(None, x)
        return x.array_r[:, None].copy(order="F"), int(solver.getConvergedReason())
    finally:
        for thing in (solver, jacobian, x, r):
            thing.destroy()


class _Deflated:
    """x ↦ m(f) F(f) in isometric coordinates, and its derivative m F' + F ∇mᵀ."""

    def __init__(self, field: SelectionField, coordinates: IsometricCoordinates, known: Sequence[Floats]) -> None:
        self.coordinates, self._field = coordinates, field
        self._kernel = IsometricOperator(coordinates, KernelOperator(field.kernel))
        self._known = [self._pattern(np.asfortranarray(f[:, None])) for f in known]
        self._jacobian: IsometricOperator | None = None
        self._factor, self._rate, self._turn = 1.0, np.empty((0, 1)), np.empty((0, 1))

    def _pattern(self, f: Block) -> Block:
        """K f, which g is up to b."""
        return self.coordinates.to_euclidean(self._kernel.operator.apply(f))

    def function(self, _: PETSc.SNES, x: PETSc.Vec, out: PETSc.Vec) -> None:
        """m F."""
        f = self.coordinates.to_function(x.array_r[:, None])
        rate = self.coordinates.to_euclidean(self._field.rate(f))
        out.array[:] = self._deflation(f)[0] * rate[:, 0]

    def refresh(self, _: PETSc.SNES, x: PETSc.Vec, matrix: PETSc.Mat, __: PETSc.Mat) -> None:
        """Linearize at x."""
        f = self.coordinates.to_function(x.array_r[:, None])
        at: Linearization = self._field.linearize(f)
        self._jacobian = IsometricOperator(self.coordinates, at)
        self._rate = self.coordinates.to_euclidean(at.rate)
        self._factor, turn = self._deflation(f)
        self._turn = self._kernel.apply_adjoint(turn) if self._known else turn
        matrix.assemble()

    def _deflation(self, f: Block) -> tuple[float, Block]:
        """m, and ∇m as a functional of g."""
        c = self.coordinates
        factors, slopes = [], []
        here = self._pattern(f) if self._known else np.zeros((c.num_local, 1))
        for pattern in self._known:
            away = here - pattern
            squared = max(c.inner(away, away), _NEAR)
            factors.append(1.0 / squared + 1.0)
            slopes.append(away * (-2.0 / squared**2))
        m = float(np.prod(factors)) if factors else 1.0
        turn = np.zeros((c.num_local, 1))
        for factor, slope in zip(factors, slopes, strict=True):
            turn += (m / factor) * slope
        return m, turn

    def apply(self, x: Block) -> Block:
        """(m F' + F ∇mᵀ) x, shape (num_local, 1)."""
        assert self._jacobian is not None
        result = self._factor * self._jacobian.apply(x)
        if self._known:
            result += self._rate * self.coordinates.inner(self._turn, x)
        return result

    def apply_adjoint(self, x: Block) -> Block:
        """(m F'ᵀ + ∇m Fᵀ) x."""
        assert self._jacobian is not None
        result = self._factor * self._jacobian.apply_adjoint(x)
        if self._known:
            result += self._turn * self.coordinates.inner(self._rate, x)
        return result
