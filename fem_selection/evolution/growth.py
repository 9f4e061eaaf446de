# SPDX-License-Identifier: MIT
"""Laws of growth of a norm n(t), fitted to its slope n' as a function of n, over decades.

    n' = c nᵖ:      p = 1 exponential,  p = 0 linear,  p < 1 a power t^{1/(1−p)},  p > 1 blow-up like (T − t)^{−1/(p−1)}
    n' = c e^{qn}:  q < 0 logarithmic,   q > 0 blow-up like log 1/(T − t)

The equation is autonomous, so that n' as a function of n does not know when the growth began: no origin of time is
fitted.  A law is named only if n (or n', for the second family) spans a decade, if the fit leaves little, and if both
halves of the decades give the same law; else the reason is given.  The longest of several windows that end where the
run ends is used.  If n' is not smooth, because states turn as they grow, secants between times at which n first reaches
given levels take its place.

The time of a blow-up is T = t + n / ((p − 1) n'), or t + 1 / (q n').  Its error bar is the change of T over the last
decade of T − t, the local errors that the steps were allowed, as times, and round-off in t.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from fem_selection.typing import Floats

__all__ = ["Growth", "GrowthKind", "fit_growth"]

_Family = Literal["power", "exponential"]
GrowthKind = Literal["exponential", "linear", "power", "logarithmic", "blow-up", "other"]

_FEW, _INSERTED = 12, 16  # runs of fewer points get so many in each step
_POINTS = 64
_RESIDUAL = 0.05  # largest root mean square of log n' − law, a relative error of the slope
_ROUGH, _MANY = 0.5, 3.0  # the same for secants over many decades: states that turn reach levels early or late
_GOOD = 2e-3  # residual and difference of the halves of a fit that is preferred to longer windows
_EXPONENT = 5e-3  # |p| or |p − 1| below this is zero
_ROUGHLY = 2e-2  # the same where the error of p is larger
_AGREE = 0.1  # largest relative difference of the growth exponent between the halves
_SHRUNK = 1e-2  # T − t at the end, relative to its value at the beginning of the window, for a blow-up
_LEVELS = 25
_DECADE, _TWO = 0.99, 1.99  # least decades of a window, and of one for a power that is not known well
_GAP = 2.0  # decades without a step, over which no law is fitted
_PART = 0.25  # of all decades must be in a window
_LATE = 0.7  # the largest norm of a growing state is reached after this part of the run
_WINDOWS = (np.inf, 6.0, 3.0, 2.0, 1.0)  # lengths of windows, in decades


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How ‖f‖ grew.

    Attributes:
        kind: The law; "other" if none fits.
        rate: λ of e^{λt}, c of c t or c log t; NaN for the other laws.
        exponent: α of t^α (1 if linear), β of (T − t)^{−β} (0 if log 1/(T − t)); NaN for the other laws.
        exponent_error: Difference of p, or of q relative to q, between the halves of the window.
        residual: Root mean square of log n' − law: the relative error of the slope.
        decades: Decades of n (of n', for a logarithm) in the window.
        since: Begin of the window.
        until: Its end.
        blow_up_time: T; None unless the law is a blow-up.
        blow_up_error: Error bar of T.
    """

    kind: GrowthKind
    rate: float
    exponent: float
    exponent_error: float
    residual: float
    decades: float
    since: float
    until: float
    blow_up_time: float | None = None
    blow_up_error: float | None = None

    @property
    def rate_of_exponential(self) -> float:
        """λ if the law is e^{λt}, else NaN."""
        return self.rate if self.kind == "exponential" else float("nan")

    @property
    def sentence(self) -> str:
        """The law with its fit, as a phrase."""
        fit = f"fitted over {self.decades:.1f} decades, slope to {self.residual:.1%}"
        if self.kind == "blow-up":
            form = "like log 1/(T − t)" if self.exponent == 0 else f"like (T − t)^-{self.exponent:.3g}"
            return f"blows up at T = {self.blow_up_time:.10g} ± {self.blow_up_error:.1g} {form} ({fit})"
        if self.kind == "other":
            return "grows; the run supports none of the laws exponential, power, logarithm and blow-up"
        law = {
            "exponential": f"exponentially at rate {self.rate:.6g}",
            "linear": f"linearly at rate {self.rate:.6g}, as t^1.00",
            "power": f"as t^{self.exponent:.2f} ± {self.exponent**2 * self.exponent_error:.1g}",
            "logarithmic": f"as {self.rate:.4g} ± {self.rate * self.exponent_error:.1g} log t",
        }
        return f"grows {law[self.kind]} ({fit})"


