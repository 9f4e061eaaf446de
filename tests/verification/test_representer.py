# SPDX-License-Identifier: MIT
"""The representer kernel: its derivatives through the flow of the anchors, and the full kernel that it stands for."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI
from problems import (
    MODES,
    make_problem,
    observed_orders,
    representer,
    smooth_states,
    taylor_orders,
)

from fem_selection.discretization.meshes import domains
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics import SCHEMES, Stepper, find_scheme
from fem_selection.errors import InvalidInput, NonFinite
from fem_selection.kernels import DenseKernel, RepresenterKernel, choose_anchors
from fem_selection.learning.hessian import Hessian
from fem_selection.learning.kkt import kkt_residual, solve_triple
from fem_selection.learning.verification import adjoint_identity_error
from fem_selection.linalg import InverseRoot, inverse_root
from fem_selection.settings import Regularization, TapeSettings

EXPLICIT = [name for name, scheme in SCHEMES.items() if not scheme.is_implicit]
CELLS = 9
UNCOUPLED = Regularization(kernel=1e-2, bias=2e-2, readout=3e-2)


def few(space):
    """Fewer anchors than the problem has samples, none of them a sample."""
    return smooth_states(space, slice(20, 22))


def all_samples(space):
    """The samples of `make_problem`."""
    return smooth_states(space, slice(0, 5))


def dependent(space):
    """A state twice, and the sum of two others."""
    a = smooth_states(space, slice(0, 4))
    return np.column_stack([a, a[:, 0], a[:, 1] + a[:, 2]])


def nearly_dependent(space):
    """States at distances of 1e-3 and 1e-7, whose squares are seen in the Gram matrix and are not."""
    a = smooth_states(space, slice(0, 2))
    return np.column_stack([a, a + 1e-3 * a**2, a + 1e-7 * np.cos(5 * a)])


def zero(space):
    """A state that stays zero in the first stage: its Gram matrix is zero."""
    return np.zeros((space.num_local, 1))


ANCHORS = {f.__name__: f for f in (few, all_samples, dependent, nearly_dependent, zero)}


def moving_problem(spaces, mode="collocated", anchors=all_samples, **options):
    """A problem with a representer kernel."""
    space = spaces("interval", CELLS, 1, mode)
    kernel = RepresenterKernel.random(space, options.get("intervals", 2), anchors(space), scale=1.0, seed=3)
    return make_problem(space, kernel=kernel, **options)


def pairs(plain):
    """Schemes × anchors × modes; those that are not named are slow."""
    for scheme in EXPLICIT:
        for name in ANCHORS:
            for mode in MODES:
                marks = () if (scheme, name, mode) in plain else pytest.mark.slow
                yield pytest.param(scheme, name, mode, marks=marks)


PLAIN = [
    ("euler", "all_samples", "collocated"),
    ("euler", "dependent", "galerkin"),
    ("heun", "few", "collocated"),
    ("ssprk3", "nearly_dependent", "collocated"),
    ("rk4", "all_samples", "galerkin"),
    ("midpoint", "zero", "collocated"),
]


@pytest.mark.parametrize(("scheme", "name", "mode"), pairs(PLAIN))
def test_derivatives(spaces, scheme, name, mode):
    """Fails if a term of the anchors' tangent, adjoint or second adjoint is missing, or of their Gram matrix's root."""
    problem = moving_problem(spaces, mode, ANCHORS[name], scheme=scheme)
    J, controls, x = problem.functional, problem.control_space, problem.moved()
    h, k = controls.random_direction(5), controls.random_direction(7)
    value, dual = J.evaluate(x)
    np.testing.assert_allclose(taylor_orders(lambda y: J.evaluate(y)[0], x, h, float(dual @ h)), 2.0, atol=0.05)
    assert adjoint_identity_error(J, x, seed=3) < 1e-12

    # dependent functions lose digits: 1e-16/√ε is 3e-12, and a second derivative loses them twice
    is_degenerate = name in ("dependent", "nearly_dependent")
    for gauss_newton in (False, True):
        hessian = Hessian(J, gauss_newton)
        hessian.linearize(x)
        moved = hessian.apply(h)
        error = abs(k @ moved - h @ hessian.apply(k)) / max(abs(h @ moved), abs(k @ moved))
        assert error < (1e-8 if is_degenerate else 1e-13)
        if gauss_newton:
            assert h @ moved > 0
            continue
        up, down = (J.evaluate(x + e * h)[1] for e in (1e-5, -1e-5))
        difference = np.max(np.abs(moved - (up - down) / 2e-5)) / np.max(np.abs(moved))
        assert difference < {"nearly_dependent": 1e-2, "dependent": 1e-5}.get(name, 1e-7)
        if is_degenerate:  # nearly dependent functions turn fast: third derivatives are large
            continue
        steps, remainders = [0.02, 0.01, 0.005], np.zeros(3)
        for along in (controls.random_direction(seed) for seed in (2, 3, 5)):
            curvature = along @ hessian.apply(along)
            taylor = [value + e * (dual @ along) + 0.5 * e**2 * curvature for e in steps]
            remainders += [abs(J.evaluate(x + e * along)[0] - t) for e, t in zip(steps, taylor, strict=True)]
        np.testing.assert_allclose(observed_orders(remainders, steps)[-1], 3.0, atol=0.1)


@pytest.mark.parametrize("checkpoints", [None, 2])
def test_conditions_and_batches_see_the_anchors(spaces, checkpoints):
    """The residual of the optimality system is the gradient, and a batch of all samples has it too: fails if the duals
    of the factors are not carried back, or are counted for layers whose places are no longer kept."""
    problem = moving_problem(
        spaces,
        anchors=few,
        scheme="heun",
        layers=8,
        tape=checkpoints and TapeSettings(schedule="memory", checkpoints=checkpoints),
    )
    J, controls, x = problem.functional, problem.control_space, problem.moved()
    value, dual = J.evaluate(x)
    residual = kkt_residual(J, solve_triple(J, x))
    assert residual.control == pytest.approx(controls.dual_norm(dual), rel=1e-12)
    assert residual.state < 1e-13 and residual.costate < 1e-13
    of_batch = J.evaluate_batch(x, J.initial.copy(order="F"), J.targets, batch_size=5)
    assert of_batch[0] == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(of_batch[1], dual, atol=1e-12 * np.abs(dual).max())


@pytest.mark.parametrize("activation", ["relu", "identity"])
def test_gradient_with_other_activations(spaces, activation):
    """Fails if the flow of the anchors tapes σ' for tanh alone."""
    problem = moving_problem(spaces, activation=activation, loss="tracking")
    J, x, h = problem.functional, problem.moved(), problem.control_space.random_direction(5)
    _, dual = J.evaluate(x)
    steps = (1e-3, 5e-4, 2.5e-4)
    np.testing.assert_allclose(
        taylor_orders(lambda y: J.evaluate(y)[0], x, h, float(dual @ h), steps=steps), 2.0, atol=0.1
    )


