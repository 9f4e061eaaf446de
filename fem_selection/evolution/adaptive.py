# SPDX-License-Identifier: MIT
"""`integrate`: the selection equation over large times, with adaptive steps.

    ∂_t f_j = σ(K f_j + b),   f_j(t_0) = f^I_j,   one step for all samples

Explicit steps are those of Dormand and Prince, of order 8, or of order 5 if tolerances are loose.  If stability and not
accuracy limits them, h ρ(F') near the end of the stability interval, implicit steps of order 4 take over
(`method = "auto"`).  The polynomial of each method gives the states at the times asked for, so that these times do not
change the steps.

The run of a sample ends, while that of the others goes on,

* if its ‖f_j‖ exceeds a bound, or it blows up: no step is short enough, and its growth obeys the law of a blow-up;
* if it closes a cycle, if cycles are looked for (`fem_selection.evolution.recurrence`).

The whole run ends if ‖∂_t f_j‖ is below a tolerance for all samples and their limits are near
(`fem_selection.evolution.rest`; not if kernel or bias depend on time); the last step is shortened to end there.

PETSc's TS has pairs of the same orders, but compares one norm of all entries with a tolerance, so that one sample's
error hides among many: on the problem of `benchmarks/forward.py`, at 1e-8, its order-8 pair takes as many evaluations
(169 against 170) and leaves a largest error over the samples of 1.7e-8, against 2.0e-9 here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from mpi4py import MPI

from fem_selection.dynamics.field import SelectionField
from fem_selection.errors import InvalidInput
from fem_selection.evolution.ends import Integration, SampleOutcome
from fem_selection.evolution.method_choice import MethodChoice
from fem_selection.evolution.recurrence import Recurrence
from fem_selection.evolution.rest import Rest
from fem_selection.evolution.samples import RunSamples, require_finite
from fem_selection.evolution.sliding import JumpWatch, Ramps, find_jumps
from fem_selection.evolution.step_control import first_step
from fem_selection.evolution.variation import divide_time
from fem_selection.settings import StepSettings
from fem_selection.settings.tables import settings_or_default
from fem_selection.typing import Block, Floats, create_block

__all__ = ["integrate"]

_CLOSE, _SOON = 1e-2, 1e-3  # accuracy of the time of a steady state: relative to the tolerance, and to t
_PATIENCE = 10  # steps, and a tenth of the time, until a state that was not at rest is examined again


def integrate(
    field: SelectionField,
    initial: Block,
    times: Floats,
    *,
    settings: StepSettings | None = None,
    progress: Callable[[float, int], bool | None] | None = None,
    sample_comm: MPI.Intracomm | None = None,
    find_cycles: bool = False,
) -> Integration:
    """Solve ∂_t f = σ(K f + b) for a block of samples with adaptive steps.

    Args:
        field: F.
        initial: f^I, shape (num_local, samples); not changed.
        times: Times at which the states are wanted, increasing; the first is that of the initial states, the last the
            horizon.
        settings: Tolerances, method and events; a whole `[forward]` table (`ForwardSettings`) is one.
        progress: Called after each step with the time and the number of steps; if it returns True, the run ends.  It
            must return the same on all ranks.
        sample_comm: Ranks that hold other samples of the same run: all take the same steps, and the run ends when all
            samples have ended.
        find_cycles: Whether the run of a sample ends when it has closed a cycle.

    Returns:
        The states at the times, and how the run of each sample ended.

    Raises:
        InvalidInput: if the times do not increase, or the initial states have a wrong shape or are not finite.

    Note:
        Collective over the space communicator, and over `sample_comm`.
    """
    times = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if times.ndim != 1 or times.size < 2 or not (np.all(np.isfinite(times)) and np.all(np.diff(times) > 0)):
        raise InvalidInput(f"times must be at least two increasing numbers, got {times}")
    initial = field.space.to_block(initial, "initial states")
    require_finite(field, initial, sample_comm)
    run = _Run(field, initial, times, settings_or_default(settings, StepSettings), sample_comm, find_cycles)
    try:
        return run.to_end(progress)
    finally:
        run.destroy()


class _Run:
    """An integration in progress."""

    def __init__(
        self,
        field: SelectionField,
        initial: Block,
        times: Floats,
        settings: StepSettings,
        sample_comm: MPI.Intracomm | None,
        find_cycles: bool,
    ) -> None:
        self.field, self.asked, self.settings = field, times, settings
        self.time, self.horizon = float(times[0]), float(times[-1])
        self.state = np.array(initial, dtype=np.float64, order="F")
        self.rate = create_block(*initial.shape)
        self.kept_times, self.kept = [self.time], [self.state.copy(order="F")]
        self.steps = self.rejected = self.evaluations = 0
        self.pieces = None if field.is_autonomous else divide_time(field, self.time, self.horizon)
        self._jump_watch = JumpWatch(self.time)
        self._examine_at = (0, -np.inf)  # steps and time from which on a slow state is examined again
        self._found_moving = self._has_no_steps_left = False
        self._rests: list[Rest | None] | None = None
        self._steady_time: float | None = None
        self.field.move_to(self.time)
        self.field.rate(self.state, self.rate)
        self.evaluations += 1
        self.samples = RunSamples(field, settings, self.state, sample_comm=sample_comm)
        self.samples.measure(self.time, 0.0, self.state, rate=self.rate)
        self._method = MethodChoice(field, settings, self.samples, time=self.time)
        self._recurrence: Recurrence | None = None
        if find_cycles and field.is_autonomous:
            self._recurrence = Recurrence(
                field,
                initial.shape[1],
                tolerance=lambda norm: max(
                    settings.atol * min(1.0, norm) + settings.rtol * norm, self.samples.least_error
                ),
                create_steps=lambda: self._method.create_steps(self.field, 1),
            )
        self._end_without_rate()
        self.step = self._first_step()

    def to_end(self, progress: Callable[[float, int], bool | None] | None) -> Integration:
        """Take steps until all samples have ended, or the horizon, the limit of steps or `progress` ends the run."""
        while True:
            outcome = self._event()
            if outcome is not None:
                return self._report(outcome)
            before = self.steps
            self._advance()
            if self._has_no_steps_left:
                return self._report(self._event() or "step limit")
            self._look_for_jumps()
            if self.steps > before and progress is not None and progress(self.time, self.steps):
                return self._report(self._event() or "stopped")

    def destroy(self) -> None:
        """Destroy the method's PETSc objects (collective)."""
        self._method.destroy()

    # ── steps ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _advance(self) -> None:
        """Take one step, or end samples for which none is short enough, unless the steps are used up."""
        while True:
            if self.steps + self.rejected >= self.settings.max_steps:
                self._has_no_steps_left = True
                return
            h, last = self._fit_step()
            end = self.horizon if last else self.time + h
            inside = self.asked[(self.asked > self.time) & (self.asked < end)]
            with np.errstate(over="ignore", invalid="ignore"):
                errors = self._method.steps.attempt(
                    self.time, h, self.state, rate=self.rate, inside=list((inside - self.time) / h)
                )
                ratios = errors / self.samples.allowed
            ratio = self.samples.worst(ratios)
            factor = self._method.controller.factor(ratio)
            self.step = h * factor
            if ratio <= 1.0:
                self._method.steps.finish(end)
                shorter = self._step_to_steady(h)
                if shorter is None:
                    break
                self.step = shorter
            self.rejected += 1
            if self.step <= 8 * np.finfo(float).eps * abs(self.time) + 1e-300:
                self._end_stuck(ratios)
                return
        for time, block in zip(inside, self._method.steps.outputs(), strict=True):
            self._keep(float(time), block)
        before = self.state, self.rate
        self.state, self.rate = self._method.steps.exchange(self.state, self.rate)
        begin, self.time = self.time, end
        self.steps += 1
        self.samples.measure(self.time, h, self.state, rate=self.rate)
        if end in self.asked:
            self._keep(end, self.state.copy(order="F"))
        if self._recurrence is not None:
            self._end_cycles(self._recurrence, begin, h, before)
        self._method.choose(self.field, self.time, self.state, step=h, count=self.steps)

    def _fit_step(self) -> tuple[float, bool]:
        """The step, and whether it reaches the horizon.

        If the rest is less than two steps, it is divided into two equal ones, so that the last is not very short.
        """
        left = self.horizon - self.time
        step = min(self.step, self.settings.max_step)
        if self.pieces is not None:
            step = self.pieces.longest_step(self.time, min(step, left))
        if step * 1.01 >= left:
            return left, True
        return min(step, max(0.5 * left, 0.25 * step)), False

    def _step_to_steady(self, h: float) -> float | None:
        """The step after which all samples are as slow as a state at rest; None to take the trial step as it is.

        It lies within the trial step, is found by interpolation of log ‖∂_t f‖ and aims at just below the tolerance.
        """
        if self.settings.steady_tolerance == 0.0:
            return None
        if not self.field.is_autonomous or self._found_moving or h <= _SOON * self.time:
            return None
        samples = self.samples
        begin = samples.worst(samples.slowness(samples.rates))
        if begin <= 1.0:
            return None
        sums = self.field.space.norm(self._method.steps.new_rate)
        end = samples.worst(samples.slowness(sums))
        if not end < 1.0 - _CLOSE:
            return None
        part = np.log(begin / (1.0 - 0.5 * _CLOSE)) / np.log(begin / max(end, 1e-300))
        return h * float(np.clip(part, 0.02, 0.98))

    def _first_step(self) -> float:
        """The first step, from ‖∂_t f‖ and a difference for ‖∂_tt f‖ (collective)."""
        samples, span = self.samples, self.horizon - self.time
        rate = samples.worst(samples.rates / samples.allowed)
        size = samples.worst(samples.norms / samples.allowed)
        if rate == 0.0:
            return self.settings.first_step or span
        h = min(1e-3 * max(size, 1.0) / rate, span)
        self.field.move_to(self.time + h)
        moved = self.field.rate(self.state + h * self.rate)
        self.evaluations += 1
        moved -= self.rate
        curvatures = self.field.space.norm(moved) / h
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            distances = np.minimum(samples.rates * span, samples.rates**2 / curvatures)
        samples.set_scale(np.nan_to_num(distances, nan=0.0, posinf=1e300))
        if self.settings.first_step:
            return self.settings.first_step
        rate = samples.worst(samples.rates / samples.allowed)
        curvature = samples.worst(curvatures / samples.allowed)
        return first_step(self._method.steps.pair, rate, curvature, horizon=span) if np.isfinite(curvature) else h

    # ── events ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _event(self) -> SampleOutcome | None:
        """End samples beyond the bound or at rest; return the outcome if the whole run ends (collective)."""
        samples = self.samples
        for k in np.flatnonzero(~(samples.norms <= samples.growth_bound)):
            self._end(int(k), "unbounded")
        self._drop_ended()
        if samples.all_over(np.zeros(samples.live.size, dtype=bool)):
            return samples.last_outcome()
        if self.field.is_autonomous and self._all_at_rest():
            self._steady_time = self.time
            return "steady"
        return "horizon" if self.time >= self.horizon else None

    def _all_at_rest(self) -> bool:
        """Whether all samples are slow and their limits near; records their ends if so (collective)."""
        samples = self.samples
        slow = samples.slowness(samples.rates) <= 1.0
        is_end = self.time >= self.horizon
        due = is_end or (self.steps >= self._examine_at[0] and self.time >= self._examine_at[1])
        if not due or not (samples.all_over(slow) or is_end):
            self._found_moving = self._found_moving and not due
            return False
        rests = samples.examine(self.time, self.state, self.rate, which=slow)
        steady = np.array([rest is not None and rest.is_steady for rest in rests], dtype=bool)
        rest_all = samples.all_over(steady)
        if rest_all or is_end:
            for k in np.flatnonzero(steady):
                self._end(int(k), "steady", rest=rests[k])
            self._rests = rests
            return rest_all
        self._found_moving = True
        self._examine_at = (self.steps + _PATIENCE, self.time + 0.1 * (self.time - samples.history.begin))
        return False

    def _end_cycles(self, recurrence: Recurrence, begin: float, h: float, before: tuple[Block, Block]) -> None:
        """End the samples that have closed a cycle (collective over space)."""
        for k, cycle in enumerate(recurrence.watch(begin, h, before=before, after=(self.state, self.rate))):
            if cycle is not None:
                self._end(k, "cycle", reason=f"{cycle.sentence}, at t = {self.time:.6g}", cycle=cycle)

    def _end_stuck(self, ratios: Floats) -> None:
        """End the samples for which no step is short enough."""
        bad = ~(ratios <= 1.0)
        for k in np.flatnonzero(bad):
            if np.isfinite(ratios[k]):
                s = self.settings
                reason = (
                    f"at t = {self.time:.6g} the step fell to {self.step:.1e}, the level of round-off, and the error "
                    f"is still {ratios[k]:.1e} times what rtol = {s.rtol:g} and atol = {s.atol:g} allow"
                )
            else:
                reason = f"the state is not finite beyond t = {self.time:.6g}, however short the step"
            self._end(int(k), "stuck", reason=reason)
        # a hundredth of the time so far was short enough before these samples began to blow up
        self.step = max(1e-2 * (self.time - self.samples.history.begin), self.step)
        self._drop_ended()

    def _end_without_rate(self) -> None:
        """End the samples whose first rate is not finite."""
        for k in np.flatnonzero(~np.isfinite(self.samples.rates)):
            self._end(int(k), "stuck", reason="σ(K f + b) is not finite at the initial state")
        self._drop_ended()

    def _end(self, k: int, outcome: SampleOutcome, **more: Any) -> None:
        self.samples.end(k, outcome, self.time, state=self.state, rate=self.rate, **more)

    def _drop_ended(self) -> None:
        """Go on with the other samples, in smaller blocks, and a new step control on all ranks (collective)."""
        if self.samples.all_over(np.array([self.samples.ends[j] is None for j in self.samples.live], dtype=bool)):
            return
        if self.kept_times[-1] < self.time and all(end is not None for end in self.samples.ends):
            self._keep(self.time, self.state.copy(order="F"))
        kept = self.samples.drop_ended()
        self.state, self.rate = (np.asfortranarray(block[:, kept]) for block in (self.state, self.rate))
        self._method.restart(self.field, self.time)
        if self._recurrence is not None:
            self._recurrence.keep(kept)

    # ── jumps of σ ────────────────────────────────────────────────────────────────────────────────────────────────

    def _look_for_jumps(self) -> None:
        """Where steps are hard, look once whether σ jumps, and put ramps in place of jumps (collective over space)."""
        if not self._jump_watch.is_due(self.time, self.steps, self.rejected):
            return
        if jumps := find_jumps(self.field.activation):
            states = np.asfortranarray(np.hstack([self.kept[0], self.state]))
            ramps = Ramps(self.field, jumps, states, sample_comm=self.samples.comm)
            self.field = self.samples.field = ramps.field
            self.samples.note, self.samples.least_error = ramps.sentence(self.time), ramps.error
            if self._recurrence is not None:
                self._recurrence.field = ramps.field
            self.field.rate(self.state, self.rate)
            self.evaluations += 1
            self._method.restart(self.field, self.time)

    # ── what is kept ──────────────────────────────────────────────────────────────────────────────────────────────

    def _keep(self, time: float, block: Block) -> None:
        self.kept_times.append(time)
        self.kept.append(self.samples.spread(block))

    def _report(self, outcome: SampleOutcome) -> Integration:
        samples = self.samples
        if self.kept_times[-1] < self.time and samples.live.size:
            self._keep(self.time, self.state.copy(order="F"))
        rests = self._rests if self.time >= self.horizon and self.field.is_autonomous else None
        decays = samples.decays(self.time)
        for k, j in enumerate(samples.live):
            if samples.ends[j] is None:
                rest = None if rests is None else rests[k]
                self._end(k, outcome, rest=rest, decay=float(decays[k]))
        ends = tuple(end for end in samples.ends if end is not None)
        return Integration(
            times=np.array(self.kept_times),
            states=tuple(self.kept),
            final=samples.final,
            rate=samples.final_rate,
            ends=ends,
            outcome=outcome,
            reason=self._sentence(outcome),
            steps=self.steps,
            rejected=self.rejected,
            evaluations=self.evaluations + self._method.evaluations,
            methods=tuple(self._method.used),
            steady_time=self._steady_time,
            growth=samples.largest_growth(),
            history=samples.history.columns(),
            pieces=self.pieces,
        )

    def _sentence(self, outcome: SampleOutcome) -> str:
        """The outcome of the run, and how many samples ended otherwise."""
        s, ends = self.settings, [end for end in self.samples.ends if end is not None]
        first = next((end.reason for end in ends if end.outcome == outcome), "")
        text = {
            "horizon": f"the horizon t = {self.horizon:g} was reached",
            "steady": f"all states are steady from t = {self.time:.6g}: ‖∂_t f‖ ≤ {s.steady_tolerance:g} and the limit "
            f"is within {max((e.rest.distance for e in ends if e.rest is not None), default=0.0):.1e}",
            "unbounded": f"a state exceeded the bound ‖f‖ = {self.samples.growth_bound:g} at t = {self.time:.6g}",
            "blow-up": f"a state {first}" if first.startswith("blows") else first,
            "stopped": f"stopped from outside at t = {self.time:.6g}",
            "step limit": f"{s.max_steps} steps reached t = {self.time:.6g} of {self.horizon:g}",
        }.get(outcome, first)
        others = sum(end.outcome != outcome for end in ends)
        text += f"; {self.samples.note}" if self.samples.note and self.samples.note not in text else ""
        return text + (f"; the runs of {others} of {len(ends)} samples ended otherwise" if others else "")
