# SPDX-License-Identifier: MIT
"""The bounds that hold a control, their multipliers, and the coordinates that they leave free.

    ∇Ĵ(x̂) = μ_lower − μ_upper,    μ ≥ 0,    μ_lower (x̂ − lower) = 0,    μ_upper (upper − x̂) = 0

A bound is active where the control stands on it to round-off; its multiplier is the part of the gradient that pushes
against it.  An active bound whose multiplier is within the accuracy of the gradient is *weak*: the control may leave it
without raising J to first order, so that curvature counts in its direction too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.learning.scaled import ScaledFunctional
from fem_selection.typing import Floats

__all__ = ["ActiveBounds", "active_bounds", "projected_gradient"]

_ROUND_OFF = 32.0 * float(np.finfo(float).eps)


@dataclass(frozen=True)
class ActiveBounds:
    """The bounds on which a control stands.

    Attributes:
        multipliers: Shard of μ in x̂; zero where no bound is active or the gradient does not push against it.
        free: Shard of 1 where an entry may move to first order, 0 where a bound holds it.
        lower: Number of active lower bounds, of all ranks.
        upper: Number of active upper bounds.
        weak: Number of active bounds that hold nothing, for their multipliers vanish within the tolerance.
        num_free: Number of entries that may move.
        largest: The largest multiplier, as a density in L² (divided by √M_L); 0 without active bounds.
        norm: ‖μ‖ in L².
        tolerance: Size of a multiplier, in x̂, within which it counts as zero.
    """

    multipliers: Floats
    free: Floats
    lower: int
    upper: int
    weak: int
    num_free: int
    largest: float
    norm: float
    tolerance: float


def projected_gradient(scaled: Floats, scaled_gradient: Floats, scaled_bounds: tuple[Floats, Floats] | None) -> Floats:
    """x̂ − P(x̂ − ∇Ĵ), which vanishes exactly at the points that satisfy the conditions of first order.

    Args:
        scaled: Shard of x̂.
        scaled_gradient: Shard of ∇Ĵ(x̂).
        scaled_bounds: Shards of lower and upper bounds; None for none, where this is the gradient itself.
    """
    if scaled_bounds is None:
        return scaled_gradient
    return scaled - np.clip(scaled - scaled_gradient, *scaled_bounds)


def active_bounds(
    functional: ScaledFunctional,
    scaled: Floats,
    scaled_gradient: Floats,
    *,
    scaled_bounds: tuple[Floats, Floats],
    round_off: float,
) -> ActiveBounds:
    """The active bounds at x̂ with their multipliers (collective).

    Args:
        functional: Ĵ.
        scaled: Shard of x̂.
        scaled_gradient: Shard of ∇Ĵ(x̂).
        scaled_bounds: Shards of lower and upper bounds.
        round_off: Norm of the gradient's round-off; with the norm of the projected gradient it makes the tolerance of
            the multipliers.
    """
    lower, upper = scaled_bounds
    at_lower, at_upper = (np.isfinite(b) & (np.abs(scaled - b) <= _ROUND_OFF * np.abs(b)) for b in (lower, upper))
    multipliers = np.where(at_lower, np.maximum(scaled_gradient, 0.0), 0.0)
    multipliers += np.where(at_upper, np.maximum(-scaled_gradient, 0.0), 0.0)
    tolerance = round_off + functional.norm(projected_gradient(scaled, scaled_gradient, scaled_bounds))
    held = multipliers > tolerance
    ensemble, scale = functional.control_space.ensemble, functional.control_space.scale
    weak = (at_lower | at_upper) & ~held
    counts = ensemble.sums(*(float(np.count_nonzero(mask)) for mask in (at_lower, at_upper, weak, ~held)))
    largest = max(ensemble.world.allgather(float(np.max(multipliers * scale, initial=0.0))))
    return ActiveBounds(
        multipliers=multipliers,
        free=np.where(held, 0.0, 1.0),
        lower=round(counts[0]),
        upper=round(counts[1]),
        weak=round(counts[2]),
        num_free=round(counts[3]),
        largest=largest,
        norm=functional.norm(multipliers),
        tolerance=tolerance,
    )
