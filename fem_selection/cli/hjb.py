# SPDX-License-Identifier: MIT
"""`fem-selection hjb`: the global optimum of a small case, by its value function and by optimization from many starts.

DIR/report.json          everything that was found
DIR/figures/value.png    V and the optimal trajectories; refinement.png, V(0, x(0)) over the mesh width
DIR/value.bp             V(t, x) for ParaView (value.xdmf without ADIOS2)
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mpi4py import MPI
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fem_selection.cli.common import claim_report_folder, counted, end_on_signals, load_case_everywhere, on_root
from fem_selection.errors import InvalidInput
from fem_selection.io.runs import write_json
from fem_selection.settings import HjbSettings, OutputSettings
from fem_selection.typing import Floats

if TYPE_CHECKING:
    from fem_selection.config import Case
    from fem_selection.hjb import ClosedLoop, Grid, ReducedProblem, Refinement
    from fem_selection.learning import LearningProblem

__all__ = ["hjb_command"]

_SIZES = (10.0, 1.0, 3.0)  # L² norms of the random starts, in turn
_ITERATIONS = 2000
_PERTURBATION = 0.08  # of the box's sides
_STEPS = 400  # of a closed loop


def hjb_command(case_file: Path, output: Path | None, settings: Sequence[str]) -> int:
    """Solve, compare, write the folder, print a table and return the exit status."""
    console = Console(quiet=MPI.COMM_WORLD.rank != 0, highlight=False)
    began = time.monotonic()
    case = load_case_everywhere(case_file, settings)
    from fem_selection.cases.learning import build_problem
    from fem_selection.hjb import ReducedProblem, box_influence, refine, simulate, solve_by_dynamic_programming
    from fem_selection.versions import versions

    end_on_signals()
    problem = build_problem(case)
    reduced = ReducedProblem.from_functional(problem.functional, problem.bounds)
    grid = _grid(case.hjb, reduced)
    folder = on_root(lambda: claim_report_folder("hjb", output, Path(case.output.directory)))
    console.print(f"[bold]{escape(case.title or case_file.stem)}[/bold] → {escape(str(folder))}")
    world = problem.ensemble.world
    found = refine(reduced, grid, case.hjb.levels, case.hjb.snapshots, world)
    witness = np.nan
    if case.hjb.witness:
        dynamic = solve_by_dynamic_programming(reduced, grid, comm=world)
        witness = float(dynamic.value(0.0, reduced.start[None])[0])
    box = box_influence(reduced, _coarse(grid), comm=world)
    objectives = _open_loop(problem, case)
    states = _perturbed(reduced, grid)
    # both costs are attained, so that the lower one counts; extrapolation does not help on coarse meshes
    loops = [simulate(reduced, value, states, _STEPS) for value in (found.improved, found.finest)]
    loop = min(loops, key=lambda x: float(x.costs[0]))
    report = {
        "command": "hjb",
        "title": case.title,
        **_values(reduced, found, loop),
        "witness_value": witness,
        "open_loop_objective": objectives[0],
        "open_loop_objectives": objectives,
        "box": {"lower": grid.lower, "upper": grid.upper},
        "box_influence": {"difference": box.difference, "cells": box.cells, "values": box.values},
        "seconds": time.monotonic() - began,
        "ranks": world.size,
        "versions": versions(),
        "case": dataclasses.asdict(case),
    }
    _write(problem, case.output, reduced, folder, found, loop, report)
    _print(console, report, folder)
    return 0


def _grid(settings: HjbSettings, problem: ReducedProblem) -> Grid:
    """The finest grid as the case asks."""
    from fem_selection.hjb import Grid, default_box

    n = problem.dimension

    def full(key: str, given: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(given) not in (1, n):
            raise InvalidInput(f"hjb.{key}: the state has {n} numbers; give one entry or {n}, not {len(given)}")
        return given * n if len(given) == 1 else given

    lower, upper = default_box(problem.start, problem.targets.ravel())
    if settings.lower is not None and settings.upper is not None:
        lower, upper = (np.asarray(full(k, getattr(settings, k))) for k in ("lower", "upper"))
    grid = Grid.uniform(lower, upper, full("cells", settings.cells))
    if not grid.contains(problem.start):
        raise InvalidInput(f"hjb.lower, hjb.upper: the initial state {problem.start.tolist()} is outside of the box")
    return grid


def _coarse(grid: Grid) -> Grid:
    """Half as many cells, where there are enough."""
    return dataclasses.replace(grid, cells=tuple(max(n // 2, 2) for n in grid.cells))


def _open_loop(problem: LearningProblem, case: Case) -> list[float]:
    """The objectives that optimization reaches from several starts, the best first (collective)."""
    from fem_selection.optimize import TaoSettings, minimize

    settings = TaoSettings(max_iterations=_ITERATIONS, gradient_tolerance=1e-8)
    controls = problem.functional.controls
    starts = [problem.start]
    for k in range(case.hjb.starts):
        direction = controls.random_direction(case.seed + 1 + k)
        starts.append(problem.scaled.to_scaled(_SIZES[k % len(_SIZES)] * direction))
    return sorted(minimize(problem.scaled, start, settings).objective for start in starts)


def _perturbed(problem: ReducedProblem, grid: Grid) -> Floats:
    """The initial state, and it moved both ways in each direction, as far as that stays in the box."""
    sides = np.asarray(grid.upper) - np.asarray(grid.lower)
    moves = _PERTURBATION * np.concatenate([np.diag(sides), -np.diag(sides)])
    states = problem.start + np.concatenate([np.zeros((1, grid.dimension)), moves])
    return np.clip(states, grid.lower, grid.upper)


def _values(problem: ReducedProblem, found: Refinement, loop: ClosedLoop) -> dict[str, Any]:
    values = found.improved.value(0.0, loop.states[0])
    perturbed = [
        {"state": state, "closed_loop_cost": cost, "value": value}
        for state, cost, value in zip(loop.states[0, 1:].tolist(), loop.costs[1:], values[1:], strict=True)
    ]
    return {
        "value_at_initial_state": found.values[-1],
        "extrapolated_value": found.extrapolated,
        "error_estimate": found.error_estimate,
        "extrapolated_error": found.extrapolated_error,
        "observed_orders": found.orders,
        "cells": found.cells,
        "values": found.values,
        "closed_loop_cost": loop.costs[0],
        "perturbed": perturbed,
        "left_box": bool(np.any(loop.left_box)),
        "outflow_share": found.finest.outflow_share,
        "outflow_time": found.finest.outflow_time,
        "steps": found.finest.steps,
        "initial": problem.initial,
        "targets": problem.targets,
    }


def _write(
    problem: LearningProblem,
    output: OutputSettings,
    reduced: ReducedProblem,
    folder: Path,
    found: Refinement,
    loop: ClosedLoop,
    report: dict[str, Any],
) -> None:
    """Report, figures and fields, as the case asks (collective)."""

    def files() -> None:
        write_json(folder / "report.json", report)
        if output.figures:
            _draw(reduced, folder / "figures", found, loop, report)

    on_root(files)
    if output.fields:
        from fem_selection.io.values import write_value

        value = found.improved
        write_value(folder / "value", problem.ensemble.world, value.grid.axes, value.times, value.values)


def _draw(problem: ReducedProblem, folder: Path, found: Refinement, loop: ClosedLoop, report: dict[str, Any]) -> None:
    from fem_selection import plots

    folder.mkdir(exist_ok=True)
    value, several = found.improved, problem.num_samples > 1
    middle = (len(value.times) - 1) // 2
    shown = [0, middle] if problem.dimension > 1 else sorted({round(middle * k / 2) for k in range(5)})
    labels = [
        f"$x_{{{i + 1}}}^{{({j + 1})}}$" if several else f"$x_{{{i + 1}}}$"
        for i in range(problem.num_cells)
        for j in range(problem.num_samples)
    ]
    figure = plots.plot_value(
        value.grid.axes,
        np.maximum(value.values[shown], 0.0),  # costs are; extrapolation undershoots
        value.times[shown],
        loop.times,
        loop.states,
        problem.targets.ravel(),
        labels,
    )
    plots.save(figure, folder / "value.png")
    others = {
        "open loop": report["open_loop_objective"],
        "closed loop": report["closed_loop_cost"],
        "dynamic programming": report["witness_value"],
    }
    cells = np.array([max(c) for c in found.cells])
    plots.save(
        plots.plot_refinement(cells, np.array(found.values), found.extrapolated, others), folder / "refinement.png"
    )


def _print(console: Console, report: dict[str, Any], folder: Path) -> None:
    table = Table("cells", "V(0, x(0))", "order")
    orders = [""] * min(2, len(report["values"])) + [f"{p:.2f}" for p in report["observed_orders"]]
    for cells, value, order in zip(report["cells"], report["values"], orders, strict=True):
        table.add_row("×".join(map(str, cells)), f"{value:.6g}", order)
    console.print(table)
    found = report["open_loop_objectives"]
    rows = {
        "extrapolated": f"{report['extrapolated_value']:.6g} (error {report['extrapolated_error']:.1e})",
        "dynamic programming": f"{report['witness_value']:.6g}",
        "closed loop": f"{report['closed_loop_cost']:.6g}",
        "open loop, all starts": ", ".join(f"{v:.6g}" for v in found),
        "larger box": f"changes the value by {report['box_influence']['difference']:.1e}",
        "outflow": f"{report['outflow_share']:.1%} of the boundary at most",
        "seconds": f"{report['seconds']:.1f} on {counted(report['ranks'], 'rank')}",
        "report": str(folder / "report.json"),
    }
    summary = Table(show_header=False, box=None, pad_edge=False)
    for name, text in rows.items():
        summary.add_row(name, escape(text))
    console.print(summary)
    console.print(f"value_at_initial_state {report['value_at_initial_state']:.10g}")
    console.print(f"open_loop_objective {report['open_loop_objective']:.10g}")
