# SPDX-License-Identifier: MIT
"""Kernels in two and three dimensions that are not smooth where y = z or a function g(y, z) vanishes.

With the nodal rule, (K f)(y_i) ≈ Σ_k w(y_i, z_k) m_k F_k has its order only if w(y_i, ·) is smooth on every cell.  On
cells on which it is not, product integration takes its place, as on intervals (see `product_integration`):

    (K f_h)(y_i) = Σ_k A_ik F_k,   a^c_ik = ∫_c w(y_i, z) φ_k(z) dz     on cells c that g(y_i, ·) = 0 cuts or touches,
                                   a^c_ik = w(y_i, z_k) m^c_k            on others

A cell that is cut is divided along the zeros of g (`zero_sets`).  A kernel that is singular at y = z is integrated on
all cells: those at y by Duffy's transformation, near ones in parts (`around_a_point`), far ones by one rule.

In Galerkin mode the result is B_jk = ∫ φ_j(y) ∫ w(y, z) φ_k(z) dz dy: the inner integral as above, with a rule on cells
where w is smooth; the outer one with the quadrature of the space.

W = M⁻¹ B M⁻¹ takes the place of w(y_i, z_k).  It is symmetric up to the order of the scheme if w is.

Order at the nodes: that of the rule for smooth kernels, 2p collocated, but at most p + 3 (kinks) or p + 2 (jumps) for
p > 1, and p + 1 for singular kernels.  In Galerkin mode it is p + 1 in L², and the outer rule does not know breaks in y
alone.  Curves in the plane are cut as polynomials; in space, and where several sets meet in one cell,
curved sets are cut straight in parts of 1/2 (space) and 1/32 (plane) of a cell: order 2, times a small constant.

Cost: a square of 1,600 nodes and linear triangles takes 1 to 2 seconds of one processor, for jumps, disks and
|y − z|^{−1/2} alike; 256 nodes in Galerkin mode 1 to 2; a cube of 343 nodes and tetrahedra 1, with a curved surface 7.
It grows with the square of the number of nodes (cells everywhere in a row) or with its power 3/2 (cut cells alone), and
memory is that of the matrix and some hundred megabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from fem_selection.discretization.coefficients import KernelSource, evaluate_kernel, kernel_values
from fem_selection.discretization.quadrature.around_a_point import PointRule, PointSet, rule_points
from fem_selection.discretization.quadrature.broken_kernel import BrokenKernel
from fem_selection.discretization.quadrature.cell_geometry import CellGeometry
from fem_selection.discretization.quadrature.points import reference_rule
from fem_selection.discretization.quadrature.simplices import simplex_rule, volumes
from fem_selection.discretization.quadrature.zero_sets import (
    DEPTHS,
    CurvedParts,
    Parts,
    divide_at_zeros,
    extended,
    has_no_zero,
)
from fem_selection.discretization.spaces import StateSpace
from fem_selection.typing import Floats, Integers

__all__ = ["integrate_on_mesh"]

_PAIRS = 30_000  # pairs of a point and a cell at once
_BUDGET, _AT_ONCE, _SAMPLE = 1.5e7, 4e5, 200  # parts in all and at once; rows and cells that tell how many come
_SMALL = 0.3  # of a cell: for smaller parts a rule of lower degree does
_NEAR = {2: 4.013, 3: 2.513}  # radii of a cell: farther cells have the rule of lower degree


class _KernelOnMesh(BrokenKernel[CellGeometry]):
    """A kernel, the functions g at whose zeros it is not smooth, and the cells (collective)."""

    chunk = 1_500_000

    def __init__(
        self,
        space: StateSpace,
        source: KernelSource,
        time: float,
        *,
        breaks: Sequence[KernelSource],
        exponent: float | None,
    ) -> None:
        super().__init__(space, source, time, breaks=breaks, exponent=exponent, cells=CellGeometry(space))
        self.degree = 2 * max(space.degree, 1) + 2
        self.cut_pairs, self.unknown_pairs = 0, 0
        self.depth, self.at_once = self._depth()

    def values(self, source: KernelSource, y: Floats, z: Floats) -> Floats:
        """A function of two points at pairs of y, shape (m, d), and z, shape (m, q, d) or (1, q, d)."""
        return evaluate_kernel(self.space, source, self.time, y=y.T[:, :, None], z=np.moveaxis(z, -1, 0))

    def _depth(self) -> tuple[int, int]:
        """How often a simplex is halved and how many pairs are divided at once, within the budget (collective)."""
        if not self.breaks:
            return 0, _PAIRS
        space, cells = self.space, self.cells
        nodes = np.concatenate(space.comm.allgather(space.coordinates))[np.argsort(space.canonical_global)]
        sample = nodes[:: max(1, len(nodes) // _SAMPLE)]
        row, cell = self.broken(sample)
        if not row.size:
            return DEPTHS[cells.dimension], _PAIRS
        place = np.round((cells.centers - cells.centers.min(axis=0)) / np.ptp(cells.centers), 9)[cell]
        order = np.lexsort([*place.T, row])[:: max(1, len(row) // _SAMPLE)]  # the same on any number of ranks
        y, cell = sample[row[order]], cell[order]
        rows = len(nodes) if space.is_collocated else len(cells) * len(reference_rule(space)[1])
        pairs = rows * len(row) / len(sample)
        for depth in range(DEPTHS[cells.dimension], -1, -1):
            parts, curved, _ = self._divided(y, cell, np.ones(len(y), bool), depth)
            each = (len(parts.pair) + sum(len(c.pair) for c in curved)) / len(y)
            if each * pairs <= _BUDGET:
                break
        return depth, int(np.clip(_AT_ONCE / each, 50, _PAIRS))

    def undecided(self) -> str | None:
        """What the cuts do not decide, in a sentence (collective)."""
        comm, allowed = self.space.comm, DEPTHS[self.cells.dimension]
        cut, unknown = comm.allreduce(self.cut_pairs), comm.allreduce(self.unknown_pairs)
        if not unknown:
            return None
        size = "whole cells" if self.depth == 0 else f"parts of 1/{2**self.depth} of a cell"
        why = "" if not self.breaks or self.depth == allowed else ", as small as the budget of parts allows,"
        return (
            f"on {unknown / cut:.1%} of the cells that are divided it is not known that {size}{why} are cut once and "
            "nearly straight: there the errors may be those of the nodal rule"
        )

    # ── which cells ───────────────────────────────────────────────────────────────────────────────────────────────

    def broken(self, y: Floats) -> tuple[Integers, Integers]:
        """Rows and cells on which some g(y_i, ·) may vanish."""
        cells = self.cells
        d, count = cells.dimension, cells.simplices.shape[1]
        lattice = extended(cells.simplices.reshape(-1, d + 1, d))
        places = cells.points(np.arange(len(cells)), lattice.reshape(len(cells), -1, d))
        scale = np.max(np.abs(places))
        _, first, index = np.unique(
            np.round(places.reshape(-1, cells.dimension) / scale, 11), axis=0, return_index=True, return_inverse=True
        )
        points = places.reshape(-1, cells.dimension)[first]
        index = index.reshape(len(cells), count, -1)
        found = []
        step = max(1, self.chunk // index.size)
        for start in range(0, len(y), step):
            part = y[start : start + step]
            meets = np.zeros((len(part), len(cells)), bool)
            for g in self.breaks:
                with np.errstate(all="ignore"):
                    values = np.nan_to_num(self.values(g, part, points[None]))
                meets |= ~np.all(has_no_zero(values[:, index], cells.dimension), axis=2)
            row, cell = np.nonzero(meets)
            found.append((start + row, cell))
        row, cell = (np.concatenate(part) for part in zip(*found, strict=True))
        return row, cell

    def near(self, y: Floats) -> tuple[Integers, Integers, np.ndarray]:
        """Rows and cells near y_i or cut by a zero of g(y_i, ·), and whether they are cut."""
        cells, found = self.cells, []
        step = max(1, self.chunk // len(cells))
        limit = _NEAR[cells.dimension] * cells.radii
        for start in range(0, len(y), step):
            square = np.zeros((len(y[start : start + step]), len(cells)))
            for k in range(cells.dimension):
                square += np.square(y[start : start + step, k, None] - cells.centers[:, k])
            row, cell = np.nonzero(square < limit**2)
            found.append((start + row) * len(cells) + cell)
        keys = np.concatenate(found)
        cut = np.zeros(0, np.int64)
        if self.breaks:
            row, cell = self.broken(y)
            cut = row * len(cells) + cell
        keys = np.union1d(keys, cut)
        return keys // len(cells), keys % len(cells), np.isin(keys, cut)

    # ── integrals on them ─────────────────────────────────────────────────────────────────────────────────────────

    def integrate(self, y: Floats, cell: Integers, cut: np.ndarray) -> Floats:
        """∫_c w(y_m, z) φ_k(z) dz for pairs (y_m, c_m), shape (m, nodes of a cell).

        Args:
            y: Shape (m, d).
            cell: Numbers of cells, shape (m,).
            cut: Whether a g may vanish on the cell.
        """
        result = np.empty((len(y), self.cells.dofs.shape[1]))
        for start in range(0, len(y), self.at_once):
            now = slice(start, start + self.at_once)
            result[now] = self._block(y[now], cell[now], cut[now])
        return result

    def _block(self, y: Floats, cell: Integers, cut: np.ndarray) -> Floats:
        cells = self.cells
        result = np.zeros((len(y), cells.dofs.shape[1]))
        for pair, points, weights in self._point_sets(y, cell, cut):
            step = max(1, self.chunk // max(points.shape[1], 1))
            for start in range(0, len(pair), step):
                own, x = pair[start : start + step], points[start : start + step]
                values = self.values(self.source, y[own], cells.points(cell[own], x))
                values *= weights[start : start + step] * cells.measures(cell[own], x)
                found = np.einsum("mq,mqk->mk", values, cells.basis(x))
                for k in range(found.shape[1]):
                    result[:, k] += np.bincount(own, found[:, k], minlength=len(y))
        return result

    def _point_sets(self, y: Floats, cell: Integers, cut: np.ndarray) -> Iterator[PointSet]:
        parts, curved, unknown = self._divided(y, cell, cut, self.depth)
        self.cut_pairs += int(cut.sum())
        self.unknown_pairs += unknown
        for piece in curved:
            yield piece.pair, piece.points, piece.weights
        if self.exponent is None:
            is_small = volumes(parts.corners) < _SMALL**self.cells.dimension
            yield rule_points(parts.take(~is_small), self.degree + 2)
            yield rule_points(parts.take(is_small), max(self.degree - 2, 2))
            return
        rule = PointRule(cells=self.cells, cell=cell, places=y, exponent=self.exponent, degree=self.space.degree)
        yield from rule.points(parts)

    def _divided(self, y: Floats, cell: Integers, cut: np.ndarray, depth: int) -> tuple[Parts, list[CurvedParts], int]:
        """The parts of pairs' cells on which w is smooth but at y; and on how many pairs that is not known."""
        cells, d = self.cells, self.cells.dimension
        count = cells.simplices.shape[1]
        parts = Parts(pair=np.repeat(np.arange(len(y)), count), corners=cells.simplices[cell].reshape(-1, d + 1, d))
        if not self.breaks:
            return parts, [], 0

        def function(g: KernelSource) -> Callable[[Integers, Floats], Floats]:
            return lambda pair, x: self.values(g, y[pair], cells.points(cell[pair], x))

        divided, curved, unknown = divide_at_zeros(
            parts.take(cut[parts.pair]),
            [function(g) for g in self.breaks],
            curved_points=None if self.exponent is not None else self.space.degree + 3,
            depth=depth,
        )
        parts = Parts.joined([parts.take(~cut[parts.pair]), divided])
        return parts.take(volumes(parts.corners) > 1e-14), curved, len(unknown)

    def far(self, y: Floats, row: Integers, cell: Integers) -> Floats:
        """∫ w(y_i, z) φ_k(z) dz by one rule on all cells but some of each row, shape (len(y), N)."""
        cells, d = self.cells, self.cells.dimension
        known, weights = simplex_rule(d, self.degree)
        x = (known @ cells.simplices).reshape(len(cells), -1, d)
        sizes = volumes(cells.simplices.reshape(-1, d + 1, d)).reshape(len(cells), -1, 1)
        z = cells.points(np.arange(len(cells)), x)
        measures = cells.measures(np.arange(len(cells)), x) * (sizes * weights).reshape(len(cells), -1)
        basis = cells.basis(x) * measures[:, :, None]

        def values(part: Floats) -> Floats:
            return self.values(self.source, part, z.reshape(1, -1, d)).reshape(-1, *measures.shape)

        return self.integrate_by_one_rule(y, basis, values, left_out=(row, cell))

    def rows(self, y: Floats) -> Floats:
        """∫ w(y_i, z) φ_k(z) dz on all cells by quadrature, shape (len(y), N)."""
        if self.exponent is None:
            row, cell = self.broken(y)
            cut = np.ones(len(row), bool)
        else:
            row, cell, cut = self.near(y)
        result = self.far(y, row, cell)
        np.add.at(result, (row[:, None], self.cells.dofs[cell]), self.integrate(y[row], cell, cut))
        return result


