# SPDX-License-Identifier: MIT
"""Optimization of the controls: a stochastic phase, then TAO or Pontryagin's principle, on the scaled functional."""

from fem_selection.optimize.pontryagin import PONTRYAGIN, PontryaginSettings, approximate_successively
from fem_selection.optimize.report import EpochRow, IterationRow, OptimizationReport, StochasticReport
from fem_selection.optimize.stochastic import StochasticSettings, descend
from fem_selection.optimize.tao import minimize
from fem_selection.optimize.tao_options import TaoSettings

__all__ = [
    "PONTRYAGIN",
    "EpochRow",
    "IterationRow",
    "OptimizationReport",
    "PontryaginSettings",
    "StochasticReport",
    "StochasticSettings",
    "TaoSettings",
    "approximate_successively",
    "descend",
    "minimize",
]
