# SPDX-License-Identifier: MIT
"""Points of a curve of steady states: the bordered Newton corrector, the tangent and the eigenvalues.

    Wᵀ G(c, μ) = 0,   t · (x − x°) = 0,   x = (c, μ),   c ∈ span W

W spans the directions on which K(μ) is larger than the rank tolerance: the near-kernel of K is factored out, since the
equation says nothing about it.  The bordered matrix [[Wᵀ G_c W, Wᵀ G_μ], [tᵀ]] is regular along an isolated curve, at
folds too.  Directions in which it is singular to round-off, as where 0 is a defective eigenvalue of A, are left as they
are.

References:
    H. B. Keller, in: Applications of Bifurcation Theory, Academic Press 1977, 359.
    E. L. Allgower, K. Georg, Introduction to Numerical Continuation Methods, SIAM 2003, doi:10.1137/1.9780898719154.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.errors import InvalidInput, NotConverged
from fem_selection.steady.branches.crossings import Rates, compute_rates
from fem_selection.steady.equilibria.newton import solve_newton
from fem_selection.steady.equilibria.reduction import ReducedEquation, ReducedFamily
from fem_selection.typing import Complexes, Floats

__all__ = ["Corrector", "Point"]

_ITERATIONS = 12
_TOLERANCE, _SOLVED = 1e-12, 1e-15  # |G| that counts as zero, and |G| at which to stop
_ROUND_OFF = 4.0  # round-off of G, in units of ε |σ'| ‖g‖
_EPSILON = float(np.finfo(float).eps)
_SLOW = 0.1  # a residual that does not fall below this share of the one before is at the level of round-off
_SINGULAR = 1e-10  # singular values of derivative and bordered matrix that count as zero, relative to ‖K‖ |σ'|
_FLAT = 1e-9  # |dμ/ds| below which it is not known whether the parameter rises or falls


@dataclass(frozen=True)
class Point:
    """A steady state of the reduced equation on a curve.

    Attributes:
        x: (c, μ), shape (r + 1,).
        tangent: Unit tangent of the curve.
        rates: The eigenvalues of the linearization with their error bars.
        drift: ‖σ(g)‖; 0 for a steady state of f, else the speed of f within ker K.
    """

    x: Floats
    tangent: Floats
    rates: Rates
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
    def eigenvalues(self) -> Complexes:
        """Eigenvalues of the linearization, by decreasing real part."""
        return self.rates.values

    @property
    def unstable(self) -> int:
        """The number of eigenvalues whose real part is positive beyond its error and the tolerance of the rank."""
        return int(np.sum(self.rates.signs > 0))

    @property
    def undecided(self) -> int:
        """The number of eigenvalues that are not decided: within error and tolerance of the imaginary axis."""
        return int(np.sum(self.rates.signs == 0))

    @property
    def heading(self) -> int:
        """1 where the parameter rises along the curve, −1 where it falls, 0 where the tangent does not tell."""
        rise = float(self.tangent[-1])
        return 0 if abs(rise) <= _FLAT else int(np.sign(rise))


class Corrector:
    """Newton's method for G(c, μ) = 0 with one more equation.

    All methods are collective and return the same bits on every rank.

    Args:
        family: The reduced equation as a function of the parameter.
        lower: Smallest value of the parameter.
        upper: Largest value of the parameter; the length of the range scales the difference quotient in μ.

    Attributes:
        slope: A typical |σ'|: the largest at the states at which g is nearest to 0, 1 and −1, at some values of the
            parameter.  At a bifurcation σ' itself may vanish, but not its round-off.
    """

    def __init__(self, family: ReducedFamily, lower: float, upper: float) -> None:
        self.family, self._difference, self._ends = family, 1e-6 * (upper - lower), (lower, upper)
        self.slope = 0.0
        for value in np.linspace(lower, upper, 3).tolist():
            equation = family.at(value)
            slopes = [equation.linearize(equation.towards(level))[2] for level in (0.0, 1.0, -1.0)]
            self.slope = max([self.slope, *(s for s in slopes if np.isfinite(s))])

    def accepted(self, x: Floats) -> float:
        """The |G| that counts as zero: it grows with c, and with the rates, but not with the units of the parameter.

        Args:
            x: (c, μ), shape (r + 1,).
        """
        return _TOLERANCE * max(1.0, float(np.linalg.norm(x[:-1]))) * max(1.0, self.slope * self.family.norm)

    def correct(self, guess: Floats, direction: Floats) -> Floats | None:
        """The point of the curve in the hyperplane through `guess` normal to `direction`.

        Args:
            guess: The first x = (c, μ), shape (r + 1,); not changed.
            direction: The normal of the hyperplane, shape (r + 1,).

        Returns:
            x, shape (r + 1,); None if Newton's method does not converge, or the equation is not defined on its way.
        """
        for _ in range(2):
            try:
                run = solve_newton(
                    _Bordered(self, guess, direction), guess, max_iterations=_ITERATIONS, line_search=None, slow=_SLOW
                )
                if not run.converged or not np.all(np.isfinite(self.derivative(run.solution)[1])):
                    return None
            except InvalidInput:  # a formula is not finite at that value of the parameter: on all ranks
                return None
            x = self._without_near_kernel(run.solution)
            if np.linalg.norm(x - run.solution) <= _TOLERANCE * max(1.0, float(np.linalg.norm(x))):
                return run.solution
            guess = x
        return run.solution

    def parameter_error(self, point: Point, direction: Floats) -> float:
        """The error of μ at a point that `correct` found, by the residual and the round-off of G.

        Args:
            point: The point.
            direction: The normal of the hyperplane in which it was found, shape (r + 1,).
        """
        equation = self.family.at(point.parameter)
        w, matrix = self.derivative(point.x)
        bordered = np.vstack([matrix, np.append(direction[:-1] @ w, direction[-1])])
        row = np.linalg.pinv(bordered, rcond=_SINGULAR)[-1, :-1]
        slope = max(self.slope, equation.linearize(point.coordinates)[2])
        size = max(1.0, float(np.linalg.norm(equation.pattern(point.coordinates))))
        residual = float(np.linalg.norm(w.T @ equation.rate(point.coordinates)))
        return float(np.linalg.norm(row)) * (residual + _ROUND_OFF * _EPSILON * slope * size)

    def _without_near_kernel(self, x: Floats) -> Floats:
        """x without the part of c on which K is below the rank tolerance."""
        w = self.family.at(float(x[-1])).significant
        return np.append(w @ (w.T @ x[:-1]), x[-1])

    def point(self, x: Floats, towards: Floats) -> Point:
        """The tangent, the eigenvalues and the drift at a point of the curve.

        Args:
            x: (c, μ) on the curve, shape (r + 1,).
            towards: A direction with which the tangent has a positive product, shape (r + 1,).  Where several tangents
                exist, the one nearest to it is taken.
        """
        equation = self.family.at(float(x[-1]))
        w, matrix = self.derivative(x)
        _, values, vt = np.linalg.svd(matrix)
        null = vt[int(np.sum(values > self._zero(x))) :]
        inner = null.T @ (null @ np.append(w.T @ towards[:-1], towards[-1]))
        if np.linalg.norm(inner) < 1e-8 * np.linalg.norm(towards):
            inner = null[-1]
        tangent = np.append(w @ inner[:-1], inner[-1])
        return Point(
            x=x,
            tangent=tangent / np.linalg.norm(tangent),
            rates=compute_rates(equation, x[:-1], slope=self.slope, missed=self.family.missed),
            drift=equation.drift(x[:-1]),
        )

    def crossing_direction(self, point: Point, critical: Floats) -> Floats:
        """The direction, normal to the curve, in which the other curve leaves a branch point; shape (r + 1,).

        Args:
            point: The branch point.
            critical: The right null vector of the linearization, in the coordinates c, shape (r,).
        """
        w, matrix = self.derivative(point.x)
        u, values, vt = np.linalg.svd(matrix[:, :-1])
        kept = values > self._zero(point.x)
        rise = vt[kept].T @ ((u[:, kept].T @ -matrix[:, -1]) / values[kept])
        plane = np.column_stack([np.append(critical, 0.0), np.append(w @ rise, 1.0)])
        basis, _ = np.linalg.qr(plane)
        along = basis.T @ point.tangent
        direction = basis @ np.array([-along[1], along[0]])
        return np.asarray(direction / np.linalg.norm(direction))

    def _zero(self, x: Floats) -> float:
        """The size of singular values of the derivative that count as zero."""
        equation = self.family.at(float(x[-1]))
        return _SINGULAR * max(self.slope, equation.linearize(x[:-1])[2]) * equation.norm

    def derivative(self, x: Floats) -> tuple[Floats, Floats]:
        """W, shape (r, k), and [Wᵀ G_c W, Wᵀ G_μ], shape (k, k + 1).

        Args:
            x: (c, μ), shape (r + 1,).
        """
        c, mu, h = x[:-1], float(x[-1]), self._difference
        low, high = self._ends
        up, down = (min(mu + h, high), max(mu - h, low)) if low <= mu <= high else (mu + h, mu - h)
        rise = (self.family.at(up).rate(c) - self.family.at(down).rate(c)) / (up - down)
        equation = self.family.at(mu)
        w, matrix = equation.significant, equation.linearize(c)[0]
        return w, np.column_stack([w.T @ matrix @ w, w.T @ rise])


class _Bordered:
    """Wᵀ G(c, μ) = 0 and t · (x − x°) = 0 as an equation for Newton's method, with steps in span W.

    The second equation is linear and holds at every iterate, so that the residual is that of the first.
    """

    def __init__(self, corrector: Corrector, guess: Floats, direction: Floats) -> None:
        self._corrector, self._guess, self._direction = corrector, guess, direction

    def residual(self, x: Floats) -> Floats:
        """W Wᵀ G(c, μ), shape (r,).  See `Equation.residual`."""
        equation: ReducedEquation = self._corrector.family.at(float(x[-1]))
        w = equation.significant
        return w @ (w.T @ equation.rate(x[:-1]))

    def newton_step(self, x: Floats, residual: Floats) -> tuple[Floats, float]:
        """The Newton step for both equations, and |G|².  See `Equation.newton_step`."""
        w, matrix = self._corrector.derivative(x)
        t = self._direction
        bordered = np.vstack([matrix, np.append(t[:-1] @ w, t[-1])])
        right = np.append(w.T @ residual, t @ (x - self._guess))
        if not np.all(np.isfinite(bordered)):
            raise NotConverged("the derivative became infinite or NaN")
        step = np.linalg.lstsq(bordered, right, rcond=_SINGULAR)[0]
        return np.append(w @ step[:-1], step[-1]), self.inner(residual, residual)

    def inner(self, a: Floats, b: Floats) -> float:
        """The Euclidean product.  See `Equation.inner`."""
        return float(a @ b)

    def tolerance(self, x: Floats) -> float:
        """A tolerance far below round-off, so that the iteration continues to round-off.  See `Equation.tolerance`."""
        return _SOLVED

    def round_off(self, x: Floats) -> float:
        """The |G| that counts as zero.  See `Equation.round_off`."""
        return self._corrector.accepted(x)
