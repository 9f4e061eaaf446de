# SPDX-License-Identifier: MIT
"""The minimiser of the Hamiltonian of one sample: a function of one number, tabulated once for each activation.

    s*(κ) = argmin_s { κ σ(s) + s²/2 }

`minimize_one_sample` finds the global minimum at the table's points.  Between two points the minimum lies on one of the
two branches found at these points.  The best of both values and their linear interpolant is polished by Newton's
method, which is exact up to round-off; where s* jumps, the better branch wins.
"""

from __future__ import annotations

import numpy as np

from fem_selection.adjoint.one_sample import minimize_one_sample
from fem_selection.functions.activations import Activation, cached_by_expression
from fem_selection.typing import Floats

__all__ = ["ScalarMinimizer", "find_minimizer"]

_SPACING = 0.02  # of the points in asinh κ
_REACH = 512  # points on either side at first: |κ| < 14 000
_POLISHING = 2  # Newton steps from an error of 1e-4: more do not change H


class ScalarMinimizer:
    """s* of an activation, vectorised.

    Args:
        activation: σ, Lipschitz.

    Note:
        The points of the table do not depend on earlier calls: equal arguments give equal values on all ranks.
    """

    def __init__(self, activation: Activation) -> None:
        self.activation = activation
        self._extend(_REACH)

    def __call__(self, kappa: Floats) -> Floats:
        """s*(κ), entry by entry; NaN where κ is not finite, so that the caller sees it in the value function."""
        known = np.isfinite(kappa)
        if not known.all():
            result = np.full(kappa.shape, np.nan)
            result[known] = self(kappa[known])
            return result
        place = np.floor(np.arcsinh(kappa) / _SPACING).astype(np.int64)
        reach = int(np.max(np.abs(place), initial=0)) + 2
        if reach > self._reach:
            self._extend(2 * reach)
        left, right = place + self._reach, place + self._reach + 1
        a, b = self._points[left], self._points[right]
        s = self._values[left] + (kappa - a) / (b - a) * (self._values[right] - self._values[left])
        lowest = self._objective(kappa, s)
        for side in (left, right):
            trial = self._values[side]
            value = self._objective(kappa, trial)
            better = value < lowest
            s, lowest = np.where(better, trial, s), np.where(better, value, lowest)
        return self._polish(kappa, s, lowest)

    def _objective(self, kappa: Floats, s: Floats) -> Floats:
        sigma = np.empty_like(s)
        with np.errstate(over="ignore", invalid="ignore"):  # branches of a conditional that are not taken may overflow
            self.activation.value(s, sigma)
        return kappa * sigma + 0.5 * s * s

    def _polish(self, kappa: Floats, s: Floats, lowest: Floats) -> Floats:
        """Take Newton steps where the curvature is positive and the step does not raise the value."""
        sigma, slope, curvature = (np.empty_like(s) for _ in range(3))
        noise = 1e-14 * (1.0 + np.abs(lowest))
        for _ in range(_POLISHING):
            with np.errstate(over="ignore", invalid="ignore"):
                self.activation.value_and_two_derivatives(s, sigma, slope, curvature)
            bend = 1.0 + kappa * curvature
            convex = bend > 1e-8
            trial = s - np.where(convex, (s + kappa * slope) / np.where(convex, bend, 1.0), 0.0)
            value = self._objective(kappa, trial)
            better = value <= lowest + noise
            s, lowest = np.where(better, trial, s), np.where(better, value, lowest)
        return s

    def _extend(self, reach: int) -> None:
        self._reach = reach
        self._points = np.sinh(_SPACING * np.arange(-reach, reach + 2))
        self._values = minimize_one_sample(self.activation, self._points, np.ones(1))


@cached_by_expression
def find_minimizer(activation: Activation) -> ScalarMinimizer:
    """The minimiser of an activation; the first call makes its table, and later calls return the same object."""
    return ScalarMinimizer(activation)
