# SPDX-License-Identifier: MIT
"""Newton's equation for σ(K f + b) = 0: steps of minimal norm, and deflation of known states.

    F'(f) d = F(f),   d of minimal L² norm,   F'(f) = Π σ'(K f + b) K

F' is singular on ker K, on which F does not depend.  LSQR needs only products with F' and its adjoint, and returns the
step that is orthogonal to ker F'.  If σ'(g) has no zero, ker F' = ker K.  Then all iterates differ from the start by
elements of (ker K)^⊥, and the limit is the point of its family f* + ker K that is nearest to the start.  Convergence is
quadratic if σ'(g*) has no zero and F lies in the range of F'.

Known states f_i, with g_i = K f_i + b, are *deflated*: Newton's method is applied to m(f) F(f),

    m(f) = Π_i ( 1 / ‖g − g_i‖² + 1 ),

which does not vanish at the known states.  Distances are measured in g, in which all members of a family coincide.

References:
    P. Farrell, Á. Birkisson, S. Funke, SIAM J. Sci. Comput. 37 (2015) A2026, doi:10.1137/140984798 (deflation).
    C. Paige, M. Saunders, ACM Trans. Math. Softw. 8 (1982) 43, doi:10.1145/355984.355989 (LSQR).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from petsc4py import PETSc

from fem_selection.dynamics.field import SelectionField
from fem_selection.kernels.base import KernelOperator
from fem_selection.linalg.coordinates import IsometricCoordinates, IsometricOperator
from fem_selection.petsc import options, released, unique_prefix
from fem_selection.typing import Block, Floats

__all__ = ["MinimalNormEquation", "is_known", "push_away"]

_INNER_TOLERANCE = 1e-10  # of LSQR, relative to the residual
_INNER_ITERATIONS = 400  # of LSQR; a step is used even if this limit ends its computation
_NEAR = 1e-24  # squared distance of g below which m grows no further
_SAME = 1e-6  # of 1 + ‖g‖: the distance of g within which two states are the same
_PUSH = 0.1


class MinimalNormEquation:
    """The equation m(f) F(f) = 0 in isometric coordinates x = Q f, shape (coordinates.num_local, 1) (collective).

    Args:
        field: F.
        coordinates: The isometric coordinates of its space.
        tolerance: ‖m F‖ at which Newton's method stops.
        known: Nodal values of the states f_i; m = 1 without any.
    """

    def __init__(
        self,
        field: SelectionField,
        coordinates: IsometricCoordinates,
        tolerance: float,
        *,
        known: Sequence[Floats] = (),
    ) -> None:
        self._coordinates, self._field, self._tolerance = coordinates, field, tolerance
        self._kernel = IsometricOperator(coordinates=coordinates, operator=KernelOperator(field.kernel, field.interval))
        self._known = [self._pattern(np.asfortranarray(f[:, None])) for f in known]

    def residual(self, x: Block) -> Block:
        """m(f) Q F(f).  See `Equation.residual`."""
        f = self._coordinates.to_function(x)
        return self._deflation(f)[0] * self._coordinates.to_euclidean(self._field.rate(f))

    def newton_step(self, x: Block, residual: Block) -> tuple[Block, float]:
        """The step d of minimal norm by LSQR, and (m F, (m F)' d).  See `Equation.newton_step`."""
        c = self._coordinates
        f = c.to_function(x)
        at = self._field.linearize(f)
        factor, turn = self._deflation(f)
        derivative = IsometricOperator(coordinates=c, operator=at)
        jacobian: IsometricOperator | _Deflated = derivative
        if self._known:
            jacobian = _Deflated(derivative, factor, c.to_euclidean(at.rate), self._kernel.apply_adjoint(turn))
        step = _least_squares(c, jacobian, residual)
        return step, self.inner(residual, jacobian.apply(step))

    def inner(self, a: Block, b: Block) -> float:
        """The product of coordinates, which equals that of functions in L².  See `Equation.inner`."""
        return self._coordinates.inner(a, b)

    def tolerance(self, x: Block) -> float:
        """The given tolerance.  See `Equation.tolerance`."""
        return self._tolerance

    def round_off(self, x: Block) -> float:
        """The given tolerance: no larger residual counts as zero.  See `Equation.round_off`."""
        return self._tolerance

    def _pattern(self, f: Block) -> Block:
        """Q K f = Q (g − b)."""
        return self._coordinates.to_euclidean(self._kernel.operator.apply(f))

    def _deflation(self, f: Block) -> tuple[float, Block]:
        """m, and the gradient of m with respect to g."""
        c = self._coordinates
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


class _Deflated:
    """The operator m F' + F ∇mᵀ in isometric coordinates."""

    def __init__(self, derivative: IsometricOperator, factor: float, rate: Block, turn: Block) -> None:
        self._derivative, self._factor, self._rate, self._turn = derivative, factor, rate, turn

    def apply(self, x: Block) -> Block:
        """(m F' + F ∇mᵀ) x."""
        inner = self._derivative.coordinates.inner
        return self._factor * self._derivative.apply(x) + self._rate * inner(self._turn, x)

    def apply_adjoint(self, x: Block) -> Block:
        """(m F'ᵀ + ∇m Fᵀ) x."""
        inner = self._derivative.coordinates.inner
        return self._factor * self._derivative.apply_adjoint(x) + self._turn * inner(self._rate, x)


def _least_squares(c: IsometricCoordinates, operator: IsometricOperator | _Deflated, right: Block) -> Block:
    """The x of least norm that minimises |Â x − y|, by LSQR (collective)."""
    prefix = unique_prefix("newton")
    solver = PETSc.KSP().create(c.space.comm)
    matrix, x, y = c.create_matrix(operator), c.create_vector(), c.create_vector(right)
    with released(solver, matrix, x, y):
        solver.setOptionsPrefix(prefix)
        solver.setOperators(matrix)
        with options(prefix, {"ksp_type": "lsqr", "pc_type": "none"}):
            solver.setFromOptions()
        solver.setTolerances(rtol=_INNER_TOLERANCE, max_it=_INNER_ITERATIONS)
        solver.solve(y, x)
        return x.array_r[:, None].copy(order="F")


def is_known(
    field: SelectionField, state: Floats, known: Sequence[Floats], *, coordinates: IsometricCoordinates
) -> bool:
    """Whether f has the same K f + b as a known state, up to a millionth of 1 + ‖K f + b‖ (collective).

    Args:
        field: The right-hand side, which gives K and b.
        state: Nodal values of f, shape (num_local,).
        known: Nodal values of the known states.
        coordinates: The isometric coordinates of the space.
    """
    c = coordinates
    here = c.to_euclidean(field.preactivation(state[:, None].copy(order="F")))
    for other in known:
        there = c.to_euclidean(field.preactivation(other[:, None].copy(order="F")))
        if c.norm(here - there) <= _SAME * (1.0 + c.norm(here)):
            return True
    return False


def push_away(start: Floats, coordinates: IsometricCoordinates) -> Floats:
    """Move a start by a tenth of 1 + ‖f₀‖ in a random direction, since m is infinite at a known state (collective).

    Args:
        start: Nodal values of f₀, shape (num_local,); not changed.
        coordinates: The isometric coordinates of the space.

    Returns:
        Nodal values, shape (num_local,), the same on any partition.
    """
    c = coordinates
    x = c.random(0)
    size = _PUSH * (1.0 + c.norm(c.to_euclidean(np.asfortranarray(start[:, None]))))
    return start + c.to_function(x * (size / c.norm(x)))[:, 0]
