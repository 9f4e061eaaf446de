# SPDX-License-Identifier: MIT
"""Jordan structure of one eigenvalue by staircase ranks, and how far a matrix is from having a given eigenvalue.

    n_k = dim ker (A − λ)^k − dim ker (A − λ)^{k−1}  =  number of Jordan blocks of size ≥ k,   n_1 ≥ n_2 ≥ … ≥ n_d > 0

d, the index of λ, is the size of the largest block: e^{tA} grows like t^{d−1} e^{Re λ t}.  Each step splits off the
null space of A − λ and goes on with the matrix in the complement, so that powers are never formed.

At λ = 0 the steps use the singular value decomposition A = U S V*, where small singular values are as good as large
ones: a vector of range A counts as one of ker A if its angle with (ker A)^⊥ is that small, whatever its singular value.
At other λ singular values of A − λ below a tolerance count as zero.

    σ_min(A − z) ≤ δ    ⟺    z is an eigenvalue of A + E for some E of norm δ:  z is in the δ-pseudospectrum

References:
    V. N. Kublanovskaya, On a method of solving the complete eigenvalue problem for a degenerate matrix, USSR Comput.
    Math. Math. Phys. 6 (1966) 1, doi:10.1016/0041-5553(66)90001-1.
    G. H. Golub, J. H. Wilkinson, Ill-conditioned eigensystems and the computation of the Jordan canonical form, SIAM
    Review 18 (1976) 578, doi:10.1137/1018113.
    L. N. Trefethen, M. Embree, Spectra and Pseudospectra, Princeton 2005.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg

from fem_selection.typing import Complexes, Floats

__all__ = ["DEEPEST", "distance_from_singular", "nullities_at", "nullities_at_zero"]


DEEPEST = 32
"""The staircase at 0 ends after so many steps: matrices of integral operators may have as many as there are nodes."""


def nullities_at_zero(cosines: Floats, values: Floats, num_nodes: int, *, cosine: float) -> tuple[int, ...]:
    """Return n_1, …, n_d of the eigenvalue 0 of A = U S V*, d ≤ 32 (`DEEPEST`); empty if A has no null space.

    Args:
        cosines: V*U, shape (r, r), of the singular vectors that count.
        values: Their singular values, shape (r,).
        num_nodes: N, the order of A.
        cosine: Singular values of V*U below this count as zero.
    """
    rank = len(values)
    found = [num_nodes - rank] if rank < num_nodes else []
    factor = np.diag(values)  # the matrix that is left is C X with invertible X
    while rank and len(found) < DEEPEST:
        left, sizes, right = np.linalg.svd(cosines)
        kept = int(np.sum(sizes > cosine))
        if kept == rank:
            break
        found.append(rank - kept)
        coimage, triangle = np.linalg.qr(factor.T @ (right[:kept].T * sizes[:kept]))
        cosines, factor, rank = coimage.T @ left[:, :kept], triangle.T, kept
    return tuple(found)


def nullities_at(matrix: Floats, value: complex, *, tolerance: float, most: int) -> tuple[int, ...]:
    """Return n_1, …, n_d of an eigenvalue λ of a matrix; empty if A − λ is not singular to the tolerance.

    Args:
        matrix: A, shape (n, n), in an orthonormal basis.
        value: λ.
        tolerance: Singular values of A − λ up to this count as zero.
        most: The number of eigenvalues that belong to λ; the steps end when so many are found.
    """
    rest: Complexes = matrix - value * np.eye(len(matrix))
    found: list[int] = []
    while len(rest) and sum(found) < most:
        _, sizes, right = np.linalg.svd(rest)
        kept = int(np.sum(sizes > tolerance))
        if kept == len(rest):
            break
        found.append(len(rest) - kept)
        coimage = right[:kept].conj().T
        rest = coimage.conj().T @ rest @ coimage
    return tuple(found)


def distance_from_singular(matrix: Floats, point: complex) -> float:
    """Return σ_min(A − z): the norm of the least E for which z is an eigenvalue of A + E.

    Args:
        matrix: A, shape (n, n), in an orthonormal basis.
        point: z.
    """
    if not len(matrix):
        return float("inf")
    shift = point if complex(point).imag else complex(point).real
    return float(scipy.linalg.svdvals(matrix - shift * np.eye(len(matrix)))[-1])
