# SPDX-License-Identifier: MIT
"""Objectives: terminal costs with their losses, and regularization of the controls."""

from fem_selection.objectives.losses import LOSSES, Loss, encode_labels, find_loss
from fem_selection.objectives.terminal import ReadoutCost, TerminalCost, TrackingCost

__all__ = [
    "LOSSES",
    "Loss",
    "ReadoutCost",
    "TerminalCost",
    "TrackingCost",
    "encode_labels",
    "find_loss",
]
