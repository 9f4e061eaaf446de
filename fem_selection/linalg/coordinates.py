# SPDX-License-Identifier: MIT
"""Coordinates of V_h in which the L² inner product is the Euclidean one, and operators on V_h in them.

    x = Q f,   Qᵀ Q = M,   |x| = ‖f‖,   f = Q⁺ x = M⁻¹ Qᵀ x

In collocated mode Q = m^{1/2}; in Galerkin mode Q = ω^{1/2} B, with B the basis at the quadrature points and ω their
weights, which embeds V_h isometrically into a larger space.  An operator A on nodal values becomes

    Â = Q A Q⁺,   Âᵀ = Q M⁻¹ Aᵀ Qᵀ

so that the Euclidean transpose of Â is the L² adjoint of A, the singular values of Â are those of A in L², and a
solution of minimal Euclidean norm has minimal L² norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

from fem_selection.discretization.numbering import hashed_normal
from fem_selection.discretization.quadrature.points import QuadraturePoints
from fem_selection.discretization.spaces import StateSpace
from fem_selection.linalg.operators import Operator
from fem_selection.petsc import create_shell
from fem_selection.typing import Block, Floats

__all__ = ["HasAdjoint", "IsometricCoordinates", "IsometricOperator"]


class HasAdjoint(Protocol):
    """A linear map of blocks of coordinates, and its transpose."""

    def apply(self, x: Block) -> Block:
        """Return Â x."""

    def apply_adjoint(self, x: Block) -> Block:
        """Return Âᵀ x."""


class IsometricCoordinates:
    """x = Q f for the functions of a state space.

    Args:
        space: V_h.

    Attributes:
        weights: m or ω, positive, shape (num_local,).
        num_local: Entries of x on this rank: its nodes, or the quadrature points of its cells in Galerkin mode.
        num_global: The same over all ranks.

    Note:
        Blocks of x have shape (num_local, k), of nodal values (space.num_local, k).  All methods are collective.
    """

    def __init__(self, space: StateSpace) -> None:
        self.space = space
        self.weights = space.weights
        self._points: QuadraturePoints | None = None
        if not space.is_collocated:
            self._points = QuadraturePoints(space)
            self.weights = self._points.weights
        self.root = np.sqrt(self.weights)[:, None]
        self.num_local = self.weights.size
        self.num_global = int(space.comm.allreduce(self.num_local))

    def at_points(self, f: Block) -> Block:
        """Return the values of f where σ is evaluated: at the nodes, or at the quadrature points."""
        return f if self._points is None else self._points.values(np.asfortranarray(f))

    def to_euclidean(self, f: Block) -> Block:
        """Return Q f."""
        return np.asfortranarray(self.root * self.at_points(f))

    def to_function(self, x: Block) -> Block:
        """Return Q⁺ x, the nodal values of the function nearest to x."""
        return np.asfortranarray(x / self.root) if self._points is None else self.space.riesz(self.to_dual(x))

    def to_dual(self, x: Block) -> Block:
        """Return Qᵀ x, the duals ⟨x, Q φ_i⟩."""
        if self._points is None:
            return np.asfortranarray(self.root * x)
        result = self.space.create_block(x.shape[1])
        self._points.integrate(np.asfortranarray(x / self.root), result)
        return result

    def random(self, seed: int) -> Block:
        """Return the coordinates of a function with normally distributed nodal values, the same on any partition."""
        return self.to_euclidean(np.asfortranarray(hashed_normal(seed, self.space.canonical)[:, None]))

    def inner(self, x: Floats, y: Floats) -> float:
        """Return Σ x_i y_i over all entries and ranks; the L² inner product of the functions.

        Args:
            x: Coordinates of a function or of several, any shape.
            y: Likewise, of the same shape.
        """
        return float(self.space.comm.allreduce(float(np.vdot(x, y)), op=MPI.SUM))

    def norm(self, x: Floats) -> float:
        """Return |x|, which is the L² norm of the function."""
        return float(np.sqrt(self.inner(x, x)))

    def products(self, x: Block, y: Block) -> Floats:
        """Return all inner products xᵀ y of the columns of two blocks, shape (k, l).

        Args:
            x: Shape (num_local, k).
            y: Shape (num_local, l).
        """
        result = np.ascontiguousarray(x.T @ y)
        self.space.comm.Allreduce(MPI.IN_PLACE, result)
        return result

    def create_vector(self, x: Floats | None = None) -> PETSc.Vec:
        """Return a PETSc vector of coordinates; the caller destroys it."""
        vector = PETSc.Vec().createMPI((self.num_local, self.num_global), comm=self.space.comm)
        if x is not None:
            vector.array[:] = x.ravel()
        return vector

    def create_matrix(self, operator: HasAdjoint) -> PETSc.Mat:
        """Return a shell matrix of an operator; the caller destroys it."""

        def apply(x: Floats, y: Floats) -> None:
            y[:] = operator.apply(x[:, None])[:, 0]

        def apply_transpose(x: Floats, y: Floats) -> None:
            y[:] = operator.apply_adjoint(x[:, None])[:, 0]

        return create_shell(self.space.comm, self.num_local, apply, apply_transpose=apply_transpose)


@dataclass(frozen=True)
class IsometricOperator:
    """A linear operator on V_h in isometric coordinates.

    Attributes:
        coordinates: x = Q f.
        operator: A on nodal values.
    """

    coordinates: IsometricCoordinates
    operator: Operator

    def apply(self, x: Block) -> Block:
        """Return Â x."""
        c = self.coordinates
        return c.to_euclidean(self.operator.apply(c.to_function(x)))

    def apply_adjoint(self, x: Block) -> Block:
        """Return Âᵀ x, the coordinates of A* f."""
        c = self.coordinates
        return c.to_euclidean(c.space.riesz(self.operator.apply_transpose(c.to_dual(x))))
