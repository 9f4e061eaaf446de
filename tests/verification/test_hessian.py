# SPDX-License-Identifier: MIT
"""The Hessian: Taylor remainders of third order, symmetry, differences of the gradient, the Gauss–Newton part."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.linalg
from petsc4py import PETSc
from problems import (
    LOSSES_AND_TRACKING,
    OTHER_SCHEMES_AND_LOSSES,
    SCHEMES_AND_LOSSES,
    SUBSETS,
    UNPENALIZED,
    make_problem,
    observed_orders,
)

from fem_selection.adjoint.second_order import SecondTape
from fem_selection.learning.curvature import hessian_eigenpairs
from fem_selection.learning.hessian import Hessian, ScaledHessian
from fem_selection.learning.scaled import ScaledFunctional

ALL_PAIRS = [*SCHEMES_AND_LOSSES, *(pytest.param(*p, marks=pytest.mark.slow) for p in OTHER_SCHEMES_AND_LOSSES)]
FEW_PAIRS = [("euler", "least_squares"), ("heun", "softmax"), ("rk4", "logistic"), ("crank_nicolson", "tracking")]
"""Each loss once, for what depends on scheme and loss one by one."""
KEPT_PAIRS = [
    *FEW_PAIRS,
    *(pytest.param(*p, marks=pytest.mark.slow) for p in SCHEMES_AND_LOSSES if p not in FEW_PAIRS),
]


def linearized(problem, gauss_newton=False):
    """The Hessian at a moved control."""
    hessian = Hessian(problem.functional, gauss_newton)
    hessian.linearize(problem.moved())
    return hessian


def check_third_order(problem):
    """Over three directions together: in one the third derivative may almost vanish."""
    J, controls, hessian = problem.functional, problem.control_space, linearized(problem)
    x, steps = problem.moved(), [0.02, 0.01, 0.005]
    value, dual = J.evaluate(x)
    remainders = np.zeros(len(steps))
    for h in (controls.random_direction(seed) for seed in (2, 3, 5)):
        curvature = h @ hessian.apply(h)
        taylor = [value + e * (dual @ h) + 0.5 * e**2 * curvature for e in steps]
        remainders += [abs(J.evaluate(x + e * h)[0] - t) for e, t in zip(steps, taylor, strict=True)]
    np.testing.assert_allclose(observed_orders(remainders, steps)[-1], 3.0, atol=0.1)


def check_differences(problem, e=1e-4):
    """Central differences of the gradient: their error is of second order, 1e-8."""
    hessian, x, h = linearized(problem), problem.moved(), problem.control_space.random_direction(3)
    up, down = (problem.functional.evaluate(x + s * e * h)[1] for s in (1, -1))
    found, wanted = hessian.apply(h), (up - down) / (2 * e)
    np.testing.assert_allclose(found, wanted, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize(("scheme", "loss"), ALL_PAIRS)
def test_remainder_is_of_third_order(space, scheme, loss):
    """Fails if any term of the second derivative is missing or has a wrong factor: order 2 instead of 3."""
    problem = make_problem(space, scheme=scheme, loss=loss)
    check_third_order(problem)
    check_differences(problem)


@pytest.mark.parametrize(("scheme", "loss"), ALL_PAIRS)
def test_hessian_is_symmetric(space, scheme, loss):
    """Fails if the mixed terms of two directions are not each other's transpose."""
    problem = make_problem(space, scheme=scheme, loss=loss)
    for gauss_newton in (False, True):
        hessian = linearized(problem, gauss_newton)
        h, k = (problem.control_space.random_direction(seed) for seed in (4, 5))
        left, right = k @ hessian.apply(h), h @ hessian.apply(k)
        size = np.linalg.norm(hessian.apply(h)) * np.linalg.norm(k)
        assert abs(left - right) <= 1e-10 * size


@pytest.mark.parametrize("parts", SUBSETS)
def test_subsets_of_the_controls(space, parts):
    """Fails if parts that are fixed move, or the terms that couple two parts are missing."""
    problem = make_problem(space, scheme="heun", parts=parts)
    check_differences(problem)


@pytest.mark.parametrize("activation", ["identity", "sigmoid", "softplus", "sine", "gelu"])
def test_second_derivatives_of_other_activations(space, activation):
    """Fails if σ'' is not that of the activation, or a tape of σ is taken for one of σ'."""
    check_differences(make_problem(space, scheme="midpoint", activation=activation, loss="least_squares"))


@pytest.mark.parametrize("intervals", [1, 3, 6])
def test_several_layers_per_interval(space, intervals):
    """Fails if the second derivatives of the layers of a control interval are not added up."""
    check_differences(make_problem(space, scheme="rk4", layers=6, intervals=intervals, loss="tracking"))


