# SPDX-License-Identifier: MIT
"""Bounds by Gronwall's inequality: growth, and dependence on the initial state.

    ‖f(t)‖ ≤ e^{α(t)} ‖f^I‖ + ∫₀ᵗ e^{α(t) − α(s)} c(s) ds,      ‖f_j − f_k‖(t) ≤ e^{α(t)} ‖f_j^I − f_k^I‖

    α(t) = ∫₀ᵗ L‖K‖,   c = L‖b‖ + |σ(0)| |Y|^{1/2},   L = Lip σ

‖K‖ is the operator norm on V_h, found by SLEPc, at most the norm of w in L²(Y × Y).  The first bound is at most
e^{α(t)} (‖f^I‖ + ∫₀ᵗ c).  Where w or b depend on time, integrals are taken by Gauß quadrature between the times at
which states were kept.

References:
    H. Liu, P. Markowich, J. Differential Equations 269 (2020) 11540, arXiv:1905.09076.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from fem_selection.evolution.estimates.comparison import Estimate, compare_with_bound
from fem_selection.evolution.estimates.hypotheses import Premises
from fem_selection.kernels.base import KernelOperator
from fem_selection.linalg.norms import operator_norm
from fem_selection.typing import Block, Floats

__all__ = ["estimate_dependence", "estimate_growth", "gronwall_factors"]

_GAUSS, _GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(3)


def gronwall_factors(premises: Premises, times: Floats) -> tuple[Floats, Floats]:
    """Return e^{α(t)} and ∫₀ᵗ e^{α(t) − α(s)} c(s) ds, each of shape (num_times,) (collective).

    The integrals are computed by Gauß quadrature if kernel or bias depend on time; the field is then set to other
    times.

    Args:
        premises: The hypotheses of the field, with L and ‖K‖.
        times: t, increasing, shape (num_times,).
    """
    field, sigma = premises.field, premises.sigma
    factor, forcing = np.ones(times.size), np.zeros(times.size)
    if not np.isfinite(sigma.lipschitz):
        return factor, forcing
    volume = field.space.comm.allreduce(float(field.space.weights.sum()))

    def coefficients(time: float) -> tuple[float, float]:
        if not field.is_autonomous:
            field.move_to(time)
        norm = premises.norm if field.is_autonomous else operator_norm(field.space, KernelOperator(field.kernel))
        bias = float(field.space.norm(field.bias[:, None].copy(order="F"))[0])
        return sigma.lipschitz * norm, sigma.lipschitz * bias + abs(sigma.at_zero) * np.sqrt(volume)

    constant = coefficients(float(times[0])) if field.is_autonomous else None
    with np.errstate(over="ignore", invalid="ignore"):
        for k, (start, end) in enumerate(pairwise(times)):
            h = end - start
            nodes = start + 0.5 * h * (1 + _GAUSS)
            pairs = np.array([constant] * 3 if constant else [coefficients(float(t)) for t in nodes])
            mean, push = 0.5 * _GAUSS_WEIGHTS @ pairs
            factor[k + 1] = factor[k] * np.exp(mean * h)
            # (e^{ah} − 1)/a, exact for constant a and c
            forcing[k + 1] = forcing[k] * np.exp(mean * h) + push * (np.expm1(mean * h) / mean if mean > 0 else h)
    return factor, forcing


def estimate_growth(premises: Premises, states: Sequence[Block], factor: Floats, *, forcing: Floats) -> Estimate:
    """Return the estimate of ‖f_j‖ (collective).

    Args:
        premises: The hypotheses of the field.
        states: Nodal values, one (num_local, samples) block per time.
        factor: e^{α(t)} of `gronwall_factors`.
        forcing: The integral of `gronwall_factors`.
    """
    norms = np.array([premises.field.space.norm(f) for f in states])
    with np.errstate(over="ignore", invalid="ignore"):
        bound = factor[:, None] * norms[0] + forcing[:, None]
    return compare_with_bound(
        "growth",
        "‖f(t)‖ ≤ e^{α(t)} ‖f^I‖ + ∫₀ᵗ e^{α(t)−α(s)} (L‖b(s)‖ + |σ(0)| |Y|^{1/2}) ds,  α(t) = ∫₀ᵗ L‖K‖",
        (premises.lipschitz(),),
        measured=norms,
        bound=bound,
        constants={
            "lipschitz": premises.sigma.lipschitz,
            "kernel_norm": premises.norm,
            "sigma_at_zero": premises.sigma.at_zero,
        },
    )


def estimate_dependence(premises: Premises, states: Sequence[Block], factor: Floats) -> Estimate:
    """Return the estimate of the distances of neighbouring samples (collective).

    Args:
        premises: The hypotheses of the field.
        states: Nodal values, one (num_local, samples) block per time.
        factor: e^{α(t)} of `gronwall_factors`.
    """
    pairs = [np.asfortranarray(f[:, 1:] - f[:, :-1]) for f in states]
    distances = np.array([premises.field.space.norm(d) for d in pairs])
    with np.errstate(over="ignore", invalid="ignore"):
        bound = factor[:, None] * distances[0]
    return compare_with_bound(
        "dependence",
        "‖f_j(t) − f_{j+1}(t)‖ ≤ e^{α(t)} ‖f_j^I − f_{j+1}^I‖,  α(t) = ∫₀ᵗ L‖K‖",
        (premises.lipschitz(),),
        measured=distances,
        bound=bound,
        constants={"lipschitz": premises.sigma.lipschitz, "kernel_norm": premises.norm},
    )
