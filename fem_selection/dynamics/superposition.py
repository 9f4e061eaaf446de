# SPDX-License-Identifier: MIT
"""The superposition (Nemytskii) operator s ↦ σ(s) in V_h, its derivative and transpose, on whole blocks.

    (Π_h σ(s), φ) = (σ(s), φ)   for all φ ∈ V_h

*Nodal* (collocated mode): with quadrature at the nodes this is exactly R = σ(S), entry by entry.
*Projected* (Galerkin mode): R = M⁻¹ Bᵀ ω σ(B S) with B the basis at the quadrature points, ω their weights.

Both equal the assembled form of `fem_selection.dynamics.equation` to round-off.  That form itself can run too
(`dynamics.assembled`), at more than fifty times the cost.  A *tape* keeps what the derivative needs: σ'(s) at the
points where σ was evaluated, or, in collocated mode, σ(s) if σ' is a function of σ, as for tanh.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from fem_selection.discretization.quadrature.points import QuadraturePoints
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.assembled import AssembledSuperposition
from fem_selection.dynamics.equation import SelectionEquation
from fem_selection.errors import InvalidInput
from fem_selection.functions.activations import Activation
from fem_selection.functions.programs import BlockProgram
from fem_selection.settings import DynamicsSettings
from fem_selection.settings.names import EVALUATIONS
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
        """`out` = Π σ(s).

        Args:
            s: Nodal values, shape (num_local, J).
            out: Shape (num_local, J); overwritten.
        """

    def evaluate_with_tape(self, s: Block, out: Block, tape: Block) -> None:
        """`out` = Π σ(s), and `tape` = what the derivative needs.

        Args:
            s: Nodal values, shape (num_local, J).
            out: Shape (num_local, J); overwritten.
            tape: Shape (tape_rows, J); overwritten.
        """

    def apply_derivative(self, tape: Block, ds: Block, out: Block) -> None:
        """`out` = Π σ'(s) δs, the tangent.

        Args:
            tape: What `evaluate_with_tape` wrote, shape (tape_rows, J).
            ds: δs, shape (num_local, J).
            out: Shape (num_local, J); overwritten.
        """

    def apply_transpose(self, tape: Block, dual: Block, out: Block) -> None:
        """`out` = (Π σ'(s))ᵀ d, the transpose in the Euclidean product of coefficients.

        Args:
            tape: What `evaluate_with_tape` wrote, shape (tape_rows, J).
            dual: d, shape (num_local, J).
            out: Shape (num_local, J); overwritten.
        """

    # second derivatives: slope, curvature and turn are blocks of values at the evaluation points

    def evaluate_to_second(self, s: Block, out: Block, slope: Block, *, curvature: Block | None) -> None:
        """`out` = Π σ(s), `slope` = σ'(s), and `curvature` = σ''(s) unless it is None.

        Args:
            s: Nodal values, shape (num_local, J).
            out: Shape (num_local, J); overwritten.
            slope: Shape (tape_rows, J); overwritten.
            curvature: Shape (tape_rows, J); overwritten; None if it is not wanted.
        """

    def transpose_to_second(self, slope: Block, curvature: Block, dual: Block, *, out: Block) -> None:
        """`out` = (Π σ'(s))ᵀ d, and `curvature` = C, for which (Π σ''(s) δs)ᵀ d is the integral of C δs.

        Args:
            slope: σ'(s) at the evaluation points, shape (tape_rows, J).
            curvature: σ''(s) at the evaluation points; overwritten by C, its product with the values of d's
                representative (in collocated mode d itself).
            dual: d, shape (num_local, J).
            out: Shape (num_local, J); overwritten.
        """

    def move(self, slope: Block, curvature: Block | None, ds: Block, *, out: Block, turn: Block | None) -> None:
        """`out` = Π σ'(s) δs, and `turn` = C δs at the evaluation points unless it is None.

        Args:
            slope: σ'(s) at the evaluation points, shape (tape_rows, J).
            curvature: C of `transpose_to_second`; None if `turn` is not wanted.
            ds: δs, shape (num_local, J).
            out: Shape (num_local, J); overwritten.
            turn: Shape (tape_rows, J); overwritten; None if it is not wanted.
        """

    def move_transpose(self, slope: Block, turn: Block | None, d_dual: Block, *, out: Block) -> None:
        """`out` = (Π σ'(s))ᵀ δd, plus (Π σ''(s) δs)ᵀ d if a `turn` is given.

        Args:
            slope: σ'(s) at the evaluation points, shape (tape_rows, J).
            turn: C δs from `move`; None to leave the second term out.
            d_dual: δd, shape (num_local, J).
            out: Shape (num_local, J); overwritten.
        """


def create_superposition(equation: SelectionEquation, evaluation: str = DynamicsSettings.evaluation) -> Superposition:
    """Return the operator for the mode of the equation's space: nodal if collocated, else projected.

    Args:
        equation: The equation, from whose form σ is read.
        evaluation: `dynamics.evaluation`; by "assembled" the forms are assembled at every evaluation.

    Raises:
        InvalidInput: if the form is not linear in the test function, is of a kind that runs by assembly alone, σ uses
            an operator that the translation to arrays does not know, or the evaluation is none of `EVALUATIONS`.
    """
    if evaluation not in EVALUATIONS:
        raise InvalidInput(f"evaluation = {evaluation!r}: choose from {', '.join(EVALUATIONS)}")
    if evaluation == "assembled":
        return AssembledSuperposition(equation)
    kind = NodalSuperposition if equation.space.is_collocated else ProjectedSuperposition
    return kind(equation.space, equation.activation)


@dataclass(frozen=True)
class Derivative:
    """D = Π σ'(s) at one s, as two functions of (block, out).

    Attributes:
        apply: Writes D X to `out`.
        apply_transpose: Writes Dᵀ X to `out`.
    """

    apply: Callable[[Block, Block], None]
    apply_transpose: Callable[[Block, Block], None]


def derivative_from_tape(superposition: Superposition, tape: Block) -> Derivative:
    """Return D from a tape; it is valid until the tape is overwritten.

    Args:
        superposition: Π σ.
        tape: What `evaluate_with_tape` wrote.
    """
    return Derivative(
        apply=partial(superposition.apply_derivative, tape),
        apply_transpose=partial(superposition.apply_transpose, tape),
    )


def derivative_from_slope(superposition: Superposition, slope: Block) -> Derivative:
    """Return D from the slopes; it is valid until they are overwritten.

    Args:
        superposition: Π σ.
        slope: σ'(s) at the evaluation points, shape (tape_rows, J).
    """

    def apply(block: Block, out: Block) -> None:
        superposition.move(slope, None, block, out=out, turn=None)

    def apply_transpose(block: Block, out: Block) -> None:
        superposition.move_transpose(slope, None, block, out=out)

    return Derivative(apply=apply, apply_transpose=apply_transpose)


class NodalSuperposition:
    """σ at the nodes: local to the rank, without communication.

    Args:
        space: The state space, in collocated mode.
        activation: σ.
    """

    def __init__(self, space: StateSpace, activation: Activation) -> None:
        self.tape_rows = space.num_local
        self._activation = activation
        self._pullback = activation.pullback_from_value
        self.tapes_value = self._pullback is not None

    def addresses(self) -> tuple[int, int, int | None] | None:
        """Return the C functions of σ, of σ and σ', and of σ' d given σ (None if σ' is taped), by their addresses.

        Returns:
            None if σ cannot be compiled here, or has parameters.
        """
        value, both = (_address(p) for p in (self._activation.value, self._activation.value_and_derivative))
        pullback = None if self._pullback is None else _address(self._pullback)
        if value is None or both is None or (self._pullback is not None and pullback is None):
            return None
        return value, both, pullback

    def evaluate(self, s: Block, out: Block) -> None:
        """`out` = σ(s).  See `Superposition.evaluate`."""
        self._activation.value(s, out)

    def evaluate_with_tape(self, s: Block, out: Block, tape: Block) -> None:
        """`out` = σ(s), `tape` = σ(s) if σ' is a function of σ, else σ'(s).  See `Superposition.evaluate_with_tape`."""
        if self._pullback is None:
            self._activation.value_and_derivative(s, out, tape)
            return
        self._activation.value(s, tape)
        if out is not tape:
            np.copyto(out, tape)

    def apply_derivative(self, tape: Block, ds: Block, out: Block) -> None:
        """`out` = σ'(s) δs.  See `Superposition.apply_derivative`."""
        self.apply_transpose(tape, ds, out)

    def apply_transpose(self, tape: Block, dual: Block, out: Block) -> None:
        """`out` = σ'(s) d: the operator is diagonal.  See `Superposition.apply_transpose`."""
        if self._pullback is None:
            np.multiply(tape, dual, out=out)
        else:
            self._pullback(tape, dual, out)

    def evaluate_to_second(self, s: Block, out: Block, slope: Block, *, curvature: Block | None) -> None:
        """`out` = σ(s), `slope` = σ'(s), `curvature` = σ''(s).  See `Superposition.evaluate_to_second`."""
        if curvature is None:
            self._activation.value_and_derivative(s, out, slope)
        else:
            self._activation.value_and_two_derivatives(s, out, slope, curvature)

    def transpose_to_second(self, slope: Block, curvature: Block, dual: Block, *, out: Block) -> None:
        """`out` = σ'(s) d, `curvature` = C = σ''(s) d.  See `Superposition.transpose_to_second`."""
        np.multiply(slope, dual, out=out)
        curvature *= dual

    def move(self, slope: Block, curvature: Block | None, ds: Block, *, out: Block, turn: Block | None) -> None:
        """`out` = σ'(s) δs, `turn` = C δs.  See `Superposition.move`."""
        np.multiply(slope, ds, out=out)
        if curvature is not None and turn is not None:
            np.multiply(curvature, ds, out=turn)

    def move_transpose(self, slope: Block, turn: Block | None, d_dual: Block, *, out: Block) -> None:
        """`out` = σ'(s) δd + C δs.  See `Superposition.move_transpose`."""
        np.multiply(slope, d_dual, out=out)
        if turn is not None:
            out += turn


def _address(program: Any) -> int | None:
    """The address of a program's compiled loop, if it has one that takes arrays alone."""
    loop = program.loop if isinstance(program, BlockProgram) else None
    return None if loop is None else loop.address


class ProjectedSuperposition:
    """σ at quadrature points and an L² projection: one sparse product each way and a mass solve.

    Args:
        space: The state space.
        activation: σ.

    Note:
        All methods are collective over the space communicator.
    """

    def __init__(self, space: StateSpace, activation: Activation) -> None:
        self._space, self._activation = space, activation
        self.tapes_value = False
        self._points = QuadraturePoints(space)
        self.tape_rows = self._points.num_points

    def evaluate(self, s: Block, out: Block) -> None:
        """`out` = M⁻¹ Bᵀ ω σ(B s).  See `Superposition.evaluate`."""
        points = self._points.values(s)
        values = np.empty_like(points)
        self._activation.value(points, values)
        self._project(values, out)

    def evaluate_with_tape(self, s: Block, out: Block, tape: Block) -> None:
        """`out` = M⁻¹ Bᵀ ω σ(B s), `tape` = σ'(B s).  See `Superposition.evaluate_with_tape`."""
        points = self._points.values(s)
        values = np.empty_like(points)
        self._activation.value_and_derivative(points, values, tape)
        self._project(values, out)

    def apply_derivative(self, tape: Block, ds: Block, out: Block) -> None:
        """`out` = M⁻¹ Bᵀ ω σ'(B s) B δs.  See `Superposition.apply_derivative`."""
        self.move(tape, None, ds, out=out, turn=None)

    def apply_transpose(self, tape: Block, dual: Block, out: Block) -> None:
        """`out` = Bᵀ ω σ'(B s) B M⁻¹ d.  See `Superposition.apply_transpose`."""
        self.move_transpose(tape, None, dual, out=out)

    def evaluate_to_second(self, s: Block, out: Block, slope: Block, *, curvature: Block | None) -> None:
        """`out` = M⁻¹ Bᵀ ω σ(B s), `slope` = σ'(B s), and σ''(B s).  See `Superposition.evaluate_to_second`."""
        points = self._points.values(s)
        values = np.empty_like(points)
        if curvature is None:
            self._activation.value_and_derivative(points, values, slope)
        else:
            self._activation.value_and_two_derivatives(points, values, slope, curvature)
        self._project(values, out)

    def transpose_to_second(self, slope: Block, curvature: Block, dual: Block, *, out: Block) -> None:
        """`out` = Bᵀ ω σ'(B s) B M⁻¹ d, C = σ''(B s) B M⁻¹ d.  See `Superposition.transpose_to_second`."""
        values = self._points.values(self._space.riesz(dual))
        curvature *= values
        values *= slope
        self._points.integrate(values, out)

    def move(self, slope: Block, curvature: Block | None, ds: Block, *, out: Block, turn: Block | None) -> None:
        """`out` = M⁻¹ Bᵀ ω σ'(B s) B δs, `turn` = C B δs.  See `Superposition.move`."""
        values = self._points.values(ds)
        if curvature is not None and turn is not None:
            np.multiply(curvature, values, out=turn)
        values *= slope
        self._project(values, out)

    def move_transpose(self, slope: Block, turn: Block | None, d_dual: Block, *, out: Block) -> None:
        """`out` = Bᵀ ω (σ'(B s) B M⁻¹ δd + C B δs).  See `Superposition.move_transpose`."""
        values = self._points.values(self._space.riesz(d_dual))
        values *= slope
        if turn is not None:
            values += turn
        self._points.integrate(values, out)

    def _project(self, values: Block, out: Block) -> None:
        dual = self._space.create_block(values.shape[1])
        self._points.integrate(values, dual)
        out[...] = self._space.riesz(dual)
