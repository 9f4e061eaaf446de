# SPDX-License-Identifier: MIT
"""Zeros of functions of one variable on intervals, for many functions at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fem_selection.typing import Floats, Integers

__all__ = ["find_roots"]

_Functions = Callable[[Integers, Floats], Floats]
_HALVINGS = 60
_ZERO = 1e-11  # of the largest |g| on the interval


def find_roots(g: _Functions, lower: Floats, upper: Floats) -> tuple[Integers, Floats]:
    """Find the zeros of functions g_m on intervals, seen by their values at both ends and in the middle.

    Args:
        g: Returns the values of the functions with some numbers, shape (n,), at points of shape (n, q).
        lower: Lower ends, shape (m,).
        upper: Upper ends, shape (m,).

    Returns:
        The numbers of the functions that vanish on their interval, shape (k,), and the zeros; an end counts.
    """
    x = np.stack([lower, (lower + upper) / 2, upper], axis=1)
    with np.errstate(all="ignore"):
        values = np.nan_to_num(g(np.arange(len(x)), x))
        scale = np.max(np.abs(values), axis=1, keepdims=True)
        signs = np.where(np.abs(values) <= _ZERO * scale, 0.0, np.sign(values))
        numbers, place = np.nonzero((signs == 0) & (scale > 0))
        found = [(numbers, x[numbers, place])]
        for k in (0, 1):
            numbers = np.flatnonzero(signs[:, k] * signs[:, k + 1] < 0)
            if numbers.size:
                found.append((numbers, _bisect(g, numbers, x[numbers, k], x[numbers, k + 1])))
        numbers, roots = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return numbers, _polish(g, numbers, roots, lower[numbers], upper[numbers])


def _bisect(g: _Functions, numbers: Integers, left: Floats, right: Floats) -> Floats:
    """The zeros between places of different sign."""
    ends = g(numbers, np.stack([left, right], axis=1))
    straight = np.clip(left - ends[:, 0] * (right - left) / (ends[:, 1] - ends[:, 0]), left, right)
    if np.all(np.abs(g(numbers, straight[:, None])[:, 0]) <= 1e-14 * np.abs(ends[:, 1] - ends[:, 0])):
        return straight  # g is linear
    first = np.sign(ends[:, 0])
    for _ in range(_HALVINGS):
        middle = (left + right) / 2
        same = np.sign(g(numbers, middle[:, None])[:, 0]) == first
        left, right = np.where(same, middle, left), np.where(same, right, middle)
    return (left + right) / 2


def _polish(g: _Functions, numbers: Integers, roots: Floats, lower: Floats, upper: Floats) -> Floats:
    """One step of Newton's method: the zero of y − z becomes y itself, to the last bit."""
    length = upper - lower
    side = np.where(roots - lower < length / 2, 1e-3, -1e-3) * length
    values = g(numbers, np.stack([roots, roots + side], axis=1))
    step = -values[:, 0] * side / (values[:, 1] - values[:, 0])
    return np.where(np.abs(step) <= 1e-9 * length, roots + step, roots)
