# SPDX-License-Identifier: MIT
"""Whether an eigenvalue that changes its sign on a curve of steady states does so beyond doubt.

It must be decided on two sides of the place, pass with a speed that does not vanish, and change its sign in bordered
systems too, which are made of the eigenvectors of the other side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg

from fem_selection.steady.branches.corrector import Corrector, Point
from fem_selection.steady.branches.crossings import Crossing, Rates, find_crossings
from fem_selection.steady.branches.segments import Event, Segment, bordered_eigenvalues
from fem_selection.typing import Complexes, Floats

__all__ = ["confirm_crossing", "critical_vectors", "decided_sides", "why_no_speed"]

_MUCH_NEARER = 0.1  # of the real part of an eigenvalue that passes: distance of others that are not decided
_RATIO = (1.2, 3.0)  # of the real part at a distance to that at half of it; 2 for a speed that does not vanish


def decided_sides(
    segment: Segment, group: Sequence[Event], place: float, *, distance: float
) -> tuple[float, float] | None:
    """The nearest places on both sides at which all that changes in between is decided (collective).

    Args:
        segment: The curve about the place.
        group: What happens at the place.
        place: s, the share of the segment.
        distance: The distance from the place to begin with.

    Returns:
        The two places; None if nothing in the bracket of the events will do.
    """
    low, high = max(e.bracket[0] for e in group), min(e.bracket[1] for e in group)
    wanted = sum(event.crossing is not None for event in group)
    turns = wanted < len(group)
    while True:
        sides = max(low, place - distance), min(high, place + distance)
        crossings, turned = segment.changes(*sides)
        is_last = sides == (low, high)
        if len(crossings) == wanted and turned == turns and (is_last or _stand_out(segment, crossings, sides)):
            return sides
        if is_last:
            return None
        distance *= 10.0


def why_no_speed(segment: Segment, crossings: Sequence[Event], place: float, *, beside: tuple[float, float]) -> str:
    """The reason why an eigenvalue does not pass with a speed on either side; "" if all do (collective).

    Args:
        segment: The curve about the place.
        crossings: The eigenvalues that pass there.
        place: s, the share of the segment.
        beside: The places on both sides.
    """
    for event in crossings:
        assert event.crossing is not None
        for end in beside:
            real = []
            for s in (end, 0.5 * (end + place)):
                number, point = segment.follow(event.crossing, event.bracket, s), segment.point(s)
                if number is None or point is None:
                    return "an eigenvalue changes its sign, but the curve is not reached beside the place"
                real.append(float(point.rates.values[number].real))
            if real[1] == 0.0 or not _RATIO[0] <= real[0] / real[1] <= _RATIO[1]:
                return "an eigenvalue changes its sign, but its speed vanishes there"
    return ""


def confirm_crossing(corrector: Corrector, before: Point, after: Point) -> tuple[float, float] | None:
    """Real parts, by bordered systems, of an eigenvalue that passes; None if one of them does not change its sign.

    On each side the vectors of the other side border the matrix: noise has no vectors in common there.

    Args:
        corrector: The corrector of the curve.
        before: The point on one side.
        after: The point on the other side.
    """
    passing = find_crossings([before.rates, after.rates])
    first: list[float] = []
    last: list[float] = []
    for sign in (1, -1):
        which = [c for c in passing if c.sign == sign]
        ends = (before, [c.before for c in which], -sign), (after, [c.after for c in which], sign)
        for k, (at, numbers, signs) in enumerate(ends):
            if not which:
                continue
            other, its_numbers, _ = ends[1 - k]
            real = _bordered_real_parts(corrector, at, numbers, other=other.rates, numbers=its_numbers)
            error = np.max(at.rates.uncertainties[numbers])
            if not np.all(signs * real > error):
                return None
            (first if at is before else last).append(float(real[np.argmax(np.abs(real))]))
    return (first[0], last[0]) if first and last else None


def critical_vectors(at: Point, sides: tuple[Point, Point], critical: Sequence[int]) -> tuple[Complexes, Complexes]:
    """Right and left eigenvectors of the critical eigenvalues at a place.

    Where one of them meets others that are not decided, its vectors are the means of those beside the place.

    Args:
        at: The point at the place.
        sides: The points on both sides.
        critical: The numbers of the eigenvalues at the place.
    """
    right, left = at.rates.right[:, list(critical)], at.rates.left[:, list(critical)]  # copies
    passing = find_crossings([p.rates for p in sides])
    values = at.rates.values
    for column, number in enumerate(critical):
        near = np.abs(values - values[number]) <= at.rates.zero
        if np.sum(near) <= len(critical) or len(critical) > 1 or not passing:
            continue
        ends = sides[0].rates.right[:, passing[0].before], sides[1].rates.right[:, passing[0].after]
        duals = sides[0].rates.left[:, passing[0].before], sides[1].rates.left[:, passing[0].after]
        turn = np.vdot(ends[1], ends[0])
        turn = turn / abs(turn)
        mean, dual = ends[0] + turn * ends[1], duals[0] + turn * duals[1]
        right[:, column] = mean / np.linalg.norm(mean)
        left[:, column] = dual / np.conj(np.vdot(dual, right[:, column]))
    return right, left


def _stand_out(segment: Segment, crossings: Sequence[Crossing], sides: tuple[float, float]) -> bool:
    """Whether eigenvalues that are not decided are much nearer to the axis, at two places, than those that pass."""
    for k, place in enumerate(sides):
        point = segment.point(place)
        if point is None:
            return False
        rates = point.rates
        for number in (crossing.after if k else crossing.before for crossing in crossings):
            away = np.abs(rates.values - 1j * rates.values[number].imag)[rates.signs == 0]
            size = abs(rates.values[number].real)
            if np.any((away > _MUCH_NEARER * size) & (away < size)):
                return False
    return True


def _bordered_real_parts(
    corrector: Corrector, at: Point, own_numbers: Sequence[int], *, other: Rates, numbers: Sequence[int]
) -> Floats:
    """Real parts of some eigenvalues at a point, from matrices bordered by their vectors at another point.

    Eigenvalues that are nearer to the axis border the matrix too, by their invariant subspaces: they may be defective.
    """
    full, own, _ = corrector.family.at(at.parameter).linearize(at.coordinates)
    matrix = own.T @ full @ own
    found = []
    for mine, number in zip(own_numbers, numbers, strict=True):
        value = other.values[number]
        left, right = own.T @ other.left[:, [number]], own.T @ other.right[:, [number]]
        left = left / np.linalg.norm(left)
        nearer = 0.5 * min(abs(value.real), abs(at.rates.values[mine].real))
        others = _nearer_spaces(matrix, 1j * value.imag, nearer)
        found.append(bordered_eigenvalues(matrix, left, right, shift=1j * value.imag, others=others)[0].real)
    return np.array(found)


def _nearer_spaces(matrix: Floats, shift: complex, distance: float) -> tuple[Complexes, Complexes]:
    """Orthonormal bases of the left and right invariant subspaces of all eigenvalues within a distance of a shift."""
    bases = []
    for a, centre in ((matrix.T, np.conj(shift)), (matrix, shift)):
        _, basis, count = scipy.linalg.schur(
            a.astype(complex), output="complex", sort=lambda value, c=centre: abs(value - c) <= distance
        )
        bases.append(basis[:, :count])
    return bases[0], bases[1]
