# SPDX-License-Identifier: MIT
"""`fem-selection hjb`: the global optimum of a small case (`fem_selection.studies.value_function`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fem_selection.cli.frame import Frame
from fem_selection.signals import end_on_signals

if TYPE_CHECKING:
    from fem_selection.studies.value_report import HjbReport

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
    _print(frame, report, frame.write(report, problem.space))
    return 0


def _print(frame: Frame, report: HjbReport, path: Path) -> None:
    found = report.refinement
    orders = [""] * min(2, len(found.values)) + [f"{p:.2f}" for p in found.orders]
    table = zip(found.cells, found.values, orders, strict=True)
    rows = [("×".join(map(str, cells)), f"{value:.6g}", order) for cells, value, order in table]
    frame.table(("cells", "V(0, x(0))", "order"), rows)
    declined, grid, agreement = report.extrapolated_declined, found.finest.grid, report.agreement
    bar = f"error {found.extrapolated_error:.1e}" if declined is None else f"no error bar: {declined}"
    costs = ", ".join(f"{v:.6g}" for v in report.objectives)
    corners = " to ".join("(" + ", ".join(f"{x:.3g}" for x in corner) + ")" for corner in (grid.lower, grid.upper))
    frame.rows(
        {
            "finite elements": f"{report.value:.6g} (error {report.value_error:.1e})",
            "extrapolated": f"{found.extrapolated:.6g} ({bar})",
            "dynamic programming": f"{report.witness:.6g} (error {report.witness_error:.1e})",
            "closed loop": report.closed_loop_declined or f"{report.closed_loop_cost:.6g}",
            "open loop": f"{report.attained:.6g} in continuous depth; of the layers, from all starts: {costs}",
            "verdict": "; ".join([agreement.verdict, *agreement.reasons]),
            "box": f"{report.box_verdict}: {report.box_reason}; {corners}",
            "outflow": f"{found.finest.outflow_share:.1%} of the boundary at most",
            "seconds": frame.seconds(),
            "report": str(path),
        }
    )
    frame.say(f"value_at_initial_state {report.value:.10g}")
    frame.say(f"open_loop_objective {report.open_loop_objective:.10g}")
