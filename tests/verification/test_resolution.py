# SPDX-License-Identifier: MIT
"""Verdicts that the error bars of the eigenvalues leave open, on kernels whose answer is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from cases import build_equation

import fem_selection as fs

DECAY = {"representation": "local + dense", "local_terms": ["multiplication"], "multiplication": "-1"}


def assess(kernel, cells=40, finer=80, dynamics=None):
    """The report on the state 0 of the linear equation, with error bars from a finer mesh."""
    tables = {"activation": "identity", "kernel": kernel, **(dynamics or {})}
    own, other = (build_equation(tables, cells=n) for n in (cells, finer))
    settings = fs.StabilitySettings(exponents=0)
    zero, far = np.zeros(own.space.num_local), np.zeros(other.space.num_local)
    return fs.studies.stability(own.field, zero, settings, finer=(other.field, far))


@pytest.mark.parametrize("sign", ["", "-"])
def test_a_nilpotent_kernel_is_not_called_growing_or_stable_by_its_quadrature(sign):
    """(3 z − 2) y is nilpotent.  Fails if the mesh's eigenvalue ± h²/2 passes for one of the operator."""
    report = assess(f"{sign}(3*z - 2)*y")
    assert report.verdict.kind == "undecided" and "error bar" in report.verdict.sentence


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [("3*y*z", "undecided"), ("2.9999*y*z", "undecided"), ("3.1*y*z", "unstable"), ("2.9*y*z", "stable")],
)
def test_an_eigenvalue_at_the_axis_needs_a_small_error_bar(kernel, kind):
    """−f + a y ∫ z f has the eigenvalue a/3 − 1.  Fails if its sign is told where the error bar leaves it open."""
    assert assess(kernel, dynamics=DECAY).verdict.kind == kind


def test_small_eigenvalues_of_a_compact_kernel_do_not_withhold_the_verdict():
    """Fails if eigenvalues near 0, within their error bars of it, as every compact operator has, count as undecided."""
    verdict = assess("-exp(-2*(y - z)**2) + 0.3*sin(y + 2*z)*(y - z)", cells=20, finer=40).verdict
    assert verdict.kind == "stable modulo kernel"