def fit_growth(times: Floats, norms: Floats, slopes: Floats, *, allowed: Floats | None = None) -> Growth | None:
    """Return the law of growth of a norm; None if the norm did not grow up to its end.

    Args:
        times: t, increasing, shape (num_times,).
        norms: n(t), shape (num_times,).
        slopes: n'(t), shape (num_times,).
        allowed: Local errors allowed to the steps that end at these times, as times; zero if None.
    """
    good = np.isfinite(norms) & np.isfinite(slopes)
    t, n, slope = times[good], norms[good], slopes[good]
    if n.size < 2 or not n[-1] > n[0] or t[int(np.argmax(n))] < t[0] + _LATE * (t[-1] - t[0]):
        return None
    shift = 0.0 if allowed is None else float(np.sum(allowed[good][np.isfinite(allowed[good])]))
    found = None
    if not (_is_short(n) and _is_short(slope)):
        found = _find(t, n, slope)
        if found is None and n.size < _FEW:
            found = _find(*_between(t, n, slope))
    if found is None:
        nothing = float("nan")
        return Growth(
            kind="other",
            rate=nothing,
            exponent=nothing,
            exponent_error=nothing,
            residual=nothing,
            decades=nothing,
            since=float(t[0]),
            until=float(t[-1]),
        )
    return _name(found, float(shift))


def _is_short(values: Floats) -> bool:
    """Whether positive values span less than a decade."""
    return bool(0 < np.max(values) < 10.0**_DECADE * np.min(values))


def _find(t: Floats, n: Floats, slope: Floats) -> _Fit | None:
    """A law of the slopes themselves, or else of secants; None if there is none."""
    for points, largest in ((_smooth(t, n, slope), _RESIDUAL), (_secants(t, n), _ROUGH)):
        if points is not None and (found := _fit_windows(*points, largest)) is not None:
            return found
    return None


def _between(t: Floats, n: Floats, slope: Floats) -> tuple[Floats, Floats, Floats]:
    """The points, and more between them on Hermite's cubics: steps are long where f is a polynomial in t."""
    if t.size < 2:
        return t, n, slope
    where = np.linspace(t[:-1], t[1:], _INSERTED, endpoint=False).T.ravel()
    cubic = CubicHermiteSpline(t, n, slope)
    return np.append(where, t[-1]), np.append(cubic(where), n[-1]), np.append(cubic(where, 1), slope[-1])


@dataclass(frozen=True)
class _Fit:
    """A line fitted to log n' over log n (p) or over n (q)."""

    family: _Family
    slope: float
    error: float
    residual: float
    decades: float
    times: Floats
    norms: Floats
    slopes: Floats


def _smooth(t: Floats, n: Floats, slope: Floats) -> tuple[Floats, Floats, Floats] | None:
    """The last part of the run in which n' is positive, if it covers most of the growth; None otherwise."""
    falling = np.flatnonzero(slope <= 0)
    start = falling[-1] + 1 if falling.size else 0
    if n.size - start < 3 or (n[start] <= 0 and n.size - start < 4):
        return None
    t, n, slope = t[start:], n[start:], slope[start:]
    keep = n > 0
    keep[1:] &= np.diff(n) > 0
    return (t[keep], n[keep], slope[keep]) if np.count_nonzero(keep) >= 3 else None


def _secants(t: Floats, n: Floats) -> tuple[Floats, Floats, Floats] | None:
    """Secants between the times at which the running maximum of n first reaches levels of equal ratios."""
    top = np.maximum.accumulate(n)
    low = max(float(top[0]), 1e-12 * float(top[-1]))
    if not top[-1] > 10 * low:
        return None
    first = np.concatenate([[True], np.diff(top) > 0])
    levels = np.geomspace(low, top[-1], 2 * _LEVELS - 1)
    reached = np.interp(np.log(levels), np.log(np.maximum(top[first], 1e-300)), t[first])
    steps = np.diff(reached[::2])
    if np.any(steps <= 0):
        return None
    return reached[1::2], levels[1::2], np.diff(levels[::2]) / steps


def _fit_windows(t: Floats, n: Floats, slope: Floats, largest: float) -> _Fit | None:
    """The fit over the longest window that ends with the run and obeys a law, well if there is one, else roughly."""
    logarithms = np.log(n), np.log(slope)
    families: tuple[tuple[_Family, Floats, Floats], ...] = (
        ("power", logarithms[0], logarithms[0]),
        ("exponential", n, logarithms[1]),
    )
    fits = [
        fit
        for family, x, spans in families
        for start, decades in _windows(spans)
        if (fit := _fit(family, x, logarithms[1], start=start, decades=decades, data=(t, n, slope))).residual <= largest
        and (fit.residual <= _RESIDUAL or fit.decades >= _MANY)
        and _is_law(fit)
    ]
    good = [fit for fit in fits if fit.residual <= _GOOD and fit.error <= _GOOD] or fits
    return max(good, key=lambda fit: (round(fit.decades, 1), -fit.residual), default=None)


