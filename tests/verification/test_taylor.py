# SPDX-License-Identifier: MIT
"""Exact derivatives: Taylor remainders, the adjoint against the tangent, the tangent against differences.

All at a moved control, with every term of the regularization present.
"""

from __future__ import annotations

import numpy as np
import pytest
from problems import (
    LOSSES_AND_TRACKING,
    SCHEMES_AND_LOSSES,
    SUBSETS,
    UNPENALIZED,
    make_problem,
    smooth_states,
    taylor_orders,
)

from fem_selection.adjoint import sweep_back, sweep_tangent
from fem_selection.dynamics import SCHEMES
from fem_selection.errors import NonFinite
from fem_selection.kernels import DenseKernel
from fem_selection.learning import verify_gradient
from fem_selection.learning.functional import Functional


def check_taylor(problem, seed=2):
    """That the remainder in one direction is of second order, at a moved control."""
    J, controls = problem.functional, problem.control_space
    x, h = problem.moved(), controls.random_direction(seed)
    value, dual = J.evaluate(x)
    assert J.value(controls.create_vector(x)) == pytest.approx(value, rel=1e-13)
    rates = taylor_orders(lambda x: J.value(controls.create_vector(x)), x, h, controls.inner(dual, h))
    np.testing.assert_allclose(rates, 2.0, atol=0.05)


@pytest.mark.parametrize(("scheme", "loss"), SCHEMES_AND_LOSSES)
def test_remainder_is_of_second_order(space, scheme, loss):
    """Fails if any part of the derivative misses a factor: order 1 instead of 2.  A factor of Δt, of a mass or of a
    stage in a single scheme, or a regularization that is differentiated wrongly, is enough."""
    check_taylor(make_problem(space, scheme=scheme, loss=loss))


@pytest.mark.parametrize("intervals", [1, 3, 6])
@pytest.mark.parametrize("scheme", ["euler", "rk4"])
def test_several_layers_per_interval(space, scheme, intervals):
    """Fails if the derivatives of the layers of a control interval are not added up, or go to another interval."""
    check_taylor(make_problem(space, scheme=scheme, loss="tracking", layers=6, intervals=intervals))


@pytest.mark.parametrize("parts", SUBSETS)
def test_subsets_of_the_controls(space, parts):
    """Fails if parts that are fixed contribute to the derivative, or are overwritten by the controls."""
    problem = make_problem(space, scheme="heun", parts=parts)
    kernel, bias = problem.stepper.kernel.parameters(), problem.stepper.bias.copy()
    check_taylor(problem)
    if "kernel" not in parts:
        np.testing.assert_array_equal(problem.stepper.kernel.parameters(), kernel)
    if "bias" not in parts:
        np.testing.assert_array_equal(problem.stepper.bias, bias)


@pytest.mark.parametrize("activation", ["gelu", "softplus", "sine"])
def test_other_activations(space, activation):
    """Fails if an activation's σ' is not the derivative of its σ inside a sweep."""
    check_taylor(make_problem(space, activation=activation, scheme="ssprk3"))


