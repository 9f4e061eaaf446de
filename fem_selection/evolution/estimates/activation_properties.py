# SPDX-License-Identifier: MIT
"""What the estimates need to know about σ, found by sampling: Lipschitz constant, signs, and Σ with Σ' = σ.

σ is sampled at some 60 000 points, evenly for |s| ≤ 50 and by equal ratios up to 10⁸.  The Lipschitz constant is the
larger of the largest difference quotient |σ(s) − σ(r)| / |s − r| of neighbours and the largest |σ'|.  The neighbourhood
of the largest is sampled again on finer and finer grids: if the constant keeps growing, σ jumps.  If the constant grows
with the range of s, σ is not Lipschitz.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from fem_selection.functions.activations import Activation
from fem_selection.typing import Block, Floats

__all__ = ["Antiderivative", "ScalarProperties", "examine"]

REACH = 1e8
"""σ is sampled for |s| up to this."""
_NEAR = 1e3  # Σ is sampled for |s| up to this
_PANEL = 0.25
_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_POINTS, _WEIGHTS = 0.5 * (_POINTS + 1.0), 0.5 * _WEIGHTS


@dataclass(frozen=True)
class ScalarProperties:
    """Properties of σ on R, as far as sampling shows them.

    Attributes:
        lipschitz: sup |σ'|; infinite if it grows without bound or σ jumps.
        at_zero: σ(0).
        smallest: inf σ; −∞ if it is below −10⁶.
        wrong_sign: inf σ(s) sign(s) over s ≠ 0; s σ(s) ≥ 0 for all s if and only if it is not negative.
        wrong_at: The s of that infimum.
        antiderivative_minimum: inf of ∫₀ˢ σ; −∞ if it keeps falling with |s|.
        slopes: The least −σ(−s) and the least σ(s) for s between 10³ and 10⁸.
    """

    lipschitz: float
    at_zero: float
    smallest: float
    wrong_sign: float
    wrong_at: float
    antiderivative_minimum: float
    slopes: tuple[float, float]


@cache
def examine(activation: Activation) -> ScalarProperties:
    """Return the properties of σ, found by sampling."""
    positive = np.concatenate([np.geomspace(1e-8, 1e-3, 500, endpoint=False), np.geomspace(50, REACH, 10_000)])
    s = np.unique(np.concatenate([-positive, np.linspace(-50, 50, 40_001), positive]))
    values, slopes = _evaluate(activation, s)
    signed = np.where(np.isfinite(values), values * np.sign(s), 0.0)
    worst = int(np.argmin(signed))
    finite = values[np.isfinite(values)]
    far = np.abs(s) >= 1e3
    return ScalarProperties(
        lipschitz=_lipschitz(activation, s, values, slopes),
        at_zero=float(_evaluate(activation, np.zeros(1))[0][0]),
        smallest=float(finite.min()) if finite.min() > -1e6 else -np.inf,
        wrong_sign=float(signed[worst]),
        wrong_at=float(s[worst]),
        antiderivative_minimum=_antiderivative_minimum(activation),
        slopes=(float(np.min(-values[far & (s < 0)])), float(np.min(values[far & (s > 0)]))),
    )


class Antiderivative:
    """Σ(s) = ∫₀ˢ σ, by Gauß quadrature on panels between 0 and s.

    Args:
        activation: σ.
        lower: The least s that Σ is evaluated at.
        upper: The largest.
    """

    def __init__(self, activation: Activation, lower: float, upper: float) -> None:
        self._activation = activation
        edges = np.unique(np.concatenate([-_edges(max(-lower, 0.0)), _edges(max(upper, 0.0))]))
        widths = np.diff(edges)
        values = _evaluate(activation, edges[:-1, None] + widths[:, None] * _POINTS)[0]
        pieces, zero = widths * (values @ _WEIGHTS), int(np.searchsorted(edges, 0.0))
        left, right = -np.cumsum(pieces[:zero][::-1])[::-1], np.cumsum(pieces[zero:])
        self._edges, self._sums = edges, np.concatenate([left, [0.0], right])

    def __call__(self, s: Block) -> Floats:
        """Return Σ, entry by entry."""
        panel = np.clip(np.searchsorted(self._edges, s, side="right") - 1, 0, len(self._edges) - 1)
        left = self._edges[panel]
        width, total = s - left, self._sums[panel]
        for point, weight in zip(_POINTS, _WEIGHTS, strict=True):
            total = total + weight * width * _evaluate(self._activation, left + point * width)[0]
        return np.asarray(total)


def _edges(reach: float) -> Floats:
    """Ends of panels from 0 to beyond `reach`: even ones, then growing ones."""
    even = np.arange(0.0, min(reach, _NEAR) + 2 * _PANEL, _PANEL)
    if reach <= _NEAR:
        return even
    return np.append(even, even[-1] * 1.01 ** np.arange(1, np.ceil(np.log(reach / even[-1]) / np.log(1.01)) + 2))


def _antiderivative_minimum(activation: Activation) -> float:
    """inf of ∫₀ˢ σ for |s| ≤ 10³; −∞ if it is lower than that for |s| ≤ 100 by more than round-off."""
    integral = Antiderivative(activation, -_NEAR, _NEAR)
    near, all_of_it = np.arange(-100, 100.1, _PANEL), np.arange(-_NEAR, _NEAR + 0.1, _PANEL)
    with np.errstate(invalid="ignore", over="ignore"):
        lowest, deeper = float(np.min(integral(near))), float(np.min(integral(all_of_it)))
    return deeper if deeper >= lowest - 1e-6 * (1 + abs(lowest)) else -np.inf


def _evaluate(activation: Activation, s: Floats) -> tuple[Floats, Floats]:
    """σ and σ' at some points."""
    points = np.ascontiguousarray(s, dtype=np.float64)
    value, slope = np.empty_like(points), np.empty_like(points)
    with np.errstate(all="ignore"):
        activation.value_and_derivative(points, value, slope)
    return value, slope


