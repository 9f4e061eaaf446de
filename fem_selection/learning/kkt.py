# SPDX-License-Identifier: MIT
"""The state-costate-control system: the first-order conditions as one residual, for any triple (f, p, u).

    f_{n+1} − Φ_n(f_n; u) = 0,  f_0 = f^I                          state         (Φ_n: layer n of the scheme)
    p_n − ∂_f⟨p_{n+1}, Φ_n(f_n; u)⟩ = 0,  p_L = ∂Φ(f_L)            costate
    ∂_u ( Σ_n ⟨p_{n+1}, Φ_n(f_n; u)⟩ + Φ(f_L) + R(u) ) = 0          control

The residuals of states and costates are divided by Δt and measured as functions of t and y in L², Euclidean over the
samples; costates carry the factor 1/J of the objective.  The residual of the third equation is measured by its L²
representative.  A triple from `solve_triple` satisfies the first two equations to round-off, and the residual of the
third is then the reduced gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.adjoint.anchors import AnchorsBack, finish_back
from fem_selection.adjoint.backward import step_back
from fem_selection.learning.functional import Functional
from fem_selection.typing import Block, Floats, create_block

__all__ = ["KktResidual", "Triple", "kkt_residual", "solve_triple"]


@dataclass(frozen=True)
class Triple:
    """States, costates and controls that need not belong together.

    Attributes:
        states: f_0 … f_L of this member's samples, L + 1 blocks of (num_local, J_member).
        costates: p_0 … p_L as duals (Euclidean derivatives in the nodal values), L + 1 blocks of the same shape.
        controls: A shard of x.
    """

    states: list[Block]
    costates: list[Block]
    controls: Floats


@dataclass(frozen=True)
class KktResidual:
    """The norms of the residuals of the three equations.

    Attributes:
        state: Of the state equation.
        costate: Of the costate equation.
        control: Of the control equation.
    """

    state: float
    costate: float
    control: float

    @property
    def total(self) -> float:
        """The Euclidean norm of the three."""
        return float(np.sqrt(self.state**2 + self.costate**2 + self.control**2))


def solve_triple(functional: Functional, controls: Floats) -> Triple:
    """The triple whose states and costates belong to given controls, by one sweep forward and one back.

    Args:
        functional: J; its controls are overwritten.
        controls: Shard of x; the triple keeps it by reference.

    Returns:
        The triple; its states and costates are not checked for finiteness.

    Note:
        Collective; memory is 2 (L + 1) N J numbers over the number of ranks.
    """
    f = functional
    f.set_controls(controls)
    layers, shape = f.stepper.grid.layers, f.initial.shape
    states = [f.initial.copy(order="F"), *(create_block(*shape) for _ in range(layers))]
    costates = [create_block(*shape) for _ in range(layers + 1)]
    with np.errstate(over="ignore", invalid="ignore"):
        for columns in f.blocks(shape[1]):
            layer = _Layer(functional, columns)
            for n in range(layers):
                layer.advance(n, states[n])
                states[n + 1][:, columns] = layer.out
            _, dual = f.cost.evaluate(layer.out, f.targets[:, columns], f.weight / f.num_samples)
            costates[layers][:, columns] = dual
            for n in reversed(range(layers)):
                layer.advance(n, states[n])
                layer.pull_back(n, dual, None, bias_dual=None)
                costates[n][:, columns] = dual
    return Triple(states=states, costates=costates, controls=controls)


def kkt_residual(functional: Functional, triple: Triple, multipliers: Floats | None = None) -> KktResidual:
    """The norms of the residuals of the three equations at a triple (collective).

    Args:
        functional: J; its controls are overwritten by those of the triple.
        triple: Any states, costates and controls; not changed.
        multipliers: Shard, as a dual in x, of the multipliers of lower bounds minus those of upper bounds; the third
            equation is that of ∂_u minus these.  None for zero.
    """
    f, layers = functional, functional.stepper.grid.layers
    f.set_controls(triple.controls)
    f.clear_duals()
    squares = np.zeros(2)
    with np.errstate(over="ignore", invalid="ignore"):
        for columns in f.blocks(f.initial.shape[1]):
            layer = _Layer(functional, columns)
            states, costates = ([b[:, columns] for b in blocks] for blocks in (triple.states, triple.costates))
            squares[0] += _square(f, states[0] - f.initial[:, columns], dual=False)
            anchors = AnchorsBack(f.stepper, f.pullback, f.bias_dual)
            for n in reversed(range(layers)):
                layer.advance(n, triple.states[n])
                squares[0] += _square(f, states[n + 1] - layer.out, dual=False)
                back = costates[n + 1].copy(order="F")
                layer.pull_back(n, back, f.pullback, bias_dual=f.bias_dual)
                anchors.through(range(n, n + 1))
                squares[1] += _square(f, costates[n] - back, dual=True)
            final = np.asfortranarray(states[layers])
            _, dual = f.cost.evaluate(final, f.targets[:, columns], f.weight / f.num_samples)
            squares[1] += _square(f, costates[layers] - dual, dual=True)
    finish_back(f.stepper, kernel_pullback=f.pullback, bias_dual=f.bias_dual)
    _, dual = f.penalty.evaluate(triple.controls)
    dual += f.collect_dual()
    if multipliers is not None:
        dual -= multipliers
    sums = f.control_space.ensemble.sums(*squares) / f.stepper.grid.step
    return KktResidual(
        state=float(np.sqrt(sums[0])), costate=float(np.sqrt(sums[1])), control=f.control_space.dual_norm(dual)
    )


class _Layer:
    """Carries a block of samples forward and back through one layer at a time."""

    def __init__(self, functional: Functional, columns: slice) -> None:
        self.stepper, self.columns = functional.stepper, columns
        rows, count = functional.initial.shape[0], columns.stop - columns.start
        points, stages = self.stepper.superposition.tape_rows, self.stepper.scheme.num_stages
        self.out = create_block(rows, count)
        self._state = create_block(rows, count)
        self._stages = self.stepper.create_stages(self._state)
        self._slopes = [create_block(points, count) for _ in range(stages)]

    def advance(self, n: int, states: Block) -> None:
        """Compute `out` = Φ_n(f_n), and keep the stages and slopes that `pull_back` needs."""
        np.copyto(self._state, states[:, self.columns])
        self.stepper.advance_layer(n, self._state, self._stages, slopes=self._slopes, out=self.out)

    def pull_back(self, n: int, dual: Block, kernel_pullback: Floats | None, *, bias_dual: Floats | None) -> None:
        """Overwrite the dual of f_{n+1} by the dual of f_n; `step_back` with the stages of the last `advance`."""
        step_back(
            self.stepper,
            n,
            self._stages,
            slopes=self._slopes,
            dual=dual,
            kernel_pullback=kernel_pullback,
            bias_dual=bias_dual,
        )


def _square(functional: Functional, block: Block, dual: bool) -> float:
    """This rank's part of the sum of squared L² norms of the columns: of states, or of duals' Riesz representatives."""
    space, block = functional.control_space.space, np.asfortranarray(block)
    other = space.riesz(block) if dual else space.apply_mass(block)
    return float(np.vdot(block, other))
