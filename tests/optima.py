# SPDX-License-Identifier: MIT
"""Learning problems for conditions of optimality: a known optimum, a stationary point that is none, all parts.

The closed form: σ = id, one sample, tracking, α_w = α_b = α.

    J* = min_r { α (asinh r − asinh r₀)² / (2T) + (μ/2) (r − ρ)² },   r₀ = ‖f^I‖,  target ρ f^I / r₀

Eliminating the controls at given velocity v costs ‖v‖²/(2γ) with γ = (‖f‖² + 1)/α: geodesics of a conformal metric.
The discrete problem has this optimum in its own inner product, so space contributes no error.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mpi4py import MPI
from problems import make_problem
from scipy.optimize import minimize_scalar

from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.meshes.domains import interval
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics import Stepper, find_scheme
from fem_selection.functions.activations import Activation, find_activation
from fem_selection.kernels import DenseKernel, RepresenterKernel
from fem_selection.learning import ControlSpace, Functional, ScaledFunctional
from fem_selection.objectives import TrackingCost
from fem_selection.parallel import Ensemble
from fem_selection.settings import Regularization

__all__ = [
    "ALPHA",
    "HORIZON",
    "MU",
    "PENALTIES",
    "RHO",
    "SHORT_OF_LAYERS",
    "closed_form_problem",
    "closed_form_value",
    "numpy_neuron",
    "one_neuron",
    "problem_with_a_gap",
    "six_samples",
]

ALPHA, MU, HORIZON, RHO = 0.7, 3.0, 1.0, 2.5
PENALTIES = Regularization(kernel=0.02, bias=0.03, readout=0.05)
"""Without H¹ terms, which the maximum principle does not cover."""


def closed_form_value(r0: float) -> float:
    """J* for a start of norm r₀."""

    def along_ray(r):
        return ALPHA * (np.arcsinh(r) - np.arcsinh(r0)) ** 2 / (2 * HORIZON) + MU / 2 * (r - RHO) ** 2

    return minimize_scalar(along_ray, bounds=(0, 5), method="bounded", options={"xatol": 1e-10}).fun


def closed_form_problem(
    space, layers: int, scheme: str = "euler", *, alpha: float = ALPHA, follows: bool = False
) -> ScaledFunctional:
    """The problem of the closed form; its controls start from zero.

    Args:
        space: The state space, of a domain of area 1.
        layers: Number of layers, with a control each.
        scheme: Scheme of the layers.
        alpha: α_w = α_b, if another than that of `closed_form_value`.
        follows: Whether the kernel is a representer kernel, which follows the sample.
    """
    start = np.asfortranarray(1 + 0.5 * np.sin(2 * np.pi * space.coordinates))
    kernel = RepresenterKernel(space, layers, start) if follows else DenseKernel(space, layers)
    bias = np.zeros((layers, space.num_local))
    grid = DepthGrid(layers=layers, horizon=HORIZON)
    stepper = Stepper(
        space, kernel, bias, activation=find_activation("identity"), scheme=find_scheme(scheme), grid=grid
    )
    controls = ControlSpace(Ensemble(MPI.COMM_SELF), space, kernel, grid=grid, num_outputs=0)
    target = RHO / float(space.norm(start)[0]) * start
    penalty = Regularization(kernel=alpha, bias=alpha)
    return ScaledFunctional(
        Functional(
            controls,
            stepper,
            TrackingCost(space=space),
            initial=start,
            targets=target,
            num_samples=1,
            regularization=penalty,
            weight=MU,
        )
    )


def problem_with_a_gap() -> ScaledFunctional:
    """One node, two samples, no bias: tanh has two basins (T = 0.1, ten layers, f = (1, −3) towards (−1, −4)).

    From w = 0.2 descent ends at a stationary point of J = 1.2437, at which the Hamiltonian has a lower minimum
    elsewhere; J = 1.2126 is reached.
    """
    return one_neuron((1.0, -3.0), (-1.0, -4.0), layers=10, horizon=0.1, alpha=0.02)


def one_neuron(
    initial: Sequence[float],
    target: Sequence[float],
    *,
    layers: int,
    horizon: float,
    alpha: float,
    activation: str | Activation = "tanh",
) -> ScaledFunctional:
    """One node on |Y| = 1, no bias, Euler layers, tracking: J(w) = 1/(2J) Σ (f_j(T) − g_j)² + α/2 ∫ w² dt.

    Args:
        initial: f_j(0) of the samples.
        target: g_j.
        layers: Number of layers, with a control each.
        horizon: T.
        alpha: α_w.
        activation: σ or its name.
    """
    ensemble = Ensemble(MPI.COMM_SELF)
    space, grid = StateSpace(interval(MPI.COMM_SELF, 1), 0, "dg"), DepthGrid(layers=layers, horizon=horizon)
    kernel = DenseKernel(space, layers)
    stepper = Stepper(
        space,
        kernel,
        np.zeros((layers, 1)),
        activation=find_activation(activation) if isinstance(activation, str) else activation,
        scheme=find_scheme("euler"),
        grid=grid,
    )
    controls = ControlSpace(ensemble, space, kernel, grid=grid, num_outputs=0, parts=("kernel",))
    return ScaledFunctional(
        Functional(
            controls,
            stepper,
            TrackingCost(space=space),
            initial=np.array([initial]),
            targets=np.array([target]),
            num_samples=len(initial),
            regularization=Regularization(kernel=alpha, bias=0.0),
        )
    )


def numpy_neuron(
    w: np.ndarray, initial: Sequence[float], target: Sequence[float], *, horizon: float, alpha: float
) -> np.ndarray:
    """J of `one_neuron` with tanh by NumPy, for controls of shape (layers, any).

    Args:
        w: The controls of each layer, side by side.
        initial: f_j(0) of the samples.
        target: g_j.
        horizon: T.
        alpha: α_w.
    """
    step = horizon / len(w)
    f = np.array(initial)[:, None] * np.ones(w.shape[1])
    for kernel in w:
        f = f + step * np.tanh(kernel * f)
    return 0.5 * np.mean((f - np.array(target)[:, None]) ** 2, axis=0) + 0.5 * alpha * step * (w**2).sum(axis=0)


SHORT_OF_LAYERS = {"initial": (-0.64, 2.71), "target": (-1.15, 2.34), "layers": 4, "horizon": 2.0, "alpha": 0.011}
"""A global minimum with an open gap, for the maximum principle holds up to O(Δt) only: J = 0.0431634 by BFGS from the
points of a grid, gap 0.1117."""


def six_samples(space, loss: str = "softmax", scheme: str = "euler", **options) -> ScaledFunctional:
    """Six samples, readout and all, four layers with a control each, the penalties of `PENALTIES`."""
    fixed = {"layers": 4, "intervals": 4, "samples": 6, "regularization": PENALTIES, "weight": 1.0}
    problem = make_problem(space, loss=loss, scheme=scheme, **fixed, **options)
    return ScaledFunctional(problem.functional)