def test_inverse_root():
    """Fails if a derivative of P forgets the trace, or one of its terms; ε is large here, that they may be seen."""
    rng = np.random.default_rng(0)
    share, inverse_root.SHARE = inverse_root.SHARE, 1e-2
    try:
        a = rng.normal(size=(6, 5))
        gram = a.T @ a
        d_gram, dual, d_dual = (m + m.T for m in rng.normal(size=(3, 5, 5)))

        def at(e: float) -> InverseRoot:
            return InverseRoot(gram + e * d_gram)

        here, e = at(0.0), 1e-5
        moved = here.tangent(d_gram)
        np.testing.assert_allclose(moved, (at(e).value - at(-e).value) / (2 * e), atol=1e-8)
        assert np.vdot(here.adjoint(dual), d_gram) == pytest.approx(np.vdot(dual, moved), rel=1e-13)
        up, down = (at(s).adjoint(dual + s * d_dual) for s in (e, -e))
        np.testing.assert_allclose(here.second_adjoint(dual, d_dual, d_gram), (up - down) / (2 * e), atol=1e-7)
    finally:
        inverse_root.SHARE = share
    identity = InverseRoot(gram).value @ gram @ InverseRoot(gram).value
    np.testing.assert_allclose(identity, np.eye(5), atol=1e-12)  # μ changes an eigenvalue by the square of μ/λ
    assert not np.any(InverseRoot(0 * gram).value)
    assert np.all(np.isnan(InverseRoot(np.nan * gram).value))


