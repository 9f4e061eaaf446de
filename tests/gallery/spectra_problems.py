# SPDX-License-Identifier: MIT
"""Spectra that eigenvalues alone do not explain: Volterra kernels, Jordan blocks, continuous spectra, kinks."""

from __future__ import annotations

import numpy as np
import pytest
from gallery import Answer, blocks, problem
from scipy.optimize import brentq

QUICK = {"exponents": 0}
COARSE = {"exponents": 0, "refine": False}
CELLWISE = {"family": "dg", "degree": 0}
VOLTERRA = "where(z < y, 1, where(z == y, 0.5, 0))"


@problem(
    "stability",
    kernel=VOLTERRA,
    activation="identity",
    settings=QUICK,
    says="not stable: grows like e^{2√t}, slower than any exponential; the mesh's eigenvalues h/2 mean nothing",
    route="Σ t^k/k! V^k, ‖V^k‖ ~ 1/k!",
)
def volterra_kernel(answer: Answer):
    """Fails if h/2 passes for a rate, if 0 does for the largest real part, or if the growth is called exponential."""
    verdict = answer.report.verdict
    assert verdict.growth is not None and verdict.growth.power == pytest.approx(0.55, abs=0.1)
    assert verdict.growth.largest < 5 * np.exp(2 * np.sqrt(verdict.growth.until))
    return verdict.kind


@problem(
    "stability",
    kernel=f"-{VOLTERRA}",
    activation="identity",
    settings=COARSE,
    says="a contraction: f(t) = J₀(2√(t y)) from 1",
    route="the symmetric part of −V is −½ 1 ⊗ 1",
)
def volterra_kernel_with_a_minus(answer: Answer):
    """Fails if growth is asserted, or stability is denied, of a contraction."""
    assert answer.report.details["transient growth"].startswith("none")
    return answer.report.verdict.kind


@problem(
    "stability",
    kernel=blocks([[0, 1, 0], [0, 0, 1], [0, 0, 0]]),
    activation="identity",
    space=CELLWISE,
    settings=COARSE,
    says="grows like t²/2: a Jordan block of size three at 0",
    route="e^{tA} = 1 + t A + t² A²/2",
)
def jordan_block_of_size_three(answer: Answer):
    """Fails if the block is taken for one of size two, or if round-off ends the growth."""
    growth = answer.report.verdict.growth
    assert growth is not None and growth.coefficient == pytest.approx(0.5, rel=1e-3)
    return [answer.report.verdict.kind, growth.power]


@problem(
    "stability",
    kernel=blocks([[0, 1, 1, 0], [-1, 0, 0, 1], [0, 0, 0, 1], [0, 0, -1, 0]]),
    activation="identity",
    space=CELLWISE,
    settings=COARSE,
    says="grows like t with frequency 1: a defective pair ±i",
    route="e^{tA} = [[e^{tR}, t e^{tR}], [0, e^{tR}]]",
)
def defective_pair_on_the_imaginary_axis(answer: Answer):
    """Fails if eigenvalues that round-off splits by 1e-8 pass for growth or for a neutral pair."""
    verdict = answer.report.verdict
    assert verdict.growth is not None and verdict.growth.coefficient == pytest.approx(1.0, rel=1e-3)
    assert answer.report.spectrum.degenerate.frequency == pytest.approx(1.0, abs=1e-6)
    return verdict.kind


@problem(
    "stability",
    kernel="-exp(-abs(y - z))",
    activation="identity",
    settings=COARSE,
    says="stable; the eigenvalues are −2/(1 + ω²) with tan ω = 2ω/(ω² − 1)",
    route="the roots, by SciPy's brentq",
)
def laplace_kernel(answer: Answer):
    """Fails if no eigenvalue is found where all singular values count, or if the table omits the dominant one."""
    first = brentq(lambda w: 2 * w * np.cos(w) - (w * w - 1) * np.sin(w), 1.0, 1.6)
    report = answer.report
    assert report.eigenvalues[-1].real == pytest.approx(-2 / (1 + first**2), rel=1e-3)
    assert report.eigenvalues[0] == report.spectrum.values[0]
    return report.verdict.kind


@problem(
    "stability",
    activation="identity",
    dynamics={"representation": "local + dense", "local_terms": ["multiplication"], "multiplication": "y - 0.5"},
    settings=COARSE,
    says="unstable by a continuous spectrum [−1/2, 1/2], which holds no eigenvalue",
    route="the spectrum of a multiplication is the closure of its values",
)
def multiplication_operator(answer: Answer):
    """Fails if the numbers of the continuous spectrum are listed as eigenvalues."""
    assert answer.report.eigenvalues.size == 0
    assert answer.report.verdict.rate == pytest.approx(0.5)
    return [answer.report.verdict.kind, answer.report.spectrum.essential.is_continuous]


@problem(
    "stability",
    kernel="(1 + y)*(1 + z)",
    activation="leaky_relu",
    settings=COARSE,
    says="unstable; the rate is 7/3 on one side of the kink and 7/300 on the other",
    route="closed form: c = ∫ u f obeys c' = ∫ u σ(c u)",
)
def leaky_relu_at_its_kink(answer: Answer):
    """Fails if one side's slope passes for a derivative."""
    sides = answer.report.spectrum.sides
    assert sides.above == pytest.approx(7 / 3, rel=1e-3) and sides.below == pytest.approx(7 / 300, rel=1e-3)
    return answer.report.verdict.kind


@problem(
    "stability",
    kernel="-exp(-(y - z)**2)",
    activation="identity",
    dynamics={
        "representation": "dense + separable",
        "factors": [["-cos(pi*y)", "cos(pi*z)"]],
    },
    settings=COARSE,
    says="stable modulo a kernel, without a uniform rate: the sum is compact",
    route="both parts are negative semidefinite and compact",
)
def sum_of_compact_kernels(answer: Answer):
    """Fails if a sum of compact parts is not called compact."""
    assert "compact" in answer.report.verdict.sentence
    return answer.report.verdict.kind


@problem(
    "stability",
    kernel="-1 + 40*sin(2*pi*y)*cos(2*pi*z)",
    activation="identity",
    settings=COARSE,
    says="not stable: beside −1 a nilpotent part, growing like 20 t",
    route="closed form: e^{tA} on the span of 1, sin 2πy and cos 2πy",
)
def nilpotent_part_beside_decay(answer: Answer):
    """Fails if the decaying eigenvalue decides alone."""
    growth = answer.report.verdict.growth
    assert growth is not None and growth.coefficient == pytest.approx(20.0, rel=1e-2)
    return [answer.report.verdict.kind, growth.power]


@problem(
    "stability",
    kernel="1.2 + 3*sin(pi*y)*(z - 0.5)",
    activation="identity",
    settings=COARSE,
    says="unstable at the larger eigenvalue of a 2 × 2 matrix, as a run from a random start shows",
    route="NumPy's eigenvalues of the matrix of the factors' products",
)
def run_that_does_not_confirm_itself(answer: Answer):
    """Fails if the rate measured in a run is not that of the equation."""
    m = np.array([[1.2, 3 * 0.0], [1.2 * 2 / np.pi, 0.0]])
    exact = np.max(np.linalg.eigvals(m).real)
    report = answer.report
    assert report.verdict.rate == pytest.approx(exact, rel=1e-3)
    assert report.growth_rate_measured == pytest.approx(report.verdict.rate, rel=1e-5)
    return report.verdict.kind
