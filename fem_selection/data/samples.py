# SPDX-License-Identifier: MIT
"""Samples: inputs, from which the equation starts, and targets, which it is to reach.

An input is an image or a signal.  A target is a label, a vector of numbers or a function given by its values.
scikit-learn's digits are read here, a user's files in `archives`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fem_selection.errors import InvalidInput

__all__ = [
    "DataSet",
    "Samples",
    "Standardization",
    "load_digits_samples",
    "split_samples",
    "stratified_split",
]


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs with their targets.

    Args:
        inputs: Shape (num_samples, *grid), or (num_samples, num_values) for values on no grid; stored as float64.
        targets: Integer labels 0 … num_classes − 1 of shape (num_samples,) for classification; floats of shape
            (num_samples, num_outputs) for regression, or (num_samples, num_values), values of target functions, for
            tracking.
        classes: The classes' names in the order of their labels; empty without labels.
        grid: Number of pixels along each axis of an input, None for values on no grid.

    Raises:
        InvalidInput: If shapes, labels and names do not fit together.
    """

    inputs: NDArray[np.float64]
    targets: NDArray[Any]
    classes: tuple[str, ...] = ()
    grid: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        inputs, targets = np.asarray(self.inputs, dtype=np.float64), np.asarray(self.targets)
        if inputs.ndim < 2 or (self.grid is not None and inputs.shape[1:] != tuple(self.grid)):
            raise InvalidInput(f"inputs have shape {inputs.shape}, expected (num_samples, *grid) with grid={self.grid}")
        if targets.ndim == 0 or len(targets) != len(inputs):
            raise InvalidInput(f"there are {len(inputs)} inputs, but the targets have shape {targets.shape}")
        if targets.dtype.kind in "iu":
            targets = targets.astype(np.int64, copy=False)
            if targets.ndim != 1:
                raise InvalidInput(f"labels have shape {targets.shape}, expected ({len(inputs)},)")
            if len(targets) and not 0 <= targets.min() <= targets.max() < len(self.classes):
                raise InvalidInput(
                    f"labels range from {targets.min()} to {targets.max()}, expected 0 … {len(self.classes) - 1} "
                    f"for {len(self.classes)} classes"
                )
        elif targets.dtype.kind == "f":
            targets = targets.astype(np.float64, copy=False)
            if targets.ndim != 2 or self.classes:
                raise InvalidInput(
                    f"float targets of shape {targets.shape} with classes={self.classes}; expected shape "
                    "(num_samples, num_outputs) and no classes, or integer labels"
                )
        else:
            raise InvalidInput(f"Unsupported {targets.dtype=} of targets, expected integers (labels) or floats")
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "targets", targets)

    @property
    def num_samples(self) -> int:
        """Number of samples."""
        return len(self.inputs)

    @property
    def num_classes(self) -> int:
        """Number of classes, 0 without labels."""
        return len(self.classes)

    @property
    def has_labels(self) -> bool:
        """Whether the targets are labels."""
        return self.targets.dtype.kind == "i"

    def subset(self, indices: ArrayLike | slice) -> Samples:
        """Return some of the samples, in the order given; the classes do not change."""
        chosen = indices if isinstance(indices, slice) else np.asarray(indices)
        return replace(self, inputs=self.inputs[chosen], targets=self.targets[chosen])


@dataclass(frozen=True)
class Standardization:
    """The map x ↦ (x − mean)/deviation, one scalar each for all pixels of all images.

    Args:
        mean: Mean over the training inputs.
        deviation: Their standard deviation, positive.
    """

    mean: float
    deviation: float

    @classmethod
    def of(cls, inputs: ArrayLike) -> Standardization:
        """Return the rule with the mean and standard deviation of all values of `inputs`.

        Raises:
            InvalidInput: If the values are all equal.
        """
        values = np.asarray(inputs, dtype=np.float64)
        mean, deviation = float(np.mean(values)), float(np.std(values))
        if not deviation > 1e-14 * abs(mean):
            raise InvalidInput(f"the training inputs all have the value {mean}; they cannot be standardised")
        return cls(mean=mean, deviation=deviation)

    def apply(self, inputs: ArrayLike) -> NDArray[np.float64]:
        """Return the standardized values in a new array; a background pixel of value v becomes `apply(v)`."""
        return (np.asarray(inputs, dtype=np.float64) - self.mean) / self.deviation


