# SPDX-License-Identifier: MIT
"""Kernels with kinks, jumps and weak singularities, and how far the error bars of their eigenvalues can be trusted."""

from __future__ import annotations

import numpy as np
import pytest
from gallery import Answer, problem
from known_spectra import KERNELS, weakly_singular_eigenvalues
from scipy.integrate import quad
from scipy.special import j0

QUICK = {"exponents": 0}
CUBIC = {"degree": 3}
CELLWISE = {"family": "dg", "degree": 0}


def assert_bars_hold(answer: Answer, true: np.ndarray) -> None:
    """The known eigenvalues lie within the error bars, which are less than ten times the errors."""
    found, bars = answer.report.eigenvalues, answer.report.error_bars
    errors = np.array([np.min(np.abs(true - value)) for value in found])
    known = np.isfinite(bars)  # the smallest eigenvalue of a compact operator has no counterpart on another mesh
    assert np.sum(known) >= min(4, len(found))
    assert np.all(errors[known] <= bars[known])
    visible = known & (errors > 1e-11)
    assert not np.any(visible) or np.median(bars[visible] / errors[visible]) < 3


@problem(
    "stability",
    kernel="-exp(-abs(y-z))",
    settings=QUICK,
    says="stable; every eigenvalue lies within its error bar",
    route="closed form: −2/(1 + ω²), ω tan(ω/2) = 1 or tan(ω/2) = −ω",
)
def exponential_kernel(answer: Answer):
    """Fails if the distance to the next mesh, three quarters of the error, passes for the error bar."""
    assert_bars_hold(answer, -KERNELS["exponential"].eigenvalues(60))
    return answer.report.verdict.kind


@problem(
    "stability",
    kernel="-exp(y-z)*(min(y,z)-y*z)",
    space=CUBIC,
    settings=QUICK,
    says="eigenvalues −1/(kπ)² of an operator that is not symmetric, within their error bars",
    route="closed form: similar to Green's function of −u″, u(0) = u(1) = 0",
)
def weighted_greens_function(answer: Answer):
    """Fails if the kink is not integrated as one: at degree 3 the errors would be a thousand times larger."""
    assert_bars_hold(answer, -KERNELS["green"].eigenvalues(400))
    assert abs(answer.report.eigenvalues + 1 / np.pi**2).min() < 1e-8
    return answer.report.verdict.kind


@problem(
    "stability",
    kernel="where(y+z<1,1,0)",
    settings=QUICK,
    says="unstable at the rate 2/π; eigenvalues (−1)ᵏ/((k + ½)π) within their error bars",
    route="closed form: cos((k + ½)π y)",
)
def jump_across_the_square(answer: Answer):
    """Fails if the bars are half of the errors, as those of order one were."""
    assert_bars_hold(answer, KERNELS["triangle"].eigenvalues(400))
    assert answer.report.verdict.rate == pytest.approx(2 / np.pi, rel=2e-4)
    return answer.report.verdict.kind


@problem(
    "stability",
    kernel="0.75/(1.25-cos(2*pi*(y-z)))",
    settings=QUICK,
    says="unstable at the rate 1; double eigenvalues 2⁻ᵏ within their error bars",
    route="closed form: Poisson's kernel",
)
def double_eigenvalues(answer: Answer):
    """Fails if eigenfunctions of double eigenvalues, which turn from mesh to mesh, find no counterparts."""
    assert np.isfinite(answer.report.error_bars).all()
    assert_bars_hold(answer, KERNELS["double eigenvalues"].eigenvalues(20))
    return answer.report.verdict.kind


@problem(
    "stability",
    kernel="-abs(y-z)**(-0.5)",
    dynamics={"singularity": 0.5},
    settings=QUICK,
    says="stable; eigenvalues within their error bars, of order 3/2",
    route="Legendre polynomials of degree 140, the singular integrals exactly",
)
def square_root_singularity(answer: Answer):
    """Fails if the singular diagonal is not integrated, or the order of the errors is taken for two."""
    assert_bars_hold(answer, -weakly_singular_eigenvalues(0.5, 140)(60))
    assert 2.2 < np.nanmedian(answer.report.bars.ratios) < 3.5  # 2^1.5 = 2.83
    return answer.report.verdict.kind


