# SPDX-License-Identifier: MIT
"""Bounds by Gronwall's inequality: growth, and dependence on the initial state.

    ‖f(t)‖ ≤ e^{α(t)} ‖f^I‖ + ∫₀ᵗ e^{α(t) − α(s)} c(s) ds,      ‖f_j − f_k‖(t) ≤ e^{α(t)} ‖f_j^I − f_k^I‖

    α(t) = ∫₀ᵗ L‖K‖,   c = L‖b‖ + |σ(0)| |Y|^{1/2},   L = Lip σ

‖K‖ is the operator norm on V_h, found by SLEPc, at most the norm of w in L²(Y × Y).  The first bound is at most
e^{α(t)} (‖f^I‖ + ∫₀ᵗ c).  `fem_selection.evolution.estimates.integrals` computes the integrals from above: with the
estimate of their error added, which is the `allowance` of the bounds.

References:
    H. Liu, P. Markowich, J. Differential Equations 269 (2020) 11540, arXiv:1905.09076.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fem_selection.evolution.estimates.comparison import Estimate, compare_with_bound
from fem_selection.evolution.estimates.hypotheses import Hypothesis, Premises
from fem_selection.evolution.estimates.integrals import GronwallIntegrals, integrate_gronwall
from fem_selection.kernels.base import KernelOperator
from fem_selection.linalg.norms import NORM_ACCURACY, operator_norm
from fem_selection.typing import Block, Floats

__all__ = ["estimate_dependence", "estimate_growth", "gronwall_integrals"]

_EVALUATIONS, _EVALUATIONS_OF_NORMS = 20_000, 3_000
_ALLOWED = 1e-2  # relative error of the integrals with which a bound is claimed


def gronwall_integrals(premises: Premises, times: Floats) -> GronwallIntegrals:
    """Return e^{α(t)} and ∫₀ᵗ e^{α(t) − α(s)} c(s) ds at some times (collective).

    If kernel or bias depend on time, the field is then set to other times.

    Args:
        premises: The hypotheses of the field, with L and ‖K‖.
        times: t, increasing, shape (num_times,).
    """
    field, sigma, space = premises.field, premises.sigma, premises.field.space
    lipschitz = sigma.lipschitz if np.isfinite(sigma.lipschitz) else 0.0
    volume = space.comm.allreduce(float(space.weights.sum()))
    known = premises.norm
    parameters = field.kernel.parameters()

    def coefficients(time: float) -> tuple[float, float]:
        nonlocal known, parameters
        if not field.is_autonomous:
            field.move_to(time)
            now = field.kernel.parameters()
            if not all(space.comm.allgather(np.array_equal(now, parameters))):
                known, parameters = operator_norm(space, KernelOperator(field.kernel, field.interval)), now
        bias = float(space.norm(field.bias[:, None].copy(order="F"))[0])
        norm = known * (1.0 + NORM_ACCURACY)
        return space.comm.bcast((lipschitz * norm, lipschitz * bias + abs(sigma.at_zero) * np.sqrt(volume)))

    if field.is_autonomous:
        return integrate_gronwall(coefficients, times)
    pieces = premises.pieces(float(times[0]), float(times[-1]))
    start, middle = parameters, 0.5 * (times[0] + times[-1])
    field.move_to(float(middle))
    moves = not all(space.comm.allgather(np.array_equal(field.kernel.parameters(), start)))
    most = _EVALUATIONS_OF_NORMS if moves else _EVALUATIONS
    return integrate_gronwall(coefficients, times, edges=pieces.edges, most=most)


def estimate_growth(premises: Premises, states: Sequence[Block], integrals: GronwallIntegrals) -> Estimate:
    """Return the estimate of ‖f_j‖ (collective).

    Args:
        premises: The hypotheses of the field.
        states: Nodal values, one (num_local, samples) block per time.
        integrals: Those of `gronwall_integrals` at the times of the states.
    """
    norms = np.array([premises.field.space.norm(f) for f in states])
    with np.errstate(over="ignore", invalid="ignore"):
        bound = integrals.factor[:, None] * norms[0] + integrals.forcing[:, None]
        without = integrals.plain_factor[:, None] * norms[0] + integrals.plain_forcing[:, None]
        allowance = _largest(bound - without)
    return compare_with_bound(
        "growth",
        "‖f(t)‖ ≤ e^{α(t)} ‖f^I‖ + ∫₀ᵗ e^{α(t)−α(s)} (L‖b(s)‖ + |σ(0)| |Y|^{1/2}) ds,  α(t) = ∫₀ᵗ L‖K‖",
        _hypotheses(premises, integrals),
        measured=norms,
        bound=bound,
        constants={
            "lipschitz": premises.sigma.lipschitz,
            "kernel_norm": premises.norm,
            "sigma_at_zero": premises.sigma.at_zero,
        },
        allowance=allowance,
    )


def estimate_dependence(premises: Premises, states: Sequence[Block], integrals: GronwallIntegrals) -> Estimate:
    """Return the estimate of the distances of neighbouring samples (collective).

    Args:
        premises: The hypotheses of the field.
        states: Nodal values, one (num_local, samples) block per time.
        integrals: Those of `gronwall_integrals` at the times of the states.
    """
    pairs = [np.asfortranarray(f[:, 1:] - f[:, :-1]) for f in states]
    distances = np.array([premises.field.space.norm(d) for d in pairs])
    with np.errstate(over="ignore", invalid="ignore"):
        bound = integrals.factor[:, None] * distances[0]
        allowance = _largest(bound - integrals.plain_factor[:, None] * distances[0])
    return compare_with_bound(
        "dependence",
        "‖f_j(t) − f_{j+1}(t)‖ ≤ e^{α(t)} ‖f_j^I − f_{j+1}^I‖,  α(t) = ∫₀ᵗ L‖K‖",
        _hypotheses(premises, integrals),
        measured=distances,
        bound=bound,
        constants={"lipschitz": premises.sigma.lipschitz, "kernel_norm": premises.norm},
        allowance=allowance,
    )


def _hypotheses(premises: Premises, integrals: GronwallIntegrals) -> tuple[Hypothesis, ...]:
    """σ is Lipschitz; and if kernel or bias depend on time, their integrals are known."""
    if premises.field.is_autonomous:
        return (premises.lipschitz(),)
    error = integrals.relative_error
    known = Hypothesis(
        statement="the integrals of ‖K‖ and ‖b‖ over time are known",
        holds=bool(error <= _ALLOWED),
        defect=error,
        allowed=_ALLOWED,
        measured=f"up to {error:.1e} of them, from {integrals.evaluations} evaluations",
    )
    return premises.lipschitz(), known


def _largest(values: Floats) -> float:
    return float(np.max(np.where(np.isfinite(values), values, 0.0), initial=0.0))
