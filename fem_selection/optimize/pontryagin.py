# SPDX-License-Identifier: MIT
"""Solvers by Pontryagin's maximum principle: sweep forward and back, then minimise the Hamiltonian of each layer.

    (w, b)_n ← argmin H_n(f_n, p_{n+1}, ·),    c, μ ← argmin of the terminal cost for the new final states

| method | step | objective |
|---|---|---|
| msa | the whole way to the minimisers: successive approximations (Li, Chen, Tai, E) | may rise, and may not converge |
| damped_msa | a part θ of the way; θ is halved when the objective rises and grows again later | never rises |
| sqh | minimisers of H_n + ε/2 (‖w − w°‖² + ‖b − b°‖²), ε adapted: sequential quadratic Hamiltonian | never rises |

An iteration costs one forward sweep for each trial step, and one forward and adjoint sweep for the accepted step; the
minimisations need no sweep.  The gap and the drift of H are reported at every iterate (`MaximumPrinciple`); `sqh`
measures them as often as `gap_every` says.  Box constraints hold at every step: the minimisers respect them, and a box
is convex.  As in every optimizer the iterates are x̂; the Hamiltonians are minimised in x.

References:
    Q. Li, L. Chen, C. Tai, W. E, Maximum principle based algorithms for deep learning, JMLR 18 (2017) 165.
    S. Hofmann, A. Borzì, A sequential quadratic Hamiltonian algorithm for training explicit RK neural networks,
    J. Comput. Appl. Math. 405 (2022) 113943; the same authors' arXiv:2504.11647.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fem_selection.adjoint.hamiltonian import Search
from fem_selection.errors import InvalidInput, NonFinite
from fem_selection.learning.extremals import Extremals, MaximumPrinciple
from fem_selection.learning.readout import optimize_readout
from fem_selection.learning.scaled import ScaledFunctional
from fem_selection.optimize.ends import End, end_by_gradient
from fem_selection.optimize.pace import Pace
from fem_selection.optimize.report import IterationRow, OptimizationReport, Save, Stop
from fem_selection.settings import OptimizerSettings, OutputSettings
from fem_selection.settings.names import PONTRYAGIN
from fem_selection.typing import Floats

__all__ = ["approximate_successively"]

_GROW, _SHRINK = 2.0, 0.6  # factors of ε after a refused step and after an accepted one
_DECREASE = 1e-6  # decrease of the objective that sqh requires, over the step's squared length and the scale of ε
_OPEN = 1e-4  # gap, relative to the objective, above which the run does not stop at a stationary point
_NO_STEP = "no step towards the minimisers lowers the objective: it is at the level of round-off, or they are far"
_NO_STEP_THERE = "the maximum-principle gap is open, but no step towards the minimisers lowers the objective"
_CLOSED_AT_START = "the gradient is zero, and the gap of the maximum principle is closed there"
_FAR = 1e-2  # θ below which the best minimisers count as too far away
_STALLED = 1e-10  # θ or 1/ε, relative, at which a step counts as round-off


def approximate_successively(
    functional: ScaledFunctional,
    scaled_start: Floats,
    settings: OptimizerSettings,
    *,
    scaled_bounds: tuple[Floats, Floats] | None = None,
    resume: tuple[Mapping[str, Any], Mapping[str, Floats]] | None = None,
    save: Save | None = None,
    observe: Callable[[IterationRow], None] | None = None,
    stop: Stop | None = None,
    seed: int = 0,
    checkpoint_every: int | None = OutputSettings.checkpoint_every,
) -> OptimizationReport:
    """Minimise Ĵ(x̂) by Pontryagin's principle (collective).

    Args:
        functional: Ĵ; its controls are overwritten.
        scaled_start: Shard of the first x̂; ignored when resuming.
        settings: Method, limits and tolerances; the method is "msa", "damped_msa" or "sqh".
        scaled_bounds: Shards of lower and upper bounds of kernel and bias in x̂; an infinite entry is no bound.
        resume: The state and vectors that `save` received earlier.
        save: Called with state and vectors at iteration 0, then when one is due and at the end.
        observe: Called with each new line of the history.
        stop: Called after each iteration; the run ends if it returns True.
        seed: Seed of the random starts of each minimisation.
        checkpoint_every: Iterations between calls of `save`; None for as often as 2 % of the time allows.

    Raises:
        InvalidInput: if the principle does not apply, with every reason; if the method is one of TAO; or if there are
            bounds of the readout.
        NonFinite: with the iteration, if the objective or its gradient is not finite at the start or after a step of
            `msa`; the other methods try a smaller step.
    """
    if settings.method not in PONTRYAGIN:
        methods = ", ".join(PONTRYAGIN)
        raise InvalidInput(f"method {settings.method!r} is none of Pontryagin's principle: use one of {methods}")
    run = _Approximation(functional, settings, scaled_bounds, save, observe, stop, seed, checkpoint_every)
    return run.run(scaled_start, resume)


@dataclass(frozen=True)
class _Iterate:
    objective: float
    scaled: Floats
    gradient: Floats


class _Approximation:
    """One run; `weight` is θ of damped_msa or ε of sqh."""

    def __init__(
        self,
        functional: ScaledFunctional,
        settings: OptimizerSettings,
        scaled_bounds: tuple[Floats, Floats] | None,
        save: Save | None,
        observe: Callable[[IterationRow], None] | None,
        stop: Stop | None,
        seed: int,
        checkpoint_every: int | None,
    ) -> None:
        self.functional, self.settings, self.scaled_bounds = functional, settings, scaled_bounds
        self.seed, self.pace = seed, Pace(checkpoint_every, functional.control_space.ensemble.world)
        self.save, self.observe, self.stop = save, observe, stop
        self.control_space, self.extremals = functional.control_space, Extremals(functional.functional)
        self.iteration = self.evaluations = 0
        self.first_norm = 0.0
        self.weight = self._first_weight()
        self.best: _Iterate | None = None
        self.local_bounds: tuple[Floats, Floats] | None = None
        if scaled_bounds is not None:
            space = self.control_space
            lower, upper = (space.gather(space.to_controls(bound)) for bound in scaled_bounds)
            self.local_bounds = (lower, upper)
        self._refuse_bounded_readout()

    def run(
        self, scaled_start: Floats, resume: tuple[Mapping[str, Any], Mapping[str, Floats]] | None
    ) -> OptimizationReport:
        if resume is None:
            if self.scaled_bounds is not None:
                scaled_start = np.clip(scaled_start, *self.scaled_bounds)
            now, length = self._evaluate(scaled_start), 0.0
            self.first_norm = self._norm(now)
        else:
            now, length = self._load(*resume), float(resume[0]["length"])
        known, stopped = resume is not None, False
        while True:
            if self.first_norm == 0:  # the start had no gradient to compare with
                self.first_norm = self._norm(now)
            principle = self._principle()
            if not known:
                self._tell(now, principle, length)
            end = self._end(now, principle)
            stopped = end is None and self.stop is not None and self.stop()
            if not known and (end is not None or stopped or self.pace.is_due(self.iteration)):
                self._save_now(now, length)
            if end is not None or stopped:
                break
            try:
                found = self._step(now, principle)
            except NonFinite as error:
                self._save_now(now, length)
                raise error.at_iteration(self.iteration + 1) from error
            if found is None:
                end = self._stationary(now)
                if end is None:
                    end = End(reason=_NO_STEP, converged=False)
                else:
                    end = replace(end, reason=f"{end.reason}; {_NO_STEP_THERE}")
                self._save_now(now, length)
                break
            length = self.functional.norm(found.scaled - now.scaled)
            now, known = found, False
            self.iteration += 1
        return self._report(end, stopped)

    # ── one iteration ─────────────────────────────────────────────────────────────────────────────────────────────

    def _principle(self) -> MaximumPrinciple | None:
        """Minimise the plain Hamiltonians: msa steps to these minimisers; sqh measures the gap only, if it is due."""
        every = self.settings.gap_every
        if self.settings.method == "sqh" and (not every or self.iteration % every):
            return None
        return self.extremals.minimize(self._search(0.0), self.local_bounds)

    def _step(self, now: _Iterate, principle: MaximumPrinciple | None) -> _Iterate | None:
        """The next iterate; None if no step lowers the objective."""
        if self.settings.method == "msa":
            assert principle is not None
            return self._evaluate(self._complete(self._towards(now, principle.local_minimizer, 1.0))[0])
        return self._damped(now, principle) if principle is not None and self._is_damped else self._quadratic(now)

    def _damped(self, now: _Iterate, principle: MaximumPrinciple) -> _Iterate | None:
        """A step towards the best minimisers; if these are too far for the objective to fall, towards the nearest."""
        found = self._part_of_the_way(now, principle.local_minimizer, _FAR)
        if found is None:
            near = self.extremals.minimize(replace(self._search(0.0), starts=1), self.local_bounds)
            found = self._part_of_the_way(now, near.local_minimizer, _STALLED)
        return found

    def _part_of_the_way(self, now: _Iterate, local_minimizer: Floats, least: float) -> _Iterate | None:
        """The iterate for the first of the parts θ, θ/2, … > `least` that lowers the objective; None if none does."""
        part = self.weight
        while part > least:
            trial, value = self._complete(self._towards(now, local_minimizer, part))
            if value < now.objective:
                self.weight = min(1.0, 1.5 * part)
                return self._evaluate(trial)
            part *= 0.5
        return None

    def _quadratic(self, now: _Iterate) -> _Iterate | None:
        while self.weight * _STALLED < self._first_weight():
            local_minimizer = self.extremals.minimize(self._search(self.weight), self.local_bounds).local_minimizer
            trial, value = self._complete(self._towards(now, local_minimizer, 1.0))
            square = self.functional.norm(trial - now.scaled) ** 2
            if value <= now.objective - _DECREASE * self._first_weight() * square and square > 0:
                self.weight *= _SHRINK
                return self._evaluate(trial)
            self.weight *= _GROW
        return None

    def _towards(self, now: _Iterate, local_minimizer: Floats, part: float) -> Floats:
        """x̂ with kernel and bias a part of the way to the minimisers."""
        space = self.control_space
        controls = space.to_controls(now.scaled)
        moving = np.zeros(space.local_size, dtype=bool)
        for name in ("kernel", "bias"):
            moving[space.slices[name]] = True
        where = moving[space.shard]
        controls[where] += part * (local_minimizer[space.shard][where] - controls[where])
        return space.to_scaled(controls)

    def _complete(self, scaled_trial: Floats) -> tuple[Floats, float]:
        """The trial x̂ with the readout that is optimal for its final states, and the objective there.

        Takes one forward sweep.  The objective is inf if it is not finite.
        """
        f, controls = self.functional.functional, self.control_space.to_controls(scaled_trial)
        final = f.final_states(controls)
        if not self.control_space.ensemble.any(not np.all(np.isfinite(final))):
            if "readout" in self.control_space.parts:
                controls = optimize_readout(f, final, controls)
            value = f.value_at(controls, final)
            return self.control_space.to_scaled(controls), value if np.isfinite(value) else np.inf
        return scaled_trial, np.inf

    def _evaluate(self, scaled: Floats) -> _Iterate:
        value, dual = self.extremals.sweep(self.control_space.to_controls(scaled))
        self.evaluations += 1
        now = _Iterate(objective=value, scaled=scaled.copy(), gradient=self.control_space.dual_to_scaled(dual))
        if self.best is None or value <= self.best.objective:
            self.best = now
        return now

    def _search(self, proximal: float) -> Search:
        return Search(starts=self.settings.starts, seed=self.seed, proximal=proximal, reduction=self.settings.reduction)

    @property
    def _is_damped(self) -> bool:
        return self.settings.method == "damped_msa"

    def _first_weight(self) -> float:
        """The scale of ε, or the first θ."""
        r = self.functional.functional.regularization
        return 1.0 if self.settings.method == "damped_msa" else self.settings.augmentation * max(r.kernel, r.bias)

    def _refuse_bounded_readout(self) -> None:
        where = slice(self.control_space.slices["readout"].start, self.control_space.slices["offset"].stop)
        if self.local_bounds is not None and any(np.any(np.isfinite(b[where])) for b in self.local_bounds):
            raise InvalidInput("objective.readout_bounds: Pontryagin's methods know bounds of kernel and bias only")

    # ── history, checkpoints, end ─────────────────────────────────────────────────────────────────────────────────

    def _norm(self, now: _Iterate) -> float:
        """Norm of the projected gradient x̂ − P(x̂ − ∇Ĵ)."""
        if self.scaled_bounds is None:
            return self.functional.norm(now.gradient)
        return self.functional.norm(now.scaled - np.clip(now.scaled - now.gradient, *self.scaled_bounds))

    def _tell(self, now: _Iterate, principle: MaximumPrinciple | None, length: float) -> None:
        if self.observe is not None:
            gap, drift = (np.nan, np.nan) if principle is None else (principle.gap, principle.drift)
            row = IterationRow(
                iteration=self.iteration,
                objective=now.objective,
                gradient_norm=self._norm(now),
                step=length,
                evaluations=self.evaluations,
                maximum_principle_gap=gap,
                hamiltonian_drift=drift,
            )
            self.observe(row)

    def _end(self, now: _Iterate, principle: MaximumPrinciple | None) -> End | None:
        """The reason to stop, or None; a vanishing gradient is no reason if the maximum principle finds a gap."""
        if self.iteration >= self.settings.max_iterations:
            return End(reason="the iteration limit was reached", converged=False)
        end = self._stationary(now)
        if end is None:
            return None
        if principle is None and self.settings.gap_every:
            principle = self.extremals.minimize(self._search(0.0), self.local_bounds)
        if principle is None:
            return end
        if principle.gap > _OPEN * abs(now.objective):
            return None
        # a gap that is closed says of a start without a gradient what the gradient cannot
        return end if end.converged else End(reason=_CLOSED_AT_START, converged=True)

    def _stationary(self, now: _Iterate) -> End | None:
        """The end that the gradient means, or None."""
        unprojected = self.functional.norm(now.gradient) if self.first_norm == 0 else 0.0
        return end_by_gradient(
            self._norm(now), self.settings, first_norm=self.first_norm, first_unprojected=unprojected
        )

    def _save_now(self, now: _Iterate, length: float) -> None:
        if self.save is None or self.best is None:
            return
        state = {
            "iteration": self.iteration,
            "evaluations": self.evaluations,
            "first_norm": self.first_norm,
            "weight": self.weight,
            "length": length,
            "best_objective": self.best.objective,
            "gradient_norm": self._norm(now),
        }
        with self.pace.writing():
            self.save(state, {"best": self.best.scaled, "best_gradient": self.best.gradient, "now": now.scaled})

    def _load(self, state: Mapping[str, Any], vectors: Mapping[str, Floats]) -> _Iterate:
        """The saved iterate; its states and costates are computed again, which costs one sweep."""
        self.best = _Iterate(
            objective=float(state["best_objective"]), scaled=vectors["best"], gradient=vectors["best_gradient"]
        )
        now = self._evaluate(vectors["now"])
        self.iteration, self.evaluations = int(state["iteration"]), int(state["evaluations"])
        self.first_norm, self.weight = float(state["first_norm"]), float(state["weight"])
        return now

    def _report(self, end: End | None, stopped: bool) -> OptimizationReport:
        assert self.best is not None
        return OptimizationReport(
            scaled_solution=self.best.scaled,
            objective=self.best.objective,
            gradient_norm=self._norm(self.best),
            iterations=self.iteration,
            evaluations=self.evaluations,
            reason="stopped by the user" if end is None else end.reason,
            converged=end is not None and end.converged,
            stopped=stopped,
        )
