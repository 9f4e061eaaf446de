# SPDX-License-Identifier: MIT
"""The steady state that the dynamics select: lim f(t) for t → ∞, sample by sample, or the reason why there is none.

    ∂_t f_j = σ(K f_j + b),   f_j(0) = f^I_j,   until f_j is near its limit, closes a cycle, is large, or the run ends

The initial state determines which steady state is reached; in general it is not the nearest one.

| outcome | what was found | number beside it |
|---|---|---|
| steady | a small rate, and a limit that is near | distance to the limit; growth of perturbations of it |
| cycle | returns to a section, and one period that closes | period, amplitude, closure |
| blow-up | no step is short enough, and n' grows like a power of n beyond 1, or like e^n | time and its error |
| unbounded | ‖f‖ beyond a bound, or a law of growth over decades | the law, its residual |
| drift | ‖f‖ grows like log t over decades of t | the law, its residual |
| stuck | no step is short enough, and nothing explodes | what stands in the way |
| not steady | none of these can be decided | rate, and how it falls |
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as attribute

import numpy as np
from mpi4py import MPI

from fem_selection.dynamics.field import SelectionField
from fem_selection.errors import InvalidInput
from fem_selection.evolution import Integration, SampleEnd, integrate
from fem_selection.evolution.samples import require_finite
from fem_selection.parallel import share
from fem_selection.settings import LimitSettings, StepSettings
from fem_selection.settings.tables import settings_or_default
from fem_selection.typing import Block, Floats

__all__ = ["LongTimeLimit", "find_limit"]

_LARGE = 10.0  # least ‖f‖, relative to 1 + ‖f^I‖, at which a law of growth is called unbounded


@dataclass(frozen=True, kw_only=True)
class LongTimeLimit:
    """How the run of each sample ended.

    Attributes:
        states: Nodal values of the last states, shape (num_local, samples).
        outcomes: "steady", "cycle", "blow-up", "unbounded", "drift", "stuck" or "not steady" for each sample.
        reasons: The outcomes as sentences.
        times: The time at which each run ended; for steady samples the time at which the last of them became steady.
        rates: ‖∂_t f_j‖ at the end, shape (samples,).
        growth_rates: Rates of unbounded samples that grow exponentially, NaN for all others, shape (samples,).
        ends: Growth, rest, cycle and decay of each sample, as the integrator found them.
        snapshot_times: Times at which distances are recorded, shape (num_times,).
        distances: ‖f_j(t) − f_j(end)‖ at these times, NaN after the end, shape (num_times, samples).
    """

    states: Block
    outcomes: tuple[str, ...]
    reasons: tuple[str, ...]
    times: Floats
    rates: Floats
    growth_rates: Floats
    ends: tuple[SampleEnd, ...] = attribute(repr=False)
    snapshot_times: Floats
    distances: Floats

    @property
    def time(self) -> float | None:
        """The time at which the last of the steady samples became steady; None if no sample did."""
        steady = [t for t, outcome in zip(self.times, self.outcomes, strict=True) if outcome == "steady"]
        return float(max(steady)) if steady else None


def find_limit(
    field: SelectionField,
    initial: Block,
    settings: LimitSettings | None = None,
    *,
    sample_comm: MPI.Intracomm | None = None,
) -> LongTimeLimit:
    """Run the equation until what every sample tends to is known, or the run is at its horizon (collective).

    A sample that explodes or closes a cycle is removed, and the run of the others continues.  All samples take the same
    steps, also those of other ranks.

    Args:
        field: The right-hand side; it must not depend on time.
        initial: Nodal values of f^I, shape (num_local, samples); not changed.
        settings: When the run ends, and its accuracy; `LimitSettings()` if None.
        sample_comm: Ranks that have the same equation and initial states; each runs its share of the samples, and all
            get the limits of all.

    Raises:
        InvalidInput: if the right-hand side depends on time, or the initial states do not fit the space or are not
            finite.
    """
    if not field.is_autonomous:
        raise InvalidInput("kernel or bias depends on time: the equation has no steady states to converge to")
    initial = field.space.to_block(initial, "initial states")
    require_finite(field, initial)
    settings = settings_or_default(settings, LimitSettings)
    space = field.space
    sizes = 1.0 + space.norm(initial)
    steps = StepSettings(
        rtol=settings.rtol,
        atol=settings.atol,
        steady_tolerance=settings.steady_tolerance,
        growth_bound=settings.growth * float(np.max(sizes, initial=1.0)),
        max_steps=settings.max_steps,
    )
    first = min(1e-3, 0.5 * settings.horizon)
    asked = np.concatenate([[0.0], np.geomspace(first, settings.horizon, settings.snapshots - 1)])
    if sample_comm is None or sample_comm.size > initial.shape[1]:
        return _limits(field, initial, asked, steps, sizes)
    mine = share(initial.shape[1], sample_comm.size, sample_comm.rank)
    limit = _limits(field, initial[:, mine], asked, steps, sizes[mine], sample_comm=sample_comm)
    return _join(sample_comm.allgather(limit))


def _limits(
    field: SelectionField,
    initial: Block,
    asked: Floats,
    steps: StepSettings,
    sizes: Floats,
    *,
    sample_comm: MPI.Intracomm | None = None,
) -> LongTimeLimit:
    """The limits of this rank's samples (collective)."""
    space = field.space
    run = integrate(field, initial, asked, settings=steps, find_cycles=True, sample_comm=sample_comm)
    norms = space.norm(run.final)
    told = [_tell(end, float(norms[j]), float(sizes[j]), run) for j, end in enumerate(run.ends)]
    growths = [end.growth for end in run.ends]
    distances = np.full((asked.size, initial.shape[1]), np.nan)
    for t, block in zip(run.times, run.states, strict=True):
        distances[asked == t] = space.norm(np.asfortranarray(block - run.final))
    return LongTimeLimit(
        states=run.final,
        outcomes=tuple(outcome for outcome, _ in told),
        reasons=tuple(reason for _, reason in told),
        times=np.array([end.time for end in run.ends]),
        rates=space.norm(run.rate),
        growth_rates=np.array(
            [np.nan if g is None or told[j][0] != "unbounded" else g.rate_of_exponential for j, g in enumerate(growths)]
        ),
        ends=run.ends,
        snapshot_times=asked,
        distances=distances,
    )


