# SPDX-License-Identifier: MIT
"""Our side of the gradient benchmark, started on several ranks; it also writes the problem out for the others."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from mpi4py import MPI
from scipy.linalg.blas import dgemm
from serving import serve, time_calls

from fem_selection.data import image_states, load_digits_samples, split_samples
from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.meshes import domains
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics import Stepper, find_scheme
from fem_selection.functions.activations import find_activation
from fem_selection.kernels import DenseKernel
from fem_selection.learning.controls import ControlSpace
from fem_selection.learning.functional import Functional
from fem_selection.linalg.blas import add_product
from fem_selection.objectives import ReadoutCost, encode_labels, find_loss
from fem_selection.parallel import Ensemble
from fem_selection.settings import Regularization
from fem_selection.typing import Floats

TEST_FRACTION = 360 / 1797  # 80/20, as scikit-learn rounds it: 1437 samples to train on
REGULARIZATION = Regularization(kernel=1e-3, bias=1e-3, readout=1e-3)


def create_functional(
    repeat: int = 1, layers: int = 10, activation: str = "tanh"
) -> tuple[Functional, Floats, np.ndarray]:
    """The digits on the 7 × 7 cells whose nodes are the pixels: functional, states (N, J) and labels of all samples.

    Args:
        repeat: How many times every sample occurs.
        layers: Euler steps on [0, 1].
        activation: Name of σ.
    """
    ensemble = Ensemble()
    domain = domains.rectangle(ensemble.space_comm, (7, 7))
    space = StateSpace(domain, 1, mode="collocated")
    grid = DepthGrid(layers=layers, horizon=1.0)
    kernel = DenseKernel.random(space, layers, 1.0, seed=0)
    stepper = Stepper(
        space,
        kernel,
        np.zeros((layers, 64)),
        activation=find_activation(activation),
        scheme=find_scheme("euler"),
        grid=grid,
    )
    train = split_samples(load_digits_samples(), TEST_FRACTION, seed=0).samples
    labels = np.tile(train.targets, repeat)
    mine = ensemble.samples(labels.size)
    initial = np.tile(image_states(train.inputs, space.coordinates, domain.bounds), repeat)
    functional = Functional(
        ControlSpace(ensemble, space, kernel, grid=grid, num_outputs=10),
        stepper,
        ReadoutCost(space=space, loss=find_loss("softmax"), num_outputs=10),
        initial=np.asfortranarray(initial[:, mine]),
        targets=encode_labels(labels[mine], 10, "softmax"),
        num_samples=labels.size,
        regularization=REGULARIZATION,
    )
    return functional, initial, labels


def nodal(functional: Functional, local: Floats) -> dict[str, Floats]:
    """The parts of a local array as the peers hold them: W (L, N, N) with rows y, b (L, N), c (C, N), μ (C,)."""
    parts = functional.control_space.unpack(local)
    layers, n = functional.stepper.bias.shape
    return {**parts, "kernel": parts["kernel"].reshape(layers, n, n).transpose(0, 2, 1)}


def create_products(functional: Functional, by_blas: bool = False) -> Callable[[], None]:
    """The matrix products of one gradient, alone: each layer's K F, Kᵀ Q (not in the first) and Q Fᵀ of all blocks.

    Args:
        functional: The functional.
        by_blas: Whether SciPy's BLAS computes them; else they are those of `linalg.blas`, called one by one.
    """
    n, layers = functional.stepper.space.num_local, functional.stepper.grid.layers
    blocks = [np.asfortranarray(functional.initial[:, c]) for c in functional.blocks(functional.initial.shape[1])]
    operators = [np.asfortranarray(functional.stepper.kernel.weights[c]) for c in range(layers)]
    out, dual = {b.shape: np.zeros_like(b, order="F") for b in blocks}, np.zeros((n, n), order="F")

    def multiply(a: Floats, b: Floats, to: Floats, transpose_b: bool = False) -> None:
        if by_blas:
            dgemm(1.0, a, b, 0.0, to, 0, transpose_b, 1)
        else:
            add_product(1.0, a, b, out=to, transpose_b=transpose_b, keep=False)

    def run() -> None:
        for block in blocks:
            target = out[block.shape]
            for operator in operators:
                multiply(operator, block, target)
            for layer, operator in enumerate(operators):
                multiply(target, block, dual, transpose_b=True)
                if layer > 0:
                    multiply(operator, block, target)

    return run


def memory(key: str) -> int:
    """A figure of this process's memory in bytes: VmRSS now, VmHWM at its highest (Linux)."""
    return 1024 * int(re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1))


def main() -> None:
    """Serve on all ranks of the world."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--problem", help="where to write the problem for the peers")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--activation", default="tanh")
    arguments = parser.parse_args()
    functional, initial, labels = create_functional(arguments.repeat, activation=arguments.activation)
    controls, ensemble = functional.control_space, functional.control_space.ensemble
    shard = 8.0 * controls.random_direction(1)  # kernels as large as at initialization, biases and readouts not zero
    vector = controls.create_vector(shard)
    if arguments.problem:
        local = controls.gather(shard)
        if ensemble.is_root:
            r = REGULARIZATION
            np.savez(
                arguments.problem,
                **nodal(functional, local),
                initial=initial,
                labels=labels,
                mass=controls.space.weights,
                step=functional.stepper.grid.step,
                activation=arguments.activation,
                alpha_kernel=r.kernel,
                alpha_bias=r.bias,
                alpha_readout=r.readout,
            )

    def compute(path: str) -> float:
        value, dual = functional.evaluate(shard)
        local = controls.gather(dual)
        if ensemble.is_root:
            np.savez(path, **nodal(functional, local))
        return value

    def time_gradient(count: int, block: int = functional.block) -> list[float]:
        functional.block = block
        ensemble.world.Barrier()
        return time_calls(lambda: functional.evaluate(shard), count)

    def time_value(count: int) -> list[float]:
        ensemble.world.Barrier()
        return time_calls(lambda: functional.value(vector), count)

    def time_products(count: int, by_blas: bool = False) -> list[float]:
        run = create_products(functional, by_blas)
        ensemble.world.Barrier()
        return time_calls(run, count)

    def growth() -> float:
        """Bytes by which the first evaluation raises the peak of the resident memory."""
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = memory("VmRSS")
        functional.evaluate(shard)
        return memory("VmHWM") - before

    serve(
        arguments.folder,
        {
            "compute": compute,
            "time": time_gradient,
            "time_value": time_value,
            "time_products": time_products,
            "growth": growth,
        },
        ready={"ranks": ensemble.world.size, "samples": labels.size, "block": functional.block},
        rank=MPI.COMM_WORLD.rank,
    )


if __name__ == "__main__":
    main()
