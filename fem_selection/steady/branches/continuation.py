# SPDX-License-Identifier: MIT
"""Branches of steady states in one parameter by pseudo-arclength continuation, with their bifurcations.

    G(c, μ) = 0,   t · (x − x_k − Δs t) = 0,   x = (c, μ)

in the coordinates of `equilibria.reduction`, in which an affine family f* + ker K is a single point and not a
bifurcation.  The branch of a state is followed both ways from where the state is.  At branch points the crossing curve
is followed to both sides.  Branches that none of these reaches are sought by deflation at some values of μ; what is not
found there may exist all the same.  All of it ends with a budget of points, branches and time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from time import perf_counter

import numpy as np
from mpi4py import MPI

from fem_selection.errors import InvalidInput, NotConverged
from fem_selection.settings import StabilitySettings
from fem_selection.steady.branches.bifurcations import Bifurcation, Undecided, are_same, find_bifurcations
from fem_selection.steady.branches.corrector import Corrector, Point
from fem_selection.steady.branches.diagram import Branch, Diagram, choose_unit, in_units, with_parameter_in_units
from fem_selection.steady.branches.disconnected import BranchSearch, find_disconnected, is_among
from fem_selection.steady.equilibria.newton import solve_newton
from fem_selection.steady.equilibria.reduction import LINE_SEARCH, ReducedEquation, ReducedFamily
from fem_selection.typing import Floats

__all__ = ["Branch", "Diagram", "continue_branches", "solve_steady"]

_LARGEST = 1e3  # norm of a state, in units of the range and of 1, at which a branch ends
_SMALLEST_STEP = 1e-4  # of the largest step
_TURN = 0.95  # cosine of the largest angle between tangents
_SAME_STATE = 1e-6  # of 1 + |c|: the distance within which two points of curves are the same
_ON_CURVE = 0.05  # of the step: distance from a known branch within which a curve runs along it
_ROUND_OFF = 1e-12  # of the parameter: its change that is no change
_SHORT = 1e-6  # of 1 + |c|: a Newton step after which a state counts as reached
_SHRINKS = 0.95  # ratio of Newton steps near a zero of any multiplicity up to twenty
_CLOSED = "the curve closes"


def solve_steady(family: ReducedFamily, start: Floats, parameter: float) -> Floats:
    """The steady state of the reduced equation that Newton's method reaches at a fixed parameter (collective).

    Args:
        family: The reduced equation as a function of the parameter.
        start: The first c, shape (r,); not changed.
        parameter: The value of μ.

    Returns:
        The steady c, shape (r,).

    Raises:
        NotConverged: if the residual does not fall to round-off.
    """
    run = solve_newton(family.at(parameter), start, line_search=LINE_SEARCH)
    if not run.converged:
        size = run.residuals[-1]
        raise NotConverged(
            f"no steady state near the start: Newton's method stopped with a residual of {size:.2e}: {run.reason}"
        )
    if _recedes(family.at(parameter), run.solution):
        raise NotConverged(
            f"no steady state near the start: the residual falls to {run.residuals[-1]:.2e}, but Newton's steps do not "
            "become shorter, as where it vanishes at infinity only"
        )
    return run.solution


def _recedes(equation: ReducedEquation, c: Floats) -> bool:
    """Whether Newton's steps from a state of small residual neither are short nor become shorter (collective)."""
    sizes = []
    for _ in range(2):
        try:
            step, _ = equation.newton_step(c, equation.residual(c))
        except NotConverged:
            return False
        c = c - step
        sizes.append(float(np.linalg.norm(step)))
    short = _SHORT * (1.0 + float(np.linalg.norm(c)))
    return sizes[0] > short and sizes[1] >= _SHRINKS * sizes[0]


