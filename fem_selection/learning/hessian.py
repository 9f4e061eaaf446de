# SPDX-License-Identifier: MIT
"""`Hessian`: the exact second derivative of the discrete objective, and its Gauss–Newton part, as actions.

    ⟨J''(x) h, k⟩  by a tangent sweep and a second-order adjoint sweep (`adjoint.second_order`) on tapes recorded at x
    ⟨G(x) h, k⟩ = μ/J Σ_j ⟨ℓ''(o_j) To_j h, To_j k⟩ + ⟨R'' h, k⟩,   To the derivative of the outputs; G is semidefinite

The action comes as a method on shards, as a PETSc shell matrix over the world and as a SciPy operator.  All of them map
a direction in x to a dual in x.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc
from scipy.sparse.linalg import LinearOperator

from fem_selection.adjoint.anchors_second import AnchorLinearization
from fem_selection.adjoint.second_order import Direction
from fem_selection.dynamics.anchors import AnchorFlow
from fem_selection.learning.functional import Functional
from fem_selection.learning.linearization import FunctionalLinearization
from fem_selection.learning.scaled import ScaledFunctional
from fem_selection.objectives.terminal import LinearizedCost, ReadoutCost
from fem_selection.petsc import create_shell, set_preconditioner
from fem_selection.typing import Floats

__all__ = ["Hessian", "ScaledHessian"]


class Hessian:
    """The second derivative J'' of a functional, as an action.

    Args:
        functional: J; its controls are overwritten by those of `linearize`.
        gauss_newton: Whether to leave out the terms with the costate; the rest is positive semidefinite for convex
            losses.
        memory: Bytes that each rank may keep from one product to the next, 1 GiB by default.  All data that do not
            depend on the direction take some 4 N J numbers a stage (2 N J with `gauss_newton`).  Data that do not fit,
            or exceed `tape.memory`, are computed again for every product, which takes half as long again and changes
            nothing else.

    Attributes:
        actions: Number of products so far.

    Note:
        Products are collective over the world.
    """

    def __init__(self, functional: Functional, gauss_newton: bool = False, memory: int = 2**30) -> None:
        self.functional, self.gauss_newton, self.actions = functional, gauss_newton, 0
        self._direction_kernel = functional.stepper.kernel.create_direction()
        self._operators = np.empty(functional.control_space.local_size)
        self._linearization = FunctionalLinearization(functional, gauss_newton, memory)
        self._controls: Floats | None = None
        self._anchors: AnchorLinearization | None = None
        self._cost: LinearizedCost | None = None  # of samples that are anchors

    def linearize(self, controls: Floats) -> None:
        """Take the second derivative at these controls, a shard of x, from now on; the next product sweeps there."""
        self._controls = controls.copy()
        self._linearization.renew()
        self._anchors = None

    def apply(self, direction: Floats) -> Floats:
        """J''(x) h, the shard of a dual in x, for a direction h, a shard in x (collective).

        Raises:
            RuntimeError: if `linearize` was not called before.
        """
        if self._controls is None:
            raise RuntimeError("linearize the Hessian first")
        f = self.functional
        f.set_controls(self._controls)
        if f.stepper.anchors is not None and self._anchors is None:
            self._anchors = self._linearize_anchors(f.stepper.anchors)
        along = self._set_direction(direction)
        f.clear_duals(with_factors=f.anchored is None)
        with np.errstate(over="ignore", invalid="ignore"):
            d_final = None if self._anchors is None else self._anchors.move(along)
            if f.anchored is None or self._cost is None or d_final is None:
                self._linearization.add_products(along)
                d_dual = None
            else:
                d_dual = f.anchored.spread(f.cost.evaluate_second(self._cost, f.anchored.pick(d_final)))
            if self._anchors is not None and f.pullback is not None:
                self._anchors.finish_back(along, f.pullback, f.bias_dual, d_dual=d_dual)
        _, result = f.penalty.evaluate(direction)
        result += f.collect_dual()
        self.actions += 1
        f.counts.hessian += 1
        return result

    def as_matrix(self) -> PETSc.Mat:
        """The action as a symmetric PETSc shell matrix over the world; the caller destroys it."""
        control_space = self.functional.control_space
        return _symmetric_shell(
            control_space.ensemble.world, control_space.shard.stop - control_space.shard.start, self.apply
        )

    def as_linear_operator(self) -> LinearOperator:
        """The action as a SciPy operator on this rank's shard; on several ranks its calls are collective."""
        size = self.functional.control_space.shard.stop - self.functional.control_space.shard.start

        def multiply(h: Floats) -> Floats:
            return self.apply(np.ascontiguousarray(h, dtype=np.float64).ravel())

        return LinearOperator((size, size), matvec=multiply, rmatvec=multiply, dtype=np.float64)

    def _linearize_anchors(self, flow: AnchorFlow) -> AnchorLinearization:
        """The anchors at the controls last set; the exact Hessian needs the duals of the kernel's factors first."""
        f = self.functional
        if f.anchored is not None:
            final, scale = f.anchored.final().copy(order="F"), f.weight / f.num_samples
            self._cost, dual = f.cost.linearize(final, f.targets, scale, gauss_newton=self.gauss_newton)
            at_end = None if dual is None else f.anchored.spread(dual)
            f.counts.forward += 1.0
            f.counts.adjoint += 0.0 if self.gauss_newton else 1.0
            return AnchorLinearization(flow, dual=at_end, gauss_newton=self.gauss_newton)
        if not self.gauss_newton:
            f.clear_duals()
            f.sweep_blocks(f.initial, f.targets, f.num_samples)
        return AnchorLinearization(flow, f.pullback, gauss_newton=self.gauss_newton)

    def _set_direction(self, direction: Floats) -> Direction:
        f = self.functional
        operators = f.control_space.to_operators(direction, self._operators)
        if isinstance(f.cost, ReadoutCost):
            rows, outputs = f.control_space.space.num_local, f.cost.num_outputs
            moments = operators["readout"] if "readout" in operators else np.zeros((outputs, rows))
            offset = operators["offset"] if "readout" in operators else np.zeros(outputs)
            f.cost.assign_direction(moments.T, offset)
        if "kernel" in operators:
            f.control_space.assign_kernel(self._direction_kernel, operators)
        return Direction(kernel=self._direction_kernel if "kernel" in operators else None, bias=operators.get("bias"))


