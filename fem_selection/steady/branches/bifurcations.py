# SPDX-License-Identifier: MIT
"""Bifurcations on a curve of steady states, each confirmed by a second route.

| kind | what happens | beside the eigenvalue, confirmed by |
|---|---|---|
| fold | the parameter turns, and one real eigenvalue passes zero | two places, found apart, that agree |
| pitchfork | another curve crosses, symmetric about μ₀: μ − μ₀ ~ δ² on it | bordered systems; the other curve |
| transcritical | another curve crosses with μ − μ₀ ~ δ | bordered systems; the other curve |
| exchange of stability | a line of steady states at μ₀ itself: a direction enters ker K | bordered systems; the line |
| branch point | another curve leaves, and is not reached on both sides | bordered systems |
| hopf | a complex pair ±iω passes the imaginary axis | bordered systems |
| multiple | several eigenvalues reach the axis at one place | bordered systems; `branch_directions` |

An eigenvalue counts if it is decided on either side (`crossings`) and passes with a speed that does not vanish: its
share of the distance is the same at half the distance.  What fails one of these tests is no bifurcation here, but one
`Undecided` with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fem_selection.steady.branches.branch_directions import BranchDirection, MultiplePoint, find_branch_directions
from fem_selection.steady.branches.branch_points import DEPARTURE, BranchPoint
from fem_selection.steady.branches.confirmation import (
    confirm_crossing,
    critical_vectors,
    decided_sides,
    why_no_speed,
)
from fem_selection.steady.branches.corrector import Corrector, Point
from fem_selection.steady.branches.crossings import find_crossings
from fem_selection.steady.branches.segments import Event, Segment
from fem_selection.typing import Complexes

__all__ = ["Bifurcation", "Undecided", "are_same", "find_bifurcations"]

_BESIDE = 1e-4  # of the range: distance at which the two sides of a bifurcation are examined, if they are decided there
_ALONG = 0.99  # cosine of the angle of two directions that are one
_NEAR_GUESS = 0.3  # distance of a point of another curve from its guess, relative to that from the bifurcation
_TOGETHER = 1e-6  # of the range: places so near to each other are one
_STEPS = 3  # largest number of steps between the points at which an eigenvalue is decided
_SAME = 1e-3  # of the range, and of 1 + |c|: distance at which two bifurcations are one
_AT_ONCE = 0.1  # the same on one curve, relative to that
_TOUCHES = 1e-3  # of its value beside it: an eigenvalue so small reaches zero


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
        accuracy: Distance along the curve between the places that the routes give.
        uncertainty: Uncertainty of the parameter μ₀: that of the eigenvalue over its speed, or at a fold that of the
            equation.
        right: Right eigenvectors of V* σ'(g) K V in the coordinates c, of unit length, complex, shape (r, k), for the k
            eigenvalues that reach the imaginary axis there: zeros, or at a Hopf point the one iω, ω > 0.
        left: The left eigenvectors, scaled so that leftᴴ right = 1, shape (r, k).
        witnesses: Real part of the critical eigenvalue before and after, along the curve, by bordered systems; zeros
            where the parameter turns and no eigenvalue changes sign.
        multiple: The directions of all branches, where several real eigenvalues reach zero together; else None.
        frequencies: |ω| of the eigenvalues that reach the imaginary axis there, one for each pair, 0 for a real one.
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
    witnesses: tuple[float, float] = (0.0, 0.0)
    multiple: MultiplePoint | None = None
    frequencies: tuple[float, ...] = ()

    @property
    def parameter(self) -> float:
        """The value μ₀ of the parameter at the bifurcation."""
        return self.point.parameter

    @property
    def side(self) -> float:
        """1 if more eigenvalues are unstable above μ₀, else −1."""
        return 1.0 if self.unstable[1] > self.unstable[0] else -1.0


@dataclass(frozen=True, kw_only=True)
class Undecided:
    """A stretch of a curve on which it is not decided whether there is a bifurcation.

    Attributes:
        lower: Smallest value of the parameter on it.
        upper: Largest value of the parameter on it.
        reason: Why it is not decided, as a phrase.
    """

    lower: float
    upper: float
    reason: str


def find_bifurcations(
    corrector: Corrector, points: Sequence[Point], *, scale: float
) -> tuple[list[Bifurcation], list[Undecided]]:
    """Find the bifurcations on a curve, and the stretches on which there may be others (collective).

    Args:
        corrector: The corrector of the curve.
        points: Consecutive points of the curve.
        scale: Length of the parameter's range.
    """
    found: list[Bifurcation] = []
    doubts: list[Undecided] = []

    def is_known(point: Point | None) -> bool:
        return point is not None and any(are_same(point, b.point, scale=_AT_ONCE * scale) for b in found)

    for first, last in _stretches(points):
        a, b = points[first], points[last]
        if last - first > _STEPS:
            if not any(_is_between(a, b, known.point) for known in found):
                doubts.append(_doubt(a, b, "an eigenvalue changes its sign after a stretch on which it is not decided"))
            continue
        segment = Segment(corrector, a, b)
        events = segment.events()
        if not events:
            doubts.append(_doubt(a, b, "an eigenvalue changes its sign, but the place is not found"))
        for group in _groups(events, _TOGETHER * scale / segment.length):
            if is_known(segment.point(group[0].place)):
                continue
            result = _examine(corrector, segment, group, scale)
            if isinstance(result, Bifurcation):
                found.append(result)
            else:
                doubts.append(_doubt(a, b, result))
    return found, doubts


def are_same(a: Point, b: Point, *, scale: float) -> bool:
    """Whether bifurcations at two points are one.

    Args:
        a: The one point.
        b: The other point.
        scale: Length of the parameter's range.
    """
    away = float(np.linalg.norm(a.coordinates - b.coordinates))
    size = min(scale, 1.0 + float(np.linalg.norm(a.coordinates)))  # states do not know the units of the parameter
    return abs(a.parameter - b.parameter) <= _SAME * scale and away <= _SAME * size


def _doubt(a: Point, b: Point, reason: str) -> Undecided:
    lower, upper = sorted((a.parameter, b.parameter))
    return Undecided(lower=lower, upper=upper, reason=reason)


def _is_between(a: Point, b: Point, point: Point) -> bool:
    """Whether a point lies between two others of a curve, as seen along their chord."""
    chord = b.x - a.x
    return bool(0.0 <= (point.x - a.x) @ chord <= chord @ chord)


def _stretches(points: Sequence[Point]) -> list[tuple[int, int]]:
    """Numbers of points between which eigenvalues pass the axis or the parameter turns, the shortest stretches first.

    Small eigenvalues are decided only far from the place at which they pass together with larger ones.
    """
    passing = {(c.first, c.last) for c in find_crossings([p.rates for p in points])}
    known = [k for k, p in enumerate(points) if p.heading]
    stretches = set(passing)
    for i, j in pairwise(known):
        if points[i].heading != points[j].heading:
            over = [(i, j), *((a, b) for a, b in passing if a < j and i < b and b - a <= _STEPS)]
            stretches.add((min(a for a, _ in over), max(b for _, b in over)))
    return sorted(stretches, key=lambda ends: (ends[1] - ends[0], ends[0]))


def _groups(events: Sequence[Event], together: float) -> list[list[Event]]:
    """Events at one place each."""
    groups: list[list[Event]] = []
    for event in events:
        if groups and event.place - groups[-1][-1].place <= together:
            groups[-1].append(event)
        else:
            groups.append([event])
    return groups


def _examine(corrector: Corrector, segment: Segment, group: list[Event], scale: float) -> Bifurcation | str:
    """The bifurcation at a place, or the reason why it is not decided that there is one."""
    place = float(np.mean([event.place for event in group]))
    crossings = [event for event in group if event.crossing is not None]
    turns = len(crossings) < len(group)
    at = segment.point(place)
    beside = decided_sides(segment, group, place, distance=_BESIDE * scale / segment.length)
    if at is None or beside is None:
        return "an eigenvalue changes its sign, but on no two sides of the place it is decided"
    before, after = (segment.point(s) for s in beside)
    assert before is not None and after is not None
    if crossings and (reason := why_no_speed(segment, crossings, place, beside=beside)):
        return reason
    witnesses = (0.0, 0.0)
    if crossings:
        confirmed = confirm_crossing(corrector, before, after)
        if confirmed is None:
            return "an eigenvalue changes its sign, but bordered systems do not confirm it"
        witnesses = confirmed
    return _classify(corrector, at, (before, after), _Facts(group, segment, place, turns, witnesses, scale))


@dataclass(frozen=True)
class _Facts:
    """What is known of a place beside its points."""

    group: list[Event]
    segment: Segment
    place: float
    turns: bool
    witnesses: tuple[float, float]
    scale: float

    @property
    def accuracy(self) -> float:
        places = [event.place for event in self.group]
        return (max(places) - min(places)) * self.segment.length


def _classify(corrector: Corrector, at: Point, sides: tuple[Point, Point], facts: _Facts) -> Bifurcation | str:
    """Classify a place by what changes there and by the points beside it."""
    before, after = sides
    counts = before.unstable, after.unstable
    passing = [e for e in facts.group if e.crossing is not None]
    numbers = [facts.segment.follow(e.crossing, e.bracket, facts.place) for e in passing if e.crossing is not None]
    critical = [number for number in numbers if number is not None]
    right, left = critical_vectors(at, sides, critical)
    complex_ones = [k for k in critical if at.rates.is_complex[k]]
    kind, frequency, criticality = "multiple", 0.0, ""
    departures: tuple[Point, ...] = ()
    if len(critical) == 1 and complex_ones and not facts.turns:
        kind, frequency = "hopf", abs(float(at.rates.values[critical[0]].imag))
    elif len(critical) == 1 and facts.turns and not complex_ones:
        kind = "fold"
    elif not critical or (len(critical) == 1 and not complex_ones):
        if not critical:
            nearest = int(np.argmin(np.abs(at.rates.values)))
            size = min(float(np.min(np.abs(p.rates.values))) for p in sides)
            if abs(at.rates.values[nearest]) > max(_TOUCHES * size, at.rates.uncertainties[nearest], at.rates.zero):
                return "the parameter turns, but no eigenvalue reaches zero"
            critical = [nearest]
            right, left = at.rates.right[:, critical], at.rates.left[:, critical]
        direction = corrector.crossing_direction(at, np.real(right[:, 0]))
        error = _uncertainty(corrector, at, sides, critical, facts)
        known = BranchPoint(corrector=corrector, at=at, uncertainty=error, scale=facts.scale)
        departures = known.depart(direction)
        if facts.turns and len(departures) < 2:
            return "the parameter turns, but no eigenvalue is seen to change its sign, and no other curve is found"
        kind, criticality = known.classify(sides, _farther(facts, sides), departures=departures)
    uncertainty = _uncertainty(corrector, at, sides, critical, facts)
    multiple: MultiplePoint | None = None
    if kind == "multiple" and not complex_ones:
        multiple = find_branch_directions(corrector.family, at.coordinates, at.parameter, uncertainty=uncertainty)
        departures = _depart_in_all_directions(corrector, at, multiple.directions, facts.scale)
    if kind == "exchange of stability":
        departures = ()
    if kind != "fold" and after.parameter < before.parameter:
        counts = counts[::-1]
    return Bifurcation(
        kind=kind,
        point=at,
        frequency=frequency,
        criticality=criticality,
        unstable=counts,
        departures=departures,
        accuracy=facts.accuracy,
        uncertainty=uncertainty,
        right=right,
        left=left @ np.linalg.pinv(right.conj().T @ left) if len(critical) > 1 else left,
        witnesses=facts.witnesses,
        multiple=multiple,
        frequencies=tuple(abs(float(at.rates.values[k].imag)) if k in complex_ones else 0.0 for k in critical),
    )


def _uncertainty(
    corrector: Corrector, at: Point, sides: tuple[Point, Point], critical: list[int], facts: _Facts
) -> float:
    """The uncertainty of μ₀: an eigenvalue's over its speed, or where the parameter turns that of the equation."""
    residual = corrector.accepted(at.x)
    if facts.turns:
        w, matrix = corrector.derivative(at.x)
        left = w.T @ np.real(at.rates.left[:, critical[0]])
        push = abs(float(left @ matrix[:, -1])) / max(float(np.linalg.norm(left)), 1e-300)
        return residual / push if push > residual else abs(sides[0].parameter - at.parameter)
    error = float(np.max(at.rates.uncertainties[critical]))
    speed = abs(facts.witnesses[1] - facts.witnesses[0]) / max(abs(sides[1].parameter - sides[0].parameter), 1e-300)
    spread = facts.accuracy * abs(float(at.tangent[-1]))
    return spread + (error + residual) / speed if speed else abs(sides[1].parameter - sides[0].parameter)


def _farther(facts: _Facts, sides: tuple[Point, Point]) -> tuple[Point, Point]:
    """Points of the curve on both sides of a place, far enough from it to see its shape."""
    away = DEPARTURE * facts.scale / facts.segment.length
    found = facts.segment.point(facts.place - away), facts.segment.point(facts.place + away)
    return sides[0] if found[0] is None else found[0], sides[1] if found[1] is None else found[1]


def _depart_in_all_directions(
    corrector: Corrector, at: Point, directions: Sequence[BranchDirection], scale: float
) -> tuple[Point, ...]:
    """Points of all other curves through a multiple point, on both sides of it, where the corrector finds them."""
    found: list[Point] = []
    for direction in directions:
        if abs(float(direction.tangent(0.0) @ at.tangent)) > _ALONG:
            continue  # the curve itself
        for sign in (1.0, -1.0):
            length = sign * DEPARTURE * scale
            for _ in range(5):
                guess, along = direction.at(at.coordinates, at.parameter, length), sign * direction.tangent(length)
                x = corrector.correct(guess, along)
                if x is not None and np.linalg.norm(x - guess) < _NEAR_GUESS * abs(length):
                    found.append(corrector.point(x, along))
                    break
                length *= 0.3
    return tuple(found)
