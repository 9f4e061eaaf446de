# SPDX-License-Identifier: MIT
"""A description that identifies a learning problem: sizes and names, and fingerprints of its functions.

A fingerprint of nodal values F is the sum Σ_ij r_i F_ij s_j with normally distributed numbers r and s, which are
functions of the canonical numbers i of the nodes and of the numbers j of the columns.  It is the same on any partition
up to round-off, and eight digits of it are kept.  An activation, a fixed kernel and a fixed readout are described by
their values on a few numbers.  Checkpoints carry the description, so that a checkpoint of another problem can be
refused with a reason.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from fem_selection.discretization.numbering import hashed_normal
from fem_selection.dynamics import Stepper
from fem_selection.kernels import SumKernel
from fem_selection.learning.batches import SampleStates
from fem_selection.learning.functional import Functional
from fem_selection.learning.problem import LearningProblem
from fem_selection.objectives import ReadoutCost
from fem_selection.typing import Block, Floats, Integers

__all__ = ["describe_problem"]

_PROBE = 7  # seed of the random state to which kernels and readouts are applied


def describe_problem(problem: LearningProblem) -> dict[str, dict[str, Any]]:
    """The description of a problem, tables of values that JSON can hold (collective)."""
    functional, space = problem.functional, problem.space
    control_space, stepper, grid = functional.control_space, functional.stepper, functional.stepper.grid
    kernel = stepper.kernel
    parts = kernel.parts if isinstance(kernel, SumKernel) else (kernel,)
    return {
        "space": {
            "domain": space.domain.name,
            "nodes": space.num_nodes,
            "elements": f"{space.family} {space.degree}, {space.mode}",
            "geometry": _of_nodes(problem, np.column_stack([space.coordinates, space.weights])),
        },
        "dynamics": {
            "layers": grid.layers,
            "horizon": grid.horizon,
            "control_intervals": grid.intervals,
            "scheme": stepper.scheme.name,
            **_of_equation(stepper),
            "kernel": [type(part).__name__ for part in parts],
            "kernel_parameters": kernel.num_global_parameters,
            "fixed_kernel": None if "kernel" in control_space.parts else _of_kernel(problem),
            "fixed_bias": None if "bias" in control_space.parts else _of_nodes(problem, stepper.bias.T),
        },
        "objective": {
            "loss": functional.cost.loss.name if isinstance(functional.cost, ReadoutCost) else "tracking",
            "outputs": control_space.num_outputs,
            "weight": functional.weight,
            "controls": list(control_space.parts),
            "fixed_readout": None if "readout" in control_space.parts else _of_readout(functional),
            "bounds": None
            if problem.scaled_bounds is None
            else [_of_controls(problem, b) for b in problem.scaled_bounds],
        },
        "regularization": asdict(functional.regularization),
        "start": {"start": _of_controls(problem, problem.scaled_start)},
        "samples": {
            name: None if part is None else _of_part(problem, part)
            for name, part in (("train", problem.train), ("validation", problem.validation))
        },
    }


def _of_equation(stepper: Stepper) -> dict[str, Any]:
    """The name of σ and its values, or fingerprints of F at multiples of one s if it is not pointwise (collective)."""
    sigma, equation, space = np.linspace(-2.0, 2.0, 9), stepper.equation, stepper.space
    name = f"{equation.given.name} in {type(equation).__name__}"
    if equation.is_pointwise:
        name = stepper.activation.name
        stepper.activation.value(sigma, values := np.empty_like(sigma))
    else:
        probe, rows = (hashed_normal(seed, space.canonical) for seed in (_PROBE, 0))
        values = space.comm.allreduce(np.array([float(rows @ equation.assemble_rate(s * probe)) for s in sigma]))
    return {"activation": name, "activation_values": [_digits(v) for v in values]}


def _digits(value: float) -> str:
    return f"{value + 0.0:.8g}"


def _of_part(problem: LearningProblem, part: SampleStates) -> list[Any]:
    """The number of samples, and fingerprints of their initial states and targets (collective)."""
    ensemble, first = problem.ensemble, problem.space.comm.rank == 0
    initial, targets = part.share(ensemble)
    numbers = np.arange(part.num_samples)[ensemble.samples(part.num_samples)]
    if isinstance(problem.functional.cost, ReadoutCost):  # the ranks of a mesh hold the same targets
        rows = hashed_normal(2, np.arange(targets.shape[0])) * first
        of_targets = ensemble.sum(float(rows @ targets @ hashed_normal(1, numbers)))
    else:
        of_targets = _sum_over_nodes(problem, targets, numbers)
    return [part.num_samples, _digits(_sum_over_nodes(problem, initial, numbers)), _digits(of_targets)]


def _sum_over_nodes(problem: LearningProblem, block: Block, numbers: Integers) -> float:
    """The fingerprint's sum over the nodes of all ranks and the columns of all members."""
    rows = hashed_normal(0, problem.space.canonical)
    return problem.ensemble.sum(float(rows @ block @ hashed_normal(1, numbers)))


def _of_nodes(problem: LearningProblem, block: Block) -> str:
    """The fingerprint of a block that all members hold."""
    return _digits(_sum_over_nodes(problem, block, np.arange(block.shape[1])) / problem.ensemble.num_members)


def _of_controls(problem: LearningProblem, shard: Floats) -> str:
    """The fingerprint of shards; of infinite bounds the signs count."""
    indices = problem.functional.control_space.indices
    r, s = hashed_normal(3, indices), hashed_normal(4, indices)
    finite = np.where(np.isfinite(shard), shard, 0.0)
    infinite = np.where(np.isinf(shard), np.sign(shard), 0.0)
    return _digits(problem.ensemble.sum(float(r @ finite + s @ infinite)))


def _of_kernel(problem: LearningProblem) -> list[str]:
    """Fingerprints of K f for each interval and one state f."""
    space, kernel = problem.space, problem.functional.stepper.kernel
    probe, out = _probe(problem.functional), space.create_block(1)
    found = []
    for interval in range(kernel.num_intervals):
        kernel.apply(interval, probe, out)
        found.append(_of_nodes(problem, out))
    return found


def _of_readout(functional: Functional) -> list[str] | None:
    """The outputs for one state."""
    if not isinstance(functional.cost, ReadoutCost):
        return None
    return [_digits(o) for o in functional.cost.outputs(_probe(functional))[:, 0]]


def _probe(functional: Functional) -> Block:
    return np.asfortranarray(hashed_normal(_PROBE, functional.control_space.space.canonical)[:, None])
