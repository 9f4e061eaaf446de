# SPDX-License-Identifier: MIT
"""Rank-adaptive training: what a new pair of factors gains, beside dense kernels and differences; the rounds."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI

import fem_selection as fs
from fem_selection.config import parse_case
from fem_selection.errors import InvalidInput
from fem_selection.learning.rank_growth import add_pairs, find_pairs

NEWTON = fs.OptimizerSettings(method="ntr", gradient_tolerance=1e-8, max_iterations=200)


def build(rank, *, alpha=1e-3, mode="collocated", scheme="euler", comm=None, representation="separable"):
    """Six functions steered to six others, with a separable kernel of a rank."""
    kernel = {"rank": rank} if representation == "separable" else {}
    case = {
        "domain": {"shape": "interval", "cells": 16},
        "space": {"mode": mode},
        "dynamics": {"layers": 4, "control_intervals": 2, "representation": representation, "scheme": scheme, **kernel},
        "data": {"initial": "cos(3*y + 2*s) + s", "target": "sin(4*y + 3*s) - s", "samples": 6},
        "objective": {"loss": "tracking"},
        "regularization": {"kernel": alpha, "bias": 1e-2},
    }
    return fs.build_problem(parse_case(case), MPI.COMM_SELF if comm is None else comm)


def moved(problem):
    """Controls away from the start."""
    start = problem.scaled_functional.to_controls(problem.scaled_start)
    return start + problem.functional.control_space.random_direction(3)


@pytest.mark.parametrize(("mode", "scheme"), [("collocated", "euler"), ("galerkin", "heun")])
def test_pairs_are_those_of_the_dense_gradient(mode, scheme):
    """Fails if the gradient in w, its part outside of the factors, or its singular values are wrong: by a dense kernel
    with the same w, its dual, and NumPy's decomposition."""
    problem, dense = build(2, mode=mode, scheme=scheme), build(0, mode=mode, scheme=scheme, representation="dense")
    x = moved(problem)
    found = find_pairs(problem.functional, x, 3)
    problem.functional.set_controls(x)
    space, kernel = problem.space, problem.functional.stepper.kernel
    parts = problem.functional.control_space.unpack(x)
    w = np.stack([kernel.values(c, space.canonical).T for c in range(2)])  # [k, i]: w(y_i, y_k)
    control_space = dense.functional.control_space
    f = dense.functional
    _, dual = f.evaluate(control_space.pack({"kernel": w, "bias": parts["bias"]}))
    gradient = control_space.unpack(dual)["kernel"] - f.regularization.kernel * f.stepper.grid.interval_length * (
        f.stepper.kernel.apply_mass(w.ravel())
    )
    mass = space.apply_mass(np.asfortranarray(np.eye(space.num_local)))
    root = np.linalg.cholesky(mass)
    for c, dual_of_w in enumerate(gradient.reshape(2, *w.shape[1:])):
        g = np.linalg.solve(root, np.linalg.solve(root, dual_of_w.T).T)  # in orthonormal coordinates, [k, i]
        u, v = (root.T @ factor for factor in kernel.factors[c])
        left, right = (np.linalg.qr(np.array(side))[0] for side in (u, v))
        normal = (g - right @ (right.T @ g)) @ (np.eye(len(g)) - left @ left.T)
        exact = np.linalg.svd(normal, compute_uv=False)[:3] / f.stepper.grid.interval_length
        np.testing.assert_allclose(found.values[c], exact, rtol=1e-9, atol=1e-12 * exact[0])
        np.testing.assert_allclose(space.norm(found.left[c]), 1.0, rtol=1e-10)


def test_a_new_pair_gains_what_is_said():
    """Fails if the pair has another sign or interval, or the regularization of its factors is not counted: the slope of
    J at size zero, by differences."""
    problem, larger = build(1), build(3)
    x = moved(problem)
    pairs = find_pairs(problem.functional, x, 2)
    spaces = problem.functional.control_space, larger.functional.control_space
    value, length = problem.functional.evaluate(x)[0], problem.functional.stepper.grid.interval_length
    for c in range(2):
        for k in range(2):
            slopes = []
            for size in (2e-4, 1e-4):
                sizes = np.zeros((2, 2))
                sizes[c, k] = size
                there = add_pairs(*spaces, x, pairs=pairs, size=sizes)
                slopes.append((larger.functional.evaluate(there)[0] - value) / size)
            assert 2 * slopes[1] - slopes[0] == pytest.approx(length * (1e-3 - pairs.values[c, k]), rel=1e-4)


def test_the_rank_grows_to_where_no_pair_helps():
    """Fails if the rounds end early, J rises from one to the next, or a kernel is called stationary that is not."""
    found = fs.studies.train_rank(build, NEWTON)
    assert found.verdict == "no pair lowers the objective" and found.rank > 1
    values = [r.objective_after for r in found.rounds]
    assert values == sorted(values, reverse=True) and found.objective == values[-1]
    last = found.rounds[-1]
    assert last.residual <= last.threshold and last.added == 0
    assert find_pairs(found.problem.functional, found.controls, 1).values.max() == pytest.approx(
        last.residual, rel=1e-6
    )
    full = build(17)
    whole = fs.minimize(full.scaled_functional, full.scaled_start, NEWTON).objective
    assert found.objective < 1.02 * whole and found.rank <= 6
    assert found.as_dict()["rounds"][-1]["rank_after"] == found.rank


def test_what_is_cut_is_said():
    """Fails if the error of cutting is not that of w in L², or the kernel keeps what is below the tolerance."""
    found = fs.studies.train_rank(build, NEWTON, first_rank=5, cut=0.2, max_rounds=1)
    (only,) = found.rounds
    assert only.rank == 5 and only.rank_after < 5 and found.verdict == "rounds used"
    again = build(5)
    report = fs.minimize(again.scaled_functional, again.scaled_start, NEWTON)
    again.functional.set_controls(again.scaled_functional.to_controls(report.scaled_solution))
    found.problem.functional.set_controls(found.controls)
    space, errors, sizes = found.problem.space, [], []
    for c in range(2):
        before, after = (p.functional.stepper.kernel.values(c, space.canonical) for p in (again, found.problem))
        errors.append(np.sqrt(space.weights @ (before - after) ** 2 @ space.weights))
        sizes.append(np.sqrt(space.weights @ before**2 @ space.weights))
    assert only.error == pytest.approx(max(errors), rel=1e-5)
    assert all(error <= 0.2 * size for error, size in zip(errors, sizes, strict=True))


def test_a_largest_rank_and_a_stop_end_it(tmp_path):
    """Fails if a limit is passed over, or a run that is stopped ends without its controls."""
    found = fs.studies.train_rank(build, NEWTON, largest_rank=1, folder=tmp_path / "ranks")
    assert found.verdict == "largest rank" and found.rank == 1 and (tmp_path / "ranks" / "0").is_dir()
    stopped = fs.studies.train_rank(build, NEWTON, stop=lambda: True)
    assert stopped.verdict == "stopped" and np.all(np.isfinite(stopped.controls))


def test_other_kernels_are_refused():
    """Fails if pairs are looked for beside a kernel that has no factors."""
    with pytest.raises(InvalidInput, match="separable"):
        fs.studies.train_rank(lambda rank: build(rank, representation="dense"), NEWTON)
