# SPDX-License-Identifier: MIT
"""Eigenvalues with error bars along a curve of steady states, and which of them pass the imaginary axis.

    |error of λ| ≤ κ δ,   κ = ‖u‖ ‖v‖ / |v* u|,   A u = λ u,   v* A = λ v*

δ bounds the error of A = V* σ'(g) K V: round-off, and what the basis V misses of K, times max |σ'|.  Where κ δ is so
large that this first-order bound means nothing, as for a defective eigenvalue, the motion of the eigenvalues of A + E,
‖E‖ = δ, takes its place.  An eigenvalue is *decided* if its real part is larger than this error and than the tolerance
of the rank, τ ‖K‖ max |σ'|: a compact K has eigenvalues of any smallness, which say nothing about the sign.

Eigenvalues of consecutive points are matched by their distances and by the products of left and right eigenvectors.
One passes the axis where a matched eigenvalue is decided on either side, at two points of the curve between which it is
never decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.linalg
from scipy.optimize import linear_sum_assignment

from fem_selection.discretization.numbering import hashed_normal
from fem_selection.steady.equilibria.reduction import RANK_TOLERANCE, ReducedEquation
from fem_selection.typing import Complexes, Floats, Integers

__all__ = ["Crossing", "Rates", "compute_rates", "find_crossings", "match"]

_LINEAR = 1e-4  # of ‖A‖: a bound κ δ below this is used as it is
_DISTURBANCES = 3
_SAFETY = 10.0  # times the motion seen under disturbances
_SEEN = 3.0  # times what random functions see of the part of K that the basis misses
_EPSILON = float(np.finfo(float).eps)


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Eigenvalues of the linearization in the coordinates c, by decreasing real part, with error bars.

    Attributes:
        values: λ, shape (k,): k is the rank of K for almost all values of the parameter.
        uncertainties: How far the error of A may move each, shape (k,).
        zero: The tolerance of the rank.
        right: Right eigenvectors in the coordinates c, shape (r, k).
        left: Left eigenvectors with leftᴴ right = 1 on the diagonal, shape (r, k).
        error: δ.
        norm: ‖A‖.
    """

    values: Complexes
    uncertainties: Floats
    zero: float
    right: Complexes
    left: Complexes
    error: float
    norm: float

    @property
    def signs(self) -> Integers:
        """1 where the real part is decided and positive, −1 where it is negative, else 0; shape (k,)."""
        decided = np.abs(self.values.real) > np.maximum(self.uncertainties, self.zero)
        return np.where(decided, np.sign(self.values.real), 0).astype(int)

    @property
    def is_complex(self) -> npt.NDArray[np.bool_]:
        """Which eigenvalues belong to a complex pair, shape (k,)."""
        return np.abs(self.values.imag) > np.maximum(self.uncertainties, self.zero)


def compute_rates(equation: ReducedEquation, c: Floats, *, slope: float, missed: float) -> Rates:
    """Compute the eigenvalues of the linearization at a state (collective).

    Args:
        equation: The reduced equation.
        c: The coordinates of the state, shape (r,).
        slope: A typical |σ'|; the largest at the state counts if it is larger.
        missed: Size of the part of K that the basis V does not see.
    """
    full, own, largest = equation.linearize(c)
    slope = max(slope, largest)
    matrix = own.T @ full @ own
    if not matrix.size or not np.all(np.isfinite(matrix)):
        nothing = np.zeros((len(c), 0), complex)
        return Rates(
            values=nothing[0], uncertainties=np.zeros(0), zero=0.0, right=nothing, left=nothing, error=0.0, norm=0.0
        )
    values, left, right = scipy.linalg.eig(matrix, left=True, right=True)
    order = np.lexsort((-values.imag, -values.real))
    values, left, right = values[order], left[:, order], right[:, order]
    products = np.einsum("ik,ik->k", left.conj(), right)
    norm = float(np.linalg.norm(matrix, 2))
    error = _SEEN * slope * missed + _EPSILON * np.sqrt(len(matrix)) * max(norm, slope * equation.norm)
    with np.errstate(divide="ignore", invalid="ignore"):
        bounds = error / np.abs(products)
        scaled = np.where(products == 0.0, 0j, left / products.conj())  # no partner for a defective eigenvalue
    doubtful = ~(bounds <= _LINEAR * norm)
    if np.any(doubtful):
        bounds = np.where(doubtful, _SAFETY * _motion(matrix, values, error), bounds)
    return Rates(
        values=values,
        uncertainties=bounds,
        zero=RANK_TOLERANCE * slope * equation.norm,
        right=own @ right,
        left=np.asarray(own @ scaled, complex),
        error=float(error),
        norm=norm,
    )


def _motion(matrix: Floats, values: Complexes, size: float) -> Floats:
    """The largest motion of each eigenvalue under some random disturbances of a given norm."""
    n = len(matrix)
    moved = np.zeros(n)
    for seed in range(_DISTURBANCES):
        disturbance = hashed_normal(40 + seed, np.arange(n)[:, None], np.arange(n)[None, :])
        other = scipy.linalg.eigvals(matrix + size * disturbance / np.linalg.norm(disturbance, 2))
        rows, columns = linear_sum_assignment(np.abs(values[:, None] - other[None, :]))
        moved[rows] = np.maximum(moved[rows], np.abs(values[rows] - other[columns]))
    return moved


def match(a: Rates, b: Rates) -> Integers:
    """For each eigenvalue of `a` the number of the one of `b` that it becomes, shape (k,).

    Args:
        a: The eigenvalues at a point of a curve.
        b: Those at a near point.
    """
    if not a.values.size or a.values.size != b.values.size:
        return np.arange(a.values.size)
    distances = np.abs(a.values[:, None] - b.values[None, :])
    with np.errstate(invalid="ignore", over="ignore"):
        overlaps = np.abs(a.left.conj().T @ b.right)
    overlaps = np.where(np.isfinite(overlaps), np.minimum(overlaps, 1.0), 0.0)
    weight = float(np.max(np.min(distances, axis=1)))
    return np.asarray(linear_sum_assignment(distances + weight * (1.0 - overlaps))[1])


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """An eigenvalue that passes the imaginary axis.

    Attributes:
        first: Number of the last point at which it is decided on the one side.
        last: Number of the first point at which it is decided on the other side.
        before: Its number among the eigenvalues of the first point.
        after: Its number among those of the last point.
        sign: The sign of its real part at the last point.
    """

    first: int
    last: int
    before: int
    after: int
    sign: int


def find_crossings(rates: Sequence[Rates]) -> list[Crossing]:
    """Follow eigenvalues along the points of a curve and return those that pass the imaginary axis.

    Args:
        rates: The eigenvalues at each point.
    """
    found: list[Crossing] = []
    if not rates:
        return found
    count = rates[0].values.size
    signs, where, which = rates[0].signs.copy(), np.zeros(count, int), np.arange(count)
    for number in range(1, len(rates)):
        here = rates[number].signs
        if here.size != count:  # a point without finite eigenvalues: nothing is known across it
            count, signs, where, which = here.size, here.copy(), np.full(here.size, number), np.arange(here.size)
            continue
        targets = match(rates[number - 1], rates[number])
        new = here.copy(), np.full(count, number), np.arange(count)
        for i, j in enumerate(targets.tolist()):
            if here[j] == 0:
                new[0][j], new[1][j], new[2][j] = signs[i], where[i], which[i]
            elif signs[i] == -here[j]:
                crossing = Crossing(first=int(where[i]), last=number, before=int(which[i]), after=j, sign=int(here[j]))
                found.append(crossing)
        signs, where, which = new
    return found
