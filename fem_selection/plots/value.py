# SPDX-License-Identifier: MIT
"""The value function of a small problem, the trajectories under its feedback, and its values on refined meshes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from fem_selection.errors import InvalidInput
from fem_selection.plots.style import COLOURS, WIDTH, add_colour_bar, colour_scale, create_axes, depth_scale, styled

__all__ = ["plot_refinement", "plot_value"]

_LEVELS = 21
_LEGEND = ("optimal trajectory", "from perturbed states", "target")


@styled
def plot_value(
    axes: Sequence[np.ndarray],
    values: np.ndarray,
    times: np.ndarray,
    *,
    trajectory_times: np.ndarray,
    trajectories: np.ndarray,
    target: np.ndarray,
    labels: Sequence[str],
) -> Figure:
    """Draw V(t, ·) at some times with optimal trajectories.

    In one dimension the figure has curves of V over x, one for each time, and the trajectories beside them.  In two
    dimensions it has one axes with level sets for each time, and the trajectories, whose future part is drawn strongly.
    In three dimensions the axes show the plane through the first trajectory's point at that time.

    Args:
        axes: Coordinates of the grid in each direction.
        values: V on the grid at the times, shape (num_times, len(axes[0]), …).
        times: The times t, shape (num_times,).
        trajectory_times: The times of the trajectories, shape (steps + 1,).
        trajectories: States, shape (steps + 1, num_trajectories, n), NaN after a trajectory's end; the first trajectory
            is the nominal one.
        target: The target state, shape (n,).
        labels: Labels of the directions, n of them.

    Raises:
        InvalidInput: if the shapes do not fit together.
    """
    n = len(axes)
    if values.shape != (len(times), *(len(a) for a in axes)) or trajectories.shape[2:] != (n,) or n > 3:
        raise InvalidInput(
            f"values {values.shape} and trajectories {trajectories.shape} on {n} axes of {[len(a) for a in axes]} "
            f"coordinates at {len(times)} times; expected (times, coordinates …) and (steps, any, n)"
        )
    if n == 1:
        return _plot_curves(axes[0], values, times, trajectory_times, trajectories[:, :, 0], target, labels[0])
    now = [int(np.argmin(np.abs(trajectory_times - t))) for t in times]
    if n == 3:
        known = np.flatnonzero(np.isfinite(trajectories[:, 0, 2]))  # a trajectory may end before the last time
        levels = [float(trajectories[known[known <= k][-1], 0, 2]) for k in now]
        values = np.stack([_slice(axes[2], v, level) for v, level in zip(values, levels, strict=True)])
        titles = [f"$t = {t:.3g}$, {labels[2]} $= {z:.2f}$" for t, z in zip(times, levels, strict=True)]
    else:
        titles = [f"$t = {t:.3g}$" for t in times]
    height = np.clip((WIDTH - 0.9) / len(times) * np.ptp(axes[1]) / np.ptp(axes[0]), 1.5, 6.0) + 0.7
    figure, grid = create_axes(1, len(times), WIDTH, height=float(height), compressed=True, sharey=True)
    for panel, value, k, title in zip(grid[0], values, now, titles, strict=True):
        colours, norm = scale = colour_scale(value)
        # equal steps of √V: V is nearly flat about its minimum
        steps = (norm.vmin or 0.0) + np.ptp([norm.vmin or 0.0, norm.vmax or 1.0]) * np.linspace(0, 1, _LEVELS) ** 2
        panel.contourf(axes[0], axes[1], value.T, levels=steps, cmap=colours, norm=norm)
        panel.contour(axes[0], axes[1], value.T, levels=steps[1:], colors="white", linewidths=0.35, alpha=0.6)
        _draw_trajectories(panel, trajectories, k)
        panel.plot(*target[:2], marker="x", markersize=6.0, color=COLOURS["vermilion"], linestyle="", label="target")
        panel.set(title=title, xlabel=labels[0], aspect="equal")
        panel.set(xlim=(axes[0][0], axes[0][-1]), ylim=(axes[1][0], axes[1][-1]))
        add_colour_bar(figure, np.array([panel]), scale, label="$V(t, x)$")
    grid[0, 0].set_ylabel(labels[1])
    handles, names = grid[0, 0].get_legend_handles_labels()
    order = np.argsort([_LEGEND.index(name) for name in names])
    figure.legend([handles[k] for k in order], [names[k] for k in order], loc="outside lower center", ncols=len(names))
    return figure


def _draw_trajectories(panel: Axes, trajectories: np.ndarray, now: int) -> None:
    """Draw the past of each trajectory pale, its future strong, a dot at its present; the nominal one in front."""
    for j in reversed(range(trajectories.shape[1])):
        path, nominal = trajectories[:, j], j == 0
        colour, width = ("white", 2.2) if nominal else ("#CCCCCC", 1.0)
        outline = [withStroke(linewidth=width + 1.2, foreground="black")]
        name = _LEGEND[j] if j < 2 else None
        panel.plot(path[: now + 1, 0], path[: now + 1, 1], color="white", linewidth=0.7, linestyle=":")
        panel.plot(path[now:, 0], path[now:, 1], color=colour, linewidth=width, label=name, path_effects=outline)
        size = 5.0 if nominal else 3.0
        panel.plot(*path[now, :2], "o", markersize=size, color=colour, markeredgecolor="black", markeredgewidth=0.6)


def _slice(coordinates: np.ndarray, value: np.ndarray, level: float) -> np.ndarray:
    """Values on the plane where the last coordinate equals `level`."""
    place = np.clip((level - coordinates[0]) / (coordinates[1] - coordinates[0]), 0, len(coordinates) - 1)
    k = min(int(place), len(coordinates) - 2)
    return (1 - (place - k)) * value[..., k] + (place - k) * value[..., k + 1]


def _plot_curves(
    x: np.ndarray,
    values: np.ndarray,
    times: np.ndarray,
    trajectory_times: np.ndarray,
    trajectories: np.ndarray,
    target: np.ndarray,
    label: str,
) -> Figure:
    figure, grid = create_axes(1, 2, WIDTH, height=2.6)
    colours, norm = scale = depth_scale(times)
    left, right = grid[0]
    for value, t in zip(values, times, strict=True):
        left.plot(x, value, color=colours(norm(t)))
        left.plot(*_on_curve(x, value, trajectories, trajectory_times, t), "o", color=colours(norm(t)), markersize=4.0)
    left.set(xlabel=label, ylabel="$V(t, x)$", xlim=(x[0], x[-1]))
    left.set_ylim(0.0, 1.15 * float(np.max(values[0])) or 1.0)
    for j in reversed(range(trajectories.shape[1])):
        style = {"color": COLOURS["blue"]} if j == 0 else {"color": COLOURS["muted"], "linewidth": 0.9}
        name = _LEGEND[j] if j < 2 else None
        right.plot(trajectory_times, trajectories[:, j], label=name, **style)
    right.plot(trajectory_times[-1], target[0], "x", color=COLOURS["vermilion"], markersize=6.0, label="target")
    right.set(xlabel="depth $t$", ylabel=label)
    right.legend()
    add_colour_bar(figure, np.array([left]), scale, label="depth $t$")
    return figure


def _on_curve(
    x: np.ndarray, value: np.ndarray, trajectories: np.ndarray, trajectory_times: np.ndarray, t: float
) -> tuple[float, float]:
    """The state of the nominal trajectory at time t, and V at this state."""
    state = float(np.interp(t, trajectory_times, trajectories[:, 0]))
    return state, float(np.interp(state, x, value))


@styled
def plot_refinement(
    cells: np.ndarray, values: np.ndarray, extrapolated: float, *, others: Mapping[str, float], error: float = np.nan
) -> Figure:
    """Draw V at the initial state over the mesh width, the line to its limit, and the same number by other methods.

    Args:
        cells: Number of cells in a direction of each mesh, shape (num_meshes,).
        values: V at the initial state on each mesh, shape (num_meshes,).
        extrapolated: The limit for mesh width zero; it is left out if it is not finite.
        others: Further values by name (witness, open loop, …); those that are not finite are left out.
        error: The error estimate of the value on the finest mesh, drawn as a bar; left out if it is not finite.

    Raises:
        InvalidInput: if the shapes do not fit together.
    """
    cells, values = np.asarray(cells, dtype=float), np.asarray(values, dtype=float)
    if cells.shape != values.shape or cells.ndim != 1 or not cells.size:
        raise InvalidInput(f"cells of shape {cells.shape} and values of shape {values.shape}; expected (meshes,) both")
    figure, grid = create_axes(1, 1, 4.6, height=2.8)
    panel = grid[0, 0]
    order = np.argsort(cells)
    widths = 1.0 / cells[order]
    limit = np.array([extrapolated] if np.isfinite(extrapolated) else [])
    zero = np.zeros(len(limit))
    panel.plot([*zero, widths[-1]], [*limit, values[order][-1]], color=COLOURS["blue"], linestyle=":")
    panel.plot(widths, values[order], "o-", color=COLOURS["blue"], markersize=4.0, label="finite elements")
    if np.isfinite(error):
        panel.errorbar(widths[-1], values[order][-1], error, color=COLOURS["blue"], capsize=3.0, linewidth=1.0)
    if len(limit):
        panel.plot(zero, limit, "o", color="white", markeredgecolor=COLOURS["blue"], markersize=5.0, zorder=4,
                   clip_on=False, label="extrapolated")  # fmt: skip
    colours = (COLOURS["vermilion"], COLOURS["green"], COLOURS["muted"])
    finite = {name: value for name, value in others.items() if np.isfinite(value)}
    for k, (name, value) in enumerate(finite.items()):
        dashes = (0, (6, 2 + 2 * k))
        panel.axhline(value, color=colours[k % len(colours)], linewidth=1.0, linestyle=dashes, label=name)
    panel.set(xlabel="mesh width over the box's side, $1/n$", ylabel="$V(0, x(0))$", xlim=(0.0, 1.08 * widths[0]))
    panel.xaxis.set_major_locator(MaxNLocator(5))
    panel.legend()
    return figure
