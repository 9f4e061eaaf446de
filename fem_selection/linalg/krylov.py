# SPDX-License-Identifier: MIT
"""Eigenvalues of largest real part by SLEPc's Krylov–Schur method, of any operator on V_h, on any number of ranks.

    A v = λ v,   Re λ as large as possible

The operator is a shell matrix in the variable M_L^{1/2} f, in which the L² product (in collocated mode) is Euclidean.
PETSc's arithmetic here is real: a complex pair λ, λ̄ comes as two real vectors.  Where a local part makes ‖A‖ so large
that this does not converge, the same is done with (I − a A)⁻¹, whose eigenvalues of largest modulus belong to the λ
nearest to 1/a: right of the eigenvalues, and far enough that these are the rightmost ones.

References:
    G. W. Stewart, A Krylov–Schur algorithm for large eigenproblems, SIAM J. Matrix Anal. Appl. 23 (2001) 601,
    doi:10.1137/S0895479800371529.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from slepc4py import SLEPc

from fem_selection.discretization.numbering import hashed_normal
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.field import Linearization
from fem_selection.dynamics.resolvent import Resolvent, has_local_part
from fem_selection.errors import NotConverged
from fem_selection.linalg.operators import Operator
from fem_selection.petsc import create_shell
from fem_selection.typing import Floats, Integers

__all__ = ["Complexes", "Eigenpairs", "by_real_part", "leading_eigenpairs", "normalize_modes", "residual_norms"]

Complexes = npt.NDArray[np.complex128]

_RESTARTS_BEFORE = 60  # of the plain method, where the resolvent may follow
_SHIFTS = (1e-3, 1e-2, 1e-1, 1.0)  # 1/a as parts of ‖A‖, tried until the eigenvalues lie well to the left


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
    norm: float,
    tolerance: float = 1e-11,
    max_restarts: int = 300,
    basis: int = 48,
    local: Linearization | None = None,
) -> Eigenpairs:
    """Eigenpairs of largest real part (collective).

    Args:
        space: The state space.
        operator: A.
        count: How many are wanted; a pair that this would cut is kept whole. Fewer come back if not all converge, as
            within a continuous spectrum.
        norm: ‖A‖, to which the tolerance is relative: an eigenvalue may be 0.
        tolerance: Of the residuals.
        max_restarts: Limit of iterations.
        basis: Vectors of the Krylov basis, at least 2 · `count`.
        local: The linearization that A is, or is the symmetric part of: if its kernel has a local part, (I − a A)⁻¹
            helps where the plain method finds nothing.

    Raises:
        NotConverged: if none was found.
    """
    if norm == 0.0:
        return Eigenpairs(np.zeros(0, complex), np.zeros((space.num_local, 0), complex), np.zeros(0))
    sizes = (count, basis, tolerance * norm)
    if local is None or not has_local_part(local.field.kernel, local.field.interval):
        return _solve(space, operator, operator, *sizes, max_restarts)
    try:
        return _solve(space, operator, operator, *sizes, min(max_restarts, _RESTARTS_BEFORE))
    except NotConverged:
        return _by_resolvent(space, operator, count, norm, (basis, tolerance, max_restarts), local)


def _by_resolvent(
    space: StateSpace,
    operator: Operator,
    count: int,
    norm: float,
    limits: tuple[int, float, int],
    local: Linearization,
) -> Eigenpairs:
    """The eigenvalues nearest to 1/a, for an 1/a at least twice as large as their real parts."""
    basis, tolerance, max_restarts = limits
    for part in _SHIFTS:
        resolvent = Resolvent(local, operator, 1 / (part * norm))
        try:
            found = _solve(space, operator, resolvent, count, basis, tolerance, max_restarts, 1 / (part * norm))
        finally:
            resolvent.destroy()
        if found.values[0].real < 0.5 * part * norm:
            break
    return found


def _solve(
    space: StateSpace,
    operator: Operator,
    iterated: Operator | Resolvent,
    count: int,
    basis: int,
    tolerance: float,
    max_restarts: int,
    a: float = 0.0,
) -> Eigenpairs:
    """Krylov–Schur with the operator itself, or with (I − a A)⁻¹ if a > 0; the tolerance is absolute."""
    root = np.sqrt(space.weights)

    def apply(x: Floats, y: Floats) -> None:
        """y = D A D⁻¹ x with D = M_L^{1/2}."""
        block = np.asfortranarray((x / root)[:, None])
        y[:] = root * iterated.apply(block)[:, 0]

    matrix = create_shell(space.comm, space.num_local, apply)
    solver = SLEPc.EPS().create(space.comm)
    try:
        wanted = min(count, space.num_nodes)
        solver.setOperators(matrix)
        solver.setProblemType(SLEPc.EPS.ProblemType.NHEP)
        which = SLEPc.EPS.Which
        solver.setWhichEigenpairs(which.LARGEST_MAGNITUDE if a > 0 else which.LARGEST_REAL)
        solver.setDimensions(wanted, min(max(basis, 2 * wanted + 2), space.num_nodes))
        solver.setConvergenceTest(SLEPc.EPS.Conv.ABS)
        solver.setTolerances(tolerance, max_restarts)
        start = matrix.createVecRight()
        start.array[:] = hashed_normal(1, space.canonical)
        solver.setInitialSpace([start])
        start.destroy()
        solver.solve()
        if not solver.getConverged():
            raise NotConverged(f"no eigenvalue of largest real part after {max_restarts} restarts of Krylov–Schur")
        return _collect(solver, matrix, space, operator, wanted, a)
    finally:
        solver.destroy()
        matrix.destroy()


def by_real_part(values: Complexes) -> Integers:
    """The order of decreasing real part, of a pair that of decreasing imaginary part."""
    return np.lexsort((-values.imag, -values.real))


def normalize_modes(space: StateSpace, modes: Complexes) -> Complexes:
    """The modes with unit L² norm and a phase that no partition changes (collective)."""
    parts = np.asfortranarray(np.concatenate([modes.real, modes.imag], axis=1))
    norms = np.sqrt(np.sum(space.inner(parts, parts).reshape(2, -1), axis=0))
    witness = np.asfortranarray(np.broadcast_to(hashed_normal(2, space.canonical)[:, None], parts.shape))
    real, imaginary = space.inner(witness, parts).reshape(2, -1)
    phase = np.exp(-1j * np.angle(real + 1j * imaginary))
    return modes * (phase / np.where(norms > 0, norms, 1.0))


def _collect(
    solver: SLEPc.EPS, matrix: Any, space: StateSpace, operator: Operator, wanted: int, a: float
) -> Eigenpairs:
    """The pairs in SLEPc's order, the first `wanted` of them, or one more if that is the second of a complex pair."""
    real, imaginary = matrix.createVecRight(), matrix.createVecRight()
    found: list[complex] = []
    columns = []
    for number in range(solver.getConverged()):
        value = complex(solver.getEigenpair(number, real, imaginary))
        if number > wanted or (number == wanted and not value.imag < 0):  # of a pair, Im μ > 0 comes first
            break
        found.append(value)
        columns.append((real.array_r + 1j * imaginary.array_r) / np.sqrt(space.weights))
    real.destroy()
    imaginary.destroy()
    values: Complexes = np.array(found, complex)
    modes = normalize_modes(space, np.column_stack(columns))
    if a > 0:
        values = (1 - 1 / values) / a
        order = by_real_part(values)
        values, modes = values[order], modes[:, order]
    return Eigenpairs(values, modes, residual_norms(space, operator, values, modes))


def residual_norms(space: StateSpace, operator: Operator, values: Complexes, modes: Complexes) -> Floats:
    """‖A v − λ v‖ in L² of each pair (collective)."""
    parts = np.asfortranarray(np.concatenate([modes.real, modes.imag], axis=1))
    k = len(values)
    images = operator.apply(parts)
    defect = images[:, :k] + 1j * images[:, k:] - modes * values
    both = np.asfortranarray(np.concatenate([defect.real, defect.imag], axis=1))
    return np.sqrt(np.sum(space.inner(both, both).reshape(2, k), axis=0))
