# SPDX-License-Identifier: MIT
"""The stochastic phase: Adam and momentum steps on mini-batches, in the variable x̂ = M_L^{1/2} x.

    g_k = ∇Ĵ on mini-batch k,   m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²,
    x̂ ← x̂ − η_k m̂ / (√v̂ + ε)   (Adam),      x̂ ← x̂ − η_k m̂   (momentum),
    η_k = η ½ (1 + cos(π k / steps))   (cosine schedule)

with m̂, v̂ corrected for their start from zero.  Since x̂ carries the mesh and depth weights, a rate means the same on
every mesh.  The order of samples and their movements come from one random stream, which every rank draws alike.  A
checkpoint holds the state of the stream at the beginning of the epoch and the position in the epoch, so that a resumed
run equals the uninterrupted one.  Moments and x̂ are distributed: each member of the ensemble updates its shard.

Reference:
    Kingma, Ba, Adam: a method for stochastic optimization, ICLR 2015, arXiv:1412.6980.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI

from fem_selection.errors import NonFinite
from fem_selection.learning.scaled import ScaledFunctional
from fem_selection.linalg.blas import add_scaled
from fem_selection.optimize.adam import step_by_adam
from fem_selection.optimize.ends import ZERO_BATCHES
from fem_selection.optimize.pace import Pace
from fem_selection.optimize.report import EpochRow, Save, StochasticReport, Stop
from fem_selection.settings import OutputSettings, StochasticSettings
from fem_selection.typing import Block, Floats, whole_number

__all__ = ["BatchSource", "Epoch", "descend"]

_STEPS_BETWEEN_MESSAGES = 20


class Epoch(Protocol):
    """One pass over the samples in a random order."""

    num_batches: int

    def batch(self, number: int) -> tuple[Block, Block]:
        """This member's initial states, shape (num_local, any), and targets of the mini-batch with this number."""


class BatchSource(Protocol):
    """Draws epochs; the same random stream gives the same batches on any number of ranks."""

    batch_size: int

    def draw_epoch(self, rng: np.random.Generator) -> Epoch:
        """Draw the next epoch from the random stream."""


def descend(
    functional: ScaledFunctional,
    scaled_start: Floats,
    settings: StochasticSettings,
    *,
    source: BatchSource,
    validate: Callable[[Floats], float] | None = None,
    scaled_bounds: tuple[Floats, Floats] | None = None,
    resume: tuple[Mapping[str, Any], Mapping[str, Floats]] | None = None,
    save: Save | None = None,
    observe: Callable[[EpochRow], None] | None = None,
    stop: Stop | None = None,
    seed: int = 0,
    checkpoint_every: int | None = OutputSettings.checkpoint_every,
) -> StochasticReport:
    """Run the stochastic phase (collective).

    Args:
        functional: Ĵ; its controls are overwritten.
        scaled_start: Shard of the first x̂; ignored when resuming.
        settings: Method, epochs, rate and decays.  `batch` and `validation` are not read here, since the caller makes
            `source` and `validate`; `patience` is read only if `validate` is given.
        source: The source of mini-batches.
        validate: Returns the score of a shard of x̂ on the validation part; larger is better.  If it is given, the best
            iterate is returned, else the last.
        scaled_bounds: Shards of lower and upper bounds in x̂; steps are projected onto the box.
        resume: The state and vectors that `save` received earlier.
        save: Called at the start, when one is due, when stopped and at the end.
        observe: Called with each epoch's line of the history.
        stop: Called every 20 mini-batches, since it takes a message, and after each epoch; the run ends if it returns
            True.
        seed: Seed of the random stream.
        checkpoint_every: Epochs between calls of `save`; None for as often as 2 % of the time allows.

    Raises:
        NonFinite: on all ranks, with step and layer, if the objective of a mini-batch is not finite; the last state
            that `save` received is good.
    """
    run = _Descent(functional, settings, source, validate, scaled_bounds, save, observe, stop, seed, checkpoint_every)
    return run.run(scaled_start, resume)


@dataclass(frozen=True)
class _Fault:
    """The first step at which objective or gradient was not finite on this member's ranks."""

    step: int
    is_gradient: bool
    layer: int | None
    reason: str | None


