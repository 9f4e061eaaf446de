# SPDX-License-Identifier: MIT
"""The range of σ or σ' over all of R or a half line: bounds that hold for every s, not for samples alone.

For |s| ≤ S interval arithmetic bounds the function on boxes, which are halved where the bound is not sharp; beyond, its
asymptotic expansion does (`functions.tails`).  Within a box that holds no kink the mean value form

    f(s) ∈ f(m) + f'(B) (B − m),   m the middle of the box B

is sharper than f(B).  Where neither works, the bound is infinite and `reason` says why.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from fem_selection.functions.activations import Activation, cached_by_expression
from fem_selection.functions.interpretation import INTERVALS
from fem_selection.functions.intervals import Interval, point
from fem_selection.functions.tails import NoExpansion, Tail, operations, variable
from fem_selection.typing import Floats

__all__ = ["Range", "enclose", "find_jump", "has_no_zero", "least_beyond", "range_of", "tail_of", "tail_start"]

_STARTS = (30.0, 60.0, 150.0, 500.0)
_BOX = 0.25
_SHARP = 1e-9  # difference of bound and largest value found, relative to it, at which boxes are halved no more
_MOST_BOXES, _ROUNDS = 20_000, 60
_SMALLEST_BOX = 1e-13
_CONTINUOUS = 1e-9
_SIDES, _STAYS = np.array([1e-12, 1e-9]), 0.1  # distances from a jump, and how much its size may differ between them


@dataclass(frozen=True)
class Range:
    """Bounds of a function, and values that it takes.

    Attributes:
        lower: A lower bound.
        upper: An upper bound.
        least: The least value that was found, and where.
        most: The largest value that was found, and where.
        reason: Why a bound is infinite although no value is; None if that is not so.
    """

    lower: float
    upper: float
    least: tuple[float, float]
    most: tuple[float, float]
    reason: str | None


@cached_by_expression
def tail_start(activation: Activation) -> float:
    """Return the S beyond which σ and σ' have bounds by expansions on both sides; 30 if there is none."""
    for start in _STARTS:
        if all(_tail_bounds(activation, order, sign, start) is not None for order in (0, 1) for sign in (-1.0, 1.0)):
            return start
    return _STARTS[0]


@cached_by_expression
def tail_of(activation: Activation, order: int, sign: float, *, start: float) -> Tail | None:
    """Return the expansion of σ^(order)(± s) for s ≥ S; None if it has none.

    Args:
        activation: σ.
        order: 0 or 1.
        sign: 1 for s → ∞, −1 for s → −∞.
        start: S.
    """
    try:
        found: Tail = activation.interpret(order, variable(start, sign), operations(start))
    except (NoExpansion, KeyError, OverflowError, ZeroDivisionError):
        return None
    return found


def _tail_bounds(activation: Activation, order: int, sign: float, start: float) -> tuple[float, float] | None:
    """Bounds of σ^(order) beyond ±S; None if there are none."""
    tail = tail_of(activation, order, sign, start=start)
    bounds = None
    if tail is not None:
        try:
            bounds = tail.bounds()
        except NoExpansion:
            bounds = None
    beyond = (start, np.inf) if sign > 0 else (-np.inf, -start)
    natural = enclose(activation, order, np.array([beyond[0]]), upper=np.array([beyond[1]]))
    if natural is None or bool(np.any(natural.rough)):
        return bounds
    low, high = float(natural.lower.ravel()[0]), float(natural.upper.ravel()[0])
    if bounds is None:
        return (low, high) if np.isfinite(low) or np.isfinite(high) else None
    return max(bounds[0], low), min(bounds[1], high)


def enclose(activation: Activation, order: int, lower: Floats, *, upper: Floats) -> Interval | None:
    """Return bounds of σ^(order) on boxes, each at least as wide as its values; None if σ has no interval arithmetic.

    Args:
        activation: σ.
        order: 0, 1 or 2.
        lower: Lower ends of the boxes, shape (n,).
        upper: Their upper ends.
    """
    try:
        found: Interval = activation.interpret(order, Interval(lower, upper), INTERVALS)
    except KeyError:
        return None
    shape = np.shape(lower)
    return Interval(*(np.broadcast_to(x, shape).copy() for x in (found.lower, found.upper, found.rough)))


