# SPDX-License-Identifier: MIT
"""What the estimates need to know about σ: Lipschitz constant, signs, and Σ with Σ' = σ.

The constants are bounds for every s: by interval arithmetic near 0, and by asymptotic expansions beyond
(`fem_selection.functions.ranges`).  Where no bound is found, the property is not claimed, and the reason is kept.  Σ is
bounded below if it is so near 0, and if farther away σ has the sign of s or is integrable; or if σ is periodic and its
mean is zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.functions.activations import Activation, cached_by_expression
from fem_selection.functions.ranges import find_jump, least_beyond, range_of, tail_of, tail_start
from fem_selection.functions.tails import NoExpansion
from fem_selection.typing import Block, Floats

__all__ = ["Antiderivative", "ScalarProperties", "examine"]

_NEAR = 1e3  # Σ is sampled for |s| up to this
_PANEL = 0.25
_ROUND_OFF = 1e-12
_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_POINTS, _WEIGHTS = 0.5 * (_POINTS + 1.0), 0.5 * _WEIGHTS


@dataclass(frozen=True)
class ScalarProperties:
    """Properties of σ on R.

    Attributes:
        lipschitz: A bound of |σ'| for all s, sharp up to 10⁻⁶ if |σ'| is largest at some |s| ≤ S; infinite if there is
            none, or if none is known.
        not_lipschitz: Why there is no bound, or none is known; None if there is one.
        steepest: The largest |σ'| that was found, and where.
        at_zero: σ(0).
        smallest: A lower bound of σ; −∞ if there is none, or none is known.
        wrong_sign: A lower bound of σ(s) sign(s); s σ(s) ≥ 0 for all s if it is not negative.
        wrong_at: The s at which the least value was found.
        wrong_value: σ(s) sign(s) there.
        antiderivative_minimum: inf of ∫₀ˢ σ; −∞ if there is none, or none is known.
        not_bounded: Why there is none, or none is known; None if there is one.
        start: The S beyond which expansions of σ were used.
        slopes: Lower bounds of −σ(−s) and of σ(s) for all s ≥ S.
    """

    lipschitz: float
    not_lipschitz: str | None
    steepest: tuple[float, float]
    at_zero: float
    smallest: float
    wrong_sign: float
    wrong_at: float
    wrong_value: float
    antiderivative_minimum: float
    not_bounded: str | None
    start: float
    slopes: tuple[float, float]


@cached_by_expression
def examine(activation: Activation) -> ScalarProperties:
    """Return the properties of σ."""
    slope = range_of(activation, 1)
    jump = find_jump(activation)
    bound = max(abs(slope.lower), abs(slope.upper))
    steepest = max(slope.most, (-slope.least[0], slope.least[1]), key=lambda found: abs(found[0]))
    why = None
    if np.isinf(steepest[0]):
        why = "|σ'| grows with |s| without bound"
    elif jump is not None:
        why = jump
    elif np.isinf(bound):
        why = f"no bound of σ' is known: {slope.reason}; |σ'| = {abs(steepest[0]):.3g} at s = {steepest[1]:.4g}"
    right, left = range_of(activation, 0, low=0.0), range_of(activation, 0, high=0.0)
    wrong = min(right.least, (-left.most[0], left.most[1]))
    lowest, not_bounded = _antiderivative_minimum(activation)
    return ScalarProperties(
        lipschitz=float(bound) if why is None else np.inf,
        not_lipschitz=why,
        steepest=(abs(steepest[0]), steepest[1]),
        at_zero=float(activation.evaluate(np.zeros(1))[0][0]),
        smallest=min(right.lower, left.lower),
        wrong_sign=min(right.lower, -left.upper),
        wrong_at=wrong[1],
        wrong_value=wrong[0],
        antiderivative_minimum=lowest,
        not_bounded=not_bounded,
        start=tail_start(activation),
        slopes=(least_beyond(activation, -1.0), least_beyond(activation, 1.0)),
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
        values = activation.evaluate(edges[:-1, None] + widths[:, None] * _POINTS)[0]
        pieces, zero = widths * (values @ _WEIGHTS), int(np.searchsorted(edges, 0.0))
        left, right = -np.cumsum(pieces[:zero][::-1])[::-1], np.cumsum(pieces[zero:])
        self._edges, self._sums = edges, np.concatenate([left, [0.0], right])

    def __call__(self, s: Block) -> Floats:
        """Return Σ, entry by entry."""
        panel = np.clip(np.searchsorted(self._edges, s, side="right") - 1, 0, len(self._edges) - 1)
        left = self._edges[panel]
        width, total = s - left, self._sums[panel]
        for point, weight in zip(_POINTS, _WEIGHTS, strict=True):
            total = total + weight * width * self._activation.evaluate(left + point * width)[0]
        return np.asarray(total)


def _edges(reach: float) -> Floats:
    """Ends of panels from 0 to beyond `reach`: even ones, then growing ones."""
    even = np.arange(0.0, min(reach, _NEAR) + 2 * _PANEL, _PANEL)
    if reach <= _NEAR:
        return even
    return np.append(even, even[-1] * 1.01 ** np.arange(1, np.ceil(np.log(reach / even[-1]) / np.log(1.01)) + 2))


def _antiderivative_minimum(activation: Activation) -> tuple[float, str | None]:
    """inf of ∫₀ˢ σ, or −∞ and the reason."""
    start, period = tail_start(activation), activation.period
    reach = start if period is None else period
    if period is not None:
        whole = float(Antiderivative(activation, 0.0, period)(np.array([period]))[0])
        size = max(abs(range_of(activation, 0).lower), abs(range_of(activation, 0).upper))
        if abs(whole) > 1e3 * _ROUND_OFF * period * size:
            return -np.inf, f"σ is periodic, and its mean {whole / period:.3g} is not zero"
    with np.errstate(invalid="ignore", over="ignore"):
        inside = float(np.min(Antiderivative(activation, -reach, reach)(np.linspace(-reach, reach, 4001))))
    if np.isnan(inside):
        return -np.inf, f"σ has no integral over |s| ≤ {reach:g}"
    if period is not None:
        return inside, None
    for sign, side in ((-1.0, "−∞"), (1.0, "∞")):
        falls, reason = _fall_beyond(activation, sign, side)
        if reason is not None:
            return -np.inf, reason
        inside -= falls
    return inside, None


def _fall_beyond(activation: Activation, sign: float, side: str) -> tuple[float, str | None]:
    """How far ∫₀ˢ σ can fall beyond ±S, or the reason why it falls without end, or may do so."""
    if least_beyond(activation, sign) >= 0:
        return 0.0, None
    start = tail_start(activation)
    tail = tail_of(activation, 0, sign, start=start)
    if tail is None:
        return 0.0, f"it is not decided whether ∫₀ˢ σ is bounded below for s → {side}: σ has no expansion there"
    if tail.is_integrable:
        q, p = tail.largest
        exponent = -q - max(p, 0.0) / start if q < 0 else (-p - 1.0) / start
        if exponent > 0:
            return tail.size((0.0, 0.0)) / exponent, None
    try:
        right_sign = tail.sign * sign >= 0
    except NoExpansion:
        return 0.0, f"it is not decided whether ∫₀ˢ σ is bounded below for s → {side}: σ oscillates there"
    return 0.0, None if right_sign else f"∫₀ˢ σ falls without end for s → {side}"
