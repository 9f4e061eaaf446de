# SPDX-License-Identifier: MIT
"""Norm, symmetric part and skew part of an operator in L², from products alone, for every kind of kernel.

    ‖A‖² = max λ:  Aᵀ M A x = λ M x
    λ_max of (A + A*)/2:  (M A + Aᵀ M)/2 x = λ M x
    ‖(A − A*)/2‖² = max λ:  Bᵀ M⁻¹ B x = λ M x,   B = (M A − Aᵀ M)/2

A* = M⁻¹ Aᵀ M is the adjoint in L², M the mass matrix.  In collocated mode M is diagonal, and M^{1/2} brings the
problems to standard form.  These are norms on V_h: an operator that is unbounded in L² (a local one) has one too, which
grows as h → 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fem_selection.discretization.numbering import hashed_normal
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import NotConverged
from fem_selection.linalg.eigensolver import Limits, Metric, symmetric_eigenpairs
from fem_selection.linalg.krylov import RESTARTS_BEFORE, Resolvents, leading_by_resolvent
from fem_selection.linalg.operators import Operator, SymmetricPart
from fem_selection.typing import Block, Floats

__all__ = ["operator_norm", "skew_part_norm", "symmetric_part_maximum"]

_TOLERANCE = 1e-10
_BASIS = 64
_MAX_RESTARTS = 5000
Form = Callable[[Block], Block]


def operator_norm(space: StateSpace, operator: Operator) -> float:
    """Return ‖A‖ from L² to L², the largest singular value on V_h (collective).

    Args:
        space: The state space.
        operator: A.

    Raises:
        NotConverged: if it was not found.
    """
    probe = np.asfortranarray(hashed_normal(1, space.canonical)[:, None])
    if not space.norm(operator.apply(probe))[0] > 0:
        return 0.0

    def form(v: Block) -> Block:
        return operator.apply_transpose(space.apply_mass(operator.apply(v)))

    return float(np.sqrt(_largest(space, form, _limits(_TOLERANCE, is_relative=True))))


def symmetric_part_maximum(
    space: StateSpace,
    operator: Operator,
    norm: float,
    *,
    tolerance: float = 1e-8,
    max_restarts: int = _MAX_RESTARTS,
    resolvents: Resolvents | None = None,
) -> float:
    """Return the largest eigenvalue of (A + A*)/2, the numerical abscissa of A (collective).

    For a negative semidefinite compact operator it is 0, where eigenvalues accumulate, so that the iteration does not
    reach a small residual.  The default of the tolerance is therefore large.

    Args:
        space: The state space.
        operator: A.
        norm: ‖A‖.
        tolerance: Largest residual, relative to the norm; the error of the eigenvalue is at most as large.
        max_restarts: Largest number of restarts.
        resolvents: a ↦ (I − a (A + A*)/2)⁻¹, used if ‖A‖ is so large that the plain method finds nothing; None if there
            is none.

    Raises:
        NotConverged: if it was not found.
    """
    if not norm > 0:
        return 0.0

    def form(v: Block) -> Block:
        return 0.5 * (space.apply_mass(operator.apply(v)) + operator.apply_transpose(space.apply_mass(v)))

    restarts = max_restarts if resolvents is None else min(max_restarts, RESTARTS_BEFORE)
    try:
        return _largest(space, form, _limits(tolerance * norm, max_restarts=restarts))
    except NotConverged:
        if resolvents is None:
            raise
    limits = _limits(tolerance, max_restarts=max_restarts)
    symmetric = SymmetricPart(space, operator)
    found = leading_by_resolvent(space, symmetric, 1, norm=norm, resolvents=resolvents, limits=limits)
    return float(found.values[0].real)


def skew_part_norm(space: StateSpace, operator: Operator, norm: float) -> float:
    """Return ‖(A − A*)/2‖, the distance from symmetry (collective).

    Args:
        space: The state space.
        operator: A.
        norm: ‖A‖; the result is accurate to 10⁻⁷ of it.

    Raises:
        NotConverged: if it was not found.
    """

    def skew(v: Block) -> Block:
        return 0.5 * (space.apply_mass(operator.apply(v)) - operator.apply_transpose(space.apply_mass(v)))

    def form(v: Block) -> Block:
        return -skew(space.riesz(skew(v)))

    if not norm > 0:
        return 0.0
    return float(np.sqrt(max(_largest(space, form, _limits((1e-7 * norm) ** 2)), 0.0)))


def _limits(tolerance: float, *, is_relative: bool = False, max_restarts: int = _MAX_RESTARTS) -> Limits:
    return Limits(tolerance=tolerance, is_relative=is_relative, max_restarts=max_restarts, basis=_BASIS)


def _largest(space: StateSpace, form: Form, limits: Limits) -> float:
    """The largest λ of B x = λ M x (collective)."""
    scale = np.sqrt(space.weights)[:, None] if space.is_collocated else np.ones((space.num_local, 1))

    def apply(x: Floats) -> Floats:
        """D⁻¹ B D⁻¹ x, D = M^{1/2} or the identity."""
        return np.asarray((form(np.asfortranarray(x[:, None] / scale)) / scale)[:, 0])

    metric = Metric(apply=_of_vectors(space.apply_mass), solve=_of_vectors(space.riesz))
    values, _ = symmetric_eigenpairs(
        space.comm,
        apply,
        hashed_normal(0, space.canonical),
        count=1,
        end="largest",
        limits=limits,
        metric=None if space.is_collocated else metric,
    )
    return float(values[0])


def _of_vectors(function: Form) -> Callable[[Floats], Floats]:
    def apply(x: Floats) -> Floats:
        return np.asarray(function(np.array(x[:, None], order="F"))[:, 0])

    return apply
