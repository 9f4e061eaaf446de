# SPDX-License-Identifier: MIT
"""`RunSamples`: the samples of a run, their norms and tolerances, and how the runs of those that ended did.

The errors of a step and the rate of a state at rest are compared with the state's own size:

    ε_j = atol min(1, s_j) + rtol ‖f_j‖,        ‖∂_t f_j‖ ≤ steady_tolerance · min(1, max_s ‖f_j(s)‖)

with s_j the largest norm so far and, at the beginning, how far the state moves before its rate changes.  Neither is
smaller than the round-off of F.  So f' = f from 1e-10 is as accurate as from 1, and is not at rest.  If kernel or bias
depend on time, ε_j = atol + rtol ‖f_j‖: a state that is zero does not say how large it will be.
"""

from __future__ import annotations

import numpy as np
from mpi4py import MPI

from fem_selection.dynamics.field import SelectionField
from fem_selection.errors import InvalidInput
from fem_selection.evolution.ends import SampleEnd, SampleGrowth, SampleOutcome
from fem_selection.evolution.growth import Growth
from fem_selection.evolution.history import StepHistory
from fem_selection.evolution.recurrence import ClosedOrbit
from fem_selection.evolution.rest import Rest, decay_exponents, examine_rest, round_off
from fem_selection.evolution.trial_steps import sums_of_squares
from fem_selection.settings import StepSettings
from fem_selection.typing import Block, Floats, Integers, create_block

__all__ = ["RunSamples", "require_finite"]

_LARGEST = 1e150  # ‖f‖ at which every run ends: its square would soon leave the range of double precision
_ABOVE_ROUND_OFF = 30.0  # least ε_j in units of the round-off of F


