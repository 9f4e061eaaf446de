# SPDX-License-Identifier: MIT
"""Simplices divided where functions g vanish, so that on each part no g changes its sign.

g is looked at on the vertices and on the midpoints of the edges.  Its deviation from a linear function,

    δ = max_ij |g(e_ij) − (g(v_i) + g(v_j))/2|,

tells what is known: if |g| > 2 δ at all vertices, with one sign, g has no zero (for a quadratic g this is certain); if
δ is small beside max |g|, the zeros form one nearly straight cut.  Otherwise the simplex is halved, up to a depth.

A straight cut divides a simplex into simplices.  In the plane a curved one gives two parts with one curved side, a
polynomial of degree four through zeros of g; in space, where several functions vanish, and towards a singular point the
cut is straight in each of the parts that remain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BarycentricInterpolator
from scipy.special import roots_legendre

from fem_selection.discretization.quadrature.simplices import cut_parts, edges, halved, volumes
from fem_selection.typing import Floats, Integers

__all__ = ["DEPTHS", "CurvedParts", "Parts", "deviation", "divide_at_zeros", "has_no_zero"]

_Function = Callable[[Integers, Floats], Floats]
"""Values of g for the pairs with some numbers, shape (m,), at points X, shape (m, q, d)."""

_ZERO = 1e-12  # of the largest |g| on a simplex
_STRAIGHT = 1e-9  # of it: g is linear
_CURVED = 0.1  # of it: one cut, which a polynomial describes
_BENT = {2: 0.01, 3: 0.03}  # of it: one cut, which is taken as straight
DEPTHS = {2: 5, 3: 1}
"""How often a simplex is halved at most."""
_LOST = 0.3  # of it: beyond, not even one cut is sure
_SHARE = 0.02  # of a simplex: smaller parts in which nothing is sure do not count
_STEPS = 7  # of the search for a zero
_NODES = (1 + np.array([-1.0, -np.sqrt(3 / 7), 0.0, np.sqrt(3 / 7), 1.0])) / 2  # Gauss–Lobatto


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Simplices within cells.

    Attributes:
        pair: The number of the pair (point y, cell) that each belongs to, shape (m,).
        corners: Their vertices in the coordinates of the reference cell, shape (m, d + 1, d).
    """

    pair: Integers
    corners: Floats

    def take(self, which: Integers | np.ndarray) -> Parts:
        """Return some of them."""
        return Parts(pair=self.pair[which], corners=self.corners[which])

    def refined(self) -> Parts:
        """Return the 2^d halves of each."""
        d = self.corners.shape[2]
        corners = extended(self.corners)[:, halved(d)].reshape(-1, d + 1, d)
        return Parts(pair=np.repeat(self.pair, 2**d), corners=corners)

    @staticmethod
    def joined(parts: Sequence[Parts]) -> Parts:
        """Return the union."""
        return Parts(pair=np.concatenate([p.pair for p in parts]), corners=np.concatenate([p.corners for p in parts]))


@dataclass(frozen=True, kw_only=True)
class CurvedParts:
    """Points and weights in triangles that a curve divides.

    Attributes:
        pair: As in `Parts`.
        points: Shape (m, q, 2).
        weights: Shape (m, q).
    """

    pair: Integers
    points: Floats
    weights: Floats


def extended(corners: Floats) -> Floats:
    """The vertices of simplices and the midpoints of their edges, shape (m, vertices + edges, d)."""
    pairs = edges(corners.shape[2])
    return np.concatenate([corners, (corners[:, pairs[:, 0]] + corners[:, pairs[:, 1]]) / 2], axis=1)


def deviation(values: Floats, dimension: int) -> Floats:
    """Return δ of functions, shape (…).

    Args:
        values: Values at vertices and midpoints, shape (…, vertices + edges).
        dimension: d.
    """
    pairs = edges(dimension)
    ends = (values[..., pairs[:, 0]] + values[..., pairs[:, 1]]) / 2
    found: Floats = np.abs(values[..., dimension + 1 :] - ends).max(axis=-1)
    return found


def has_no_zero(values: Floats, dimension: int) -> np.ndarray:
    """Return whether functions have no zero on closed simplices, by their values at vertices and midpoints.

    Args:
        values: Shape (…, vertices + edges).
        dimension: d.
    """
    size = np.abs(values).max(axis=-1)
    small = _ZERO * size
    one_sign = (values.min(axis=-1) > small) | (values.max(axis=-1) < -small)
    return one_sign & (np.abs(values).min(axis=-1) > 2 * deviation(values, dimension))


