# SPDX-License-Identifier: MIT
"""`fem-selection train`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mpi4py import MPI
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fem_selection.cli.common import load_case_everywhere, on_root
from fem_selection.io.runs import claim_folder, next_numbered_folder
from fem_selection.signals import catch_signals

__all__ = ["train_command"]


def train_command(case_file: Path, output: Path | None, resume: bool, overwrite: bool, settings: Sequence[str]) -> int:
    """Train, report and return the exit status."""
    console = Console(quiet=MPI.COMM_WORLD.rank != 0, highlight=False)
    with catch_signals() as request, ExitStack() as held:
        case = load_case_everywhere(case_file, settings)
        folder = on_root(lambda: _folder(output, Path(case.output.directory), resume, overwrite, held))
        from petsc4py import PETSc  # noqa: F401  (may take SIGTERM when it is loaded)

        request.listen()
        from fem_selection.studies.outputs import write_outputs
        from fem_selection.studies.train import train

        console.print(f"[bold]{escape(case.title or case_file.stem)}[/bold] → {escape(str(folder))}")
        with _bars(console) as progress, warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            result = train(case, folder, resume, progress, request)
        if result.stopped:
            request.is_leaving = True
            console.print(f"stopped by signal {request.signal}; continue with --resume --output {folder}", markup=False)
            return request.exit_status
        write_outputs(result, folder, case.output)
        _summary(console, result.report, folder)
    return 0


def _folder(output: Path | None, directory: Path, resume: bool, overwrite: bool, held: ExitStack) -> Path:
    from fem_selection.errors import InvalidInput

    if resume and overwrite:
        raise InvalidInput("--resume and --overwrite exclude each other")
    if output is None:
        if resume:
            raise InvalidInput("--resume needs --output DIR, the folder of the run to continue")
        output = next_numbered_folder(directory)
    claim_folder(output, resume, overwrite, held=held)
    return output


@contextmanager
def _bars(console: Console) -> Iterator[Any]:
    """A progress bar with the time left for each phase, on root."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[shown]}"),
    )
    with Progress(*columns, console=console, disable=console.quiet, refresh_per_second=4) as bars:
        tasks: dict[str, Any] = {}

        def show(phase: str, done: int, total: int, values: Mapping[str, float]) -> None:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=max(total, 1), shown=shown, completed=done)
            bars.update(tasks[phase], completed=done, shown=shown)

        yield show


def _summary(console: Console, report: Mapping[str, Any], folder: Path) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    rows = {
        "objective": f"{report['objective']:.6g}",
        "gradient norm": f"{report['gradient_norm']:.3g}",
        "iterations": f"{report['iterations']} ({report['reason']})",
        "sweeps": _sweeps(report),
        "gradient certificate": _certificate(report["certificate"]),
        "seconds": f"{report['seconds']:.1f} on {report['ranks']} rank{'s' if report['ranks'] > 1 else ''}",
        "report": str(folder / "report.json"),
    }
    if report["stochastic"] is not None:
        stochastic = report["stochastic"]
        rows = {"stochastic phase": f"{stochastic['epochs']} epochs ({stochastic['reason']})", **rows}
    for name, text in rows.items():
        table.add_row(name, escape(text))
    console.print(table)
    if report["train_accuracy"] is not None:
        console.print(f"train accuracy {report['train_accuracy']:.4f}")
    if report["test_accuracy"] is not None:
        console.print(f"test accuracy {report['test_accuracy']:.4f}")
    elif report["test_cost"] is not None:
        console.print(f"test cost {report['test_cost']:.6g}")
    else:
        console.print(f"objective {report['objective']:.6g}")


def _sweeps(report: Mapping[str, Any]) -> str:
    text = f"{report['forward_sweeps']:.0f} forward, {report['adjoint_sweeps']:.0f} adjoint"
    return f"{text}, {report['hessian_actions']:.0f} Hessian actions" if report["hessian_actions"] > 0 else text


def _certificate(certificate: Mapping[str, Any]) -> str:
    if certificate.get("taylor_order") is None:
        return str(certificate.get("error", "not measured"))
    order, identity = certificate["taylor_order"], certificate["adjoint_identity_error"]
    return f"Taylor order {order:.3f}, adjoint identity {identity:.1e}"
