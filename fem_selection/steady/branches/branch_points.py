# SPDX-License-Identifier: MIT
"""Where another curve of steady states crosses one: points of it on both sides, and its shape.

The parameter along the crossing curve is μ₀ + α s + β s² + …  Which of α and β counts is read from points so far away
that μ changes by more than its error; a curve along which μ changes at no distance is a line of steady states at μ₀.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fem_selection.steady.branches.corrector import Corrector, Point
from fem_selection.typing import Floats

__all__ = ["DEPARTURE", "BranchPoint"]

DEPARTURE = 1e-2
"""Distance along a crossing curve, relative to the range, at which its shape is measured first."""

_FLAT = 1e-9  # of the range: change of the parameter along a crossing curve that counts as none
_ABOVE_ERROR = 10.0  # times the error of the parameter: the change along a crossing curve that counts
_SHORTER, _LONGER = 24, 8  # lengths at which a crossing curve is sought nearer to the point, and farther from it
_SHORTEST = 1e-3  # of 1 + |c|: the shortest such length, unless the range is short
_SHIFT = 0.05  # of the range: change of the parameter up to which a point near in c belongs to the crossing curve


@dataclass(frozen=True)
class BranchPoint:
    """A place of a curve at which another curve crosses it, and how well its parameter is known.

    Attributes:
        corrector: The corrector of the curves.
        at: The place.
        uncertainty: That of its parameter.
        scale: Length of the parameter's range.
    """

    corrector: Corrector
    at: Point
    uncertainty: float
    scale: float

    def bend(self, pair: Sequence[Point], direction: Floats) -> int | None:
        """The side of μ₀ on which two points of a curve lie; 0 if on different sides, None if μ does not change.

        Args:
            pair: A point of the curve on either side of the branch point.
            direction: The normal of the hyperplanes in which they were found.
        """
        differences = [p.parameter - self.at.parameter for p in pair]
        even, odd = abs(sum(differences)) / 2, abs(differences[0] - differences[1]) / 2
        error = self.uncertainty + max(self.corrector.parameter_error(p, direction) for p in pair)
        if max(even, odd) <= max(_FLAT * self.scale, _ABOVE_ERROR * error):
            return None
        return 0 if odd > even else int(np.sign(sum(differences)))

    def classify(
        self, sides: tuple[Point, Point], farther: tuple[Point, Point], *, departures: tuple[Point, ...]
    ) -> tuple[str, str]:
        """Kind and criticality, from the shapes of the two curves.

        Args:
            sides: Points of the curve next to the place, before and after it.
            farther: Such points at which the shape of the curve is seen.
            departures: Points of the crossing curve.
        """
        if len(departures) < 2:
            return "branch point", ""
        at, ends = self.at, farther[1].x - farther[0].x
        if self.bend(departures, departures[0].x - departures[1].x) is None:
            return "exchange of stability", ""
        for parabola, through in ((departures, sides), (farther, departures)):
            side = self.bend(parabola, ends if parabola is farther else departures[0].x - departures[1].x)
            if side is None or side == 0:
                continue
            below, above = sorted(through, key=lambda p: p.parameter)
            if not below.parameter < at.parameter < above.parameter or below.unstable == above.unstable:
                return "pitchfork", ""
            is_super = (side > 0) == (above.unstable > below.unstable)
            return "pitchfork", "supercritical" if is_super else "subcritical"
        return "transcritical", ""

    def depart(self, direction: Floats) -> tuple[Point, ...]:
        """Points of the crossing curve on either side, as far as the corrector reaches them (collective).

        They lie so far from the place that μ changes beyond its error, if it changes at any distance that is reached.

        Args:
            direction: The direction of the crossing curve, shape (r + 1,).
        """
        length = DEPARTURE * self.scale
        shortest = min(0.3**4 * length, _SHORTEST * (1.0 + float(np.linalg.norm(self.at.coordinates))))
        best: tuple[Point, ...] = ()
        found: tuple[Point, ...] = ()
        for _ in range(_SHORTER):
            found = self._pair(direction, length)
            best = found if len(found) >= len(best) else best
            length *= 0.3
            if len(found) == 2 or length < shortest:
                break
        if len(found) < 2:
            return best
        for _ in range(_LONGER):
            if self.bend(found, direction) is not None:
                return found
            length *= 10.0
            farther = self._pair(direction, length)
            if len(farther) < 2:
                break
            found = farther
        return best if self.bend(found, direction) is None else found

    def _pair(self, direction: Floats, length: float) -> tuple[Point, ...]:
        """The points of the crossing curve at a distance on either side that the corrector reaches."""
        found, at = [], self.at
        for sign in (1.0, -1.0):
            x = self.corrector.correct(at.x + sign * length * direction, direction)
            if x is None:
                continue
            away, shift = float(np.linalg.norm(x[:-1] - at.coordinates)), abs(float(x[-1]) - at.parameter)
            # far away the corrector may end on another curve: where c left ker K, on the one that is crossed
            is_there = length <= DEPARTURE * self.scale or np.hypot(away, shift) > 0.5 * length
            if away < 3 * length and shift < _SHIFT * self.scale and is_there:
                found.append(self.corrector.point(x, sign * direction))
        return tuple(found)
