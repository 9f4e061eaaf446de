# SPDX-License-Identifier: MIT
"""Memory and time of a gradient through thousands of layers, by what is stored of them, against Revolve's bound.

    uv run --group bench python benchmarks/depth.py [--layers L] [--rounds R]

Tracking by a dense kernel on an interval (65 nodes, 96 samples, tanh, Euler), one process.  Everything but "all" stores
some states and sweeps layers again on the way back.  The gradient is checked to be that of "all" to 1e-14, and the
layers that were swept to be as many as Revolve's schedule says; the least number for a memory is the curve.  Memory is
the largest that Python's arrays take during a gradient, beside what the tape and the stored states should take; time is
the fastest over the rounds, in which the schedules take turns, beside that of "all" plus the time of the sweeps that
are made again.  A second table has actions of the Hessian.  Last line: seconds of a gradient within a sixty-fourth of
the memory over seconds with all layers stored.
"""

from __future__ import annotations

import argparse
import gc
import math
import time
import tracemalloc
from dataclasses import dataclass

import numpy as np
from common import machine, print_table, save_results, versions
from matplotlib.figure import Figure

import fem_selection as fs
from fem_selection.config import parse_case
from fem_selection.dynamics import Tape
from fem_selection.dynamics.storage_plan import StoragePlan, plan_storage, repeated_segments
from fem_selection.learning import Functional, Hessian, LearningProblem
from fem_selection.plots.style import COLOURS, WIDTH, create_axes, styled

CELLS, SAMPLES, INTERVALS = 64, 96, 16
SHARES = (4, 16, 64, 256)  # the memory of all layers over that of a schedule
STATES = (8, 32)  # stored where each layer is a segment
TOLERANCE = 1e-14
MODEL = "all plus sweeps"


@dataclass
class Schedule:
    """A way to store, and what it took."""

    name: str
    settings: fs.TapeSettings
    functional: Functional
    plan: StoragePlan
    planned: int
    measured: int = 0
    sweeps: float = 1.0
    difference: float = 0.0
    seconds: float = math.inf

    @property
    def kind(self) -> str:
        """The word before the comma."""
        return self.name.split(",")[0]


def make_problem(layers: int, tape: fs.TapeSettings) -> LearningProblem:
    """The problem with a way to store."""
    case = parse_case(
        {
            "domain": {"shape": "interval", "cells": CELLS},
            "space": {"degree": 1},
            "dynamics": {"layers": layers, "control_intervals": INTERVALS, "horizon": 2.0, "start_scale": 1.0},
            "data": {
                "source": "formula",
                "samples": SAMPLES,
                "initial": "exp(-40*(y - 0.2 - 0.6*s)**2)",
                "target": "-0.5*exp(-40*(y - 0.8 + 0.6*s)**2)",
            },
            "objective": {"loss": "tracking"},
            "tape": {name: value for name in ("schedule", "checkpoints", "memory") if (value := getattr(tape, name))},
        }
    )
    return fs.build_problem(case)


