# SPDX-License-Identifier: MIT
"""`fem-selection forward`: the selection equation of a case over large times (`fem_selection.studies.trajectory`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fem_selection.cli.frame import Frame
from fem_selection.cli.status import Status
from fem_selection.signals import catch_signals

__all__ = ["forward_command"]

_SAMPLES_SHOWN = 5


def forward_command(case_file: Path, output: Path | None, settings: Sequence[str]) -> int:
    """Integrate, estimate, write the folder, print a table and return the exit status.

    Args:
        case_file: The case file.
        output: The folder of the report; None for a new numbered one.
        settings: Overrides `KEY=VALUE`.

    Raises:
        InvalidInput: if case, data or folder cannot be used (`ConfigError` with all faults of the case).
    """
    frame = Frame("forward")
    with catch_signals() as request:
        case = frame.read(case_file, settings)
        from petsc4py import PETSc  # noqa: F401  (may take SIGTERM when it is loaded)

        request.listen()
        from fem_selection.cases.field import build_field
        from fem_selection.studies.trajectory import forward

        problem = build_field(case)
        frame.claim(output)
        with frame.console.status("t = 0") as status:

            def progress(t: float, steps: int) -> bool:
                if steps % 20 == 0:
                    status.update(f"t = {t:.4g}, {steps} steps")
                return request.agreed(problem.ensemble)

            report = forward(
                problem.field, problem.initial, case.forward, horizon=case.dynamics.horizon, progress=progress
            )
    path = frame.write(report, problem.space)
    if report.rows:
        frame.table(("estimate", "measured / bound", "hypothesis that fails"), report.rows)
    frame.rows(
        {**report.details, "seconds": frame.seconds(), "report": str(path), **report.growth, **_few(report.others)}
    )
    frame.say(report.integration.reason)
    outcome = report.integration.outcome
    if outcome == "stopped":
        return request.exit_status
    if outcome == "step limit":
        frame.say("a larger forward.max_steps, or a larger forward.rtol, takes it further")
        return Status.NOT_REACHED
    return Status.DONE


def _few(ends: Mapping[str, str]) -> dict[str, str]:
    """The first entries, and how many there are beyond."""
    more = {"…": f"{len(ends) - _SAMPLES_SHOWN} more in the report"} if len(ends) > _SAMPLES_SHOWN else {}
    return {**dict(list(ends.items())[:_SAMPLES_SHOWN]), **more}
