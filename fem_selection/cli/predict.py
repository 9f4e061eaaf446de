# SPDX-License-Identifier: MIT
"""`fem-selection predict`: a trained network applied to new data (`fem_selection.studies.predictions`)."""

from __future__ import annotations

from pathlib import Path

from fem_selection.cli.frame import Frame, on_root

__all__ = ["predict_command"]


def predict_command(folder: Path, data_file: Path, output: Path | None) -> int:
    """Predict, write an NPZ file, print the accuracy if the data hold the truth, and return the exit status.

    Args:
        folder: The folder of a run.
        data_file: NPZ file with the inputs x and, if they are known, the classes y.
        output: NPZ file of the predictions; None for the one in the folder of the run.

    Raises:
        InvalidInput: if the folder holds no run, or checkpoint or data cannot be used.
    """
    frame = Frame("predict")
    problem, controls = frame.read_run(folder)
    from fem_selection import data
    from fem_selection.cases.learning import samples_of_inputs
    from fem_selection.studies.predictions import predict

    d = frame.case.data
    grid = d.shape if d.source == "npz" else (8, 8) if d.source == "digits" else None
    inputs = on_root(lambda: data.load_npz_inputs(data_file, grid, frame.case.domain.dimension))
    if problem.standardization is not None:
        inputs = problem.standardization.apply(inputs)
    truth = on_root(lambda: data.load_npz_truth(data_file, len(inputs))) if problem.classes else None
    report = predict(problem, controls, samples_of_inputs(problem.space, inputs), truth=truth)
    target = output if output is not None else folder / report.file
    if target.suffix != ".npz":
        target = target.with_name(f"{target.name}.npz")  # as NumPy does
    on_root(lambda: report.write_file(target, {}))
    if report.accuracy is not None:
        frame.say(f"accuracy {report.accuracy:.4f} on {len(inputs)} samples")
    frame.say(f"{len(inputs)} predictions → {target}")
    return 0
