# SPDX-License-Identifier: MIT
"""`InverseRoot`: the inverse square root of a Gram matrix, its derivative, the transpose of that, and its second one.

    P = S^{-1/2},   S = G + μ² (G + μ I)⁻¹,   μ = ε tr G / r,   r the number of rows

An eigenvalue λ of G becomes λ + μ²/(λ + μ): that is λ up to the square of μ/λ where functions are independent, and μ,
with slope zero, where they depend on each other.  (G + μ I would change independent ones by μ/λ itself, and pass the
round-off of zero eigenvalues on.)  The derivatives are those of this very P, the trace included.  In the eigenbasis of
G, with eigenvalues λ_i, ρ_i the roots of those of S, κ_i = 1/(λ_i + μ):

    δS_ij = (1 − μ² κ_i κ_j) δG_ij + δμ (2 μ κ_i − μ² κ_i²) δ_ij,   δP_ij = −δS_ij / (ρ_i ρ_j (ρ_i + ρ_j))

The matrix G = 0 has P = 0, and zero derivatives.

References:
    Higham, Functions of Matrices, doi:10.1137/1.9780898717778, chapter 3 (derivatives), 6 (square roots).
"""

from __future__ import annotations

import numpy as np

from fem_selection.typing import Floats

__all__ = ["SHARE", "InverseRoot", "symmetric_part"]

SHARE = 1e-9
"""ε.  Products with P have errors of 1e-16/√ε where functions depend on each other."""
_SMALLEST_TRACE = 1e-280


def symmetric_part(matrix: Floats) -> Floats:
    """Return (A + Aᵀ)/2."""
    return 0.5 * (matrix + matrix.T)


class InverseRoot:
    """P of one Gram matrix.

    Args:
        gram: G, shape (r, r), symmetric and positive semidefinite up to round-off.

    Attributes:
        gram: G.
        value: P, shape (r, r), symmetric; NaN if G is not finite.
    """

    def __init__(self, gram: Floats) -> None:
        self.gram, trace = gram, float(np.trace(gram))
        self._share = SHARE / max(len(gram), 1)
        self._shift = self._share * trace  # μ
        self._is_zero = trace <= _SMALLEST_TRACE  # False for NaN
        if self._is_zero or not np.all(np.isfinite(gram)):
            self.value = np.full_like(gram, 0.0 if self._is_zero else np.nan)
            self._basis, values = np.full_like(gram, np.nan), np.full(len(gram), np.nan)
        else:
            values, self._basis = np.linalg.eigh(gram)
        self._kappa = 1.0 / (values + self._shift)
        roots = np.sqrt(values + self._shift**2 * self._kappa)
        self._inverse, self._sums = 1.0 / roots, roots[:, None] + roots
        self._kept = 1.0 - np.outer(self._shift * self._kappa, self._shift * self._kappa)
        self._moved = self._shift * self._kappa * (2.0 - self._shift * self._kappa)
        if np.all(np.isfinite(self._basis)):
            self.value = (self._basis * self._inverse) @ self._basis.T

    def tangent(self, d_gram: Floats) -> Floats:
        """Return δP for a symmetric δG."""
        if self._is_zero:
            return np.zeros_like(self.gram)
        return self._from_basis(self._divided(self._shifted(self._to_basis(d_gram))))

    def adjoint(self, dual: Floats) -> Floats:
        """Return Ḡ for the dual P̄ of P, the symmetric matrix with ⟨Ḡ, δG⟩ = ⟨P̄, δP⟩ for every symmetric δG."""
        if self._is_zero:
            return np.zeros_like(self.gram)
        s = self._divided(self._to_basis(symmetric_part(dual)))
        return self._from_basis(self._kept * s + self._share * float(np.diag(s) @ self._moved) * np.eye(len(s)))

    def second_adjoint(self, dual: Floats, d_dual: Floats, d_gram: Floats) -> Floats:
        """Return δḠ, the derivative of `adjoint` along δP̄ and δG.

        It follows from R̄ = −P P̄ P and R S̄ + S̄ R = R̄ with R = S^{1/2}, and Ḡ = S̄ − μ² N S̄ N + c I with
        N = (G + μ I)⁻¹, c = (ε/r) tr (2 μ S̄ N − μ² S̄ N²), by the product rule.

        Args:
            dual: P̄.
            d_dual: δP̄.
            d_gram: δG, symmetric.
        """
        if self._is_zero:
            return np.zeros_like(self.gram)
        met, d_met = (self._to_basis(symmetric_part(d)) for d in (dual, d_dual))
        dg, mu, kappa = self._to_basis(d_gram), self._shift, self._kappa
        ds, d_mu, one = self._shifted(dg), self._share * np.trace(dg), np.eye(len(dg))
        d_root, d_value, s = ds / self._sums, self._divided(ds), self._divided(met)
        turned = d_value @ (met * self._inverse)
        crossed = d_root @ s
        right = -(turned + turned.T + self._inverse[:, None] * d_met * self._inverse)
        d_s = (right - crossed - crossed.T) / self._sums
        d_n = -kappa[:, None] * (dg + d_mu * one) * kappa
        half = d_n @ (s * kappa)  # δN S̄ N
        slope = 2.0 * d_mu * kappa * (1.0 - mu * kappa)
        d_c = np.diag(s) @ slope + np.diag(d_s) @ self._moved
        d_c += 2.0 * mu * np.sum(s * d_n) - 2.0 * mu**2 * np.trace(half)
        changed = 2.0 * mu * d_mu * np.outer(kappa, kappa) * s + mu**2 * (half + half.T)
        return self._from_basis(self._kept * d_s - changed + self._share * d_c * one)

    def _shifted(self, matrix: Floats) -> Floats:
        """δS from δG."""
        return self._kept * matrix + self._share * np.trace(matrix) * np.diag(self._moved)

    def _divided(self, matrix: Floats) -> Floats:
        return -matrix * self._inverse[:, None] * self._inverse / self._sums

    def _to_basis(self, matrix: Floats) -> Floats:
        return np.asarray(self._basis.T @ matrix @ self._basis)

    def _from_basis(self, matrix: Floats) -> Floats:
        return np.asarray(self._basis @ matrix @ self._basis.T)