def dense_of(problem, regularization):
    """The problem of the full kernel w = Ĉ ⊗ e at the controls that a problem of Euler layers holds, and these x."""
    space, layers = problem.space, problem.stepper.grid.layers
    separable = problem.stepper.kernel.as_separable()
    nodes = np.arange(space.num_nodes)
    kernel = DenseKernel(space, layers)
    kernel.assign(np.concatenate([separable.values(c, nodes).T.ravel() for c in range(layers)]))
    dense = make_problem(
        space,
        kernel=kernel,
        layers=layers,
        intervals=layers,
        loss="tracking",
        regularization=regularization,
        samples=problem.functional.num_samples,
    )
    x = dense.control_space.pack({"kernel": kernel.parameters(), "bias": problem.stepper.bias})
    return dense, x, separable


@pytest.mark.parametrize("mode", MODES)
def test_equals_the_full_kernel(spaces, mode):
    """States and objective are those of w = Ĉ ⊗ e: fails if e is not orthonormal, or K F is not (Ĉ ⊗ e) F."""
    three = {"anchors": lambda space: smooth_states(space, slice(0, 3)), "samples": 3}
    problem = moving_problem(spaces, mode, loss="tracking", layers=3, intervals=3, regularization=UNCOUPLED, **three)
    J, x = problem.functional, problem.moved(size=4.0)
    value, final = J.evaluate(x)[0], J.final_states(x)
    dense, y, separable = dense_of(problem, UNCOUPLED)
    np.testing.assert_allclose(dense.functional.final_states(y), final, rtol=0, atol=1e-12 * np.abs(final).max())
    assert dense.functional.evaluate(y)[0] == pytest.approx(value, rel=1e-12)
    again = Stepper(
        problem.space,
        separable,
        problem.stepper.bias,
        activation=problem.stepper.activation,
        scheme=problem.stepper.scheme,
        grid=problem.stepper.grid,
    )
    states, _ = again.advance_without_tape(J.initial)
    np.testing.assert_allclose(states, final, rtol=0, atol=1e-12 * np.abs(final).max())


def test_stationary_points_are_those_of_the_full_kernel(spaces):
    """Newton's method in Ĉ ends where the gradient in w vanishes, too: fails if the representation is a restriction."""
    problem = moving_problem(
        spaces,
        anchors=lambda space: smooth_states(space, slice(0, 3)),
        loss="tracking",
        layers=2,
        samples=3,
        regularization=UNCOUPLED,
    )
    J, controls = problem.functional, problem.control_space
    x, hessian = 0.0 * problem.moved(), Hessian(J)
    first = controls.dual_norm(J.evaluate(x)[1])
    for _ in range(30):
        dual = J.evaluate(x)[1]
        if controls.dual_norm(dual) < 1e-12 * first:
            break
        hessian.linearize(x)
        matrix = np.column_stack([hessian.apply(column) for column in np.eye(len(x))])
        values, vectors = np.linalg.eigh(matrix)
        step = vectors @ ((vectors.T @ dual) / np.maximum(np.abs(values), 1e-6))
        while J.evaluate(x - step)[0] > J.evaluate(x)[0] + 1e-14:
            step *= 0.5
        x = x - step
    assert controls.dual_norm(J.evaluate(x)[1]) < 1e-11 * first
    dense, y, _ = dense_of(problem, UNCOUPLED)
    gradient = dense.functional.evaluate(y)[1]
    assert dense.control_space.dual_norm(gradient) < 1e-9 * first


@pytest.mark.parametrize("loss", ["softmax", "tracking"])
def test_samples_that_are_anchors_need_no_sweeps(spaces, loss):
    """Objective, gradient and Hessian are those of sweeps beside the anchors: fails if samples are taken for others."""
    space = spaces("interval", CELLS, 1)
    order = [3, 0, 4, 1, 2, 5]  # the last one is no sample
    kernel = RepresenterKernel.random(space, 2, smooth_states(space, slice(0, 6))[:, order], scale=1.0, seed=3)
    problem = make_problem(space, kernel=kernel, loss=loss)
    J, x, h = problem.functional, problem.moved(), problem.control_space.random_direction(5)
    found, wanted = J.evaluate(x), J.evaluate(x, lambda *_: None)
    assert J.anchored is not None and found[0] == pytest.approx(wanted[0], rel=1e-13)
    np.testing.assert_allclose(found[1], wanted[1], atol=1e-12 * np.abs(wanted[1]).max())
    anchored = J.anchored
    for gauss_newton in (False, True):
        products = []
        for J.anchored in (anchored, None):
            hessian = Hessian(J, gauss_newton)
            hessian.linearize(x)
            products.append(hessian.apply(h))
        np.testing.assert_allclose(*products, atol=1e-12 * np.abs(products[0]).max())


