# SPDX-License-Identifier: MIT
"""`ScaledFunctional`: the objective in the variable x̂ = M_L^{1/2} x, in which the L² product is the Euclidean one.

    Ĵ(x̂) = J(M_L^{-1/2} x̂),   ∇Ĵ = M_L^{-1/2} J'(x),   |∇Ĵ| ≈ ‖∇_{L²} J‖

M_L is the lumped mass of the control space, the depth weight included; in collocated mode it is the metric itself and
the last relation is an equality.  Since M_L is diagonal, box constraints stay boxes, and iteration counts of
quasi-Newton methods stay level as h and Δt tend to 0 and on graded meshes.

An optimizer needs no more of a problem than this: values and gradients at x̂, on all samples or on a mini-batch.
"""

from __future__ import annotations

import numpy as np

from fem_selection.learning.functional import Functional
from fem_selection.typing import Block, Floats

__all__ = ["ScaledFunctional"]


class ScaledFunctional:
    """A functional in the variable x̂; all arrays of controls are shards (see `ControlSpace`).

    Args:
        functional: J; its controls are overwritten by every evaluation.

    Attributes:
        control_space: The control space of J.
    """

    def __init__(self, functional: Functional) -> None:
        self.functional = functional
        self.control_space = functional.control_space

    def to_scaled(self, controls: Floats) -> Floats:
        """x̂ = M_L^{1/2} x from x; both are shards."""
        return self.control_space.to_scaled(controls)

    def to_controls(self, scaled: Floats) -> Floats:
        """x = M_L^{-1/2} x̂ from x̂; both are shards."""
        return self.control_space.to_controls(scaled)

    def evaluate(self, scaled: Floats) -> tuple[float, Floats]:
        """Ĵ(x̂) and the shard of its gradient ∇Ĵ(x̂) in x̂, for a shard of x̂ (collective).

        Raises:
            NonFinite: as `Functional.evaluate`.
        """
        value, dual = self.functional.evaluate(self.control_space.to_controls(scaled))
        return value, self.control_space.dual_to_scaled(dual, out=dual)

    def evaluate_batch(
        self, scaled: Floats, initial: Block, targets: Block, *, batch_size: int
    ) -> tuple[float, Floats]:
        """This rank's share of Ĵ on a mini-batch, and its gradient (collective).

        Args:
            scaled: Shard of x̂.
            initial: Initial states of this member's part of the batch, shape (num_local, any).
            targets: Their targets, one column for each of these samples.
            batch_size: Samples of the batch over all members.

        Returns:
            Numbers whose sum over the world is the objective (not checked for finiteness), and the shard of ∇Ĵ.
        """
        controls = self.control_space.to_controls(scaled)
        value, dual = self.functional.evaluate_batch(controls, initial, targets, batch_size=batch_size)
        return value, self.control_space.dual_to_scaled(dual, out=dual)

    def first_bad_layer(self, initial: Block) -> int | None:
        """The first layer at which a state is not finite, at the x̂ evaluated last; None if all are finite.

        Collective over the space communicator.
        """
        return self.functional.stepper.first_bad_layer(initial)

    def norm(self, scaled: Floats) -> float:
        """The Euclidean norm of x̂, or of a gradient in x̂, over all ranks (collective)."""
        return float(np.sqrt(self.control_space.ensemble.sum(float(scaled @ scaled))))
