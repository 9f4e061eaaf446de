# SPDX-License-Identifier: MIT
"""The typer application: commands, their options, and the exit status that each kind of error becomes.

| status | meaning |
|---|---|
| 0 | done: a tolerance, the iteration limit or round-off was reached, or states blew up; the reason says which |
| 1 | `forward`: the steps were used up, and the report holds what was reached; `verify`: a Taylor order below 1.9 or |
|   | an adjoint identity above 1e-10; or an error that nobody foresaw |
| 2 | a faulty case file, folder, checkpoint or data file, every fault listed; a file that cannot be written, as where |
|   | the disk is full; a case that does not fit into memory; a launcher whose ranks MPI does not see |
| 3 | a state, objective or gradient that is not finite |
| 130, 143 | Ctrl-C, SIGTERM; `train` leaves a checkpoint |

FEniCSx is imported inside the commands, after the case file was found good.
"""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from fem_selection.errors import (
    ConfigError,
    InvalidInput,
    MissingDependency,
    NonFinite,
    SelectionError,
    missing_fenicsx,
)
from fem_selection.launch import check_launch

__all__ = ["app", "run"]

app = typer.Typer(
    help="Finite elements for the selection dynamics of deep residual networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

CaseFile = Annotated[Path, typer.Argument(metavar="CASE.toml", help="The case file.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the run; a fresh one if left out.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the case; repeatable.")
]


def _leave_with(name: str, *arguments: object, **options: object) -> NoReturn:
    """Load the module of a command, run the command, and exit with its status."""
    module = import_module(f"fem_selection.cli.{name}")
    raise typer.Exit(getattr(module, f"{name}_command")(*arguments, **options))


@app.command()
def train(
    case: CaseFile,
    output: Output = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --output.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --output.")] = False,
    starts: Annotated[int, typer.Option("--starts", min=1, help="Starts, all listed; the best is kept.")] = 1,
    settings: Settings = None,
) -> None:
    """Train the controls of a case: the main job."""
    _leave_with("train", case, output, settings or [], resume=resume, overwrite=overwrite, starts=starts)


def _on_a_case(name: str, what: str) -> None:
    """Add a command that takes a case file, a folder and settings."""

    def command(case: CaseFile, output: Output = None, settings: Settings = None) -> None:
        _leave_with(name, case, output, settings or [])

    app.command(name, help=what)(command)


_on_a_case("verify", "Measure Taylor order and adjoint identity of the gradient on a case.")
_on_a_case("hjb", "Global optimum and feedback of a small case by the Hamilton–Jacobi–Bellman equation.")
_on_a_case("forward", "Solve a case over large times with adaptive steps, beside the estimates of the theory.")
_on_a_case("steady", "Steady states of a case, whether there are any, and which of them the dynamics select.")


@app.command()
def stability(
    case: Annotated[Path, typer.Argument(metavar="CASE.toml|DIR", help="A case file, or the folder of a run.")],
    output: Output = None,
    settings: Settings = None,
) -> None:
    """Spectrum, growth and bifurcations at a steady state; of a trained network, layers and Lyapunov exponents."""
    _leave_with("stability", case, output, settings or [])


@app.command()
def predict(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.")],
    data: Annotated[Path, typer.Option("--data", help="NPZ file with x, and y if it is known.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File of the predictions (NPZ).")] = None,
) -> None:
    """Apply a trained network to new data."""
    _leave_with("predict", folder, data, output)


@app.command()
def certify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.")],
    starts: Annotated[int, typer.Option("--starts", min=1, help="Starts of each minimisation.")] = 12,
    trainings: Annotated[
        int, typer.Option("--starts-of-training", min=0, help="Further trainings from random starts, all listed.")
    ] = 0,
) -> None:
    """Ask the optimality conditions of a trained network: gradient, Hessian, maximum principle, rank."""
    _leave_with("certify", folder, starts, trainings)


@app.command()
def info() -> None:
    """Versions of the libraries, and what this installation can do."""
    _leave_with("info")


def run() -> None:
    """Run the application; an error becomes a message on stderr, from root only, and an exit status on every rank."""
    status = 0
    if "-no_signal_handler" not in (given := os.environ.get("PETSC_OPTIONS", "")):
        # otherwise PETSc, once loaded, turns SIGTERM into an error before a command can handle it
        os.environ["PETSC_OPTIONS"] = f"{given} -no_signal_handler".strip()
    for stream in (sys.stdout, sys.stderr):  # a character that the terminal cannot show must not raise an error
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        check_launch()
        status = app(standalone_mode=False) or 0
    except SelectionError as error:
        status = 3 if isinstance(error, NonFinite) else 2 if isinstance(error, InvalidInput) else 1
        _complain(error)
    except typer.Exit as leave:
        status = leave.exit_code
    except typer.Abort:
        status = _end_all_ranks(None, 130)
    except ModuleNotFoundError as error:
        missing = missing_fenicsx(error)
        status = 1 if missing is not None else _usage_or_crash(error)
        if missing is not None:
            _complain(missing)
    except (OSError, MemoryError) as error:
        status = _end_all_ranks(_cause(error), 2)
    except Exception as error:
        asked = _asked_to_leave(error)
        status = _end_all_ranks(None, asked) if asked else _usage_or_crash(error)
    sys.exit(status)


def _asked_to_leave(error: BaseException | None) -> int:
    """The status of a signal that arrived inside a callback of a library, which made an error of it; 0 if none did."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return 130
        if isinstance(error, SystemExit) and isinstance(error.code, int):
            return error.code
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return 0


def _cause(error: OSError | MemoryError) -> str:
    """The operation that the machine could not do, as a phrase."""
    if isinstance(error, MemoryError):
        needs = "domain.cells, dynamics.layers, dynamics.rank or data.samples, or with ranks that share the mesh"
        why = str(error) or "out of memory"
        return f"the case does not fit into memory ({why}); less is needed with fewer {needs} (parallel.space)"
    return f"{error.filename or 'a file or the standard output'}: {error.strerror or error}"


def _complain(error: SelectionError) -> None:
    if not _is_root():
        return
    if isinstance(error, ConfigError):
        count = len(error.faults)
        print(f"error: {count} fault{'s' if count != 1 else ''} in the case", file=sys.stderr)
        for fault in error.faults:
            print(f"  {fault}", file=sys.stderr)
    else:
        print(f"error: {error}", file=sys.stderr)
    if isinstance(error, MissingDependency):
        print("see the README, section on installing", file=sys.stderr)


def _usage_or_crash(error: Exception) -> int:
    """Report Typer's own errors of usage; anything else ends all ranks, since others may wait for this one."""
    show = getattr(error, "show", None)
    if show is not None:
        if _is_root():
            show()
        return int(getattr(error, "exit_code", 2))
    import traceback

    traceback.print_exc()
    return _end_all_ranks(None, 1)


def _end_all_ranks(message: str | None, status: int) -> int:
    """End all ranks after an error of this rank alone, for which the others may wait."""
    from mpi4py import MPI

    if message is not None:
        print(f"error: {message}", file=sys.stderr, flush=True)
    if MPI.COMM_WORLD.size > 1:
        MPI.COMM_WORLD.Abort(status)
    return status


def _is_root() -> bool:
    from mpi4py import MPI

    return bool(MPI.COMM_WORLD.rank == 0)
