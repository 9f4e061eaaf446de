# SPDX-License-Identifier: MIT
"""A training from coarse to fine: the objective at the start and at the end of each level, over the work so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fem_selection.plots.style import COLOURS, WIDTH, create_axes, styled

__all__ = ["plot_levels"]


@styled
def plot_levels(levels: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw a line for each level, from its start to its end, and the objective at the finest level's own start.

    Args:
        levels: The entries `nodes`, `layers`, `work`, `objective_at_start`, `objective` of each level and
            `objective_without_levels` of the last, from coarse to fine (see `TrainingReport.levels`).
    """
    figure, grid = create_axes(1, 1, WIDTH, height=2.8)
    axes = grid.ravel()[0]
    colours = list(COLOURS.values())
    ends = np.cumsum([level["work"] for level in levels])
    for number, level in enumerate(levels):
        work = [ends[number] - level["work"], ends[number]]
        axes.plot(
            work,
            [level["objective_at_start"], level["objective"]],
            marker="o",
            color=colours[number % len(colours)],
            label=f"{level['nodes']} nodes, {level['layers']} layers",
        )
    without = levels[-1]["objective_without_levels"]
    axes.axhline(without, color="0.5", linestyle=":", label="start of the finest without levels")
    if without > 0 and all(level["objective"] > 0 for level in levels):
        axes.set_yscale("log")
    axes.set_xlabel("work (evaluations of the finest level)")
    axes.set_ylabel("objective")
    axes.legend()
    return figure
