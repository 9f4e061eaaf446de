# SPDX-License-Identifier: MIT
"""Branches of steady states in one parameter, their bifurcations, and limit cycles beside Hopf points.

    report = fs.studies.branches(family, start, fs.StabilitySettings(parameter="mu", range=(0.5, 2.0)))
    report.bifurcations[0].kind, report.bifurcations[0].parameter
    report.write("folder")

    folder/report.json               branches and bifurcations
    folder/figures/bifurcations.png  branches over the parameter

`fem_selection.steady` has the parts: `ReducedFamily`, which gives the reduced coordinates, `continue_branches`,
`analyze_hopf` and `follow_cycles`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.field import SelectionField
from fem_selection.errors import InvalidInput, NoBranch, NotConverged
from fem_selection.settings import StabilitySettings
from fem_selection.steady import Bifurcation, Diagram, ReducedFamily, continue_branches
from fem_selection.studies.cycles import HopfFindings, find_cycles
from fem_selection.studies.report import Report
from fem_selection.typing import Block, Floats, describe_array

__all__ = ["BranchesReport", "Family", "as_column", "branches"]

Family = Callable[[float], SelectionField]
"""Returns the equation at a value of the parameter, always on the same space (collective)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BranchesReport(Report):
    """The report of `branches`, the same on every rank.

    Attributes:
        parameter: Name of the parameter.
        diagram: Branches and bifurcations.
        cycles: Normal form and cycles of each Hopf point, by its number among the bifurcations.
    """

    parameter: str
    diagram: Diagram
    cycles: Mapping[int, HopfFindings]

    @property
    def bifurcations(self) -> tuple[Bifurcation, ...]:
        """The bifurcations in the order in which they were found."""
        return self.diagram.bifurcations

    @property
    def sentences(self) -> list[str]:
        """Each bifurcation in a line."""
        said = []
        for number, found in enumerate(self.bifurcations):
            beside = self.cycles.get(number)
            criticality = found.criticality if beside is None else beside.criticality
            more = [criticality] if criticality else []
            if beside is not None:
                more.append("; ".join(beside.phrases(self.parameter)))
            said.append(f"{found.kind} at {self.parameter} = {found.parameter:.9g}  {' '.join(more)}")
        return said

    def content(self) -> dict[str, Any]:
        """The content of `report.json`."""
        found = [
            {
                "parent": branch.parent,
                "ending": branch.ending,
                "parameter": [p.parameter for p in branch.points],
                "unstable": [p.unstable for p in branch.points],
                "norm": [float(np.linalg.norm(p.coordinates)) for p in branch.points],
                "largest_residual": max(p.drift for p in branch.points),
            }
            for branch in self.diagram.branches
        ]
        return {"bifurcations": [self._describe(k) for k in range(len(self.bifurcations))], "branches": found}

    def _describe(self, number: int) -> dict[str, Any]:
        """An entry of the report's "bifurcations"."""
        found = self.bifurcations[number]
        entry: dict[str, Any] = {
            "kind": found.kind,
            "parameter": self.parameter,
            "value": found.parameter,
            "branch": self.diagram.branch_of[number],
            "unstable": list(found.unstable),
        }
        if found.criticality:
            entry["criticality"] = found.criticality
        if number in self.cycles:
            entry |= {"frequency": found.frequency} | self.cycles[number].content()
        return entry

    def draw(self, folder: Path) -> None:
        """Draw `bifurcations.png`: the branches, by their component along the direction in which they vary most."""
        from fem_selection import plots

        points = [np.array([p.coordinates for p in branch.points]) for branch in self.diagram.branches]
        direction = np.linalg.svd(np.concatenate(points), full_matrices=False)[2][0]
        heights = [float(found.point.coordinates @ direction) for found in self.bifurcations]
        figure = plots.plot_bifurcations(
            self.parameter,
            [np.array([p.parameter for p in branch.points]) for branch in self.diagram.branches],
            [x @ direction for x in points],
            unstable=[np.array([p.unstable for p in branch.points]) for branch in self.diagram.branches],
            marks=[
                (found.kind, found.parameter, height) for found, height in zip(self.bifurcations, heights, strict=True)
            ],
            cycles=[
                (c.cycles.parameters, c.cycles.amplitudes, heights[number], [o.unstable for o in c.cycles.orbits])
                for number, c in self.cycles.items()
                if c.cycles is not None and c.cycles.orbits
            ],
        )
        plots.save(figure, folder / "bifurcations.png")


def branches(family: Family, start: Floats, settings: StabilitySettings) -> BranchesReport:
    """Follow the steady state near a start through the range of a parameter, and its side branches (collective).

    Args:
        family: Returns the equation at a value of the parameter; it must not depend on time.
        start: Nodal values of a state near a steady one at the first value of the range, shape (num_local,).
        settings: Range and steps, and whether limit cycles are computed; the report names the parameter as the settings
            do.

    Raises:
        InvalidInput: if the settings have no range, the equation depends on time, the start has another shape,
            or the kernel is zero in the whole range; `TooManyCoordinates` if the rank of the kernels is too large.
        NoBranch: if there is no steady state near the start at the first value.
    """
    if settings.range is None:
        raise InvalidInput("stability.range: branches need the values of the parameter between which to follow them")
    name, (lower, upper) = settings.parameter or "parameter", settings.range
    if not (first_field := family(lower)).is_autonomous:
        raise InvalidInput("kernel or bias depends on time: the equation has no steady states")
    space = first_field.space
    first, reduced = as_column(space, start, "the start"), ReducedFamily(space, family, lower=lower, upper=upper)
    try:
        diagram = continue_branches(
            reduced,
            reduced.coordinates(first),
            lower=lower,
            upper=upper,
            step=settings.step,
            points=settings.points,
            branches=settings.branches,
        )
    except NotConverged as error:
        raise NoBranch(f"at {name} = {lower:g}: {error}") from error
    cycles = {}
    for number, found in enumerate(diagram.bifurcations if settings.cycles else ()):
        if found.kind == "hopf":
            cycles[number] = find_cycles(reduced, found)
    return BranchesReport(parameter=name, diagram=diagram, cycles=cycles)


def as_column(space: StateSpace, values: Floats, name: str) -> Block:
    """Nodal values of one function as a block of one column (collective).

    Args:
        space: The state space.
        values: Nodal values on this rank, shape (num_local,).
        name: The name of the values in errors.

    Raises:
        InvalidInput: on all ranks, if the values of one rank have another shape.
    """
    shape, kind = describe_array(values)
    if kinds := [k for k in space.comm.allgather(kind) if k is not None]:
        raise InvalidInput(f"{name} is {kinds[0]}, expected is an array of real numbers")
    fits = shape == (space.num_local,)
    if not all(space.comm.allgather(fits)):
        given = f"{name} has shape {shape}" if not fits else f"{name} has another shape on another rank"
        raise InvalidInput(f"{given}, expected are the nodal values of one function, shape ({space.num_local},)")
    return np.asfortranarray(values[:, None])
