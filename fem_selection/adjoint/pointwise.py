# SPDX-License-Identifier: MIT
"""Minimisation of the Hamiltonian in the control of each neuron (a row), for many neurons at once.

    h(c) = Σ_j p_j σ(s_j) + ½ |c|²,    s = s° + c R,    c ∈ R^r                                            (one row)

h is not convex: σ bends and p has both signs.  `minimize_rows` runs a safeguarded Newton method with conjugate
gradients on all rows together, once from each given start.  It finds local minima; the best of them is an upper bound
of the global minimum.  With one sample the problem is scalar: use `fem_selection.adjoint.one_sample`, which finds the
global minimum.

Where no bound is active a stationary point satisfies c = −(p ∘ σ'(s)) Rᵀ.  A step of length one along −h' applies this
fixed-point map, so that steps of length one have the right size everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fem_selection.functions.activations import Activation
from fem_selection.typing import Floats, Integers

__all__ = ["TOLERANCE", "OwnMaps", "RowMaps", "RowProblem", "SharedMap", "minimize_rows"]

TOLERANCE = 1e-10
"""Default norm of a row's gradient at which the row is done, relative to 1 + |c|."""
_ARMIJO = 1e-4
_HALVINGS = 30
_ROUND_OFF = 1e-14
_LEVEL = 3  # steps that leave h as it was, up to round-off: a row that took so many is done
_TOGETHER = 256  # rows times lengths that a line search tries at a time


class RowMaps(Protocol):
    """The linear maps c ↦ c R, one for each row."""

    @property
    def size(self) -> int:
        """The number r of coordinates of a row."""

    def apply(self, c: Floats, rows: Integers) -> Floats:
        """Return c R row by row.

        Args:
            c: Coordinates, shape (len(rows), r).
            rows: Numbers of the rows whose maps are applied.

        Returns:
            Shape (len(rows), J).
        """

    def transpose(self, q: Floats, rows: Integers) -> Floats:
        """Return q Rᵀ row by row.

        Args:
            q: Shape (len(rows), J).
            rows: Numbers of the rows whose maps are applied.

        Returns:
            Shape (len(rows), r).
        """


@dataclass(frozen=True)
class SharedMap:
    """One R for all rows, shape (r, J), so that the products are matrix-matrix products."""

    matrix: Floats

    @property
    def size(self) -> int:
        """r."""
        return int(self.matrix.shape[0])

    def apply(self, c: Floats, rows: Integers) -> Floats:
        """The matrix product c R.  See `RowMaps.apply`."""
        return c @ self.matrix

    def transpose(self, q: Floats, rows: Integers) -> Floats:
        """The matrix product q Rᵀ.  See `RowMaps.transpose`."""
        return q @ self.matrix.T


@dataclass(frozen=True)
class OwnMaps:
    """One R for each row, shape (rows, r, J), with r and J small."""

    matrices: Floats

    @property
    def size(self) -> int:
        """r."""
        return int(self.matrices.shape[1])

    def apply(self, c: Floats, rows: Integers) -> Floats:
        """The product c R of each row with its own R.  See `RowMaps.apply`."""
        return np.einsum("ir,irj->ij", c, self.matrices[rows])

    def transpose(self, q: Floats, rows: Integers) -> Floats:
        """The product q Rᵀ of each row with its own R.  See `RowMaps.transpose`."""
        return np.einsum("ij,irj->ir", q, self.matrices[rows])


