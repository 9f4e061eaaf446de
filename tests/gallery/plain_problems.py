# SPDX-License-Identifier: MIT
"""Problems that the theory's first pages solve: mean fields, projections, rank one."""

from __future__ import annotations

import numpy as np
import pytest
from gallery import Answer, problem


@problem(
    "stability",
    kernel="1",
    activation="tanh(2*s) - s",
    state="0",
    settings={"exponents": 0},
    says="unstable at the rate σ'(0) ∫ w = 1",
    route="closed form: g = ∫ f obeys g' = tanh(2 g) − g",
)
def mean_field_beyond_its_pitchfork(answer: Answer):
    """Fails if the one eigenvalue that is not zero is missed."""
    verdict = answer.report.verdict
    assert verdict.rate == pytest.approx(1.0, abs=1e-9)
    return verdict.kind


@problem(
    "steady",
    kernel="0",
    activation="relu",
    bias="-0.3 - y",
    initial="sin(6*y)",
    says="every state is steady from the start",
    route="closed form: f(t) = f(0) + t max(b, 0)",
)
def relu_that_never_fires(answer: Answer):
    """Fails if a state that cannot move is said to move."""
    (limit,) = answer.report.limits
    assert limit.distance_from_initial == 0.0
    return limit.outcome


@problem(
    "forward",
    kernel="-1",
    activation="identity",
    initial="1 + cos(2*pi*y)",
    settings={"until": 5.0},
    says="the mean decays like e^{-t}, the rest stays",
    route="closed form: rank one",
)
def decay_of_the_mean(answer: Answer):
    """Fails if the integrator misses the exact solution 1 e^{-t} + cos 2πy."""
    run = answer.report.integration
    exact = np.exp(-5.0) + np.cos(2 * np.pi * answer.y)
    assert np.max(np.abs(answer.everywhere(run.final)[:, 0] - exact)) < 1e-7
    return "decays to cos 2πy"
