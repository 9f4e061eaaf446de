# SPDX-License-Identifier: MIT
"""Control problems of one neuron and what their certificates must say: optima, local optima, saddles, bounds.

Each is `demos/gap.toml`, one neuron f' = σ(w f) on |Y| = 1 with forward-Euler layers and the kernel as the only
control, with other data.  J(w) = 1/(2J) Σ (f_j(T) − g_j)² + α/2 ∫ w² dt.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gallery import Answer, Problem, problem
from optima import SHORT_OF_LAYERS, numpy_neuron
from scipy.optimize import minimize

EXACT = {"method": "nls", "max_iterations": 200, "gradient_tolerance": 0.0, "absolute_tolerance": 1e-11}
NOTHING = {"max_iterations": 0}


def neuron(
    says: str,
    route: str,
    *,
    initial: str = "1",
    target: str = "2",
    samples: int = 1,
    layers: int = 1,
    horizon: float = 1.0,
    alpha: float = 1.0,
    optimizer: dict[str, Any] = EXACT,
    objective: dict[str, Any] | None = None,
    dynamics: dict[str, Any] | None = None,
    space: dict[str, Any] | None = None,
    domain: dict[str, Any] | None = None,
) -> Any:
    """A problem of `certify` on one neuron.

    Args:
        says: What must be said.
        route: How it is known.
        initial: Formula of f_j(0) in s.
        target: Formula of g_j in s.
        samples: J.
        layers: Number of layers.
        horizon: T.
        alpha: α_w.
        optimizer: The table `optimizer`.
        objective: More keys of `objective`.
        dynamics: More keys of `dynamics`, such as the activation and the first kernel.
        space: Keys of `space`.
        domain: Keys of `domain`.
    """
    tables = {
        "data": {"initial": initial, "target": target, "samples": samples},
        "dynamics": {"layers": layers, "horizon": horizon, **(dynamics or {})},
        "regularization": {"kernel": alpha},
        "optimizer": optimizer,
        "objective": objective or {},
        "space": space or {},
        "domain": domain or {},
    }
    filled = {name: table for name, table in tables.items() if table}
    return problem("certify", says=says, route=route, demo="gap.toml", tables=filled)


def statement(answer: Answer) -> list[str]:
    """Conclusion, second order and Pontryagin's verdict."""
    found = answer.report.certificate
    return [answer.report.conclusion, found.local_minimum, str(found.maximum_principle)]


def controls(answer: Answer) -> np.ndarray:
    """The trained w on every rank."""
    assert answer.report is not None  # made on first use
    space = answer.learning_problem.functional.control_space
    return space.gather(answer.found["training"].controls)


def lowest(data: dict[str, Any], layers: int, scale: float) -> float:
    """The lowest J of BFGS from random points and a grid of constant controls."""
    rng = np.random.default_rng(0)
    points = [*(scale * rng.normal(size=(12, layers))), *(np.full(layers, w) for w in np.linspace(-12, 12, 9))]
    return min(minimize(lambda w: numpy_neuron(w[:, None], **data)[0], p, method="BFGS").fun for p in points)


@neuron(
    "not optimal, though stationary with a positive Hessian",
    "gap and a lower J by NumPy",
    initial="1 - 4*s",
    target="-1 - 3*s",
    samples=2,
    layers=10,
    horizon=0.1,
    alpha=0.02,
    optimizer={},
)
def stationary_with_an_open_gap(answer: Answer):
    """Fails if a local minimum passes for more because no derivative refutes it."""
    found = answer.report.certificate
    data = {"initial": (1.0, -3.0), "target": (-1.0, -4.0), "horizon": 0.1, "alpha": 0.02}
    assert found.objective == pytest.approx(numpy_neuron(controls(answer)[:, None], **data)[0], rel=1e-12)
    assert found.objective + found.lowest_change < found.objective - 0.03
    assert found.objective + found.lowest_change >= lowest(data, 10, 5.0) - 1e-9
    return statement(answer)


