# SPDX-License-Identifier: MIT
"""Linear operators on V_h: what the instruments ask of one, its L² adjoint, and orthonormal blocks.

A* = M⁻¹ Aᵀ M,    (A f, g) = (f, A* g)        Y = Q R,  (Q_i, Q_j) = δ_ij
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from mpi4py import MPI

from fem_selection.discretization.numbering import hashed_normal
from fem_selection.discretization.spaces import StateSpace
from fem_selection.typing import Block, Floats

__all__ = [
    "Disturbed",
    "Operator",
    "SymmetricPart",
    "adjoint",
    "orthonormalize",
    "products",
    "random_block",
    "sum_over_space",
]


class Operator(Protocol):
    """A linear operator on blocks of nodal values, as `dynamics.Linearization` is one."""

    def apply(self, v: Block) -> Block:
        """A v."""

    def apply_transpose(self, dual: Block) -> Block:
        """Aᵀ d, the transpose in the Euclidean product of nodal values."""


class SymmetricPart:
    """(A + A*)/2 in L²; its largest eigenvalue is the numerical abscissa of A."""

    def __init__(self, space: StateSpace, operator: Operator) -> None:
        self._space, self._operator = space, operator

    def apply(self, v: Block) -> Block:
        """(A v + A* v)/2."""
        return np.asfortranarray(0.5 * (self._operator.apply(v) + adjoint(self._space, self._operator, v)))

    def apply_transpose(self, dual: Block) -> Block:
        """The operator is self-adjoint: its transpose is M (A + A*)/2 M⁻¹."""
        return self._space.apply_mass(self.apply(self._space.riesz(dual)))


class Disturbed:
    """A + E with E = δ (·, e) d, e and d random functions of unit L² norm: what errors may make of A."""

    def __init__(self, space: StateSpace, operator: Operator, size: float) -> None:
        self._space, self._operator, self._size = space, operator, size
        pair = random_block(space, 2, 11)
        self._e, self._d = (np.asfortranarray(c[:, None] / space.norm(c[:, None])) for c in pair.T)

    def apply(self, v: Block) -> Block:
        """A v + δ (v, e) d."""
        return np.asfortranarray(self._operator.apply(v) + self._size * self._d @ products(self._space, self._e, v))

    def apply_transpose(self, dual: Block) -> Block:
        """Aᵀ q + δ M e (d · q)."""
        parts = sum_over_space(self._space, self._d.T @ dual)
        massed = self._space.apply_mass(self._e)
        return np.asfortranarray(self._operator.apply_transpose(dual) + self._size * massed @ parts)


def adjoint(space: StateSpace, operator: Operator, v: Block) -> Block:
    """A* v (collective)."""
    return space.riesz(operator.apply_transpose(space.apply_mass(v)))


def sum_over_space(space: StateSpace, array: Floats) -> Floats:
    """The sum over the ranks of a space, bit for bit the same on all, so that they decide alike (collective)."""
    if space.comm.size > 1:
        array = np.ascontiguousarray(array)
        space.comm.Allreduce(MPI.IN_PLACE, array)
        space.comm.Bcast(array)
    return array


def products(space: StateSpace, f: Block, g: Block) -> Floats:
    """All L² products (f_i, g_j) of the columns of two blocks (collective)."""
    return sum_over_space(space, f.T @ space.apply_mass(g))


def random_block(space: StateSpace, columns: int, seed: int, first: int = 0) -> Block:
    """White noise in L² (exactly so in collocated mode), the same on any partition."""
    numbers = np.arange(first, first + columns)
    draws = hashed_normal(seed, space.canonical[:, None], numbers[None, :])
    return np.asfortranarray(draws / np.sqrt(space.weights)[:, None])


def orthonormalize(space: StateSpace, block: Block) -> tuple[Block, Floats]:
    """The QR factors of a block in L², or of a stack of blocks.

    Householder's QR on each rank and once more of the triangles, in the product of the nodal weights, so that columns
    that nearly depend on each other do no harm; in Galerkin mode a Cholesky factor of the well-conditioned rest.

    Args:
        space: The state space.
        block: Y, shape (…, num_local, k), k ≤ N.

    Returns:
        Q, shape (…, num_local, k), with L²-orthonormal columns, and R, upper triangular with a diagonal ≥ 0, shape
        (…, k, k).

    Note:
        Collective: one message of k² numbers from each rank.
    """
    root = np.sqrt(space.weights)[:, None]
    q, r = np.linalg.qr(root * block)
    if space.comm.size > 1:
        parts = space.comm.allgather(r)
        again, r = np.linalg.qr(np.concatenate(parts, axis=-2))
        first = sum(part.shape[-2] for part in parts[: space.comm.rank])
        q = q @ again[..., first : first + parts[space.comm.rank].shape[-2], :]
    signs = np.where(np.diagonal(r, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    q, r = q * (signs[..., None, :] / root), r * signs[..., :, None]
    if not space.is_collocated:
        flat = np.asfortranarray(np.moveaxis(q, -2, 0).reshape(space.num_local, -1))
        massed = np.moveaxis(space.apply_mass(flat).reshape(space.num_local, *q.shape[:-2], q.shape[-1]), 0, -2)
        lower = np.linalg.cholesky(sum_over_space(space, np.swapaxes(q, -1, -2) @ massed))
        upper = np.swapaxes(lower, -1, -2)
        q, r = np.swapaxes(np.linalg.solve(lower, np.swapaxes(q, -1, -2)), -1, -2), upper @ r
    return (np.asfortranarray(q) if q.ndim == 2 else q), r
