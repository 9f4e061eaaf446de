# SPDX-License-Identifier: MIT
"""The stability of a trained network, whose kernel and bias depend on depth.

No single linearization decides there.  Each layer's (w, b) is frozen and looked at by itself: at a steady state of the
frozen equation where one exists, else at the mean of the samples' states, which is labelled so.  What holds for the
whole depth are the finite-time Lyapunov exponents along the trajectories: how much the network amplifies or damps
perturbations of its input, and, the same numbers, gradients on their way back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from fem_selection.dynamics import SelectionField, Stepper
from fem_selection.errors import InvalidInput, NotConverged
from fem_selection.learning import LearningProblem
from fem_selection.settings import StabilitySettings
from fem_selection.steady import (
    LyapunovExponents,
    Spectrum,
    Verdict,
    analyze_spectrum,
    finite_time_exponents,
    judge,
    steady_state_near,
)
from fem_selection.studies.state_stability import is_compact
from fem_selection.typing import Block, Floats

__all__ = ["LayerStability", "NetworkStability", "assess_network"]

_STEADY = 1e-8  # ‖σ(K f + b)‖ of a frozen steady state, relative to that at the mean state


@dataclass(frozen=True)
class LayerStability:
    """The frozen equation of one control interval.

    Attributes:
        interval: Its number.
        time: The depth at which it begins.
        at: "steady" for a steady state of the frozen equation, "mean" for the mean state.
        residual: ‖σ(K f + b)‖ there.
        distance: ‖f − mean state‖ in L².
        spectrum: Of the linearization there.
        verdict: On the frozen equation.
    """

    interval: int
    time: float
    at: str
    residual: float
    distance: float
    spectrum: Spectrum
    verdict: Verdict


@dataclass(frozen=True)
class NetworkStability:
    """A trained network.

    Attributes:
        layers: Its control intervals.
        exponents: Along the trajectories of some samples.
        sentence: What they say.
    """

    layers: tuple[LayerStability, ...]
    exponents: LyapunovExponents
    sentence: str


def assess_network(problem: LearningProblem, controls: Floats, settings: StabilitySettings) -> NetworkStability:
    """The stability of the network with the given controls (collective).

    Args:
        problem: The learning problem.
        controls: A shard of x, as `load_controls` returns it.
        settings: See `StabilitySettings`.
    """
    functional = problem.functional
    functional.set_controls(controls)
    stepper = functional.stepper
    first = problem.train.states(np.arange(min(settings.samples, problem.train.num_samples)), None)
    means = _mean_states(problem, stepper)
    layers = tuple(
        _assess_layer(stepper, interval, mean, settings.number, settings.tolerance)
        for interval, mean in enumerate(means)
    )
    count = min(max(settings.exponents, 1), problem.space.num_nodes)
    exponents = finite_time_exponents(stepper, np.asfortranarray(first), count)
    return NetworkStability(layers, exponents, _sentence(layers, exponents))


def _mean_states(problem: LearningProblem, stepper: Stepper) -> list[Block]:
    """The mean over all training samples of the state at which each control interval begins (collective)."""
    starts = [next(n for n, i in enumerate(stepper.intervals) if i[0] == c) for c in range(stepper.grid.intervals)]
    sums = np.zeros((len(starts), problem.space.num_local))
    functional = problem.functional
    for columns in functional.blocks(functional.initial.shape[1]):
        _, states = stepper.advance_without_tape(np.asfortranarray(functional.initial[:, columns]), starts)
        sums += np.array([state.sum(axis=1) for state in states])
    problem.ensemble.sample_comm.Allreduce(MPI.IN_PLACE, sums)
    problem.ensemble.sample_comm.Bcast(sums)
    return [np.asfortranarray(mean[:, None]) for mean in sums / problem.train.num_samples]


def _assess_layer(stepper: Stepper, interval: int, mean: Block, number: int, tolerance: float) -> LayerStability:
    """One frozen layer, at its steady state if Newton's method finds one."""
    space = stepper.space
    field = SelectionField(space, stepper.kernel, stepper.bias[interval], stepper.activation, interval=interval)
    scale = float(space.norm(field.rate(mean))[0])
    state, residual, at = mean, scale, "mean"
    try:
        found, left = steady_state_near(field, mean)
        if left <= _STEADY * max(scale, 1e-300):
            state, residual, at = found, left, "steady"
    except (NotConverged, InvalidInput):
        pass
    spectrum = analyze_spectrum(field, state, number, tolerance)
    distance = float(space.norm(np.asfortranarray(state - mean))[0])
    time = interval * stepper.grid.interval_length
    return LayerStability(interval, time, at, residual, distance, spectrum, judge(spectrum, is_compact(field.kernel)))


def _sentence(layers: tuple[LayerStability, ...], exponents: LyapunovExponents) -> str:
    """What can be said of the whole network, and no more."""
    steady = [layer for layer in layers if layer.at == "steady"]
    unstable = sum(layer.verdict.kind == "unstable" for layer in steady)
    frozen = f"{len(steady)} of {len(layers)} layers, frozen, have a steady state, unstable in {unstable}"
    others = len(layers) - len(steady)
    at_mean = f"; {others} are linearized at the mean state, which is not steady" if others else ""
    largest, smallest = (float(f(exponents.state)) * exponents.horizon for f in (np.max, np.min))
    count = exponents.state.shape[1]
    return (
        f"depth-dependent, no verdict on one steady state: {frozen}{at_mean}. Over the whole depth the leading {count} "
        f"directions of perturbations, and of gradients on their way back, are amplified by factors from "
        f"{np.exp(smallest):.4g} to {np.exp(largest):.4g}"
    )
