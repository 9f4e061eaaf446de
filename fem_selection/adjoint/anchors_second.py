# SPDX-License-Identifier: MIT
"""Second derivatives of the flow of anchors: the equations of `adjoint.anchors`, differentiated in a direction δĈ, δb.

    δX = δP G + P δG,   δQ = (Π σ'(S))ᵀ δI + C δS,   δX̄ = Δt (δĈᵀQ + ĈᵀδQ),   δP̄ += sym(δX̄ G + X̄ δG)
    δ(Ĉ-dual) += Δt (δQ Xᵀ + Q δXᵀ),   δḠ = sym(δP X̄ + P δX̄) + δ((∂P/∂G)ᵀ P̄)
    δ(A-dual) = 2 M (δA Ḡ + A δḠ) + M δ((M A)-dual)

Q, X̄, P̄ and Ḡ are kept for all directions at one control, C δS from a tangent to its adjoint (`adjoint.second_order`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.adjoint.anchors import dual_of_stage, sweep_layers_back, sweep_tangents
from fem_selection.adjoint.second_order import Direction
from fem_selection.dynamics.anchors import AnchorFlow
from fem_selection.kernels.places import FactorDuals
from fem_selection.kernels.representer import RepresenterDirection
from fem_selection.linalg.blas import add_product
from fem_selection.linalg.inverse_root import symmetric_part
from fem_selection.typing import Block, Floats, create_block

__all__ = ["AnchorLinearization"]


@dataclass
class _Met:
    """What a second derivative needs of the first-order adjoint at a place."""

    q: Block  # Δt Q
    x: Floats  # X̄
    inverse: Floats  # P̄
    gram: Floats  # Ḡ


class AnchorLinearization:
    """The flow of a stepper's anchors at one control, for actions of the Hessian.

    Args:
        flow: The flow; the kernel holds the control.
        pullback: The duals of the factors from all blocks of this member; not read for the Gauss–Newton action.
        dual: The dual of the anchors at T, overwritten, if it takes the place of all blocks' sweeps; else None.
        gauss_newton: Whether the terms with the costate are left out.

    Note:
        Collective over space.
    """

    def __init__(
        self, flow: AnchorFlow, pullback: Floats | None = None, *, dual: Block | None = None, gauss_newton: bool
    ) -> None:
        self.flow, self.kernel, self.stepper = flow, flow.kernel, flow.stepper
        s = self.stepper
        shape = (s.grid.layers, s.scheme.num_stages, self.kernel.rank, s.superposition.tape_rows)
        self._slopes = np.empty(shape)
        self._curvatures = None if gauss_newton else np.empty(shape)
        self._turns = None if gauss_newton else np.empty(shape)
        self._met: dict[tuple[int, int], _Met] = {}
        flow.bind()
        flow.sweep(self._evaluate)
        if not gauss_newton:
            self._linearize_adjoint(None if pullback is None else self.kernel.duals(pullback), dual)

    def move(self, direction: Direction) -> Block:
        """Set the tangents of the anchors in a direction and return theirs at T (collective over space)."""
        assert isinstance(direction.kernel, RepresenterDirection)
        self.kernel.place(0)
        layers, state = range(self.stepper.grid.layers), create_block(*self.flow.state.shape)
        sweep_tangents(self.flow, direction.kernel, direction.bias, move=self._move, layers=layers, state=state)
        return state

    def finish_back(
        self, direction: Direction, pullback: Floats, bias_dual: Floats | None, *, d_dual: Block | None = None
    ) -> None:
        """Carry derivatives of duals back along the anchors (collective over space).

        Args:
            direction: That of the last `move`.
            pullback: The derivatives of the duals of the factors from all blocks; that of Ĉ is completed.
            bias_dual: δ(∂J/∂b), added to; None to leave the bias out.
            d_dual: The derivative of the dual of the anchors at T, overwritten, if there are no blocks; else None.
        """
        kernel = direction.kernel
        assert isinstance(kernel, RepresenterDirection)
        s, duals, met = self.stepper, self.kernel.duals(pullback), create_block(*self.flow.state.shape)
        of_blocks = duals if d_dual is None else None

        def stage_back(n: int, i: int, incoming: Block) -> Block | None:
            p = self.flow.number(n, i)
            place, along, known = self.kernel.places[p], kernel.places[p], self._met.get((n, i))
            c, root, dt = place.interval, place.root, s.grid.step
            turn = None if self._turns is None else self._turns[n, i].T
            s.superposition.move_transpose(self._slopes[n, i].T, turn, incoming, out=met)
            np.multiply(met, dt, out=met)
            value = duals.values[c].T
            add_product(1.0, met, np.asfortranarray(root.value @ root.gram), out=value, transpose_b=True)
            if bias_dual is not None:
                bias_dual[c] += met.sum(axis=1)
            (dx,) = self.kernel.project((self.kernel.values(c), met))
            if known is None:
                if p == 0:
                    return None
                inverse = dx @ root.gram + (0.0 if of_blocks is None else of_blocks.inverses[p])
                gram = symmetric_part(root.value @ dx) + root.adjoint(inverse)
                return dual_of_stage(self.flow, p, gram, of_blocks=of_blocks)
            d_x = along.d_inverse @ root.gram + root.value @ along.d_gram
            add_product(1.0, known.q, np.asfortranarray(d_x), out=value, transpose_b=True)
            if p == 0:
                return None
            (more,) = self.kernel.project((kernel.values(c), known.q))
            dx += more
            inverse = dx @ root.gram + known.x @ along.d_gram
            inverse += 0.0 if of_blocks is None else of_blocks.inverses[p]
            gram = symmetric_part(along.d_inverse @ known.x + root.value @ dx)
            gram += root.second_adjoint(known.inverse, inverse, along.d_gram)
            result = dual_of_stage(self.flow, p, gram, of_blocks=of_blocks)
            add_product(2.0, along.d_moments, np.asfortranarray(known.gram), out=result)
            return result

        end = create_block(*met.shape) if d_dual is None else d_dual
        sweep_layers_back(self.flow, stage_back, range(s.grid.layers), dual=end)

    def _evaluate(self, n: int, i: int, s: Block, out: Block) -> None:
        curvature = None if self._curvatures is None else self._curvatures[n, i].T
        self.stepper.superposition.evaluate_to_second(s, out, self._slopes[n, i].T, curvature=curvature)

    def _move(self, n: int, i: int, ds: Block, out: Block) -> None:
        curvature = None if self._curvatures is None else self._curvatures[n, i].T
        turn = None if self._turns is None else self._turns[n, i].T
        self.stepper.superposition.move(self._slopes[n, i].T, curvature, ds, out=out, turn=turn)

    def _linearize_adjoint(self, of_blocks: FactorDuals | None, dual: Block | None) -> None:
        s = self.stepper

        def stage_back(n: int, i: int, incoming: Block) -> Block | None:
            assert self._curvatures is not None
            p = self.flow.number(n, i)
            place, q = self.kernel.places[p], create_block(*incoming.shape)
            root = place.root
            s.superposition.transpose_to_second(self._slopes[n, i].T, self._curvatures[n, i].T, incoming, out=q)
            q *= s.grid.step
            (x,) = self.kernel.project((self.kernel.values(place.interval), q))
            inverse = x @ root.gram + (0.0 if of_blocks is None else of_blocks.inverses[p])
            gram = symmetric_part(root.value @ x) + root.adjoint(inverse)
            self._met[n, i] = _Met(q=q, x=x, inverse=inverse, gram=gram)
            return dual_of_stage(self.flow, p, gram, of_blocks=of_blocks) if p > 0 else None

        end = create_block(*self.flow.state.shape) if dual is None else dual
        sweep_layers_back(self.flow, stage_back, range(s.grid.layers), dual=end)
