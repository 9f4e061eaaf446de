# SPDX-License-Identifier: MIT
"""Minimisation of the Hamiltonian at each neuron with one sample, a scalar problem: the global minimum.

    h(s) = p σ(s) + (s − s°)²/(2γ)                                                                     (one neuron)

For several samples use `fem_selection.adjoint.pointwise`.
"""

from __future__ import annotations

import numpy as np

from fem_selection.functions.activations import Activation, cached_by_expression
from fem_selection.typing import Floats, Integers

__all__ = ["minimize_one_sample"]

_REACH, _SPACING, _POINTS = 12.0, 0.25, 33
_GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0


def minimize_one_sample(activation: Activation, p: Floats, gamma: Floats, *, shift: Floats | None = None) -> Floats:
    """The global minimiser s of p σ(s) + (s − s°)²/(2γ), entry by entry.

    A minimiser lies within γ |p| Lip σ of s°.  The function samples this interval, evenly and at the points about zero
    where activations bend.  It searches the neighbourhoods of the two best samples by golden sections, which also works
    at kinks, and polishes the better minimum by Newton's method.

    Args:
        activation: σ, Lipschitz.
        p: The factors p, any shape.
        gamma: γ ≥ 0, broadcast to p's shape.
        shift: s°, broadcast to p's shape; zero by default.

    Returns:
        The minimisers s, of p's shape.

    Note:
        Memory is some 150 numbers per entry; features of σ narrower than a quarter can be missed.
    """
    p = np.asarray(p, dtype=np.float64)
    shape = p.shape
    flat = p.ravel()
    g = np.broadcast_to(np.asarray(gamma, dtype=np.float64), shape).ravel()
    centre = np.zeros_like(flat) if shift is None else np.broadcast_to(shift, shape).ravel()

    with np.errstate(over="ignore", invalid="ignore"):
        return _sampled(activation, flat, g, centre).reshape(shape)


def _sampled(activation: Activation, p: Floats, g: Floats, centre: Floats) -> Floats:
    """The better of the minima that the two lowest samples lead to."""
    radius = 1.1 * g * np.abs(p) * _lipschitz(activation)
    even = centre + np.linspace(-1.0, 1.0, _POINTS)[:, None] * radius
    bends = np.arange(-_REACH, _REACH + _SPACING, _SPACING)[:, None]
    samples = np.sort(np.concatenate([even, np.clip(bends, centre - radius, centre + radius)]), axis=0)
    values = _scaled_value(activation, samples, p, g, centre)
    padded = np.pad(values, ((1, 1), (0, 0)), constant_values=np.inf)
    # no minimum lies in the outer tenth, where samples may coincide
    is_low = (values <= padded[:-2]) & (values <= padded[2:]) & (np.abs(samples - centre) < radius)
    lows = np.where(is_low, values, np.inf)
    first, second = np.argsort(lows, axis=0, kind="stable")[:2]
    best = _refine(activation, samples, first, p, g, centre)
    others = np.flatnonzero(np.isfinite(np.take_along_axis(lows, second[None], axis=0)[0]))
    if others.size:
        other = _refine(activation, samples[:, others], second[others], p[others], g[others], centre[others])
        pair = np.stack([best[others], other])
        one, two = _scaled_value(activation, pair, p[others], g[others], centre[others])
        best[others] = np.where(two < one, other, best[others])
    return best


def _refine(activation: Activation, samples: Floats, number: Integers, p: Floats, g: Floats, centre: Floats) -> Floats:
    """The minimum between the neighbours of one sample in each column, by golden sections and Newton's method.

    A few golden sections suffice where Newton's method converges; where it does not (at a kink), there are as many as
    round-off allows.
    """
    middle = np.take_along_axis(samples, number[None], axis=0)
    a = np.max(np.where(samples < middle, samples, -np.inf), axis=0)
    b = np.min(np.where(samples > middle, samples, np.inf), axis=0)
    a, b = np.where(np.isfinite(a), a, middle[0]), np.where(np.isfinite(b), b, middle[0])
    s, a, b = _golden(activation, a, b, p, g, centre, 6)
    s, slope = _polish(activation, s, p, g, centre)
    rough = np.flatnonzero(np.abs(slope) > 1e-9 * (1.0 + g * np.abs(p)))
    if rough.size:
        s[rough], _, _ = _golden(activation, a[rough], b[rough], p[rough], g[rough], centre[rough], 36)
    return s


def _golden(
    activation: Activation, a: Floats, b: Floats, p: Floats, g: Floats, centre: Floats, sections: int
) -> tuple[Floats, Floats, Floats]:
    """The middle and the two ends of the intervals after a number of golden sections."""
    for _ in range(sections):
        x = np.stack([b - _GOLDEN * (b - a), a + _GOLDEN * (b - a)])
        left, right = _scaled_value(activation, x, p, g, centre)
        a, b = np.where(left < right, a, x[0]), np.where(left < right, x[1], b)
    return 0.5 * (a + b), a, b


def _scaled_value(activation: Activation, s: Floats, p: Floats, g: Floats, centre: Floats) -> Floats:
    """γ h = γ p σ(s) + (s − s°)²/2, free of division, for several s in each column."""
    sigma = np.empty_like(s)
    activation.value(s, sigma)
    sigma *= g * p
    return sigma + 0.5 * (s - centre) ** 2


def _polish(activation: Activation, s: Floats, p: Floats, g: Floats, centre: Floats) -> tuple[Floats, Floats]:
    """Take Newton steps for γ h that do not raise it; return s and the derivative of γ h there."""
    sigma, slope, curvature = (np.empty_like(s) for _ in range(3))
    for _ in range(4):
        activation.value_and_two_derivatives(s, sigma, slope, curvature)
        gradient, bend = s - centre + g * p * slope, 1.0 + g * p * curvature
        trial = s - np.where(bend > 1e-8, gradient / np.where(bend > 1e-8, bend, 1.0), 0.0)
        # compare values only above round-off
        old, new = _scaled_value(activation, np.stack([s, trial]), p, g, centre)
        s = np.where(new > old + 1e-14 * (1.0 + np.abs(g * p)), s, trial)
    activation.value_and_derivative(s, sigma, slope)
    return s, s - centre + g * p * slope


@cached_by_expression
def _lipschitz(activation: Activation) -> float:
    """The largest |σ'| at a sample of points."""
    _, slope = activation.evaluate(np.sinh(np.linspace(-8.0, 8.0, 8001)))
    return float(np.max(np.abs(slope)))
