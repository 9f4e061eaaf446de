# SPDX-License-Identifier: MIT
"""Points of a curve of steady states: the bordered Newton corrector and the tangent.

    G(c, μ) = 0,   t · (x − x°) = 0,   x = (c, μ)

The bordered matrix [[G_c, G_μ], [tᵀ]] is regular along the curve, at folds too; its determinant changes sign where
another curve crosses, and the number of eigenvalues in the right half-plane where stability changes.

References:
    H. B. Keller, in: Applications of Bifurcation Theory, Academic Press 1977, 359.
    E. L. Allgower, K. Georg, Introduction to Numerical Continuation Methods, SIAM 2003, doi:10.1137/1.9780898719154.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.errors import NotConverged
from fem_selection.steady.equilibria.newton import solve_newton
from fem_selection.steady.equilibria.reduction import ReducedFamily
from fem_selection.typing import Complexes, Floats

__all__ = ["Corrector", "Point"]

_ITERATIONS = 12
_TOLERANCE, _SOLVED = 1e-12, 1e-15  # |G| that counts as zero, and at which to stop
_SLOW = 0.1  # a residual that falls by less than this factor is at the level of round-off


@dataclass(frozen=True)
class Point:
    """A steady state of the reduced equation on a curve.

    Attributes:
        x: (c, μ), shape (r + 1,).
        tangent: Unit tangent of the curve.
        eigenvalues: Nonzero eigenvalues of the linearization, by decreasing real part.
        orientation: Sign of the bordered determinant.
        drift: ‖σ(g)‖: 0 for a steady state of f, else its speed within ker K.
    """

    x: Floats
    tangent: Floats
    eigenvalues: Complexes
    orientation: int
    drift: float

    @property
    def parameter(self) -> float:
        """μ."""
        return float(self.x[-1])

    @property
    def coordinates(self) -> Floats:
        """c."""
        return self.x[:-1]

    @property
    def unstable(self) -> int:
        """The number of eigenvalues with positive real part."""
        return int(np.sum(self.eigenvalues.real > 0))

    @property
    def signature(self) -> tuple[int, int]:
        """What changes at a bifurcation."""
        return self.unstable, self.orientation


class Corrector:
    """Newton's method on G(c, μ) = 0 with one more equation (collective, the same bits on every rank).

    Args:
        family: G.
        scale: Length by which the difference quotient in μ is scaled: the range of the parameter.
    """

    def __init__(self, family: ReducedFamily, scale: float) -> None:
        self.family, self._difference = family, 1e-6 * scale

    def correct(self, guess: Floats, direction: Floats) -> Floats | None:
        """The point of the curve in the plane through `guess` normal to `direction`; None if there is none near."""
        run = solve_newton(
            _Bordered(self, guess, direction), guess, max_iterations=_ITERATIONS, line_search=None, slow=_SLOW
        )
        return run.solution if run.converged else None

    def point(self, x: Floats, towards: Floats) -> Point:
        """Everything about a point of the curve; its tangent looks `towards`."""
        equation = self.family.at(float(x[-1]))
        end = np.zeros(x.size)
        end[-1] = 1.0
        tangent = _solve(self.bordered(x, towards), end)
        tangent /= np.linalg.norm(tangent)
        sign, _ = np.linalg.slogdet(self.bordered(x, tangent))
        eigenvalues = equation.eigenvalues(x[:-1])
        return Point(x=x, tangent=tangent, eigenvalues=eigenvalues, orientation=int(sign), drift=equation.drift(x[:-1]))

    def crossing_direction(self, point: Point) -> Floats:
        """At a branch point the direction, normal to the curve, in which another one leaves."""
        _, _, vt = np.linalg.svd(self.bordered(point.x, point.tangent))
        direction = vt[-1] - (vt[-1] @ point.tangent) * point.tangent
        return direction / np.linalg.norm(direction)

    def bordered(self, x: Floats, direction: Floats) -> Floats:
        """[[G_c, G_μ], [tᵀ]] at x, with t the direction."""
        c, mu, h = x[:-1], float(x[-1]), self._difference
        column = (self.family.at(mu + h).residual(c) - self.family.at(mu - h).residual(c)) / (2 * h)
        top = np.column_stack([self.family.at(mu).jacobian(c), column])
        return np.vstack([top, direction])


class _Bordered:
    """G(c, μ) = 0 and t · (x − x°) = 0 as an equation for Newton's method; the second part, linear, has no residual."""

    def __init__(self, corrector: Corrector, guess: Floats, direction: Floats) -> None:
        self._corrector, self._guess, self._direction = corrector, guess, direction

    def residual(self, x: Floats) -> Floats:
        """G, shape (r,)."""
        return self._corrector.family.at(float(x[-1])).residual(x[:-1])

    def newton_step(self, x: Floats, residual: Floats) -> tuple[Floats, float]:
        """The step of both, and |G|²."""
        matrix = self._corrector.bordered(x, self._direction)
        step = _solve(matrix, np.append(residual, self._direction @ (x - self._guess)))
        if not np.all(np.isfinite(step)):
            raise NotConverged("the step became infinite or NaN")
        return step, self.inner(residual, residual)

    def inner(self, a: Floats, b: Floats) -> float:
        """Euclidean."""
        return float(a @ b)

    def tolerance(self, x: Floats) -> float:
        """Far below round-off, so that it is reached."""
        return _SOLVED

    def round_off(self, x: Floats) -> float:
        """Relative to max(1, |x|)."""
        return _TOLERANCE * max(1.0, float(np.linalg.norm(x)))


def _solve(matrix: Floats, right: Floats) -> Floats:
    """The solution, of least norm where the matrix is singular."""
    try:
        return np.asarray(np.linalg.solve(matrix, right))
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(matrix, right)[0])
