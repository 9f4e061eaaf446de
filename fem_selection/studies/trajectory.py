# SPDX-License-Identifier: MIT
"""The selection equation over large times, compared with the estimates of the theory.

    report = fs.studies.forward(field, initial, fs.ForwardSettings(until=50.0))
    report.integration.final, report.norms, report.estimates["growth"].ratio
    report.write("folder", space=field.space)

    folder/report.json              norms, bounds, hypotheses, steps, events
    folder/figures/norms.png        norms and bounds over time, rates and steps
    folder/figures/functionals.png  functionals that cannot grow, where their hypotheses hold
    folder/figures/states.png       states of a few samples at a few times
    folder/states.bp                the same samples for ParaView (states.xdmf without ADIOS2)

Use `fem_selection.evolution.integrate` for the solution alone, without norms and estimates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.field import SelectionField
from fem_selection.errors import InvalidInput
from fem_selection.evolution import Integration, integrate
from fem_selection.evolution.estimates import Estimate, estimate_run
from fem_selection.io.fields import write_states
from fem_selection.io.triangles import gather_triangles
from fem_selection.settings import DynamicsSettings, ForwardSettings
from fem_selection.settings.tables import settings_or_default
from fem_selection.studies.report import Report
from fem_selection.typing import Block, Floats, Integers

__all__ = ["ForwardReport", "forward"]

_FUNCTIONALS = {"energy": "E(f)", "potential": "∫Σ(K f + b)"}


@dataclass(frozen=True, kw_only=True, eq=False)
class ForwardReport(Report):
    """A solution over large times and its comparison with the estimates.

    Attributes:
        settings: The settings of the run.
        integration: Times, states (nodal values of this rank), events and steps.
        estimates: The estimates by name; empty if the settings leave them out.
        norms: ‖f_j‖ at the times of `integration`, shape (num_times, samples); NaN after the end of a sample's run.
        final_norms: ‖f_j‖ at the end of each sample's run, shape (samples,).
        final_rates: ‖∂_t f_j‖ there, shape (samples,).
        estimated: Numbers of the samples that the estimates are about: those whose run lasted to the end.
        num_nodes: Nodes of the whole mesh.
        mesh: Coordinates of all nodes, shape (num_nodes, dimension), and the triangles between them, for figures.
        shown_times: Times in the figure of states.
        shown_states: Values of the first samples at all nodes, shape (len(shown_times), num_nodes, shown samples).
    """

    settings: ForwardSettings
    integration: Integration
    estimates: Mapping[str, Estimate]
    norms: Floats
    final_norms: Floats
    final_rates: Floats
    estimated: Integers
    num_nodes: int
    mesh: tuple[Floats, Integers | None] = dataclasses.field(repr=False)
    shown_times: Floats = dataclasses.field(repr=False)
    shown_states: Floats = dataclasses.field(repr=False)

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Estimate, its ratio to what was measured, and the hypotheses that fail, for a table."""
        return [
            (name, _ratio(e), "; ".join(f"{h.statement}: {h.measured}" for h in e.failed))
            for name, e in self.estimates.items()
        ]

    @property
    def details(self) -> dict[str, str]:
        """Steps, methods and norms by name."""
        run, norms = self.integration, self.norms
        return {
            "steps": f"{run.steps} taken, {run.rejected} rejected, {run.evaluations} evaluations",
            "methods": ", ".join(f"{name} from t = {since:.4g}" for since, name in run.methods),
            "largest norm": f"{norms[0].max(initial=0.0):.4g} → {self.final_norms.max(initial=0.0):.4g}",
            "largest rate": f"{self.final_rates.max(initial=0.0):.3g}",
        } | ({} if self.time_dependence is None else {"w and b in time": self.time_dependence})

    @property
    def time_dependence(self) -> str | None:
        """How closely the steps follow kernel and bias in time, as a sentence; None if neither depends on time."""
        pieces = self.integration.pieces
        if pieces is None:
            return None
        how = "samples" if pieces.sampled else "bounds of the formulas"
        found = f"{pieces.edges.size - 1} pieces of time by {how}, the shortest {pieces.shortest:.3g}"
        if not pieces.complete:
            found += "; the coefficients vary within pieces, of which there may be no more"
        if pieces.sampled:
            found += "; what happens between samples may be missed: limit forward.max_step"
        return found

    @property
    def growth(self) -> dict[str, str]:
        """The law by which the largest norm grew, by name; empty if none was found."""
        found = self.integration.growth
        return {} if found is None else {"growth": f"‖f‖ {found.sentence}, from t = {found.since:.4g}"}

    @property
    def others(self) -> dict[str, str]:
        """The ends of samples that did not end as the whole run did, by name."""
        ends = enumerate(self.integration.ends)
        return {f"sample {j + 1}": f"{e.outcome}: {e.reason}" for j, e in ends if e.outcome != self.integration.outcome}

    def content(self) -> dict[str, Any]:
        """Norms, bounds, hypotheses, steps and events."""
        run = self.integration
        return {
            "outcome": run.outcome,
            "reason": run.reason,
            "end": run.times[-1],
            "steady_time": run.steady_time,
            "growth": None if run.growth is None else dataclasses.asdict(run.growth),
            "times": run.times,
            "norms": self.norms,
            "final_norms": self.final_norms,
            "final_rates": self.final_rates,
            "ends": [end.as_dict() for end in run.ends],
            "estimated": self.estimated,
            "bounds": {name: _bound(estimate) for name, estimate in self.estimates.items()},
            "hypotheses": {n: [dataclasses.asdict(h) for h in e.hypotheses] for n, e in self.estimates.items()},
            "time_dependence": self.time_dependence,
            "steps": run.steps,
            "rejected": run.rejected,
            "evaluations": run.evaluations,
            "methods": [{"since": since, "name": name} for since, name in run.methods],
            "history": run.history,
            "nodes": self.num_nodes,
            "samples": self.norms.shape[1],
        }

    def draw(self, folder: Path) -> None:
        """Draw norms, functionals that cannot grow, and states."""
        from fem_selection import plots

        run, found = self.integration, self.estimates
        logarithmic = self.settings.spacing == "logarithmic"
        bound = found["growth"].bound if "growth" in found else None
        plots.draw(
            folder / "norms.png",
            plots.plot_norms,
            run.times,
            self.norms,
            bound,
            history=run.history,
            logarithmic=logarithmic,
        )
        falling = {label: found[n].measured for n, label in _FUNCTIONALS.items() if n in found and found[n].claimed}
        if falling:
            plots.draw(folder / "functionals.png", plots.plot_functionals, run.times, falling, logarithmic)
        titles = [f"sample {j + 1}" for j in range(self.shown_states.shape[2])]
        coordinates, triangles = self.mesh
        plots.draw(
            folder / "states.png",
            plots.plot_states,
            coordinates,
            self.shown_states,
            self.shown_times,
            titles=titles,
            triangles=triangles,
        )

    def write_fields(self, folder: Path, space: StateSpace, comm: MPI.Intracomm) -> None:
        """Write the first samples at all times for ParaView (collective over the space).  See `Report.write_fields`."""
        samples = self.shown_states.shape[2]
        shown = [np.asfortranarray(f[:, :samples]) for f in self.integration.states]
        write_states(
            folder / "states", space, self.integration.times, states=shown, names=[f"f_{j}" for j in range(samples)]
        )


