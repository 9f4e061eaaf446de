# SPDX-License-Identifier: MIT
"""Counts, seeds and labels as users have them: NumPy's integers are taken, everything else is refused by name."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from mpi4py import MPI

import fem_selection as fs

COMM = MPI.COMM_SELF
ENSEMBLE = fs.Ensemble(COMM)
LINE = fs.interval(COMM, cells=4)
SPACE = fs.StateSpace(LINE)
ONCE = fs.DepthGrid(layers=1)
TANH, EULER = fs.find_activation("tanh"), fs.find_scheme("euler")
MEAN = fs.SeparableKernel.interpolate(SPACE, [(1.0, 1.0)], ONCE)
DENSE = fs.DenseKernel.interpolate(SPACE, lambda t, y, z: y[0] * z[0], ONCE)
ONE = np.ones((SPACE.num_local, 1))
LAYERS = fs.Stepper(
    SPACE,
    MEAN,
    np.zeros((1, SPACE.num_local)),
    activation=TANH,
    scheme=EULER,
    grid=fs.DepthGrid(layers=4, intervals=1),
)
POINT = fs.StateSpace(fs.interval(COMM, cells=1), degree=0, family="dg")


def functional(**changed):
    """One neuron with one sample, f' = b, and the target 1."""
    grid = fs.DepthGrid(layers=2)
    kernel = fs.DenseKernel(POINT, 2)
    layers = fs.Stepper(POINT, kernel, np.zeros((2, 1)), activation=TANH, scheme=EULER, grid=grid)
    controls = fs.ControlSpace(ENSEMBLE, POINT, kernel, grid=grid, num_outputs=0, parts=("bias",))
    given = {"num_samples": 1, "regularization": fs.Regularization(kernel=1.0, bias=1.0)} | changed
    return fs.Functional(
        controls, layers, fs.TrackingCost(space=POINT), initial=np.zeros((1, 1)), targets=np.ones((1, 1)), **given
    )


PROBLEM = fs.LearningProblem.from_functional(functional())
SCALED, START, ZERO = PROBLEM.scaled_functional, PROBLEM.scaled_start, np.zeros(2)
NO_STEP = fs.OptimizerSettings(max_iterations=0)
ADAM = fs.StochasticSettings(epochs=1, batch=1)

ENTRIES = {
    "interval": lambda n: fs.interval(COMM, cells=n),
    "rectangle": lambda n: fs.rectangle(COMM, (2, n)),
    "box": lambda n: fs.box(COMM, (1, n, 1)),
    "degree": lambda n: fs.StateSpace(LINE, degree=n),
    "quadrature": lambda n: fs.StateSpace(LINE, 1, mode="galerkin", quadrature_degree=n),
    "layers": lambda n: fs.DepthGrid(layers=n),
    "dense": lambda n: fs.DenseKernel(SPACE, n),
    "random": lambda n: fs.DenseKernel.random(SPACE, 1, 0.1, seed=n),
    "separable": lambda n: fs.SeparableKernel(SPACE, 1, n),
    "local": lambda n: fs.LocalKernel(SPACE, n),
    "compress": lambda n: DENSE.compress(rank=n),
    "samples": ENSEMBLE.samples,
    "block": SPACE.create_block,
    "tape": LAYERS.tape,
    "outputs": lambda n: fs.ReadoutCost(space=POINT, loss=fs.find_loss("softmax"), num_outputs=n),
    "block of J": lambda n: functional(block=n),
    "batches": PROBLEM.batches,
    "hold_out": lambda n: PROBLEM.hold_out(0.2, n),
    "verify_gradient": lambda n: fs.verify_gradient(PROBLEM.functional, ZERO, n),
    "max_samples": lambda n: fs.verify_gradient(PROBLEM.functional, ZERO, max_samples=n),
    "checkpoints": lambda n: fs.minimize(SCALED, START, NO_STEP, checkpoint_every=n),
    "descend": lambda n: fs.optimize.descend(SCALED, START, ADAM, source=PROBLEM.batches(1), seed=n),
    "train": lambda n: fs.studies.train(PROBLEM, NO_STEP, seed=n),
    "starts": lambda n: fs.studies.train(PROBLEM, NO_STEP, starts=n),
    "random_start": lambda n: fs.learning.random_start(SCALED, START, n),
    "search": lambda n: fs.adjoint.Search(starts=n),
    "grid": lambda n: fs.hjb.Grid.uniform([0.0], [1.0], n),
    "grid's list": lambda n: fs.hjb.Grid(lower=(0.0,), upper=(1.0,), cells=(n,)),
    "exponents": lambda n: fs.steady.finite_time_exponents(LAYERS, ONE, n),
    "keep": lambda n: fs.solve_forward(LAYERS, ONE, keep=[n]),
}
ALLOWED = {"quadrature": None, "compress": None, "checkpoints": None, "grid": [2]}


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_count_or_a_seed_is_a_whole_number(entry):
    """Fails if a raw TypeError comes from deep inside, or 2.5 cells are cut to 2 and a seed of None draws at random."""
    ENTRIES[entry](np.int64(2))
    for value in (2.5, 2.0, True, "2", None, [2], float("nan"), Fraction(5, 2), 2 + 0j):
        if value != ALLOWED.get(entry, ()):
            with pytest.raises(fs.InvalidInput, match=r"whole number|numbers|real number"):
                ENTRIES[entry](value)


