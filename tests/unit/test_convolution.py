# SPDX-License-Identifier: MIT
"""Convolution kernels beside dense kernels of the same w, and the contract of kernels."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI
from problems import make_problem, smooth_states

import fem_selection as fs
from fem_selection.config import parse_case
from fem_selection.errors import InvalidInput
from fem_selection.functions.formulas import parse_formula
from fem_selection.kernels import Kernel, KernelDirection
from fem_selection.learning.verification import adjoint_identity_error, verify_gradient
from fem_selection.studies.network_pictures import _controls_to_show

DOMAINS = {
    "interval": lambda: fs.interval(MPI.COMM_SELF, cells=7, upper=2.0),
    "quadrilateral": lambda: fs.rectangle(MPI.COMM_SELF, (3, 4), upper=(1.0, 3.0), cell="quadrilateral"),
    "triangle": lambda: fs.rectangle(MPI.COMM_SELF, (3, 2)),
    "box": lambda: fs.box(MPI.COMM_SELF, (2, 3, 1)),
}
INTERVALS = 3


@pytest.fixture(scope="module", params=[(d, m) for d in DOMAINS for m in ("collocated", "galerkin")], ids="-".join)
def space(request):
    """Uniform grids in one, two and three dimensions, in both modes."""
    name, mode = request.param
    return fs.StateSpace(DOMAINS[name](), mode=mode)


def random(space, seed=1):
    """A random kernel."""
    return fs.ConvolutionKernel.random(space, INTERVALS, scale=1.0, seed=seed)


def dense_of(kernel):
    """The dense kernel with the same w, by a table of the displacements: no FFT, no index arithmetic."""
    space = kernel.space
    places = {tuple(np.round(x, 9)): k for k, x in enumerate(kernel.displacements)}
    y = space.coordinates[:, : space.domain.dimension]
    table = np.array([[places[tuple(np.round(b - a, 9) + 0.0)] for b in y] for a in y])  # [k, i]: y_i − y_k
    dense = fs.DenseKernel(space, kernel.num_intervals)
    values = kernel.parameters().reshape(kernel.num_intervals, -1)
    dense.assign(np.ascontiguousarray(values[:, table]).ravel())
    return dense, table


def test_products_are_those_of_a_dense_kernel(space):
    """Fails if a displacement, a weight, the wrap-around of the FFT or the numbering of nodes is wrong."""
    kernel = random(space)
    dense, _ = dense_of(kernel)
    f, q = smooth_states(space, slice(0, 3)), smooth_states(space, slice(4, 7), 1.0)
    for c in range(INTERVALS):
        for apply in (
            lambda k, out, c=c: k.apply(c, f, out),
            lambda k, out, c=c: k.apply(c, f, out, keep=True),
            lambda k, out, c=c: k.add_transpose(c, q, 0.5, out=out),
        ):
            mine, other = q.copy(order="F"), q.copy(order="F")
            apply(kernel, mine)
            apply(dense, other)
            np.testing.assert_allclose(mine, other, rtol=0, atol=1e-12)
        nodes = np.arange(space.num_nodes)
        np.testing.assert_allclose(kernel.values(c, nodes), dense.values(c, nodes), atol=1e-14)


def test_pullback_is_that_of_a_dense_kernel(space):
    """Fails if the dual of a displacement is not the sum of those of the pairs of nodes that it connects."""
    kernel = random(space)
    dense, table = dense_of(kernel)
    f, q = smooth_states(space, slice(0, 3)), smooth_states(space, slice(4, 7), 1.0)
    found = []
    for k in (kernel, dense):
        pullback = k.create_pullback()
        for c, scale in enumerate((1.0, -2.0, 0.5)):
            k.add_pullback(c, q, f, scale=scale, out=pullback)
            k.add_pullback(c, f, f, scale=scale, out=pullback)
        found.append(k.parameter_dual(pullback).reshape(INTERVALS, -1))
    summed = [np.bincount(table.ravel(), d, minlength=len(kernel.displacements)) for d in found[1]]
    np.testing.assert_allclose(found[0], summed, rtol=0, atol=1e-12 * np.abs(found[0]).max())


def test_the_contract(space):
    """Fails if the kernel lacks a method, is not linear in its parameters, or the inner product is not that of w."""
    kernel, other = random(space), random(space, 2)
    assert isinstance(kernel, Kernel) and kernel.is_linear and kernel.parameters().shape == (kernel.num_parameters,)
    direction = kernel.create_direction()
    assert isinstance(direction, KernelDirection)
    direction.assign(other.parameters())
    f = smooth_states(space, slice(0, 2))
    outs = [np.empty_like(f, order="F") for _ in range(2)]
    direction.apply(1, f, outs[0])
    other.apply(1, f, outs[1])
    np.testing.assert_array_equal(*outs)
    theta = kernel.parameters()
    m, w = space.weights, [kernel.values(c, space.canonical) for c in range(INTERVALS)]
    square = sum(np.einsum("i,j,ij->", m, m, values**2) for values in w)
    assert theta @ kernel.apply_mass(theta) == pytest.approx(square, rel=1e-12)
    np.testing.assert_allclose(kernel.riesz(kernel.apply_mass(theta)), theta, rtol=1e-13)
    np.testing.assert_allclose(kernel.lumped_mass() * theta, kernel.apply_mass(theta), rtol=1e-13)
    assert [v.shape[0] for v in kernel.by_interval(theta)] == [INTERVALS]


@pytest.mark.parametrize("scheme", ["euler", "rk4", "crank_nicolson"])
def test_gradient_and_adjoint(space, scheme):
    """Fails if a sweep with a convolution, alone or in a sum, has another derivative."""
    if scheme != "euler" and space.domain.dimension > 1:
        space = fs.StateSpace(DOMAINS["interval"]())
    for kernel in (random(space), random(space) + fs.SeparableKernel.random(space, INTERVALS, 2, scale=1.0, seed=3)):
        problem = make_problem(space, kernel=kernel, scheme=scheme, layers=INTERVALS, intervals=INTERVALS, horizon=0.5)
        certificate = verify_gradient(problem.functional, problem.moved(size=0.5))
        assert certificate.taylor_order > 1.95
        assert adjoint_identity_error(problem.functional, problem.moved(size=0.5)) < 1e-12


def test_a_profile_by_function_and_by_formula():
    """Fails if a formula reads another displacement than a function does, or the time is that of another interval."""
    space = fs.StateSpace(DOMAINS["quadrilateral"]())
    grid = fs.DepthGrid(layers=2)
    by_function = fs.ConvolutionKernel.interpolate(space, lambda t, x: np.exp(-(x[0] ** 2)) * (1 + t) - x[1], grid)
    formula = parse_formula("exp(-x0**2)*(1 + t) - x1", ["t", "x0", "x1"])
    by_formula = fs.ConvolutionKernel.interpolate(space, formula, grid)
    np.testing.assert_allclose(by_function.parameters(), by_formula.parameters(), rtol=1e-15)
    dense = fs.DenseKernel.interpolate(
        space, lambda t, y, z: np.exp(-((y[0] - z[0]) ** 2)) * (1 + t) - (y[1] - z[1]), grid
    )
    f, outs = smooth_states(space, slice(0, 2)), [space.create_block(2) for _ in range(2)]
    for kernel, out in zip((by_function, dense), outs, strict=True):
        kernel.apply(1, f, out)
    np.testing.assert_allclose(*outs, atol=1e-13)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: fs.StateSpace(fs.interval(MPI.COMM_SELF, cells=8, grading=2.0)), "equal distances"),
        (lambda: fs.StateSpace(fs.interval(MPI.COMM_SELF, cells=8), 3), "equal distances"),
        (lambda: fs.StateSpace(fs.interval(MPI.COMM_SELF, cells=8), 1, "dg", mode="galerkin"), "equal distances"),
    ],
)
def test_other_nodes_are_refused(make, why):
    """Fails if nodes that are no uniform grid are taken for one."""
    with pytest.raises(InvalidInput, match=why):
        fs.ConvolutionKernel(make(), 1)


def test_degree_two_is_uniform_and_cells_are_too():
    """Fails if grids are refused that are uniform: nodes and midpoints, and the centres of equal cells."""
    for space in (
        fs.StateSpace(fs.interval(MPI.COMM_SELF, cells=4), 2),
        fs.StateSpace(fs.interval(MPI.COMM_SELF, cells=4), 0, "dg"),
    ):
        kernel = random(space)
        dense, _ = dense_of(kernel)
        f, outs = smooth_states(space, slice(0, 2)), [space.create_block(2) for _ in range(2)]
        for k, out in zip((kernel, dense), outs, strict=True):
            k.apply(0, f, out)
        np.testing.assert_allclose(*outs, atol=1e-12)


def test_wrong_profiles_are_refused():
    """Fails if a profile of another shape, or one that is infinite at zero, makes a kernel."""
    space = fs.StateSpace(DOMAINS["interval"]())
    for profile, why in ((lambda t, x: np.ones(3), "one number for each"), (lambda t, x: 1 / x[0], "not finite")):
        with np.errstate(divide="ignore"), pytest.raises(InvalidInput, match=why):
            fs.ConvolutionKernel.interpolate(space, profile, fs.DepthGrid(layers=1))


CASE = {
    "domain": {"shape": "interval", "cells": 8},
    "dynamics": {"layers": 3, "representation": "convolution"},
    "data": {"initial": "cos(3*y) + s", "target": "0.5*cos(3*y)", "samples": 3},
    "objective": {"loss": "tracking"},
    "optimizer": {"max_iterations": 40},
}


def test_a_case_trains_and_what_it_trained_is_read(tmp_path):
    """Fails if the case file, the training, or the pictures do not know the kernel."""
    case = parse_case(CASE)
    problem = fs.build_problem(case)
    result = fs.studies.train(problem, case.optimizer, folder=tmp_path / "run", output=case.output)
    assert result.report.objective < 0.5 * problem.scaled_functional.evaluate(problem.scaled_start)[0]
    shown = _controls_to_show(problem.functional.stepper)
    nodes = np.arange(problem.space.num_nodes)
    np.testing.assert_array_equal(shown.kernels[0], problem.functional.stepper.kernel.values(0, nodes))


@pytest.mark.parametrize("profile", ["exp(-x**2)", "exp(-x**2)*(1 + t)"])
def test_forward_and_stability_with_a_profile(profile):
    """Fails if a profile is another kernel than the same formula of y − z, also where it depends on time."""
    more = {"data": {"initial": "cos(3*y)"}, "domain": {"shape": "interval", "cells": 8}}
    kernels = (
        {"representation": "convolution", "profile": profile},
        {"representation": "dense", "kernel": profile.replace("x", "(y - z)").replace("e(y - z)p", "exp")},
    )
    fields = [fs.build_field(parse_case({**more, "dynamics": kernel})) for kernel in kernels]
    assert fields[0].field.is_autonomous == ("t" not in profile.replace("exp", ""))
    for problem in fields:
        problem.field.move_to(0.4)
    rates = [problem.field.rate(problem.initial.copy(order="F")) for problem in fields]
    np.testing.assert_allclose(*rates, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"domain": {"shape": "interval", "cells": 8, "grading": 2.0}}, "equal distances"),
        ({"parallel": {"space": 2}}, "share the samples"),
        ({"dynamics": {"representation": "dense", "profile": "x"}}, "belongs to a convolution kernel"),
        ({"dynamics": {"representation": "convolution", "profile": "y - z"}}, "dynamics.profile"),
    ],
)
def test_wrong_cases_are_refused_with_their_keys(keys, why):
    """Fails if a key that a convolution cannot follow is taken."""
    with pytest.raises(InvalidInput, match=why):
        parse_case({**CASE, **keys})
