# SPDX-License-Identifier: MIT
"""Array types of the package and the one layout rule behind them.

A *block* is an N × J array of nodal values in Fortran order: column j is sample j, contiguous in memory, as in
PETSc's `MATDENSE`.  On several ranks of a space communicator a block holds the rows of the owned nodes.

Numbers are float64.  Public functions take arrays as users have them (lists, float32, integers, any memory order, other
libraries' arrays) and convert them once, where they enter: `real_array`, `real_block`.  BLAS, PETSc and MPI then never
see another type, in which they would compute with fewer digits, or write their result into a copy.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fem_selection.errors import InvalidInput

__all__ = [
    "Block",
    "Complexes",
    "Floats",
    "Integers",
    "SpatialFunction",
    "UflExpression",
    "create_block",
    "describe_array",
    "describe_type",
    "real_array",
    "real_block",
    "real_number",
    "real_numbers",
    "whole_number",
    "whole_numbers",
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


def real_array(value: object, what: str, shape: tuple[int, ...] | None = None) -> Floats:
    """Return the numbers that a user gives as an array of float64, the array itself if it is one.

    Args:
        value: A number, a sequence, or an array of NumPy or of a library whose arrays NumPy can read.
        what: What it is, at the beginning of a message.
        shape: The shape that the array must have; any if None.

    Raises:
        InvalidInput: if it is no array of real numbers (complex numbers, text, masked entries, rows of different
            lengths), or has another shape.
    """
    array, kind = _as_floats(value)
    if array is None:
        raise InvalidInput(f"{what}: expected an array of real numbers, got {kind}")
    if shape is not None and array.shape != shape:
        raise InvalidInput(f"{what} of shape {array.shape}: expected {shape}")
    return array


def real_numbers(value: object, what: str) -> Floats:
    """Return a few numbers that a user gives one by one, such as a corner, as an array of float64.

    Args:
        value: As for `real_array`; no truth value among them, which in an array of data may mean 0 and 1.
        what: What they are, at the beginning of a message.

    Raises:
        InvalidInput: as `real_array`; if one is a truth value.
    """
    given = value if isinstance(value, list | tuple) else np.ravel(np.asarray(value, dtype=object))
    for entry in given:
        if isinstance(entry, bool | np.bool_):
            raise InvalidInput(f"{what}: expected numbers, got {entry}")
    return real_array(value, what)


def real_block(value: object, rows: int, what: str) -> Block:
    """Return nodal values that a user gives as a block of float64; the array itself if it is one in any memory order.

    Args:
        value: As for `real_array`; a vector is one sample.
        rows: Number of nodes of this rank.
        what: What it is, at the beginning of a message.

    Raises:
        InvalidInput: if it is no array of real numbers of shape (rows, any) or (rows,).
    """
    if type(value) is np.ndarray and value.dtype == np.float64 and value.ndim == 2 and len(value) == rows:
        return value
    array = real_array(value, what)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or len(array) != rows:
        raise InvalidInput(f"{what} of shape {array.shape} for {rows} nodes: expected ({rows}, number of samples)")
    return array


def whole_number(value: object, what: str, least: int | None = None) -> int:
    """Return the whole number that a user gives as Python's own.

    Args:
        value: An integer of Python or NumPy; no truth value, and no 2.0, which may be the quotient of others.
        what: What it is, at the beginning of a message.
        least: The least number allowed.

    Raises:
        InvalidInput: if it is no whole number, or below `least`.
    """
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and (least is None or int(value) >= least):
        return int(value)
    given = f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else repr(value)[:60]
    raise InvalidInput(f"{what} = {given}: expected a whole number{'' if least is None else f', at least {least}'}")


def real_number(value: object, what: str) -> float:
    """Return the real number that a user gives as Python's own; it may be infinite or NaN.

    Args:
        value: A number of Python or NumPy; no truth value.
        what: What it is, at the beginning of a message.

    Raises:
        InvalidInput: if it is no real number.
    """
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    raise InvalidInput(f"{what} = {repr(value)[:60]}: expected a number")


def whole_numbers(value: object, what: str, *, count: int, below: int | None = None) -> Integers:
    """Return numbers such as the classes of samples, 0 at least, as an array of int64 and shape (count,).

    Args:
        value: A sequence or an array of integers, or of real numbers that are whole.
        what: What they are, at the beginning of a message.
        count: How many there must be.
        below: They must be below this number; any if None.

    Raises:
        InvalidInput: if they are no such numbers, or not as many.
    """
    array = real_array(value, what)
    if array.shape != (count,):
        raise InvalidInput(f"{what} of shape {array.shape}: expected ({count},), one for each sample")
    high = 2.0**53 if below is None else below
    bad = ~((array >= 0) & (array < high) & (array == np.floor(array)))
    if bad.any():
        until = "" if below is None else f" to {below - 1}"
        raise InvalidInput(f"{what}: expected whole numbers from 0{until}, got {array[bad][0]:g}")
    return array.astype(np.int64)


def describe_array(value: object) -> tuple[tuple[int, ...], str | None]:
    """Return the shape of an array, and in words what the value is if it is no array of real numbers, else None."""
    array, kind = _as_floats(value)
    return (() if array is None else array.shape), kind


def describe_type(value: object) -> str:
    """Return in words what a value is: an array of a type, or an object of a class."""
    if isinstance(value, np.ndarray):
        return f"an array of type {value.dtype}"
    return f"an object of type {type(value).__name__}"


def _as_floats(value: object) -> tuple[Floats | None, str | None]:
    """The value as an array of float64, or in words what it is."""
    if type(value) is np.ndarray and value.dtype == np.float64:
        return value, None
    if value is None:
        return None, "None"
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        return None, "an array with masked entries"
    name = f"an object of type {type(value).__name__}"
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged rows; arrays on a GPU
        reason = (str(error).splitlines() or [""])[0]
        return None, f"{name} that NumPy cannot read ({reason})"
    if array.dtype.kind in "fiub":
        return np.asarray(array, dtype=np.float64), None
    return None, f"an array of type {array.dtype}" if isinstance(value, np.ndarray) or array.ndim else name
