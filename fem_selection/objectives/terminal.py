# SPDX-License-Identifier: MIT
"""Terminal costs Σ_j Φ(f_j(T)) of a block: a readout with a loss, or the distance to a target function.

    readout     Φ_j = ℓ(o_j, z_j),  o_j = ∫_Y c(y) f_j(T, y) dy + μ
    tracking    Φ_j = ½ ‖f_j(T) − g_j‖²

Both hand back the dual of the final states, P_T = ∂Σ_jΦ_j/∂F_L, from which the costates start.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from fem_selection.blas import add_product
from fem_selection.objectives.losses import Loss
from fem_selection.spaces import StateSpace
from fem_selection.typing import Block, Floats

__all__ = ["ReadoutCost", "TerminalCost", "TrackingCost"]


@dataclass
class ReadoutCost:
    """A loss of linear functionals of the final states.

    Args:
        space: The state space.
        loss: ℓ.
        num_outputs: C.

    Attributes:
        offset: μ, shape (C,), the same on every rank.
        readout_dual: Sum of ∂Φ/∂(M c), added to by `evaluate`; `space.apply_mass` of it is the dual of c.
        offset_dual: Sum of ∂Φ/∂μ.
    """

    space: StateSpace
    loss: Loss
    num_outputs: int

    def __post_init__(self) -> None:
        self.offset: Floats = np.zeros(self.num_outputs)
        self.offset_dual: Floats = np.zeros(self.num_outputs)
        self.readout_dual = self.space.create_block(self.num_outputs)
        self.assign(self.space.create_block(self.num_outputs), self.offset)

    def assign(self, readout: Block, offset: Floats) -> None:
        """Set c and μ."""
        self.assign_moments(self.space.apply_mass(readout), offset)

    def assign_moments(self, moments: Block, offset: Floats) -> None:
        """Set M c, kept by reference, and μ."""
        self._moments, self.offset = moments, offset

    def outputs(self, final: Block) -> Block:
        """o = ⟨c, f(T)⟩ + μ, shape (C, J) (collective over space)."""
        o = np.empty((self.num_outputs, final.shape[1]))  # rows are contiguous: sums over classes run along them
        add_product(1.0, final, self._moments, o.T, transpose_a=True, keep=False)
        if self.space.comm.size > 1:
            self.space.comm.Allreduce(MPI.IN_PLACE, o)
        o += self.offset[:, None]
        return o

    def evaluate(self, final: Block, targets: Block, scale: float) -> tuple[float, Block]:
        """scale · Σ_j Φ_j and its dual P_T; adds to `readout_dual` and `offset_dual`.

        The value is the same on every rank of the space communicator.
        """
        value, do = self.loss.value_and_derivative(self.outputs(final), targets)
        do *= scale
        add_product(1.0, final, do.T, self.readout_dual)
        self.offset_dual += np.add.reduce(do, axis=1)
        dual = np.empty(final.shape, order="F")
        add_product(1.0, self._moments, do.T, dual, transpose_b=True, keep=False)
        return scale * value, dual

    def assign_direction(self, moments: Block, offset: Floats) -> None:
        """Set M δc and δμ, the direction of `evaluate_second`."""
        self._d_moments, self._d_offset = moments, offset

    def evaluate_second(
        self, final: Block, d_final: Block, targets: Block, scale: float, gauss_newton: bool = False
    ) -> tuple[Block, Block]:
        """P_T and its derivative δP_T in the direction (δf, δc, δμ), times `scale`.

        Adds the derivatives of the readout's duals to `readout_dual` and `offset_dual`.  With `gauss_newton` the
        outputs count as if they were linear in all that moves them: P_T is zero then.
        """
        o = self.outputs(final)
        do = self._moments.T @ d_final + self._d_moments.T @ final
        if self.space.comm.size > 1:
            self.space.comm.Allreduce(MPI.IN_PLACE, do)
        do += self._d_offset[:, None]
        de = scale * self.loss.second_derivative(o, do)
        self.readout_dual += final @ de.T
        self.offset_dual += de.sum(axis=1)
        d_dual = np.asfortranarray(self._moments @ de)
        if gauss_newton:
            return np.zeros_like(d_dual), d_dual
        e = scale * self.loss.value_and_derivative(o, targets)[1]
        self.readout_dual += d_final @ e.T
        d_dual += self._d_moments @ e
        return np.asfortranarray(self._moments @ e), d_dual

    def value(self, final: Block, targets: Block) -> float:
        """Σ_j Φ_j."""
        return self.loss.value_and_derivative(self.outputs(final), targets)[0]

    def clear(self) -> None:
        """Set the duals to zero."""
        self.readout_dual.fill(0.0)
        self.offset_dual.fill(0.0)


@dataclass
class TrackingCost:
    """Half the squared L² distance of each final state from its target function.

    Args:
        space: The state space.
    """

    space: StateSpace

    def evaluate(self, final: Block, targets: Block, scale: float) -> tuple[float, Block]:
        """scale · Σ_j Φ_j and its dual P_T = scale · M (F_L − G)."""
        difference = np.asfortranarray(final - targets)
        dual = self.space.apply_mass(difference)
        dual *= scale
        local = 0.5 * float(np.vdot(dual, difference))
        return float(self.space.comm.allreduce(local)), dual

    def evaluate_second(
        self, final: Block, d_final: Block, targets: Block, scale: float, gauss_newton: bool = False
    ) -> tuple[Block, Block]:
        """P_T and δP_T = scale · M δF; with `gauss_newton` the final states count as linear and P_T as zero."""
        d_dual = scale * self.space.apply_mass(np.asfortranarray(d_final))
        if gauss_newton:
            return np.zeros_like(d_dual), d_dual
        return scale * self.space.apply_mass(np.asfortranarray(final - targets)), d_dual

    def value(self, final: Block, targets: Block) -> float:
        """Σ_j Φ_j."""
        return self.evaluate(final, targets, 1.0)[0]

    def clear(self) -> None:
        """Nothing to clear: there is no readout."""


TerminalCost = ReadoutCost | TrackingCost
