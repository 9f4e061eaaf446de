# SPDX-License-Identifier: MIT
"""Newton's method with a line search; every search for a steady state calls it.

    F'(x) d = F(x),    x ← x − λ d

λ is 1, or the first of 1 > λ₁ > λ₂ > … with

    ‖F(x − λ d)‖² ≤ ‖F(x)‖² − 2 α λ |(F, F' d)|,

where λ_{k+1} is the minimum of the parabola (after the second trial: of the cubic) through the known norms, but at
least a tenth and at most half of λ_k.  This is the line search of PETSc's SNES, type `bt`.  Here the caller gives
residual, linear solve and inner product as an `Equation`, so that each search uses the coordinates in which its linear
systems are solved best:

| equation | unknowns | systems |
|---|---|---|
| `deflation.MinimalNormEquation` | f in the coordinates of L² | LSQR, steps of minimal norm; known states deflated |
| `local_newton.LocalEquation` | nodal values of f | sparse factorization of the local part, GMRES |
| `reduction.ReducedEquation` | c of f = V c + f₀, few | dense least squares |
| `branches.corrector` | c and a parameter | dense, without a line search |

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
_ORTHOGONAL = 1e-4  # (F, F' d) / ‖F‖², the share of F in the range of F', below which F' counts as singular
_FLAT = 1e-8  # λ below which a decrease of F counts as a local minimum of ‖F‖, as far as round-off permits to tell


class Equation(Protocol):
    """An equation F(x) = 0; x and F(x) are arrays of any shape, distributed over the ranks or equal on all of them."""

    def residual(self, x: Floats) -> Floats:
        """F(x)."""

    def newton_step(self, x: Floats, residual: Floats) -> tuple[Floats, float]:
        """The step d with F'(x) d = F(x), of least norm if F' is singular, and the product (F, F' d).

        Args:
            x: The iterate.
            residual: F(x).

        Raises:
            NotConverged: with the reason, if the system is not solved.
        """

    def inner(self, a: Floats, b: Floats) -> float:
        """The inner product of two residuals, the same number on every rank.

        Args:
            a: A residual.
            b: Another one, of the same shape.
        """

    def tolerance(self, x: Floats) -> float:
        """The ‖F‖ at which Newton's method stops at x."""

    def round_off(self, x: Floats) -> float:
        """The ‖F‖ that counts as zero at x if it falls no further."""


@dataclass(frozen=True)
class LineSearch:
    """Settings of the line search.

    Attributes:
        decrease: α, the decrease of ‖F‖² that is required, relative to the linear prediction.
        shortest: The λ at which the search gives up.
    """

    decrease: float = 1e-4
    shortest: float = 1e-12


@dataclass(frozen=True)
class NewtonRun:
    """The result of Newton's method.

    Attributes:
        solution: The last iterate x.
        residuals: ‖F‖ at every iterate.
        converged: Whether the last ‖F‖ is below the tolerance or at the level of round-off.
        reason: Why the method ended, as a phrase.
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
        max_iterations: Largest number of steps.
        line_search: Settings of the line search; None takes full steps only.
        slow: A residual at the level of round-off ends the method if a step does not reduce it below `slow` times its
            value before.

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
    """The reason to stop at x, or ""."""
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
    """The points x − λ d, and the squares ‖F(x − λ d)‖² at the λ already tried."""

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
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # far from x, F may overflow
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
        """Whether ‖F‖² has fallen enough; a shortened step that leaves it equal, by round-off, is not accepted."""
        bound = self.square + 2.0 * length * decrease * self.slope
        return square < bound or (length == 1.0 and square == bound)

    def _minimum(self, last: tuple[float, float], before: tuple[float, float] | None) -> float:
        """The λ at the minimum of the parabola through one trial, or of the cubic through two; 0 if these overflow."""
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
