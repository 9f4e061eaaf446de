# SPDX-License-Identifier: MIT
"""The sweeps of a functional beside the assembled weak forms in UFL: on its own mesh, kernel, σ, scheme and ranks.

    (G_i − F_n, φ) = Δt Σ_{j≤i} a_ij (σ(S_j), φ),    (F_{n+1} − F_n, φ) = Δt Σ_i b_i (σ(S_i), φ),    S = K G + b
    (δG_i − δF_n, φ) = Δt Σ_{j≤i} a_ij F'(S_j; δS_j, φ),    δS = K δG + δK G + δb,    and so on for δF_{n+1}
    I_i = b_i P_{n+1} + Σ_{j≥i} a_ji Ḡ_j,    P_n = P_{n+1} + Σ_i Ḡ_i,    Ḡ_i = Δt Kᵀ F'(S_i; ·, M⁻¹ I_i)
    (G_i − H_i, φ) − Δt a_ii (σ(S_i), φ) = 0  and its Jacobian, where stage i is implicit

The right sides are assembled by dolfinx from the forms of `dynamics.SelectionEquation`; the left sides are what the
sweeps computed.  The difference is round-off, and the tolerance of the solver where stages are implicit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from fem_selection.adjoint import sweep_back
from fem_selection.adjoint.anchors import move_anchors
from fem_selection.adjoint.tangent import step_tangent
from fem_selection.dynamics import Stepper, Tape
from fem_selection.learning.functional import Functional
from fem_selection.typing import Block, Floats, create_block

__all__ = ["WeakFormErrors", "measure_weak_form"]

_SAMPLES = 2
_LAYERS = 3


@dataclass(frozen=True)
class WeakFormErrors:
    """Largest relative differences between sweeps and assembled forms.

    Attributes:
        rate: Of the stages and layers, forward.
        tangent: Of the tangents of stages and layers, in a direction of states, kernel and bias.
        adjoint: Of the costates of the stages and of the duals that a layer hands on.
        stage: Of the residuals of implicit stages and of their Jacobians at the solutions of linear systems; zero if no
            stage is implicit.
        layers: The layers that were compared.
        samples: Number of samples of each member that were compared.
    """

    rate: float
    tangent: float
    adjoint: float
    stage: float
    layers: tuple[int, ...]
    samples: int

    @property
    def largest(self) -> float:
        """The largest of the four."""
        return max(self.rate, self.tangent, self.adjoint, self.stage)


def measure_weak_form(functional: Functional, controls: Floats, seed: int = 0) -> WeakFormErrors:
    """Compare sweeps with assembled forms for some samples in the first, a middle and the last layer (collective).

    Args:
        functional: J; its controls are overwritten.
        controls: Shard of x.
        seed: Seed of the random duals and directions.
    """
    functional.set_controls(controls)
    stepper = functional.stepper
    layers = tuple(int(n) for n in np.unique(np.linspace(0, stepper.grid.layers - 1, _LAYERS).round()))
    initial = np.asfortranarray(functional.initial[:, :_SAMPLES])
    worst = np.zeros(4)
    if initial.shape[1]:
        comparison = _Comparison(stepper, initial, np.random.default_rng(seed))
        for n in layers:
            worst = np.maximum(worst, comparison.errors_of_layer(n))
    world = functional.control_space.ensemble.world
    rate, tangent, adjoint, stage = (float(world.allreduce(error, op=MPI.MAX)) for error in worst)
    return WeakFormErrors(rate=rate, tangent=tangent, adjoint=adjoint, stage=stage, layers=layers, samples=_SAMPLES)


class _Comparison:
    """One sweep of a block, forward and back, and the forms."""

    def __init__(self, stepper: Stepper, initial: Block, rng: np.random.Generator) -> None:
        self._stepper, self._space, self._rng = stepper, stepper.space, rng
        self._equation = stepper.equation
        samples, stages = initial.shape[1], range(stepper.scheme.num_stages)
        self._tape: Tape = stepper.tape(samples)
        stepper.advance(initial, self._tape)
        self._met = [[create_block(*initial.shape) for _ in stages] for _ in range(stepper.grid.layers)]
        self._dual = self._random(initial)
        left = self._dual.copy(order="F")
        sweep_back(stepper, self._tape, left, kernel_pullback=None, bias_dual=None, to_initial=True, incoming=self._met)
        self._first_dual = left

    def errors_of_layer(self, n: int) -> tuple[float, float, float, float]:
        """The relative differences of rates, tangent, adjoint and implicit stages in layer n."""
        arguments = [self._argument(n, i) for i in range(self._stepper.scheme.num_stages)]
        implicit = [i for i, a in enumerate(self._stepper.scheme.diagonal) if a]
        stage = max((self._stage_error(n, i, arguments[i]) for i in implicit), default=0.0)
        return self._rate_error(n, arguments), self._tangent_error(n, arguments), self._adjoint_error(n), stage

    def _rate_error(self, n: int, arguments: list[Block]) -> float:
        tape = self._tape
        rates = [np.column_stack([self._equation.assemble_rate(column) for column in s.T]) for s in arguments]
        return self._moved_error(tape.states[n], tape.stages[n], tape.states[n + 1], rates)

    def _moved_error(self, before: Block, stages: list[Block], after: Block, duals: list[Block]) -> float:
        """Compare how far the stages and the end of a layer lie from its start with the assembled rates."""
        scheme, dt = self._stepper.scheme, self._stepper.grid.step
        errors = []
        for weights, block in [*zip(scheme.a, stages, strict=True), (scheme.b, after)]:
            moved = self._space.apply_mass(np.asfortranarray(block - before))
            expected = sum((dt * w * d for w, d in zip(weights, duals, strict=False)), np.zeros_like(moved))
            errors.append(self._difference(moved, expected, self._space.apply_mass(block)))
        return max(errors)

    def _tangent_error(self, n: int, arguments: list[Block]) -> float:
        stepper, tape = self._stepper, self._tape
        kernel, bias = stepper.kernel.create_direction(), self._rng.standard_normal(stepper.bias.shape)
        kernel.assign(self._rng.standard_normal(stepper.kernel.num_parameters))
        move_anchors(stepper, kernel, bias, until=n)
        before = self._random(tape.states[n])
        after = before.copy(order="F")
        moved = step_tangent(stepper, n, tape.stages[n], slopes=tape.slopes[n], state=after, kernel=kernel, bias=bias)
        duals = []
        for i, (s, stage) in enumerate(zip(arguments, moved, strict=True)):
            c, p = stepper.intervals[n][i], stepper.places[n][i]
            ds = np.asfortranarray(np.repeat(bias[c][:, None], stage.shape[1], axis=1))
            kernel.apply(p, np.asfortranarray(tape.stages[n][i]), ds, keep=True)
            stepper.kernel.apply(p, stage, ds, keep=True)
            pairs = zip(s.T, ds.T, strict=True)
            duals.append(np.column_stack([self._equation.assemble_tangent(*pair) for pair in pairs]))
        return self._moved_error(before, moved, after, duals)

    def _stage_error(self, n: int, i: int, s: Block) -> float:
        """Compare an implicit stage with its form."""
        stepper, tape, stage = self._stepper, self._tape, np.asfortranarray(self._tape.stages[n][i])
        a, known = stepper.grid.step * stepper.scheme.diagonal[i], tape.states[n].copy(order="F")
        for j, weight in enumerate(stepper.scheme.lower[i]):
            duals = [self._equation.assemble_rate(column) for column in self._argument(n, j).T]
            known += stepper.grid.step * weight * self._space.riesz(np.column_stack(duals))
        columns = zip(stage.T, known.T, s.T, strict=True)
        residual = np.column_stack([self._equation.assemble_stage(g, h, a, s=at) for g, h, at in columns])
        error = self._difference(residual, np.zeros_like(residual), self._space.apply_mass(stage))
        return max(error, self._solve_error(n, i, s))

    def _solve_error(self, n: int, i: int, s: Block) -> float:
        """Compare the solution of an implicit stage's linear system with the form's Jacobian."""
        stepper, a = self._stepper, self._stepper.grid.step * self._stepper.scheme.diagonal[i]
        right, found, image = self._random(s), create_block(*s.shape), create_block(*s.shape)
        stepper.solve_tangent(n, i, stepper.derivative(self._tape.slopes[n][i]), right=right, out=found)
        stepper.kernel.apply(stepper.intervals[n][i], found, image)
        columns = zip(s.T, found.T, image.T, strict=True)
        duals = [self._equation.assemble_stage_tangent(a, at, dg, ds=ds) for at, dg, ds in columns]
        expected = self._space.apply_mass(right)
        return self._difference(np.column_stack(duals), expected, expected)

    def _adjoint_error(self, n: int) -> float:
        """Compare the costates of layer n with what layer n + 1 hands on by the form, and ∂J/∂F_0 with layer 0's."""
        scheme = self._stepper.scheme
        stages = range(scheme.num_stages)
        after = self._dual if n + 1 == self._stepper.grid.layers else self._handed_on(n + 1)
        pulled = [self._pulled_back(n, i) for i in stages]
        errors = []
        for i in stages:
            terms = [scheme.a[j][i] * pulled[j] for j in stages if len(scheme.a[j]) > i]
            errors.append(self._difference(self._met[n][i], sum(terms, scheme.b[i] * after), after))
        if n == 0:
            errors.append(self._difference(self._first_dual, sum(pulled, after), after))
        return max(errors)

    def _handed_on(self, n: int) -> Block:
        """P_n = P_{n+1} + Σ Ḡ_i by the form, where P_{n+1} follows from I_i of the stage of layer n of largest b_i."""
        scheme, stages = self._stepper.scheme, range(self._stepper.scheme.num_stages)
        pulled = [self._pulled_back(n, i) for i in stages]
        at = max(stages, key=lambda i: abs(scheme.b[i]))
        later = [scheme.a[j][at] * pulled[j] for j in stages if len(scheme.a[j]) > at]
        return sum(pulled, (self._met[n][at] - sum(later)) / scheme.b[at])

    def _pulled_back(self, n: int, i: int) -> Block:
        """Ḡ_i by the adjoint form."""
        s = self._argument(n, i)
        pairs = zip(s.T, self._space.riesz(self._met[n][i]).T, strict=True)
        q = np.column_stack([self._equation.assemble_adjoint(*pair) for pair in pairs])
        result = create_block(*s.shape)
        place = self._stepper.places[n][i]
        self._stepper.kernel.add_transpose(place, np.asfortranarray(q), self._stepper.grid.step, out=result)
        return result

    def _argument(self, n: int, i: int) -> Block:
        """S_i = K G_i + b of layer n."""
        c, stage = self._stepper.intervals[n][i], self._tape.stages[n][i]
        s = np.asfortranarray(np.repeat(self._stepper.bias[c][:, None], stage.shape[1], axis=1))
        self._stepper.kernel.apply(self._stepper.places[n][i], np.asfortranarray(stage), s, keep=True)
        return s

    def _random(self, like: Block) -> Block:
        return np.asfortranarray(self._rng.standard_normal(like.shape))

    def _difference(self, found: Block, expected: Block, scale: Block) -> float:
        """The largest difference over the largest entry of `scale`, over all ranks of the space (collective)."""
        sizes = np.array([np.max(np.abs(found - expected), initial=0.0), np.max(np.abs(scale), initial=0.0)])
        self._space.comm.Allreduce(MPI.IN_PLACE, sizes, op=MPI.MAX)
        return float(sizes[0] / max(sizes[1], 1e-300))
