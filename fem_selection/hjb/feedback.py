# SPDX-License-Identifier: MIT
"""The optimal controls as a feedback: (w, b)(t, x) minimises the Hamiltonian at ξ = ∇_x V(t, x).

    ∂_t x = σ(s(t, x)),   x(0) given,   cost = ∫₀ᵀ R(w, b) dt + Φ(x(T))

The trajectory follows the exact dynamics of the reduced problem, whatever V is.  Its controls attain its cost, which is
therefore an upper bound of the optimum (up to the error of the time steps).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.hjb.reduction import ReducedProblem
from fem_selection.hjb.value import ValueFunction
from fem_selection.typing import Floats

__all__ = ["ClosedLoop", "simulate"]


@dataclass(frozen=True)
class ClosedLoop:
    """Trajectories under the feedback, for several initial states.

    Attributes:
        times: The times, shape (steps + 1,).
        states: The states at these times, shape (steps + 1, n, mJ).
        kernels: w at the steps' midpoints, shape (steps, n, m, m).
        biases: b at the steps' midpoints, shape (steps, n, m).
        running: The regularization's part of the cost, shape (n,).
        terminal: Φ(x(T)), shape (n,).
        left_box: Whether the trajectory left the box of the value function, shape (n,).
    """

    times: Floats
    states: Floats
    kernels: Floats
    biases: Floats
    running: Floats
    terminal: Floats
    left_box: np.ndarray

    @property
    def costs(self) -> Floats:
        """The whole cost of each trajectory, shape (n,)."""
        return self.running + self.terminal


def simulate(
    problem: ReducedProblem, value: ValueFunction, initial: Floats | None = None, *, steps: int = 200
) -> ClosedLoop:
    """Run the feedback from some initial states, by the midpoint rule.

    Args:
        problem: The reduced problem.
        value: Its value function.
        initial: Initial states, shape (n, mJ); the problem's own initial state if None.
        steps: Number of time steps, of equal length.

    Note:
        Not collective: every rank computes the same.
    """
    x = problem.start[None] if initial is None else np.array(initial, dtype=np.float64)
    step = problem.horizon / steps
    states, policies, running, left = [x], [], np.zeros(len(x)), np.zeros(len(x), dtype=bool)
    for k in range(steps):
        t = k * step
        middle = x + 0.5 * step * problem.hamiltonian(x, value.gradient(t, x))[1]
        _, velocity, policy = problem.hamiltonian(middle, value.gradient(t + 0.5 * step, middle))
        x = x + step * velocity
        running += step * problem.running_cost(policy)
        left |= np.any((x < value.grid.lower) | (x > value.grid.upper), axis=1)
        states.append(x)
        policies.append(policy)
    kernels, biases = zip(*(problem.controls_of(c) for c in policies), strict=True)
    return ClosedLoop(
        times=np.linspace(0.0, problem.horizon, steps + 1),
        states=np.stack(states),
        kernels=np.stack(kernels),
        biases=np.stack(biases),
        running=running,
        terminal=problem.terminal_cost(x),
        left_box=left,
    )
