# SPDX-License-Identifier: MIT
"""Optimizers on the digits: objective against sweeps and against seconds, and how fast Newton–Krylov ends.

    uv run --group bench python benchmarks/optimizers.py [--sweeps N]

The learning problem of `demos/digits_optimal.toml` from its own start, one rank.  Sweeps of all samples through all
layers are counted, forward and adjoint alike; a Hessian action counts as four, for its matrix products are twice those
of a forward and an adjoint sweep together.  The minimisations of Pontryagin's methods need no sweep, and show in the
seconds.  The last line is the number of sweeps that the better of them needs for the objective that gradient descent
ends with, over what gradient descent needed.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from common import machine, print_table, save_results, versions
from matplotlib.figure import Figure

import fem_selection as fs
from fem_selection.optimize import OptimizationReport
from fem_selection.settings.names import PONTRYAGIN

CASE = Path(__file__).parents[1] / "demos" / "digits_optimal.toml"
SWEEPS_OF_A_HESSIAN_ACTION = 4
METHODS = ("gradient descent", "lmvm", "nls", "ntr", "damped_msa", "sqh")
COLOURS = ("#8A8A8A", "#0072B2", "#009E73", "#56B4E9", "#D55E00", "#E69F00")


@dataclass
class Run:
    """What one optimizer did."""

    method: str
    sweeps: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    objectives: list[float] = field(default_factory=list)
    gradients: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    reason: str = ""

    def sweeps_to(self, objective: float) -> float:
        """Sweeps until the objective is at most this; infinite if never."""
        return next((s for s, j in zip(self.sweeps, self.objectives, strict=True) if j <= objective), float("inf"))

    def lowest_after(self, sweeps: float) -> float:
        """The lowest objective within so many sweeps."""
        known = [j for s, j in zip(self.sweeps, self.objectives, strict=True) if s <= sweeps]
        return min(known, default=self.objectives[0])


def run(method: str, limit: float) -> Run:
    """Minimise until the sweeps are used up or the gradient fell by 1e-7."""
    problem = fs.build_problem(fs.load_case(CASE))
    counts, done = problem.functional.counts, Run(method)
    began = time.perf_counter()

    def sweeps() -> float:
        return counts.forward + counts.adjoint + SWEEPS_OF_A_HESSIAN_ACTION * counts.hessian

    def observe(row) -> None:
        done.sweeps.append(sweeps())
        done.seconds.append(time.perf_counter() - began)
        done.objectives.append(float(row.objective))
        done.gradients.append(float(row.gradient_norm))
        done.gaps.append(float(row.maximum_principle_gap))
        print(f"\r{method}: {done.sweeps[-1]:.0f} sweeps, objective {row.objective:.5f}", end="", file=sys.stderr)

    def stop() -> bool:
        return sweeps() >= limit

    report: OptimizationReport
    if method in PONTRYAGIN:
        settings = fs.OptimizerSettings(
            method=method, max_iterations=10**6, gradient_tolerance=1e-7, starts=1, gap_every=0
        )
        report = fs.optimize.approximate_successively(
            problem.scaled_functional, problem.scaled_start, settings, observe=observe, stop=stop
        )
    else:
        descent = method == "gradient descent"
        options = {"tao_bncg_type": "gd"} if descent else {}
        settings = fs.OptimizerSettings(
            method="cg" if descent else method,
            max_iterations=10**6,
            gradient_tolerance=1e-7,
            memory=20,
            options=options,
        )
        report = fs.minimize(problem.scaled_functional, problem.scaled_start, settings, observe=observe, stop=stop)
    print(file=sys.stderr)
    done.reason = "the sweeps were used up" if report.stopped else report.reason
    return done


def draw(runs: list[Run]) -> Figure:
    """Distance of the objective from the lowest, against sweeps and seconds; the gradients of Newton's methods."""
    figure = Figure(figsize=(7.2, 3.1), layout="constrained")
    axes = figure.subplots(1, 3)
    lowest = min(min(r.objectives) for r in runs)
    for r, colour in zip(runs, COLOURS, strict=True):
        above = np.maximum(np.array(r.objectives) - lowest, 1e-9)
        axes[0].loglog(r.sweeps, above, color=colour, label=r.method, linewidth=1.2)
        axes[1].loglog(r.seconds, above, color=colour, linewidth=1.2)
        if r.method in ("nls", "ntr", "lmvm"):
            axes[2].semilogy(r.sweeps, r.gradients, color=colour, linewidth=1.2)
    axes[0].set(xlabel="sweeps", ylabel="objective − lowest found")
    axes[1].set(xlabel="seconds")
    axes[2].set(xlabel="sweeps", ylabel="gradient norm")
    for a in axes[:2]:
        a.set_ylim(bottom=3e-4)  # below lie other local minima
    figure.legend(loc="outside lower center", ncols=len(runs), frameon=False, fontsize=7)
    for a in axes:
        a.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sweeps", type=float, default=600.0, metavar="N", help="sweeps for each method, 600 by default"
    )
    parser.add_argument("--newton", type=float, default=2e4, metavar="N", help="sweeps for Newton's methods and LMVM")
    arguments = parser.parse_args()
    budgets = {m: arguments.newton if m in ("nls", "ntr", "lmvm") else arguments.sweeps for m in METHODS}
    runs = [run(method, budgets[method]) for method in METHODS]

    marks = (20, 50, 100, 200, 400, 600)
    rows = [[r.method, *(r.lowest_after(mark) for mark in marks)] for r in runs]
    print_table(["objective after … sweeps", *map(str, marks)], rows)
    rows = [[r.method, r.sweeps[-1], r.seconds[-1], r.objectives[-1], r.gradients[-1], r.reason] for r in runs]
    print_table(["", "sweeps", "seconds", "objective", "gradient", "why it ended"], rows)
    newton = [r for r in runs if r.method in ("nls", "ntr")]
    rates = {r.method: (np.array(r.gradients[1:]) / np.array(r.gradients[:-1])).tolist() for r in newton}
    rows = [[name, *(f"{rate:.2g}" for rate in ratios[-6:])] for name, ratios in rates.items()]
    print_table(["|g| over the one before, last six", *(str(k) for k in range(-6, 0))], rows)

    descent = next(r for r in runs if r.method == "gradient descent")
    best = min((r for r in runs if r.method in PONTRYAGIN), key=lambda r: r.sweeps_to(descent.objectives[-1]))
    ratio = best.sweeps_to(descent.objectives[-1]) / descent.sweeps[-1]
    results = {
        "machine": machine(),
        "versions": versions("fem-selection", "numpy", "scipy"),
        "runs": [vars(r) for r in runs],
        "rates": rates,
        "best_msa": best.method,
        "sweeps_ratio": ratio,
    }
    save_results("optimizers", results, draw(runs))
    print(f"\nbest of Pontryagin's methods: {best.method}\nsweeps_ratio {ratio:.4f}")


if __name__ == "__main__":
    main()
