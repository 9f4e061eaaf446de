# SPDX-License-Identifier: MIT
"""Steady states of the selection equation, σ(K f + b) = 0, and what becomes of states near them."""

from fem_selection.steady.analysis import SteadyAnalysis, SteadySettings, analyse_steady_states
from fem_selection.steady.complementarity import Projection, project
from fem_selection.steady.coordinates import IsometricCoordinates, Operator, jacobian_operator, kernel_operator
from fem_selection.steady.equilibria import Equilibrium, differentiate_in_bias, find_equilibria
from fem_selection.steady.fredholm import PicardReport, SingularExpansion, expand, solve_first_kind
from fem_selection.steady.limit import LimitSettings, LongTimeLimit, find_limit
from fem_selection.steady.newton import NewtonResult, NewtonSettings, solve_newton

__all__ = [
    "Equilibrium",
    "IsometricCoordinates",
    "LimitSettings",
    "LongTimeLimit",
    "NewtonResult",
    "NewtonSettings",
    "Operator",
    "PicardReport",
    "Projection",
    "SingularExpansion",
    "SteadyAnalysis",
    "SteadySettings",
    "analyse_steady_states",
    "differentiate_in_bias",
    "expand",
    "find_equilibria",
    "find_limit",
    "jacobian_operator",
    "kernel_operator",
    "project",
    "solve_first_kind",
    "solve_newton",
]
