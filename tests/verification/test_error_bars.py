# SPDX-License-Identifier: MIT
"""Error bars of eigenvalues beside the true errors of kernels whose spectra are known, and the matching of modes."""

from __future__ import annotations

import numpy as np
import pytest
from known_spectra import KERNELS, KnownSpectrum
from mpi4py import MPI

from fem_selection.cases import stability as inputs
from fem_selection.cases.field import FieldProblem, build_field
from fem_selection.config import parse_case
from fem_selection.discretization.transfer import interpolate_block
from fem_selection.steady import analyze_spectrum
from fem_selection.steady.stability.error_bars import estimate_error_bars, match_eigenvalues

NUMBER = 6
QUICK = (
    "gaussian",
    "not symmetric, degree 2",
    "double eigenvalues, cellwise",
    "turning, galerkin",
    "exponential",
    "green, degree 2",
    "triangle",
    "sign, dg 1",
    "convection",
)


def build(known: KnownSpectrum, cells: int) -> FieldProblem:
    """The linear equation with this kernel."""
    tables = {
        "domain": {"shape": "interval", "cells": cells},
        "space": dict(known.space),
        "dynamics": {"activation": "identity", **known.dynamics},
        "data": {"initial": "0"},
    }
    return build_field(parse_case(tables), MPI.COMM_SELF)


def analyze(problem_or_field, number: int):
    """Spectrum and space."""
    field = problem_or_field.field if isinstance(problem_or_field, FieldProblem) else problem_or_field[0]
    return analyze_spectrum(field, field.space.create_block(1), number), field.space


def errors_and_bars(known: KnownSpectrum, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """True errors of the leading eigenvalues and their bars."""
    given = build(known, cells)
    spectrum, space = analyze(given, NUMBER)
    third = inputs.third_start(given)
    finer, further = (analyze(start(), 3 * NUMBER) for start in (lambda: inputs.finer_start(given), third))
    found = estimate_error_bars(spectrum, space, finer, third=further)
    true = known.eigenvalues(len(spectrum.leading) + 2 * NUMBER)
    return np.array([np.min(np.abs(true - value)) for value in spectrum.leading]), found.values


def assert_bars_hold(names, cells: int, monkeypatch, third: str) -> None:
    """95 % of the bars hold, and half of those of errors above round-off are less than twice the error."""
    if third == "coarser":
        monkeypatch.setattr(inputs, "_NODES_OF_THIRD", 0)
    errors, bars = np.hstack([errors_and_bars(KERNELS[name], cells) for name in names])
    assert np.mean(errors <= bars) >= 0.95
    visible = errors > 1e-11
    assert np.median(bars[visible] / errors[visible]) < 2 and np.quantile(bars[visible] / errors[visible], 0.9) < 10


@pytest.mark.parametrize("third", ["finer", "coarser"])
def test_bars_hold(third, monkeypatch):
    """Fails if the difference to the next mesh passes for the error (order two: 3/4 of it, order one: half)."""
    assert_bars_hold(QUICK, 20, monkeypatch, third)


@pytest.mark.slow
@pytest.mark.parametrize("cells", [16, 45, 80])
@pytest.mark.parametrize("third", ["finer", "coarser"])
def test_bars_hold_for_every_known_spectrum(third, cells, monkeypatch):
    """Fails if an error bar does not hold for a known spectrum of the whole list, in any of the spaces."""
    assert_bars_hold(KERNELS, cells, monkeypatch, third)


def test_eigenvalues_are_matched_by_their_eigenfunctions():
    """cos π(y − z) has the eigenvalues 1/2, twice; w = 1 + a cos(πy)cos(πz) those of modes 1 and cos πy.

    Fails if the counterpart is the nearest eigenvalue: with a = 1.9 on one mesh and a = 2.1 on the other, the nearest
    to 0.95 is 1, whose eigenfunction is another, and the counterpart is 1.05.
    """
    spectra = []
    for a, cells in ((1.9, 16), (2.1, 33)):
        known = KnownSpectrum(name="", dynamics={"kernel": f"1 + {a}*cos(pi*y)*cos(pi*z)"}, eigenvalues=np.zeros)
        spectra.append(analyze(build(known, cells), 2))
    distances, partners = match_eigenvalues(*spectra[0], spectra[1])
    np.testing.assert_allclose(spectra[0][0].leading, [1.0, 0.95], atol=1e-12)
    np.testing.assert_allclose(partners, [1.0, 1.05], atol=1e-12)
    np.testing.assert_allclose(distances, [0.0, 0.1], atol=1e-12)


def test_what_has_no_counterpart_has_an_infinite_bar():
    """Fails if an eigenfunction is matched with one that is orthogonal to it."""
    first, second = (
        KnownSpectrum(name="", dynamics={"kernel": f"2*sin({k}*pi*y)*sin({k}*pi*z)"}, eigenvalues=np.zeros)
        for k in (1, 2)
    )
    distances, partners = match_eigenvalues(*analyze(build(first, 16), 2), analyze(build(second, 32), 2))
    assert np.isinf(distances).all() and np.isnan(partners).all()


def test_functions_on_another_mesh():
    """Fails if nodal values are not those of the interpolant: linear functions come over exactly."""
    known = KnownSpectrum(name="", dynamics={"kernel": "0"}, eigenvalues=np.zeros)
    coarse, fine = build(known, 7).space, build(known, 15).space
    y = coarse.coordinates[:, 0]
    moved = interpolate_block(coarse, np.asfortranarray(np.column_stack([1 - 3 * y, y])), fine)
    y = fine.coordinates[:, 0]
    np.testing.assert_allclose(moved, np.column_stack([1 - 3 * y, y]), atol=1e-14)
