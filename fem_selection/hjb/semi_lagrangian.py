# SPDX-License-Identifier: MIT
"""An independent computation of the value function: dynamic programming on the same grid.

    V(t, x) = min_c { Δt Σ_i a_i ½|c_i|² + V(t + Δt, x + Δt σ(c R(x))) }

with multilinear interpolation; a point outside of the box has the value of the nearest point inside, so that the scheme
stays monotone.  The minimum is found by direct search: over a grid of controls, as wide as the slope of V requires, and
then over finer and finer stars about the best control.  The method shares no Newton's method, table, form or viscosity
with `solve_value`.  The error is of order Δt + h²/Δt, which is of order h for Δt ∝ h.

References:
    M. Falcone, R. Ferretti, Semi-Lagrangian approximation schemes for linear and Hamilton–Jacobi equations, SIAM 2013,
    doi:10.1137/1.9781611973051.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from mpi4py import MPI

from fem_selection.errors import InvalidInput
from fem_selection.hjb.grid import Grid
from fem_selection.hjb.reduction import ReducedProblem
from fem_selection.hjb.value import ValueFunction
from fem_selection.parallel import share
from fem_selection.typing import Floats, whole_number

__all__ = ["solve_by_dynamic_programming"]

_GRID = 9  # controls in each direction at first
_LEVELS = 9  # halvings of the star
_CHUNK = 4096  # nodes treated at a time, so that their arrays stay in cache


def solve_by_dynamic_programming(
    problem: ReducedProblem,
    grid: Grid,
    steps: int | None = None,
    *,
    comm: MPI.Intracomm | None = None,
    terminal: Callable[[Floats], Floats] | None = None,
) -> ValueFunction:
    """Solve by dynamic programming backward from T.

    Args:
        problem: Dynamics and costs.
        grid: The box and its cells.
        steps: Number of time steps; if None, half the largest number of cells in a direction, but at least four.
        comm: Ranks that share the nodes; all ranks if None.
        terminal: Replaces Φ: a function of points, shape (n, mJ), that returns V(T, ·), shape (n,).

    Returns:
        V at every step; its outflow share and time are not measured and are NaN.

    Raises:
        InvalidInput: if the grid and the state differ in dimension.

    Note:
        Collective over `comm`.
    """
    if grid.dimension != problem.dimension:
        raise InvalidInput(f"a grid in R^{grid.dimension} for a state in R^{problem.dimension}")
    comm = MPI.COMM_WORLD if comm is None else comm
    steps = max(max(grid.cells) // 2, 4) if steps is None else whole_number(steps, "steps", 1)
    step, nodes = problem.horizon / steps, grid.nodes
    mine = share(len(nodes), comm.size, comm.rank)
    values = (problem.terminal_cost if terminal is None else terminal)(nodes)
    kept = [values]
    for _ in range(steps):
        radius = _search_radius(problem, grid, values)
        own = np.empty(mine.stop - mine.start)
        for start in range(mine.start, mine.stop, _CHUNK):
            part = slice(start, min(start + _CHUNK, mine.stop))
            search = _Search(problem, grid, values, nodes[part], step, radius)
            own[part.start - mine.start : part.stop - mine.start] = search.run()
        values = np.concatenate(comm.allgather(own))
        kept.append(values)
    times = np.linspace(0.0, problem.horizon, steps + 1)
    stacked = np.stack(kept[::-1]).reshape(steps + 1, *grid.shape)
    return ValueFunction(grid=grid, times=times, values=stacked, steps=steps, outflow_share=np.nan, outflow_time=np.nan)


def _search_radius(problem: ReducedProblem, grid: Grid, values: Floats) -> Floats:
    """Bounds of |λ|: the largest slope of V over the area, times the largest slope of σ, shape (m, J)."""
    field = values.reshape(grid.shape)
    slopes = [np.max(np.abs(np.diff(field, axis=k))) / width for k, width in enumerate(grid.widths)]
    s = np.linspace(-20.0, 20.0, 4001)
    sigma = np.empty_like(s)
    problem.activation.value(s, sigma)
    steepest = np.max(np.abs(np.diff(sigma))) / (s[1] - s[0])
    shape = (problem.num_cells, problem.num_samples)
    return 1.05 * steepest * np.reshape(slopes, shape) / problem.areas[:, None] + 1e-12


class _Search:
    """The minimum over the controls at some nodes.

    The search runs over coordinates u ∈ [−1, 1]^k.  With one sample c_i = u_i ρ_i R and k = m, since no other c gives
    the same s at less cost.  With several samples c = u ρ and k = r.
    """

    def __init__(
        self, problem: ReducedProblem, grid: Grid, values: Floats, nodes: Floats, step: float, radius: Floats
    ) -> None:
        self.problem, self.grid, self.values, self.nodes, self.step = problem, grid, values, nodes, step
        self.features = problem.features(nodes)
        if problem.num_samples == 1:
            self.size, self.scale = problem.num_cells, np.tile(radius[:, 0], (len(nodes), 1))
            self.gamma = np.einsum("nrj,nrj->n", self.features, self.features)
        else:  # one cell: a sum over the samples of |λ_j| |R_·j| bounds each entry of c
            self.size = self.features.shape[1]
            self.scale = np.einsum("nrj,j->nr", np.abs(self.features), radius[0])

    def run(self) -> Floats:
        """The lowest value found at each node, shape (n,)."""
        n = len(self.nodes)
        best, lowest = np.zeros((n, self.size)), np.full(n, np.inf)
        for u in product(np.linspace(-1.0, 1.0, _GRID).tolist(), repeat=self.size):
            self._try(np.broadcast_to(u, (n, self.size)), best, lowest)
        star = [u for u in product((-1.0, 0.0, 1.0), repeat=self.size) if any(u)]
        width = 2.0 / (_GRID - 1)
        for _ in range(_LEVELS):
            width /= 2.0
            centre = best.copy()
            for u in star:
                self._try(centre + width * np.asarray(u), best, lowest)
        return lowest

    def _try(self, u: Floats, best: Floats, lowest: Floats) -> None:
        found = self._objective(u * self.scale)
        better = found < lowest
        best[better], lowest[better] = u[better], found[better]

    def _objective(self, c: Floats) -> Floats:
        """The right-hand side of the equation for one control at every node."""
        if self.problem.num_samples == 1:  # c = λ
            s = self.gamma[:, None] * c
            cost = 0.5 * self.gamma * np.einsum("ni,ni,i->n", c, c, self.problem.areas)
        else:
            s = np.einsum("nr,nrj->nj", c, self.features)
            cost = 0.5 * self.problem.areas[0] * np.einsum("nr,nr->n", c, c)
        velocity = np.empty_like(s)
        self.problem.activation.value(s, velocity)
        inside = np.clip(self.nodes + self.step * velocity, self.grid.lower, self.grid.upper)
        later: Floats = self.grid.interpolate(self.values, inside)
        return self.step * cost + later
