# SPDX-License-Identifier: MIT
"""The case file: TOML read into frozen dataclasses, with all its faults reported at once.

`load_case` reads a file, `parse_case` a mapping, `dump_case` writes the resolved case back.  Nothing here imports
FEniCSx or PETSc, so that a command line may refuse a faulty case within a fraction of a second.
"""

from __future__ import annotations

from fem_selection.config.instruments import Forward, Stability, Steady
from fem_selection.config.loader import load_case, parse_case
from fem_selection.config.schema import (
    Case,
    Data,
    Domain,
    Dynamics,
    Hjb,
    Moved,
    Objective,
    Optimizer,
    Output,
    Parallel,
    Regularization,
    Space,
    Stochastic,
)
from fem_selection.config.writer import dump_case

__all__ = [
    "Case",
    "Data",
    "Domain",
    "Dynamics",
    "Forward",
    "Hjb",
    "Moved",
    "Objective",
    "Optimizer",
    "Output",
    "Parallel",
    "Regularization",
    "Space",
    "Stability",
    "Steady",
    "Stochastic",
    "dump_case",
    "load_case",
    "parse_case",
]
