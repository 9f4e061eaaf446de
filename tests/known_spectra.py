# SPDX-License-Identifier: MIT
"""Kernels on (0, 1) whose spectra are known by another route, for error bars and orders of quadrature.

kernel → eigenvalues, those of largest modulus first, by a closed form or by a dense matrix of high order
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.polynomial import legendre
from scipy.optimize import brentq
from scipy.special import roots_jacobi

__all__ = ["KERNELS", "KnownSpectrum", "weakly_singular_eigenvalues"]

PI = np.pi


@dataclass(frozen=True, kw_only=True)
class KnownSpectrum:
    """A kernel and its spectrum.

    Attributes:
        name: A name for the test.
        dynamics: The keys of the table `dynamics`.
        eigenvalues: Returns the n eigenvalues of largest modulus (of a local kernel: of largest real part).
        space: The keys of the table `space`.
        cells: Number of cells.
    """

    name: str
    dynamics: Mapping[str, Any]
    eigenvalues: Callable[[int], np.ndarray]
    space: Mapping[str, Any] = field(default_factory=dict)
    cells: int = 20


def _by_modulus(values: np.ndarray, n: int) -> np.ndarray:
    values = np.asarray(values, complex)
    return values[np.argsort(-np.abs(values), kind="stable")][:n]


def _roots(function: Callable[[float], float], n: int, *, start: float = 1e-6, step: float = 0.05) -> np.ndarray:
    """The first n sign changes of a continuous function."""
    found: list[float] = []
    x, value = start, function(start)
    while len(found) < n:
        right, other = x + step, function(x + step)
        if value * other < 0:
            found.append(brentq(function, x, right, xtol=1e-14))
        x, value = right, other
    return np.array(found)


def exponential(n: int) -> np.ndarray:
    """e^{−|y−z|}: λ = 2/(1 + ω²), ω sin(ω/2) = cos(ω/2) (even eigenfunctions) or ω cos(ω/2) = −sin(ω/2) (odd ones)."""
    even = _roots(lambda w: w * np.sin(w / 2) - np.cos(w / 2), n)
    odd = _roots(lambda w: w * np.cos(w / 2) + np.sin(w / 2), n)
    return _by_modulus(2 / (1 + np.concatenate([even, odd]) ** 2), n)


def distance(n: int) -> np.ndarray:
    """|y − z|: λ = −2/ω² with cos(ω/2) = 0 or ω sin(ω/2) = −2 cos(ω/2), and 2/μ² with μ tanh(μ/2) = 2."""
    odd = (2 * np.arange(n) + 1) * PI
    even = _roots(lambda w: w * np.sin(w / 2) + 2 * np.cos(w / 2), n)
    mu = brentq(lambda m: m * np.tanh(m / 2) - 2, 0.1, 10)
    return _by_modulus(np.concatenate([[2 / mu**2], -2 / odd**2, -2 / even**2]), n)


def on_nodes(kernel: Callable[[np.ndarray, np.ndarray], np.ndarray], points: int = 60) -> Callable[[int], np.ndarray]:
    """The eigenvalues of a smooth kernel by Nyström's method on Gauss–Legendre points."""

    def eigenvalues(n: int) -> np.ndarray:
        x, w = legendre.leggauss(points)
        x, w = (x + 1) / 2, w / 2
        return _by_modulus(np.linalg.eigvals(kernel(x[:, None], x[None, :]) * w), n)

    return eigenvalues


def weakly_singular_eigenvalues(exponent: float | None, degree: int = 70) -> Callable[[int], np.ndarray]:
    """The eigenvalues of |y − z|^{−a}, or of log|y − z| if the exponent is None, by Legendre polynomials.

    On (−1, 1) and for x = −1 + ξ the left part is
    ∫_{−1}^{x} (x − s)^{−a} P_n(s) ds = ξ^{1−a} ∫_0^1 (1 − u)^{−a} P_n(−1 + ξu) du,
    exactly by Gauss–Jacobi rules; the right part follows by symmetry.  The logarithm is −d/da at a = 0, by differences.
    """

    def matrix(a: float) -> np.ndarray:
        u, inner = roots_jacobi(degree, -a, 0.0)  # weight (1 − s)^{−a} on (−1, 1)
        u, inner = (u + 1) / 2, inner / 2 ** (1 - a)
        x, outer = roots_jacobi(2 * degree, 0.0, 1 - a)  # weight (1 + s)^{1−a}
        xi = 1 + x
        values = legendre.legvander(-1 + xi[:, None] * u[None, :], degree - 1)
        left = np.einsum("q,xqn->xn", inner, values)
        tests = legendre.legvander(x, degree - 1)
        part = np.einsum("x,xm,xn->mn", outer, tests, left)
        signs = (-1.0) ** np.arange(degree)
        return part + signs[:, None] * part * signs

    def symmetric() -> np.ndarray:
        norms = np.sqrt((2 * np.arange(degree) + 1) / 2)
        if exponent is not None:
            found = matrix(exponent) * 0.5 ** (1 - exponent)
        else:
            step = 1e-3
            rates = [(matrix(-k * step) - matrix(k * step)) / (2 * k * step) for k in (1, 2, 3)]
            found = 0.5 * (1.5 * rates[0] - 0.6 * rates[1] + 0.1 * rates[2])
            found[0, 0] += 0.5 * np.log(0.5) * 4.0  # ∫∫ P_0 P_0
        scaled = norms[:, None] * found * norms
        return (scaled + scaled.T) / 2

    def eigenvalues(n: int) -> np.ndarray:
        return _by_modulus(np.linalg.eigvalsh(symmetric()), n)

    eigenvalues.matrix = symmetric  # type: ignore[attr-defined]
    return eigenvalues