def forward(
    field: SelectionField,
    initial: Block,
    settings: ForwardSettings | None = None,
    *,
    horizon: float = DynamicsSettings.horizon,
    progress: Callable[[float, int], bool | None] | None = None,
) -> ForwardReport:
    """Solve ∂_t f_j = σ(K f_j + b), f_j(0) = f^I_j, with adaptive steps, and compare with the estimates (collective).

    Args:
        field: The right-hand side.
        initial: Nodal values of f^I, shape (num_local, samples); not changed.
        settings: Times, tolerances, events, and whether estimates are computed; `ForwardSettings()` if None.
        horizon: The last time, if `settings.until` is None.
        progress: Called after each step with the time and the number of steps.  The run ends if it returns True, which
            it must do on all ranks alike; the report then holds the times that were reached.

    Raises:
        InvalidInput: if the initial states do not fit the space or are not finite, or the horizon is not positive.
    """
    settings = settings_or_default(settings, ForwardSettings)
    if settings.until is None and not 0.0 < horizon < np.inf:
        raise InvalidInput(f"horizon must be a positive number, got {horizon}")
    space = field.space
    initial = space.to_block(initial, "initial states", fewest=1)
    run = integrate(field, initial, _times(settings, horizon), settings=settings, progress=progress)
    norms = np.array([space.norm(f) for f in run.states])
    lasting = np.flatnonzero(np.isfinite(norms).all(axis=0))
    estimates = {}
    if settings.estimates and (lasting.size or not norms.shape[1]):
        states = [f if lasting.size == f.shape[1] else np.asfortranarray(f[:, lasting]) for f in run.states]
        estimates = estimate_run(field, run.times, states, pieces=run.pieces)
    chosen = np.unique(np.linspace(0, len(run.times) - 1, settings.shown).round().astype(int))
    return ForwardReport(
        settings=settings,
        integration=run,
        estimates=estimates,
        norms=norms,
        final_norms=space.norm(run.final),
        final_rates=space.norm(run.rate),
        estimated=lasting,
        num_nodes=space.num_nodes,
        mesh=(space.gather(np.asfortranarray(space.coordinates)), gather_triangles(space)),
        shown_times=run.times[chosen],
        shown_states=np.stack([space.gather(np.asfortranarray(run.states[k][:, : settings.shown])) for k in chosen]),
    )


def _times(settings: ForwardSettings, horizon: float) -> Floats:
    """The times at which states are kept."""
    end = horizon if settings.until is None else settings.until
    if settings.spacing == "linear" or settings.times == 2:
        return np.linspace(0.0, end, settings.times)
    return np.concatenate([[0.0], np.geomspace(1e-6 * end, end, settings.times - 1)])


def _bound(estimate: Estimate) -> dict[str, Any]:
    return {
        "statement": estimate.statement,
        "claimed": estimate.claimed,
        "failed": [h.statement for h in estimate.failed],
        "measured": estimate.measured,
        "bound": estimate.bound,
        "ratio": estimate.ratio,
        "largest_ratio": estimate.largest_ratio,
        "excess": estimate.excess,
        "constants": estimate.constants,
        "allowance": estimate.allowance,
    }


def _ratio(estimate: Estimate) -> str:
    if not estimate.claimed:
        return "not claimed"
    worst = estimate.largest_ratio
    ratio = f"at most {worst:.4g}" if worst is not None else f"missed by {max(estimate.excess, 0.0):.1e}"
    return f"{ratio}, tolerance {estimate.allowance:.1e}" if estimate.allowance else ratio
