# SPDX-License-Identifier: MIT
"""The discretised depth: layers in [0, T] and the control intervals that hold them.

    t_n = n Δt,  n = 0 … layers,  Δt = T / layers;      interval c holds layers / intervals steps.

States live on layer boundaries, controls between them: they are piecewise constant in depth.  Coefficients that are
given as functions of t can instead be sampled at every stage time t_n + c_i Δt, which keeps a scheme's order.
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass

import numpy as np

from fem_selection.derived import derived, rederives
from fem_selection.errors import InvalidInput
from fem_selection.typing import Floats, real_number, real_numbers

__all__ = ["DepthGrid"]


@rederives
@dataclass(frozen=True)
class DepthGrid:
    """A uniform grid of layers with control intervals.

    Args:
        layers: Number of time steps.
        horizon: The final time T.
        intervals: Number of control intervals, a divisor of `layers`; one per layer by default.
        stage_nodes: The nodes c_i of a scheme, if coefficients are sampled at the stage times; `intervals` then
            counts layers × stages, and such a grid cannot carry controls to be optimized.

    Raises:
        InvalidInput: if `layers` or `intervals` is no whole number, `layers` or `horizon` is not positive and finite,
            or `intervals` does not divide `layers`.

    Example:
        >>> grid = fs.DepthGrid(layers=4, horizon=2.0, intervals=2)
        >>> grid.step, grid.sample_times.tolist()  # controls are sampled in the middle of an interval
        (0.5, [0.5, 1.5])
    """

    layers: int
    horizon: float = 1.0
    intervals: int = 0
    stage_nodes: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("layers", "intervals"):
            if not isinstance(number := getattr(self, name), numbers.Integral) or isinstance(number, bool):
                raise InvalidInput(f"{name} = {number!r}: expected a whole number")
            object.__setattr__(self, name, int(number))
        object.__setattr__(self, "horizon", real_number(self.horizon, "horizon"))
        object.__setattr__(self, "stage_nodes", tuple(real_numbers(self.stage_nodes, "stage_nodes").tolist()))
        if self.layers < 1 or not 0 < self.horizon < np.inf:
            raise InvalidInput(f"layers = {self.layers} and horizon = {self.horizon}: both must be positive and finite")
        if self.stage_nodes:
            object.__setattr__(self, "intervals", derived(self.layers * len(self.stage_nodes)))
        elif self.intervals == 0:
            object.__setattr__(self, "intervals", derived(self.layers))
        elif self.intervals < 0 or self.layers % self.intervals != 0:
            raise InvalidInput(f"{self.intervals} control intervals do not divide {self.layers} layers")

    @property
    def step(self) -> float:
        """Δt, the thickness of a layer."""
        return self.horizon / self.layers

    @property
    def interval_length(self) -> float:
        """Length in depth of a control interval."""
        return self.horizon / self.intervals

    @property
    def times(self) -> Floats:
        """Times of the layer boundaries, shape (layers + 1,)."""
        return np.linspace(0.0, self.horizon, self.layers + 1)

    @property
    def sample_times(self) -> Floats:
        """Times at which coefficients given as functions of t are sampled, shape (intervals,)."""
        if self.stage_nodes:
            return np.add.outer(self.times[:-1], self.step * np.asarray(self.stage_nodes)).ravel()
        return (np.arange(self.intervals, dtype=np.float64) + 0.5) * self.interval_length

    def interval(self, layer: int, stage: int) -> int:
        """Return the number of the control interval that a stage of a layer reads.

        Args:
            layer: 0 … layers − 1.
            stage: Number of the stage; it matters only if coefficients are sampled at the stage times.
        """
        if self.stage_nodes:
            return layer * len(self.stage_nodes) + stage
        return layer * self.intervals // self.layers
