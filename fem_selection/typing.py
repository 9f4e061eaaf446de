# SPDX-License-Identifier: MIT
"""Array types of the package and the one layout rule behind them.

A *block* is an N × J array of nodal values in Fortran order: column j is sample j, contiguous in memory, as in
PETSc's `MATDENSE`.  On several ranks of a space communicator a block holds the rows of the owned nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "Block",
    "Complexes",
    "Floats",
    "Integers",
    "SpatialFunction",
    "UflExpression",
    "create_block",
    "describe_array",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Block = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]
UflExpression = Any
"""A UFL expression; UFL has no useful static types."""
SpatialFunction = Callable[[Floats], Floats]
"""A function of points, shape (3, num_points) as in dolfinx, to values, shape (num_points,)."""


def create_block(rows: int, columns: int) -> Block:
    """Return a block of zeros in Fortran order.

    Args:
        rows: Number of rows, one per node.
        columns: Number of columns, one per sample.
    """
    return np.zeros((rows, columns), order="F")


def describe_array(value: object) -> tuple[tuple[int, ...], str | None]:
    """Return the shape of an array, and in words what the value is if it is no array of real numbers, else None."""
    if not isinstance(value, np.ndarray):
        return (), "None" if value is None else f"an object of type {type(value).__name__}"
    return value.shape, None if value.dtype.kind in "fiub" else f"an array of type {value.dtype}"
