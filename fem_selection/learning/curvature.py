# SPDX-License-Identifier: MIT
"""Eigenpairs of the Hessian in the L² metric: is a stationary point a strict minimiser, and along what is it flattest?

    J''(x) v = λ M v,    ⟨v, v⟩_{L²} = 1

Solved by SLEPc's Krylov–Schur method in the optimizer's variable, where M is the identity in collocated mode and close
to it in Galerkin mode; there the mass is inverted by the Riesz map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from petsc4py import PETSc
from slepc4py import SLEPc

from fem_selection.errors import InvalidInput, NotConverged
from fem_selection.learning.hessian import ScaledHessian
from fem_selection.typing import Floats

__all__ = ["Eigenpairs", "hessian_eigenpairs"]


@dataclass(frozen=True)
class Eigenpairs:
    """What was found.

    Attributes:
        values: λ, the wanted end first.
        vectors: Shards of v as controls, of unit L² norm.
        residuals: ‖J'' v − λ M v‖ / max(|λ|, 1e-300) in x̂, for each pair.
        actions: Products with the Hessian that it took.
    """

    values: tuple[float, ...]
    vectors: tuple[Floats, ...]
    residuals: tuple[float, ...]
    actions: int


def hessian_eigenpairs(
    hessian: ScaledHessian,
    count: int = 1,
    which: str = "smallest",
    tolerance: float = 1e-8,
    max_iterations: int = 500,
    basis: int = 128,
) -> Eigenpairs:
    """The eigenpairs at one end of the spectrum of a linearized Hessian (collective).

    Args:
        hessian: J'' in x̂, linearized.
        count: How many.
        which: "smallest" or "largest", by value, not by modulus.
        tolerance: SLEPc's, relative to the eigenvalue.
        max_iterations: Restarts at most.
        basis: Vectors of the Krylov basis, at least 2 · count and at most the number of controls.  The lower end of a
            regularized problem's spectrum is crowded: with SLEPc's default of 16 the digits do not converge.

    Raises:
        NotConverged: if fewer were found.
    """
    ends = {"smallest": SLEPc.EPS.Which.SMALLEST_REAL, "largest": SLEPc.EPS.Which.LARGEST_REAL}
    if which not in ends:
        raise InvalidInput(f"which = {which!r}: choose from {', '.join(ends)}")
    scaled, before = hessian.scaled, hessian.hessian.actions
    collocated = scaled.controls.space.is_collocated
    matrices = [hessian.as_matrix()] if collocated else [hessian.as_matrix(), hessian.metric_as_matrix()]
    solver = SLEPc.EPS().create(scaled.controls.ensemble.world)
    try:
        solver.setOperators(*matrices)
        solver.setProblemType(SLEPc.EPS.ProblemType.HEP if collocated else SLEPc.EPS.ProblemType.GHEP)
        solver.setWhichEigenpairs(ends[which])
        solver.setDimensions(count, min(max(basis, 2 * count + 1), scaled.controls.global_size))
        solver.setTolerances(tolerance, max_iterations)
        if not collocated:
            inner = solver.getST().getKSP()
            inner.setType(PETSc.KSP.Type.PREONLY)
            hessian.use_as_preconditioner(inner.getPC())
        start = scaled.controls.create_vector(scaled.to_scaled(scaled.controls.random_direction(0)))
        solver.setInitialSpace([start])
        start.destroy()
        solver.solve()
        if solver.getConverged() < count:
            raise NotConverged(f"{solver.getConverged()} of {count} eigenpairs after {max_iterations} restarts")
        return _collect(solver, hessian, count, before)
    finally:
        for thing in (solver, *matrices):
            thing.destroy()


def _collect(solver: SLEPc.EPS, hessian: ScaledHessian, count: int, before: int) -> Eigenpairs:
    values, vectors, residuals = [], [], []
    vector = hessian.scaled.controls.create_vector()
    for number in range(count):
        value = float(solver.getEigenpair(number, vector).real)
        v = vector.array_r.copy()
        metric = hessian.apply_metric(v)
        v /= np.sqrt(hessian.scaled.controls.inner(metric, v))
        defect = hessian.apply(v) - value * hessian.apply_metric(v)
        values.append(value)
        vectors.append(hessian.scaled.to_physical(v))
        residuals.append(hessian.scaled.norm(defect) / max(abs(value), 1e-300))
    vector.destroy()
    return Eigenpairs(tuple(values), tuple(vectors), tuple(residuals), hessian.hessian.actions - before)
