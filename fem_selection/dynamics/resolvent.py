# SPDX-License-Identifier: MIT
"""The resolvent (I − a A)⁻¹ of a linearization whose kernel has a local part, or of its symmetric part.

    A = Π σ'(g*) K,   a > 0;      μ = 1/(1 − a λ) is an eigenvalue of the resolvent for each λ of A

Diffusion makes ‖A‖ ~ h⁻².  Beside so large a norm, eigenvalues of order one are close together, and a Krylov space of A
does not separate them.  The resolvent's eigenvalues of largest modulus belong to the λ nearest to 1/a.  GMRES solves
the systems, preconditioned by the sparse factorization of the local part that implicit stages use.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from petsc4py import PETSc

from fem_selection.dynamics.field import Linearization
from fem_selection.dynamics.preconditioner import LocalPreconditioner
from fem_selection.dynamics.superposition import derivative_from_slope
from fem_selection.errors import NotConverged
from fem_selection.kernels.base import HasLocalPart, Kernel
from fem_selection.linalg.operators import Operator
from fem_selection.petsc import create_shell, ksp_reason, options, unique_prefix
from fem_selection.typing import Block, Floats

__all__ = ["Resolvent", "has_local_part", "resolvents_of"]

_TOLERANCE = 1e-13
_MAX_ITERATIONS = 300


def has_local_part(kernel: Kernel, interval: int = 0) -> bool:
    """Return whether a kernel has a local part that is not zero (collective over space).

    Args:
        kernel: K.
        interval: The control interval.
    """
    if not isinstance(kernel, HasLocalPart):
        return False
    matrix = kernel.sparse_operator(interval)
    return matrix is not None and matrix.norm() > 0.0


def resolvents_of(linearization: Linearization, operator: Operator) -> Callable[[float], Resolvent] | None:
    """Return the function a ↦ `Resolvent` with which eigenvalues are searched for (collective over space).

    Args:
        linearization: F' at one state.
        operator: A: the linearization itself, or an operator with the same stiff part.

    Returns:
        The function; None if the kernel has no local part, because then products with A suffice.
    """
    if not has_local_part(linearization.field.kernel, linearization.field.interval):
        return None
    return lambda a: Resolvent(linearization, operator, a)


class Resolvent:
    """v ↦ (I − a A)⁻¹ v.

    Args:
        linearization: F' at one state; its kernel's local part gives the preconditioner.
        operator: A: the linearization itself, or an operator with the same stiff part, such as its symmetric part.
        a: A positive number; 1/a must be no eigenvalue of A.

    Note:
        Everything is collective over space.
    """

    def __init__(self, linearization: Linearization, operator: Operator, a: float) -> None:
        field = linearization.field
        self._preconditioner = LocalPreconditioner(field.space, field.kernel)
        derivative = derivative_from_slope(field.superposition, linearization.slope)
        self._preconditioner.prepare(field.interval, a, derivative, like=field.space.create_block(1))

        def apply(x: Floats, y: Floats) -> None:
            """y = x − a A x."""
            block = np.asfortranarray(x[:, None])
            y[:] = (block - a * operator.apply(block))[:, 0]

        self._matrix = create_shell(field.space.comm, field.space.num_local, apply)
        self._x, self._b = self._matrix.createVecs()
        self._solver, prefix = PETSc.KSP().create(field.space.comm), unique_prefix("resolvent")
        self._solver.setOptionsPrefix(prefix)
        self._solver.setOperators(self._matrix)
        pc = self._solver.getPC()
        pc.setType(self._preconditioner.pc_type)
        self._preconditioner.attach(pc)
        with options(prefix, {"ksp_type": "gmres", "ksp_gmres_restart": 100, "ksp_pc_side": "right"}):
            self._solver.setFromOptions()
        self._solver.setTolerances(rtol=_TOLERANCE, atol=1e-300, max_it=_MAX_ITERATIONS)

    def apply(self, v: Block) -> Block:
        """Return (I − a A)⁻¹ v, shape (num_local, 1).

        Raises:
            NotConverged: if the system has no solution, or GMRES leaves a residual above 10⁻⁶ of v.
        """
        self._b.array[:] = v[:, 0]
        self._x.set(0.0)
        try:
            self._solver.solve(self._b, self._x)
        except PETSc.Error as error:  # as where I − a A is singular
            raise NotConverged("a system with the linearization has no solution") from error
        reason = self._solver.getConvergedReason()
        if reason < 0 and not self._is_near():
            raise NotConverged(f"GMRES did not solve a system with the linearization: {ksp_reason(reason)}")
        return self._x.array_r[:, None].copy(order="F")

    def _is_near(self) -> bool:
        """Whether the residual is at most 10⁻⁶ of the right-hand side; round-off may prevent a smaller one."""
        return bool(self._solver.getResidualNorm() <= 1e-6 * self._b.norm())

    def destroy(self) -> None:
        """Destroy PETSc's objects (collective)."""
        self._preconditioner.release()
        for thing in (self._solver, self._matrix, self._x, self._b):
            thing.destroy()
