# SPDX-License-Identifier: MIT
"""The integrals in Gronwall's inequality, from above, to a tolerance.

    e^{α(t)},   ∫₀ᵗ e^{α(t) − α(s)} c(s) ds,      α(t) = ∫₀ᵗ a

Each piece of time is integrated by Clenshaw and Curtis's rule on nine points, and compared with that on five of them.
Pieces on which the two differ by more than a part of the integral are halved.  The differences are errors of the
coarser rule; they are added to the integrals of the finer one, so that the results are bounds from above as far as the
rules converge.

References:
    C. W. Clenshaw, A. R. Curtis, Numer. Math. 2 (1960) 197, doi:10.1007/BF01386223.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fem_selection.typing import Floats

__all__ = ["GronwallIntegrals", "integrate_gronwall"]

_TOLERANCE = 1e-7  # of the integral over a piece, or of a hundredth of the whole
_SMALL = 1e-2
_DEPTH = 40


def _rule(degree: int) -> tuple[Floats, Floats]:
    """Chebyshev's points x_j on [−1, 1], increasing, and the matrix of the integrals of the interpolant up to each."""
    x = -np.cos(np.pi * np.arange(degree + 1) / degree)
    coefficients = np.polynomial.chebyshev.chebvander(x, degree)
    integrals = np.zeros((degree + 1, degree + 1))
    for k in range(degree + 1):
        primitive = np.polynomial.chebyshev.chebint(np.eye(degree + 1)[k], lbnd=-1.0)
        integrals[:, k] = np.polynomial.chebyshev.chebval(x, primitive)
    return x, integrals @ np.linalg.inv(coefficients)


_POINTS, _FINE = _rule(8)
_, _COARSE = _rule(4)


@dataclass(frozen=True)
class GronwallIntegrals:
    """The integrals at some times, each of shape (num_times,).

    Attributes:
        factor: e^{α(t)}, from above.
        forcing: ∫₀ᵗ e^{α(t) − α(s)} c(s) ds, from above.
        plain_factor: The first without the estimate of its error.
        plain_forcing: The second without it.
        relative_error: The errors of ∫a and of ∫c, the larger one relative to its integral; α below 1 counts as 1.
        evaluations: Number of times at which a and c were evaluated.
    """

    factor: Floats
    forcing: Floats
    plain_factor: Floats
    plain_forcing: Floats
    relative_error: float
    evaluations: int


def integrate_gronwall(
    coefficients: Callable[[float], tuple[float, float]],
    times: Floats,
    *,
    edges: Floats | None = None,
    most: int = 0,
) -> GronwallIntegrals:
    """Return the integrals at some times.

    Args:
        coefficients: a(t) and c(t).
        times: t, increasing, shape (num_times,).
        edges: Times between which a and c vary little; None if they are constant.
        most: Number of evaluations after which no piece is halved any more.
    """
    sums = _Sums(coefficients, most)
    rows = [sums.row]
    if edges is None:
        constant = coefficients(float(times[0]))
        for h in np.diff(times):
            sums.add_constant(constant, float(h))
            rows.append(sums.row)
    else:
        sums.expect(edges)
        for start, end in itertools.pairwise(times):
            inside = edges[(edges > start) & (edges < end)]
            ends = [float(start), *inside.tolist(), float(end)]
            for left, right in itertools.pairwise(ends):
                sums.add(left, right)
            rows.append(sums.row)
    columns = np.array(rows).T
    return GronwallIntegrals(
        factor=columns[0],
        forcing=columns[1],
        plain_factor=columns[2],
        plain_forcing=columns[3],
        relative_error=sums.relative_error,
        evaluations=sums.evaluations,
    )


class _Sums:
    """The integrals up to a time."""

    def __init__(self, coefficients: Callable[[float], tuple[float, float]], most: int) -> None:
        self._coefficients, self._most = coefficients, most
        self.row = (1.0, 0.0, 1.0, 0.0)
        self._totals, self._errors = np.zeros(2), np.zeros(2)
        self.evaluations, self._expected = 0, 0.0

    def expect(self, edges: Floats) -> None:
        """Estimate ∫c by the midpoint rule, so that errors are compared with it where c is small."""
        middles = 0.5 * (edges[1:] + edges[:-1])
        self._expected = float(np.diff(edges) @ [self._coefficients(float(t))[1] for t in middles])
        self.evaluations += middles.size

    @property
    def relative_error(self) -> float:
        """The larger relative error of ∫a and of ∫c; ∫a below 1 counts as 1, since it is an exponent."""
        scale = np.maximum(self._totals, [1.0, 1e-300])
        return float(np.max(self._errors / scale))

    def add_constant(self, values: tuple[float, float], h: float) -> None:
        """Continue by a step with constant coefficients."""
        a, c = values
        with np.errstate(over="ignore", invalid="ignore"):
            self._continue(a * h, c * (float(np.expm1(a * h)) / a if a > 0 else h), np.zeros(2))

    def add(self, start: float, end: float) -> None:
        """Continue over a piece, halved as often as its errors ask for."""
        pieces = [(start, end, 0)]
        while pieces:
            left, right, depth = pieces.pop()
            h = right - left
            values = np.array([self._coefficients(float(t)) for t in left + 0.5 * h * (1.0 + _POINTS)])
            self.evaluations += len(values)
            fine, coarse = _both(h, values, _FINE), _both(h, values[::2], _COARSE)
            errors = np.abs(fine - coarse)
            small = np.all(errors <= _TOLERANCE * np.maximum(np.abs(fine), [1.0, _SMALL * self._expected]))
            if not small and depth < _DEPTH and self.evaluations + 2 * len(values) <= self._most:
                middle = 0.5 * (left + right)
                pieces += [(middle, right, depth + 1), (left, middle, depth + 1)]
                continue
            self._totals += 0.5 * h * _FINE[-1] @ values
            self._continue(float(fine[0]), float(fine[1]), errors)

    def _continue(self, exponent: float, push: float, errors: Floats) -> None:
        """Multiply by e^{∫a}, and add ∫ e^{α} c over the piece."""
        self._errors += errors
        factor, forcing, plain_factor, plain_forcing = self.row
        with np.errstate(over="ignore", invalid="ignore"):
            plain = float(np.exp(exponent))
            above = float(np.exp(exponent + errors[0]))
            self.row = (
                factor * above,
                forcing * above + (push + errors[1]) * float(np.exp(errors[0])),
                plain_factor * plain,
                plain_forcing * plain + push,
            )


def _both(h: float, values: Floats, rule: Floats) -> Floats:
    """∫ a and ∫ e^{α(end) − α} c over a piece."""
    a, c = values.T
    alpha = 0.5 * h * rule @ a
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array([alpha[-1], 0.5 * h * rule[-1] @ (np.exp(alpha[-1] - alpha) * c)])
