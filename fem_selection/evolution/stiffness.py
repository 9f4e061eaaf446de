# SPDX-License-Identifier: MIT
"""`StiffnessProbe`: the spectral radius of F'(f), followed along a run by power iteration.

    v_j ← F'(f_j) v_j / ‖v_j‖,    ρ ≈ max_j ‖F'(f_j) v_j‖ / ‖v_j‖

The vectors are kept from one call to the next, so that two products per call are enough.
"""

from __future__ import annotations

import numpy as np

from fem_selection.discretization.numbering import hashed_normal
from fem_selection.dynamics.field import SelectionField
from fem_selection.typing import Block

__all__ = ["StiffnessProbe"]


class StiffnessProbe:
    """Follows the largest |λ| of F'(f_j) over the samples of this rank.

    Args:
        field: F.
        num_samples: Number of samples.
    """

    def __init__(self, field: SelectionField, num_samples: int) -> None:
        self._field = field
        self._shape = (field.space.num_local, num_samples)
        self._vectors: Block | None = None

    def radius(self, state: Block) -> float:
        """Return the estimate of ρ at a block of states (collective over space)."""
        if self._vectors is None:
            numbers = self._field.space.canonical[:, None], np.arange(self._shape[1])[None, :]
            self._vectors = np.asfortranarray(hashed_normal(1, *numbers))
        at = self._field.linearize(state)
        ratios = np.zeros(self._shape[1])
        for _ in range(2):
            moved = at.apply(self._vectors)
            before, after = self._field.space.norm(self._vectors), self._field.space.norm(moved)
            ratios = after / before
            # a vector that F' maps to zero is not changed
            self._vectors = np.asfortranarray(
                np.where(after > 0, moved / np.where(after > 0, after, 1.0), self._vectors)
            )
        return float(np.max(ratios, initial=0.0))
