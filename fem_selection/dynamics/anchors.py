# SPDX-License-Identifier: MIT
"""`AnchorFlow`: the anchors of a representer kernel through the layers, under the kernel that they determine.

    S_i = Ĉ X_i + b,   X_i = P_i G_i,   P_i = (G_i + (ε/r) tr G_i · I)^{-1/2},   G_i = A_iᵀ M A_i,   R_i = Π σ(S_i)

A_i is the anchors' block at stage i of a layer.  One sweep fills all places of the kernel (`kernels.representer`), and
then blocks of any other states are swept under it by the `Stepper` as under every other kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.schemes import Scheme, combine
from fem_selection.dynamics.superposition import Superposition
from fem_selection.errors import InvalidInput
from fem_selection.kernels.representer import Place, RepresenterKernel
from fem_selection.linalg.blas import add_product
from fem_selection.linalg.inverse_root import InverseRoot
from fem_selection.typing import Block, Floats, create_block

__all__ = ["AnchorFlow", "AnchoredDynamics", "Evaluate"]

Evaluate = Callable[[int, int, Block, Block], None]
"""Writes Π σ(S) of a stage (layer, stage, S, out), and keeps what derivatives need."""


class AnchoredDynamics(Protocol):
    """What the flow reads of a `Stepper`."""

    space: StateSpace
    bias: Floats
    superposition: Superposition
    scheme: Scheme
    grid: DepthGrid
    intervals: list[list[int]]


class AnchorFlow:
    """The flow of one kernel's anchors in the dynamics of one stepper.

    Args:
        stepper: The dynamics; they are read at every sweep.
        kernel: Their kernel.

    Attributes:
        final: The anchors at T, shape (num_local, r).
        slopes: The tapes of σ' as `slopes[layer][stage]`.

    Raises:
        InvalidInput: if the scheme has implicit stages.
    """

    def __init__(self, stepper: AnchoredDynamics, kernel: RepresenterKernel) -> None:
        if stepper.scheme.is_implicit:
            raise InvalidInput(
                f"scheme {stepper.scheme.name!r}: the anchors of a representer kernel flow by explicit stages alone; "
                "take an explicit scheme, or another kernel"
            )
        self.stepper, self.kernel = stepper, kernel
        layers, stages = stepper.grid.layers, stepper.scheme.num_stages
        tapes = np.zeros((layers, stages, kernel.rank, stepper.superposition.tape_rows))
        self.slopes: list[list[Block]] = [[d.T for d in layer] for layer in tapes]
        self.final = create_block(stepper.space.num_local, kernel.rank)
        self.bind()

    def bind(self) -> None:
        """Make the kernel's places those of this flow, if they are those of another one."""
        if self.kernel.follow != self.run:
            self.kernel.bind([c for layer in self.stepper.intervals for c in layer], self.run)

    def number(self, n: int, i: int) -> int:
        """Return the number of a place.

        Args:
            n: The layer.
            i: The stage.
        """
        return n * self.stepper.scheme.num_stages + i

    def run(self) -> None:
        """Let the anchors flow and fill all places and the tapes of σ' (collective over space)."""
        superposition = self.stepper.superposition

        def evaluate(n: int, i: int, s: Block, out: Block) -> None:
            superposition.evaluate_with_tape(s, out, self.slopes[n][i])

        self.sweep(evaluate)

    def sweep(self, evaluate: Evaluate) -> None:
        """Let the anchors flow and fill all places (collective over space).

        Args:
            evaluate: Evaluates σ.
        """
        stepper, kernel, scheme = self.stepper, self.kernel, self.stepper.scheme
        kernel.is_current = True
        state, stage, s, *rates = (np.empty_like(self.final, order="F") for _ in range(3 + scheme.num_stages))
        np.copyto(state, kernel.anchors)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for n in range(stepper.grid.layers):
                for i in range(scheme.num_stages):
                    combine(state, stepper.grid.step, scheme.lower[i], rates=rates, out=stage)
                    place = kernel.places[self.number(n, i)]
                    self._fill(place, stage)
                    np.copyto(s, stepper.bias[place.interval][:, None])
                    add_product(
                        1.0, kernel.values(place.interval), np.asfortranarray(place.root.value @ place.root.gram), out=s
                    )
                    evaluate(n, i, s, rates[i])
                combine(state, stepper.grid.step, scheme.b, rates=rates, out=state)
        np.copyto(self.final, state)

    def _fill(self, place: Place, stage: Block) -> None:
        np.copyto(place.moments, self.stepper.space.apply_mass(stage))
        (gram,) = self.kernel.project((place.moments, stage))
        place.root = InverseRoot(0.5 * (gram + gram.T))