@pytest.mark.parametrize("seed", [3, 4])
def test_other_directions(space, seed):
    """Fails if the derivative is right in one direction only."""
    check_taylor(make_problem(space, scheme="midpoint"), seed)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_adjoint_is_the_transpose_of_the_tangent(space, scheme):
    """Fails if ⟨δF_L, P⟩ ≠ ⟨δF_0, P_0⟩ + ⟨δθ, ∂_θ⟩ + ⟨δb, ∂_b⟩: an a_ij transposed wrongly, a stage left out."""
    problem = make_problem(space, scheme=scheme, layers=4, intervals=2)
    stepper, kernel = problem.stepper, problem.stepper.kernel
    tape = stepper.tape(3)
    stepper.advance(smooth_states(space, slice(0, 3)), tape)
    d_initial, dual = smooth_states(space, slice(3, 6)), smooth_states(space, slice(6, 9), 1.0)
    d_kernel = DenseKernel.random(space, 2, 1.0, seed=9)
    d_bias = np.cos(2 * space.coordinates[:, 0] + np.arange(2)[:, None])
    pullback, bias_dual, p = kernel.create_pullback(), np.zeros_like(d_bias), dual.copy(order="F")
    sweep_back(stepper, tape, p, kernel_pullback=pullback, bias_dual=bias_dual, to_initial=True)
    terms = {
        "initial": (d_initial, None, None, np.vdot(d_initial, p)),
        "kernel": (None, d_kernel, None, d_kernel.parameters() @ kernel.parameter_dual(pullback)),
        "bias": (None, None, d_bias, np.vdot(d_bias, bias_dual)),
    }
    for initial, direction, bias, right in terms.values():
        left = np.vdot(sweep_tangent(stepper, tape, initial, kernel=direction, bias=bias), dual)
        assert left == pytest.approx(right, rel=1e-12)
    together = np.vdot(sweep_tangent(stepper, tape, d_initial, kernel=d_kernel, bias=d_bias), dual)
    assert together == pytest.approx(sum(t[-1] for t in terms.values()), rel=1e-12)

    # the derivatives in kernel and bias do not depend on whether the last product is wanted
    again, bias_again, p = kernel.create_pullback(), np.zeros_like(d_bias), dual.copy(order="F")
    sweep_back(stepper, tape, p, kernel_pullback=again, bias_dual=bias_again)
    np.testing.assert_allclose(again, pullback, rtol=1e-14)
    np.testing.assert_allclose(bias_again, bias_dual, rtol=1e-14)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_tangent_equals_differences(space, scheme):
    """Fails if the tangent is not the derivative of the discrete flow; central differences, error 1e-8."""
    problem = make_problem(space, scheme=scheme)
    stepper, kernel = problem.stepper, problem.stepper.kernel
    theta, bias = kernel.parameters(), stepper.bias.copy()
    f0, d_initial = smooth_states(space, slice(0, 2)), smooth_states(space, slice(3, 5))
    d_kernel = DenseKernel.random(space, 2, 1.0, seed=9)
    d_bias = np.cos(2 * space.coordinates[:, 0] + np.arange(2)[:, None])
    tape = stepper.tape(2)
    stepper.advance(f0, tape)
    tangent = sweep_tangent(stepper, tape, d_initial, kernel=d_kernel, bias=d_bias)
    ends = []
    for e in (1e-4, -1e-4):
        kernel.assign(theta + e * d_kernel.parameters())
        stepper.bias[...] = bias + e * d_bias
        ends.append(stepper.advance_without_tape(np.asfortranarray(f0 + e * d_initial))[0])
    np.testing.assert_allclose(tangent, (ends[0] - ends[1]) / 2e-4, atol=1e-7)


def test_gradient_represents_the_derivative(space):
    """Fails if the gradient is not the Riesz representative: ⟨∇J, h⟩_{L²} = ⟨J', h⟩, by the consistent metric."""
    problem = make_problem(space, scheme="heun")
    controls, x = problem.control_space, problem.control_space.create_vector(problem.moved())
    derivative, gradient = problem.functional.derivative(x), problem.functional.gradient(x)
    for seed in (2, 3):
        h = controls.random_direction(seed)
        assert gradient.array @ controls.apply_metric(h) == pytest.approx(derivative.array @ h, rel=1e-11)
    _, dual = problem.functional.evaluate(x.array_r)
    np.testing.assert_array_equal(dual, derivative.array)


@pytest.mark.parametrize("loss", LOSSES_AND_TRACKING)
def test_blocks_do_not_matter(space, loss):
    """Fails if a block's contribution is lost, counted twice or scaled by the size of its block."""
    results = []
    for block in (1, 2, 3, 128):
        problem = make_problem(space, loss=loss, block=block, scheme="heun")
        results.append(problem.functional.evaluate(problem.moved()))
    for value, dual in results[1:]:
        assert value == pytest.approx(results[0][0], rel=1e-13)
        np.testing.assert_allclose(dual, results[0][1], rtol=1e-11, atol=1e-14)


def test_batches_average_to_the_whole(space):
    """Fails if a mini-batch is scaled by J instead of its own size: J is the mean of the batches when they are equally
    long, and so is its dual."""
    problem = make_problem(space, samples=6, loss="least_squares")
    J, x = problem.functional, problem.moved()
    value, dual = J.evaluate(x)
    parts = [slice(0, 2), slice(2, 4), slice(4, 6)]
    batches = [J.evaluate_batch(x, J.initial[:, s], J.targets[:, s], batch_size=2) for s in parts]
    assert np.mean([b[0] for b in batches]) == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(np.mean([b[1] for b in batches], axis=0), dual, rtol=1e-11, atol=1e-14)


