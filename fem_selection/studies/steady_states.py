# SPDX-License-Identifier: MIT
"""The steady states of an equation, whether there are any, and which of them the dynamics select.

    report = fs.studies.steady(field, initial, fs.SteadySettings(starts=10))
    report.verdict, report.states[0].kind, report.limits[0].distance_from_initial
    report.write("folder", space=field.space)

    folder/report.json                everything that was found
    folder/figures/steady_states.png  the states
    folder/figures/picard.png         singular values and the coefficients of the right-hand side
    folder/figures/approach.png       the way to the limit
    folder/steady.bp                  the states for ParaView (steady.xdmf without ADIOS2)

What is looked for depends on the zeros of σ; `fem_selection.steady.equilibria.analysis` says how.  Its function
`analyse_steady_states` gives singular functions and operators too, which a report does not hold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.field import SelectionField
from fem_selection.io.fields import write_states
from fem_selection.io.triangles import gather_triangles
from fem_selection.settings import SteadySettings
from fem_selection.steady import Projection, SteadyAnalysis, analyse_steady_states
from fem_selection.steady.equilibria.zero_set import ZeroSet
from fem_selection.studies.report import Report
from fem_selection.typing import Block, Floats, Integers

__all__ = ["PicardCondition", "SampleLimit", "SteadyReport", "SteadyState", "steady"]

_SAMPLES_SHOWN = 5
_VALUES_SHOWN = 20
_IF_FOUND = ("nearest_state", "preactivation_distance", "projection", "distance_from_projection")


@dataclass(frozen=True, kw_only=True)
class PicardCondition:
    """What the singular values say of the linear equation K f = s₀ − b.

    Attributes:
        equation: With s₀ as a number.
        verdict: Whether it seems to be solvable, in words.
        holds: The same as an answer.
        decay: Fitted p in ratio_k ∝ k^p.
        coefficients: |(s₀ − b, u_k)|, shape (rank,).
        ratios: |(s₀ − b, u_k)| / s_k.
        right_hand_side_norm: ‖s₀ − b‖.
        outside: Part of that outside of the span of the u_k.
        minimal_norm: ‖f†‖ of the solution of minimal norm.
        residual: ‖K f† − (s₀ − b)‖.
    """

    equation: str
    verdict: str
    holds: bool
    decay: float
    coefficients: Floats
    ratios: Floats
    right_hand_side_norm: float
    outside: float
    minimal_norm: float
    residual: float


@dataclass(frozen=True, kw_only=True)
class SteadyState:
    """A steady state f* by Newton's method.

    Attributes:
        state: Nodal values of this rank, shape (num_local,).
        residual: ‖σ(K f* + b)‖.
        residuals: Those of the iteration.
        preactivation_range: The least and the largest value of g* = K f* + b.
        norm: ‖f*‖.
        start: Number of the start it was found from.
        distance_from_start: ‖f* − f₀‖.
        kind: Isolated or not, in words.
        isolated: Whether the linearization F'(f*) is regular at the tolerance.
        null_space_dimension: Of F'(f*); None if it is not known.
        nearest_eigenvalue: |λ| of the eigenvalue of F'(f*) nearest to zero, where that decides.
        singular_values: The first of those of F'(f*).
        sensitivity_to_constant_bias: ‖∂f*/∂b‖ in the direction b = 1; None where there is no derivative.
    """

    state: Floats
    residual: float
    residuals: tuple[float, ...]
    preactivation_range: tuple[float, float]
    norm: float
    start: int
    distance_from_start: float
    kind: str
    isolated: bool
    null_space_dimension: int | None
    nearest_eigenvalue: float | None
    singular_values: Floats
    sensitivity_to_constant_bias: float | None


@dataclass(frozen=True, kw_only=True)
class SampleLimit:
    """Where the dynamics lead from one initial state.

    Attributes:
        state: Nodal values of the last state on this rank, shape (num_local,).
        outcome: "steady", "unbounded" or "not steady".
        reason: The same as a sentence.
        time: When the run ended.
        rate: ‖∂_t f‖ there.
        growth_rate: Of exponential growth, NaN if there was none.
        norm: ‖f‖ there.
        distance_from_initial: ‖f − f^I‖ there.
        nearest_state: The steady state whose preactivation is nearest to that of the limit, if one was found.
        preactivation_distance: Between these two.
        projection: The steady state nearest to f^I, where steady states form a convex set.
        distance_from_projection: ‖f − projection‖.
    """

    state: Floats
    outcome: str
    reason: str
    time: float
    rate: float
    growth_rate: float
    norm: float
    distance_from_initial: float
    nearest_state: int | None = None
    preactivation_distance: float | None = None
    projection: Projection | None = None
    distance_from_projection: float | None = None


@dataclass(frozen=True, kw_only=True)
class SteadyReport(Report):
    """Steady states of an equation and limits of some initial states.

    Attributes:
        verdict: The main finding as a sentence.
        zeros: Where σ vanishes.
        singular_values: Of K, s_1 ≥ s_2 ≥ … above the tolerance.
        numerical_rank: Their number.
        rank_is_complete: Whether these are all of them; else the rank is a lower bound.
        tolerance: Relative to s_1, what counts as zero.
        null_space_dimension: Of K; None if the singular values are not complete.
        num_nodes: Nodes of the whole mesh.
        picard: Of the linear equation K f = s₀ − b, where there is one.
        states: Steady states by Newton's method.
        limits: Where the dynamics lead, for each initial state.
        residuals: ‖σ(K f + b)‖ of `states`, or else of the projections.
        time: When the last of the steady samples became steady; None if none did.
        declined: What does not apply, with the reason.
        shown: Nodal values of this rank of the states in figure and fields, by name.
        shown_everywhere: Their values at all nodes, shape (len(shown), num_nodes), for figures.
        mesh: Coordinates of all nodes, shape (num_nodes, dimension), and the triangles between them, for figures.
        approach_times: Shape (num_times,).
        approach: ‖f_j(t) − f_j(end)‖ at these times, NaN after the end, shape (num_times, samples).
    """

    verdict: str
    zeros: ZeroSet
    singular_values: Floats
    numerical_rank: int
    rank_is_complete: bool
    tolerance: float
    null_space_dimension: int | None
    num_nodes: int
    picard: PicardCondition | None
    states: tuple[SteadyState, ...]
    limits: tuple[SampleLimit, ...]
    residuals: tuple[float, ...]
    time: float | None
    declined: Mapping[str, str]
    shown: Mapping[str, Floats] = dataclasses.field(repr=False)
    shown_everywhere: Floats = dataclasses.field(repr=False)
    mesh: tuple[Floats, Integers | None] = dataclasses.field(repr=False)
    approach_times: Floats = dataclasses.field(repr=False)
    approach: Floats = dataclasses.field(repr=False)

    @property
    def residual(self) -> float | None:
        """The largest of the residuals; None if no steady state was found."""
        return max(self.residuals, default=None)

    def as_dict(self) -> dict[str, Any]:
        """Verdict, zeros of σ, singular values, steady states and limits."""
        zeros = self.zeros
        return {
            "verdict": self.verdict,
            "residual": self.residual,
            "time": self.time,
            "picard_ratios": None if self.picard is None else self.picard.ratios,
            "zeros": {
                "text": str(zeros),
                "kind": zeros.kind,
                "points": zeros.points,
                "slopes": zeros.slopes,
                "segments": [[a if np.isfinite(a) else None for a in s] for s in zeros.segments],
            },
            "kernel": {
                "singular_values": self.singular_values,
                "numerical_rank": self.numerical_rank,
                "rank_is_complete": self.rank_is_complete,
                "tolerance": self.tolerance,
                "null_space_dimension": self.null_space_dimension,
                "nodes": self.num_nodes,
            },
            "picard": None if self.picard is None else _entries(self.picard, "ratios"),
            "declined": dict(self.declined),
            "states": [_entries(state, "state") for state in self.states],
            "limits": [_limit_entries(limit) for limit in self.limits],
        }

    def draw(self, folder: Path) -> None:
        """Draw the states, the Picard condition and the way to the limit."""
        from fem_selection import plots

        if self.shown:
            coordinates, triangles = self.mesh
            figure = plots.plot_steady_states(coordinates, self.shown_everywhere, list(self.shown), triangles)
            plots.save(figure, folder / "steady_states.png")
        if (picard := self.picard) is not None:
            figure = plots.plot_picard(self.singular_values, picard.coefficients, picard.ratios, picard.verdict)
            plots.save(figure, folder / "picard.png")
        labels = [f"sample {j + 1}: {limit.outcome}" for j, limit in enumerate(self.limits)]
        plots.save(plots.plot_approach(self.approach_times, self.approach, labels), folder / "approach.png")

    def write_fields(self, folder: Path, space: StateSpace, comm: MPI.Intracomm) -> None:
        """Write the states in the figure for ParaView (collective over the space)."""
        if self.shown:
            names = [name.replace(" ", "_") for name in self.shown]
            write_states(folder / "steady", space, np.zeros(1), [_columns(self.shown, space)], names)


def steady(
    field: SelectionField, initial: Block, settings: SteadySettings | None = None, *, seed: int = 0
) -> SteadyReport:
    """Find steady states σ(K f + b) = 0 and the limits of some initial states (collective).

    Args:
        field: The right-hand side, not depending on time.
        initial: Nodal values of f^I, shape (num_local, samples); not changed.
        settings: Tolerances, starts of Newton's method and the horizon of the runs.
        seed: Of the random starts.

    Raises:
        InvalidInput: if the right-hand side depends on time, or the initial states do not fit the space.
    """
    found = analyse_steady_states(field, initial, settings, seed)
    space, kernel, shown = field.space, found.kernel, _shown(found)
    return SteadyReport(
        verdict=found.verdict,
        zeros=found.zeros,
        singular_values=kernel.values,
        numerical_rank=kernel.rank,
        rank_is_complete=kernel.is_complete,
        tolerance=kernel.tolerance,
        null_space_dimension=kernel.nullity,
        num_nodes=space.num_nodes,
        picard=_picard(found),
        states=_states(field, found),
        limits=_limits(field, initial, found),
        residuals=found.residuals,
        time=found.limit.time,
        declined=found.declined,
        shown=shown,
        shown_everywhere=space.gather(_columns(shown, space)).T,
        mesh=(space.gather(space.coordinates), gather_triangles(space)),
        approach_times=found.limit.snapshot_times,
        approach=found.limit.distances,
    )


def _picard(found: SteadyAnalysis) -> PicardCondition | None:
    picard = found.picard
    if picard is None:
        return None
    return PicardCondition(
        equation=f"K f = {found.level:.10g} - b",
        verdict=picard.verdict,
        holds=picard.holds,
        decay=picard.decay,
        coefficients=picard.coefficients,
        ratios=picard.ratios,
        right_hand_side_norm=picard.norm,
        outside=picard.outside,
        minimal_norm=picard.solution_norm,
        residual=picard.residual,
    )


def _states(field: SelectionField, found: SteadyAnalysis) -> tuple[SteadyState, ...]:
    """The steady states by Newton's method (collective)."""
    comm, states = field.space.comm, []
    for equilibrium, residual, sensitivity in zip(found.equilibria, found.residuals, found.sensitivities, strict=False):
        g = equilibrium.preactivation
        state = SteadyState(
            state=equilibrium.state,
            residual=residual,
            residuals=equilibrium.newton.residuals,
            preactivation_range=(comm.allreduce(g.min(), op=MPI.MIN), comm.allreduce(g.max(), op=MPI.MAX)),
            norm=float(field.space.norm(equilibrium.state[:, None])[0]),
            start=equilibrium.start,
            distance_from_start=equilibrium.newton.distance,
            kind=equilibrium.kind,
            isolated=equilibrium.is_isolated,
            null_space_dimension=equilibrium.jacobian.nullity,
            nearest_eigenvalue=equilibrium.nearest,
            singular_values=equilibrium.jacobian.values[:_VALUES_SHOWN],
            sensitivity_to_constant_bias=sensitivity,
        )
        states.append(state)
    return tuple(states)


