# SPDX-License-Identifier: MIT
"""Rest: the largest rate at which a state counts as steady, relative to the state's own size and forces.

    ‖σ(g)‖ ≤ S (32 ε ‖K‖ ‖f‖ + √ε (‖K f‖ + ‖b‖)) + 4 ε |Y|^½

    g = K f + b,   S = max |σ'(s)| over |s| ≤ max |K f| + max |b|

The first term is round-off: the sum K f cannot be computed more accurately, which matters for f in ker K, where K f is
nothing but round-off.  The second term stops Newton's method: if the rate is √ε of the forces that balance there, one
more step would reach round-off, and the eigenvalues of the linearization are those of the steady state to √ε.  ε is the
relative round-off of floating-point numbers, √ε = 1.5e-8.  The last term is the round-off of σ itself, since formulas
like log(1 + exp(s)) − log(2) cancel numbers of order one.

The tolerance shrinks with the state: one of size 1e-10 that grows like e^t does not rest.  Every module that asks
whether a given state, or one that Newton's method found, is steady asks this one.  For states at the end of a run use
`fem_selection.evolution.rest`, which also knows how their rates fell.
"""

from __future__ import annotations

import numpy as np
from mpi4py import MPI

from fem_selection.dynamics.field import SelectionField
from fem_selection.typing import Block, Floats, create_block

__all__ = ["steepest_slope", "tolerance_of_rest"]

_EPSILON = float(np.finfo(float).eps)
_ROUND_OFF = 32.0 * _EPSILON
_BALANCED = float(np.sqrt(_EPSILON))
_SAMPLES = 65


def tolerance_of_rest(field: SelectionField, f: Block, *, norm: float) -> Floats:
    """Return the largest ‖σ(K f + b)‖ at which each state counts as steady, shape (J,) (collective over space).

    Args:
        field: The right-hand side, at the time in question.
        f: States, shape (num_local, J).
        norm: ‖K‖ or an upper bound of it, as `fem_selection.linalg.norms.operator_norm` finds it.
    """
    space = field.space
    moved = field.preactivation(f) - field.bias[:, None]
    bias = np.asfortranarray(field.bias[:, None])
    forces = space.norm(np.asfortranarray(moved)) + space.norm(bias)[0]
    steepest = steepest_slope(field, f)
    with np.errstate(over="ignore", invalid="ignore"):
        own = 4.0 * _EPSILON * float(space.norm(np.ones_like(bias))[0])
        return np.asarray(steepest * (_ROUND_OFF * norm * space.norm(f) + _BALANCED * forces) + own)


def steepest_slope(field: SelectionField, f: Block) -> Floats:
    """Return S, the largest of |σ'| at 65 points up to ±(max |K f| + max |b|), shape (J,) (collective over space).

    Args:
        field: The right-hand side, at the time in question.
        f: States, shape (num_local, J).
    """
    comm, bias = field.space.comm, field.bias
    moved = np.abs(field.preactivation(f) - bias[:, None])
    sizes = np.append(np.max(moved, axis=0, initial=0.0), np.max(np.abs(bias), initial=0.0))
    comm.Allreduce(MPI.IN_PLACE, sizes, op=MPI.MAX)
    points = np.asfortranarray(np.linspace(-1.0, 1.0, _SAMPLES)[:, None] * (sizes[:-1] + sizes[-1]))
    value, slope = create_block(*points.shape), create_block(*points.shape)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        field.activation.value_and_derivative(points, value, slope)
    return np.asarray(np.max(np.where(np.isfinite(slope), np.abs(slope), 0.0), axis=0))
