# SPDX-License-Identifier: MIT
"""Whether a box is large enough for V(0, x(0)), and its growth until it is.

    influence = |V_box − V_larger box| ≤ tolerance = min(|V_h − V_2h|, 5 % of V_h + interpolation error of Φ)

V is not known beyond the box.  The boundary sends errors inward where the optimal velocity points out; without such an
outflow it sends none.  So a box is large enough if the optimal trajectory stays inside, and if there is no outflow or a
larger box changes V(0, x(0)) by less than the tolerance, which is what the mesh can tell.  Otherwise it grows: at the
sides that a trajectory reaches, or at all sides if none is reached.  All this happens on coarse meshes, whose number of
cells is fixed: if growth at all sides does not lower the influence, the box of the lowest influence is kept, and is
called too small.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from mpi4py import MPI

from fem_selection.hjb.feedback import simulate
from fem_selection.hjb.grid import Grid
from fem_selection.hjb.reduction import ReducedProblem
from fem_selection.hjb.refinement import BoxInfluence
from fem_selection.hjb.value import ValueFunction, solve_value
from fem_selection.typing import Floats

__all__ = ["BoxSearch", "BoxVerdict", "find_box", "interpolation_error"]

BoxVerdict = Literal["large enough", "too small", "not decided"]

_ROUNDS = 6
_GAIN = 0.7  # growth at all sides goes on only while it multiplies the influence by less
_GROWTH = 0.25  # of a side's length, when the box grows there
_NEAR = 0.05  # of a side's length: a trajectory so near to the boundary reaches it
_ROOM = 0.15  # of a side's length: beyond a known trajectory
_SHARE = 0.05  # of V: a larger influence is never tolerated
_FINE = 64  # cells in a direction up to which the search takes half of them, and a quarter beyond
_SNAPSHOTS = 21
_STEPS = 200  # of a closed loop


@dataclass(frozen=True)
class BoxSearch:
    """The box that was found, and what speaks for it.

    Attributes:
        grid: The box, with the cells that were asked for.
        influence: V(0, x(0)) on this box and on a larger one, on coarse meshes of one width.
        tolerance: The influence up to which the box is large enough; NaN if the coarse mesh cannot be halved.
        outflow_share: The share of the boundary where the optimal velocity pointed out, on the coarse mesh.
        left_box: Whether the trajectory under the coarse feedback leaves the box.
        rounds: The number of boxes that were tried.
        verdict: Whether the box is large enough for V(0, x(0)).
        reason: Why, in one sentence.
    """

    grid: Grid
    influence: BoxInfluence
    tolerance: float
    outflow_share: float
    left_box: bool
    rounds: int
    verdict: BoxVerdict
    reason: str


def find_box(
    problem: ReducedProblem,
    grid: Grid,
    paths: Floats | None = None,
    *,
    fixed: bool = False,
    comm: MPI.Intracomm | None = None,
) -> BoxSearch:
    """Let a box grow until it is large enough for V(0, x(0)) (collective).

    Args:
        problem: The reduced problem.
        grid: The first box, and the cells of every box.
        paths: States that the box must hold with some room, as those of known trajectories, shape (n, mJ).
        fixed: Whether to judge the given box only.
        comm: As in `solve_value`.

    Raises:
        NonFinite: as `solve_value`.
    """
    if paths is not None and not fixed:
        grid = _with_room(grid, paths)
    best: BoxSearch | None = None
    for round_ in range(1, _ROUNDS + 1):
        found, reached = _judge(problem, grid, round_, comm)
        before, best = best, found if best is None or _rank(found) < _rank(best) else best
        if fixed or found.verdict != "too small":
            return found
        if not np.any(reached):
            if before is not None and _rank(found) > (False, _GAIN * before.influence.difference):
                break  # cells that are wider cost more than the room is worth
            reached = np.ones_like(reached)
        lower, upper = reached
        more = _GROWTH * (np.asarray(grid.upper) - np.asarray(grid.lower))
        grid = Grid.uniform(np.asarray(grid.lower) - lower * more, np.asarray(grid.upper) + upper * more, grid.cells)
    assert best is not None
    return replace(best, rounds=round_)


def interpolation_error(problem: ReducedProblem, grid: Grid) -> float:
    """The error of Φ when it is interpolated linearly: h²/8 times its second derivatives, summed over the directions.

    Args:
        problem: The reduced problem.
        grid: The grid, of cell widths h.
    """
    widths = grid.widths.reshape(problem.num_cells, problem.num_samples)
    return float(problem.weight / (8.0 * problem.num_samples) * np.sum(problem.areas[:, None] * widths**2))


def _rank(found: BoxSearch) -> tuple[bool, float]:
    """What makes one box better than another one: a trajectory that stays inside, then the influence."""
    return found.left_box, found.influence.difference


def _judge(
    problem: ReducedProblem, grid: Grid, round_: int, comm: MPI.Intracomm | None
) -> tuple[BoxSearch, np.ndarray]:
    """The verdict on one box, and the sides that the trajectory reaches, shape (2, n): the lower and the upper ones."""
    part = 2 if max(grid.cells) <= _FINE else 4
    coarse = replace(grid, cells=tuple(max(n // part, 2) for n in grid.cells))
    value = solve_value(problem, coarse, _SNAPSHOTS, comm=comm)
    larger = coarse.enlarged(max(max(coarse.cells) // 4, 1))
    values = [_at_start(problem, v) for v in (value, solve_value(problem, larger, 2, comm=comm))]
    influence = BoxInfluence(cells=(coarse.cells, larger.cells), values=(values[0], values[1]))
    tolerance = np.nan
    if min(coarse.cells) >= 4:
        rough = replace(grid, cells=tuple(n // 2 for n in coarse.cells))
        miss = abs(values[0] - _at_start(problem, solve_value(problem, rough, 2, comm=comm)))
        tolerance = min(miss, _SHARE * abs(values[0]) + interpolation_error(problem, coarse))
    loop = simulate(problem, value, steps=_STEPS)
    states = loop.states[np.isfinite(loop.states).all(axis=(1, 2)), 0]
    left = bool(loop.left_box[0])
    near = _NEAR * (np.asarray(grid.upper) - np.asarray(grid.lower))
    reached = np.stack([states.min(axis=0) < grid.lower + near, states.max(axis=0) > grid.upper - near])
    verdict, reason = _conclude(influence.difference, float(tolerance), value.outflow_share, left)
    found = BoxSearch(
        grid=grid,
        influence=influence,
        tolerance=float(tolerance),
        outflow_share=value.outflow_share,
        left_box=left,
        rounds=round_,
        verdict=verdict,
        reason=reason,
    )
    return found, reached


def _conclude(influence: float, tolerance: float, outflow: float, left: bool) -> tuple[BoxVerdict, str]:
    """The verdict and its reason."""
    if left:
        return "too small", "the trajectory under the feedback leaves it"
    if outflow == 0.0:
        return "large enough", "the optimal velocity points out of it nowhere"
    change = f"a larger box changes V(0, x(0)) by {influence:.1e}"
    if not np.isfinite(tolerance):
        return "not decided", f"{change}, and the mesh is too coarse to estimate its own error"
    if influence <= tolerance:
        return "large enough", f"{change}, at most {tolerance:.1e}"
    return "too small", f"{change}, more than {tolerance:.1e}"


def _with_room(grid: Grid, paths: Floats) -> Grid:
    """The smallest box that contains the given one, and each path with room beyond it."""
    room = _ROOM * (np.asarray(grid.upper) - np.asarray(grid.lower))
    lower = np.minimum(grid.lower, paths.min(axis=0) - room)
    upper = np.maximum(grid.upper, paths.max(axis=0) + room)
    return Grid.uniform(lower, upper, grid.cells)


def _at_start(problem: ReducedProblem, value: ValueFunction) -> float:
    return float(value.value(0.0, problem.start[None])[0])
