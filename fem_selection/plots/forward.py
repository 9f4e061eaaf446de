# SPDX-License-Identifier: MIT
"""A run over large times: norms with their bounds, functionals that cannot grow, steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fem_selection.plots.style import COLOURS, WIDTH, create_axes, styled

__all__ = ["plot_functionals", "plot_norms"]

_LARGEST = 1e4  # largest ratio of a bound to the bounded value that a figure shows
_FEW = 12  # up to so many samples each has a line of its own


@styled
def plot_norms(
    times: np.ndarray,
    norms: np.ndarray,
    bound: np.ndarray | None,
    *,
    history: Mapping[str, np.ndarray],
    logarithmic: bool = False,
) -> Figure:
    """Draw ‖f_j(t)‖ with its bound, and the rate of change and the steps of the integrator.

    Args:
        times: Times at which states were kept, shape (num_times,).
        norms: ‖f_j(t)‖, shape (num_times, samples).
        bound: The bounds of the norms, of the same shape, or None.
        history: Columns of the history of steps: `times`, `rates` (largest ‖∂_t f‖) and `steps`.
        logarithmic: Whether the time axis is logarithmic.

    Returns:
        A figure with two panels.
    """
    figure, axes = create_axes(1, 2, WIDTH, height=2.6)
    left, right = axes[0]
    _draw_samples(left, times, norms, COLOURS["blue"], "‖f(t)‖")
    if bound is not None:
        shown = np.where(bound <= _LARGEST * max(float(norms.max(initial=0.0)), 1e-300), bound, np.nan)
        _draw_samples(left, times, shown, COLOURS["vermilion"], "bound", linestyle="--")
    left.set(xlabel="t", ylabel="norm in $L^2(Y)$")
    if np.all(norms > 0):
        left.set_yscale("log")
    left.legend()
    inside = history["steps"] > 0
    right.loglog(
        _positive(history["times"]), _positive(history["rates"]), color=COLOURS["blue"], label="largest ‖∂_t f‖"
    )
    right.loglog(
        history["times"][inside], history["steps"][inside], ".-", color=COLOURS["green"], linewidth=0.8, label="step h"
    )
    right.set(xlabel="t")
    right.legend()
    _scale_time(left, times, logarithmic)
    return figure


@styled
def plot_functionals(times: np.ndarray, functionals: Mapping[str, np.ndarray], logarithmic: bool = False) -> Figure:
    """Draw functionals of the state that cannot grow, each with its distance from its last value.

    Args:
        times: Times at which states were kept, shape (num_times,).
        functionals: Values by name, each of shape (num_times, samples).
        logarithmic: Whether the time axis is logarithmic.

    Returns:
        A figure with one row of two panels for each functional.
    """
    figure, grid = create_axes(len(functionals), 2, WIDTH, height=2.4 * max(len(functionals), 1))
    for (name, values), (left, right) in zip(functionals.items(), grid, strict=True):
        _draw_samples(left, times, values, COLOURS["blue"], "")
        left.set(xlabel="t", ylabel=name)
        above = values - values[-1]
        with np.errstate(invalid="ignore", divide="ignore"):
            _draw_samples(right, times, np.where(above > 0, above, np.nan), COLOURS["vermilion"], "")
        if np.any(above > 0):
            right.set_yscale("log")
        right.set(xlabel="t", ylabel=f"{name}, above its last value")
        for axes in (left, right):
            _scale_time(axes, times, logarithmic)
    return figure


def _draw_samples(
    axes: Axes, times: np.ndarray, values: np.ndarray, colour: str, label: str, linestyle: str = "-"
) -> None:
    """Draw a line for each sample if there are few, else the range of all samples and their median."""
    if values.shape[1] <= _FEW:
        lines = axes.plot(times, values, color=colour, linewidth=1.0, alpha=0.8, linestyle=linestyle)
        if lines:
            lines[0].set_label(label)
        return
    low, middle, high = np.nanpercentile(values, (0, 50, 100), axis=1)
    axes.fill_between(times, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(times, middle, color=colour, linestyle=linestyle, label=f"{label} (range and median)" if label else "")


def _scale_time(axes: Axes, times: np.ndarray, logarithmic: bool) -> None:
    if logarithmic and times.size > 1:
        axes.set_xscale("symlog", linthresh=float(times[1]))
        axes.set_xlim(0.0, float(times[-1]))


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, np.nan)
