# SPDX-License-Identifier: MIT
"""Time of training to a test accuracy of 97 % on the digits: two ranks of ours against JAX on two threads.

    uv run --group bench python benchmarks/time_to_accuracy.py [--seeds N] [--repeats N]

Both take the same Adam steps in float64: the network, data (80/20 by the seed, images at rest), recipe and start of
`demos/digits.toml`, and for each seed the same mini-batches in the same order, which our side writes out.  The
iterates are checked to agree after 20 steps.  Ours is the package's own `descend`; JAX compiles a whole epoch.

Timed is the training alone: setup and compilation come before it, and the clocks of both sides stand still while the
test accuracy is taken after every epoch.  The two are asked in turn, several times for each seed; a seed's time is the
median over these.  JAX runs on two threads, in the faster of its variants; beside it a table shows what an epoch takes
on one thread, which for so small a network can be less.  The last line is the ratio of the medians over the seeds of
the seconds until the test accuracy first is 0.97; a seed that does not get there counts as infinitely long.

A further table counts compilation.  JAX compiles in each process.  Ours compiles once on a machine: its seconds are the
time for problem and first steps of a process with an empty cache minus that of one that finds all compiled.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from common import PEERS, Worker, chosen_cpus, machine, mpi_command, print_table, save_results, versions
from matplotlib.figure import Figure

CPUS = 2
ACCURACY = 0.97
TOLERANCE = 1e-8
TRIAL = 10  # epochs by which the faster of JAX's variants is chosen
TRIALS = 5
OURS, PEER = "fem_selection", "JAX"
COLOURS = {OURS: "#D55E00", PEER: "#0072B2"}

Run = dict[str, list[float]]
"""Of each epoch, `seconds` and the test accuracy after it, `accuracies`."""


def start_ours(cache: str | None = None) -> Worker:
    """Our worker; in a cache folder of its own, if one is given."""
    command, environment = mpi_command(CPUS, PEERS / "ours_training.py", "{folder}")
    if cache is not None:
        environment = {**environment, "XDG_CACHE_HOME": cache}
    return Worker(OURS, command, ranks=CPUS, cpus=chosen_cpus(CPUS), environment=environment)


def start_peer(threads: int = CPUS) -> Worker:
    """JAX's; XLA takes one thread per processor that it may use."""
    command = [sys.executable, str(PEERS / "jax_training.py"), "{folder}"]
    return Worker(PEER, command, cpus=chosen_cpus(threads))


def measure_compilation(folder: Path) -> dict[str, float]:
    """Seconds that our side compiles for: in a process with an empty cache, and in one that finds all in the cache."""
    cache, key = str(folder / "cache"), "problem_and_first_steps_seconds"
    found = []
    for _ in range(3):
        with start_ours(cache) as worker:
            found.append(float(worker.ready[key]))
    return {"empty cache": found[0] - min(found[1:]), "compiled before": 0.0}


def check(ours: Worker, peer: Worker, kinds: list[str], folder: Path) -> dict[str, float]:
    """The relative difference of the iterates of JAX's variants from ours after the first steps.

    Raises:
        SystemExit: if one is above the tolerance.
    """
    differences = {}
    steps = ours.ask("walk", path=str(folder / "ours.npz"))
    for kind in kinds:
        peer.ask("walk", path=str(folder / "peer.npz"), kind=kind, steps=steps)
        with np.load(folder / "ours.npz") as mine, np.load(folder / "peer.npz") as theirs:
            parts = [np.linalg.norm(mine[p] - theirs[p]) / np.linalg.norm(theirs[p]) for p in theirs.files]
        differences[kind] = float(max(parts))
        if not differences[kind] <= TOLERANCE:
            raise SystemExit(f"after {steps} steps the iterates differ by {differences[kind]:.1e} from JAX {kind}")
    return differences


