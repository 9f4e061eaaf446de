# SPDX-License-Identifier: MIT
"""Starts of Newton's method for the Hamiltonian of several samples, which has many local minima.

    h(c) = Σ_j p_j σ(s_j) + ½|c|²,   s = c R,   |c_k| ≤ Lip σ Σ_j |p_j| |R_kj|  at a minimum

h is evaluated on a grid in this box (taken for Lip σ = 1), finer towards its centre; the lowest of the grid's local
minima are starts.  Further starts are c = −(p ∘ χ) Rᵀ, where χ selects a subset of the samples.  Together they find
every local minimum whose basin is not narrower than the grid: at 400 random points they miss none for tanh and sine,
and one minimum for tanh(2 s).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from fem_selection.adjoint.pointwise import OwnMaps, RowProblem
from fem_selection.typing import Floats

__all__ = ["find_starts"]

_POINTS = 15  # in each direction
_KEPT = 4
_CHUNK = 1024  # rows at a time


def find_starts(problem: RowProblem, maps: OwnMaps) -> Iterator[Floats]:
    """Yield first values of c for `minimize_rows`, each of shape (rows, r).

    Args:
        problem: The functions h of the rows.
        maps: The maps c ↦ c R of the same rows.
    """
    everything = np.arange(len(problem.p))
    for chosen in product((0.0, 1.0), repeat=problem.p.shape[1]):
        yield maps.transpose(-problem.p * np.asarray(chosen), everything)
    samples = np.concatenate(
        [_sample(problem, maps, everything[k : k + _CHUNK]) for k in range(0, len(everything), _CHUNK)]
    )
    yield from np.moveaxis(samples, 1, 0)


def _sample(problem: RowProblem, maps: OwnMaps, rows: np.ndarray) -> Floats:
    """The lowest of the grid's local minima in some rows, shape (rows, kept, r)."""
    t, r = np.linspace(-1.0, 1.0, _POINTS), maps.size
    points = np.stack(np.meshgrid(*(t * np.abs(t),) * r, indexing="ij"), axis=-1).reshape(-1, r)
    reach = 1.05 * np.einsum("nj,nrj->nr", np.abs(problem.p[rows]), np.abs(maps.matrices[rows]))
    c = points * reach[:, None, :]
    s = np.einsum("ngr,nrj->ngj", c, maps.matrices[rows])
    sigma = np.empty_like(s)
    problem.activation.value(s, sigma)
    value = np.einsum("nj,ngj->ng", problem.p[rows], sigma) + 0.5 * np.einsum("ngr,ngr->ng", c, c)
    grid = value.reshape(len(rows), *(_POINTS,) * r)
    is_low = np.ones(grid.shape, dtype=bool)
    for axis in range(1, r + 1):
        ahead = np.diff(grid, axis=axis)
        edge = [(0, 0)] * (r + 1)
        for side, falls in (((0, 1), ahead < 0), ((1, 0), ahead > 0)):
            edge[axis] = side
            is_low &= ~np.pad(falls, edge)
    order = np.argsort(np.where(is_low.reshape(value.shape), value, np.inf), axis=1, kind="stable")[:, :_KEPT]
    result: Floats = np.take_along_axis(c, order[:, :, None], axis=1)
    return result
