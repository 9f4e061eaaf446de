# SPDX-License-Identifier: MIT
"""The analysis of the steady states of one equation; the methods depend on the zeros of σ.

| σ vanishes | steady states | what is done |
|---|---|---|
| nowhere | none | long-time limit |
| at one s₀ | K f = s₀ − b | Fredholm analysis, Newton |
| at several | nonlinear | Fredholm analysis of the first of them, Newton with deflation |
| on an interval | a ≤ K f + b ≤ c, convex | projection of each initial state, Fredholm analysis of K f + b = end |
| otherwise | any | Newton with deflation |

The long-time limit of each initial state is computed in every case, and first: the zeros of σ are looked for where the
states go, and Newton's method refines each limit before it looks for other states.  A method that does not apply is
declined with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from mpi4py import MPI

from fem_selection.dynamics.field import SelectionField
from fem_selection.dynamics.resolvent import has_local_part
from fem_selection.errors import InvalidInput, NotConverged
from fem_selection.kernels.base import KernelOperator
from fem_selection.linalg.coordinates import IsometricCoordinates, IsometricOperator
from fem_selection.linalg.norms import require_moderate
from fem_selection.linalg.singular import SingularExpansion, expand
from fem_selection.settings import SteadySettings
from fem_selection.settings.tables import settings_or_default
from fem_selection.steady.equilibria.complementarity import Projection, project
from fem_selection.steady.equilibria.equilibria import Equilibrium, differentiate_in_bias, find_equilibria
from fem_selection.steady.equilibria.limit import LongTimeLimit, find_limit
from fem_selection.steady.equilibria.picard import PicardReport, solve_first_kind
from fem_selection.steady.equilibria.zero_set import ZeroSet, find_zeros
from fem_selection.typing import Block, Floats, whole_number

__all__ = ["SteadyAnalysis", "analyze_steady_states"]

_SIZES = (1.0, 3.0, 0.3)  # L² norms of the random starts, in turn
_STARTS = 5  # initial states that Newton's method starts from, and that are projected


@dataclass(frozen=True)
class SteadyAnalysis:
    """The results of `analyze_steady_states`.

    Attributes:
        zeros: The zero set of σ.
        kernel: The singular value expansion of K.
        limit: The long-time limits of the initial states.
        level: The s₀ of the linear equation K f = s₀ − b that `picard` analyzes, or None.
        picard: The Fredholm analysis of this equation, or None.
        equilibria: The steady states that Newton's method found.
        projections: The steady state nearest to each of the first five initial states, if steady states form a convex
            set; else empty.
        sensitivities: ‖∂f*/∂b‖ in the direction b = 1 for each of the equilibria, None where it is declined.
        residuals: ‖σ(K f + b)‖ of the equilibria; without equilibria, of the projections.
        declined: The reason for each method that does not apply, by its name.
        verdict: The main finding as a sentence.
    """

    zeros: ZeroSet
    kernel: SingularExpansion
    limit: LongTimeLimit
    level: float | None
    picard: PicardReport | None
    equilibria: tuple[Equilibrium, ...]
    projections: tuple[Projection, ...]
    sensitivities: tuple[float | None, ...]
    residuals: tuple[float, ...]
    declined: dict[str, str]
    verdict: str


def analyze_steady_states(
    field: SelectionField,
    initial: Block,
    settings: SteadySettings | None = None,
    *,
    seed: int = 0,
    sample_comm: MPI.Intracomm | None = None,
) -> SteadyAnalysis:
    """Find steady states and the limits of some initial states (collective).

    Args:
        field: The right-hand side; it must not depend on time.
        initial: Nodal values of f^I, shape (num_local, samples); not changed.
        settings: Tolerances, starts and horizon; `SteadySettings()` if None.
        seed: Seed of the random starts.
        sample_comm: Ranks that share the runs to the limits.  See `find_limit`.

    Raises:
        InvalidInput: if the right-hand side depends on time, or the initial states do not fit the space, or the
            squares of ‖K‖ leave the range of double precision.
    """
    if not field.is_autonomous:
        raise InvalidInput("kernel or bias depends on time: the equation has no steady states")
    initial = field.space.to_block(initial, "initial states", fewest=1)
    settings, seed = settings_or_default(settings, SteadySettings), whole_number(seed, "seed", 0)
    require_moderate(field.space, KernelOperator(field.kernel, field.interval))
    c = IsometricCoordinates(field.space)
    limit = find_limit(field, initial, settings, sample_comm=sample_comm)
    zeros = find_zeros(field.activation, settings.within, reach=_reach(field, initial, limit.states))
    kernel = expand(
        IsometricOperator(coordinates=c, operator=KernelOperator(field.kernel)), settings.tolerance, settings.triplets
    )
    declined: dict[str, str] = {}
    level = _level(zeros, declined)
    is_local = has_local_part(field.kernel)
    if is_local:
        declined.setdefault("picard_ratios", "K has a local part: K f = s - b is not of the first kind")
        level = None
    picard = None if level is None else solve_first_kind(kernel, level - field.bias)
    equilibria: list[Equilibrium] = []
    projections: list[Projection] = []
    if zeros.kind == "segment":
        low, high = zeros.segments[0]
        projections = [project(field, f, lower=low, upper=high, coordinates=c) for f in initial.T[:_STARTS]]
        declined["states"] = "the steady states form a convex set: see the projections onto it"
    elif zeros.kind == "none":
        declined["states"] = declined["projection"] = str(zeros)
    else:
        selected = [limit.states[:, j] for j, outcome in enumerate(limit.outcomes) if outcome == "steady"]
        starts = [*selected, *initial.T[:_STARTS], *_random_starts(c, settings.starts, seed)]
        most = 1 if zeros.kind == "point" else settings.states  # with one zero of σ there is one g
        equilibria = find_equilibria(field, starts, replace(settings, states=most), limits=len(selected), coordinates=c)
        declined["projection"] = "σ does not vanish on one interval alone: the steady states form no convex set"
        if not equilibria:
            declined["states"] = f"Newton's method found none from {len(starts)} starts"
            if not np.all(np.isfinite(zeros.slopes)):
                declined["states"] += " at which σ' is finite; at a zero of σ it is not"
    sensitivities = tuple(_sensitivity(field, e, declined) for e in equilibria)
    moved = field.space.norm(np.asfortranarray(limit.states[:, :1] - initial[:, :1]))
    away = float(moved[0]) if limit.outcomes[:1] == ("steady",) else None
    found = [e.state for e in equilibria] or [p.state for p in projections if p.exists]
    residuals = field.space.norm(field.rate(np.asfortranarray(np.column_stack(found)))) if found else np.empty(0)
    return SteadyAnalysis(
        zeros=zeros,
        kernel=kernel,
        limit=limit,
        level=level,
        picard=picard,
        equilibria=tuple(equilibria),
        projections=tuple(projections),
        sensitivities=sensitivities,
        residuals=tuple(residuals.tolist()),
        declined=declined,
        verdict=_verdict(zeros, picard, equilibria, projections, away),
    )


def _reach(field: SelectionField, initial: Block, final: Block) -> float:
    """The largest |K f + b| of the first and the last states of the runs (collective)."""
    values = [field.preactivation(np.asfortranarray(f)) for f in (initial, final)]
    sizes = [float(np.max(np.where(np.isfinite(g), np.abs(g), 0.0), initial=0.0)) for g in values]
    return float(field.space.comm.allreduce(max(sizes), op=MPI.MAX))


def _level(zeros: ZeroSet, declined: dict[str, str]) -> float | None:
    """The s₀ with σ(s₀) = 0 for which K f = s₀ − b is analyzed: the zero nearest to 0, or the end of an interval."""
    levels = [*zeros.points, *(end for segment in zeros.segments for end in segment if np.isfinite(end))]
    if not levels:
        declined["picard_ratios"] = f"{zeros}: no linear equation gives steady states"
        return None
    return float(min(levels, key=abs))


def _random_starts(c: IsometricCoordinates, count: int, seed: int) -> list[Floats]:
    """Functions with normally distributed nodal values, the same on any partition (collective)."""
    starts = []
    for k in range(count):
        x = c.random(seed + 1 + k)
        starts.append(c.to_function(x * (_SIZES[k % len(_SIZES)] / c.norm(x)))[:, 0])
    return starts


def _sensitivity(field: SelectionField, equilibrium: Equilibrium, declined: dict[str, str]) -> float | None:
    """‖∂f*/∂b 1‖; if there is no derivative, None, and the reason is added to `declined` (collective)."""
    one = np.ones((field.space.num_local, 1), order="F")
    try:
        return float(field.space.norm(differentiate_in_bias(field, equilibrium, one))[0])
    except (InvalidInput, NotConverged) as error:
        declined.setdefault("sensitivity", str(error))
        return None


def _verdict(
    zeros: ZeroSet,
    picard: PicardReport | None,
    equilibria: list[Equilibrium],
    projections: list[Projection],
    away: float | None,
) -> str:
    """The main finding as a sentence; `away` is the distance of the first initial state from its limit, or None."""
    if zeros.kind == "none":
        return f"there are no steady states: {zeros}" if zeros.proved else f"no steady state was found: {zeros}"
    if zeros.kind == "segment":
        if not all(p.exists for p in projections):
            return "there are no steady states: no f satisfies the inequalities for K f + b"
        nearest = f"nearest to the first initial state at {projections[0].distance:.6g}"
        selected = f"; the dynamics go {away:.6g} far" if away is not None else "; the dynamics reach none from there"
        return f"the steady states form a convex set, {nearest}{selected}"
    if zeros.kind == "point" and picard is not None:
        family = "" if picard.expansion.nullity == 0 else ", unique modulo ker K"
        return f"the steady states solve K f = {zeros.points[0]:.10g} - b{family}: {picard.verdict}"
    isolated = sum(e.is_isolated for e in equilibria)
    unknown = sum(not e.is_decided for e in equilibria)
    kinds = f"{isolated} isolated, {len(equilibria) - isolated - unknown} not" + (
        f", {unknown} undecided" * (unknown > 0)
    )
    kinds = kinds if equilibria else "Newton's method found none"
    plural = "" if len(equilibria) == 1 else "s"
    return f"{len(equilibria)} steady state{plural} found ({kinds}); the search is not exhaustive"
