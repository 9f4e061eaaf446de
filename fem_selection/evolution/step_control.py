# SPDX-License-Identifier: MIT
"""Control of the step length: proportional–integral control of the local error, and the first step.

The error of a step is compared with ε_j = atol + rtol ‖f_j‖ for each sample, ‖·‖ the L² norm.  The largest ratio

    r = max_j ‖error_j‖ / ε_j

decides for all samples: the step is taken if r ≤ 1.  Norms are compared and not entries, so the steps do not change as
the mesh is refined.  With an estimate ∝ h^q the next step is

    h₊ = h · 0.9 r^{−1/q + 3β/4} r₋^β,   β = 1/(5q),   r₋ the ratio of the step before.

The caller rounds r to three digits, so that sums in another order, on another partition, lead to the same steps.

References:
    Hairer, Wanner, Solving Ordinary Differential Equations II, doi:10.1007/978-3-642-05221-7, IV.2 (PI control).
"""

from __future__ import annotations

import math

from fem_selection.evolution.embedded import EmbeddedPair

__all__ = ["StepController", "first_step"]

_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 8.0


class StepController:
    """Decides whether a step is taken, and proposes the next one.

    Args:
        pair: The method's coefficients.
    """

    def __init__(self, pair: EmbeddedPair) -> None:
        self._order = pair.error_order
        self._beta = 0.2 / pair.error_order
        self._before: float | None = None
        self._was_rejected = False

    def factor(self, ratio: float) -> float:
        """Return h₊/h from the ratio of the step just tried, which is taken if and only if the ratio is at most 1."""
        if not ratio <= 1.0:
            self._was_rejected = True
            return max(_SHRINK, _SAFETY * ratio ** (-1 / self._order)) if math.isfinite(ratio) else _SHRINK
        bounded = max(ratio, 1e-16)
        factor = _SAFETY * bounded ** (-1 / self._order)
        if self._before is not None:
            factor *= bounded ** (0.75 * self._beta) * self._before**self._beta
        self._before = max(ratio, 1e-4)
        factor = min(max(factor, _SHRINK), 1.0 if self._was_rejected else _GROW)
        self._was_rejected = False
        return factor


def first_step(pair: EmbeddedPair, rate: float, curvature: float, *, horizon: float) -> float:
    """Return a first step whose error should be about a tenth of what is allowed.

    A component that moves at the frequency λ with rate r has the local error C r/λ (λh)^q, C a constant of the method.

    Args:
        pair: The method's coefficients.
        rate: max_j ‖∂_t f_j‖ / ε_j.
        curvature: max_j ‖∂_tt f_j‖ / ε_j, by a difference.
        horizon: The longest step allowed.
    """
    if rate == 0:
        return horizon
    frequency = max(curvature / rate, 1.0 / horizon)
    return min((0.1 * frequency / (_CONSTANTS[pair.order] * rate)) ** (1 / pair.error_order) / frequency, horizon)


_CONSTANTS = {4: 1e-3, 5: 1e-3, 8: 1e-4}
"""C of the pairs, by order: of the size found in smooth problems."""
