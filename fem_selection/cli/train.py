# SPDX-License-Identifier: MIT
"""`fem-selection train`: train the controls of a case in a folder (`fem_selection.studies.training`)."""

from __future__ import annotations

import shlex
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fem_selection.cli.frame import Frame, on_root
from fem_selection.config import dump_case
from fem_selection.errors import InvalidInput
from fem_selection.io.runs import claim_folder, next_numbered_folder
from fem_selection.signals import catch_signals

if TYPE_CHECKING:  # commands load FEniCSx when they need it
    from fem_selection.studies.training_report import TrainingReport

__all__ = ["train_command"]


def train_command(
    case_file: Path,
    output: Path | None,
    settings: Sequence[str],
    *,
    resume: bool,
    overwrite: bool,
    starts: int = 1,
) -> int:
    """Train, write the folder, print a table and return the exit status.

    Args:
        case_file: The case file.
        output: The folder of the run; None for a new numbered one.
        settings: Overrides `KEY=VALUE`.
        resume: Whether to continue the run in `output`.
        overwrite: Whether to replace the run in `output`.
        starts: Number of starts, of which the best is kept.

    Raises:
        InvalidInput: if case, data, folder or checkpoint cannot be used (`ConfigError` with all faults of the case).
    """
    frame = Frame("train")
    with catch_signals() as request, ExitStack() as held:
        case = frame.read(case_file, settings)
        if starts > 1 and case.multilevel.num_coarse > 0:
            raise InvalidInput("--starts and [multilevel] exclude each other: leave one of them out")
        frame.folder = folder = on_root(lambda: _claim(output, Path(case.output.directory), resume, overwrite, held))
        from petsc4py import PETSc  # noqa: F401  (may take SIGTERM when it is loaded)

        request.listen()
        from fem_selection.cases.learning import build_levels
        from fem_selection.cases.levels import level_cases
        from fem_selection.cases.saved import problem_key
        from fem_selection.studies.multilevel import train_levels
        from fem_selection.studies.training import train

        frame.announce(folder)
        with _bars(frame.console) as progress, warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            levels = level_cases(case)
            problems = build_levels(levels)
            problem = problems[-1]
            keys = [problem_key(level, problem.ensemble.world) for level in levels]
            options: dict[str, Any] = {
                "folder": folder,
                "resume": resume,
                "output": case.output,
                "seed": case.seed,
                "texts": {"case.toml": dump_case(case)},
                "progress": progress,
                "stop": lambda: request.agreed(problem.ensemble),
            }
            if len(levels) > 1:
                both = case.optimizer, case.stochastic
                result = train_levels(problems, *both, levels=case.multilevel, keys=keys, **options)
            else:
                result = train(problem, case.optimizer, case.stochastic, key=keys[0], starts=starts, **options)
        if result.report is None:
            request.is_leaving = True
            again = f" --starts {starts}" if starts > 1 else ""
            name, to = signal.Signals(request.signal).name, shlex.quote(str(folder))
            frame.say(f"stopped by {name}; continue with --resume --output {to}{again}")
            return request.exit_status
        path = frame.write(result.report, problem.space, about=("title", "versions"))
        _show_parts(frame, result.report)
        frame.rows({**result.report.details, "report": str(path)})
        for sentence in result.report.sentences:
            frame.say(sentence)
    return 0


def _show_parts(frame: Frame, report: TrainingReport) -> None:
    """Print a table of the starts and one of the levels, where there are any."""
    if report.starts:
        rows = [
            (str(end["start"]), f"{end['objective']:.8g}", str(end["iterations"]), str(end["reason"]))
            for end in report.starts
        ]
        frame.table(("start", "objective", "iterations", "end"), rows, boxed=False)
    if report.levels:
        header = ("level", "nodes", "layers", "|∇J| ≤", "J at start", "J at end", "iterations", "work", "seconds")
        frame.table(header, [_level_in_words(level) for level in report.levels], boxed=False)


def _level_in_words(level: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        *(str(level[name]) for name in ("level", "nodes", "layers")),
        f"{level['gradient_tolerance']:.2g}",
        *(f"{level[name]:.6g}" for name in ("objective_at_start", "objective")),
        str(level["iterations"]),
        f"{level['work']:.3g}",
        f"{level['seconds_of_level']:.1f}",
    )


def _claim(output: Path | None, directory: Path, resume: bool, overwrite: bool, held: ExitStack) -> Path:
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
    """A progress bar for each phase, on root, with the time left and, once the phase has ended, the time it took."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[shown]}"),
    )
    with Progress(*columns, console=console, disable=console.quiet, refresh_per_second=4) as bars:
        tasks: dict[str, Any] = {}

        def end() -> None:
            """Let phases that ended before their limit show the time that they took."""
            for task in bars.tasks:
                if not task.finished:
                    bars.stop_task(task.id)
                    task.finished_time = task.elapsed

        def show(phase: str, done: int, total: int, values: Mapping[str, float]) -> None:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
            if phase not in tasks:
                end()
                tasks[phase] = bars.add_task(phase, total=max(total, 1), shown=shown, completed=done)
            bars.update(tasks[phase], completed=done, shown=shown)

        try:
            yield show
        finally:
            end()
