# SPDX-License-Identifier: MIT
"""The steady states of an equation: whether there are any, and which of them the dynamics select.

    report = fs.studies.steady(field, initial, fs.SteadySettings(starts=10))
    report.verdict, report.states[0].kind, report.limits[0].distance_from_initial
    report.write("folder", space=field.space)

The methods depend on the zeros of σ, as `fem_selection.steady.equilibria.analysis` describes.  Use its function
`analyze_steady_states` for singular functions and operators, which a report does not hold.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mpi4py import MPI

from fem_selection.dynamics.field import SelectionField
from fem_selection.io.triangles import gather_triangles
from fem_selection.settings import SteadySettings
from fem_selection.steady import SteadyAnalysis, analyze_steady_states
from fem_selection.studies.steady_report import PicardCondition, ReportedState, SampleLimit, SteadyReport
from fem_selection.typing import Block, Floats

__all__ = ["steady"]

_SAMPLES_SHOWN = 5
_VALUES_SHOWN = 20


def steady(
    field: SelectionField,
    initial: Block,
    settings: SteadySettings | None = None,
    *,
    seed: int = 0,
    sample_comm: MPI.Intracomm | None = None,
) -> SteadyReport:
    """Find steady states σ(K f + b) = 0 and the limits of some initial states (collective).

    Args:
        field: The right-hand side; it must not depend on time.
        initial: Nodal values of f^I, shape (num_local, samples); not changed.
        settings: Tolerances, starts of Newton's method and the horizon of the runs; `SteadySettings()` if None.
        seed: Seed of the random starts.
        sample_comm: Ranks that have the same equation and initial states, and share the runs to the limits.

    Raises:
        InvalidInput: if the right-hand side depends on time, or the initial states do not fit the space.

    Example:
        >>> problem = fs.build_field(fs.load_case("demos/pitchfork.toml"))  # tanh(3g/2) − g with g = ∫ f
        >>> report = fs.studies.steady(problem.field, problem.initial)
        >>> print(len(report.states), f"{max(state.preactivation_range[1] for state in report.states):.6f}")
        3 0.858560
    """
    found = analyze_steady_states(field, initial, settings, seed=seed, sample_comm=sample_comm)
    space, kernel, shown = field.space, found.kernel, _shown(found)
    columns = np.asfortranarray(np.array(list(shown.values())).reshape(-1, space.num_local).T)
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
        shown_everywhere=space.gather(columns).T,
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


def _states(field: SelectionField, found: SteadyAnalysis) -> tuple[ReportedState, ...]:
    """The steady states by Newton's method (collective)."""
    comm, states = field.space.comm, []
    for equilibrium, residual, sensitivity in zip(found.equilibria, found.residuals, found.sensitivities, strict=False):
        g = equilibrium.preactivation
        state = ReportedState(
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
            growth=limit.ends[j].growth,
            rest=limit.ends[j].rest,
            cycle=limit.ends[j].cycle,
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
