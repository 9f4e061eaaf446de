# SPDX-License-Identifier: MIT
"""Kernels on an interval that are not smooth where a function g(y, z) vanishes, integrated as such.

With the nodal rule, (K f)(y_i) ≈ Σ_k w(y_i, z_k) m_k F_k has order 2p only if w(y_i, ·) is smooth on every cell.  On
each cell c on which it is not, product integration takes its place:

    (K f_h)(y_i) = Σ_k A_ik F_k,   A_ik = Σ_c a^c_ik
    a^c_ik = w(y_i, z_k) m^c_k             if w(y_i, ·) is smooth on c, the nodal rule: m_k = Σ_c m^c_k
    a^c_ik = ∫_c w(y_i, z) φ_k(z) dz       if g(y_i, ·) vanishes inside of c, which is divided there

and where g(y_i, ·) vanishes at an end of c the nodal rule takes the limit of w from within c.  So W_ik = A_ik / m_k
takes the place of w(y_i, z_k), and equals it wherever no cell at z_k is cut.  K* is the exact adjoint of this K, as for
any W.

Continuous elements of degree 1 have their nodes where y = z meets the cells.  There, and wherever else a jump passes a
node, W_ik is the mean of the limits of w from all sides within Y × Y.  So W is symmetric or skew if w is, and
contractions and conserved norms of the continuum stay.  The price is paid where a jump meets an end of Y: there K f is
off by h/4 times jump and f, order 1 at this node and 3/2 in L²; integrals and eigenvalues keep order 2.  Cellwise
constant elements keep both, the structure and order 2 at all nodes.  At higher degrees a symmetric w gives a W that is
symmetric up to the order of the scheme.

A *singular* kernel, like |y − z|^{−a} with a < 1 or log|y − z|, is integrated in this way on all cells, with points
that crowd towards the zeros of g.

In Galerkin mode the result is B_jk = ∫∫ φ_j(y) w(y, z) φ_k(z), exactly on pairs of cells that g = 0 meets and from the
nodal values of w on others; W = M⁻¹ B M⁻¹ is symmetric if w is.

For smooth f the order at the nodes is 2p, but at most p + 3 (kinks), p + 2 (jumps) or p + 2 − a (singular) for p > 1:
the error of one cell.  In eigenvalues these average out, and 2p stays if the eigenfunctions are smooth.  Those of a
singular kernel are not: at the ends of Y they behave like y^{1−a}, so that on uniform meshes the order is 2 − a.

References: K. E. Atkinson, The Numerical Solution of Integral Equations of the Second Kind (1997), chapters 4 and 5,
doi:10.1017/CBO9780511626340.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fem_selection.discretization.coefficients import KernelSource, kernel_values
from fem_selection.discretization.quadrature.galerkin_integration import integrate_pairs
from fem_selection.discretization.quadrature.kernel_on_cells import SAME, KernelOnCells
from fem_selection.discretization.spaces import StateSpace
from fem_selection.typing import Floats, Integers

__all__ = ["integrate_kernel"]

_LIMIT = 1e-7  # of a cell's size: where the limit from within is taken, twice


def integrate_kernel(
    space: StateSpace,
    source: KernelSource,
    time: float,
    *,
    breaks: Sequence[KernelSource],
    exponent: float | None = None,
    nodal: Floats | None = None,
) -> Floats:
    """Return the integrals of a kernel against the basis functions (collective).

    Args:
        space: A space on an interval.
        source: The kernel w.
        time: t.
        breaks: The functions g; w is smooth where none of them vanishes.
        exponent: a, if w grows like |g|^{−a} at a zero of g; 0 for a logarithm, None for kinks and jumps.
        nodal: w(y_i, z_k) at the owned nodes y_i and all nodes z_k, if known; not needed with an exponent.

    Returns:
        B, shape (num_local, N): m_i A_ik in collocated mode, ∫∫ φ_i w φ_k in Galerkin mode.  W = M⁻¹ B M⁻¹.
    """
    kernel = KernelOnCells(space, source, time, breaks=breaks, exponent=exponent)
    if nodal is None and exponent is None:
        with np.errstate(all="ignore"):
            nodal = kernel_values(space, source, time)
    if not space.is_collocated:
        return integrate_pairs(kernel, nodal)
    return space.weights[:, None] * (_singular(kernel) if nodal is None else _cut(kernel, nodal))


def _singular(kernel: KernelOnCells) -> Floats:
    """A for a singular kernel: ∫ w(y_i, z) φ_k(z) dz on all cells, shape (num_local, N)."""
    y = kernel.space.coordinates[:, 0]
    row, cell, numbers, places = kernel.near(y)
    result = kernel.far(y, row, cell)
    near = kernel.integrate(y[row], cell, (numbers, places))
    np.add.at(result, (row[:, None], kernel.cells.dofs[cell]), near)
    return result


def _cut(kernel: KernelOnCells, nodal: Floats) -> Floats:
    """A for kinks and jumps: nodal values but on cells that are cut, or touched at a node."""
    space, cells = kernel.space, kernel.cells
    y = space.coordinates[:, 0]
    row, cell, place = kernel.rows_and_cells(y)
    distance = np.abs(place[:, None] - cells.ends[cell]) / cells.sizes[cell, None]
    inside = distance.min(axis=1) > SAME
    pairs, numbers = np.unique(row[inside] * len(cells.ends) + cell[inside], return_inverse=True)
    cut_row, cut_cell = pairs // len(cells.ends), pairs % len(cells.ends)
    exact = kernel.integrate(y[cut_row], cut_cell, (numbers, place[inside]))
    is_cut = np.isin(row * len(cells.ends) + cell, pairs)
    touch_row, touch_cell, column, limits = _limits(kernel, y, row[~is_cut], cell[~is_cut], distance[~is_cut])
    entries = [
        (np.repeat(cut_row, exact.shape[1]), cells.dofs[cut_cell].ravel(), cells.weights[cut_cell].ravel(), exact),
        (touch_row, cells.dofs[touch_cell, column], cells.weights[touch_cell, column], limits),
    ]
    rows, columns, taken, added = (np.concatenate([np.ravel(e[n]) for e in entries]) for n in range(4))
    return kernel.replace(nodal, rows * space.num_nodes + columns, taken=taken, added=added)


def _limits(
    kernel: KernelOnCells, y: Floats, row: Integers, cell: Integers, distance: Floats
) -> tuple[Integers, Integers, Integers, Floats]:
    """Rows, cells, numbers of nodes in the cell, and m^c_k times the limits of w at zeros that are nodes."""
    cells = kernel.cells
    end = np.argmin(distance, axis=1)
    ends = cells.ends[cell, end]
    far = np.abs(cells.nodes[cell] - ends[:, None]) / cells.sizes[cell, None]
    column = np.argmin(far, axis=1)
    is_node = far[np.arange(len(far)), column] <= SAME
    row, cell, end, column = row[is_node], cell[is_node], end[is_node], column[is_node]
    once = np.unique(np.stack([row, cell, end, column]), axis=1)
    row, cell, end, column = once
    place, step = cells.ends[cell, end], cells.sizes[cell] * _LIMIT
    if kernel.space.family == "lagrange" and kernel.space.degree == 1:
        limits = _mean_of_limits(kernel, y[row], place, step)
    else:
        limits = _limit(kernel, y[row], place, dy=0 * step, dz=np.where(end == 0, step, -step))
    return row, cell, column, limits * cells.weights[cell, column]


def _limit(kernel: KernelOnCells, y: Floats, z: Floats, *, dy: Floats, dz: Floats) -> Floats:
    """The limits of w(y + s dy, z + s dz) as s falls to 0, by a straight line through s = 1 and 2."""
    near = [kernel(y + s * dy, z + s * dz) for s in (1.0, 2.0)]
    return 2 * near[0] - near[1]


def _mean_of_limits(kernel: KernelOnCells, y: Floats, z: Floats, step: Floats) -> Floats:
    """The mean of the limits of w at (y, z) from below, above, left and right, as far as these are in Y × Y."""
    lower, upper = kernel.cells.ends[0, 0], kernel.cells.ends[-1, 1]
    total, count = np.zeros(len(y)), np.zeros(len(y))
    for side in (-1.0, 1.0):
        for dy, dz in ((side * step, 0 * step), (0 * step, side * step)):
            inside = np.all([(x > lower) & (x < upper) | (d == 0) for x, d in ((y + dy, dy), (z + dz, dz))], axis=0)
            total += np.where(inside, _limit(kernel, y, z, dy=np.where(inside, dy, 0), dz=np.where(inside, dz, 0)), 0.0)
            count += inside
    return total / count
