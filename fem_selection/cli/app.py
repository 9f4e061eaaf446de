# SPDX-License-Identifier: MIT
"""The typer application: commands, their options, and what becomes of errors.

`fem_selection.cli.status` lists the exit statuses.
FEniCSx is imported inside the commands, after the case file was found good.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from fem_selection.cli.status import Status
from fem_selection.cli.streams import enduring_streams, visible
from fem_selection.errors import ConfigError, MissingDependency, SelectionError, missing_fenicsx
from fem_selection.launch import check_launch

__all__ = ["app", "run"]

app = typer.Typer(
    help="Finite elements for the selection dynamics of deep residual networks.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # boxes are unreadable on a narrow terminal and in a log
    pretty_exceptions_enable=False,
)

CaseFile = Annotated[Path, typer.Argument(metavar="CASE.toml", help="The case file.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the run; a fresh one if left out.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the case; repeatable.")
]
MovedData = Annotated[Path | None, typer.Option("--data", help="Data file of the run, if it was moved.")]
MovedMesh = Annotated[Path | None, typer.Option("--mesh", help="Mesh file of the run, if it was moved.")]


def _show_version(asked: bool) -> None:
    if asked:
        from fem_selection import __version__

        typer.echo(__version__)
        raise typer.Exit()


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Finite elements for the selection dynamics of deep residual networks."""


def _leave_with(name: str, *arguments: object, **options: object) -> NoReturn:
    """Load the module of a command, run the command, and exit with its status."""
    module = import_module(f"fem_selection.cli.{name}")
    from numpy import errstate  # imported by every command, and slow

    with errstate(all="ignore"):  # what is not finite is found and named, or is the branch that `where` leaves out
        raise typer.Exit(
            getattr(module, f"{name}_command")(
                *map(_at_home, arguments), **{key: _at_home(given) for key, given in options.items()}
            )
        )


def _at_home(given: object) -> object:
    """A path with a leading ~ replaced: no shell does so in --output=~/runs, which would make a folder of that name."""
    return Path(os.path.expanduser(given)) if isinstance(given, Path) else given


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


def _on_a_case(name: str, what: str, short: str) -> None:
    """Add a command that takes a case file, a folder and settings; the short text stands in the list of commands."""

    def command(case: CaseFile, output: Output = None, settings: Settings = None) -> None:
        _leave_with(name, case, output, settings or [])

    app.command(name, help=what, short_help=short)(command)


_on_a_case(
    "verify",
    "Measure Taylor order, adjoint identity, and the sweeps beside the assembled weak forms.",
    "Verify the gradient on a case.",
)
_on_a_case(
    "hjb",
    "Global optimum and feedback of a small case by the Hamilton–Jacobi–Bellman equation.",
    "Global optimum and feedback of a small case.",
)
_on_a_case(
    "forward",
    "Solve a case over large times with adaptive steps, beside the estimates of the theory.",
    "Solve a case over large times, beside the theory.",
)
_on_a_case(
    "steady",
    "Steady states of a case, whether there are any, and which of them the dynamics select.",
    "Steady states, and which of them are selected.",
)


@app.command(short_help="Stability of a steady state or a trained network.")
def stability(
    case: Annotated[Path, typer.Argument(metavar="CASE.toml|DIR", help="A case file, or the folder of a run.")],
    output: Output = None,
    settings: Settings = None,
    *,
    data: MovedData = None,
    mesh: MovedMesh = None,
) -> None:
    """Spectrum, growth and bifurcations at a steady state; of a trained network, layers and Lyapunov exponents."""
    _leave_with("stability", case, output, settings or [], data_file=data, mesh=mesh)


@app.command()
def predict(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.")],
    data: Annotated[Path, typer.Option("--data", help="NPZ file with x, and y if it is known.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File of the predictions (NPZ).")] = None,
    *,
    mesh: MovedMesh = None,
) -> None:
    """Apply a trained network to new data."""
    _leave_with("predict", folder, data, output, mesh=mesh)


