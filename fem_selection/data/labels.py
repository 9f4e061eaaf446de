# SPDX-License-Identifier: MIT
"""Labels of samples: the classes they name, and the numbers 0 … C − 1 with which a network works.

The classes are the sorted distinct labels of the training samples, in the type in which they were given: integers (also
with gaps), text, bytes, truth values, or real numbers that are whole.  Text is compared with text and numbers with
numbers, by value: 1, 1.0 and true are the same class, and the text "1" is another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_selection.errors import InvalidInput

__all__ = ["class_names", "find_classes", "listed_labels", "number_labels"]

_LISTED = 10  # labels that a message names


def find_classes(labels: NDArray[Any]) -> NDArray[Any]:
    """Return the sorted distinct labels, in this machine's byte order."""
    return np.unique(labels.astype(labels.dtype.newbyteorder("=")))


def class_names(classes: NDArray[Any]) -> tuple[str, ...]:
    """Return the classes as texts, for tables and figures."""
    return tuple(_text(value) if isinstance(value, bytes) else str(value) for value in classes.tolist())


def number_labels(labels: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int64]:
    """Return the place of each label among the classes, −1 for a label that is none of them.

    Args:
        labels: The labels, any shape.
        classes: The distinct classes, shape (C,).

    Raises:
        InvalidInput: If the ones are text and the others numbers, or the labels are neither.
    """
    if labels.dtype.kind not in "biufUS":
        raise InvalidInput(f"labels of type {labels.dtype}, expected integers or strings")
    if (labels.dtype.kind in "US") != (classes.dtype.kind in "US"):
        kinds = ["text" if array.dtype.kind in "US" else "numbers" for array in (labels, classes)]
        shown = ", ".join(repr(listed_labels(array)) for array in (labels.ravel()[:1], classes[:1]))
        raise InvalidInput(
            f"the labels are {kinds[0]} and the classes {kinds[1]} (as {shown}): give labels of the type that the "
            "training had"
        )
    places = {_key(value): place for place, value in enumerate(classes.tolist())}
    found = [places.get(_key(value), -1) for value in labels.ravel().tolist()]
    return np.array(found, dtype=np.int64).reshape(labels.shape)


def listed_labels(labels: NDArray[Any] | Sequence[Any]) -> str:
    """Return the first labels as a text, for a message."""
    values = np.asarray(labels)
    shown = ", ".join(_text(value) if isinstance(value, bytes) else str(value) for value in values[:_LISTED].tolist())
    return shown if len(values) <= _LISTED else f"{shown}, … ({len(values)} of them)"


def _key(value: Any) -> Any:
    return _text(value) if isinstance(value, bytes) else value


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
