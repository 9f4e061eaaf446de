# SPDX-License-Identifier: MIT
"""A bifurcation diagram: branches of steady states over a parameter, their stability, and where it changes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fem_selection.errors import InvalidInput
from fem_selection.plots.fields import aspect_ratio, check_coordinates, draw_field, lay_out, sort_nodes
from fem_selection.plots.style import (
    COLOURS,
    WIDTH,
    add_colour_bar,
    add_legend_above,
    colour_scale,
    create_axes,
    depth_scale,
    hide_frame,
    styled,
)
from fem_selection.plots.text import as_plain_text

__all__ = ["draw_bifurcations", "plot_bifurcations", "plot_branch_states"]

_NAMES = {"hopf": "Hopf point", "multiple": "several eigenvalues at once"}
_DETOUR = 1.5  # length of the way between two points by a bifurcation that lies between them, over their distance
_MARKERS = {"fold": "s", "pitchfork": "o", "transcritical": "D", "hopf": "^", "exchange of stability": "X"}


@styled
def plot_bifurcations(
    name: str,
    parameters: Sequence[np.ndarray],
    levels: Sequence[np.ndarray],
    *,
    unstable: Sequence[np.ndarray],
    marks: Sequence[tuple[str, float, float]],
    cycles: Sequence[tuple[np.ndarray, np.ndarray, float, Sequence[int]]] = (),
) -> Figure:
    """Draw branches, solid where no eigenvalue grows, else dashed, with bifurcations and cycles, open where unstable.

    Args:
        name: Name of the parameter.
        parameters: For each branch the parameter at its points, shape (num_points,).
        levels: For each branch the height at which its points are drawn, shape (num_points,).
        unstable: For each branch the number of unstable eigenvalues at its points, shape (num_points,).
        marks: Kind, parameter and level of each bifurcation.
        cycles: For each family of cycles the parameters and the amplitudes in the order along the family, the level of
            its centre, and the number of unstable Floquet multipliers of each cycle.

    Raises:
        InvalidInput: if the shapes do not fit together.
    """
    figure, grid = create_axes(1, 1, 5.0, height=3.4)
    axes = grid[0, 0]
    draw_bifurcations(axes, parameters, levels, unstable=unstable, marks=marks, cycles=cycles)
    axes.set(xlabel=as_plain_text(name), ylabel="component of the state that varies most")
    add_legend_above(axes, 2)
    return figure


def draw_bifurcations(
    axes: Axes,
    parameters: Sequence[np.ndarray],
    levels: Sequence[np.ndarray],
    *,
    unstable: Sequence[np.ndarray],
    marks: Sequence[tuple[str, float, float]],
    cycles: Sequence[tuple[np.ndarray, np.ndarray, float, Sequence[int]]] = (),
) -> None:
    """Draw branches as `plot_bifurcations` does, into existing axes, without axis labels and legend.

    Args:
        axes: The axes.
        parameters: As in `plot_bifurcations`.
        levels: As in `plot_bifurcations`.
        unstable: As in `plot_bifurcations`.
        marks: As in `plot_bifurcations`.
        cycles: As in `plot_bifurcations`.

    Raises:
        InvalidInput: if the shapes do not fit together.
    """
    for mu, level, count in zip(parameters, levels, unstable, strict=True):
        if not mu.shape == level.shape == count.shape:
            raise InvalidInput(f"a branch of shapes {mu.shape}, {level.shape} and {count.shape}; expected equal ones")
        curve = np.column_stack([mu, level])
        begin = curve[:0]  # where the stretch before ended
        for start, end, is_stable in _runs(count == 0):
            joint = _joint(curve, end, marks)
            style, piece = "-" if is_stable else (0, (4, 2)), np.vstack([begin, curve[start:end], joint])
            axes.plot(*piece.T, linestyle=style, color=COLOURS["blue" if is_stable else "vermilion"])
            begin = joint if end < len(curve) and np.any(joint != curve[end]) else curve[:0]
    shown: set[bool] = set()
    for mu, amplitude, middle, unstable_multipliers in cycles:
        stable = np.asarray(unstable_multipliers) == 0
        for sign in (1.0, -1.0):
            size = middle + sign * amplitude
            axes.plot(mu, size, "-", color=COLOURS["green"], linewidth=0.6)
            for flag in sorted(set(stable.tolist())):
                face = COLOURS["green"] if flag else "white"
                chosen = stable == flag
                axes.plot(mu[chosen], size[chosen], "o", color=COLOURS["green"], markersize=3.5, markerfacecolor=face)
                shown.add(flag)
    known: set[str] = set()
    for kind, place, height in marks:
        label = None if kind in known else _NAMES.get(kind, kind)
        known.add(kind)
        axes.plot(
            place, height, _MARKERS.get(kind, "P"), color=COLOURS["ink"], markersize=6.0, linestyle="", label=label
        )
    axes.plot([], [], "-", color=COLOURS["blue"], label="no growing eigenvalue")
    axes.plot([], [], linestyle=(0, (4, 2)), color=COLOURS["vermilion"], label="unstable")
    for flag in sorted(shown, reverse=True):
        face, name = (COLOURS["green"], "attracting") if flag else ("white", "repelling")
        label = f"{name} cycle, ± amplitude"
        axes.plot([], [], "o", color=COLOURS["green"], markersize=3.5, markerfacecolor=face, label=label)


def _runs(flags: np.ndarray) -> list[tuple[int, int, bool]]:
    """Stretches of equal flags as (start, end, flag)."""
    edges = [0, *(np.flatnonzero(np.diff(flags.astype(int))) + 1).tolist(), len(flags)]
    return [(a, b, bool(flags[a])) for a, b in pairwise(edges) if b > a]


def _joint(curve: np.ndarray, end: int, marks: Sequence[tuple[str, float, float]]) -> np.ndarray:
    """Where a stretch ends: at the bifurcation between its last point and the next one, or at the latter; (1 or 0, 2).

    Args:
        curve: The points of a branch, shape (num_points, 2).
        end: Number of the first point beyond the stretch.
        marks: The bifurcations.
    """
    if end >= len(curve):
        return curve[:0]
    last, following = curve[end - 1], curve[end]
    size = np.maximum(np.ptp(curve, axis=0), 1e-300)
    length = float(np.linalg.norm((following - last) / size))
    for _, place, height in marks:
        mark = np.array([place, height])
        ways = [float(np.linalg.norm((mark - point) / size)) for point in (last, following)]
        if sum(ways) <= _DETOUR * length:
            return mark[None, :]
    return following[None, :]


@styled
def plot_branch_states(
    name: str,
    coordinates: np.ndarray,
    parameters: Sequence[np.ndarray],
    *,
    states: Sequence[np.ndarray],
    unstable: Sequence[np.ndarray],
    triangles: np.ndarray | None = None,
) -> Figure:
    """Draw some states of each branch.

    In one dimension each branch has one axes with a line per state, coloured by the parameter: solid where no
    eigenvalue grows, else dashed; in two and three, a row of pictures.

    Args:
        name: Name of the parameter.
        coordinates: Nodes in any order, shape (N, d), d = 1, 2 or 3.
        parameters: For each branch the parameter at the states shown, shape (num_shown,).
        states: For each branch its states, shape (num_shown, N).
        unstable: For each branch the number of unstable eigenvalues at these states, shape (num_shown,).
        triangles: Triangles of a plane mesh or surface, shape (num_triangles, 3).

    Returns:
        A figure whose axes run over the branches, then their states (d > 1); the axes of the colour bar are the last.

    Raises:
        InvalidInput: if there is no branch, or if the shapes do not fit together.
    """
    if not parameters:
        raise InvalidInput("no branches; expected at least one")
    for mu, values, count in zip(parameters, states, unstable, strict=True):
        if values.ndim != 2 or not mu.shape == count.shape == values.shape[:1]:
            raise InvalidInput(
                f"a branch of shapes {mu.shape}, {values.shape} and {count.shape}; expected (n,), (n, N), (n,)"
            )
    points = check_coordinates(coordinates, states[0].shape[1])
    if points.shape[1] == 1:
        return _plot_state_lines(name, points[:, 0], parameters, states, unstable)
    layout, _ = lay_out(points, states[0].T, triangles)
    rows, columns = len(parameters), max(len(mu) for mu in parameters)
    cell = float(np.clip((WIDTH - 1.0) / columns, 0.6, 1.6))
    height = rows * (cell * aspect_ratio(layout.points) + 0.3) + 0.2
    figure, grid = create_axes(rows, columns, columns * cell + 1.0, height=height, compressed=True)
    scale = colour_scale(np.concatenate([values.ravel() for values in states]))
    for axes in grid.flat:
        hide_frame(axes)
    for row, (mu, values, count) in enumerate(zip(parameters, states, unstable, strict=True)):
        grid[row, 0].set_ylabel(f"branch {row}")
        pictures = lay_out(points, values.T, triangles)[1]
        for column in range(len(mu)):
            draw_field(grid[row, column], layout, pictures[:, column], scale=scale)
            grid[row, column].set_title(
                f"{mu[column]:.3g}, {'unstable' if count[column] else 'none grows'}", fontsize=6.0
            )
    add_colour_bar(figure, grid, scale, label=f"$f^*(y)$ at {as_plain_text(name)}{layout.where}")
    return figure


def _plot_state_lines(
    name: str,
    y: np.ndarray,
    parameters: Sequence[np.ndarray],
    states: Sequence[np.ndarray],
    unstable: Sequence[np.ndarray],
) -> Figure:
    """One axes per branch, a line per state."""
    count = len(parameters)
    columns = min(count, 3)
    rows = -(-count // columns)
    width = WIDTH if columns > 1 else 4.6
    figure, grid = create_axes(rows, columns, width, height=0.5 + 2.0 * rows, sharex=True, sharey=True)
    order = sort_nodes(y[:, None])
    colours, norm = scale = depth_scale(np.concatenate(list(parameters)))
    for number, axes in enumerate(grid.flat):
        if number >= count:
            axes.remove()
            continue
        axes.set_title(f"branch {number}")
        for mu, state, growing in zip(parameters[number], states[number], unstable[number], strict=True):
            style = (0, (4, 2)) if growing else "-"
            axes.plot(y[order], state[order], linestyle=style, color=colours(norm(mu)), linewidth=1.2)
        if number + columns >= count:
            axes.set_xlabel("$y$")
            axes.tick_params(labelbottom=True)
        if number % columns == 0:
            axes.set_ylabel("$f^*(y)$")
        axes.margins(x=0.0)
    grid[0, 0].plot([], [], "-", color=COLOURS["ink"], label="no growing eigenvalue")
    grid[0, 0].plot([], [], linestyle=(0, (4, 2)), color=COLOURS["ink"], label="unstable")
    grid[0, 0].legend()
    add_colour_bar(figure, np.array(figure.axes), scale, label=as_plain_text(name))
    return figure
