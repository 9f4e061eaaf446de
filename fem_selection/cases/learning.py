# SPDX-License-Identifier: MIT
"""The learning problem of a case: domain, space, dynamics, data and functional, as the case file says.

The command line and scripts that start from a case file call `build_problem(case)`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
from mpi4py import MPI

from fem_selection import config, data
from fem_selection.cases.kernel import at_key, build_kernel, case_formula, require_finite
from fem_selection.config.checks import LARGEST
from fem_selection.discretization import domains
from fem_selection.discretization.coefficients import function_values
from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.elements import Family, Mode
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics import Stepper, find_scheme
from fem_selection.errors import InvalidInput
from fem_selection.functions.activations import ACTIVATIONS, Activation, ActivationFamily, find_activation
from fem_selection.functions.formulas import coordinate_names, parse_formula
from fem_selection.learning import (
    ControlSpace,
    Functional,
    LearningProblem,
    SampleStates,
    ScaledFunctional,
    create_box,
)
from fem_selection.objectives import ReadoutCost, TerminalCost, TrackingCost, encode_labels, find_loss
from fem_selection.parallel import Ensemble
from fem_selection.settings import DomainSettings
from fem_selection.typing import Block, Floats, Integers

__all__ = [
    "build_activation",
    "build_network",
    "build_problem",
    "build_space",
    "initial_states",
    "samples_of_inputs",
    "states_of_inputs",
]


def build_space(case: config.Case, ensemble: Ensemble) -> StateSpace:
    """The state space of a case on its domain (collective).

    Args:
        case: The case.
        ensemble: The space × sample split; the mesh lives on its space communicator.

    Raises:
        InvalidInput: if no mesh can be made, or the space does not fit it; the message names the keys.
    """
    s, keys = case.space, "domain.cells, domain.lower, domain.upper, domain.grading"
    with at_key("domain.file" if case.domain.file is not None else keys):
        try:
            domain = _build_domain(case.domain, ensemble.space_comm)
            return StateSpace(
                domain, s.degree, cast(Family, s.family), mode=cast(Mode, s.mode), quadrature_degree=s.quadrature_degree
            )
        except (RuntimeError, ArithmeticError) as error:  # as where the domain's measure underflows
            raise InvalidInput(f"no mesh can be made: {next(iter(str(error).splitlines()), '')}") from error


def _build_domain(d: DomainSettings, comm: MPI.Intracomm) -> domains.Domain:
    if d.file is not None:
        return domains.Domain.from_file(comm, d.file, d.group)
    if d.shape == "interval":
        return domains.interval(comm, d.cells[0], lower=d.lower[0], upper=d.upper[0], grading=d.grading)
    create = domains.rectangle if d.shape == "rectangle" else domains.box
    return create(comm, d.cells, lower=d.lower, upper=d.upper, cell=d.cell, grading=d.grading)


def build_problem(case: config.Case, comm: MPI.Intracomm | None = None) -> LearningProblem:
    """The learning problem of a case (collective).

    Args:
        case: The case.
        comm: The ranks; all ranks if None.

    Raises:
        InvalidInput: if data and case do not fit together; the message names the key or file.

    Example:
        >>> problem = fs.build_problem(fs.load_case("demos/gap.toml"))
        >>> problem.space.num_nodes, problem.train.num_samples, problem.functional.stepper.grid.layers
        (1, 2, 10)
    """
    ensemble = Ensemble(comm, case.parallel.space)
    space = build_space(case, ensemble)
    dataset = _load_data(case)
    if dataset is None:
        return _problem_of(case, ensemble, space, _formula_states(case, space))
    sample_format = _format_of(case, dataset)
    train = _sample_states(case, space, dataset.samples, sample_format=sample_format)
    test = None if dataset.test is None else _sample_states(case, space, dataset.test, sample_format=sample_format)
    return _problem_of(case, ensemble, space, train, test=test, sample_format=sample_format)


def build_network(
    case: config.Case, sample_format: data.SampleFormat, comm: MPI.Intracomm | None = None
) -> LearningProblem:
    """The learning problem of a case without its samples, to apply the network to others (collective).

    No data file is read.

    Args:
        case: The case.
        sample_format: The form of the samples, as the training has kept it.
        comm: The ranks; all ranks if None.

    Raises:
        InvalidInput: as `build_problem`.
    """
    ensemble = Ensemble(comm, case.parallel.space)
    space = build_space(case, ensemble)
    rows = space.num_local if case.objective.loss == "tracking" else sample_format.num_outputs
    none = SampleStates.from_states(space.create_block(0), np.empty((rows, 0), order="F"))
    return _problem_of(case, ensemble, space, none, sample_format=sample_format)


def _problem_of(
    case: config.Case,
    ensemble: Ensemble,
    space: StateSpace,
    train: SampleStates,
    *,
    test: SampleStates | None = None,
    sample_format: data.SampleFormat | None = None,
) -> LearningProblem:
    """The learning problem of a case with these samples; without a format they are functions from formulas."""
    functional, start_controls = _build_functional(case, ensemble, space, train)
    control_space, o = functional.control_space, case.objective
    return LearningProblem(
        scaled_functional=ScaledFunctional(functional),
        scaled_start=control_space.to_scaled(start_controls),
        scaled_bounds=create_box(
            control_space, {"kernel": o.kernel_bounds, "bias": o.bias_bounds, "readout": o.readout_bounds}
        ),
        train=train,
        test=test,
        sample_format=sample_format or data.SampleFormat(num_outputs=control_space.num_outputs),
        movement=case.data.moved,
    )


# ── dynamics and functional ───────────────────────────────────────────────────────────────────────────────────────────


def _build_functional(
    case: config.Case, ensemble: Ensemble, space: StateSpace, train: SampleStates
) -> tuple[Functional, Floats]:
    """J, and the shard of the controls x from which the case starts."""
    y, o = case.dynamics, case.objective
    grid = DepthGrid(layers=y.layers, horizon=y.horizon, intervals=y.control_intervals)
    values = space.num_nodes * (space.num_nodes if "dense" in y.representation else 1)
    if (count := grid.intervals * values) > LARGEST:
        raise InvalidInput(
            f"domain.cells, dynamics.layers: {space.num_nodes} nodes and {grid.intervals} intervals make {count:.3g} "
            f"controls, more than PETSc's indices can number, {LARGEST}: use fewer, by dynamics.control_intervals too"
        )
    kernel = build_kernel(case, space, grid)
    bias = np.zeros((grid.intervals, space.num_local))
    if y.bias is not None:
        formula = case_formula(case, y.bias, "t", "y")
        bias[...] = [function_values(space, formula, float(t)) for t in grid.sample_times]
        require_finite(space, bias, "dynamics.bias", y.bias)
    stepper = Stepper(space, kernel, bias, activation=build_activation(case), scheme=find_scheme(y.scheme), grid=grid)
    cost: TerminalCost
    if o.loss == "tracking":
        cost, num_outputs = TrackingCost(space=space), 0
    else:
        num_outputs = train.targets.shape[0]
        cost = ReadoutCost(space=space, loss=find_loss(o.loss), num_outputs=num_outputs)
    control_space = ControlSpace(ensemble, space, kernel, grid=grid, num_outputs=num_outputs, parts=o.controls)
    initial, targets = train.share(ensemble)
    functional = Functional(
        control_space,
        stepper,
        cost,
        initial=initial,
        targets=targets,
        num_samples=train.num_samples,
        regularization=case.regularization,
        weight=o.weight,
        block=case.parallel.block,
    )
    readout = np.zeros((num_outputs, space.num_local))
    start = control_space.pack(
        {"kernel": kernel.parameters(), "bias": bias, "readout": readout, "offset": np.zeros(num_outputs)}
    )
    return functional, start[control_space.shard]


def build_activation(case: config.Case) -> Activation:
    """The activation σ of a case, by its name or from a formula in s and the parameters.

    Raises:
        InvalidInput: if the text is neither a name nor a formula; the message names the key.
    """
    text = case.dynamics.activation
    if text in ACTIVATIONS:
        return find_activation(text)
    with at_key("dynamics.activation"):
        return _activation_family(text, tuple(sorted(case.parameters))).at(text, case.parameters)


@cache
def _activation_family(text: str, parameters: tuple[str, ...]) -> ActivationFamily:
    """The activations that a formula gives for all values of its parameters."""
    formula = parse_formula(text, ("s", *parameters))
    names = tuple(name for name in parameters if name in formula.names)
    return ActivationFamily(lambda s, *values: formula.ufl(s=s, **dict(zip(names, values, strict=True))), names)


# ── data ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _load_data(case: config.Case, *, learning: bool = True) -> data.DataSet | None:
    """The samples of a case with their test part; None if formulas give the samples.

    Args:
        case: The case.
        learning: Whether the targets must be those of the case's loss.
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


_OF_LABELS = ("softmax", "logistic")  # losses that need labels


def _format_of(case: config.Case, dataset: data.DataSet) -> data.SampleFormat:
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


def _sample_states(
    case: config.Case, space: StateSpace, samples: data.Samples, *, sample_format: data.SampleFormat
) -> SampleStates:
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
    dataset = _load_data(case, learning=False)
    if dataset is None:
        assert case.data.initial is not None
        return _formula_block(case, space, "data.initial", case.data.initial)
    outside = _format_of(case, dataset).background
    return states_of_inputs(space, dataset.samples.inputs, None, outside=outside)


def _formula_states(case: config.Case, space: StateSpace) -> SampleStates:
    """Initial states and targets from formulas."""
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
