# SPDX-License-Identifier: MIT
"""What a finished run leaves beside its checkpoint: report, figures, states for ParaView."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fem_selection.cases import Problem
from fem_selection.dynamics import solve_forward
from fem_selection.io.fields import write_states
from fem_selection.io.runs import read_columns, write_json
from fem_selection.kernels import DenseKernel
from fem_selection.learning import SampleStates
from fem_selection.training import TrainingResult
from fem_selection.typing import Floats, Integers

__all__ = ["write_outputs"]

_SAMPLES_SHOWN = 5
_NODES_SHOWN = 512


def write_outputs(result: TrainingResult, folder: Path) -> None:
    """Write `report.json`, `figures/*.png` and the states, as the case asks (collective)."""
    problem = result.problem
    problem.functional.set_controls(result.solution)
    confusion = _confusion(problem, result.solution)
    if problem.ensemble.is_root:
        write_json(folder / "report.json", result.report)
    if problem.ensemble.member > 0:
        return  # the first member has the whole mesh
    case = problem.case.output
    shown, names = _samples_to_show(problem)
    numbers = np.arange(shown.num_samples)
    layers = _layers_to_show(problem.case.dynamics.layers)
    trajectory = solve_forward(problem.functional.stepper, shown.states(numbers, None))
    if case.fields:
        write_states(folder / "states", problem.space, trajectory.times, trajectory.states, names)
    if case.figures:
        states = np.stack([problem.space.gather(trajectory.states[n]) for n in layers])
        coordinates = problem.space.gather(problem.space.coordinates)
        kernels, biases, times = _controls_to_show(problem)
        if problem.ensemble.is_root:
            _draw(
                folder, confusion, problem, coordinates, states, trajectory.times[layers], names, kernels, biases, times
            )


def _draw(
    folder: Path,
    confusion: Integers | None,
    problem: Problem,
    coordinates: Floats,
    states: Floats,
    state_times: Floats,
    names: list[str],
    kernels: Floats,
    biases: Floats,
    control_times: Floats,
) -> None:
    from fem_selection import plots

    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    history, stochastic = read_columns(folder / "history.csv"), read_columns(folder / "stochastic.csv")
    plots.save(plots.plot_convergence(history, stochastic or None), figures / "convergence.png")
    titles = [name.replace("_", " ") for name in names]
    plots.save(plots.plot_states(coordinates, states, state_times, titles), figures / "states.png")
    if len(kernels):
        chosen = np.linspace(0, len(coordinates) - 1, kernels.shape[1]).round().astype(int)
        plots.save(plots.plot_controls(kernels, biases, control_times, coordinates[chosen]), figures / "controls.png")
    if confusion is not None:
        accuracy = float(np.trace(confusion) / confusion.sum())
        plots.save(plots.plot_confusion(confusion, problem.classes, accuracy), figures / "confusion.png")


def _confusion(problem: Problem, x: Floats) -> Integers | None:
    part = problem.test or problem.train
    return problem.confusion(part, x) if part.labels is not None else None


def _samples_to_show(problem: Problem) -> tuple[SampleStates, list[str]]:
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


def _controls_to_show(problem: Problem) -> tuple[Floats, Floats, Floats]:
    """Kernel and bias at up to four depths, at no more than some hundred nodes (collective over space)."""
    stepper, space = problem.functional.stepper, problem.space
    chosen = sorted({round((stepper.grid.intervals - 1) * k / 3) for k in range(4)})
    times = stepper.grid.sample_times[chosen]
    nodes = np.linspace(0, space.num_nodes - 1, min(space.num_nodes, _NODES_SHOWN)).round().astype(np.int64)
    biases = np.stack([space.gather(stepper.bias[c][:, None])[nodes, 0] for c in chosen])
    if not isinstance(stepper.kernel, DenseKernel):
        return np.empty((0, 0, 0)), biases, times
    columns = np.argsort(space.canonical_global)[nodes]
    kernels = [space.gather(np.asfortranarray(stepper.kernel.weights[c][:, columns]))[nodes] for c in chosen]
    return np.stack(kernels), biases, times
