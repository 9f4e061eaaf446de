# SPDX-License-Identifier: MIT
"""The confusion matrix of a classifier: how many samples of each class were predicted as which class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fem_selection.errors import InvalidInput
from fem_selection.plots.style import COLOURS, WIDTH, add_colour_bar, create_axes, styled
from fem_selection.plots.text import as_plain_text

__all__ = ["plot_confusion"]

_LARGEST_WITH_NUMBERS = 30


@styled
def plot_confusion(matrix: np.ndarray, labels: Sequence[object], accuracy: float) -> Figure:
    """Draw a confusion matrix, coloured by the share of each true class, with the counts in the cells.

    Args:
        matrix: Entry (i, j) is the number of samples of class i that were predicted as j, shape (C, C).
        labels: Names of the classes, C of them.
        accuracy: Share of correct predictions, for the title; NaN leaves it out.

    Returns:
        A figure with the matrix and its colour bar.  More than 30 classes have colours only.

    Raises:
        InvalidInput: if the matrix is not square, or the numbers of its rows and of labels differ.
    """
    counts = np.asarray(matrix)
    names = [as_plain_text(label) for label in labels]
    num_classes = len(names)
    if counts.shape != (num_classes, num_classes):
        raise InvalidInput(f"confusion matrix of shape {counts.shape} with {num_classes} labels; expected (C, C) and C")
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)

    side = float(np.clip(1.4 + 0.34 * num_classes, 2.6, WIDTH - 0.8))
    figure, grid = create_axes(1, 1, side + 0.8, height=side)
    axes = grid[0, 0]
    axes.set(xlabel="predicted", ylabel="true")
    if np.isfinite(accuracy):
        axes.set_title(f"accuracy {100 * accuracy:.1f}%")
    if num_classes == 0:
        axes.set(xticks=[], yticks=[])
        return figure

    colours, norm = colormaps["Blues"], Normalize(0.0, 1.0)
    axes.imshow(shares, cmap=colours, norm=norm, interpolation="nearest")
    step = -(-num_classes // 50)
    ticks = np.arange(0, num_classes, step)
    shown = [names[i] for i in ticks]
    upright = max(map(len, names)) * num_classes <= 45
    axes.set_xticks(ticks, shown, rotation=0 if upright else 90)
    axes.set_yticks(ticks, shown)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)

    if num_classes <= _LARGEST_WITH_NUMBERS:
        axes.set_xticks(np.arange(1, num_classes) - 0.5, minor=True)
        axes.set_yticks(np.arange(1, num_classes) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.0)
        axes.tick_params(which="minor", length=0)
        longest = max(len(f"{count}") for count in counts.flat)
        size = min(8.5, 72 * (side - 0.8) / num_classes / (0.75 * max(longest, 2)))
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.55 else COLOURS["ink" if count else "muted"]
            axes.text(column, row, f"{count}", ha="center", va="center", color=colour, fontsize=size)
    bar = add_colour_bar(figure, grid, (colours, norm), label="share of the true class")
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    return figure
