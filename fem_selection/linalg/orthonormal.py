# SPDX-License-Identifier: MIT
"""Blocks with orthonormal columns in L²(Y), on any number of ranks.

    Y = Q R,   (Q_i, Q_j) = δ_ij          Y = Q diag(s) V,   V Vᵀ = 1,   s_1 ≥ s_2 ≥ …

The QR factors are computed by Householder's method on each rank and once more for the stacked triangles, in the product
of the nodal weights, so that nearly dependent columns do no harm.  In Galerkin mode a Cholesky factorization of the
remaining, well-conditioned Gram matrix follows.

References:
    J. Demmel, L. Grigori, M. Hoemmen, J. Langou, SIAM J. Sci. Comput. 34 (2012) A206, doi:10.1137/080731992 (the QR of
    stacked triangles).
"""

from __future__ import annotations

import numpy as np
from mpi4py import MPI

from fem_selection.discretization.spaces import StateSpace
from fem_selection.linalg.operators import products, sum_over_space
from fem_selection.typing import Block, Floats, create_block

__all__ = [
    "extend_basis",
    "orthonormal_basis",
    "orthonormal_directions",
    "orthonormalize",
    "outside_of",
    "qr_over_ranks",
    "singular_directions",
]


def qr_over_ranks(comm: MPI.Comm, block: Floats) -> tuple[Floats, Floats]:
    """Return the Euclidean QR factors of a block, or of a stack of blocks, whose rows lie on all ranks (collective).

    Args:
        comm: Ranks that hold the rows.
        block: This rank's rows, shape (…, num_local, k).

    Returns:
        This rank's rows of Q and all of R, which is upper triangular, with diagonal entries of any sign.
    """
    q, r = np.linalg.qr(block)
    if comm.size > 1:
        parts = comm.allgather(r)
        again, r = np.linalg.qr(np.concatenate(parts, axis=-2))
        first = sum(part.shape[-2] for part in parts[: comm.rank])
        q = q @ again[..., first : first + parts[comm.rank].shape[-2], :]
    return q, r


def orthonormalize(space: StateSpace, block: Block) -> tuple[Block, Floats]:
    """Return the QR factors of a block in L², or of a stack of blocks.

    Args:
        space: The state space.
        block: Y, shape (…, num_local, k).

    Returns:
        Q, shape (…, num_local, r), with L²-orthonormal columns, and R, shape (…, r, k), upper triangular with a
        diagonal ≥ 0; r = min(k, N).

    Note:
        Collective: one message of k² numbers from each rank.
    """
    root = np.sqrt(space.weights)[:, None]
    q, r = qr_over_ranks(space.comm, root * block)
    signs = np.where(np.diagonal(r, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    q, r = q * (signs[..., None, :] / root), r * signs[..., :, None]
    if not space.is_collocated and q.shape[-1]:
        flat = np.asfortranarray(np.moveaxis(q, -2, 0).reshape(space.num_local, -1))
        massed = np.moveaxis(space.apply_mass(flat).reshape(space.num_local, *q.shape[:-2], q.shape[-1]), 0, -2)
        lower = np.linalg.cholesky(sum_over_space(space, np.swapaxes(q, -1, -2) @ massed))
        upper = np.swapaxes(lower, -1, -2)
        q, r = np.swapaxes(np.linalg.solve(lower, np.swapaxes(q, -1, -2)), -1, -2), upper @ r
    return (np.asfortranarray(q) if q.ndim == 2 else q), r


def singular_directions(space: StateSpace, block: Block) -> tuple[Block, Floats, Floats]:
    """Return the singular value decomposition of a block in L²: Q, s and V with Y = Q diag(s) V (collective).

    Args:
        space: The state space.
        block: Y, shape (num_local, k).

    Returns:
        Q, shape (num_local, r), with L²-orthonormal columns, s, decreasing, shape (r,), and V, shape (r, k), with
        orthonormal rows; r = min(k, N).
    """
    q, r = orthonormalize(space, block)
    u, values, v = np.linalg.svd(r, full_matrices=False)
    return np.asfortranarray(q @ u), values, v


def orthonormal_directions(space: StateSpace, block: Block, tolerance: float) -> tuple[Block, Floats]:
    """Return Q and R with Y = Q R, up to directions below a tolerance, which are left out (collective).

    Args:
        space: The state space.
        block: Y, shape (num_local, k).
        tolerance: Directions whose singular values are at most this part of the largest are left out.

    Returns:
        Q, shape (num_local, r), with L²-orthonormal columns, and R, shape (r, k), with orthogonal rows; r ≤ k.
    """
    q, values, v = singular_directions(space, block)
    kept = values > tolerance * np.max(values, initial=0.0)
    return np.asfortranarray(q[:, kept]), values[kept, None] * v[kept]


def outside_of(space: StateSpace, basis: Block, block: Block) -> Block:
    """Return a block minus its projection on the span of a basis (collective).

    Args:
        space: The state space.
        basis: L²-orthonormal columns, shape (num_local, r).
        block: Shape (num_local, k).
    """
    if not basis.shape[1] or not block.shape[1]:
        return block
    return np.asfortranarray(block - basis @ products(space, basis, block))


def orthonormal_basis(space: StateSpace, blocks: list[Block], tolerance: float) -> Block:
    """Return an orthonormal basis of the span of the columns of several blocks.

    Args:
        space: The state space.
        blocks: Each of shape (num_local, k).
        tolerance: Directions whose singular values are at most this part of the largest so far are left out.

    Note:
        Collective.  The columns' lengths count: a short column is a direction of little weight.
    """
    basis, largest = create_block(space.num_local, 0), 0.0
    for block in blocks:
        if block.shape[1]:
            basis, largest, _ = extend_basis(space, basis, block, tolerance=tolerance, largest=largest)
    return basis


def extend_basis(
    space: StateSpace, basis: Block, block: Block, *, tolerance: float, largest: float
) -> tuple[Block, float, int]:
    """Return a basis, extended by the directions of a block that are not in its span (collective).

    Args:
        space: The state space.
        basis: L²-orthonormal columns, shape (num_local, r); they stay the first ones.
        block: Shape (num_local, k).
        tolerance: Directions whose singular values are at most this part of the largest are left out.
        largest: The largest singular value so far; 0 at first.

    Returns:
        The basis, the largest singular value so far, and the number of directions that were added.
    """
    rest = outside_of(space, basis, outside_of(space, basis, block))  # twice: the first time leaves round-off
    new, values, _ = singular_directions(space, rest)
    largest = max(largest, float(values[0]))
    kept = min(int(np.sum(values > tolerance * largest)), space.num_nodes - basis.shape[1])
    fresh, _ = orthonormalize(space, outside_of(space, basis, np.asfortranarray(new[:, :kept])))
    return np.asfortranarray(np.concatenate([basis, fresh], axis=1)), largest, kept
