# SPDX-License-Identifier: MIT
"""Cycles recognized by recurrence: returns to a section through a state of the run, several times over.

    section   ⟨f − p, F(p)⟩ = 0, crossed in the direction of F(p), near p

    closure   d_k = ‖f(t_k) − f(t_{k−m})‖,  t_k the times of the returns,  m = 1, 2 or 3 returns a period

A step that crosses the section is repeated up to the crossing, so that a return is as accurate as a step.  An orbit is
taken for a cycle if three successive closures are small, relative to its width, and either fall so that their sum stays
small, or are at the level of the integrator's tolerance, below which a spiral cannot be told from a cycle.  Then one
period is run once more in equal steps: it must close, and gives mean and amplitude,

    amplitude² = 2 ⟨‖f(t) − f̄‖²⟩ over a period.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from mpi4py import MPI

from fem_selection.dynamics.field import SelectionField
from fem_selection.evolution.trial_steps import TrialSteps
from fem_selection.typing import Block, Floats, Integers, create_block

__all__ = ["ClosedOrbit", "Recurrence"]

_CLOSED = 1e-5  # largest closure and sum of later closures, relative to the orbit's width, if tolerances allow it
_RETURNS = 3  # closures that must be small
_ORDERS = 3  # most returns in a period
_NEAR = 0.5  # a return is near the section's point: relative to the width
_NOISE = 100.0  # closures below this many tolerances of a step are at the integrator's level
_WIDE = 1e3  # least width of a cycle, in units of that level
_PATIENCE = 40  # steps until a new section replaces one without returns; doubled each time
_LOCATIONS, _LOCATED = 12, 1e-7  # steps to find a crossing, and its accuracy relative to the step
_STEPS = 60  # of the period that is run once more; halves, thirds, quarters and fifths of it may close, too


@dataclass(frozen=True, kw_only=True)
class ClosedOrbit:
    """A closed orbit.

    Attributes:
        period: Its period.
        period_error: Error bar: the change from period to period, and the closure as a time.
        amplitude: Square root of 2 ⟨‖f − f̄‖²⟩.
        amplitude_error: Error bar: the closure, and the estimated sum of later ones.
        closure: ‖f(t + period) − f(t)‖ of the period that was run once more.
        returns: Number of returns to the section.
        contraction: d_k / d_{k−1}, the factor by which perturbations fell from period to period; NaN if closures are at
            the integrator's level.
        mean_norm: ‖f̄‖.
    """

    period: float
    period_error: float
    amplitude: float
    amplitude_error: float
    closure: float
    returns: int
    contraction: float
    mean_norm: float

    @property
    def sentence(self) -> str:
        """Period, amplitude and closure as a phrase."""
        return (
            f"a cycle of period {self.period:.8g} ± {self.period_error:.0e} and amplitude {self.amplitude:.6g} ± "
            f"{self.amplitude_error:.0e}: {self.returns} returns, the last period closes up to {self.closure:.0e}"
        )


class _Sample:
    """Section and returns of one sample."""

    def __init__(self) -> None:
        self.patience, self.steps = _PATIENCE, -1  # no section yet
        self.restart()

    def restart(self) -> None:
        self.before = 0.0
        self.width = self.last_width = 0.0
        self.returns: list[tuple[float, Floats, float]] = []  # time, state, width of the orbit since the one before
        self.closures: list[list[float]] = [[] for _ in range(_ORDERS)]
        self.count = 0


class Recurrence:
    """Watches the samples of a run for cycles.

    Args:
        field: F.
        num_samples: Number of samples on this rank.
        tolerance: Function from ‖f‖ to the local error that the steps allow.
        create_steps: Makes a method of one sample for repeated steps.
    """

    def __init__(
        self,
        field: SelectionField,
        num_samples: int,
        *,
        tolerance: Callable[[float], float],
        create_steps: Callable[[], TrialSteps],
    ) -> None:
        self.field, self._tolerance, self._create = field, tolerance, create_steps
        self._samples = [_Sample() for _ in range(num_samples)]
        self._points = create_block(field.space.num_local, num_samples)
        self._normals = create_block(field.space.num_local, num_samples)

    def keep(self, columns: Integers) -> None:
        """Go on with the samples of these numbers."""
        self._samples = [self._samples[int(j)] for j in columns]
        self._points, self._normals = (np.asfortranarray(b[:, columns]) for b in (self._points, self._normals))

    def watch(
        self, time: float, step: float, *, before: tuple[Block, Block], after: tuple[Block, Block]
    ) -> list[ClosedOrbit | None]:
        """Look at a step that was taken; return the cycle of each sample that has closed (collective over space).

        Args:
            time: Begin of the step.
            step: Its length.
            before: States and rates at its begin.
            after: States and rates at its end.
        """
        space = self.field.space
        for j, sample in enumerate(self._samples):
            if not 0 <= sample.steps < sample.patience:
                self._set_section(j, before)
        away = np.asfortranarray(after[0] - self._points)
        sums = np.stack([space.weights @ (away * self._normals), space.weights @ (away * away)])
        if space.comm.size > 1:
            space.comm.Allreduce(MPI.IN_PLACE, sums)
        heights, distances = sums[0], np.sqrt(sums[1])
        found: list[ClosedOrbit | None] = [None] * len(self._samples)
        for j, sample in enumerate(self._samples):
            sample.steps += 1
            sample.width = max(sample.width, float(distances[j]))
            height, sample_before = float(heights[j]), sample.before
            sample.before = height
            if sample_before < 0 <= height and distances[j] <= _NEAR * max(sample.width, sample.last_width) + 2 * (
                height - sample_before
            ):
                found[j] = self._return(j, time, step, before)
        return found

    def _set_section(self, j: int, at: tuple[Block, Block]) -> None:
        sample = self._samples[j]
        rate = at[1][:, j]
        size = float(self.field.space.norm(np.asfortranarray(rate[:, None]))[0])
        self._points[:, j], self._normals[:, j] = at[0][:, j], rate / size if size > 0 else 0.0
        if sample.steps >= 0:
            sample.patience *= 2
        sample.steps = 0
        sample.restart()

    def _return(self, j: int, time: float, step: float, before: tuple[Block, Block]) -> ClosedOrbit | None:
        """Locate a return, compare it with those before, and confirm a cycle."""
        sample, space = self._samples[j], self.field.space
        steps = self._create()
        try:
            state, rate = (np.asfortranarray(block[:, j : j + 1]) for block in before)
            point, normal = (np.asfortranarray(b[:, j : j + 1]) for b in (self._points, self._normals))
            found = self._locate(steps, time, step, (state, rate), section=(point, normal))
            if found is None:
                return None
            at, here = found
            if space.norm(np.asfortranarray(here - point))[0] > _NEAR * sample.width:
                return None
            width, sample.last_width, sample.width = sample.width, sample.width, 0.0
            sample.returns.append((at, here[:, 0].copy(), width))
            del sample.returns[: -_ORDERS - 2]
            sample.count += 1
            for order in range(1, min(_ORDERS, len(sample.returns) - 1) + 1):
                earlier = sample.returns[-1 - order][1]
                closure = float(space.norm(np.asfortranarray(here - earlier[:, None]))[0])
                sample.closures[order - 1].append(closure)
                del sample.closures[order - 1][:-_RETURNS]
            sample.steps = 0
            for order in range(1, _ORDERS + 1):
                cycle = self._cycle(sample, order, steps)
                if cycle is not None:
                    return cycle
            return None
        finally:
            steps.destroy()

    def _locate(
        self, steps: TrialSteps, time: float, step: float, begin: tuple[Block, Block], *, section: tuple[Block, Block]
    ) -> tuple[float, Block] | None:
        """The time of the crossing and the state there, by Newton's method on repeated steps; None if it fails."""
        space, (point, normal) = self.field.space, section
        part, low, high = 0.5, 0.0, 1.0
        for _ in range(_LOCATIONS):
            steps.attempt(time, part * step, begin[0], rate=begin[1], inside=())
            steps.finish(time + part * step)
            above = float(space.inner(np.asfortranarray(steps.new - point), normal)[0])
            slope = float(space.inner(np.asfortranarray(steps.new_rate), normal)[0]) * step
            if not np.isfinite(above) or not slope > 0:
                return None
            low, high = (part, high) if above < 0 else (low, part)
            move = -above / slope
            if abs(move) <= _LOCATED:  # what is left is of the order of its square
                return time + (part + move) * step, np.asfortranarray(steps.new + move * step * steps.new_rate)
            part = part + move if low < part + move < high else 0.5 * (low + high)
        return None

    def _cycle(self, sample: _Sample, order: int, steps: TrialSteps) -> ClosedOrbit | None:
        """The cycle of so many returns a period; None if it has not closed."""
        closures = sample.closures[order - 1]
        if len(closures) < _RETURNS:
            return None
        space = self.field.space
        begin, (end, last, width) = sample.returns[-1 - order][0], sample.returns[-1]
        size = float(space.norm(np.asfortranarray(last[:, None]))[0])
        noise = _NOISE * self._tolerance(size)
        closed = max(_CLOSED * width, noise)
        if max(closures) > closed or width <= _WIDE * noise:
            return None
        ratio = float(np.sqrt(closures[-1] / closures[0])) if closures[0] > 0 else 0.0
        more = 1.0 / (1.0 - ratio) if ratio < 1 else np.inf  # all later closures, over the last one
        if closures[-1] <= noise:
            more, ratio = 1.0, float("nan")
        later = max(closures[-1] * more, noise)
        if later > closed:
            return None
        times = [at for at, _, _ in sample.returns]
        change = abs((end - begin) - (times[-2] - times[-2 - order])) if len(times) > order + 1 else 0.0
        cycle = self._confirm(last, end - begin, later, steps, closed=2 * closed, count=sample.count, contraction=ratio)
        if cycle is None or not np.isfinite(change * more):
            return None
        return replace(cycle, period_error=cycle.period_error + change * more / round((end - begin) / cycle.period))

    def _confirm(
        self,
        state: Floats,
        period: float,
        later: float,
        steps: TrialSteps,
        *,
        closed: float,
        count: int,
        contraction: float,
    ) -> ClosedOrbit | None:
        """Run one period in equal steps; None if it does not close."""
        space = self.field.space
        here = np.asfortranarray(state[:, None])
        start, rate = here.copy(order="F"), create_block(*here.shape)
        self.field.rate(here, rate)
        mean, square, h = np.zeros_like(here), 0.0, period / _STEPS
        away = np.zeros(_STEPS + 1)
        for k in range(_STEPS):
            away[k] = space.norm(np.asfortranarray(here - start))[0]
            mean += here / _STEPS
            square += float(space.norm(here)[0]) ** 2 / _STEPS
            steps.attempt(0.0, h, here, rate=rate, inside=())
            steps.finish(h)
            here, rate = steps.new.copy(order="F"), steps.new_rate.copy(order="F")
        closure = float(space.norm(np.asfortranarray(here - start))[0])
        speed = float(space.norm(rate)[0])
        if not closure <= closed or speed == 0:
            return None
        parts = next((m for m in (5, 4, 3, 2) if away[_STEPS // m] <= closed), 1)
        mean_norm = float(space.norm(np.asfortranarray(mean))[0])
        error = closure + later
        return ClosedOrbit(
            period=period / parts,
            period_error=error / speed / parts,
            amplitude=float(np.sqrt(2.0 * max(square - mean_norm**2, 0.0))),
            amplitude_error=float(np.sqrt(2.0)) * error,
            closure=closure,
            returns=count,
            contraction=contraction,
            mean_norm=mean_norm,
        )