def divide_at_zeros(
    parts: Parts, functions: Sequence[_Function], *, curved_points: int | None, depth: int | None = None
) -> tuple[Parts, list[CurvedParts], Integers]:
    """Divide simplices at the zeros of functions.

    Args:
        parts: The simplices.
        functions: The functions g; those that others contain come first.
        curved_points: Number of points in each direction of a part with a curved side; None if all parts must be
            simplices.
        depth: How often a simplex is halved at most; see `DEPTHS` if None.

    Returns:
        The simplices; the parts with curved sides; and the numbers of the pairs in which zeros are not known to form
        one nearly straight cut of each part.
    """
    d = parts.corners.shape[2]
    depth = DEPTHS[d] if depth is None else depth
    curved: list[CurvedParts] = []
    unknown: list[Integers] = [np.zeros(0, np.int64)]
    for n, g in enumerate(functions):
        later = functions[n + 1 :]
        done: list[Parts] = []
        rest = parts
        for level in range(depth + 1):
            values = _values(g, rest.pair, extended(rest.corners))
            size, bent = np.abs(values).max(axis=1), deviation(values, d)
            small = _ZERO * size[:, None]
            signs = np.where(values > small, 1, np.where(values < -small, -1, 0))
            whole = (signs.min(axis=1) >= 0) | (signs.max(axis=1) <= 0)
            one_cut = _consistent(signs, d)
            straight = one_cut & (bent <= _STRAIGHT * size)
            clear = has_no_zero(values, d) | (whole & one_cut & (bent <= _BENT[d] * size)) | (size == 0)
            done.append(rest.take(clear))
            cut = ~clear & (straight | (one_cut & (bent <= _BENT[d] * size)))
            if curved_points is not None and d == 2:
                bends = ~clear & ~straight & one_cut & ~whole & (bent <= _CURVED * size)
                bends[bends] = _alone(rest.take(bends), later)
                curved += _curved_parts(g, rest.take(bends), values[bends], curved_points)
                clear, cut = clear | bends, cut & ~bends
            if level == depth:
                lost = rest.take(~clear & ~(one_cut & (bent <= _LOST * size)))
                share = np.bincount(lost.pair, volumes(lost.corners))
                unknown.append(np.flatnonzero(share > _SHARE))
                cut = ~clear
            done.append(_straight_parts(g, rest.take(cut), values[cut], linear=straight[cut]))
            rest = rest.take(~clear & ~cut)
            if not rest.pair.size:
                break
            rest = rest.refined()
        parts = Parts.joined(done)
    return parts, curved, np.unique(np.concatenate(unknown))


def _values(g: _Function, pair: Integers, points: Floats) -> Floats:
    with np.errstate(all="ignore"):
        return np.nan_to_num(g(pair, points))


def _consistent(signs: Integers, d: int) -> np.ndarray:
    """Whether no edge has ends of one sign and a midpoint of the other."""
    ends = edges(d)
    first, second, middle = signs[:, ends[:, 0]], signs[:, ends[:, 1]], signs[:, d + 1 :]
    return ~np.any((first * second >= 0) & (middle * (first + second) < 0), axis=1)


def _alone(parts: Parts, others: Sequence[_Function]) -> np.ndarray:
    """Whether none of the other functions vanishes on a simplex."""
    found = np.ones(len(parts.pair), bool)
    points = extended(parts.corners)
    for g in others:
        found &= has_no_zero(_values(g, parts.pair, points), parts.corners.shape[2])
    return found


def _crossings(
    g: _Function, parts: Parts, values: Floats, first: Integers, second: Integers, linear: np.ndarray
) -> Floats:
    """Zeros of g on the edges from one vertex to another, as fractions, by the method of false position (Illinois)."""
    row = np.arange(len(values))
    left, right = values[row, first], values[row, second]
    with np.errstate(all="ignore"):
        guess = np.nan_to_num(left / (left - right), nan=0.5)
    found = np.clip(guess, 0.0, 1.0)
    which = np.flatnonzero(~linear & (left * right < 0))
    if which.size:
        start = parts.corners[which, first[which]]
        along = parts.corners[which, second[which]] - start
        pair = parts.pair[which]

        def at(s: Floats) -> Floats:
            return _values(g, pair, (start + s[:, None] * along)[:, None])[:, 0]

        found[which] = _zeros(at, np.zeros(len(which)), np.ones(len(which)), left[which], right[which])
    return found


def _zeros(at: Callable[[Floats], Floats], a: Floats, b: Floats, ga: Floats, gb: Floats) -> Floats:
    """Zeros of functions between a and b, where their signs differ."""
    x = a
    for _ in range(_STEPS):
        with np.errstate(all="ignore"):
            x = np.where(ga == gb, (a + b) / 2, (a * gb - b * ga) / (gb - ga))
        gx = at(x)
        same = gx * gb > 0  # the zero is between a and x
        a, ga = np.where(same, a, b), np.where(same, ga / 2, gb)
        b, gb = x, gx
    return x


