# SPDX-License-Identifier: MIT
"""The global optimum of a small learning problem: by its value function, and by optimization from many starts.

    ∂_t V + H(x, ∇V) = 0,   V(T, ·) = Φ;      V(0, x(0)) = min J

V is computed on meshes that are refined, and on a larger box; dynamic programming on the finest of the meshes is a
witness.  The feedback that ∇V gives is run from the initial state and from perturbed ones: its cost is attained.
The objectives that gradients reach from several starts belong to the same optimum, or to local ones above it.

Use `fem_selection.hjb` for the parts: one value function, a feedback from other states, another grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import InvalidInput
from fem_selection.hjb import (
    BoxInfluence,
    ClosedLoop,
    Grid,
    ReducedProblem,
    Refinement,
    box_influence,
    default_box,
    refine,
    simulate,
    solve_by_dynamic_programming,
)
from fem_selection.learning import LearningProblem
from fem_selection.optimize import minimize
from fem_selection.settings import HjbSettings, OptimizerSettings
from fem_selection.studies.report import Progress, Report
from fem_selection.typing import Floats

__all__ = ["HjbReport", "hjb", "reduce_to_states"]

_SIZES = (10.0, 1.0, 3.0)  # L² norms of the random starts, in turn
_OPEN_LOOP = OptimizerSettings(max_iterations=2000, gradient_tolerance=1e-8, memory=20)
_PERTURBATION = 0.08  # of the box's sides
_STEPS = 400  # of a closed loop


@dataclass(frozen=True, kw_only=True)
class HjbReport(Report):
    """What `hjb` returns, the same on every rank.

    Attributes:
        refinement: Value functions and V(0, x(0)) on the meshes, and the extrapolation.
        witness: V(0, x(0)) by dynamic programming; NaN where it was not run.
        objectives: What optimization reaches from each start, the best first.
        loop: The feedback's trajectories from the initial state, the first, and from perturbed ones.
        influence: What a larger box changes.
        initial: x(0), shape (m, J), m cells and J samples.
        targets: Shape (m, J).
    """

    refinement: Refinement
    witness: float
    objectives: tuple[float, ...]
    loop: ClosedLoop
    influence: BoxInfluence
    initial: Floats
    targets: Floats

    @property
    def value(self) -> float:
        """V(0, x(0)) on the finest mesh."""
        return self.refinement.values[-1]

    @property
    def open_loop_objective(self) -> float:
        """The best objective that optimization reached."""
        return self.objectives[0]

    @property
    def closed_loop_cost(self) -> float:
        """The cost of the feedback from the initial state."""
        return float(self.loop.costs[0])

    def as_dict(self) -> dict[str, Any]:
        """The content of `report.json`."""
        found, loop, grid = self.refinement, self.loop, self.refinement.finest.grid
        values = found.improved.value(0.0, loop.states[0])
        perturbed = zip(loop.states[0, 1:].tolist(), loop.costs[1:], values[1:], strict=True)
        return {
            "value_at_initial_state": self.value,
            "extrapolated_value": found.extrapolated,
            "error_estimate": found.error_estimate,
            "extrapolated_error": found.extrapolated_error,
            "observed_orders": found.orders,
            "cells": found.cells,
            "values": found.values,
            "closed_loop_cost": self.closed_loop_cost,
            "perturbed": [
                {"state": state, "closed_loop_cost": float(cost), "value": float(value)}
                for state, cost, value in perturbed
            ],
            "left_box": bool(np.any(loop.left_box)),
            "outflow_share": found.finest.outflow_share,
            "outflow_time": found.finest.outflow_time,
            "steps": found.finest.steps,
            "initial": self.initial,
            "targets": self.targets,
            "witness_value": self.witness,
            "open_loop_objective": self.open_loop_objective,
            "open_loop_objectives": self.objectives,
            "box": {"lower": grid.lower, "upper": grid.upper},
            "box_influence": {
                "difference": self.influence.difference,
                "cells": self.influence.cells,
                "values": self.influence.values,
            },
        }

    def draw(self, folder: Path) -> None:
        """Draw `value.png`, V and the trajectories, and `refinement.png`, V(0, x(0)) over the mesh width."""
        from fem_selection import plots

        found, value, loop = self.refinement, self.refinement.improved, self.loop
        middle = (len(value.times) - 1) // 2
        shown = [0, middle] if value.grid.dimension > 1 else sorted({round(middle * k / 2) for k in range(5)})
        figure = plots.plot_value(
            value.grid.axes,
            np.maximum(value.values[shown], 0.0),  # costs are; extrapolation undershoots
            value.times[shown],
            trajectory_times=loop.times,
            trajectories=loop.states,
            target=self.targets.ravel(),
            labels=_names_of_states(*self.initial.shape),
        )
        plots.save(figure, folder / "value.png")
        others = {
            "open loop": self.open_loop_objective,
            "closed loop": self.closed_loop_cost,
            "dynamic programming": self.witness,
        }
        cells = np.array([max(c) for c in found.cells])
        figure = plots.plot_refinement(cells, np.array(found.values), found.extrapolated, others=others)
        plots.save(figure, folder / "refinement.png")

    def write_fields(self, folder: Path, space: StateSpace, comm: MPI.Intracomm) -> None:
        """Write V(t, x) for ParaView, `value.bp` or `value.xdmf` (collective over `comm`).

        Args:
            folder: The folder of the report.
            space: Unused: V lives on a mesh of its own, in the space of states.
            comm: The ranks that share the writing.
        """
        from fem_selection.io.values import write_value

        value = self.refinement.improved
        write_value(folder / "value", comm, value.grid.axes, times=value.times, values=value.values)


def hjb(
    problem: LearningProblem,
    settings: HjbSettings | None = None,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> HjbReport:
    """Compute the global optimum of a learning problem with at most three numbers in its state (collective).

    Args:
        problem: J and the start that optimization takes first. It needs DG0 cells, a dense kernel and tracking, and no
            box of controls; an error names whatever else is in the way.
        settings: Meshes, box and starts; the defaults if left out.
        seed: Of the random starts.
        progress: Called on root after each part.

    Raises:
        InvalidInput: if the value function of this problem is not computed here, or the settings do not fit it.
        NonFinite: if a value function or an objective is not finite.
    """
    settings = HjbSettings() if settings is None else settings
    reduced, grid = reduce_to_states(problem, settings)
    world, parts = problem.ensemble.world, _Parts(progress, problem, 3 + settings.witness)
    found = refine(reduced, grid, settings.levels, snapshots=settings.snapshots, comm=world)
    parts.report("value functions", value=found.values[-1])
    witness = float("nan")
    if settings.witness:
        dynamic = solve_by_dynamic_programming(reduced, grid, comm=world)
        witness = float(dynamic.value(0.0, reduced.start[None])[0])
        parts.report("dynamic programming", value=witness)
    coarse = replace(grid, cells=tuple(max(n // 2, 2) for n in grid.cells))
    influence = box_influence(reduced, coarse, comm=world)
    parts.report("larger box", difference=influence.difference)
    objectives = _optimize(problem, settings.starts, seed)
    parts.report("open loop", objective=objectives[0])
    states = _perturbed(reduced.start, grid)
    # both costs are attained, so that the lower one counts; extrapolation does not help on coarse meshes
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
    """Return the problem in the space of states and the finest grid, or refuse them before anything long is done.

    Args:
        problem: The learning problem.
        settings: Cells and box.

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


class _Parts:
    """Tells progress about finished parts, on root."""

    def __init__(self, progress: Progress | None, problem: LearningProblem, total: int) -> None:
        self._progress = progress if problem.ensemble.is_root else None
        self._done, self._total = 0, total

    def report(self, what: str, **shown: float) -> None:
        """One more part is done."""
        self._done += 1
        if self._progress is not None:
            self._progress(what, self._done, self._total, shown)


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
    """The initial state, and it moved both ways in each direction, as far as that stays in the box."""
    sides = np.asarray(grid.upper) - np.asarray(grid.lower)
    moves = _PERTURBATION * np.concatenate([np.diag(sides), -np.diag(sides)])
    states = start + np.concatenate([np.zeros((1, grid.dimension)), moves])
    return np.clip(states, grid.lower, grid.upper)


def _names_of_states(cells: int, samples: int) -> list[str]:
    return [
        f"$x_{{{i + 1}}}^{{({j + 1})}}$" if samples > 1 else f"$x_{{{i + 1}}}$"
        for i in range(cells)
        for j in range(samples)
    ]
