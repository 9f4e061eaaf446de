# SPDX-License-Identifier: MIT
"""What a finished run leaves beside its checkpoint: report, figures, states for ParaView."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fem_selection.dynamics import solve_forward
from fem_selection.errors import InvalidInput
from fem_selection.io.fields import write_states
from fem_selection.io.runs import read_columns, write_json
from fem_selection.io.triangles import gather_triangles
from fem_selection.kernels import DenseKernel, LocalKernel, SeparableKernel, SumKernel
from fem_selection.learning import LearningProblem, SampleStates
from fem_selection.parallel import act_on_root
from fem_selection.settings import OutputSettings
from fem_selection.studies.train import TrainingResult
from fem_selection.typing import Floats, Integers

__all__ = ["write_outputs"]

_SAMPLES_SHOWN = 5
_NODES_SHOWN = 512


def write_outputs(result: TrainingResult, folder: Path, output: OutputSettings) -> None:
    """Write `report.json`, `figures/*.png` and the states, as the case asks (collective).

    Raises:
        InvalidInput: on all ranks, if a file cannot be written.
    """
    problem = result.problem
    problem.functional.set_controls(result.solution)
    confusion = _confusion(problem, result.solution)
    act_on_root(problem.ensemble.world, lambda: write_json(folder / "report.json", result.report))
    fault = None
    if problem.ensemble.member == 0:  # it has the whole mesh
        try:
            _show(problem, folder, confusion, output)
        except InvalidInput as error:
            fault = error
    if (fault := problem.ensemble.world.bcast(fault)) is not None:
        raise fault


def _show(problem: LearningProblem, folder: Path, confusion: Integers | None, case: OutputSettings) -> None:
    """Fields and figures (collective over space)."""
    shown, names = _samples_to_show(problem)
    numbers = np.arange(shown.num_samples)
    layers = _layers_to_show(problem.functional.stepper.grid.layers)
    trajectory = solve_forward(problem.functional.stepper, shown.states(numbers, None))
    if case.fields:
        write_states(folder / "states", problem.space, trajectory.times, trajectory.states, names)
    if case.figures:
        states = np.stack([problem.space.gather(trajectory.states[n]) for n in layers])
        coordinates, triangles = problem.space.gather(problem.space.coordinates), gather_triangles(problem.space)
        controls = _controls_to_show(problem)
        mesh, times = (coordinates, triangles), trajectory.times[layers]
        act_on_root(problem.space.comm, lambda: _draw(folder, confusion, problem, mesh, states, times, names, controls))


def _draw(
    folder: Path,
    confusion: Integers | None,
    problem: LearningProblem,
    mesh: tuple[Floats, Integers | None],
    states: Floats,
    state_times: Floats,
    names: list[str],
    controls: _Controls,
) -> None:
    from fem_selection import plots

    figures, (coordinates, triangles) = folder / "figures", mesh
    figures.mkdir(exist_ok=True)
    history, stochastic = read_columns(folder / "history.csv"), read_columns(folder / "stochastic.csv")
    plots.save(plots.plot_convergence(history, stochastic or None), figures / "convergence.png")
    titles = [name.replace("_", " ") for name in names]
    figure = plots.plot_states(coordinates, states, state_times, titles, triangles=triangles)
    plots.save(figure, figures / "states.png")
    if controls.kernels is not None:
        places, whole = coordinates[controls.nodes], triangles if len(controls.nodes) == len(coordinates) else None
        figure = plots.plot_controls(controls.kernels, controls.biases, controls.times, places, whole)
        plots.save(figure, figures / "controls.png")
    if controls.coefficients is not None:
        figure = plots.plot_states(
            coordinates, controls.coefficients, controls.times, controls.names, "coefficient", triangles
        )
        plots.save(figure, figures / "coefficients.png")
    if confusion is not None:
        accuracy = float(np.trace(confusion) / confusion.sum())
        plots.save(plots.plot_confusion(confusion, problem.classes, accuracy), figures / "confusion.png")


def _confusion(problem: LearningProblem, x: Floats) -> Integers | None:
    part = problem.test or problem.train
    return problem.confusion(part, x) if part.labels is not None else None


def _samples_to_show(problem: LearningProblem) -> tuple[SampleStates, list[str]]:
    """A few samples, one of each of the first classes where there are labels, with names for them."""
    part = problem.test or problem.train
    if part.labels is None:
        count = min(part.num_samples, _SAMPLES_SHOWN)
        numbers = np.unique(np.linspace(0, part.num_samples - 1, count).round().astype(np.int64))
        return part.subset(numbers), [f"sample_{n}" for n in numbers]
    labels = [c for c in range(len(problem.classes)) if np.any(part.labels == c)][:_SAMPLES_SHOWN]
    numbers = np.array([int(np.argmax(part.labels == c)) for c in labels])
    return part.subset(numbers), [f"class_{problem.classes[c]}" for c in labels]


def _layers_to_show(layers: int) -> list[int]:
    return sorted({round(layers * k / 5) for k in range(6)})


@dataclass(frozen=True)
class _Controls:
    """The controls at a few depths.

    Attributes:
        times: The depths.
        nodes: Numbers of the nodes at which kernels and biases are given, in the canonical order.
        kernels: The values of w that the dense and separable parts have, shape (k, n, n); None without such a part.
        biases: Shape (k, n).
        names: Of the coefficients of the local parts, over the powers of their length ℓ, and the bias after them.
        coefficients: Shape (k, N, number of names); None without a local part.
    """

    times: Floats
    nodes: Integers
    kernels: Floats | None
    biases: Floats
    names: list[str]
    coefficients: Floats | None


def _controls_to_show(problem: LearningProblem) -> _Controls:
    """Kernel and bias at up to four depths, w at no more than some hundred nodes (collective over space)."""
    stepper, space = problem.functional.stepper, problem.space
    chosen = sorted({round((stepper.grid.intervals - 1) * k / 3) for k in range(4)})
    nodes = np.linspace(0, space.num_nodes - 1, min(space.num_nodes, _NODES_SHOWN)).round().astype(np.int64)
    biases = np.stack([space.gather(stepper.bias[c][:, None]) for c in chosen])
    parts = stepper.kernel.parts if isinstance(stepper.kernel, SumKernel) else (stepper.kernel,)
    with_values = [part for part in parts if isinstance(part, DenseKernel | SeparableKernel)]
    kernels = [sum(part.values(c, nodes) for part in with_values) for c in chosen] if with_values else None
    local = [part for part in parts if isinstance(part, LocalKernel)]
    fields = [
        [space.gather(np.asfortranarray(part.coefficients[c].T / part.length**part.orders)) for part in local]
        for c in chosen
    ]
    powers = ("", r" / $\ell$", r" / $\ell^2$")
    return _Controls(
        stepper.grid.sample_times[chosen],
        nodes,
        None if kernels is None else np.stack(kernels),
        biases[:, nodes, 0],
        [n.replace("_", " ") + powers[k] for part in local for n, k in zip(part.names, part.orders, strict=True)]
        + ["bias"],
        np.concatenate([np.stack([np.concatenate(f, axis=1) for f in fields]), biases], axis=2) if local else None,
    )
