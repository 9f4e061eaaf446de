# SPDX-License-Identifier: MIT
"""Implicit stages: the weak form that they solve, closed forms, derivatives of any tableau, counts, and failures."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from counting import CountingKernel, next_communicator
from problems import KERNELS, MODES, make_problem, observed_orders, smooth_states, taylor_orders

import fem_selection as fs
from fem_selection.config import parse_case
from fem_selection.discretization.depth import DepthGrid
from fem_selection.dynamics import SCHEMES, Scheme, SelectionEquation, Stepper, solve_forward
from fem_selection.errors import NonFinite, NotConverged
from fem_selection.functions.activations import Activation, find_activation
from fem_selection.kernels import DenseKernel
from fem_selection.learning.hessian import Hessian
from fem_selection.learning.verification import adjoint_identity_error

IMPLICIT = [name for name, scheme in SCHEMES.items() if scheme.is_implicit]
GAMMA = 1 - 0.5**0.5
SDIRK = Scheme(name="sdirk", order=2, a=((GAMMA,), (1 - GAMMA, GAMMA)), b=(1 - GAMMA, GAMMA))
MIXED = Scheme(name="mixed", order=2, a=((0.3,), (0.4,), (0.2, 0.1, 0.5)), b=(0.3, 0.2, 0.5))
"""Implicit stages around an explicit one, and no stage is a state."""


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "identity"])
def test_what_petsc_solves_is_the_weak_form(space, name):
    """Fails if residual or Jacobian of SNES are not those of UFL, K included: a sign, Δt a_ii, σ' at another state, the
    mass on the wrong side.  The transpose of the Jacobian is held to the Jacobian."""
    activation, a, h = find_activation(name), 0.37, smooth_states(space, slice(0, 3))
    kernel, bias = (
        DenseKernel.random(space, 2, 2.0, seed=3),
        np.sin(3 * space.coordinates[:, 0] + np.arange(2)[:, None]),
    )
    stepper = Stepper(
        space, kernel, bias, activation=activation, scheme=SCHEMES["implicit_euler"], grid=DepthGrid(layers=2)
    )
    g, dg, dual = (smooth_states(space, slice(k, k + 3), 0.3) for k in (3, 6, 9))
    system = stepper.solver.system(3)
    system.equation.pose(1, a, h)
    x, y = system.x.duplicate(), system.x.duplicate()

    def call(function, block):
        x.array[:] = block.ravel("F")
        function(x, y)
        return y.array_r.reshape(block.shape, order="F").copy(order="F")

    residual = call(system.snes.computeFunction, g)
    forward, backward = call(system.jacobian.mult, dg), call(system.jacobian.multTranspose, dual)
    x.destroy(), y.destroy()
    s, ds = np.repeat(bias[1][:, None], 3, axis=1).copy(order="F"), np.zeros_like(dg, order="F")
    kernel.apply(1, g, s, keep=True)
    kernel.apply(1, dg, ds)
    equation = SelectionEquation(space, activation)
    forms = [equation.assemble_stage(g[:, j], h[:, j], a, s=s[:, j]) for j in range(3)]
    tangents = [equation.assemble_stage_tangent(a, s[:, j], dg[:, j], ds=ds[:, j]) for j in range(3)]
    for block, columns in ((residual, forms), (forward, tangents)):
        assembled = np.column_stack(columns)
        assert np.abs(space.apply_mass(block) - assembled).max() <= 1e-12 * np.abs(assembled).max()
    assert np.vdot(forward, dual) == pytest.approx(np.vdot(dg, backward), rel=1e-13)


@pytest.mark.parametrize(("name", "function"), [
    ("implicit_euler", lambda one, z: np.linalg.inv(one - z)),
    ("crank_nicolson", lambda one, z: np.linalg.solve(one - z / 2, one + z / 2)),
    ("implicit_midpoint", lambda one, z: np.linalg.solve(one - z / 2, one + z / 2)),
])  # fmt: skip
def test_linear_case_is_the_rational_function(space, name, function):
    """Fails if a stage is combined wrongly or not solved to round-off: σ = identity, b = 0, f_{n+1} = R(Δt A) f_n."""
    f0, kernel = smooth_states(space, slice(0, 2)), DenseKernel.random(space, 1, 3.0, seed=3)
    stepper = Stepper(
        space,
        kernel,
        np.zeros((1, space.num_local)),
        activation=find_activation("identity"),
        scheme=SCHEMES[name],
        grid=DepthGrid(layers=6, horizon=2.0, intervals=1),
    )
    one = np.eye(space.num_nodes, order="F")
    a = np.zeros_like(one)
    kernel.apply(0, one, a)
    wanted = np.linalg.matrix_power(function(one, a / 3), 6) @ f0
    np.testing.assert_allclose(solve_forward(stepper, f0).final, wanted, rtol=1e-12, atol=1e-13)


def test_crank_nicolson_and_midpoint_conserve_the_norm(spaces):
    """Fails if Crank–Nicolson weighs its two rates differently: for a skew K and the identity |R(iy)| = 1."""
    space = spaces("interval", 4, 2, "collocated")
    kernel = DenseKernel.interpolate(
        space,
        lambda t, y, z: 4 * (np.exp(y[0]) * z[0] - y[0] * np.exp(z[0])),
        DepthGrid(layers=3, horizon=9.0, intervals=1),
    )
    f0 = smooth_states(space, slice(0, 1))
    for name in ("crank_nicolson", "implicit_midpoint"):
        bias = np.zeros((1, space.num_local))
        stepper = Stepper(
            space,
            kernel,
            bias,
            activation=find_activation("identity"),
            scheme=SCHEMES[name],
            grid=DepthGrid(layers=3, horizon=9.0, intervals=1),
        )
        final = solve_forward(stepper, f0).final
        assert space.norm(final)[0] == pytest.approx(space.norm(f0)[0], rel=1e-12)
        assert np.abs(final - f0).max() > 0.1


@pytest.mark.parametrize(
    ("scheme", "mode", "kernel"),
    [(SDIRK, "collocated", "dense"), *((MIXED, mode, kernel) for mode in MODES for kernel in ("dense", "separable"))],
)
def test_any_diagonally_implicit_tableau(monkeypatch, spaces, scheme, mode, kernel):
    """Fails if only the built-in tableaux are differentiated rightly: implicit stages that depend on earlier ones, in
    the gradient (Taylor, adjoint identity) and in the Hessian (differences of the gradient, symmetry); also for a
    kernel that is not linear in its parameters."""
    monkeypatch.setitem(SCHEMES, scheme.name, scheme)
    space = spaces("interval", 4, 2, mode)
    problem = make_problem(space, scheme=scheme.name, loss="tracking", kernel=KERNELS[kernel](space, 2))
    J, x = problem.functional, problem.moved()
    hessian, h, k = Hessian(J), problem.control_space.random_direction(3), problem.control_space.random_direction(4)
    dual = J.evaluate(x)[1]
    np.testing.assert_allclose(taylor_orders(lambda x: J.evaluate(x)[0], x, h, dual @ h), 2.0, atol=0.05)
    assert adjoint_identity_error(J, x) <= 1e-12
    hessian.linearize(x)
    up, down = (J.evaluate(x + e * h)[1] for e in (1e-4, -1e-4))
    along, wanted = hessian.apply(h), (up - down) / 2e-4
    np.testing.assert_allclose(along, wanted, atol=1e-6 * np.abs(wanted).max())
    assert k @ along == pytest.approx(h @ hessian.apply(k), abs=1e-11 * np.linalg.norm(along) * np.linalg.norm(k))


def test_sdirk_is_of_second_order(spaces):
    """Fails if the second implicit stage of a layer starts from the wrong combination."""
    space = spaces("interval", 3, 1, "collocated")
    kernel, bias = DenseKernel.random(space, 1, 2.0, seed=3), np.sin(3 * space.coordinates[:, 0])[None]
    f0, tanh = smooth_states(space, slice(0, 2)), find_activation("tanh")
    final = [
        solve_forward(
            Stepper(
                space,
                kernel,
                bias,
                activation=tanh,
                scheme=scheme,
                grid=DepthGrid(layers=layers, horizon=1.0, intervals=1),
            ),
            f0,
        ).final
        for scheme, layers in ((SCHEMES["rk4"], 400), (SDIRK, 10), (SDIRK, 20), (SDIRK, 40))
    ]
    rates = observed_orders([np.abs(f - final[0]).max() for f in final[1:]], [1, 1 / 2, 1 / 4])
    assert 1.9 <= rates[-1] <= 2.4


@pytest.mark.parametrize("scheme", IMPLICIT)
def test_iterations_and_products(space, scheme):
    """Fails if a warm start is lost (Newton's method then takes more than 4 iterations for tanh), if a derivative needs
    more than one linear solve a stage, or if products with K are made beyond those that are counted."""
    kernel = CountingKernel(space, 2)
    kernel.assign(DenseKernel.random(space, 2, 1.0, seed=1).parameters())
    problem = make_problem(space, scheme=scheme, layers=4, samples=5, block=2, kernel=kernel)
    J, counts, stages = problem.functional, problem.stepper.solver.counts, 4 * 3
    J.value(problem.control_space.create_vector(problem.moved()))
    assert (counts.stages, counts.linear, counts.factorizations) == (stages, 0, 0)
    assert stages <= counts.newton <= 4 * stages
    explicit = stages * SCHEMES[scheme].num_stages
    # K: once per residual, once per Krylov iteration and once to form it, and once per stage when it is solved
    assert kernel.counts["apply"] <= explicit + counts.stages + 2 * counts.newton + counts.krylov
    before, kernel.counts["transpose"] = counts.krylov, 0
    J.evaluate(problem.moved())
    assert counts.stages == 2 * stages and counts.linear == stages
    assert counts.krylov < 3 * before
    assert kernel.counts["pullback"] == explicit


@pytest.mark.parametrize("scheme", IMPLICIT)
def test_two_linear_solves_in_an_action(spaces, scheme):
    """Fails if the Hessian solves stages again, or more than one linear system a stage each way."""
    problem = make_problem(spaces("interval", 4, 2, "collocated"), scheme=scheme, layers=4, samples=5, block=2)
    counts = problem.stepper.solver.counts
    hessian, h = Hessian(problem.functional), problem.control_space.random_direction(2)
    hessian.linearize(problem.moved())
    hessian.apply(h)
    assert (counts.stages, counts.linear) == (12, 12 + 24)
    hessian.apply(h)
    assert (counts.stages, counts.linear) == (12, 12 + 48)


def test_nothing_grows_over_evaluations(spaces):
    """Fails if solvers are made anew for every block, or leave a communicator behind."""
    space = spaces("interval", 4, 2, "collocated")
    problem = make_problem(space, scheme="crank_nicolson")
    problem.functional.evaluate(problem.moved())
    systems = [problem.stepper.solver.system(samples) for samples in (1, 2)]
    gc.collect()
    before = next_communicator()
    for _ in range(20):
        problem.functional.evaluate(problem.moved())
    assert next_communicator() == before
    assert [problem.stepper.solver.system(samples) for samples in (1, 2)] == systems
    for samples in range(3, 12):
        problem.stepper.advance_without_tape(smooth_states(space, slice(0, samples)))
    assert len(problem.stepper.solver._systems) <= 4
    problem.stepper.solver.destroy()
    problem.functional.evaluate(problem.moved())


def test_a_member_without_samples_takes_part(spaces):
    """Fails if a member of an ensemble without samples cannot take part."""
    space = spaces("interval", 4, 2, "collocated")
    stepper = make_problem(space, scheme="implicit_euler").stepper
    assert stepper.advance_without_tape(space.create_block(0))[0].shape == (space.num_local, 0)


# ── what has no solution ──────────────────────────────────────────────────────────────────────────────────────────────


def square(spaces, strength: float, layers: int = 4):
    """f' = λ f² on one cell of unit weight: an implicit Euler step from f solves g − Δt λ g² = f, which has a solution
    for 4 Δt λ f ≤ 1 alone."""
    space = spaces("interval", 1, 0, "collocated", "dg")
    kernel = DenseKernel(space, layers)
    kernel.assign(np.full(kernel.num_parameters, strength**0.5))
    sigma = Activation(name="square", expression=lambda s: s * s)
    problem = make_problem(
        space, kernel=kernel, activation=sigma, scheme="implicit_euler", layers=layers, intervals=layers, horizon=1.0,
        loss="tracking", parts=("bias",),
    )  # fmt: skip
    problem.stepper.bias[...] = 0.0
    return problem


def test_a_stage_without_solution_names_the_layer(spaces):
    """Fails if Newton's method is left running, or what it ended with is taken for a state: 1/4 λ f < 1/4 holds in the
    first layers alone."""
    stepper = square(spaces, 0.6).stepper
    states, f = [], 1.0
    while 0.6 * f <= 1:
        f = (1 - np.sqrt(1 - 0.6 * f)) / 0.3
        states.append(f)
    assert 1 <= len(states) < 4
    one = np.ones((1, 1), order="F")
    with pytest.raises(NotConverged, match=f"no state at layer {len(states) + 1}: an implicit stage was not solved: "):
        solve_forward(stepper, one)
    solved = stepper.advance_without_tape(one, range(len(states) + 1))[1]
    np.testing.assert_allclose([float(s[0, 0]) for s in solved[1:]], states, rtol=1e-12)


def test_a_stiff_stage_fails_within_a_budget():
    """Fails if the continuation has no end, if the other blocks of samples are tried after the first has failed, or if
    the layer is found by a second sweep: 64 states took a minute to say that a stage was not solved."""
    formula = {"source": "formula", "initial": "sin(7*s + y0*y1) + sin(50*s)*y0", "target": "1", "samples": 64}
    stiff = {"layers": 1, "scheme": "implicit_euler", "representation": "local", "diffusion": "1e5"}
    case = {"domain": {"cells": 3}, "dynamics": stiff, "data": formula, "objective": {"loss": "tracking"}}
    problem = fs.build_problem(parse_case(case | {"parallel": {"block": 16}}))
    with pytest.raises(NonFinite, match=r"at layer 1: an implicit stage was not solved: .*; more dynamics\.layers"):
        problem.functional.evaluate(problem.scaled_functional.to_controls(problem.scaled_start))
    counts = problem.functional.stepper.solver.counts
    assert counts.stages <= 2 and counts.newton < 2500


def test_an_objective_without_states_says_why(spaces):
    """Fails if a failed solve is an overflow in the message, or a later overflow is explained by an earlier failure."""
    problem = square(spaces, 4.0)
    zero = np.zeros(problem.control_space.local_size)
    problem.functional.initial[...] = 1.0
    with pytest.raises(NonFinite, match=r"objective is not finite at layer 1: an implicit stage was not solved: "):
        problem.functional.evaluate(zero)
    problem.functional.initial[...] = 1e200
    with pytest.raises(NonFinite, match=r"objective is not finite at layer 1$"):
        problem.functional.evaluate(zero)


def test_a_step_that_newton_alone_does_not_find(spaces):
    """Fails if there is no way on when Newton's method fails from F_n: g + tanh(λ g) = h has one solution for each h,
    saturated or not; w = −λ δ on DG0 cells, a = 1."""
    space = spaces("interval", 6, 0, "collocated", "dg")
    kernel, strength = DenseKernel(space, 1), 300.0
    kernel.assign((-strength * np.diag(1 / space.weights)).ravel())
    grid, bias = DepthGrid(layers=1, horizon=1.0, intervals=1), np.zeros((1, space.num_local))
    stepper = Stepper(
        space, kernel, bias, activation=find_activation("tanh"), scheme=SCHEMES["implicit_euler"], grid=grid
    )
    f0 = np.asfortranarray(np.linspace(-1.5, 1.2, 6)[:, None] * np.ones((1, 2)))
    g = solve_forward(stepper, f0).final
    np.testing.assert_allclose(g + np.tanh(strength * g), f0, atol=1e-12)
    assert stepper.solver.counts.newton > 25
