# SPDX-License-Identifier: MIT
"""The Hamilton–Jacobi–Bellman equation of the learning problem, reduced to m cells and J samples with mJ ≤ 3.

    ∂_t V + H(x, ∇V) = 0,   V(T, ·) = Φ

V(0, x(0)) is the global optimum over all controls, and ∇V determines the optimal controls as a feedback.
"""

from fem_selection.hjb.agreement import Agreement, compare
from fem_selection.hjb.box import BoxSearch, find_box
from fem_selection.hjb.feedback import ClosedLoop, simulate
from fem_selection.hjb.grid import Grid, default_box
from fem_selection.hjb.open_loop import OpenLoop, follow
from fem_selection.hjb.reduction import MAX_DIMENSION, ReducedProblem
from fem_selection.hjb.refinement import BoxInfluence, Refinement, box_influence, extrapolate, refine
from fem_selection.hjb.semi_lagrangian import solve_by_dynamic_programming
from fem_selection.hjb.value import ValueFunction, solve_value

__all__ = [
    "MAX_DIMENSION",
    "Agreement",
    "BoxInfluence",
    "BoxSearch",
    "ClosedLoop",
    "Grid",
    "OpenLoop",
    "ReducedProblem",
    "Refinement",
    "ValueFunction",
    "box_influence",
    "compare",
    "default_box",
    "extrapolate",
    "find_box",
    "follow",
    "refine",
    "simulate",
    "solve_by_dynamic_programming",
    "solve_value",
]
