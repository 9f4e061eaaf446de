# SPDX-License-Identifier: MIT
"""`fem-selection predict`: a trained network applied to new data (`fem_selection.studies.predictions`)."""

from __future__ import annotations

from pathlib import Path

from fem_selection.cli.frame import Frame, Moved, on_root

__all__ = ["predict_command"]


def predict_command(folder: Path, data_file: Path, output: Path | None, *, mesh: Path | None = None) -> int:
    """Predict, write an NPZ file, print the accuracy if the data hold the truth, and return the exit status.

    Scaling, classes and pixel grid are those that the run keeps: the data of the training are not read.

    Args:
        folder: The folder of a run.
        data_file: NPZ file with the inputs x and, if they are known, the classes y.
        output: NPZ file of the predictions; None for the one in the folder of the run.
        mesh: The mesh file of the run, if it was moved.

    Raises:
        InvalidInput: if the folder holds no run, or checkpoint or data cannot be used.
    """
    frame = Frame("predict")
    problem, controls = frame.read_network(folder, moved=Moved(mesh=mesh))
    from fem_selection.cases.samples import samples_of_inputs
    from fem_selection.data import load_new_samples
    from fem_selection.studies.predictions import predict

    known = problem.sample_format
    new = on_root(lambda: load_new_samples(data_file, known, frame.case.domain.dimension))
    samples = samples_of_inputs(problem.space, known.prepare(new.inputs), outside=known.background)
    report = predict(problem, controls, samples, truth=new.truth)
    target = output if output is not None else folder / report.file
    if target.suffix != ".npz":
        target = target.with_name(f"{target.name}.npz")  # as NumPy does
    on_root(lambda: report.write_file(target, {}))
    for sentence in report.sentences:
        frame.say(sentence)
    frame.say(f"{samples.num_samples} prediction{'' if samples.num_samples == 1 else 's'} → {target}")
    return 0