def time_variants(peer: Worker, kinds: list[str], problem: Path) -> dict[str, float]:
    """Milliseconds that an epoch of each of JAX's variants takes, on two threads and, for comparison, on one."""
    with start_peer(1) as single:
        single.ask("prepare", path=str(problem))
        variants = {kind: (peer, kind) for kind in kinds}
        variants |= {f"{kind}, one thread": (single, kind) for kind in kinds}
        epochs: dict[str, list[float]] = {name: [] for name in variants}
        for _ in range(TRIALS):
            for name, (worker, kind) in variants.items():
                epochs[name].append(1e3 * float(np.median(worker.ask("train", kind=kind, epochs=TRIAL)["seconds"])))
                time.sleep(0.05)
    return {name: float(np.median(e)) for name, e in epochs.items()}


def time_to(run: Run, accuracy: float = ACCURACY) -> tuple[float, int | None]:
    """Seconds and epochs until the accuracy is first reached; infinity and None if it is not."""
    reached = np.flatnonzero(np.array(run["accuracies"]) >= accuracy)
    if not reached.size:
        return np.inf, None
    return float(np.sum(run["seconds"][: reached[0] + 1])), int(reached[0]) + 1


def summarize(runs: list[Run], batches: float) -> dict[str, Any]:
    """What counts of one seed's repeated runs, which take the same steps."""
    steps = 1e3 * np.array([run["seconds"] for run in runs]) / batches
    _, epochs = time_to(runs[0])
    return {
        "seconds": float(np.median([time_to(run)[0] for run in runs])),
        "epochs": epochs,
        "final": runs[0]["accuracies"][-1],
        "highest": max(runs[0]["accuracies"]),
        "step": float(np.median(steps)),
        "best_step": float(steps.min()),
    }