class RunSamples:
    """The samples of a run.

    Args:
        field: F.
        settings: Tolerances and bounds.
        state: f^I, shape (num_local, samples).
        sample_comm: Ranks that hold other samples of the run.

    Attributes:
        growth_bound: ‖f_j‖ beyond which the run of a sample ends.
        comm: The ranks that hold other samples, or None.
        live: Numbers of the samples that go on; norms and tolerances are theirs, in this order.
        norms: ‖f_j‖.
        rates: ‖∂_t f_j‖.
        sizes: The largest ‖f_j‖ so far.
        allowed: ε_j.
        history: Norms and rates of all samples over the steps.
        ends: How the run of each sample ended; None while it goes on.
        final: Last states of the samples that ended.
        final_rate: Their rates.
        largest: The largest ‖f_j‖ over all ranks.
        field: F.
        least_error: An error that is always allowed.
        note: A sentence that is added to the reason of every end.
    """

    def __init__(
        self,
        field: SelectionField,
        settings: StepSettings,
        state: Block,
        *,
        sample_comm: MPI.Intracomm | None,
    ) -> None:
        self.field, self._settings, self.comm = field, settings, sample_comm
        count = state.shape[1]
        self.growth_bound = min(settings.growth_bound, _LARGEST)
        self.live: Integers = np.arange(count)
        self.norms = self.rates = self.slopes = np.zeros(count)
        self.sizes = self._scale = np.zeros(count)
        self._floor = round_off(field, state)
        self.allowed = np.zeros(count)
        self.history = StepHistory(count)
        self.ends: list[SampleEnd | None] = [None] * count
        self.final, self.final_rate = create_block(*state.shape), create_block(*state.shape)
        self.largest = self.least_error = 0.0
        self.note = ""
        self._scratch = create_block(*state.shape)

    # ── norms ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def measure(self, time: float, step: float, state: Block, *, rate: Block) -> None:
        """Compute norms and tolerances, and add a line to the history (collective).

        Args:
            time: t.
            step: The length of the step that ended there.
            state: f, of the samples that go on.
            rate: F(f).
        """
        space = self.field.space
        sums, scratch = np.zeros((3, state.shape[1])), self._scratch[:, : state.shape[1]]
        with np.errstate(over="ignore", invalid="ignore"):
            sums_of_squares(space.weights, state, scratch, out=sums[0])
            sums_of_squares(space.weights, rate, scratch, out=sums[1])
            np.multiply(state, rate, out=scratch)
            np.dot(space.weights, scratch, out=sums[2])
        if space.comm.size > 1:
            space.comm.Allreduce(MPI.IN_PLACE, sums)
        self.norms, self.rates = np.sqrt(sums[0]), np.sqrt(sums[1])
        # d‖f‖/dt, from the right where f = 0
        self.slopes = np.where(self.norms > 0, sums[2] / np.maximum(self.norms, 1e-300), self.rates)
        self.sizes = np.maximum(self.sizes, self.norms)
        self._set_allowed()
        largest, slope = self._largest()
        self.largest = largest
        row = np.full((4, len(self.ends)), np.nan)
        delays = np.divide(self.allowed, self.rates, out=np.zeros_like(self.rates), where=self.rates > 0)
        row[:, self.live] = self.norms, self.slopes, self.rates, delays if step > 0 else 0.0 * delays
        self.history.add(time, step, row, largest=(largest, slope, self.worst(self.rates)))

    def set_scale(self, distances: Floats) -> None:
        """Count how far each state moves before its rate changes as a part of its size."""
        self._scale = self.sizes + distances
        self._set_allowed()

    def _set_allowed(self) -> None:
        s = self._settings
        size = np.minimum(1.0, np.maximum(self.sizes, self._scale))
        least = np.minimum(s.atol, np.maximum(s.atol * size, _ABOVE_ROUND_OFF * self._floor))
        if not self.field.is_autonomous:
            least = np.full_like(size, s.atol)
        self.allowed = np.maximum(least + s.rtol * self.norms, max(self.least_error, 1e-300))

    def _largest(self) -> tuple[float, float]:
        """The largest norm over all ranks, and its slope."""
        j = int(np.argmax(self.norms)) if self.norms.size else 0
        mine = (float(self.norms[j]), float(self.slopes[j])) if self.norms.size else (0.0, 0.0)
        return mine if self.comm is None else max(self.comm.allgather(mine))

    def worst(self, values: Floats) -> float:
        """The largest of the samples' values, to three digits, the same on all ranks; NaN counts as infinite."""
        worst = float(np.max(values, initial=0.0))
        worst = np.inf if np.isnan(worst) else worst
        if self.comm is not None:
            worst = self.comm.allreduce(worst, op=MPI.MAX)
        return float(f"{worst:.2e}")

    def all_over(self, flags: np.ndarray) -> bool:
        """Whether a flag is set for all samples on all ranks."""
        here = bool(np.all(flags))
        return here if self.comm is None else bool(self.comm.allreduce(here, op=MPI.LAND))

    # ── rest ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def slowness(self, rates: Floats) -> Floats:
        """‖∂_t f_j‖ over the tolerance of a state at rest, to three digits: at most 1 is slow."""
        tolerance = self._settings.steady_tolerance
        if tolerance == 0.0:
            return np.where(rates == 0.0, 0.0, np.inf)
        allowed = np.maximum(tolerance * np.minimum(1.0, self.sizes), self._floor)
        ratios = np.divide(rates, allowed, out=np.where(rates == 0.0, 0.0, np.inf), where=allowed > 0)
        return np.array([float(f"{r:.2e}") for r in ratios])

    def examine(self, time: float, state: Block, rate: Block, *, which: np.ndarray) -> list[Rest | None]:
        """What is known of the limits of some samples, None for the others (collective over space).

        Args:
            time: t.
            state: f.
            rate: F(f).
            which: Whether a sample is examined, shape (len(live),).
        """
        found: list[Rest | None] = [None] * self.live.size
        chosen = np.flatnonzero(which)
        elapsed = time - self.history.begin
        rests = examine_rest(
            self.field,
            np.asfortranarray(state[:, chosen]),
            np.asfortranarray(rate[:, chosen]),
            decay=self.decays(time)[chosen],
            elapsed=elapsed,
            sizes=np.maximum(self.sizes[chosen], self._floor[chosen]),
        )
        for k, rest in zip(chosen, rests, strict=True):
            found[k] = rest
        return found

    def decays(self, time: float) -> Floats:
        """q of each sample that goes on, over the second half of the run; NaN where the rate did not fall."""
        begin = self.history.begin
        times, rates = self.history.recent_rates(begin + 0.5 * (time - begin))
        return decay_exponents(times - begin, rates[:, self.live])

    # ── ends ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def end(
        self,
        k: int,
        outcome: SampleOutcome,
        time: float,
        *,
        state: Block,
        rate: Block,
        reason: str = "",
        rest: Rest | None = None,
        cycle: ClosedOrbit | None = None,
        decay: float = float("nan"),
    ) -> None:
        """Record the end of the run of the k-th sample that goes on.

        Args:
            k: Position in `live`.
            outcome: How it ended.
            time: When.
            state: f, of the samples that go on.
            rate: F(f).
            reason: The outcome as a sentence; a standard one if left out.
            rest: What is known of the limit.
            cycle: The cycle.
            decay: q of the rate.
        """
        j = int(self.live[k])
        self.final[:, j], self.final_rate[:, j] = state[:, k], rate[:, k]
        fit = SampleGrowth(self.history, j)
        if outcome in ("unbounded", "stuck") and fit.law is not None and fit.law.kind == "blow-up":
            outcome, reason = "blow-up", fit.law.sentence
        elif outcome == "cycle":
            _ = fit.law  # while other samples go on, the history may become thinner
        self.ends[j] = SampleEnd(
            outcome=outcome,
            statement=reason or self._sentence(outcome, k, time, rest),
            names_growth=not reason and outcome != "steady",
            note=self.note,
            time=time,
            rate=float(self.rates[k]),
            fit=fit,
            rest=rest,
            cycle=cycle,
            decay=decay,
        )

    def drop_ended(self) -> Integers:
        """Leave the samples that ended; return the positions, in `live`, of those that go on."""
        kept = np.array([k for k, j in enumerate(self.live) if self.ends[j] is None], dtype=np.int64)
        self.live = self.live[kept]
        for name in ("norms", "rates", "slopes", "sizes", "_scale", "_floor", "allowed"):
            setattr(self, name, getattr(self, name)[kept])
        return kept

    def spread(self, block: Block) -> Block:
        """A block of the samples that go on as one of all samples, NaN for the others."""
        if self.live.size == len(self.ends):
            return block
        result = np.full((block.shape[0], len(self.ends)), np.nan, order="F")
        result[:, self.live] = block
        return result

    def largest_growth(self) -> Growth | None:
        """The law of the sample that ended with the largest norm, over all ranks (collective over the samples)."""
        norms = self.field.space.norm(self.final) if self.ends else np.zeros(0)
        j = int(np.argmax(np.nan_to_num(norms, nan=-1.0))) if norms.size else -1
        end = self.ends[j] if j >= 0 else None
        mine = (-1.0, None) if end is None else (float(norms[j]), end.growth)
        return mine[1] if self.comm is None else max(self.comm.allgather(mine), key=lambda item: item[0])[1]

    def last_outcome(self) -> SampleOutcome:
        """Return the outcome of the samples that ended last (collective over the samples)."""
        ends = [(end.time, end.outcome) for end in self.ends if end is not None]
        if self.comm is not None:
            ends = [item for part in self.comm.allgather(ends) for item in part]
        return max(ends)[1] if ends else "steady"

    def _sentence(self, outcome: SampleOutcome, k: int, time: float, rest: Rest | None) -> str:
        at = f"at t = {time:.6g}"
        if outcome == "steady" and rest is not None:
            unstable = ""
            if rest.perturbation_rate > 0:
                unstable = (
                    f"; the limit is unstable: a perturbation grows at the rate {rest.perturbation_rate:.3g}, and the "
                    "state has no part in that direction above round-off"
                )
            return f"‖∂_t f‖ = {self.rates[k]:.1e} {at}; {rest.reason}{unstable}"
        if outcome == "unbounded":
            return f"‖f‖ exceeded {self.growth_bound:g} {at}"
        return f"‖∂_t f‖ = {self.rates[k]:.1e} {at}"


def require_finite(field: SelectionField, initial: Block, sample_comm: MPI.Intracomm | None = None) -> None:
    """Raise an error on all ranks if initial states are not finite (collective over both communicators).

    Args:
        field: F.
        initial: f^I, shape (num_local, samples).
        sample_comm: Ranks that hold other samples.

    Raises:
        InvalidInput: with the numbers of the samples.
    """
    bad = np.any(~np.isfinite(initial), axis=0).astype(np.int64)
    field.space.comm.Allreduce(MPI.IN_PLACE, bad, op=MPI.MAX)
    parts = [bad] if sample_comm is None else sample_comm.allgather(bad)
    numbers = np.flatnonzero(np.concatenate(parts)) + 1
    if numbers.size:
        which = ", ".join(map(str, numbers[:5])) + (", …" if numbers.size > 5 else "")
        raise InvalidInput(
            f"the initial states are not finite: {numbers.size} of {sum(map(len, parts))} have infinite values or NaN "
            f"(number {which}, counted from 1)"
        )