def integrate_on_mesh(
    space: StateSpace,
    source: KernelSource,
    time: float,
    *,
    breaks: Sequence[KernelSource],
    exponent: float | None = None,
    nodal: Floats | None = None,
) -> tuple[Floats, str | None]:
    """Return the integrals of a kernel against the basis functions, and what is not decided (collective).

    Args:
        space: A space on a domain of two or three dimensions.
        source: The kernel w.
        time: t.
        breaks: The functions g; w is smooth where none of them vanishes and y ≠ z.
        exponent: a, if w grows like |y − z|^{−a}; 0 for a logarithm, negative for a kink; None if w is smooth there.
        nodal: w(y_i, z_k) at the owned nodes y_i and all nodes z_k, if known.

    Returns:
        B, shape (num_local, N): m_i A_ik in collocated mode, ∫∫ φ_i w φ_k in Galerkin mode.  W = M⁻¹ B M⁻¹.  And a
        sentence if on some cells the zeros of a g are not known to be cut as they are; else None.
    """
    kernel = _KernelOnMesh(space, source, time, breaks=breaks, exponent=exponent)
    if not space.is_collocated:
        found = _galerkin(kernel)
    elif exponent is not None:
        found = space.weights[:, None] * kernel.rows(space.coordinates)
    else:
        if nodal is None:
            with np.errstate(all="ignore"):
                nodal = kernel_values(space, source, time)
        found = space.weights[:, None] * _collocated(kernel, nodal)
    return found, kernel.undecided()


