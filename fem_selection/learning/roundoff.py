# SPDX-License-Identifier: MIT
"""The round-off of an objective and its gradient, measured: every control is moved by one unit in its last place.

    |Ĵ(x̂ (1 ± ε)) − Ĵ(x̂)|,    ‖∇Ĵ(x̂ (1 ± ε)) − ∇Ĵ(x̂)‖,    ε = 2⁻⁵²

No difference of two objectives that is smaller says anything.  Eight times the larger of two measurements is taken, and
at least eight units in the last place of the terms that are added up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.discretization.numbering import hashed_normal
from fem_selection.errors import NonFinite
from fem_selection.learning.scaled import ScaledFunctional
from fem_selection.typing import Floats

__all__ = ["RoundOff", "measure_round_off"]

_EPSILON, _FACTOR = float(np.finfo(float).eps), 8.0


@dataclass(frozen=True)
class RoundOff:
    """Differences that mean nothing.

    Attributes:
        objective: Of two objectives.
        gradient: Of two gradients, in the norm of x̂.
    """

    objective: float
    gradient: float


def measure_round_off(
    functional: ScaledFunctional, scaled: Floats, *, value: float, scaled_gradient: Floats
) -> RoundOff:
    """Measure the round-off at x̂, by two evaluations (collective).

    Args:
        functional: Ĵ; its controls are overwritten.
        scaled: Shard of x̂.
        value: Ĵ(x̂).
        scaled_gradient: Shard of ∇Ĵ(x̂).
    """
    control_space = functional.control_space
    _, penalty = functional.functional.penalty.evaluate(control_space.to_controls(scaled))
    of_value, of_gradient = abs(value), functional.norm(scaled_gradient)
    of_gradient += functional.norm(control_space.dual_to_scaled(penalty))
    moved = np.zeros(2)
    for seed in (11, 12):
        signs = np.sign(hashed_normal(seed, control_space.indices))
        try:
            other, gradient = functional.evaluate(scaled * (1.0 + _EPSILON * signs))
        except NonFinite:
            return RoundOff(objective=np.inf, gradient=np.inf)
        moved = np.maximum(moved, [abs(other - value), functional.norm(gradient - scaled_gradient)])
    return RoundOff(
        objective=_FACTOR * (float(moved[0]) + _EPSILON * of_value),
        gradient=_FACTOR * (float(moved[1]) + _EPSILON * of_gradient),
    )
