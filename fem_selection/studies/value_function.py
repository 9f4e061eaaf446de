# SPDX-License-Identifier: MIT
"""The global optimum of a small learning problem: by its value function, and by optimization from many starts.

    report = fs.studies.hjb(problem, fs.HjbSettings(cells=64))
    report.value, report.open_loop_objective, report.closed_loop_cost
    report.write("folder", space=problem.space)

    folder/report.json             values, costs, orders, the box and its influence, whether all of them agree
    folder/figures/value.png       V and the trajectories; refinement.png, V(0, x(0)) over the mesh width
    folder/value.bp                V(t, x) for ParaView (value.xdmf without ADIOS2)

    ∂_t V + H(x, ∇V) = 0,   V(T, ·) = Φ;      V(0, x(0)) = min J

Optimization by gradients from several starts comes first: it reaches the optimum, or local optima above it, and its
trajectories say which states the box of V must hold.  The box grows until a larger one changes V(0, x(0)) by no more
than the mesh does, unless the settings give a box.  V is computed on a sequence of refined meshes; dynamic programming
on the finest two is an independent check.  The feedback from ∇V is run from the initial state and from perturbed ones.
Costs of open and closed loop are attained, and are therefore upper bounds of the optimum.  The report says whether all
numbers agree within their error estimates.

Use `fem_selection.hjb` for the parts: one value function, a feedback from other states, another grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from fem_selection.errors import InvalidInput, NonFinite
from fem_selection.hjb import (
    ClosedLoop,
    Grid,
    OpenLoop,
    ReducedProblem,
    default_box,
    find_box,
    follow,
    refine,
    simulate,
    solve_by_dynamic_programming,
)
from fem_selection.hjb.box import interpolation_error
from fem_selection.kernels import DenseKernel
from fem_selection.learning import Functional, LearningProblem
from fem_selection.learning.scaled import ScaledFunctional
from fem_selection.optimize import IterationRow, OptimizationReport, minimize
from fem_selection.parallel import memory_of_machines
from fem_selection.settings import HjbSettings, OptimizerSettings
from fem_selection.settings.tables import settings_or_default
from fem_selection.studies.report import Progress, Teller
from fem_selection.studies.value_report import HjbReport
from fem_selection.typing import Floats, whole_number

__all__ = ["hjb", "reduce_to_states"]

_SIZES = (10.0, 1.0, 3.0)  # L² norms of the random starts, in turn
_OPEN_LOOP = OptimizerSettings(max_iterations=2000, gradient_tolerance=1e-8, memory=20)
_EVALUATIONS = 3000  # of objective and gradient from one start: implicit stages near a fold take milliseconds each
_STATIONARY = 1e-3  # gradient norm, relative to the first, up to which the open loop counts as an optimum
_PERTURBATION = 0.08  # of the box's sides
_STEPS = 400  # of a closed loop
_RIVAL = 1.5  # times the best objective: the box holds the trajectories of the local optima up to there


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
    settings, seed = settings_or_default(settings, HjbSettings), whole_number(seed, "seed", 0)
    reduced, first = reduce_to_states(problem, settings)
    world, tell = problem.ensemble.world, Teller(progress if problem.ensemble.is_root else None, 3 + settings.witness)
    objectives, loops, open_loop_declined = _optimize(problem, reduced, settings.starts, seed)
    tell("open loop", objective=objectives[0])
    paths = np.concatenate([x.states for x, j in zip(loops, objectives, strict=True) if j <= _RIVAL * objectives[0]])
    box = find_box(reduced, first, paths, fixed=settings.lower is not None, comm=world)
    tell("box", influence=box.influence.difference)
    grid = box.grid
    found = refine(reduced, grid, settings.levels, snapshots=settings.snapshots, comm=world)
    tell("value functions", value=found.values[-1])
    witnesses = (np.nan, np.nan)  # on the finest mesh but one, and on the finest
    if settings.witness:
        halves = replace(grid, cells=tuple(max(n // 2, 2) for n in grid.cells))
        solved = (solve_by_dynamic_programming(reduced, g, comm=world) for g in (halves, grid))
        half, whole = (float(v.value(0.0, reduced.start[None])[0]) for v in solved)
        witnesses = (half, whole)
        tell("dynamic programming", value=whole)
    states = _perturbed(reduced.start, grid)
    return HjbReport(
        refinement=found,
        witness=witnesses[1],
        witness_error=2.0 * abs(witnesses[1] - witnesses[0]),
        objectives=objectives,
        attained=loops[0].cost,
        open_loop_declined=open_loop_declined,
        loop=_best_loop([simulate(reduced, value, states, steps=_STEPS) for value in (found.improved, found.finest)]),
        box=box,
        resolution=interpolation_error(reduced, grid),
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
    cells = full("cells", settings.cells)
    needed = 8.0 * settings.snapshots * math.prod(k + 1 for k in cells)
    if needed > (available := memory_of_machines(problem.ensemble.world)):
        raise InvalidInput(
            f"hjb.cells, hjb.snapshots: {settings.snapshots} value functions on {list(cells)} cells would take "
            f"{needed / 2**30:.3g} GB of memory at least, more than the {available / 2**30:.3g} GB that are there"
        )
    grid = Grid.uniform(lower, upper, cells)
    if not grid.contains(reduced.start):
        raise InvalidInput(f"hjb.lower, hjb.upper: the initial state {reduced.start.tolist()} is outside of the box")
    return reduced, grid


def _best_loop(loops: Sequence[ClosedLoop]) -> ClosedLoop:
    """The loop of the lowest cost from the initial state; both attain it, and one that left the box has none."""
    return min(loops, key=lambda loop: (bool(loop.left_box[0]), float(loop.costs[0])))


def _optimize(
    problem: LearningProblem, reduced: ReducedProblem, more: int, seed: int
) -> tuple[tuple[float, ...], list[OpenLoop], str | None]:
    """The objectives that optimization reaches from several starts, the best first, and their paths (collective).

    The last entry says why the best one is no optimum; it is None if the gradient has vanished there.  A start whose
    states are not finite is left out; if all are, the error of the last one is raised.
    """
    functional, control_space = problem.scaled_functional, problem.functional.control_space
    starts = [problem.scaled_start]
    for k in range(more):
        starts.append(control_space.to_scaled(_SIZES[k % len(_SIZES)] * control_space.random_direction(seed + 1 + k)))
    found: list[tuple[OptimizationReport, str | None]] = []
    for k, start in enumerate(starts):
        try:
            found.append(_optimize_one(functional, start))
        except NonFinite:
            if not found and k == len(starts) - 1:
                raise
    found = sorted(found, key=lambda end: end[0].objective)
    controls = [_controls(problem.functional, functional.to_controls(x.scaled_solution)) for x, _ in found]
    return tuple(x.objective for x, _ in found), [follow(reduced, *c) for c in controls], found[0][1]


def _optimize_one(functional: ScaledFunctional, start: Floats) -> tuple[OptimizationReport, str | None]:
    """The end of the optimization from one start, and why it is no optimum, or None (collective)."""
    rows: list[IterationRow] = []
    report = minimize(
        functional, start, _OPEN_LOOP, observe=rows.append, stop=lambda: rows[-1].evaluations >= _EVALUATIONS
    )
    ratio = report.gradient_norm / rows[0].gradient_norm if rows and rows[0].gradient_norm > 0 else 0.0
    if ratio <= _STATIONARY:
        return report, None
    left = f"{report.evaluations} evaluations left a gradient of {ratio:.1e} of its first norm"
    return report, left if report.stopped else f"{left}; {report.reason}"


def _controls(functional: Functional, shard: Floats) -> tuple[Floats, Floats]:
    """w, shape (layers, m, m), and b, shape (layers, m), of a shard of the controls, on every rank (collective)."""
    controls = functional.control_space
    parts = controls.unpack(controls.gather(shard))
    space, layers = controls.space, controls.grid.layers
    kernels, biases = np.zeros((layers, space.num_nodes, space.num_nodes)), np.zeros((layers, space.num_nodes))
    if "kernel" in controls.parts:
        kernel = cast(DenseKernel, functional.stepper.kernel.create_direction())
        kernel.assign(parts["kernel"])
        kernels = np.stack([kernel.values(k, np.arange(space.num_nodes)) for k in range(layers)])
    if "bias" in controls.parts:
        biases = np.ascontiguousarray(space.gather(np.asfortranarray(parts["bias"].reshape(layers, -1).T)).T)
    return kernels, biases


def _perturbed(start: Floats, grid: Grid) -> Floats:
    """The initial state, and the states moved both ways in each direction, clipped to the box."""
    sides = np.asarray(grid.upper) - np.asarray(grid.lower)
    moves = _PERTURBATION * np.concatenate([np.diag(sides), -np.diag(sides)])
    states = start + np.concatenate([np.zeros((1, grid.dimension)), moves])
    return np.clip(states, grid.lower, grid.upper)
