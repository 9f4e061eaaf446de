# SPDX-License-Identifier: MIT
"""Cases on other meshes: the levels of a table `[multilevel]`, and the next finer level of any case."""

from __future__ import annotations

import dataclasses
import math

from fem_selection import config
from fem_selection.cases.kernel import at_key, is_random
from fem_selection.errors import InvalidInput

__all__ = ["finer_case", "level_cases"]


def level_cases(case: config.Case) -> list[config.Case]:
    """The cases of all levels, the case itself as the last.

    Where the case has one control interval for each layer, so have the coarse levels; elsewhere they have the largest
    number that divides the case's and their own layers.

    Args:
        case: The case.
    """
    m, levels = case.multilevel, []
    for number in range(m.num_coarse):
        domain, dynamics = case.domain, case.dynamics
        if m.files:
            with at_key("multilevel.files"):
                domain = dataclasses.replace(domain, file=m.files[number])
        elif m.cells:
            cells = m.cells[number]
            cells = cells if len(cells) > 1 else cells * len(domain.cells)
            domain = dataclasses.replace(domain, cells=cells)
        if m.layers:
            layers, whole = m.layers[number], dynamics.control_intervals
            intervals = layers if whole == dynamics.layers else math.gcd(whole, layers)
            dynamics = dataclasses.replace(dynamics, layers=layers, control_intervals=intervals)
        levels.append(dataclasses.replace(case, domain=domain, dynamics=dynamics))
    return [*levels, case]


def finer_case(case: config.Case) -> config.Case:
    """The case on the mesh that bisects each cell in every direction, with the same layers.

    Args:
        case: The case.

    Raises:
        InvalidInput: if the mesh is a file's, no grading bisects cells that are graded differently in each direction,
            or a kernel that is not optimized is random, and so another one on each mesh.
    """
    d = case.domain
    if d.file is not None:
        raise InvalidInput("domain.file: the mesh of a file is not refined")
    if "kernel" not in case.objective.controls and is_random(case):
        raise InvalidInput("dynamics.kernel: a random kernel that is not optimized is another one on each mesh")
    grading, count = d.grading, d.cells[0]
    if grading != 1.0:
        if len(set(d.cells)) > 1:
            raise InvalidInput(
                "domain.grading: cells of another number in each direction are not bisected by one grading"
            )
        grading = grading ** ((2 * count - 1) / (2 * count - 2)) if count > 1 else 1.0  # the ratio of neighbours' root
    domain = dataclasses.replace(d, cells=tuple(2 * n for n in d.cells), grading=grading)
    return dataclasses.replace(case, domain=domain)
