# SPDX-License-Identifier: MIT
"""Functions of one finite element space interpolated in another, on whatever meshes and ranks the two live."""

from __future__ import annotations

import numpy as np
from dolfinx import fem

from fem_selection.discretization.spaces import StateSpace
from fem_selection.typing import Block

__all__ = ["interpolate_block"]

_PADDING = 1e-8  # of the domain's size: how far outside a cell a node may lie


def interpolate_block(source: StateSpace, block: Block, target: StateSpace) -> Block:
    """Return the nodal values on the target space of functions of the source space (collective).

    Args:
        source: The space of the functions.
        block: Their nodal values, shape (source.num_local, k).
        target: A space on another mesh of the same domain, or of another degree, on the same ranks.

    Returns:
        Shape (target.num_local, k).  If a node of the target lies in no cell of the source, its value is 0.
    """
    mesh = target.domain.mesh
    cells = np.arange(mesh.topology.index_map(mesh.topology.dim).size_local, dtype=np.int32)
    padding = _PADDING * float(np.max(np.subtract(*target.domain.bounds[::-1])))
    data = fem.create_interpolation_data(target.V, source.V, cells, padding)
    result = target.create_block(block.shape[1])
    moved = fem.Function(target.V)
    for k, values in enumerate(block.T):
        moved.x.array[:] = 0.0
        moved.interpolate_nonmatching(source.function(values), cells, data)
        result[:, k] = moved.x.array[: target.num_local]
    return result
