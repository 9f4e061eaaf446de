# SPDX-License-Identifier: MIT
"""All eigenvalues of an operator with a local part, from its matrix of nodal values.

Convection makes A far from normal: with diffusion d and speed c, A is similar to a symmetric matrix by a diagonal one
whose entries run from 1 to e^{c/2d}.  The error of an eigenvalue computed in L² may then be e^{c/2d} ε ‖A‖, so large
that the eigenvalue is useless.  So the eigenvalues are computed of

    B = D⁻¹ A D,   D = diag(e^{x_i}),   x = argmin Σ_{i≠j} a_ij² e^{2 (x_j − x_i)},

with the diagonal of the least Frobenius norm.  If there is a normal B, it has that norm: Σ|λ|² is a lower bound.  The
minimisation is convex and solved by Newton's method; LAPACK's balancing, which goes through the rows in turn, would
need as many sweeps as there are nodes between the ends of Y.  With B u = λ u, v* B = λ v*,

    A (D u) = λ (D u),     |error of λ| ≲ κ ε ‖B‖,   κ = ‖u‖ ‖v‖ / |v* u|

and the Jordan structure of A at 0 is that of B.  In the minimisation an |a_ij| counts as at least 10⁻⁴ |a_ji|: for a
triangular matrix there would be no least sum, and a D that makes entries negligible beside others changes the numerical
rank.

References:
    E. E. Osborne, On pre-conditioning of matrices, J. ACM 7 (1960) 338, doi:10.1145/321043.321048.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from fem_selection.discretization.numbering import hashed_normal
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import NonFinite
from fem_selection.linalg.krylov import by_real_part
from fem_selection.linalg.operators import Operator
from fem_selection.linalg.staircase import nullities_at_zero
from fem_selection.typing import Block, Complexes, Floats, create_block

__all__ = ["BalancedSpectrum", "balanced_spectrum", "balancing_exponents", "nodal_matrix"]

_COLUMNS = 64
_EPSILON = float(np.finfo(float).eps)
_NEWTON_STEPS = 200
_ONE_SIDED = 1e-4  # |a_ij| counts as at least this times |a_ji|
_RIDGE = 1e-10  # makes the Hessian definite: adding a constant to x, on each connected part of Y, changes nothing
_BALANCED = 1e-2  # largest difference of a row's and its column's sum, relative to the mean


@dataclass(frozen=True)
class BalancedSpectrum:
    """All eigenvalues of an operator, with error bounds and ranks.

    Attributes:
        matrix: A in nodal values, in canonical order.
        values: λ, shape (N,), by decreasing real part.
        uncertainties: κ ε ‖B‖ of each eigenvalue, at most ‖B‖.
        rank: Number of singular values of B above the tolerance times the largest.
        nullities: Numbers of Jordan blocks of B at 0 of size at least 1, 2, …, from cosines between the range of B and
            the complement of its kernel.
    """

    matrix: Floats
    values: Complexes
    uncertainties: Floats
    rank: int
    nullities: tuple[int, ...]

    @property
    def rank_of_square(self) -> int:
        """The rank of B²."""
        return self.rank - (self.nullities[1] if len(self.nullities) > 1 else 0)

    def orthonormal(self, space: StateSpace) -> Floats:
        """Return the matrix of A in coordinates in which the L² product (lumped in Galerkin mode) is Euclidean.

        Collective.
        """
        root = np.sqrt(space.gather(np.asfortranarray(space.weights[:, None]))[:, 0])
        return root[:, None] * self.matrix / root

    def modes(self, space: StateSpace, values: Complexes) -> Complexes:
        """Return eigenfunctions, complex and of any length, shape (num_local, k) (collective).

        They are found by inverse iteration with A itself, because D times an eigenvector of B has a large residual if D
        varies much.

        Args:
            space: The state space.
            values: The k eigenvalues.
        """
        modes = _iterate_inversely(self.matrix, values) if space.comm.rank == 0 else None
        return space.comm.bcast(modes)[space.canonical]

    def duals(self, space: StateSpace, values: Complexes) -> Complexes:
        """Return left eigenfunctions w, A* w = λ̄ w in L², complex and of any length, shape (num_local, k) (collective).

        Args:
            space: The state space.
            values: The k eigenvalues.
        """
        rows = _iterate_inversely(self.matrix.T, values) if space.comm.rank == 0 else None
        own = space.comm.bcast(rows)[space.canonical]
        parts = space.riesz(np.asfortranarray(np.hstack([own.real, -own.imag])))
        return parts[:, : len(values)] + 1j * parts[:, len(values) :]


def nodal_matrix(space: StateSpace, operator: Operator) -> Floats:
    """Return the matrix of A in nodal values, rows and columns in canonical order, on every rank (collective).

    Args:
        space: The state space.
        operator: A.
    """
    parts = []
    for first in range(0, space.num_nodes, _COLUMNS):
        numbers = np.arange(first, min(first + _COLUMNS, space.num_nodes))
        unit: Block = create_block(space.num_local, len(numbers))
        unit[...] = space.canonical[:, None] == numbers[None, :]
        parts.append(space.gather(operator.apply(unit)))
    return np.concatenate(parts, axis=1)


def balanced_spectrum(space: StateSpace, operator: Operator, tolerance: float, *, cosine: float) -> BalancedSpectrum:
    """Return the spectrum of an operator on few nodes (collective).

    Args:
        space: The state space.
        operator: A.
        tolerance: Singular values below this part of the largest count as zero.
        cosine: Cosines between the range of B and the complement of its kernel below this count as zero.

    Raises:
        NonFinite: if an entry of the matrix of A is not finite.
    """
    matrix = nodal_matrix(space, operator)
    found = None
    if space.comm.rank == 0:  # on one rank, so that all ranks decide alike
        found = _solve(matrix, tolerance, cosine) if np.all(np.isfinite(matrix)) else None
    found = space.comm.bcast(found)
    if found is None:
        raise NonFinite("the linearization")
    return found


def _solve(matrix: Floats, tolerance: float, cosine: float) -> BalancedSpectrum:
    exponents = balancing_exponents(matrix)
    balanced = _scaled(matrix, exponents)
    values, v, u = scipy.linalg.eig(balanced, left=True, right=True)
    left, sizes, right = np.linalg.svd(balanced)
    with np.errstate(divide="ignore"):  # LAPACK's vectors have unit length
        condition = 1.0 / np.abs(np.einsum("ik,ik->k", v.conj(), u))
    order = by_real_part(values)
    rank = int(np.sum(sizes > tolerance * sizes[0]))
    uncertainties = np.minimum(condition[order] * _EPSILON, 1.0) * sizes[0]
    return BalancedSpectrum(
        matrix=matrix,
        values=values[order],
        uncertainties=uncertainties,
        rank=rank,
        nullities=nullities_at_zero(right[:rank] @ left[:, :rank], sizes[:rank], len(matrix), cosine=cosine),
    )


def _iterate_inversely(matrix: Floats, values: Complexes) -> Complexes:
    """Vectors with (A − λ) v near zero.

    Each starts from its own random numbers, so the vectors of equal eigenvalues differ.
    """
    modes = np.zeros((len(matrix), len(values)), complex)
    starts = hashed_normal(3, np.arange(len(matrix))[:, None], np.arange(len(values))[None, :])
    for k, value in enumerate(values):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)  # the matrix is meant to be singular
            lu, pivots = scipy.linalg.lu_factor(matrix - value * np.eye(len(matrix)))
        ends = np.flatnonzero(np.diagonal(lu) == 0.0)
        lu[ends, ends] = _EPSILON * np.linalg.norm(matrix, 1)
        v = starts[:, k].astype(complex)
        for _ in range(3):
            v = scipy.linalg.lu_solve((lu, pivots), v)
            v /= np.max(np.abs(v))
        modes[:, k] = v if value.imag else v.real
    return modes


def balancing_exponents(matrix: Floats) -> Floats:
    """Return the x with mean zero for which Σ_{i≠j} a_ij² e^{2 (x_j − x_i)} is least, by Newton's method."""
    n = len(matrix)
    squares = np.maximum(matrix**2, (_ONE_SIDED * matrix.T) ** 2)
    np.fill_diagonal(squares, 0.0)
    with np.errstate(divide="ignore"):
        logarithms = np.log(squares)
    best = np.zeros(n)

    def terms(x: Floats) -> Floats:
        with np.errstate(over="ignore"):
            return np.exp(logarithms + 2.0 * (x[None, :] - x[:, None]))

    now = terms(best)
    for _ in range(_NEWTON_STEPS):
        rows, columns, total = now.sum(axis=1), now.sum(axis=0), now.sum()
        if np.max(np.abs(columns - rows), initial=0.0) <= _BALANCED * total / n:
            break
        hessian = np.diag(rows + columns + _RIDGE * total / n) - now - now.T
        step = 0.5 * scipy.linalg.solve(hessian, rows - columns, assume_a="pos")
        while (moved := terms(best + step)).sum() > total:
            step *= 0.5
            if np.max(np.abs(step)) < 1e-3:
                return best
        best, now = best + step, moved
    return best - best.mean()


def _scaled(matrix: Floats, exponents: Floats) -> Floats:
    """D⁻¹ A D, computed so that large entries of D do not overflow where A is zero."""
    with np.errstate(divide="ignore"):
        sizes = np.exp(np.log(np.abs(matrix)) + exponents[None, :] - exponents[:, None])
    return np.copysign(sizes, matrix)
