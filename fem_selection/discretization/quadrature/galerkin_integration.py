# SPDX-License-Identifier: MIT
"""A kernel with kinks, jumps or a singularity on an interval, integrated in both variables: Galerkin mode.

    B_jk = ∫∫ φ_j(y) w(y, z) φ_k(z) dz dy

The square of Y is divided into pairs of cells.  On a pair that a zero of g meets (see `product_integration`) the
integral over z is divided at the zeros of g(y, ·), and that over y where these zeros pass the ends of the cell.  On
other pairs w is smooth: its nodal values serve, or Gauss rules where w is singular.  B is symmetric if w is.
"""

from __future__ import annotations

import numpy as np

from fem_selection.discretization.quadrature.interval_cells import gauss_rule, graded_rule
from fem_selection.discretization.quadrature.kernel_on_cells import NEAR, KernelOnCells, divide
from fem_selection.typing import Floats, Integers

__all__ = ["integrate_pairs"]

_OUTER_LEVELS = 8  # of the rule in y: the integral over z has a term like |y − r|^{1−a} only
_PAIRS = 200  # at once


def integrate_pairs(kernel: KernelOnCells, nodal: Floats | None) -> Floats:
    """Return this rank's rows of B, shape (num_local, N) (collective).

    Args:
        kernel: The kernel.
        nodal: w(y_i, z_k) at the owned nodes y_i and all nodes z_k; None for a singular kernel.
    """
    moments = _far(kernel) if nodal is None else _nodal(kernel, nodal)
    first, second = _pairs(kernel)
    cells, mass = kernel.cells, kernel.cells.reference_mass
    for start in range(0, len(first), _PAIRS):
        c, d = first[start : start + _PAIRS], second[start : start + _PAIRS]
        block = _blocks(kernel, c, d)
        if nodal is not None:
            with np.errstate(all="ignore"):
                values = _finite(kernel(cells.nodes[c][:, :, None], cells.nodes[d][:, None, :]))
            block -= (cells.sizes[c] * cells.sizes[d])[:, None, None] * (mass @ values @ mass)
        local = cells.dofs[c] - kernel.space.owned.start
        pair, j = np.nonzero((local >= 0) & (local < kernel.space.num_local))
        np.add.at(moments, (local[pair, j][:, None], cells.dofs[d[pair]]), block[pair, j])
    return moments


def _nodal(kernel: KernelOnCells, nodal: Floats) -> Floats:
    """M W M with the nodal values of w; where w has no value, 0."""
    space = kernel.space
    return space.apply_mass(np.asfortranarray((space.mass_columns.T @ _finite(nodal).T).T))


def _pairs(kernel: KernelOnCells) -> tuple[Integers, Integers]:
    """The pairs (c, c') of cells, c one of this rank's, that zeros of g meet, or come near if w is singular."""
    mine, count = kernel.own_cells(), len(kernel.cells.ends)
    if kernel.exponent is not None:
        lower, upper = kernel.cells.ends[mine].T
        row, cell, _, _ = kernel.near(np.stack([lower, (lower + upper) / 2, upper], axis=1).ravel())
        keys = mine[row // 3] * count + cell
    else:
        row, cell, _ = kernel.rows_and_cells(kernel.cells.ends[mine].ravel())
        column, other, _ = kernel.rows_and_cells(kernel.cells.ends.ravel(), swapped=True)
        keys = np.concatenate([mine[row // 2] * count + cell, other * count + column // 2])
        keys = keys[np.isin(keys // count, mine)]
    keys = np.unique(keys)
    return keys // count, keys % count


def _far(kernel: KernelOnCells) -> Floats:
    """∫∫ φ_i w φ_k of a singular kernel by Gauss rules on all pairs of cells that are not near a zero of g."""
    cells, mine = kernel.cells, kernel.own_cells()
    x, weights = gauss_rule()
    y = cells.ends[mine, :1] + cells.sizes[mine, None] * x
    place = np.full(len(cells.ends), -1)
    place[mine] = np.arange(len(mine))
    first, second = _pairs(kernel)
    row = (place[first][:, None] * len(x) + np.arange(len(x))).ravel()
    inner = kernel.far(y.ravel(), row, np.repeat(second, len(x))).reshape(*y.shape, -1)
    tests = cells.basis(mine, y) * (cells.sizes[mine, None] * weights)[:, :, None]
    result = np.zeros((kernel.space.num_local, kernel.space.num_nodes))
    rows = np.einsum("cqj,cqn->cjn", tests, inner, optimize=True)
    kernel.add_to_own_rows(mine, rows, result)
    return result


def _blocks(kernel: KernelOnCells, first: Integers, second: Integers) -> Floats:
    """∫_c ∫_c' φ_j w φ_k for pairs of cells, shape (m, p + 1, p + 1)."""
    cells = kernel.cells
    numbers, places = [], []
    for end in (0, 1):
        found = kernel.cuts(cells.ends[second, end], *cells.ends[first].T, swapped=True)
        numbers.append(found[0])
        places.append(found[1])
    pair, lower, upper, crowd = divide(cells.ends[first], np.concatenate(numbers), np.concatenate(places))
    block = np.zeros((len(first), cells.dofs.shape[1], cells.dofs.shape[1]))
    plain = np.ones(len(pair), bool) if kernel.exponent is None else ~crowd.any(axis=1)
    for side in (-1, 0, 1):
        which = np.flatnonzero(plain if side == 0 else ~plain & crowd[:, (side + 1) // 2])
        if not which.size:
            continue
        x, weights = gauss_rule() if side == 0 else graded_rule(0.0, _OUTER_LEVELS)
        size = (upper - lower)[which, None]
        y = (upper[which, None] - size * x) if side > 0 else (lower[which, None] + size * x)
        owner = np.repeat(pair[which], len(x))
        tests = cells.basis(first[pair[which]], y) * (size * weights)[:, :, None]
        margin = 0.0 if kernel.exponent is None else NEAR * cells.sizes[second[owner]]
        ends = cells.ends[second[owner]]
        zeros = kernel.cuts(y.ravel(), ends[:, 0] - margin, ends[:, 1] + margin)
        inner = kernel.integrate(y.ravel(), second[owner], zeros).reshape(*y.shape, -1)
        np.add.at(block, pair[which], np.einsum("mqj,mqk->mjk", tests, inner))
    return block


def _finite(values: Floats) -> Floats:
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