@dataclass(frozen=True)
class RowProblem:
    """The functions h of all rows.

    Attributes:
        activation: σ.
        p: The weights p_j of each row, shape (rows, J).
        maps: The maps c ↦ c R.
        shift: s°, shape (rows, J), or None for zero.
        bounds: Lower and upper bounds of c, each (rows, r), or None.
    """

    activation: Activation
    p: Floats
    maps: RowMaps
    shift: Floats | None = None
    bounds: tuple[Floats, Floats] | None = None

    def preactivation(self, c: Floats, rows: Integers) -> Floats:
        """The preactivation s = s° + c R of some rows.

        Args:
            c: Coordinates, shape (len(rows), r).
            rows: Numbers of the rows.

        Returns:
            Shape (len(rows), J).
        """
        s = self.maps.apply(c, rows)
        if self.shift is not None:
            s += self.shift[rows]
        return s

    def value(self, c: Floats, rows: Integers) -> Floats:
        """The values h(c) of some rows.

        Args:
            c: Coordinates, shape (len(rows), r).
            rows: Numbers of the rows.

        Returns:
            Shape (len(rows),).
        """
        sigma = self.preactivation(c, rows)
        self.activation.value(sigma.copy(), sigma)
        return np.einsum("ij,ij->i", self.p[rows], sigma) + 0.5 * np.einsum("ij,ij->i", c, c)

    def project(self, c: Floats, rows: Integers) -> Floats:
        """The point within the bounds that is nearest to c.

        Args:
            c: Coordinates, shape (len(rows), r).
            rows: Numbers of the rows.

        Returns:
            Shape (len(rows), r); c itself, not a copy, without bounds.
        """
        return c if self.bounds is None else np.clip(c, self.bounds[0][rows], self.bounds[1][rows])

    def free(self, c: Floats, gradient: Floats, rows: Integers) -> Floats:
        """Return 1 where an entry of c may move along −h', and 0 where a bound holds it.

        Args:
            c: Coordinates, shape (len(rows), r).
            gradient: h'(c), shape (len(rows), r).
            rows: Numbers of the rows.

        Returns:
            Shape (len(rows), r).
        """
        if self.bounds is None:
            return np.ones_like(c)
        lower, upper = (b[rows] for b in self.bounds)
        held = ((c <= lower) & (gradient > 0)) | ((c >= upper) & (gradient < 0))
        return np.where(held, 0.0, 1.0)