def draw(runs: dict[str, list[list[Run]]]) -> Figure:
    """Test accuracy against seconds, one line for each seed, with a mark where 0.97 is first reached."""
    figure = Figure(figsize=(6.0, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, seeds in runs.items():
        for number, repeats in enumerate(seeds):
            seconds = np.median([np.cumsum(run["seconds"]) for run in repeats], axis=0)
            accuracies = np.array(repeats[0]["accuracies"])
            label = name if number == 0 else None
            axes.plot(seconds, accuracies, color=COLOURS[name], linewidth=0.8, alpha=0.7, label=label)
            for first in np.flatnonzero(accuracies >= ACCURACY)[:1]:
                axes.plot(seconds[first], accuracies[first], "o", color=COLOURS[name], markersize=4)
    axes.axhline(ACCURACY, color="#222222", linewidth=0.6, linestyle=":")
    axes.set(xlabel="seconds of training", ylabel="test accuracy", ylim=(0.9, 1.0), xlim=(0.0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    return figure


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds 0 … N − 1, 5 by default")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="runs of each seed on each side, 3")
    arguments = parser.parse_args()
    if min(arguments.seeds, arguments.repeats) < 1:
        parser.error("--seeds and --repeats must be positive")

    runs: dict[str, list[list[Run]]] = {OURS: [], PEER: []}
    rows: dict[str, list[dict[str, Any]]] = {OURS: [], PEER: []}
    differences: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        ours, peer = stack.enter_context(start_ours()), stack.enter_context(start_peer())
        for seed in range(arguments.seeds):
            steps = ours.ask("prepare", seed=seed, path=str(folder / "problem.npz"))
            compilation = peer.ask("prepare", path=str(folder / "problem.npz"))
            kinds = list(compilation)
            differences.append(check(ours, peer, kinds, folder))
            if seed == 0:
                epoch_milliseconds = time_variants(peer, kinds, folder / "problem.npz")
                chosen = min(kinds, key=lambda kind: epoch_milliseconds[kind])
                ours.ask("train", epochs=TRIAL)
            turns: dict[str, tuple[Worker, dict[str, Any]]] = {OURS: (ours, {}), PEER: (peer, {"kind": chosen})}
            repeats: dict[str, list[Run]] = {OURS: [], PEER: []}
            for _ in range(arguments.repeats):
                for side, (worker, more) in turns.items():
                    repeats[side].append(worker.ask("train", **more))
                    time.sleep(0.05)  # threads of the one asked last may spin for a moment
            for side in turns:
                runs[side].append(repeats[side])
                rows[side].append(summarize(repeats[side], steps / len(repeats[side][0]["seconds"])))
        described = {OURS: ours.ready, PEER: peer.ready}
        own_compilation = measure_compilation(folder)

    def shown(row: dict[str, Any]) -> list[Any]:
        reached = row["seconds"] if row["epochs"] else f"not in {len(runs[OURS][0][0]['seconds'])} epochs"
        return [reached, row["epochs"] or "", row["step"], row["best_step"], row["highest"], row["final"]]

    header = ["", f"seconds to {ACCURACY}", "epochs", "ms a step", "best", "highest accuracy", "last accuracy"]
    table = [[f"seed {s}, {side}", *shown(rows[side][s])] for s in range(arguments.seeds) for side in rows]
    print_table(header, table, "training, two cores")
    medians = {side: {key: float(np.median([r[key] for r in rows[side]])) for key in ("seconds", "step", "best_step")}
               for side in rows}  # fmt: skip
    print_table(
        ["medians over the seeds", f"seconds to {ACCURACY}", "ms a step", "best"],
        [[side, m["seconds"], m["step"], m["best_step"]] for side, m in medians.items()],
    )
    print_table(
        ["JAX, layers", "ms an epoch", "seconds of compilation"],
        [[name, t, compilation.get(name, "")] for name, t in epoch_milliseconds.items()],
        "JAX's variants; compilation is not counted above",
    )
    with_compilation = {
        how: (medians[OURS]["seconds"] + own) / (medians[PEER]["seconds"] + compilation[chosen])
        for how, own in own_compilation.items()
    }
    print_table(
        ["ours", "seconds of compilation", f"JAX's ({chosen})", "ratio of the sums"],
        [[how, own, compilation[chosen], with_compilation[how]] for how, own in own_compilation.items()],
        f"seconds to {ACCURACY} and of compilation",
    )
    print(f"\nlargest difference of the iterates after 20 steps  {max(max(d.values()) for d in differences):.1e}")
    missed = {side: sum(row["epochs"] is None for row in rows[side]) for side in rows}
    for side, count in missed.items():
        if count:
            print(f"{side} does not reach {ACCURACY} with {count} of {arguments.seeds} seeds")

    step_ratio = medians[OURS]["step"] / medians[PEER]["step"]
    finite = all(np.isfinite(m["seconds"]) for m in medians.values())
    ratio = medians[OURS]["seconds"] / medians[PEER]["seconds"] if finite else None
    for side in rows:  # JSON has no infinity
        for row in (*rows[side], medians[side]):
            row["seconds"] = row["seconds"] if np.isfinite(row["seconds"]) else None
    results = {
        "machine": machine(),
        "versions": versions("fem-selection", "numpy", "scipy", "jax", "jaxlib", "mpi4py", "fenics-dolfinx"),
        "workers": described,
        "accuracy": ACCURACY,
        "repeats": arguments.repeats,
        "seeds": rows,
        "medians": medians,
        "missed": missed,
        "jax_variant": chosen,
        "jax_epoch_milliseconds": epoch_milliseconds,
        "jax_compilation_seconds": compilation,
        "compilation_seconds": own_compilation,
        "ratio_with_compilation": {how: r if np.isfinite(r) else None for how, r in with_compilation.items()},
        "differences": differences,
        "step_ratio": step_ratio,
        "best_step_ratio": medians[OURS]["best_step"] / medians[PEER]["best_step"],
        "ratio": ratio,
        "runs": runs,
    }
    save_results("time_to_accuracy", results, draw(runs))
    print(f"ms a step, ours over JAX ({chosen})  {step_ratio:.3f}   (best epochs {results['best_step_ratio']:.3f})")
    print(f"ratio {ratio:.3f}" if ratio is not None else "ratio nan")


if __name__ == "__main__":
    main()
