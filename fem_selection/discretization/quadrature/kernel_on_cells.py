# SPDX-License-Identifier: MIT
"""A kernel on the cells of an interval: the zeros at which it is not smooth, and its integrals over parts of cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fem_selection.discretization.coefficients import KernelSource, evaluate_kernel
from fem_selection.discretization.quadrature.broken_kernel import BrokenKernel
from fem_selection.discretization.quadrature.interval_cells import IntervalCells, gauss_rule, graded_rule
from fem_selection.discretization.quadrature.roots import find_roots
from fem_selection.discretization.spaces import StateSpace
from fem_selection.typing import Floats, Integers

__all__ = ["NEAR", "SAME", "KernelOnCells", "divide"]

NEAR = 1.0
"""Of a cell's size: a singular place nearer than this needs crowded points."""
SAME = 1e-10
"""Of a cell's size: nearer places are the same."""


class KernelOnCells(BrokenKernel[IntervalCells]):
    """A kernel, the functions g at whose zeros it is not smooth, and the cells (collective).

    Args:
        space: A space on an interval.
        source: The kernel w.
        time: t.
        breaks: The functions g.
        exponent: a, if w grows like |g|^{−a} at a zero of g; 0 for a logarithm, None for kinks and jumps.
    """

    chunk = 2_000_000

    def __init__(
        self,
        space: StateSpace,
        source: KernelSource,
        time: float,
        *,
        breaks: Sequence[KernelSource],
        exponent: float | None,
    ) -> None:
        super().__init__(space, source, time, breaks=breaks, exponent=exponent, cells=IntervalCells(space))

    def __call__(self, y: Floats, z: Floats) -> Floats:
        """Return w at pairs of points.

        Args:
            y: Points.
            z: Points, in a shape that broadcasts with that of y.
        """
        return evaluate_kernel(self.space, self.source, self.time, y=y[None], z=z[None])

    def cuts(self, y: Floats, lower: Floats, upper: Floats, *, swapped: bool = False) -> tuple[Integers, Floats]:
        """Return the zeros of all g(y_m, ·) in [lower_m, upper_m]: the numbers m, and the places.

        Args:
            y: Points, shape (m,).
            lower: Lower ends, shape (m,).
            upper: Upper ends, shape (m,).
            swapped: Whether the zeros are those of g(·, y_m).
        """
        numbers, places = [np.zeros(0, np.int64)], [np.zeros(0)]
        for g in self.breaks:

            def values(which: Integers, x: Floats, g: KernelSource = g) -> Floats:
                pair = (x, np.broadcast_to(y[which, None], x.shape))
                first, second = pair if swapped else pair[::-1]
                return evaluate_kernel(self.space, g, self.time, y=first[None], z=second[None])

            found = find_roots(values, lower, upper)
            numbers.append(found[0])
            places.append(found[1])
        return np.concatenate(numbers), np.concatenate(places)

    def rows_and_cells(self, y: Floats, *, swapped: bool = False) -> tuple[Integers, Integers, Floats]:
        """Return the zeros of g(y_i, ·) on all cells: numbers i, cells and places; a vertex belongs to two cells.

        Args:
            y: Points, shape (n,).
            swapped: Whether the zeros are those of g(·, y_i).
        """
        ends, rows, cells, places = self.cells.ends, [], [], []
        step = max(1, self.chunk // (4 * len(ends)))
        for start in range(0, len(y), step):
            part = y[start : start + step]
            shape = (len(part), len(ends))
            number, place = self.cuts(
                np.broadcast_to(part[:, None], shape).ravel(),
                np.broadcast_to(ends[:, 0], shape).ravel(),
                np.broadcast_to(ends[:, 1], shape).ravel(),
                swapped=swapped,
            )
            rows.append(start + number // len(ends))
            cells.append(number % len(ends))
            places.append(place)
        return np.concatenate(rows), np.concatenate(cells), np.concatenate(places)

    def near(self, y: Floats) -> tuple[Integers, Integers, Integers, Floats]:
        """Return the pairs of a row i and a cell that is near a zero of g(y_i, ·).

        Args:
            y: The points y_i, shape (n,).

        Returns:
            Rows and cells of the pairs; and for each zero near a cell the number of the pair, and the zero.
        """
        row, _, place = self.rows_and_cells(y)
        keys = np.unique(np.stack([row.astype(float), place]), axis=1)
        row, place = keys[0].astype(np.int64), keys[1]
        margin = NEAR * self.cells.sizes
        lower, upper = self.cells.ends[:, 0] - margin, self.cells.ends[:, 1] + margin
        zero, cell = np.nonzero((place[:, None] > lower) & (place[:, None] < upper))
        pairs, numbers = np.unique(row[zero] * len(lower) + cell, return_inverse=True)
        return pairs // len(lower), pairs % len(lower), numbers, place[zero]

    def integrate(self, y: Floats, cell: Integers, zeros: tuple[Integers, Floats]) -> Floats:
        """Return ∫_c w(y_m, z) φ_k(z) dz for pairs (y_m, c_m), each cell divided at its zeros, shape (m, p + 1).

        A point z near a zero r is rounded; w(y, z) |z − r|^a, which is smooth, does not suffer from it, and so it is
        this product that the rule integrates.

        Args:
            y: Shape (m,).
            cell: Numbers of cells, shape (m,).
            zeros: The pairs that zeros belong to, and the zeros, within the cells or, for singular kernels, near them.
        """
        result = np.zeros((len(y), self.cells.dofs.shape[1]))
        pair, lower, upper, crowd = divide(self.cells.ends[cell], *zeros)
        plain = np.ones(len(pair), bool) if self.exponent is None else ~crowd.any(axis=1)
        for side in (-1, 0, 1):
            which = np.flatnonzero(plain if side == 0 else ~plain & crowd[:, (side + 1) // 2])
            x, weights = gauss_rule() if side == 0 else graded_rule(float(self.exponent or 0.0))
            step = max(1, self.chunk // len(x))
            for start in range(0, len(which), step):
                now = which[start : start + step]
                own, size = pair[now], upper[now] - lower[now]
                end = (upper if side > 0 else lower)[now, None]
                distance = size[:, None] * x
                z = end - distance if side > 0 else end + distance
                factors = size[:, None] * weights
                if side:
                    z = np.where(z == end, np.nextafter(end, (lower if side > 0 else upper)[now, None]), z)
                    factors = factors * (np.abs(z - end) / distance) ** float(self.exponent or 0.0)
                values = self(y[own, None], z) * factors
                np.add.at(result, own, np.einsum("mq,mqk->mk", values, self.cells.basis(cell[own], z)))
        return result

    def far(self, y: Floats, row: Integers, cell: Integers) -> Floats:
        """Return ∫ w(y_i, z) φ_k(z) dz by Gauss rules on all cells but some of each row, shape (len(y), N).

        Args:
            y: The points y_i, shape (n,).
            row: Numbers i, shape (m,).
            cell: The cells that are left out in these rows, shape (m,).
        """
        cells = self.cells
        x, weights = gauss_rule()
        z = cells.ends[:, :1] + cells.sizes[:, None] * x
        basis = cells.basis(np.arange(len(z)), z) * (cells.sizes[:, None] * weights)[:, :, None]

        def values(part: Floats) -> Floats:
            return self(part[:, None, None], z[None])

        return self.integrate_by_one_rule(y, basis, values, left_out=(row, cell))


def divide(ends: Floats, numbers: Integers, places: Floats) -> tuple[Integers, Floats, Floats, np.ndarray]:
    """Divide intervals at places within them.

    Args:
        ends: The intervals, shape (m, 2).
        numbers: The intervals that the places belong to, shape (k,).
        places: The places, shape (k,).

    Returns:
        For each part: the number of its interval, its ends, and whether a place lies at its lower or upper end; a part
        between two places is divided in the middle, and a part with a place outside counts as if it lay at the nearer
        end.
    """
    count, sizes = len(ends), ends[:, 1] - ends[:, 0]
    margin = SAME * sizes[numbers]
    inside = (places > ends[numbers, 0] + margin) & (places < ends[numbers, 1] - margin)
    at_end = np.zeros((count, 2), bool)
    at_end[numbers[places <= ends[numbers, 0] + margin], 0] = True
    at_end[numbers[places >= ends[numbers, 1] - margin], 1] = True
    ends = ends.copy()  # an end that is a zero becomes the zero, to the last bit
    for side in (0, 1):
        here = np.abs(places - ends[numbers, side]) <= margin
        ends[numbers[here], side] = places[here]
    pair = np.concatenate([np.repeat(np.arange(count), 2), numbers[inside]])
    place = np.concatenate([ends.ravel(), places[inside]])
    is_zero = np.concatenate([at_end.ravel(), np.ones(int(inside.sum()), bool)])
    order = np.lexsort((place, pair))
    pair, place, is_zero = pair[order], place[order], is_zero[order]
    part = np.flatnonzero((pair[1:] == pair[:-1]) & (np.diff(place) > SAME * sizes[pair[1:]]))
    owner, lower, upper = pair[part], place[part], place[part + 1]
    low, high = is_zero[part], is_zero[part + 1]
    both = low & high
    middle = (lower + upper) / 2
    return (
        np.concatenate([owner, owner[both]]),
        np.concatenate([lower, middle[both]]),
        np.concatenate([np.where(both, middle, upper), upper[both]]),
        np.concatenate([np.stack([low, high & ~both], axis=1), np.tile([False, True], (int(both.sum()), 1))]),
    )
