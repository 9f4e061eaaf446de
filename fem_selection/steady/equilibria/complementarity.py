# SPDX-License-Identifier: MIT
"""Steady states of ReLU and its like: the projection of a state onto {f : a ≤ K f + b ≤ c at every point}.

If σ vanishes on [a, c] and nowhere else (ReLU: a = −∞, c = 0), the steady states form this closed convex set.  Its
point nearest to f⁰ solves

    f = f⁰ − K* λ,    λ ≥ 0 where K f + b = c,   λ ≤ 0 where K f + b = a,   λ = 0 elsewhere.

For a smooth kernel the multiplier λ is a measure on the contact set, often on a few points; as a function it is
unbounded.  The method adds contact points where the constraint is violated most, each with its representer K* δ_y.  On
the points present it solves a least-distance problem exactly, as a non-negative least-squares problem.  The distance
grows with every round, so that the method ends.  It uses K by its products only, and the number of rounds hardly
depends on the mesh.  TAO's bound-constrained Newton and quasi-Newton methods on the dual problem,

    min ½ ‖K* λ‖² − (K f⁰ + b, λ),   λ ≥ 0,

whose Hessian K K* is compact, reach the same point (a test compares), but their iterations grow with the mesh.  PETSc's
SNESVI solvers fail: since K K* has no positive lower bound, their active-set steps are singular and their line searches
stop.

References:
    C. Lawson, R. Hanson, Solving Least Squares Problems, SIAM 1995, ch. 23, doi:10.1137/1.9781611971217 (NNLS, LDP).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI
from scipy.optimize import nnls

from fem_selection.dynamics.field import SelectionField
from fem_selection.errors import InvalidInput, NotConverged
from fem_selection.kernels.base import KernelOperator
from fem_selection.linalg.coordinates import IsometricCoordinates, IsometricOperator
from fem_selection.linalg.orthonormal import qr_over_ranks
from fem_selection.typing import Block, Floats, Integers

__all__ = ["Projection", "project"]

_ROUNDS = 200
_FEW = 4  # least number of points added in a round
_PART = 4  # one in so many of the violated points is added
_FAR = 1e7  # ratio of the distance to a lower bound of it, beyond which the constraints count as incompatible


@dataclass(frozen=True)
class Projection:
    """The steady state nearest to f⁰, and how well it satisfies the optimality conditions.

    Attributes:
        exists: Whether the convex set is not empty.  It counts as empty if its distance from f⁰ exceeds 1e7 times a
            lower bound of this distance.
        state: Nodal values, shape (space.num_local,); f⁰ if the set is empty.
        distance: ‖f − f⁰‖; inf if the set is empty.
        violation: The largest violation of the constraint at a point.
        stationarity: ‖f − f⁰ + K* λ‖.
        complementarity: |∫ λ · (distance of K f + b from the constraint)|.
        contacts: Number of points where λ ≠ 0.
        rounds: Number of rounds in which points were added.
    """

    exists: bool
    state: Floats
    distance: float
    violation: float
    stationarity: float
    complementarity: float
    contacts: int
    rounds: int


def project(
    field: SelectionField,
    state: Floats,
    *,
    lower: float = -np.inf,
    upper: float = 0.0,
    tolerance: float = 1e-11,
    coordinates: IsometricCoordinates | None = None,
) -> Projection:
    """The steady state nearest to a state, for an activation that vanishes on [lower, upper] (collective).

    Args:
        field: The right-hand side; it must not depend on time.
        state: Nodal values of f⁰, shape (num_local,); not changed.
        lower: a, or −inf.
        upper: c, or inf.
        tolerance: Violation at which to stop, relative to 1 + max |K f⁰ + b|.
        coordinates: The isometric coordinates of the space; created if None.

    Raises:
        InvalidInput: if [lower, upper] is not an interval with at least one finite end.
        NotConverged: if the limit of rounds is reached, or a least-squares problem is not solved.

    Note:
        Time and memory grow with the square of the number of contact points, on every rank.
    """
    if not lower < upper or (np.isinf(lower) and np.isinf(upper)):
        raise InvalidInput(f"[{lower}, {upper}] is no interval with an end: nothing to project onto")
    c = IsometricCoordinates(field.space) if coordinates is None else coordinates
    operator = IsometricOperator(coordinates=c, operator=KernelOperator(field.kernel))
    search = _ContactSearch(operator, field.bias, state, (lower, upper), tolerance)
    for number in range(_ROUNDS):
        if search.violation() <= search.allowed:
            return search.result(number)
        if not search.advance():
            return Projection(
                exists=False,
                state=state.copy(),
                distance=np.inf,
                violation=search.violation(),
                stationarity=np.nan,
                complementarity=np.nan,
                contacts=0,
                rounds=number,
            )
    raise NotConverged(f"{_ROUNDS} rounds of contact points leave a violation of {search.violation():.1e}")


class _ContactSearch:
    """The contact points considered so far, their representers, and the solution of the problem on them.

    The rows of E are s_i K* δ_{y_i} with the sign s_i of the bound; the constraints are E x ≤ d.
    """

    def __init__(
        self, operator: IsometricOperator, bias: Floats, state: Floats, bounds: tuple[float, float], tolerance: float
    ) -> None:
        self.operator, self.c = operator, operator.coordinates
        self._bounds = bounds
        self._bias = self.c.at_points(np.asfortranarray(bias[:, None]))[:, 0]
        self.start = self.c.to_euclidean(np.asfortranarray(state[:, None]))
        self.x = self.start.copy()
        self._offset = self._pattern(self.x)
        self.allowed = tolerance * (1.0 + self._max(np.abs(self._offset)))
        rank_offsets = np.cumsum([0, *self.c.space.comm.allgather(self.c.num_local)])
        self._first = int(rank_offsets[self.c.space.comm.rank])
        self._points = np.empty(0, dtype=np.int64)  # global numbers, the same on all ranks
        self._signs = np.empty(0)
        self._limits = np.empty(0)  # s_i (bound − (K f⁰ + b)(y_i))
        self._columns = np.zeros((self.c.num_local, 0), order="F")
        self._multipliers = np.empty(0)

    def violation(self) -> float:
        """The largest violation at the current x (collective)."""
        return self._max(self._excess()[0])

    def advance(self) -> bool:
        """Add points and solve; return False if the constraints are incompatible (collective)."""
        self._add_points()
        sizes = np.sqrt(self._sum(self._columns**2))
        active = sizes > 1e-14 * max(float(np.max(sizes)), 1e-300)
        if np.any(self._limits[~active] < -self.allowed):
            return False
        _, factor = qr_over_ranks(self.c.space.comm, self._columns[:, active] / sizes[active])
        limits = self._limits[active] / sizes[active]
        scale = float(np.max(-limits))  # a lower bound of the distance: that of the farthest half space
        if not scale > 0:
            raise NotConverged("a violated point cannot be told from one that is already considered")
        # least distance: min |t| with −Rᵀ t ≥ −d, by min |E z − e| over z ≥ 0 with E = [−R; −d]
        matrix = np.vstack([-factor, -limits[None] / scale])
        target = np.zeros(len(matrix))
        target[-1] = 1.0
        try:
            z, size = nnls(matrix, target, maxiter=30 * matrix.shape[1] + 100)
        except RuntimeError as error:
            raise NotConverged(f"the non-negative least-squares problem of the contact points: {error}") from error
        if size**2 * _FAR**2 < 1.0:  # |t|² = 1 / size² − 1
            return False
        self._multipliers = np.zeros(active.size)
        self._multipliers[active] = z * scale / size**2 / sizes[active]
        self.x = self.start - self._columns @ self._multipliers[:, None]
        return True

    def result(self, rounds: int) -> Projection:
        """The projection, and its optimality measured with new products by K and K* (collective)."""
        multiplier = np.zeros((self.c.num_local, 1), order="F")
        own = self._own(self._points)
        np.add.at(multiplier[:, 0], self._points[own] - self._first, (self._signs * self._multipliers)[own])
        dual = np.asfortranarray(multiplier / self.c.root)  # coordinates of λ
        moved = self.x - self.start
        pattern = self._pattern(self.x)
        gaps = np.zeros_like(pattern)
        for sign, bound in zip((-1.0, 1.0), self._bounds, strict=True):
            touching = sign * multiplier[:, 0] > 0
            gaps[touching] = pattern[touching] - bound
        return Projection(
            exists=True,
            state=self.c.to_function(self.x)[:, 0],
            distance=self.c.norm(moved),
            violation=max(self.violation(), 0.0),
            stationarity=self.c.norm(moved + self.operator.apply_adjoint(dual)),
            complementarity=abs(self.c.inner(gaps, multiplier[:, 0])),
            contacts=int(np.count_nonzero(self._multipliers)),
            rounds=rounds,
        )

    def _pattern(self, x: Block) -> Floats:
        """K f + b at the nodes of this rank."""
        values: Floats = (self.operator.apply(x) / self.c.root)[:, 0] + self._bias
        return values

    def _excess(self) -> tuple[Floats, Floats]:
        """The violation at each node, negative inside the interval, and the sign of the nearer bound."""
        pattern = self._pattern(self.x)
        below, above = self._bounds[0] - pattern, pattern - self._bounds[1]
        return np.maximum(below, above), np.where(above >= below, 1.0, -1.0)

    def _add_points(self) -> None:
        """Add the most violated points with their representers (collective)."""
        comm = self.c.space.comm
        excess, signs = self._excess()
        own = np.flatnonzero(excess > self.allowed)
        limits = np.where(signs > 0, self._bounds[1] - self._offset, self._offset - self._bounds[0])
        found = comm.allgather((excess[own], own + self._first, signs[own], limits[own]))
        sizes, points, all_signs, all_limits = (np.concatenate(part) for part in zip(*found, strict=True))
        count = max(_FEW, points.size // _PART)
        chosen = np.argsort(-sizes, kind="stable")[:count]
        rows = self._own(points[chosen])
        units = np.zeros((self.c.num_local, chosen.size), order="F")
        local = points[chosen][rows] - self._first
        units[local, np.flatnonzero(rows)] = all_signs[chosen][rows] / self.c.root[local, 0]
        self._columns = np.asfortranarray(np.hstack([self._columns, self.operator.apply_adjoint(units)]))
        self._points = np.concatenate([self._points, points[chosen]])
        self._signs = np.concatenate([self._signs, all_signs[chosen]])
        self._limits = np.concatenate([self._limits, all_limits[chosen]])

    def _own(self, points: Integers) -> np.ndarray:
        """Which of the given points this rank owns."""
        return (points >= self._first) & (points < self._first + self.c.num_local)

    def _max(self, values: Floats) -> float:
        return float(self.c.space.comm.allreduce(float(np.max(values, initial=-np.inf)), op=MPI.MAX))

    def _sum(self, values: Block) -> Floats:
        total = np.ascontiguousarray(values.sum(axis=0))
        self.c.space.comm.Allreduce(MPI.IN_PLACE, total)
        return total
