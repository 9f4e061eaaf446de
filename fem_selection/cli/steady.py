# SPDX-License-Identifier: MIT
"""`fem-selection steady`: the steady states of a case (`fem_selection.studies.steady_states`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fem_selection.cli.frame import Frame
from fem_selection.signals import end_on_signals

if TYPE_CHECKING:
    from fem_selection.studies.steady_report import SampleLimit, SteadyReport

__all__ = ["steady_command"]

_SAMPLES_SHOWN = 5


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
    problem = build_field(case)
    frame.claim(output)
    report = steady(problem.field, problem.initial, case.steady, seed=case.seed)
    _print(frame, report, frame.write(report, problem.space))
    return 0


def _print(frame: Frame, report: SteadyReport, path: Path) -> None:
    if report.states:
        rows = [
            (str(k + 1), "{:.6g} … {:.6g}".format(*state.preactivation_range), f"{state.residual:.1e}", state.kind)
            for k, state in enumerate(report.states)
        ]
        frame.table(["state", "g = K f + b", "residual", "kind"], rows)
    rank = f"{'' if report.rank_is_complete else 'at least '}{report.numerical_rank} of {report.num_nodes}"
    frame.rows(
        {
            "zeros": str(report.zeros),
            "verdict": report.verdict,
            "rank of K": f"{rank} at tolerance {report.tolerance:g}",
            **({} if report.picard is None else {report.picard.equation: report.picard.verdict}),
            **{f"limit of sample {j + 1}": _limit(x) for j, x in enumerate(report.limits[:_SAMPLES_SHOWN])},
            **{f"{name}: declined": reason for name, reason in report.declined.items()},
            "seconds": frame.seconds(),
            "report": str(path),
        }
    )
    frame.say(f"residual {_number(report.residual)}")
    frame.say(f"time {_number(report.time)}")


def _limit(limit: SampleLimit) -> str:
    text = f"{limit.outcome}, {limit.reason}; ‖f − f(0)‖ = {limit.distance_from_initial:.6g}"
    return text if limit.projection is None else f"{text}, nearest steady state at {limit.projection.distance:.6g}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.10g}"
