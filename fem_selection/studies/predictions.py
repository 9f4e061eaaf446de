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

from fem_selection.data import listed_labels, number_labels
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
        labels: The predicted classes in the type in which the training gave them, shape (samples,); None without
            classes.
        truth: The true classes, shape (samples,); None if they are not known.
        correct: Whether the prediction is the true class, shape (samples,); None if that is not known.
        unknown: The distinct true classes that the network does not know; their samples count as wrong.
    """

    outputs: Floats
    labels: NDArray[Any] | None
    truth: NDArray[Any] | None
    correct: NDArray[np.bool_] | None = None
    unknown: tuple[Any, ...] = ()

    file: ClassVar[str] = "predictions.npz"

    @property
    def accuracy(self) -> float | None:
        """The share of the samples that is classified correctly; None if the truth is not known."""
        return None if self.correct is None else float(np.mean(self.correct))

    @property
    def sentences(self) -> list[str]:
        """The accuracy, and the labels that the network does not know, as short sentences."""
        if self.truth is None or self.accuracy is None:
            return []
        said = [f"accuracy {self.accuracy:.4f} on {_counted(len(self.truth), 'sample')}"]
        if self.unknown:
            named = np.isin(self.truth, np.array(self.unknown)) | (self.truth != self.truth)  # NaN is equal to nothing
            count = int(named.sum())
            labels = f"label{'' if len(self.unknown) == 1 else 's'} {listed_labels(self.unknown)}"
            said.append(f"the network does not know the {labels}: {_counted(count, 'sample')}, counted as wrong")
        return said

    def content(self) -> dict[str, Any]:
        """Outputs, labels, accuracy and unknown labels."""
        labels = None if self.labels is None else _plain(self.labels)
        return {
            "outputs": self.outputs.tolist(),
            "labels": labels,
            "accuracy": self.accuracy,
            "unknown_labels": _plain(np.array(self.unknown)),
        }

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
    problem: LearningProblem, controls: Floats, samples: SampleStates, *, truth: NDArray[Any] | None = None
) -> PredictionReport:
    """Apply a network to samples (collective).

    Args:
        problem: The learning problem, which gives dynamics, readout and classes; its controls are overwritten, and its
            own samples are not read.
        controls: Shard of x.
        samples: The samples; their targets are not read.
        truth: The true classes, shape (samples,), in the type of `problem.sample_format.class_values`; if None, those
            of `samples.labels`, if there are labels.

    Raises:
        InvalidInput: if the controls or the states of the samples have another shape, if the numbers of `truth` and of
            samples differ, or if `truth` holds text where the classes are numbers, or the other way round.
    """
    classes = problem.sample_format.class_values
    if truth is None and samples.labels is not None and classes is not None:
        truth = classes[samples.labels]
    truth = None if truth is None or classes is None else np.asarray(truth)
    if truth is not None and truth.shape != (samples.num_samples,):
        raise InvalidInput(
            f"{truth.size} true classes for {samples.num_samples} samples: give one for each sample, not {truth.shape}"
        )
    places = None if truth is None or classes is None else number_labels(truth, classes)
    ensemble, functional = problem.ensemble, problem.functional
    controls = functional.control_space.to_shard(controls)
    own = np.arange(samples.num_samples)[ensemble.samples(samples.num_samples)]
    what = "states of the samples to predict, on the mesh of the network"
    states = problem.space.to_block(samples.states(own, None), what)
    functional.set_controls(controls)
    outputs = functional.outputs(states)
    if not isinstance(functional.cost, ReadoutCost):
        outputs = problem.space.gather(outputs)
    outputs = np.concatenate(ensemble.sample_comm.allgather(outputs), axis=1)
    found = None if classes is None else predict_labels(outputs)
    return PredictionReport(
        outputs=outputs.T,
        labels=None if classes is None or found is None else classes[found],
        truth=truth,
        correct=None if places is None or found is None else np.equal(found, places),
        unknown=() if places is None or truth is None else tuple(np.unique(truth[places < 0]).tolist()),
    )


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _plain(labels: NDArray[Any]) -> list[Any]:
    """Labels as values that JSON can hold."""
    return [listed_labels([value]) if isinstance(value, bytes) else value for value in labels.tolist()]
