# SPDX-License-Identifier: MIT
"""Time of one objective and gradient on the digits: two ranks of ours against JAX and PyTorch on two threads.

    uv run --group bench python benchmarks/gradient.py [--torch-python PATH] [--repeats N] [--others NAME ...]

Everyone computes the same number: 1437 digits as functions on 64 nodes, ten Euler layers with tanh, softmax, L²
regularization, and its derivative in all kernels, biases, readouts and the offset, from the same controls in float64.
Gradients are checked to be equal before anything is timed.  Workers are asked in turn; the last line is the median
over the rounds of our time over that of the fastest float64 peer.  Beside it: the same ratio for other activations, the
time of the matrix products alone, by our tiles where the processor has AVX-512 and by SciPy's BLAS, which is the limit
with either of them, what the adjoint costs relative to the forward sweep, the effect of the block size, and how peak
memory grows with the number of samples.
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
BURST = 10  # evaluations in one request
BLOCKS = (64, 96, 128, 144, 180, 240, 256)
TOLERANCE = 1e-10
OURS = "fem_selection"


def start_ours(ranks: int, *arguments: str) -> Worker:
    """Our worker."""
    command, environment = mpi_command(ranks, PEERS / "ours.py", "{folder}", *arguments)
    return Worker(OURS, command, ranks=ranks, cpus=chosen_cpus(CPUS), environment=environment)


def start_peers(problem: Path, torch_python: str | None) -> dict[str, Worker]:
    """JAX with the layers unrolled and in a scan, and PyTorch if there is an interpreter that has it."""
    commands = {
        f"JAX {kind}": [sys.executable, str(PEERS / "jax_gradient.py"), "{folder}", str(problem), kind]
        for kind in ("unrolled", "scan")
    }
    if torch_python is not None:
        commands["PyTorch"] = [torch_python, str(PEERS / "torch_gradient.py"), "{folder}", str(problem), str(CPUS)]
    # XLA takes one thread per processor that it may use
    return {name: Worker(name, command, cpus=chosen_cpus(CPUS)) for name, command in commands.items()}


def check(ours: Worker, peers: dict[str, Worker], folder: Path) -> dict[str, float]:
    """The largest relative difference of objective and gradient from each peer's.

    Raises:
        SystemExit: if one is above the tolerance.
    """
    value = ours.ask("compute", path=str(folder / "ours.npz"))
    gradient = np.load(folder / "ours.npz")
    differences = {}
    for name, peer in peers.items():
        other = peer.ask("compute", path=str(folder / "peer.npz"))
        with np.load(folder / "peer.npz") as theirs:
            parts = [np.linalg.norm(gradient[p] - theirs[p]) / np.linalg.norm(theirs[p]) for p in theirs.files]
        differences[name] = float(max(abs(value - other) / abs(other), *parts))
        if not differences[name] <= TOLERANCE:
            raise SystemExit(f"{name} computes something else: relative difference {differences[name]:.1e}")
    return differences


def time_in_turn(
    ours: Worker, peers: dict[str, Worker], rounds: int, *, single: bool = True
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Milliseconds of one evaluation: the median of a burst in every round, and the fastest of all evaluations.

    The peers' times in float32 stand beside if `single`.
    """
    turns: list[tuple[str, Worker, dict[str, str]]] = [(OURS, ours, {})]
    turns += [(name, peer, {"dtype": "float64"}) for name, peer in peers.items()]
    if single:
        turns += [(f"{name}, float32", peer, {"dtype": "float32"}) for name, peer in peers.items()]
    times: dict[str, list[float]] = {name: [] for name, _, _ in turns}
    fastest = dict.fromkeys(times, float("inf"))
    for number in range(rounds + 1):
        for name, worker, arguments in turns:
            burst = worker.ask("time", count=BURST, **arguments)
            time.sleep(0.02)  # threads of the one asked last may spin for a moment
            if number > 0:  # the first round compiles
                times[name].append(1e3 * float(np.median(burst)))
                fastest[name] = min(fastest[name], 1e3 * min(burst))
    return times, fastest


def ratios_to(times: dict[str, list[float]]) -> dict[str, float]:
    """Our time over everyone's: the median over the rounds."""
    return {name: float(np.median(np.divide(times[OURS], t))) for name, t in times.items() if name != OURS}


def start_everyone(
    activation: str, folder: Path, stack: ExitStack, torch_python: str | None
) -> tuple[Worker, dict[str, Worker]]:
    """Our worker and the peers for one activation."""
    problem = folder / f"{activation}.npz"
    ours = stack.enter_context(start_ours(CPUS, "--problem", str(problem), "--activation", activation))
    peers = start_peers(problem, torch_python)
    for peer in peers.values():
        stack.enter_context(peer)
    return ours, peers


