# SPDX-License-Identifier: MIT
"""The optimizer's variable x̂ = M_L^{1/2} x, in which the L² inner product is the Euclidean one.

    Ĵ(x̂) = J(M_L^{-1/2} x̂),   ∇Ĵ = M_L^{-1/2} J'(x),   |∇Ĵ| ≈ ‖∇_{L²} J‖

M_L is the lumped mass of the control space, the depth weight included; in collocated mode it is the metric itself and
the last relation is an equality.  Since M_L is diagonal, box constraints stay boxes, and iteration counts of
quasi-Newton methods stay level as h and Δt tend to 0 and on graded meshes.
"""

from __future__ import annotations

import numpy as np

from fem_selection.learning.functional import Functional
from fem_selection.typing import Floats

__all__ = ["ScaledFunctional"]


class ScaledFunctional:
    """A functional in the variable x̂; all arrays are shards.

    Args:
        functional: J.

    Attributes:
        scale: M_L^{-1/2}: x = scale · x̂.
    """

    def __init__(self, functional: Functional) -> None:
        self.functional = functional
        self.control_space = functional.control_space
        self.scale: Floats = 1.0 / np.sqrt(self.control_space.lumped[self.control_space.shard])

    def to_scaled(self, x: Floats) -> Floats:
        """x̂ from x."""
        return x / self.scale

    def to_physical(self, scaled: Floats) -> Floats:
        """x from x̂."""
        return scaled * self.scale

    def evaluate(self, scaled: Floats) -> tuple[float, Floats]:
        """Ĵ and ∇Ĵ (collective)."""
        value, dual = self.functional.evaluate(scaled * self.scale)
        dual *= self.scale
        return value, dual

    def norm(self, scaled: Floats) -> float:
        """The Euclidean norm over all ranks (collective)."""
        return float(np.sqrt(self.control_space.ensemble.sum(float(scaled @ scaled))))
