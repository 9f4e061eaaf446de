# SPDX-License-Identifier: MIT
"""`fem-selection steady`: the steady states of a case (`fem_selection.studies.steady_states`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fem_selection.cli.frame import Frame
from fem_selection.errors import InvalidInput
from fem_selection.signals import end_on_signals

__all__ = ["steady_command"]


def steady_command(case_file: Path, output: Path | None, settings: Sequence[str]) -> int:
    """Analyze, write the folder, print a table and return the exit status.

    Args:
        case_file: The case file.
        output: The folder of the report; None for a new numbered one.
        settings: Overrides `KEY=VALUE`.

    Raises:
        InvalidInput: if case, data or folder cannot be used (`ConfigError` with all faults of the case).
    """
    frame = Frame("steady")
    case = frame.read(case_file, settings)
    from fem_selection.cases.field import build_field
    from fem_selection.studies.steady_states import steady

    end_on_signals()
    problem = build_field(case, may_share_samples=True)
    if not problem.field.is_autonomous:
        raise InvalidInput("dynamics.kernel, dynamics.bias: steady states need an equation that does not depend on t")
    frame.claim(output)
    sample_comm = problem.ensemble.sample_comm
    report = steady(problem.field, problem.initial, case.steady, seed=case.seed, sample_comm=sample_comm)
    path = frame.write(report, problem.space)
    if report.rows:
        frame.table(("state", "g = K f + b", "residual", "kind"), report.rows)
    frame.rows({**report.details, "seconds": frame.seconds(), "report": str(path)})
    for sentence in report.sentences:
        frame.say(sentence)
    return 0
