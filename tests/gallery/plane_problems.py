# SPDX-License-Identifier: MIT
"""Kernels with kinks, jumps and weak singularities on the unit square, on triangles."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from gallery import Answer, problem
from scipy.special import j0, roots_legendre

SQUARE = "((y0-z0)**2+(y1-z1)**2)"
PLANE = {"domain": {"shape": "rectangle", "cell": "triangle"}}
QUICK = {"exponents": 0}
COARSE = (80, 160)


def final(answer: Answer) -> np.ndarray:
    """The state at the end of a run, at all nodes."""
    return answer.everywhere(answer.report.integration.final)[:, 0]


def by_nystrom(kernel, points: int) -> np.ndarray:
    """Eigenvalues of a symmetric kernel k(|y − z|), by a tensor rule of Gauss–Legendre points."""
    x, w = roots_legendre(points)
    x, w = (1 + x) / 2, w / 2
    z = np.array(list(product(x, x)))
    root = np.sqrt(np.outer(w, w).ravel())
    distance = np.sqrt(np.maximum(np.sum((z[:, None] - z) ** 2, axis=2), 0.0))
    return np.linalg.eigvalsh(root[:, None] * kernel(distance) * root)


@problem(
    "stability",
    kernel="where(y0+z0<1,1,0)",
    settings=QUICK,
    tables=PLANE,
    meshes=COARSE,
    says="unstable at the rate 2/π",
    route="closed form: cos(π y₀/2), as on an interval",
)
def jump_across_the_plane(answer: Answer):
    """Fails if triangles that the jump cuts have the nodal rule, of order one."""
    assert answer.report.verdict.rate == pytest.approx(2 / np.pi, rel=0.5 / len(answer.y))
    return answer.report.verdict.kind


@problem(
    "stability",
    kernel=f"-exp(-sqrt{SQUARE})",
    dynamics={"singularity": -1},
    settings=QUICK,
    tables=PLANE,
    meshes=COARSE,
    says="stable; the eigenvalue of largest modulus is −0.6154 within its error bar",
    route="Nyström's method on 16² and 32² Gauss–Legendre points, extrapolated with order 3",
)
def exponential_of_the_distance(answer: Answer):
    """Fails if the kink at y = z is integrated in a wrong way, or the error bar is not one."""
    coarse, fine = (by_nystrom(lambda r: -np.exp(-r), n)[0] for n in (16, 32))
    true = fine + (fine - coarse) / 7
    found, bars = answer.report.eigenvalues, answer.report.error_bars
    first = np.argmax(np.abs(found))
    assert abs(found[first] - true) < min(bars[first], 0.5 / len(answer.y))
    return answer.report.verdict.kind


@problem(
    "stability",
    kernel=f"log{SQUARE}/2",
    dynamics={"singularity": 0},
    settings=QUICK,
    tables=PLANE,
    meshes=COARSE,
    says="no eigenvalue is positive, and the lowest is below the mean of log|y − z|, −0.805087",
    route="theory: the square has a capacity below 1; closed form (4π + 4 log 2 − 25)/12",
)
def logarithm_in_the_plane(answer: Answer):
    """Fails if the singular diagonal is left out: positive eigenvalues appear, and the lowest is too high."""
    found = answer.report.eigenvalues
    mean = (4 * np.pi + 4 * np.log(2) - 25) / 12
    assert -0.9 < np.min(found.real) < mean and np.max(found.real) < 1e-3
    return answer.report.verdict.kind


@problem(
    "forward",
    kernel=f"{SQUARE}**(-0.5)",
    dynamics={"singularity": 1},
    activation="identity",
    initial="1",
    settings={"until": 0.01},
    tables=PLANE,
    says="the mean of f begins to grow at the rate of the mean inverse distance in a square, 2.9732",
    route="closed form: 4 log(1 + √2) + 4 (1 − √2)/3",
)
def inverse_distance(answer: Answer):
    """Fails if the cells at y = z have another rule than Duffy's: they carry a tenth and more."""
    t, mean = 0.01, 4 * np.log(1 + np.sqrt(2)) + 4 * (1 - np.sqrt(2)) / 3
    growth = (answer.weights @ final(answer) - 1) / t
    second = t / 2 * mean**2  # ‖K 1‖² ≥ ⟨1, K 1⟩², nearly equal
    assert growth == pytest.approx(mean + second, rel=1e-3 + 1.3 / len(answer.y))
    return answer.report.integration.outcome


@problem(
    "forward",
    kernel="where(z0**2+z1**2<0.49,1,0)",
    activation="identity",
    initial="1",
    settings={"until": 2.0},
    tables=PLANE,
    says="f = e^{|D| t} with the area |D| = 0.49 π/4 of a quarter of a disk",
    route="closed form: K has rank one",
)
def quarter_of_a_disk(answer: Answer):
    """Fails if a curve is cut straight, or its triangles have the nodal rule (an error of 0.02)."""
    np.testing.assert_allclose(final(answer), np.exp(2 * 0.49 * np.pi / 4), rtol=1e-5)
    return answer.report.integration.outcome


@problem(
    "forward",
    kernel="-where(z0<y0,1,0)",
    activation="identity",
    initial="1",
    settings={"until": 5.0},
    tables=PLANE,
    says="falls as J₀(2 √(t y₀))",
    route="closed form: Bessel's function J₀, as on an interval",
)
def volterra_in_the_plane(answer: Answer):
    """Fails if the jump on the diagonal is of order one."""
    errors = final(answer) - j0(2 * np.sqrt(5.0 * np.clip(answer.y, 0, 1)))
    assert np.sqrt(answer.weights @ errors**2) < 1.0 / len(answer.y)
    return answer.report.integration.outcome