def _windows(spans: Floats) -> list[tuple[int, float]]:
    """Begins and decades of the windows that end with the run, hold a decade and are not a small part of all."""
    away = np.abs(spans - spans[-1]) / np.log(10)
    if not np.max(away) >= _DECADE:
        return []
    gaps = np.abs(np.diff(spans)) / np.log(10)
    least = max(_DECADE, _PART * float(np.sum(np.minimum(gaps, 1.0))))
    wide = np.append(gaps > _GAP, False)
    found: dict[int, float] = {}
    for decades in _WINDOWS:
        outside = np.flatnonzero((away > decades) | wide)
        start = int(outside[-1]) + 1 if outside.size else 0
        reach = float(np.max(away[start:], initial=0.0))
        if reach < least or spans.size - start < 3:
            break
        found[start] = reach
    return list(found.items())


def _fit(
    family: _Family, x: Floats, y: Floats, *, start: int, decades: float, data: tuple[Floats, Floats, Floats]
) -> _Fit:
    """The line over a window."""
    t, n, slope = (values[start:] for values in data)
    x, y = x[start:], y[start:]
    at = np.linspace(x[0], x[-1], _POINTS)
    y = np.interp(at, x, y)
    whole, residual = _line(at, y)
    half = _POINTS // 2
    first, second = _line(at[:half], y[:half])[0], _line(at[half:], y[half:])[0]
    return _Fit(family, whole, abs(first - second), residual, decades, t, n, slope)


def _is_law(fit: _Fit) -> bool:
    """Whether the halves agree, and a blow-up comes nearer."""
    if fit.family == "exponential":
        return fit.error <= _AGREE * abs(fit.slope) and (fit.slope < 0 or _shrinks(_remaining(fit)))
    p = fit.slope
    if _is_near(p, fit.error) or _is_near(p - 1, fit.error):
        return fit.error <= 3 * _ROUGHLY
    if p > 1:
        return fit.error <= _AGREE * (p - 1) and _shrinks(_remaining(fit))
    # a part of a curve that bends looks like some power, with some error, over one decade
    if fit.decades < _TWO and not (fit.residual <= _GOOD and fit.error <= _EXPONENT):
        return False
    return fit.error <= _AGREE * (1 - p)  # of α = 1/(1 − p)


def _is_near(p: float, error: float) -> bool:
    """Whether an exponent is zero within its error, which is cut off where it says nothing."""
    return abs(p) <= max(_EXPONENT, min(_ROUGHLY, 2 * error))


def _remaining(fit: _Fit) -> Floats:
    """T − t at the times of a blow-up."""
    if fit.family == "exponential":
        return 1.0 / (fit.slope * fit.slopes)
    return fit.norms / ((fit.slope - 1) * fit.slopes)


def _shrinks(remaining: Floats) -> bool:
    return bool(remaining[-1] <= _SHRUNK * remaining[0])


def _name(fit: _Fit, shift: float) -> Growth:
    """The law that a fit stands for."""
    p, nothing = fit.slope, float("nan")
    kind: GrowthKind
    rate = exponent = nothing
    time = error = None
    if fit.family == "exponential" and p < 0:
        kind, rate = "logarithmic", -1.0 / p
    elif fit.family == "exponential" or (p > 1 and not _is_near(p - 1, fit.error)):
        kind, exponent = "blow-up", 0.0 if fit.family == "exponential" else 1.0 / (p - 1)
        left = _remaining(fit)
        ends = fit.times + left
        time = float(ends[-1])
        last = left <= 10 * left[-1]
        spread = float(np.max(np.abs(ends[last] - time), initial=0.0))
        error = spread + float(left[-1]) * max(fit.residual, fit.error) + shift + 8 * np.finfo(float).eps * abs(time)
    elif _is_near(p - 1, fit.error):
        kind = "exponential"
        rate = float(np.log(fit.norms[-1] / fit.norms[0]) / (fit.times[-1] - fit.times[0]))
    elif _is_near(p, fit.error):
        kind, exponent = "linear", 1.0
        rate = float((fit.norms[-1] - fit.norms[0]) / (fit.times[-1] - fit.times[0]))
    else:
        kind, exponent = "power", 1.0 / (1.0 - p)
    return Growth(
        kind=kind,
        rate=rate,
        exponent=exponent,
        exponent_error=fit.error if fit.family == "power" else fit.error / abs(p),
        residual=fit.residual,
        decades=fit.decades,
        since=float(fit.times[0]),
        until=float(fit.times[-1]),
        blow_up_time=time,
        blow_up_error=error,
    )


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope of the line fitted to y over x, and the root mean square that it leaves."""
    dx, dy = x - x.mean(), y - y.mean()
    slope = float(dx @ dy) / float(dx @ dx)
    return slope, float(np.sqrt(np.mean((dy - slope * dx) ** 2)))
