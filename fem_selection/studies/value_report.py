# SPDX-License-Identifier: MIT
"""The report of the study of the value function: its JSON form, its figures, and V for ParaView."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from fem_selection.discretization.spaces import StateSpace
from fem_selection.hjb import Agreement, BoxInfluence, BoxSearch, ClosedLoop, Refinement, compare
from fem_selection.hjb.box import BoxVerdict
from fem_selection.studies.report import Report
from fem_selection.typing import Floats

__all__ = ["HjbReport"]


@dataclass(frozen=True, kw_only=True, eq=False)
class HjbReport(Report):
    """The report of `hjb`, the same on every rank.

    Attributes:
        refinement: Value functions and V(0, x(0)) on the meshes, and the extrapolation.
        witness: V(0, x(0)) by dynamic programming; NaN if it was not run.
        witness_error: Twice its difference from the same on half the cells, a bound of its error for every order above
            0.58; NaN if it was not run.
        objectives: The objectives that optimization reaches from the starts, the best first.
        attained: The cost of the best of these controls in continuous depth, an upper bound of V(0, x(0)).
        open_loop_declined: Why the best of these controls are no optimum, so that a V below their cost contradicts
            nothing; None if they are stationary.
        loop: The trajectories under the feedback: the first from the initial state, the others from perturbed ones.
        box: The box, its influence, and whether it is large enough.
        resolution: The interpolation error of Φ on the finest mesh.
        initial: x(0), shape (m, J), m cells and J samples.
        targets: The target states, shape (m, J).
    """

    refinement: Refinement
    witness: float
    witness_error: float
    objectives: tuple[float, ...]
    attained: float
    open_loop_declined: str | None
    loop: ClosedLoop
    box: BoxSearch
    resolution: float
    initial: Floats
    targets: Floats

    @property
    def influence(self) -> BoxInfluence:
        """Values on the box and on a larger box."""
        return self.box.influence

    @property
    def value(self) -> float:
        """V(0, x(0)) on the finest mesh."""
        return self.refinement.values[-1]

    @property
    def value_error(self) -> float:
        """The error estimate of `value`: that of the mesh, and the influence of the box.

        With a single mesh, that of the mesh is the difference from the coarse mesh on which the box was judged.
        """
        mesh = self.refinement.error_estimate
        mesh = abs(self.value - self.influence.values[0]) if np.isnan(mesh) else mesh
        return mesh + self.influence.difference

    @property
    def open_loop_objective(self) -> float:
        """The lowest objective that optimization reached."""
        return self.objectives[0]

    @property
    def closed_loop_cost(self) -> float:
        """The cost of the feedback from the initial state; NaN if `closed_loop_declined` says why there is none."""
        return float(self.loop.costs[0])

    @property
    def closed_loop_declined(self) -> str | None:
        """Why the feedback from the initial state has no cost; None if it has one."""
        if not self.loop.left_box[0]:
            return None
        return f"the trajectory leaves the box at t = {self.loop.exit_times[0]:.3g}, beyond which V is not known"

    @property
    def extrapolated_declined(self) -> str | None:
        """Why the extrapolation has no error bar; None if it has one.

        A box that is too small takes it away too, and so does another number that V contradicts.
        """
        if self.box_verdict == "too small":
            return f"the box is too small, for {self.box_reason}"
        against = [c for c in self.agreement.comparisons if c.verdict == "disagree" and c.first == "finite elements"]
        if against and self.refinement.extrapolated_declined is None:
            return against[0].sentence()
        return self.refinement.extrapolated_declined

    @property
    def box_verdict(self) -> BoxVerdict:
        """Whether the box is large enough for V(0, x(0)); a closed loop on the finest mesh that leaves it says no."""
        return "too small" if self.loop.left_box[0] else self.box.verdict

    @property
    def box_reason(self) -> str:
        """Why, in one sentence."""
        return "the trajectory under the feedback leaves it" if self.loop.left_box[0] else self.box.reason

    @property
    def agreement(self) -> Agreement:
        """Whether V, its witness, open loop and closed loop agree within their error estimates."""
        return compare(
            self.value,
            self.value_error,
            witness=self.witness,
            witness_error=self.witness_error + self.influence.difference,
            open_loop=self.attained,
            open_loop_error=abs(self.attained - self.open_loop_objective),
            open_loop_is_optimum=self.open_loop_declined is None,
            closed_loop=self.closed_loop_cost,
            resolution=self.resolution,
        )

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Cells, V(0, x(0)) and observed order of each mesh, for a table."""
        found = self.refinement
        orders = [""] * min(2, len(found.values)) + [f"{p:.2f}" for p in found.orders]
        return [
            ("×".join(map(str, cells)), f"{value:.6g}", order)
            for cells, value, order in zip(found.cells, found.values, orders, strict=True)
        ]

    @property
    def details(self) -> dict[str, str]:
        """The values of all routes with their errors, the verdicts on them and on the box, by name."""
        found, declined, grid = self.refinement, self.extrapolated_declined, self.refinement.finest.grid
        bar = f"error {found.extrapolated_error:.1e}" if declined is None else f"no error bar: {declined}"
        costs = ", ".join(f"{v:.6g}" for v in self.objectives)
        costs += f"; an upper bound, no optimum: {self.open_loop_declined}" if self.open_loop_declined else ""
        corners = " to ".join("(" + ", ".join(f"{x:.3g}" for x in corner) + ")" for corner in (grid.lower, grid.upper))
        return {
            "finite elements": f"{self.value:.6g} (error {self.value_error:.1e})",
            "extrapolated": f"{found.extrapolated:.6g} ({bar})",
            "dynamic programming": f"{self.witness:.6g} (error {self.witness_error:.1e})",
            "closed loop": self.closed_loop_declined or f"{self.closed_loop_cost:.6g}",
            "open loop": f"{self.attained:.6g} in continuous depth; of the layers, from all starts: {costs}",
            "verdict": "; ".join([self.agreement.verdict, *self.agreement.reasons]),
            "box": f"{self.box_verdict}: {self.box_reason}; {corners}",
            "outflow": f"{found.finest.outflow_share:.1%} of the boundary at most",
        }

    @property
    def sentences(self) -> list[str]:
        """V(0, x(0)) and the lowest objective with all digits, as short sentences."""
        return [
            f"value_at_initial_state {self.value:.10g}",
            f"open_loop_objective {self.open_loop_objective:.10g}",
        ]

    def content(self) -> dict[str, Any]:
        """The content of `report.json`."""
        found, loop, grid, agreement = self.refinement, self.loop, self.refinement.finest.grid, self.agreement
        values = found.improved.value(0.0, loop.states[0])
        perturbed = zip(loop.states[0, 1:].tolist(), loop.costs[1:], values[1:], loop.left_box[1:], strict=True)
        return {
            "value_at_initial_state": self.value,
            "extrapolated_value": found.extrapolated,
            "error_estimate": found.error_estimate,
            "extrapolated_error": found.extrapolated_error if self.extrapolated_declined is None else np.nan,
            "extrapolated_declined": self.extrapolated_declined,
            "observed_orders": found.orders,
            "cells": found.cells,
            "values": found.values,
            "closed_loop_cost": self.closed_loop_cost,
            "closed_loop_declined": self.closed_loop_declined,
            "perturbed": [
                {"state": state, "closed_loop_cost": float(cost), "value": float(value), "left_box": bool(left)}
                for state, cost, value, left in perturbed
            ],
            "left_box": bool(np.any(loop.left_box)),
            "outflow_share": found.finest.outflow_share,
            "outflow_time": found.finest.outflow_time,
            "steps": found.finest.steps,
            "initial": self.initial,
            "targets": self.targets,
            "witness_value": self.witness,
            "witness_error": self.witness_error,
            "value_error": self.value_error,
            "open_loop_objective": self.open_loop_objective,
            "open_loop_cost": self.attained,
            "open_loop_objectives": self.objectives,
            "open_loop_declined": self.open_loop_declined,
            "box": {"lower": grid.lower, "upper": grid.upper},
            "box_influence": {
                "difference": self.influence.difference,
                "cells": self.influence.cells,
                "values": self.influence.values,
                "tolerance": self.box.tolerance,
            },
            "box_verdict": self.box_verdict,
            "box_reason": self.box_reason,
            "boxes_tried": self.box.rounds,
            "agreement": {
                "verdict": agreement.verdict,
                "reasons": list(agreement.reasons),
                "comparisons": [asdict(c) for c in agreement.comparisons],
            },
        }

    def draw(self, folder: Path) -> None:
        """Draw `value.png`, V and the trajectories, and `refinement.png`, V(0, x(0)) over the mesh width."""
        from fem_selection import plots

        found, value, loop = self.refinement, self.refinement.improved, self.loop
        middle = (len(value.times) - 1) // 2
        shown = [0, middle] if value.grid.dimension > 1 else sorted({round(middle * k / 2) for k in range(5)})
        plots.draw(
            folder / "value.png",
            plots.plot_value,
            value.grid.axes,
            np.maximum(value.values[shown], 0.0),  # costs are not negative, but extrapolation may be
            value.times[shown],
            trajectory_times=loop.times,
            trajectories=loop.states,
            target=self.targets.ravel(),
            labels=_names_of_states(*self.initial.shape),
        )
        others = {
            "open loop": self.attained,
            "closed loop": self.closed_loop_cost,
            "dynamic programming": self.witness,
        }
        cells = np.array([max(c) for c in found.cells])
        plots.draw(
            folder / "refinement.png",
            plots.plot_refinement,
            cells,
            np.array(found.values),
            found.extrapolated if self.extrapolated_declined is None else np.nan,
            others=others,
            error=self.value_error,
        )

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
