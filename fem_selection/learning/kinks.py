# SPDX-License-Identifier: MIT
"""Where a network stands at a kink of σ: there J has no second derivative, and perhaps no first one.

A preactivation s stands at a kink if σ' differs on the two sides of it, at s − δ and s + δ with a δ of 1e-7 (1 + |s|).
Away from kinks J is smooth in a neighbourhood, whatever σ does elsewhere.
"""

from __future__ import annotations

import numpy as np

from fem_selection.learning.functional import Functional
from fem_selection.typing import Floats

__all__ = ["count_at_kinks"]

_REACH = 1e-7
_JUMP = 1e-3  # of σ'; smooth activations change it by about 1e-7 σ'' over the reach


def count_at_kinks(functional: Functional, controls: Floats) -> tuple[int, int]:
    """The number of preactivations that stand at a kink of σ, and the number of all, over layers and samples.

    Args:
        functional: J; its controls are overwritten.
        controls: Shard of x.

    Note:
        Collective; it costs one forward sweep and two evaluations of σ' at every stage.
    """
    functional.set_controls(controls)
    stepper, found = functional.stepper, np.zeros(2)
    with np.errstate(over="ignore", invalid="ignore"):
        for columns in functional.blocks(functional.initial.shape[1]):
            block = functional.initial[:, columns]
            tape = stepper.tape(block.shape[1])
            stepper.advance(block, tape)
            below, above = (np.empty(tape.slopes[0][0].shape, order="F") for _ in range(2))
            for n, layer in enumerate(tape.stages):
                for i, stage in enumerate(layer):
                    c = stepper.intervals[n][i]
                    s = np.asfortranarray(np.repeat(stepper.bias[c][:, None], stage.shape[1], axis=1))
                    stepper.kernel.apply(c, stage, s, keep=True)
                    reach, unused = _REACH * (1.0 + np.abs(s)), np.empty_like(s, order="F")
                    for side, slope in ((s - reach, below), (s + reach, above)):
                        stepper.superposition.evaluate_to_second(np.asfortranarray(side), unused, slope, curvature=None)
                    found[0] += np.count_nonzero(np.abs(above - below) > _JUMP)
                    found[1] += above.size
    functional.counts.forward += 1
    total = functional.control_space.ensemble.sums(*found)
    return round(total[0]), round(total[1])
