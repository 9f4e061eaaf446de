# SPDX-License-Identifier: MIT
"""All roots in projective space of a square system of homogeneous polynomials, by homotopy from x_i^d = x_0^d.

    H(x, t) = (1 − t) γ (x_i^d − x_0^d)_i + t F(x),   i = 1 … m,   x ∈ P^m(C)

By Bézout's theorem F has d^m roots if they are isolated, counted with multiplicity; for almost all complex γ the d^m
paths from t = 0 are regular for t < 1 and end at all isolated roots.  The list of real roots is complete if every path
ends at a root of its own with a regular derivative; `Roots.is_complete` says whether it does.

References:
    A. J. Sommese, C. W. Wampler, The Numerical Solution of Systems of Polynomials Arising in Engineering and Science,
    World Scientific 2005, doi:10.1142/5763.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from fem_selection.typing import Complexes, Floats

__all__ = ["Roots", "solve_homogeneous"]

_GAMMA = np.exp(0.7318j)
_LONGEST, _SHORTEST = 0.05, 1e-7
_STEPS = 4000
_CORRECTIONS = 3
_ON_PATH = 1e-6  # last Newton step of a point that is on its path
_SAME = 1e-6  # distance of two roots that are one


@dataclass(frozen=True, kw_only=True)
class Roots:
    """Roots of a homogeneous system.

    Attributes:
        points: The regular roots, of unit norm, complex, shape (n, m + 1).
        regularity: The smallest singular value of F' on the complement of each root; ‖F‖ is 1.
        paths: The number d^m of paths.
        singular: The number of paths that do not end at a regular root of their own.
    """

    points: Complexes
    regularity: Floats
    paths: int
    singular: int

    @property
    def is_complete(self) -> bool:
        """Whether the points are all roots."""
        return self.singular == 0


def solve_homogeneous(forms: Floats, *, tolerance: float) -> Roots:
    """All isolated regular roots of F_j(x) = forms[j] x … x, j = 1 … m.

    Args:
        forms: Symmetric tensors, shape (m, m + 1, …, m + 1), with d factors m + 1, d = 2 or 3.
        tolerance: Relative uncertainty of the forms; a root whose derivative has a singular value below a hundred times
            this is not regular.
    """
    m, degree = len(forms), forms.ndim - 1
    sizes = np.sqrt(np.sum(forms.reshape(m, -1) ** 2, axis=1))
    if np.any(sizes == 0):
        return Roots(points=np.zeros((0, m + 1), complex), regularity=np.zeros(0), paths=degree**m, singular=degree**m)
    scaled = forms / sizes.reshape(-1, *[1] * degree)
    starts = np.exp(2j * np.pi * np.array(list(product(range(degree), repeat=m)), float).reshape(-1, m) / degree)
    x = np.column_stack([np.ones(len(starts)), starts]) / np.sqrt(m + 1)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        x = _track(scaled, x.astype(complex))
    paths, x = len(x), x[np.all(np.isfinite(x), axis=1)]
    values, slopes = _evaluate(scaled, x)
    bordered = _bordered(slopes, x)
    smallest = np.linalg.svd(bordered, compute_uv=False)[:, -1]
    residual = np.linalg.norm(values, axis=1)
    regular = (residual < 1e-9) & (smallest > 100 * max(tolerance, 1e-10))
    kept: list[int] = []
    for k in np.flatnonzero(regular).tolist():
        if all(1 - abs(np.vdot(x[k], x[j])) ** 2 > _SAME**2 for j in kept):
            kept.append(k)
    return Roots(points=x[kept], regularity=smallest[kept], paths=paths, singular=paths - len(kept))


def _track(forms: Floats, x: Complexes) -> Complexes:
    """The ends of the paths from the roots of the start system; NaN where a path is lost."""
    count = len(x)
    t, step = np.zeros(count), np.full(count, 0.01)
    alive = np.ones(count, bool)
    for _ in range(_STEPS):
        going = np.flatnonzero(alive & (t < 1))
        if not going.size:
            break
        h = np.minimum(step[going], 1 - t[going])
        ends, size = _step(forms, x[going], t[going], h)
        good = size < _ON_PATH
        x[going[good]], t[going[good]] = ends[good], t[going[good]] + h[good]
        step[going[good]] = np.minimum(1.5 * step[going[good]], _LONGEST)
        step[going[~good]] = 0.3 * h[~good]
        alive[going[step[going] < _SHORTEST]] = False
    x[t < 1] = np.nan
    return x


def _step(forms: Floats, x: Complexes, t: Floats, h: Floats) -> tuple[Complexes, Floats]:
    """A step of Heun's method and Newton corrections; the new points of unit norm, and the last correction's size."""
    first = _velocity(forms, x, t)
    second = _velocity(forms, x + h[:, None] * first, t + h)
    y = x + 0.5 * h[:, None] * (first + second)
    size = np.full(len(x), np.inf)
    for _ in range(_CORRECTIONS):
        y = y / np.linalg.norm(y, axis=1)[:, None]
        value, slope, _ = _homotopy(forms, y, t + h)
        correction = _solve(_bordered(slope, y), np.column_stack([-value, np.zeros(len(y))]))
        y = y + correction
        size = np.linalg.norm(correction, axis=1)
    moved = np.linalg.norm(y - x, axis=1)
    size = np.where(np.isfinite(size) & (moved < 0.3), size, np.inf)
    return y / np.linalg.norm(y, axis=1)[:, None], size


def _velocity(forms: Floats, x: Complexes, t: Floats) -> Complexes:
    _, slope, by_time = _homotopy(forms, x, t)
    return _solve(_bordered(slope, x), np.column_stack([-by_time, np.zeros(len(x))]))


def _homotopy(forms: Floats, x: Complexes, t: Floats) -> tuple[Complexes, Complexes, Complexes]:
    """H, its derivative in x, and its derivative in t."""
    degree = forms.ndim - 1
    value, slope = _evaluate(forms, x)
    begin = x[:, 1:] ** degree - x[:, :1] ** degree
    begin_slope = np.zeros_like(slope)
    rows = np.arange(len(forms))
    begin_slope[:, rows, rows + 1] = degree * x[:, 1:] ** (degree - 1)
    begin_slope[:, :, 0] = -degree * x[:, :1] ** (degree - 1)
    early, late = (_GAMMA * (1 - t))[:, None], t[:, None]
    return (
        early * begin + late * value,
        early[..., None] * begin_slope + late[..., None] * slope,
        value - _GAMMA * begin,
    )


def _evaluate(forms: Floats, x: Complexes) -> tuple[Complexes, Complexes]:
    """F(x), shape (n, m), and F'(x), shape (n, m, m + 1)."""
    if forms.ndim == 3:
        slope = 2 * np.einsum("jab,nb->nja", forms, x)
        return 0.5 * np.einsum("nja,na->nj", slope, x), slope
    slope = 3 * np.einsum("jabc,nb,nc->nja", forms, x, x, optimize=True)
    return np.einsum("nja,na->nj", slope, x) / 3, slope


def _bordered(slope: Complexes, x: Complexes) -> Complexes:
    """[[F'], [xᴴ]]: regular at a regular root, for F' x = d F = 0 there."""
    return np.concatenate([slope, x.conj()[:, None, :]], axis=1)


def _solve(matrix: Complexes, right: Complexes) -> Complexes:
    try:
        return np.asarray(np.linalg.solve(matrix, right[..., None])[..., 0])
    except np.linalg.LinAlgError:  # one of them is singular: those are found one by one
        result = np.full(right.shape, np.nan + 0j)
        for k in range(len(right)):
            if np.linalg.matrix_rank(matrix[k]) == matrix.shape[-1]:
                result[k] = np.linalg.solve(matrix[k], right[k])
        return result
