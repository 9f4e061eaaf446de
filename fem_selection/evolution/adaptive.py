# SPDX-License-Identifier: MIT
"""`integrate`: the selection equation over large times, with adaptive steps.

    ∂_t f_j = σ(K f_j + b),   f_j(t_0) = f^I_j,   one step for all samples

Explicit steps are those of Dormand and Prince, of order 8, or of order 5 if tolerances are loose.  If stability and not
accuracy limits them, h ρ(F') near the end of the stability interval, implicit steps of order 4 take over
(`method = "auto"`).  The polynomial of each method gives the states at the times asked for, so that these times do not
change the steps.  A run ends early

* if ‖∂_t f_j‖ falls below a tolerance for all samples (a steady state; not if kernel or bias depend on time); the last
  step is shortened to end where this happens;
* if some ‖f_j‖ exceeds a bound (unbounded growth, whose law and rate are fitted).

PETSc's TS has pairs of the same orders, but compares one norm of all entries with a tolerance, so that one sample's
error hides among many: on the problem of `benchmarks/forward.py`, at 1e-8, its order-8 pair takes as many evaluations
(169 against 170) and leaves a largest error over the samples of 1.7e-8, against 2.0e-9 here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as attribute

import numpy as np
from mpi4py import MPI

from fem_selection.dynamics.field import SelectionField
from fem_selection.errors import InvalidInput, NonFinite, NotConverged
from fem_selection.evolution.embedded import DOP853, DOPRI5, EmbeddedPair
from fem_selection.evolution.growth import Growth, StepHistory, fit_growth
from fem_selection.evolution.implicit_steps import ImplicitSteps
from fem_selection.evolution.step_control import StepController, first_step
from fem_selection.evolution.stiffness import StiffnessProbe
from fem_selection.evolution.trial_steps import ExplicitSteps, TrialSteps, sums_of_squares
from fem_selection.evolution.variation import TimePieces, divide_time
from fem_selection.settings import StepSettings
from fem_selection.typing import Block, Floats, create_block

__all__ = ["Integration", "integrate"]

_LOOSE = 1e-5
"""For relative tolerances above this, pairs of order 5 take fewer evaluations than those of order 8."""
_PROBE_EVERY, _PROBES = 10, 3  # accepted steps between two tests of stability; number of tests that must agree
_CLOSE, _SOON = 1e-2, 1e-3  # accuracy of a steady state: relative to the tolerance, and to t
_LARGEST = 1e150
"""‖f‖ at which every run ends: its square would soon leave the range of double precision."""
_SHORT = 5  # after so many successive implicit steps that are short enough for them, explicit steps return


@dataclass(frozen=True)
class Integration:
    """What an adaptive integration found.

    Attributes:
        times: The times asked for that were reached, and the end if it came before the last of them.
        states: Nodal values of the owned nodes at these times, one (num_local, samples) block each.
        rate: ∂_t f at the end.
        outcome: "horizon", "steady", "unbounded" or "stopped".
        reason: The same as a sentence.
        steps: Number of steps taken.
        rejected: Number of steps tried and not taken.
        evaluations: Evaluations of F, for all samples at once.
        methods: The time from which on a method was used, and its name, for each.
        steady_time: The time at which ‖∂_t f_j‖ first was below the tolerance for all samples, or None.
        growth: How the largest norm grew; None if it did not grow, or stayed below the bound and ended below 1.5 times
            its value at half of the time.
        history: Columns over the steps, thinned if they are many: `times`; `norms`, the largest ‖f_j‖; `slopes`, its
            derivative in time; `rates`, the largest ‖∂_t f_j‖; `steps`, h.
        pieces: The pieces of time in which kernel and bias vary little, which steps do not pass over; None if neither
            depends on time.
    """

    times: Floats
    states: tuple[Block, ...]
    rate: Block = attribute(repr=False)
    outcome: str
    reason: str
    steps: int
    rejected: int
    evaluations: int
    methods: tuple[tuple[float, str], ...]
    steady_time: float | None
    growth: Growth | None
    history: dict[str, Floats] = attribute(repr=False)
    pieces: TimePieces | None = attribute(default=None, repr=False)

    @property
    def final(self) -> Block:
        """The last of the states."""
        return self.states[-1]


def integrate(
    field: SelectionField,
    initial: Block,
    times: Floats,
    *,
    settings: StepSettings | None = None,
    progress: Callable[[float, int], bool | None] | None = None,
    sample_comm: MPI.Intracomm | None = None,
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
        sample_comm: Ranks that hold other samples of the same run: all take the same steps, and events concern all
            samples.

    Returns:
        The states at the times, and how the run ended.

    Raises:
        InvalidInput: if the times do not increase, or the initial states have a wrong shape.
        NonFinite: if states are not finite, however short the step.
        NotConverged: if the step falls to round-off, or the number of steps reaches its limit.

    Note:
        Collective over the space communicator, and over `sample_comm`.
    """
    times = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if times.ndim != 1 or times.size < 2 or not (np.all(np.isfinite(times)) and np.all(np.diff(times) > 0)):
        raise InvalidInput(f"times must be at least two increasing numbers, got {times}")
    field.space.require_block(initial, "initial states")
    run = _Run(field, initial, times, settings or StepSettings(), sample_comm)
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
    ) -> None:
        self.field, self.asked, self.settings, self.sample_comm = field, times, settings, sample_comm
        self.time, self.horizon = float(times[0]), float(times[-1])
        self._growth_bound = min(settings.growth_bound, _LARGEST)
        self.state = np.array(initial, dtype=np.float64, order="F")
        self.rate, self._scratch = create_block(*initial.shape), create_block(*initial.shape)
        self._sums = np.zeros((3, initial.shape[1]))
        self.kept_times, self.kept = [self.time], [self.state.copy(order="F")]
        self.steps = self.rejected = self.evaluations = 0
        self.methods: list[tuple[float, str]] = []
        self.history = StepHistory()
        self._probe = StiffnessProbe(field, initial.shape[1])
        self._stiff_probes = self._short_steps = 0
        self._explicit_step = 0.0
        self.pieces = None if field.is_autonomous else divide_time(field, self.time, self.horizon)
        self.field.move_to(self.time)
        self.field.rate(self.state, self.rate, self._scratch)
        self.evaluations += 1
        self._measure(0.0)
        self._method = self._use("implicit" if settings.method == "implicit" else "explicit")
        self.step = settings.first_step or self._first_step()

    def to_end(self, progress: Callable[[float, int], bool | None] | None) -> Integration:
        """Take steps until an event, the horizon or `progress` ends the run."""
        while True:
            outcome = self._event()
            if outcome is not None:
                return self._report(outcome)
            self._advance()
            if progress is not None and progress(self.time, self.steps):
                return self._report(self._event() or "stopped")

    def destroy(self) -> None:
        """Destroy the method's PETSc objects (collective)."""
        self._method.destroy()

    # ── steps ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _advance(self) -> None:
        """Take one step, after as many rejected ones as it needs."""
        while True:
            if self.steps + self.rejected >= self.settings.max_steps:
                raise NotConverged(f"{self.settings.max_steps} steps reached t = {self.time:.6g} of {self.horizon:g}")
            h, last = self._fit_step()
            end = self.horizon if last else self.time + h
            inside = self.asked[(self.asked > self.time) & (self.asked < end)]
            errors = self._method.attempt(
                self.time, h, self.state, rate=self.rate, inside=list((inside - self.time) / h)
            )
            ratio = self._worst(errors / self._allowed)
            factor = self._controller.factor(ratio)
            self.step = h * factor
            if ratio <= 1.0:
                self._method.finish(end)
                shorter = self._step_to_steady(h)
                if shorter is None:
                    break
                self.step = shorter
            self.rejected += 1
            self._check(ratio)
        for time, block in zip(inside, self._method.outputs(), strict=True):
            self._keep(float(time), block)
        self.state, self.rate = self._method.exchange(self.state, self.rate)
        self.time = end
        self.steps += 1
        self._measure(h)
        if end in self.asked:
            self._keep(end, self.state.copy(order="F"))
        self._choose_method(h)

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
        """The step after which ‖∂_t f‖ is at the tolerance for all samples; None to take the trial step as it is.

        It lies within the trial step, is found by interpolation of log ‖∂_t f‖ and aims at just below the tolerance.
        """
        tolerance = self.settings.steady_tolerance
        if not self.field.is_autonomous or self.largest_rate <= tolerance or h <= _SOON * self.time:
            return None
        end = self._largest_of(self._method.new_rate)
        if not end < (1.0 - _CLOSE) * tolerance:
            return None
        aim = (1.0 - 0.5 * _CLOSE) * tolerance
        part = np.log(self.largest_rate / aim) / np.log(self.largest_rate / max(end, 1e-300))
        return h * float(np.clip(part, 0.02, 0.98))

    def _largest_of(self, rate: Block) -> float:
        """The largest norm of the samples' rates (collective)."""
        sums = np.zeros(rate.shape[1])
        sums_of_squares(self.field.space.weights, rate, self._scratch, out=sums)
        if self.field.space.comm.size > 1:
            self.field.space.comm.Allreduce(MPI.IN_PLACE, sums)
        return self._worst(np.sqrt(sums))

    def _check(self, ratio: float) -> None:
        """Raise an error if the step has become so short that a shorter one makes no difference."""
        if self.step > 8 * np.finfo(float).eps * abs(self.time) + 1e-300:
            return
        if not np.isfinite(ratio):
            raise NonFinite(f"the state beyond t = {self.time:.6g}")
        raise NotConverged(
            f"at t = {self.time:.6g} the step fell to {self.step:.1e}, the level of round-off, and the error is still "
            f"{ratio:.1e} times what rtol = {self.settings.rtol:g} and atol = {self.settings.atol:g} allow"
        )

    def _first_step(self) -> float:
        """The first step, from ‖∂_t f‖ and a difference for ‖∂_tt f‖ (collective)."""
        span = self.horizon - self.time
        rate = self._worst(np.sqrt(self._sums[1]) / self._allowed)
        size = self._worst(np.sqrt(self._sums[0]) / self._allowed)
        if rate == 0.0:
            return span
        h = min(1e-3 * max(size, 1.0) / rate, span)
        np.multiply(self.rate, h, out=self._scratch)
        self._scratch += self.state
        self.field.move_to(self.time + h)
        moved = self.field.rate(self._scratch)
        self.evaluations += 1
        moved -= self.rate
        curvature = self._worst(self.field.space.norm(moved) / (h * self._allowed))
        return first_step(self._method.pair, rate, curvature, horizon=span) if np.isfinite(curvature) else h

    # ── norms and events ──────────────────────────────────────────────────────────────────────────────────────────

    def _measure(self, step: float) -> None:
        """Compute norms of states and rates and the allowed errors; add a line to the history (collective)."""
        weights = self.field.space.weights
        sums_of_squares(weights, self.state, self._scratch, out=self._sums[0])
        sums_of_squares(weights, self.rate, self._scratch, out=self._sums[1])
        np.multiply(self.state, self.rate, out=self._scratch)
        np.dot(weights, self._scratch, out=self._sums[2])
        if self.field.space.comm.size > 1:
            self.field.space.comm.Allreduce(MPI.IN_PLACE, self._sums)
        norms = np.sqrt(self._sums[0])
        self._allowed = self.settings.atol + self.settings.rtol * norms
        self.largest_rate = self._worst(np.sqrt(self._sums[1]))
        j = int(np.argmax(norms)) if norms.size else 0
        mine = (float(norms[j]), float(self._sums[2, j] / max(norms[j], 1e-300))) if norms.size else (0.0, 0.0)
        if self.sample_comm is not None:
            mine = max(self.sample_comm.allgather(mine))
        self.largest = mine[0]
        self.history.add(self.time, *mine, rate=self.largest_rate, step=step)

    def _worst(self, values: Floats) -> float:
        """The largest of the samples' values, to three digits, the same on all ranks; NaN counts as infinite."""
        worst = float(np.max(np.nan_to_num(values, nan=np.inf), initial=0.0))
        if self.sample_comm is not None:
            worst = self.sample_comm.allreduce(worst, op=MPI.MAX)
        return float(f"{worst:.2e}")

    def _event(self) -> str | None:
        if self.field.is_autonomous and self.largest_rate <= self.settings.steady_tolerance:
            return "steady"
        if not self.largest <= self._growth_bound:
            return "unbounded"
        return "horizon" if self.time >= self.horizon else None

    # ── methods ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _use(self, kind: str) -> TrialSteps:
        samples = self.state.shape[1]
        method: TrialSteps
        if kind == "explicit":
            method = ExplicitSteps(self.field, _explicit_pair(self.settings), samples)
        else:
            method = ImplicitSteps(self.field, samples)
        self._controller = StepController(method.pair)
        self._stiff_probes = self._short_steps = 0
        self.methods.append((self.time, method.pair.name))
        return method

    def _choose_method(self, step: float) -> None:
        """Change from explicit to implicit steps or back, if that is better (collective)."""
        if self.settings.method != "auto":
            return
        is_explicit = self._method.pair.diagonal == 0.0
        if is_explicit and self.steps % _PROBE_EVERY == 0:
            limit = self._probe.radius(self.state) * step / self._method.pair.stability
            self._stiff_probes = self._stiff_probes + 1 if self._worst(np.array([limit])) > 0.7 else 0
            other = "implicit" if self._stiff_probes >= _PROBES else ""
        else:
            self._short_steps = self._short_steps + 1 if step < self._explicit_step else 0
            other = "explicit" if not is_explicit and self._short_steps >= _SHORT else ""
        if other:
            self._explicit_step = step
            self.evaluations += self._method.evaluations
            self._method.destroy()
            self._method = self._use(other)

    # ── what is kept ──────────────────────────────────────────────────────────────────────────────────────────────

    def _keep(self, time: float, block: Block) -> None:
        self.kept_times.append(time)
        self.kept.append(block)

    def _report(self, outcome: str) -> Integration:
        if self.kept_times[-1] < self.time:
            self._keep(self.time, self.state.copy(order="F"))
        history = self.history.columns()
        growth = None
        half = np.interp(0.5 * (self.asked[0] + self.time), history["times"], history["norms"])
        if outcome == "unbounded" or self.largest > 1.5 * half:
            growth = fit_growth(history["times"], history["norms"], history["slopes"])
        return Integration(
            times=np.array(self.kept_times),
            states=tuple(self.kept),
            rate=self.rate.copy(order="F"),
            outcome=outcome,
            reason=self._sentence(outcome),
            steps=self.steps,
            rejected=self.rejected,
            evaluations=self.evaluations + self._method.evaluations,
            methods=tuple(self.methods),
            steady_time=self.time if outcome == "steady" else None,
            growth=growth,
            history=history,
            pieces=self.pieces,
        )

    def _sentence(self, outcome: str) -> str:
        s = self.settings
        return {
            "horizon": f"the horizon t = {self.horizon:g} was reached",
            "steady": f"all states are steady from t = {self.time:.6g}: ‖∂_t f‖ ≤ {s.steady_tolerance:g}",
            "unbounded": f"a state exceeded the bound ‖f‖ = {self._growth_bound:g} at t = {self.time:.6g}",
            "stopped": f"stopped from outside at t = {self.time:.6g}",
        }[outcome]


def _explicit_pair(settings: StepSettings) -> EmbeddedPair:
    return DOPRI5 if settings.rtol > _LOOSE else DOP853
