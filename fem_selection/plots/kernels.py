# SPDX-License-Identifier: MIT
"""The controls: kernel w(t, y, z) and bias b(t, y) at several depths t."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from fem_selection.errors import InvalidInput
from fem_selection.plots.fields import aspect_ratio, check_coordinates, draw_field, lay_out, sort_nodes
from fem_selection.plots.style import COLOURS, WIDTH, add_side_bar, colour_scale, create_axes, hide_frame, styled

__all__ = ["plot_controls"]

_MOST_DEPTHS = 4
_MOST_NODES = 512


@styled
def plot_controls(
    kernels: np.ndarray,
    biases: np.ndarray,
    times: np.ndarray,
    *,
    coordinates: np.ndarray,
    triangles: np.ndarray | None = None,
) -> Figure:
    """Draw kernels as matrices and, beneath each, the bias of the same depth.

    If there are more than four depths, the first, the last and two between are shown; if there are more than 512 nodes,
    the matrices show every n-th.  Colours diverge from zero and are the same at all depths.  In one dimension the
    matrices are drawn over the coordinates, y upward and z to the right, and the biases as lines.  In more dimensions
    the matrices are drawn over the number of the node, sorted by first coordinate, then second, then third, and the
    biases as pictures (in three dimensions of the plane through the middle).

    Args:
        kernels: w(t, yᵢ, zⱼ) at the nodes, shape (k, N, N).
        biases: b(t, yᵢ), shape (k, N).
        times: Depths t, shape (k,).
        coordinates: Nodes in any order, shape (N, d), d = 1, 2 or 3.
        triangles: Triangles of a plane mesh or surface, shape (num_triangles, 3).

    Returns:
        A figure: axes of the kernels, of the biases, and the colour bars (one for d = 1, else two).

    Raises:
        InvalidInput: if the shapes do not fit together.
    """
    kernels, biases = np.asarray(kernels, dtype=float), np.asarray(biases, dtype=float)
    times = np.atleast_1d(np.asarray(times, dtype=float))
    expected = (*biases.shape, *biases.shape[1:])
    if biases.ndim != 2 or kernels.shape != expected or times.shape != biases.shape[:1]:
        raise InvalidInput(
            f"kernels {kernels.shape}, biases {biases.shape}, times {times.shape}; expected (k, N, N), (k, N), (k,)"
        )
    points = check_coordinates(coordinates, biases.shape[1])
    one_dimensional = points.shape[1] == 1
    shown = np.unique(np.linspace(0, max(times.size - 1, 0), _MOST_DEPTHS).round().astype(int))[: times.size]
    columns = max(shown.size, 1)

    order = sort_nodes(points)
    stride = max(1, -(-order.size // _MOST_NODES))
    picked = order[::stride]
    edges = _cell_edges(points[order, 0], stride) if one_dimensional else stride * (np.arange(picked.size + 1) - 0.5)
    pictures = kernels[np.ix_(shown, picked, picked)]

    cell = min((WIDTH - 1.2) / columns, 2.4)
    ratio = 0.6 if one_dimensional else aspect_ratio(points)
    figure, grid = create_axes(
        2, columns, columns * cell + 1.2, height=cell * (1 + ratio) + 0.75, height_ratios=(1.0, ratio), sharey="row"
    )
    upper, lower = grid
    kernel_scale = colour_scale(pictures, symmetric=True)
    colours, norm = kernel_scale
    for axes, time, picture in zip(upper, times[shown], pictures, strict=False):
        if picture.size:
            axes.pcolormesh(edges, edges, picture, cmap=colours, norm=norm, rasterized=True)
        axes.set_title(f"$t = {time:.3g}$")
    for axes in upper:
        axes.set_box_aspect(1.0)
        axes.set_xlabel("$z$" if one_dimensional else "node of $z$")
    upper[0].set_ylabel("$y$" if one_dimensional else "node of $y$")
    add_side_bar(upper[-1], kernel_scale, "$w(t, y, z)$")

    if one_dimensional:
        for axes, bias in zip(lower, biases[shown], strict=False):
            axes.axhline(0.0, color=COLOURS["muted"], linewidth=0.6)
            axes.plot(points[order, 0], bias[order], color=COLOURS["blue"], marker="o" if order.size == 1 else "")
        for axes in lower:
            axes.set_box_aspect(ratio)
            axes.set_xlabel("$y$")
            axes.set_xlim(edges[0], edges[-1])
        lower[0].set_ylabel("$b(t, y)$")
        return figure

    layout, fields = lay_out(points, biases[shown].T, triangles)
    bias_scale = colour_scale(fields, symmetric=True)
    for axes in lower:
        hide_frame(axes)
    for axes, bias in zip(lower, fields.T, strict=False):
        draw_field(axes, layout, bias, scale=bias_scale)
    add_side_bar(lower[-1], bias_scale, "$b(t, y)$" + layout.where)
    return figure


def _cell_edges(nodes: np.ndarray, stride: int) -> np.ndarray:
    """Edges of the cells around every n-th of the sorted nodes: midpoints between these, and the ends of the domain."""
    centres = nodes[::stride]
    if centres.size < 2:
        centre = float(centres[0]) if centres.size else 0.0
        return np.array([centre - 0.5, centre + 0.5])
    return np.r_[nodes[0], 0.5 * (centres[1:] + centres[:-1]), nodes[-1]]
