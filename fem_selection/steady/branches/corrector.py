# SPDX-License-Identifier: MIT
"""Points of a curve of steady states: the bordered Newton corrector and the tangent.

    G(c, μ) = 0,   t · (x − x°) = 0,   x = (c, μ)

The bordered matrix [[G_c, G_μ], [tᵀ]] is regular along the curve, at folds too.  Its determinant changes sign where
another curve crosses; the number of eigenvalues in the right half-plane changes where stability changes.

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
_TOLERANCE, _SOLVED = 1e-12, 1e-15  # |G| that counts as zero, and |G| at which to stop
_SLOW = 0.1  # a residual that does not fall below this share of the one before is at the level of round-off


@dataclass(frozen=True)
class Point:
    """A steady state of the reduced equation on a curve.

    Attributes:
        x: (c, μ), shape (r + 1,).
        tangent: Unit tangent of the curve.
        eigenvalues: Nonzero eigenvalues of the linearization, by decreasing real part.
        orientation: Sign of the bordered determinant.
        drift: ‖σ(g)‖; 0 for a steady state of f, else the speed of f within ker K.
    """

    x: Floats
    tangent: Floats
    eigenvalues: Complexes
    orientation: int
    drift: float

    @property
    def parameter(self) -> float:
        """The parameter μ."""
        return float(self.x[-1])

    @property
    def coordinates(self) -> Floats:
        """The reduced coordinates c, shape (r,)."""
        return self.x[:-1]

    @property
    def unstable(self) -> int:
        """The number of eigenvalues with positive real part."""
        return int(np.sum(self.eigenvalues.real > 0))

    @property
    def signature(self) -> tuple[int, int]:
        """The number of unstable eigenvalues and the orientation, one of which changes at a bifurcation."""
        return self.unstable, self.orientation


class Corrector:
    """Newton's method for G(c, μ) = 0 with one more equation.

    All methods are collective and return the same bits on every rank.

    Args:
        family: The reduced equation as a function of the parameter.
        scale: Length of the parameter's range, by which the difference quotient in μ is scaled.
    """

    def __init__(self, family: ReducedFamily, scale: float) -> None:
        self.family, self._difference = family, 1e-6 * scale

    def correct(self, guess: Floats, direction: Floats) -> Floats | None:
        """The point of the curve in the hyperplane through `guess` normal to `direction`.

        Args:
            guess: The first x = (c, μ), shape (r + 1,); not changed.
            direction: The normal of the hyperplane, shape (r + 1,).

        Returns:
            x, shape (r + 1,); None if Newton's method does not converge.
        """
        run = solve_newton(
            _Bordered(self, guess, direction), guess, max_iterations=_ITERATIONS, line_search=None, slow=_SLOW
        )
        return run.solution if run.converged else None

    def point(self, x: Floats, towards: Floats) -> Point:
        """The tangent, eigenvalues, orientation and drift at a point of the curve.

        Args:
            x: (c, μ) on the curve, shape (r + 1,).
            towards: A direction with which the tangent has a positive product, shape (r + 1,).
        """
        equation = self.family.at(float(x[-1]))
        end = np.zeros(x.size)
        end[-1] = 1.0
        tangent = _solve(self.bordered(x, towards), end)
        tangent /= np.linalg.norm(tangent)
        sign, _ = np.linalg.slogdet(self.bordered(x, tangent))
        eigenvalues = equation.eigenvalues(x[:-1])
        return Point(x=x, tangent=tangent, eigenvalues=eigenvalues, orientation=int(sign), drift=equation.drift(x[:-1]))

    def crossing_direction(self, point: Point) -> Floats:
        """The direction, normal to the curve, in which the other curve leaves a branch point; shape (r + 1,)."""
        _, _, vt = np.linalg.svd(self.bordered(point.x, point.tangent))
        direction = vt[-1] - (vt[-1] @ point.tangent) * point.tangent
        return direction / np.linalg.norm(direction)

    def bordered(self, x: Floats, direction: Floats) -> Floats:
        """The bordered matrix [[G_c, G_μ], [tᵀ]], shape (r + 1, r + 1).

        Args:
            x: (c, μ), shape (r + 1,).
            direction: t, shape (r + 1,).
        """
        c, mu, h = x[:-1], float(x[-1]), self._difference
        column = (self.family.at(mu + h).residual(c) - self.family.at(mu - h).residual(c)) / (2 * h)
        top = np.column_stack([self.family.at(mu).jacobian(c), column])
        return np.vstack([top, direction])


class _Bordered:
    """G(c, μ) = 0 and t · (x − x°) = 0 as an equation for Newton's method.

    The second equation is linear and holds at every iterate, so that the residual is that of the first.
    """

    def __init__(self, corrector: Corrector, guess: Floats, direction: Floats) -> None:
        self._corrector, self._guess, self._direction = corrector, guess, direction

    def residual(self, x: Floats) -> Floats:
        """G(c, μ), shape (r,).  See `Equation.residual`."""
        return self._corrector.family.at(float(x[-1])).residual(x[:-1])

    def newton_step(self, x: Floats, residual: Floats) -> tuple[Floats, float]:
        """The Newton step for both equations, and |G|².  See `Equation.newton_step`."""
        matrix = self._corrector.bordered(x, self._direction)
        step = _solve(matrix, np.append(residual, self._direction @ (x - self._guess)))
        if not np.all(np.isfinite(step)):
            raise NotConverged("the step became infinite or NaN")
        return step, self.inner(residual, residual)

    def inner(self, a: Floats, b: Floats) -> float:
        """The Euclidean product.  See `Equation.inner`."""
        return float(a @ b)

    def tolerance(self, x: Floats) -> float:
        """A tolerance far below round-off, so that the iteration continues to round-off.  See `Equation.tolerance`."""
        return _SOLVED

    def round_off(self, x: Floats) -> float:
        """The |G| that counts as zero, relative to max(1, |x|).  See `Equation.round_off`."""
        return _TOLERANCE * max(1.0, float(np.linalg.norm(x)))


def _solve(matrix: Floats, right: Floats) -> Floats:
    """The solution of a linear system; the one of least norm if the matrix is singular."""
    try:
        return np.asarray(np.linalg.solve(matrix, right))
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(matrix, right)[0])
