# SPDX-License-Identifier: MIT
"""Functions that a user gives as a formula or in UFL, and their evaluation on blocks."""

from __future__ import annotations

from typing import Any

from fem_selection.lazy import load

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


def __getattr__(name: str) -> Any:
    return load(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return __all__