@problem(
    "stability",
    kernel="log(abs(y-z))",
    dynamics={"singularity": 0},
    space=CELLWISE,
    settings=QUICK,
    says="stable; eigenvalues within their error bars",
    route="Legendre polynomials, −d/da of |y − z|^(−a) at a = 0",
)
def logarithm(answer: Answer):
    """Fails if the logarithm is refused, or its diagonal is left out."""
    assert_bars_hold(answer, weakly_singular_eigenvalues(None, 140)(60))
    return answer.report.verdict.kind


@problem(
    "forward",
    kernel="-where(z<y,1,0)",
    activation="identity",
    initial="1",
    space=CELLWISE,
    settings={"until": 20.0},
    says="falls as J₀(2 √(t y)), a contraction",
    route="closed form: Bessel's function J₀",
)
def volterra_flow(answer: Answer):
    """Fails if the jump on the diagonal is of order one: the error would be 0.05 on 84 cells."""
    final = answer.everywhere(answer.report.integration.final)[:, 0]
    assert np.sqrt(answer.weights @ (final - j0(2 * np.sqrt(20.0 * answer.y))) ** 2) < 10.0 / len(answer.y) ** 2
    norms = answer.report.norms[:, 0]
    assert np.all(np.diff(norms) < 1e-7)
    return answer.report.integration.outcome


@problem(
    "forward",
    kernel="-where(z<y,1,0)",
    activation="identity",
    initial="1",
    settings={"until": 1000.0},
    says="‖f(1000)‖ = 0.1001: a contraction for long",
    route="quadrature of J₀(2 √(1000 y))²",
)
def volterra_flow_for_long(answer: Answer):
    """Fails if states grow on the mesh where they do not (197.8 by the nodal rule)."""
    exact = np.sqrt(quad(lambda r: 2 * r * j0(2 * np.sqrt(1000.0) * r) ** 2, 0, 1, limit=500)[0])
    norms = answer.report.norms[:, 0]
    assert norms[-1] == pytest.approx(exact, rel=0.02) and np.all(norms <= 1 + 1e-9)
    return answer.report.integration.outcome


@problem(
    "forward",
    kernel="where(z<y,1,-1)",
    activation="identity",
    initial="1 + sin(5*y)",
    settings={"until": 50.0},
    says="‖f‖ is conserved: the kernel is skew, and stays so across its jump",
    route="theory: d‖f‖²/dt = 2⟨f, K f⟩ = 0",
)
def skew_jump(answer: Answer):
    """Fails if the diagonal gets the value of one side, so that states grow or fall at the rate of the mesh size."""
    norms = answer.report.norms[:, 0]
    assert norms[-1] == pytest.approx(norms[0], rel=1e-6)
    return answer.report.integration.outcome


@problem(
    "forward",
    kernel="-abs(y-z)**(-0.5)",
    activation="identity",
    initial="1",
    dynamics={"singularity": 0.5},
    settings={"until": 2.0},
    says="the mean of f falls as e^{tK} says",
    route="the exponential of the matrix of Legendre polynomials of degree 60",
)
def fractional_flow(answer: Answer):
    """Fails if the weakly singular kernel is not integrated: the diagonal carries a tenth of it."""
    values, vectors = np.linalg.eigh(-weakly_singular_eigenvalues(0.5, 60).matrix())
    mean = float(vectors[0] ** 2 @ np.exp(2.0 * values))  # 1 is the first polynomial
    final = answer.everywhere(answer.report.integration.final)[:, 0]
    assert answer.weights @ final == pytest.approx(mean, abs=0.1 / len(answer.y))
    return answer.report.integration.outcome
