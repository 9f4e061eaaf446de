# SPDX-License-Identifier: MIT
"""`Grid`: a uniform grid on a box in R^n, n = 1, 2, 3, with multilinear interpolation.

Nodal values form an array of shape (n_1 + 1, …, n_n + 1).  Outside the box the interpolant of the nearest cell is
extrapolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from fem_selection.errors import InvalidInput
from fem_selection.typing import Floats, real_numbers, whole_number

__all__ = ["Grid", "default_box"]


@dataclass(frozen=True)
class Grid:
    """Uniform cells on a box.

    Attributes:
        lower: Lower corner.
        upper: Upper corner.
        cells: Number of cells in each direction.

    Raises:
        InvalidInput: if the three differ in length, a side is not positive, or a direction has fewer than two cells.
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    cells: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", tuple(whole_number(n, "cells") for n in self.cells))
        for name in ("lower", "upper"):
            object.__setattr__(self, name, tuple(real_numbers(getattr(self, name), name).tolist()))
        same = len(self.lower) == len(self.upper) == len(self.cells)
        if not same or not all(a < b for a, b in zip(self.lower, self.upper, strict=False)) or min(self.cells) < 2:
            raise InvalidInput(
                f"a grid of {self.cells} cells from {self.lower} to {self.upper}: corners and cells of one length, "
                "lower below upper, and at least two cells in every direction"
            )

    @staticmethod
    def uniform(lower: Sequence[float] | Floats, upper: Sequence[float] | Floats, cells: int | Sequence[int]) -> Grid:
        """A grid from sequences of any kind.

        Args:
            lower: Lower corner, n numbers.
            upper: Upper corner, n numbers.
            cells: Number of cells in each direction; one number stands for every direction.

        Raises:
            InvalidInput: as for `Grid`.
        """
        low, high = (real_numbers(ends, what) for ends, what in ((lower, "lower"), (upper, "upper")))
        counts = tuple(cells) if isinstance(cells, Sequence | np.ndarray) else (cells,) * low.size
        return Grid(lower=tuple(low.ravel().tolist()), upper=tuple(high.ravel().tolist()), cells=counts)

    @property
    def dimension(self) -> int:
        """The dimension n of the box."""
        return len(self.cells)

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of nodes in each direction."""
        return tuple(n + 1 for n in self.cells)

    @property
    def widths(self) -> Floats:
        """Cell widths, shape (n,)."""
        return (np.asarray(self.upper) - np.asarray(self.lower)) / np.asarray(self.cells)

    @cached_property
    def axes(self) -> tuple[Floats, ...]:
        """Coordinates of the nodes in each direction."""
        return tuple(np.linspace(a, b, n + 1) for a, b, n in zip(self.lower, self.upper, self.cells, strict=True))

    @property
    def nodes(self) -> Floats:
        """All nodes in the order of a flattened array, shape (num_nodes, n)."""
        return np.stack(np.meshgrid(*self.axes, indexing="ij"), axis=-1).reshape(-1, self.dimension)

    def contains(self, x: Floats) -> bool:
        """Whether all points, shape (…, n), lie in the closed box."""
        return bool(np.all(x >= self.lower) and np.all(x <= self.upper))

    def enlarged(self, cells: int) -> Grid:
        """The grid with this many further cells of the same width at each side."""
        more = cells * self.widths
        lower, upper = np.asarray(self.lower) - more, np.asarray(self.upper) + more
        return Grid.uniform(lower, upper, [n + 2 * cells for n in self.cells])

    def number(self, x: Floats) -> np.ndarray:
        """The places, in a flattened array, of the nodes at the points x, shape (…, n)."""
        index = np.rint((x - np.asarray(self.lower)) / self.widths).astype(np.int64)
        return np.ravel_multi_index(tuple(np.moveaxis(index, -1, 0)), self.shape)

    def interpolate(self, values: Floats, x: Floats) -> Floats:
        """Interpolate nodal values at points.

        Args:
            values: Nodal values, shape (n_1 + 1, …) or flattened, with any further axes for components at the end.
            x: Points, shape (num_points, n).

        Returns:
            Shape (num_points, components …).
        """
        strides = np.cumprod((1, *self.shape[:0:-1]))[::-1]
        flat = values.reshape(int(np.prod(self.shape)), *values.shape[self.dimension :]) if values.ndim > 1 else values
        place = (x - np.asarray(self.lower)) / self.widths
        first, weights = np.zeros(len(x), dtype=np.int64), []
        for k, n in enumerate(self.cells):
            cell = np.clip(place[:, k], 0, n - 1).astype(np.int64)
            first += cell * strides[k]
            fraction = (place[:, k] - cell).reshape(-1, *(1,) * (flat.ndim - 1))
            weights.append((1.0 - fraction, fraction))
        result: Floats = np.zeros((len(x), *flat.shape[1:]))
        for corner in product((0, 1), repeat=self.dimension):
            weight = weights[0][corner[0]]
            for k in range(1, self.dimension):
                weight = weight * weights[k][corner[k]]
            result += weight * flat[first + int(np.dot(corner, strides))]
        return result


def default_box(*states: Floats, margin: float = 0.75) -> tuple[Floats, Floats]:
    """A box around some states.

    Args:
        states: Points, each of shape (n,).
        margin: How far the box reaches beyond the states on either side in each direction, as a share of their extent
            in it.  The box reaches at least 0.5 beyond them, whatever the margin.

    Returns:
        Lower and upper corner, each of shape (n,).
    """
    points = np.stack(states)
    low, high = points.min(axis=0), points.max(axis=0)
    more = np.maximum(margin * (high - low), 0.5)
    return low - more, high + more
