# SPDX-License-Identifier: MIT
"""Where a network stands at a kink or jump of σ: there J has no second derivative, and perhaps no first one.

A preactivation s stands at a kink if σ' differs on the two sides of it, at s − δ and s + δ with a δ of 1e-7 (1 + |s|),
by more than a smooth σ' does: the difference over ten times the distance is then hardly larger.  It stands at a jump if
σ differs by more than its slopes explain.  Away from both J is smooth nearby, whatever σ does elsewhere.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fem_selection.dynamics.superposition import Superposition
from fem_selection.learning.functional import Functional
from fem_selection.typing import Block, Floats

__all__ = ["count_at_kinks"]

_REACH = 1e-7
_SHARE = 0.5  # of the difference over ten times the reach: that of a smooth σ' is a tenth
_NOISE = 1e-9  # of σ' and of s: smaller differences are round-off
_STEEP = 100.0  # times the reach and the largest σ': a larger difference of σ is a jump


def count_at_kinks(functional: Functional, controls: Floats) -> tuple[int, int]:
    """The number of preactivations that stand at a kink or jump of σ, and the number of all, over layers and samples.

    Args:
        functional: J; its controls are overwritten.
        controls: Shard of x.

    Note:
        Collective; it costs one forward sweep and four evaluations of σ and σ' at every stage.
    """
    functional.set_controls(controls)
    stepper, found = functional.stepper, np.zeros(2)
    with np.errstate(over="ignore", invalid="ignore"):
        for columns in functional.blocks(functional.initial.shape[1]):
            block = functional.initial[:, columns]
            for tape in functional.sweeps.of(block.shape[1]).through(block):
                for n, layer in zip(tape.layers, tape.stages, strict=True):
                    for c, place, stage in zip(stepper.intervals[n], stepper.places[n], layer, strict=True):
                        s = np.asfortranarray(np.repeat(stepper.bias[c][:, None], stage.shape[1], axis=1))
                        stepper.kernel.apply(place, stage, s, keep=True)
                        found[0] += np.count_nonzero(_is_rough(stepper.superposition, s))
                        found[1] += s.size
    functional.counts.forward += 1
    total = functional.control_space.ensemble.sums(*found)
    return round(total[0]), round(total[1])


def _is_rough(superposition: Superposition, s: Block) -> npt.NDArray[np.bool_]:
    """Whether σ' or Π σ jumps at s: at the evaluation points, or at nodes if Π σ alone does."""
    reach = _REACH * (1.0 + np.abs(s))

    def differences(times: float) -> tuple[Floats, Floats, Floats]:
        values, slopes = [], []
        for sign in (1.0, -1.0):
            value, slope = np.empty_like(s, order="F"), np.empty((superposition.tape_rows, s.shape[1]), order="F")
            superposition.evaluate_to_second(np.asfortranarray(s + sign * times * reach), value, slope, curvature=None)
            values.append(value)
            slopes.append(slope)
        return np.abs(values[0] - values[1]), np.abs(slopes[0] - slopes[1]), np.maximum(*np.abs(slopes))

    jump, turn, slope = differences(1.0)
    _, further, _ = differences(10.0)
    kinks: npt.NDArray[np.bool_] = (turn > _SHARE * further) & (turn > _NOISE * slope)
    steepest = float(np.max(slope, initial=0.0))
    jumps = jump > _STEEP * float(np.max(reach, initial=0.0)) * steepest + _NOISE * (1.0 + np.abs(s))
    return kinks if kinks.any() or not jumps.any() else jumps
