# SPDX-License-Identifier: MIT
"""The forward problem: the weak form in UFL, its schemes, and sweeps of sample blocks through the layers."""

from fem_selection.dynamics.equation import SelectionEquation
from fem_selection.dynamics.field import Linearization, SelectionField
from fem_selection.dynamics.forward import solve_forward
from fem_selection.dynamics.schemes import SCHEMES, Scheme, find_scheme
from fem_selection.dynamics.stepper import Stepper
from fem_selection.dynamics.tape import Tape

__all__ = [
    "SCHEMES",
    "Linearization",
    "Scheme",
    "SelectionEquation",
    "SelectionField",
    "Stepper",
    "Tape",
    "find_scheme",
    "solve_forward",
]
