# SPDX-License-Identifier: MIT
"""Training at growing width: seconds and memory of an evaluation by a representer kernel, and by full ones.

    uv run --group bench python benchmarks/width.py [--sizes N,N,…] [--ranks P]

Fifty samples that are tracked through eight layers (tanh, forward Euler, all samples anchors), on an interval and on a
square, the nodes shared by the ranks.  Seconds are the fastest of some evaluations of objective and gradient; memory is
the largest that all ranks together held, in trajectories of 8 N J L bytes, J samples and L layers.  Full kernels, ours
and JAX's on one process, are measured until they would need more than half of the memory.  Then L-BFGS runs on the
smallest mesh and on one of 10⁵ nodes, or the largest below, and the histories are compared.  The slope is that of the
logarithms on the three largest intervals.  Last line: seconds of an evaluation with 10⁵ nodes, or the largest below.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
from common import machine, mpi_command, print_table, save_results, versions
from matplotlib.figure import Figure

SAMPLES, LAYERS = 50, 8
EVALUATIONS = 5
NUMBER = 8  # bytes


def make_tables(shape: str, nodes: int, ranks: int, representation: str) -> dict[str, Any]:
    """The problem with about so many nodes."""
    cells = nodes - 1 if shape == "interval" else round(nodes**0.5) - 1
    y = "y" if shape == "interval" else "y0"
    across = "" if shape == "interval" else "*cos(2*y1)"
    start = {"start_scale": 0.0} if representation == "representer" else {"kernel": "0"}
    return {
        "domain": {"shape": "interval" if shape == "interval" else "rectangle", "cells": cells},
        "dynamics": {"representation": representation, "layers": LAYERS, "horizon": 2.0, **start},
        "data": {
            "source": "formula",
            "samples": SAMPLES,
            "initial": f"cos((1 + 20*s)*{y} + 3*s){across}",
            "target": f"-0.5*sin((2 + 15*s)*{y} + s){across}",
        },
        "objective": {"loss": "tracking", "weight": 10.0},
        "regularization": {"kernel": 1e-2, "bias": 1e-2},
        "parallel": {"space": ranks},
    }


def measure(shape: str, nodes: int, representation: str, iterations: int) -> None:
    """On every rank: evaluate, run L-BFGS if asked to, and print what came out as JSON."""
    from mpi4py import MPI

    import fem_selection as fs
    from fem_selection.config import parse_case

    comm = MPI.COMM_WORLD
    problem = fs.build_problem(parse_case(make_tables(shape, nodes, comm.size, representation)))
    functional, rows, times = problem.scaled_functional, [], []
    for _ in range(EVALUATIONS):
        comm.Barrier()
        begin = time.perf_counter()
        functional.evaluate(problem.scaled_start)
        times.append(comm.allreduce(time.perf_counter() - begin, op=MPI.MAX))
    peak = comm.allreduce(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    if iterations:
        settings = fs.OptimizerSettings(method="lmvm", max_iterations=iterations, gradient_tolerance=0.0, memory=3)
        fs.minimize(functional, problem.scaled_start, settings, observe=rows.append)
    history = [float(row.objective) for row in rows]
    if comm.rank == 0:
        print(json.dumps({"nodes": problem.space.num_nodes, "seconds": min(times), "peak": peak, "history": history}))


def measure_jax(nodes: int) -> None:
    """The full kernel in JAX: value and gradient of the same network of nodes with nodal quadrature."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    y, s = np.linspace(0.0, 1.0, nodes)[:, None], np.linspace(0.0, 1.0, SAMPLES)[None, :]
    initial, target = np.cos((1 + 20 * s) * y + 3 * s), -0.5 * np.sin((2 + 15 * s) * y + s)
    weights = np.full((nodes, 1), 1.0 / (nodes - 1))
    weights[[0, -1]] /= 2

    def objective(w: Any, b: Any) -> Any:
        f = jnp.asarray(initial)
        for n in range(LAYERS):
            f = f + 2.0 / LAYERS * jnp.tanh(w[n] @ (weights * f) + b[n][:, None])
        square = jnp.sum(weights * (weights[:, 0] * w**2)) + jnp.sum(weights[:, 0] * b**2)
        return 5.0 / SAMPLES * jnp.sum(weights * (f - target) ** 2) + 0.5e-2 * square * 2.0 / LAYERS

    both = jax.jit(jax.value_and_grad(objective, argnums=(0, 1)))
    w, b = jnp.zeros((LAYERS, nodes, nodes)), jnp.zeros((LAYERS, nodes))
    times = []
    for _ in range(EVALUATIONS + 1):
        begin = time.perf_counter()
        jax.block_until_ready(both(w, b))
        times.append(time.perf_counter() - begin)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"nodes": nodes, "seconds": min(times[1:]), "peak": peak, "history": []}))