def range_of(activation: Activation, order: int, *, low: float = -np.inf, high: float = np.inf) -> Range:
    """Return bounds of σ^(order) on [low, high].

    Args:
        activation: σ.
        order: 0 or 1.
        low: Lower end; −∞ for none.
        high: Upper end; ∞ for none.
    """
    start = tail_start(activation)
    ends = max(low, -start), min(high, start)
    up = _supremum(activation, order, *ends, sign=1.0)
    down = _supremum(activation, order, *ends, sign=-1.0)
    lower, upper = -down.bound, up.bound
    least, most, reasons = (-down.value, down.at), (up.value, up.at), [up.reason, down.reason]
    for sign, is_open in ((-1.0, low < -start), (1.0, high > start)):
        if not is_open:
            continue
        found = _tail_bounds(activation, order, sign, start)
        if found is None:
            reasons.append(f"σ{chr(39) * order} has no expansion for s → {'−' * (sign < 0)}∞")
            lower, upper = -np.inf, np.inf
            continue
        lower, upper = min(lower, found[0]), max(upper, found[1])
        far = sign * start * np.geomspace(1.0, 1e4, 41)
        values = _values(activation, order, far)
        good = np.isfinite(values)
        if np.any(good):
            k, j = int(np.argmin(np.where(good, values, np.inf))), int(np.argmax(np.where(good, values, -np.inf)))
            least, most = min(least, (float(values[k]), float(far[k]))), max(most, (float(values[j]), float(far[j])))
        limit = far[-1] * 1e4  # where a bound is infinite because the function grows, it takes such values
        if np.isinf(found[0]):
            least = min(least, (-np.inf, float(limit)))
        if np.isinf(found[1]):
            most = max(most, (np.inf, float(limit)))
    reason = next((r for r in reasons if r is not None), None)
    return Range(lower=lower, upper=upper, least=least, most=most, reason=reason)


def least_beyond(activation: Activation, sign: float) -> float:
    """Return a lower bound of σ(s) sign(s) beyond ±S; −∞ if there is none.

    Args:
        activation: σ.
        sign: 1 for s ≥ S, −1 for s ≤ −S.
    """
    found = _tail_bounds(activation, 0, sign, tail_start(activation))
    if found is None:
        return -np.inf
    return found[0] if sign > 0 else -found[1]


@cached_by_expression
def has_no_zero(activation: Activation) -> bool:
    """Return whether it is proved that σ(s) ≠ 0 for all s."""
    start = tail_start(activation)
    for sign in (-1.0, 1.0):
        tail, bounds = tail_of(activation, 0, sign, start=start), _tail_bounds(activation, 0, sign, start)
        apart = bounds is not None and (bounds[0] > 0 or bounds[1] < 0)
        with suppress(NoExpansion):
            apart = apart or (tail is not None and tail.sign != 0)
        if not apart:
            return False
    edges = np.arange(-start, start + 0.5 * _BOX, _BOX)
    lower, upper = edges[:-1], edges[1:]
    for _ in range(_ROUNDS):
        up, down = (_bounds(activation, 0, lower, upper, sign=sign) for sign in (1.0, -1.0))
        if up is None or down is None:
            return False
        may = (up >= 0) & (down >= 0)
        if not np.any(may):
            return True
        lower, upper = lower[may], upper[may]
        middle = 0.5 * (lower + upper)
        if lower.size > _MOST_BOXES or np.any(upper - lower <= _SMALLEST_BOX * (1.0 + np.abs(middle))):
            return False
        lower, upper = np.concatenate([lower, middle]), np.concatenate([middle, upper])
    return False


@dataclass(frozen=True)
class _Supremum:
    bound: float
    value: float
    at: float
    reason: str | None


def _values(activation: Activation, order: int, s: Floats) -> Floats:
    value, slope = activation.evaluate(s)
    return slope if order else value


