# SPDX-License-Identifier: MIT
"""The optimal readout for given final states: a small convex problem that needs no sweep.

    min over (c, μ) of  μ₀/J Σ_j ℓ(⟨c, f_j(T)⟩ + μ, z_j) + α_c/2 (‖c‖² + |μ|²)

Pontryagin's principle concerns controls that depend on t.  The readout does not depend on t; its optimality condition
is this minimum.  The losses are convex in their outputs, so that TAO's `nls`, Newton's method with conjugate gradients
and a line search, finds it, in the variable x̂, where the L² product is the Euclidean one.

TAO costs nothing here.  For the digits (64 nodes, 10 outputs, 1437 samples) a solve takes 5 Newton steps and 23
products with the Hessian, 55 ms, and 8 steps and 160 products, 350 ms, with α_c = 1e-5.  A Newton-CG written out by
hand took as many and as long, to the same solution.  On six nodes TAO's objects add 0.1 ms to 0.6 ms.  Far from the
minimum its line search takes fewer steps, and without regularization it goes on where the Hessian vanishes.
"""

from __future__ import annotations

import numpy as np
from petsc4py import PETSc

from fem_selection.learning.functional import Functional
from fem_selection.objectives.terminal import LinearizedCost, ReadoutCost
from fem_selection.petsc import create_shell, options, released, unique_prefix
from fem_selection.typing import Block, Floats

__all__ = ["optimize_readout"]

_ITERATIONS = 50
_COARSEST = 0.25  # relative tolerance of the conjugate gradients while the gradient is large
_NEGLIGIBLE = 1e-14  # gradient norm


def optimize_readout(functional: Functional, final: Block, controls: Floats, *, tolerance: float = 1e-9) -> Floats:
    """The controls x with their readout replaced by the one that is optimal for given final states (collective).

    Args:
        functional: J, whose readout is one of the optimized parts; the readout that it holds is overwritten.
        final: States at T of this member's samples under the kernel and bias of `controls`, shape (num_local,
            J_member).
        controls: Shard of x; not changed.
        tolerance: Gradient norm at which to stop, relative to the first one.

    Returns:
        A new shard of x.
    """
    problem = _ReadoutProblem(functional, final)
    local = functional.control_space.gather(controls)
    where = problem.where
    local[where] = problem.minimize(local[where] / problem.scale, tolerance) * problem.scale
    return local[functional.control_space.shard].copy()


class _ReadoutProblem:
    """The objective in the variable M_L^{1/2} (c, μ), and its minimisation; all members hold the same."""

    def __init__(self, functional: Functional, final: Block) -> None:
        control_space = functional.control_space
        assert isinstance(functional.cost, ReadoutCost)
        self.functional, self.cost, self.control_space = functional, functional.cost, control_space
        self.final, self.targets = final, functional.targets
        self.factor = functional.weight / functional.num_samples
        self._still = np.zeros_like(final)
        self._at: LinearizedCost | None = None
        self.alpha = functional.regularization.readout
        self.where = slice(control_space.slices["readout"].start, control_space.slices["offset"].stop)
        self.scale: Floats = 1.0 / np.sqrt(control_space.lumped[self.where])
        self.split = control_space.slices["readout"].stop - control_space.slices["readout"].start

    def evaluate(self, x: Floats) -> tuple[float, Floats]:
        """The objective and its gradient."""
        self._set(x)
        self.cost.clear()
        with np.errstate(over="ignore", invalid="ignore"):
            value, _ = self.cost.evaluate(self.final, self.targets, self.factor)
        # the metric equals the lumped one in collocated mode only
        weighted = self._metric(x)
        total = self._sum_over_samples(np.array([value]))[0] + 0.5 * self.alpha * self.inner(x, weighted)
        return float(total), self._dual() + self.alpha * weighted

    def minimize(self, start: Floats, tolerance: float) -> Floats:
        """The minimiser that TAO's `nls` reaches from a start, or the best point before round-off."""
        comm, prefix = self.control_space.space.comm, unique_prefix("readout")
        x = PETSc.Vec().createMPI((start.size, None), comm=comm)
        x.array[:] = start
        hessian = create_shell(comm, start.size, self._multiply, is_symmetric=True)
        tao = PETSc.TAO().create(comm)

        def evaluate(_: PETSc.TAO, x: PETSc.Vec, gradient: PETSc.Vec) -> float:
            value, gradient.array[:] = self.evaluate(x.array_r)
            return value

        def linearize(_: PETSc.TAO, x: PETSc.Vec, *matrices: PETSc.Mat) -> None:
            self._set(x.array_r)
            self._at, _ = self.cost.linearize(self.final, self.targets, self.factor, gauss_newton=True)

        def set_krylov_tolerance(tao: PETSc.TAO) -> None:
            tao.getKSP().setTolerances(rtol=min(_COARSEST, np.sqrt(tao.getSolutionStatus()[2])))

        with released(tao, hessian, x):
            tao.setOptionsPrefix(prefix)
            tao.setType(PETSc.TAO.Type.NLS)
            tao.setObjectiveGradient(evaluate, None)
            tao.setHessian(linearize, hessian)
            tao.setMonitor(set_krylov_tolerance)
            tao.setTolerances(gatol=_NEGLIGIBLE, grtol=0.0, gttol=tolerance)
            tao.setMaximumIterations(_ITERATIONS)
            with options(prefix, {"tao_nls_ksp_type": "cg", "tao_nls_pc_type": "none"}):
                tao.setFromOptions()
            tao.solve(x)
            return x.array_r.copy()

    def inner(self, a: Floats, b: Floats) -> float:
        """The Euclidean product over the space communicator; all members hold the same."""
        product = float(a @ b)
        comm = self.control_space.space.comm
        return product if comm.size == 1 else float(comm.allreduce(product))

    def _multiply(self, h: Floats, out: Floats) -> None:
        """The Hessian at the last point that was linearized, times h."""
        assert self._at is not None
        moments, offset = self._parts(h)
        self.cost.assign_direction(moments, offset)
        self.cost.clear()
        self.cost.evaluate_second(self._at, self._still)
        out[:] = self._dual() + self.alpha * self._metric(h)

    def _set(self, x: Floats) -> None:
        self.cost.assign_moments(*self._parts(x))

    def _parts(self, x: Floats) -> tuple[Block, Floats]:
        """M c and μ from M_L^{1/2} (c, μ)."""
        space, values = self.control_space.space, x * self.scale
        readout = np.asfortranarray(values[: self.split].reshape(self.cost.num_outputs, -1).T)
        offset = values[self.split :] if space.comm.size == 1 else space.comm.bcast(values[self.split :])
        return space.apply_mass(readout), offset

    def _metric(self, x: Floats) -> Floats:
        """M_L^{-1/2} M M_L^{-1/2} x."""
        space = self.control_space.space
        if space.is_collocated:
            return x
        moments, _ = self._parts(x)
        dual = np.concatenate([moments.T.ravel(), x[self.split :] * self.scale[self.split :]])
        return dual * self.scale

    def _dual(self) -> Floats:
        """The derivative that the last evaluation added to the readout's duals, over all samples, in this variable."""
        space = self.control_space.space
        of_readout = space.apply_mass(self.cost.readout_dual).T.ravel()
        of_offset = self.cost.offset_dual[: len(self.scale) - self.split]
        dual = self._sum_over_samples(np.concatenate([of_readout, of_offset]))
        return dual * self.scale

    def _sum_over_samples(self, array: Floats) -> Floats:
        return self.control_space.ensemble.sum_over_samples(array)
