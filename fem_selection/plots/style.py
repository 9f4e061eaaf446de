# SPDX-License-Identifier: MIT
"""The style of all figures: colours, sizes and scales.

Every `plot_…` function is wrapped by `styled`, which sets the style for the call and leaves the caller's own matplotlib
settings unchanged.  The style begins at matplotlib's defaults: a matplotlibrc (LaTeX, other fonts or sizes) does not
reach these figures.  Figures are `matplotlib.figure.Figure` objects without pyplot: there is no display, no global
state, and nothing to close.

References:
    M. Okabe, K. Ito (2008). Color universal design, https://jfly.uni-koeln.de/color/ (the palette).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any

import numpy as np
from matplotlib import colormaps, font_manager, rc_context, rcdefaults, rcParams
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, ListedColormap, Normalize, SymLogNorm
from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "WIDTH",
    "add_colour_bar",
    "add_legend_above",
    "add_side_bar",
    "colour_scale",
    "create_axes",
    "depth_scale",
    "hide_frame",
    "styled",
    "use_style",
]

WIDTH = 7.2
"""Width of a full figure in inches: about the text width of a README or of a two-column page."""

COLOURS = {
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "green": "#009E73",
    "ink": "#222222",
    "muted": "#8A8A8A",
    "rule": "#E3E3E3",
}
"""Okabe and Ito's colours for data; ink, muted and rule for everything else."""

_STYLE: Any = {
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.edgecolor": COLOURS["ink"],
    "xtick.color": COLOURS["ink"],
    "ytick.color": COLOURS["ink"],
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.minor.size": 1.8,
    "ytick.minor.size": 1.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": True,
    "axes.formatter.limits": (-3, 4),
    "lines.linewidth": 1.4,
    "lines.markersize": 3.0,
    "grid.color": COLOURS["rule"],
    "grid.linewidth": 0.6,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
}


_FONTS = (
    *("DejaVu Sans", "Noto Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "WenQuanYi Zen Hei"),
    *("Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai", "Noto Sans Symbols"),
    *("Noto Emoji", "Droid Sans Fallback", "Unifont"),
)
"""Families in which a character is looked for, the first where there is one; it comes with matplotlib."""


@contextmanager
def use_style() -> Iterator[None]:
    """Set the style within a `with` block; the caller's settings, also those of a matplotlibrc, return afterwards."""
    with rc_context():
        rcdefaults()
        rcParams.update({**_STYLE, "font.family": _installed_fonts()})
        yield


@cache
def _installed_fonts() -> list[str]:
    installed = set(font_manager.get_font_names())
    return [family for family in _FONTS if family in installed]


def styled[**P, R](draw: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function that draws, so that it runs in the style of this package; the caller's settings do not change."""

    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with use_style():
            return draw(*args, **kwargs)

    return inside


def create_axes(
    rows: int, columns: int, width: float, *, height: float, compressed: bool = False, **kwargs: Any
) -> tuple[Figure, np.ndarray]:
    """Create a figure with a grid of axes.

    Args:
        rows: Number of rows; less than one counts as one.
        columns: Number of columns; less than one counts as one.
        width: Width in inches.
        height: Height in inches.
        compressed: Move axes of fixed aspect (pictures) together.
        **kwargs: Passed to `Figure.subplots` (`sharex`, `sharey`, `height_ratios`, …).

    Returns:
        The figure and its axes, shape (rows, columns).
    """
    figure = Figure(figsize=(width, height), layout="compressed" if compressed else "constrained")
    return figure, figure.subplots(max(rows, 1), max(columns, 1), squeeze=False, **kwargs)


def colour_scale(values: np.ndarray, *, symmetric: bool = False) -> tuple[Colormap, Normalize]:
    """Choose the colours for some data: diverging about zero if it has both signs, else from low to high.

    Values of one sign that reach less than 1 % of the other sign count as an overshoot and not as a sign.

    Args:
        values: The data, any shape; values that are not finite are left out.
        symmetric: Whether the colours diverge about zero whatever the signs.

    Returns:
        Colour map and norm.
    """
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if symmetric or min(-low, high) > 0.01 * max(-low, high):
        bound = max(abs(low), abs(high)) or 1.0
        return colormaps["RdBu_r"].with_extremes(bad=COLOURS["rule"]), Normalize(-bound, bound)
    if high - low <= 1e-12 * max(abs(low), abs(high)):  # constant: the middle of the scale
        margin = 0.5 * max(abs(low), abs(high)) or 0.5
        low, high = low - margin, high + margin
    return colormaps["viridis"].with_extremes(bad=COLOURS["rule"]), Normalize(low, high)


def depth_scale(times: np.ndarray) -> tuple[Colormap, Normalize]:
    """Choose the colours for lines at several depths; the pale end of the map, invisible on white, is cut off.

    The scale is logarithmic, from the first positive depth on, if the middle depth lies within a tenth of the range.
    """
    colours = ListedColormap(colormaps["viridis"](np.linspace(0.0, 0.88, 256)), name="depth")
    finite = np.sort(times[np.isfinite(times)])
    low, high = (float(finite[0]), float(finite[-1])) if finite.size else (0.0, 1.0)
    if low >= 0.0 and finite.size > 2 and np.median(finite) < low + 0.1 * (high - low):
        return colours, SymLogNorm(float(finite[finite > 0.0][0]), vmin=low, vmax=high)
    return colours, Normalize(low, high if high > low else low + 1.0)


def add_colour_bar(
    figure: Figure, axes: np.ndarray, scale: tuple[Colormap, Normalize], *, label: str, aspect: float = 22.0
) -> Colorbar:
    """Put one colour bar to the right of a group of axes that share a scale.

    Args:
        figure: The figure.
        axes: The group of axes, any shape.
        scale: Colour map and norm (`colour_scale`).
        label: Label of the bar.
        aspect: Length of the bar over its width.
    """
    colormap, norm = scale
    bar = figure.colorbar(
        ScalarMappable(norm, colormap), ax=list(np.ravel(axes)), label=label, pad=0.015, aspect=aspect, fraction=0.05
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2.0)
    return bar


def add_side_bar(axes: Axes, scale: tuple[Colormap, Normalize], label: str) -> Colorbar:
    """Put a colour bar at the right edge of one axes, of the same height, without taking room from the axes.

    Args:
        axes: The axes.
        scale: Colour map and norm (`colour_scale`).
        label: Label of the bar.
    """
    colormap, norm = scale
    bar = axes.figure.colorbar(ScalarMappable(norm, colormap), cax=axes.inset_axes((1.06, 0.0, 0.05, 1.0)), label=label)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2.0)
    return bar


def add_legend_above(axes: Axes, columns: int) -> None:
    """Put a legend above one axes, outside of the data; the layout makes room for it.

    Args:
        axes: The axes, whose lines have labels.
        columns: Number of columns of the legend.
    """
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns,
        borderaxespad=0.2,
        columnspacing=1.2,
        handlelength=1.6,
    )


def hide_frame(axes: Axes) -> None:
    """Remove ticks and spines of a picture, keeping its labels."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
