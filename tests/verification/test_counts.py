# SPDX-License-Identifier: MIT
"""What an evaluation costs, counted: compilations, functions, communicators, sweeps, kernel products, mass solves."""

from __future__ import annotations

import gc
from collections import Counter

import dolfinx
import numpy as np
import pytest
from counting import CountingKernel, next_communicator, number_of_functions
from problems import make_domain, make_problem

from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics import SCHEMES
from fem_selection.kernels import DenseKernel
from fem_selection.learning.hessian import Hessian

EXPLICIT = [name for name, scheme in SCHEMES.items() if not scheme.is_implicit]


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_compilations_do_not_depend_on_the_size(monkeypatch, mode):
    """Fails if a form is compiled per layer, per block or per evaluation."""
    calls, compile_ = [], dolfinx.jit.ffcx_jit

    def counted(*arguments, **options):
        calls.append(1)
        return compile_(*arguments, **options)

    monkeypatch.setattr(dolfinx.jit, "ffcx_jit", counted)
    numbers = []
    for layers, samples, evaluations in ((2, 3, 1), (20, 12, 4)):
        calls.clear()
        space = StateSpace(make_domain("interval", 4), 2, mode=mode)
        problem = make_problem(space, scheme="heun", layers=layers, samples=samples)
        for _ in range(evaluations):
            problem.functional.evaluate(problem.moved())
        numbers.append(len(calls))
    assert numbers[0] == numbers[1]
    assert 1 <= numbers[0] <= 5


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_nothing_grows_over_evaluations(spaces, mode):
    """Fails if an evaluation leaves a dolfinx function, or a communicator (of which MPI has some thousand) behind, even
    until Python's collector runs."""
    problem = make_problem(spaces("interval", 4, 2, mode), scheme="heun")
    x = problem.control_space.create_vector(problem.moved())

    def evaluate():
        problem.functional.evaluate(x.array_r)
        problem.functional.value(x)
        problem.functional.gradient(x).destroy()

    evaluate()
    gc.collect()
    gc.disable()
    try:
        before = number_of_functions(), next_communicator()
        for _ in range(50):
            evaluate()
        assert (number_of_functions(), next_communicator()) == before
    finally:
        gc.enable()
    x.destroy()


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
@pytest.mark.parametrize("scheme", EXPLICIT)
def test_products_and_solves_of_an_evaluation(spaces, monkeypatch, scheme, mode):
    """Fails if a gradient costs more than one sweep forward and one back: K once per stage, Kᵀ once per stage but the
    very first, a pullback per stage, and in Galerkin mode one mass solve each way; a value costs the forward part."""
    space = spaces("interval", 4, 2, mode)
    kernel = CountingKernel(space, 2)
    kernel.assign(DenseKernel.random(space, 2, 1.0, seed=1).parameters())
    problem = make_problem(space, scheme=scheme, layers=4, samples=5, block=2, kernel=kernel)
    stages, blocks = 4 * SCHEMES[scheme].num_stages, 3
    solves, riesz = Counter(), space.riesz

    def counted(dual):
        solves["solves"] += 1
        return riesz(dual)

    monkeypatch.setattr(space, "riesz", counted)
    J, x = problem.functional, problem.moved()
    each_way = stages * blocks * (mode == "galerkin")
    J.evaluate(x)
    assert (J.counts.forward, J.counts.adjoint) == (1, 1)
    assert kernel.counts == {"apply": stages * blocks, "transpose": (stages - 1) * blocks, "pullback": stages * blocks}
    assert solves["solves"] == 2 * each_way

    kernel.counts.clear()
    J.value(problem.control_space.create_vector(x))
    assert (J.counts.forward, J.counts.adjoint) == (2, 1)
    assert kernel.counts == {"apply": stages * blocks}
    assert solves["solves"] == 3 * each_way


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
@pytest.mark.parametrize("scheme", EXPLICIT)
def test_products_of_an_action(spaces, monkeypatch, scheme, mode):
    """Fails if an action of the Hessian sweeps again where it was before: with K once forward per stage but the very
    first, where nothing has moved, once back, two pullbacks (Gauss–Newton: one), and no activation."""
    space = spaces("interval", 4, 2, mode)
    kernel = CountingKernel(space, 2)
    kernel.assign(DenseKernel.random(space, 2, 1.0, seed=1).parameters())
    problem = make_problem(space, scheme=scheme, layers=4, samples=5, block=2, kernel=kernel)
    stages, blocks = 4 * SCHEMES[scheme].num_stages, 3
    for gauss_newton in (False, True):
        hessian, h = Hessian(problem.functional, gauss_newton), problem.control_space.random_direction(2)
        hessian.linearize(problem.moved())
        hessian.apply(h)
        kernel.counts.clear()
        with monkeypatch.context() as patch:
            for name in ("value", "value_and_derivative", "value_and_two_derivatives"):
                patch.setitem(vars(problem.stepper.activation), name, None)
            hessian.apply(h)
        pullbacks = stages if gauss_newton else 2 * stages - 1
        products = {"apply": stages - 1, "transpose": stages - 1, "pullback": pullbacks}
        assert kernel.counts == {name: blocks * count for name, count in products.items()}


def test_a_batch_counts_for_its_share(spaces):
    """Fails if mini-batches are counted as whole sweeps, which would flatter every other method in a comparison."""
    problem = make_problem(spaces("interval", 4, 2, "collocated"), samples=6)
    J = problem.functional
    for k in range(3):
        columns = slice(2 * k, 2 * k + 2)
        J.evaluate_batch(problem.moved(), J.initial[:, columns], J.targets[:, columns], batch_size=2)
    assert (J.counts.forward, J.counts.adjoint) == pytest.approx((1, 1))


def test_a_fixed_kernel_costs_no_pullback(spaces):
    """Fails if the derivative in a part that is not optimized is computed and thrown away."""
    space = spaces("interval", 4, 2, "collocated")
    kernel = CountingKernel(space, 2)
    problem = make_problem(space, kernel=kernel, parts=("bias", "readout"))
    problem.functional.evaluate(problem.moved())
    assert "pullback" not in kernel.counts
    assert np.all(kernel.parameters() == 0)
