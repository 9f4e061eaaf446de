# SPDX-License-Identifier: MIT
"""Asymptotic expansions of a function for s → ∞, with bounds of their remainders.

    f(s) = Σ_i c_i s^{p_i} e^{q_i s} + ρ(s),    |ρ(s)| ≤ r s^p e^{q s}    for all s ≥ S

A `Tail` is such an expansion.  The operations on tails give the expansion of the result: products and quotients by
series in the terms that vanish, exp and tanh by their values at the growing part.  Interval arithmetic alone cannot
bound e^s / (1 + e^s) on [S, ∞]; here it is 1 − e^{−s} + ρ.  Coefficients that cancel to round-off count as cancelled.
Where an operation has no such expansion, `NoExpansion` is raised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

__all__ = ["NoExpansion", "Tail", "operations", "variable"]

Exponents = tuple[float, float]  # (q, p), ordered by growth
_ONE: Exponents = (0.0, 0.0)
_NOTHING: Exponents = (-math.inf, 0.0)
_TERMS, _ORDER = 12, 4
_CANCELLED = 1e-14


class NoExpansion(ValueError):
    """There is no expansion in s^p e^{qs}, or S is too small for it."""


class Tail:
    """An expansion for s ≥ S.

    Args:
        start: S, at least 1.
        terms: {(q, p): c}.
        rest: r.
        order: (q, p) of the remainder.

    Raises:
        NoExpansion: if a coefficient is not finite.
    """

    def __init__(
        self, start: float, terms: Mapping[Exponents, float], *, rest: float = 0.0, order: Exponents = _NOTHING
    ) -> None:
        self.start = start
        self.terms = {m: c for m, c in sorted(terms.items(), reverse=True) if c != 0.0}
        self.rest, self.order = rest, order if rest else _NOTHING
        if not math.isfinite(rest) or not all(math.isfinite(c) for c in self.terms.values()):
            raise NoExpansion("a coefficient is not finite")
        for m in list(self.terms)[_TERMS:]:
            self._move_to_rest(m, abs(self.terms.pop(m)))

    def _move_to_rest(self, m: Exponents, size: float) -> None:
        order = max(m, self.order)
        self.rest = self.rest * _ratio(self.order, order, self.start) + size * _ratio(m, order, self.start)
        self.order = order

    @property
    def leading(self) -> tuple[Exponents, float]:
        """The term that grows fastest.

        Raises:
            NoExpansion: if the remainder may be as large.
        """
        for m, c in self.terms.items():
            if m > self.order:
                return m, c
            break
        raise NoExpansion("the leading term is not known")

    def size(self, order: Exponents) -> float:
        """The C with |f(s)| ≤ C s^p e^{qs}; all terms must be at most of that order."""
        parts = [abs(c) * _ratio(m, order, self.start) for m, c in self.terms.items()]
        return sum(parts) + self.rest * _ratio(self.order, order, self.start)

    @property
    def largest(self) -> Exponents:
        """The exponents of the largest term or remainder."""
        return max([*self.terms, self.order])

    def bounds(self) -> tuple[float, float]:
        """Return bounds of the least and the largest value for s ≥ S.

        Raises:
            NoExpansion: if the growing terms may cancel.
        """
        if self.largest > _ONE:
            m, c, small = _factored(self)
            e = small.size(_ONE)
            if e >= 1:
                raise NoExpansion("terms of similar size")
            ends = c * _least(m, self.start) * (1 - e), c * math.inf
            return min(ends), max(ends)
        low = high = self.terms.get(_ONE, 0.0)
        for m, c in self.terms.items():
            if m != _ONE:
                end = c * _ratio(m, _ONE, self.start)
                low, high = low + min(end, 0.0), high + max(end, 0.0)
        rest = self.rest * _ratio(self.order, _ONE, self.start)
        slack = 1e-14 * (abs(low) + abs(high))
        return low - rest - slack, high + rest + slack

    @property
    def sign(self) -> int:
        """The sign for all s ≥ S.

        Raises:
            NoExpansion: if it is not known.
        """
        if not self.terms and not self.rest:
            return 0
        _, c, small = _factored(self)
        if small.size(_ONE) >= 1:
            raise NoExpansion("terms of similar size")
        return 1 if c > 0 else -1

    @property
    def is_integrable(self) -> bool:
        """Whether ∫ |f| over s ≥ S is finite."""
        q, p = self.largest
        return q < 0 or (q == 0 and p < -1)


def variable(start: float, sign: float) -> Tail:
    """Return ±s for s ≥ S.

    Args:
        start: S.
        sign: 1 or −1.
    """
    return Tail(start, {(0.0, 1.0): sign})


def _ratio(small: Exponents, large: Exponents, start: float) -> float:
    """The largest s^{p − p'} e^{(q − q') s} for s ≥ S."""
    if small == _NOTHING:
        return 0.0
    b, a = large[0] - small[0], small[1] - large[1]
    if b == math.inf:
        return 0.0
    if b < 0 or (b == 0 and a > 0):
        raise NoExpansion("a term of larger order")
    s = start if b == 0 or a <= b * start else a / b
    return _safe_exp(a * math.log(s) - b * s)


def _least(m: Exponents, start: float) -> float:
    """The least s^p e^{qs} for s ≥ S, of a term that grows."""
    q, p = m
    s = max(start, -p / q) if q > 0 and p < 0 else start
    return _safe_exp(p * math.log(s) + q * s)


def _safe_exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf


def _constant(start: float, value: float) -> Tail:
    return Tail(start, {_ONE: float(value)})


def _add(a: Tail, b: Tail, sign: float = 1.0) -> Tail:
    terms = dict(a.terms)
    for m, c in b.terms.items():
        total = terms.get(m, 0.0) + sign * c
        terms[m] = 0.0 if abs(total) <= _CANCELLED * max(abs(c), abs(terms.get(m, 0.0))) else total
    result = Tail(a.start, terms, rest=a.rest, order=a.order)
    if b.rest:
        result._move_to_rest(b.order, b.rest)
    return result


def _multiply(a: Tail, b: Tail) -> Tail:
    result = Tail(a.start, {})
    for m, c in a.terms.items():
        result = _add(result, Tail(a.start, {_times(m, n): c * d for n, d in b.terms.items()}))
    for one, other in ((a, b), (b, a)):
        if one.rest:
            for m, c in other.terms.items():
                result._move_to_rest(_times(m, one.order), abs(c) * one.rest)
    if a.rest and b.rest:
        result._move_to_rest(_times(a.order, b.order), a.rest * b.rest)
    return result


def _times(m: Exponents, n: Exponents) -> Exponents:
    return m[0] + n[0], m[1] + n[1]


def _factored(a: Tail) -> tuple[Exponents, float, Tail]:
    """Exponents and coefficient of the leading term, and ε with f = c s^p e^{qs} (1 + ε)."""
    (q, p), c = a.leading
    inverse = Tail(a.start, {(-q, -p): 1.0 / c})
    rest = Tail(a.start, {m: d for m, d in a.terms.items() if m != (q, p)}, rest=a.rest, order=a.order)
    return (q, p), c, _multiply(rest, inverse)


def _series(small: Tail, coefficients: list[float], last: float) -> Tail:
    """Σ_k c_k ε^k + ρ, |ρ| ≤ `last` · |ε|^n, n the number of coefficients."""
    total, power = _constant(small.start, coefficients[0]), _constant(small.start, 1.0)
    for c in coefficients[1:]:
        power = _multiply(power, small)
        total = _add(total, _multiply(power, _constant(small.start, c)))
    if small.terms or small.rest:
        order = small.largest
        n = len(coefficients)
        total._move_to_rest((n * order[0], n * order[1]), last * small.size(order) ** n)
    return total


def _half(small: Tail) -> float:
    """The bound of |ε|, which must be below one half."""
    e = small.size(_ONE) if small.terms or small.rest else 0.0
    if e > 0.5:
        raise NoExpansion("S is too small")
    return e


def _raise(a: Tail, exponent: float) -> Tail:
    """f^a for a positive leading term, or an integer a."""
    if exponent == 0:
        return _constant(a.start, 1.0)
    if exponent in (1.0, 2.0, 3.0):
        return a if exponent == 1 else _multiply(a, _raise(a, exponent - 1))
    (q, p), c, small = _factored(a)
    if c < 0 and not float(exponent).is_integer():
        raise NoExpansion("a power of a negative number")
    e = _half(small)
    binomials = [1.0]
    for k in range(1, _ORDER + 1):
        binomials.append(binomials[-1] * (exponent - k + 1) / k)
    last = abs(binomials[-1]) * (1 - e) ** (-abs(exponent) - _ORDER)
    front = Tail(a.start, {(exponent * q, exponent * p): c**exponent})
    return _multiply(front, _series(small, binomials[:-1], last))


def _split(a: Tail) -> tuple[dict[Exponents, float], float, Tail]:
    """The growing terms, the constant, and the rest, which vanishes."""
    if a.order >= _ONE:
        raise NoExpansion("the remainder does not vanish")
    growing = {m: c for m, c in a.terms.items() if m > _ONE}
    small = Tail(a.start, {m: c for m, c in a.terms.items() if m < _ONE}, rest=a.rest, order=a.order)
    return growing, a.terms.get(_ONE, 0.0), small


def _exp(a: Tail) -> Tail:
    growing, constant, small = _split(a)
    if not growing or set(growing) == {(0.0, 1.0)}:
        e = _half(small)
        front = Tail(a.start, {(growing.get((0.0, 1.0), 0.0), 0.0): _safe_exp(constant)})
        return _multiply(front, _series(small, [1.0, 1.0, 0.5, 1 / 6], _safe_exp(e) / 24))
    (q, p), c, epsilon = _factored(a)
    if c > 0:
        raise NoExpansion("it grows faster than every exponential")
    if _half(epsilon) > 0.5 or (q == 0 and p < 1):
        raise NoExpansion("it decays slower than every exponential")
    # f ≤ −|c| s^p e^{qs} / 2 ≤ −k s
    k = 0.5 * abs(c) * _least((q, p - 1.0), a.start) if q > 0 or p > 1 else 0.5 * abs(c)
    return Tail(a.start, {}, rest=1.0, order=(-min(k, 1e3), 0.0))


def _log(a: Tail) -> Tail:
    (q, p), c, small = _factored(a)
    if c < 0 or p != 0:
        raise NoExpansion("a logarithm of a power of s, or of a negative number")
    e = _half(small)
    front = Tail(a.start, {_ONE: math.log(c), (0.0, 1.0): q})
    return _add(front, _series(small, [0.0, 1.0, -0.5, 1 / 3], 0.25 / (1 - e)))


def _tanh(a: Tail) -> Tail:
    one = _constant(a.start, 1.0)
    sign = a.sign if a.largest > _ONE else 1
    decaying = _exp(_multiply(a, _constant(a.start, -2.0 * sign)))
    ratio = _multiply(_add(one, decaying, -1.0), _raise(_add(one, decaying), -1.0))
    return _multiply(ratio, _constant(a.start, float(sign)))


def _of_constant(a: Tail, function: Callable[[float], float], slope: float) -> Tail:
    """g(c + ε) = g(c) + ρ, |ρ| ≤ `slope` |ε|."""
    growing, constant, small = _split(a)
    if growing:
        raise NoExpansion("a function of something that grows")
    result = _constant(a.start, function(constant))
    if small.terms or small.rest:
        result._move_to_rest(small.largest, slope * small.size(small.largest))
    return result


def _erf(a: Tail) -> Tail:
    if a.largest <= _ONE:
        return _of_constant(a, math.erf, 1.13)
    rest = _exp(_multiply(_multiply(a, a), _constant(a.start, -1.0)))  # erfc(x) ≤ e^{−x²}
    result = _constant(a.start, float(a.sign))
    result._move_to_rest(rest.largest, rest.size(rest.largest))
    return result


def _atan(a: Tail) -> Tail:
    if a.largest <= _ONE:
        return _of_constant(a, math.atan, 1.0)
    inverse = _raise(a, -1.0)
    result = _add(_constant(a.start, a.sign * 0.5 * math.pi), inverse, -1.0)
    q, p = inverse.largest
    result._move_to_rest((3 * q, 3 * p), inverse.size((q, p)) ** 3 / 3)
    return result


def _wave(function: Callable[[float], float], a: Tail) -> Tail:
    if a.largest <= _ONE:
        return _of_constant(a, function, 1.0)
    return Tail(a.start, {}, rest=1.0, order=_ONE)


def _power(a: Tail, b: Tail) -> Tail:
    if b.rest or set(b.terms) - {_ONE}:
        return _exp(_multiply(b, _log(a)))
    return _raise(a, b.terms.get(_ONE, 0.0))


def _signed(a: Tail, sign: float) -> Tail:
    return _multiply(a, _constant(a.start, sign))


def _choose(condition: bool, yes: Tail, no: Tail) -> Tail:
    return yes if condition else no


def _hyperbolic(sign: float, a: Tail) -> Tail:
    return _signed(_add(_exp(a), _exp(_signed(a, -1.0)), sign), 0.5)


def operations(start: float) -> Mapping[str, Callable[..., Any]]:
    """Return the operations on tails by the names that formulas use.

    Args:
        start: S.
    """

    def sign_of(a: Tail, b: Tail) -> int:
        return _add(a, b, -1.0).sign

    return {
        "number": partial(_constant, start), "add": _add, "sub": partial(_add, sign=-1.0), "mul": _multiply,
        "truediv": lambda a, b: _multiply(a, _raise(b, -1.0)), "pow": _power,
        "lt": lambda a, b: sign_of(a, b) < 0, "le": lambda a, b: sign_of(a, b) <= 0,
        "gt": lambda a, b: sign_of(a, b) > 0, "ge": lambda a, b: sign_of(a, b) >= 0,
        "eq": lambda a, b: sign_of(a, b) == 0, "ne": lambda a, b: sign_of(a, b) != 0,
        "both": lambda a, b: a and b, "negate": lambda a: not a, "where": _choose,
        "exp": _exp, "log": _log, "sqrt": lambda a: _raise(a, 0.5), "abs": lambda a: _signed(a, a.sign),
        "sign": lambda a: _constant(start, a.sign), "sin": partial(_wave, math.sin), "cos": partial(_wave, math.cos),
        "tanh": _tanh, "erf": _erf, "atan": _atan,
        "sinh": partial(_hyperbolic, -1.0), "cosh": partial(_hyperbolic, 1.0),
        "max": lambda a, b: a if sign_of(a, b) >= 0 else b, "min": lambda a, b: b if sign_of(a, b) >= 0 else a,
    }  # fmt: skip
