# SPDX-License-Identifier: MIT
"""Equations on an interval from the tables of a case, as short as a test can say them, and kernels that several use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpi4py import MPI

from fem_selection.cases.field import build_field
from fem_selection.config import parse_case

__all__ = ["CELLWISE", "HALVES", "build_equation", "merge_tables"]

HALVES = "2*where(y < 0.5, where(z < 0.5, a, -3), where(z < 0.5, 1, -0.9))"
"""K = [[a, −3], [1, −0.9]] on the normalised halves of Y, with `CELLWISE`: eigenvalues ±i √2.19 at a = 0.9."""
CELLWISE = {"family": "dg", "degree": 0}
"""Elements that are constant on each cell, the table `space`."""


def merge_tables(tables: Mapping[str, Mapping[str, Any]], changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Tables of a case with some keys changed or added."""
    return {name: {**tables.get(name, {}), **changes.get(name, {})} for name in {**tables, **changes}}


def build_equation(
    dynamics: Mapping[str, Any],
    *,
    cells: int,
    space: Mapping[str, Any] | None = None,
    initial: str = "0",
    parameters: Mapping[str, float] | None = None,
    samples: int = 1,
):
    """The equation of these keys of `dynamics` on the interval (0, 1), on this process.

    Args:
        dynamics: Keys of the table `dynamics`: activation, kernel, bias, ….
        cells: Number of cells.
        space: Keys of the table `space`.
        initial: Formula of the initial states.
        parameters: Values that the formulas may name.
        samples: Number of initial states.
    """
    tables = {
        "parameters": parameters or {},
        "domain": {"shape": "interval", "cells": cells},
        "space": space or {},
        "dynamics": dynamics,
        "data": {"initial": initial, "samples": samples},
    }
    return build_field(parse_case(tables), MPI.COMM_SELF)
