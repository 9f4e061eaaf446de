# SPDX-License-Identifier: MIT
"""Some eigenpairs at one end of a spectrum by SLEPc's Krylov–Schur method, from products alone.

    A x = λ x        or, with A and B symmetric and B positive definite,        A x = λ B x

The operators are functions of one rank's entries of a vector.  The results are plain arrays; PETSc's objects are
destroyed.  PETSc is built with real numbers here: it returns a complex pair λ, λ̄ as two real vectors, from which the
complex ones are made.  For operators on V_h use `fem_selection.linalg.krylov` and `fem_selection.linalg.norms`, which
know the L² product.

References:
    G. W. Stewart, A Krylov–Schur algorithm for large eigenproblems, SIAM J. Matrix Anal. Appl. 23 (2001) 601,
    doi:10.1137/S0895479800371529.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc
from slepc4py import SLEPc

from fem_selection.errors import NotConverged
from fem_selection.petsc import Action, create_shell, last_line, released, set_preconditioner
from fem_selection.typing import Block, Complexes, Floats

__all__ = ["End", "Limits", "Metric", "general_eigenpairs", "symmetric_eigenpairs"]

End = Literal["smallest", "largest", "largest modulus"]
"""Which eigenvalues are wanted: those of smallest or largest real part, or of largest modulus."""

_REASONS = {
    SLEPc.EPS.ConvergedReason.DIVERGED_ITS: "the limit of restarts was reached",
    SLEPc.EPS.ConvergedReason.DIVERGED_BREAKDOWN: "the Krylov space broke down",
    SLEPc.EPS.ConvergedReason.DIVERGED_SYMMETRY_LOST: "the operator is not symmetric",
}


@dataclass(frozen=True)
class Limits:
    """Tolerance and size limits of the method.

    Attributes:
        tolerance: Largest residual of an eigenpair.
        is_relative: Whether the tolerance is relative to the modulus of the eigenvalue; else it is absolute.
        max_restarts: Largest number of restarts.
        basis: Vectors of the Krylov basis; it is raised to 2 · count + 2, and lowered to the number of unknowns.
    """

    tolerance: float
    is_relative: bool
    max_restarts: int
    basis: int


@dataclass(frozen=True)
class Metric:
    """B of A x = λ B x.

    Attributes:
        apply: x ↦ B x.
        solve: y ↦ B⁻¹ y.
    """

    apply: Callable[[Floats], Floats]
    solve: Callable[[Floats], Floats]


def symmetric_eigenpairs(
    comm: MPI.Comm,
    apply: Callable[[Floats], Floats],
    start: Floats,
    *,
    count: int,
    end: End,
    limits: Limits,
    metric: Metric | None = None,
) -> tuple[Floats, Block]:
    """Return eigenpairs of a symmetric operator, or of a pair A, B (collective).

    Args:
        comm: Ranks that hold the vectors.
        apply: x ↦ A x, for this rank's entries, shape (num_local,).
        start: The first vector of the Krylov space, shape (num_local,).
        count: Number of wanted eigenpairs.
        end: Which eigenvalues are wanted.
        limits: Tolerance and size limits.
        metric: B; the identity if None.

    Returns:
        The values, the wanted end first, shape (count,), and their vectors, shape (num_local, count), which are
        orthonormal, with a metric in its inner product.

    Raises:
        NotConverged: if fewer than `count` converged.
    """
    types = SLEPc.EPS.ProblemType
    kind = types.HEP if metric is None else types.GHEP
    with _solved(comm, apply, start, kind, count, count, end, limits, metric) as (solver, matrix):
        values, vectors, vector = np.empty(count), np.empty((len(start), count), order="F"), matrix.createVecRight()
        with released(vector):
            for k in range(count):
                values[k] = solver.getEigenpair(k, vector).real
                vectors[:, k] = vector.array_r
    return values, vectors


def general_eigenpairs(
    comm: MPI.Comm,
    apply: Callable[[Floats], Floats],
    start: Floats,
    *,
    count: int,
    end: End,
    limits: Limits,
) -> tuple[Complexes, Complexes]:
    """Return eigenpairs of any operator (collective).

    Args:
        comm: Ranks that hold the vectors.
        apply: x ↦ A x, for this rank's entries, shape (num_local,).
        start: The first vector of the Krylov space, shape (num_local,).
        count: Number of wanted eigenpairs.  One more is returned if it completes a complex pair, fewer if not all
            converge.
        end: Which eigenvalues are wanted.
        limits: Tolerance and size limits.

    Returns:
        The values, the wanted end first, shape (k,), and their vectors, shape (num_local, k).

    Raises:
        NotConverged: if none converged.
    """
    kind, found, columns = SLEPc.EPS.ProblemType.NHEP, [], []
    with _solved(comm, apply, start, kind, count, 1, end, limits, None) as (solver, matrix):
        real, imaginary = matrix.createVecRight(), matrix.createVecRight()
        with released(real, imaginary):
            for k in range(solver.getConverged()):
                value = complex(solver.getEigenpair(k, real, imaginary))
                if k > count or (k == count and not value.imag < 0):  # of a pair, Im λ > 0 comes first
                    break
                found.append(value)
                columns.append(real.array_r + 1j * imaginary.array_r)
    return np.array(found, complex), np.column_stack(columns)


@contextmanager
def _solved(
    comm: MPI.Comm,
    apply: Callable[[Floats], Floats],
    start: Floats,
    kind: SLEPc.EPS.ProblemType,
    count: int,
    needed: int,
    end: End,
    limits: Limits,
    metric: Metric | None,
) -> Iterator[tuple[SLEPc.EPS, PETSc.Mat]]:
    """Run a solver, and yield it with its matrix; raise NotConverged unless `needed` eigenpairs were found."""
    is_symmetric = kind != SLEPc.EPS.ProblemType.NHEP
    functions = [apply] if metric is None else [apply, metric.apply]
    matrices = [create_shell(comm, len(start), _in_place(f), is_symmetric=is_symmetric) for f in functions]
    solver, first = SLEPc.EPS().create(comm), matrices[0].createVecRight()
    ends = SLEPc.EPS.Which
    which = {"smallest": ends.SMALLEST_REAL, "largest": ends.LARGEST_REAL, "largest modulus": ends.LARGEST_MAGNITUDE}
    tests = SLEPc.EPS.Conv
    with released(solver, first, *matrices):
        solver.setOperators(*matrices)
        solver.setProblemType(kind)
        solver.setWhichEigenpairs(which[end])
        solver.setDimensions(count, min(max(limits.basis, 2 * count + 2), matrices[0].getSize()[0]))
        solver.setConvergenceTest(tests.REL if limits.is_relative else tests.ABS)
        solver.setTolerances(limits.tolerance, limits.max_restarts)
        if metric is not None:
            inner = solver.getST().getKSP()
            inner.setType(PETSc.KSP.Type.PREONLY)
            set_preconditioner(inner.getPC(), _in_place(metric.solve))
        first.array[:] = start
        solver.setInitialSpace([first])
        try:
            solver.solve()
        except (PETSc.Error, SystemError) as error:  # as where values overflow
            cause = error.__cause__ if isinstance(error, SystemError) else error  # petsc4py hides the one in the other
            if not isinstance(cause, PETSc.Error):
                raise
            if cause.__cause__ is not None:  # an error of the operator, or a signal that came while it was applied
                raise cause.__cause__ from None
            raise NotConverged(f"the eigenvalue solver stopped: {last_line(cause)}") from error
        if solver.getConverged() < needed:
            why = _REASONS.get(int(solver.getConvergedReason()), "the rest did not converge")
            restarts = solver.getIterationNumber()
            raise NotConverged(
                f"{solver.getConverged()} of {count} eigenpairs after {restarts} restarts of Krylov–Schur: {why}"
            )
        if not all(np.isfinite(solver.getEigenvalue(k)) for k in range(needed)):
            raise NotConverged("the eigenvalue solver stopped: a product with the operator is not finite")
        yield solver, matrices[0]


def _in_place(function: Callable[[Floats], Floats]) -> Action:
    def write(x: Floats, y: Floats) -> None:
        y[:] = function(x)

    return write
