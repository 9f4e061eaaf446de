# SPDX-License-Identifier: MIT
"""Small problems for the tests: domains, spaces, dynamics and functionals with smooth samples given by formulas.

Everything is a function of the sample's global number and of the nodes' coordinates, so that any partition and any
space × sample split sees the same problem.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from mpi4py import MPI

from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.meshes import domains
from fem_selection.discretization.numbering import hashed_normal
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics import SCHEMES, SelectionField, Stepper, find_scheme
from fem_selection.functions.activations import Activation, find_activation
from fem_selection.kernels import DenseKernel, Kernel, LocalKernel, RepresenterKernel, SeparableKernel
from fem_selection.learning.controls import ControlSpace
from fem_selection.learning.functional import Functional
from fem_selection.objectives import (
    ReadoutCost,
    TrackingCost,
    encode_labels,
    find_loss,
)
from fem_selection.parallel import Ensemble
from fem_selection.settings import Regularization, TapeSettings
from fem_selection.settings.names import LOCAL_TERMS, PARTS

REGULARIZATION = Regularization(kernel=1e-2, bias=2e-2, readout=3e-2, kernel_depth=4e-3, bias_depth=5e-3)
"""Every term present, all weights different."""
UNPENALIZED = Regularization(kernel=0.0, bias=0.0, readout=0.0)


def random_local(space: StateSpace, intervals: int, seed: int) -> LocalKernel:
    """Coefficients 1, ℓ, ℓ² times normal numbers, ℓ = 0.1; multiplication alone where elements jump."""
    kernel = LocalKernel(space, intervals, LOCAL_TERMS if space.family == "lagrange" else LOCAL_TERMS[:1], length=0.1)
    values = hashed_normal(seed, kernel.canonical_indices())
    kernel.assign(values * np.sqrt(np.tile(space.weights, len(values) // space.num_local) / kernel.lumped_mass()))
    return kernel


# name: function (space, number of intervals, seed) to a kernel with parameters away from zero
KERNELS = {
    "dense": lambda space, intervals, seed=7: DenseKernel.random(space, intervals, 1.0, seed=seed),
    "separable": lambda space, intervals, seed=7: SeparableKernel.random(space, intervals, 2, scale=1.0, seed=seed),
    "local": lambda space, intervals, seed=7: random_local(space, intervals, seed),
    "local + separable + dense": lambda space, intervals, seed=7: (
        random_local(space, intervals, seed)
        + SeparableKernel.random(space, intervals, 2, scale=1.0, seed=seed)
        + DenseKernel.random(space, intervals, 1.0, seed=seed)
    ),
}


def representer(space: StateSpace, intervals: int, seed: int = 7, anchors: int = 3) -> RepresenterKernel:
    """A kernel that follows the first of `smooth_states`."""
    states = smooth_states(space, slice(0, anchors))
    return RepresenterKernel.random(space, intervals, states, scale=1.0, seed=seed)


MOVING_KERNELS = {"representer": representer, "representer-all": partial(representer, anchors=7)}
"""Kernels that are told the stage of a layer where others are told the control interval."""
LINEAR_KERNELS = ("dense", "local")
"""Those that are linear in their parameters."""

LOSSES_AND_TRACKING = ("softmax", "logistic", "least_squares", "tracking")
SCHEMES_AND_LOSSES = [
    *((name, loss) for name, s in SCHEMES.items() if not s.is_implicit for loss in LOSSES_AND_TRACKING),
    ("implicit_euler", "softmax"),
    ("crank_nicolson", "tracking"),
    ("implicit_midpoint", "least_squares"),
]
"""Explicit schemes with every loss; implicit ones, which take longer, with one each: losses know nothing of stages."""
OTHER_SCHEMES_AND_LOSSES = [pair for pair in product(SCHEMES, LOSSES_AND_TRACKING) if pair not in SCHEMES_AND_LOSSES]
"""The rest of all pairs, for tests that are marked slow."""

MODES = ("collocated", "galerkin")
SUBSETS = [("kernel",), ("bias",), ("readout",), ("kernel", "bias"), ("bias", "readout"), ("kernel", "readout")]
"""Parts that are controls where the others are fixed."""


@dataclass
class Problem:
    """A functional with everything it was made of."""

    ensemble: Ensemble
    space: StateSpace
    stepper: Stepper
    control_space: ControlSpace
    functional: Functional

    def moved(self, seed: int = 1, size: float = 3.0) -> np.ndarray:
        """A shard of controls away from zero, the same on any partition."""
        return size * self.control_space.random_direction(seed)


def make_domain(shape: str, cells: int, comm: MPI.Intracomm | None = None, **options) -> domains.Domain:
    """An interval, a rectangle of quadrilaterals or triangles, a box of hexahedra or tetrahedra."""
    comm = MPI.COMM_SELF if comm is None else comm
    if shape == "interval":
        return domains.interval(comm, cells, **options)
    if shape in ("quadrilateral", "triangle"):
        return domains.rectangle(comm, (cells, cells), cell=shape, **options)
    return domains.box(comm, (cells,) * 3, cell=shape, **options)


def smooth_states(space: StateSpace, samples: slice, shift: float = 0.0) -> np.ndarray:
    """Sample j is cos((1 + j mod 3) y_0 + 0.7 j + shift) times a factor in y_1 where there is one."""
    j = np.arange(samples.start, samples.stop)
    y = space.coordinates
    values = np.cos(y[:, :1] * (1 + j % 3) + 0.7 * j + shift)
    if y.shape[1] > 1:
        values = values * (1 + 0.5 * np.sin((1 + j % 2) * y[:, 1:2]))
    return np.asfortranarray(values)


def make_targets(space: StateSpace, loss: str, samples: slice, num_outputs: int) -> np.ndarray:
    """Targets of a loss by formulas of the sample's number."""
    j = np.arange(samples.start, samples.stop)
    if loss == "tracking":
        return smooth_states(space, samples, shift=0.4)
    if loss == "least_squares":
        return np.asfortranarray(np.sin(j[None, :] + np.arange(num_outputs)[:, None]))
    return encode_labels(j % num_outputs, num_outputs, "softmax")


