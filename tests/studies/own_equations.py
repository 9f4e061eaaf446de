# SPDX-License-Identifier: MIT
"""Equations and networks that no case file made: meshes of dolfinx, own kernels, activations, biases and states.

Also the dense matrices that NumPy needs to answer the same questions by itself, on one process.
"""

from __future__ import annotations

import numpy as np
import ufl
from dolfinx import mesh as dmesh
from mpi4py import MPI
from optima import ALPHA, HORIZON, MU, RHO

import fem_selection as fs

SWING = fs.Activation(name="swing", expression=lambda s: ufl.sin(s) + 0.2 * ufl.sin(2 * s))
"""Slope 1.4 at its zero 0 and -0.6 at its zero π."""

SHIFTED = fs.Activation(name="shifted", expression=lambda s: s / ufl.sqrt(1 + s * s) - 0.3)
"""One zero, at 0.3 / √0.91, of slope 0.91^(3/2)."""

RESTLESS = fs.Activation(name="restless", expression=lambda s: 1.5 + ufl.sin(s))
"""No zero at all."""

START = 1.0
"""Initial state of the one neuron, whose optimum is known in closed form (`optima`)."""


def make_parallelogram(comm: MPI.Intracomm, cells: int) -> fs.StateSpace:
    """P1 on triangles of the unit square, sheared: |Y| is 1 still."""
    mesh = dmesh.create_unit_square(comm, cells, cells, dmesh.CellType.triangle)
    mesh.geometry.x[:, 0] += 0.3 * mesh.geometry.x[:, 1]
    return fs.StateSpace(fs.from_mesh(mesh, "parallelogram"), degree=1)


def make_bent_interval(comm: MPI.Intracomm, cells: int) -> fs.StateSpace:
    """P1 on an interval of uneven cells, from 0 to 1."""
    mesh = dmesh.create_interval(comm, cells, (0.0, 1.0))
    mesh.geometry.x[:, 0] **= 1.5
    return fs.StateSpace(fs.from_mesh(mesh, "bent interval"), degree=1)


def swing_kernel(t, y, z):
    """A kernel of rank three that is not symmetric."""
    return 3.0 * np.cos(2.0 * (y[0] - z[0])) - 2.0 * y[0] * z[1]


def make_swing(comm: MPI.Intracomm, cells: int = 6) -> tuple[fs.SelectionField, np.ndarray]:
    """σ(K f + b) with a steady state f*: K f* + b is 0 on one side of y_0 = 0.71, and π on the other."""
    space = make_parallelogram(comm, cells)
    kernel = fs.DenseKernel.interpolate(space, swing_kernel, fs.DepthGrid(layers=1))
    y = space.coordinates
    state = np.cos(2 * y[:, 0]) - y[:, 1]
    moved = space.create_block(1)
    kernel.apply(0, np.asfortranarray(state[:, None]), moved)
    bias = np.where(y[:, 0] > 0.71, np.pi, 0.0) - moved[:, 0]
    return fs.SelectionField(space, kernel, bias, activation=SWING), state


def make_mean_field(comm: MPI.Intracomm):
    """w = 1 and σ(s) = tanh(μ s) − s as a function of μ, and the state 0, on |Y| = 1."""
    space = make_parallelogram(comm, 2)
    kernel, bias = (
        fs.SeparableKernel.interpolate(space, [(1.0, 1.0)], fs.DepthGrid(layers=1)),
        np.zeros(space.num_local),
    )
    shapes = fs.ActivationFamily(lambda s, mu: ufl.tanh(mu * s) - s, ("mu",))

    def family(mu: float) -> fs.SelectionField:
        return fs.SelectionField(space, kernel, bias, activation=shapes.at("tanh(μ s) − s", {"mu": mu}))

    return family, np.zeros(space.num_local)


