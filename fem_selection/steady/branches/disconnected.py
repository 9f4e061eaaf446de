# SPDX-License-Identifier: MIT
"""Steady states at one value of the parameter that known branches do not reach, by deflation.

    m(c) G(c) = 0,   m(c) = Π_i ( 1 / ‖g − g_i‖² + 1 ),   g = K V c + b

Newton's step for m G is that for G times 1/(1 + ∇m·d/m).  Distances are measured in g, in which all members of a family
f* + ker K coincide.  A state counts only if f rests there (σ(g) = 0) and if σ'(g) is regular on range K: other zeros
are multiple, known to few digits, or lie on continua, as those of ReLU, of which deflation finds point after point.

References:
    P. Farrell, Á. Birkisson, S. Funke, SIAM J. Sci. Comput. 37 (2015) A2026, doi:10.1137/140984798.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fem_selection.discretization.numbering import hashed_normal
from fem_selection.steady.equilibria.newton import solve_newton
from fem_selection.steady.equilibria.reduction import LINE_SEARCH, ReducedEquation
from fem_selection.typing import Floats

__all__ = ["BranchSearch", "find_disconnected", "is_among"]

_LEVELS = (0.3, -0.3, 1.0, -1.0, 3.0, -3.0)  # constants near which g is at the start
_RANDOM = 4  # random starts
_SAME = 1e-6  # of 1 + ‖g‖: the distance of g within which two states are the same
_AT_REST = 1e-9  # largest ‖σ(g)‖ of a state at which f rests
_REGULAR = 1e-6  # least singular value of σ'(g) on range K, relative to a typical |σ'|
_NEAR = 1e-24  # squared distance of g below which m grows no further
_MOST = 8  # states at one value


@dataclass(frozen=True, kw_only=True)
class BranchSearch:
    """A search for steady states at one value of the parameter.

    Attributes:
        parameter: The value.
        starts: Number of starts of Newton's method.
        known: Number of states that branches reach there.
        found: Number of other isolated states.
        continua: Number of starts from which a state was reached that is not known to be isolated.
    """

    parameter: float
    starts: int
    known: int
    found: int
    continua: int


def find_disconnected(
    equation: ReducedEquation, known: Sequence[Floats], parameter: float, *, slope: float
) -> tuple[list[Floats], BranchSearch]:
    """Find isolated steady states besides the known ones (collective).

    Args:
        equation: The reduced equation at the value.
        known: Coordinates c of the known states, each of shape (r,).
        parameter: The value, for the result.
        slope: A typical |σ'|.
    """
    count = equation.basis.shape[1]
    found: list[Floats] = []
    starts = [equation.towards(level) for level in _LEVELS]
    starts += [hashed_normal(60 + k, np.arange(count)) for k in range(_RANDOM)]
    continua = 0
    for start in starts:
        while len(found) < _MOST:
            deflated = _Deflated(equation, [*known, *found])
            run = solve_newton(deflated, start, line_search=LINE_SEARCH)
            c = run.solution
            if not run.converged or deflated.is_known(c) or equation.drift(c) > _AT_REST:
                break
            if equation.regularity(c) <= _REGULAR * slope:
                continua += 1
                break
            found.append(c)
    search = BranchSearch(
        parameter=parameter, starts=len(starts), known=len(known), found=len(found), continua=continua
    )
    return found, search


def is_among(equation: ReducedEquation, c: Floats, states: Sequence[Floats]) -> bool:
    """Return whether a state is one of some others, modulo ker K (collective).

    Args:
        equation: The reduced equation.
        c: The coordinates of the state, shape (r,).
        states: Those of the others.
    """
    return _is_near_one(equation.pattern(c), [equation.pattern(other) for other in states])


def _is_near_one(here: Floats, others: Sequence[Floats]) -> bool:
    """Whether g is one of some others."""
    near = _SAME * (1.0 + float(np.linalg.norm(here)))
    return any(float(np.linalg.norm(here - other)) <= near for other in others)


class _Deflated:
    """The equation m(c) G(c) = 0 for Newton's method."""

    def __init__(self, equation: ReducedEquation, known: Sequence[Floats]) -> None:
        self._equation = equation
        self._known = [equation.pattern(c) for c in known]

    def is_known(self, c: Floats) -> bool:
        """Whether g is that of a known state."""
        return _is_near_one(self._equation.pattern(c), self._known)

    def residual(self, x: Floats) -> Floats:
        """m G.  See `Equation.residual`."""
        return self._factor(x) * self._equation.residual(x)

    def newton_step(self, x: Floats, residual: Floats) -> tuple[Floats, float]:
        """The Newton step, along that of G, and |m G|².  See `Equation.newton_step`."""
        step, _ = self._equation.newton_step(x, residual / self._factor(x))
        here, moved = self._equation.pattern(x), self._equation.pattern(step)
        change = 0.0  # ∇m·d / m
        for other in self._known:
            away = here - other
            square = max(float(away @ away), _NEAR)
            change -= 2.0 * float(away @ moved) / square**2 / (1.0 / square + 1.0)
        slowed = 1.0 + change
        return step / (slowed if abs(slowed) > 1e-3 else np.copysign(1e-3, slowed)), self.inner(residual, residual)

    def inner(self, a: Floats, b: Floats) -> float:
        """The Euclidean product.  See `Equation.inner`."""
        return float(a @ b)

    def tolerance(self, x: Floats) -> float:
        """The tolerance of G.  See `Equation.tolerance`."""
        return self._equation.tolerance(x)

    def round_off(self, x: Floats) -> float:
        """The round-off of G, times m.  See `Equation.round_off`."""
        return self._factor(x) * 1e-3 * self._equation.round_off(x)

    def _factor(self, c: Floats) -> float:
        here, factor = self._equation.pattern(c), 1.0
        for other in self._known:
            away = here - other
            factor *= 1.0 / max(float(away @ away), _NEAR) + 1.0
        return factor