def _formula(text: str) -> dict[str, str]:
    return {"kernel": text}


def _poisson(r: float) -> Callable[[int], np.ndarray]:
    def eigenvalues(n: int) -> np.ndarray:
        return _by_modulus(np.array([1.0, *(r**k for k in range(1, n) for _ in range(2))]), n)

    return eigenvalues


def _with_convection(a: float, b: float, d: float) -> Callable[[int], np.ndarray]:
    """d u'' + b u' + a u without flux: a, and a − b²/(4d) − d (kπ)²."""
    return lambda n: np.array([a, *(a - b * b / (4 * d) - d * (k * PI) ** 2 for k in range(1, n))], complex)


SMOOTH = {
    "gaussian": ("exp(-(y-z)**2/0.1)", on_nodes(lambda y, z: np.exp(-((y - z) ** 2) / 0.1))),
    "narrow gaussian": ("exp(-(y-z)**2/0.01)", on_nodes(lambda y, z: np.exp(-((y - z) ** 2) / 0.01))),
    "cauchy": ("1/(1+4*(y-z)**2)", on_nodes(lambda y, z: 1 / (1 + 4 * (y - z) ** 2))),
    "not symmetric": ("exp(y*z)*cos(3*y+z)", on_nodes(lambda y, z: np.exp(y * z) * np.cos(3 * y + z))),
    "turning": ("sin(3*(y-z)) + 0.3*cos(y*z)", on_nodes(lambda y, z: np.sin(3 * (y - z)) + 0.3 * np.cos(y * z))),
    "degenerate": ("1 + y*z", on_nodes(lambda y, z: 1 + y * z)),
    "rank three": ("1 - 2*y*z + 3*y**2*z", on_nodes(lambda y, z: 1 - 2 * y * z + 3 * y**2 * z)),
    "skew waves": ("sin(2*pi*(y-z))", lambda n: _by_modulus(np.array([0.5j, -0.5j]), n)),
    "waves": ("cos(2*pi*(y-z)+1)", lambda n: _by_modulus(0.5 * np.exp([1j, -1j]), n)),
    "double eigenvalues": ("0.75/(1.25-cos(2*pi*(y-z)))", _poisson(0.5)),
}
DIRICHLET = lambda n: 1 / (np.arange(1, n + 1) * PI) ** 2 + 0j  # noqa: E731
KINKED = {
    "exponential": ("exp(-abs(y-z))", exponential),
    "distance": ("abs(y-z)", distance),
    "minimum": ("min(y,z)", lambda n: 1 / ((np.arange(n) + 0.5) * PI) ** 2 + 0j),
    "green": ("min(y,z)-y*z", DIRICHLET),
    "weighted green": ("exp(y-z)*(min(y,z)-y*z)", DIRICHLET),
    "neumann green": (
        "0.5*(y**2+z**2)-max(y,z)+1/3",
        DIRICHLET,
    ),
}
JUMPING = {
    "triangle": ("where(y+z<1,1,0)", lambda n: (-1.0) ** np.arange(n) / ((np.arange(n) + 0.5) * PI) + 0j),
    "sign": (
        "where(z<y,1,-1)",
        lambda n: _by_modulus(np.array([2 / (1j * s * (2 * k + 1) * PI) for k in range(n) for s in (1, -1)]), n),
    ),
}
SINGULAR = {f"|y-z|^-{a}": (f"abs(y-z)**(-{a})", a, weakly_singular_eigenvalues(a)) for a in (0.25, 0.5, 0.75)} | {
    "log|y-z|": ("log(abs(y-z))", 0.0, weakly_singular_eigenvalues(None))
}
SPACES = {
    "": {},
    ", degree 2": {"degree": 2},
    ", degree 3": {"degree": 3},
    ", cellwise": {"family": "dg", "degree": 0},
    ", dg 1": {"family": "dg", "degree": 1},
    ", galerkin": {"mode": "galerkin", "degree": 2},
}


def _all() -> list[KnownSpectrum]:
    found = []
    for group in (SMOOTH, KINKED, JUMPING):
        for name, (text, values) in group.items():
            for suffix, space in SPACES.items():
                found.append(
                    KnownSpectrum(name=name + suffix, dynamics=_formula(text), eigenvalues=values, space=space)
                )
    for name, (text, exponent, values) in SINGULAR.items():
        for suffix, space in SPACES.items():
            keys = {"kernel": text, "singularity": exponent}
            found.append(KnownSpectrum(name=name + suffix, dynamics=keys, eigenvalues=values, space=space))
    for name, (a, b, d) in {"diffusion": (0.5, 0.0, 0.1), "convection": (0.5, 0.4, 0.1)}.items():
        keys = {"representation": "local", "multiplication": str(a), "convection": str(b), "diffusion": str(d)}
        for suffix in ("", ", degree 2", ", galerkin"):
            values = _with_convection(a, b, d)
            found.append(KnownSpectrum(name=name + suffix, dynamics=keys, eigenvalues=values, space=SPACES[suffix]))
    return found


KERNELS = {known.name: known for known in _all()}
"""The list, by name."""
