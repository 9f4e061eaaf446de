# SPDX-License-Identifier: MIT
"""Random starts of a training, of the size at which the activation bends: preactivations K f + b of the order of one.

J has many local minima; a training ends in that of its start.  A start is the problem's own start plus a random kernel
and bias, normally distributed, which are scaled until the preactivations of the samples in the first layer have moved
by the root mean square 1, 4 or 1/4 in turn.  Every other start has the same random values in all layers, for random
values that differ from layer to layer average out over depth.  The same start comes from any partition.
"""

from __future__ import annotations

import numpy as np

from fem_selection.learning.scaled import ScaledFunctional
from fem_selection.typing import Floats, whole_number

__all__ = ["random_start"]

_SPREADS = (1.0, 4.0, 0.25)
_ROUNDS = 30


def random_start(
    functional: ScaledFunctional,
    scaled_start: Floats,
    number: int,
    *,
    seed: int = 0,
    scaled_bounds: tuple[Floats, Floats] | None = None,
) -> Floats:
    """The shard of the random start x̂ with this number, 1, 2, …; the number 0 gives `scaled_start` itself (collective).

    Args:
        functional: Ĵ; its controls are overwritten.
        scaled_start: Shard of the start of the problem; its readout is kept.
        number: Number of the start.
        seed: Seed of all starts.
        scaled_bounds: Shards of lower and upper bounds, to which the start is clipped, or None.
    """
    if whole_number(number, "number", 0) == 0:
        return scaled_start.copy()
    space = functional.control_space
    local = space.gather(space.random_direction(seed + 15485863 * number))
    for name in ("readout", "offset"):
        local[space.slices[name]] = 0.0
    if number % 2:
        layers = [*space.kernel.by_interval(local[space.slices["kernel"]])] if "kernel" in space.parts else []
        if "bias" in space.parts:
            layers.append(local[space.slices["bias"]].reshape(space.grid.intervals, -1))
        for view in layers:
            view[1:] = view[0]
    direction = space.to_scaled(local[space.shard].copy())
    target = _SPREADS[(number - 1) % len(_SPREADS)]
    before = _first_preactivation(functional, scaled_start)
    size = 1.0
    for _ in range(_ROUNDS):
        moved = _first_preactivation(functional, scaled_start + size * direction) - before
        reached = _root_mean_square(functional, moved)
        if not 0.0 < reached < np.inf or abs(np.log(reached / target)) < 0.05:
            break
        size *= float(np.clip((target / reached) ** 0.7, 0.01, 100.0))
    scaled = scaled_start + size * direction
    return scaled if scaled_bounds is None else np.clip(scaled, *scaled_bounds)


def _first_preactivation(functional: ScaledFunctional, scaled: Floats) -> Floats:
    """K f^I + b in the first layer, shape (num_local, J_member)."""
    f = functional.functional
    f.set_controls(functional.to_controls(scaled))
    s = np.asfortranarray(np.repeat(f.stepper.bias[0][:, None], f.initial.shape[1], axis=1))
    with np.errstate(over="ignore", invalid="ignore"):
        f.stepper.kernel.apply(0, f.initial, s, keep=True)
    return s


def _root_mean_square(functional: ScaledFunctional, s: Floats) -> float:
    square, count = functional.control_space.ensemble.sums(float(np.sum(s * s)), float(s.size))
    return float(np.sqrt(square / max(count, 1.0)))