def _join(parts: list[LongTimeLimit]) -> LongTimeLimit:
    """The limits of all samples from those of each rank's share."""

    def joined(name: str) -> Floats:
        return np.concatenate([getattr(part, name) for part in parts], axis=-1)

    return LongTimeLimit(
        states=np.asfortranarray(joined("states")),
        outcomes=tuple(outcome for part in parts for outcome in part.outcomes),
        reasons=tuple(reason for part in parts for reason in part.reasons),
        times=joined("times"),
        rates=joined("rates"),
        growth_rates=joined("growth_rates"),
        ends=tuple(end for part in parts for end in part.ends),
        snapshot_times=parts[0].snapshot_times,
        distances=joined("distances"),
    )


def _tell(end: SampleEnd, norm: float, size: float, run: Integration) -> tuple[str, str]:
    """The outcome of a sample and the sentence that supports it."""
    if end.outcome not in ("horizon", "step limit"):
        return end.outcome, end.reason
    where = f"at the horizon t = {end.time:.6g}" if end.outcome == "horizon" else run.reason.split(";")[0]
    growth = end.growth
    if growth is not None and growth.kind == "logarithmic":
        return "drift", f"‖f‖ {growth.sentence}, {where}: the rate falls, but no limit is near"
    if growth is not None and growth.kind != "other":
        law = f"‖f‖ {growth.sentence}, {where}"
        if norm >= _LARGE * size:
            return "unbounded", law
        return "not steady", f"{law}; ‖f‖ = {norm:.3g} is too small to tell whether it goes on"
    rate = f"‖∂_t f‖ = {end.rate:.1e} {where}"
    if end.rest is not None:
        return "not steady", f"{rate}; {end.rest.reason}"
    if np.isfinite(end.decay):
        return "not steady", f"{rate}, falling like t^-{end.decay:.2f} over the second half of the run"
    return (
        "not steady",
        f"{rate}; it has not fallen to half over the second half of the run, and neither cycle nor law was recognized",
    )