@dataclass(frozen=True, eq=False)
class DataSet:
    """Samples for training and, if there are any, for testing.

    Args:
        samples: Training samples.
        test: Test samples or None.
        standardization: The rule that was applied to the inputs of both, and that every later input needs; None if none
            was.
    """

    samples: Samples
    test: Samples | None = None
    standardization: Standardization | None = None

    def standardized(self) -> DataSet:
        """Return both parts, standardized by mean and deviation of the training part; call it once, after splitting.

        Raises:
            InvalidInput: If it was done before, or the training inputs are constant.
        """
        if self.standardization is not None:
            raise InvalidInput(f"the data are standardised already, by {self.standardization}")
        rule = Standardization.of(self.samples.inputs)
        samples = replace(self.samples, inputs=rule.apply(self.samples.inputs))
        test = None if self.test is None else replace(self.test, inputs=rule.apply(self.test.inputs))
        return DataSet(samples=samples, test=test, standardization=rule)


def stratified_split(
    labels: NDArray[Any] | None, fraction: float, seed: int, *, num_samples: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split sample numbers into a training and a test part.

    Args:
        labels: Integer labels, shape (num_samples,): each class is split in the same proportion, within one sample.
            With None or float targets the split is random.
        fraction: Part of the samples for testing, in (0, 1); at least one sample is on either side.
        seed: The same seed gives the same split.
        num_samples: Number of samples.

    Returns:
        Indices of the training and of the test samples, each ascending.

    Raises:
        InvalidInput: If the fraction is not in (0, 1), or there are too few samples for every class on both sides.
    """
    from sklearn.model_selection import train_test_split  # takes half a second to import

    if not 0.0 < fraction < 1.0:
        raise InvalidInput(f"the fraction of test samples is {fraction}, expected a number between 0 and 1")
    if num_samples < 2:
        raise InvalidInput(f"{num_samples} samples cannot be split, at least two are needed")
    stratify = labels if labels is not None and labels.dtype.kind in "iu" else None
    if stratify is not None and stratify.shape != (num_samples,):
        raise InvalidInput(f"labels have shape {stratify.shape}, expected ({num_samples},)")
    num_test = min(max(1, math.ceil(fraction * num_samples)), num_samples - 1)
    try:
        train, test = train_test_split(np.arange(num_samples), test_size=num_test, random_state=seed, stratify=stratify)
    except ValueError as error:
        counts = np.bincount(stratify) if stratify is not None else np.array([num_samples])
        raise InvalidInput(
            f"{num_samples} samples, {counts.tolist()} in the classes, cannot be split into {num_samples - num_test} "
            f"for training and {num_test} for testing: {error}"
        ) from error
    return np.sort(train), np.sort(test)


def split_samples(samples: Samples, fraction: float, seed: int) -> DataSet:
    """Split samples into a training and a test part, stratified by label if there are labels.

    Args:
        samples: All samples.
        fraction: Part of them for testing, in (0, 1).
        seed: The same seed gives the same split.

    Raises:
        InvalidInput: If the fraction is not in (0, 1), or there are too few samples for every class on both sides.
    """
    labels = samples.targets if samples.has_labels else None
    train, test = stratified_split(labels, fraction, seed, num_samples=samples.num_samples)
    return DataSet(samples=samples.subset(train), test=samples.subset(test))


def load_digits_samples() -> Samples:
    """Return scikit-learn's handwritten digits: 1797 images of 8 × 8 pixels in [0, 1], ten classes; no download."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return Samples(
        inputs=digits.images / 16.0,
        targets=digits.target.astype(np.int64),
        classes=tuple(str(name) for name in digits.target_names),
        grid=(8, 8),
    )