class ScaledHessian:
    """The Hessian Ĵ'' = M_L^{-1/2} J'' M_L^{-1/2} in the optimizer's variable x̂, with the Riesz map as preconditioner.

    Args:
        functional: Ĵ; its controls are overwritten by those of `linearize`.
        gauss_newton: See `Hessian`.
        memory: See `Hessian`.
    """

    def __init__(self, functional: ScaledFunctional, gauss_newton: bool = False, memory: int = 2**30) -> None:
        self.functional, self.control_space = functional, functional.control_space
        self.hessian = Hessian(functional.functional, gauss_newton, memory)

    def linearize(self, scaled: Floats) -> None:
        """Take the second derivative at x̂, a shard, from now on; the next product sweeps there."""
        self.hessian.linearize(self.control_space.to_controls(scaled))

    def apply(self, scaled_direction: Floats) -> Floats:
        """Ĵ''(x̂) h, a shard in x̂, for a direction h, a shard in x̂ (collective).

        Raises:
            RuntimeError: if `linearize` was not called before.
        """
        dual = self.hessian.apply(self.control_space.to_controls(scaled_direction))
        return self.control_space.dual_to_scaled(dual, out=dual)

    def precondition(self, scaled_residual: Floats) -> Floats:
        """M_L^{1/2} M⁻¹ M_L^{1/2} r, the Riesz map in x̂; it is the identity in collocated mode (collective)."""
        space = self.control_space
        if space.space.is_collocated:
            return scaled_residual
        return space.to_scaled(space.riesz(space.dual_from_scaled(scaled_residual)))

    def apply_metric(self, scaled: Floats) -> Floats:
        """M_L^{-1/2} M M_L^{-1/2} x̂, the inverse of `precondition`, for a shard in x̂ (collective)."""
        space = self.control_space
        if space.space.is_collocated:
            return scaled
        return space.dual_to_scaled(space.apply_metric(space.to_controls(scaled)))

    def as_matrix(self) -> PETSc.Mat:
        """The action as a symmetric PETSc shell matrix; the caller destroys it."""
        return _symmetric_shell(self.control_space.ensemble.world, len(self.control_space.scale), self.apply)

    def use_as_preconditioner(self, pc: PETSc.PC) -> None:
        """Set the Riesz map, `precondition`, as the action of a PETSc preconditioner.

        Methods for boxes solve for the controls inside of their bounds alone: these shorter vectors stay as they are.
        """
        space = self.control_space

        def apply(x: Floats, y: Floats) -> None:
            is_part = not space.space.is_collocated and space.ensemble.any(x.size != space.scale.size)
            y[:] = x if is_part else self.precondition(x)

        set_preconditioner(pc, apply)


def _symmetric_shell(comm: MPI.Comm, num_local: int, action: Callable[[Floats], Floats]) -> PETSc.Mat:
    def apply(x: Floats, y: Floats) -> None:
        y[:] = action(x)

    return create_shell(comm, num_local, apply, is_symmetric=True)
