# SPDX-License-Identifier: MIT
"""A bifurcation diagram: branches of steady states over a parameter, their stability, and where it changes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fem_selection.errors import InvalidInput
from fem_selection.plots.style import COLOURS, create_axes, styled

__all__ = ["draw_bifurcations", "plot_bifurcations"]

_NAMES = {"hopf": "Hopf point", "multiple": "several eigenvalues at once"}
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
    """Draw branches, solid where stable and dashed where unstable, with bifurcations and cycles, open where unstable.

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
    axes.set(xlabel=name, ylabel=r"$\langle e, f^*\rangle$, along the largest variation")
    axes.legend()
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
        for start, end, is_stable in _runs(count == 0):
            # one point of the next stretch is added, so that there is no gap
            piece = slice(start, min(end + 1, len(mu)))
            style = "-" if is_stable else (0, (4, 2))
            axes.plot(mu[piece], level[piece], linestyle=style, color=COLOURS["blue" if is_stable else "vermilion"])
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
    axes.plot([], [], "-", color=COLOURS["blue"], label="stable")
    axes.plot([], [], linestyle=(0, (4, 2)), color=COLOURS["vermilion"], label="unstable")
    for flag in sorted(shown, reverse=True):
        face, name = (COLOURS["green"], "attracting") if flag else ("white", "repelling")
        label = f"{name} cycle, ± amplitude"
        axes.plot([], [], "o", color=COLOURS["green"], markersize=3.5, markerfacecolor=face, label=label)


def _runs(flags: np.ndarray) -> list[tuple[int, int, bool]]:
    """Stretches of equal flags as (start, end, flag)."""
    edges = [0, *(np.flatnonzero(np.diff(flags.astype(int))) + 1).tolist(), len(flags)]
    return [(a, b, bool(flags[a])) for a, b in pairwise(edges) if b > a]
