# SPDX-License-Identifier: MIT
"""`fem-selection certify`: the optimality conditions of a trained network (`fem_selection.studies.optimality`)."""

from __future__ import annotations

from pathlib import Path

from fem_selection.cli.frame import Frame, Moved

__all__ = ["certify_command"]


def certify_command(
    folder: Path, starts: int, starts_of_training: int, *, data_file: Path | None = None, mesh: Path | None = None
) -> int:
    """Certify, write `certificate.json` and a figure, print a table and return the exit status.

    Args:
        folder: The folder of a run.
        starts: Number of starts of each minimisation of the Hamiltonian.
        starts_of_training: Number of further trainings, with the optimizer of the case, from random starts.
        data_file: The data file of the run, if it was moved.
        mesh: The mesh file of the run, if it was moved.

    Raises:
        InvalidInput: if the folder holds no run, its checkpoint cannot be used, or its data have changed.
    """
    frame = Frame("certify")
    problem, controls = frame.read_run(folder, moved=Moved(data=data_file, mesh=mesh), also=("regularization",))
    from fem_selection.settings import CertificateSettings
    from fem_selection.studies.optimality import certify

    with frame.console.status("asking the optimality conditions"):
        settings = CertificateSettings(starts=starts, starts_of_training=starts_of_training)
        report = certify(problem, controls, settings, seed=frame.case.seed, optimizer=frame.case.optimizer)
    path = report.write(folder, about=frame.about("ranks", "seconds", "versions"))
    frame.table(("condition", "quantity", "value"), report.rows, boxed=False)
    if report.trainings:
        ends = [(end.start, f"{end.objective:.8g}", f"{end.gradient_norm:.1e}", end.reason) for end in report.trainings]
        frame.table(("training", "objective", "gradient", "end"), ends, boxed=False)
    for sentence in report.verdict:
        frame.say(sentence)
    frame.say(f"{path}, {frame.seconds(' s')}")
    return 0
