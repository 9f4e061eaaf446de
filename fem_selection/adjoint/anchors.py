# SPDX-License-Identifier: MIT
"""The derivatives of the flow of anchors that a representer kernel follows (`dynamics.anchors`).

Sweeps of blocks see K = Ĉ P (M A)ᵀ at each place and leave duals of all three factors.  Those of M A and P, at all
stages, are what the anchors' own adjoint starts from, and it ends with the whole dual of Ĉ.  Samples that are anchors
themselves need no sweeps of blocks: their costs give the anchors a dual at T (`learning.anchored_samples`).  With
Q_i = (Π σ'(S_i))ᵀ I_i and I_i as in `adjoint.backward`, S_i = Ĉ P_i G_i + b:

    Ĉ-dual += Δt Q_i X_iᵀ,   X̄ = Δt ĈᵀQ_i,   P̄ += sym(X̄ G_i),   Ḡ = sym(P_i X̄) + (∂P/∂G)ᵀ P̄
    A_i-dual = 2 M A_i Ḡ + M (M A)-dual

A tangent δĈ, δb moves the anchors and with them the factors; for second derivatives see `adjoint.anchors_second`.  Each
rank of a mesh has the small matrices whole.  Each member of an ensemble carries the anchors back with the duals of its
own samples: the adjoint is linear, so the sum over members that the duals of all controls take sums these as well.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fem_selection.adjoint.backward import mix
from fem_selection.dynamics.anchors import AnchorFlow, Evaluate
from fem_selection.dynamics.schemes import combine
from fem_selection.dynamics.stepper import Stepper
from fem_selection.kernels.places import FactorDuals, PlaceDirection
from fem_selection.kernels.representer import RepresenterDirection
from fem_selection.linalg.blas import add_product
from fem_selection.linalg.inverse_root import symmetric_part
from fem_selection.typing import Block, Floats, create_block

__all__ = [
    "AnchorsBack",
    "AnchorsTangent",
    "StageBack",
    "dual_of_stage",
    "finish_back",
    "move_anchors",
    "sweep_layers_back",
    "sweep_tangents",
]


def finish_back(
    stepper: Stepper, *, kernel_pullback: Floats | None, bias_dual: Floats | None, dual: Block | None = None
) -> None:
    """Carry the duals of the kernel's factors back along the anchors, after all blocks' sweeps (collective over space).

    Nothing happens if the kernel follows no anchors, or `AnchorsBack` has done it after each block.

    Args:
        stepper: The dynamics.
        kernel_pullback: What the sweeps of the blocks summed; the dual of Ĉ is completed.
        bias_dual: ∂J/∂b, shape (intervals, num_local), added to; None to leave the bias out.
        dual: The dual of the anchors at T, shape (num_local, r), overwritten, if it takes the place of all blocks'
            sweeps; None if they have left duals of the factors.
    """
    flow = stepper.anchors
    if flow is not None and flow.keeps_all and kernel_pullback is not None:
        flow.kernel.place(0)
        end = create_block(*flow.state.shape) if dual is None else dual
        of_blocks = flow.kernel.duals(kernel_pullback) if dual is None else None
        _sweep_back(flow, kernel_pullback, bias_dual, range(stepper.grid.layers), dual=end, of_blocks=of_blocks)


class AnchorsBack:
    """The anchors' adjoint of one block, where the places of some layers are kept at once; else it does nothing.

    The adjoint is linear: that of all blocks together is the sum of those of each.

    Args:
        stepper: The dynamics.
        kernel_pullback: What the sweep of the block adds to; the dual of Ĉ is completed.
        bias_dual: ∂J/∂b, shape (intervals, num_local), added to; None to leave the bias out.
        dual: The dual of the anchors at T, overwritten, if it takes the place of the block's; else None.
    """

    def __init__(
        self,
        stepper: Stepper,
        kernel_pullback: Floats | None,
        bias_dual: Floats | None,
        *,
        dual: Block | None = None,
    ) -> None:
        self._flow = None if stepper.anchors is None or stepper.anchors.keeps_all else stepper.anchors
        self._pullback, self._bias_dual, self._has_block = kernel_pullback, bias_dual, dual is None
        self._dual = create_block(*self._flow.state.shape) if self._flow is not None and dual is None else dual

    def through(self, layers: range) -> None:
        """Go back through consecutive layers, after the block's sweep did (collective over space).

        Args:
            layers: Their numbers; their places are at hand.
        """
        if self._flow is not None and self._dual is not None and self._pullback is not None:
            of_block = self._flow.kernel.duals(self._pullback) if self._has_block else None
            _sweep_back(self._flow, self._pullback, self._bias_dual, layers, dual=self._dual, of_blocks=of_block)
            if of_block is not None:
                of_block.moments.fill(0.0)
                of_block.inverses.fill(0.0)


class AnchorsTangent:
    """The tangents of the anchors in a direction of the kernel, for the blocks' sweeps through the same layers.

    Nothing happens if the kernel follows no anchors.

    Args:
        stepper: The dynamics; slopes are those of the flow's last run.
        kernel: The direction δĈ.
        bias: δb, shape (intervals, num_local); zero if None.
    """

    def __init__(self, stepper: Stepper, kernel: object, bias: Floats | None) -> None:
        self._stepper, self._kernel, self._bias = stepper, kernel, bias
        self._state = None if stepper.anchors is None else create_block(*stepper.anchors.state.shape)

    def through(self, layers: range) -> None:
        """Set the tangents at consecutive layers (collective over space).

        Args:
            layers: Their numbers, which follow those of the call before; as many as are kept at most.
        """
        flow, superposition = self._stepper.anchors, self._stepper.superposition
        if flow is None or self._state is None or not isinstance(self._kernel, RepresenterDirection):
            return
        flow.kernel.place(flow.number(layers.start, 0))

        def move(n: int, i: int, ds: Block, out: Block) -> None:
            superposition.apply_derivative(flow.slopes(n, i), ds, out)

        sweep_tangents(flow, self._kernel, self._bias, move=move, layers=layers, state=self._state)


def move_anchors(stepper: Stepper, kernel: object, bias: Floats | None, *, until: int | None = None) -> None:
    """Set the tangents of the anchors in a direction of the kernel, before the blocks' sweeps (collective over space).

    Nothing happens if the kernel follows no anchors.

    Args:
        stepper: The dynamics; slopes are those of the flow's last run.
        kernel: The direction δĈ.
        bias: δb, shape (intervals, num_local); zero if None.
        until: The last layer whose tangents are needed; that of all layers if None.
    """
    tangent, flow, layers = AnchorsTangent(stepper, kernel, bias), stepper.anchors, stepper.grid.layers
    if flow is not None:
        if not flow.keeps_all:
            flow.restart()
        for begin in range(0, layers if until is None else until + 1, flow.window):
            tangent.through(range(begin, min(begin + flow.window, layers)))


StageBack = Callable[[int, int, Block], Block | None]
"""From (layer, stage, I) to the dual of the stage's states; None at the first place, where no dual is wanted."""


