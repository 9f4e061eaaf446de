# SPDX-License-Identifier: MIT
"""The optimal value of a training problem that has a closed form, given in `optima`."""

from __future__ import annotations

import numpy as np
import pytest
from optima import closed_form_problem, closed_form_value
from problems import assert_order, observed_orders
from scipy.optimize import minimize


def trained(space, scheme: str, layers: int, follows: bool = False) -> tuple[float, float, float]:
    """The value found from zero controls, J*, and the largest entry of the gradient in x̂."""
    scaled = closed_form_problem(space, layers, scheme, follows=follows)
    options = {"maxiter": 400, "ftol": 1e-16, "gtol": 1e-9, "maxcor": 30}
    zero = np.zeros(scaled.control_space.local_size)
    found = minimize(scaled.evaluate, zero, jac=True, method="L-BFGS-B", options=options)
    exact = closed_form_value(float(space.norm(scaled.functional.initial)[0]))
    return found.fun, exact, np.abs(found.jac).max()


@pytest.mark.parametrize(
    ("scheme", "layers", "order"),
    [("euler", (10, 20, 40), 1), *((name, (4, 8, 16), 2) for name in ("midpoint", "heun", "ssprk3", "rk4"))],
)
def test_trained_value_converges_to_the_closed_form(spaces, scheme, layers, order):
    """Fails if the optimum of the discrete problem is not that of the continuous one: a depth weight missing in the
    regularization, μ at the wrong term, a gradient that lets the optimizer stop early.

    Observed order: one for Euler, whose layers discretise the flow with order one; two for every other scheme, of
    whatever order, because controls are constant on each layer while the optimal ones vary: the best constants are off
    by O(Δt), and the value, stationary at the optimum, by O(Δt²).  From above: fewer controls cannot do better.
    """
    space = spaces("interval", 4, 1, "collocated")
    found = [trained(space, scheme, n) for n in layers]
    assert max(gradient for *_, gradient in found) < 1e-7
    gaps = [value - exact for value, exact, _ in found]
    assert min(gaps) > 0
    assert_order(observed_orders(gaps, [1 / n for n in layers]), order)


def test_values_of_euler_layers(spaces):
    """Fails if a change of the discrete problem goes unnoticed by its order: the optimal values of 10 and 20 layers."""
    space = spaces("interval", 4, 1, "collocated")
    assert trained(space, "euler", 10)[:2] == pytest.approx((0.187857, 0.177429), abs=1e-6)
    assert trained(space, "euler", 20)[0] == pytest.approx(0.182576, abs=1e-6)


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_representer_kernels_reach_the_same_values(spaces, mode):
    """Fails if a kernel in the span of the moving sample cannot be optimal, or its norm is not that of w."""
    space = spaces("interval", 4, 1, "collocated") if mode == "collocated" else spaces("interval", 4, 2, mode)
    for layers in (10, 20):
        value, _, gradient = trained(space, "euler", layers, follows=True)
        assert gradient < 1e-7
        assert value == pytest.approx(trained(space, "euler", layers)[0], rel=1e-9)


def test_galerkin_mode_reaches_the_same_order(spaces):
    """Fails if the consistent metric of Galerkin mode enters the objective otherwise than the lumped scaling: the value
    found does not depend on the variable the optimizer sees."""
    space = spaces("interval", 4, 2, "galerkin")
    gaps = [np.subtract(*trained(space, "midpoint", n)[:2]) for n in (4, 8, 16)]
    assert min(gaps) > 0
    assert 1.9 <= observed_orders(gaps, [1 / 4, 1 / 8, 1 / 16])[-1] <= 2.4
