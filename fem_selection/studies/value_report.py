# SPDX-License-Identifier: MIT
"""The report of the study of the value function: its JSON form, its figures, and V for ParaView."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from fem_selection.discretization.spaces import StateSpace
from fem_selection.hjb import BoxInfluence, ClosedLoop, Refinement
from fem_selection.studies.report import Report
from fem_selection.typing import Floats

__all__ = ["HjbReport"]


@dataclass(frozen=True, kw_only=True, eq=False)
class HjbReport(Report):
    """The report of `hjb`, the same on every rank.

    Attributes:
        refinement: Value functions and V(0, x(0)) on the meshes, and the extrapolation.
        witness: V(0, x(0)) by dynamic programming; NaN if it was not run.
        objectives: The objectives that optimization reaches from the starts, the best first.
        loop: The trajectories under the feedback: the first from the initial state, the others from perturbed ones.
        influence: Values on the box and on a larger box.
        initial: x(0), shape (m, J), m cells and J samples.
        targets: The target states, shape (m, J).
    """

    refinement: Refinement
    witness: float
    objectives: tuple[float, ...]
    loop: ClosedLoop
    influence: BoxInfluence
    initial: Floats
    targets: Floats

    @property
    def value(self) -> float:
        """V(0, x(0)) on the finest mesh."""
        return self.refinement.values[-1]

    @property
    def open_loop_objective(self) -> float:
        """The lowest objective that optimization reached."""
        return self.objectives[0]

    @property
    def closed_loop_cost(self) -> float:
        """The cost of the feedback from the initial state."""
        return float(self.loop.costs[0])

    def content(self) -> dict[str, Any]:
        """The content of `report.json`."""
        found, loop, grid = self.refinement, self.loop, self.refinement.finest.grid
        values = found.improved.value(0.0, loop.states[0])
        perturbed = zip(loop.states[0, 1:].tolist(), loop.costs[1:], values[1:], strict=True)
        return {
            "value_at_initial_state": self.value,
            "extrapolated_value": found.extrapolated,
            "error_estimate": found.error_estimate,
            "extrapolated_error": found.extrapolated_error,
            "observed_orders": found.orders,
            "cells": found.cells,
            "values": found.values,
            "closed_loop_cost": self.closed_loop_cost,
            "perturbed": [
                {"state": state, "closed_loop_cost": float(cost), "value": float(value)}
                for state, cost, value in perturbed
            ],
            "left_box": bool(np.any(loop.left_box)),
            "outflow_share": found.finest.outflow_share,
            "outflow_time": found.finest.outflow_time,
            "steps": found.finest.steps,
            "initial": self.initial,
            "targets": self.targets,
            "witness_value": self.witness,
            "open_loop_objective": self.open_loop_objective,
            "open_loop_objectives": self.objectives,
            "box": {"lower": grid.lower, "upper": grid.upper},
            "box_influence": {
                "difference": self.influence.difference,
                "cells": self.influence.cells,
                "values": self.influence.values,
            },
        }

    def draw(self, folder: Path) -> None:
        """Draw `value.png`, V and the trajectories, and `refinement.png`, V(0, x(0)) over the mesh width."""
        from fem_selection import plots

        found, value, loop = self.refinement, self.refinement.improved, self.loop
        middle = (len(value.times) - 1) // 2
        shown = [0, middle] if value.grid.dimension > 1 else sorted({round(middle * k / 2) for k in range(5)})
        figure = plots.plot_value(
            value.grid.axes,
            np.maximum(value.values[shown], 0.0),  # costs are not negative, but extrapolation may be
            value.times[shown],
            trajectory_times=loop.times,
            trajectories=loop.states,
            target=self.targets.ravel(),
            labels=_names_of_states(*self.initial.shape),
        )
        plots.save(figure, folder / "value.png")
        others = {
            "open loop": self.open_loop_objective,
            "closed loop": self.closed_loop_cost,
            "dynamic programming": self.witness,
        }
        cells = np.array([max(c) for c in found.cells])
        figure = plots.plot_refinement(cells, np.array(found.values), found.extrapolated, others=others)
        plots.save(figure, folder / "refinement.png")

    def write_fields(self, folder: Path, space: StateSpace, comm: MPI.Intracomm) -> None:
        """Write V(t, x) for ParaView, `value.bp` or `value.xdmf` (collective over `comm`).

        Args:
            folder: The folder of the report.
            space: Unused: V lives on a mesh of its own, in the space of states.
            comm: The ranks that share the writing.
        """
        from fem_selection.io.values import write_value

        value = self.refinement.improved
        write_value(folder / "value", comm, value.grid.axes, times=value.times, values=value.values)


def _names_of_states(cells: int, samples: int) -> list[str]:
    return [
        f"$x_{{{i + 1}}}^{{({j + 1})}}$" if samples > 1 else f"$x_{{{i + 1}}}$"
        for i in range(cells)
        for j in range(samples)
    ]
