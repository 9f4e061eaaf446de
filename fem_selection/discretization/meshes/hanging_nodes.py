# SPDX-License-Identifier: MIT
"""Hanging nodes: corners of cells inside an edge or a face of another cell, which has no node there.

Facets of a mesh that belong to one cell are its boundary.  Where a large cell meets small ones that are not its
neighbours, its facet belongs to it alone, and so do those of the small cells: the mesh has a slit of no width, though
the domain has none.  A corner of the small cells then lies in the large facet, but is none of its corners:

    x = Σ_k λ_k x_k,   Σ_k λ_k = 1,   0 ≤ λ_k < 1,      x_k the facet's corners

The corners at the boundary are sought in balls around the boundary's facets.  Faces of four corners count as two
triangles, and curved facets as straight ones.
"""

from __future__ import annotations

from itertools import chain

import numpy as np
from scipy.spatial import cKDTree

from fem_selection.discretization.meshes.cell_shapes import SMALLEST
from fem_selection.discretization.meshes.equal_rows import equal_rows
from fem_selection.typing import Floats, Integers

__all__ = ["find_hanging_nodes"]

_AT_ONCE = 50_000  # facets


def find_hanging_nodes(facets: Integers, points: Floats) -> Integers:
    """Return the corners that lie inside a facet of another cell, each with the cell, shape (number, 2).

    Args:
        facets: The corners of each facet of each cell, shape (num_cells, num_facets, corners of a facet).
        points: Shape (num_points, d).
    """
    num_cells, num_facets, count = facets.shape
    if count < 2:
        return np.zeros((0, 2), dtype=np.int64)
    flat = facets.reshape(num_cells * num_facets, count)
    _, index = equal_rows(np.sort(flat, axis=1))
    alone = np.flatnonzero(np.bincount(index)[index] == 1)
    nodes = np.unique(flat[alone])
    if not nodes.size:
        return np.zeros((0, 2), dtype=np.int64)
    tree, found = cKDTree(points[nodes]), []
    for start in range(0, len(alone), _AT_ONCE):
        own = alone[start : start + _AT_ONCE]
        x = points[flat[own]]
        center = x.mean(axis=1)
        radius = np.linalg.norm(x - center[:, None], axis=2).max(axis=1)
        near = tree.query_ball_point(center, radius * (1.0 + SMALLEST))
        facet = np.repeat(np.arange(len(own)), [len(each) for each in near])
        node = nodes[np.fromiter(chain.from_iterable(near), np.int64, len(facet))]
        strange = ~np.any(flat[own[facet]] == node[:, None], axis=1)
        facet, node = facet[strange], node[strange]
        inside = np.zeros(len(facet), dtype=bool)
        for corners in ([0, 1, 2], [1, 3, 2]) if count == 4 else (list(range(count)),):
            inside |= _is_inside(x[facet][:, corners], points[node])
        found.append(np.stack([node[inside], own[facet[inside]] // num_facets], axis=1))
    pairs = np.concatenate(found)
    first = np.unique(pairs[:, 0], return_index=True)[1]  # one cell for each node
    return pairs[first]


def _is_inside(x: Floats, p: Floats) -> np.ndarray:
    """Whether points p, shape (m, d), lie in simplices with the corners x, shape (m, k, d), and at none of them."""
    edges = x[:, 1:] - x[:, :1]
    gram = np.einsum("mid,mjd->mij", edges, edges)
    with np.errstate(all="ignore"):
        rest = np.einsum("mid,md->mi", edges, p - x[:, 0])
        if edges.shape[1] == 1:
            weights = rest / gram[:, 0]
        else:
            determinant = gram[:, 0, 0] * gram[:, 1, 1] - gram[:, 0, 1] ** 2
            weights = np.stack(
                [
                    (gram[:, 1, 1] * rest[:, 0] - gram[:, 0, 1] * rest[:, 1]) / determinant,
                    (gram[:, 0, 0] * rest[:, 1] - gram[:, 0, 1] * rest[:, 0]) / determinant,
                ],
                axis=1,
            )
    weights = np.concatenate([1.0 - weights.sum(axis=1, keepdims=True), weights], axis=1)
    distance = np.linalg.norm(np.einsum("mk,mkd->md", weights, x) - p, axis=1)
    size = np.sqrt(np.einsum("mii->mi", gram).max(axis=1, initial=0.0))
    tolerance = np.maximum(SMALLEST * size, 4 * np.finfo(float).eps * np.abs(p).max(axis=1, initial=0.0))
    margin = tolerance / np.where(size > 0, size, 1.0)
    within = np.all(weights >= -margin[:, None], axis=1) & np.all(weights < 1.0 - 2.0 * margin[:, None], axis=1)
    return within & (distance <= tolerance)