@neuron(
    "a local minimiser, its gap within O(Δt)",
    "the lowest of BFGS from a grid and random points",
    initial="-0.64 + 3.35*s",
    target="-1.15 + 3.49*s",
    samples=2,
    layers=4,
    horizon=2.0,
    alpha=0.011,
    dynamics={"kernel": "-0.22 + 1.29*(1 + tanh(40*(t - 1.5)))"},
)
def global_minimum_of_four_layers_with_a_gap(answer: Answer):
    """Fails if an open gap refutes a global minimum."""
    found = answer.report.certificate
    data = {name: SHORT_OF_LAYERS[name] for name in ("initial", "target", "horizon", "alpha")}
    assert found.objective == pytest.approx(lowest(data, 4, 2.0), abs=1e-9)
    assert found.maximum_principle_gap > found.objective and found.gap_remainder > found.maximum_principle_gap
    return statement(answer)


@neuron(
    "not optimal, by 1e-4 of J",
    "a lower J by NumPy and BFGS",
    initial="1 - 4*s + 4*s*(1 - s)",
    target="-1 - 3*s + 150*s*(1 - s)",
    samples=3,
    layers=10,
    horizon=0.1,
    alpha=0.0133333,
)
def a_small_gap_that_counts(answer: Answer):
    """Fails if a gap small against J passes for none."""
    s = np.array([0.0, 0.5, 1.0])
    data = {"initial": 1 - 4 * s + 4 * s * (1 - s), "target": -1 - 3 * s + 150 * s * (1 - s)}
    best = lowest(data | {"horizon": 0.1, "alpha": 0.0133333}, 10, 5.0)
    found = answer.report.certificate
    assert found.objective == pytest.approx(204.99583, abs=1e-4) and best < 204.9752
    assert best - 1e-6 <= found.objective + found.lowest_change < found.objective - 0.02
    return statement(answer)


@neuron(
    "a local minimiser; the Hamiltonian is minimal at it",
    "w* = f₀(g − f₀)/(f₀²T + α) = 1/2, one linear layer",
    dynamics={"activation": "identity"},
)
def one_linear_layer(answer: Answer):
    """Fails if the optimum of a convex problem is doubted."""
    assert controls(answer) == pytest.approx([0.5], abs=1e-9)
    assert answer.report.certificate.lowest_hessian_eigenvalue == pytest.approx(2.0, rel=1e-6)  # f₀² T + α
    return statement(answer)


@neuron(
    "a local minimiser on its bound, with the multiplier 0.5",
    "J' = f₀(f₀(1 + w) − g) + α w = −1/2 at w = 1/4",
    dynamics={"activation": "identity"},
    objective={"kernel_bounds": [-0.25, 0.25]},
    optimizer={"method": "bnls", "max_iterations": 100, "gradient_tolerance": 0.0},
)
def a_bound_that_holds(answer: Answer):
    """Fails if an active bound is counted as a gradient, or its multiplier is another."""
    found = answer.report.certificate
    assert controls(answer) == pytest.approx([0.25], abs=1e-12)
    assert (found.active_bounds["upper"], found.active_bounds["free"], found.active_bounds["weak"]) == (1, 0, 0)
    assert found.active_bounds["largest"] == pytest.approx(0.5, rel=1e-9)
    assert found.gradient_norm < 1e-12 and found.kkt_residual < 1e-12 and found.maximum_principle_gap < 1e-14
    return statement(answer)


@neuron(
    "a local minimiser on a bound that holds nothing",
    "the free optimum w* = 1/2 is the bound",
    dynamics={"activation": "identity", "kernel": "0.5"},
    objective={"kernel_bounds": [-0.5, 0.5]},
    optimizer={"method": "bnls", "max_iterations": 100, "absolute_tolerance": 1e-12},
)
def a_weak_bound(answer: Answer):
    """Fails if curvature is not asked in the direction of a bound whose multiplier vanishes."""
    found = answer.report.certificate
    assert (found.active_bounds["upper"], found.active_bounds["weak"], found.active_bounds["free"]) == (1, 1, 1)
    assert found.lowest_hessian_eigenvalue == pytest.approx(2.0, rel=1e-6)
    return statement(answer)


