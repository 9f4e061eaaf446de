# SPDX-License-Identifier: MIT
"""Small valid data files in every form that a case may name as `data.file`, as bytes, for tests that break them.

for file in DATA_FILES.values():
    (folder / "data.npz").write_bytes(broken(file.content))
    (folder / "case.toml").write_text(file.case)          # trains one iteration on data.npz
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["DATA_FILES", "NEW_DATA_FILES", "DataFile", "archive"]

_CASE = """
[domain]
{domain}
[dynamics]
layers = 2
[data]
file = "data.npz"
test_fraction = {test_fraction}
{more}
[objective]
loss = "{loss}"
[optimizer]
max_iterations = 1
[output]
figures = false
fields = false
"""
_INTERVAL = 'shape = "interval"\ncells = 4'
_SQUARE = 'shape = "rectangle"\ncells = [2, 2]'
_CUBE = 'shape = "box"\ncells = [2, 2, 2]'


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A valid data file.

    Attributes:
        content: The bytes of the file.
        case: A case file that trains one iteration on it; it names the file `data.npz`, beside the case.
    """

    content: bytes
    case: str


def archive(*, compressed: bool = False, **arrays: Any) -> bytes:
    """The bytes of an NPZ file with these arrays.

    Args:
        compressed: Whether the members are deflated.
        arrays: The arrays by name; they hold no Python objects.
    """
    buffer = io.BytesIO()
    write = np.savez_compressed if compressed else np.savez
    write(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _file(
    arrays: dict[str, Any],
    *,
    domain: str = _INTERVAL,
    loss: str = "softmax",
    test_fraction: float = 0.25,
    more: str = "",
    compressed: bool = False,
) -> DataFile:
    case = _CASE.format(domain=domain, loss=loss, test_fraction=test_fraction, more=more)
    return DataFile(content=archive(compressed=compressed, **arrays), case=case)


_rng = np.random.default_rng(0)
_NUMBERS = np.arange(12) % 3
_ROWS = np.sin((1 + _NUMBERS[:, None]) * np.linspace(0.0, 3.0, 9)) + 0.1 * _rng.standard_normal((12, 9))
_NAMES = np.array(["ape", "cat", "dög"])[_NUMBERS]

DATA_FILES: dict[str, DataFile] = {
    "integer labels": _file({"x": _ROWS, "y": _NUMBERS}),
    "labels with gaps": _file({"x": _ROWS, "y": np.array([-7, 10, 200])[_NUMBERS]}),
    "text labels": _file({"x": _ROWS, "y": _NAMES}),
    "byte labels": _file({"x": _ROWS, "y": np.array([b"ape", b"cat", b"dog"])[_NUMBERS]}),
    "two classes": _file({"x": _ROWS, "y": _NUMBERS > 0}, loss="logistic"),
    "column of labels": _file({"x": _ROWS, "y": _NUMBERS[:, None].astype(np.uint8)}),
    "regression": _file({"x": _ROWS, "y": _ROWS[:, 0]}, loss="least_squares"),
    "two outputs": _file({"x": _ROWS, "y": _ROWS[:, :2].astype(np.float32)}, loss="least_squares"),
    "target functions": _file({"x": _ROWS, "y": _ROWS**2}, loss="tracking"),
    "parts": _file({"x_train": _ROWS[:9], "y_train": _NAMES[:9], "x_test": _ROWS[9:], "y_test": _NAMES[9:]}),
    "a training part": _file({"x_train": _ROWS, "y_train": _NUMBERS}, test_fraction=0.0),
    "compressed": _file({"x": _ROWS, "y": _NUMBERS}, compressed=True),
    "another byte order": _file({"x": _ROWS.astype(">f8"), "y": _NUMBERS.astype(">i2")}),
    "columns first": _file({"x": np.asfortranarray(_ROWS), "y": _NUMBERS}),
    "half precision": _file({"x": _ROWS.astype(np.float16), "y": _NUMBERS}),
    "standardized": _file({"x": 100.0 + _ROWS, "y": _NUMBERS}, more="standardize = true"),
    "pictures": _file({"x": (128 + 90 * _ROWS).astype(np.uint8).reshape(12, 3, 3), "y": _NUMBERS}, domain=_SQUARE),
    "flat pictures": _file({"x": _ROWS, "y": _NUMBERS}, domain=_SQUARE, more="shape = [3, 3]"),
    "volumes": _file({"x": _rng.standard_normal((12, 2, 3, 2)), "y": _NUMBERS}, domain=_CUBE),
    "further arrays": _file({"x": _ROWS, "y": _NUMBERS, "about": np.array("measured")}),
}
"""Data files for training, by name."""

NEW_DATA_FILES: dict[str, bytes] = {
    "inputs": archive(x=_ROWS),
    "inputs and labels": archive(x=_ROWS, y=_NUMBERS),
    "one input": archive(x=_ROWS[:1]),
    "one input as an array of its shape": archive(x=_ROWS[0]),
}
"""Data files for predictions by the network that the file "integer labels" of `DATA_FILES` has trained."""
