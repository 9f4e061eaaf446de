# SPDX-License-Identifier: MIT
"""Implicit time steps of the Hamilton–Jacobi–Bellman equation, which no fast corner of the box bounds.

    U₁ = V + γΔτ L(U₁),   U₂ = V + (1 − γ)Δτ L(U₁) + γΔτ L(U₂),   V⁺ = U₂,   γ = 1 − 1/√2

This is Alexander's method of order two; it damps fast modes completely (L-stable).  Each stage is solved by policy
iteration (Howard): minimise the Hamiltonian at the present V, then solve the linear equation of this policy,

    (I − γΔτ A(v, D)) δ = base + γΔτ L(U) − U,   U ← U + δ

Since H is a minimum over policies, this is Newton's method for the Hamiltonian.  A has the whole viscosity, S = 1:
I − γΔτ A is then an M-matrix wherever the scheme with fixed bounds is monotone.  The part of the viscosity that the
limiter takes away enters through L alone.

References:
    R. Alexander, SIAM J. Numer. Anal. 14 (1977) 1006, doi:10.1137/0714068.
    O. Bokanowski, S. Maroso, H. Zidani, SIAM J. Numer. Anal. 47 (2009) 3001, doi:10.1137/08073041X (Howard's
    algorithm).
"""

from __future__ import annotations

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc as fem_petsc
from mpi4py import MPI
from petsc4py import PETSc

from fem_selection.compilation import compile_with
from fem_selection.hjb.forms import step_forms
from fem_selection.hjb.scheme import ViscousScheme
from fem_selection.petsc import options, unique_prefix
from fem_selection.typing import Floats

__all__ = ["PolicyIteration"]

_GAMMA = 1.0 - 1.0 / np.sqrt(2.0)
_ITERATIONS = 4  # of the policy in a stage, at most: what is left after them is below the error of the step
_ENOUGH = 1e-4  # change of V by one iteration, relative to |V| + mean |V|, that ends a stage earlier
_TOO_MUCH = 0.1  # the same change that makes a step fail
_SOLVER: dict[str, str | float | bool | None] = {
    "ksp_type": "gmres",
    "ksp_rtol": 1e-12,  # results on several ranks differ by no more
    "ksp_max_it": 300,
    "ksp_gmres_restart": 60,
    "pc_type": "bjacobi",
    "sub_pc_type": "ilu",
}


class PolicyIteration:
    """The linear systems and the steps of a scheme without fixed bounds.

    Args:
        scheme: The scheme, whose V is advanced.

    Note:
        Collective.  It owns PETSc's objects: call `destroy`.
    """

    def __init__(self, scheme: ViscousScheme) -> None:
        self.scheme, space = scheme, scheme.space
        whole = fem.Function(scheme.S.function_space)
        whole.x.array[:] = 1.0
        forms = step_forms(scheme.V, scheme.H, scheme.v, D=scheme.D, S=whole, keep_flux=True)
        u, phi = ufl.TrialFunction(space), ufl.TestFunction(space)
        # H_K is a coefficient of the rate; its derivative with respect to V is v·∇, v = ∂_ξ H
        form = ufl.derivative(forms.rate, scheme.V, u) + ufl.dot(scheme.v, ufl.grad(u)) * phi * ufl.dx
        self._form = compile_with(scheme.comm, lambda: fem.form(form))
        self._matrix = fem_petsc.create_matrix(self._form)
        self._change, self._residual = self._matrix.createVecs()
        self._scale = self._residual.duplicate()
        self._solver = PETSc.KSP().create(scheme.comm)
        prefix = unique_prefix("hjb")
        self._solver.setOptionsPrefix(prefix)
        self._solver.setOperators(self._matrix)
        with options(prefix, _SOLVER):
            self._solver.setFromOptions()

    def destroy(self) -> None:
        """Destroy PETSc's objects (collective)."""
        for thing in (self._solver, self._matrix, self._change, self._residual, self._scale):
            thing.destroy()

    def step(self, step: float) -> bool:
        """Take one step; return whether it was solved, and leave V as it was if not (collective).

        The scheme's fields must be those of its V: call its `refresh` before.
        """
        values = self.scheme.V.x.array
        start = values.copy()
        if self._solve_stage(start, _GAMMA * step):
            base = start + (1.0 - _GAMMA) / _GAMMA * (values - start)
            self.scheme.refresh(fresh=False)
            if self._solve_stage(base, _GAMMA * step):
                return True
        values[:] = start
        return False

    def _solve_stage(self, base: Floats, step: float) -> bool:
        """Solve U = base + step L(U) by policy iteration from U = V, whose fields the scheme has.

        Return whether the last iteration changed U by little.
        """
        scheme, n = self.scheme, self.scheme.num_owned
        change = np.inf
        for k in range(_ITERATIONS):
            if k > 0:
                scheme.refresh(fresh=False)
            residual = base[:n] + step * scheme.rate() - scheme.V.x.array[:n]
            self._assemble(step)
            self._residual.array[:] = residual
            self._solver.solve(self._residual, self._change)
            correction = self._change.array
            change = self._relative(correction)
            if self._solver.getConvergedReason() < 0 or not np.isfinite(change):
                return False
            scheme.V.x.array[:n] += correction
            scheme.V.x.scatter_forward()
            if change <= _ENOUGH:
                break
        return change <= _TOO_MUCH

    def _assemble(self, step: float) -> None:
        """Assemble I − step A with the fields of the last `refresh`."""
        scheme = self.scheme
        self._matrix.zeroEntries()
        fem_petsc.assemble_matrix(self._matrix, self._form)
        self._matrix.assemble()
        self._scale.array[:] = -step / scheme.mass[: scheme.num_owned]
        self._matrix.diagonalScale(self._scale)
        self._matrix.shift(1.0)

    def _relative(self, change: Floats) -> float:
        """The largest |δ_i| / (|V_i| + mean |V|) over all nodes (collective)."""
        comm, values = self.scheme.comm, np.abs(self.scheme.V.x.array[: self.scheme.num_owned])
        mean = comm.allreduce(float(values.sum()), op=MPI.SUM) / comm.allreduce(len(values), op=MPI.SUM)
        relative = np.abs(change) / np.maximum(values + mean, np.finfo(float).tiny)
        return float(comm.allreduce(float(np.max(relative, initial=0.0)), op=MPI.MAX))
