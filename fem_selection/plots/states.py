# SPDX-License-Identifier: MIT
"""How samples flow through the layers: the states f(t, y) at several depths t."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from fem_selection.errors import InvalidInput
from fem_selection.plots.fields import Layout, aspect_ratio, check_coordinates, draw_field, lay_out, sort_nodes
from fem_selection.plots.style import WIDTH, add_colour_bar, colour_scale, create_axes, depth_scale, hide_frame, styled

__all__ = ["plot_states"]


@styled
def plot_states(
    coordinates: np.ndarray,
    states: np.ndarray,
    times: np.ndarray,
    *,
    titles: Sequence[str] | None = None,
    label: str = "$f(t, y)$",
    triangles: np.ndarray | None = None,
) -> Figure:
    """Draw the states of some samples, or other functions, at some depths.

    In one dimension each sample has one axes with a line per depth; in two, a row of pictures, from the first depth
    to the last; in three, a row of pictures of the plane through the middle, or of a surface whose triangles are
    given.  All share one colour bar.

    Args:
        coordinates: Nodes in any order, shape (N, d), d = 1, 2 or 3.
        states: Values at the nodes, shape (num_layers_shown, N, num_samples).
        times: Depths t of the layers shown, shape (num_layers_shown,).
        titles: Titles of the samples, one for each.
        label: Label of the values.
        triangles: Triangles of a plane mesh or surface, shape (num_triangles, 3).

    Returns:
        A figure whose axes run over samples, then layers (d > 1); the axes of the colour bar are the last.

    Raises:
        InvalidInput: if the shapes do not fit together.
    """
    states, times = np.asarray(states, dtype=float), np.atleast_1d(np.asarray(times, dtype=float))
    if states.ndim != 3 or times.shape != states.shape[:1]:
        raise InvalidInput(
            f"states of shape {states.shape} at times of shape {times.shape}; expected (layers, N, samples), (layers,)"
        )
    num_layers, num_nodes, num_samples = states.shape
    points = check_coordinates(coordinates, num_nodes)
    titles = [""] * num_samples if titles is None else list(titles)
    if len(titles) != num_samples:
        raise InvalidInput(f"{len(titles)} titles for {num_samples} samples; expected one each")
    if points.shape[1] == 1:
        return _plot_lines(points[:, 0], states, times, titles, label)
    fields = np.moveaxis(states, 1, 0).reshape(num_nodes, num_layers * num_samples)
    layout, fields = lay_out(points, fields, triangles)
    states = np.moveaxis(fields.reshape(len(layout.points), num_layers, num_samples), 0, 1)
    return _plot_pictures(layout, states, times, titles, label + layout.where)


def _plot_lines(y: np.ndarray, states: np.ndarray, times: np.ndarray, titles: list[str], label: str) -> Figure:
    """One axes per sample, a line per layer, coloured by depth."""
    num_samples = states.shape[2]
    columns = max(num_samples, 1) if num_samples <= 4 else min((3, 4), key=lambda n: -num_samples % n)
    rows = -(-max(num_samples, 1) // columns)
    figure, grid = create_axes(
        rows, columns, WIDTH if columns > 1 else 4.6, height=0.5 + 1.9 * rows, sharex=True, sharey=True
    )
    order = sort_nodes(y[:, None])
    colours, norm = scale = depth_scale(times)
    for sample, axes in enumerate(grid.flat):
        if sample >= max(num_samples, 1):
            axes.remove()
            continue
        if sample < num_samples:
            axes.set_title(titles[sample])
            for layer, time in enumerate(times):
                axes.plot(
                    y[order],
                    states[layer, order, sample],
                    color=colours(norm(time)),
                    linewidth=1.2,
                    marker="o" if y.size == 1 else "",
                )
        if sample + columns >= num_samples:  # nothing below
            axes.set_xlabel("$y$")
            axes.tick_params(labelbottom=True)
        if sample % columns == 0:
            axes.set_ylabel(label)
        axes.margins(x=0.0)
    add_colour_bar(figure, np.array(figure.axes), scale, label="depth $t$")
    return figure


def _plot_pictures(layout: Layout, states: np.ndarray, times: np.ndarray, titles: list[str], label: str) -> Figure:
    """One row per sample, one picture per layer."""
    num_layers, _, num_samples = states.shape
    rows, columns = max(num_samples, 1), max(num_layers, 1)
    cell = float(np.clip((WIDTH - 1.0) / columns, 0.6, 1.6))
    height = rows * cell * aspect_ratio(layout.points) + 0.35
    figure, grid = create_axes(rows, columns, columns * cell + 1.0, height=height, compressed=True)
    scale = colour_scale(states)
    for axes in grid.flat:
        hide_frame(axes)
    for sample in range(num_samples):
        grid[sample, 0].set_ylabel(titles[sample])
        for layer in range(num_layers):
            draw_field(grid[sample, layer], layout, states[layer, :, sample], scale=scale)
    for layer in range(num_layers):
        grid[0, layer].set_title(f"$t = {times[layer]:.3g}$")
    add_colour_bar(figure, grid, scale, label=label)
    return figure