def test_choice_of_anchors(spaces):
    """Fails if equal states are taken twice, or one that depends on others before one that does not."""
    space = spaces("interval", CELLS, 1)
    a = smooth_states(space, slice(0, 3))
    states = np.column_stack([a[:, 0], a[:, 0], 3.0 * a[:, 1], a[:, 0] + a[:, 1], 0.1 * a[:, 2]])
    np.testing.assert_array_equal(choose_anchors(space, states), [0, 2, 3, 4])
    chosen = choose_anchors(space, states, 3)
    assert chosen[0] == 2 and 4 in chosen and len(chosen) == 3
    many = np.random.default_rng(0).normal(size=(space.num_local, 30))
    assert len(choose_anchors(space, many)) == space.num_nodes  # they span all of V_h
    assert len(choose_anchors(space, 0 * many)) == 1
    with pytest.raises(InvalidInput, match="there are none"):
        choose_anchors(space, space.create_block(0))


def test_more_samples_than_nodes():
    """With as many anchors as nodes nothing is lost: every full kernel is Ĉ ⊗ e for some Ĉ."""
    space = StateSpace(domains.interval(MPI.COMM_SELF, 3))
    states = smooth_states(space, slice(0, 9))
    kernel = RepresenterKernel.random(space, 2, states[:, choose_anchors(space, states)], scale=1.0, seed=2)
    problem = make_problem(space, kernel=kernel, samples=9, layers=2, loss="tracking", regularization=UNCOUPLED)
    J, x, h = problem.functional, problem.moved(), problem.control_space.random_direction(5)
    assert kernel.rank == 4
    _, dual = J.evaluate(x)
    np.testing.assert_allclose(taylor_orders(lambda y: J.evaluate(y)[0], x, h, float(dual @ h)), 2.0, atol=0.05)
    e = np.column_stack([f for _, f in kernel.as_separable().factors[1:]])
    np.testing.assert_allclose(e @ e.T @ np.diag(space.weights), np.eye(4), atol=1e-6)


def test_two_steppers_share_a_kernel(spaces):
    """Fails if a stepper sweeps under anchors that have flowed in the dynamics of another."""
    space = spaces("interval", CELLS, 1)
    kernel = representer(space, 2)
    problems = [make_problem(space, kernel=kernel, scheme=scheme) for scheme in ("euler", "heun", "euler")]
    initial = problems[0].functional.initial
    ends = [p.stepper.advance_without_tape(initial)[0] for p in problems]
    np.testing.assert_array_equal(ends[0], ends[2])
    assert np.max(np.abs(ends[0] - ends[1])) > 1e-6


def test_refusals(spaces):
    """Fails if what cannot be done is done in silence, or refused without the reason."""
    space = spaces("interval", CELLS, 1)
    kernel = representer(space, 2)
    with pytest.raises(InvalidInput, match="make a Stepper"):
        kernel.apply(0, space.create_block(1), space.create_block(1))
    with pytest.raises(InvalidInput, match="explicit"):
        make_problem(space, kernel=kernel, scheme="implicit_euler")
    with pytest.raises(InvalidInput, match="optimize it too"):
        make_problem(space, kernel=kernel, parts=("bias",))
    make_problem(space, kernel=kernel, layers=4)
    with pytest.raises(InvalidInput, match="one layer an interval"):
        kernel.as_separable()
    with pytest.raises(InvalidInput, match="not finite"):
        RepresenterKernel(space, 1, np.full((space.num_local, 1), np.inf))
    assert find_scheme("rk4").num_stages == 4
    problem = make_problem(space, kernel=representer(space, 2), activation="identity")
    with pytest.raises(NonFinite):
        problem.functional.evaluate(1e200 * problem.moved())
