# SPDX-License-Identifier: MIT
"""Optimization of the controls in x̂: a stochastic phase, then PETSc's TAO or Pontryagin's principle."""

from fem_selection.optimize.pontryagin import approximate_successively
from fem_selection.optimize.report import EpochRow, IterationRow, OptimizationReport, StochasticReport
from fem_selection.optimize.stochastic import descend
from fem_selection.optimize.tao import minimize

__all__ = [
    "EpochRow",
    "IterationRow",
    "OptimizationReport",
    "StochasticReport",
    "approximate_successively",
    "descend",
    "minimize",
]