def _limits(field: SelectionField, initial: Block, found: SteadyAnalysis) -> tuple[SampleLimit, ...]:
    """The limit of each initial state, beside the steady states that were found (collective)."""
    space, limit = field.space, found.limit
    from_start = space.norm(np.asfortranarray(limit.states - initial))
    norms, entries = space.norm(limit.states), []
    for j, outcome in enumerate(limit.outcomes):
        more: dict[str, Any] = {}
        if outcome == "steady" and found.equilibria:
            patterns = np.column_stack([e.preactivation for e in found.equilibria])
            here = field.preactivation(np.asfortranarray(limit.states[:, j : j + 1]))
            away = space.norm(np.asfortranarray(patterns - here))
            more |= {"nearest_state": int(np.argmin(away)), "preactivation_distance": float(np.min(away))}
        if j < len(found.projections):
            more["projection"] = projection = found.projections[j]
            if outcome == "steady" and projection.exists:
                between = np.asfortranarray((limit.states[:, j] - projection.state)[:, None])
                more["distance_from_projection"] = float(space.norm(between)[0])
        entry = SampleLimit(
            state=limit.states[:, j],
            outcome=outcome,
            reason=limit.reasons[j],
            time=float(limit.times[j]),
            rate=float(limit.rates[j]),
            growth_rate=float(limit.growth_rates[j]),
            norm=float(norms[j]),
            distance_from_initial=float(from_start[j]),
            **more,
        )
        entries.append(entry)
    return tuple(entries)


