# SPDX-License-Identifier: MIT
"""Learning with every kernel: adjoint against tangent, Taylor orders 2 and 3, symmetric Hessians, `verify`, descent.

All at a moved control, with every term of the regularization present, in collocated and Galerkin mode.
"""

from __future__ import annotations

import numpy as np
import pytest
from problems import KERNELS, make_problem, observed_orders, smooth_states, taylor_orders

from fem_selection.adjoint import sweep_back, sweep_tangent
from fem_selection.dynamics import SCHEMES
from fem_selection.learning import ScaledFunctional, verify_gradient
from fem_selection.learning.hessian import Hessian
from fem_selection.optimize import minimize
from fem_selection.settings import OptimizerSettings

EVERY_SCHEME = ["heun", *(pytest.param(name, marks=pytest.mark.slow) for name in SCHEMES if name != "heun")]
"""One scheme; the others on demand.  `test_implicit` has a quick test of an implicit one with a separable kernel."""


@pytest.fixture(params=KERNELS)
def make(request, space):
    """A function of the options of `make_problem` to a problem with a kernel of each kind."""
    return lambda **options: make_problem(space, kernel=KERNELS[request.param](space, 2), **options)


@pytest.mark.parametrize("scheme", ["euler", "rk4"])
def test_adjoint_is_the_transpose_of_the_tangent(make, space, scheme):
    """Fails if K'(θ)δθ in the tangent and the pullback in the adjoint are not each other's transpose."""
    problem = make(scheme=scheme)
    problem.functional.set_controls(problem.moved())
    stepper, kernel = problem.stepper, problem.stepper.kernel
    tape = stepper.tape(3)
    stepper.advance(smooth_states(space, slice(0, 3)), tape)
    dual = smooth_states(space, slice(6, 9), 1.0)
    h = np.cos(np.arange(kernel.num_parameters))
    direction = kernel.create_direction()
    direction.assign(h)
    left = np.vdot(sweep_tangent(stepper, tape, None, kernel=direction, bias=None), dual)
    pullback = kernel.create_pullback()
    sweep_back(stepper, tape, dual, kernel_pullback=pullback, bias_dual=None)
    assert left == pytest.approx(h @ kernel.parameter_dual(pullback), rel=1e-12)


@pytest.mark.parametrize("scheme", EVERY_SCHEME)
def test_remainders_are_of_second_and_third_order(make, scheme):
    """Fails if a term of the first or the second derivative is missing or has a wrong factor: for a kernel that is not
    linear in its parameters, leaving out ∂²_θθ⟨K F, Q⟩ gives order 2 instead of 3, and so does an
    implicit stage whose linear solve leaves out the kernel's direction."""
    problem = make(scheme=scheme, loss="tracking")
    J, controls = problem.functional, problem.control_space
    x, steps = problem.moved(size=1.0), [0.01, 0.005, 0.0025]
    value, dual = J.evaluate(x)
    hessian = Hessian(J)
    hessian.linearize(x)
    remainders = np.zeros(len(steps))
    for h in (controls.random_direction(seed) for seed in (2, 3, 5)):
        slope, curvature = controls.inner(dual, h), h @ hessian.apply(h)
        np.testing.assert_allclose(taylor_orders(lambda z: J.evaluate(z)[0], x, h, slope, steps), 2.0, atol=0.05)
        taylor = [value + e * slope + 0.5 * e**2 * curvature for e in steps]
        remainders += [abs(J.evaluate(x + e * h)[0] - t) for e, t in zip(steps, taylor, strict=True)]
    np.testing.assert_allclose(observed_orders(remainders, steps)[-1], 3.0, atol=0.1)


@pytest.mark.parametrize("scheme", EVERY_SCHEME)
def test_hessian_is_symmetric(make, scheme):
    """Fails if the mixed terms of two directions are not each other's transpose, or Gauss–Newton has a costate's."""
    problem = make(scheme=scheme)
    h, k = (problem.control_space.random_direction(seed) for seed in (4, 5))
    for gauss_newton in (False, True):
        hessian = Hessian(problem.functional, gauss_newton)
        hessian.linearize(problem.moved())
        left, right = k @ hessian.apply(h), h @ hessian.apply(k)
        assert abs(left - right) <= 1e-10 * np.linalg.norm(hessian.apply(h)) * np.linalg.norm(k)
        if gauss_newton:
            assert min(h @ hessian.apply(h), k @ hessian.apply(k)) > 0


def test_verify_passes_for_every_kernel(make):
    """Fails if `verify` takes the derivative for wrong, or knows dense kernels only."""
    problem = make()
    found = verify_gradient(problem.functional, problem.moved())
    assert found.taylor_order == pytest.approx(2.0, abs=0.05)
    assert found.adjoint_identity_error <= 1e-12


def test_training_comes_close_to_a_stationary_point(make, space):
    """Fails if an optimizer does not come close to a stationary point with this kernel."""
    problem = make(loss="tracking", samples=3)
    scaled = ScaledFunctional(problem.functional)
    start = scaled.to_scaled(problem.moved(size=1.0))
    first, gradient = scaled.evaluate(start)
    method, iterations = ("lmvm", 100) if space.is_collocated else ("nls", 12)
    report = minimize(
        scaled, start, OptimizerSettings(method=method, max_iterations=iterations, gradient_tolerance=1e-4)
    )
    assert report.objective < 0.2 * first
    assert report.gradient_norm <= 1e-2 * scaled.norm(gradient)
