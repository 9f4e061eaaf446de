# SPDX-License-Identifier: MIT
"""From coarse to fine against the finest mesh alone: seconds to the same objective there.

    uv run --group bench python benchmarks/multilevel.py [--cells N] [--rounds R]

Tracking of bumps by a dense kernel on an interval (tanh, 8 layers, L-BFGS).  The run from coarse to fine begins on
four meshes, each of half of the cells of the next; its time includes all levels, the prolongations and the
evaluations that its report needs.  The run on the finest mesh alone goes on until its objective is at most what the
other ended with, or to its limit of iterations.  The two take turns; the ratio is the median over the rounds.  Last
line: seconds from coarse to fine over seconds alone.  If the limit is reached first the ratio is an upper bound.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from common import machine, print_table, save_results, versions
from matplotlib.figure import Figure

import fem_selection as fs
from fem_selection.cases import level_cases
from fem_selection.config import Case, parse_case
from fem_selection.optimize.report import IterationRow


def make_case(cells: int, iterations: int) -> Case:
    """The problem on a mesh, with its coarse levels."""
    return parse_case(
        {
            "domain": {"shape": "interval", "cells": cells},
            "space": {"degree": 1},
            "dynamics": {"layers": 8, "kernel": "0", "horizon": 2.0},
            "data": {
                "source": "formula",
                "samples": 20,
                "initial": "exp(-40*(y - 0.2 - 0.6*s)**2)",
                "target": "-0.5*exp(-40*(y - 0.8 + 0.6*s)**2)",
            },
            "objective": {"loss": "tracking", "weight": 10.0},
            "regularization": {"kernel": 1e-2, "bias": 1e-2},
            "optimizer": {"max_iterations": iterations, "gradient_tolerance": 1e-4},
            "multilevel": {
                "cells": [cells // 16, cells // 8, cells // 4, cells // 2],
                "iterations": [15 * iterations, 5 * iterations, 5 * iterations, 2 * iterations],
            },
        }
    )


def from_coarse_to_fine(case: Case) -> tuple[float, list[dict]]:
    """Seconds of all levels, and the report's entries."""
    problems = [fs.build_problem(level) for level in level_cases(case)]
    begin = time.perf_counter()
    output = fs.OutputSettings(figures=False, fields=False)
    result = fs.studies.train_levels(problems, case.optimizer, levels=case.multilevel, output=output)
    seconds = time.perf_counter() - begin
    assert result.report is not None
    return seconds, [dict(level) for level in result.report.levels]


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


def draw(levels: list[dict], times: list[float], values: list[float]) -> Figure:
    """Objective over seconds of both runs."""
    figure = Figure(figsize=(6.5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.loglog(times, values, color="#8A8A8A", label="finest mesh alone")
    end = 0.0
    for level in levels:
        begin, end = end, end + level["seconds_of_level"]
        ends = [level["objective_at_start"], level["objective"]]
        axes.loglog([max(begin, 1e-3), end], ends, marker="o", label=f"{level['nodes']} nodes")
    axes.set_xlabel("seconds")
    axes.set_ylabel("objective")
    axes.legend()
    return figure


def main() -> None:
    """Run, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=512)
    parser.add_argument("--iterations", type=int, default=20, help="limit on the finest level")
    parser.add_argument("--limit", type=int, default=2000, help="iterations on the finest mesh alone")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    case = make_case(options.cells, options.iterations)
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
    )
    print_table(("round", "seconds by levels", "seconds alone", "iterations alone", "J alone", "ratio"), rows)
    ratio = float(np.median(ratios))
    if not all_reached:
        print(f"the finest mesh alone did not reach {levels[-1]['objective']:.5f}: the ratio is an upper bound")
    results = {
        "cells": options.cells,
        "levels": levels,
        "rounds": rows,
        "reached": all_reached,
        "ratio": ratio,
        "machine": machine(),
        "versions": versions(),
    }
    save_results("multilevel", results, draw(levels, times, values))
    print(f"ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
