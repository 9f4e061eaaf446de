# SPDX-License-Identifier: MIT
"""How a norm grew: the history of a run, thinned as it becomes long, and the law that fits its upper part.

    exponential:  log n(t) ≈ a + λ t,          linear:  n(t) ≈ a + c t

The fit uses the part of the run in which n is above the geometric mean of its least and its last value.  Both laws are
fitted by least squares to the steps and to points between them on Hermite's cubic through n and n'.  The law that
leaves the smaller share of the variance is named, if that share is at most 5 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fem_selection.typing import Floats

__all__ = ["Growth", "StepHistory", "fit_growth"]

_KEPT = 4096
_BETWEEN = np.linspace(0.0, 1.0, 4, endpoint=False)
_LEFT_OVER = 0.05


@dataclass(frozen=True)
class Growth:
    """How ‖f‖ grew.

    Attributes:
        kind: "exponential", "linear", or "other" if neither law fits.
        rate: λ or c, the slope of log ‖f‖ or of ‖f‖; that of log ‖f‖ if neither law fits.
        left_over: Share of the variance that the fit does not explain.
        since: Begin of the part of the run that was fitted.
        until: End of that part.
    """

    kind: Literal["exponential", "linear", "other"]
    rate: float
    left_over: float
    since: float
    until: float


class StepHistory:
    """The steps of a run: time, largest ‖f_j‖, its derivative in time, largest ‖∂_t f_j‖, step.

    Of a long run every second, fourth, … step is kept, and always the last one.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[float, ...]] = []
        self._last: tuple[float, ...] | None = None
        self._stride, self._count = 1, 0

    def add(self, time: float, norm: float, slope: float, *, rate: float, step: float) -> None:
        """Add a step.

        Args:
            time: End of the step.
            norm: The largest ‖f_j‖.
            slope: Its derivative in time.
            rate: The largest ‖∂_t f_j‖.
            step: Length of the step.
        """
        self._last = (time, norm, slope, rate, step)
        if self._count % self._stride == 0:
            self._kept.append(self._last)
            if len(self._kept) >= 2 * _KEPT:
                del self._kept[1::2]
                self._stride *= 2
        self._count += 1

    def columns(self) -> dict[str, Floats]:
        """Return the kept steps as arrays `times`, `norms`, `slopes`, `rates`, `steps`."""
        rows = list(self._kept)
        if self._last is not None and rows[-1] is not self._last:
            rows.append(self._last)
        table = np.array(rows, dtype=np.float64).reshape(len(rows), 5)
        return dict(zip(("times", "norms", "slopes", "rates", "steps"), table.T.copy(), strict=True))


def fit_growth(times: Floats, norms: Floats, slopes: Floats) -> Growth | None:
    """Return the law of growth of a norm; None if the norm did not grow.

    Args:
        times: t, increasing, shape (num_times,).
        norms: n(t), shape (num_times,).
        slopes: n'(t), shape (num_times,).
    """
    if norms.size < 2 or not norms[-1] > norms.min():
        return None
    low = np.sqrt(max(norms.min(), 1e-12 * norms[-1]) * norms[-1])
    start = min(int(np.max(np.nonzero(norms <= low)[0], initial=-1)) + 1, norms.size - 2)
    t, n = _refine(times[start:], norms[start:], slopes[start:])
    fits = [_fit(t, np.log(n)), _fit(t, n)]
    best = int(fits[1][1] < fits[0][1])
    rate, left_over = fits[best]
    if left_over > _LEFT_OVER:
        return Growth(kind="other", rate=fits[0][0], left_over=left_over, since=float(t[0]), until=float(t[-1]))
    return Growth(
        kind="linear" if best else "exponential", rate=rate, left_over=left_over, since=float(t[0]), until=float(t[-1])
    )


def _refine(t: Floats, n: Floats, slope: Floats) -> tuple[Floats, Floats]:
    """Times and norms, with points between them on Hermite's cubic; points that are not positive are left out."""
    h, d = np.diff(t)[:, None], np.diff(n)[:, None]
    x = _BETWEEN[None, :]
    left, right = h * slope[:-1, None] - d, d - h * slope[1:, None]
    values = n[:-1, None] + x * d + x * (1 - x) * ((1 - x) * left + x * right)
    between_t, between_n = np.append((t[:-1, None] + x * h).ravel(), t[-1]), np.append(values.ravel(), n[-1])
    good = between_n > 0
    return between_t[good], between_n[good]


def _fit(t: Floats, values: Floats) -> tuple[float, float]:
    """Slope of the line fitted to the values, and the share of their variance that it does not explain."""
    x, y = t - t.mean(), values - values.mean()
    slope = float(x @ y) / float(x @ x)
    total = float(y @ y)
    return slope, float(np.sum((y - slope * x) ** 2)) / total if total > 0 else 0.0
