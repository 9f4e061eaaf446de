# SPDX-License-Identifier: MIT
"""The zero set of an activation, {s : σ(s) = 0}, found from its values on an interval [−R, R].

The steady states depend on it: σ(K f + b) = 0 is a linear equation if σ has one zero, a convex inequality if σ vanishes
on an interval, as ReLU does for s ≤ 0, and a nonlinear equation if it has several zeros.

A search by samples can find zeros, and cannot say that there are none.  That σ has no zero at all is stated only where
`fem_selection.functions.ranges.has_no_zero` proves it.  R is at least as large as what states reach; if no zero is
found, also as the point beyond which σ is known by its asymptotic expansion.

A multiple zero is known less well than a simple one: around it |σ| is below round-off, and the computed values change
their sign many times.  Zeros between which |σ| stays below round-off count as one, with half the width as its error.

The computed values of an activation may vanish although σ is not zero, because they fall below round-off, as gelu(s)
does for s → −∞.  Such an end *fades*: one per cent beyond it σ is still at the level of round-off.  Beyond the end of a
true half line of zeros it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import minimize_scalar

from fem_selection.errors import InvalidInput
from fem_selection.functions.activations import Activation
from fem_selection.functions.ranges import has_no_zero, tail_start
from fem_selection.settings import SteadySettings
from fem_selection.typing import Floats

__all__ = ["ZeroKind", "ZeroSet", "find_zeros"]

ZeroKind = Literal["none", "point", "points", "segment", "other"]

_SAMPLES = 8001
_BISECTIONS = 200
_ROUND_OFF = 1e-12  # of the largest value on [-1, 1], or on the whole interval if that is zero
_BETWEEN = 33  # points between two zeros at which |σ| is below round-off, if they count as one
_KNOWN = 1e-7  # relative error of a zero above which it is printed
_NEAR = 1e-2  # distance beyond a true end, relative to 1 + |end|, at which σ is above round-off


@dataclass(frozen=True)
class ZeroSet:
    """The zeros of an activation in [−R, R].

    Attributes:
        points: The isolated zeros, in increasing order.
        slopes: σ' at the isolated zeros.
        errors: Half the widths of the intervals around them in which |σ| is below round-off.
        segments: The intervals on which σ vanishes; an end is −inf or inf if it reaches −R or R.
        fades: The directions, "-inf" or "inf", in which σ falls below round-off without a zero.
        within: R.
        proved: Whether it is proved that σ has no zero at all.
    """

    points: tuple[float, ...]
    slopes: tuple[float, ...]
    errors: tuple[float, ...]
    segments: tuple[tuple[float, float], ...]
    fades: tuple[str, ...]
    within: float
    proved: bool

    @property
    def kind(self) -> ZeroKind:
        """The kind of the set: "none", "point", "points", "segment" (one interval, no more), or "other"."""
        if not self.segments:
            return "none" if not self.points else "point" if len(self.points) == 1 else "points"
        alone = len(self.segments) == 1 and not self.points
        return "segment" if alone and np.isfinite(self.segments[0]).any() else "other"

    def __str__(self) -> str:
        parts = [
            f"s = {p:.10g}" + (f" ± {error:.0e}" if error > _KNOWN * (1.0 + abs(p)) else "")
            for p, error in zip(self.points[:9], self.errors, strict=False)
        ] + (["…"] if len(self.points) > 9 else [])
        for low, high in self.segments:
            below, above = np.isinf(low), np.isinf(high)
            parts.append(
                "all s" if below and above else f"s ≤ {high:.10g}" if below else f"s ≥ {low:.10g}"
                if above else f"{low:.10g} ≤ s ≤ {high:.10g}"
            )  # fmt: skip
        where = f"[{-self.within:g}, {self.within:g}]"
        if self.proved:
            text = "σ has no zero, which bounds for every s prove"
        elif parts:
            text = f"σ vanishes at {', '.join(parts)} (searched in {where})"
        else:
            text = f"no zero of σ was found in {where}, and it is not proved that there is none"
        if self.fades:
            text += f"; it falls below round-off towards s = {' and '.join(self.fades)} without a zero"
        return text


def find_zeros(activation: Activation, within: float = SteadySettings.within, *, reach: float = 0.0) -> ZeroSet:
    """The zeros of σ in [−R, R].

    Zeros closer to one another than `within` / 4000 may be missed (near s = 0: closer than a twentieth of their
    modulus; beyond `within`: closer than a hundredth of it).

    Args:
        activation: σ.
        within: The least R.
        reach: The largest |s| that states reach; R is at least 1.1 times this.

    Raises:
        InvalidInput: if R is not positive, or σ has no finite value.
    """
    if not within > 0:
        raise InvalidInput(f"zeros are looked for in [-R, R] with R > 0, not R = {within}")

    def sigma(s: Floats | float) -> Floats:
        block = np.asfortranarray(np.atleast_1d(np.asarray(s, dtype=np.float64)).reshape(-1, 1))
        out = np.empty_like(block)
        with np.errstate(all="ignore"):
            activation.value(block, out)
        return out[:, 0]

    near, within = within, max(within, 1.1 * reach)
    s = _samples(near, within)
    values = sigma(s)
    s, values = s[np.isfinite(values)], values[np.isfinite(values)]
    if not s.size:
        raise InvalidInput(f"the activation {activation.name} has no finite value in [{-within:g}, {within:g}]")
    size = float(np.max(np.abs(values[np.abs(s) <= 1.0]), initial=0.0)) or float(np.max(np.abs(values)))
    negligible = _ROUND_OFF * size
    points, segments, fades = _vanishing_runs(sigma, s, values, negligible)
    points += [x for x in _sign_changes(sigma, s, values) if abs(sigma(x)[0]) <= 1e3 * negligible]
    touching = [x for x in _touching_points(sigma, s, values) if abs(sigma(x)[0]) <= negligible]
    points += [x for x in touching if all(_leaves(sigma, x, way, negligible) for way in (-1.0, 1.0))]
    found, errors, segments = _join(sigma, points, segments, negligible)
    if not found and not segments and within < (start := tail_start(activation)):
        return find_zeros(activation, start, reach=reach)
    return ZeroSet(
        points=found,
        slopes=_slopes(activation, found),
        errors=errors,
        segments=tuple(segments),
        fades=tuple(fades),
        within=within,
        proved=not found and not segments and has_no_zero(activation),
    )


def _samples(near: float, within: float) -> Floats:
    """Points of [−R, R]: equidistant up to R₀, by equal ratios beyond it and towards 0, 0 itself among them."""
    tiny = np.geomspace(1e-8, 1.0, 800) * near / _SAMPLES
    count = 2 + int((np.log(within) - np.log(near)) / 5e-3)  # the quotient itself may overflow
    far = np.geomspace(near, within, count) if within > near else np.empty(0)
    return np.unique(np.concatenate([np.linspace(-near, near, _SAMPLES), tiny, -tiny, far, -far]))


def _vanishing_runs(
    sigma: Callable[[Floats | float], Floats], s: Floats, values: Floats, negligible: float
) -> tuple[list[float], list[tuple[float, float]], list[str]]:
    """Isolated zeros that a sample hits, segments, and directions that fade, from the runs of exact zeros."""
    points: list[float] = []
    segments: list[tuple[float, float]] = []
    fades: list[str] = []
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (values == 0).astype(int), [0]])))
    for first, last in zip(edges[::2], edges[1::2] - 1, strict=True):
        low = -np.inf if first == 0 else _end(sigma, s[first], s[first - 1])
        high = np.inf if last == s.size - 1 else _end(sigma, s[last], s[last + 1])
        sharp = [np.isinf(x) or _leaves(sigma, x, way, negligible) for x, way in ((low, -1.0), (high, 1.0))]
        if first == last or (np.isfinite([low, high]).all() and not all(sharp)):
            points.append(float(0.5 * (s[first] + s[last])))
        elif all(sharp):
            segments.append((float(low), float(high)))
        else:
            fades.append("-inf" if np.isinf(low) else "inf")
    return points, segments, fades


def _join(
    sigma: Callable[[Floats | float], Floats],
    points: list[float],
    segments: list[tuple[float, float]],
    negligible: float,
) -> tuple[tuple[float, ...], tuple[float, ...], list[tuple[float, float]]]:
    """Points, their errors, and segments, where zeros between which |σ| stays below round-off are one."""
    items = np.array(sorted([(p, p) for p in points] + segments)).reshape(-1, 2)
    if not items.size:
        return (), (), []
    between = items[:-1, 1, None] + np.diff(items.ravel())[1::2, None] * np.linspace(0.0, 1.0, _BETWEEN)
    joined = np.abs(sigma(between[:, _BETWEEN // 2])) <= negligible
    joined[joined] = np.all(np.abs(sigma(between[joined].ravel()).reshape(-1, _BETWEEN)) <= negligible, axis=1)
    first = np.flatnonzero(np.append(True, ~joined))
    low, high = items[first, 0], items[np.append(first[1:], len(items)) - 1, 1]
    solid = np.add.reduceat(items[:, 1] - items[:, 0], first)
    below, above = (_flat(sigma, ends, way, negligible) for ends, way in ((low, -1.0), (high, 1.0)))
    with np.errstate(invalid="ignore"):
        is_segment = (solid > 0) & (np.isinf(solid) | (2.0 * solid >= above - below))
        middle = np.where((low <= 0) & (high >= 0) & (sigma(0.0)[0] == 0.0), 0.0, 0.5 * (low + high))
    at = ~is_segment
    errors = 0.5 * (above - below)[at]
    return (
        tuple(middle[at].tolist()),
        tuple(errors.tolist()),
        list(zip(low[is_segment].tolist(), high[is_segment].tolist(), strict=True)),
    )


def _flat(sigma: Callable[[Floats | float], Floats], ends: Floats, way: float, negligible: float) -> Floats:
    """The points, up to a factor of two in their distance from given ends, up to which |σ| is below round-off."""
    width = np.finfo(float).eps * (1.0 + np.abs(ends))
    moves = np.isfinite(ends)
    while np.any(moves):
        moves &= (np.abs(sigma(np.where(moves, ends + way * width, 0.0))) <= negligible) & (width < 1.0 + np.abs(ends))
        width = np.where(moves, 2.0 * width, width)
    return ends + way * width


def _leaves(sigma: Callable[[Floats | float], Floats], zero: float, way: float, negligible: float) -> bool:
    """Whether |σ| is above round-off at a small distance from a zero."""
    return bool(abs(sigma(zero + way * _NEAR * (1.0 + abs(zero)))[0]) > negligible)


def _end(sigma: Callable[[Floats | float], Floats], zero: float, other: float) -> float:
    """The end of an interval of zeros, by bisection between a zero and a point where σ does not vanish."""
    for _ in range(_BISECTIONS):
        middle = 0.5 * (zero + other)
        if middle in (zero, other):
            break
        if sigma(middle)[0] == 0.0:
            zero = middle
        else:
            other = middle
    return zero


def _sign_changes(sigma: Callable[[Floats | float], Floats], s: Floats, values: Floats) -> list[float]:
    """The points between samples at which σ changes its sign, by bisection of all intervals at once; jumps included."""
    at = np.flatnonzero(values[:-1] * values[1:] < 0)
    low, high, sign = s[at], s[at + 1], np.sign(values[at])
    if not at.size:
        return []
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        same = np.sign(sigma(middle)) == sign
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return [float(x) for x in 0.5 * (low + high)]


def _touching_points(sigma: Callable[[Floats | float], Floats], s: Floats, values: Floats) -> list[float]:
    """Local minima of |σ| between samples of equal sign, at which σ may touch zero."""
    size = np.abs(values)
    inner = (size[1:-1] < size[:-2]) & (size[1:-1] <= size[2:]) & (values[:-2] * values[2:] > 0) & (size[1:-1] > 0)
    found = []
    for k in np.flatnonzero(inner) + 1:
        best = minimize_scalar(
            lambda x: float(abs(sigma(x)[0])), bounds=(s[k - 1], s[k + 1]), method="bounded", options={"xatol": 1e-13}
        )
        found.append(float(best.x))
    return found


def _slopes(activation: Activation, points: tuple[float, ...]) -> tuple[float, ...]:
    """σ' at some points."""
    if not points:
        return ()
    return tuple(activation.evaluate(points)[1].tolist())