def compare(activation: str, arguments: argparse.Namespace) -> list[str | float]:
    """A row of the table of activations: our median, that of the best float64 peer, and the median of the ratios."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        ours, peers = start_everyone(activation, Path(name), stack, arguments.torch_python)
        check(ours, peers, Path(name))
        times, _ = time_in_turn(ours, peers, arguments.repeats, single=False)
    ratios = ratios_to(times)
    best = max(peers, key=lambda name: ratios[name])
    return [activation, float(np.median(times[OURS])), float(np.median(times[best])), ratios[best]]


def time_products(ours: Worker, rounds: int) -> dict[str, float]:
    """Milliseconds of the matrix products of one gradient alone, by our tiles and by BLAS, in turn.

    They are called from Python one by one: ours contain some 3 µs a product that the compiled sweep does not pay.
    """
    times: dict[str, list[float]] = {"ours": [], "BLAS": []}
    for _ in range(rounds):
        for name, t in times.items():
            burst = ours.ask("time_products", count=BURST, by_blas=name == "BLAS")
            t.append(1e3 * float(np.median(burst)))
    return {name: float(np.median(t)) for name, t in times.items()}


def time_sweeps(ours: Worker, rounds: int) -> dict[str, Any]:
    """Milliseconds of the forward sweep and of forward with adjoint, and the median of their ratios."""
    forward, both = [], []
    for _ in range(rounds):
        forward.append(1e3 * float(np.median(ours.ask("time_value", count=BURST))))
        both.append(1e3 * float(np.median(ours.ask("time", count=BURST))))
    ratio = float(np.median(np.divide(both, forward)))
    return {"forward": float(np.median(forward)), "forward and adjoint": float(np.median(both)), "ratio": ratio}


def time_blocks(ours: Worker, rounds: int) -> dict[int, float]:
    """Milliseconds by samples per block, in turn."""
    times: dict[int, list[float]] = {block: [] for block in BLOCKS}
    for _ in range(rounds):
        for block in BLOCKS:
            times[block].append(1e3 * float(np.median(ours.ask("time", count=BURST, block=block))))
    return {block: float(np.median(t)) for block, t in times.items()}


def measure_memory() -> dict[int, float]:
    """MiB by which one evaluation raises a process's peak memory, for 1437 samples and eight times as many."""
    growth = {}
    for repeat in (1, 8):
        with start_ours(1, "--repeat", str(repeat)) as worker:
            growth[worker.ready["samples"]] = worker.ask("growth") / 2**20
    return growth


def draw(times: dict[str, list[float]], blocks: dict[int, float]) -> Figure:
    """Times of everyone, with the spread over the rounds, and our times by block size."""
    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    names = list(times)[::-1]
    low, middle, high = (np.array([np.percentile(times[n], q) for n in names]) for q in (10, 50, 90))
    colours = ["#D55E00" if n == OURS else "#8A8A8A" if "float32" in n else "#0072B2" for n in names]
    left.barh(names, middle, xerr=[middle - low, high - middle], color=colours, ecolor="#222222")
    left.set(xlabel="ms per objective and gradient, median and 10–90 %")
    right.plot(list(blocks), list(blocks.values()), "o-", color="#D55E00", markersize=3)
    right.set(xlabel="samples per block", ylabel="ms, ours", ylim=(0.0, None))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--torch-python", metavar="PATH", help="an interpreter with PyTorch; without it PyTorch is left out"
    )
    parser.add_argument("--repeats", type=int, default=15, metavar="N", help="rounds, 15 by default")
    parser.add_argument(
        "--others", nargs="*", default=["gelu", "softplus", "silu", "relu"], metavar="NAME", help="other activations"
    )
    arguments = parser.parse_args()
    if arguments.repeats < 1:
        parser.error("--repeats must be positive")

    described_machine = machine()
    if described_machine["load"] > 0.5:
        # ranks wait for each other: whatever else runs slows the slower of the two, and with it both
        print(
            f"the load is {described_machine['load']}: other programs run, and ratios are not those of a quiet machine"
        )
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        ours, peers = start_everyone("tanh", folder, stack, arguments.torch_python)
        differences = check(ours, peers, folder)
        times, fastest = time_in_turn(ours, peers, arguments.repeats)
        products = time_products(ours, arguments.repeats)
        sweeps = time_sweeps(ours, arguments.repeats)
        blocks = time_blocks(ours, arguments.repeats)
        described = {OURS: ours.ready, **{name: peer.ready for name, peer in peers.items()}}
    others = {activation: compare(activation, arguments) for activation in arguments.others}
    memory = measure_memory()

    ratios = ratios_to(times)
    best = max(peers, key=lambda name: ratios[name])
    rows = [
        [name, float(np.median(t)), fastest[name], ratios.get(name, 1.0), differences.get(name, "")]
        for name, t in times.items()
    ]
    print_table(
        ["", "median [ms]", "fastest [ms]", "ours / this", "difference"], rows, "objective and gradient, two cores"
    )
    median = float(np.median(times[OURS]))
    for library, milliseconds in products.items():
        print(f"matrix products alone, {library}  {milliseconds:.2f} ms, {milliseconds / median:.2f} of our gradient")
    print_table(
        ["activation", "ours [ms]", "best peer [ms]", "ours / best"], list(others.values()), "other activations"
    )
    print_table(["", "median [ms]"], [[k, v] for k, v in sweeps.items() if k != "ratio"], "ours, two ranks")
    print(f"(forward + adjoint) / forward  {sweeps['ratio']:.3f}")
    print_table(["samples per block", "median [ms]"], [[str(b), t] for b, t in blocks.items()], "ours by block size")
    print_table(
        ["samples", "growth [MiB]"], [[str(n), g] for n, g in memory.items()], "peak memory beyond the data, one rank"
    )

    results = {
        "machine": described_machine,
        "versions": versions("fem-selection", "numpy", "scipy", "jax", "jaxlib", "mpi4py", "fenics-dolfinx"),
        "workers": described,
        "rounds": arguments.repeats,
        "milliseconds": times,
        "fastest": fastest,
        "ratios": ratios,
        "differences": differences,
        "products": products["ours"],
        "products_by_blas": products["BLAS"],
        "other_activations": {name: row[-1] for name, row in others.items()},
        "sweeps": sweeps,
        "blocks": blocks,
        "memory_mib": memory,
        "best_peer": best,
        "ratio": ratios[best],
    }
    save_results("gradient", results, draw(times, blocks))
    print(f"\nbest peer: {best}\nratio {ratios[best]:.3f}")


if __name__ == "__main__":
    main()