def minimize_rows(
    problem: RowProblem,
    starts: Iterable[Floats],
    tolerance: float = TOLERANCE,
    *,
    reduction: float = 0.0,
    max_iterations: int = 60,
) -> tuple[Floats, Floats]:
    """Return the best local minimum of each row that Newton's method finds from the starts.

    Args:
        problem: The functions h.
        starts: First values of c, each of shape (rows, r).
        tolerance: Norm of h' at which a row is done, relative to 1 + |c|.
        reduction: Norm of h' at which a row is done, relative to the norm at the start.
        max_iterations: Largest number of Newton steps from each start.

    Returns:
        The minimisers c, shape (rows, r), and the values h(c), shape (rows,).
    """
    best, lowest = np.zeros((len(problem.p), problem.maps.size)), np.full(len(problem.p), np.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in starts:
            c, value = _newton(problem, start, tolerance, reduction, max_iterations)
            better = value < lowest
            best[better], lowest[better] = c[better], value[better]
    return best, lowest


def _newton(
    problem: RowProblem, start: Floats, tolerance: float, reduction: float, max_iterations: int
) -> tuple[Floats, Floats]:
    """Newton's method with conjugate gradients and backtracking; rows leave when they are done."""
    everything = np.arange(len(problem.p))
    c = problem.project(np.array(start, dtype=np.float64), everything)
    value, rows = problem.value(c, everything), everything
    enough, level = np.zeros(len(c)), np.zeros(len(c), dtype=np.int64)
    for iteration in range(max_iterations):
        own = c[rows]
        slope, curvature = _derivatives(problem, own, rows)
        gradient = own + problem.maps.transpose(slope, rows)
        free = problem.free(own, gradient, rows)
        gradient *= free
        norm = np.linalg.norm(gradient, axis=1)
        if iteration == 0:
            enough = reduction * norm
        going = norm > np.maximum(tolerance * (1.0 + np.linalg.norm(own, axis=1)), enough[rows])
        if not going.any():
            break
        rows = rows[going]
        step = _newton_step(problem, rows, gradient[going], curvature[going], free[going])
        before = value[rows]
        c[rows], value[rows], moved = _backtrack(problem, rows, own[going], before, gradient[going], step)
        level[rows] += np.asarray(before - value[rows] <= _ROUND_OFF * (1.0 + np.abs(before)))
        going_on = moved & np.asarray(level[rows] < _LEVEL)
        rows = rows[going_on]
        if not rows.size:
            break
    return c, value


def _derivatives(problem: RowProblem, c: Floats, rows: Integers) -> tuple[Floats, Floats]:
    """p ∘ σ'(s) and p ∘ σ''(s)."""
    s = problem.preactivation(c, rows)
    value, slope, curvature = (np.empty_like(s) for _ in range(3))
    problem.activation.value_and_two_derivatives(s, value, slope, curvature)
    p = problem.p[rows]
    slope *= p
    curvature *= p
    return slope, curvature


def _newton_step(problem: RowProblem, rows: Integers, gradient: Floats, curvature: Floats, free: Floats) -> Floats:
    """Solve (1 + R diag(p σ'') Rᵀ) d ≈ −h' on the free entries; d = −h' in rows where negative curvature is met."""
    step, residual = np.zeros_like(gradient), -gradient
    direction, square = residual.copy(), np.einsum("ij,ij->i", residual, residual)
    enough = np.minimum(0.25, np.sqrt(np.sqrt(square))) ** 2 * square
    going = np.arange(len(rows))
    for iteration in range(problem.maps.size):
        d, who = direction[going], rows[going]
        product = d + free[going] * problem.maps.transpose(curvature[going] * problem.maps.apply(d, who), who)
        bend = np.einsum("ij,ij->i", d, product)
        good = bend > 1e-12 * np.einsum("ij,ij->i", d, d)
        if iteration == 0:
            step[going[~good]] = d[~good]
        going, d, product, bend = going[good], d[good], product[good], bend[good]
        length = (square[going] / bend)[:, None]
        step[going] += length * d
        residual[going] -= length * product
        new = np.einsum("ij,ij->i", residual[going], residual[going])
        direction[going] = residual[going] + (new / square[going])[:, None] * d
        square[going] = new
        going = going[new > enough[going]]
        if not going.size:
            break
    return step


def _backtrack(
    problem: RowProblem, rows: Integers, c: Floats, value: Floats, gradient: Floats, step: Floats
) -> tuple[Floats, Floats, Floats]:
    """Halve each row's step until h falls enough; return the new c, the new h, and which rows moved."""
    result, lowest, moved = c.copy(), value.copy(), np.zeros(len(rows), dtype=bool)
    going, lengths = np.arange(len(rows)), 0.5 ** np.arange(_HALVINGS)
    while lengths.size and going.size:
        # few rows cost by their calls, not by their lengths: they try many lengths at a time
        together = lengths[: 1 if lengths[0] == 1.0 else max(_TOGETHER // going.size, 1)]
        who, count = np.tile(going, together.size), going.size
        trial = problem.project(c[who] + np.repeat(together, count)[:, None] * step[who], rows[who])
        found = problem.value(trial, rows[who])
        fall = np.einsum("ij,ij->i", gradient[who], c[who] - trial)
        good = (found <= value[who] - _ARMIJO * fall) & (found < value[who])
        if (
            together[0] == 1.0
        ):  # near a minimum h no longer changes beyond round-off: accept the whole Newton step there
            flat = _ROUND_OFF * (1.0 + np.abs(value[who]))
            good |= (np.abs(fall) < flat) & (found <= value[who] + flat)
        good = good.reshape(together.size, count)
        longest = np.argmax(good, axis=0)  # the first length that is good, if one is
        has = good[longest, np.arange(count)]
        accepted, place = going[has], (longest * count + np.arange(count))[has]
        result[accepted], lowest[accepted], moved[accepted] = trial[place], found[place], True
        going, lengths = going[~has], lengths[together.size :]
    return result, lowest, moved