def _shown(found: SteadyAnalysis) -> dict[str, Floats]:
    """The states in figure and fields: those of Newton's method, projections, limits, f†."""
    shown: dict[str, Floats] = {f"steady {k + 1}": e.state for k, e in enumerate(found.equilibria)}
    limit, several = found.limit, len(found.limit.outcomes) > 1
    for j, outcome in enumerate(limit.outcomes[:_SAMPLES_SHOWN]):
        number = f" {j + 1}" if several else ""
        if j < len(found.projections) and found.projections[j].exists:
            shown[f"nearest{number}"] = found.projections[j].state
        if outcome == "steady":
            shown[f"selected{number}"] = limit.states[:, j]
    if found.picard is not None and found.picard.holds:
        shown["minimal norm"] = found.picard.solution
    return shown


def _columns(shown: Mapping[str, Floats], space: StateSpace) -> Block:
    return np.asfortranarray(np.array(list(shown.values())).reshape(-1, space.num_local).T)


def _entries(finding: Any, *without: str) -> dict[str, Any]:
    """The attributes of a dataclass by name."""
    return {f.name: getattr(finding, f.name) for f in dataclasses.fields(finding) if f.name not in without}


def _limit_entries(limit: SampleLimit) -> dict[str, Any]:
    missing = [name for name in _IF_FOUND if getattr(limit, name) is None]
    entries = _entries(limit, "state", *missing)
    if limit.projection is not None:
        entries["projection"] = _entries(limit.projection, "state")
    return entries
