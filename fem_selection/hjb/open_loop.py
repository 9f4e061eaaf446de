# SPDX-License-Identifier: MIT
"""`follow`: the trajectory and the cost of given controls in continuous depth.

    ∂_t x_ij = σ(s_ij),   s_ij = Σ_k a_k w_ik x_kj + b_i,   cost = ∫₀ᵀ R(w, b) dt + Φ(x(T))

Controls that are constant on layers are controls of the continuous problem too.  Their cost there, unlike the objective
of the layers, is an upper bound of V(0, x(0)), up to the error of many fourth-order steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.errors import InvalidInput
from fem_selection.hjb.reduction import ReducedProblem
from fem_selection.typing import Floats

__all__ = ["OpenLoop", "follow"]

_STEPS = 400  # in the whole depth, at least


@dataclass(frozen=True)
class OpenLoop:
    """A trajectory under controls that are given.

    Attributes:
        states: The states at the layers' boundaries, shape (layers + 1, mJ).
        cost: Its whole cost.
    """

    states: Floats
    cost: float


def follow(problem: ReducedProblem, kernels: Floats, biases: Floats) -> OpenLoop:
    """Run controls that are constant on layers of equal length from the initial state, by the classical RK4 method.

    Args:
        problem: The reduced problem.
        kernels: w, shape (layers, m, m).
        biases: b, shape (layers, m).

    Raises:
        InvalidInput: if the shapes do not fit the problem.
    """
    m, layers = problem.num_cells, len(kernels)
    if kernels.shape != (layers, m, m) or biases.shape != (layers, m) or not layers:
        raise InvalidInput(
            f"kernels of shape {kernels.shape} and biases {biases.shape}; expected (layers, {m}, {m}) and (layers, {m})"
        )
    length = problem.horizon / layers
    parts = int(np.ceil(_STEPS / layers))
    step, x = length / parts, problem.initial.copy()
    states, running = [x.ravel()], 0.0
    for w, b in zip(kernels, biases, strict=True):
        operator, shift = w * problem.areas, b[:, None]

        def velocity(x: Floats, operator: Floats = operator, shift: Floats = shift) -> Floats:
            s = operator @ x + shift
            result = np.empty_like(s)
            problem.activation.value(s, result)
            return result

        for _ in range(parts):
            k1 = velocity(x)
            k2 = velocity(x + 0.5 * step * k1)
            k3 = velocity(x + 0.5 * step * k2)
            k4 = velocity(x + step * k3)
            x = x + step / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
        states.append(x.ravel())
        if problem.alpha_kernel is not None:
            running += 0.5 * problem.alpha_kernel * length * float(problem.areas @ w**2 @ problem.areas)
        if problem.alpha_bias is not None:
            running += 0.5 * problem.alpha_bias * length * float(problem.areas @ b**2)
    return OpenLoop(states=np.stack(states), cost=running + float(problem.terminal_cost(x.reshape(1, -1))[0]))
