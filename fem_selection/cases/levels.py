# SPDX-License-Identifier: MIT
"""The levels of a case with a table `[multilevel]`: cases of their own, from the coarsest to the case itself."""

from __future__ import annotations

import dataclasses
import math

from fem_selection import config
from fem_selection.cases.kernel import at_key

__all__ = ["level_cases"]


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
