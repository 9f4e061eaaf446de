# SPDX-License-Identifier: MIT
"""Whether the linearization at a state is meaningful: jumps of σ', and multiple zeros of σ, at g* = K f* + b.

    kink            σ'(g* − δ) ≠ σ'(g* + δ)
    multiple zero   |σ σ''| / σ'² → (m − 1)/m > 0 at a zero of order m, where σ' vanishes; → 0 at a simple one

Newton's method ends near a multiple zero, not at it.  σ' is then small, and its sign depends on the error.
"""

from __future__ import annotations

import numpy as np
from mpi4py import MPI

from fem_selection.dynamics.field import Linearization
from fem_selection.typing import create_block

__all__ = ["count_kinks", "flat_share"]

_NEAR = 1e-8  # of 1 + max |g*|: the distance from g* at which σ' is evaluated to find jumps
_JUMP = 1e-3
_ZERO = 1e-6  # largest |σ(g*)| with which g* counts as near a zero
_MULTIPLE = 0.1  # |σ σ''| / σ'² beyond which a zero is a multiple one


def flat_share(linearization: Linearization) -> float:
    """The share of the nodes at which g* is near a multiple zero of σ (collective)."""
    field, g = linearization.field, linearization.preactivation
    value, slope, curvature = (np.zeros_like(g, order="F") for _ in range(3))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        field.activation.value_and_two_derivatives(np.asfortranarray(g), value, slope, curvature)
        flat = (np.abs(value) <= _ZERO) & (np.abs(value * curvature) > _MULTIPLE * slope**2)
    total, number = (field.space.comm.allreduce(int(n)) for n in (np.size(flat), np.sum(flat)))
    return number / total


def count_kinks(linearization: Linearization, largest: float) -> int:
    """The number of points at which σ' differs just below and just above g*, as on ReLU's contact set (collective).

    Args:
        linearization: The linearization at f*.
        largest: The largest |σ'(g*)|; differences are judged relative to max(1, `largest`).
    """
    field, g = linearization.field, linearization.preactivation
    size = field.space.comm.allreduce(float(np.max(np.abs(g), initial=0.0)), op=MPI.MAX)
    slopes = []
    for side in (-1.0, 1.0):
        value, slope = np.zeros_like(g, order="F"), create_block(field.pointwise.tape_rows, g.shape[1])
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            moved = np.asfortranarray(g + side * _NEAR * (1.0 + size))
            field.pointwise.evaluate_to_second(moved, value, slope, curvature=None)
        slopes.append(slope)
    jumps = np.abs(slopes[1] - slopes[0]) > _JUMP * max(largest, 1.0)
    return int(field.space.comm.allreduce(int(np.sum(jumps))))
