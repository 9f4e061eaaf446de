# SPDX-License-Identifier: MIT
"""All eigenvalues of a linearization A, from its factors A = U S V* or from its balanced nodal matrix.

The nonzero eigenvalues of U S V* are those of the small matrix S V*U.  An eigenvalue λ may be off by κ ε ‖A‖, κ its
condition and ε the tolerance of the factors; where this is |λ| or more, the pseudospectrum says whether λ is distinct
from 0 (`degenerate`).  If A is truncated to its leading singular triplets, δ = ‖A − A_k‖ takes the place of ε ‖A‖.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from fem_selection.discretization.spaces import StateSpace
from fem_selection.linalg.balanced import balanced_spectrum
from fem_selection.linalg.factors import Factors, missing_norm
from fem_selection.linalg.krylov import by_real_part
from fem_selection.linalg.operators import Operator, products
from fem_selection.linalg.staircase import nullities_at_zero
from fem_selection.steady.stability.degenerate import (
    LEVEL,
    DegeneratePart,
    analyze_degeneracy,
    not_distinct_from_zero,
)
from fem_selection.steady.stability.essential import EssentialSpectrum
from fem_selection.steady.stability.nonnormality import compressed_matrix
from fem_selection.typing import Complexes, Floats

__all__ = ["COSINE", "ON_SPECTRUM", "AllEigenvalues", "eigenvalues_of_factors", "eigenvalues_of_matrix"]

COSINE = 1e-8
"""Cosines between range A and (ker A)^⊥ below this count as zero."""
ON_SPECTRUM = 1e-7
"""Distance, relative to ‖A‖, from the essential spectrum at which an eigenvalue of the matrix belongs to it."""
_NOISE = 1e-6  # of ‖A‖: an eigenvalue of a balanced matrix that is less certain never counts as zero for it


@dataclass(frozen=True, kw_only=True)
class AllEigenvalues:
    """The eigenvalues that differ from zero, by decreasing real part.

    Attributes:
        method: "factors", "truncated factors" or "balanced matrix".
        values: λ, shape (k,).
        uncertainties: How far round-off may move each, shape (k,).
        vectors: Function from places in `values` to the nodal values of right and left eigenfunctions (collective).
        rank: Number of singular values of A above the tolerance; None if A is truncated.
        nullities: Numbers of Jordan blocks of size at least 1, 2, … at 0.
        tolerance: Size, relative to ‖A‖, that counts as zero.
        degenerate: Jordan blocks, and eigenvalues that are not distinct from 0.
        unresolved: ‖A − A_k‖ if A is truncated, else 0.
    """

    method: str
    values: Complexes
    uncertainties: Floats
    vectors: Callable[[list[int]], tuple[Complexes, Complexes]]
    rank: int | None
    nullities: tuple[int, ...]
    tolerance: float
    degenerate: DegeneratePart
    unresolved: float = 0.0


def eigenvalues_of_matrix(
    space: StateSpace, operator: Operator, tolerance: float, *, norm: float, essential: EssentialSpectrum | None
) -> AllEigenvalues:
    """Return the eigenvalues of the balanced nodal matrix (collective over space).

    Args:
        space: The state space.
        operator: A.
        tolerance: Size, relative to ‖A‖, that counts as zero.
        norm: ‖A‖.
        essential: The essential spectrum, whose values are left out; None if it is not known.

    Raises:
        NonFinite: if an entry of the matrix is not finite.
    """
    balanced = balanced_spectrum(space, operator, tolerance, cosine=COSINE)
    values, uncertainties = balanced.values, balanced.uncertainties
    # strong convection may make all eigenvalues uncertain: they do not count as zero then, and the verdict says so
    noise = np.where(uncertainties <= _NOISE * norm, uncertainties, 0.0)
    differs = np.abs(values) > np.maximum(tolerance * norm, noise)
    if essential is not None:
        differs &= ~essential.holds(values, ON_SPECTRUM * norm)
    degenerate = analyze_degeneracy(
        balanced.orthonormal(space),
        values[differs],
        np.minimum(uncertainties, _NOISE * norm)[differs],
        nullities=balanced.nullities,
        norm=norm,
        radius=0.0,
        level=LEVEL * norm,
        zero=tolerance * norm,
        has_rest=False,
    )
    kept = values[differs]
    return AllEigenvalues(
        method="balanced matrix",
        values=kept,
        uncertainties=uncertainties[differs],
        vectors=lambda chosen: (balanced.modes(space, kept[chosen]), balanced.duals(space, kept[chosen])),
        rank=balanced.rank,
        nullities=balanced.nullities,
        tolerance=tolerance,
        degenerate=degenerate,
    )


def eigenvalues_of_factors(
    space: StateSpace, operator: Operator, factors: Factors, *, tolerance: float
) -> AllEigenvalues:
    """Return the eigenvalues of A = U S V*, or of its leading singular triplets (collective over space).

    Args:
        space: The state space.
        operator: A.
        factors: U, S and V.
        tolerance: Size, relative to ‖A‖, that counts as zero.
    """
    norm, is_complete, unresolved = factors.norm, factors.is_complete, 0.0
    values, vectors, left, uncertainties = _small_eigenpairs(space, factors)
    if not is_complete:
        unresolved = missing_norm(space, operator, factors)
        uncertainties = uncertainties * (unresolved / (factors.tolerance * norm))
        tolerance = max(tolerance, unresolved / norm)
    rank, nullities = _structure_at_zero(space, factors, tolerance) if is_complete else (None, ())
    small, has_rest = compressed_matrix(space, factors)
    level = max(LEVEL * norm, unresolved)
    doubtful = (np.abs(values) > tolerance * norm) & (np.abs(values) <= uncertainties)
    doubtful = not_distinct_from_zero(small, values, doubtful, level=level)
    places = np.flatnonzero((np.abs(values) > tolerance * norm) & ~doubtful)
    kept, errors = values[places], uncertainties[places]
    degenerate = analyze_degeneracy(
        small,
        kept,
        errors,
        nullities=nullities,
        norm=norm or 1.0,
        radius=max(float(np.max(np.abs(values[doubtful]), initial=0.0)), unresolved if np.any(doubtful) else 0.0),
        level=level,
        zero=tolerance * norm,
        has_rest=has_rest,
        has_doubt=bool(np.any(np.abs(kept) <= errors)),
    )
    return AllEigenvalues(
        method="factors" if is_complete else "truncated factors",
        values=kept,
        uncertainties=errors,
        vectors=lambda chosen: (factors.left @ vectors[:, places[chosen]], factors.right @ left[:, places[chosen]]),
        rank=rank,
        nullities=nullities,
        tolerance=tolerance,
        degenerate=degenerate,
        unresolved=unresolved,
    )


def _small_eigenpairs(space: StateSpace, factors: Factors) -> tuple[Complexes, Complexes, Complexes, Floats]:
    """Eigenvalues λ of S V*U, its eigenvectors x and S y (U x and V S y are those of A), and κ ε ‖A‖.

    y is the left eigenvector of S V*U, and κ = ‖x‖ ‖S y‖ / (|λ| |y* x|).
    """
    if not factors.values.size:
        nothing = np.zeros((0, 0), complex)
        return np.zeros(0, complex), nothing, nothing, np.zeros(0)
    small = factors.values[:, None] * products(space, factors.right, factors.left)
    values, left, right = scipy.linalg.eig(small, left=True, right=True)
    sizes = np.linalg.norm(right, axis=0) * np.linalg.norm(factors.values[:, None] * left, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        condition = sizes / (np.abs(values) * np.abs(np.einsum("ik,ik->k", left.conj(), right)))
    condition = np.where(np.isfinite(condition), condition, np.inf)
    order = by_real_part(values)
    weighted = factors.values[:, None] * left
    return values[order], right[:, order], weighted[:, order], (condition * factors.tolerance * factors.norm)[order]


def _structure_at_zero(space: StateSpace, factors: Factors, tolerance: float) -> tuple[int, tuple[int, ...]]:
    """The rank of A, and the numbers of its Jordan blocks at 0 of size at least 1, 2, …."""
    rank = factors.rank(tolerance)
    cosines = products(space, factors.right[:, :rank].copy(order="F"), factors.left[:, :rank].copy(order="F"))
    return rank, nullities_at_zero(cosines, factors.values[:rank], space.num_nodes, cosine=COSINE)
