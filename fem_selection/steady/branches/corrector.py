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

from fem_selection.steady.branches.reduction import ReducedFamily
from fem_selection.typing import Complexes, Floats

__all__ = ["Corrector", "Point"]

_ITERATIONS = 12
_TOLERANCE = 1e-12


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
        x = guess.copy()
        size = np.inf
        for _ in range(_ITERATIONS):
            residual = self.family.at(float(x[-1])).residual(x[:-1])
            if not np.all(np.isfinite(residual)):
                return None
            before, size = size, float(np.linalg.norm(residual))
            small = size <= _TOLERANCE * max(1.0, float(np.linalg.norm(x)))
            if small and (size <= 1e-15 or size > 0.1 * before):
                return x
            matrix = self._bordered(x, direction)
            change = _solve(matrix, -np.append(residual, direction @ (x - guess)))
            if not np.all(np.isfinite(change)):
                return None
            x = x + change
        return x if small else None

    def point(self, x: Floats, towards: Floats) -> Point:
        """Everything about a point of the curve; its tangent looks `towards`."""
        equation = self.family.at(float(x[-1]))
        end = np.zeros(x.size)
        end[-1] = 1.0
        tangent = _solve(self._bordered(x, towards), end)
        tangent /= np.linalg.norm(tangent)
        sign, _ = np.linalg.slogdet(self._bordered(x, tangent))
        eigenvalues = equation.eigenvalues(x[:-1])
        return Point(x, tangent, eigenvalues, int(sign), equation.drift(x[:-1]))

    def crossing_direction(self, point: Point) -> Floats:
        """At a branch point the direction, normal to the curve, in which another one leaves."""
        _, _, vt = np.linalg.svd(self._bordered(point.x, point.tangent))
        direction = vt[-1] - (vt[-1] @ point.tangent) * point.tangent
        return direction / np.linalg.norm(direction)

    def _bordered(self, x: Floats, direction: Floats) -> Floats:
        c, mu, h = x[:-1], float(x[-1]), self._difference
        column = (self.family.at(mu + h).residual(c) - self.family.at(mu - h).residual(c)) / (2 * h)
        top = np.column_stack([self.family.at(mu).jacobian(c), column])
        return np.vstack([top, direction])


def _solve(matrix: Floats, right: Floats) -> Floats:
    """The solution, of least norm where the matrix is singular."""
    try:
        return np.asarray(np.linalg.solve(matrix, right))
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(matrix, right)[0])
