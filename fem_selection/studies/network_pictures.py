# SPDX-License-Identifier: MIT
"""Data for the figures and fields of a network: a few samples on their way through it, its controls at a few depths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fem_selection.dynamics import Stepper, solve_forward
from fem_selection.io.triangles import gather_triangles
from fem_selection.kernels import (
    ConvolutionKernel,
    DenseKernel,
    Kernel,
    LocalKernel,
    RepresenterKernel,
    SeparableKernel,
    SumKernel,
)
from fem_selection.learning import LearningProblem, SampleStates
from fem_selection.typing import Block, Floats, Integers

__all__ = ["ControlPictures", "NetworkPictures", "take_pictures"]

_SAMPLES_SHOWN = 5
_NODES_SHOWN = 512


@dataclass(frozen=True, kw_only=True)
class ControlPictures:
    """The controls at a few depths.

    Attributes:
        times: The depths.
        nodes: Numbers of the nodes at which kernels and biases are given, in the canonical order.
        kernels: Values of w, the sum of the dense and separable parts, shape (k, n, n); None without such a part.
        biases: Values of the bias, shape (k, n).
        names: Names of the coefficients of the local parts, divided by the powers of their length ℓ, and then the bias.
        coefficients: Values of these, shape (k, N, number of names); None without a local part.
    """

    times: Floats
    nodes: Integers
    kernels: Floats | None
    biases: Floats
    names: list[str]
    coefficients: Floats | None


@dataclass(frozen=True, kw_only=True)
class NetworkPictures:
    """A few samples on their way through a network, and its controls.

    Attributes:
        names: Names of the samples for files, such as class_3.
        titles: Names of the samples for figures.
        times: Depths of all layers, shape (layers + 1,).
        states: Nodal values of this rank at these depths, each of shape (num_local, samples).
        coordinates: Coordinates of all nodes, in the canonical order, shape (num_nodes, dimension).
        triangles: Triangles between the nodes, or None.
        shown_times: A few depths, for figures.
        shown_states: Values at all nodes at these depths, shape (len(shown_times), num_nodes, samples).
        controls: The controls.
    """

    names: list[str]
    titles: list[str]
    times: Floats
    states: tuple[Block, ...]
    coordinates: Floats
    triangles: Integers | None
    shown_times: Floats
    shown_states: Floats
    controls: ControlPictures

    def draw(self, folder: Path) -> None:
        """Draw states, kernels and coefficients."""
        from fem_selection import plots

        titles, c = [plots.as_plain_text(title) for title in self.titles], self.controls
        plots.draw(
            folder / "states.png",
            plots.plot_states,
            self.coordinates,
            self.shown_states,
            self.shown_times,
            titles=titles,
            triangles=self.triangles,
        )
        if c.kernels is not None:
            whole = self.triangles if len(c.nodes) == len(self.coordinates) else None
            plots.draw(
                folder / "controls.png",
                plots.plot_controls,
                c.kernels,
                c.biases,
                c.times,
                coordinates=self.coordinates[c.nodes],
                triangles=whole,
            )
        if c.coefficients is not None:
            plots.draw(
                folder / "coefficients.png",
                plots.plot_states,
                self.coordinates,
                c.coefficients,
                c.times,
                titles=c.names,
                label="coefficient",
                triangles=self.triangles,
            )


def take_pictures(problem: LearningProblem, controls: Floats) -> NetworkPictures:
    """The pictures of a network with given controls (collective).

    Args:
        problem: The learning problem; its controls are overwritten.
        controls: Shard of x.

    Raises:
        NonFinite: if a state is not finite.
        NotConverged: if an implicit stage is not solved.
    """
    stepper, space = problem.functional.stepper, problem.space
    problem.functional.set_controls(controls)
    part, kind, shown = _samples_to_show(problem)
    trajectory = solve_forward(stepper, part.states(np.arange(part.num_samples), None))
    layers = sorted({round(stepper.grid.layers * k / 5) for k in range(6)})
    return NetworkPictures(
        names=[f"{kind}_{_escape(name)}" for name in shown],
        titles=[f"{kind} {name}" for name in shown],
        times=trajectory.times,
        states=trajectory.states,
        coordinates=space.gather(space.coordinates),
        triangles=gather_triangles(space),
        shown_times=trajectory.times[layers],
        shown_states=np.stack([space.gather(trajectory.states[n]) for n in layers]),
        controls=_controls_to_show(stepper),
    )


def _samples_to_show(problem: LearningProblem) -> tuple[SampleStates, str, list[str]]:
    """A few samples, "sample" and their numbers; with labels one of each of the first classes, "class" and its name."""
    part = problem.test or problem.train
    if part.labels is None:
        count = min(part.num_samples, _SAMPLES_SHOWN)
        numbers = np.unique(np.linspace(0, part.num_samples - 1, count).round().astype(np.int64))
        return part.subset(numbers), "sample", [str(n) for n in numbers]
    labels = [c for c in range(len(problem.classes)) if np.any(part.labels == c)][:_SAMPLES_SHOWN]
    numbers = np.array([int(np.argmax(part.labels == c)) for c in labels])
    return part.subset(numbers), "class", [str(problem.classes[c]) for c in labels]


def _escape(name: str) -> str:
    """A name without characters that a file of fields cannot hold."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _controls_to_show(stepper: Stepper) -> ControlPictures:
    """Kernel and bias at up to four depths, w at some hundred nodes at most (collective over space)."""
    space = stepper.space
    chosen = sorted({round((stepper.grid.intervals - 1) * k / 3) for k in range(4)})
    nodes = np.linspace(0, space.num_nodes - 1, min(space.num_nodes, _NODES_SHOWN)).round().astype(np.int64)
    biases = np.stack([space.gather(stepper.bias[c][:, None]) for c in chosen])
    kernel: Kernel = stepper.kernel
    if isinstance(kernel, RepresenterKernel) and kernel.changes_within_intervals is None:
        kernel = kernel.as_separable()
    parts = kernel.parts if isinstance(kernel, SumKernel) else (kernel,)
    with_values = [part for part in parts if isinstance(part, ConvolutionKernel | DenseKernel | SeparableKernel)]
    kernels = [sum(part.values(c, nodes) for part in with_values) for c in chosen] if with_values else None
    local = [part for part in parts if isinstance(part, LocalKernel)]
    fields = [
        [space.gather(np.asfortranarray(part.coefficients[c].T / part.length**part.orders)) for part in local]
        for c in chosen
    ]
    powers = ("", r" / $\ell$", r" / $\ell^2$")
    names = [n.replace("_", " ") + powers[k] for part in local for n, k in zip(part.names, part.orders, strict=True)]
    return ControlPictures(
        times=stepper.grid.sample_times[chosen],
        nodes=nodes,
        kernels=None if kernels is None else np.stack(kernels),
        biases=biases[:, nodes, 0],
        names=[*names, "bias"],
        coefficients=np.concatenate([np.stack([np.concatenate(f, axis=1) for f in fields]), biases], axis=2)
        if local
        else None,
    )
