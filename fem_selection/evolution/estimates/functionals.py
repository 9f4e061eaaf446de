# SPDX-License-Identifier: MIT
"""Functionals of the state that do not grow, and what follows from them; g = K f + b.

    E(f) = −½⟨f, K f⟩ − ⟨b, f⟩:   dE/dt = −⟨g, σ(g)⟩ ≤ 0                 K symmetric, s σ(s) ≥ 0
    ∫Σ(g):   d/dt ∫Σ(g) = ⟨σ(g), K σ(g)⟩ ≤ 0                             K + K* ≤ 0, Σ' = σ, Σ ≥ 0
    ‖g(t)‖_{L¹} ≤ (∫Σ(g(0)) + d|Y|) / c                                  those, and Σ(s) ≥ c|s| − d, c > 0
    f(t, y) does not fall                                                σ ≥ 0, at the nodes

The first three hold if w and b do not depend on time.  Hypotheses hold up to a defect that is measured, and the defect
enters the bound: with κ = ‖K − K*‖/2, and λ the largest eigenvalue of (K + K*)/2 if it is positive,

    dE/dt ≤ κ ‖f‖ ‖∂_t f‖,      d/dt ∫Σ(g) ≤ λ ‖∂_t f‖²,

integrated by the trapezoidal rule over the times of the states.

If Σ(s) ≥ c|s| − d fails (ReLU), ∫Σ(g) stays bounded, but g may not: with a skew kernel ∫Σ(g) may be constant while
g → −∞.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mpi4py import MPI

from fem_selection.discretization.quadrature.points import QuadraturePoints
from fem_selection.evolution.estimates.activation_properties import Antiderivative
from fem_selection.evolution.estimates.comparison import Estimate, compare_with_bound, compare_with_past
from fem_selection.evolution.estimates.hypotheses import Premises
from fem_selection.typing import Block, Floats

__all__ = ["estimate_energy", "estimate_monotonicity", "estimate_potential"]


def estimate_energy(premises: Premises, times: Floats, states: Sequence[Block]) -> Estimate:
    """Return the estimate of the energy E(f), for symmetric kernels (collective).

    Args:
        premises: The hypotheses of the field.
        times: The times of the states, shape (num_times,).
        states: Nodal values, one (num_local, samples) block per time.
    """
    field = premises.field
    bias = field.bias[:, None]
    values, sizes, drifts = [], [], []
    symmetric, sign = premises.symmetric(), premises.sign_preserving()
    skew = premises.norm * symmetric.error
    root = np.sqrt(field.space.comm.allreduce(float(field.space.weights.sum())))
    for f in states:
        g = field.preactivation(f)
        product = g - bias
        size = field.space.norm(g)
        wrong = np.multiply(sign.error * root, size, out=np.zeros_like(size), where=size > 0)  # the error may be ∞
        drifts.append(skew * field.space.norm(f) * field.space.norm(field.rate(f)) + wrong)
        quadratic, linear = field.space.inner(f, product), field.space.inner(f, np.broadcast_to(bias, f.shape))
        values.append(-0.5 * quadratic - linear)
        sizes.append(0.5 * np.abs(quadratic) + np.abs(linear))
    return compare_with_past(
        "energy",
        "E(f) = −½⟨f, K f⟩ − ⟨b, f⟩ does not grow",
        (premises.autonomous(), symmetric, sign),
        values=np.array(values),
        sizes=np.array(sizes),
        constants={"kernel_norm": premises.norm, "skew_part": skew},
        allowances=_integrate(times, np.array(drifts)),
    )


def estimate_potential(premises: Premises, times: Floats, states: Sequence[Block]) -> tuple[Estimate, Estimate]:
    """Return the estimate of ∫Σ(g), and that of ‖g‖_{L¹}, which follows if Σ is coercive (collective).

    Args:
        premises: The hypotheses of the field.
        times: The times of the states, shape (num_times,).
        states: Nodal values, one (num_local, samples) block per time.
    """
    field, sigma = premises.field, premises.sigma
    potential, absolute, extent = _potentials(premises, states)
    volume = field.space.comm.allreduce(float(field.space.weights.sum()))
    if np.isfinite(sigma.antiderivative_minimum):
        potential -= min(sigma.antiderivative_minimum, 0.0) * volume
    dissipative = premises.dissipative()
    hypotheses = (premises.autonomous(), dissipative, premises.antiderivative_bounded())
    growing = premises.norm * dissipative.error
    drifts = np.array([growing * field.space.norm(field.rate(f)) ** 2 for f in states])
    allowances = _integrate(times, drifts)
    constants = {
        "antiderivative_minimum": sigma.antiderivative_minimum,
        "largest_preactivation": extent,
        "symmetric_part": growing,
    }
    first = compare_with_past(
        "potential",
        "∫ Σ(K f + b) dy does not grow",
        hypotheses,
        values=potential,
        sizes=np.abs(potential),
        constants=constants,
        allowances=allowances,
    )
    more = (*hypotheses, premises.coercive())
    slope = 0.5 * min(sigma.slopes)
    bound, tolerance = np.full_like(absolute, np.nan), 0.0
    if all(h.holds for h in more):
        shift = _shift(premises, slope)
        constants = {**constants, "slope": slope, "shift": shift}
        bound = (potential[0] + allowances + shift * volume) / slope
        tolerance = float(np.max(allowances, initial=0.0)) / slope
    statement = "∫ |K f + b| dy ≤ (∫ Σ(K f^I + b) dy + d |Y|) / c,  Σ(s) ≥ c|s| − d"
    return first, compare_with_bound(
        "preactivation",
        statement,
        more,
        measured=absolute,
        bound=bound,
        constants=constants,
        allowance=tolerance,
    )


def _integrate(times: Floats, rates: Floats) -> Floats:
    """∫₀ᵗ of rates at some times, shape (num_times, samples), by the trapezoidal rule."""
    parts = 0.5 * np.diff(times)[:, None] * (rates[1:] + rates[:-1])
    return np.concatenate([np.zeros((1, rates.shape[1])), np.cumsum(parts, axis=0)])


def _potentials(premises: Premises, states: Sequence[Block]) -> tuple[Floats, Floats, float]:
    """∫ ∫₀^g σ and ∫ |g| at all times, with g where σ is evaluated, and the largest |g| (collective)."""
    field = premises.field
    quadrature = None if field.space.is_collocated else QuadraturePoints(field.space)
    points = [field.preactivation(f) for f in states]
    if quadrature is not None:
        points = [quadrature.values(g) for g in points]
    extent = field.space.comm.allreduce(max(float(np.abs(g).max(initial=0.0)) for g in points), op=MPI.MAX)
    integral = Antiderivative(field.activation, -extent, extent)
    weights = field.space.weights if quadrature is None else quadrature.weights
    sums = np.array([[weights @ integral(g), weights @ np.abs(g)] for g in points])
    field.space.comm.Allreduce(MPI.IN_PLACE, sums)
    return sums[:, 0], sums[:, 1], extent


def _shift(premises: Premises, slope: float) -> float:
    """d = max_s (c|s| − Σ(s)), which is attained where |σ| passes c, before the S beyond which |σ| ≥ 2c."""
    start = premises.sigma.start
    s = np.linspace(-start, start, 8001)
    integral = Antiderivative(premises.field.activation, -start, start)
    sigma = integral(s) - min(premises.sigma.antiderivative_minimum, 0.0)
    return float(np.max(slope * np.abs(s) - sigma)) * (1 + 1e-6) + 0.25 * slope


def estimate_monotonicity(premises: Premises, times: Floats, states: Sequence[Block]) -> Estimate:
    """Return the estimate of the least increase between two times, for σ ≥ 0 (collective).

    Args:
        premises: The hypotheses of the field.
        times: The times of the states, shape (num_times,).
        states: Nodal values, one (num_local, samples) block per time.
    """
    comm = premises.field.space.comm
    samples = states[0].shape[1]
    increases, size = np.zeros((len(states), samples)), np.ones(samples)
    for k in range(1, len(states)):
        increases[k] = np.min(states[k] - states[k - 1], axis=0, initial=np.inf)
        size = np.maximum(size, np.abs(states[k]).max(axis=0, initial=0.0))
    comm.Allreduce(MPI.IN_PLACE, increases, op=MPI.MIN)
    comm.Allreduce(MPI.IN_PLACE, size, op=MPI.MAX)
    nonnegative = premises.nonnegative()
    hypotheses = (nonnegative, premises.pointwise())
    statement = "f(t, y) does not fall anywhere"
    if not all(h.holds for h in hypotheses):
        return Estimate(
            name="monotonicity",
            statement=statement,
            hypotheses=hypotheses,
            claimed=False,
            measured=increases,
            bound=None,
            ratio=None,
            excess=float("nan"),
            constants={},
        )
    bound = np.repeat(-nonnegative.error * np.diff(times, prepend=times[0])[:, None], samples, axis=1)
    excess = float(np.max((bound - increases) / size, initial=0.0))
    return Estimate(
        name="monotonicity",
        statement=statement,
        hypotheses=hypotheses,
        claimed=True,
        measured=increases,
        bound=bound,
        ratio=None,
        excess=excess,
        constants={},
        allowance=float(np.max(-bound, initial=0.0)),
    )
