# SPDX-License-Identifier: MIT
"""The extents of intervals, rectangles and boxes: whether double precision can hold their cells, and graded sizes.

The ends of a cell of size h at the distance X from the origin have the rounding error ε X, so h has the relative error
2 ε X/h: at 1 nothing is known of it, at √ε half of the digits are lost, as in `cell_shapes`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fem_selection.discretization.meshes.cell_shapes import SMALLEST
from fem_selection.errors import InvalidInput
from fem_selection.typing import Floats, real_number, real_numbers, whole_number

__all__ = ["check_extents", "graded_ends"]


def check_extents(
    shape: str, *, lower: Sequence[float], upper: Sequence[float], cells: Sequence[int], grading: float
) -> tuple[str, ...]:
    """Refuse what makes no mesh, and return what is doubtful about it, one sentence each.

    Args:
        shape: "interval", "rectangle" or "box".
        lower: Its lower corner.
        upper: Its upper corner.
        cells: Number of cells in each direction.
        grading: In each direction the ratio of the last cell's size to the first's.

    Raises:
        InvalidInput: if a number is out of range, or cells are no larger than the rounding errors of their ends.
    """
    d = {"interval": 1, "rectangle": 2, "box": 3}[shape]
    for name, values in (("lower", lower), ("upper", upper), ("cells", cells)):
        given = real_numbers(values, f"{name} of the {shape}")
        if given.shape != (d,) or not np.all(np.isfinite(given)):
            raise InvalidInput(f"a{'n' * (d == 1)} {shape} needs {d} finite numbers as {name}, not {values}")
    if not 0 < real_number(grading, "grading") < np.inf:
        raise InvalidInput(f"grading must be positive, {grading} was given")
    worst = 0.0
    for low, high, n in zip(lower, upper, cells, strict=True):
        whole_number(n, "the number of cells in a direction", 1)
        if not 0 < high - low < np.inf:
            raise InvalidInput(
                f"upper must be above lower in each direction, and their difference finite: {low}, {high}"
            )
        ends = low + (high - low) * (np.array([0.0, 1.0]) if grading == 1.0 else graded_ends(int(n), grading))
        far, gaps = np.maximum(np.abs(ends[:-1]), np.abs(ends[1:])), np.diff(ends)
        gaps = gaps / n if grading == 1.0 else gaps
        with np.errstate(divide="ignore", invalid="ignore"):
            worst = max(worst, float(np.max(np.where(gaps > 0, 2 * np.finfo(float).eps * far / gaps, np.inf))))
    if worst >= 1.0:
        raise InvalidInput(
            f"the smallest cells of the {shape} are no larger than the rounding errors of its coordinates: use fewer "
            "cells, a grading nearer to 1 or a domain nearer to the origin"
        )
    if worst >= SMALLEST:
        return (f"rounding of the coordinates makes relative errors up to {worst:.1e} of the sizes of cells",)
    return ()


def graded_ends(n: int, grading: float) -> Floats:
    """Return the ends of n cells on (0, 1) with sizes h_i ∝ grading^{i/(n−1)}.

    Args:
        n: Number of cells.
        grading: Ratio of the last cell's size to the first's.
    """
    sizes = grading ** (np.arange(n) / max(n - 1, 1))
    return np.concatenate([[0.0], np.cumsum(sizes)]) / np.sum(sizes)
