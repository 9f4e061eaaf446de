# SPDX-License-Identifier: MIT
"""Interval arithmetic on arrays, rounded outward: bounds of a function on whole intervals, not samples of it.

    x ∈ X, y ∈ Y   ⇒   x ∘ y ∈ X ∘ Y,   f(x) ∈ f(X)

Each operation gives an interval that contains all values of its operands' points.  The operands of one operation count
as independent, so that s − s ∈ [−1, 1] for s ∈ [0, 1]; the excess shrinks with the width of the intervals.  A function
without value somewhere in its interval has an infinite end.  Results are moved outward by a few units in the last
place, which covers the round-off of NumPy's functions.

References:
    R. Moore, R. Kearfott, M. Cloud, Introduction to Interval Analysis, SIAM 2009, doi:10.1137/1.9780898717716.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FUNCTIONS", "Interval", "Truth", "both", "negate", "point"]

Floats = npt.NDArray[np.float64]
_ULPS = 4.0 * float(np.finfo(float).eps)
_SMALLEST = 1e-300


class Interval:
    """The intervals [lower, upper], entry by entry.

    Args:
        lower: Lower ends, any shape.
        upper: Upper ends, of a shape that broadcasts with it.
        rough: Whether a kink or jump of |·|, max, min, sign or a condition lies in the interval of some operand.
    """

    def __init__(self, lower: Floats, upper: Floats, rough: npt.NDArray[np.bool_] | bool = False) -> None:
        self.lower, self.upper, self.rough = lower, upper, np.asarray(rough, dtype=bool)

    @property
    def width(self) -> Floats:
        """Upper minus lower end; infinite if an end is."""
        with np.errstate(invalid="ignore"):
            return np.nan_to_num(self.upper - self.lower, nan=np.inf, posinf=np.inf)

    def __neg__(self) -> Interval:
        """The interval of −x."""
        return Interval(-self.upper, -self.lower, self.rough)


class Truth:
    """Whether a comparison can hold, and whether it can fail, entry by entry.

    Args:
        can_hold: Whether it holds for some points of the operands.
        can_fail: Whether it fails for some.
    """

    def __init__(self, can_hold: npt.NDArray[np.bool_], can_fail: npt.NDArray[np.bool_]) -> None:
        self.can_hold, self.can_fail = can_hold, can_fail


def point(value: npt.ArrayLike) -> Interval:
    """Return intervals of one point each."""
    x = np.asarray(value, dtype=np.float64)
    return Interval(x, x)


def both(a: Truth, b: Truth) -> Truth:
    """Return whether both conditions can hold, and whether one can fail.

    Args:
        a: A condition.
        b: Another one.
    """
    return Truth(a.can_hold & b.can_hold, a.can_fail | b.can_fail)


def negate(a: Truth) -> Truth:
    """Return whether the condition can fail, and whether it can hold."""
    return Truth(a.can_fail, a.can_hold)


def _outward(lower: Floats, upper: Floats, *operands: Interval) -> Interval:
    """An interval moved outward by round-off; NaN becomes infinite."""
    with np.errstate(all="ignore"):
        low = np.where(np.isnan(lower), -np.inf, lower - (_ULPS * np.abs(lower) + _SMALLEST))
        high = np.where(np.isnan(upper), np.inf, upper + (_ULPS * np.abs(upper) + _SMALLEST))
    low, high = np.where(np.isnan(low), lower, low), np.where(np.isnan(high), upper, high)
    rough = operands[0].rough
    for operand in operands[1:]:
        rough = rough | operand.rough
    return Interval(low, high, rough)


def _add(a: Interval, b: Interval) -> Interval:
    with np.errstate(all="ignore"):
        return _outward(a.lower + b.lower, a.upper + b.upper, a, b)


def _subtract(a: Interval, b: Interval) -> Interval:
    return _add(a, -b)


def _multiply(a: Interval, b: Interval) -> Interval:
    with np.errstate(all="ignore"):
        ends = [x * y for x in (a.lower, a.upper) for y in (b.lower, b.upper)]
        ends = [np.where(np.isnan(e), 0.0, e) for e in ends]  # 0 · ∞: the point 0 times any finite number
    low, high = ends[0], ends[0]
    for e in ends[1:]:
        low, high = np.minimum(low, e), np.maximum(high, e)
    return _outward(low, high, a, b)


def _divide(a: Interval, b: Interval) -> Interval:
    with np.errstate(all="ignore"):
        low = np.where(b.lower * b.upper < 0, -np.inf, np.where(b.upper == 0, -np.inf, 1.0 / b.upper))
        high = np.where(b.lower * b.upper < 0, np.inf, np.where(b.lower == 0, np.inf, 1.0 / b.lower))
    pole = (b.lower <= 0) & (b.upper >= 0)
    zero = pole & (a.lower <= 0) & (a.upper >= 0)  # 0/0
    product = _multiply(a, Interval(low, high, b.rough))
    return Interval(
        np.where(zero | (b.lower * b.upper < 0), -np.inf, product.lower),
        np.where(zero | (b.lower * b.upper < 0), np.inf, product.upper),
        product.rough | pole,
    )


def _monotone(function: Callable[[Floats], Floats]) -> Callable[[Interval], Interval]:
    """An increasing function; where it has no value, [−∞, ∞]."""

    def apply(a: Interval) -> Interval:
        with np.errstate(all="ignore"):
            return _outward(np.asarray(function(a.lower)), np.asarray(function(a.upper)), a)

    return apply


def _root(a: Interval) -> Interval:
    with np.errstate(all="ignore"):
        low, high = np.sqrt(np.maximum(a.lower, 0.0)), np.sqrt(a.upper)
    return _defined_from_zero(a, low, high)


def _defined_from_zero(a: Interval, low: Floats, high: Floats) -> Interval:
    """The interval of a nonnegative function that has values for x ≥ 0 only."""
    outside = a.lower < -1e-12 * (1.0 + np.abs(a.upper))  # a larger negative part is no round-off
    found = _outward(low, high, a)
    lower = np.where(outside, -np.inf, np.maximum(found.lower, 0.0))
    return Interval(lower, np.where(outside, np.inf, found.upper), found.rough | (a.lower <= 0))


def _absolute(a: Interval) -> Interval:
    inside = (a.lower < 0) & (a.upper > 0)
    low, high = np.abs(a.lower), np.abs(a.upper)
    return Interval(np.where(inside, 0.0, np.minimum(low, high)), np.maximum(low, high), a.rough | inside)


def _even(function: Callable[[Floats], Floats]) -> Callable[[Interval], Interval]:
    """A function of |x| that increases with |x|, without a kink."""

    def apply(a: Interval) -> Interval:
        size = _absolute(a)
        with np.errstate(all="ignore"):
            return _outward(np.asarray(function(size.lower)), np.asarray(function(size.upper)), a)

    return apply


def _power(a: Interval, b: Interval) -> Interval:
    exponent = float(b.lower) if b.lower.ndim == 0 and b.lower == b.upper else None
    if exponent is None:
        return _exp(_multiply(b, _log(a)))
    if exponent.is_integer():
        n = int(exponent)
        if n < 0:
            return _divide(point(1.0), _power(a, point(-float(n))))
        if n == 0:
            return Interval(np.ones_like(a.lower), np.ones_like(a.upper), a.rough)
        apply = _even(lambda x: x**n) if n % 2 == 0 else _monotone(lambda x: x**n)
        return apply(a)
    if exponent < 0:
        return _divide(point(1.0), _power(a, point(-exponent)))
    with np.errstate(all="ignore"):
        low, high = np.maximum(a.lower, 0.0) ** exponent, a.upper**exponent
    return _defined_from_zero(a, low, high)


def _cos(a: Interval) -> Interval:
    with np.errstate(all="ignore"):
        low, high = a.lower / (2 * math.pi), a.upper / (2 * math.pi)
        slack = 1e-15 * (1.0 + np.abs(low) + np.abs(high))
        top = np.floor(high + slack) >= np.ceil(low - slack)  # contains a multiple of 2π
        bottom = np.floor(high - 0.5 + slack) >= np.ceil(low - 0.5 - slack)
        ends = np.cos(a.lower), np.cos(a.upper)
        lost = ~(np.isfinite(low) & np.isfinite(high)) | (np.maximum(np.abs(low), np.abs(high)) > 1e12)
    found = _outward(np.minimum(*ends), np.maximum(*ends), a)
    return Interval(
        np.where(bottom | lost, -1.0, np.maximum(found.lower - slack, -1.0)),
        np.where(top | lost, 1.0, np.minimum(found.upper + slack, 1.0)),
        found.rough,
    )


def _sin(a: Interval) -> Interval:
    return _cos(_subtract(a, point(0.5 * math.pi)))


def _tan(a: Interval) -> Interval:
    return _divide(_sin(a), _cos(a))


def _sign(a: Interval) -> Interval:
    jumps = (a.lower <= 0) & (a.upper >= 0) & (a.upper > a.lower)
    return Interval(np.sign(a.lower), np.sign(a.upper), a.rough | jumps)


def _max(a: Interval, b: Interval) -> Interval:
    undecided = ~((a.lower >= b.upper) | (b.lower >= a.upper))
    return Interval(np.maximum(a.lower, b.lower), np.maximum(a.upper, b.upper), a.rough | b.rough | undecided)


def _min(a: Interval, b: Interval) -> Interval:
    return -_max(-a, -b)


def _less(a: Interval, b: Interval) -> Truth:
    return Truth(a.lower < b.upper, a.upper >= b.lower)


def _less_or_equal(a: Interval, b: Interval) -> Truth:
    return Truth(a.lower <= b.upper, a.upper > b.lower)


def _equal(a: Interval, b: Interval) -> Truth:
    meet = (a.lower <= b.upper) & (b.lower <= a.upper)
    same = (a.lower == a.upper) & (b.lower == b.upper) & (a.lower == b.lower)
    return Truth(meet, ~same)


def _where(condition: Truth, yes: Interval, no: Interval) -> Interval:
    hold, fail = condition.can_hold, condition.can_fail
    low = np.minimum(np.where(hold, yes.lower, np.inf), np.where(fail, no.lower, np.inf))
    high = np.maximum(np.where(hold, yes.upper, -np.inf), np.where(fail, no.upper, -np.inf))
    rough = (hold & yes.rough) | (fail & no.rough) | (hold & fail)
    return Interval(low, high, rough)


def _log_of(x: Floats) -> Floats:
    return np.where(x >= 0, np.log(np.maximum(x, 0.0)), np.nan)


def _erf(x: Floats) -> Floats:
    from scipy.special import erf

    return np.asarray(erf(x))


_exp, _log = _monotone(np.exp), _monotone(_log_of)
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "add": _add, "sub": _subtract, "mul": _multiply, "truediv": _divide, "pow": _power,
    "lt": _less, "le": _less_or_equal, "gt": lambda a, b: _less(b, a), "ge": lambda a, b: _less_or_equal(b, a),
    "eq": _equal, "ne": lambda a, b: negate(_equal(a, b)), "where": _where,
    "exp": _exp, "log": _log, "ln": _log, "sqrt": _root, "abs": _absolute, "sign": _sign,
    "sin": _sin, "cos": _cos, "tan": _tan, "sinh": _monotone(np.sinh), "cosh": _even(np.cosh),
    "tanh": _monotone(np.tanh), "atan": _monotone(np.arctan), "erf": _monotone(_erf), "max": _max, "min": _min,
}  # fmt: skip
"""The operations by the names that formulas use, of intervals and truths."""