class _Descent:
    def __init__(
        self,
        functional: ScaledFunctional,
        settings: StochasticSettings,
        source: BatchSource,
        validate: Callable[[Floats], float] | None,
        scaled_bounds: tuple[Floats, Floats] | None,
        save: Save | None,
        observe: Callable[[EpochRow], None] | None,
        stop: Stop | None,
        seed: int,
        checkpoint_every: int | None,
    ) -> None:
        self.functional, self.settings, self.source = functional, settings, source
        self.pace = Pace(checkpoint_every, functional.control_space.ensemble.world)
        self.validate, self.scaled_bounds = validate, scaled_bounds
        self.save, self.observe, self.stop = save, observe, stop
        self.rng = np.random.Generator(np.random.PCG64(whole_number(seed, "seed", 0)))
        self.epoch = self.batch = self.step = 0
        self.best_score, self.best_epoch = -np.inf, 0
        self.epoch_value = 0.0
        self.stopped = False
        self.moving = True  # whether a gradient of the epoch is not zero
        self.fault: _Fault | None = None
        self._last_batch: tuple[Block, Block] | None = None

    def run(
        self, scaled_start: Floats, resume: tuple[Mapping[str, Any], Mapping[str, Floats]] | None
    ) -> StochasticReport:
        if resume is None:
            self.scaled, self.best_scaled = scaled_start.copy(), scaled_start.copy()
            self.first, self.second = np.zeros_like(scaled_start), np.zeros_like(scaled_start)
            self._save()
        else:
            self._load(*resume)
        self._work = np.empty_like(self.scaled)
        reason = "all epochs were done"
        while self.epoch < self.settings.epochs and not self.stopped:
            if self.validate is not None and self.epoch - self.best_epoch >= self.settings.patience:
                reason = f"the validation did not improve over {self.settings.patience} epochs"
                break
            self._run_epoch()
            if not self.stopped and not self._is_moving():
                reason = ZERO_BATCHES
                break
        if self.stopped:
            reason = "stopped by the user"
        self._save()
        return StochasticReport(
            scaled_solution=self.scaled if self.validate is None else self.best_scaled,
            epochs=self.epoch,
            steps=self.step,
            best_epoch=self.epoch if self.validate is None else self.best_epoch,
            reason=reason,
            stopped=self.stopped,
        )

    def _run_epoch(self) -> None:
        self.epoch_state = self.rng.bit_generator.state
        self.moving = self.batch > 0  # what came before the checkpoint is not known
        epoch = self.source.draw_epoch(self.rng)
        total = self.settings.epochs * epoch.num_batches
        while self.batch < epoch.num_batches:
            initial, targets = epoch.batch(self.batch)
            value, gradient = self._evaluate_batch(initial, targets)
            with np.errstate(all="ignore"):
                square = float(gradient @ gradient)
            self._look(value, square, self.step + 1, initial)
            self.moving = self.moving or square != 0
            if self.fault is None:
                self._update(gradient, self._rate(total))
            self.epoch_value += value
            self.batch += 1
            self.step += 1
            self._last_batch = initial, targets
            if self.step % _STEPS_BETWEEN_MESSAGES == 0:
                self._check()
                if self.batch < epoch.num_batches and self._is_asked_to_stop():
                    return
        self._finish_epoch(epoch.num_batches, total)
        self._is_asked_to_stop()

    def _evaluate_batch(self, initial: Block, targets: Block) -> tuple[float, Floats]:
        size = self.source.batch_size
        return self.functional.evaluate_batch(self.scaled, initial, targets, batch_size=size)

    def _is_moving(self) -> bool:
        """Whether a gradient of this epoch, or what the steps keep of those before, is not zero (collective)."""
        return bool(self.functional.control_space.ensemble.any(self.moving or bool(np.any(self.first))))

    def _is_asked_to_stop(self) -> bool:
        self.stopped = self.stop is not None and self.stop()
        return self.stopped

    def _update(self, gradient: Floats, rate: float) -> None:
        """One step on the shard, in place; m and v are stored divided by 1 − β, and the rate makes up for it."""
        s, work, k = self.settings, self._work, self.step + 1
        length = rate * (1.0 - s.momentum) / (1.0 - s.momentum**k)
        if s.method == "adam":
            factor = np.sqrt((1.0 - s.second_moment) / (1.0 - s.second_moment**k))
            step_by_adam(
                self.scaled,
                self.first,
                self.second,
                gradient=gradient,
                decays=(s.momentum, s.second_moment),
                length=length / factor,
                epsilon=s.epsilon / factor,
                work=work,
            )
        else:
            self.first *= s.momentum
            self.first += gradient
            add_scaled(-length, self.first, self.scaled)
        if self.scaled_bounds is not None:
            np.clip(self.scaled, *self.scaled_bounds, out=self.scaled)

    def _rate(self, total: int) -> float:
        if self.settings.schedule == "constant":
            return self.settings.rate
        return float(self.settings.rate * 0.5 * (1.0 + np.cos(np.pi * self.step / total)))

    def _look(self, value: float, square: float, step: int, initial: Block) -> None:
        """Note the first step with an objective or gradient that is not finite (collective over space).

        Args:
            value: This rank's share of the objective.
            square: The square of the gradient's shard.
            step: Number of the step.
            initial: Initial states of the mini-batch.
        """
        comm = self.functional.control_space.space.comm
        bad = 2 if not np.isfinite(value) else int(not np.isfinite(square))  # 2: the objective, 1: the gradient alone
        if comm.size > 1:
            bad = comm.allreduce(bad, op=MPI.MAX)
        if bad and self.fault is None:
            layer = self.functional.first_bad_layer(initial)
            reason = self.functional.functional.explain_failure(initial)
            self.fault = _Fault(step=step, is_gradient=bad == 1, layer=layer, reason=reason)

    def _check_iterate(self) -> None:
        """Raise on all ranks if the objective of the last mini-batch is not finite at the iterate to be saved."""
        if self._last_batch is not None:
            initial, targets = self._last_batch
            value, _ = self._evaluate_batch(initial, targets)
            self._look(value, 0.0, self.step + 1, initial)
            self._check()

    def _check(self) -> None:
        """Raise on all ranks if a step on any of them was not finite."""
        faults = self.functional.control_space.ensemble.world.allgather(self.fault)
        known = [f for f in faults if f is not None]
        if known:
            step = min(f.step for f in known)
            first = [f for f in known if f.step == step]
            layers = [f.layer for f in first if f.layer is not None]
            what = "the gradient" if all(f.is_gradient for f in first) else "the objective"
            reason = next((f.reason for f in first if f.reason), None)
            raise NonFinite(f"{what} of a mini-batch", min(layers, default=None), step, reason=reason)

    def _finish_epoch(self, num_batches: int, total: int) -> None:
        self._check()
        objective = self.functional.control_space.ensemble.sum(self.epoch_value) / num_batches
        self.epoch += 1
        self.batch, self.epoch_value = 0, 0.0
        score = np.nan
        if self.validate is not None:
            score = self.validate(self.scaled)
            if score > self.best_score:
                self.best_score, self.best_epoch = score, self.epoch
                self.best_scaled[:] = self.scaled
        if self.observe is not None:
            self.observe(
                EpochRow(epoch=self.epoch, objective=objective, rate=self._rate(total), validation_score=float(score))
            )
        if self.epoch < self.settings.epochs and self.pace.is_due(self.epoch):
            self.epoch_state = self.rng.bit_generator.state
            self._save()

    def _save(self) -> None:
        self._check_iterate()
        if self.save is None:
            return
        at_boundary = self.batch == 0
        # the checkpoint holds one number for all ranks: the sum of their shares of the epoch's objective
        partial = 0.0 if at_boundary else self.functional.control_space.ensemble.sum(self.epoch_value)
        state = {
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "best_score": self.best_score if np.isfinite(self.best_score) else None,
            "best_epoch": self.best_epoch,
            "epoch_value": partial,
            "stream": self.rng.bit_generator.state if at_boundary else self.epoch_state,
        }
        vectors = {"x": self.scaled, "first_moment": self.first, "second_moment": self.second}
        vectors["best"] = self.scaled if self.validate is None else self.best_scaled
        with self.pace.writing():
            self.save(state, vectors)

    def _load(self, state: Mapping[str, Any], vectors: Mapping[str, Floats]) -> None:
        self.epoch, self.batch, self.step = int(state["epoch"]), int(state["batch"]), int(state["step"])
        self.best_epoch = int(state["best_epoch"])
        self.best_score = -np.inf if state["best_score"] is None else float(state["best_score"])
        self.epoch_value = float(state["epoch_value"]) if self.functional.control_space.ensemble.is_root else 0.0
        self.rng.bit_generator.state = state["stream"]
        self.scaled, self.best_scaled = vectors["x"].copy(), vectors["best"].copy()
        self.first, self.second = vectors["first_moment"].copy(), vectors["second_moment"].copy()
