# SPDX-License-Identifier: MIT
"""Optimization of the controls: a stochastic phase, then TAO.  Both see the scaled functional and no more."""

from fem_selection.optimize.report import EpochRow, IterationRow, OptimizationReport, StochasticReport
from fem_selection.optimize.stochastic import StochasticSettings, descend
from fem_selection.optimize.tao import TaoSettings, minimize

__all__ = [
    "EpochRow",
    "IterationRow",
    "OptimizationReport",
    "StochasticReport",
    "StochasticSettings",
    "TaoSettings",
    "descend",
    "minimize",
]
