# SPDX-License-Identifier: MIT
"""`fem-selection certify`: the optimality conditions of a trained network (`fem_selection.studies.optimality`)."""

from __future__ import annotations

from pathlib import Path

from mpi4py import MPI

from fem_selection.cli.frame import Frame, counted

__all__ = ["certify_command"]


def certify_command(folder: Path, starts: int) -> int:
    """Certify, write `certificate.json` and a figure, print a table and return the exit status."""
    frame = Frame("certify")
    problem, controls = frame.read_run(folder, also=("data", "regularization"))
    from fem_selection.studies.optimality import certify

    with frame.console.status("asking the optimality conditions"):
        report = certify(problem, controls, starts=starts, seed=frame.case.seed)
    path = report.write(folder, about=frame.about("ranks", "seconds", "versions"))
    frame.table(("condition", "quantity", "value"), report.rows, boxed=False)
    for sentence in report.verdict:
        frame.say(sentence)
    frame.say(f"{path}, {frame.elapsed:.1f} s on {counted(MPI.COMM_WORLD.size, 'rank')}")
    return 0
