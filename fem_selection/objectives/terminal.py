# SPDX-License-Identifier: MIT
"""Terminal costs Σ_j Φ(f_j(T)) of a block: a readout with a loss, or the distance to a target function.

    readout     Φ_j = ℓ(o_j, z_j),  o_j = ∫_Y c(y) f_j(T, y) dy + μ
    tracking    Φ_j = ½ ‖f_j(T) − g_j‖²

Both return the dual of the final states, P_T = ∂Σ_jΦ_j/∂F_L, from which the costates start.  `linearize` keeps what
`evaluate_second` needs for the derivative of P_T in any direction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from fem_selection.discretization.spaces import StateSpace
from fem_selection.linalg.blas import add_product
from fem_selection.objectives.losses import Loss
from fem_selection.typing import Block, Floats, real_array, whole_number

__all__ = ["LinearizedCost", "ReadoutCost", "TerminalCost", "TrackingCost"]


@dataclass(frozen=True)
class LinearizedCost:
    """What the second derivative of a terminal cost needs of a block.

    Attributes:
        scale: The factor of the cost.
        final: The final states, kept by reference.
        curvature: Curvature of the loss at the outputs; None for a cost without a loss.
        derivative: scale · ∂ℓ/∂o; None for a cost without a loss, and in a Gauß–Newton linearization.
    """

    scale: float
    final: Block
    curvature: Block | None = None
    derivative: Block | None = None


@dataclass
class ReadoutCost:
    """A loss of linear functionals of the final states.

    Args:
        space: The state space.
        loss: ℓ.
        num_outputs: C.

    Attributes:
        offset: μ, shape (C,), the same on every rank.
        readout_dual: Sum of ∂Φ/∂(M c), to which `evaluate` adds; `space.apply_mass` of it is the dual of c.
        offset_dual: Sum of ∂Φ/∂μ, to which `evaluate` adds.
    """

    space: StateSpace
    loss: Loss
    num_outputs: int

    def __post_init__(self) -> None:
        self.num_outputs = whole_number(self.num_outputs, "num_outputs", 1)
        self.offset: Floats = np.zeros(self.num_outputs)
        self.offset_dual: Floats = np.zeros(self.num_outputs)
        self.readout_dual = self.space.create_block(self.num_outputs)
        self.assign(self.space.create_block(self.num_outputs), self.offset)

    def assign(self, readout: Block, offset: Floats) -> None:
        """Set c and μ (collective over space).

        Args:
            readout: Nodal values of c, shape (num_local, C).
            offset: μ, shape (C,); kept by reference.
        """
        self.assign_moments(self.space.apply_mass(readout), real_array(offset, "offset", (self.num_outputs,)))

    def assign_moments(self, moments: Block, offset: Floats) -> None:
        """Set M c and μ.

        Args:
            moments: M c, shape (num_local, C); kept by reference.
            offset: μ, shape (C,); kept by reference.
        """
        self._moments, self.offset = moments, offset

    @property
    def moments(self) -> Block:
        """M c, shape (num_local, C)."""
        return self._moments

    def outputs(self, final: Block) -> Block:
        """Return o = ⟨c, f(T)⟩ + μ, shape (C, J) (collective over space)."""
        o = np.empty((self.num_outputs, final.shape[1]))  # in C order each class is contiguous
        add_product(1.0, final, self._moments, out=o.T, transpose_a=True, keep=False)
        if self.space.comm.size > 1:
            self.space.comm.Allreduce(MPI.IN_PLACE, o)
        o += self.offset[:, None]
        return o

    def evaluate(self, final: Block, targets: Block, scale: float) -> tuple[float, Block]:
        """Return scale · Σ_j Φ_j and its dual P_T; add to `readout_dual` and `offset_dual` (collective over space).

        Args:
            final: F_L, shape (num_local, J).
            targets: z, shape (C, J).
            scale: The factor.

        Returns:
            The value, the same on every rank of the space communicator, and P_T, shape (num_local, J).
        """
        value, do = self.loss.value_and_derivative(self.outputs(final), targets)
        do *= scale
        add_product(1.0, final, do.T, out=self.readout_dual)
        self.offset_dual += np.add.reduce(do, axis=1)
        dual = np.empty(final.shape, order="F")
        add_product(1.0, self._moments, do.T, out=dual, transpose_b=True, keep=False)
        return scale * value, dual

    def assign_direction(self, moments: Block, offset: Floats) -> None:
        """Set the direction of `evaluate_second`.

        Args:
            moments: M δc, shape (num_local, C); kept by reference.
            offset: δμ, shape (C,); kept by reference.
        """
        self._d_moments, self._d_offset = moments, offset

    def linearize(
        self, final: Block, targets: Block, scale: float, *, gauss_newton: bool
    ) -> tuple[LinearizedCost, Block | None]:
        """Linearize the cost at a block of final states (collective over space).

        Args:
            final: F_L, shape (num_local, J); kept by reference.
            targets: z, shape (C, J).
            scale: The factor.
            gauss_newton: Whether to treat the outputs as linear functions of the controls; their second derivatives,
                which P_T multiplies, are then left out.

        Returns:
            What `evaluate_second` needs, and scale · P_T, which is None with `gauss_newton`.
        """
        o = self.outputs(final)
        curvature = self.loss.curvature(o)
        if gauss_newton:
            return LinearizedCost(scale=scale, final=final, curvature=curvature), None
        e = self.loss.value_and_derivative(o, targets)[1]
        e *= scale
        dual = np.empty(final.shape, order="F")
        add_product(1.0, self._moments, e.T, out=dual, transpose_b=True, keep=False)
        return LinearizedCost(scale=scale, final=final, curvature=curvature, derivative=e), dual

    def evaluate_second(self, at: LinearizedCost, d_final: Block) -> Block:
        """Return scale · δP_T, the derivative of P_T in the direction (δf, δc, δμ) (collective over space).

        c and μ are those of `linearize`, δc and δμ those of `assign_direction`.  The derivatives of the readout's duals
        are added to `readout_dual` and `offset_dual`.

        Args:
            at: What `linearize` returned.
            d_final: δF_L, shape (num_local, J).
        """
        assert at.curvature is not None
        do = np.empty((self.num_outputs, d_final.shape[1]))
        add_product(1.0, d_final, self._moments, out=do.T, transpose_a=True, keep=False)
        add_product(1.0, at.final, self._d_moments, out=do.T, transpose_a=True)
        if self.space.comm.size > 1:
            self.space.comm.Allreduce(MPI.IN_PLACE, do)
        do += self._d_offset[:, None]
        de = self.loss.second_derivative(at.curvature, do)
        de *= at.scale
        add_product(1.0, at.final, de.T, out=self.readout_dual)
        self.offset_dual += np.add.reduce(de, axis=1)
        d_dual = np.empty(d_final.shape, order="F")
        add_product(1.0, self._moments, de.T, out=d_dual, transpose_b=True, keep=False)
        if at.derivative is not None:
            add_product(1.0, d_final, at.derivative.T, out=self.readout_dual)
            add_product(1.0, self._d_moments, at.derivative.T, out=d_dual, transpose_b=True)
        return d_dual

    def value(self, final: Block, targets: Block) -> float:
        """Return Σ_j Φ_j (collective over space).

        Args:
            final: F_L, shape (num_local, J).
            targets: z, shape (C, J).
        """
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
        """Return scale · Σ_j Φ_j and its dual P_T = scale · M (F_L − G) (collective over space).

        Args:
            final: F_L, shape (num_local, J).
            targets: Nodal values G of the target functions, shape (num_local, J).
            scale: The factor.

        Returns:
            The value, the same on every rank of the space communicator, and P_T, shape (num_local, J).
        """
        difference = np.asfortranarray(final - targets)
        dual = self.space.apply_mass(difference)
        dual *= scale
        local = 0.5 * float(np.vdot(dual, difference))
        return float(self.space.comm.allreduce(local)), dual

    def linearize(
        self, final: Block, targets: Block, scale: float, *, gauss_newton: bool
    ) -> tuple[LinearizedCost, Block | None]:
        """Linearize the cost at a block of final states (collective over space).

        Args:
            final: F_L, shape (num_local, J); kept by reference.
            targets: Nodal values G of the target functions, shape (num_local, J).
            scale: The factor.
            gauss_newton: Whether to treat the final states as linear functions of the controls; their second
                derivatives, which P_T multiplies, are then left out.

        Returns:
            What `evaluate_second` needs, and scale · P_T, which is None with `gauss_newton`.
        """
        at = LinearizedCost(scale=scale, final=final)
        if gauss_newton:
            return at, None
        dual = self.space.apply_mass(np.asfortranarray(final - targets))
        dual *= scale
        return at, dual

    def evaluate_second(self, at: LinearizedCost, d_final: Block) -> Block:
        """Return scale · δP_T = scale · M δF (collective over space).

        Args:
            at: What `linearize` returned.
            d_final: δF_L, shape (num_local, J).
        """
        d_dual = self.space.apply_mass(d_final)
        d_dual *= at.scale
        return d_dual

    def value(self, final: Block, targets: Block) -> float:
        """Return Σ_j Φ_j (collective over space).

        Args:
            final: F_L, shape (num_local, J).
            targets: Nodal values G of the target functions, shape (num_local, J).
        """
        return self.evaluate(final, targets, 1.0)[0]

    def clear(self) -> None:
        """Do nothing: there is no readout."""


TerminalCost = ReadoutCost | TrackingCost
