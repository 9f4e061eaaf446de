# SPDX-License-Identifier: MIT
"""The representer kernel against the full one: evaluations of L-BFGS to the same objective, on three problems.

    uv run --group bench python benchmarks/representer.py [--nodes N] [--limit E]

Tracking of bumps and classification of curves by fewer samples than nodes, and digits by many more samples than nodes
(tanh, forward Euler, one control a layer, all samples anchors, or as many as there are nodes).  Both runs begin at
w = 0 and end after the same number of evaluations of objective and gradient; the objective that counts is the higher
one of the two ends, which both reach.  Both kernels have the same stationary points, but runs may end at different
ones, and the table shows where each ended.  Last line: evaluations with the representer kernel over those with the
full one, the median of the problems.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, print_table, save_results, versions
from matplotlib.figure import Figure

import fem_selection as fs
from fem_selection.config import parse_case
from fem_selection.optimize.report import IterationRow

REPRESENTATIONS = {"dense": {"kernel": "0"}, "representer": {"start_scale": 0.0}}
COLOURS = {"dense": "#8A8A8A", "representer": "#1f6feb"}


def tracking(nodes: int) -> dict[str, Any]:
    """Twenty bumps that move across an interval."""
    return {
        "domain": {"shape": "interval", "cells": nodes - 1},
        "dynamics": {"layers": 8, "horizon": 2.0},
        "data": {
            "source": "formula",
            "samples": 20,
            "initial": "exp(-40*(y - 0.2 - 0.6*s)**2)",
            "target": "-0.5*exp(-40*(y - 0.8 + 0.6*s)**2)",
        },
        "objective": {"loss": "tracking", "weight": 10.0},
        "regularization": {"kernel": 1e-2, "bias": 1e-2},
    }


def classification(nodes: int, folder: Path) -> dict[str, Any]:
    """Sixty noisy curves of three classes, which differ in phase."""
    rng, y = np.random.default_rng(1), np.linspace(0.0, 1.0, 129)
    labels = np.arange(60) % 3
    phases = 0.7 * labels + 0.5 * rng.standard_normal(60)
    curves = np.sin(6.0 * y + phases[:, None]) + 0.3 * rng.standard_normal((60, 1)) * np.cos(20.0 * y)
    np.savez(folder / "curves.npz", x=curves, y=labels)
    return {
        "domain": {"shape": "interval", "cells": nodes - 1},
        "dynamics": {"layers": 8, "horizon": 2.0},
        "data": {"source": "npz", "file": str(folder / "curves.npz"), "test_fraction": 0.0},
        "objective": {"loss": "softmax"},
        "regularization": {"kernel": 1e-4, "bias": 1e-4, "readout": 1e-4},
    }


def digits(cells: int) -> dict[str, Any]:
    """The digits of scikit-learn: some 1400 samples on (cells + 1)² nodes."""
    return {
        "domain": {"shape": "rectangle", "cells": cells},
        "dynamics": {"layers": 8, "horizon": 1.0},
        "data": {"source": "digits"},
        "objective": {"loss": "softmax"},
        "regularization": {"kernel": 1e-4, "bias": 1e-4, "readout": 1e-4},
    }


def run(tables: dict[str, Any], representation: str, limit: int) -> dict[str, Any]:
    """The course of a run: evaluations so far and objective of each iterate."""
    tables = {**tables, "dynamics": {**tables["dynamics"], "representation": representation}}
    tables["dynamics"] |= REPRESENTATIONS[representation]
    problem = fs.build_problem(parse_case(tables))
    rows: list[IterationRow] = []
    begin = time.perf_counter()
    settings = fs.OptimizerSettings(method="lmvm", max_iterations=limit, gradient_tolerance=0.0)
    fs.minimize(
        problem.scaled_functional,
        problem.scaled_start,
        settings,
        observe=rows.append,
        stop=lambda: rows[-1].evaluations >= limit,
    )
    return {
        "nodes": problem.space.num_nodes,
        "samples": problem.functional.num_samples,
        "rank": getattr(problem.functional.stepper.kernel, "rank", problem.space.num_nodes),
        "evaluations": [row.evaluations for row in rows],
        "objectives": [float(row.objective) for row in rows],
        "gradient_norm": float(rows[-1].gradient_norm),
        "seconds": time.perf_counter() - begin,
    }


def reached(course: dict[str, Any], objective: float) -> int:
    """The number of evaluations after which the objective is at most a value."""
    pairs = zip(course["evaluations"], course["objectives"], strict=True)
    return next(count for count, value in pairs if value <= objective)


def draw(courses: dict[str, dict[str, dict[str, Any]]]) -> Figure:
    """Objectives over evaluations."""
    figure = Figure(figsize=(9.0, 3.0), layout="constrained")
    for axes, (name, both) in zip(np.atleast_1d(figure.subplots(1, len(courses))), courses.items(), strict=True):
        for representation, course in both.items():
            axes.loglog(
                course["evaluations"], course["objectives"], color=COLOURS[representation], label=representation
            )
        axes.set_title(name)
        axes.set_xlabel("evaluations")
    figure.axes[0].set_ylabel("objective")
    figure.axes[0].legend()
    return figure


def main() -> None:
    """Run, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=129, help="nodes of the intervals")
    parser.add_argument("--limit", type=int, default=1000, help="evaluations of each run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        problems = {
            "tracking": tracking(options.nodes),
            "classification": classification(options.nodes, Path(name)),
            "more samples than nodes": digits(7),
        }
        courses = {
            title: {kind: run(tables, kind, options.limit) for kind in REPRESENTATIONS}
            for title, tables in problems.items()
        }
    rows, ratios = [], []
    for title, both in courses.items():
        common = max(course["objectives"][-1] for course in both.values())
        counts = {kind: reached(course, common) for kind, course in both.items()}
        ratios.append(counts["representer"] / counts["dense"])
        for kind, course in both.items():
            rows.append(
                (
                    title if kind == "dense" else "",
                    kind,
                    course["nodes"],
                    course["samples"],
                    course["rank"],
                    f"{course['objectives'][-1]:.6g}",
                    f"{course['gradient_norm']:.2g}",
                    f"{common:.6g}",
                    counts[kind],
                    f"{course['seconds']:.1f}",
                )
            )
    header = ("problem", "kernel", "nodes", "samples", "rank", "J at end", "|∇J|", "J of both", "evaluations", "s")
    print_table(header, rows)
    ratio = float(np.median(ratios))
    results = {"courses": courses, "ratios": ratios, "ratio": ratio, "machine": machine(), "versions": versions()}
    save_results("representer", results, draw(courses))
    print(f"ratios {', '.join(f'{r:.3g}' for r in ratios)}")
    print(f"ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
