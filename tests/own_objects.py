# SPDX-License-Identifier: MIT
"""Equations that no case file made: a mesh, kernels, activations and initial states of one's own, and dense matrices.

The domain is a quarter of the ring 1 < |y| < 2, whose triangles are those of a rectangle moved by a formula.  With
linear elements in collocated mode K is the matrix W diag(ω), W_ij = w(y_i, y_j), and the weight ω_i of a node is a
third of the area of the triangles around it: all of that is here once more in NumPy, from coordinates and triangles.
"""

from __future__ import annotations

import dolfinx.mesh
import numpy as np
import ufl
from mpi4py import MPI

import fem_selection as fs

__all__ = [
    "bounded_field",
    "bounded_rate",
    "double_well_field",
    "node_weights",
    "ring",
    "shifted_field",
    "shifted_rate",
    "states",
]

_AT_ONE_TIME = fs.DepthGrid(layers=1, horizon=1.0, stage_nodes=(0.0,))


def ring(comm: MPI.Intracomm, cells: int = 4) -> fs.StateSpace:
    """Linear elements on the quarter ring, `cells` times twice as many rectangles cut in two."""
    corners = np.array([[1.0, 0.0], [2.0, np.pi / 2]])
    mesh = dolfinx.mesh.create_rectangle(comm, corners, [cells, 2 * cells], dolfinx.mesh.CellType.triangle)
    radius, angle = mesh.geometry.x[:, 0].copy(), mesh.geometry.x[:, 1].copy()
    mesh.geometry.x[:, 0], mesh.geometry.x[:, 1] = radius * np.cos(angle), radius * np.sin(angle)
    return fs.StateSpace(fs.from_mesh(mesh, "ring"), degree=1)


def states(space: fs.StateSpace) -> np.ndarray:
    """Two initial states."""
    y = space.coordinates.T
    return np.asfortranarray(np.column_stack([np.cos(3 * y[0]) - y[1], 0.5 * y[0] * y[1] + 0.2]))


def bounded_field(space: fs.StateSpace) -> fs.SelectionField:
    """σ(s) = s / (1 + s²), w(y, z) = y₀ z₁ − exp(−|y − z|²) in UFL, b(y) = y₀ / 4."""
    kernel = fs.DenseKernel.interpolate(
        space, fs.UflKernel(expression=lambda t, y, z: y[0] * z[1] - ufl.exp(-ufl.dot(y - z, y - z))), _AT_ONE_TIME
    )
    activation = fs.Activation(name="bounded", expression=lambda s: s / (1 + s**2))
    return fs.SelectionField(space, kernel, 0.25 * space.coordinates[:, 0], activation=activation)


def bounded_rate(places: np.ndarray, weights: np.ndarray):
    """The right-hand side of `bounded_field` in NumPy, on columns, and its matrix K."""
    away = places[:, None] - places[None]
    matrix = (places[:, :1] * places[:, 1] - np.exp(-np.sum(away**2, axis=2))) * weights

    def rate(f: np.ndarray) -> np.ndarray:
        g = matrix @ f + 0.25 * places[:, :1]
        return g / (1 + g**2)

    return rate, matrix


def shifted_field(space: fs.StateSpace) -> fs.SelectionField:
    """σ(s) = tanh s − ¼, which has one zero; K f = −f + ∫ y₁ z₀ f(z) dz / 10, which is regular; b = y₁."""
    kernel = fs.LocalKernel.interpolate(space, {"multiplication": -1.0}, _AT_ONE_TIME) + fs.DenseKernel.interpolate(
        space, lambda t, y, z: 0.1 * y[1] * z[0], _AT_ONE_TIME
    )
    activation = fs.Activation(name="shifted", expression=lambda s: ufl.tanh(s) - 0.25)
    return fs.SelectionField(space, kernel, space.coordinates[:, 1].copy(), activation=activation)


def shifted_rate(places: np.ndarray, weights: np.ndarray):
    """The right-hand side of `shifted_field` in NumPy, on one vector, and its matrix K."""
    matrix = -np.eye(len(places)) + 0.1 * places[:, 1:] * places[:, 0] * weights
    return lambda f: np.tanh(matrix @ f + places[:, 1]) - 0.25, matrix


def double_well_field(space: fs.StateSpace) -> fs.SelectionField:
    """σ(s) = s − s³, K f = ∫ f, b = 0: the mean field ∫ f goes to 1 or −1 and f moves by a constant."""
    kernel = fs.DenseKernel.interpolate(space, 1.0, _AT_ONE_TIME)
    activation = fs.Activation(name="double well", expression=lambda s: s - s**3)
    return fs.SelectionField(space, kernel, np.zeros(space.num_local), activation=activation)


def node_weights(places: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """A third of the area of the triangles around each node."""
    a, b, c = (places[triangles[:, k]] for k in range(3))
    areas = 0.5 * np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])
    return np.bincount(triangles.ravel(), np.repeat(areas / 3, 3), minlength=len(places))
