# SPDX-License-Identifier: MIT
"""Eigenvalues of largest real part of any operator on V_h, on any number of ranks.

    A v = λ v,   Re λ as large as possible

Krylov–Schur works in the variable M_L^{1/2} f, M_L the lumped mass matrix, in which the L² product (in collocated mode)
is Euclidean.  If a local part makes ‖A‖ so large that this does not converge, the method is applied to (I − a A)⁻¹,
whose eigenvalues of largest modulus belong to the λ nearest to 1/a.  1/a is chosen so far to the right of the
eigenvalues that these are the rightmost ones.  For the symmetric part of an operator use `fem_selection.linalg.norms`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from fem_selection.discretization.numbering import hashed_normal
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import NotConverged
from fem_selection.linalg.eigensolver import Limits, general_eigenpairs
from fem_selection.linalg.operators import Operator
from fem_selection.petsc import released
from fem_selection.typing import Block, Complexes, Floats, Integers, whole_number

__all__ = [
    "RESTARTS_BEFORE",
    "Eigenpairs",
    "Inverse",
    "Resolvents",
    "by_real_part",
    "leading_by_resolvent",
    "leading_eigenpairs",
    "normalize_modes",
    "residual_norms",
]

RESTARTS_BEFORE = 60
"""Restarts of the plain method, if the resolvent can be tried afterwards."""
_RESTARTS_OF_CHECK = 4
_SHIFTS = (1e-3, 1e-2, 1e-1, 1.0)  # 1/a relative to ‖A‖; tried until the eigenvalues lie well to its left


class Inverse(Protocol):
    """(I − a A)⁻¹, which holds PETSc's objects."""

    def apply(self, v: Block) -> Block:
        """Return (I − a A)⁻¹ v, shape (num_local, 1)."""

    def destroy(self) -> None:
        """Destroy PETSc's objects (collective)."""