def dual_of_stage(flow: AnchorFlow, slot: int, gram: Floats, *, of_blocks: FactorDuals | None) -> Block:
    """Return 2 M A Ḡ, plus M times the blocks' dual of M A.

    Args:
        flow: The flow of the anchors.
        slot: Index of the place among those that are kept.
        gram: Ḡ, symmetric.
        of_blocks: The duals of the factors from blocks; None if there are no blocks.
    """
    moments, kept = flow.kernel.places[slot].moments, of_blocks is not None
    result = np.empty_like(moments) if of_blocks is None else flow.stepper.space.apply_mass(of_blocks.moments[slot].T)
    add_product(2.0, moments, np.asfortranarray(gram), out=result, keep=kept)
    return result


def sweep_layers_back(flow: AnchorFlow, stage_back: StageBack, layers: range, *, dual: Block) -> None:
    """Go back through some layers and their stages.

    Args:
        flow: The flow of the anchors.
        stage_back: Goes back through a stage.
        layers: The numbers of the layers.
        dual: The dual of the anchors after them, overwritten by that before them.
    """
    scheme, mixed = flow.stepper.scheme, create_block(*flow.state.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        for n in reversed(layers):
            pulled: dict[int, Block] = {}
            for i in reversed(range(scheme.num_stages)):
                terms = [(scheme.a[j][i], g) for j, g in pulled.items()]
                result = stage_back(n, i, mix(scheme.b[i], dual, terms, out=mixed))
                if result is None:
                    return
                pulled[i] = result
            for g in pulled.values():
                dual += g


def _sweep_back(
    flow: AnchorFlow,
    pullback: Floats,
    bias_dual: Floats | None,
    layers: range,
    *,
    dual: Block,
    of_blocks: FactorDuals | None,
) -> None:
    """Carry the anchors' dual after some layers back through them, with the duals of blocks if there are any."""
    s, kernel, duals, q = flow.stepper, flow.kernel, flow.kernel.duals(pullback), create_block(*flow.state.shape)

    def stage_back(n: int, i: int, incoming: Block) -> Block | None:
        p, slot = flow.number(n, i), flow.slot(n, i)
        place = kernel.places[slot]
        root = place.root
        s.superposition.apply_transpose(flow.slopes(n, i), incoming, q)
        np.multiply(q, s.grid.step, out=q)
        value = duals.values[place.interval].T
        add_product(1.0, q, np.asfortranarray(root.value @ root.gram), out=value, transpose_b=True)
        if bias_dual is not None:
            bias_dual[place.interval] += q.sum(axis=1)
        if p == 0:
            return None
        (x,) = kernel.project((kernel.values(place.interval), q))
        inverse = x @ root.gram + (0.0 if of_blocks is None else of_blocks.inverses[slot])
        gram = symmetric_part(root.value @ x) + root.adjoint(inverse)
        return dual_of_stage(flow, slot, gram, of_blocks=of_blocks)

    sweep_layers_back(flow, stage_back, layers, dual=dual)


def sweep_tangents(
    flow: AnchorFlow,
    direction: RepresenterDirection,
    bias: Floats | None,
    *,
    move: Evaluate,
    layers: range,
    state: Block,
) -> None:
    """Carry the tangents of the anchors through some layers, and set those of the kernel's factors.

    Args:
        flow: The flow of the anchors.
        direction: The direction δĈ, whose places are filled.
        bias: δb, shape (intervals, num_local); zero if None.
        move: Writes Π σ'(S) δS of a stage.
        layers: The numbers of the layers.
        state: The tangent of the anchors before them, overwritten by that after them.
    """
    s, kernel, scheme = flow.stepper, flow.kernel, flow.stepper.scheme
    stage, ds, *rates = (create_block(*flow.state.shape) for _ in range(2 + scheme.num_stages))
    if len(direction.places) != len(kernel.places):
        zero = np.zeros((kernel.rank, kernel.rank))
        direction.places = [
            PlaceDirection(d_moments=create_block(*state.shape), d_gram=zero, d_inverse=zero) for _ in kernel.places
        ]
    with np.errstate(over="ignore", invalid="ignore"):
        for n in layers:
            for i in range(scheme.num_stages):
                combine(state, s.grid.step, scheme.lower[i], rates=rates, out=stage)
                place, along = kernel.places[flow.slot(n, i)], direction.places[flow.slot(n, i)]
                np.copyto(along.d_moments, s.space.apply_mass(stage))
                (half,) = kernel.project((place.moments, stage))
                along.d_gram, p, c = half + half.T, place.root.value, place.interval
                along.d_inverse = place.root.tangent(along.d_gram)
                dx = along.d_inverse @ place.root.gram + p @ along.d_gram
                np.copyto(ds, 0.0 if bias is None else bias[c][:, None])
                add_product(1.0, direction.values(c), np.asfortranarray(p @ place.root.gram), out=ds)
                add_product(1.0, kernel.values(c), np.asfortranarray(dx), out=ds)
                move(n, i, ds, rates[i])
            combine(state, s.grid.step, scheme.b, rates=rates, out=state)
