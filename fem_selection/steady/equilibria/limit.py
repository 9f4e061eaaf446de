# SPDX-License-Identifier: MIT
"""The steady state that the dynamics select: lim f(t) for t → ∞, sample by sample, or the reason why there is none.

    ∂_t f_j = σ(K f_j + b),   f_j(0) = f^I_j,   until ‖∂_t f_j‖ is small, ‖f_j‖ large, or the horizon is reached

The initial state determines which steady state is reached; in general it is not the nearest one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.dynamics.field import SelectionField
from fem_selection.errors import InvalidInput
from fem_selection.evolution.adaptive import Integration, integrate
from fem_selection.settings import LimitSettings, StepSettings
from fem_selection.typing import Block, Floats, Integers

__all__ = ["LongTimeLimit", "find_limit"]

_ADVERBS = {"exponential": " exponentially", "linear": " linearly", "other": ""}
_GROWING = 0.5  # least exponent p with which ‖f‖ ∝ t^p at the horizon is called growth


@dataclass(frozen=True)
class LongTimeLimit:
    """How the run of each sample ended.

    Attributes:
        states: Nodal values of the last states, shape (num_local, samples).
        outcomes: "steady", "unbounded", or "not steady" for each sample.
        reasons: The outcomes as sentences.
        times: The time at which each run ended; for steady samples the time at which the last of them became steady.
        rates: ‖∂_t f_j‖ at the end, shape (samples,).
        growth_rates: Rates of unbounded samples that grow exponentially, NaN for all others, shape (samples,).
        snapshot_times: Times at which distances are recorded, shape (num_times,).
        distances: ‖f_j(t) − f_j(end)‖ at these times, NaN after the end, shape (num_times, samples).
    """

    states: Block
    outcomes: tuple[str, ...]
    reasons: tuple[str, ...]
    times: Floats
    rates: Floats
    growth_rates: Floats
    snapshot_times: Floats
    distances: Floats

    @property
    def time(self) -> float | None:
        """The time at which the last of the steady samples became steady; None if no sample did."""
        steady = [t for t, outcome in zip(self.times, self.outcomes, strict=True) if outcome == "steady"]
        return float(max(steady)) if steady else None


def find_limit(field: SelectionField, initial: Block, settings: LimitSettings | None = None) -> LongTimeLimit:
    """Run the equation until every sample is steady, unbounded or at the horizon (collective).

    A sample that becomes unbounded is removed, and the run of the others continues.

    Args:
        field: The right-hand side; it must not depend on time.
        initial: Nodal values of f^I, shape (num_local, samples); not changed.
        settings: When the run ends, and its accuracy; `LimitSettings()` if None.

    Raises:
        InvalidInput: if the right-hand side depends on time, or the initial states do not fit the space.
    """
    if not field.is_autonomous:
        raise InvalidInput("kernel or bias depends on time: the equation has no steady states to converge to")
    field.space.require_block(initial, "initial states")
    settings = LimitSettings() if settings is None else settings
    return _Runs(field, initial, settings).to_end()


class _Runs:
    """Integrations one after another, each with fewer samples."""

    def __init__(self, field: SelectionField, initial: Block, settings: LimitSettings) -> None:
        self.field, self.settings = field, settings
        count = initial.shape[1]
        self.state = np.array(initial, order="F")
        self.outcomes, self.reasons = [""] * count, [""] * count
        self.times, self.rates, self.growth_rates = np.zeros(count), np.zeros(count), np.full(count, np.nan)
        self.bound = settings.growth * (1.0 + float(np.max(field.space.norm(initial), initial=0.0)))
        later = np.geomspace(1e-3, settings.horizon, settings.snapshots - 1)
        self.asked = np.concatenate([[0.0], later])
        self.kept: list[tuple[int, Integers, Block]] = []  # index of the snapshot's time, samples, states

    def to_end(self) -> LongTimeLimit:
        """Integrate until no sample is left."""
        active, time = np.arange(self.state.shape[1]), 0.0
        while active.size:
            remaining = self.asked[self.asked > time]
            adaptive = StepSettings(
                rtol=self.settings.rtol,
                atol=self.settings.atol,
                steady_tolerance=self.settings.steady_tolerance,
                growth_bound=self.bound,
            )
            start = np.asfortranarray(self.state[:, active])
            run = integrate(self.field, start, np.concatenate([[time], remaining]), settings=adaptive)
            self._keep(run, active)
            self.state[:, active] = run.final
            time = float(run.times[-1])
            ended = self._judge(run, active, time)
            active = active[~ended]
        return self._report()

    def _keep(self, run: Integration, active: Integers) -> None:
        for t, block in zip(run.times, run.states, strict=True):
            self.kept += [(int(row), active, block) for row in np.flatnonzero(self.asked == t)]

    def _judge(self, run: Integration, active: Integers, time: float) -> np.ndarray:
        """Record how samples of a run ended, and return which of them ended (collective)."""
        space = self.field.space
        norms, rates = space.norm(run.final), space.norm(run.rate)
        powers = time * space.inner(run.final, run.rate) / np.maximum(norms**2, 1e-300)
        unbounded = norms > self.bound
        ended = unbounded if run.outcome == "unbounded" else np.ones(active.size, dtype=bool)
        for column in np.flatnonzero(ended):
            j = active[column]
            self.times[j], self.rates[j] = time, rates[column]
            if unbounded[column]:
                law = ""
                if run.growth is not None:
                    law = f", growing{_ADVERBS[run.growth.kind]} at rate {run.growth.rate:.6g}"
                self.outcomes[j] = "unbounded"
                self.reasons[j] = f"‖f‖ exceeded {self.bound:g} at t = {time:.6g}{law}"
                if run.growth is not None and run.growth.kind == "exponential":
                    self.growth_rates[j] = run.growth.rate
            elif rates[column] <= self.settings.steady_tolerance * (1 + 1e-2):
                self.outcomes[j] = "steady"
                self.reasons[j] = f"‖∂_t f‖ = {rates[column]:.1e} at t = {time:.6g}"
            elif powers[column] > _GROWING:
                self.outcomes[j] = "unbounded"
                self.reasons[j] = f"‖f‖ grows as t^{powers[column]:.2f} at t = {time:.6g}"
            else:
                self.outcomes[j] = "not steady"
                self.reasons[j] = f"‖∂_t f‖ = {rates[column]:.1e} at the horizon t = {time:.6g}"
        return ended

    def _report(self) -> LongTimeLimit:
        distances = np.full((self.asked.size, self.state.shape[1]), np.nan)
        for row, active, block in self.kept:
            distances[row, active] = self.field.space.norm(np.asfortranarray(block - self.state[:, active]))
        return LongTimeLimit(
            states=self.state,
            outcomes=tuple(self.outcomes),
            reasons=tuple(self.reasons),
            times=self.times,
            rates=self.rates,
            growth_rates=self.growth_rates,
            snapshot_times=self.asked,
            distances=distances,
        )
