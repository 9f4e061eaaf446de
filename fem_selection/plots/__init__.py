# SPDX-License-Identifier: MIT
"""Figures from plain NumPy arrays: each function returns a `matplotlib.figure.Figure` and shows nothing.

`save` writes one, `draw` draws and writes one, and turns its failure into a warning.  For fields on their meshes, at
full resolution, use ParaView files instead (`fem_selection.io`).
"""

from __future__ import annotations

from fem_selection.plots.bifurcation import plot_bifurcations, plot_branch_states
from fem_selection.plots.certificate import plot_certificate
from fem_selection.plots.confusion import plot_confusion
from fem_selection.plots.convergence import plot_convergence
from fem_selection.plots.files import draw, save
from fem_selection.plots.forward import plot_functionals, plot_norms
from fem_selection.plots.kernels import plot_controls
from fem_selection.plots.levels import plot_levels
from fem_selection.plots.stability import (
    plot_eigenfunctions,
    plot_exponents,
    plot_growth,
    plot_layer_spectra,
    plot_spectrum,
)
from fem_selection.plots.states import plot_states
from fem_selection.plots.steady import plot_approach, plot_picard, plot_steady_states
from fem_selection.plots.text import as_plain_text
from fem_selection.plots.value import plot_refinement, plot_value

__all__ = [
    "as_plain_text",
    "draw",
    "plot_approach",
    "plot_bifurcations",
    "plot_branch_states",
    "plot_certificate",
    "plot_confusion",
    "plot_controls",
    "plot_convergence",
    "plot_eigenfunctions",
    "plot_exponents",
    "plot_functionals",
    "plot_growth",
    "plot_layer_spectra",
    "plot_levels",
    "plot_norms",
    "plot_picard",
    "plot_refinement",
    "plot_spectrum",
    "plot_states",
    "plot_steady_states",
    "plot_value",
    "save",
]
