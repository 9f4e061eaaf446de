# SPDX-License-Identifier: MIT
"""Norm, symmetric part and skew part of an operator in L², from products alone, for every kind of kernel.

    ‖A‖² = max λ:  Aᵀ M A x = λ M x
    λ_max of (A + A*)/2:  (M A + Aᵀ M)/2 x = λ M x
    ‖(A − A*)/2‖² = max λ:  Bᵀ M⁻¹ B x = λ M x,   B = (M A − Aᵀ M)/2

A* = M⁻¹ Aᵀ M is the adjoint in L², M the mass matrix.  In collocated mode M is diagonal, and M^{1/2} brings the
problems to standard form.  These are norms on V_h: an operator that is unbounded in L² (a local one) has one too, which
grows as h → 0.

The products of an operator with itself overflow for ‖A‖ > 10¹⁵⁴.  Each function therefore works on A/s, with s a power
of two near ‖A‖, so that the division is exact.  `require_moderate` is for computations that cannot do the same.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from mpi4py import MPI

from fem_selection.discretization.numbering import hashed_normal
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import InvalidInput, NotConverged
from fem_selection.linalg.eigensolver import Limits, Metric, symmetric_eigenpairs
from fem_selection.linalg.krylov import RESTARTS_BEFORE, Resolvents, leading_by_resolvent
from fem_selection.linalg.operators import Operator, SymmetricPart
from fem_selection.typing import Block, Floats

__all__ = [
    "NORM_ACCURACY",
    "SKEW_ACCURACY",
    "SYMMETRIC_ACCURACY",
    "operator_norm",
    "require_moderate",
    "skew_part_norm",
    "symmetric_part_maximum",
]

NORM_ACCURACY = 1e-10
"""The error of `operator_norm`, relative to ‖A‖."""
SKEW_ACCURACY = 1e-11
"""The error of `skew_part_norm`, relative to ‖A‖, where the skew part is small."""
SYMMETRIC_ACCURACY = 1e-8
"""The default error of `symmetric_part_maximum`, relative to ‖A‖."""
_COARSE_SKEW = 1e-7
_MODERATE = 1e140  # numbers up to this, and down to its inverse, have squares and cubes of norms in double precision
_BASIS = 64
_MAX_RESTARTS = 5000
Form = Callable[[Block], Block]


def operator_norm(space: StateSpace, operator: Operator) -> float:
    """Return ‖A‖ from L² to L², the largest singular value on V_h (collective).

    Args:
        space: The state space.
        operator: A.

    Raises:
        InvalidInput: if A maps a function with values of size one to infinity.
        NotConverged: if it was not found.
    """
    size = _size(space, operator)
    if size == 0.0:
        return 0.0
    operator = _Scaled(operator, _power_of_two(size))

    def form(v: Block) -> Block:
        return operator.apply_transpose(space.apply_mass(operator.apply(v)))

    return float(np.sqrt(_largest(space, form, _limits(NORM_ACCURACY, is_relative=True)))) * operator.divisor


def require_moderate(space: StateSpace, operator: Operator, name: str = "K") -> None:
    """Raise if products of A with itself leave the range of double precision (collective).

    Args:
        space: The state space.
        operator: A.
        name: Its name in the message.

    Raises:
        InvalidInput: if A maps a function with values of size one to values above 10¹⁴⁰, or to values below 10⁻¹⁴⁰ that
            are not zero.
    """
    size = _size(space, operator)
    if size and not 1 / _MODERATE < size < _MODERATE:
        raise InvalidInput(
            f"{name} maps a function with values of size 1 to values of size {size:.2g}: their squares leave the range "
            "of double precision; scale the kernel (dynamics.kernel, dynamics.start_scale), or the unit of time"
        )


def symmetric_part_maximum(
    space: StateSpace,
    operator: Operator,
    norm: float,
    *,
    tolerance: float = SYMMETRIC_ACCURACY,
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
    scaled = _Scaled(operator, _power_of_two(norm))

    def form(v: Block) -> Block:
        return 0.5 * (space.apply_mass(scaled.apply(v)) + scaled.apply_transpose(space.apply_mass(v)))

    restarts = max_restarts if resolvents is None else min(max_restarts, RESTARTS_BEFORE)
    try:
        limits = _limits(tolerance * (norm / scaled.divisor), max_restarts=restarts)
        return _largest(space, form, limits) * scaled.divisor
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
        norm: ‖A‖.  A result below 10⁻⁵ of it is accurate to `SKEW_ACCURACY` of it, a larger one to 10⁻⁷ of it.

    Raises:
        NotConverged: if it was not found.
    """

    if not norm > 0:
        return 0.0
    scaled = _Scaled(operator, _power_of_two(norm))

    def skew(v: Block) -> Block:
        return 0.5 * (space.apply_mass(scaled.apply(v)) - scaled.apply_transpose(space.apply_mass(v)))

    def form(v: Block) -> Block:
        return -skew(space.riesz(skew(v)))

    size = norm / scaled.divisor
    square = _largest(space, form, _limits((_COARSE_SKEW * size) ** 2))
    if square < (100 * _COARSE_SKEW * size) ** 2:
        square = _largest(space, form, _limits((SKEW_ACCURACY * size) ** 2))
    return float(np.sqrt(max(square, 0.0))) * scaled.divisor


class _Scaled:
    """A divided by a power of two."""

    def __init__(self, operator: Operator, divisor: float) -> None:
        self._operator, self.divisor = operator, divisor

    def apply(self, v: Block) -> Block:
        """A v / s."""
        return np.asfortranarray(self._operator.apply(v) / self.divisor)

    def apply_transpose(self, dual: Block) -> Block:
        """Aᵀ d / s."""
        return np.asfortranarray(self._operator.apply_transpose(dual) / self.divisor)


def _size(space: StateSpace, operator: Operator) -> float:
    """The largest value of A v, v a random function with values of size one (collective)."""
    probe = np.asfortranarray(hashed_normal(1, space.canonical)[:, None])
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.abs(operator.apply(probe))
    size = float(space.comm.allreduce(float(np.max(values, initial=0.0)), op=MPI.MAX))
    if not all(space.comm.allgather(bool(np.all(np.isfinite(values))))):
        raise InvalidInput("the kernel maps a function with values of size 1 to infinity: scale it")
    return size


def _power_of_two(size: float) -> float:
    return float(2.0 ** np.clip(np.frexp(size)[1], -1000, 1000))


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
