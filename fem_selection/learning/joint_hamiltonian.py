# SPDX-License-Identifier: MIT
"""`JointHamiltonian`: the Hamiltonians of all layers as one functional of the controls, for any mode and any box.

    𝓗(x) = Δt Σ_n H_n(x_n),    H_n(x_n) = Σ_i ⟨I_i, Π σ(K_n G_i + b_n)⟩ + R_n(x_n)

The stages G_i and the costates I_i are those of the sweep at the present control and stay as they are.  Each layer has
its own part of x, so the minimum of 𝓗 is that of every H_n; at the present control 𝓗' is the reduced gradient.  In
Galerkin mode Π σ mixes the nodes, and the rows of a layer cannot be minimised one by one as `Extremals` does.  TAO
minimises 𝓗 from several starts; the best local minimum of each layer is kept.  The gap is a lower bound of the true
one.
"""

from __future__ import annotations

import numpy as np
from petsc4py import PETSc

from fem_selection.adjoint.hamiltonian import Search
from fem_selection.dynamics.tape import Tape
from fem_selection.learning.extremals import ROUND_OFF, MaximumPrinciple
from fem_selection.learning.functional import Functional
from fem_selection.petsc import options, released, unique_prefix
from fem_selection.typing import Block, Floats

__all__ = ["JointHamiltonian"]

_SCALES = (1.0, 4.0, -1.0, 16.0)  # starts −τ ∇(data term) / α; the identity's minimiser is τ = 1
_RAYS, _FAR = 3, 1e8  # random rays on which 𝓗 is asked whether it has a minimum, and how far
_ITERATIONS = 150
_REDUCTION = 1e-5  # of the gradient: the gap's error is of the order of its square
_SPREAD = 3.0  # L² norm of random starts, relative to 1 + that of the present control


