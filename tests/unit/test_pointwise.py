# SPDX-License-Identifier: MIT
"""Minimisation at each neuron: against brute force, closed forms, and the conditions a minimiser satisfies."""

from __future__ import annotations

import numpy as np
import pytest
import ufl

from fem_selection.adjoint import pointwise
from fem_selection.adjoint.one_sample import minimize_one_sample
from fem_selection.adjoint.pointwise import OwnMaps, RowProblem, SharedMap, minimize_rows
from fem_selection.functions.activations import ACTIVATIONS, Activation, find_activation
from fem_selection.hjb.scalar import find_minimizer

SMOOTH = ("identity", "tanh", "softplus", "sigmoid", "gelu", "silu", "sine")


def sigma(activation: Activation, s: np.ndarray) -> np.ndarray:
    """σ at s; overflow far out is no fault here."""
    out = np.empty_like(s)
    with np.errstate(over="ignore", invalid="ignore"):
        activation.value(s, out)
    return out


def slope(activation: Activation, s: np.ndarray) -> np.ndarray:
    """σ' at s; overflow far out is no fault here."""
    value, out = np.empty_like(s), np.empty_like(s)
    with np.errstate(over="ignore", invalid="ignore"):
        activation.value_and_derivative(s, value, out)
    return out


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_one_sample_is_minimised_globally(name, rng):
    """Fails if a local minimum is taken for the global one, if a kink is stepped over, or if the interval is too short:
    compared with 240 001 samples of each of 60 functions."""
    activation = find_activation(name)
    p, gamma, shift = 5 * rng.normal(size=60), np.exp(rng.normal(size=60)), 2 * rng.normal(size=60)
    found = minimize_one_sample(activation, p, gamma, shift=shift)
    grid = np.linspace(-80, 80, 240001)
    values = sigma(activation, grid)
    lowest = [np.min(g * q * values + 0.5 * (grid - c) ** 2) for q, g, c in zip(p, gamma, shift, strict=True)]
    at = gamma * p * sigma(activation, found) + 0.5 * (found - shift) ** 2
    assert np.all(at <= np.array(lowest) + 1e-7)  # the grid misses the minimum of a parabola by 1e-7


def test_one_sample_of_the_identity_has_a_closed_form(rng):
    """Fails if γ enters at the wrong place: s = s° − γ p."""
    p, gamma, shift = rng.normal(size=(3, 7)), np.array(0.3), rng.normal(size=(3, 7))
    assert minimize_one_sample(find_activation("identity"), p, gamma, shift=shift) == pytest.approx(
        shift - 0.3 * p, abs=1e-12
    )


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("own", [False, True], ids=["one map", "own maps"])
def test_rows_end_at_minimisers(name, own, rng):
    """Fails if Newton's method stops early or at a saddle: c = −(p σ'(s)) Rᵀ, and no small step lowers h."""
    activation = find_activation(name)
    rows, r, samples = 12, 3, 8
    matrix = rng.normal(size=(rows, r, samples) if own else (r, samples))
    maps = OwnMaps(matrices=matrix) if own else SharedMap(matrix=matrix)
    problem = RowProblem(
        activation=activation, p=rng.normal(size=(rows, samples)), maps=maps, shift=rng.normal(size=(rows, samples))
    )
    everything = np.arange(rows)
    c, value = minimize_rows(problem, [np.zeros((rows, r)), rng.normal(size=(rows, r))])
    q = problem.p * slope(activation, problem.preactivation(c, everything))
    assert np.abs(c + maps.transpose(q, everything)).max() < 1e-8
    assert value == pytest.approx(problem.value(c, everything), abs=1e-13)
    for _ in range(20):
        nearby = problem.value(c + 1e-4 * rng.normal(size=c.shape), everything)
        assert np.all(nearby >= value - 1e-12)


def test_the_best_of_several_starts_is_kept(rng):
    """Fails if a later, worse start replaces a better one: sine has many minima."""
    problem = RowProblem(
        activation=find_activation("sine"),
        p=10 * np.ones((1, 1)),
        maps=SharedMap(matrix=np.ones((1, 1))),
        shift=np.array([[2.0]]),
    )
    starts = [np.full((1, 1), s) for s in (-3.6, 12.0, 3.0)]
    alone = [float(minimize_rows(problem, [s])[1][0]) for s in starts]
    assert max(alone) - min(alone) > 1
    for given in (starts, starts[::-1]):
        c, lowest = minimize_rows(problem, given)
        assert float(lowest[0]) == min(alone) == pytest.approx(float(problem.value(c, np.arange(1))[0]), rel=1e-14)


