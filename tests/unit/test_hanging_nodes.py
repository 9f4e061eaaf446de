# SPDX-License-Identifier: MIT
"""Corners of small cells inside the sides of large ones, which are told with the node and the cell."""

from __future__ import annotations

import basix
import basix.ufl
import numpy as np
import pytest
from dolfinx import mesh as dmesh
from mpi4py import MPI

from fem_selection.discretization.meshes.conformity import examine
from fem_selection.discretization.meshes.domains import from_mesh

TURN = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]


def two_parts(cell: str, coarse: int, fine: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and cells of two squares or cubes side by side, with so many cells along each edge; equal points are one.

    The cells of dolfinx's own meshes, in its order.
    """
    kind = dmesh.CellType[cell]
    d = 2 if cell in ("triangle", "quadrilateral") else 3
    points, cells, count = [], [], 0
    for shift, n in ((0.0, coarse), (1.0, fine)):
        corners = [np.zeros(d), np.ones(d)]
        create = dmesh.create_rectangle if d == 2 else dmesh.create_box
        made = create(MPI.COMM_SELF, corners, [n] * d, kind)
        x = made.geometry.x[:, :d].copy()
        x[:, 0] += shift
        points.append(x)
        cells.append(made.geometry.dofmaps[0] + count)
        count += len(x)
    merged, index = np.unique(np.round(np.concatenate(points), 12), axis=0, return_inverse=True)
    return merged, index.ravel()[np.concatenate(cells)]


def doubts_about(points: np.ndarray, cells: np.ndarray, cell: str) -> str:
    """What is said of a mesh of straight cells."""
    element = basix.ufl.element("Lagrange", cell, 1)
    found = examine(element, cells, points, cell_numbers=np.arange(len(cells)), point_numbers=np.arange(len(points)))
    assert not found.faults, found.faults
    return "; ".join(found.doubts)


@pytest.mark.parametrize("cell", ["triangle", "quadrilateral", "tetrahedron", "hexahedron"])
@pytest.mark.parametrize("place", ["here", "turned", "far"])
def test_every_hanging_node_is_found(cell, place):
    """Fails if a node inside an edge or a face is missed, on cells of any shape, wherever they lie, or if one of the
    common corners is told: of two cells along each edge against four, the nodes with an odd number hang."""
    points, cells = two_parts(cell, 2, 4)
    d = points.shape[1]
    middle = points[np.abs(points[:, 0] - 1.0) < 1e-9]
    hanging = int(np.sum(np.any(np.round(4 * middle[:, 1:]) % 2 == 1, axis=1)))
    first = next(k for k, x in enumerate(points) if abs(x[0] - 1) < 1e-9 and np.any(np.round(4 * x[1:]) % 2 == 1))
    if place == "turned":
        points = points @ (TURN if d == 3 else np.linalg.qr(TURN[:2, :2])[0])
    elif place == "far":
        points = points + 1e3
    told = doubts_about(points, cells, cell)
    assert told.startswith(f"nodes hang: they lie on the side of a cell that has no node there, {first} at (")
    assert told.count(" on a side of cell ") == min(hanging, 3)
    assert (f"and {hanging - 3} more" in told) == (hanging > 3)


@pytest.mark.parametrize("cell", ["triangle", "quadrilateral", "tetrahedron", "hexahedron"])
def test_a_mesh_that_conforms_has_none(cell):
    """Fails if nodes of neighbours, or of the boundary of a mesh without fault, count as hanging."""
    assert doubts_about(*two_parts(cell, 3, 3), cell) == ""


def test_a_hanging_node_is_told_of_a_mesh_that_is_given():
    """Fails if a domain with a hanging node is made without a warning."""
    points, cells = two_parts("triangle", 1, 2)
    element = basix.ufl.element("Lagrange", "triangle", 1, shape=(2,))
    made = dmesh.create_mesh(MPI.COMM_SELF, cells, element, points)
    with pytest.warns(UserWarning, match=r"nodes hang: .* at \(1, 0\.5\) on a side of cell"):
        assert any("nodes hang" in doubt for doubt in from_mesh(made).doubts)
