# SPDX-License-Identifier: MIT
"""Functions that a user gives as a formula or in UFL, and their evaluation on blocks."""

from __future__ import annotations

from fem_selection.lazy import attach

_HOMES = {
    "ACTIVATIONS": "activations",
    "Activation": "activations",
    "ActivationFamily": "activations",
    "BlockProgram": "programs",
    "FUNCTIONS": "formulas",
    "Formula": "formulas",
    "coordinate_names": "formulas",
    "find_activation": "activations",
    "is_free_name": "formulas",
    "parse_formula": "formulas",
}

__all__ = list(_HOMES)

__getattr__, __dir__ = attach(__name__, _HOMES)
