# SPDX-License-Identifier: MIT
"""The branches and bifurcations that a continuation found, and the units in which it measures the parameter.

    x = (c, μ/u),    u = 2^k near the length of the range, or 1 for ranges of length about 1

Steps and distances between points of a curve are measured in c and μ together.  In units of its range the parameter is
of the size of most states, so that an answer does not depend on the units in which a user writes the parameter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fem_selection.steady.branches.bifurcations import Bifurcation, Undecided
from fem_selection.steady.branches.branch_directions import MultiplePoint
from fem_selection.steady.branches.corrector import Point
from fem_selection.steady.branches.disconnected import BranchSearch
from fem_selection.steady.equilibria.reduction import ReducedEquation, ReducedFamily

__all__ = ["Branch", "Diagram", "choose_unit", "in_units", "with_parameter_in_units"]

_ABOUT_ONE = (0.1, 10.0)  # lengths of a range whose parameter keeps its units


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A curve of steady states.

    Attributes:
        points: The points in the order along the curve.
        parent: Number of the branch from which it branches off; None for one that was begun at a state.
        origin: "state" for the branch of the given state, "bifurcation", or "deflation" for one that no other reaches.
        start: Number of the point at which it was begun.
        beginning: Why it ends at its first point, as a phrase.
        ending: Why it ends at its last point, as a phrase.
    """

    points: tuple[Point, ...]
    parent: int | None
    origin: str
    start: int
    beginning: str
    ending: str

    @property
    def drift(self) -> float:
        """The largest ‖σ(g)‖ of its points: if it is not zero, g rests and f moves within ker K."""
        return max(p.drift for p in self.points)


@dataclass(frozen=True, kw_only=True)
class Diagram:
    """Branches and the bifurcations on them.

    Attributes:
        branches: The branch of the given state, then those that branch off, then those that deflation found.
        bifurcations: The bifurcations in the order in which they were found.
        branch_of: The number of the branch on which each bifurcation lies.
        undecided: Stretches on which it is not decided whether there is a bifurcation, one for each reason.
        searches: The searches for branches that no other reaches.
        limits: What was not followed because a budget was used up, each as a phrase.
    """

    branches: tuple[Branch, ...]
    bifurcations: tuple[Bifurcation, ...]
    branch_of: tuple[int, ...]
    undecided: tuple[Undecided, ...]
    searches: tuple[BranchSearch, ...]
    limits: tuple[str, ...]


def choose_unit(length: float) -> float:
    """The unit of the parameter for a range of some length: a power of two, so that no digit is lost."""
    return 1.0 if _ABOUT_ONE[0] <= length <= _ABOUT_ONE[1] else float(2.0 ** np.round(np.log2(length)))


def with_parameter_in_units(family: ReducedFamily, unit: float) -> ReducedFamily:
    """The same family as a function of the parameter in other units.

    Args:
        family: The reduced equation as a function of the parameter.
        unit: The unit.
    """
    return _InUnits(family, unit)


class _InUnits(ReducedFamily):
    """A family whose parameter is a multiple of that of another one."""

    def __init__(self, family: ReducedFamily, unit: float) -> None:
        self.__dict__.update(family.__dict__)
        self.lower, self.upper = family.lower / unit, family.upper / unit
        self._whole, self._unit = family, unit

    def at(self, parameter: float) -> ReducedEquation:
        """The equation at a value of the parameter.  See `ReducedFamily.at`."""
        return self._whole.at(parameter * self._unit)


def in_units(diagram: Diagram, unit: float) -> Diagram:
    """A diagram whose parameter was measured in some unit, with the parameter itself.

    Args:
        diagram: The diagram.
        unit: The unit.
    """
    return replace(
        diagram,
        branches=tuple(replace(b, points=tuple(_point(p, unit) for p in b.points)) for b in diagram.branches),
        bifurcations=tuple(_bifurcation(b, unit) for b in diagram.bifurcations),
        undecided=tuple(replace(u, lower=u.lower * unit, upper=u.upper * unit) for u in diagram.undecided),
        searches=tuple(replace(s, parameter=s.parameter * unit) for s in diagram.searches),
    )


def _point(point: Point, unit: float) -> Point:
    tangent = np.append(point.tangent[:-1], point.tangent[-1] * unit)
    x = np.append(point.coordinates, point.parameter * unit)
    return replace(point, x=x, tangent=tangent / np.linalg.norm(tangent))


def _bifurcation(found: Bifurcation, unit: float) -> Bifurcation:
    return replace(
        found,
        point=_point(found.point, unit),
        departures=tuple(_point(p, unit) for p in found.departures),
        uncertainty=found.uncertainty * unit,
        multiple=None if found.multiple is None else _multiple(found.multiple, unit),
    )


def _multiple(point: MultiplePoint, unit: float) -> MultiplePoint:
    directions = []
    for d in point.directions:
        size = float(np.hypot(np.linalg.norm(d.state), d.slope * unit))
        directions.append(replace(d, state=d.state / size, slope=d.slope * unit / size, bend=d.bend * unit / size**2))
    return replace(point, directions=tuple(directions))