def make_schedules(layers: int) -> list[Schedule]:
    """All layers stored; as well as possible within a memory; each layer a segment (Revolve's own); on disk."""
    problem = make_problem(layers, fs.TapeSettings(schedule="all"))
    nodes, scheme = problem.space.num_nodes, problem.functional.stepper.scheme
    state, layer = 8 * SAMPLES * nodes, SAMPLES * Tape.bytes_of_layer(nodes, nodes, scheme)
    given = {"all": fs.TapeSettings(schedule="all")}
    given |= {
        f"memory, 1/{n}": fs.TapeSettings(schedule="memory", memory=layers * layer // n)
        for n in SHARES
        if layers * layer // n >= 2 * state + layer
    }
    given |= {
        f"single layers, {c} states": fs.TapeSettings(schedule="memory", checkpoints=c, memory=(1 + c) * state + layer)
        for c in STATES
        if c < layers
    }
    given["disk"] = fs.TapeSettings(schedule="disk")
    schedules = []
    for name, settings in given.items():
        functional = make_problem(layers, settings).functional
        plan = functional.sweeps.plan(SAMPLES)
        schedules.append(Schedule(name, settings, functional, plan, plan.memory(state, layer)))
    return schedules


def check(schedules: list[Schedule], x: np.ndarray) -> None:
    """Memory, sweeps and gradient of every schedule.

    Raises:
        SystemExit: if a gradient is another, or layers were swept more often than the schedule says.
    """
    wanted = None
    for one in schedules:
        gc.collect()
        tracemalloc.start()
        _, dual = one.functional.evaluate(x)
        one.measured = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        one.sweeps = 1.0 + one.functional.counts.repeated
        wanted = dual if wanted is None else wanted
        one.difference = float(np.abs(dual - wanted).max() / np.abs(wanted).max())
        predicted = one.plan.swept_layers / one.plan.layers
        if not one.difference <= TOLERANCE or abs(one.sweeps - predicted) > 1e-12:
            raise SystemExit(f"{one.name}: difference {one.difference:.1e}, {one.sweeps} sweeps, {predicted} predicted")


def time_in_turn(schedules: list[Schedule], x: np.ndarray, rounds: int) -> float:
    """The fastest gradient of every schedule; returns the seconds of the fastest forward sweep that stores nothing."""
    vector = schedules[0].functional.control_space.create_vector(x)
    forward = math.inf
    for number in range(rounds):
        began = time.perf_counter()
        schedules[0].functional.value(vector)
        forward = min(forward, time.perf_counter() - began)
        for one in schedules if number % 2 else schedules[::-1]:
            began = time.perf_counter()
            one.functional.evaluate(x)
            one.seconds = min(one.seconds, time.perf_counter() - began)
    return forward


def time_actions(schedules: list[Schedule], x: np.ndarray, rounds: int) -> dict[str, float]:
    """Seconds of the fastest action of the Hessian: with all tapes kept, with none, and by some schedules.

    Raises:
        SystemExit: if a product is another.
    """
    h = schedules[0].functional.control_space.random_direction(2)
    hessians = {"all, tapes kept": Hessian(schedules[0].functional, memory=2**40)}
    hessians["all, tapes written anew"] = Hessian(schedules[0].functional, memory=0)
    hessians |= {one.name: Hessian(one.functional) for one in schedules if one.name in ("memory, 1/16", "disk")}
    products, times = {}, {}
    for name, hessian in hessians.items():
        hessian.linearize(x)
        products[name] = hessian.apply(h)
    wanted = products["all, tapes kept"]
    if not all(np.abs(p - wanted).max() <= TOLERANCE * np.abs(wanted).max() for p in products.values()):
        raise SystemExit("the products with the Hessian differ")
    for _ in range(rounds):
        for name, hessian in hessians.items():
            began = time.perf_counter()
            hessian.apply(h)
            times[name] = min(times.get(name, math.inf), time.perf_counter() - began)
    return times


def curve(layers: int, *, single: bool) -> tuple[list[float], list[float]]:
    """States in memory, and forward sweeps: the least for that memory, or those where each layer is a segment."""
    memory, sweeps = [], []
    for number in np.unique(np.geomspace(4, 2 * layers, 120).astype(int)).tolist():
        if single:
            if not 3 <= number - 2 <= layers:
                continue
            again = repeated_segments(layers, number - 3)
        else:
            settings = fs.TapeSettings(schedule="memory", memory=number)
            plan = plan_storage(layers, 1, 2, settings=settings, free=0.0)
            again = plan.longest * repeated_segments(plan.segments, plan.checkpoints)
        memory.append(number / (2 * layers))
        sweeps.append(1.0 + again / layers)
    return memory, sweeps


@styled
def draw(schedules: list[Schedule], forward: float) -> Figure:
    """Forward sweeps over memory beside the curves, and seconds over memory beside the model."""
    figure, axes = create_axes(1, 2, WIDTH, height=3.0)
    whole, layers = schedules[0], schedules[0].plan.layers
    kinds = {"all": ("s", "ink"), "memory": ("o", "blue"), "single layers": ("^", "vermilion"), "disk": ("D", "green")}
    for single, colour, label in (
        (False, "blue", "least for the memory"),
        (True, "vermilion", "Revolve, single layers"),
    ):
        x, y = curve(layers, single=single)
        axes[0, 0].plot(x, y, color=COLOURS[colour], linewidth=0.9, label=label)
    for kind, (marker, colour) in kinds.items():
        some = [one for one in schedules if one.kind == kind]
        x = [one.planned / whole.planned for one in some]
        axes[0, 0].plot(x, [one.sweeps for one in some], marker, color=COLOURS[colour], markersize=5, label=kind)
        ratios = [one.seconds / whole.seconds for one in some]
        axes[0, 1].plot(x, ratios, marker, color=COLOURS[colour], markersize=5, label=kind)
        model = [1.0 + (one.sweeps - 1.0) * forward / whole.seconds for one in some]
        label = MODEL if kind == "all" else None
        axes[0, 1].plot(x, model, "_", color=COLOURS["muted"], markersize=12, label=label)
    for panel, label in zip(axes[0], ("forward sweeps of a gradient", "seconds over those of all"), strict=True):
        panel.set(xscale="log", xlabel="memory over that of all layers", ylabel=label)
        panel.set_xlim(0.6 * min(one.planned for one in schedules) / whole.planned, 1.6)
        panel.set_ylim(bottom=0.0)
        panel.legend()
    axes[0, 0].set_ylim(0.0, 1.15 * max(one.sweeps for one in schedules))
    return figure


def main() -> None:
    """Run, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=4096, metavar="L")
    parser.add_argument("--rounds", type=int, default=8, metavar="R")
    options = parser.parse_args()
    if options.layers < 2 * INTERVALS or options.layers % INTERVALS or options.rounds < 1:
        parser.error(f"--layers must be a multiple of {INTERVALS}, at least {2 * INTERVALS}; --rounds must be positive")
    described_machine = machine()
    schedules = make_schedules(options.layers)
    whole = schedules[0]
    x = 0.5 * whole.functional.control_space.random_direction(1)
    check(schedules, x)
    forward = time_in_turn(schedules, x, options.rounds)
    rows = [
        [
            one.name,
            f"{one.plan.segments} × {one.plan.longest}",
            one.plan.checkpoints,
            one.planned / 2**20,
            one.measured / 2**20,
            one.sweeps,
            one.difference,
            one.seconds,
            one.seconds / whole.seconds,
            1.0 + (one.sweeps - 1.0) * forward / whole.seconds,
        ]
        for one in schedules
    ]
    header = ["", "segments", "states", "planned [MB]", "measured [MB]", "forward sweeps", "difference", "seconds"]
    title = f"gradient of {SAMPLES} samples on {CELLS + 1} nodes through {options.layers} layers"
    print_table([*header, "over all", MODEL], rows, title)
    actions = time_actions(schedules, x, min(options.rounds, 3))
    least = actions["all, tapes kept"]
    print_table(["action of the Hessian", "seconds", "over all"], [[n, t, t / least] for n, t in actions.items()])
    chosen = next((one for one in schedules if one.name == "memory, 1/64"), schedules[1])
    ratio = chosen.seconds / whole.seconds
    results = {
        "machine": described_machine,
        "versions": versions("fem-selection", "checkpoint_schedules", "numpy", "scipy"),
        "layers": options.layers,
        "seconds_of_a_forward_sweep": forward,
        "schedules": [dict(zip(["name", *header[1:], "over all", MODEL], row, strict=True)) for row in rows],
        "seconds_of_an_action": actions,
        "ratio": ratio,
    }
    save_results("depth", results, draw(schedules, forward))
    print(f"\nratio {ratio:.2f}")


if __name__ == "__main__":
    main()
