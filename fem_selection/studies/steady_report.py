# SPDX-License-Identifier: MIT
"""The report of steady states and limits: its values, JSON form, figures and fields.

`studies.steady_states` makes it; `SteadyReport.write` leaves

    folder/report.json                everything that was found
    folder/figures/steady_states.png  the states
    folder/figures/picard.png         singular values and the coefficients of the right-hand side
    folder/figures/approach.png       the way to the limit
    folder/steady.bp                  the states for ParaView (steady.xdmf without ADIOS2)
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
from fem_selection.evolution import ClosedOrbit, Growth, Rest
from fem_selection.io.fields import write_states
from fem_selection.steady import Projection
from fem_selection.steady.equilibria.zero_set import ZeroSet
from fem_selection.studies.report import Report
from fem_selection.typing import Floats, Integers

__all__ = ["PicardCondition", "ReportedState", "SampleLimit", "SteadyReport"]

_SAMPLES_SHOWN = 5
_IF_FOUND = ("nearest_state", "preactivation_distance", "projection", "distance_from_projection")


@dataclass(frozen=True, kw_only=True)
class PicardCondition:
    """The Picard condition of the linear equation K f = s₀ − b, by the singular values s_k of K.

    Attributes:
        equation: The equation as a text, with s₀ as a number.
        verdict: Whether the equation seems to be solvable, as a phrase.
        holds: Whether the equation seems to be solvable.
        decay: Fitted p in ratio_k ∝ k^p.
        coefficients: |(s₀ − b, u_k)|, shape (rank,).
        ratios: |(s₀ − b, u_k)| / s_k, shape (rank,).
        right_hand_side_norm: ‖s₀ − b‖.
        outside: Norm of the part of s₀ − b outside of the span of the u_k.
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
class ReportedState:
    """A steady state f* that Newton's method found.

    Attributes:
        state: Nodal values of this rank, shape (num_local,).
        residual: ‖σ(K f* + b)‖.
        residuals: The norms at Newton's iterates.
        preactivation_range: The least and the largest value of g* = K f* + b.
        norm: ‖f*‖.
        start: Number of the start from which it was found: the steady limits first, then initial and random states.
        distance_from_start: ‖f* − f₀‖.
        kind: Whether the state is isolated, as a phrase.
        isolated: Whether the linearization F'(f*) is regular at the tolerance.
        null_space_dimension: Dimension of the null space of F'(f*); None if it is not known.
        nearest_eigenvalue: |λ| of the eigenvalue of F'(f*) nearest to zero, if it decides whether f* is isolated.
        singular_values: The first singular values of F'(f*).
        sensitivity_to_constant_bias: ‖∂f*/∂b‖ in the direction b = 1; None if there is no derivative.
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
    """The end of the run from one initial state.

    Attributes:
        state: Nodal values of the last state on this rank, shape (num_local,).
        outcome: "steady", "cycle", "blow-up", "unbounded", "drift", "stuck" or "not steady".
        reason: The outcome as a sentence, with its tolerance.
        time: The time at which the run ended.
        rate: ‖∂_t f‖ at the end.
        growth_rate: Rate of exponential growth; NaN without exponential growth.
        growth: The law of growth, or None.
        rest: What is known of the limit, or None: its distance, and the rate at which perturbations of it grow.
        cycle: Period and amplitude with their errors, or None.
        norm: ‖f‖ at the end.
        distance_from_initial: ‖f − f^I‖ at the end.
        nearest_state: Number of the steady state whose preactivation is nearest to that of the limit, if one was found.
        preactivation_distance: Distance of these two preactivations.
        projection: The steady state nearest to f^I, if steady states form a convex set.
        distance_from_projection: ‖f − projection‖.
    """

    state: Floats
    outcome: str
    reason: str
    time: float
    rate: float
    growth_rate: float
    growth: Growth | None
    rest: Rest | None
    cycle: ClosedOrbit | None
    norm: float
    distance_from_initial: float
    nearest_state: int | None = None
    preactivation_distance: float | None = None
    projection: Projection | None = None
    distance_from_projection: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class SteadyReport(Report):
    """Steady states of an equation and limits of some initial states.

    Attributes:
        verdict: The main finding as a sentence.
        zeros: The zeros of σ.
        singular_values: The singular values s_1 ≥ s_2 ≥ … of K above the tolerance.
        numerical_rank: The number of these singular values.
        rank_is_complete: Whether these are all singular values above the tolerance; else the rank is a lower bound.
        tolerance: Size, relative to s_1, that counts as zero.
        null_space_dimension: Dimension of the null space of K; None if the singular values are not complete.
        num_nodes: Number of nodes of the whole mesh.
        picard: The Picard condition of the linear equation K f = s₀ − b, or None if there is no such equation.
        states: The steady states that Newton's method found.
        limits: The end of the run from each initial state.
        residuals: ‖σ(K f + b)‖ of `states`; without these, of the projections.
        time: The time at which the last of the steady samples became steady; None if no sample did.
        declined: The reason for each method that does not apply, by its name.
        shown: Nodal values of this rank of the states in figure and fields, by name.
        shown_everywhere: Their values at all nodes, shape (len(shown), num_nodes), for figures.
        mesh: Coordinates of all nodes, shape (num_nodes, dimension), and the triangles between them, for figures.
        approach_times: Times at which distances to the limit are recorded, shape (num_times,).
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
    states: tuple[ReportedState, ...]
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

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """Number, range of preactivations, residual and kind of each state that Newton's method found, for a table."""
        return [
            (str(k + 1), "{:.6g} … {:.6g}".format(*state.preactivation_range), f"{state.residual:.1e}", state.kind)
            for k, state in enumerate(self.states)
        ]

    @property
    def details(self) -> dict[str, str]:
        """Zeros of σ, verdict, rank, the first limits, and what was declined, by name."""
        rank = f"{'' if self.rank_is_complete else 'at least '}{self.numerical_rank} of {self.num_nodes}"
        return {
            "zeros": str(self.zeros),
            "verdict": self.verdict,
            "rank of K": f"{rank} at tolerance {self.tolerance:g}",
            **({} if self.picard is None else {self.picard.equation: self.picard.verdict}),
            **{f"limit of sample {j + 1}": _in_words(limit) for j, limit in enumerate(self.limits[:_SAMPLES_SHOWN])},
            **{f"{name}: declined": reason for name, reason in self.declined.items()},
        }

    @property
    def sentences(self) -> list[str]:
        """The largest residual and the time of the last steady sample, as short sentences."""
        residual, time = ("none" if x is None else f"{x:.10g}" for x in (self.residual, self.time))
        of_residual = "no steady state was computed" if self.residual is None else "the largest of the steady states"
        of_time = "no sample became steady" if self.time is None else "when the last of the steady samples became so"
        return [f"residual {residual} ({of_residual})", f"time {time} ({of_time})"]

    def content(self) -> dict[str, Any]:
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
                "none_is_proved": zeros.proved,
                "searched_within": zeros.within,
                "points": zeros.points,
                "errors": zeros.errors,
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
            plots.draw(
                folder / "steady_states.png",
                plots.plot_steady_states,
                coordinates,
                self.shown_everywhere,
                list(self.shown),
                triangles=triangles,
            )
        if (picard := self.picard) is not None:
            plots.draw(
                folder / "picard.png",
                plots.plot_picard,
                self.singular_values,
                picard.coefficients,
                picard.ratios,
                verdict=picard.verdict,
            )
        labels = [f"sample {j + 1}: {limit.outcome}" for j, limit in enumerate(self.limits)]
        plots.draw(folder / "approach.png", plots.plot_approach, self.approach_times, self.approach, labels)

    def write_fields(self, folder: Path, space: StateSpace, comm: MPI.Intracomm) -> None:
        """Write the states of the figure for ParaView; the ranks of root's space write (collective).

        See `Report.write_fields`.
        """
        if self.shown and space.comm.bcast(comm.rank == 0):
            names = [name.replace(" ", "_") for name in self.shown]
            columns = np.asfortranarray(np.column_stack(list(self.shown.values())))
            write_states(folder / "steady", space, np.zeros(1), states=[columns], names=names)
        comm.Barrier()


def _entries(finding: Any, *without: str) -> dict[str, Any]:
    """The attributes of a dataclass by name."""
    return {f.name: getattr(finding, f.name) for f in dataclasses.fields(finding) if f.name not in without}


def _in_words(limit: SampleLimit) -> str:
    text = f"{limit.outcome}, {limit.reason}; ‖f − f(0)‖ = {limit.distance_from_initial:.6g}"
    return text if limit.projection is None else f"{text}, nearest steady state at {limit.projection.distance:.6g}"


def _limit_entries(limit: SampleLimit) -> dict[str, Any]:
    missing = [name for name in _IF_FOUND if getattr(limit, name) is None]
    entries = _entries(limit, "state", *missing)
    for name in ("growth", "rest", "cycle"):
        entries[name] = None if entries[name] is None else dataclasses.asdict(entries[name])
    if limit.projection is not None:
        entries["projection"] = _entries(limit.projection, "state")
    return entries
