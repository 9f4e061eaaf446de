# SPDX-License-Identifier: MIT
"""Our side of the training benchmark, started on several ranks; it also writes start, data and batches for the peer."""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI
from serving import serve

import fem_selection as fs
from fem_selection.learning import LearningProblem, SampleBatches, SampleStates
from fem_selection.typing import Floats, Integers

CASE = Path(__file__).resolve().parents[2] / "demos" / "digits.toml"


def create_case(seed: int) -> fs.Case:
    """The demo with this seed, its images at rest."""
    case = fs.load_case(CASE, [f"seed={seed}"])
    return dataclasses.replace(case, data=dataclasses.replace(case.data, moved=None))


def settings_of(case: fs.Case) -> fs.StochasticSettings:
    """The demo's stochastic phase, to its last epoch."""
    return dataclasses.replace(case.stochastic, patience=case.stochastic.epochs + 1)


def batch_numbers(problem: LearningProblem, case: fs.Case) -> Integers:
    """The samples that `descend` will take, shape (epochs, batches, batch): its batches of states that are numbers."""
    labels = np.zeros((1, problem.train.num_samples))
    numbers = SampleStates(
        num_samples=problem.train.num_samples, states=lambda chosen, _: chosen[None, :], targets=labels, labels=None
    )
    source = SampleBatches(fs.Ensemble(MPI.COMM_SELF), numbers, case.stochastic.batch, dimension=2)
    rng = np.random.Generator(np.random.PCG64(case.seed))
    epochs = [source.draw_epoch(rng) for _ in range(case.stochastic.epochs)]
    return np.array([[epoch.batch(k)[0][0] for k in range(epoch.num_batches)] for epoch in epochs])


def parts_of(problem: LearningProblem, shard: Floats, prefix: str = "") -> dict[str, Floats]:
    """The parts of a shard: kernel (L, N, N) with [c, k, i] = w_c(y_i, y_k), bias (L, N), readout (C, N), offset."""
    controls = problem.functional.control_space
    parts = controls.unpack(controls.gather(shard))
    layers, n = problem.functional.stepper.bias.shape
    return {prefix + name: part.reshape(layers, n, n) if name == "kernel" else part for name, part in parts.items()}


def write_problem(problem: LearningProblem, case: fs.Case, path: str) -> None:
    """Write all that the peer needs to take the same steps (collective)."""
    settings = settings_of(case)
    control_space, regularization = problem.functional.control_space, problem.functional.regularization
    start, scale = parts_of(problem, problem.scaled_start, "start_"), parts_of(problem, control_space.scale, "scale_")
    if not problem.ensemble.is_root:
        return
    alphas = {regularization.kernel, regularization.bias, regularization.readout}
    (alpha,) = alphas  # α/2 |x̂|² is the regularization only if all parts have the same weight
    arrays = {**start, **scale}
    for name, part in (("train", problem.train), ("test", problem.test)):
        assert part is not None and part.labels is not None
        arrays[f"{name}_states"] = np.ascontiguousarray(part.states(np.arange(part.num_samples), None).T)
        arrays[f"{name}_labels"] = part.labels
    np.savez(
        path,
        **arrays,
        batches=batch_numbers(problem, case),
        mass=problem.space.weights,
        step=problem.functional.stepper.grid.step,
        alpha=alpha,
        rate=settings.rate,
        momentum=settings.momentum,
        second_moment=settings.second_moment,
        epsilon=settings.epsilon,
    )


def main() -> None:
    """Serve on all ranks of the world."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    folder = parser.parse_args().folder
    case = create_case(0)
    began = time.perf_counter()
    problem = fs.build_problem(case)
    fs.optimize.descend(  # the first batches: all that is compiled is compiled or loaded now
        problem.scaled_functional,
        problem.scaled_start,
        settings_of(case),
        source=problem.batches(case.stochastic.batch),
        stop=lambda: True,
        seed=case.seed,
    )
    first_steps = time.perf_counter() - began

    def prepare(seed: int, path: str) -> int:
        """Build the problem of a seed and write it out; returns the steps of its training."""
        nonlocal case, problem
        case = create_case(seed)
        problem = fs.build_problem(case)
        write_problem(problem, case, path)
        return case.stochastic.epochs * (problem.train.num_samples // case.stochastic.batch)

    def walk(path: str) -> int:
        """Write x̂ after the first steps; returns how many these are."""
        batches = problem.batches(case.stochastic.batch)
        report = fs.optimize.descend(
            problem.scaled_functional,
            problem.scaled_start,
            settings_of(case),
            source=batches,
            stop=lambda: True,
            seed=case.seed,
        )
        parts = parts_of(problem, report.scaled_solution)
        if problem.ensemble.is_root:
            np.savez(path, **parts)
        return report.steps

    def train(epochs: int | None = None) -> dict[str, list[float]]:
        """Train from the start: seconds of every epoch, and the test accuracy after it, which takes none of them."""
        settings = settings_of(case)
        if epochs is not None:
            settings = dataclasses.replace(settings, epochs=epochs)
        seconds, accuracies = [], []
        began = 0.0

        def evaluate(scaled: Floats) -> float:
            nonlocal began
            seconds.append(time.perf_counter() - began)
            accuracies.append(problem.accuracy(problem.test, problem.scaled_functional.to_controls(scaled)))
            problem.ensemble.world.Barrier()
            began = time.perf_counter()
            return accuracies[-1]

        batches = problem.batches(case.stochastic.batch)
        problem.ensemble.world.Barrier()
        began = time.perf_counter()
        fs.optimize.descend(
            problem.scaled_functional, problem.scaled_start, settings, source=batches, validate=evaluate, seed=case.seed
        )
        return {"seconds": seconds, "accuracies": accuracies}

    serve(
        folder,
        {"prepare": prepare, "walk": walk, "train": train},
        ready={"ranks": problem.ensemble.world.size, "problem_and_first_steps_seconds": first_steps},
        rank=MPI.COMM_WORLD.rank,
    )


if __name__ == "__main__":
    main()
