# SPDX-License-Identifier: MIT
"""The array code of σ, its tangent and its adjoint beside the assembled weak forms."""

from __future__ import annotations

import numpy as np

from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics import SelectionEquation
from fem_selection.dynamics.superposition import create_superposition
from fem_selection.functions.activations import Activation

__all__ = ["blocks_and_forms"]


def blocks_and_forms(
    space: StateSpace, activation: Activation, s: np.ndarray, *, ds: np.ndarray, dual: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Right-hand side, tangent and adjoint, each by the array code and column by column by the forms (collective).

    Args:
        space: The state space.
        activation: σ.
        s: Arguments of σ, a block.
        ds: Direction of the tangent, a block.
        dual: Dual that the adjoint is taken of, a block.
    """
    equation, operator = (
        SelectionEquation(space, activation),
        create_superposition(SelectionEquation(space, activation)),
    )
    value, tangent, adjoint = (space.create_block(s.shape[1]) for _ in range(3))
    tape = np.empty((operator.tape_rows, s.shape[1]), order="F")
    operator.evaluate_with_tape(s, value, tape)
    operator.apply_derivative(tape, ds, tangent)
    operator.apply_transpose(tape, dual, adjoint)
    p, columns = space.riesz(dual), range(s.shape[1])
    assembled = (
        [equation.assemble_rate(s[:, j]) for j in columns],
        [equation.assemble_tangent(s[:, j], ds[:, j]) for j in columns],
        [equation.assemble_adjoint(s[:, j], p[:, j]) for j in columns],
    )
    computed = (space.apply_mass(value), space.apply_mass(tangent), adjoint)
    return [(block, np.column_stack(form)) for block, form in zip(computed, assembled, strict=True)]
