# SPDX-License-Identifier: MIT
"""`fem-selection forward`: the selection equation of a case over large times (`fem_selection.studies.trajectory`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fem_selection.cli.frame import Frame
from fem_selection.signals import catch_signals

if TYPE_CHECKING:
    from fem_selection.evolution.estimates import Estimate
    from fem_selection.studies.trajectory import ForwardReport

__all__ = ["forward_command"]


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
    _print(frame, report, frame.write(report, problem.space))
    return request.exit_status if report.integration.outcome == "stopped" else 0


def _print(frame: Frame, report: ForwardReport, path: Path) -> None:
    run, norms = report.integration, report.norms
    if report.estimates:
        rows = [
            (name, _ratio(e), "; ".join(f"{h.statement}: {h.measured}" for h in e.failed))
            for name, e in report.estimates.items()
        ]
        frame.table(["estimate", "measured / bound", "hypothesis that fails"], rows)
    growth = run.growth and f"{run.growth.kind}, rate {run.growth.rate:.6g} from t = {run.growth.since:.4g}"
    frame.rows(
        {
            "steps": f"{run.steps} taken, {run.rejected} rejected, {run.evaluations} evaluations",
            "methods": ", ".join(f"{name} from t = {since:.4g}" for since, name in run.methods),
            "largest norm": f"{norms[0].max(initial=0.0):.4g} → {norms[-1].max(initial=0.0):.4g}",
            "largest rate": f"{report.final_rates.max(initial=0.0):.3g}",
            "seconds": frame.seconds(),
            "report": str(path),
            **({"growth": growth} if growth else {}),
        }
    )
    frame.say(run.reason)


def _ratio(estimate: Estimate) -> str:
    if not estimate.claimed:
        return "not claimed"
    worst = estimate.largest_ratio
    return f"at most {worst:.4g}" if worst is not None else f"missed by {max(estimate.excess, 0.0):.1e}"
