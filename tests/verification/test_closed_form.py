# SPDX-License-Identifier: MIT
"""The optimal value of a training problem that has a closed form: σ = id, one sample, tracking, α_w = α_b = α.

    J* = min_r { α (asinh r − asinh r₀)² / (2T) + (μ/2) (r − ρ)² },   r₀ = ‖f^I‖,  target ρ f^I / r₀

Eliminating the controls at given velocity v costs ‖v‖²/(2γ) with γ = (‖f‖² + 1)/α: geodesics of a conformal metric.
The discrete problem has this optimum in its own inner product, so space contributes no error.
"""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI
from problems import observed_orders
from scipy.optimize import minimize, minimize_scalar

from fem_selection.discretization.depth import DepthGrid
from fem_selection.dynamics import SCHEMES, Stepper
from fem_selection.functions.activations import find_activation
from fem_selection.kernels import DenseKernel
from fem_selection.learning.controls import ControlSpace
from fem_selection.learning.functional import Functional
from fem_selection.learning.scaled import ScaledFunctional
from fem_selection.objectives import TrackingCost
from fem_selection.parallel import Ensemble
from fem_selection.settings import Regularization

ALPHA, MU, HORIZON, RHO = 0.7, 3.0, 1.0, 2.5


def exact_value(r0: float) -> float:
    def along_ray(r):
        return ALPHA * (np.arcsinh(r) - np.arcsinh(r0)) ** 2 / (2 * HORIZON) + MU / 2 * (r - RHO) ** 2

    return minimize_scalar(along_ray, bounds=(0, 5), method="bounded", options={"xatol": 1e-10}).fun


def trained(space, scheme: str, layers: int) -> tuple[float, float, float]:
    """The value found from zero controls, J*, and the largest entry of the gradient in x̂."""
    grid = DepthGrid(layers, HORIZON)
    kernel, bias = DenseKernel(space, layers), np.zeros((layers, space.num_local))
    stepper = Stepper(space, kernel, bias, find_activation("identity"), SCHEMES[scheme], grid)
    controls = ControlSpace(Ensemble(MPI.COMM_SELF), space, kernel, grid, 0)
    start = np.asfortranarray(1 + 0.5 * np.sin(2 * np.pi * space.coordinates))
    r0 = float(space.norm(start)[0])
    regularization = Regularization(kernel=ALPHA, bias=ALPHA)
    J = Functional(controls, stepper, TrackingCost(space), start, RHO / r0 * start, 1, regularization, weight=MU)
    options = {"maxiter": 400, "ftol": 1e-16, "gtol": 1e-9, "maxcor": 30}
    found = minimize(
        ScaledFunctional(J).evaluate, np.zeros(controls.local_size), jac=True, method="L-BFGS-B", options=options
    )
    return found.fun, exact_value(r0), np.abs(found.jac).max()


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
    assert order - 0.1 <= observed_orders(gaps, [1 / n for n in layers])[-1] <= order + 0.4


def test_values_of_euler_layers(spaces):
    """Fails if a change of the discrete problem goes unnoticed by its order: the optimal values of 10 and 20 layers."""
    space = spaces("interval", 4, 1, "collocated")
    assert trained(space, "euler", 10)[:2] == pytest.approx((0.187857, 0.177429), abs=1e-6)
    assert trained(space, "euler", 20)[0] == pytest.approx(0.182576, abs=1e-6)


def test_galerkin_mode_reaches_the_same_order(spaces):
    """Fails if the consistent metric of Galerkin mode enters the objective otherwise than the lumped scaling: the value
    found does not depend on the variable the optimizer sees."""
    space = spaces("interval", 4, 2, "galerkin")
    gaps = [np.subtract(*trained(space, "midpoint", n)[:2]) for n in (4, 8, 16)]
    assert min(gaps) > 0
    assert 1.9 <= observed_orders(gaps, [1 / 4, 1 / 8, 1 / 16])[-1] <= 2.4