def test_bounds_hold_and_what_they_hold_pushes_against_them(rng):
    """Fails if a bound is crossed, or if an entry that could move inside is held: the projected gradient vanishes."""
    rows, r, samples = 9, 4, 6
    matrix, box = rng.normal(size=(r, samples)), np.full((rows, r), 0.3)
    problem = RowProblem(
        activation=find_activation("tanh"),
        p=rng.normal(size=(rows, samples)),
        maps=SharedMap(matrix=matrix),
        shift=None,
        bounds=(-box, box),
    )
    c, _ = minimize_rows(problem, [np.zeros((rows, r)), rng.normal(size=(rows, r))])
    q = problem.p * slope(problem.activation, problem.preactivation(c, np.arange(rows)))
    gradient = c + q @ matrix.T
    assert np.abs(c).max() <= 0.3
    assert np.any(np.abs(c) == 0.3) and np.any(np.abs(c) < 0.3)
    assert np.abs(c - np.clip(c - gradient, -0.3, 0.3)).max() < 1e-8


def test_a_looser_reduction_is_looser(rng):
    """Fails if `reduction` is ignored: gradients are then as small as with the tolerance alone."""
    matrix, p = rng.normal(size=(5, 40)), rng.normal(size=(6, 40))
    problem = RowProblem(activation=find_activation("tanh"), p=p, maps=SharedMap(matrix=matrix))

    def gradient(**options) -> np.ndarray:
        c, _ = minimize_rows(problem, [np.zeros((6, 5))], **options)
        q = p * slope(problem.activation, problem.preactivation(c, np.arange(6)))
        return np.linalg.norm(c + q @ matrix.T, axis=1)

    first = np.linalg.norm(p @ matrix.T, axis=1)
    assert np.all(gradient(reduction=0.1) <= 0.1 * first)
    assert gradient(reduction=0.1).max() > 1e3 * gradient().max()


def test_a_step_that_gains_too_little_is_halved():
    """Fails if Armijo's condition has the wrong sign: h(c) = p cos c + c²/2 is even, with h'' < 0 at 3π/4, and p such
    that the step −h' leads to −3π/4 + 1e-5.  There h is lower, but by 2e-5 of the promised fall; half of the step ends
    at 0, where h is 8.4 lower."""
    start, little = 0.75 * np.pi, 1e-5
    p = -(start - little) / np.sin(start)
    cosine = Activation(name="cosine", expression=ufl.cos)
    problem = RowProblem(activation=cosine, p=np.full((1, 1), p), maps=SharedMap(matrix=np.ones((1, 1))))

    def h(c: float) -> float:
        return p * np.cos(c) + 0.5 * c**2

    assert h(start) - 1e-4 * 4 * start**2 < h(-start + little) < h(start)
    c, value = minimize_rows(problem, [np.full((1, 1), start)], max_iterations=1)
    assert abs(c[0, 0]) < 1e-4 and value[0] == pytest.approx(h(0.0), abs=1e-8)


def test_activations_of_one_name_have_their_own_minimisers():
    """Fails if the table of minimisers of κ σ(s) + s²/2 is kept by the name: σ = μ s has s* = −μ κ."""
    kappa = np.array([0.5, -2.0])
    for mu in (1.0, 3.0):
        minimizer = find_minimizer(Activation(name="mine", expression=lambda s, mu=mu: mu * s))
        np.testing.assert_allclose(minimizer(kappa), -mu * kappa, rtol=1e-9)


@pytest.mark.parametrize(("name", "weight", "size"), [("elu", 1e7, 1e12), ("tanh", 1e7, 1e3), ("sine", 1e7, 1.0)])
def test_newton_ends_where_the_value_falls_no_more(monkeypatch, name, weight, size):
    """Fails if rows whose gradient cannot become small, for its round-off is large, go on to the last iteration."""
    calls, derivatives = [], pointwise._derivatives
    monkeypatch.setattr(pointwise, "_derivatives", lambda *given: calls.append(1) or derivatives(*given))
    p = weight * np.array([[1.1, -1.2], [1.7, -1.9], [2.1, -2.3]])
    matrix = size * np.array([[1.1, 1.2], [1.3, 1.1]])
    problem = RowProblem(activation=find_activation(name), p=p, maps=SharedMap(matrix=matrix))
    c, value = minimize_rows(problem, (np.full((3, 2), 1e-15),))
    assert len(calls) < 40 and np.all(value < problem.value(np.full((3, 2), 1e-15), np.arange(3)))
    again = minimize_rows(problem, (c,))[1]
    np.testing.assert_allclose(again, value, rtol=1e-12)


def test_many_lengths_at_a_time_are_one_after_another(rng, monkeypatch):
    """Fails if the line search takes another length than the first that is good."""
    activation = find_activation("sine")
    p, matrix = 50 * rng.normal(size=(40, 3)), rng.normal(size=(2, 3))
    problem = RowProblem(activation=activation, p=p, maps=SharedMap(matrix=matrix))
    start = rng.normal(size=(40, 2))
    together = minimize_rows(problem, (start,))
    monkeypatch.setattr(pointwise, "_TOGETHER", 1)
    one_by_one = minimize_rows(problem, (start,))
    np.testing.assert_allclose(together[0], one_by_one[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(together[1], one_by_one[1], rtol=1e-12)
