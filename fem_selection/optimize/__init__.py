# SPDX-License-Identifier: MIT
"""Optimization of the controls: a stochastic phase, then TAO or Pontryagin's principle, on the scaled functional."""

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