def _collocated(kernel: _KernelOnMesh, nodal: Floats) -> Floats:
    """A for kinks and jumps: nodal values but on cells that are cut or touched."""
    space, cells, y = kernel.space, kernel.cells, kernel.space.coordinates
    row, cell = kernel.broken(y)
    exact = kernel.integrate(y[row], cell, np.ones(len(row), bool))
    keys = (row[:, None] * space.num_nodes + cells.dofs[cell]).ravel()
    return kernel.replace(nodal, keys, taken=cells.weights[cell].ravel(), added=exact.ravel())


def _galerkin(kernel: _KernelOnMesh) -> Floats:
    """B, its outer integral by the quadrature of the space."""
    space, cells = kernel.space, kernel.cells
    mine = kernel.own_cells()
    points, weights = reference_rule(space)
    result = np.zeros((space.num_local, space.num_nodes))
    step = max(1, kernel.chunk // (len(points) * space.num_nodes))
    tests = cells.basis(points[None])[0] * weights[:, None]
    for start in range(0, len(mine), step):
        own = mine[start : start + step]
        x = np.broadcast_to(points, (len(own), *points.shape))
        y = cells.points(own, x).reshape(-1, cells.dimension)
        inner = kernel.rows(y).reshape(len(own), len(points), -1) * cells.measures(own, x)[:, :, None]
        rows = np.einsum("qj,cqn->cjn", tests, inner, optimize=True)
        kernel.add_to_own_rows(own, rows, result)
    return result