def ask(ranks: int, *arguments: str) -> dict[str, Any] | None:
    """What a measurement in processes of its own printed; None if it failed."""
    if ranks > 1:
        command, added = mpi_command(ranks, __file__, *arguments)
    else:
        command, added = [sys.executable, __file__, *arguments], {}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **added}, check=False)
    lines = done.stdout.strip().splitlines()
    return json.loads(lines[-1]) if done.returncode == 0 and lines else None


def available() -> float:
    """Bytes of memory that are free now."""
    with open("/proc/meminfo", encoding="utf-8") as file:
        return 1024.0 * next(int(line.split()[1]) for line in file if line.startswith("MemAvailable"))


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Seconds over nodes."""
    figure = Figure(figsize=(6.0, 3.2), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(row["kernel"] for row in rows):
        found = [row for row in rows if row["kernel"] == name]
        axes.loglog([row["nodes"] for row in found], [row["seconds"] for row in found], marker="o", label=name)
    axes.set_xlabel("nodes")
    axes.set_ylabel("seconds of an evaluation")
    axes.legend()
    return figure


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,10000,30000,100000,200000", help="nodes")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--compared", type=int, default=100_000, help="nodes of the history that is compared")
    parser.add_argument("--largest-full", type=int, default=10**9, help="nodes of the largest full kernel")
    parser.add_argument("--iterations", type=int, default=50, help="of L-BFGS")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        kind, shape, nodes, iterations = options.measure
        if kind == "jax":
            measure_jax(int(nodes))
        else:
            measure(shape, int(nodes), kind, int(iterations))
        return
    sizes, rows = sorted(int(size) for size in options.sizes.split(",")), []

    def add(name: str, ranks: int, kind: str, shape: str, nodes: int) -> dict[str, Any] | None:
        found = ask(ranks, "--measure", kind, shape, str(nodes), "0")
        trajectory = NUMBER * nodes * SAMPLES * LAYERS
        if found is not None:
            rows.append({"kernel": name, "trajectories": found["peak"] / trajectory, **found})
        else:
            print(f"{name}, {nodes} nodes: no result (out of memory, or a package is missing)")
        return found

    for shape in ("interval", "square"):
        for nodes in sizes:
            add(f"representer, {shape}", options.ranks, "representer", shape, nodes)
    for kind in ("dense", "jax"):
        nodes = sizes[0]
        while nodes <= options.largest_full and 12 * NUMBER * nodes**2 * LAYERS < available() / 2:
            add(f"full, {'ours' if kind == 'dense' else 'JAX'}", 1, kind, "interval", nodes)
            nodes = 3 * nodes // 2
        if nodes <= options.largest_full:
            print(f"full, {kind}: {nodes} nodes would take more than half of the memory that is there")
    print_table(
        ("kernel", "nodes", "seconds", "memory", "trajectories"),
        [
            (row["kernel"], row["nodes"], row["seconds"], f"{row['peak'] / 2**30:.2f} GB", f"{row['trajectories']:.1f}")
            for row in rows
        ],
    )
    lines = [row for row in rows if row["kernel"] == "representer, interval"]
    largest = lines[-3:]
    slope = float(np.polyfit(*(np.log([row[key] for row in largest]) for key in ("nodes", "seconds")), 1)[0])
    print(f"slope {slope:.3f} on the {len(largest)} largest intervals")
    compared = max([size for size in sizes if size <= options.compared], default=sizes[0])
    histories = [
        ask(options.ranks, "--measure", "representer", "interval", str(nodes), str(options.iterations))
        for nodes in (sizes[0], compared)
    ]
    difference = None
    if all(found is not None for found in histories):
        first, second = (np.array(found["history"]) for found in histories if found is not None)
        count = min(len(first), len(second))
        difference = float(np.max(np.abs(first[:count] - second[:count]) / second[:count]))
        print(f"histories of {count - 1} iterations with {sizes[0]} and {compared} nodes differ by {difference:.2g}")
    seconds = next(row["seconds"] for row in lines if row["nodes"] == compared)
    results = {
        "rows": rows,
        "slope": slope,
        "difference": difference,
        "seconds": seconds,
        "ranks": options.ranks,
        "machine": machine(),
        "versions": versions("jax"),
    }
    save_results("width", results, draw(rows))
    print(f"seconds {seconds:.3f}")


if __name__ == "__main__":
    main()
