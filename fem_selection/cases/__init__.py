# SPDX-License-Identifier: MIT
"""The objects that a case file describes: the learning problem, the equation alone, its kernel, a saved run."""

from __future__ import annotations

from fem_selection.lazy import attach

_HOMES = {
    "FieldProblem": "field",
    "at_key": "kernel",
    "build_activation": "learning",
    "build_field": "field",
    "build_kernel": "kernel",
    "build_levels": "learning",
    "build_network": "learning",
    "build_problem": "learning",
    "build_space": "learning",
    "case_formula": "kernel",
    "default_tables": "saved",
    "describe_quadrature": "kernel",
    "family_of": "stability",
    "finer_start": "stability",
    "initial_states": "samples",
    "is_random": "kernel",
    "kernel_depends_on_time": "kernel",
    "level_cases": "levels",
    "load_controls": "saved",
    "load_network": "saved",
    "load_run": "saved",
    "problem_key": "saved",
    "require_finite": "kernel",
    "samples_of_inputs": "samples",
    "start_state": "stability",
    "states_of_inputs": "samples",
    "third_start": "stability",
    "why_not_finer": "stability",
}

__all__ = list(_HOMES)

__getattr__, __dir__ = attach(__name__, _HOMES)
