# SPDX-License-Identifier: MIT
"""The triangles between the nodes of a plane mesh or a surface, for pictures of the functions on it."""

from __future__ import annotations

import numpy as np
from scipy.spatial import Delaunay

from fem_selection.discretization.spaces import StateSpace
from fem_selection.typing import Integers

__all__ = ["gather_triangles"]


def gather_triangles(space: StateSpace) -> Integers | None:
    """Return triples of nodes that cover the mesh, on every rank, in the canonical numbers of the nodes (collective).

    Each cell is cut into triangles between its own nodes, so that holes and bays of the domain stay empty in pictures.

    Returns:
        Shape (num_triangles, 3); None for meshes that are no surfaces, and for discontinuous functions, which have no
        nodes on the cells' edges.
    """
    mesh, dofmap = space.domain.mesh, space.V.dofmap
    if mesh.topology.dim != 2 or space.family != "lagrange":
        return None
    reference = Delaunay(space.V.element.interpolation_points).simplices
    dofs = dofmap.list[: mesh.topology.index_map(2).size_local]
    numbers = dofmap.index_map.local_to_global(np.ascontiguousarray(dofs[:, reference].ravel(), dtype=np.int32))
    parts = space.comm.allgather(space.canonical_global[numbers].reshape(-1, 3))
    return np.concatenate(parts)
