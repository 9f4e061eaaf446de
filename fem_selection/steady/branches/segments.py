# SPDX-License-Identifier: MIT
"""Where, between two points of a curve of steady states, eigenvalues pass the imaginary axis or the parameter turns.

Each place is found twice: as the root of Re λ along the curve, with λ from LAPACK, and by bordered systems

    [[A − σ, R], [Lᴴ, 0]] [v; γ] = [0; 1],      λ ≈ σ + θ,   γ(σ) + θ γ'(σ) singular,

beside it, which are well conditioned where A − σ is singular.  L and R are the left and right eigenvectors of the
critical eigenvalues.  The invariant subspaces of other eigenvalues near σ border the matrix too: v has no part in them.

References:
    A. Griewank, G. W. Reddien, IMA J. Numer. Anal. 4 (1984) 467, doi:10.1093/imanum/4.4.467.
    W. Govaerts, Numerical Methods for Bifurcations of Dynamical Equilibria, SIAM 2000, doi:10.1137/1.9780898719543.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.linalg
from scipy.optimize import brentq

from fem_selection.steady.branches.corrector import Corrector, Point
from fem_selection.steady.branches.crossings import Crossing, find_crossings
from fem_selection.typing import Complexes, Floats

__all__ = ["Event", "Segment", "bordered_eigenvalues"]

_SPLITS = 8  # halvings of a step, to separate what happens at different places
_TOLERANCE = 1e-13  # of the segment


@dataclass(frozen=True, kw_only=True)
class Event:
    """A place between two points of a curve at which an eigenvalue passes the axis, or the parameter turns.

    Attributes:
        place: s in (0, 1), the share of the segment.
        crossing: The eigenvalue that passes, with its numbers at the ends of `bracket`; None where the parameter turns.
        bracket: The places between which it was found.
    """

    place: float
    crossing: Crossing | None
    bracket: tuple[float, float]


class Segment:
    """The curve between two of its points, over the share s of the chord between them (collective).

    Args:
        corrector: The corrector of the curve.
        first: The point at s = 0.
        last: The point at s = 1.
    """

    def __init__(self, corrector: Corrector, first: Point, last: Point) -> None:
        self._corrector, self._begin = corrector, first.x
        chord = last.x - first.x
        self.length = float(np.linalg.norm(chord))
        self._chord, self._direction = chord, chord / max(self.length, 1e-300)
        self._known: dict[float, Point | None] = {0.0: first, 1.0: last}

    def point(self, place: float) -> Point | None:
        """The point of the curve at s; None if the corrector does not reach it."""
        if place not in self._known:
            x = self._corrector.correct(self._begin + place * self._chord, self._direction)
            self._known[place] = None if x is None else self._corrector.point(x, self._direction)
        return self._known[place]

    def changes(self, left: float, right: float) -> tuple[list[Crossing], bool]:
        """The eigenvalues that are decided on different sides at two places, one of each pair, and whether μ turns.

        Args:
            left: The first place.
            right: The second place.
        """
        a, b = self.point(left), self.point(right)
        if a is None or b is None:
            return [], False
        found = find_crossings([a.rates, b.rates])
        single = [c for c in found if not (b.rates.is_complex[c.after] and b.rates.values[c.after].imag < 0)]
        return single, a.heading * b.heading < 0

    def events(self) -> list[Event]:
        """What happens on the segment, in its order."""
        found = [event for bracket in self._separate(0.0, 1.0, _SPLITS) for event in self._locate(*bracket)]
        return sorted(found, key=lambda event: event.place)

    def _separate(self, left: float, right: float, splits: int) -> list[tuple[float, float]]:
        """Brackets in which one thing happens, or several too near to each other."""
        crossings, turns = self.changes(left, right)
        count = len(crossings) + turns
        if count == 0:
            return []
        middle = 0.5 * (left + right)
        if splits == 0 or self.point(middle) is None:
            return [(left, right)]
        halves = [self.changes(left, middle), self.changes(middle, right)]
        if sum(len(c) + t for c, t in halves) != count:  # at the middle something is not decided
            return [(left, right)]
        return self._separate(left, middle, splits - 1) + self._separate(middle, right, splits - 1)

    def _locate(self, left: float, right: float) -> list[Event]:
        crossings, turns = self.changes(left, right)
        found = []
        for crossing in crossings:
            place = _root(partial(self._real_part, crossing, left, right), left, right)
            if place is not None:
                found.append(Event(place=place, crossing=crossing, bracket=(left, right)))
        place = _root(self._rise, left, right) if turns else None
        return found if place is None else [*found, Event(place=place, crossing=None, bracket=(left, right))]

    def _rise(self, place: float) -> float:
        point = self.point(place)
        return np.nan if point is None else float(point.tangent[-1])

    def _real_part(self, crossing: Crossing, left: float, right: float, place: float) -> float:
        number = self.follow(crossing, (left, right), place)
        point = self.point(place)
        return np.nan if point is None or number is None else float(point.rates.values[number].real)

    def follow(self, crossing: Crossing, bracket: tuple[float, float], place: float) -> int | None:
        """The number, at a place in a bracket, of an eigenvalue that crosses there; None without a point.

        Args:
            crossing: The eigenvalue, by its numbers at the ends of the bracket.
            bracket: The places of the ends.
            place: s.
        """
        a, b, here = self.point(bracket[0]), self.point(bracket[1]), self.point(place)
        if a is None or b is None or here is None or not here.rates.values.size:
            return None
        share = (place - bracket[0]) / (bracket[1] - bracket[0])
        first, last = a.rates.values[crossing.before], b.rates.values[crossing.after]
        wanted = (1 - share) * first + share * last
        if b.rates.is_complex[crossing.after]:
            wanted = complex(wanted.real, abs(wanted.imag))
        overlaps = (1 - share) * np.abs(a.rates.left[:, crossing.before].conj() @ here.rates.right)
        overlaps = overlaps + share * np.abs(b.rates.left[:, crossing.after].conj() @ here.rates.right)
        distances = np.abs(here.rates.values - wanted) / max(abs(first), abs(last))
        return int(np.argmax(np.minimum(np.nan_to_num(overlaps), 1.0) - distances))


def _root(function: Callable[[float], float], left: float, right: float) -> float | None:
    ends = function(left), function(right)
    if not np.all(np.isfinite(ends)) or ends[0] * ends[1] > 0:
        return None
    try:
        place = float(brentq(function, left, right, xtol=_TOLERANCE, rtol=4 * np.finfo(float).eps, disp=False))
    except ValueError:  # a value in between is not finite
        return None
    return place if np.isfinite(function(place)) else None


def bordered_eigenvalues(
    matrix: Floats, left: Complexes, right: Complexes, *, shift: complex, others: Sequence[Complexes]
) -> Complexes:
    """The eigenvalues of A that belong to some vectors, to first order in their distance from σ; shape (k,).

    Args:
        matrix: A, shape (n, n).
        left: L, shape (n, k), near the left eigenvectors.
        right: R, shape (n, k), near the right eigenvectors.
        shift: σ.
        others: Bases of the left and right invariant subspaces of other eigenvalues near σ, each of shape (n, m).
    """
    n, k = right.shape
    below, beside = np.hstack([left, others[0]]), np.hstack([right, others[1]])
    m = below.shape[1]
    bordered = np.block([[matrix - shift * np.eye(n), beside], [below.conj().T, np.zeros((m, m))]])
    unit = np.zeros((n + m, k), complex)
    unit[n : n + k] = np.eye(k)
    try:
        solution = np.linalg.solve(bordered, unit)
        slope = np.linalg.solve(bordered, np.vstack([solution[:n], np.zeros((m, k))]))
        return np.asarray(shift + scipy.linalg.eigvals(-solution[n : n + k], slope[n : n + k]))
    except np.linalg.LinAlgError:
        return np.full(k, np.nan, complex)
