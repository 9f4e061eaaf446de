# SPDX-License-Identifier: MIT
"""`fem-selection verify`: verify the gradient of a case by measurement (`fem_selection.studies.gradient`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fem_selection.cli.frame import Frame, on_root
from fem_selection.cli.status import Status
from fem_selection.io.runs import next_numbered_folder
from fem_selection.signals import end_on_signals

__all__ = ["verify_command"]


def verify_command(case_file: Path, output: Path | None, settings: Sequence[str]) -> int:
    """Verify, print a table, write `verify.json` and return the exit status.

    Args:
        case_file: The case file.
        output: The folder of the report; None for a new numbered one.
        settings: Overrides `KEY=VALUE`.

    Raises:
        InvalidInput: if case or data cannot be used (`ConfigError` with all faults of the case).
    """
    frame = Frame("verify")
    case = frame.read(case_file, settings)
    from fem_selection.cases.learning import build_problem
    from fem_selection.studies.gradient import verify

    end_on_signals()
    problem = build_problem(case)
    report = verify(problem.functional, problem.scaled_functional.to_controls(problem.scaled_start), seed=case.seed)
    frame.table(("step ε", "Taylor remainder", "order"), report.rows)
    for sentence in report.sentences:
        frame.say(sentence)
    folder = output if output is not None else on_root(lambda: next_numbered_folder(Path(case.output.directory)))
    path = report.write(folder, figures=False, about=frame.about("ranks", "versions", "case"))
    frame.say(f"{'passed' if report.passed else 'FAILED'}; {path}")
    return Status.DONE if report.passed else Status.NOT_REACHED
