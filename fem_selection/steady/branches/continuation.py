# SPDX-License-Identifier: MIT
"""Branches of steady states in one parameter by pseudo-arclength continuation, with their bifurcations.

    G(c, μ) = 0,   t · (x − x_k − Δs t) = 0,   x = (c, μ)

in the coordinates of `equilibria.reduction`, in which an affine family f* + ker K is a single point and not a
bifurcation.  At branch points the crossing curve is followed to both sides, so that the diagram shows all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fem_selection.errors import InvalidInput, NotConverged
from fem_selection.settings import StabilitySettings
from fem_selection.steady.branches.bifurcations import Bifurcation, find_bifurcations
from fem_selection.steady.branches.corrector import Corrector, Point
from fem_selection.steady.equilibria.newton import solve_newton
from fem_selection.steady.equilibria.reduction import LINE_SEARCH, ReducedFamily
from fem_selection.typing import Floats

__all__ = ["Branch", "Diagram", "continue_branches", "solve_steady"]

_LARGEST = 1e3  # norm of a state, in units of the range and of 1, at which a branch ends
_SMALLEST_STEP = 1e-4  # of the largest step
_TURN = 0.95  # cosine of the largest angle between tangents
_SAME = 1e-3  # of the range: distance at which two branch points are one


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A curve of steady states.

    Attributes:
        points: The points in the order along the curve.
        parent: Number of the branch from which it branches off; None for the first branch.
        ending: Why the branch ends, as a phrase.
    """

    points: tuple[Point, ...]
    parent: int | None
    ending: str


@dataclass(frozen=True, kw_only=True)
class Diagram:
    """Branches and the bifurcations on them.

    Attributes:
        branches: The first branch, then those that branch off.
        bifurcations: The bifurcations in the order in which they were found.
        branch_of: The number of the branch on which each bifurcation lies.
    """

    branches: tuple[Branch, ...]
    bifurcations: tuple[Bifurcation, ...]
    branch_of: tuple[int, ...]


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
    return run.solution


def continue_branches(
    family: ReducedFamily,
    start: Floats,
    *,
    lower: float,
    upper: float,
    step: float | None = None,
    points: int = StabilitySettings.points,
    branches: int = StabilitySettings.branches,
) -> Diagram:
    """Follow the steady state near `start` from `lower` through the range, and the branches that leave it (collective).

    Args:
        family: The reduced equation as a function of the parameter.
        start: c near a steady state at `lower`, shape (r,).
        lower: Value of the parameter at which the first branch begins.
        upper: The other end of the range.
        step: Largest step along a branch; a fiftieth of the range if None.
        points: Largest number of points on a branch.
        branches: Largest number of branches.

    Raises:
        InvalidInput: if the kernel is zero in the whole range.
        NotConverged: if Newton's method finds no steady state near the start.
    """
    if not family.dimension:
        raise InvalidInput("the kernel is zero in the whole range: every state, or none, is steady")
    scale = upper - lower
    corrector = Corrector(family, scale)
    follower = _Follower(corrector, lower, upper, scale / 50 if step is None else step, points)
    x = np.append(solve_steady(family, start, lower), lower)
    found_branches: list[Branch] = []
    bifurcations: list[Bifurcation] = []
    branch_of: list[int] = []
    waiting: list[tuple[Point, Point | None, int | None]] = [(corrector.point(x, np.eye(x.size)[-1]), None, None)]
    while waiting and len(found_branches) < branches:
        begin, root, parent = waiting.pop(0)
        branch = follower.follow(begin, root, parent)
        number = len(found_branches)
        found_branches.append(branch)
        for found in follower.bifurcations(branch, begins_at_root=root is not None):
            if any(_is_same(found, known, scale) for known in bifurcations):
                continue
            bifurcations.append(found)
            branch_of.append(number)
            waiting += [(departure, found.point, number) for departure in found.departures]
    return Diagram(branches=tuple(found_branches), bifurcations=tuple(bifurcations), branch_of=tuple(branch_of))


def _is_same(a: Bifurcation, b: Bifurcation, scale: float) -> bool:
    return a.kind == b.kind and float(np.linalg.norm(a.point.x - b.point.x)) < _SAME * scale


class _Follower:
    """Follows one curve step by step."""

    def __init__(self, corrector: Corrector, lower: float, upper: float, step: float, max_points: int) -> None:
        self.corrector, self.lower, self.upper = corrector, lower, upper
        self.step, self.max_points, self.scale = step, max_points, upper - lower

    def follow(self, begin: Point, root: Point | None, parent: int | None) -> Branch:
        """The branch from a point in the direction of its tangent, until it leaves the range or ends otherwise."""
        points = [begin] if root is None else [root, begin]
        ending = self._extend(points)
        return Branch(points=tuple(points), parent=parent, ending=ending)

    def _extend(self, points: list[Point]) -> str:
        """Append the points of a curve beyond its last one, and return why it ends."""
        step = self.step
        while len(points) < self.max_points:
            last = points[-1]
            x = self.corrector.correct(last.x + step * last.tangent, last.tangent)
            new = None if x is None else self.corrector.point(x, last.tangent)
            if new is None or self._jumps(last, new, step):
                step *= 0.5
                if step < _SMALLEST_STEP * self.step:
                    return "the corrector fails"
                continue
            if not self.lower <= new.parameter <= self.upper:
                self._end_at_bound(points, new)
                return "the range ends"
            points.append(new)
            if np.linalg.norm(new.coordinates) > _LARGEST * max(1.0, self.scale):
                return "the state becomes large"
            if self._closes(points, step):
                return "the curve closes"
            step = min(self.step, 1.3 * step)
        return "the limit of points is reached"

    def bifurcations(self, branch: Branch, begins_at_root: bool) -> list[Bifurcation]:
        """All bifurcations between consecutive points of a branch, without its root, which is known already."""
        points = branch.points[1:] if begins_at_root else branch.points
        found: list[Bifurcation] = []
        for a, b in pairwise(points):
            found += find_bifurcations(self.corrector, a, b, scale=self.scale)
        return found

    def _jumps(self, last: Point, new: Point, step: float) -> bool:
        turned = float(new.tangent @ last.tangent) < _TURN
        return turned or float(np.linalg.norm(new.x - last.x)) > 1.5 * step

    def _end_at_bound(self, points: list[Point], beyond: Point) -> None:
        """Append the last point, on the bound of the range that the branch has passed."""
        last = points[-1]
        bound = self.upper if beyond.parameter > self.upper else self.lower
        part = (bound - last.parameter) / (beyond.parameter - last.parameter)
        if part <= 1e-9:
            return
        guess = last.x + part * (beyond.x - last.x)
        guess[-1] = bound
        x = self.corrector.correct(guess, np.eye(guess.size)[-1])
        if x is not None:
            points.append(self.corrector.point(x, last.tangent))

    def _closes(self, points: list[Point], step: float) -> bool:
        first, last = points[0], points[-1]
        return len(points) > 5 and float(np.linalg.norm(last.x - first.x)) < 0.7 * step
