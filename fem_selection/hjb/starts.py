# SPDX-License-Identifier: MIT
"""Where Newton's method starts in the Hamiltonian of several samples, which has many local minima.

    h(c) = Σ_j p_j σ(s_j) + ½|c|²,   s = c R,   |c_k| ≤ Lip σ Σ_j |p_j| |R_kj|  at a minimum

h is sampled on a grid of that box for Lip σ = 1, finer towards its centre; the lowest of the samples that no neighbour
undercuts are the starts.  With the sets of samples that act alone, c = −(p ∘ χ) Rᵀ, they find what is there unless its
basin is narrower than the grid: for tanh and sine nothing is missed at 400 random points, for tanh(2 s) one minimum.
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
    """First values of c for `minimize_rows`, each of shape (rows, r)."""
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
