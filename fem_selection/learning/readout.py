# SPDX-License-Identifier: MIT
"""The optimal readout for given final states: a small convex problem that needs no sweep.

    min over (c, μ) of  μ₀/J Σ_j ℓ(⟨c, f_j(T)⟩ + μ, z_j) + α_c/2 (‖c‖² + |μ|²)

Pontryagin's principle concerns controls that depend on t.  The readout does not depend on t; its optimality condition
is this minimum.  The losses are convex in their outputs, so that Newton's method with conjugate gradients finds it, in
the variable x̂, where the L² product is the Euclidean one.
"""

from __future__ import annotations

import numpy as np

from fem_selection.learning.functional import Functional
from fem_selection.objectives.terminal import LinearizedCost, ReadoutCost
from fem_selection.typing import Block, Floats

__all__ = ["optimize_readout"]

_ARMIJO = 1e-4


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
    x = local[where] / problem.scale
    value, gradient = problem.evaluate(x)
    first = problem.norm(gradient)
    for _ in range(50):
        if problem.norm(gradient) <= tolerance * first + 1e-14:
            break
        step = problem.newton_step(x, gradient)
        slope, length = problem.inner(gradient, step), 1.0
        while length > 1e-10:
            new, its_gradient = problem.evaluate(x + length * step)
            if new <= value + _ARMIJO * length * slope:
                break
            length *= 0.5
        else:
            break  # no step lowers the objective: round-off
        x, value, gradient = x + length * step, new, its_gradient
    local[where] = x * problem.scale
    return local[functional.control_space.shard].copy()


class _ReadoutProblem:
    """Value, gradient and Newton steps in the variable M_L^{1/2} (c, μ); all members hold the same."""

    def __init__(self, functional: Functional, final: Block) -> None:
        control_space = functional.control_space
        assert isinstance(functional.cost, ReadoutCost)
        self.functional, self.cost, self.control_space = functional, functional.cost, control_space
        self.final, self.targets = final, functional.targets
        self.factor = functional.weight / functional.num_samples
        self._still = np.zeros_like(final)
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

    def newton_step(self, x: Floats, gradient: Floats) -> Floats:
        """−H⁻¹ g by conjugate gradients, as accurate as superlinear convergence requires."""
        self._set(x)
        at, _ = self.cost.linearize(self.final, self.targets, self.factor, gauss_newton=True)
        step, residual = np.zeros_like(x), -gradient
        direction, square = residual.copy(), self.inner(residual, residual)
        enough = min(0.25, square**0.25) ** 2 * square
        for _ in range(200):
            product = self._hessian(at, direction)
            bend = self.inner(direction, product)
            if bend <= 0:  # without regularization the objective may be flat
                break
            length = square / bend
            step += length * direction
            residual -= length * product
            new = self.inner(residual, residual)
            if new <= enough:
                break
            direction = residual + new / square * direction
            square = new
        return step if step.any() else -gradient

    def inner(self, a: Floats, b: Floats) -> float:
        """The Euclidean product over the space communicator; all members hold the same."""
        product = float(a @ b)
        comm = self.control_space.space.comm
        return product if comm.size == 1 else float(comm.allreduce(product))

    def norm(self, a: Floats) -> float:
        """The Euclidean norm over the space communicator."""
        return float(np.sqrt(self.inner(a, a)))

    def _hessian(self, at: LinearizedCost, h: Floats) -> Floats:
        moments, offset = self._parts(h)
        self.cost.assign_direction(moments, offset)
        self.cost.clear()
        self.cost.evaluate_second(at, self._still)
        return self._dual() + self.alpha * self._metric(h)

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
