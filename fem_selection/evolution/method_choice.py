# SPDX-License-Identifier: MIT
"""`MethodChoice`: explicit steps, or implicit ones where stability and not accuracy limits the explicit ones.

Explicit steps end if, in some successive tests, h ρ(F'(f)) is near the end of the method's stability interval.  They
return if some successive implicit steps are shorter than the last explicit one.
"""

from __future__ import annotations

import numpy as np

from fem_selection.dynamics.field import SelectionField
from fem_selection.evolution.embedded import DOP853, DOPRI5
from fem_selection.evolution.implicit_steps import ImplicitSteps
from fem_selection.evolution.samples import RunSamples
from fem_selection.evolution.step_control import StepController
from fem_selection.evolution.stiffness import StiffnessProbe
from fem_selection.evolution.trial_steps import ExplicitSteps, TrialSteps
from fem_selection.settings import StepSettings
from fem_selection.typing import Block

__all__ = ["MethodChoice"]

_LOOSE = 1e-5
"""For relative tolerances above this, pairs of order 5 take fewer evaluations than those of order 8."""
_PROBE_EVERY, _PROBES = 10, 3  # accepted steps between two tests of stability; number of tests that must agree
_NEAR_LIMIT = 0.7  # h ρ is near the end of the stability interval from this part of it on
_SHORT = 5  # after so many successive implicit steps that are short enough for them, explicit steps return


class MethodChoice:
    """The method of a run, its step control, and the tests that change the method.

    Args:
        field: F.
        settings: Tolerances, and which methods are allowed.
        samples: The samples of the run.
        time: Begin of the run.

    Attributes:
        steps: The trial steps of the present method.
        controller: Its step control.
        used: The time from which on a method was used, and its name, for each.
    """

    def __init__(self, field: SelectionField, settings: StepSettings, samples: RunSamples, *, time: float) -> None:
        self._settings, self._samples = settings, samples
        self.used: list[tuple[float, str]] = []
        self._earlier_evaluations = 0
        self._last_explicit_step = 0.0
        self._stiff_probes = self._short_steps = 0
        self._is_implicit = settings.method == "implicit"
        self._begin(field, time)
        self._probe = StiffnessProbe(field, samples.live.size)

    @property
    def evaluations(self) -> int:
        """Number of evaluations of F by all methods so far."""
        return self._earlier_evaluations + self.steps.evaluations

    def create_steps(self, field: SelectionField, num_samples: int) -> TrialSteps:
        """Return steps of the present method for another number of samples; the caller destroys them.

        Args:
            field: F.
            num_samples: Their number.
        """
        if self._is_implicit:
            return ImplicitSteps(field, num_samples)
        return ExplicitSteps(field, DOPRI5 if self._settings.rtol > _LOOSE else DOP853, num_samples)

    def restart(self, field: SelectionField, time: float) -> None:
        """Begin anew with the same method, for the samples that go on or for another field (collective).

        Args:
            field: F.
            time: t.
        """
        self.destroy()
        self._begin(field, time)
        self._probe = StiffnessProbe(field, self._samples.live.size)

    def choose(self, field: SelectionField, time: float, state: Block, *, step: float, count: int) -> None:
        """Change from explicit to implicit steps or back, if that is better (collective).

        Args:
            field: F.
            time: t, at the end of a step.
            state: f there.
            step: The length of the step.
            count: The number of steps so far.
        """
        if self._settings.method != "auto":
            return
        if not self._is_implicit and count % _PROBE_EVERY == 0:
            limit = self._probe.radius(state) * step / self.steps.pair.stability
            is_stiff = self._samples.worst(np.array([limit])) > _NEAR_LIMIT
            self._stiff_probes = self._stiff_probes + 1 if is_stiff else 0
            changes = self._stiff_probes >= _PROBES
        else:
            self._short_steps = self._short_steps + 1 if step < self._last_explicit_step else 0
            changes = self._is_implicit and self._short_steps >= _SHORT
        if changes:
            self._last_explicit_step = step
            self.destroy()
            self._is_implicit = not self._is_implicit
            self._begin(field, time)

    def destroy(self) -> None:
        """Destroy the method's PETSc objects (collective)."""
        self._earlier_evaluations += self.steps.evaluations
        self.steps.destroy()

    def _begin(self, field: SelectionField, time: float) -> None:
        self.steps = self.create_steps(field, self._samples.live.size)
        self.controller = StepController(self.steps.pair)
        self._stiff_probes = self._short_steps = 0
        if not self.used or self.used[-1][1] != self.steps.pair.name:
            self.used.append((time, self.steps.pair.name))
