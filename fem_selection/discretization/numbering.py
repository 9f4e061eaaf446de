# SPDX-License-Identifier: MIT
"""A numbering of the nodes that is the same on every partition, and random numbers that follow it.

dolfinx numbers the nodes differently on every partition.  Here each node is given a key (input index of a cell, local
number in that cell), the smallest over the cells that share the node.  Sorting the keys numbers the nodes 0 … N − 1 in
the same way on any number of ranks.  Checkpoints are written in this order, and start values and test directions are
functions of it.  A submesh has no input indices: its cells are numbered by the coordinates of their midpoints.
"""

from __future__ import annotations

from typing import Any

import dolfinx
import numpy as np
from dolfinx import fem

from fem_selection.typing import Floats, Integers, whole_number

__all__ = ["canonical_numbering", "hashed_normal"]


def canonical_numbering(space: fem.FunctionSpace) -> Integers:
    """Return the partition-independent number of every node, by its global dolfinx index, shape (N,) (collective)."""
    mesh, dofmap = space.mesh, space.dofmap
    num_cells = mesh.topology.index_map(mesh.topology.dim).size_local
    dofs = dofmap.list[:num_cells].astype(np.int64)
    keys_of_cells = _cell_numbers(mesh)[:, None] * dofs.shape[1] + np.arange(dofs.shape[1])
    num_local = dofmap.index_map.size_local
    keys = np.full(num_local + dofmap.index_map.num_ghosts, np.iinfo(np.int64).max, dtype=np.int64)
    np.minimum.at(keys, dofs.ravel(), keys_of_cells.ravel())

    # the rank with the smallest key may have the node only as a ghost
    ghosts = mesh.comm.allgather((dofmap.index_map.ghosts.astype(np.int64), keys[num_local:]))
    start, end = dofmap.index_map.local_range
    for nodes, ghost_keys in ghosts:
        own = (nodes >= start) & (nodes < end)
        np.minimum.at(keys, nodes[own] - start, ghost_keys[own])

    all_keys = np.concatenate(mesh.comm.allgather(keys[:num_local]))
    numbers = np.empty(all_keys.size, dtype=np.int64)
    numbers[np.argsort(all_keys, kind="stable")] = np.arange(all_keys.size)
    return numbers


def _cell_numbers(mesh: dolfinx.mesh.Mesh) -> Integers:
    """Numbers of this rank's own cells that are the same on every partition (collective)."""
    dimension = mesh.topology.dim
    num_cells = mesh.topology.index_map(dimension).size_local
    try:
        return np.asarray(mesh.topology.original_cell_index[:num_cells], dtype=np.int64)
    except RuntimeError:  # a submesh
        own = dolfinx.mesh.compute_midpoints(mesh, dimension, np.arange(num_cells, dtype=np.int32))
    parts = mesh.comm.allgather(own)
    midpoints = np.concatenate(parts)
    size = max(float(np.ptp(midpoints, axis=0).max()), 1e-300)
    rounded = np.round((midpoints - midpoints.min(axis=0)) / size, 10)  # the order of a cell's vertices varies
    numbers = np.empty(len(midpoints), dtype=np.int64)
    numbers[np.lexsort(rounded.T)] = np.arange(len(midpoints))
    first = sum(len(part) for part in parts[: mesh.comm.rank])
    return numbers[first : first + num_cells]


def hashed_normal(seed: int, *indices: Integers) -> Floats:
    """Return independent standard normal numbers that are a function of a seed and of integer indices alone.

    Each rank computes the numbers of its own indices and gets the same ones as on every other partition.

    Args:
        seed: Any integer.
        indices: Integer arrays that broadcast together, such as (interval, row, column).
    """
    with np.errstate(over="ignore"):
        state = _mix(np.uint64(whole_number(seed, "seed") % 2**63) + np.uint64(0x9E3779B97F4A7C15))
        for index in indices:
            state = _mix(state ^ (np.asarray(index, dtype=np.int64).astype(np.uint64) + np.uint64(0x632BE59BD9B4E019)))
        u1, u2 = _uniform(state), _uniform(_mix(state + np.uint64(1)))
    result: Floats = np.sqrt(-2.0 * np.log(u1)) * np.cos(2.0 * np.pi * u2)
    return result


def _mix(z: np.ndarray | np.uint64) -> np.ndarray | np.uint64:
    """The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014, doi:10.1145/2660193.2660195)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _uniform(z: np.ndarray | np.uint64) -> Any:
    """Numbers in (0, 1) from the upper 53 bits."""
    return ((z >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
