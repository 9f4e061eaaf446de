# SPDX-License-Identifier: MIT
"""`fem-selection predict`: a trained network applied to new data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mpi4py import MPI
from rich.console import Console

from fem_selection.cli.common import end_on_signals, load_case_everywhere, on_root
from fem_selection.errors import InvalidInput
from fem_selection.io.runs import replacing

__all__ = ["predict_command"]


def predict_command(folder: Path, data_file: Path, output: Path | None) -> int:
    """Predict, write an NPZ file and, where the truth is in the data, print the accuracy; returns the exit status."""
    console = Console(quiet=MPI.COMM_WORLD.rank != 0, highlight=False)
    if not (folder / "case.toml").exists():
        raise InvalidInput(f"{folder} holds no run: there is no case.toml in it")
    case = load_case_everywhere(folder / "case.toml", [])
    from fem_selection import data
    from fem_selection.cases.learning import build_problem, states_of_inputs
    from fem_selection.cases.saved import load_controls
    from fem_selection.learning import predict_labels

    end_on_signals()
    problem = build_problem(case)
    grid = case.data.shape if case.data.source == "npz" else (8, 8) if case.data.source == "digits" else None
    inputs = on_root(lambda: data.load_npz_inputs(data_file, grid, case.domain.dimension))
    if problem.standardization is not None:
        inputs = problem.standardization.apply(inputs)
    truth = on_root(lambda: _truth(data_file, len(inputs))) if problem.classes else None
    problem.functional.set_controls(load_controls(problem, case, folder))
    own = problem.ensemble.samples(len(inputs))
    outputs = problem.functional.outputs(states_of_inputs(problem.space, inputs[own], None))
    parts = problem.ensemble.sample_comm.gather(outputs)
    if case.objective.loss == "tracking":
        parts = None if parts is None else [problem.space.gather(p) for p in parts]

    def write() -> Path:
        everything = np.concatenate(parts or [], axis=1)
        target = output if output is not None else folder / "predictions.npz"
        if target.suffix != ".npz":
            target = target.with_name(f"{target.name}.npz")  # as NumPy would
        arrays = {"outputs": everything.T}
        if problem.classes:
            labels = predict_labels(everything)
            arrays["labels"] = np.array(problem.classes)[labels]
        with replacing(target) as partial, open(partial, "wb") as handle:
            np.savez(handle, allow_pickle=False, **arrays)
        if truth is not None:
            right = float(np.mean(truth == arrays["labels"]))
            console.print(f"accuracy {right:.4f} on {len(truth)} samples")
        return target

    target = on_root(write)
    console.print(f"{len(inputs)} predictions → {target}", markup=False)
    return 0


def _truth(data_file: Path, num_samples: int) -> np.ndarray | None:
    """The labels in the file, as text; None if it has none (floats are no labels)."""
    with np.load(data_file, allow_pickle=False) as arrays:
        if "y" not in arrays:
            return None
        try:
            truth = arrays["y"].ravel()
        except ValueError as error:
            raise InvalidInput(f"{data_file}: array 'y' cannot be read: {error}") from error
    if truth.dtype.kind == "f":
        return None
    if truth.size != num_samples:
        raise InvalidInput(f"{data_file}: array 'y' holds {truth.size} labels for {num_samples} inputs")
    return np.char.decode(truth, "latin-1") if truth.dtype.kind == "S" else truth.astype(str)
