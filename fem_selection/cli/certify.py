# SPDX-License-Identifier: MIT
"""`fem-selection certify`: the optimality conditions of a trained network (`fem_selection.studies.optimality`)."""

from __future__ import annotations

from pathlib import Path

from fem_selection.cli.frame import Frame

__all__ = ["certify_command"]


def certify_command(folder: Path, starts: int) -> int:
    """Certify, write `certificate.json` and a figure, print a table and return the exit status.

    Args:
        folder: The folder of a run.
        starts: Number of starts of each minimisation of the Hamiltonian.

    Raises:
        InvalidInput: if the folder holds no run, or its checkpoint cannot be used.
    """
    frame = Frame("certify")
    problem, controls = frame.read_run(folder, also=("data", "regularization"))
    from fem_selection.settings import CertificateSettings
    from fem_selection.studies.optimality import certify

    with frame.console.status("asking the optimality conditions"):
        report = certify(problem, controls, CertificateSettings(starts=starts), seed=frame.case.seed)
    path = report.write(folder, about=frame.about("ranks", "seconds", "versions"))
    frame.table(("condition", "quantity", "value"), report.rows, boxed=False)
    for sentence in report.verdict:
        frame.say(sentence)
    frame.say(f"{path}, {frame.seconds(' s')}")
    return 0
