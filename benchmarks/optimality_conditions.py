# SPDX-License-Identifier: MIT
"""The optimum that has a closed form, reached by each of the optimality conditions, with the orders of convergence.

    uv run --group bench python benchmarks/optimality_conditions.py

σ = id, one sample on one cell, α_w = α_b = 0.7, μ = 3, T = 1, from 1 towards 2.5:

    J* = min_r { α (asinh r − asinh x)² / (2T) + μ/2 (r − ρ)² }

The variational loop (LMVM, Newton–Krylov) and Pontryagin's method (damped successive approximations) solve the discrete
problem of forward-Euler layers, whose optimum approaches J* with order one in Δt.  The Hamilton–Jacobi–Bellman equation
is solved by finite elements on finer and finer meshes, and by dynamic programming as a witness.  The last line is the
lowest observed order of the four on their finest pair.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field

import numpy as np
from common import machine, print_table, save_results, versions
from matplotlib.figure import Figure
from scipy.optimize import minimize_scalar

import fem_selection as fs
from fem_selection.hjb import Grid, ReducedProblem, solve_by_dynamic_programming, solve_value

ALPHA, MU, HORIZON, START, TARGET = 0.7, 3.0, 1.0, 1.0, 2.5
LAYERS = (10, 20, 40, 80)
CELLS = (50, 100, 200, 400)
BOX = (-1.5, 4.0)


@dataclass
class Column:
    """Values of one method on finer and finer discretisations."""

    name: str
    sizes: tuple[int, ...]
    values: list[float] = field(default_factory=list)

    def errors(self, exact: float) -> np.ndarray:
        """Distances from the closed form."""
        return np.abs(np.array(self.values) - exact)

    def orders(self, exact: float) -> np.ndarray:
        """Observed between consecutive sizes."""
        return -np.diff(np.log(self.errors(exact))) / np.diff(np.log(self.sizes))


def closed_form() -> float:
    """J*."""

    def along_the_ray(r: float) -> float:
        return ALPHA * (np.arcsinh(r) - np.arcsinh(START)) ** 2 / (2 * HORIZON) + MU / 2 * (r - TARGET) ** 2

    return float(minimize_scalar(along_the_ray, bounds=(0, 5), method="bounded", options={"xatol": 1e-12}).fun)


def learning_problem(layers: int) -> fs.ScaledFunctional:
    """One cell, one sample, Euler layers."""
    ensemble = fs.Ensemble()
    space = fs.StateSpace(fs.interval(ensemble.space_comm, 1), 0, "dg")
    kernel, bias = fs.DenseKernel(space, layers), np.zeros((layers, 1))
    grid = fs.DepthGrid(layers=layers, horizon=HORIZON)
    stepper = fs.Stepper(
        space, kernel, bias, activation=fs.find_activation("identity"), scheme=fs.find_scheme("euler"), grid=grid
    )
    controls = fs.ControlSpace(ensemble, space, kernel, grid=grid, num_outputs=0, parts=("kernel", "bias"))
    initial, target = np.array([[START]]), np.array([[TARGET]])
    penalty = fs.Regularization(kernel=ALPHA, bias=ALPHA)
    return fs.ScaledFunctional(
        fs.Functional(
            controls,
            stepper,
            fs.TrackingCost(space=space),
            initial=initial,
            targets=target,
            num_samples=1,
            regularization=penalty,
            weight=MU,
        )
    )


def by_tao(method: str, layers: int) -> float:
    """The optimal value by LMVM or Newton–Krylov."""
    scaled = learning_problem(layers)
    start = np.zeros(scaled.control_space.local_size)
    settings = fs.OptimizerSettings(method=method, max_iterations=500, gradient_tolerance=1e-9, memory=20)
    return float(fs.minimize(scaled, start, settings).objective)


def by_pontryagin(layers: int) -> float:
    """The optimal value by damped successive approximations."""
    scaled = learning_problem(layers)
    settings = fs.OptimizerSettings(method="damped_msa", max_iterations=1000, gradient_tolerance=1e-7)
    return float(
        fs.optimize.approximate_successively(scaled, np.zeros(scaled.control_space.local_size), settings).objective
    )


def by_bellman(solve, cells: int) -> float:
    """V(0, x) by finite elements or dynamic programming."""
    one = np.array([[1.0]])
    problem = ReducedProblem(
        activation=fs.find_activation("identity"),
        areas=np.ones(1),
        initial=START * one,
        targets=TARGET * one,
        alpha_kernel=ALPHA,
        alpha_bias=ALPHA,
        horizon=HORIZON,
        weight=MU,
    )
    grid = Grid.uniform([BOX[0]], [BOX[1]], cells)
    return float(solve(problem, grid).value(0.0, problem.start[None])[0])


def draw(columns: list[Column], exact: float) -> Figure:
    """Errors against the number of layers or cells."""
    figure = Figure(figsize=(4.8, 3.2), layout="constrained")
    axes = figure.subplots()
    styles = ("o-", "s--", "^:", "D-", "v-")
    for column, style in zip(columns, styles, strict=True):
        axes.loglog(column.sizes, column.errors(exact), style, label=column.name, markersize=4, linewidth=1.1)
    axes.set(xlabel="layers, or cells of the state's box", ylabel="distance from the closed form")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7)
    return figure


def main() -> None:
    """Run it."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    exact = closed_form()
    columns = [
        Column("LMVM", LAYERS, [by_tao("lmvm", n) for n in LAYERS]),
        Column("Newton–Krylov", LAYERS, [by_tao("nls", n) for n in LAYERS]),
        Column("Pontryagin, damped", LAYERS, [by_pontryagin(n) for n in LAYERS]),
        Column("HJB, finite elements", CELLS, [by_bellman(solve_value, n) for n in CELLS]),
        Column("HJB, dynamic programming", CELLS, [by_bellman(solve_by_dynamic_programming, n) for n in CELLS]),
    ]
    for column in columns:
        orders = ["", *(f"{order:.2f}" for order in column.orders(exact))]
        rows = [
            [str(size), f"{value:.6f}", f"{error:.2e}", order]
            for size, value, error, order in zip(column.sizes, column.values, column.errors(exact), orders, strict=True)
        ]
        kind = "cells" if column.sizes == CELLS else "layers"
        print_table([kind, "value", "error", "order"], rows, f"{column.name} (closed form {exact:.6f})")
    lowest = min(float(column.orders(exact)[-1]) for column in columns[:4])
    results = {
        "machine": machine(),
        "versions": versions("fem-selection", "numpy", "scipy"),
        "closed_form": exact,
        "columns": [
            {**vars(c), "errors": c.errors(exact).tolist(), "orders": c.orders(exact).tolist()} for c in columns
        ],
        "order": lowest,
    }
    save_results("optimality_conditions", results, draw(columns, exact))
    print(f"\norder {lowest:.3f}")


if __name__ == "__main__":
    main()
