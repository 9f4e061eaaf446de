# SPDX-License-Identifier: MIT
"""Newton's method with a line search, the one routine under every search for a steady state.

    F'(x) d = F(x),    x ← x − λ d

λ is 1, or the first of 1 > λ₁ > λ₂ > … with

    ‖F(x − λ d)‖² ≤ ‖F(x)‖² − 2 α λ |(F, F' d)|,

where λ_{k+1} is where the parabola, later the cubic, through the norms known has its minimum, but at least a tenth and
at most half of λ_k.  This is the line search of PETSc's SNES, type `bt`; here residual, linear solve and inner product
are handed over as an `Equation`, so that each search has the coordinates in which its systems are solved best:

| equation | unknowns | systems |
|---|---|---|
| `deflation.MinimalNormEquation` | f in the coordinates of L² | LSQR, steps of minimal norm; known states deflated |
| `local_newton.LocalEquation` | nodal values of f | sparse factorization of the local part, GMRES |
| `reduction.ReducedEquation` | c of f = V c + f₀, few | dense least squares |
| `branches.corrector` | the same and a parameter | dense, without a line search |

References:
    J. E. Dennis, R. B. Schnabel, Numerical Methods for Unconstrained Optimization and Nonlinear Equations, SIAM 1996,
    doi:10.1137/1.9781611971200, section 6.3.2 (the line search).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fem_selection.errors import NotConverged
from fem_selection.settings import NewtonSettings
from fem_selection.typing import Floats

__all__ = ["Equation", "LineSearch", "NewtonRun", "solve_newton"]

_MINIMUM = "the derivative is singular there: the residual has a local minimum that is not zero"
_SOLVED = "the residual fell below the tolerance"
_ROUND_OFF = "the residual is at the level of round-off"
_NOT_FINITE = "the residual became infinite or NaN"
_LIMIT = "the iteration limit was reached"
_NO_STEP = "the line search found no smaller residual"
_ORTHOGONAL = 1e-4  # share (F, F' d) / ‖F‖² of F in the range of F' below which F' counts as singular
_FLAT = 1e-8  # λ: where F falls on so small a part of d alone, it has a minimum, as far as round-off lets one see


class Equation(Protocol):
    """F(x) = 0; x and F(x) are arrays of any shape, spread over the ranks or the same on all of them."""

    def residual(self, x: Floats) -> Floats:
        """F(x)."""

    def newton_step(self, x: Floats, residual: Floats) -> tuple[Floats, float]:
        """d with F'(x) d = F(x), of least norm where F' is singular, and (F, F' d).

        Raises:
            NotConverged: with the reason, if the system is not solved.
        """

    def inner(self, a: Floats, b: Floats) -> float:
        """The inner product of two residuals, the same on every rank."""

    def tolerance(self, x: Floats) -> float:
        """The ‖F‖ at which to stop."""

    def round_off(self, x: Floats) -> float:
        """The ‖F‖ that counts as zero if it falls no further."""


@dataclass(frozen=True)
class LineSearch:
    """How far a step is shortened.

    Attributes:
        decrease: α.
        shortest: The λ at which the search is given up.
    """

    decrease: float = 1e-4
    shortest: float = 1e-12


@dataclass(frozen=True)
class NewtonRun:
    """Where Newton's method ended.

    Attributes:
        solution: The last x.
        residuals: ‖F‖ at every iterate.
        converged: Whether the last is below the tolerance or at the level of round-off.
        reason: Why it ended, in words.
    """

    solution: Floats
    residuals: tuple[float, ...]
    converged: bool
    reason: str


def solve_newton(
    equation: Equation,
    start: Floats,
    *,
    max_iterations: int = NewtonSettings.max_iterations,
    line_search: LineSearch | None = LineSearch(),
    slow: float = 0.5,
) -> NewtonRun:
    """Solve F(x) = 0 by Newton's method from a start (collective if the equation is).

    Args:
        equation: F.
        start: The first x; not changed.
        max_iterations: Steps at most.
        line_search: How far steps are shortened; None takes full steps alone.
        slow: A residual at the level of round-off that falls by less than this factor falls no further.

    Returns:
        The last iterate, converged or not.
    """
    x, residual = start, equation.residual(start)
    sizes = [_norm(equation, residual)]
    while not (reason := _reason(equation, x, sizes, slow, max_iterations)):
        try:
            step, slope = equation.newton_step(x, residual)
        except NotConverged as error:
            reason = str(error)
            break
        moved = _Ray(equation, x, step, sizes[-1] * sizes[-1], slope).next_iterate(line_search)
        if moved is None:
            reason = _MINIMUM if abs(slope) <= _ORTHOGONAL * sizes[-1] * sizes[-1] else _NO_STEP
            break
        x, residual, length = moved
        sizes.append(_norm(equation, residual))
        if length <= _FLAT:
            reason = _MINIMUM
            break
    converged = reason in (_SOLVED, _ROUND_OFF)
    if not converged and sizes[-1] <= equation.round_off(x):
        converged, reason = True, _ROUND_OFF
    return NewtonRun(solution=x, residuals=tuple(sizes), converged=converged, reason=reason)


def _reason(equation: Equation, x: Floats, sizes: list[float], slow: float, max_iterations: int) -> str:
    """Why to stop at x, or nothing."""
    if not np.isfinite(sizes[-1]):
        return _NOT_FINITE
    if sizes[-1] <= equation.tolerance(x):
        return _SOLVED
    if len(sizes) > 1 and sizes[-1] > slow * sizes[-2] and sizes[-1] <= equation.round_off(x):
        return _ROUND_OFF
    return _LIMIT if len(sizes) > max_iterations else ""


def _norm(equation: Equation, residual: Floats) -> float:
    return float(np.sqrt(equation.inner(residual, residual)))


class _Ray:
    """x − λ d, with the squares ‖F(x − λ d)‖² at the λ tried."""

    def __init__(self, equation: Equation, x: Floats, step: Floats, square: float, slope: float) -> None:
        self.equation, self.x, self.step = equation, x, step
        self.square, self.slope = square, -abs(slope)  # ½ ‖F(x − λ d)‖² has this derivative at λ = 0

    def next_iterate(self, rule: LineSearch | None) -> tuple[Floats, Floats, float] | None:
        """The next x, its residual and λ; None if no λ above the shortest is good enough."""
        if self.slope == 0.0:
            return None
        length, before = 1.0, None
        while True:
            x = self.x - length * self.step
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # far off, F may overflow
                residual = self.equation.residual(x)
                square = self.equation.inner(residual, residual)
            if rule is None or self._is_enough(square, length, rule.decrease):
                return x, residual, length
            if length <= rule.shortest:
                return None
            best = self._minimum((length, square), before)
            before = (length, square) if np.isfinite(square) else None
            length = min(max(best, 0.1 * length), 0.5 * length)

    def _is_enough(self, square: float, length: float, decrease: float) -> bool:
        """Whether F has fallen as it should; a shortened step on which it has not changed, by round-off, has not."""
        bound = self.square + 2.0 * length * decrease * self.slope
        return square < bound or (length == 1.0 and square == bound)

    def _minimum(self, last: tuple[float, float], before: tuple[float, float] | None) -> float:
        """Where the parabola through one λ tried, or the cubic through two, has its minimum; 0 if they overflow."""
        length, square = last
        bend = (0.5 * (square - self.square) - length * self.slope) / length**2
        best = -0.5 * self.slope / bend
        if before is not None:
            other, other_square = before
            other_bend = (0.5 * (other_square - self.square) - other * self.slope) / other**2
            cubic = (bend - other_bend) / (length - other)
            quadratic = (length * other_bend - other * bend) / (length - other)
            root = np.sqrt(max(quadratic * quadratic - 3.0 * cubic * self.slope, 0.0))
            best = (root - quadratic) / (3.0 * cubic) if cubic else -0.5 * self.slope / quadratic
        return float(best) if np.isfinite(best) else 0.0
