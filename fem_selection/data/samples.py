# SPDX-License-Identifier: MIT
"""Samples: inputs, from which the equation starts, and targets, which it is to reach.

An input is an image or a signal.  A target is a label, a vector of numbers or a function given by its values.
scikit-learn's digits are read here, a user's files in `loading`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
        class_values: The classes as they were given, shape (num_classes,); the names if left out.

    Raises:
        InvalidInput: If shapes, labels and names do not fit together.
    """

    inputs: NDArray[np.float64]
    targets: NDArray[Any]
    classes: tuple[str, ...] = ()
    grid: tuple[int, ...] | None = None
    class_values: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if self.class_values is None and self.classes:
            object.__setattr__(self, "class_values", np.array(self.classes))
        if self.class_values is not None and self.class_values.shape != (len(self.classes),):
            raise InvalidInput(f"{self.class_values.shape} values of classes for {len(self.classes)} names of classes")
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
            InvalidInput: If the values are all equal, or too large to be squared.
        """
        values = np.asarray(inputs, dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            mean, deviation = float(np.mean(values)), float(np.std(values))
        if not (math.isfinite(mean) and math.isfinite(deviation)):
            raise InvalidInput(
                f"the training inputs reach {np.abs(values).max():.3g}, and their mean or variance is not finite; they "
                "cannot be standardised: divide them by a constant first"
            )
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
    labels: NDArray[Any] | None, fraction: float, seed: int, *, num_samples: int, classes: Sequence[str] = ()
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split sample numbers into a training and a test part.

    Args:
        labels: Integer labels, shape (num_samples,): each class is split in the same proportion, within one sample.
            With None or float targets the split is random.
        fraction: Part of the samples for testing, in (0, 1); at least one sample is on either side.
        seed: The same seed gives the same split.
        num_samples: Number of samples.
        classes: Names of the classes, for messages; their numbers if left out.

    Returns:
        Indices of the training and of the test samples, each ascending.

    Raises:
        InvalidInput: If the fraction is not in (0, 1), or there are too few samples for every class on both sides.
    """
    from sklearn.model_selection import train_test_split  # takes half a second to import

    if not 0.0 < fraction < 1.0:
        raise InvalidInput(f"the fraction of test samples is {fraction}, expected a number between 0 and 1")
    if num_samples < 2:
        raise InvalidInput(
            f"{num_samples} sample{'' if num_samples == 1 else 's'} cannot be split, at least two are needed: keep no "
            "part (0)"
        )
    stratify = labels if labels is not None and labels.dtype.kind in "iu" else None
    if stratify is not None and stratify.shape != (num_samples,):
        raise InvalidInput(f"labels have shape {stratify.shape}, expected ({num_samples},)")
    num_test = min(max(1, math.ceil(fraction * num_samples)), num_samples - 1)
    if stratify is not None:
        _require_every_class_twice(stratify, num_test, classes)
    train, test = train_test_split(np.arange(num_samples), test_size=num_test, random_state=seed, stratify=stratify)
    return np.sort(train), np.sort(test)


def _require_every_class_twice(labels: NDArray[Any], num_test: int, names: Sequence[str]) -> None:
    """Raise an error unless every class can have a sample in the training and in the test part."""
    present, counts = np.unique(labels, return_counts=True)
    lone = [names[k] if k < len(names) else str(k) for k in present[counts < 2]]
    if lone:
        shown = ", ".join(map(repr, lone[:5])) + (f", … ({len(lone)} classes)" if len(lone) > 5 else "")
        one = "the class" if len(lone) == 1 else "each of the classes"
        many = "; are these numbers to be learned? Then store them as floats" if 2 * len(lone) > len(labels) else ""
        raise InvalidInput(
            f"{one} {shown} has a single sample, which cannot be in the training and in the part that is kept: add "
            f"samples, leave the class out, or keep no part (0){many}"
        )
    if min(num_test, len(labels) - num_test) < len(present):
        raise InvalidInput(
            f"{len(labels)} samples of {len(present)} classes cannot be split into {len(labels) - num_test} and "
            f"{num_test}: each part needs {len(present)} samples at least, one of every class; choose a share between "
            f"{len(present) / len(labels):.2g} and {1 - len(present) / len(labels):.2g}, or keep no part (0)"
        )


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
    train, test = stratified_split(labels, fraction, seed, num_samples=samples.num_samples, classes=samples.classes)
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
        class_values=np.asarray(digits.target_names),
    )
