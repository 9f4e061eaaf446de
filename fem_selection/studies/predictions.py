# SPDX-License-Identifier: MIT
"""Predictions: a trained network applied to samples.

report = fs.studies.predict(problem, result.controls, fs.SampleStates.from_states(initial))
report.outputs, report.labels

folder/predictions.npz    outputs, and the labels where there are classes
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fem_selection.errors import InvalidInput
from fem_selection.io.runs import replacing
from fem_selection.learning import LearningProblem, SampleStates, predict_labels
from fem_selection.objectives import ReadoutCost
from fem_selection.studies.report import Report
from fem_selection.typing import Floats

__all__ = ["PredictionReport", "predict"]


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictionReport(Report):
    """The predictions of a network for some samples.

    Attributes:
        outputs: Outputs of the readout, shape (samples, C), or final states at all nodes, shape (samples, N).
        labels: Names of the predicted classes, shape (samples,); None without classes.
        truth: Names of the true classes, shape (samples,); None if they are not known.
    """

    outputs: Floats
    labels: NDArray[np.str_] | None
    truth: NDArray[np.str_] | None

    file: ClassVar[str] = "predictions.npz"

    @property
    def accuracy(self) -> float | None:
        """The share of the samples that is classified correctly; None if the truth is not known."""
        return None if self.truth is None or self.labels is None else float(np.mean(self.truth == self.labels))

    def content(self) -> dict[str, Any]:
        """Outputs, labels and accuracy."""
        labels = None if self.labels is None else self.labels.tolist()
        return {"outputs": self.outputs.tolist(), "labels": labels, "accuracy": self.accuracy}

    def write_file(self, path: Path, about: Mapping[str, Any]) -> None:
        """Write outputs and labels as NPZ.  See `Report.write_file`.

        Args:
            path: The file; an existing one is replaced.
            about: Not used: the file has no place for it.
        """
        arrays: dict[str, NDArray[Any]] = {"outputs": self.outputs}
        if self.labels is not None:
            arrays["labels"] = self.labels
        with replacing(path) as partial, open(partial, "wb") as handle:
            np.savez(handle, allow_pickle=False, **arrays)


def predict(
    problem: LearningProblem, controls: Floats, samples: SampleStates, *, truth: NDArray[np.str_] | None = None
) -> PredictionReport:
    """Apply a network to samples (collective).

    Args:
        problem: The learning problem, which gives dynamics, readout and classes; its controls are overwritten.
        controls: Shard of x.
        samples: The samples; their targets are not read.
        truth: Names of the true classes, shape (samples,); if None, those of `samples.labels`, if there are labels.

    Raises:
        InvalidInput: if the controls have another shape, if the numbers of `truth` and of samples differ, or if `truth`
            does not hold names.
    """
    if truth is None and samples.labels is not None and problem.classes:
        truth = np.array(problem.classes)[samples.labels]
    if truth is not None and len(truth) != samples.num_samples:
        raise InvalidInput(f"{len(truth)} true classes for {samples.num_samples} samples: give one for each sample")
    if truth is not None and truth.dtype.kind != "U":
        raise InvalidInput(f"true classes of type {truth.dtype}: give their names, as strings")
    ensemble, functional = problem.ensemble, problem.functional
    functional.control_space.require_controls(controls)
    functional.set_controls(controls)
    own = np.arange(samples.num_samples)[ensemble.samples(samples.num_samples)]
    outputs = functional.outputs(samples.states(own, None))
    if not isinstance(functional.cost, ReadoutCost):
        outputs = problem.space.gather(outputs)
    outputs = np.concatenate(ensemble.sample_comm.allgather(outputs), axis=1)
    labels = np.array(problem.classes)[predict_labels(outputs)] if problem.classes else None
    return PredictionReport(outputs=outputs.T, labels=labels, truth=truth)
