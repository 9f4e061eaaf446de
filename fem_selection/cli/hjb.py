# SPDX-License-Identifier: MIT
"""`fem-selection hjb`: the global optimum of a small case (`fem_selection.studies.value_function`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fem_selection.cli.frame import Frame
from fem_selection.signals import end_on_signals

__all__ = ["hjb_command"]


def hjb_command(case_file: Path, output: Path | None, settings: Sequence[str]) -> int:
    """Solve, compare, write the folder, print a table and return the exit status.

    Args:
        case_file: The case file.
        output: The folder of the report; None for a new numbered one.
        settings: Overrides `KEY=VALUE`.

    Raises:
        InvalidInput: if case, data or folder cannot be used (`ConfigError` with all faults of the case).
    """
    frame = Frame("hjb")
    case = frame.read(case_file, settings)
    from fem_selection.cases.learning import build_problem
    from fem_selection.studies.value_function import hjb, reduce_to_states

    end_on_signals()
    problem = build_problem(case)
    reduce_to_states(problem, case.hjb)  # raises before a folder is made
    frame.claim(output)
    report = hjb(problem, case.hjb, seed=case.seed)
    path = frame.write(report, problem.space)
    frame.table(("cells", "V(0, x(0))", "order"), report.rows)
    frame.rows({**report.details, "seconds": frame.seconds(), "report": str(path)})
    for sentence in report.sentences:
        frame.say(sentence)
    return 0