Resolvents = Callable[[float], Inverse]
"""a ↦ (I − a A)⁻¹, as `fem_selection.dynamics.resolvent.resolvents_of` makes them."""


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenvalues by decreasing real part, and eigenfunctions.

    Attributes:
        values: λ, shape (k,); both of a complex pair.
        modes: Eigenfunctions of unit L² norm, complex, shape (num_local, k).
        residuals: ‖A v − λ v‖ in L², shape (k,).
    """

    values: Complexes
    modes: Complexes
    residuals: Floats


def leading_eigenpairs(
    space: StateSpace,
    operator: Operator,
    count: int,
    *,
    norm: float,
    tolerance: float = 1e-11,
    max_restarts: int = 300,
    basis: int = 48,
    resolvents: Resolvents | None = None,
) -> Eigenpairs:
    """Return eigenpairs of largest real part (collective).

    Args:
        space: The state space.
        operator: A.
        count: Number of wanted eigenpairs; one more is returned if it completes a complex pair, fewer if not all
            converge, as within a continuous spectrum.
        norm: ‖A‖, to which the tolerance is relative, since an eigenvalue may be 0.
        tolerance: Largest residual, relative to ‖A‖.
        max_restarts: Largest number of restarts.
        basis: Vectors of the Krylov basis.
        resolvents: a ↦ (I − a A)⁻¹, used if the plain method finds nothing; None if there is none.

    Raises:
        NotConverged: if none was found.
    """
    count = whole_number(count, "count", 1)
    if norm == 0.0:
        nothing = np.zeros((space.num_local, 0), complex)
        return Eigenpairs(values=np.zeros(0, complex), modes=nothing, residuals=np.zeros(0))
    limits = Limits(tolerance=tolerance * norm, is_relative=False, max_restarts=max_restarts, basis=basis)
    if resolvents is None:
        return _solve(space, operator, operator, count, limits)
    try:
        few = replace(limits, max_restarts=min(max_restarts, RESTARTS_BEFORE))
        return _solve(space, operator, operator, count, few)
    except NotConverged:
        limits = replace(limits, tolerance=tolerance)
        return leading_by_resolvent(space, operator, count, norm=norm, resolvents=resolvents, limits=limits)


def leading_by_resolvent(
    space: StateSpace, operator: Operator, count: int, *, norm: float, resolvents: Resolvents, limits: Limits
) -> Eigenpairs:
    """Return the eigenpairs nearest to 1/a, with 1/a at least twice their real parts (collective).

    Eigenvalues far to the right of 1/a, which are farther from it than others, are looked for with larger 1/a.

    Args:
        space: The state space.
        operator: A.
        count: Number of wanted eigenpairs.
        norm: ‖A‖.
        resolvents: a ↦ (I − a A)⁻¹.
        limits: Limits of Krylov–Schur with the resolvent, whose eigenvalues are of order one.

    Raises:
        NotConverged: if none was found.
    """
    for part in _SHIFTS:
        resolvent = resolvents(1 / (part * norm))
        with released(resolvent):
            found = _solve(space, operator, resolvent, count, limits, 1 / (part * norm))
        if found.values[0].real < 0.5 * part * norm:
            break
    for larger in (p for p in _SHIFTS if p > part):  # an eigenvalue beyond 2/a would not be among the nearest to 1/a
        few = replace(limits, max_restarts=min(limits.max_restarts, _RESTARTS_OF_CHECK))
        resolvent = resolvents(1 / (larger * norm))
        try:
            with released(resolvent):
                other = _solve(space, operator, resolvent, count, few, 1 / (larger * norm))
        except NotConverged:
            continue  # such an eigenvalue would stand apart there, and converge at once
        if other.values[0].real > found.values[0].real + limits.tolerance * norm:
            found = other
    return found


def _solve(
    space: StateSpace, operator: Operator, iterated: Operator | Inverse, count: int, limits: Limits, a: float = 0.0
) -> Eigenpairs:
    """Krylov–Schur with the operator itself, or with (I − a A)⁻¹ if a > 0."""
    root = np.sqrt(space.weights)

    def apply(x: Floats) -> Floats:
        """D A D⁻¹ x with D = M_L^{1/2}."""
        return root * iterated.apply(np.asfortranarray((x / root)[:, None]))[:, 0]

    values, vectors = general_eigenpairs(
        space.comm,
        apply,
        hashed_normal(1, space.canonical),
        count=min(count, space.num_nodes),
        end="largest modulus" if a > 0 else "largest",
        limits=limits,
    )
    modes = normalize_modes(space, vectors / root[:, None])
    if a > 0:
        values = (1 - 1 / values) / a
        order = by_real_part(values)
        values, modes = values[order], modes[:, order]
    residuals = residual_norms(space, operator, values, modes=modes)
    return Eigenpairs(values=values, modes=modes, residuals=residuals)


def by_real_part(values: Complexes) -> Integers:
    """Return the order of decreasing real part; in a complex pair the positive imaginary part comes first."""
    return np.lexsort((-values.imag, -values.real))


def normalize_modes(space: StateSpace, modes: Complexes) -> Complexes:
    """Return the modes with unit L² norm and a phase that is the same on every partition (collective).

    Args:
        space: The state space.
        modes: Complex nodal values, shape (num_local, k).
    """
    parts = np.asfortranarray(np.concatenate([modes.real, modes.imag], axis=1))
    norms = np.sqrt(np.sum(space.inner(parts, parts).reshape(2, -1), axis=0))
    witness = np.asfortranarray(np.broadcast_to(hashed_normal(2, space.canonical)[:, None], parts.shape))
    real, imaginary = space.inner(witness, parts).reshape(2, -1)
    phase = np.exp(-1j * np.angle(real + 1j * imaginary))
    return modes * (phase / np.where(norms > 0, norms, 1.0))


def residual_norms(space: StateSpace, operator: Operator, values: Complexes, *, modes: Complexes) -> Floats:
    """Return ‖A v − λ v‖ in L² of each pair, shape (k,) (collective).

    Args:
        space: The state space.
        operator: A.
        values: λ, shape (k,).
        modes: v, shape (num_local, k).
    """
    parts = np.asfortranarray(np.concatenate([modes.real, modes.imag], axis=1))
    k = len(values)
    images = operator.apply(parts)
    defect = images[:, :k] + 1j * images[:, k:] - modes * values
    both = np.asfortranarray(np.concatenate([defect.real, defect.imag], axis=1))
    return np.sqrt(np.sum(space.inner(both, both).reshape(2, k), axis=0))
