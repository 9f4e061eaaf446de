# SPDX-License-Identifier: MIT
"""The superposition (Nemytskii) operator s ↦ σ(s) in V_h, its derivative and transpose, on whole blocks.

    (Π_h σ(s), φ) = (σ(s), φ)   for all φ ∈ V_h

*Nodal* (collocated mode): with quadrature at the nodes this is exactly R = σ(S), entry by entry.
*Projected* (Galerkin mode): R = M⁻¹ Bᵀ ω σ(B S) with B the basis at the quadrature points, ω their weights.

Both equal the assembled form of `fem_selection.dynamics.equation` to round-off; a form assembled per layer would cost
some fifty times as much.  What the derivative needs is kept as a *tape*: σ'(s) at the points where σ was evaluated,
or in collocated mode σ(s) itself, where σ' is a function of σ, as that of tanh is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from fem_selection.discretization.quadrature import QuadraturePoints
from fem_selection.discretization.spaces import StateSpace
from fem_selection.functions.activations import Activation
from fem_selection.typing import Block

__all__ = [
    "Derivative",
    "NodalSuperposition",
    "ProjectedSuperposition",
    "Superposition",
    "create_superposition",
    "derivative_from_slope",
    "derivative_from_tape",
]


class Superposition(Protocol):
    """σ as an operator on blocks.

    Attributes:
        tape_rows: Rows of the tape: nodes or quadrature points of this rank.
        tapes_value: Whether the tape is Π σ(s); then `out` and `tape` may be the same block.
    """

    tape_rows: int
    tapes_value: bool

    def evaluate(self, s: Block, out: Block) -> None:
        """`out` = Π σ(s)."""

    def evaluate_with_tape(self, s: Block, out: Block, tape: Block) -> None:
        """`out` = Π σ(s), and in `tape` what its derivative needs."""

    def apply_derivative(self, tape: Block, ds: Block, out: Block) -> None:
        """`out` = Π σ'(s) ds, the tangent."""

    def apply_transpose(self, tape: Block, dual: Block, out: Block) -> None:
        """`out` = (Π σ'(s))ᵀ d, the transpose in the Euclidean product of coefficients."""

    # for second derivatives: slope, curvature and turn are blocks of values at the evaluation points

    def evaluate_to_second(self, s: Block, out: Block, slope: Block, *, curvature: Block | None) -> None:
        """`out` = Π σ(s), `slope` = σ'(s), and `curvature` = σ''(s) unless it is None."""

    def transpose_to_second(self, slope: Block, curvature: Block, dual: Block, *, out: Block) -> None:
        """`out` = (Π σ'(s))ᵀ d; `curvature`, σ''(s) so far, times d is C, with which (Π σ''(s) δs)ᵀ d is C δs."""

    def move(self, slope: Block, curvature: Block | None, ds: Block, *, out: Block, turn: Block | None) -> None:
        """`out` = Π σ'(s) δs, and `turn` = C δs unless it is None."""

    def move_transpose(self, slope: Block, turn: Block | None, d_dual: Block, *, out: Block) -> None:
        """`out` = (Π σ'(s))ᵀ δd, plus (Π σ''(s) δs)ᵀ d from its `turn` unless that is None."""


def create_superposition(space: StateSpace, activation: Activation) -> Superposition:
    """The operator that fits the mode of the space."""
    return NodalSuperposition(space, activation) if space.is_collocated else ProjectedSuperposition(space, activation)


@dataclass(frozen=True)
class Derivative:
    """D = Π σ'(s) at one s: X ↦ D X and X ↦ Dᵀ X, each as a function (block, out)."""

    apply: Callable[[Block, Block], None]
    apply_transpose: Callable[[Block, Block], None]


def derivative_from_tape(superposition: Superposition, tape: Block) -> Derivative:
    """D from what `evaluate_with_tape` left, as long as that is not overwritten."""
    return Derivative(
        apply=partial(superposition.apply_derivative, tape),
        apply_transpose=partial(superposition.apply_transpose, tape),
    )


def derivative_from_slope(superposition: Superposition, slope: Block) -> Derivative:
    """D from σ'(s) at the evaluation points, as long as that is not overwritten."""

    def apply(block: Block, out: Block) -> None:
        superposition.move(slope, None, block, out=out, turn=None)

    return Derivative(apply=apply, apply_transpose=partial(superposition.move_transpose, slope, None))


