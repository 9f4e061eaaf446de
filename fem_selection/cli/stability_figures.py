# SPDX-License-Identifier: MIT
"""The figures of `fem-selection stability`, drawn by root from what was found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fem_selection import plots
from fem_selection.steady import LyapunovExponents
from fem_selection.studies.network_stability import NetworkStability
from fem_selection.studies.state_stability import Continuation, StateStability
from fem_selection.typing import Floats, Integers

__all__ = ["diagram_figure", "draw_network", "draw_state"]


def draw_state(
    folder: Path,
    found: StateStability,
    branch: Continuation | None,
    mesh: tuple[Floats, Integers | None],
    modes: Floats,
) -> None:
    """Spectrum, eigenfunctions, growth, exponents and the bifurcation diagram.

    Args:
        folder: Of the figures.
        found: What was found at the steady state.
        branch: The branch through it, or None.
        mesh: All nodes, shape (N, d), and the triangles between them, if there are any.
        modes: Real and imaginary parts of the eigenfunctions at all nodes, shape (N, 2k).
    """
    folder.mkdir(exist_ok=True)
    s, t = found.spectrum, found.transient
    has_kernel = s.rank is not None and s.rank < s.num_nodes
    figure = plots.plot_spectrum(s.values, s.leading, found.error_bars, found.abscissa, has_kernel)
    plots.save(figure, folder / "spectrum.png")
    k = s.leading.size
    if k:
        figure = plots.plot_eigenfunctions(mesh[0], modes[:, :k] + 1j * modes[:, k:], s.leading, mesh[1])
        plots.save(figure, folder / "eigenfunctions.png")
    g = found.growth
    if g.predicted.size:
        transient = (None, None) if t is None else (t.times[1:], t.norms[1:])
        plots.save(plots.plot_growth(g.times, g.amplitudes, g.predicted, *transient), folder / "growth.png")
    _draw_exponents(folder, found.exponents)
    if branch is not None:
        plots.save(diagram_figure(branch), folder / "bifurcations.png")


def diagram_figure(branch: Continuation) -> Figure:
    """The branches, by their component along the direction in which they vary most."""
    points = [np.array([p.coordinates for p in b.points]) for b in branch.diagram.branches]
    direction = np.linalg.svd(np.concatenate(points), full_matrices=False)[2][0]
    marks = [
        (found.kind, found.parameter, float(found.point.coordinates @ direction))
        for found in branch.diagram.bifurcations
    ]
    cycles = [
        (c.parameters, c.amplitudes, float(branch.diagram.bifurcations[number].point.coordinates @ direction))
        for number, c in branch.cycles.items()
    ]
    return plots.plot_bifurcations(
        branch.parameter,
        [np.array([p.parameter for p in b.points]) for b in branch.diagram.branches],
        [x @ direction for x in points],
        [np.array([p.unstable for p in b.points]) for b in branch.diagram.branches],
        marks,
        cycles,
    )


def draw_network(folder: Path, found: NetworkStability) -> None:
    """The spectra of the layers and the exponents."""
    folder.mkdir(exist_ok=True)
    figure = plots.plot_layer_spectra(
        np.array([layer.time for layer in found.layers]),
        [layer.spectrum.leading for layer in found.layers],
        [layer.at == "steady" for layer in found.layers],
    )
    plots.save(figure, folder / "spectrum.png")
    _draw_exponents(folder, found.exponents)


def _draw_exponents(folder: Path, exponents: LyapunovExponents | None) -> None:
    if exponents is not None and np.all(np.isfinite(exponents.state)) and np.all(np.isfinite(exponents.adjoint)):
        figure = plots.plot_exponents(exponents.state, exponents.adjoint, exponents.horizon)
        plots.save(figure, folder / "exponents.png")
