# SPDX-License-Identifier: MIT
"""`fem-selection verify`: the gradient of a case, measured."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from mpi4py import MPI
from rich.console import Console
from rich.table import Table

from fem_selection.cli.common import end_on_signals, load_case_everywhere, on_root
from fem_selection.io.runs import next_numbered_folder, write_json

__all__ = ["LOWEST_ORDER", "WORST_IDENTITY", "verify_command"]

LOWEST_ORDER = 1.9
WORST_IDENTITY = 1e-10


def verify_command(case_file: Path, output: Path | None, settings: Sequence[str]) -> int:
    """Verify, print a table, write `verify.json` and return the exit status."""
    console = Console(quiet=MPI.COMM_WORLD.rank != 0, highlight=False)
    case = load_case_everywhere(case_file, settings)
    from fem_selection.cases.learning import build_problem
    from fem_selection.learning import verify_gradient
    from fem_selection.versions import versions

    end_on_signals()
    problem = build_problem(case)
    start = problem.scaled.to_physical(problem.start)
    found = verify_gradient(problem.functional, start, case.seed)
    right = found.taylor_order >= LOWEST_ORDER or found.is_linear
    good = right and found.adjoint_identity_error <= WORST_IDENTITY

    table = Table("step ε", "Taylor remainder", "order")
    for step, remainder, order in zip(found.steps, found.remainders, (math.nan, *found.orders), strict=True):
        table.add_row(f"{step:g}", f"{remainder:.3e}", "" if math.isnan(order) else f"{order:.3f}")
    console.print(table)
    shown = "none, the objective is linear" if found.is_linear else f"{found.taylor_order:.4f}  "
    console.print(f"Taylor order            {shown} (at least {LOWEST_ORDER})")
    console.print(f"adjoint identity error  {found.adjoint_identity_error:.2e} (at most {WORST_IDENTITY:g})")

    def write() -> Path:
        folder = output if output is not None else next_numbered_folder(Path(case.output.directory))
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            **dataclasses.asdict(found),
            "passed": good,
            "ranks": MPI.COMM_WORLD.size,
            "versions": versions(),
            "case": dataclasses.asdict(case),
        }
        write_json(folder / "verify.json", content)
        return folder

    folder = on_root(write)
    console.print(f"{'passed' if good else 'FAILED'}; {folder / 'verify.json'}", markup=False)
    return 0 if good else 1
