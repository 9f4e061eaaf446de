# SPDX-License-Identifier: MIT
"""From coarse to fine against the finest mesh alone: seconds to the same objective there.

    uv run --group bench python benchmarks/multilevel.py [--dense N] [--representer N] [--rounds R]

Tracking of bumps by a dense and by a representer kernel on an interval (tanh, 8 layers, L-BFGS), each with the cells
that its cost allows.  The run from coarse to fine begins on four meshes, each of half of the cells of the next, for the
dense kernel, and on two, each of an eighth, for the representer, whose controls hardly change with the mesh.  Its time
ends with the last iteration on the finest mesh; it includes the coarse levels, their reports and the prolongations.
The run on the finest mesh alone goes on until its objective is at most what the other ended with, or to its limit of
iterations.  The two take turns; the ratio is the median over the rounds.  Last line: seconds from coarse to fine over
seconds alone, of the representer.  If the limit is reached first the ratio is an upper bound.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from common import machine, print_table, save_results, versions
from matplotlib.figure import Figure

import fem_selection as fs
from fem_selection.cases import level_cases
from fem_selection.config import Case, parse_case
from fem_selection.optimize.report import IterationRow
from fem_selection.plots.style import COLOURS, WIDTH, create_axes, styled


def make_case(kind: str, cells: int, iterations: int) -> Case:
    """The problem on a mesh, with its coarse levels; all kernels start at zero."""
    start: dict[str, Any] = {"kernel": "0"}
    levels = {
        "cells": [cells // 16, cells // 8, cells // 4, cells // 2],
        "iterations": [15 * iterations, 5 * iterations, 5 * iterations, 2 * iterations],
    }
    if kind == "representer":
        start = {"representation": kind, "start_scale": 0.0}
        levels = {"cells": [cells // 64, cells // 8], "iterations": [20 * iterations, 3 * iterations]}
        iterations = max(iterations // 10, 1)
    return parse_case(
        {
            "domain": {"shape": "interval", "cells": cells},
            "space": {"degree": 1},
            "dynamics": {"layers": 8, "horizon": 2.0, **start},
            "data": {
                "source": "formula",
                "samples": 20,
                "initial": "exp(-40*(y - 0.2 - 0.6*s)**2)",
                "target": "-0.5*exp(-40*(y - 0.8 + 0.6*s)**2)",
            },
            "objective": {"loss": "tracking", "weight": 10.0},
            "regularization": {"kernel": 1e-2, "bias": 1e-2},
            "optimizer": {"max_iterations": iterations, "gradient_tolerance": 1e-4},
            "multilevel": levels,
        }
    )


def from_coarse_to_fine(case: Case) -> tuple[float, list[dict]]:
    """Seconds until the last iteration on the finest mesh, and the report's entries."""
    problems = [fs.build_problem(level) for level in level_cases(case)]
    begin, at = time.perf_counter(), [0.0]

    def note(*_: object) -> None:
        at.append(time.perf_counter() - begin)

    output = fs.OutputSettings(figures=False, fields=False)
    result = fs.studies.train_levels(problems, case.optimizer, levels=case.multilevel, output=output, progress=note)
    assert result.report is not None
    return at[-1], [dict(level) for level in result.report.levels]


def alone(case: Case, objective: float, limit: int) -> tuple[float, bool, list[float], list[float]]:
    """Seconds on the finest mesh, whether the objective was reached, and the course of the run."""
    problem = fs.build_problem(case)
    times, values = [], []
    begin = time.perf_counter()

    def observe(row: IterationRow) -> None:
        times.append(time.perf_counter() - begin)
        values.append(float(row.objective))

    settings = fs.OptimizerSettings(max_iterations=limit, gradient_tolerance=0.0)
    fs.minimize(
        problem.scaled_functional,
        problem.scaled_start,
        settings,
        observe=observe,
        stop=lambda: bool(values) and values[-1] <= objective,
    )
    reached = values[-1] <= objective
    return times[-1], reached, times, values


@styled
def draw(found: dict[str, dict[str, Any]]) -> Figure:
    """Objective over seconds of both runs, of each kernel."""
    figure, axes = create_axes(1, len(found), WIDTH, height=3.2)
    colours = [COLOURS[name] for name in ("blue", "vermilion", "green", "ink")] + ["#CC79A7"]
    for panel, (kind, result) in zip(axes[0], found.items(), strict=True):
        panel.loglog(result["times"], result["values"], color="#8A8A8A", label="finest mesh alone")
        end = 0.0
        for level, colour in zip(result["levels"], colours, strict=False):
            begin, end = end, end + level["seconds_of_level"]
            ends = [level["objective_at_start"], level["objective"]]
            label = f"{level['nodes']} nodes"
            panel.loglog([max(begin, 1e-3), end], ends, marker="o", markersize=3, color=colour, label=label)
        panel.set(title=kind, xlabel="seconds", ylabel="objective")
        panel.legend()
    return figure


def compare(kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """All rounds of one kernel, and their tables."""
    case = make_case(kind, getattr(options, kind), options.iterations)
    ratios, rows, all_reached = [], [], True
    for number in range(options.rounds):
        seconds, levels = from_coarse_to_fine(case)
        other, reached, times, values = alone(case, levels[-1]["objective"], options.limit)
        ratios.append(seconds / other)
        all_reached &= reached
        rows.append(
            (number, f"{seconds:.2f}", f"{other:.2f}", len(values) - 1, f"{values[-1]:.5f}", f"{ratios[-1]:.3f}")
        )
    print_table(
        ("level", "nodes", "layers", "iterations", "J at start", "J at end", "seconds"),
        [
            (
                *(level[name] for name in ("level", "nodes", "layers", "iterations")),
                f"{level['objective_at_start']:.5f}",
                f"{level['objective']:.5f}",
                f"{level['seconds_of_level']:.2f}",
            )
            for level in levels
        ],
        f"{kind} kernel",
    )
    print_table(("round", "seconds by levels", "seconds alone", "iterations alone", "J alone", "ratio"), rows)
    if not all_reached:
        print(f"the finest mesh alone did not reach {levels[-1]['objective']:.5f}: the ratio is an upper bound")
    ratio = float(np.median(ratios))
    return {"levels": levels, "rounds": rows, "reached": all_reached, "ratio": ratio, "times": times, "values": values}


def main() -> None:
    """Run, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dense", type=int, default=256, metavar="N", help="cells for the dense kernel")
    parser.add_argument("--representer", type=int, default=4096, metavar="N", help="cells for the representer")
    parser.add_argument("--iterations", type=int, default=20, help="limit on the finest level")
    parser.add_argument("--limit", type=int, default=1000, help="iterations on the finest mesh alone")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    found = {kind: compare(kind, options) for kind in ("dense", "representer")}
    save_results(
        "multilevel", {**found, "machine": machine(), "versions": versions("fem-selection", "numpy")}, draw(found)
    )
    print(f"\ndense {found['dense']['ratio']:.3f}")
    print(f"ratio {found['representer']['ratio']:.3f}")


if __name__ == "__main__":
    main()
