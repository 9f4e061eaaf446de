# SPDX-License-Identifier: MIT
"""The verdict on a steady state of a wide network: N = 10⁵ nodes, a separable kernel, two ranks.

    uv run --group bench python benchmarks/stability.py [--nodes N] [--rank R] [--ranks P]

w = Σ_r λ_r cos(r π y) ⊗ cos(r π z) + a non-normal pair, σ = tanh, b = −K f* with f* = cos(2πy) + y, at f*: rank of the
linearization, all its nonzero eigenvalues, Krylov–Schur as a witness, numerical abscissa and transient growth, the
verdict, and perturbed runs whose rates are set beside the eigenvalues.  Seconds are of everything after the imports,
the mesh and the space included.  The last line is their sum.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from itertools import pairwise

from common import chosen_cpus, machine, mpi_command, print_table, save_results, versions


def work(nodes: int, rank: int) -> dict[str, object]:
    """One assessment on all ranks of this job."""
    import numpy as np

    import fem_selection as fs
    from fem_selection.kernels import SeparableKernel
    from fem_selection.steady import (
        analyze_spectrum,
        judge,
        measure_growth,
        numerical_abscissa,
        transient_growth,
    )

    marks = [("start", time.perf_counter())]
    ensemble = fs.Ensemble(space=fs_world_size())
    space = fs.StateSpace(fs.interval(ensemble.space_comm, nodes - 1))
    marks.append(("mesh and space", time.perf_counter()))
    y = space.coordinates
    r = np.arange(rank)
    modes = np.cos(np.pi * r * y)
    strength = np.where(r % 2 == 0, 1.0, -1.0) / (1.0 + r)
    left = np.asfortranarray(np.hstack([modes * strength, np.sin(5 * y)]))
    right = np.asfortranarray(np.hstack([modes, 3 * np.exp(-4 * y)]))
    kernel = SeparableKernel.from_factors(space, [(left, right)])
    state = np.asfortranarray(np.cos(2 * np.pi * y) + y)
    bias = space.create_block(1)
    kernel.apply(0, state, bias)
    field = fs.SelectionField(space, kernel, -bias[:, 0], activation=fs.find_activation("tanh"))
    marks.append(("kernel", time.perf_counter()))
    spectrum = analyze_spectrum(field, state)
    verdict = judge(spectrum, is_compact=True)
    marks.append(("spectrum", time.perf_counter()))
    abscissa = numerical_abscissa(space, field.linearize(state), spectrum.norm, factors=spectrum.factors)
    transient = transient_growth(space, spectrum.factors)
    marks.append(("non-normality", time.perf_counter()))
    modes, duals = spectrum.modes[:, :1], spectrum.duals[:, :1]
    run = measure_growth(field, state, spectrum.leading[:1], modes=modes, duals=duals, norm=spectrum.norm)
    marks.append(("perturbed run", time.perf_counter()))
    seconds = {name: t - before for (_, before), (name, t) in pairwise(marks)}
    return {
        "nodes": space.num_nodes,
        "ranks": space.comm.size,
        "is_root": space.comm.rank == 0,
        "rank": spectrum.rank,
        "verdict": verdict.sentence,
        "eigenvalues": [[v.real, v.imag] for v in spectrum.leading],
        "witness": spectrum.krylov_schur_difference,
        "abscissa": abscissa,
        "transient": transient.largest if transient.is_bounded else None,
        "measured": float(run.measured[0].real),
        "seconds": seconds,
    }


def fs_world_size() -> int:
    """The ranks of this job."""
    from mpi4py import MPI

    return int(MPI.COMM_WORLD.size)


def main() -> None:
    """Start the job, or be a rank of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--rank", type=int, default=12)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--worker", action="store_true")
    chosen = parser.parse_args()
    if chosen.worker:
        found = work(chosen.nodes, chosen.rank)
        if found.pop("is_root"):
            print(json.dumps(found))
        return
    sizes = ["--nodes", str(chosen.nodes), "--rank", str(chosen.rank)]
    command, environment = mpi_command(chosen.ranks, __file__, "--worker", *sizes)
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    total = sum(found["seconds"].values())
    rows = [[name, seconds] for name, seconds in found["seconds"].items()]
    title = f"{found['nodes']} nodes, kernel of rank {chosen.rank + 1}, {found['ranks']} ranks"
    print_table(["step", "seconds"], rows, title)
    print(f"\n{found['verdict']}")
    print(f"eigenvalue {found['eigenvalues'][0][0]:.8g}, rate in a run {found['measured']:.8g}")
    print(f"Krylov–Schur differs by {found['witness']:.1e}")
    cpus = len(chosen_cpus(chosen.ranks))
    results = {"machine": machine(), "versions": versions("fem-selection", "numpy", "scipy"), "cpus": cpus, **found}
    save_results("stability", results)
    print(f"\nseconds {total:.2f}")


if __name__ == "__main__":
    main()