def continue_branches(
    family: ReducedFamily,
    start: Floats,
    *,
    lower: float,
    upper: float,
    at: float | None = None,
    step: float | None = None,
    points: int = StabilitySettings.points,
    branches: int = StabilitySettings.branches,
    searches: int = StabilitySettings.searches,
    seconds: float = StabilitySettings.seconds,
) -> Diagram:
    """Follow the steady state near `start` both ways through a range of the parameter (collective).

    The branches that leave it are followed, and those that deflation finds beside them.

    Args:
        family: The reduced equation as a function of the parameter.
        start: c near a steady state at `at`, shape (r,).
        lower: End of the range from which on the branch is followed first; it may be the larger one.
        upper: The other end of the range.
        at: Value of the parameter at the start, in the range; `lower` if None.
        step: Largest step along a branch; a fiftieth of the range if None.
        points: Largest number of points on a branch, in each of its two directions.
        branches: Largest number of branches.
        searches: Number of values of the parameter at which other branches are sought.
        seconds: Time after which nothing more is begun.

    Raises:
        InvalidInput: if the kernel is zero in the whole range, or `at` lies outside of it.
        NotConverged: if Newton's method finds no steady state near the start.
    """
    if not family.dimension:
        raise InvalidInput("the kernel is zero in the whole range: every state, or none, is steady")
    at = lower if at is None else at
    low, high = sorted((lower, upper))
    if not low <= at <= high:
        raise InvalidInput(f"the state is given at {at:g}, outside of the range from {low:g} to {high:g}")
    if (unit := choose_unit(high - low)) != 1.0:
        diagram = continue_branches(
            with_parameter_in_units(family, unit),
            start,
            lower=lower / unit,
            upper=upper / unit,
            at=at / unit,
            step=None if step is None else step / unit,
            points=points,
            branches=branches,
            searches=searches,
            seconds=seconds,
        )
        return in_units(diagram, unit)
    scale = high - low
    corrector, limit = Corrector(family, low, high), _TimeLimit(family.space.comm, seconds)
    walker = _Walker(_Follower(corrector, low, high, scale / 50 if step is None else step, points, limit), branches)
    x = np.append(solve_steady(family, start, at), at)
    ahead = np.eye(x.size)[-1] * np.sign(upper - lower)
    walker.add_state(corrector.point(x, ahead), "state")
    values = (low + (np.arange(searches) + 0.5) / searches * scale).tolist() if searches else []
    done: list[BranchSearch] = []
    for value in values:
        if limit.is_over() or walker.is_full:
            break
        states, search = find_disconnected(family.at(value), walker.states_at(value), value, slope=corrector.slope)
        done.append(search)
        for c in states:
            if walker.has(value, c):  # the branch of another of these states leads there
                continue
            walker.add_state(corrector.point(np.append(c, value), ahead), "deflation")
    if len(done) < len(values):
        walker.limits.append(f"{len(values) - len(done)} of {len(values)} searches for other branches were not begun")
    return walker.diagram(tuple(done))


class _TimeLimit:
    """A time that all ranks agree is over."""

    def __init__(self, comm: MPI.Intracomm, seconds: float) -> None:
        self._comm, self.seconds, self._end = comm, seconds, perf_counter() + seconds

    def is_over(self) -> bool:
        """Whether the time is over (collective)."""
        return bool(self._comm.bcast(perf_counter() > self._end))


