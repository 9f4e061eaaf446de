# SPDX-License-Identifier: MIT
"""Branches of steady states in one parameter, their bifurcations, and limit cycles beside Hopf points.

    report = fs.studies.branches(family, start, fs.StabilitySettings(parameter="mu", range=(0.5, 2.0)))
    report.bifurcations[0].kind, report.bifurcations[0].parameter
    report.write("folder")

    folder/report.json               branches and bifurcations, and what is not decided; branches.npz, their states
    folder/figures/bifurcations.png  branches over the parameter; branch_states.png, their states

`fem_selection.steady` has the parts: `ReducedFamily`, which gives the reduced coordinates, `continue_branches`,
`analyze_hopf` and `follow_cycles`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.field import SelectionField
from fem_selection.errors import InvalidInput, NoBranch, NotConverged
from fem_selection.io.triangles import gather_triangles
from fem_selection.settings import StabilitySettings
from fem_selection.settings.tables import settings_or_default
from fem_selection.steady import Branch, ReducedFamily, continue_branches
from fem_selection.steady.branches.flow import Budget
from fem_selection.studies.branches_report import BranchesReport
from fem_selection.studies.cycles import find_cycles
from fem_selection.typing import Block, Floats, describe_array, real_array

__all__ = ["Family", "as_column", "branches"]

Family = Callable[[float], SelectionField]
"""Returns the equation at a value of the parameter, always on the same space (collective)."""


def branches(family: Family, start: Floats, settings: StabilitySettings, *, at: float | None = None) -> BranchesReport:
    """Follow the steady state near a start both ways through the range of a parameter, and other branches (collective).

    Args:
        family: Returns the equation at a value of the parameter; it must not depend on time.
        start: Nodal values of a state near a steady one at the value `at`, shape (num_local,).
        settings: Range and steps, and whether limit cycles are computed; the report names the parameter as the settings
            do.
        at: The value of the parameter, in the range, at which the start is given; the first one of the range if None.

    Raises:
        InvalidInput: if the settings have no range, `at` is outside of it, the equation depends on time, the start has
            another shape, or the kernel is zero in the whole range; `TooManyCoordinates` if the rank of the kernels is
            too large.
        NoBranch: if there is no steady state near the start at that value.
    """
    settings = settings_or_default(settings, StabilitySettings)
    if settings.range is None:
        raise InvalidInput("stability.range: branches need the values of the parameter between which to follow them")
    name, (lower, upper) = settings.parameter or "parameter", settings.range
    at = lower if at is None else at
    if not min(lower, upper) <= at <= max(lower, upper):
        raise InvalidInput(
            f"stability.range: the state is given at {name} = {at:g}, outside of the range from {lower:g} to {upper:g}"
        )
    if not (first_field := family(at)).is_autonomous:
        raise InvalidInput("kernel or bias depends on time: the equation has no steady states")
    space = first_field.space
    first, reduced = as_column(space, start, "the start"), ReducedFamily(space, family, lower=lower, upper=upper)
    try:
        diagram = continue_branches(
            reduced,
            reduced.coordinates(first),
            lower=lower,
            upper=upper,
            at=at,
            step=settings.step,
            points=settings.points,
            branches=settings.branches,
            searches=settings.searches,
            seconds=settings.seconds,
        )
    except NotConverged as error:
        raise NoBranch(f"at {name} = {at:g}: {error}") from error
    cycles, budget = {}, Budget()
    for number, found in enumerate(diagram.bifurcations if settings.cycles else ()):
        if found.kind == "hopf":
            cycles[number] = find_cycles(reduced, found, budget)
    return BranchesReport(
        parameter=name,
        diagram=diagram,
        cycles=cycles,
        states=tuple(_states(space, reduced, branch) for branch in diagram.branches),
        mesh=(space.gather(space.coordinates), gather_triangles(space)),
    )


def _states(space: StateSpace, family: ReducedFamily, branch: Branch) -> Floats:
    """The states of a branch at all nodes, shape (num_points, num_nodes), on every rank (collective)."""
    coordinates = np.array([p.coordinates for p in branch.points])
    return np.ascontiguousarray(space.gather(np.asfortranarray(family.basis @ coordinates.T)).T)


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
    return np.asfortranarray(real_array(values, name)[:, None])
