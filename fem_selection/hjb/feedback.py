# SPDX-License-Identifier: MIT
"""The optimal controls as a feedback: (w, b)(t, x) minimises the Hamiltonian at ξ = ∇_x V(t, x).

    ∂_t x = σ(s(t, x)),   x(0) given,   cost = ∫₀ᵀ R(w, b) dt + Φ(x(T))

The trajectory follows the exact dynamics of the reduced problem, whatever V is.  Its controls attain its cost, which is
therefore an upper bound of the optimum (up to the error of the time steps).  V is not known beyond its box: a
trajectory ends where it leaves the box, and has no cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.hjb.reduction import ReducedProblem
from fem_selection.hjb.value import ValueFunction
from fem_selection.typing import Floats, whole_number

__all__ = ["ClosedLoop", "simulate"]


@dataclass(frozen=True)
class ClosedLoop:
    """Trajectories under the feedback, for several initial states.

    Attributes:
        times: The times, shape (steps + 1,).
        states: The states at these times, shape (steps + 1, n, mJ); NaN after the last state in the box.
        kernels: w at the steps' midpoints, shape (steps, n, m, m); NaN after the last state in the box.
        biases: b at the steps' midpoints, shape (steps, n, m); NaN after the last state in the box.
        running: The regularization's part of the cost, shape (n,); NaN for a trajectory that left the box.
        terminal: Φ(x(T)), shape (n,); NaN for a trajectory that left the box.
        left_box: Whether the trajectory left the box of the value function, shape (n,).
        exit_times: The time of the first step that ended outside of the box, shape (n,); NaN if none did.
    """

    times: Floats
    states: Floats
    kernels: Floats
    biases: Floats
    running: Floats
    terminal: Floats
    left_box: np.ndarray
    exit_times: Floats

    @property
    def costs(self) -> Floats:
        """The whole cost of each trajectory, shape (n,); NaN for a trajectory that left the box."""
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
        Not collective: every rank computes the same.  The gradient of V is not used beyond the box, except at a
        midpoint, whose step then ends the trajectory.
    """
    steps = whole_number(steps, "steps", 1)
    x = problem.start[None] if initial is None else np.array(initial, dtype=np.float64)
    step, n = problem.horizon / steps, len(x)
    states = np.full((steps + 1, n, problem.dimension), np.nan)
    states[0] = x
    running, exits = np.zeros(n), np.full(n, np.nan)
    policies: list[Floats] = []
    going = np.arange(n)  # the trajectories that are still in the box, whose states are x
    for k in range(steps):
        if k > 0 and not len(going):
            policies.append(np.full_like(policies[-1], np.nan))
            continue
        t = k * step
        middle = x + 0.5 * step * problem.hamiltonian(x, value.gradient(t, x))[1]
        _, velocity, policy = problem.hamiltonian(middle, value.gradient(t + 0.5 * step, middle))
        x = x + step * velocity
        inside = np.all([(y >= value.grid.lower) & (y <= value.grid.upper) for y in (middle, x)], axis=(0, 2))
        exits[going[~inside]] = t + step
        kept = np.full((n, *policy.shape[1:]), np.nan)
        running[going] += step * problem.running_cost(policy)
        going, x = going[inside], x[inside]
        states[k + 1, going], kept[going] = x, policy[inside]
        policies.append(kept)
    kernels, biases = zip(*(problem.controls_of(c) for c in policies), strict=True)
    left = np.isfinite(exits)
    return ClosedLoop(
        times=np.linspace(0.0, problem.horizon, steps + 1),
        states=states,
        kernels=np.stack(kernels),
        biases=np.stack(biases),
        running=np.where(left, np.nan, running),
        terminal=problem.terminal_cost(states[-1]),
        left_box=left,
        exit_times=exits,
    )
