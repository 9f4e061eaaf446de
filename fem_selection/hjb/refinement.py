# SPDX-License-Identifier: MIT
"""Error estimates of a value function: a sequence of meshes, the extrapolated limit, and the influence of the box.

    V_h = V + C hᵖ + o(hᵖ):   d = |V_h − V_2h|,   error of V_h = d/(2ᵖ − 1),   at most d for p ≥ 1
    V* = (4 V_h − V_2h)/3 = V_h + (V_h − V_2h)/3,   error of V* = |d/(2ᵖ − 1) − d/3|

The order is two where V is smooth and one at kinks.  The extrapolation assumes order two.  The error of V* is at most
|V_h − V*| = d/3 if p ≥ log₂ 2.5 = 1.32; this bound is withheld where the order that three meshes show is smaller, or
larger than three (the first mesh is then too coarse for an order), or where the three values are not monotone.  With an
order below one, or none, the larger one of the last two differences estimates the error of V_h.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from mpi4py import MPI

from fem_selection.errors import InvalidInput
from fem_selection.hjb.grid import Grid
from fem_selection.hjb.reduction import ReducedProblem
from fem_selection.hjb.value import ValueFunction, solve_value
from fem_selection.settings import HjbSettings
from fem_selection.typing import Floats, whole_number

__all__ = ["BoxInfluence", "Refinement", "box_influence", "extrapolate", "refine"]

_SNAPSHOTS = 11  # of value functions of which only t = 0 is used
_ORDERS = (float(np.log2(2.5)), 3.0)  # between which |V_h − V*| bounds the error of V*


@dataclass(frozen=True)
class Refinement:
    """Values at the initial state on meshes whose width is halved each time.

    Attributes:
        cells: Cells in each direction, the coarsest mesh first.
        values: V(0, x(0)) on each mesh.
        orders: The observed order of each three consecutive meshes.
        extrapolated: V* from the two finest meshes; with a single mesh, the value on it.
        error_estimate: |V_h − V_2h| of the finest mesh, or of the finest but one if that is larger and no order of one
            or more is observed; NaN with a single mesh.
        extrapolated_error: |V_h − V*|, the change by the extrapolation; NaN if it is no bound of the error.
        extrapolated_declined: Why it is no bound; None if it is one.
        finest: The value function on the finest mesh.
        improved: The extrapolated value function on the finest mesh; with a single mesh, `finest`.
    """

    cells: tuple[tuple[int, ...], ...]
    values: tuple[float, ...]
    orders: tuple[float, ...]
    extrapolated: float
    error_estimate: float
    extrapolated_error: float
    extrapolated_declined: str | None
    finest: ValueFunction
    improved: ValueFunction


@dataclass(frozen=True)
class BoxInfluence:
    """Values at the initial state on a box and on a larger one, with cells of the same size.

    Attributes:
        cells: Cells in each direction, of the box and of the larger one.
        values: V(0, x(0)) on each box.
    """

    cells: tuple[tuple[int, ...], tuple[int, ...]]
    values: tuple[float, float]

    @property
    def difference(self) -> float:
        """The absolute difference of the two values."""
        return abs(self.values[1] - self.values[0])


def refine(
    problem: ReducedProblem,
    grid: Grid,
    levels: int = HjbSettings.levels,
    *,
    snapshots: int = HjbSettings.snapshots,
    comm: MPI.Intracomm | None = None,
) -> Refinement:
    """Solve on a grid and on coarser ones, each with half the cells (collective).

    Args:
        problem: The reduced problem.
        grid: The finest grid; in each direction the number of cells must be 2^(levels − 1) times a number of at least
            two.
        levels: Number of meshes.
        snapshots: As in `solve_value`.
        comm: As in `solve_value`.

    Raises:
        InvalidInput: if the cells cannot be halved so often, or as `solve_value`.
        NonFinite: as `solve_value`.
    """
    levels = whole_number(levels, "levels", 1)
    divisor = 2 ** (levels - 1)
    if levels < 1 or any(n % divisor or n < 2 * divisor for n in grid.cells):
        raise InvalidInput(
            f"{list(grid.cells)} cells cannot be halved {levels - 1} times with two left: use multiples of "
            f"{divisor}, {2 * divisor} at least, or fewer levels"
        )
    grids = [
        Grid(lower=grid.lower, upper=grid.upper, cells=tuple(n // 2**k for n in grid.cells))
        for k in reversed(range(levels))
    ]
    found = [solve_value(problem, g, snapshots, comm=comm) for g in grids]
    values = [float(v.value(0.0, problem.start[None])[0]) for v in found]
    orders = tuple(_observed(*values[k : k + 3]) for k in range(levels - 2))
    limit = (4.0 * values[-1] - values[-2]) / 3.0 if levels > 1 else values[-1]
    declined = _decline(levels, orders)
    return Refinement(
        cells=tuple(g.cells for g in grids),
        values=tuple(values),
        orders=orders,
        extrapolated=limit,
        error_estimate=_estimate(values, orders),
        extrapolated_error=abs(values[-1] - limit) if declined is None else np.nan,
        extrapolated_declined=declined,
        finest=found[-1],
        improved=extrapolate(*found[-2:]) if len(found) > 1 else found[-1],
    )


def extrapolate(coarse: ValueFunction, fine: ValueFunction) -> ValueFunction:
    """The value function (4 V_h − V_2h)/3 on the finer grid.

    Args:
        coarse: V_2h.
        fine: V_h, at the same times; the result has its grid, steps and outflow.
    """
    nodes = fine.grid.nodes
    shape = fine.values.shape
    values: Floats = np.stack([coarse.grid.interpolate(v, nodes) for v in coarse.values]).reshape(shape)
    share, when = fine.outflow_share, fine.outflow_time
    return ValueFunction(
        grid=fine.grid,
        times=fine.times,
        values=(4.0 * fine.values - values) / 3.0,
        steps=fine.steps,
        outflow_share=share,
        outflow_time=when,
    )


def box_influence(problem: ReducedProblem, grid: Grid, comm: MPI.Intracomm | None = None) -> BoxInfluence:
    """Solve on a grid, and on a larger one with a quarter as many further cells at each side (collective).

    Args:
        problem: The reduced problem.
        grid: The smaller grid.
        comm: As in `solve_value`.

    Raises:
        InvalidInput, NonFinite: as `solve_value`.
    """
    larger = grid.enlarged(max(max(grid.cells) // 4, 1))
    found = (solve_value(problem, g, _SNAPSHOTS, comm=comm) for g in (grid, larger))
    values = [float(value.value(0.0, problem.start[None])[0]) for value in found]
    return BoxInfluence(cells=(grid.cells, larger.cells), values=(values[0], values[1]))


def _estimate(values: list[float], orders: tuple[float, ...]) -> float:
    """The error estimate of the last value."""
    if len(values) < 2:
        return np.nan
    differences = [abs(b - a) for a, b in pairwise(values)]
    return differences[-1] if not orders or orders[-1] >= 1.0 else max(differences[-2:])


def _decline(levels: int, orders: tuple[float, ...]) -> str | None:
    """Why the change by the extrapolation is no bound of its error; None if it is one."""
    if levels < 3:
        return f"{levels} {'mesh shows' if levels == 1 else 'meshes show'} no order, and three are needed"
    order = orders[-1]
    if not np.isfinite(order):
        return "the values on the last three meshes are not monotone, so no order is observed"
    if not _ORDERS[0] <= order <= _ORDERS[1]:
        return f"the observed order {order:.2f} is not between {_ORDERS[0]:.2f} and {_ORDERS[1]:g}"
    return None


def _observed(coarse: float, middle: float, fine: float) -> float:
    """log₂ of the ratio of the two differences; NaN if the values are not monotone."""
    before, after = middle - coarse, fine - middle
    return float(np.log2(before / after)) if before * after > 0 else np.nan