class JointHamiltonian:
    """𝓗 with states and costates of given controls, for problems with one control for each layer.

    Args:
        functional: J; its controls are overwritten.

    Note:
        All methods are collective.  Memory: stages and costates of all of this member's samples.
    """

    def __init__(self, functional: Functional) -> None:
        self.functional, self.space = functional, functional.control_space
        self._recorded: list[tuple[range, list[list[Block]], list[list[Block]]]] = []
        self._controls = np.empty(0)

    def sweep(self, controls: Floats) -> tuple[float, Floats]:
        """J and the shard of its dual at controls x, a shard; records stages and costates.

        Raises:
            NonFinite: as `Functional.evaluate`.
        """
        self._recorded, self._controls = [], controls.copy()

        def keep(columns: slice, tape: Tape, incoming: list[list[Block]]) -> None:
            stages, costates = (
                [[block.copy(order="F") for block in layer] for layer in part] for part in (tape.stages, incoming)
            )
            self._recorded.append((tape.layers, stages, costates))

        return self.functional.evaluate(controls, keep)

    def evaluate(self, controls: Floats) -> tuple[Floats, Floats, Floats]:
        """H_n of every layer, the sums of the absolute values of their terms, and the shard of the dual of 𝓗.

        Args:
            controls: Shard of x.
        """
        f, stepper = self.functional, self.functional.stepper
        f.set_controls(controls)
        f.clear_duals()
        layers, step = stepper.grid.layers, stepper.grid.step
        sums = np.zeros((2, layers))
        with np.errstate(over="ignore", invalid="ignore"):
            for recorded in self._recorded:
                for n, stages, costates in zip(*recorded, strict=True):
                    for stage, met in zip(stages, costates, strict=True):
                        s = np.asfortranarray(np.repeat(stepper.bias[n][:, None], stage.shape[1], axis=1))
                        stepper.kernel.apply(n, stage, s, keep=True)
                        rate, q = np.empty_like(s, order="F"), np.empty_like(s, order="F")
                        slope = np.empty((stepper.superposition.tape_rows, s.shape[1]), order="F")
                        stepper.superposition.evaluate_to_second(s, rate, slope, curvature=None)
                        stepper.superposition.move_transpose(slope, None, met, out=q)
                        sums[0, n] += float(np.vdot(met, rate))
                        sums[1, n] += float(np.abs(met * rate).sum())
                        if f.pullback is not None:
                            stepper.kernel.add_pullback(n, q, stage, scale=step, out=f.pullback)
                        if f.bias_dual is not None:
                            f.bias_dual[n] += step * q.sum(axis=1)
        dual = f.collect_dual()
        _, penalty = f.penalty.evaluate(controls)
        local = self.space.gather(penalty) * self.space.gather(controls) / (2.0 * step)
        sums = np.array(self.space.ensemble.sums(*sums.ravel())).reshape(2, layers)
        for name in ("kernel", "bias"):
            part = local[self.space.slices[name]]
            own = part.reshape(layers, -1).sum(axis=1) if part.size else np.zeros(layers)
            sums += self.space.space.comm.allreduce(own)
        moving = self._moving()
        return sums[0], sums[1], (dual + penalty) * moving

    def minimize(
        self, search: Search, scaled_bounds: tuple[Floats, Floats] | None = None
    ) -> tuple[MaximumPrinciple, MaximumPrinciple]:
        """Minimise the Hamiltonian of every layer at the controls of the last `sweep`.

        Args:
            search: Number of starts, and the seed of the random ones.
            scaled_bounds: Shards of lower and upper bounds in x̂, or None.

        Returns:
            The result of all starts, and that of the first, the present control.
        """
        layers = self.functional.stepper.grid.layers
        values, sizes, _ = self.evaluate(self._controls)
        lowest, best = values.copy(), self.space.gather(self._controls)
        nearest: MaximumPrinciple | None = None
        for number in range(search.starts):
            found = self._descend(self._start(number, search.seed), scaled_bounds)
            reached, _, _ = self.evaluate(found)
            local = self.space.gather(found)
            for n in np.flatnonzero(reached < lowest):
                lowest[n] = reached[n]
                for name in ("kernel", "bias"):
                    where = self.space.slices[name]
                    if where.stop > where.start:
                        best[where].reshape(layers, -1)[n] = local[where].reshape(layers, -1)[n]
            if nearest is None:
                nearest = self._principle(values, lowest.copy(), sizes, best.copy(), 1)
        assert nearest is not None
        return self._principle(values, lowest, sizes, best, search.starts), nearest

    def find_layer_without_minimum(self) -> int | None:
        """The first layer whose H_n falls without bound along one of some rays; None if there is none.

        The rays are random ones and the gradients of 𝓗 at random controls.  See `Hamiltonian.falls_without_bound`.
        """
        kept = self._controls * (1.0 - self._moving())
        for number in range(2 + len(_SCALES), 2 + len(_SCALES) + _RAYS):
            start = self._start(number, 0)
            for ray in (start - kept, self.space.riesz(self.evaluate(start)[2])):
                size = float(np.sqrt(self.space.ensemble.sum(float(ray @ ray))))
                for sign in (1.0, -1.0) if np.isfinite(size) and size > 0 else ():
                    values = self.evaluate(kept + sign * _FAR / size * ray)[0]
                    if np.any(below := values < -1e-6 * _FAR**2):
                        return int(np.argmax(below))
        return None

    def _principle(self, values: Floats, lowest: Floats, sizes: Floats, best: Floats, starts: int) -> MaximumPrinciple:
        step, gaps = self.functional.stepper.grid.step, values - lowest
        return MaximumPrinciple(
            gap=step * float(gaps.sum()),
            gaps=gaps,
            values=values,
            starts=starts,
            local_minimizer=best,
            row_gaps=np.empty((len(gaps), 0)),
            round_off=ROUND_OFF * step * float(sizes.sum()),
        )

    def _moving(self) -> Floats:
        """The shard of 1 for kernel and bias, 0 for the readout."""
        local = np.zeros(self.space.local_size)
        for name in ("kernel", "bias"):
            local[self.space.slices[name]] = 1.0
        return local[self.space.shard]

    def _start(self, number: int, seed: int) -> Floats:
        """Shard of x: the present control, zero, multiples of −∇(data term)/α at zero, then random ones."""
        moving, r = self._moving(), self.functional.regularization
        kept = self._controls * (1.0 - moving)
        if number == 0:
            return self._controls.copy()
        if number == 1:
            return kept
        if number - 2 < len(_SCALES):
            weights = np.ones(self.space.local_size)
            for name, weight in (("kernel", r.kernel), ("bias", r.bias)):
                weights[self.space.slices[name]] = weight if weight > 0 else 1.0
            _, _, dual = self.evaluate(kept)
            return kept - _SCALES[number - 2] * moving * self.space.riesz(dual) / weights[self.space.shard]
        size = self.space.ensemble.sum(float(self.space.to_scaled(self._controls * moving) @ self._controls))
        direction = self.space.random_direction(seed + 7919 * number)
        return kept + _SPREAD * (1.0 + np.sqrt(abs(size))) * moving * direction

    def _descend(self, start: Floats, scaled_bounds: tuple[Floats, Floats] | None) -> Floats:
        """The end, a shard of x, of TAO's bounded L-BFGS from a start."""
        space, step, prefix = self.space, self.functional.stepper.grid.step, unique_prefix("hamiltonian")
        free = np.full(len(start), np.inf)
        lower, upper = (-free, free) if scaled_bounds is None else scaled_bounds
        tao = PETSc.TAO().create(space.ensemble.world)
        x, gradient, low, high = (space.create_vector() for _ in range(4))
        x.array[:], low.array[:], high.array[:] = np.clip(space.to_scaled(start), lower, upper), lower, upper

        def evaluate(_: PETSc.TAO, x: PETSc.Vec, out: PETSc.Vec) -> float:
            values, _, dual = self.evaluate(space.to_controls(x.array_r))
            out.array[:] = space.dual_to_scaled(dual)
            value = step * float(values.sum())
            return value if np.isfinite(value) else np.inf

        with released(tao, x, gradient, low, high):
            tao.setOptionsPrefix(prefix)
            tao.setType(PETSc.TAO.Type.BLMVM)
            tao.setObjectiveGradient(evaluate, gradient)
            tao.setVariableBounds(low, high)
            tao.setSolution(x)
            tao.setTolerances(gatol=1e-13, grtol=0.0, gttol=_REDUCTION)
            tao.setMaximumIterations(_ITERATIONS)
            with options(prefix, {"tao_max_funcs": 20 * _ITERATIONS}):
                tao.setFromOptions()
            try:
                tao.solve()
            except PETSc.Error:  # 𝓗 overflows where the line search looks, on all ranks alike
                return start
            return space.to_controls(x.array_r.copy())
