# SPDX-License-Identifier: MIT
"""Stability in figures: spectra in the complex plane, eigenfunctions, growth of perturbations, exponents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fem_selection.errors import InvalidInput
from fem_selection.plots.fields import check_coordinates, draw_field, lay_out, sort_nodes
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

__all__ = ["plot_eigenfunctions", "plot_exponents", "plot_growth", "plot_layer_spectra", "plot_spectrum"]

_LINES = ("blue", "vermilion", "green", "ink", "muted")
_SHOWN_NODES = 64  # a line with at most so many nodes has a marker at each
_SMALLEST_LOG = 0.05  # half of the smallest range of λT that is drawn


@styled
def plot_spectrum(
    values: np.ndarray, leading: np.ndarray, errors: np.ndarray | None, *, abscissa: float, has_kernel: bool
) -> Figure:
    """Draw eigenvalues in the complex plane, the imaginary axis and the numerical abscissa.

    Args:
        values: All known eigenvalues, complex, shape (n,).
        leading: The reported eigenvalues, complex, shape (k,).
        errors: Error bars of the reported eigenvalues, shape (k,), or None.
        abscissa: Numerical abscissa; not drawn if it is nan.
        has_kernel: Whether 0 belongs to the spectrum too.
    """
    figure, grid = create_axes(1, 1, 4.6, height=3.2)
    axes = grid[0, 0]
    axes.axvline(0.0, color=COLOURS["ink"], linewidth=0.6)
    if np.isfinite(abscissa):
        axes.axvline(abscissa, color=COLOURS["muted"], linestyle=":", label=rf"numerical abscissa {abscissa:.3g}")
    axes.plot(values.real, values.imag, "o", color=COLOURS["muted"], markersize=3.0)
    if errors is not None and leading.size:
        known = np.where(np.isfinite(errors), errors, 0.0)
        axes.errorbar(leading.real, leading.imag, known, known, fmt="none", ecolor=COLOURS["muted"], elinewidth=0.8)
    axes.plot(leading.real, leading.imag, "o", color=COLOURS["blue"], markersize=5.0, label="leading eigenvalues")
    if has_kernel:
        axes.plot(0.0, 0.0, "x", color=COLOURS["vermilion"], markersize=7.0, label="0, of ker $A$")
    _frame_plane(axes, np.concatenate([values, leading, [0.0, abscissa if np.isfinite(abscissa) else 0.0]]))
    add_legend_above(axes, 2)
    return figure


@styled
def plot_layer_spectra(times: np.ndarray, spectra: Sequence[np.ndarray], is_steady: Sequence[bool]) -> Figure:
    """Draw the eigenvalues of each layer's frozen linearization, coloured by depth.

    Args:
        times: Depths of the layers, shape (n,).
        spectra: Eigenvalues of each layer, complex.
        is_steady: For each layer whether its state is a frozen steady state (filled) or the mean state (open).
    """
    figure, grid = create_axes(1, 1, 4.8, height=3.4)
    axes = grid[0, 0]
    colours, norm = scale = depth_scale(np.asarray(times))
    axes.axvline(0.0, color=COLOURS["ink"], linewidth=0.6)
    for time, values, steady in zip(times, spectra, is_steady, strict=True):
        colour = colours(norm(time))
        fill = colour if steady else "none"
        axes.plot(np.real(values), np.imag(values), "o", color=colour, markerfacecolor=fill, markersize=4.5)
    for steady, label in ((True, "at a frozen steady state"), (False, "at the mean state")):
        if steady in set(is_steady):
            fill = COLOURS["ink"] if steady else "none"
            axes.plot([], [], "o", color=COLOURS["ink"], markerfacecolor=fill, markersize=4.5, label=label)
    _frame_plane(axes, np.concatenate([*spectra, [0.0]]))
    add_legend_above(axes, 2)
    add_colour_bar(figure, np.array([axes]), scale, label="depth $t$")
    return figure


def _frame_plane(axes: Axes, values: np.ndarray) -> None:
    axes.axhline(0.0, color=COLOURS["rule"], linewidth=0.6, zorder=0)
    size = max(float(np.ptp(values.real)), float(np.ptp(values.imag)), 1e-12)
    axes.set(xlabel=r"Re $\lambda$", ylabel=r"Im $\lambda$")
    middle = 0.5 * (values.real.min() + values.real.max())
    axes.set_xlim(middle - 0.6 * size, middle + 0.6 * size)
    axes.set_ylim(-max(0.6 * size, 1.1 * np.abs(values.imag).max()), max(0.6 * size, 1.1 * np.abs(values.imag).max()))


@styled
def plot_eigenfunctions(
    coordinates: np.ndarray, modes: np.ndarray, values: np.ndarray, *, triangles: np.ndarray | None = None
) -> Figure:
    """Draw eigenfunctions; of a complex pair real and imaginary part.

    Args:
        coordinates: Nodes in any order, shape (N, d), d = 1, 2 or 3.
        modes: Complex, shape (N, k), k ≥ 1; at most six are drawn.
        values: Eigenvalues, shape (k,).
        triangles: Triangles of a plane mesh or surface, shape (num_triangles, 3).

    Raises:
        InvalidInput: if the shapes do not fit together.
    """
    if modes.ndim != 2 or values.shape != modes.shape[1:] or not values.size:
        raise InvalidInput(
            f"modes of shape {modes.shape} for eigenvalues of shape {values.shape}; expected (N, k), (k,)"
        )
    points = check_coordinates(coordinates, len(modes))
    parts, names = [], []
    for mode, value in zip(modes.T, values, strict=True):
        if value.imag < 0:
            continue
        label = rf"$\lambda = {value.real:.3g}" + (rf" \pm {value.imag:.3g}\,i$" if value.imag > 0 else "$")
        parts.append(mode.real)
        names.append(label)
        if value.imag > 0:
            parts.append(mode.imag)
            names.append(label + ", imaginary part")
    fields = np.column_stack(parts[:6])
    if points.shape[1] == 1:
        return _plot_lines(points, fields, names)
    layout, fields = lay_out(points, fields, triangles)
    figure, grid = create_axes(1, fields.shape[1], WIDTH, height=WIDTH / fields.shape[1] + 0.3, compressed=True)
    scale = colour_scale(fields, symmetric=True)
    for axes, values_shown, name in zip(grid[0], fields.T, names, strict=False):
        hide_frame(axes)
        draw_field(axes, layout, values_shown, scale=scale)
        axes.set_title(name, fontsize=7)
    add_colour_bar(figure, grid, scale, label="$v(y)$")
    return figure


def _plot_lines(points: np.ndarray, fields: np.ndarray, names: Sequence[str]) -> Figure:
    figure, grid = create_axes(1, 1, 4.8, height=3.0)
    axes, order = grid[0, 0], sort_nodes(points)
    axes.axhline(0.0, color=COLOURS["rule"], linewidth=0.6, zorder=0)
    marker = "o" if len(order) <= _SHOWN_NODES else ""
    for k, values in enumerate(fields.T):
        colour = COLOURS[_LINES[k % len(_LINES)]]
        axes.plot(
            points[order, 0], values[order], marker=marker, linestyle="-", color=colour, linewidth=1.0, label=names[k]
        )
    axes.set(xlabel="$y$", ylabel="$v(y)$")
    axes.margins(x=0.02)
    add_legend_above(axes, 2)
    return figure


@styled
def plot_growth(
    times: np.ndarray,
    amplitudes: np.ndarray,
    predicted: np.ndarray,
    *,
    transient_times: np.ndarray | None = None,
    transient: np.ndarray | None = None,
) -> Figure:
    """Draw the amplitudes of perturbed runs beside the predicted exponentials, and the transient growth.

    Args:
        times: Times of each run, shape (k, samples).
        amplitudes: Amplitudes relative to the first, shape (k, samples).
        predicted: Eigenvalues of the modes, complex, shape (k,).
        transient_times: Times of the transient growth, shape (m,), or None.
        transient: ‖e^{tA}‖ at these times, shape (m,), or None.
    """
    columns = 1 if transient is None or transient_times is None else 2
    figure, grid = create_axes(1, columns, WIDTH if columns == 2 else 4.6, height=2.8)
    axes = grid[0, 0]
    for k, (t, a, value) in enumerate(zip(times, amplitudes, predicted, strict=True)):
        colour = COLOURS[_LINES[k % len(_LINES)]]
        axes.semilogy(t, a, "o", color=colour, markersize=2.5)
        axes.semilogy(t, np.exp(value.real * t), color=colour, linewidth=1.0, label=f"Re λ = {value.real:.4g}")
    axes.set(xlabel="$t$", ylabel="amplitude, relative (dots: runs)")
    if len(predicted):
        axes.legend()
    if transient is not None and transient_times is not None:
        right = grid[0, 1]
        shown = np.isfinite(transient) & (transient < 1e6 * transient[0])
        right.loglog(transient_times[shown], transient[shown], "o", color=COLOURS["blue"], markersize=2.0)
        right.set(xlabel="$t$", ylabel=r"$\|e^{tA}\|$")
    return figure


@styled
def plot_exponents(state: np.ndarray, adjoint: np.ndarray, horizon: float) -> Figure:
    """Draw finite-time Lyapunov exponents by number, a line per sample, and the amplification they mean.

    Args:
        state: Exponents of the state, shape (samples, count).
        adjoint: Exponents of the adjoint, shape (samples, count).
        horizon: T, for the axis of e^{λT}.
    """
    figure, grid = create_axes(1, 1, 4.8, height=3.0)
    axes = grid[0, 0]
    numbers = np.arange(1, state.shape[1] + 1)
    for j, (forward, back) in enumerate(zip(state, adjoint, strict=True)):
        names = ("state", "adjoint") if j == 0 else (None, None)
        axes.plot(numbers, forward, "-", color=COLOURS["blue"], linewidth=0.9, label=names[0])
        axes.plot(
            numbers, back, "o", color=COLOURS["vermilion"], markersize=2.5, markerfacecolor="none", label=names[1]
        )
    axes.axhline(0.0, color=COLOURS["ink"], linewidth=0.6)
    axes.set(xlabel="number", ylabel=r"exponent $\lambda_i$")
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -_SMALLEST_LOG / horizon), max(high, _SMALLEST_LOG / horizon))  # do not magnify round-off
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    second = axes.secondary_yaxis("right", functions=(lambda x: horizon * x, lambda x: x / horizon))
    second.set_ylabel(r"$\lambda_i T$, log of the amplification")
    second.spines["right"].set_visible(True)
    axes.legend()
    return figure