NUMBERS = {
    "horizon": lambda x: fs.DepthGrid(layers=2, horizon=x),
    "stage_nodes": lambda x: fs.DepthGrid(layers=2, stage_nodes=(x,)),
    "upper": lambda x: fs.interval(COMM, cells=2, upper=x),
    "upper of the rectangle": lambda x: fs.rectangle(COMM, (2, 2), upper=(1.0, x)),
    "grading": lambda x: fs.interval(COMM, cells=2, grading=x),
    "kernel": lambda x: fs.DenseKernel.interpolate(SPACE, x, ONCE),
    "coefficient": lambda x: fs.function_values(SPACE, x),
    "scale": lambda x: fs.DenseKernel.random(SPACE, 1, x, seed=0),
    "scale of factors": lambda x: fs.SeparableKernel.random(SPACE, 1, 1, scale=x, seed=0),
    "length": lambda x: fs.LocalKernel(SPACE, 1, length=x),
    "tolerance": lambda x: DENSE.compress(tolerance=x),
    "singularity": lambda x: fs.DenseKernel.interpolate(SPACE, 1.0, ONCE, singularity=x),
    "box of states": lambda x: fs.hjb.Grid.uniform([0.0], [x], 2),
    "weight": lambda x: functional(weight=x),
}


@pytest.mark.parametrize("entry", NUMBERS)
def test_a_truth_value_is_no_number(entry):
    """Fails if True is taken for 1 where a single number is asked for, so that a mistaken argument passes."""
    NUMBERS[entry](np.float32(0.5))
    for value in (True, np.True_):
        with pytest.raises(fs.InvalidInput, match=r"expected (a )?number|numbers"):
            NUMBERS[entry](value)


@pytest.mark.parametrize("value", [1.5, 1.0, True, "1", None])
def test_ranks_and_samples_are_counted_by_whole_numbers(value):
    """Fails if True is one rank, or 1.0 samples."""
    for call in (lambda: fs.Ensemble(COMM, value), lambda: functional(num_samples=value)):
        with pytest.raises(fs.InvalidInput, match="expected a whole number"):
            call()


def test_a_seed_may_be_of_numpy():
    """Fails if the remainder of a NumPy integer by 2^63 overflows, or the numbers depend on the type of the seed."""
    first, second = (fs.DenseKernel.random(SPACE, 1, 0.1, seed=seed).parameters() for seed in (3, np.int64(3)))
    assert np.array_equal(first, second)


def test_kept_layer_boundaries_have_their_own_times():
    """Fails if boundaries given out of order get each other's times, or a generator is used up by the sweep."""
    everything = fs.solve_forward(LAYERS, ONE)
    for keep in ([4, 0, 4], (n for n in (4, 0)), np.array([4, 0])):
        kept = fs.solve_forward(LAYERS, ONE, keep=keep)
        assert kept.times.tolist() == [0.0, 1.0] and len(kept.states) == 2
        assert np.array_equal(kept.final, everything.final) and np.array_equal(kept.states[0], ONE)
    with pytest.raises(fs.InvalidInput, match="the layer boundaries are 0 to 4"):
        fs.solve_forward(LAYERS, ONE, keep=[5])


def classifier(labels, classes=("left", "right")):
    """Four samples with two outputs."""
    states, targets = np.array([[-1.0, 1.0, -2.0, 2.0]]), np.eye(2)[:, [0, 1, 0, 1]]
    grid, kernel = fs.DepthGrid(layers=1), fs.DenseKernel(POINT, 1)
    layers = fs.Stepper(POINT, kernel, np.zeros((1, 1)), activation=TANH, scheme=EULER, grid=grid)
    cost = fs.ReadoutCost(space=POINT, loss=fs.find_loss("softmax"), num_outputs=2)
    controls = fs.ControlSpace(ENSEMBLE, POINT, kernel, grid=grid, num_outputs=2)
    made = fs.Functional(
        controls,
        layers,
        cost,
        initial=states,
        targets=targets,
        num_samples=4,
        regularization=fs.Regularization(),
    )
    return fs.LearningProblem.from_functional(made, labels=labels, classes=classes)


@pytest.mark.parametrize(
    "labels", [[0, 1, 0, 1], np.array([0.0, 1, 0, 1], np.float32), np.array([0, 1, 0, 1], np.int8)]
)
def test_labels_of_any_whole_type_are_classes(labels):
    """Fails if a list of labels, or labels as real numbers, end in a TypeError where the accuracy is counted."""
    problem = classifier(labels)
    assert problem.train.labels.dtype == np.int64
    assert problem.accuracy(problem.train, np.zeros(problem.functional.control_space.local_size)) == 0.5


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 1, 0], r"labels of shape \(3,\): expected \(4,\)"),
        ([0, 1, 0, 2], "whole numbers from 0 to 1, got 2"),
        ([0, 1, 0, -1], "whole numbers from 0 to 1, got -1"),
        ([0, 1, 0, 0.5], "whole numbers from 0 to 1, got 0.5"),
        ([0, 1, 0, np.nan], "whole numbers from 0 to 1, got nan"),
        (["l", "r", "l", "r"], "labels: expected an array of real numbers"),
    ],
)
def test_other_labels_are_refused(labels, words):
    """Fails if −1 counts for the last class, or a label beyond the outputs ends in an IndexError after training."""
    with pytest.raises(fs.InvalidInput, match=words):
        classifier(labels)


@pytest.mark.parametrize("classes", ["lr", 5, None, iter(["left", "right"])])
def test_classes_are_listed(classes):
    """Fails if a text counts for its letters, or a raw TypeError says that something has no len()."""
    with pytest.raises(fs.InvalidInput, match="expected a list or an array of names or numbers"):
        classifier([0, 1, 0, 1], classes)
