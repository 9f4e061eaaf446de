# SPDX-License-Identifier: MIT
"""`Penalty`: the regularization as a quadratic functional of the controls.

    R(x) = ½ ⟨A x, x⟩,    A x = α x + β ∂ᵀ∂ x   part by part

∂ is the difference quotient in depth (`objectives.regularizers`) and the product that of `ControlSpace`.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from fem_selection.learning.controls import ControlSpace
from fem_selection.objectives.regularizers import depth_laplacian
from fem_selection.settings import Regularization
from fem_selection.typing import Floats

__all__ = ["Penalty"]


class Penalty:
    """R on a control space.

    Args:
        control_space: Layout and geometry of the controls.
        regularization: The weights α and β of each part.
    """

    def __init__(self, control_space: ControlSpace, regularization: Regularization) -> None:
        self.control_space, self.regularization = control_space, regularization
        r = regularization
        self._weights = {"kernel": r.kernel, "bias": r.bias, "readout": r.readout, "offset": r.readout}

    def evaluate(self, controls: Floats) -> tuple[float, Floats]:
        """The shard's share of R(x), and the shard of the dual R'(x) = M A x, for a shard of x (collective)."""
        space, r = self.control_space, self.regularization
        if space.space.is_collocated and not r.has_depth_term:
            dual = self._diagonal * controls
            return 0.5 * float(dual @ controls), dual
        local = space.gather(controls)
        weighted = np.empty_like(local)
        for name, where in space.slices.items():
            np.multiply(local[where], self._weights[name], out=weighted[where])
        for name, beta in (("kernel", r.kernel_depth), ("bias", r.bias_depth)):
            if beta > 0 and name in space.parts:
                for layers, result in zip(self._layers(name, local), self._layers(name, weighted), strict=True):
                    result += beta * depth_laplacian(layers, space.grid.interval_length)
        dual = space.apply_metric_locally(weighted)[space.shard]
        return 0.5 * float(dual @ controls), dual

    @cached_property
    def _diagonal(self) -> Floats:
        """The shard of M A where it is diagonal."""
        diagonal = np.empty(self.control_space.local_size)
        for name, where in self.control_space.slices.items():
            diagonal[where] = self._weights[name] * self.control_space.lumped[where]
        return diagonal[self.control_space.shard].copy()

    def _layers(self, name: str, local: Floats) -> list[Floats]:
        """Views of the kernel or bias of a local array, the intervals as their first axis."""
        part = local[self.control_space.slices[name]]
        if name == "kernel":
            return self.control_space.kernel.by_interval(part)
        return [part.reshape(self.control_space.grid.intervals, -1)]