class NodalSuperposition:
    """σ at the nodes: local to the rank, no communication."""

    def __init__(self, space: StateSpace, activation: Activation) -> None:
        self.tape_rows = space.num_local
        self._activation = activation
        self._pullback = activation.pullback_from_value
        self.tapes_value = self._pullback is not None

    def evaluate(self, s: Block, out: Block) -> None:
        """`out` = σ(s)."""
        self._activation.value(s, out)

    def evaluate_with_tape(self, s: Block, out: Block, tape: Block) -> None:
        """`out` = σ(s), `tape` = σ(s) or σ'(s)."""
        if self._pullback is None:
            self._activation.value_and_derivative(s, out, tape)
            return
        self._activation.value(s, tape)
        if out is not tape:
            np.copyto(out, tape)

    def apply_derivative(self, tape: Block, ds: Block, out: Block) -> None:
        """`out` = σ'(s) ds."""
        self.apply_transpose(tape, ds, out)

    def apply_transpose(self, tape: Block, dual: Block, out: Block) -> None:
        """`out` = σ'(s) d; the operator is diagonal."""
        if self._pullback is None:
            np.multiply(tape, dual, out=out)
        else:
            self._pullback(tape, dual, out)

    def evaluate_to_second(self, s: Block, out: Block, slope: Block, *, curvature: Block | None) -> None:
        """Entry by entry."""
        if curvature is None:
            self._activation.value_and_derivative(s, out, slope)
        else:
            self._activation.value_and_two_derivatives(s, out, slope, curvature)

    def transpose_to_second(self, slope: Block, curvature: Block, dual: Block, *, out: Block) -> None:
        """`out` = σ'(s) d, `curvature` = C = σ''(s) d."""
        np.multiply(slope, dual, out=out)
        curvature *= dual

    def move(self, slope: Block, curvature: Block | None, ds: Block, *, out: Block, turn: Block | None) -> None:
        """`out` = σ'(s) δs, `turn` = C δs."""
        np.multiply(slope, ds, out=out)
        if curvature is not None and turn is not None:
            np.multiply(curvature, ds, out=turn)

    def move_transpose(self, slope: Block, turn: Block | None, d_dual: Block, *, out: Block) -> None:
        """`out` = σ'(s) δd + C δs."""
        np.multiply(slope, d_dual, out=out)
        if turn is not None:
            out += turn


class ProjectedSuperposition:
    """σ at quadrature points and an L² projection: one sparse product each way and a mass solve.

    Note:
        All methods are collective over the space communicator.
    """

    def __init__(self, space: StateSpace, activation: Activation) -> None:
        self._space, self._activation = space, activation
        self.tapes_value = False
        self._points = QuadraturePoints(space)
        self.tape_rows = self._points.num_points

    def evaluate(self, s: Block, out: Block) -> None:
        """`out` = M⁻¹ Bᵀ ω σ(B s)."""
        points = self._points.values(s)
        values = np.empty_like(points)
        self._activation.value(points, values)
        self._project(values, out)

    def evaluate_with_tape(self, s: Block, out: Block, tape: Block) -> None:
        """`out` = M⁻¹ Bᵀ ω σ(B s), `tape` = σ'(B s)."""
        points = self._points.values(s)
        values = np.empty_like(points)
        self._activation.value_and_derivative(points, values, tape)
        self._project(values, out)

    def apply_derivative(self, tape: Block, ds: Block, out: Block) -> None:
        """`out` = M⁻¹ Bᵀ ω σ'(B s) B ds."""
        self.move(tape, None, ds, out=out, turn=None)

    def apply_transpose(self, tape: Block, dual: Block, out: Block) -> None:
        """`out` = Bᵀ ω σ'(B s) B M⁻¹ d."""
        self.move_transpose(tape, None, dual, out=out)

    def evaluate_to_second(self, s: Block, out: Block, slope: Block, *, curvature: Block | None) -> None:
        """`out` = M⁻¹ Bᵀ ω σ(B s), `slope` = σ'(B s), `curvature` = σ''(B s)."""
        points = self._points.values(s)
        values = np.empty_like(points)
        if curvature is None:
            self._activation.value_and_derivative(points, values, slope)
        else:
            self._activation.value_and_two_derivatives(points, values, slope, curvature)
        self._project(values, out)

    def transpose_to_second(self, slope: Block, curvature: Block, dual: Block, *, out: Block) -> None:
        """`out` = Bᵀ ω σ'(B s) B M⁻¹ d, `curvature` = C = σ''(B s) B M⁻¹ d."""
        values = self._points.values(self._space.riesz(dual))
        curvature *= values
        values *= slope
        self._points.integrate(values, out)

    def move(self, slope: Block, curvature: Block | None, ds: Block, *, out: Block, turn: Block | None) -> None:
        """`out` = M⁻¹ Bᵀ ω σ'(B s) B δs, `turn` = C B δs."""
        values = self._points.values(ds)
        if curvature is not None and turn is not None:
            np.multiply(curvature, values, out=turn)
        values *= slope
        self._project(values, out)

    def move_transpose(self, slope: Block, turn: Block | None, d_dual: Block, *, out: Block) -> None:
        """`out` = Bᵀ ω (σ'(B s) B M⁻¹ δd + C B δs)."""
        values = self._points.values(self._space.riesz(d_dual))
        values *= slope
        if turn is not None:
            values += turn
        self._points.integrate(values, out)

    def _project(self, values: Block, out: Block) -> None:
        dual = self._space.create_block(values.shape[1])
        self._points.integrate(values, dual)
        out[...] = self._space.riesz(dual)
