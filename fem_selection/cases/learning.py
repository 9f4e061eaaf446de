# SPDX-License-Identifier: MIT
"""The learning problem of a case: domain, space, dynamics and functional, as the case file says.

The command line and scripts that start from a case file call `build_problem(case)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import cast

import numpy as np
from mpi4py import MPI

from fem_selection import config, data
from fem_selection.cases.anchors import anchor_numbers, anchor_states, anchors_need_samples, representer_rank
from fem_selection.cases.kernel import at_key, build_kernel, case_formula, require_finite
from fem_selection.cases.levels import finer_case
from fem_selection.cases.memory import require_memory
from fem_selection.cases.samples import format_of, load_data, states_of_formulas, states_of_samples
from fem_selection.config.checks import LARGEST
from fem_selection.discretization.coefficients import function_values
from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.elements import Family, Mode
from fem_selection.discretization.meshes import domains
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics import SelectionEquation, Stepper, find_scheme
from fem_selection.dynamics.equation import Statement
from fem_selection.errors import InvalidInput
from fem_selection.functions.activations import ACTIVATIONS, Activation, ActivationFamily, find_activation
from fem_selection.functions.formulas import parse_formula
from fem_selection.learning import (
    ControlSpace,
    Functional,
    LearningProblem,
    SampleStates,
    ScaledFunctional,
    create_box,
)
from fem_selection.objectives import ReadoutCost, TerminalCost, TrackingCost, find_loss
from fem_selection.parallel import Ensemble
from fem_selection.settings import DomainSettings
from fem_selection.typing import Floats, Integers

__all__ = ["build_activation", "build_levels", "build_network", "build_problem", "build_space"]


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


def build_problem(
    case: config.Case,
    comm: MPI.Intracomm | None = None,
    *,
    equation: Statement = SelectionEquation,
    anchors: Integers | None = None,
) -> LearningProblem:
    """The learning problem of a case (collective).

    Args:
        case: The case.
        comm: The ranks; all ranks if None.
        equation: States the equation for a space and σ: `SelectionEquation`, or a class derived from it.
        anchors: Numbers of the training samples that a representer kernel follows; those that the case chooses if None.

    Raises:
        InvalidInput: if data and case do not fit together; the message names the key or file.

    Example:
        >>> problem = fs.build_problem(fs.load_case("demos/gap.toml"))
        >>> problem.space.num_nodes, problem.train.num_samples, problem.functional.stepper.grid.layers
        (1, 2, 10)
    """
    ensemble = Ensemble(comm, case.parallel.space)
    require_memory(case, ensemble, intervals=case.dynamics.control_intervals, with_tape=True)
    space = build_space(case, ensemble)
    require_memory(case, ensemble, intervals=case.dynamics.control_intervals, space=space, with_tape=True)
    problem = _with_samples(case, ensemble, space, equation=equation, anchors=anchors)

    def finer() -> LearningProblem:
        numbers = anchors
        if numbers is None and anchors_need_samples(case):
            numbers = anchor_numbers(case, problem.space, problem.train)
        return build_problem(finer_case(case), comm, equation=equation, anchors=numbers)

    return replace(problem, finer=finer)


def _with_samples(
    case: config.Case, ensemble: Ensemble, space: StateSpace, *, equation: Statement, anchors: Integers | None
) -> LearningProblem:
    """The learning problem of a case on its space."""
    dataset = load_data(case)
    if dataset is None:
        train = states_of_formulas(case, space)
        return _problem_of(case, ensemble, space, train, equation=equation, anchors=anchors)
    sample_format = format_of(case, dataset)
    train = states_of_samples(case, space, dataset.samples, sample_format=sample_format)
    test = None if dataset.test is None else states_of_samples(case, space, dataset.test, sample_format=sample_format)
    return _problem_of(
        case, ensemble, space, train, test=test, sample_format=sample_format, equation=equation, anchors=anchors
    )


def build_levels(cases: Sequence[config.Case], comm: MPI.Intracomm | None = None) -> list[LearningProblem]:
    """The learning problems of several levels (collective).

    A representer kernel follows the same samples on all levels, those that are chosen on the finest one.

    Args:
        cases: The cases of the levels, from coarse to fine.
        comm: The ranks; all ranks if None.

    Raises:
        InvalidInput: as `build_problem`.
    """
    finest, anchors = build_problem(cases[-1], comm), None
    if len(cases) > 1 and anchors_need_samples(cases[-1]):
        anchors = anchor_numbers(cases[-1], finest.space, finest.train)
    return [*(build_problem(case, comm, anchors=anchors) for case in cases[:-1]), finest]


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
    equation: Statement = SelectionEquation,
    anchors: Integers | None = None,
) -> LearningProblem:
    """The learning problem of a case with these samples; without a format they are functions from formulas."""
    functional, start_controls = _build_functional(case, ensemble, space, train, equation, anchors)
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
    case: config.Case,
    ensemble: Ensemble,
    space: StateSpace,
    train: SampleStates,
    equation: Statement,
    anchors: Integers | None,
) -> tuple[Functional, Floats]:
    """J, and the shard of the controls x from which the case starts."""
    y, o = case.dynamics, case.objective
    grid = DepthGrid(layers=y.layers, horizon=y.horizon, intervals=y.control_intervals)
    values = space.num_nodes * (space.num_nodes if "dense" in y.representation else representer_rank(case, train))
    if (count := grid.intervals * values) > LARGEST:
        raise InvalidInput(
            f"domain.cells, dynamics.layers: {space.num_nodes} nodes and {grid.intervals} intervals make {count:.3g} "
            f"controls, more than PETSc's indices can number, {LARGEST}: use fewer, by dynamics.control_intervals too"
        )
    kernel = build_kernel(case, space, grid, anchors=lambda: anchor_states(case, space, train, numbers=anchors))
    bias = np.zeros((grid.intervals, space.num_local))
    if y.bias is not None:
        formula = case_formula(case, y.bias, "t", "y")
        bias[...] = [function_values(space, formula, float(t)) for t in grid.sample_times]
        require_finite(space, bias, "dynamics.bias", y.bias)
    activation, scheme = build_activation(case), find_scheme(y.scheme)
    stepper = Stepper(
        space,
        kernel,
        bias,
        activation=activation,
        scheme=scheme,
        grid=grid,
        evaluation=y.evaluation,
        equation=equation,
    )
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
        tape=case.tape,
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