def test_evaluations_do_not_remember(space):
    """Fails if duals are not cleared between evaluations, an evaluation changes samples or controls, or a dual handed
    out is a work array of the next evaluation."""
    problem = make_problem(space, scheme="rk4")
    J, x = problem.functional, problem.moved()
    samples, before = J.initial.copy(), x.copy()
    value, dual = J.evaluate(x)
    kept = dual.copy()
    J.evaluate(-x)
    np.testing.assert_array_equal(dual, kept)
    again, dual_again = J.evaluate(x)
    assert again == value
    np.testing.assert_array_equal(dual_again, kept)
    np.testing.assert_array_equal(J.initial, samples)
    np.testing.assert_array_equal(x, before)


def test_outputs_are_those_of_the_controls(space):
    """Fails if predictions are made with other controls than the last set, or depend on the blocks."""
    problem = make_problem(space, loss="least_squares", block=2)
    J = problem.functional
    value, _ = J.evaluate(problem.moved())
    outputs = J.outputs(J.initial)
    mean = 0.5 * np.sum((outputs - J.targets) ** 2) / J.num_samples
    regular, _ = J.penalty.evaluate(problem.moved())
    assert J.weight * mean + regular == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("activation", ["tanh", "relu", "leaky_relu", "elu", "identity"])
def test_a_certificate_of_a_right_gradient(space, activation):
    """Fails if a kink, or round-off, is taken for a wrong derivative."""
    problem = make_problem(space, activation=activation)
    for seed in range(5):
        found = verify_gradient(problem.functional, problem.moved(), seed)
        assert found.taylor_order == pytest.approx(2.0, abs=0.05)
        assert found.adjoint_identity_error <= 1e-12
        assert len(found.steps) == len(found.remainders) == len(found.orders) + 1
        assert found.remainders[-1] < 1e-4 * found.remainders[0]


@pytest.mark.parametrize("part", ["kernel", "bias", "readout", "offset"])
def test_a_certificate_of_a_wrong_gradient(monkeypatch, space, part):
    """Fails if a derivative that is wrong by a thousandth in one of its parts passes as right."""
    problem = make_problem(space)
    evaluate, where = Functional.evaluate, problem.control_space.slices[part]

    def evaluate_wrong(self, shard):
        value, dual = evaluate(self, shard)
        dual[where] *= 1.001
        return value, dual

    monkeypatch.setattr(Functional, "evaluate", evaluate_wrong)
    assert verify_gradient(problem.functional, problem.moved()).taylor_order < 1.2


def test_a_certificate_of_a_linear_objective(space):
    """Fails if an objective without curvature, here one that does not depend on the bias, is taken for a wrong one."""
    problem = make_problem(space, parts=("bias",), regularization=UNPENALIZED)
    problem.functional.cost.assign(space.create_block(3), np.zeros(3))
    found = verify_gradient(problem.functional, problem.moved())
    assert found.is_linear and np.isnan(found.taylor_order)
    assert not verify_gradient(make_problem(space).functional, make_problem(space).moved()).is_linear


def test_explosion_is_reported(space):
    """Fails if an objective that overflows is handed to an optimizer as a number."""
    problem = make_problem(space, loss="tracking", activation="identity")
    with pytest.raises(NonFinite, match=r"the objective is not finite"):
        problem.functional.evaluate(1e200 * problem.moved())


def test_certificate_stays_where_there_are_states(space, monkeypatch):
    """Fails if a random control without states, as implicit stages may with a negative diffusion, ends
    the measurement instead of being taken nearer to the start, or if a start without states is passed over."""
    problem = make_problem(space)
    J, start = problem.functional, problem.moved()
    original, limit = type(J).evaluate, 0.2

    def evaluate(functional, x, *arguments):
        if np.abs(x - start).max() > limit:
            raise NonFinite("the objective")
        return original(functional, x, *arguments)

    monkeypatch.setattr(type(J), "evaluate", evaluate)
    assert verify_gradient(J, start).taylor_order == pytest.approx(2.0, abs=0.05)
    limit = -1.0
    with pytest.raises(NonFinite):
        verify_gradient(J, start)
