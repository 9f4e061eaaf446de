# SPDX-License-Identifier: MIT
"""Steady states, singular values with the Picard condition, and the approach of the dynamics to steady states."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from fem_selection.errors import InvalidInput
from fem_selection.plots.fields import aspect_ratio, check_coordinates, draw_field, lay_out, sort_nodes
from fem_selection.plots.style import COLOURS, WIDTH, add_colour_bar, colour_scale, create_axes, hide_frame, styled

__all__ = ["plot_approach", "plot_picard", "plot_steady_states"]

_COLOURS = (COLOURS["blue"], COLOURS["vermilion"], COLOURS["green"], COLOURS["muted"], COLOURS["ink"])
_STYLES = ("-", "--", ":", "-.")
_ROUND_OFF = 1e-18


@styled
def plot_steady_states(
    coordinates: np.ndarray, states: np.ndarray, names: Sequence[str], *, triangles: np.ndarray | None = None
) -> Figure:
    """Draw some functions of y: lines in one dimension, else pictures (in three of the plane through the middle).

    Args:
        coordinates: Nodes in any order, shape (N, d), d = 1, 2 or 3.
        states: Values at the nodes, shape (num_states, N).
        names: Names of the states, one for each.
        triangles: Triangles of a plane mesh or surface, shape (num_triangles, 3).

    Raises:
        InvalidInput: if the shapes do not fit together.
    """
    states = np.asarray(states, dtype=float)
    if states.ndim != 2 or len(names) != len(states) or not len(states):
        raise InvalidInput(f"states of shape {states.shape} and {len(names)} names; expected (states, N) and one each")
    points = check_coordinates(coordinates, states.shape[1])
    if points.shape[1] == 1:
        return _plot_lines(points[:, 0], states, names)
    layout, fields = lay_out(points, states.T, triangles)
    columns = min(len(states), 4)
    rows = -(-len(states) // columns)
    cell = (WIDTH - 1.0) / columns if columns > 1 else 3.0
    height = rows * (cell * aspect_ratio(layout.points) + 0.3)
    figure, grid = create_axes(rows, columns, columns * cell + 1.0, height=height,
                               compressed=True)  # fmt: skip
    scale = colour_scale(fields)
    for axes in grid.flat:
        hide_frame(axes)
    for axes, values, name in zip(grid.flat, fields.T, names, strict=False):
        axes.set_title(name)
        draw_field(axes, layout, values, scale=scale)
    add_colour_bar(figure, grid, scale, label="$f(y)$")
    return figure


def _plot_lines(y: np.ndarray, states: np.ndarray, names: Sequence[str]) -> Figure:
    figure, grid = create_axes(1, 1, WIDTH, height=2.8)
    axes = grid[0, 0]
    order = sort_nodes(y[:, None])
    for k, (values, name) in enumerate(zip(states, names, strict=True)):
        style = {"color": _COLOURS[k % len(_COLOURS)], "linestyle": _STYLES[k // len(_COLOURS) % len(_STYLES)]}
        axes.plot(y[order], values[order], label=name, marker="o" if y.size == 1 else "", **style)
    axes.set(xlabel="$y$", ylabel="$f(y)$")
    axes.margins(x=0.0)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


@styled
def plot_picard(values: np.ndarray, coefficients: np.ndarray, ratios: np.ndarray, *, verdict: str = "") -> Figure:
    """Draw singular values s_k, the coefficients |(r, u_k)| of a right-hand side and the Picard ratios.

    Args:
        values: The singular values s_k, shape (rank,).
        coefficients: |(r, u_k)|, shape (rank,).
        ratios: |(r, u_k)| / s_k, shape (rank,).
        verdict: The title.

    Raises:
        InvalidInput: if the shapes differ.
    """
    if not np.shape(values) == np.shape(coefficients) == np.shape(ratios):
        raise InvalidInput("singular values, coefficients and ratios must be equally many")
    figure, grid = create_axes(1, 1, WIDTH, height=2.8)
    axes = grid[0, 0]
    number = np.arange(1, len(values) + 1)
    shapes = ("o", "s", "^")
    labels = ("$s_k$", r"$|(r, u_k)|$", r"$|(r, u_k)|\,/\,s_k$")
    for data, shape, colour, label in zip((values, coefficients, ratios), shapes, _COLOURS, labels, strict=False):
        shown = np.maximum(data, _ROUND_OFF)
        axes.loglog(number, shown, shape, color=colour, label=label, linestyle="-", linewidth=0.6)
    axes.set(xlabel="$k$")
    axes.set_title(verdict, fontsize=8.0, loc="left", wrap=True)
    axes.legend()
    return figure


@styled
def plot_approach(times: np.ndarray, distances: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw the distance of each state from the last state of its run over time.

    Args:
        times: Times, shape (num_times,); t = 0 is left out, since the axis is logarithmic.
        distances: Distances, NaN after the end of a run, shape (num_times, samples).
        names: Names of the samples, one for each.

    Raises:
        InvalidInput: if the shapes do not fit together.
    """
    times, distances = np.asarray(times, dtype=float), np.asarray(distances, dtype=float)
    if distances.shape != (times.size, len(names)):
        raise InvalidInput(f"distances of shape {distances.shape} for {times.size} times and {len(names)} samples")
    figure, grid = create_axes(1, 1, WIDTH, height=2.8)
    axes = grid[0, 0]
    later = times > 0
    shown_at_all = np.where(distances[later] > _ROUND_OFF, distances[later], np.nan)
    for j, name in enumerate(names):
        shown = shown_at_all[:, j]
        style = {"color": _COLOURS[j % len(_COLOURS)], "linestyle": _STYLES[j // len(_COLOURS) % len(_STYLES)]}
        axes.plot(times[later], shown, label=name, **style)
    axes.set(xlabel="$t$", ylabel=r"$\|f(t) - f(\mathrm{end})\|$", xscale="log")
    if np.any(np.isfinite(shown_at_all)):
        axes.set_yscale("log")
    else:
        axes.set_ylim(0.0, 1.0)
        axes.text(0.5, 0.5, "all states begin where they end", transform=axes.transAxes, ha="center")
    if len(names) <= 8:
        axes.legend()
    return figure
