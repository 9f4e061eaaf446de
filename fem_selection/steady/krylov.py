# SPDX-License-Identifier: MIT
"""Eigenvalues of largest real part by SLEPc's Krylov–Schur method, of any operator on V_h, on any number of ranks.

    A v = λ v,   Re λ as large as possible

The operator is a shell matrix in the variable M_L^{1/2} f, in which the L² product (in collocated mode) is Euclidean.
PETSc's arithmetic here is real: a complex pair λ, λ̄ comes as two real vectors.

References:
    G. W. Stewart, A Krylov–Schur algorithm for large eigenproblems, SIAM J. Matrix Anal. Appl. 23 (2001) 601,
    doi:10.1137/S0895479800371529.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from petsc4py import PETSc
from slepc4py import SLEPc

from fem_selection.errors import NotConverged
from fem_selection.numbering import hashed_normal
from fem_selection.spaces import StateSpace
from fem_selection.steady.operators import Operator
from fem_selection.typing import Floats

__all__ = ["Complexes", "Eigenpairs", "leading_eigenpairs", "normalize_modes", "residual_norms"]

Complexes = npt.NDArray[np.complex128]


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

    Raises:
        NotConverged: if none was found.
    """
    if norm == 0.0:
        return Eigenpairs(np.zeros(0, complex), np.zeros((space.num_local, 0), complex), np.zeros(0))
    shell = _Shell(space, operator)
    size = (space.num_local, space.num_nodes)
    matrix = PETSc.Mat().createPython((size, size), shell, comm=space.comm)
    matrix.setUp()
    solver = SLEPc.EPS().create(space.comm)
    try:
        wanted = min(count, space.num_nodes)
        solver.setOperators(matrix)
        solver.setProblemType(SLEPc.EPS.ProblemType.NHEP)
        solver.setWhichEigenpairs(SLEPc.EPS.Which.LARGEST_REAL)
        solver.setDimensions(wanted, min(max(basis, 2 * wanted + 2), space.num_nodes))
        solver.setConvergenceTest(SLEPc.EPS.Conv.ABS)
        solver.setTolerances(tolerance * norm, max_restarts)
        start = matrix.createVecRight()
        start.array[:] = hashed_normal(1, space.canonical)
        solver.setInitialSpace([start])
        start.destroy()
        solver.solve()
        if not solver.getConverged():
            raise NotConverged(f"no eigenvalue of largest real part after {max_restarts} restarts of Krylov–Schur")
        return _collect(solver, matrix, shell, wanted)
    finally:
        solver.destroy()
        matrix.destroy()


def normalize_modes(space: StateSpace, modes: Complexes) -> Complexes:
    """The modes with unit L² norm and a phase that no partition changes (collective)."""
    parts = np.asfortranarray(np.concatenate([modes.real, modes.imag], axis=1))
    norms = np.sqrt(np.sum(space.inner(parts, parts).reshape(2, -1), axis=0))
    witness = np.asfortranarray(np.broadcast_to(hashed_normal(2, space.canonical)[:, None], parts.shape))
    real, imaginary = space.inner(witness, parts).reshape(2, -1)
    phase = np.exp(-1j * np.angle(real + 1j * imaginary))
    return modes * (phase / np.where(norms > 0, norms, 1.0))


class _Shell:
    """D A D⁻¹ with D = M_L^{1/2}, in PETSc's protocol for matrices in Python."""

    def __init__(self, space: StateSpace, operator: Operator) -> None:
        self.space, self.operator, self.root = space, operator, np.sqrt(space.weights)

    def mult(self, matrix: PETSc.Mat, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """y = D A D⁻¹ x."""
        block = np.asfortranarray((x.array_r / self.root)[:, None])
        y.array[:] = self.root * self.operator.apply(block)[:, 0]


def _collect(solver: SLEPc.EPS, matrix: PETSc.Mat, shell: _Shell, wanted: int) -> Eigenpairs:
    """The pairs in SLEPc's order, the first `wanted` of them, or one more if that is the second of a complex pair."""
    real, imaginary = matrix.createVecRight(), matrix.createVecRight()
    values: list[complex] = []
    columns = []
    for number in range(solver.getConverged()):
        value = complex(solver.getEigenpair(number, real, imaginary))
        if number > wanted or (number == wanted and not value.imag < 0):  # of a pair, Im λ > 0 comes first
            break
        values.append(value)
        columns.append((real.array_r + 1j * imaginary.array_r) / shell.root)
    real.destroy()
    imaginary.destroy()
    modes = normalize_modes(shell.space, np.column_stack(columns))
    return Eigenpairs(np.array(values), modes, residual_norms(shell.space, shell.operator, np.array(values), modes))


def residual_norms(space: StateSpace, operator: Operator, values: Complexes, modes: Complexes) -> Floats:
    """‖A v − λ v‖ in L² of each pair (collective)."""
    parts = np.asfortranarray(np.concatenate([modes.real, modes.imag], axis=1))
    k = len(values)
    images = operator.apply(parts)
    defect = images[:, :k] + 1j * images[:, k:] - modes * values
    both = np.asfortranarray(np.concatenate([defect.real, defect.imag], axis=1))
    return np.sqrt(np.sum(space.inner(both, both).reshape(2, k), axis=0))
