# SPDX-License-Identifier: MIT
"""Linear algebra in the inner product of L²(Y): blocks, operators, coordinates, factorizations, eigenvalues."""

from __future__ import annotations

from fem_selection.lazy import attach

_HOMES = {
    "BalancedSpectrum": "balanced",
    "Disturbed": "operators",
    "Eigenpairs": "krylov",
    "End": "eigensolver",
    "Factorization": "compression",
    "Factors": "factors",
    "HasAdjoint": "coordinates",
    "Inverse": "krylov",
    "InverseRoot": "inverse_root",
    "IsometricCoordinates": "coordinates",
    "IsometricOperator": "coordinates",
    "Limits": "eigensolver",
    "MAX_RANK": "factors",
    "Metric": "eigensolver",
    "Operator": "operators",
    "RESTARTS_BEFORE": "krylov",
    "Resolvents": "krylov",
    "SingularExpansion": "singular",
    "SymmetricPart": "operators",
    "Truncation": "compression",
    "add_product": "blas",
    "add_scaled": "blas",
    "adjoint": "operators",
    "balanced_spectrum": "balanced",
    "balancing_exponents": "balanced",
    "by_real_part": "krylov",
    "compress": "compression",
    "distance_from_singular": "staircase",
    "expand": "singular",
    "extend_basis": "orthonormal",
    "factorize": "factors",
    "find_range": "ranges",
    "general_eigenpairs": "eigensolver",
    "leading_by_resolvent": "krylov",
    "leading_eigenpairs": "krylov",
    "missing_norm": "factors",
    "nodal_matrix": "balanced",
    "normalize_modes": "krylov",
    "nullities_at": "staircase",
    "nullities_at_zero": "staircase",
    "operator_norm": "norms",
    "orthonormal_basis": "orthonormal",
    "orthonormal_directions": "orthonormal",
    "orthonormalize": "orthonormal",
    "outside_of": "orthonormal",
    "products": "operators",
    "qr_over_ranks": "orthonormal",
    "random_block": "operators",
    "residual_norms": "krylov",
    "singular_directions": "orthonormal",
    "skew_part_norm": "norms",
    "sum_over_space": "operators",
    "symmetric_eigenpairs": "eigensolver",
    "symmetric_part": "inverse_root",
    "symmetric_part_maximum": "norms",
    "truncate": "compression",
}

__all__ = list(_HOMES)

__getattr__, __dir__ = attach(__name__, _HOMES)
