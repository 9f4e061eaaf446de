# SPDX-License-Identifier: MIT
"""Bifurcations on a curve of steady states: bisection locates them, the shapes of the crossing curves classify them.

Between two points whose signatures (number of unstable eigenvalues, sign of the bordered determinant) differ lies one
of

| kind | what happens |
|---|---|
| fold | the curve turns back in μ; one real eigenvalue passes zero |
| pitchfork | another curve crosses, symmetric about μ₀: μ − μ₀ ~ δ² on it |
| transcritical | another curve crosses with μ − μ₀ ~ δ |
| exchange of stability | a whole line of steady states at μ₀ itself: a direction enters ker K |
| hopf | a complex pair ±iω passes the imaginary axis |
| multiple | several real eigenvalues pass zero at once; the crossing curves are not followed |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from fem_selection.steady.branches.corrector import Corrector, Point
from fem_selection.typing import Complexes, Floats

__all__ = ["Bifurcation", "find_bifurcations"]

_BISECTIONS = 60
_BESIDE = 1e-4  # of the range: distance at which the two sides of a bifurcation are examined
_DEPARTURE = 1e-2  # of the range: distance along the crossing curve at which its shape is measured
_DEGENERATE = 1e-7


@dataclass(frozen=True)
class Bifurcation:
    """A bifurcation of steady states.

    Attributes:
        kind: One of the kinds that the module lists.
        point: The point of the curve.
        frequency: ω at a Hopf point, else 0.
        criticality: "supercritical", "subcritical", or "" if it is not known.  A pitchfork is supercritical if the new
            curve exists on the side where the old one has more unstable eigenvalues.
        unstable: Number of unstable eigenvalues before and after, in the direction of increasing μ; at a fold, in the
            direction of the curve.
        departures: Points of the crossing curve on either side.
        accuracy: Distance along the curve within which the position is known.
        uncertainty: Uncertainty of the parameter μ₀.
        right: Right eigenvectors of V* σ'(g) K V in the coordinates c, of unit length, complex, shape (r, k), for the k
            eigenvalues that reach the imaginary axis there: zeros, or at a Hopf point the one iω, ω > 0.
        left: The left eigenvectors, scaled so that leftᴴ right = 1, shape (r, k).
    """

    kind: str
    point: Point
    frequency: float
    criticality: str
    unstable: tuple[int, int]
    departures: tuple[Point, ...]
    accuracy: float
    uncertainty: float
    right: Complexes
    left: Complexes

    @property
    def parameter(self) -> float:
        """The value μ₀ of the parameter at the bifurcation."""
        return self.point.parameter

    @property
    def side(self) -> float:
        """1 if more eigenvalues are unstable above μ₀, else −1."""
        return 1.0 if self.unstable[1] > self.unstable[0] else -1.0


def find_bifurcations(corrector: Corrector, first: Point, last: Point, *, scale: float) -> Iterator[Bifurcation]:
    """Yield the bifurcations between two points of a curve that are one step apart (collective).

    Args:
        corrector: The corrector of the curve.
        first: A point.
        last: The next point.
        scale: Length of the parameter's range.
    """
    start = first
    for _ in range(4):  # if there are more between two points, the steps are too large
        if start.signature == last.signature:
            return
        found = _bisect(corrector, start, last)
        if found is None:
            return
        left, right = found
        beside = _BESIDE * scale
        sides = _move(corrector, left, -beside), _move(corrector, right, beside)
        if sides[0] is None or sides[1] is None:
            return
        yield _classify(corrector, left, right, (sides[0], sides[1]), scale)
        start = right


def _bisect(corrector: Corrector, a: Point, b: Point) -> tuple[Point, Point] | None:
    """Two neighbouring points, the first with the signature of a, the second with another one; None without success."""
    for _ in range(_BISECTIONS):
        secant = b.x - a.x
        length = float(np.linalg.norm(secant))
        if length <= 1e-13 * max(1.0, float(np.linalg.norm(a.x))):
            break
        x = corrector.correct(a.x + 0.5 * secant, secant / length)
        if x is None:
            return None
        middle = corrector.point(x, secant / length)
        a, b = (middle, b) if middle.signature == a.signature else (a, middle)
    return a, b


def _move(corrector: Corrector, point: Point, length: float) -> Point | None:
    """The point of the curve at a signed distance from a point; None if the corrector does not reach it."""
    x = corrector.correct(point.x + length * point.tangent, point.tangent)
    return None if x is None else corrector.point(x, point.tangent)


def _classify(corrector: Corrector, left: Point, right: Point, sides: tuple[Point, Point], scale: float) -> Bifurcation:
    """Classify a change of signature by the points beside it."""
    before, after = sides
    counts = before.unstable, after.unstable
    accuracy = float(np.linalg.norm(right.x - left.x))
    kind, frequency, criticality = "fold", 0.0, ""
    departures: tuple[Point, ...] = ()
    if before.orientation != after.orientation and abs(counts[0] - counts[1]) > 1:
        kind = "multiple"
    elif before.orientation != after.orientation:
        departures = _depart(corrector, left, corrector.crossing_direction(left), scale)
        kind, criticality = _classify_crossing(left, sides, departures)
    elif abs(counts[0] - counts[1]) != 1:
        nearest = left.eigenvalues[np.argmin(np.abs(left.eigenvalues.real))]
        is_pair = abs(counts[0] - counts[1]) == 2 and abs(nearest.imag) > 1e-6 * np.abs(left.eigenvalues).max()
        kind, frequency = ("hopf", abs(float(nearest.imag))) if is_pair else ("multiple", 0.0)
    if kind == "exchange of stability":
        departures = ()
    if kind != "fold" and after.parameter < before.parameter:
        counts = counts[::-1]
    right_vectors, left_vectors = _critical_vectors(
        corrector, left, 1 if kind != "multiple" else abs(counts[0] - counts[1])
    )
    return Bifurcation(
        kind=kind,
        point=left,
        frequency=frequency,
        criticality=criticality,
        unstable=counts,
        departures=departures,
        accuracy=accuracy,
        uncertainty=abs(right.parameter - left.parameter),
        right=right_vectors,
        left=left_vectors,
    )


def _critical_vectors(corrector: Corrector, at: Point, count: int) -> tuple[Complexes, Complexes]:
    """Right and left eigenvectors of the eigenvalues nearest to the imaginary axis, of a pair the one above."""
    values, left, right = scipy.linalg.eig(corrector.family.at(at.parameter).jacobian(at.coordinates), left=True)
    nearest = [k for k in np.argsort(np.abs(values.real), kind="stable") if values[k].imag >= 0][:count]
    u, v = right[:, nearest].astype(complex), left[:, nearest].astype(complex)
    return u, v @ np.linalg.pinv(v.conj().T @ u).conj().T


def _classify_crossing(at: Point, sides: tuple[Point, Point], departures: tuple[Point, ...]) -> tuple[str, str]:
    """Kind and criticality of a branch point, from the shapes of the two curves."""
    if len(departures) < 2:
        return "branch point", ""
    if _bend(at, departures) is None:
        return "exchange of stability", ""
    for parabola, through in ((departures, sides), (sides, departures)):
        side = _bend(at, parabola)
        if side is None or side == 0:
            continue
        below, above = sorted(through, key=lambda p: p.parameter)
        if not below.parameter < at.parameter < above.parameter or below.unstable == above.unstable:
            return "pitchfork", ""
        is_super = (side > 0) == (above.unstable > below.unstable)
        return "pitchfork", "supercritical" if is_super else "subcritical"
    return "transcritical", ""


def _bend(at: Point, pair: tuple[Point, ...]) -> int | None:
    """The side of μ₀, 1 or −1, on which both points lie; 0 if they lie on different sides, None if both lie at μ₀."""
    differences = [p.parameter - at.parameter for p in pair]
    even, odd = abs(sum(differences)) / 2, abs(differences[0] - differences[1]) / 2
    if max(even, odd) <= _DEGENERATE * max(float(np.linalg.norm(p.x - at.x)) for p in pair):
        return None
    return 0 if odd > even else int(np.sign(sum(differences)))


def _depart(corrector: Corrector, at: Point, direction: Floats, scale: float) -> tuple[Point, ...]:
    """Points of the crossing curve on either side of a branch point, as far away as the corrector reaches."""
    length = _DEPARTURE * scale
    for _ in range(5):
        found = []
        for sign in (1.0, -1.0):
            x = corrector.correct(at.x + sign * length * direction, direction)
            if x is not None and np.linalg.norm(x - at.x) < 3 * length:
                found.append(corrector.point(x, sign * direction))
        if len(found) == 2:
            return tuple(found)
        length *= 0.3
    return tuple(found)
