# SPDX-License-Identifier: MIT
"""Whether the nodes of a space form a uniform grid of points, and where each node lies in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import InvalidInput
from fem_selection.typing import Floats, Integers

__all__ = ["TensorGrid", "find_tensor_grid"]

_TOLERANCE = 1e-9  # of the spacing: what the coordinates of a mesh may miss by rounding


@dataclass(frozen=True)
class TensorGrid:
    """Nodes y = origin + spacing · (i_1, …, i_d), all of them.

    Attributes:
        shape: Number of nodes in each direction.
        spacing: Distance of neighbours in each direction, shape (d,).
        order: Number of the node at each place of the grid, its last index running fastest, shape (N,).
        places: The place of each node; the inverse permutation.
    """

    shape: tuple[int, ...]
    spacing: Floats
    order: Integers
    places: Integers


def find_tensor_grid(space: StateSpace) -> TensorGrid:
    """Return the grid that the nodes of a space form.

    Raises:
        InvalidInput: if the mesh is distributed over ranks, or the nodes form no uniform grid.

    Example:
        >>> space = fs.StateSpace(fs.rectangle(MPI.COMM_SELF, (4, 2)))
        >>> from fem_selection.discretization.tensor_grid import find_tensor_grid
        >>> find_tensor_grid(space).shape
        (5, 3)
    """
    if space.comm.size > 1:
        raise InvalidInput(
            f"a convolution needs the whole mesh on each rank, and it is distributed over {space.comm.size}: "
            "leave parallel.space at 1 in a training; run other commands on one rank"
        )
    points = space.coordinates[:, : space.domain.dimension]
    lower, upper = points.min(axis=0), points.max(axis=0)
    counts, spacing = [], []
    for x, a, b in zip(points.T, lower, upper, strict=True):
        near = 1e-7 * (b - a) if b > a else 1.0
        count = 1 + int(np.sum(np.diff(np.sort(x)) > near))
        counts.append(count)
        spacing.append((b - a) / max(count - 1, 1) or 1.0)
    exact = (points - lower) / spacing
    index = np.rint(exact)
    places = np.ravel_multi_index(tuple(index.astype(np.int64).T), tuple(counts), mode="clip")
    is_uniform = float(np.max(np.abs(exact - index), initial=0.0)) <= _TOLERANCE * max(counts)
    if not is_uniform or int(np.prod(counts)) != len(points) or len(np.unique(places)) != len(points):
        raise InvalidInput(
            f"a convolution needs nodes at equal distances in each direction; the {len(points)} nodes of this space "
            "do not form such a grid: use an interval, rectangle or box without domain.grading, 'lagrange' elements "
            "and degree 1"
        )
    return TensorGrid(shape=tuple(counts), spacing=np.array(spacing), order=np.argsort(places), places=places)
