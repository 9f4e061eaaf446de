# SPDX-License-Identifier: MIT
"""Test accuracy and wall time of the main job, `demos/digits.toml`, over several seeds on one rank and on two.

    uv run --group bench python benchmarks/accuracy.py [--seeds 5] [--ranks 1 2] [--set KEY=VALUE]

A seed chooses the split, the start, the batches and the movements.  Every run is the command of the README as a
process of its own, figures and files included.  The last line is the lowest of the mean accuracies.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from common import machine, mpi_command, print_table, save_results, versions
from matplotlib.figure import Figure

CASE = Path(__file__).resolve().parent.parent / "demos" / "digits.toml"
PROGRAM = "import fem_selection.cli as cli; cli.main()"


def train(seed: int, ranks: int, settings: list[str], folder: Path) -> tuple[float, float]:
    """Test accuracy and seconds of one run from its start as a process to its end."""
    command, environment = mpi_command(ranks, "-c", PROGRAM, "train", str(CASE), "--output", str(folder))
    for setting in (f"seed={seed}", *settings):
        command += ["--set", setting]
    begin = time.perf_counter()
    subprocess.run(command, check=True, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begin
    return float(json.loads((folder / "report.json").read_text())["test_accuracy"]), seconds


def draw(accuracies: dict[int, list[float]]) -> Figure:
    """One row of dots for each number of ranks, with the mean."""
    figure = Figure(figsize=(7.0, 1.2 + 0.7 * len(accuracies)), layout="constrained")
    axes = figure.subplots()
    for row, values in enumerate(accuracies.values()):
        axes.plot(values, np.full(len(values), row), "o", color="#0072b2", alpha=0.7)
        axes.plot(np.mean(values), row, "|", color="#d55e00", markersize=24, markeredgewidth=2.5)
    axes.set_yticks(range(len(accuracies)), [f"{n} rank{'s' if n > 1 else ''}" for n in accuracies])
    axes.set_ylim(-0.6, len(accuracies) - 0.4)
    axes.set_xlabel("test accuracy (dots: seeds, bar: mean)")
    axes.grid(axis="x", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Train, print, save."""
    parser = argparse.ArgumentParser(description=__doc__.strip(), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()

    rows, accuracies, seconds = [], {n: [] for n in arguments.ranks}, {n: [] for n in arguments.ranks}
    with tempfile.TemporaryDirectory() as name:
        for seed in range(arguments.seeds):
            for ranks in arguments.ranks:
                accuracy, time_taken = train(seed, ranks, arguments.set, Path(name) / f"{seed}-{ranks}")
                accuracies[ranks].append(accuracy)
                seconds[ranks].append(time_taken)
                rows.append([f"seed {seed}", ranks, f"{accuracy:.4f}", time_taken])
    means = {ranks: float(np.mean(values)) for ranks, values in accuracies.items()}
    for ranks, mean in means.items():
        rows.append(["mean", ranks, f"{mean:.4f}", float(np.mean(seconds[ranks]))])
    print_table(["", "ranks", "test accuracy", "seconds in all"], rows, "demos/digits.toml")
    results = {
        "machine": machine(),
        "versions": versions("fem-selection", "numpy", "fenics-dolfinx"),
        "accuracies": accuracies,
        "seconds": seconds,
        "means": means,
    }
    folder = save_results("accuracy", results, draw(accuracies))
    print(f"\n{folder / 'accuracy.json'}")
    print(f"mean_accuracy {min(means.values()):.4f}")


if __name__ == "__main__":
    main()
