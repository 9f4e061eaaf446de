# SPDX-License-Identifier: MIT
"""The value function by finite elements: P1, with viscosity on the edges, which is limited where V is smooth.

    ∂_τ V = H(x, ∇V),   V = Φ at τ = 0,   τ = T − t

The forms are in `fem_selection.hjb.forms`, the space discretization in `fem_selection.hjb.scheme`.  The time steps are
Heun's where their bound is no shorter than accuracy asks, and implicit elsewhere (`fem_selection.hjb.implicit`): the
bound belongs to the fastest corner of the box, which optimal trajectories hardly visit.  Both are of order two.  The
order of V is two where it is smooth and one at its kinks.  If bounds of the velocities are given, the viscosity is not
limited and the time steps are Euler's.  Under the step bound V⁺ is then an average of V plus running costs: the scheme
is monotone and of order one.

References:
    M. Crandall, P.-L. Lions, Math. Comp. 43 (1984) 1, doi:10.2307/2007396 (convergence of monotone schemes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from mpi4py import MPI

from fem_selection.errors import InvalidInput, NonFinite, NotConverged
from fem_selection.hjb.grid import Grid
from fem_selection.hjb.implicit import PolicyIteration
from fem_selection.hjb.reduction import ReducedProblem
from fem_selection.hjb.scheme import ViscousScheme
from fem_selection.petsc import released
from fem_selection.settings import HjbSettings
from fem_selection.typing import Floats, whole_number

__all__ = ["ValueFunction", "solve_value"]

_FRESH = 3  # steps between two minimisations from all starts, with several samples
_GROWTH = 0.2  # of the time since T: an implicit step is at most so long
_FEWEST = 40  # implicit steps from T to 0, at least
_MOST = 1000, 100  # steps at most: so many, and so many for each cell of the direction with most cells
_GAIN = 3.0  # explicit steps cost less than one implicit step that is at most so many times as long


@dataclass(frozen=True)
class ValueFunction:
    """V on a space-time grid, the same on every rank.

    Attributes:
        grid: The grid, whose nodes carry the values.
        times: The times t of the snapshots, from 0 to T, shape (num_times,).
        values: V at these times, shape (num_times, n_1 + 1, …).
        steps: Number of time steps taken.
        outflow_share: The largest share, over all steps, of the box's boundary where the optimal velocity pointed out.
        outflow_time: The time t at which this share was reached.
    """

    grid: Grid
    times: Floats
    values: Floats
    steps: int
    outflow_share: float
    outflow_time: float

    def value(self, t: float, x: Floats) -> Floats:
        """V(t, x), interpolated linearly in t between snapshots.

        Args:
            t: The time, from 0 to T.
            x: Points, shape (n, mJ).

        Returns:
            Shape (n,).
        """
        return self._between(self.values, t, x)

    def gradient(self, t: float, x: Floats) -> Floats:
        """∇_x V(t, x), interpolated from central differences at the nodes.

        Args:
            t: The time, from 0 to T.
            x: Points, shape (n, mJ).

        Returns:
            Shape (n, mJ).
        """
        return self._between(self._gradients, t, x)

    @cached_property
    def _gradients(self) -> Floats:
        """Central differences of V at the nodes, shape (num_times, n_1 + 1, …, n)."""
        axes = tuple(range(1, 1 + self.grid.dimension))
        parts = np.gradient(self.values, *self.grid.widths, axis=axes, edge_order=2)
        return np.stack(parts if isinstance(parts, list | tuple) else [parts], axis=-1)

    def _between(self, fields: Floats, t: float, x: Floats) -> Floats:
        k = int(np.clip(np.searchsorted(self.times, t) - 1, 0, len(self.times) - 2))
        part = (t - self.times[k]) / (self.times[k + 1] - self.times[k])
        result = (1.0 - part) * self.grid.interpolate(fields[k], x)
        return result + part * self.grid.interpolate(fields[k + 1], x)


def solve_value(
    problem: ReducedProblem,
    grid: Grid,
    snapshots: int = HjbSettings.snapshots,
    *,
    comm: MPI.Intracomm | None = None,
    terminal: Callable[[Floats], Floats] | None = None,
    speeds: Floats | None = None,
) -> ValueFunction:
    """Solve the Hamilton–Jacobi–Bellman equation backward from T.

    Args:
        problem: The reduced problem, which gives H and Φ.
        grid: The box and its cells; each cell is cut into simplices.
        snapshots: Number of times at which V is kept, both ends included.
        comm: The ranks of the mesh; all ranks if None.
        terminal: Replaces Φ: a function of points, shape (n, mJ), that returns V(T, ·), shape (n,).
        speeds: Bounds of |∂_ξ H|, shape (mJ,), with which the scheme is monotone for n > 1 too.  If None, the viscosity
            follows the velocities of nearby cells, which gives a smaller error.

    Raises:
        InvalidInput: if grid and state differ in dimension, or with fewer than two snapshots.
        NonFinite: on all ranks alike, if V is not finite.
        NotConverged: on all ranks alike, if T is not reached by 1000 steps and 100 more for each cell of a direction.

    Note:
        Collective over `comm`; equal on any number of ranks up to the order of sums.
    """
    snapshots = whole_number(snapshots, "snapshots")
    if grid.dimension != problem.dimension or snapshots < 2:
        raise InvalidInput(
            f"a grid in R^{grid.dimension} and {snapshots} snapshots for a state in R^{problem.dimension}; expected "
            "the state's dimension and two snapshots at least"
        )
    scheme = ViscousScheme(problem, grid, MPI.COMM_WORLD if comm is None else comm, speeds=speeds)
    scheme.set_terminal(problem.terminal_cost if terminal is None else terminal)
    times = np.linspace(0.0, problem.horizon, snapshots)
    march = _March(scheme, problem.horizon, None if speeds is not None else PolicyIteration(scheme))
    kept = [scheme.gather()]
    with released(*([] if march.implicit is None else [march.implicit])):
        for upper, lower in zip(times[:0:-1], times[-2::-1], strict=True):
            march.run(upper, lower)
            kept.append(scheme.gather())
            if not np.all(np.isfinite(kept[-1])):
                raise NonFinite("the value function")
    return ValueFunction(
        grid=grid,
        times=times,
        values=np.stack(kept[::-1]),
        steps=march.steps,
        outflow_share=march.outflow_share,
        outflow_time=march.outflow_time,
    )


class _March:
    """The time steps backward from T: explicit where they are long enough, and implicit elsewhere.

    An implicit step is as long as the accuracy asks: it is T/N, N half the largest number of cells in a direction, and
    at most a fifth of the time τ since T, because V changes on the scale of τ where velocities are large (H is
    homogeneous or nearly so).  The number of steps is limited, since no bound of the velocities is known beforehand;
    known problems take at most 14 steps for each cell of a direction.
    """

    def __init__(self, scheme: ViscousScheme, horizon: float, implicit: PolicyIteration | None) -> None:
        self.scheme, self.horizon, self.implicit = scheme, horizon, implicit
        self.steps, self.outflow_share, self.outflow_time = 0, 0.0, horizon
        self._longest = horizon / max(0.5 * max(scheme.grid.cells), _FEWEST)
        self._most = _MOST[0] + _MOST[1] * max(scheme.grid.cells)
        self._allowed = np.inf  # after a failure

    def run(self, upper: float, lower: float) -> None:
        """Advance V from the time `upper` to `lower` (collective)."""
        left = upper - lower
        while left > 0.0:
            if self.steps >= self._most:
                raise NotConverged(
                    f"after {self.steps} time steps the value function is known for the last "
                    f"{self.horizon - lower - left:.1e} of the horizon {self.horizon:.4g} only, since the velocities "
                    "are large there; try a shorter horizon, smaller states or a smaller weight of the objective"
                )
            self.scheme.refresh(fresh=self.steps % _FRESH == 0)
            bound, outward = self.scheme.bounds()
            if outward > self.outflow_share:
                self.outflow_share, self.outflow_time = outward, lower + left
            done = self._step(left, bound, self.horizon - lower - left)
            left = left - done if done < left else 0.0

    def _step(self, left: float, bound: float, elapsed: float) -> float:
        """Take one step of at most `left`; return its length (collective)."""
        self.steps += 1
        wanted = min(self._longest, _GROWTH * elapsed, self._allowed)
        if self.implicit is not None and wanted > _GAIN * bound and left > _GAIN * bound:
            step = left / max(round(left / wanted), 1)
            if self.implicit.step(step):
                self._allowed *= 2.0
                return step
            self._allowed = 0.5 * step
            self.scheme.refresh(fresh=True)
        step = left / max(float(np.ceil(left / bound - 1e-9)), 1.0)
        self.scheme.step(step)
        return step
