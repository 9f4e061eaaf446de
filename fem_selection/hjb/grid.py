# SPDX-License-Identifier: MIT
"""`Grid`: a uniform grid on a box in R^n, n = 1, 2, 3, with multilinear interpolation.

Values live on an array of shape (n_1 + 1, …, n_n + 1).  Outside the box the interpolant of the nearest cell goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from fem_selection.errors import InvalidInput
from fem_selection.typing import Floats

__all__ = ["Grid", "default_box"]


@dataclass(frozen=True)
class Grid:
    """Uniform cells on a box.

    Attributes:
        lower: Lower corner.
        upper: Upper corner.
        cells: Number of cells in each direction.
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    cells: tuple[int, ...]

    def __post_init__(self) -> None:
        same = len(self.lower) == len(self.upper) == len(self.cells)
        if not same or not all(a < b for a, b in zip(self.lower, self.upper, strict=False)) or min(self.cells) < 2:
            raise InvalidInput(
                f"a grid of {self.cells} cells from {self.lower} to {self.upper}: corners and cells of one length, "
                "lower below upper, and at least two cells in every direction"
            )

    @staticmethod
    def uniform(lower: Sequence[float] | Floats, upper: Sequence[float] | Floats, cells: int | Sequence[int]) -> Grid:
        """A grid from any sequences; one number of cells stands for every direction."""
        counts = (cells,) * len(lower) if isinstance(cells, int) else tuple(int(n) for n in cells)
        return Grid(lower=tuple(map(float, lower)), upper=tuple(map(float, upper)), cells=counts)

    @property
    def dimension(self) -> int:
        """The dimension n of the box."""
        return len(self.cells)

    @property
    def shape(self) -> tuple[int, ...]:
        """Nodes in each direction."""
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
        """As many more cells of the same width at every side."""
        more = cells * self.widths
        lower, upper = np.asarray(self.lower) - more, np.asarray(self.upper) + more
        return Grid.uniform(lower, upper, [n + 2 * cells for n in self.cells])

    def number(self, x: Floats) -> np.ndarray:
        """The places of nodes, shape (…, n), in a flattened array."""
        index = np.rint((x - np.asarray(self.lower)) / self.widths).astype(np.int64)
        return np.ravel_multi_index(tuple(np.moveaxis(index, -1, 0)), self.shape)

    def interpolate(self, values: Floats, x: Floats) -> Floats:
        """Values at points.

        Args:
            values: On the nodes, shape (n_1 + 1, …) or flattened, and further axes for components after them.
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
        margin: How far the box reaches beyond their extent in each direction, as part of the extent; at least 0.5.

    Returns:
        Lower and upper corner.
    """
    points = np.stack(states)
    low, high = points.min(axis=0), points.max(axis=0)
    more = np.maximum(margin * (high - low), 0.5)
    return low - more, high + more
