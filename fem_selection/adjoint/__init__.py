# SPDX-License-Identifier: MIT
"""Exact derivatives of the discrete dynamics: the tangent forward, the adjoint backward."""

from fem_selection.adjoint.backward import sweep_back
from fem_selection.adjoint.tangent import sweep_tangent

__all__ = ["sweep_back", "sweep_tangent"]
