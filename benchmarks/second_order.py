# SPDX-License-Identifier: MIT
"""Time of an action of the exact Hessian on the digits, in forward sweeps: `demos/digits_optimal.toml`, one process.

    uv run --group bench python benchmarks/second_order.py [--repeats N]

In turn, round after round: the forward sweep, objective and gradient, actions of the Hessian and of its Gauss–Newton
part with everything kept that does not depend on the direction, an action with nothing kept, and the linearization,
which is what the first action at a new control takes longer than the others.  What counts is the median over the
rounds of the ratio to the forward sweep of the same round; the last line is that of the exact action.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import machine, print_table, save_results, versions
from matplotlib.figure import Figure

from fem_selection import Functional, build_problem, load_case
from fem_selection.learning import Hessian
from fem_selection.typing import Floats

CASE = Path(__file__).parent.parent / "demos" / "digits_optimal.toml"
BURST = 3  # calls of which the median counts in a round
SWEEP, ACTION, ANEW, LINEARIZATION = "forward sweep", "Hessian action", "first Hessian action", "linearization"
TOLERANCE = 1e-12


def create_tasks(functional: Functional, x: Floats, h: Floats) -> dict[str, Callable[[], object]]:
    """What is timed, by name.

    Raises:
        SystemExit: if what is kept changes the product.
    """
    controls = functional.control_space
    vector = controls.create_vector(x)
    exact, outer, alone, anew = (
        Hessian(functional),
        Hessian(functional, gauss_newton=True),
        Hessian(functional, memory=0),
        Hessian(functional),
    )
    for hessian in (exact, outer, alone):
        hessian.linearize(x)
    wanted = alone.apply(h)
    difference = np.linalg.norm(exact.apply(h) - wanted) / np.linalg.norm(wanted)
    if not difference <= TOLERANCE:
        raise SystemExit(f"the products with and without memory differ by {difference:.1e}")

    def linearize_and_apply() -> None:
        anew.linearize(x)
        anew.apply(h)

    return {
        SWEEP: lambda: functional.value(vector),
        "objective and gradient": lambda: functional.evaluate(x),
        ACTION: lambda: exact.apply(h),
        "Gauss–Newton action": lambda: outer.apply(h),
        "Hessian action, nothing kept": lambda: alone.apply(h),
        ANEW: linearize_and_apply,
    }


def time_in_turn(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of one call in every round, the median of a burst after a call that brings its data to the cache."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            burst = []
            for _ in range(BURST + 1):
                began = time.perf_counter()
                task()
                burst.append(time.perf_counter() - began)
            times[name].append(1e3 * float(np.median(burst[1:])))
    return times


def draw(ratios: dict[str, list[float]]) -> Figure:
    """Forward sweeps of everything, with the spread over the rounds."""
    figure = Figure(figsize=(6.0, 2.4), layout="constrained")
    axes = figure.subplots()
    names = list(ratios)[::-1]
    low, middle, high = (np.array([np.percentile(ratios[n], q) for n in names]) for q in (10, 50, 90))
    colours = ["#D55E00" if n == ACTION else "#0072B2" for n in names]
    axes.barh(names, middle, xerr=[middle - low, high - middle], color=colours, ecolor="#222222")
    axes.set(xlabel="forward sweeps, median and 10–90 %")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=40, metavar="N", help="rounds, 40 by default")
    arguments = parser.parse_args()
    if arguments.repeats < 1:
        parser.error("--repeats must be positive")

    described_machine = machine()
    problem = build_problem(load_case(CASE))
    controls = problem.functional.control_space
    x = problem.scaled_functional.to_controls(problem.scaled_start) + 0.1 * controls.random_direction(1)
    tasks = create_tasks(problem.functional, x, controls.random_direction(2))
    times = time_in_turn(tasks, arguments.repeats)
    times[LINEARIZATION] = np.subtract(times.pop(ANEW), times[ACTION]).tolist()
    ratios = {name: np.divide(t, times[SWEEP]).tolist() for name, t in times.items()}

    rows = [[name, float(np.median(t)), min(t), float(np.median(ratios[name]))] for name, t in times.items()]
    samples = problem.functional.initial.shape[1]
    title = f"{samples} digits, {problem.space.num_nodes} nodes, {controls.global_size} controls, one process"
    print_table(["", "median [ms]", "fastest [ms]", "forward sweeps"], rows, title)
    results = {
        "machine": described_machine,
        "versions": versions("fem-selection", "numpy", "scipy", "mpi4py", "fenics-dolfinx"),
        "rounds": arguments.repeats,
        "milliseconds": times,
        "forward_sweeps": {name: float(np.median(r)) for name, r in ratios.items()},
    }
    save_results("second_order", results, draw(ratios))
    print(f"\nsweeps {np.median(ratios[ACTION]):.2f}")


if __name__ == "__main__":
    main()
