# SPDX-License-Identifier: MIT
"""Forward solves to a given accuracy: ours on two ranks against SciPy's DOP853 and diffrax on two threads.

    uv run --group bench python benchmarks/forward.py [--repeats N]

Everyone solves ∂_t f = tanh(K f + b), 500 nodes, 200 initial states, t ≤ 4, a smooth kernel, in float64 from the same
numbers, at tolerances from 1e-4 to 1e-10.  An error is the largest L² norm over the samples of the difference from a
reference at 1e-13; workers are asked in turn, round after round, and JAX's compilation is left out.  The work at error
1e-8 is read off a line fitted to log seconds over log error between 1e-9.7 and 1e-6.3: everyone's errors jump with the
number of steps, and nobody should win by the luck of one tolerance.

All use two processor cores: ours two MPI ranks with half of the samples each, the others threads of BLAS or XLA.  Ours
comes with the dense kernel, and with the kernel compressed to its numerical rank at a tenth of the tolerance, the
compression being part of the time.  The last lines are ours over the best of the others at error 1e-8, the median over
the rounds: first with the dense kernel, then compressed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from common import PEERS, Worker, chosen_cpus, machine, mpi_command, print_table, save_results, versions
from matplotlib.figure import Figure

sys.path.insert(0, str(PEERS))

from forward_problem import largest_error

CPUS = 2
TOLERANCES = [10.0 ** (-k / 2) for k in range(8, 21)]
TARGET = 1e-8
WINDOW = (10**-9.7, 10**-6.3)
OURS = {"fem_selection, dense": {"compressed": False}, "fem_selection, compressed": {"compressed": True}}
COLOURS = {
    "fem_selection, dense": "#D55E00",
    "fem_selection, compressed": "#009E73",
    "SciPy DOP853": "#0072B2",
    "diffrax Dopri8": "#222222",
    "diffrax Tsit5": "#8A8A8A",
}


def start_peers(problem: Path) -> dict[str, Worker]:
    """SciPy and diffrax."""
    threads = {"OPENBLAS_NUM_THREADS": str(CPUS), "OMP_NUM_THREADS": str(CPUS)}
    commands = {
        "SciPy DOP853": [sys.executable, str(PEERS / "scipy_forward.py"), "{folder}", str(problem)],
        "diffrax Dopri8": [sys.executable, str(PEERS / "diffrax_forward.py"), "{folder}", str(problem), "Dopri8"],
        "diffrax Tsit5": [sys.executable, str(PEERS / "diffrax_forward.py"), "{folder}", str(problem), "Tsit5"],
    }
    return {name: Worker(name, c, cpus=chosen_cpus(CPUS), environment=threads) for name, c in commands.items()}


def measure(
    turns: dict[str, tuple[Worker, dict[str, Any]]], folder: Path, rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[list[float]]], dict[str, list[dict[str, Any]]]]:
    """Errors and counts by tolerance, and seconds by round and tolerance."""
    reference_worker, _ = turns["SciPy DOP853"]
    reference_worker.ask("solve", tolerance=1e-13, save=str(folder / "reference.npy"))
    reference = np.load(folder / "reference.npy")
    mass = np.load(folder / "problem.npz")["mass"]
    errors: dict[str, list[float]] = {}
    counts: dict[str, list[dict[str, Any]]] = {}
    for name, (worker, arguments) in turns.items():
        errors[name], counts[name] = [], []
        for tolerance in TOLERANCES:
            answer = worker.ask("solve", tolerance=tolerance, save=str(folder / "state.npy"), **arguments)
            errors[name].append(largest_error(np.load(folder / "state.npy"), reference, mass))
            counts[name].append({k: v for k, v in answer.items() if k != "seconds"})
    seconds: dict[str, list[list[float]]] = {name: [] for name in turns}
    for _ in range(rounds):
        times: dict[str, list[float]] = {name: [] for name in turns}
        for tolerance in TOLERANCES:
            for name, (worker, arguments) in turns.items():
                times[name].append(worker.ask("solve", tolerance=tolerance, **arguments)["seconds"])
        for name in turns:
            seconds[name].append(times[name])
    return errors, seconds, counts


def at_target(errors: list[float], seconds: list[float]) -> float:
    """Seconds at the target error, by a line through log seconds over log error."""
    x, y = np.log(np.array(errors) / TARGET), np.log(seconds)
    near = (np.array(errors) > WINDOW[0]) & (np.array(errors) < WINDOW[1])
    if near.sum() < 3 or not (x[near].min() < 0 < x[near].max()):
        return float("nan")
    return float(np.exp(np.polyfit(x[near], y[near], 1)[1]))


def draw(errors: dict[str, list[float]], seconds: dict[str, list[list[float]]]) -> Figure:
    """Work over precision."""
    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    axes = figure.subplots()
    for name, error in errors.items():
        axes.loglog(error, np.median(seconds[name], axis=0), "o-", color=COLOURS[name], label=name, markersize=3)
    axes.axvline(TARGET, color="#8A8A8A", linewidth=0.6, linestyle="--")
    axes.invert_xaxis()
    axes.set(xlabel="largest L² error of 200 states", ylabel="seconds, two cores")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds, 5 by default")
    arguments = parser.parse_args()
    if arguments.repeats < 1:
        parser.error("--repeats must be positive")
    described_machine = machine()
    if described_machine["load"] > 0.5:
        print(
            f"the load is {described_machine['load']}: other programs run, and ratios are not those of a quiet machine"
        )
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        command, environment = mpi_command(CPUS, PEERS / "ours_forward.py", "{folder}", str(folder / "problem.npz"))
        ours = stack.enter_context(
            Worker("fem_selection", command, ranks=CPUS, cpus=chosen_cpus(CPUS), environment=environment)
        )
        peers = start_peers(folder / "problem.npz")
        for peer in peers.values():
            stack.enter_context(peer)
        turns = {n: (ours, a) for n, a in OURS.items()} | {n: (peer, {}) for n, peer in peers.items()}
        errors, seconds, counts = measure(turns, folder, arguments.repeats)
        described = {"fem_selection": ours.ready, **{n: peer.ready for n, peer in peers.items()}}

    read = {n: [at_target(errors[n], times) for times in seconds[n]] for n in turns}
    medians = {n: float(np.median(r)) for n, r in read.items()}
    best = min(peers, key=lambda n: medians[n] if np.isfinite(medians[n]) else np.inf)
    ratios = {n: float(np.median(np.divide(read[n], read[best]))) for n in OURS}
    rows = [
        [f"{tolerance:.1e}", *(f"{errors[n][k]:.1e}  {np.median(seconds[n], axis=0)[k]:.3f} s" for n in turns)]
        for k, tolerance in enumerate(TOLERANCES)
    ]
    print_table(["tolerance", *turns], rows, "largest error and seconds")
    print_table(["", "seconds at 1e-8"], [[n, m] for n, m in medians.items()])
    results = {
        "machine": described_machine,
        "versions": versions("fem-selection", "numpy", "scipy", "jax", "jaxlib", "diffrax", "mpi4py", "fenics-dolfinx"),
        "workers": described,
        "tolerances": TOLERANCES,
        "errors": errors,
        "seconds": seconds,
        "counts": counts,
        "seconds_at_target": read,
        "best_peer": best,
        "ratio_dense": ratios["fem_selection, dense"],
        "ratio": ratios["fem_selection, compressed"],
    }
    save_results("forward", results, draw(errors, seconds))
    print(f"\nbest of the others: {best}\nratio with the dense kernel {results['ratio_dense']:.3f}")
    print(f"ratio {results['ratio']:.3f}")


if __name__ == "__main__":
    main()