@app.command(short_help="Ask the optimality conditions of a trained network.")
def certify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.")],
    starts: Annotated[int, typer.Option("--starts", min=1, help="Starts of each minimisation.")] = 12,
    trainings: Annotated[
        int, typer.Option("--starts-of-training", min=0, help="Further trainings from random starts, all listed.")
    ] = 0,
    *,
    data: MovedData = None,
    mesh: MovedMesh = None,
) -> None:
    """Ask the optimality conditions of a trained network: gradient, Hessian, maximum principle, rank."""
    _leave_with("certify", folder, starts, trainings, data_file=data, mesh=mesh)


@app.command()
def info() -> None:
    """Versions of the libraries, and what this installation can do."""
    _leave_with("info")


def run() -> None:
    """Run the application; an error becomes a message on stderr, from root only, and an exit status on every rank."""
    if "-no_signal_handler" not in (given := os.environ.get("PETSC_OPTIONS", "")):
        # otherwise PETSc, once loaded, turns SIGTERM into an error before a command can handle it
        os.environ["PETSC_OPTIONS"] = f"{given} -no_signal_handler".strip()
    os.environ.pop("MPLBACKEND", None)  # no figure is shown, and matplotlib does not load with an unknown name
    given_to_us, sys.argv = sys.argv, ["fem-selection"]  # dolfinx reads sys.argv, and fails where it is not UTF-8
    try:
        with enduring_streams():
            status = _run_command(given_to_us[1:])
    finally:
        sys.argv = given_to_us
    sys.exit(status)


def _run_command(arguments: list[str]) -> int:
    """Run the command that the arguments name and return its exit status."""
    try:
        check_launch()
        return int(app(arguments, prog_name="fem-selection", standalone_mode=False) or Status.DONE)
    except SelectionError as error:
        _complain(error)
        return Status.of(error)
    except typer.Exit as leave:
        return leave.exit_code
    except typer.Abort:
        return _end_all_ranks(None, Status.INTERRUPTED)
    except ModuleNotFoundError as error:
        missing = missing_fenicsx(error)
        if missing is None:
            return _usage_or_crash(error)
        _complain(missing)
        return Status.of(missing)
    except (OSError, MemoryError) as error:
        return _end_all_ranks(_cause(error), Status.REFUSED)
    except Exception as error:
        asked = _asked_to_leave(error)
        return _end_all_ranks(None, asked) if asked else _usage_or_crash(error)


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
    return f"{error.filename or 'a file'}: {error.strerror or error}"


def _complain(error: SelectionError) -> None:
    if not _is_root():
        return
    if isinstance(error, ConfigError):
        count = len(error.faults)
        print(f"error: {count} fault{'s' if count != 1 else ''} in the case", file=sys.stderr)
        for fault in error.faults:
            print(f"  {visible(fault)}", file=sys.stderr)
    else:
        print(f"error: {visible(str(error))}", file=sys.stderr)
    if isinstance(error, MissingDependency):
        print("see the README, section on installing", file=sys.stderr)


def _usage_or_crash(error: Exception) -> int:
    """Report Typer's own errors of usage; anything else ends all ranks, since others may wait for this one."""
    message = getattr(error, "format_message", None)
    if message is not None:
        if _is_root():
            _explain_usage(error, message())
        return int(getattr(error, "exit_code", Status.REFUSED))
    import traceback

    traceback.print_exc()
    return _end_all_ranks(None, Status.CRASHED)


def _explain_usage(error: Any, message: str) -> None:
    """Print an error of usage in the form of all others, and how the command is called; without arguments, the help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    words = message.removesuffix(".").replace(". Did you", "; did you")
    print(f"error: {visible(words[:1].lower() + words[1:])}", file=sys.stderr)
    context = getattr(error, "ctx", None)
    if context is not None:
        usage = " ".join(context.get_usage().split())
        print(f"{usage[:1].lower()}{usage[1:]}; see `{context.command_path} --help`", file=sys.stderr)


def _end_all_ranks(message: str | None, status: int) -> int:
    """End all ranks after an error of this rank alone, for which the others may wait."""
    from mpi4py import MPI

    if message is not None:
        print(f"error: {visible(message)}", file=sys.stderr, flush=True)
    if MPI.COMM_WORLD.size > 1:
        MPI.COMM_WORLD.Abort(status)
    return status


def _is_root() -> bool:
    from mpi4py import MPI

    return bool(MPI.COMM_WORLD.rank == 0)
