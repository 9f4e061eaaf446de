# SPDX-License-Identifier: MIT
"""Norm, symmetric and skew part of a kernel in L², by SLEPc, with products alone: for every kind of kernel.

    ‖K‖² = max λ:  Kᵀ M K x = λ M x
    λ_max of (K + K*)/2:  (M K + Kᵀ M)/2 x = λ M x
    ‖(K − K*)/2‖² = max λ:  Aᵀ M⁻¹ A x = λ M x,   A = (M K − Kᵀ M)/2

K* = M⁻¹ Kᵀ M is the adjoint in L², M the mass matrix.  In collocated mode M is diagonal and the problems are brought to
standard form by M^{1/2}.  These are norms on V_h, so that a kernel that is unbounded in L² (a local one) has one too,
which grows as h → 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from slepc4py import SLEPc

from fem_selection.discretization.numbering import hashed_normal
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import NotConverged
from fem_selection.kernels.base import Kernel
from fem_selection.petsc import create_shell, options, unique_prefix
from fem_selection.typing import Block, Floats, create_block

__all__ = ["operator_norm", "skew_part_norm", "symmetric_part_maximum"]

_TOLERANCE = 1e-10
_RESIDUAL = 1e-8
_BASIS = 64
_MAX_ITERATIONS = 5000
Form = Callable[[Block], Block]


def operator_norm(space: StateSpace, kernel: Kernel) -> float:
    """‖K‖ from L² to L², the largest singular value on V_h (collective)."""
    probe = np.asfortranarray(hashed_normal(1, space.canonical)[:, None])
    if not space.norm(_applied(kernel, probe))[0] > 0:
        return 0.0

    def form(v: Block) -> Block:
        return _transposed(kernel, space.apply_mass(_applied(kernel, v)))

    return float(np.sqrt(_largest(space, form)))


def symmetric_part_maximum(space: StateSpace, kernel: Kernel, norm: float) -> float:
    """The largest eigenvalue of (K + K*)/2; `norm` is ‖K‖, to whose 10⁻⁸ it is found, or better (collective).

    That of a compact operator which is negative semidefinite is 0, a limit of eigenvalues, where residuals below that
    are not to be had.
    """

    def form(v: Block) -> Block:
        return 0.5 * (space.apply_mass(_applied(kernel, v)) + _transposed(kernel, space.apply_mass(v)))

    return _largest(space, form, _RESIDUAL * norm) if norm > 0 else 0.0


def skew_part_norm(space: StateSpace, kernel: Kernel, norm: float) -> float:
    """‖(K − K*)/2‖, the distance from symmetry; `norm` is ‖K‖, to whose 10⁻⁷ it is found (collective)."""

    def skew(v: Block) -> Block:
        return 0.5 * (space.apply_mass(_applied(kernel, v)) - _transposed(kernel, space.apply_mass(v)))

    def form(v: Block) -> Block:
        return -skew(space.riesz(skew(v)))

    return float(np.sqrt(max(_largest(space, form, (1e-7 * norm) ** 2), 0.0))) if norm > 0 else 0.0


def _applied(kernel: Kernel, v: Block) -> Block:
    out = create_block(*v.shape)
    kernel.apply(0, v, out)
    return out


def _transposed(kernel: Kernel, v: Block) -> Block:
    out = create_block(*v.shape)
    kernel.add_transpose(0, np.asfortranarray(v), 1.0, out)
    return out


def _largest(space: StateSpace, form: Form, absolute: float = 0.0) -> float:
    """The largest λ of B x = λ M x, to a relative tolerance or to an absolute one."""
    scale = np.sqrt(space.weights)[:, None] if space.is_collocated else np.ones((space.num_local, 1))

    def apply(x: Floats, y: Floats) -> None:
        """y = D⁻¹ B D⁻¹ x, D = M^{1/2} or the identity."""
        y[:] = (form(np.asfortranarray(x[:, None] / scale)) / scale)[:, 0]

    shell = create_shell(space.comm, space.num_local, apply, is_symmetric=True)
    start = shell.createVecRight()
    start.array[:] = hashed_normal(0, space.canonical)
    solver, prefix = SLEPc.EPS().create(space.comm), unique_prefix("norm")
    solver.setOptionsPrefix(prefix)
    if space.is_collocated:
        solver.setOperators(shell)
        solver.setProblemType(SLEPc.EPS.ProblemType.HEP)
    else:
        solver.setOperators(shell, space.mass)
        solver.setProblemType(SLEPc.EPS.ProblemType.GHEP)
    solver.setWhichEigenpairs(SLEPc.EPS.Which.LARGEST_REAL)
    solver.setDimensions(1, min(_BASIS, space.num_nodes))
    solver.setInitialSpace([start])
    solver.setTolerances(absolute if absolute > 0 else _TOLERANCE, _MAX_ITERATIONS)
    solver.setConvergenceTest(SLEPc.EPS.Conv.ABS if absolute > 0 else SLEPc.EPS.Conv.REL)
    direct: dict[str, str | float | bool | None] = {"st_ksp_type": "preonly", "st_pc_type": "cholesky"}
    if space.comm.size > 1:
        direct["st_pc_factor_mat_solver_type"] = "mumps"
    with options(prefix, {} if space.is_collocated else direct):
        solver.setFromOptions()
    try:
        solver.solve()
        if solver.getConverged() < 1:
            raise NotConverged(f"SLEPc found no norm of the kernel in {_MAX_ITERATIONS} iterations")
        return float(solver.getEigenvalue(0).real)
    finally:
        for thing in (solver, shell, start):
            thing.destroy()
