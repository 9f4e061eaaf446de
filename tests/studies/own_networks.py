# SPDX-License-Identifier: MIT
"""A network that no case file made, three classes of a user's own states on a user's own mesh, and NumPy's answers.

    f_{n+1} = f_n + Δt σ(W_n f_n + b_n),   σ(s) = s − s³/9,   o = ⟨c, f_L⟩ + μ

W_n has the entries w_n(y_i, y_k) m_k with the nodal weights m.
"""

from __future__ import annotations

import numpy as np
from mpi4py import MPI
from own_equations import make_parallelogram

import fem_selection as fs

CUBIC = fs.Activation(name="cubic", expression=lambda s: s - s**3 / 9)
CLASSES = ("ant", "bee", "cow")
ALPHA = {"kernel": 1e-2, "bias": 2e-2, "readout": 3e-2}
TRAIN, TEST = 15, 7


def own_states(space: fs.StateSpace, numbers: np.ndarray) -> np.ndarray:
    """Waves of three lengths, one for each class, at places that differ from sample to sample."""
    y, place = space.coordinates, np.sin(5.0 * numbers)
    waves = np.cos((1.0 + numbers % 3) * 2.0 * (y[:, :1] - place)) + 0.3 * y[:, 1:2] * place
    return np.asfortranarray(waves)


def own_kernel(t, y, z):
    """The kernel that the training starts from."""
    return 0.3 * np.cos(y[0] - z[1]) + 0.2 * t


def own_targets(labels: np.ndarray) -> np.ndarray:
    """One of each class, shape (3, samples)."""
    return np.asfortranarray(np.eye(3)[:, labels])


def make_classifier(
    comm: MPI.Intracomm,
    space_ranks: int = 1,
    *,
    activation: fs.Activation = CUBIC,
    cells: int = 2,
    shift: int = 0,
    horizon: float = 1.0,
    parts: tuple[str, ...] = ("kernel", "bias", "readout"),
    with_test: bool = True,
    **further,
) -> fs.LearningProblem:
    """Fifteen samples to learn from and seven to test on.

    Args:
        comm: The ranks.
        space_ranks: How many of them share a mesh.
        activation: σ.
        cells: Of the mesh, in both directions.
        shift: Of the samples' numbers.
        horizon: The depth.
        parts: What is optimized.
        with_test: Whether there is a test part.
        further: Arguments of `LearningProblem.from_functional`.
    """
    ensemble = fs.Ensemble(comm, space_ranks)
    space = make_parallelogram(ensemble.space_comm, cells)
    grid = fs.DepthGrid(layers=2, horizon=horizon)
    kernel = fs.DenseKernel.interpolate(space, own_kernel, grid)
    bias = np.tile(0.1 * space.coordinates[:, 0], (2, 1))
    stepper = fs.Stepper(space, kernel, bias, activation=activation, scheme=fs.find_scheme("euler"), grid=grid)
    cost = fs.ReadoutCost(space=space, loss=fs.find_loss("softmax"), num_outputs=3)
    control_space = fs.ControlSpace(ensemble, space, kernel, grid=grid, num_outputs=3, parts=parts)
    numbers = shift + np.arange(TRAIN + TEST)
    mine = numbers[:TRAIN][ensemble.samples(TRAIN)]
    functional = fs.Functional(
        control_space,
        stepper,
        cost,
        initial=own_states(space, mine),
        targets=own_targets(mine % 3),
        num_samples=TRAIN,
        regularization=fs.Regularization(**ALPHA),
    )
    last = numbers[TRAIN:]
    test = fs.SampleStates.from_states(own_states(space, last), own_targets(last % 3), last % 3)
    return fs.LearningProblem.from_functional(
        functional, labels=numbers[:TRAIN] % 3, classes=CLASSES, test=test if with_test else None, **further
    )


# ── by NumPy, on one process ──────────────────────────────────────────────────────────────────────────────────────────


def parts_of(problem: fs.LearningProblem, controls: np.ndarray) -> dict[str, np.ndarray]:
    """w of each layer with [n, i, k] = w_n(y_i, y_k), b of each layer, c of each output, μ."""
    control_space, n = problem.functional.control_space, problem.space.num_nodes
    found = control_space.unpack(control_space.gather(controls))
    return {
        "kernel": found["kernel"].reshape(-1, n, n).transpose(0, 2, 1),
        "bias": found["bias"].reshape(-1, n),
        "readout": found["readout"].reshape(-1, n),
        "offset": found["offset"],
    }


def numpy_outputs(problem: fs.LearningProblem, controls: np.ndarray, states: np.ndarray) -> np.ndarray:
    """The outputs by a loop over the layers, shape (samples, 3)."""
    p, m = parts_of(problem, controls), problem.space.weights
    x, step = states, problem.functional.stepper.grid.step
    for w, b in zip(p["kernel"], p["bias"], strict=True):
        s = (w * m) @ x + b[:, None]
        x = x + step * (s - s**3 / 9)
    return ((p["readout"] * m) @ x + p["offset"][:, None]).T


def numpy_objective(problem: fs.LearningProblem, controls: np.ndarray) -> float:
    """J by NumPy, on the training samples."""
    p, m = parts_of(problem, controls), problem.space.weights
    o = numpy_outputs(problem, controls, problem.train.states(np.arange(TRAIN), None))
    losses = np.log(np.exp(o).sum(axis=1)) - o[np.arange(TRAIN), problem.train.labels]
    length = problem.functional.stepper.grid.interval_length
    squares = {
        "kernel": length * np.einsum("nik,i,k->", p["kernel"] ** 2, m, m),
        "bias": length * np.sum(p["bias"] ** 2 * m),
        "readout": np.sum(p["readout"] ** 2 * m) + np.sum(p["offset"] ** 2),
    }
    return float(np.mean(losses) + 0.5 * sum(ALPHA[name] * square for name, square in squares.items()))
