# SPDX-License-Identifier: MIT
"""Strong and weak scaling of a gradient, samples split over ranks and space split over ranks; what the ranks send.

    uv run --group bench python benchmarks/scaling.py [--rounds R]

Tracking on an interval, tanh, eight Euler layers.  Samples are split for a dense kernel of 257 nodes, space for a
separable kernel of rank 16.  Each run is a start of MPI of its own; its time is the fastest of the rounds.  Four ranks
on two cores share them, which is said.  The objective must be that of one rank to 1e-10.  The messages and bytes that
a rank sends are counted, and must be what the formulas say, with P ranks, n controls, rank R, J samples and L layers:

    samples split:  2 (P − 1) messages, 16 n (P − 1)/P bytes: the shards of the controls and of their dual
    space split:    3 L sums over the ranks, 8 R J (4 L − 1) + 8 bytes: moments of states and duals, the objective

The model takes the seconds of one rank and adds, for a network of 2 µs and 10 GB/s, the messages in turn for the first
and log₂ P steps of each sum for the second: weak scaling up to ten thousand ranks.  Last line: the efficiency of space
split over two ranks at 100,001 nodes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
from dataclasses import dataclass
from typing import Any

from common import PEERS, chosen_cpus, machine, mpi_command, print_table, save_results, versions
from matplotlib.figure import Figure

from fem_selection.plots.style import COLOURS, WIDTH, create_axes, styled

RANKS = (1, 2, 4)
LAYERS, RANK = 8, 16
TOLERANCE = 1e-10
LATENCY, BANDWIDTH = 2e-6, 1e10
MANY = (1, 10, 100, 1000, 10000)


@dataclass(frozen=True)
class Series:
    """Runs on 1, 2 and 4 ranks."""

    name: str
    splits_space: bool
    is_weak: bool
    nodes: int
    samples: int

    def sizes(self, ranks: int) -> tuple[int, int]:
        """Nodes and samples on that many ranks."""
        factor = ranks if self.is_weak else 1
        if self.splits_space:
            return (self.nodes - 1) * factor + 1, self.samples
        return self.nodes, self.samples * factor

    def formula(self, ranks: int, controls: int) -> tuple[int, int]:
        """Messages and bytes of a rank."""
        if ranks == 1:
            return 0, 0
        if self.splits_space:
            return 3 * LAYERS, 8 * RANK * self.samples * (4 * LAYERS - 1) + 8
        return 2 * (ranks - 1), 16 * controls * (ranks - 1) // ranks


SERIES = (
    Series("samples, strong", splits_space=False, is_weak=False, nodes=257, samples=1024),
    Series("samples, weak", splits_space=False, is_weak=True, nodes=257, samples=512),
    Series("space, strong", splits_space=True, is_weak=False, nodes=100001, samples=32),
    Series("space, weak", splits_space=True, is_weak=True, nodes=50001, samples=32),
)


def run(series: Series, ranks: int, rounds: int) -> dict[str, Any]:
    """One run.

    Raises:
        SystemExit: if it fails.
    """
    nodes, samples = series.sizes(ranks)
    asked = {"nodes": nodes, "samples": samples, "space": ranks if series.splits_space else 1, "rounds": rounds}
    words = [word for name, value in asked.items() for word in (f"--{name}", str(value))]
    words += ["--representation", "separable" if series.splits_space else "dense"]
    command, more = mpi_command(ranks, PEERS / "ours_scaling.py", *words)
    if ranks > len(chosen_cpus(ranks)):
        more = {"MPIR_CVAR_CH4_PROGRESS_THROTTLE": "1", **more}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **more})
    if done.returncode:
        raise SystemExit(f"{series.name} on {ranks} ranks failed: {done.stderr[-2000:]}")
    return {**json.loads(done.stdout.splitlines()[-1]), "nodes": nodes, "samples": samples, "ranks": ranks}


def check(series: Series, runs: list[dict[str, Any]]) -> None:
    """Compare objectives with one rank's, and what was sent with the formulas.

    Raises:
        SystemExit: if one differs.
    """
    for one in runs:
        sent = one["space"] if series.splits_space else one["sample"]
        # a sum over one rank sends nothing
        if one["ranks"] > 1 and tuple(sent) != series.formula(one["ranks"], one["controls"]):
            expected = series.formula(one["ranks"], one["controls"])
            raise SystemExit(f"{series.name}: {sent} sent on {one['ranks']} ranks, not {expected}")
        if not series.is_weak and abs(one["objective"] / runs[0]["objective"] - 1) > TOLERANCE:
            raise SystemExit(f"{series.name}: another objective on {one['ranks']} ranks")


def efficiency(series: Series, runs: list[dict[str, Any]]) -> list[float]:
    """Seconds of one rank over those of each run, and over its ranks unless the work grows with them."""
    first = runs[0]["seconds"]
    return [first / one["seconds"] / (1 if series.is_weak else one["ranks"]) for one in runs]


def predicted(series: Series, runs: list[dict[str, Any]]) -> list[float]:
    """The model's efficiency of weak scaling."""
    found = []
    for ranks in MANY:
        messages, size = series.formula(ranks, runs[0]["controls"])
        steps = max(math.ceil(math.log2(ranks)), 1) if series.splits_space else 1
        found.append(runs[0]["seconds"] / (runs[0]["seconds"] + steps * (messages * LATENCY + size / BANDWIDTH)))
    return found