def test_blocks_do_not_matter(space):
    """Fails if a block's contribution is lost or scaled by the size of its block."""
    results = []
    for block in (1, 2, 128):
        problem = make_problem(space, block=block, scheme="heun")
        results.append(linearized(problem).apply(problem.control_space.random_direction(6)))
    for found in results[1:]:
        np.testing.assert_allclose(found, results[0], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("gauss_newton", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("scheme", "loss"), KEPT_PAIRS)
def test_memory_does_not_matter(space, scheme, loss, gauss_newton):
    """Fails if what is kept from one product to the next is not what a product alone computes, or is written to."""
    problem = make_problem(space, scheme=scheme, loss=loss)  # blocks of 1, 2 and 2 samples
    J, directions = problem.functional, [problem.control_space.random_direction(seed) for seed in (6, 7)]
    for_two = sum(SecondTape.size(problem.stepper, n, gauss_newton) for n in (1, 2))
    products, sweeps = {}, {}
    for memory in (2**30, for_two, 0):
        hessian = Hessian(J, gauss_newton, memory)
        hessian.linearize(problem.moved())
        hessian.apply(directions[1])
        before = J.counts.forward, J.counts.adjoint
        products[memory] = [hessian.apply(h) for h in directions]
        sweeps[memory] = J.counts.forward - before[0], J.counts.adjoint - before[1]
    size = np.abs(products[0][0]).max()
    np.testing.assert_allclose(products[2**30], products[0], rtol=1e-12, atol=1e-13 * size)
    np.testing.assert_allclose(products[for_two], products[0], rtol=1e-12, atol=1e-13 * size)
    for memory, share in ((2**30, 0.0), (for_two, 0.4), (0, 1.0)):
        assert sweeps[memory] == pytest.approx((2 * share, 0.0 if gauss_newton else 2 * share))


@pytest.mark.parametrize("memory", [2**30, 0])
def test_linearized_anew_at_other_controls(space, memory):
    """Fails if a product uses what was kept at other controls, or those that the functional was evaluated at since."""
    problem = make_problem(space, scheme="heun")
    J, h, (x, y) = problem.functional, problem.control_space.random_direction(6), (problem.moved(s) for s in (1, 2))
    wanted = []
    for point in (x, y):
        fresh = Hessian(J)
        fresh.linearize(point)
        wanted.append(fresh.apply(h))
    hessian = Hessian(J, memory=memory)
    for point, number in ((x, 0), (y, 1), (x, 0)):
        hessian.linearize(point)
        for _ in range(2):
            np.testing.assert_allclose(hessian.apply(h), wanted[number], rtol=1e-12, atol=1e-14)
            J.evaluate(problem.moved(3))
    assert np.abs(wanted[0] - wanted[1]).max() > 1e-3 * np.abs(wanted[0]).max()


def test_memory_is_used_again(space):
    """Fails if each linearization takes memory of its own, which Newton's methods would feel at every step."""
    problem = make_problem(space, samples=2000, block=100, layers=8)
    hessian, h = linearized(problem), problem.control_space.random_direction(6)
    hessian.apply(h)
    tracemalloc.start()
    hessian.linearize(problem.moved(2))
    hessian.apply(h)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.2 * 20 * SecondTape.size(problem.stepper, 100, gauss_newton=False)


@pytest.mark.parametrize("gauss_newton", [False, True])
def test_actions_and_sweeps_are_counted(space, gauss_newton):
    """Fails if actions are not counted, or the sweeps at a new control are not counted once."""
    problem = make_problem(space)
    J, hessian, h = problem.functional, linearized(problem, gauss_newton), problem.control_space.random_direction(6)
    assert (J.counts.forward, J.counts.adjoint, J.counts.hessian) == (0, 0, 0)
    for _ in range(3):
        hessian.apply(h)
    back = 0 if gauss_newton else 1
    assert (J.counts.forward, J.counts.adjoint, J.counts.hessian) == (1, back, 3)
    hessian.linearize(problem.moved(2))
    hessian.apply(h)
    assert (J.counts.forward, J.counts.adjoint, J.counts.hessian) == (2, 2 * back, 4)
    assert hessian.actions == 4


@pytest.mark.parametrize("loss", LOSSES_AND_TRACKING)
def test_gauss_newton_is_the_outputs_derivative_squared(space, loss):
    """Fails if G is not To* ℓ'' To: the outputs' derivative by differences, ℓ'' by differences of the loss."""
    problem = make_problem(space, loss=loss, scheme="heun", regularization=UNPENALIZED, weight=1.0)
    J, x = problem.functional, problem.moved()
    h, k, e = problem.control_space.random_direction(7), problem.control_space.random_direction(8), 1e-5

    def outputs(shard):
        J.set_controls(shard)
        return J.outputs(J.initial)

    moved = [(outputs(x + e * d) - outputs(x - e * d)) / (2 * e) for d in (h, k)]
    o = outputs(x)
    if loss == "tracking":
        wanted = np.vdot(problem.space.apply_mass(moved[0]), moved[1])
    else:
        up, down = (J.cost.loss.value_and_derivative(o + s * e * moved[0], J.targets)[1] for s in (1, -1))
        wanted = np.vdot((up - down) / (2 * e), moved[1])
    hessian = linearized(problem, gauss_newton=True)
    assert k @ hessian.apply(h) == pytest.approx(wanted / J.num_samples, rel=1e-6)
    assert h @ hessian.apply(h) >= 0


@pytest.mark.parametrize("scheme", ["euler", "rk4", "crank_nicolson"])
def test_gauss_newton_is_the_hessian_where_nothing_is_left_to_fit(space, scheme):
    """Fails if G lacks a term that is there without residuals: with the network's own final states as targets the
    costates vanish, and G = J'' to round-off; at other targets they differ."""
    problem = make_problem(space, loss="tracking", scheme=scheme)
    J, x, h = problem.functional, problem.moved(), problem.control_space.random_direction(7)
    away = linearized(problem).apply(h) - linearized(problem, gauss_newton=True).apply(h)
    J.targets = np.ascontiguousarray(J.final_states(x))
    exact, part = linearized(problem).apply(h), linearized(problem, gauss_newton=True).apply(h)
    np.testing.assert_allclose(part, exact, atol=1e-11 * np.abs(exact).max())
    assert np.abs(away).max() > 1e-3 * np.abs(exact).max()


@pytest.mark.parametrize("loss", ["tracking", "softmax"])
def test_gauss_newton_is_dense_jacobians_squared(spaces, loss):
    """Fails if G is not Σ_j Jac_jᵀ ℓ''(o_j) Jac_j μ/J + R'' as dense matrices: Jac by differences of the outputs, ℓ''
    written out in NumPy, R'' the exact Hessian without data; and fails if G has a negative eigenvalue."""
    problem = make_problem(spaces("interval", 2, 1), loss=loss, layers=2, scheme="heun", weight=1.3, samples=3)
    J, x, e = problem.functional, problem.moved(), 1e-5
    unit = np.eye(len(x))

    def outputs(shard):
        J.set_controls(shard)
        return J.outputs(J.initial).T.ravel()  # sample by sample

    jacobian = np.column_stack([(outputs(x + e * d) - outputs(x - e * d)) / (2 * e) for d in unit])
    o, rows = outputs(x).reshape(3, -1), jacobian.reshape(3, -1, len(x))
    wanted = np.zeros((len(x), len(x)))
    for value, jac in zip(o, rows, strict=True):
        p = np.exp(value) / np.exp(value).sum()
        curvature = np.diag(problem.space.weights) if loss == "tracking" else np.diag(p) - np.outer(p, p)
        wanted += 1.3 / 3 * jac.T @ curvature @ jac
    wanted += np.column_stack([J.penalty.evaluate(d)[1] for d in unit])
    hessian = linearized(problem, gauss_newton=True)
    found = np.column_stack([hessian.apply(d) for d in unit])
    np.testing.assert_allclose(found, wanted, atol=1e-8 * np.abs(wanted).max())
    assert np.linalg.eigvalsh(0.5 * (found + found.T))[0] > -1e-14


@pytest.mark.parametrize("which", ["smallest", "largest"])
def test_eigenpairs_are_those_of_scipy(space, which):
    """Fails if λ or v are not those of J'' v = λ M v with the consistent mass: against SciPy on the full matrices."""
    problem = make_problem(space, layers=2, intervals=2, loss="tracking", parts=("bias", "kernel"))
    controls = problem.control_space
    hessian = ScaledHessian(ScaledFunctional(problem.functional))
    x = problem.moved()
    hessian.linearize(hessian.functional.to_scaled(x))
    found = hessian_eigenpairs(hessian, 3, which)

    unit = np.eye(controls.local_size)
    second = np.column_stack([hessian.hessian.apply(e) for e in unit])
    mass = np.column_stack([controls.apply_metric(e) for e in unit])
    values, vectors = scipy.linalg.eigh((second + second.T) / 2, mass)
    order = slice(None) if which == "smallest" else slice(None, None, -1)
    np.testing.assert_allclose(found.values, values[order][:3], rtol=1e-7, atol=1e-10)
    first = vectors[:, order][:, 0]
    assert abs(found.vectors[0] @ mass @ first) == pytest.approx(1.0, abs=1e-5)
    assert max(found.residuals) < 1e-5 and found.actions > 3


def test_offered_as_matrix_and_operator(space):
    """Fails if PETSc's shell or SciPy's operator is another map, or PETSc does not know that it is symmetric."""
    problem = make_problem(space)
    hessian, h = linearized(problem), problem.control_space.random_direction(9)
    wanted = hessian.apply(h)
    matrix, x = hessian.as_matrix(), problem.control_space.create_vector(h)
    y = x.duplicate()
    matrix.mult(x, y)
    np.testing.assert_array_equal(y.array, wanted)
    np.testing.assert_array_equal(hessian.as_linear_operator() @ h, wanted)
    assert matrix.isSymmetricKnown() == (True, True)
    assert matrix.getType() == PETSc.Mat.Type.PYTHON
    for thing in (matrix, x, y):
        thing.destroy()
