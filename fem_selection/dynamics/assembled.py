# SPDX-License-Identifier: MIT
"""The superposition operator Π σ by assembled forms: dolfinx and PETSc evaluate the equation as it is stated in UFL.

    Π σ(s):            M r = F(s; φ)            Π σ'(s) δs:     M r = F'(s; δs, φ)
    (Π σ'(s))ᵀ d:      F'(s; φ, p), M p = d     its change in s: F''(s; δs, φ, p) = (σ''(s) δs p, φ)

Here M is the mass matrix of the mode.  Each column takes an assembly of its own, some hundred times the work of the
array code.  It is for those who want to see the stated equation run, or who change its form (`SelectionEquation`).
The tape of a stage is s itself; what the second derivatives keep are s, the costate p and the assembled F''.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from fem_selection.dynamics.equation import SelectionEquation
from fem_selection.typing import Block, Floats, create_block

__all__ = ["AssembledSuperposition"]


class AssembledSuperposition:
    """σ as an operator on blocks; see `Superposition`, whose methods these are.

    Args:
        equation: The forms that are assembled.

    Attributes:
        equation: They.
        form: F(s; φ).

    Raises:
        InvalidInput: if the stated form is not linear in the test function.

    Note:
        All methods are collective over the space communicator.
    """

    tapes_value = False

    def __init__(self, equation: SelectionEquation) -> None:
        self.equation, self.form, self._space = equation, equation.form, equation.space
        self.tape_rows = equation.space.num_local

    def evaluate(self, s: Block, out: Block) -> None:
        """`out` = Π σ(s).

        Args:
            s: Nodal values, shape (num_local, J).
            out: Shape (num_local, J); overwritten.
        """
        out[...] = self._space.riesz(_by_column(self.equation.assemble_rate, s))

    def evaluate_with_tape(self, s: Block, out: Block, tape: Block) -> None:
        """`out` = Π σ(s), `tape` = s.

        Args:
            s: Nodal values, shape (num_local, J).
            out: Shape (num_local, J); overwritten.
            tape: Shape (num_local, J); overwritten.
        """
        np.copyto(tape, s)
        self.evaluate(s, out)

    def apply_derivative(self, tape: Block, ds: Block, out: Block) -> None:
        """`out` = Π σ'(s) δs.

        Args:
            tape: s, as `evaluate_with_tape` keeps it, shape (num_local, J).
            ds: δs, shape (num_local, J).
            out: Shape (num_local, J); overwritten.
        """
        assemble = partial(self.equation.assemble_tangent, by_ufl=False)
        out[...] = self._space.riesz(_by_column(assemble, tape, ds))

    def apply_transpose(self, tape: Block, dual: Block, out: Block) -> None:
        """`out` = (Π σ'(s))ᵀ d.

        Args:
            tape: s, as `evaluate_with_tape` keeps it, shape (num_local, J).
            dual: d, shape (num_local, J).
            out: Shape (num_local, J); overwritten.
        """
        costate = self._space.riesz(np.asfortranarray(dual))
        out[...] = _by_column(self.equation.assemble_adjoint, tape, costate)

    def evaluate_to_second(self, s: Block, out: Block, slope: Block, *, curvature: Block | None) -> None:
        """`out` = Π σ(s), `slope` = s; what `curvature` holds is written by `transpose_to_second`.

        Args:
            s: Nodal values, shape (num_local, J).
            out: Shape (num_local, J); overwritten.
            slope: Shape (num_local, J); overwritten.
            curvature: Shape (num_local, J); overwritten by zeros; None if it is not wanted.
        """
        self.evaluate_with_tape(s, out, slope)
        if curvature is not None:
            curvature.fill(0.0)

    def transpose_to_second(self, slope: Block, curvature: Block, dual: Block, *, out: Block) -> None:
        """`out` = (Π σ'(s))ᵀ d, `curvature` = p, the representative of d.

        Args:
            slope: s, as `evaluate_to_second` keeps it, shape (num_local, J).
            curvature: Shape (num_local, J); overwritten.
            dual: d, shape (num_local, J).
            out: Shape (num_local, J); overwritten.
        """
        curvature[...] = self._space.riesz(np.asfortranarray(dual))
        out[...] = _by_column(self.equation.assemble_adjoint, slope, curvature)

    def move(self, slope: Block, curvature: Block | None, ds: Block, *, out: Block, turn: Block | None) -> None:
        """`out` = Π σ'(s) δs, `turn` = F''(s; δs, φ, p).

        Args:
            slope: s, as `evaluate_to_second` keeps it, shape (num_local, J).
            curvature: p, as `transpose_to_second` wrote it; None if `turn` is not wanted.
            ds: δs, shape (num_local, J).
            out: Shape (num_local, J); overwritten.
            turn: Shape (num_local, J); overwritten; None if it is not wanted.
        """
        if curvature is not None and turn is not None:
            turn[...] = _by_column(self.equation.assemble_second, slope, ds, curvature)
        self.apply_derivative(slope, ds, out)

    def move_transpose(self, slope: Block, turn: Block | None, d_dual: Block, *, out: Block) -> None:
        """`out` = (Π σ'(s))ᵀ δd, plus F''(s; δs, φ, p) if a `turn` is given.

        Args:
            slope: s, as `evaluate_to_second` keeps it, shape (num_local, J).
            turn: What `move` wrote; None to leave it out.
            d_dual: δd, shape (num_local, J).
            out: Shape (num_local, J); overwritten.
        """
        self.apply_transpose(slope, d_dual, out)
        if turn is not None:
            out += turn


def _by_column(assemble: Callable[..., Floats], *blocks: Block) -> Block:
    """Call a function on the columns of some blocks of equal shape, one after the other."""
    result = create_block(*blocks[0].shape)
    for j in range(result.shape[1]):
        result[:, j] = assemble(*(block[:, j] for block in blocks))
    return result
