# SPDX-License-Identifier: MIT
"""Operators as dense matrices, on one process: what linear algebra by NumPy and SciPy is asked of."""

from __future__ import annotations

import numpy as np

from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics import SelectionField

__all__ = ["identity", "kernel_matrix", "mass_matrix", "mass_root"]


def identity(space: StateSpace) -> np.ndarray:
    """The coefficients of all basis functions, a block."""
    return np.eye(space.num_nodes, order="F")


def kernel_matrix(field: SelectionField) -> np.ndarray:
    """The matrix of K on coefficients."""
    return field.preactivation(identity(field.space)) - field.bias[:, None]


def mass_matrix(space: StateSpace) -> np.ndarray:
    """M."""
    return space.apply_mass(identity(space))


def mass_root(space: StateSpace) -> np.ndarray:
    """The triangle R with M = RᵀR, so that ‖f‖ = |R F|: an operator A of L² is R A R⁻¹ in orthonormal coordinates."""
    return np.linalg.cholesky(mass_matrix(space)).T