def _supremum(activation: Activation, order: int, low: float, high: float, *, sign: float) -> _Supremum:
    """The supremum of ±σ^(order) on a finite interval, by halving boxes."""
    edges = np.unique(np.concatenate([[low, high], np.arange(np.ceil(low / _BOX), np.floor(high / _BOX) + 1) * _BOX]))
    edges = edges[(edges >= low) & (edges <= high)]
    lower, upper = edges[:-1], edges[1:]
    best, at, settled = -np.inf, 0.0, -np.inf
    highest = np.inf
    for _ in range(_ROUNDS):
        middle = 0.5 * (lower + upper)
        values = sign * _values(activation, order, np.concatenate([middle, lower, upper]))
        values = np.where(np.isfinite(values), values, -np.inf)
        k = int(np.argmax(values))
        if values[k] > best:
            best, at = float(values[k]), float(np.concatenate([middle, lower, upper])[k])
        bounds = _bounds(activation, order, lower, upper, sign=sign)
        if bounds is None:
            return _Supremum(np.inf, best, at, "σ has an operation without interval arithmetic")
        highest = float(np.max(bounds))
        above = bounds > best + _SHARP * max(abs(best), 1e-3)
        settled = max(settled, float(np.max(bounds[~above], initial=-np.inf)))
        tiny = above & (upper - lower <= _SMALLEST_BOX * (1.0 + np.abs(middle)))
        if np.any(tiny):
            worst = int(np.argmax(np.where(tiny, bounds, -np.inf)))
            return _Supremum(max(settled, highest), best, at, f"near s = {middle[worst]:.6g} no bound is sharp")
        if not np.any(above):
            return _Supremum(max(settled, best), best, at, None)
        lower, upper, middle = lower[above], upper[above], middle[above]
        if 2 * lower.size > _MOST_BOXES:
            return _Supremum(max(settled, highest), best, at, "too many boxes would be needed")
        lower, upper = np.concatenate([lower, middle]), np.concatenate([middle, upper])
    return _Supremum(max(settled, highest), best, at, "the bound did not become sharp")


def _bounds(activation: Activation, order: int, lower: Floats, upper: Floats, *, sign: float) -> Floats | None:
    """Upper bounds of ±σ^(order) on boxes."""
    natural = enclose(activation, order, lower, upper=upper)
    if natural is None:
        return None
    bounds = natural.upper if sign > 0 else -natural.lower
    slopes = enclose(activation, order + 1, lower, upper=upper)
    middle = 0.5 * (lower + upper)
    centre = activation.interpret(order, point(middle), INTERVALS)
    with np.errstate(invalid="ignore", over="ignore"):
        at = np.broadcast_to(centre.upper if sign > 0 else -centre.lower, lower.shape)
        if slopes is None:
            return bounds
        steepest = np.maximum(np.abs(slopes.lower), np.abs(slopes.upper))
        mean = at + steepest * (0.5 * (upper - lower) * (1 + 1e-12))
        smooth = ~(natural.rough | slopes.rough) & np.isfinite(mean)
    return np.where(smooth, np.minimum(bounds, mean), bounds)


def find_jump(activation: Activation) -> str | None:
    """Return where σ jumps, or where it cannot be decided whether it does, as a sentence; None if σ is continuous.

    Kinks and conditions are enclosed in boxes of the width of round-off; σ is continuous there if its values in such a
    box differ by no more than 10⁻⁹ of their size.  A jump is one whose size is the same at two distances from it.
    """
    start = tail_start(activation)
    edges = np.arange(-start, start + 0.5 * _BOX, _BOX)
    lower, upper = edges[:-1], edges[1:]
    for _ in range(_ROUNDS):
        found = enclose(activation, 0, lower, upper=upper)
        if found is None:
            return "σ has an operation without interval arithmetic"
        # a kink of a continuous function has σ' on both sides; a box without one needs no more halving
        rough = found.rough & (found.width > _CONTINUOUS * (1.0 + np.abs(found.lower)))
        lower, upper = lower[rough], upper[rough]
        if not lower.size:
            return None
        middle = 0.5 * (lower + upper)
        tiny = upper - lower <= _SMALLEST_BOX * (1.0 + np.abs(middle))
        if np.any(tiny):
            s = float(middle[np.argmax(tiny)])
            left, right = (_values(activation, 0, s + way * _SIDES * (1 + abs(s))) for way in (-1.0, 1.0))
            sizes = right - left
            stays = abs(sizes[0] - sizes[1]) <= _STAYS * abs(sizes[1])  # not as of √|s|, which is steep only
            if stays and abs(sizes[0]) > 1e-6 * (1 + abs(left[0])):
                return f"σ jumps by {sizes[0]:.3g} at s = {round(s, 12) + 0.0:.6g}"
            return f"near s = {s:.6g} the values of σ have no sharp bound"
        if lower.size > _MOST_BOXES:
            return "σ has too many kinks"
        lower, upper = np.concatenate([lower, middle]), np.concatenate([middle, upper])
    return "the kinks of σ were not enclosed"
