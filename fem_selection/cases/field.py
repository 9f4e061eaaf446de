# SPDX-License-Identifier: MIT
"""The selection equation of a case and its initial states, without anything to learn.

The commands for large times, steady states and stability start from `build_field(case)`: kernel, bias, activation and
initial states as the case gives them, with all ranks on one mesh.  With few nodes the rows of a local kernel cost less
than the messages about them: a study that can share the samples asks for the whole mesh on each rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from mpi4py import MPI

from fem_selection import config
from fem_selection.cases.kernel import (
    build_kernel,
    case_formula,
    kernel_depends_on,
    kernel_depends_on_time,
    kernel_formulas,
    kernel_parameters,
    require_finite,
)
from fem_selection.cases.learning import build_activation, build_space
from fem_selection.cases.memory import require_memory
from fem_selection.cases.samples import initial_states
from fem_selection.cases.variation import bounds_in_time
from fem_selection.discretization.coefficients import function_values
from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.equation import SelectionEquation, Statement
from fem_selection.dynamics.field import SelectionField
from fem_selection.errors import InvalidInput
from fem_selection.kernels import Kernel
from fem_selection.parallel import Ensemble
from fem_selection.typing import Block, Floats

__all__ = ["FieldProblem", "build_field"]

_FEW = 5000
"""Nodes up to which the product with a local kernel takes no longer than the messages between two ranks."""


@dataclass(frozen=True)
class FieldProblem:
    """The selection equation of a case.

    Attributes:
        case: The case.
        ensemble: The ranks; all are on one mesh unless each has the whole of it.
        space: The state space.
        field: The right-hand side.
        initial: Nodal values of the initial states, shape (num_local, samples).
    """

    case: config.Case
    ensemble: Ensemble
    space: StateSpace
    field: SelectionField
    initial: Block

    def field_at(self, parameters: Mapping[str, float]) -> SelectionField:
        """The right-hand side with other values of some of the case's parameters (collective).

        Raises:
            InvalidInput: if the case has no parameter of that name, or the right-hand side is not finite.
        """
        unknown = sorted(parameters.keys() - self.case.parameters.keys())
        if unknown:
            raise InvalidInput(f"parameters.{unknown[0]}: the case has no such parameter")
        case = replace(self.case, parameters={**self.case.parameters, **parameters})
        fixed = self.field.is_autonomous and not kernel_depends_on(case, parameters)
        return _build_right_hand_side(case, self.space, self.field.kernel if fixed else None)

    def values(self, key: str, text: str) -> Floats:
        """Nodal values of a formula in y, shape (num_local,) (collective).

        Args:
            key: Dotted path of the key that holds the formula, for errors.
            text: The formula.

        Raises:
            InvalidInput: on all ranks, if the formula is faulty or a value is not finite.
        """
        values = function_values(self.space, case_formula(self.case, text, "y"))
        require_finite(self.space, values, key, text)
        return values


def build_field(
    case: config.Case,
    comm: MPI.Intracomm | None = None,
    *,
    may_share_samples: bool = False,
    equation: Statement = SelectionEquation,
) -> FieldProblem:
    """The equation of a case (collective).

    Args:
        case: The case.
        comm: The ranks; all ranks if None.
        may_share_samples: Whether each rank may have the whole mesh, for runs of its share of the samples; it does if
            the kernel is local and the nodes are few.  The initial states are those of all samples on each rank.
        equation: States the equation for a space and σ: `SelectionEquation`, or a class derived from it.

    Raises:
        InvalidInput: if data and case do not fit together; the message names the key or file.

    Example:
        >>> problem = fs.build_field(fs.load_case("demos/pitchfork.toml"))  # tanh(3g/2) − g with g = ∫ f
        >>> ones = np.ones((problem.space.num_local, 1), order="F")
        >>> print(f"{problem.field.rate(ones).max():.6f} {np.tanh(1.5) - 1:.6f}")
        -0.094852 -0.094852
    """
    world = MPI.COMM_WORLD if comm is None else comm
    ensemble = Ensemble(world, world.size)
    require_memory(case, ensemble, intervals=1)
    space = build_space(case, ensemble)
    require_memory(case, ensemble, intervals=1, space=space)
    if may_share_samples and tuple(case.dynamics.representation) == ("local",) and space.num_nodes <= _FEW:
        ensemble = Ensemble(world, 1)
        space = build_space(case, ensemble) if world.size > 1 else space
    return FieldProblem(
        case=case,
        ensemble=ensemble,
        space=space,
        field=_build_right_hand_side(case, space, equation=equation),
        initial=initial_states(case, space),
    )


def _build_right_hand_side(
    case: config.Case, space: StateSpace, kernel: Kernel | None = None, equation: Statement = SelectionEquation
) -> SelectionField:
    """F of a case; kernel and bias are evaluated again for each t if their formulas contain t.

    A kernel is taken as it is; without one, that of the case is built.
    """
    d = case.dynamics
    kernel = build_kernel(case, space, _instant(0.0)) if kernel is None else kernel
    bias = np.zeros(space.num_local)
    bias_formula = None if d.bias is None else case_formula(case, d.bias, "t", "y")
    if bias_formula is not None:
        bias[:] = function_values(space, bias_formula, 0.0)
        require_finite(space, bias, "dynamics.bias", bias_formula.text)
    moving_bias = bias_formula is not None and "t" in bias_formula.names
    moving_kernel = kernel_depends_on_time(case)

    def refresh(time: float) -> None:
        if moving_kernel:
            kernel.assign(kernel_parameters(case, space, _instant(time), kernel=kernel))
        if moving_bias and bias_formula is not None:
            bias[:] = function_values(space, bias_formula, time)

    activation, evaluation = build_activation(case), case.dynamics.evaluation
    if not (moving_bias or moving_kernel):
        return SelectionField(space, kernel, bias, activation=activation, evaluation=evaluation, equation=equation)
    formulas = [*kernel_formulas(case), *([] if bias_formula is None else [bias_formula])]
    bounds = bounds_in_time(space, formulas)
    return SelectionField(
        space,
        kernel,
        bias,
        activation=activation,
        refresh=refresh,
        coefficient_bounds=bounds,
        evaluation=evaluation,
        equation=equation,
    )


def _instant(time: float) -> DepthGrid:
    """A depth grid of one interval, sampled at the given time."""
    return DepthGrid(layers=1, horizon=1.0, stage_nodes=(time,))
