# SPDX-License-Identifier: MIT
"""What a network needs to know of its samples: the form of an input, its scaling, and the classes.

    input on `grid` → standardized → multilinear interpolant at the nodes → network → output o_k → `class_values`[k]

A run keeps its `SampleFormat` in the checkpoint, beside the controls.  A trained network is therefore applied to new
inputs without the training data, whatever became of these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fem_selection.data.labels import class_names
from fem_selection.data.samples import Standardization
from fem_selection.errors import InvalidInput

__all__ = ["SampleFormat"]

_VERSION = 1
_LIFT = "multilinear"  # how an input becomes a function on Y, see `data.images`


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleFormat:
    """The form of the samples of a network.

    Args:
        grid: Number of pixels along each axis of an input; None if the samples were functions given at the nodes, so
            that inputs on any grid fit.
        standardization: The rule that is applied to the inputs, or None.
        class_values: The classes in the order of the outputs, in the type in which the labels were given, shape (C,);
            None without labels.
        num_outputs: Number of outputs of the readout, 0 without a readout.
    """

    grid: tuple[int, ...] | None = None
    standardization: Standardization | None = None
    class_values: NDArray[Any] | None = None
    num_outputs: int = 0

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; empty without labels."""
        return () if self.class_values is None else class_names(self.class_values)

    @property
    def background(self) -> float:
        """The value that stands for an input's 0, outside of moved images."""
        return 0.0 if self.standardization is None else float(self.standardization.apply(np.zeros(1))[0])

    def prepare(self, inputs: ArrayLike) -> NDArray[np.float64]:
        """Return inputs as the network takes them, standardized if the training was.

        Args:
            inputs: Shape (num_samples, *grid).

        Raises:
            InvalidInput: If they are on another grid than the training inputs.
        """
        values = np.asarray(inputs, dtype=np.float64)
        if self.grid is not None and values.shape[1:] != self.grid:
            raise InvalidInput(
                f"inputs of shape {values.shape[1:]} for a network that was trained on inputs of shape {self.grid}: "
                "give the same values, in the same order, as for the training"
            )
        return values if self.standardization is None else self.standardization.apply(values)

    def as_dict(self) -> dict[str, Any]:
        """The format as values that JSON can hold; `from_dict` reads them."""
        rule, values = self.standardization, self.class_values
        return {
            "version": _VERSION,
            "lift": _LIFT,
            "grid": None if self.grid is None else list(self.grid),
            "standardization": None if rule is None else {"mean": rule.mean, "deviation": rule.deviation},
            "classes": None if values is None else _values_as_json(values),
            "num_outputs": self.num_outputs,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> SampleFormat:
        """Return the format that `as_dict` has written.

        Raises:
            InvalidInput: If it is of a later version, or damaged.
        """
        version = content.get("version")
        if version != _VERSION or content.get("lift") != _LIFT:
            raise InvalidInput(
                f"the form of the samples was saved in version {version} ({content.get('lift')}), and this program "
                f"reads version {_VERSION} ({_LIFT}): use the fem_selection that trained the network"
            )
        try:
            grid, rule, classes = (content[name] for name in ("grid", "standardization", "classes"))
            return cls(
                grid=None if grid is None else tuple(int(size) for size in grid),
                standardization=None if rule is None else _rule(float(rule["mean"]), float(rule["deviation"])),
                class_values=None if classes is None else _values_from_json(classes),
                num_outputs=int(content["num_outputs"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InvalidInput(
                f"the form of the samples cannot be read ({type(error).__name__}: {error}): train the network again"
            ) from error


def _rule(mean: float, deviation: float) -> Standardization:
    if not (math.isfinite(mean) and math.isfinite(deviation) and deviation > 0):
        raise ValueError(f"mean {mean} and deviation {deviation}")
    return Standardization(mean=mean, deviation=deviation)


def _values_as_json(values: NDArray[Any]) -> dict[str, Any]:
    """The NumPy type and the values; bytes become text with the same numbers of characters."""
    plain = [value.decode("latin-1") if isinstance(value, bytes) else value for value in values.tolist()]
    return {"type": values.dtype.newbyteorder("<").str, "values": plain}


def _values_from_json(content: Mapping[str, Any]) -> NDArray[Any]:
    kind = np.dtype(str(content["type"]))
    if kind.kind not in "biufUS":
        raise ValueError(f"classes of type {kind}")
    values = [value.encode("latin-1") if kind.kind == "S" else value for value in content["values"]]
    return np.array(values, dtype=kind.newbyteorder("="))
