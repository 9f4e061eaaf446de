# SPDX-License-Identifier: MIT
"""Targets from the arrays of a file: labels that are numbered, or numbers that are to be learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_selection.data.archives import non_finite
from fem_selection.data.labels import find_classes, listed_labels, number_labels
from fem_selection.errors import InvalidInput

__all__ = ["read_targets", "read_truth"]


def read_targets(
    arrays: Mapping[str, NDArray[Any]], path: Path, names: Sequence[str], *, only_labels: bool, faults: list[str]
) -> tuple[dict[str, NDArray[Any]], NDArray[Any] | None]:
    """Return labels 0 … C − 1 with the classes, or float targets of shape (num_samples, num_outputs) and None.

    Args:
        arrays: The arrays of the file by name.
        path: The file, for messages.
        names: The names of the targets, those of the training part first; names that `arrays` lacks are passed over.
        only_labels: Whether floats are labels too, if they are whole, or else faults.
        faults: The list to which faults are appended.
    """
    targets: dict[str, NDArray[Any]] = {}
    kinds: dict[str, str] = {}
    for name in names:
        if name not in arrays:
            continue
        array = arrays[name]
        place = f"{path}: array '{name}' of shape {array.shape}"
        if array.ndim == 0:
            faults.append(f"{place}: expected one target per sample, (n,) or (n, number of outputs)")
        elif array.dtype.kind == "f" and not only_labels:
            with np.errstate(over="ignore"):
                values = np.ascontiguousarray(array, dtype=np.float64)
            values = values.reshape(len(values), prod(values.shape[1:]))
            faults.extend(f"{place}: {fault}" for fault in non_finite(values))
            targets[name], kinds[name] = values, "numbers"
        elif array.dtype.kind in "biufUS":
            labels = _column(array)
            if labels is None:
                more = " (of one-hot rows, y.argmax(axis=1))" if array.ndim == 2 else ""
                faults.append(
                    f"{place} has type {array.dtype}, so labels of shape (n,) are expected{more}; store regression "
                    "targets as floats"
                    + (", and learn them by objective.loss = 'least_squares' or 'tracking'" if only_labels else "")
                )
            elif fault := _no_label(labels):
                faults.append(f"{place}: {fault}")
            else:
                targets[name] = labels.astype(np.float64) if labels.dtype.kind == "f" else labels
                kinds[name] = "strings" if labels.dtype.kind in "US" else "integers"
        else:
            faults.append(f"{place} has type {array.dtype}, expected integers, strings or real numbers")
    if len(set(kinds.values())) > 1:
        faults.append(f"{path}: training and test targets differ in kind: {kinds}")
        return {}, None
    if "numbers" in kinds.values():
        widths = {name: values.shape[1] for name, values in targets.items()}
        if len(set(widths.values())) > 1:
            faults.append(f"{path}: training and test targets differ in their number of outputs: {widths}")
        return targets, None
    return _number_parts(targets, path, names, faults)


def read_truth(
    array: NDArray[Any], path: Path, classes: NDArray[Any], *, num_samples: int | None, faults: list[str]
) -> NDArray[Any] | None:
    """Return the labels `y` of new samples, shape (num_samples,); a single one may be an array without axes.

    Args:
        array: The array.
        path: The file, for messages.
        classes: The classes that the network knows.
        num_samples: Number of inputs; None if the inputs could not be read.
        faults: The list to which faults are appended.

    Returns:
        The labels, or None where they cannot be used.
    """
    place = f"{path}: array 'y' of shape {array.shape}"
    labels = _column(np.atleast_1d(array))
    if array.dtype.kind not in "biufUS":
        faults.append(f"{place} has type {array.dtype}, expected integers or strings")
    elif labels is None:
        faults.append(f"{place}: expected one label for each input, shape (n,); leave y out if it is not known")
    elif num_samples is not None and len(labels) != num_samples:
        faults.append(f"{path}: array 'y' holds {len(labels)} labels for {num_samples} inputs")
    else:
        try:
            known = bool((number_labels(labels, classes) >= 0).any())
        except InvalidInput as error:
            faults.append(f"{path}: array 'y': {error}")
            return None
        if not known and labels.size:
            faults.append(
                f"{path}: array 'y' has the labels {listed_labels(np.unique(labels))}, of which the network knows "
                f"none; its classes are {listed_labels(classes)}; leave y out to predict without an accuracy"
            )
        return labels
    return None


def _column(array: NDArray[Any]) -> NDArray[Any] | None:
    """Labels of shape (n,) or (n, 1) as (n,); None for other shapes."""
    labels = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    return labels if labels.ndim == 1 else None


def _no_label(labels: NDArray[Any]) -> str | None:
    """Why floats are no labels, or None."""
    if labels.dtype.kind != "f":
        return None
    with np.errstate(invalid="ignore"):
        whole = np.isfinite(labels) & (labels == np.round(labels))
    if whole.all():
        return None
    first = int(np.flatnonzero(~whole)[0])
    return (
        f"labels are expected, and sample {first} has the number {labels[first]}: store labels as integers or strings, "
        "or learn numbers by objective.loss = 'least_squares'"
    )


def _number_parts(
    labels: Mapping[str, NDArray[Any]], path: Path, names: Sequence[str], faults: list[str]
) -> tuple[dict[str, NDArray[Any]], NDArray[Any] | None]:
    """Replace each label by its place among the distinct labels of the training part."""
    if names[0] not in labels:
        return {}, None
    classes = find_classes(labels[names[0]])
    if len(classes) < 2:
        faults.append(f"{path}: array '{names[0]}' has the labels {classes.tolist()}, expected at least two classes")
        return {}, None
    numbered: dict[str, NDArray[Any]] = {}
    for name, array in labels.items():
        numbered[name] = number_labels(array, classes)
        if len(unknown := np.unique(array[numbered[name] < 0])):
            faults.append(f"{path}: array '{name}' has the labels {unknown[:10].tolist()}, which '{names[0]}' lacks")
    return numbered, classes