@styled
def draw(measured: dict[str, list[float]], models: dict[str, list[float]], ranks: list[int]) -> Figure:
    """Measured efficiencies beside the model's."""
    figure, axes = create_axes(1, 2, WIDTH, height=3.0)
    left, right = axes[0]
    colours = [COLOURS[name] for name in ("blue", "vermilion", "green", "ink")]
    for (name, values), colour, marker in zip(measured.items(), colours, "osD^", strict=True):
        left.plot(ranks, values, marker, color=colour, markersize=4, linestyle="-", linewidth=0.8, label=name)
    for (name, values), colour in zip(models.items(), (colours[1], colours[3]), strict=True):
        right.plot(MANY, values, color=colour, linewidth=1.0, label=name)
    left.set(title="measured", xlabel="ranks", ylabel="efficiency", ylim=(0, 1.2), xticks=ranks)
    right.set(title="model of a network", xlabel="ranks", xscale="log", ylim=(0, 1.2))
    for panel in (left, right):
        panel.legend(loc="lower left")
    return figure


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, metavar="R", help="gradients in each run, 12 by default")
    rounds = parser.parse_args().rounds
    cores = len(os.sched_getaffinity(0))
    runs = {series.name: [run(series, ranks, rounds) for ranks in RANKS] for series in SERIES}
    rows, measured, models = [], {}, {}
    for series in SERIES:
        own = runs[series.name]
        check(series, own)
        measured[series.name] = efficiency(series, own)
        if series.is_weak:
            models[series.name] = predicted(series, own)
        for one, e in zip(own, measured[series.name], strict=True):
            sent = series.formula(one["ranks"], one["controls"])
            shared = " (cores shared)" if one["ranks"] > cores else ""
            rows.append(
                [
                    f"{series.name}, {one['ranks']} ranks{shared}",
                    one["nodes"],
                    one["samples"],
                    1e3 * one["seconds"],
                    e,
                    *sent,
                ]
            )
    print_table(["", "nodes", "samples", "ms a gradient", "efficiency", "messages of a rank", "bytes"], rows)
    print_table(
        ["ranks", *(str(n) for n in MANY)],
        [[name, *values] for name, values in models.items()],
        f"efficiency by the model, {LATENCY * 1e6:g} µs and {BANDWIDTH / 1e9:g} GB/s",
    )
    results = {
        "machine": machine(),
        "versions": versions("fem-selection", "numpy", "mpi4py", "petsc4py"),
        "runs": runs,
        "efficiency": measured,
        "model": {"latency": LATENCY, "bandwidth": BANDWIDTH, "ranks": MANY, "efficiency": models},
    }
    save_results("scaling", results, draw(measured, models, list(RANKS)))
    print(f"\nefficiency {measured['space, strong'][1]:.3f}")


if __name__ == "__main__":
    main()
