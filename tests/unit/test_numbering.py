# SPDX-License-Identifier: MIT
"""The canonical numbering and the random numbers that follow it; several ranks are in `tests/parallel`."""

from __future__ import annotations

import numpy as np
import pytest
from dolfinx import mesh
from mpi4py import MPI

from fem_selection.discretization.elements import create_element
from fem_selection.discretization.meshes import domains
from fem_selection.discretization.numbering import canonical_numbering, hashed_normal
from fem_selection.discretization.spaces import StateSpace


@pytest.mark.parametrize("key", [("interval", 4, 3), ("quadrilateral", 3, 2), ("triangle", 2, 3)])
def test_numbering_is_a_permutation(spaces, key):
    """Fails if two nodes get one number, for instance when a node shared by cells keeps two keys."""
    space = spaces(*key, "galerkin")
    np.testing.assert_array_equal(np.sort(canonical_numbering(space.V)), np.arange(space.num_nodes))


def test_numbering_follows_the_input_cells():
    """Fails if nodes are numbered by dolfinx's reordered cells instead of the input's: by hand for three quadratic
    cells given in the order right, left, middle."""
    points = np.array([[0.0], [1.0], [2.0], [3.0]])
    cells = np.array([[2, 3], [0, 1], [1, 2]])
    own = mesh.create_mesh(MPI.COMM_SELF, cells, create_element("interval", "lagrange", 1, shape=(1,)), points)
    space = StateSpace(domains.from_mesh(own), 2)
    np.testing.assert_allclose(space.gather(space.coordinates)[:, 0], [2, 3, 2.5, 0, 1, 0.5, 1.5])


@pytest.mark.parametrize("dimension", [1, 2])
def test_a_submesh_is_numbered_by_midpoints(dimension):
    """Fails if a mesh without input indices, a subdomain or a boundary of dimension one less, is not accepted."""
    square = mesh.create_unit_square(MPI.COMM_SELF, 4, 4)
    cells = mesh.locate_entities(square, dimension, lambda x: (x[0] <= 0.5) | (x[1] <= 0.5))
    space = StateSpace(domains.from_mesh(mesh.create_submesh(square, dimension, cells)[0]), 1)
    np.testing.assert_array_equal(np.sort(canonical_numbering(space.V)), np.arange(space.num_nodes))
    ordered = space.gather(space.coordinates)
    assert ordered[:3, 1].max() <= 0.25 and ordered[-1, 1] >= 0.75, "the first cells are the lowest"


def test_hashed_normal_is_a_function_of_seed_and_indices():
    """Fails if a number depends on the shape or the order in which it is asked for."""
    i, k = np.arange(5)[:, None], np.arange(7)[None, :]
    everything = hashed_normal(3, i, k)
    assert everything.shape == (5, 7)
    np.testing.assert_array_equal(hashed_normal(3, i[::-1], k), everything[::-1])
    assert hashed_normal(3, np.array(2), np.array(6)) == everything[2, 6]
    assert not np.any(hashed_normal(4, i, k) == everything)
    exchanged = hashed_normal(3, k, i)[:5, :5] == everything[:5, :5]
    np.testing.assert_array_equal(exchanged, np.eye(5, dtype=bool))


def test_hashed_normal_is_normal():
    """Fails if the numbers are not standard normal and independent: moments of 40,000 within 5 standard errors."""
    x = hashed_normal(11, np.arange(40_000))
    assert abs(x.mean()) < 5 / 200
    assert abs(x.var() - 1) < 5 * np.sqrt(2) / 200
    assert abs((x**3).mean()) < 5 * np.sqrt(15) / 200
    assert abs((x**4).mean() - 3) < 5 * np.sqrt(96) / 200
    assert abs((x[1:] * x[:-1]).mean()) < 5 / 200
    assert abs((x * hashed_normal(12, np.arange(40_000))).mean()) < 5 / 200
    assert np.all(np.isfinite(x))


def test_hashed_normal_never_changes():
    """Fails if the hash is changed: start values of a seed, and with them published results, would change."""
    first = hashed_normal(0, np.arange(3))
    np.testing.assert_allclose(first, GOLDEN, rtol=1e-14)


GOLDEN = [-2.3172997516292426, -0.10351018951499424, 0.8868332225418383]