def make_problem(
    space: StateSpace,
    ensemble: Ensemble | None = None,
    *,
    scheme: str = "euler",
    loss: str = "softmax",
    activation: str | Activation = "tanh",
    layers: int = 4,
    intervals: int = 2,
    horizon: float = 0.8,
    samples: int = 5,
    num_outputs: int = 3,
    parts: tuple[str, ...] = PARTS,
    regularization: Regularization = REGULARIZATION,
    weight: float = 1.3,
    block: int = 2,
    kernel: Kernel | None = None,
    tape: TapeSettings | None = None,
) -> Problem:
    """A learning problem on a space; kernel and bias start at random values, so that fixed parts matter too."""
    ensemble = Ensemble(MPI.COMM_SELF) if ensemble is None else ensemble
    grid = DepthGrid(layers=layers, horizon=horizon, intervals=intervals)
    kernel = DenseKernel.random(space, intervals, 1.0, seed=7) if kernel is None else kernel
    bias = np.sin(3 * space.coordinates[:, 0] + np.arange(intervals)[:, None])
    sigma = find_activation(activation) if isinstance(activation, str) else activation
    stepper = Stepper(space, kernel, bias, activation=sigma, scheme=find_scheme(scheme), grid=grid)
    mine = ensemble.samples(samples)
    if loss == "tracking":
        cost, num_outputs = TrackingCost(space=space), 0
    else:
        cost = ReadoutCost(space=space, loss=find_loss(loss), num_outputs=num_outputs)
        cost.assign(np.asfortranarray(np.cos(space.coordinates[:, :1] * np.arange(num_outputs))), np.ones(num_outputs))
    control_space = ControlSpace(ensemble, space, kernel, grid=grid, num_outputs=num_outputs, parts=parts)
    functional = Functional(
        control_space,
        stepper,
        cost,
        initial=smooth_states(space, mine),
        targets=make_targets(space, loss, mine, num_outputs),
        num_samples=samples,
        regularization=regularization,
        weight=weight,
        block=block,
        tape=tape,
    )
    return Problem(ensemble, space, stepper, control_space, functional)


def make_field(space: StateSpace, kernel, bias=0.0, activation: str | Activation = "tanh") -> SelectionField:
    """The right-hand side σ(K f + b) on a domain of one dimension, or with coefficients that depend on y_0 alone.

    Args:
        space: The state space.
        kernel: Function of (y, z), or a number.
        bias: Function of y, or a number.
        activation: Name of σ, or σ itself.
    """
    sigma = find_activation(activation) if isinstance(activation, str) else activation
    y = space.coordinates[:, 0]
    values = np.array(np.broadcast_to(bias(y) if callable(bias) else bias, y.shape), dtype=float)
    coefficient = (lambda t, y, z: kernel(y[0], z[0])) if callable(kernel) else kernel
    return SelectionField(
        space, DenseKernel.interpolate(space, coefficient, DepthGrid(layers=1)), values, activation=sigma
    )


def as_from_a_file(state: dict, vectors: dict[str, np.ndarray]) -> tuple[dict, dict[str, np.ndarray]]:
    """What an optimizer saves, as it would come back from a checkpoint."""
    return json.loads(json.dumps(state)), {name: vector.copy() for name, vector in vectors.items()}


def observed_orders(errors: list[float], sizes: list[float]) -> np.ndarray:
    """Rates log(e_k / e_{k+1}) / log(h_k / h_{k+1}) of consecutive refinements."""
    return np.diff(np.log(errors)) / np.diff(np.log(sizes))


def assert_order(rates: np.ndarray, order: float) -> None:
    """Asserts that the last rate is in [order − 0.1, order + 0.4]: above is a test that measures nothing."""
    assert order - 0.1 <= rates[-1] <= order + 0.4, rates


def taylor_orders(value, x: np.ndarray, h: np.ndarray, slope: float, steps=(1e-2, 5e-3, 2.5e-3)) -> np.ndarray:
    """Observed orders of |J(x + εh) − J(x) − ε ⟨J'(x), h⟩|: 2 for an exact derivative, 1 for a wrong one."""
    start = value(x)
    return observed_orders([abs(value(x + e * h) - start - e * slope) for e in steps], list(steps))
