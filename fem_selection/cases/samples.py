# SPDX-License-Identifier: MIT
"""The samples of a case: images, rows of numbers or formulas as initial states on Y, with their targets.

The targets of a learning problem are read with them; the equation alone needs the initial states only.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fem_selection import config, data
from fem_selection.cases.kernel import at_key, case_formula, require_finite
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import InvalidInput
from fem_selection.functions.formulas import coordinate_names
from fem_selection.learning import SampleStates
from fem_selection.objectives import encode_labels
from fem_selection.typing import Block, Floats, Integers

__all__ = [
    "format_of",
    "initial_states",
    "load_data",
    "samples_of_inputs",
    "states_of_formulas",
    "states_of_inputs",
    "states_of_samples",
]

_OF_LABELS = ("softmax", "logistic")  # losses that need labels


def load_data(case: config.Case, *, learning: bool = True) -> data.DataSet | None:
    """The samples of a case with their test part; None if formulas give the samples.

    Args:
        case: The case.
        learning: Whether the targets must be those of the case's loss.

    Raises:
        InvalidInput: if the data file has faults, or the samples cannot be split or standardized as the case says.
    """
    d = case.data
    if d.source == "formula":
        return None
    if d.source == "digits":
        dataset = data.DataSet(samples=data.load_digits_samples())
    else:
        assert d.file is not None
        labels = learning and case.objective.loss in _OF_LABELS
        dataset = data.load_npz(Path(d.file), d.shape, case.domain.dimension, labels=labels)
    if dataset.test is None and d.test_fraction > 0:
        with at_key("data.test_fraction"):
            dataset = data.split_samples(dataset.samples, d.test_fraction, case.seed)
    with at_key("data.standardize"):
        return dataset.standardized() if d.standardize else dataset


def format_of(case: config.Case, dataset: data.DataSet) -> data.SampleFormat:
    """The form of the samples of a case, which a run keeps for later predictions.

    Args:
        case: The case.
        dataset: What `load_data` returned.
    """
    samples, loss = dataset.samples, case.objective.loss
    if loss == "tracking":
        num_outputs = 0
    elif samples.has_labels:
        num_outputs = len(encode_labels(samples.targets[:1], samples.num_classes, loss))
    else:
        num_outputs = samples.targets.shape[1]
    return data.SampleFormat(
        grid=samples.grid,
        standardization=dataset.standardization,
        class_values=samples.class_values,
        num_outputs=num_outputs,
    )


def states_of_inputs(space: StateSpace, inputs: Floats, maps: data.AffineMaps | None, *, outside: float = 0.0) -> Block:
    """The initial states of images: nodal values of the functions that the images represent.

    Args:
        space: The state space.
        inputs: The images, shape (num_samples, *grid).
        maps: The maps that move the images; None to leave them.
        outside: Value of a moved image outside of its frame.

    Returns:
        Nodal values, shape (num_local, num_samples).
    """
    return data.image_states(inputs, space.coordinates, space.domain.bounds, affine=maps, outside=outside)


def samples_of_inputs(space: StateSpace, inputs: Floats, *, outside: float = 0.0) -> SampleStates:
    """Images without targets as samples to predict.

    Args:
        space: The state space.
        inputs: The images, shape (num_samples, *grid), standardized if the training was; kept by reference.
        outside: Value of an image outside of its frame.
    """

    def states(numbers: Integers, maps: data.AffineMaps | None) -> Block:
        return states_of_inputs(space, inputs[numbers], maps, outside=outside)

    return SampleStates(num_samples=len(inputs), states=states, targets=np.empty((0, len(inputs))), labels=None)


def states_of_samples(
    case: config.Case, space: StateSpace, samples: data.Samples, *, sample_format: data.SampleFormat
) -> SampleStates:
    """The initial states and targets of samples, encoded for the case's loss.

    Args:
        case: The case.
        space: The state space.
        samples: The samples, standardized if the case says so.
        sample_format: Their form.

    Raises:
        InvalidInput: if the loss is that of tracking, and the targets are not one function for each sample.
    """
    loss, outside = case.objective.loss, sample_format.background
    if loss == "tracking":
        if samples.has_labels or samples.targets.shape[1:] != (int(np.prod(samples.inputs.shape[1:])),):
            found = "labels" if samples.has_labels else f"{samples.targets.shape[1]} numbers for each sample"
            raise InvalidInput(
                f"objective.loss = 'tracking' needs in data.file an array y of floats with one target function per "
                f"sample, as many values as an input has ({int(np.prod(samples.inputs.shape[1:]))}); "
                f"y holds {found}"
            )
        targets = states_of_inputs(space, samples.targets.reshape(samples.inputs.shape), None)
    elif samples.has_labels:
        targets = encode_labels(samples.targets, samples.num_classes, loss)
    else:
        targets = np.asfortranarray(samples.targets.T)
    return SampleStates(
        num_samples=samples.num_samples,
        states=lambda numbers, maps: states_of_inputs(space, samples.inputs[numbers], maps, outside=outside),
        targets=targets,
        labels=samples.targets if samples.has_labels else None,
    )


def initial_states(case: config.Case, space: StateSpace) -> Block:
    """The nodal values of all initial states of a case, shape (num_local, samples); targets are not read (collective).

    Args:
        case: The case.
        space: The state space.

    Raises:
        InvalidInput: if data and case do not fit together, or a formula is not finite; the message names the key.
    """
    dataset = load_data(case, learning=False)
    if dataset is None:
        assert case.data.initial is not None
        return _formula_block(case, space, "data.initial", case.data.initial)
    outside = format_of(case, dataset).background
    return states_of_inputs(space, dataset.samples.inputs, None, outside=outside)


def states_of_formulas(case: config.Case, space: StateSpace) -> SampleStates:
    """The initial states and target functions that the formulas of a case give.

    Args:
        case: The case.
        space: The state space.

    Raises:
        InvalidInput: if there is no formula for the targets, or values of a formula are not finite.
    """
    d = case.data
    assert d.initial is not None
    initial = _formula_block(case, space, "data.initial", d.initial)
    if d.target is None:
        raise InvalidInput("data.target: a formula for the targets is needed to learn from data.initial")
    targets = _formula_block(case, space, "data.target", d.target)
    return SampleStates(
        num_samples=d.samples,
        states=lambda numbers, maps: np.asfortranarray(initial[:, numbers]),
        targets=targets,
        labels=None,
    )


def _formula_block(case: config.Case, space: StateSpace, key: str, text: str) -> Block:
    """States from the formula of a key, in y and the sample's parameter s ∈ [0, 1]; shape (num_local, data.samples)."""
    count = case.data.samples
    parameter = np.linspace(0.0, 1.0, count)[None, :] if count > 1 else np.zeros((1, 1))
    y = space.coordinates.T[:, :, None]
    names = coordinate_names("y", space.domain.dimension)
    values = {name: y[0 if name == "y" else int(name[1:])] for name in names}
    result = case_formula(case, text, "y", "s").evaluate(**values, s=parameter)
    block = np.asfortranarray(np.broadcast_to(result, (space.num_local, count)))
    require_finite(space, block, key, text)
    return block
