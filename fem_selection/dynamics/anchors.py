# SPDX-License-Identifier: MIT
"""`AnchorFlow`: the anchors of a representer kernel through the layers, under the kernel that they determine.

    S_i = Ĉ X_i + b,   X_i = P_i G_i,   P_i ≈ G_i^{-1/2},   G_i = A_iᵀ M A_i,   R_i = Π σ(S_i)

A_i is the anchors' block at stage i of a layer, P_i an `InverseRoot`.  One sweep fills all places of the kernel
(`kernels.representer`), and then blocks of any other states are swept under it by the `Stepper` as under every other
kernel.  Where not all layers are stored (`dynamics.checkpointing`), the places of some consecutive layers are kept at
once, and the flow goes on, or begins anew, as places are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.schemes import Scheme, combine
from fem_selection.dynamics.storage_plan import StoragePlan
from fem_selection.dynamics.superposition import Superposition
from fem_selection.errors import InvalidInput
from fem_selection.kernels.places import Place
from fem_selection.kernels.representer import RepresenterKernel
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
        state: The anchors where the flow stands, shape (num_local, r).
        position: The number of the layer boundary where it stands.
        window: Number of consecutive layers whose places and tapes of σ' are kept; at first that of all layers.
        plan: What is stored of sweeps with these anchors, which decided the window; None before that.

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
        self.state, self.position = create_block(stepper.space.num_local, kernel.rank), 0
        self.plan: StoragePlan | None = None
        self._blocks: list[Block] = []
        self.keep(stepper.grid.layers)

    @staticmethod
    def bytes_of_layer(rows: int, tape_rows: int, scheme: Scheme) -> int:
        """Return the bytes that the places of a layer take for each anchor: M A with its dual, and the tape of σ'.

        Args:
            rows: Number of owned nodes.
            tape_rows: Rows of the superposition's tape.
            scheme: The Runge–Kutta scheme.
        """
        return 8 * scheme.num_stages * (2 * rows + tape_rows)

    def keep(self, layers: int) -> None:
        """Keep the places of that many consecutive layers at once."""
        self.window = layers
        self._slopes: list[list[Block]] = []
        self.kernel.bind(self._intervals(), self.run, layers * self.stepper.scheme.num_stages)

    @property
    def final(self) -> Block:
        """The anchors at T, shape (num_local, r), if the flow stands there; not to be written to."""
        assert self.position == self.stepper.grid.layers
        return self.state

    @property
    def keeps_all(self) -> bool:
        """Whether the places of all layers are kept."""
        return self.window == self.stepper.grid.layers

    def bind(self) -> None:
        """Make the kernel's places those of this flow, if they are those of another one."""
        if self.kernel.follow != self.run:
            self.kernel.bind(self._intervals(), self.run, self.window * self.stepper.scheme.num_stages)

    def number(self, n: int, i: int) -> int:
        """Return the number of a place.

        Args:
            n: The layer.
            i: The stage.
        """
        return n * self.stepper.scheme.num_stages + i

    def slot(self, n: int, i: int) -> int:
        """Return the index of a place among those that are kept.

        Args:
            n: The layer.
            i: The stage.
        """
        return self.number(n % self.window, i)

    def slopes(self, n: int, i: int) -> Block:
        """Return the tape of σ' of a stage, one of those that are kept.

        Args:
            n: The layer.
            i: The stage.
        """
        return self._slopes[n % self.window][i]

    def run(self, number: int) -> None:
        """Let the anchors flow until the place of that number is filled (collective over space)."""
        n, layers = number // self.stepper.scheme.num_stages, self.stepper.grid.layers
        if not self.kernel.is_current or n < self.position:
            self.restart()
        while self.position <= n:
            self.cover(range(self.position, min(self.position + self.window, layers)))

    def restart(self) -> None:
        """Return to t = 0, with the parameters that the kernel has now; no place is filled."""
        for place in self.kernel.places:
            place.number = -1
        self.kernel.is_current = True
        np.copyto(self.state, self.kernel.anchors)
        self.position = 0

    def cover(self, layers: range) -> None:
        """Let the anchors flow through the layers that follow, and fill their places (collective over space).

        Args:
            layers: Their numbers, at most as many as are kept, from the flow's position on.
        """
        superposition = self.stepper.superposition

        def evaluate(n: int, i: int, s: Block, out: Block) -> None:
            superposition.evaluate_with_tape(s, out, self.slopes(n, i))

        self._advance(layers, evaluate)

    def sweep(self, evaluate: Evaluate) -> None:
        """Let the anchors flow through all layers and fill all places, which must be kept (collective over space).

        Args:
            evaluate: Evaluates σ.
        """
        self.restart()
        self._advance(range(self.stepper.grid.layers), evaluate)

    def _intervals(self) -> list[int]:
        return [c for layer in self.stepper.intervals for c in layer]

    def _advance(self, layers: range, evaluate: Evaluate) -> None:
        assert layers.start == self.position and len(layers) <= self.window
        stepper, kernel, scheme, state = self.stepper, self.kernel, self.stepper.scheme, self.state
        if not self._slopes:
            tapes = np.zeros((self.window, scheme.num_stages, kernel.rank, stepper.superposition.tape_rows))
            self._slopes = [[d.T for d in layer] for layer in tapes]
        if not self._blocks:
            self._blocks = [np.empty_like(state, order="F") for _ in range(2 + scheme.num_stages)]
        own, s, *rates = self._blocks
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for n in layers:
                for i in range(scheme.num_stages):
                    stage = own if any(scheme.lower[i]) else state
                    if stage is own:
                        combine(state, stepper.grid.step, scheme.lower[i], rates=rates, out=stage)
                    place = kernel.places[self.slot(n, i)]
                    place.number, place.interval = self.number(n, i), stepper.intervals[n][i]
                    self._fill(place, stage)
                    np.copyto(s, stepper.bias[place.interval][:, None])
                    add_product(
                        1.0, kernel.values(place.interval), np.asfortranarray(place.root.value @ place.root.gram), out=s
                    )
                    evaluate(n, i, s, rates[i])
                combine(state, stepper.grid.step, scheme.b, rates=rates, out=state)
        self.position = layers.stop

    def _fill(self, place: Place, stage: Block) -> None:
        if place.moments.shape != stage.shape:
            place.moments = np.empty_like(stage, order="F")
        np.copyto(place.moments, self.stepper.space.apply_mass(stage))
        (gram,) = self.kernel.project((place.moments, stage))
        place.root = InverseRoot(0.5 * (gram + gram.T))
