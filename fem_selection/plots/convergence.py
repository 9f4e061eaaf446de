# SPDX-License-Identifier: MIT
"""The progress of the optimizers: objective and gradient norm over iterations, accuracy or cost over epochs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from fem_selection.errors import InvalidInput
from fem_selection.plots.style import COLOURS, WIDTH, create_axes, styled

__all__ = ["plot_convergence"]

_VALIDATION = ("validation_accuracy", "validation_cost")
_MARKED = 40  # a line with at most so many points has a marker at each


@styled
def plot_convergence(history: Mapping[str, np.ndarray], stochastic: Mapping[str, np.ndarray] | None = None) -> Figure:
    """Draw objective and gradient norm of a run, and the stochastic phase before it to the left.

    The gradient norm is on a logarithmic scale, the objective too if it is positive and falls by a factor of ten or
    more.  A phase without rows has no panels, unless there would be none at all.  Values that are not finite are gaps
    in the objective and gradient norm.  In accuracy and cost of validation, which need not be known at every epoch,
    they are left out.

    Args:
        history: Columns `iteration`, `objective`, `gradient_norm`, each of shape (num_rows,).
        stochastic: Columns `epoch`, `objective` and, if known, `validation_accuracy` (from 0 to 1) or `validation_cost`
            (any number), each of shape (num_epochs,).

    Returns:
        A figure with one axes per panel: [objective, accuracy or cost] by epoch, then objective and gradient norm by
        iteration; four panels stand two by two, a phase in each column.

    Raises:
        InvalidInput: if a column is missing, or the columns of a history differ in length.
    """
    run = _columns(history, ("iteration", "objective", "gradient_norm"), "history")
    epochs = {} if stochastic is None else _columns(stochastic, ("epoch", "objective"), "stochastic history")

    panels = []
    if epochs and epochs["epoch"].size:
        panels.append("epoch_objective")
        panels += [name for name in _VALIDATION if np.isfinite(epochs.get(name, np.nan)).any()][:1]
    if run["iteration"].size or not panels:
        panels += ["objective", "gradient_norm"]

    if len(panels) == 4:
        figure, grid = create_axes(2, 2, WIDTH, height=4.2, sharex="col")
        axes = dict(zip(panels, grid.T.ravel(), strict=True))
    else:
        figure, grid = create_axes(1, len(panels), WIDTH, height=2.6)
        axes = dict(zip(panels, grid.ravel(), strict=True))

    for name, panel in axes.items():
        panel.grid(axis="y")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1, steps=[1, 2, 5, 10]))
        if name == "epoch_objective":
            _draw_objective(panel, epochs["epoch"], epochs["objective"], COLOURS["green"])
        elif name in _VALIDATION:
            _draw_validation(panel, epochs["epoch"], epochs[name], is_share=name == "validation_accuracy")
        elif name == "objective":
            _draw_objective(panel, run["iteration"], run["objective"], COLOURS["blue"])
        else:
            _draw_gradient_norm(panel, run["iteration"], run["gradient_norm"])
        if len(panels) < 4 or panel in grid[-1]:
            panel.set_xlabel("epoch" if name in ("epoch_objective", *_VALIDATION) else "iteration")
    return figure


def _columns(history: Mapping[str, np.ndarray], required: tuple[str, ...], what: str) -> dict[str, np.ndarray]:
    """Return the columns as floats; values that are not finite become NaN."""
    if missing := [name for name in required if name not in history]:
        raise InvalidInput(f"{what} has no column {', '.join(missing)}; it has {', '.join(history) or 'none'}")
    wanted = [*required, *(name for name in _VALIDATION if name in history)]
    columns = {name: np.atleast_1d(np.asarray(history[name], dtype=float)) for name in wanted}
    shapes = {name: column.shape for name, column in columns.items()}
    if len(set(shapes.values())) > 1 or len(shapes[required[0]]) != 1:
        raise InvalidInput(f"columns of the {what} have shapes {shapes}; expected one (num_rows,) for all")
    return {name: np.where(np.isfinite(column), column, np.nan) for name, column in columns.items()}


def _draw_line(axes: Axes, x: np.ndarray, y: np.ndarray, colour: str, style: str = "-", label: str = "") -> Line2D:
    """Draw a line whose points carry markers if they are few, or if both neighbours are missing."""
    present = np.isfinite(y)
    lone = present & ~np.r_[False, present[:-1]] & ~np.r_[present[1:], False] if y.size else present
    marked = np.flatnonzero(present if y.size <= _MARKED else lone)
    (line,) = axes.plot(x, y, style, color=colour, marker="o", markevery=marked.tolist(), label=label)
    if not present.any():
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", va="center", color=COLOURS["muted"])
        axes.set(xticks=[], yticks=[])
    return line


def _set_logarithmic(axes: Axes, values: np.ndarray) -> None:
    """Make the vertical axis logarithmic; if it covers less than three decades, label it with plain numbers 1, 2, 5."""
    axes.set_yscale("log")
    positive = values[values > 0]
    if positive.max() < 1e3 * positive.min() and positive.min() >= 1e-3 and positive.max() <= 1e3:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _draw_objective(axes: Axes, x: np.ndarray, objective: np.ndarray, colour: str) -> None:
    _draw_line(axes, x, objective, colour)
    axes.set_ylabel("objective")
    finite = objective[np.isfinite(objective)]
    if finite.size and finite.min() > 0 and finite.max() >= 10 * finite.min():
        _set_logarithmic(axes, finite)


def _draw_gradient_norm(axes: Axes, x: np.ndarray, norms: np.ndarray) -> None:
    """Draw gradient norms on a logarithmic scale; a norm of exactly zero becomes a mark on the lower edge."""
    positive = np.where(norms > 0, norms, np.nan)
    zero = norms == 0
    if not zero.all() or not zero.size:
        _draw_line(axes, x, positive, COLOURS["vermilion"])
    axes.set_ylabel("gradient norm")
    if np.isfinite(positive).any():
        _set_logarithmic(axes, positive)
    elif zero.any():
        axes.set_yticks([])
    if zero.any():
        axes.plot(
            x[zero],
            np.zeros(zero.sum()),
            "v",
            color=COLOURS["vermilion"],
            markersize=6.0,
            clip_on=False,
            transform=axes.get_xaxis_transform(),
            label="exactly zero",
        )
        axes.legend(loc="upper right")


def _draw_validation(axes: Axes, epoch: np.ndarray, values: np.ndarray, *, is_share: bool) -> None:
    """Draw the accuracy, a share in per cent, or the cost of the validation part."""
    known = np.isfinite(values)
    _draw_line(axes, epoch[known], values[known], COLOURS["ink"], "--", "validation")
    axes.set_ylabel("accuracy" if is_share else "validation cost")
    if is_share:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(loc="lower right" if is_share else "upper right")
