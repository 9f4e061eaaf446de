# SPDX-License-Identifier: MIT
"""The global optimum of a small learning problem: by its value function, and by optimization from many starts.

    report = fs.studies.hjb(problem, fs.HjbSettings(cells=64))
    report.value, report.open_loop_objective, report.closed_loop_cost
    report.write("folder", space=problem.space)

    folder/report.json             values, costs, orders, the influence of the box
    folder/figures/value.png       V and the trajectories; refinement.png, V(0, x(0)) over the mesh width
    folder/value.bp                V(t, x) for ParaView (value.xdmf without ADIOS2)

    ∂_t V + H(x, ∇V) = 0,   V(T, ·) = Φ;      V(0, x(0)) = min J

V is computed on a sequence of refined meshes, and on a larger box; dynamic programming on the finest mesh is an
independent check.  The feedback from ∇V is run from the initial state and from perturbed ones; its cost is attained,
and is therefore an upper bound of the optimum.  Optimization by gradients from several starts reaches the same optimum,
or local optima above it.

Use `fem_selection.hjb` for the parts: one value function, a feedback from other states, another grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fem_selection.errors import InvalidInput
from fem_selection.hjb import (
    Grid,
    ReducedProblem,
    box_influence,
    default_box,
    refine,
    simulate,
    solve_by_dynamic_programming,
)
from fem_selection.learning import LearningProblem
from fem_selection.optimize import minimize
from fem_selection.settings import HjbSettings, OptimizerSettings
from fem_selection.studies.report import Progress, Teller
from fem_selection.studies.value_report import HjbReport
from fem_selection.typing import Floats

__all__ = ["hjb", "reduce_to_states"]

_SIZES = (10.0, 1.0, 3.0)  # L² norms of the random starts, in turn
_OPEN_LOOP = OptimizerSettings(max_iterations=2000, gradient_tolerance=1e-8, memory=20)
_PERTURBATION = 0.08  # of the box's sides
_STEPS = 400  # of a closed loop


def hjb(
    problem: LearningProblem,
    settings: HjbSettings | None = None,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> HjbReport:
    """Compute the global optimum of a learning problem with at most three numbers in its state (collective).

    Args:
        problem: The learning problem; its own start is the first one of the optimization.  It needs DG0 cells, a dense
            kernel, tracking and no box of controls; the error names every further obstacle.
        settings: Meshes, box and starts; `HjbSettings()` if None.
        seed: Seed of the random starts.
        progress: Called on root after each part.

    Raises:
        InvalidInput: if the value function of this problem is not computed here, or the settings do not fit it.
        NonFinite: if a value function or an objective is not finite.
    """
    settings = HjbSettings() if settings is None else settings
    reduced, grid = reduce_to_states(problem, settings)
    world, tell = problem.ensemble.world, Teller(progress if problem.ensemble.is_root else None, 3 + settings.witness)
    found = refine(reduced, grid, settings.levels, snapshots=settings.snapshots, comm=world)
    tell("value functions", value=found.values[-1])
    witness = float("nan")
    if settings.witness:
        dynamic = solve_by_dynamic_programming(reduced, grid, comm=world)
        witness = float(dynamic.value(0.0, reduced.start[None])[0])
        tell("dynamic programming", value=witness)
    coarse = replace(grid, cells=tuple(max(n // 2, 2) for n in grid.cells))
    influence = box_influence(reduced, coarse, comm=world)
    tell("larger box", difference=influence.difference)
    objectives = _optimize(problem, settings.starts, seed)
    tell("open loop", objective=objectives[0])
    states = _perturbed(reduced.start, grid)
    # both loops attain their cost, so the lower one counts; on coarse meshes the extrapolated V may be the worse one
    loops = [simulate(reduced, value, states, steps=_STEPS) for value in (found.improved, found.finest)]
    return HjbReport(
        refinement=found,
        witness=witness,
        objectives=objectives,
        loop=min(loops, key=lambda x: float(x.costs[0])),
        influence=influence,
        initial=reduced.initial,
        targets=reduced.targets,
    )


def reduce_to_states(problem: LearningProblem, settings: HjbSettings) -> tuple[ReducedProblem, Grid]:
    """Return the reduced problem and the finest grid; call it to check them before any long computation.

    Args:
        problem: The learning problem.
        settings: Numbers of cells, and the box.

    Raises:
        InvalidInput: if the value function of this problem is not computed here, or the settings do not fit it.

    Note:
        Collective.
    """
    reduced = ReducedProblem.from_functional(problem.functional, problem.scaled_bounds)
    n = reduced.dimension

    def full[T](key: str, given: Sequence[T]) -> tuple[T, ...]:
        if len(given) not in (1, n):
            raise InvalidInput(f"hjb.{key}: the state has {n} numbers; give one entry or {n}, not {len(given)}")
        return tuple(given) * n if len(given) == 1 else tuple(given)

    lower, upper = default_box(reduced.start, reduced.targets.ravel())
    if settings.lower is not None and settings.upper is not None:
        lower, upper = np.asarray(full("lower", settings.lower)), np.asarray(full("upper", settings.upper))
    grid = Grid.uniform(lower, upper, full("cells", settings.cells))
    if not grid.contains(reduced.start):
        raise InvalidInput(f"hjb.lower, hjb.upper: the initial state {reduced.start.tolist()} is outside of the box")
    return reduced, grid


def _optimize(problem: LearningProblem, more: int, seed: int) -> tuple[float, ...]:
    """The objectives that optimization reaches from several starts, the best first (collective)."""
    functional, control_space, starts = (
        problem.scaled_functional,
        problem.functional.control_space,
        [problem.scaled_start],
    )
    for k in range(more):
        starts.append(control_space.to_scaled(_SIZES[k % len(_SIZES)] * control_space.random_direction(seed + 1 + k)))
    return tuple(sorted(minimize(functional, start, _OPEN_LOOP).objective for start in starts))


def _perturbed(start: Floats, grid: Grid) -> Floats:
    """The initial state, and the states moved both ways in each direction, clipped to the box."""
    sides = np.asarray(grid.upper) - np.asarray(grid.lower)
    moves = _PERTURBATION * np.concatenate([np.diag(sides), -np.diag(sides)])
    states = start + np.concatenate([np.zeros((1, grid.dimension)), moves])
    return np.clip(states, grid.lower, grid.upper)