def make_network(activation: fs.Activation, comm: MPI.Intracomm, layers: int = 3) -> fs.LearningProblem:
    """Five samples that Euler layers of the kernel (1 + t)(1 + 2 y z) carry towards 0, the samples over the ranks."""
    ensemble = fs.Ensemble(comm)
    space = make_bent_interval(ensemble.space_comm, 6)
    grid = fs.DepthGrid(layers=layers, horizon=0.9)
    kernel = fs.DenseKernel.interpolate(space, lambda t, y, z: (1 + t) * (1 + 2 * y[0] * z[0]), grid)
    bias = np.zeros((layers, space.num_local))
    stepper = fs.Stepper(space, kernel, bias, activation=activation, scheme=fs.find_scheme("euler"), grid=grid)
    control_space = fs.ControlSpace(ensemble, space, kernel, grid=grid, num_outputs=0, parts=("kernel", "bias"))
    mine = ensemble.samples(5)
    numbers = np.arange(mine.start, mine.stop)
    initial = np.asfortranarray(np.cos(3 * space.coordinates[:, :1] + numbers) - 0.2 * numbers)
    cost, zero = fs.TrackingCost(space=space), np.zeros_like(initial)
    penalty = fs.Regularization(kernel=0.1, bias=0.1)
    return fs.LearningProblem.from_functional(
        fs.Functional(
            control_space, stepper, cost, initial=initial, targets=zero, num_samples=5, regularization=penalty
        )
    )


def make_neuron(comm: MPI.Intracomm) -> fs.LearningProblem:
    """One cell, one sample, σ(s) = s: ∂_t f = w f + b from START towards RHO."""
    ensemble = fs.Ensemble(comm)
    mesh = dmesh.create_interval(ensemble.space_comm, 1, (2.0, 3.0))
    space = fs.StateSpace(fs.from_mesh(mesh, "one cell"), degree=0, family="dg")
    grid = fs.DepthGrid(layers=16, horizon=HORIZON)
    kernel, bias = fs.DenseKernel(space, 16), np.zeros((16, space.num_local))
    straight = fs.Activation(name="straight", expression=lambda s: s)
    stepper = fs.Stepper(space, kernel, bias, activation=straight, scheme=fs.find_scheme("midpoint"), grid=grid)
    control_space = fs.ControlSpace(ensemble, space, kernel, grid=grid, num_outputs=0, parts=("kernel", "bias"))
    one = np.ones((space.num_local, 1), order="F")[:, ensemble.samples(1)]
    penalty = fs.Regularization(kernel=ALPHA, bias=ALPHA)
    functional = fs.Functional(
        control_space,
        stepper,
        fs.TrackingCost(space=space),
        initial=START * one,
        targets=RHO * one,
        num_samples=1,
        regularization=penalty,
        weight=MU,
    )
    return fs.LearningProblem.from_functional(functional)


# ── by NumPy ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def dense_operator(space: fs.StateSpace, kernel, time: float = 0.0) -> np.ndarray:
    """The matrix of K on one process: w(y_i, y_k) times the nodal weights."""
    y = space.coordinates.T
    return np.broadcast_to(kernel(time, y[:, :, None], y[:, None, :]), (space.num_nodes,) * 2) * space.weights


def slope(activation: fs.Activation, g: np.ndarray) -> np.ndarray:
    """σ' by central differences."""
    values = []
    for side in (1.0, -1.0):
        at, value = np.asfortranarray(g + side * 1e-5), np.empty_like(g, order="F")
        activation.value(at, value)
        values.append(value)
    return (values[0] - values[1]) / 2e-5


def leading(matrix: np.ndarray, number: int) -> np.ndarray:
    """The eigenvalues of largest real part, in decreasing order."""
    values = np.linalg.eigvals(matrix)
    return values[np.argsort(-values.real)][:number]


def exponents_of_euler(space, operators, biases, activation, state, step) -> np.ndarray:
    """log of the singular values in L² of the product of the layers' tangents, over the depth, decreasing."""
    product = np.eye(space.num_nodes)
    for operator, bias in zip(operators, biases, strict=True):
        g = np.asfortranarray(operator @ state + bias)
        value = np.empty_like(g)
        activation.value(g, value)
        product = product + step * slope(activation, g)[:, None] * (operator @ product)
        state = state + step * value
    root = np.sqrt(space.weights)
    values = np.linalg.svd(root[:, None] * product / root, compute_uv=False)
    return np.log(values) / (step * len(operators))
