# SPDX-License-Identifier: MIT
"""The optimality conditions of a network by layers: Hamiltonian, gap, singular values of the kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fem_selection.plots.style import COLOURS, WIDTH, add_side_bar, create_axes, depth_scale, styled

__all__ = ["plot_certificate"]

_ROUND_OFF = 1e-18


@styled
def plot_certificate(
    times: np.ndarray,
    hamiltonian: Sequence[float] | None,
    gaps: Sequence[float] | None,
    *,
    singular_values: Sequence[Sequence[float]] | None,
    declined: Mapping[str, str],
) -> Figure:
    """Draw the Hamiltonian over depth, its distance from the minimum, and the singular values of the kernels.

    Args:
        times: Depths of the control intervals, shape (num_intervals,).
        hamiltonian: H at each layer, or None.
        gaps: H − min H at each layer, or None.
        singular_values: For each interval the singular values of the kernel, relative to the largest, or None.
        declined: The reason for each quantity that is None, by its name.

    Returns:
        A figure with three panels; the panel of a declined quantity shows the reason.
    """
    figure, axes = create_axes(1, 3, WIDTH, height=2.5)
    left, middle, right = axes[0]
    if hamiltonian is None:
        _say(left, "Hamiltonian", declined.get("hamiltonian", ""))
    else:
        left.plot(times, hamiltonian, "o-", color=COLOURS["blue"])
        left.set(xlabel="depth t", ylabel="Hamiltonian H(t)")
        largest = max(abs(h) for h in hamiltonian)
        # the axis begins at zero, so that a constant looks constant
        low, high = min(0.0, *hamiltonian), max(0.0, *hamiltonian)
        left.set_ylim(low - 0.05 * largest - _ROUND_OFF, high + 0.05 * largest + _ROUND_OFF)
    if gaps is None:
        _say(middle, "gap", declined.get("maximum_principle_gaps", ""))
    else:
        shown = np.maximum(np.array(gaps), _ROUND_OFF)
        middle.semilogy(times, shown, "o-", color=COLOURS["vermilion"])
        middle.set_ylim(shown.min() / 4.0, shown.max() * 4.0)  # round-off should not look like structure
        middle.set(xlabel="depth t", ylabel="H(t) − min H(t)")
    if singular_values is None:
        _say(right, "singular values", declined.get("kernel_singular_values", ""))
    else:
        colours, norm = scale = depth_scale(times)
        for t, values in zip(times, singular_values, strict=True):
            number = np.arange(1, len(values) + 1)
            right.semilogy(number, np.maximum(values, _ROUND_OFF), ".-", color=colours(norm(t)), linewidth=0.8)
        right.axhline(1e-6, color=COLOURS["muted"], linewidth=0.6, linestyle="--")
        right.set(xlabel="number", ylabel="singular value of w(t), relative")
        add_side_bar(right, scale, "depth t")
    return figure


def _say(axes: Axes, what: str, reason: str) -> None:
    """Fill a panel with the reason why its quantity was declined."""
    axes.set_axis_off()
    text = "\n".join([f"{what}: declined", "", *wrap(reason, 34)])
    axes.text(0.5, 0.5, text, ha="center", va="center", color=COLOURS["muted"], fontsize=7).set_in_layout(False)
