# SPDX-License-Identifier: MIT
"""Exact derivatives of the discrete dynamics (tangent forward, adjoint backward), and the Hamiltonian of a layer."""

from fem_selection.adjoint.backward import sweep_back
from fem_selection.adjoint.hamiltonian import Control, Hamiltonian, Search
from fem_selection.adjoint.tangent import sweep_tangent

__all__ = ["Control", "Hamiltonian", "Search", "sweep_back", "sweep_tangent"]