def _lipschitz(activation: Activation, s: Floats, values: Floats, slopes: Floats) -> float:
    """sup |σ'|, or infinity."""
    if not (np.all(np.isfinite(values)) and np.all(np.isfinite(slopes))):
        return np.inf
    quotients = np.abs(np.diff(values)) / np.diff(s)
    # for large |s| the quotients are spoiled by round-off in σ
    inner = np.abs(s) <= 1e4
    near = float(max(np.abs(slopes[inner]).max(), quotients[inner[1:]].max()))
    if np.abs(slopes).max() > 1.01 * near:
        return np.inf
    by_slope = _zoom(s, np.abs(slopes), lambda x: np.abs(_evaluate(activation, x)[1]))
    pairs = np.where(inner[1:], quotients, 0.0)
    k = int(np.argmax(pairs))
    left, right, before = s[k], s[k + 1], pairs[k]
    for _ in range(12):  # a jump doubles its quotient whenever its interval is halved
        x = np.linspace(left, right, 3)
        halves = np.abs(np.diff(_evaluate(activation, x)[0])) / np.diff(x)
        left, right = (x[0], x[1]) if halves[0] >= halves[1] else (x[1], x[2])
    if halves.max() > 100 * max(by_slope, before / 10):
        return np.inf
    return max(by_slope, float(before) if before > 1.001 * by_slope else by_slope)


def _zoom(s: Floats, values: Floats, function: Callable[[Floats], Floats]) -> float:
    """The maximum of a sampled function, with its neighbourhood sampled again up to three times."""
    for _ in range(3):
        k = int(np.argmax(values))
        s = np.linspace(s[max(k - 1, 0)], s[min(k + 1, len(s) - 1)], 101)
        again = function(s)
        if again.max() < values[k]:
            return float(values[k])
        values = again
    return float(values.max())
