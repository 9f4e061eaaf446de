# SPDX-License-Identifier: MIT
"""Linear operators on V_h: the protocol, the L² adjoint, and products of blocks.

A* = M⁻¹ Aᵀ M,    (A f, g) = (f, A* g)
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
    "products",
    "random_block",
    "sum_over_space",
]


class Operator(Protocol):
    """A linear operator on blocks of nodal values, such as `dynamics.Linearization`."""

    def apply(self, v: Block) -> Block:
        """Return A v."""

    def apply_transpose(self, dual: Block) -> Block:
        """Return Aᵀ d, the transpose in the Euclidean product of nodal values."""


class SymmetricPart:
    """(A + A*)/2 in L²; its largest eigenvalue is the numerical abscissa of A.

    Args:
        space: The state space.
        operator: A.
    """

    def __init__(self, space: StateSpace, operator: Operator) -> None:
        self._space, self._operator = space, operator

    def apply(self, v: Block) -> Block:
        """Return (A v + A* v)/2."""
        return np.asfortranarray(0.5 * (self._operator.apply(v) + adjoint(self._space, self._operator, v)))

    def apply_transpose(self, dual: Block) -> Block:
        """Return M (A + A*)/2 M⁻¹ d, the transpose of this self-adjoint operator."""
        return self._space.apply_mass(self.apply(self._space.riesz(dual)))


class Disturbed:
    """A + E with E = δ (·, e) d, e and d random functions of unit L² norm: a model of the errors in A.

    Args:
        space: The state space.
        operator: A.
        size: δ, the norm of E.
    """

    def __init__(self, space: StateSpace, operator: Operator, size: float) -> None:
        self._space, self._operator, self._size = space, operator, size
        pair = random_block(space, 2, 11)
        self._e, self._d = (np.asfortranarray(c[:, None] / space.norm(c[:, None])) for c in pair.T)

    def apply(self, v: Block) -> Block:
        """Return A v + δ (v, e) d."""
        return np.asfortranarray(self._operator.apply(v) + self._size * self._d @ products(self._space, self._e, v))

    def apply_transpose(self, dual: Block) -> Block:
        """Return Aᵀ q + δ M e (d · q)."""
        parts = sum_over_space(self._space, self._d.T @ dual)
        massed = self._space.apply_mass(self._e)
        return np.asfortranarray(self._operator.apply_transpose(dual) + self._size * massed @ parts)


def adjoint(space: StateSpace, operator: Operator, v: Block) -> Block:
    """Return A* v (collective).

    Args:
        space: The state space.
        operator: A.
        v: Nodal values, shape (num_local, k).
    """
    return space.riesz(operator.apply_transpose(space.apply_mass(v)))


def sum_over_space(space: StateSpace, array: Floats) -> Floats:
    """Return the sum of an array over the ranks of a space (collective).

    It is the same bit for bit on all ranks, so that they decide alike.

    Args:
        space: The state space.
        array: This rank's terms; may be overwritten by the sum.
    """
    if space.comm.size > 1:
        array = np.ascontiguousarray(array)
        space.comm.Allreduce(MPI.IN_PLACE, array)
        space.comm.Bcast(array)
    return array


def products(space: StateSpace, f: Block, g: Block) -> Floats:
    """Return all L² products (f_i, g_j) of the columns of two blocks, shape (k, l) (collective).

    Args:
        space: The state space.
        f: Shape (num_local, k).
        g: Shape (num_local, l).
    """
    return sum_over_space(space, f.T @ space.apply_mass(g))


def random_block(space: StateSpace, columns: int, seed: int, *, first: int = 0) -> Block:
    """Return white noise in L² (exactly so in collocated mode), the same on any partition.

    Args:
        space: The state space.
        columns: Number of functions.
        seed: Another seed gives other functions.
        first: Number of the first function in the seed's sequence.
    """
    numbers = np.arange(first, first + columns)
    draws = hashed_normal(seed, space.canonical[:, None], numbers[None, :])
    return np.asfortranarray(draws / np.sqrt(space.weights)[:, None])