def _straight_parts(g: _Function, parts: Parts, values: Floats, *, linear: np.ndarray) -> Parts:
    """The parts of simplices that a straight cut divides."""
    d = parts.corners.shape[2]
    ends = edges(d)
    pattern = ((values[:, : d + 1] > 0) << np.arange(d + 1)).sum(axis=1)
    found = [parts.take((pattern == 0) | (pattern == 2 ** (d + 1) - 1))]
    known = extended(parts.corners)
    for n, (i, j) in enumerate(ends):
        s = _crossings(g, parts, values, np.full(len(values), i), np.full(len(values), j), linear)[:, None]
        known[:, d + 1 + n] = (1 - s) * parts.corners[:, i] + s * parts.corners[:, j]
    for number, table in cut_parts(d).items():
        which = np.flatnonzero(pattern == number)
        corners = known[which][:, table].reshape(-1, d + 1, d)
        found.append(Parts(pair=np.repeat(parts.pair[which], len(table)), corners=corners))
    return Parts.joined(found)


def _curved_parts(g: _Function, parts: Parts, values: Floats, count: int) -> list[CurvedParts]:
    """The two parts of triangles on both sides of a curve: one with a vertex A, one with an edge BC.

    The curve is P + u (Q − P) + τ(u) n over its chord PQ; the part at A is made of the segments from A to the curve,
    the other one of segments from the curve to BC.
    """
    if not parts.pair.size:
        return []
    positive = values[:, :3] > 0
    alone = np.argmax(positive == (positive.sum(axis=1, keepdims=True) == 1), axis=1)
    row, none = np.arange(len(alone)), np.zeros(len(alone), bool)
    b, c = (alone + 1) % 3, (alone + 2) % 3
    corner = [parts.corners[row, k] for k in (alone, b, c)]
    p, q = (
        corner[0] + _crossings(g, parts, values, alone, k, none)[:, None] * (corner[n] - corner[0])
        for n, k in ((1, b), (2, c))
    )
    x, w = roots_legendre(count)
    x, w = (1 + x) / 2, w / 2
    curve, slope = _curve(g, parts.pair, p, q, x)
    found = []
    apex, edge = corner[0][:, None], corner[1][:, None] + x[:, None] * (corner[2] - corner[1])[:, None]
    for start, start_slope, end, end_slope in (
        (apex + 0 * curve, 0 * slope, curve, slope),
        (curve, slope, edge, (corner[2] - corner[1])[:, None] + 0 * slope),
    ):
        s = x[:, None, None]  # [m, s, u, coordinate]
        points = (1 - s) * start[:, None] + s * end[:, None]
        along = (1 - s) * start_slope[:, None] + s * end_slope[:, None]
        across = (end - start)[:, None]
        area = across[..., 0] * along[..., 1] - across[..., 1] * along[..., 0]
        area *= np.sign(area.sum(axis=(1, 2), keepdims=True))
        weights = area * w[:, None] * w
        found.append(
            CurvedParts(
                pair=parts.pair,
                points=points.reshape(len(row), count**2, 2),
                weights=weights.reshape(len(row), count**2),
            )
        )
    return found


def _curve(g: _Function, pair: Integers, p: Floats, q: Floats, u: Floats) -> tuple[Floats, Floats]:
    """Places and slopes of the zeros of g over the chords from P to Q, at parameters u, shape (m, len(u), 2)."""
    chord = q - p
    normal = np.stack([-chord[:, 1], chord[:, 0]], axis=1)
    inner = p[:, None] + _NODES[1:-1, None] * chord[:, None]
    step = 0.05

    def at(height: Floats) -> Floats:
        return _values(g, pair, inner + height[:, :, None] * normal[:, None])

    old, now = np.zeros(inner.shape[:2]), np.full(inner.shape[:2], step)
    before = at(old)
    for _ in range(_STEPS):
        after = at(now)
        with np.errstate(all="ignore"):
            new = np.nan_to_num(now - after * (now - old) / (after - before), nan=0.0, posinf=0.0, neginf=0.0)
        new = np.where((after == before) | (after == 0), now, np.clip(new, -0.5, 0.5))
        old, before, now = now, after, new
    height = np.pad(now, ((0, 0), (1, 1)))
    values, slopes = _lagrange(tuple(u))
    flat = p[:, None] + u[:, None] * chord[:, None]
    return flat + (height @ values)[:, :, None] * normal[:, None], (
        chord[:, None] + (height @ slopes)[:, :, None] * normal[:, None]
    )


def _lagrange(u: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Values and slopes of the Lagrange polynomials of the nodes, shape (nodes, len(u))."""
    polynomials = BarycentricInterpolator(_NODES, np.eye(len(_NODES)))
    points = np.array(u)
    return polynomials(points).T, polynomials.derivative(points).T
