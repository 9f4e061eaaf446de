# SPDX-License-Identifier: MIT
"""Arrays as users have them: converted where they enter, or refused in words; not changed, not kept by reference."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI

import fem_selection as fs
from fem_selection.errors import InvalidInput

GRID = fs.DepthGrid(layers=2, horizon=0.5)
TANH = fs.find_activation("tanh")


class Foreign:
    """An array of another library, which NumPy reads by `__array__`."""

    def __init__(self, array):
        self._array = array

    def __array__(self, dtype=None, copy=None):
        """The array as NumPy's."""
        return np.asarray(self._array, dtype=dtype)


def read_only(array):
    """A copy that refuses to be written into."""
    array = array.copy()
    array.flags.writeable = False
    return array


def strided(array):
    """The numbers in memory that has gaps."""
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]))
    wide[..., ::2] = array
    return wide[..., ::2]


FORMS = {
    "float32": lambda a: a.astype(np.float32),
    "float16": lambda a: a.astype(np.float16),
    "int": lambda a: a.astype(int),
    "int8": lambda a: a.astype(np.int8),
    "list": lambda a: a.tolist(),
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "gaps": strided,
    "read-only": read_only,
    "masked nowhere": np.ma.masked_array,
    "foreign": lambda a: Foreign(a.astype(np.float32)),
    "big-endian": lambda a: a.astype(">f8"),
}

REFUSED = {
    "complex": (lambda a: a + 1j, "complex128"),
    "objects": (lambda a: a.astype(object), "type object"),
    "text": (lambda a: a.astype(str), "type <U"),
    "masked": (lambda a: np.ma.masked_equal(a, a.flat[0]), "masked entries"),
    "None": (lambda a: None, r"got None|NumPy cannot read|object"),
    "ragged": (lambda a: [[1.0], [1.0, 2.0]], "NumPy cannot read"),
    "shape": (lambda a: np.ones((*a.shape, 2)), "shape"),
}


def space_of(mode):
    """Linear elements on three cells."""
    return fs.StateSpace(fs.interval(fs.Ensemble(MPI.COMM_SELF).space_comm, 3), mode=mode)


def functional_of(space, form=lambda a: a, *, num_samples=2):
    """A tracking problem all of whose arrays are whole numbers, given in some form."""
    kernel = fs.DenseKernel(space, 2)
    kernel.assign(form(np.arange(32.0) % 5 - 2))
    bias, initial = np.array([[1.0, 0, -1, 2], [0, 1, 1, -2]]), np.array([[1.0, 2], [0, -1], [3, 1], [1, 1]])
    stepper = fs.Stepper(
        space, kernel, form(bias), activation=TANH, scheme=fs.find_scheme("implicit_midpoint"), grid=GRID
    )
    controls = fs.ControlSpace(
        fs.Ensemble(MPI.COMM_SELF), space, kernel, grid=GRID, num_outputs=0, parts=("kernel", "bias")
    )
    return fs.Functional(
        controls,
        stepper,
        fs.TrackingCost(space=space),
        initial=form(initial),
        targets=form(-initial),
        num_samples=num_samples,
        regularization=fs.Regularization(),
    )


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
@pytest.mark.parametrize("name", FORMS)
def test_the_form_of_arrays_does_not_matter(name, mode):
    """Fails if float32, integers or a memory order change a gradient: they gave Taylor orders of 0.9 and 0.4."""
    space, form = space_of(mode), FORMS[name]
    plain, other = functional_of(space), functional_of(space, form)
    x = np.arange(plain.control_space.local_size) % 3 - 1.0
    value, dual = plain.evaluate(x)
    found, gradient = other.evaluate(form(x))
    assert found == value and gradient.dtype == np.float64
    np.testing.assert_array_equal(gradient, dual)
    np.testing.assert_array_equal(other.final_states(form(x)), plain.final_states(x))