class _Walker:
    """Follows branches, and those that leave them, one after the other."""

    def __init__(self, follower: _Follower, most: int) -> None:
        self._follower, self._most = follower, most
        self._branches: list[Branch] = []
        self._found: list[tuple[int, Bifurcation]] = []
        self._doubts: list[Undecided] = []
        self._left_out: dict[str, int] = {}
        self.limits: list[str] = []

    @property
    def is_full(self) -> bool:
        """Whether there are as many branches as are allowed."""
        return len(self._branches) >= self._most

    def add_state(self, begin: Point, origin: str) -> None:
        """Follow the branch of a state both ways, then all that leave it."""
        if self.is_full:
            self._note_limit(1)
            return
        waiting = self._add(self._follower.follow_both_ways(begin, origin, self._branches), begins_at_root=False)
        while waiting:
            if self.is_full or self._follower.limit.is_over():
                self._note_limit(len(waiting))
                return
            departure, root, parent = waiting.pop(0)
            branch = self._follower.follow(departure, root, parent, self._branches)
            waiting += self._add(branch, begins_at_root=True)

    def _note_limit(self, count: int) -> None:
        why = f"{self._most} branches are the limit" if self.is_full else f"{self._follower.limit.seconds:g} s are over"
        self._left_out[why] = self._left_out.get(why, 0) + count

    def _add(self, branch: Branch, *, begins_at_root: bool) -> list[tuple[Point, Point, int]]:
        """Keep a branch, find its bifurcations, and return where others leave it."""
        number, scale = len(self._branches), self._follower.scale
        self._branches.append(branch)
        points = branch.points[1:] if begins_at_root else branch.points
        found, doubts = find_bifurcations(self._follower.corrector, points, scale=scale)
        self._doubts += doubts
        waiting = []
        for new in found:
            if any(are_same(new.point, known.point, scale=scale) for _, known in self._found):
                continue
            self._found.append((number, new))
            waiting += [(p, new.point, number) for p in new.departures if self._follower.is_in_range(p)]
        return waiting

    def states_at(self, value: float) -> list[Floats]:
        """The coordinates c of the states of all branches at a value of the parameter."""
        states = []
        for a, b in (pair for branch in self._branches for pair in pairwise(branch.points)):
            if (a.parameter - value) * (b.parameter - value) > 0 or a.parameter == b.parameter:
                continue
            guess = a.x + (value - a.parameter) / (b.parameter - a.parameter) * (b.x - a.x)
            guess[-1] = value
            x = self._follower.corrector.correct(guess, np.eye(guess.size)[-1])
            if x is not None:
                states.append(x[:-1])
        return states

    def has(self, value: float, c: Floats) -> bool:
        """Whether a branch has the state c, modulo ker K, at a value of the parameter."""
        return is_among(self._follower.corrector.family.at(value), c, self.states_at(value))

    def diagram(self, searches: tuple[BranchSearch, ...]) -> Diagram:
        """What was found."""
        reasons = dict.fromkeys(doubt.reason for doubt in self._doubts)
        undecided = []
        for reason in reasons:
            same = [doubt for doubt in self._doubts if doubt.reason == reason]
            ends = min(d.lower for d in same), max(d.upper for d in same)
            undecided.append(Undecided(lower=ends[0], upper=ends[1], reason=reason))
        for why, count in self._left_out.items():
            self.limits.append(f"{count} further branch{'es were' if count > 1 else ' was'} not followed: {why}")
        if self._follower.is_cut:
            self.limits.append(f"a branch was cut off: {self._follower.limit.seconds:g} s are over")
        return Diagram(
            branches=tuple(self._branches),
            bifurcations=tuple(b for _, b in self._found),
            branch_of=tuple(number for number, _ in self._found),
            undecided=tuple(undecided),
            searches=searches,
            limits=tuple(self.limits),
        )


