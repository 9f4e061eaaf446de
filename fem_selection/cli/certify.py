# SPDX-License-Identifier: MIT
"""`fem-selection certify`: what the optimality conditions say of a trained network."""

from __future__ import annotations

import dataclasses
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from mpi4py import MPI
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fem_selection.cli.common import counted, end_on_signals, load_case_everywhere, on_root
from fem_selection.errors import InvalidInput
from fem_selection.io.runs import write_json

__all__ = ["certify_command"]

LARGE_GAP = 1e-3
"""Gap, relative to the objective, from which a control is called no minimiser of its Hamiltonian."""
NOTABLE_DRIFT = 1e-2
"""Drift of the Hamiltonian, relative to its largest value, from which the place of its largest step is named."""


def certify_command(folder: Path, starts: int) -> int:
    """Certify, print a table, write `certificate.json` and a figure, and return the exit status."""
    console = Console(quiet=MPI.COMM_WORLD.rank != 0, highlight=False)
    if not (folder / "case.toml").exists():
        raise InvalidInput(f"{folder} holds no run: there is no case.toml in it")
    case = load_case_everywhere(folder / "case.toml", [])
    from fem_selection.cases.learning import build_problem
    from fem_selection.cases.saved import load_controls
    from fem_selection.learning import certify
    from fem_selection.versions import versions

    end_on_signals()
    began = time.monotonic()
    problem = build_problem(case)
    x = load_controls(problem, case, folder, also=("data", "regularization"))
    with console.status("asking the optimality conditions"):
        found = certify(problem.scaled, x, problem.bounds, starts, case.seed)
    content = {
        **dataclasses.asdict(found),
        "verdict": _verdict(found, problem.functional.stepper.activation.has_kink),
        "ranks": MPI.COMM_WORLD.size,
        "seconds": time.monotonic() - began,
        "versions": versions(),
    }
    times = problem.functional.stepper.grid.sample_times

    def write() -> Path:
        write_json(folder / "certificate.json", content)
        from fem_selection import plots

        (folder / "figures").mkdir(exist_ok=True)
        figure = plots.plot_certificate(
            times, found.hamiltonian, found.maximum_principle_gaps, found.kernel_singular_values, found.declined
        )
        plots.save(figure, folder / "figures" / "certificate.png")
        return folder / "certificate.json"

    path = on_root(write)
    console.print(_table(found))
    for sentence in content["verdict"]:
        console.print(escape(sentence))
    console.print(f"{path}, {content['seconds']:.1f} s on {counted(MPI.COMM_WORLD.size, 'rank')}", markup=False)
    return 0


def _table(found: Any) -> Table:
    table = Table("condition", "quantity", "value", box=None, pad_edge=False)
    rows = {
        "": ["objective"],
        "variational": ["gradient_norm", "kkt_residual"],
        "second order": ["lowest_hessian_eigenvalue"],
        "Pontryagin": ["maximum_principle_gap", "maximum_principle_starts", "hamiltonian_drift"],
        "representer form": ["kernel_rank", "kernel_rank_bound"],
    }
    for condition, names in rows.items():
        for name in names:
            value = getattr(found, name)
            shown = f"declined: {found.declined[name]}" if value is None else _shown(value)
            table.add_row(condition, name.replace("_", " "), escape(shown))
            condition = ""
    return table


def _shown(value: float | int | list[int]) -> str:
    if isinstance(value, list):
        return f"{min(value)}–{max(value)} over {len(value)} intervals" if len(set(value)) > 1 else f"{value[0]}"
    return f"{value:d}" if isinstance(value, int) else f"{value:.6g}"


def _verdict(found: Any, has_kink: bool) -> list[str]:
    """What the numbers say, as sentences."""
    said = []
    gap, drift, lowest = found.maximum_principle_gap, found.hamiltonian_drift, found.lowest_hessian_eigenvalue
    if lowest is not None:
        kind = "a strict local minimiser, if it is stationary" if lowest > 0 else "no strict local minimiser"
        said.append(f"second order: the lowest eigenvalue is {lowest:.3g}: {kind}")
    if gap is not None:
        large = gap > LARGE_GAP * abs(found.objective)
        if large:
            said.append(
                f"Pontryagin: not optimal: other controls lower the Hamiltonian, by {gap:.3g} in all; "
                f"the largest gap is in layer {max(range(len(found.hamiltonian)), key=_at(found))}"
            )
        else:
            said.append(f"Pontryagin: none of {found.maximum_principle_starts} starts found a lower Hamiltonian")
        if has_kink:
            said.append(
                "σ has a kink, where the search may end early and J'' does not exist: both say less than elsewhere"
            )
    if drift is not None:
        scale = max(abs(h) for h in found.hamiltonian)
        share = drift / scale if scale > 0 else 0.0
        jumps = [abs(after - before) for before, after in pairwise(found.hamiltonian)]
        steepest = jumps.index(max(jumps)) if jumps else 0
        where = f", most between layers {steepest} and {steepest + 1}," if share > NOTABLE_DRIFT else ""
        said.append(
            f"Pontryagin: the Hamiltonian varies over depth by {share:.2%} of its largest value{where} "
            "(an extremal's is constant up to O(Δt))"
        )
    if found.kernel_rank_bound is not None and max(found.kernel_rank) > found.kernel_rank_bound:
        said.append(
            f"representer form: a kernel of rank {max(found.kernel_rank)} is above the bound of stationary ones, "
            f"{found.kernel_rank_bound}: the gradient is not small enough for the rank's tolerance of 1e-6"
        )
    return said


def _at(found: Any) -> Any:
    return lambda layer: found.maximum_principle_gaps[layer]