@neuron(
    "not optimal: a stationary point with λ = α − 2 f₀²(g − f₀) = −1.5",
    "f(T) = 1 + w²: J = (w² − 1)²/2 + α w²/2",
    alpha=0.5,
    dynamics={"activation": "s**2", "kernel": "0"},
    optimizer=NOTHING,
)
def a_maximum_between_two_minima(answer: Answer):
    """Fails if a vanishing gradient is enough."""
    found = answer.report.certificate
    assert found.gradient_norm == 0.0
    assert found.lowest_hessian_eigenvalue == pytest.approx(-1.5, rel=1e-9)
    return statement(answer)


@neuron(
    "a local minimiser, one of the two global ones",
    "J = (w² − 1)²/2 + w²/4 has its minima at w² = 3/4, J = 7/32",
    alpha=0.5,
    dynamics={"activation": "s**2", "kernel": "0.1"},
)
def one_of_two_global_minima(answer: Answer):
    """Fails if a minimum is refuted because another control is as good."""
    found = answer.report.certificate
    assert controls(answer)[0] ** 2 == pytest.approx(0.75, rel=1e-9) and found.objective == pytest.approx(7 / 32)
    return statement(answer)


@neuron(
    "not decided: the curvature vanishes",
    "J = 1/2 + w⁴/2: a minimum of order four, that second derivatives cannot see",
    alpha=2.0,
    dynamics={"activation": "s**2", "kernel": "0"},
    optimizer=NOTHING,
)
def a_minimum_without_curvature(answer: Answer):
    """Fails if round-off decides the sign of an eigenvalue that is zero."""
    assert answer.report.certificate.maximum_principle_gap == pytest.approx(0.0, abs=1e-14)
    return statement(answer)


@neuron(
    "not optimal; no second derivative at the kink",
    "σ' has two values at w f = 0; J(w = 1) by NumPy is lower",
    initial="1 + s",
    target="3 + 2*s",
    samples=2,
    layers=4,
    alpha=0.01,
    dynamics={"activation": "relu", "kernel": "0"},
)
def relu_from_nothing(answer: Answer):
    """Fails if a network that stands at the kink of σ is called a minimiser."""
    found = answer.report.certificate
    state = np.array([1.0, 2.0])
    for _ in range(4):
        state = state + 0.25 * np.maximum(state, 0)
    assert 0.25 * np.sum((state - [3, 5]) ** 2) + 0.005 < found.objective
    assert found.maximum_principle_gap > found.objective and found.lowest_hessian_eigenvalue is None
    return statement(answer)


@neuron(
    "not optimal: three steps are no training",
    "the optimum of the same problem by Newton's method",
    initial="1 - 4*s",
    target="2 - s",
    samples=2,
    layers=8,
    alpha=0.05,
    optimizer={"method": "cg", "max_iterations": 2, "gradient_tolerance": 0.0},
)
def a_training_cut_short(answer: Answer):
    """Fails if a control that is not stationary is called a minimiser."""
    data = {"initial": (1.0, -3.0), "target": (2.0, 1.0), "horizon": 1.0, "alpha": 0.05}
    here = controls(answer)
    end = minimize(lambda w: numpy_neuron(w[:, None], **data)[0], here, method="BFGS")
    assert end.fun < answer.report.certificate.objective - 1e-6 and answer.report.certificate.gradient_norm > 1e-3
    return answer.report.conclusion


@neuron(
    "a local minimiser in Galerkin mode, too",
    "constants stay constants: w = 1/2 on them, as for one linear layer",
    dynamics={"activation": "identity", "kernel": "0.5"},
    domain={"cells": 3},
    space={"family": "lagrange", "degree": 1, "mode": "galerkin"},
)
def one_linear_layer_in_galerkin_mode(answer: Answer):
    """Fails if conditions are declined in Galerkin mode: constants stay constants, so w = 1/2 is the optimum there."""
    found = answer.report.certificate
    assert controls(answer) == pytest.approx(np.full(16, 0.5), abs=1e-8)
    assert found.objective == pytest.approx(0.25, rel=1e-10) and found.maximum_principle_gap < 1e-12
    return statement(answer)


PROBLEMS = [value for value in list(globals().values()) if isinstance(value, Problem)]