class _Follower:
    """Follows one curve step by step."""

    def __init__(
        self, corrector: Corrector, lower: float, upper: float, step: float, max_points: int, limit: _TimeLimit
    ) -> None:
        self.corrector, self.lower, self.upper, self.limit = corrector, lower, upper, limit
        self.step, self.max_points, self.scale = step, max_points, upper - lower
        self.is_cut = False

    def is_in_range(self, point: Point) -> bool:
        """Whether the parameter of a point is in the range."""
        return self.lower <= point.parameter <= self.upper

    def follow(self, begin: Point, root: Point, parent: int, known: Sequence[Branch]) -> Branch:
        """The branch from a bifurcation through a first point, until it leaves the range or ends otherwise."""
        points = [root, begin]
        ending = self._extend(points, known)
        return Branch(
            points=tuple(points), parent=parent, origin="bifurcation", start=0, beginning="a bifurcation", ending=ending
        )

    def follow_both_ways(self, begin: Point, origin: str, known: Sequence[Branch]) -> Branch:
        """The branch through a point, in both directions from it."""
        ahead, back = [begin], [_reversed(begin)]
        ending = self._extend(ahead, known)
        beginning = ending if ending == _CLOSED else self._extend(back, known)
        points = [_reversed(p) for p in back[:0:-1]] + ahead
        return Branch(
            points=tuple(points), parent=None, origin=origin, start=len(back) - 1, beginning=beginning, ending=ending
        )

    def _extend(self, points: list[Point], known: Sequence[Branch]) -> str:
        """Append the points of a curve beyond its last one, and return why it ends."""
        step = self.step
        while len(points) < self.max_points:
            if self.limit.is_over():
                self.is_cut = True
                return "the time is over"
            last = points[-1]
            guess = last.x + step * last.tangent
            x = self.corrector.correct(guess, last.tangent)
            new = None if x is None else self.corrector.point(x, last.tangent)
            if new is None and not self.lower <= guess[-1] <= self.upper and self._reaches_bound(points, guess, step):
                return "the range ends"
            if new is None or self._jumps(last, new, step):
                step *= 0.5
                if step < _SMALLEST_STEP * self.step:
                    return "the corrector fails"
                continue
            if not self.is_in_range(new):
                self._end_at_bound(points, new)
                return "the range ends"
            points.append(new)
            if np.linalg.norm(new.coordinates) > _LARGEST * max(1.0, self.scale):
                return "the state becomes large"
            if self._closes(points, step):
                return _CLOSED
            if (number := self._retraces(points, known, step)) is not None:
                return f"it runs along branch {number}"
            step = min(self.step, 1.3 * step)
        return "the limit of points is reached"

    def _jumps(self, last: Point, new: Point, step: float) -> bool:
        turned = float(new.tangent @ last.tangent) < _TURN
        return turned or float(np.linalg.norm(new.x - last.x)) > 1.5 * step

    def _reaches_bound(self, points: list[Point], beyond: Floats, step: float) -> bool:
        """Append the point on the bound of the range, and return whether it is there, if nothing is found beyond."""
        last = points[-1]
        if last.parameter in (self.lower, self.upper):
            return True
        end = self._on_bound(last, beyond)
        if end is None or self._jumps(last, end, step):
            return False
        points.append(end)
        return True

    def _end_at_bound(self, points: list[Point], beyond: Point) -> None:
        """Append the last point, on the bound of the range that the branch has passed."""
        end = self._on_bound(points[-1], beyond.x)
        if end is not None:
            points.append(end)

    def _on_bound(self, last: Point, beyond: Floats) -> Point | None:
        """The point of the branch on the bound of the range between a point and another one beyond it, or None."""
        bound = self.upper if beyond[-1] > self.upper else self.lower
        part = (bound - last.parameter) / (beyond[-1] - last.parameter)
        if part <= 1e-9:
            return None
        guess = last.x + part * (beyond - last.x)
        guess[-1] = bound
        x = self.corrector.correct(guess, np.eye(guess.size)[-1])
        return None if x is None else self.corrector.point(x, last.tangent)

    def _closes(self, points: list[Point], step: float) -> bool:
        first, last = points[0], points[-1]
        return len(points) > 5 and float(np.linalg.norm(last.x - first.x)) < 0.7 * step

    def _retraces(self, points: list[Point], known: Sequence[Branch], step: float) -> int | None:
        """The number of a known branch on which the last three points lie; None without one."""
        if len(points) < 4:
            return None
        for number, branch in enumerate(known):
            curve = np.array([p.x for p in branch.points])
            if len(curve) > 1 and all(_away(curve, p.x)[0] < _ON_CURVE * step for p in points[-3:]):
                last, near = points[-1], _away(curve, points[-1].x)[1]
                guess = near + ((last.x - near) @ last.tangent) * last.tangent
                x = self.corrector.correct(guess, last.tangent)  # the point of that branch beside the last one
                same = _SAME_STATE * (1.0 + float(np.linalg.norm(last.coordinates)))
                if x is not None and np.linalg.norm(x - last.x) <= same + _ROUND_OFF * abs(last.parameter):
                    return number
        return None


def _reversed(point: Point) -> Point:
    """The same point of the curve in the opposite direction."""
    return replace(point, tangent=-point.tangent)


def _away(curve: Floats, x: Floats) -> tuple[float, Floats]:
    """The distance of a point from a polygon, given by its corners, shape (n, r + 1), and the nearest point there."""
    sides = np.diff(curve, axis=0)
    away = x - curve[:-1]
    share = np.clip(np.sum(away * sides, axis=1) / np.maximum(np.sum(sides * sides, axis=1), 1e-300), 0.0, 1.0)
    distances = np.linalg.norm(away - share[:, None] * sides, axis=1)
    nearest = int(np.argmin(distances))
    return float(distances[nearest]), curve[nearest] + share[nearest] * sides[nearest]
