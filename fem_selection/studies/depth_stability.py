# SPDX-License-Identifier: MIT
"""The stability of a trained network, whose kernel and bias depend on depth.

No single linearization decides the stability of such a network.  Therefore each layer's (w, b) is frozen, and its
equation is analyzed by itself: at a steady state of the frozen equation if Newton's method finds one, else at the mean
of the samples' states, and the report says which.  For the whole depth the finite-time Lyapunov exponents along the
trajectories are computed.  They measure how much the network amplifies or damps perturbations of its input and, with
the same numbers, gradients on their way back.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from fem_selection.dynamics import SelectionField, Stepper
from fem_selection.dynamics.rest import tolerance_of_rest
from fem_selection.errors import InvalidInput, NotConverged
from fem_selection.kernels import Kernel, KernelOperator, RepresenterKernel
from fem_selection.learning import LearningProblem
from fem_selection.linalg.norms import operator_norm
from fem_selection.settings import StabilitySettings
from fem_selection.settings.tables import settings_or_default
from fem_selection.steady import (
    LyapunovExponents,
    Spectrum,
    Verdict,
    analyze_spectrum,
    find_steady_state,
    finite_time_exponents,
    is_compact,
    judge,
)
from fem_selection.studies.report import Report
from fem_selection.studies.stability_report import as_pairs, complex_in_words, draw_exponents, exponents_in_words
from fem_selection.studies.state_stability import PRECISE
from fem_selection.typing import Block, Floats

__all__ = ["LayerStability", "NetworkStabilityReport", "network_stability"]


@dataclass(frozen=True, kw_only=True)
class LayerStability:
    """The frozen equation of one control interval.

    Attributes:
        interval: Number of the control interval.
        time: The depth at which the interval begins.
        at: The state of the linearization: "steady" for a steady state of the frozen equation, "mean" for the mean
            state.
        residual: ‖σ(K f + b)‖ at this state.
        distance: ‖f − mean state‖ in L².
        spectrum: The spectrum of the linearization at this state.
        verdict: The verdict on the frozen equation.
    """

    interval: int
    time: float
    at: str
    residual: float
    distance: float
    spectrum: Spectrum
    verdict: Verdict

    def as_dict(self) -> dict[str, Any]:
        """The entry of this layer in the report's "layers"."""
        return {
            "interval": self.interval,
            "time": self.time,
            "at": self.at,
            "label": "at its frozen steady state" if self.at == "steady" else "at the mean state, not steady",
            "residual": self.residual,
            "distance_from_mean": self.distance,
            "kind": self.verdict.kind,
            "verdict": self.verdict.sentence,
            "eigenvalues": as_pairs(self.spectrum.leading),
            "norm": self.spectrum.norm,
            "rank": self.spectrum.rank,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkStabilityReport(Report):
    """The report of `network_stability`; nodal values in it are those of this rank.

    Attributes:
        layers: The frozen equation of each control interval.
        exponents: The exponents along the trajectories of some samples.
        sentence: The finding as a sentence.
    """

    layers: tuple[LayerStability, ...]
    exponents: LyapunovExponents
    sentence: str

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """Interval, depth, state, its distance, leading eigenvalue and verdict of each layer, for a table."""
        return [
            (
                str(layer.interval),
                f"{layer.time:.3g}",
                layer.at,
                f"{layer.distance:.3g}",
                complex_in_words(layer.spectrum.leading[0], 4) if layer.spectrum.leading.size else "0",
                layer.verdict.kind,
            )
            for layer in self.layers
        ]

    @property
    def details(self) -> dict[str, str]:
        """The leading Lyapunov exponents, by name."""
        return {"Lyapunov exponents": exponents_in_words(self.exponents)}

    def content(self) -> dict[str, Any]:
        """The content of `report.json`."""
        firsts = [layer.spectrum.leading[:1] for layer in self.layers]
        return {
            "verdict": self.sentence,
            "eigenvalues": as_pairs(np.concatenate(firsts)),
            "layers": [layer.as_dict() for layer in self.layers],
            "exponents": dataclasses.asdict(self.exponents),
            "amplification": self.exponents.amplification,
        }

    def draw(self, folder: Path) -> None:
        """Draw `spectrum.png`, the eigenvalues of all layers, and `exponents.png`."""
        from fem_selection import plots

        plots.draw(
            folder / "spectrum.png",
            plots.plot_layer_spectra,
            np.array([layer.time for layer in self.layers]),
            [layer.spectrum.leading for layer in self.layers],
            [layer.at == "steady" for layer in self.layers],
        )
        draw_exponents(folder, self.exponents)


def network_stability(
    problem: LearningProblem,
    controls: Floats,
    settings: StabilitySettings | None = None,
    *,
    states: Block | None = None,
) -> NetworkStabilityReport:
    """Assess the network with the given controls, layer by layer and over its whole depth (collective).

    Args:
        problem: The learning problem; the mean states are those of all its training samples.
        controls: A shard of x, as `train` returns it.
        settings: Numbers of eigenvalues of each layer, of samples and of exponents; `StabilitySettings()` if None.
        states: Initial states for whose trajectories exponents are computed, shape (num_local, any), the same on all
            members; if None, those of the first `settings.samples` training samples.

    Raises:
        InvalidInput: if controls or states have another shape, or a representer kernel changes within an interval.
        NonFinite: if a trajectory is not finite.
    """
    settings = settings_or_default(settings, StabilitySettings)
    problem.require_samples()
    controls = problem.functional.control_space.to_shard(controls)
    if states is not None:
        states = problem.space.to_block(states, "states", fewest=1)
    problem.functional.set_controls(controls)
    stepper = problem.functional.stepper
    if states is None:
        states = problem.train.states(np.arange(min(settings.samples, problem.train.num_samples)), None)
    kernel: Kernel = stepper.kernel
    if isinstance(kernel, RepresenterKernel):
        kernel = kernel.as_separable()
    layers = tuple(
        _assess_layer(stepper, kernel, interval, mean, settings)
        for interval, mean in enumerate(_mean_states(problem, stepper))
    )
    count = min(max(settings.exponents, 1), problem.space.num_nodes)
    exponents = finite_time_exponents(stepper, np.asfortranarray(states), count)
    return NetworkStabilityReport(layers=layers, exponents=exponents, sentence=_sentence(layers, exponents))


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


def _assess_layer(
    stepper: Stepper, kernel: Kernel, interval: int, mean: Block, settings: StabilitySettings
) -> LayerStability:
    """Analyze one frozen layer, at its steady state if Newton's method finds one, else at the mean state."""
    space = stepper.space
    field = SelectionField(
        space,
        kernel,
        stepper.bias[interval],
        activation=stepper.activation,
        interval=interval,
        evaluation=stepper.evaluation,
    )
    state, residual, at = mean, float(space.norm(field.rate(mean))[0]), "mean"
    try:
        found = find_steady_state(field, mean[:, 0], PRECISE)
        column = np.asfortranarray(found.state[:, None])
        norm = operator_norm(space, KernelOperator(field.kernel, interval))
        if found.residual <= tolerance_of_rest(field, column, norm=norm)[0]:
            state, residual, at = column, found.residual, "steady"
    except (NotConverged, InvalidInput):
        pass
    spectrum = analyze_spectrum(field, state, settings.number, tolerance=settings.tolerance)
    distance = float(space.norm(np.asfortranarray(state - mean))[0])
    return LayerStability(
        interval=interval,
        time=interval * stepper.grid.interval_length,
        at=at,
        residual=residual,
        distance=distance,
        spectrum=spectrum,
        verdict=judge(spectrum, is_compact(field.kernel)),
    )


def _sentence(layers: tuple[LayerStability, ...], exponents: LyapunovExponents) -> str:
    """The finding on the whole network as a sentence."""
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