@pytest.mark.parametrize("name", FORMS)
def test_fields_and_states_in_every_form(name):
    """Fails if the right-hand side, a forward solve or a study computes in another type than float64, or raises."""
    space, form = space_of("collocated"), FORMS[name]
    kernel = fs.DenseKernel.interpolate(space, lambda t, y, z: y[0] - z[0], fs.DepthGrid(layers=1))
    bias, f = np.array([1.0, 0, -1, 2]), np.array([[1.0, 2], [0, -1], [3, 1], [1, 1]])
    plain = fs.SelectionField(space, kernel, bias, activation=TANH)
    other = fs.SelectionField(space, kernel, form(bias), activation=TANH)
    for ask in (
        lambda field, states: field.rate(states),
        lambda field, states: field.linearize(states).apply(states),
        lambda field, states: field.linearize(states).apply_transpose(states),
        lambda field, states: fs.steady.KernelOperator(field.kernel).apply(np.asarray(states)),
        lambda field, states: space.norm(states),
        lambda field, states: space.inner(states, states),
        lambda field, states: fs.evolution.integrate(field, states, [0.0, 0.1]).final,
    ):
        found = ask(other, form(f))
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, ask(plain, f), rtol=1e-15, atol=1e-15)  # sums in another order
    one = fs.DepthGrid(layers=1)
    stepper = fs.Stepper(space, kernel, form(bias), activation=TANH, scheme=fs.find_scheme("euler"), grid=one)
    first = fs.solve_forward(stepper, form(f[:, 0])).final
    np.testing.assert_array_equal(first, fs.solve_forward(stepper, f[:, :1]).final)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_array_of_real_numbers_is_refused(name):
    """Fails if it is taken, in part or as NaN, or ends in an error of NumPy or BLAS."""
    space, (form, words) = space_of("collocated"), REFUSED[name]
    kernel = fs.DenseKernel(space, 1)
    field = fs.SelectionField(space, kernel, np.zeros(4), activation=TANH)
    f = np.ones((4, 2))
    functional = functional_of(space)
    x = np.zeros(functional.control_space.local_size)
    for ask in (
        lambda: fs.SelectionField(space, kernel, form(np.ones(4)), activation=TANH),
        lambda: functional_of(space, lambda a: form(a) if a.ndim == 2 else a),
        lambda: field.rate(form(f)),
        lambda: fs.evolution.integrate(field, form(f), [0.0, 1.0]),
        lambda: fs.studies.forward(field, form(f)),
        lambda: fs.studies.steady(field, form(f)),
        lambda: fs.solve_forward(functional.stepper, form(f)),
        lambda: fs.minimize(fs.ScaledFunctional(functional), form(x), fs.OptimizerSettings()),
        lambda: functional.evaluate(form(x)),
        lambda: fs.LearningProblem.from_functional(functional, start_controls=form(x) if name != "None" else [None]),
        lambda: fs.SampleStates.from_states(form(f)),
    ):
        with pytest.raises(InvalidInput, match=words):
            ask()
    if name != "shape":
        with pytest.raises(InvalidInput, match=words):
            kernel.assign(form(np.ones(16)))


def test_arrays_of_the_caller_are_neither_changed_nor_kept():
    """Fails if controls are written into the caller's bias, or a later change of an array changes the problem."""
    space, kept = space_of("collocated"), []

    def keep(array):
        kept.append(array)
        return array

    functional = functional_of(space, keep)
    before = [array.copy() for array in kept]
    x = np.ones(functional.control_space.local_size)
    value, _ = functional.evaluate(x)
    for array, old in zip(kept, before, strict=True):
        np.testing.assert_array_equal(array, old)
        array[...] = np.nan
    assert functional.evaluate(x)[0] == value
    bias = np.zeros(4)
    field = fs.SelectionField(space, fs.DenseKernel(space, 1), bias, activation=TANH)
    bias[:] = 1.0
    assert not field.rate(np.zeros((4, 1))).any()


def test_a_bias_that_is_refreshed_is_the_caller_s():
    """Fails if `refresh` writes into an array of which the field has a copy."""
    space, bias = space_of("collocated"), np.zeros(4)
    kernel = fs.DenseKernel(space, 1)
    field = fs.SelectionField(space, kernel, bias, activation=TANH, refresh=lambda t: bias.fill(t))
    field.move_to(1.0)
    assert field.rate(np.zeros((4, 1)))[0, 0] == pytest.approx(np.tanh(1.0))
    for given in (np.zeros(4, np.float32), [0.0] * 4):
        with pytest.raises(InvalidInput, match="must be an array of float64, not an"):
            fs.SelectionField(space, kernel, given, activation=TANH, refresh=lambda t: None)


@pytest.mark.parametrize("num_samples", [1, 3, 0])
def test_the_number_of_samples_is_counted(num_samples):
    """Fails if the mean is taken over another number than that of the samples."""
    with pytest.raises(InvalidInput, match=rf"num_samples = {num_samples}, but there are 2 initial states in all"):
        functional_of(space_of("collocated"), num_samples=num_samples)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_refused(bad):
    """Fails if NaN in the data shows only as an objective that is not finite."""
    with pytest.raises(InvalidInput, match="not finite"):
        functional_of(space_of("collocated"), lambda a: np.where(a == 3, bad, a))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"layers": 2.5}, "layers = 2.5: expected a whole number"),
        ({"layers": "4"}, "layers = '4': expected a whole number"),
        ({"layers": 4, "intervals": 2.0}, "intervals = 2.0: expected a whole number"),
        ({"layers": 4, "horizon": np.nan}, "positive and finite"),
        ({"layers": 4, "horizon": np.inf}, "positive and finite"),
        ({"layers": 4, "horizon": "1"}, "horizon = '1': expected a number"),
    ],
)
def test_grids_of_no_layers(arguments, words):
    """Fails if a grid is made of what is no number of layers, or the message does not say so."""
    with pytest.raises(InvalidInput, match=words):
        fs.DepthGrid(**arguments)
    assert fs.DepthGrid(layers=np.int32(4), horizon=np.float32(0.5)).step == 0.125
