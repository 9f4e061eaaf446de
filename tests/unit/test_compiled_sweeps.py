# SPDX-License-Identifier: MIT
"""Compiled sweeps against sweeps layer by layer and assembled weak forms: every σ, scheme, kernel and block size."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import ufl
from problems import KERNELS, make_domain, smooth_states

from fem_selection.adjoint.backward import sweep_back
from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics import SCHEMES, Scheme, SelectionEquation, Stepper, compiled, find_scheme
from fem_selection.errors import InvalidInput
from fem_selection.functions import programs
from fem_selection.functions.activations import ACTIVATIONS, Activation, ActivationFamily, find_activation
from fem_selection.kernels import DenseKernel, Kernel, SeparableKernel
from fem_selection.typing import create_block

EXPLICIT = [name for name, scheme in SCHEMES.items() if not scheme.is_implicit]
SUMS = {
    "dense": KERNELS["dense"],
    "separable": KERNELS["separable"],
    "dense + separable + separable": lambda space, intervals, seed=7: (
        DenseKernel.random(space, intervals, 1.0, seed=seed)
        + SeparableKernel.random(space, intervals, 3, scale=1.0, seed=seed)
        + SeparableKernel.random(space, intervals, 1, scale=1.0, seed=seed + 1)
    ),
}
TOLERANCE = 1e-13


@pytest.fixture(autouse=True)
def all_sizes(monkeypatch):
    """Let the smallest blocks be swept by compiled code."""
    monkeypatch.setattr("fem_selection.dynamics.stepper.SMALLEST", 1)
    monkeypatch.setattr(programs, "SMALLEST", 1)


def make_stepper(
    activation: Activation,
    scheme: str | Scheme,
    kernel: str = "dense",
    *,
    cells: int = 6,
    layers: int = 4,
    intervals: int = 2,
) -> Stepper:
    """A stepper on an interval with a bias that depends on node and interval."""
    space = StateSpace(make_domain("interval", cells), 1, mode="collocated")
    bias = 0.3 * np.cos(np.arange(intervals)[:, None] + 3.0 * space.coordinates[:, 0])
    return Stepper(
        space,
        SUMS[kernel](space, intervals),
        bias,
        activation=activation,
        scheme=scheme if isinstance(scheme, Scheme) else find_scheme(scheme),
        grid=DepthGrid(layers=layers, horizon=1.3, intervals=intervals),
    )


def both_ways(stepper: Stepper, samples: int, *, to_initial: bool = True, incoming: bool = True) -> list[dict]:
    """Everything that a sweep forward and back computes, compiled and layer by layer."""
    results = []
    initial = smooth_states(stepper.space, slice(0, samples))
    weights = np.sin(np.arange(initial.size) + 1.0).reshape(initial.shape, order="F")
    for evaluation in ("compiled", "layers"):
        stepper.evaluation = evaluation
        assert (stepper.compiled_for(initial) is not None) == (evaluation == "compiled")
        tape = stepper.tape(samples)
        final = stepper.advance(initial, tape).copy()
        dual = np.asfortranarray(weights.copy())
        pullback, bias_dual = stepper.kernel.create_pullback(), np.zeros_like(stepper.bias)
        layers, stages = stepper.grid.layers, stepper.scheme.num_stages
        met = [[create_block(*initial.shape) for _ in range(stages)] for _ in range(layers)] if incoming else None
        sweep_back(
            stepper,
            tape,
            dual,
            kernel_pullback=pullback,
            bias_dual=bias_dual,
            to_initial=to_initial,
            incoming=met,
        )
        last, kept = stepper.advance_without_tape(initial, (0, 2, layers))
        found = {"final": final, "last": last, "kernel": pullback, "bias": bias_dual}
        found |= {f"state {n}": f.copy() for n, f in enumerate(tape.states)}
        found |= {f"stage {n}, {i}": g.copy() for n, row in enumerate(tape.stages) for i, g in enumerate(row)}
        found |= {f"slope {n}, {i}": d.copy() for n, row in enumerate(tape.slopes) for i, d in enumerate(row)}
        found |= {f"kept {n}": f for n, f in enumerate(kept)}
        if to_initial:
            found["initial"] = dual
        if met is not None:
            found |= {f"incoming {n}, {i}": block for n, row in enumerate(met) for i, block in enumerate(row)}
        results.append(found)
    return results


def assert_same(results: list[dict]) -> None:
    """All arrays agree to 1e-13 of their size."""
    first, second = results
    assert first.keys() == second.keys()
    for name, expected in second.items():
        scale = max(1.0, np.max(np.abs(expected), initial=0.0))
        np.testing.assert_allclose(first[name], expected, rtol=0.0, atol=TOLERANCE * scale, err_msg=name)


@pytest.mark.parametrize("scheme", EXPLICIT)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_and_scheme(name, scheme):
    """Fails if compiled code has another tableau, another σ or σ', or other equations than the layers have."""
    assert_same(both_ways(make_stepper(find_activation(name), scheme), 5))


@pytest.mark.parametrize("name", ["tanh", "gelu"], ids=["slope from the value", "slope on the tape"])
@pytest.mark.parametrize("weight", [0.6, -1.5])
def test_one_stage_of_another_weight(name, weight):
    """Fails if compiled code takes a scheme of one stage for Euler's: its b is the user's, forward and back."""
    scheme = Scheme(name="weighted", order=1, a=((),), b=(weight,))
    results = both_ways(make_stepper(find_activation(name), scheme), 5)
    assert_same(results)
    euler = both_ways(make_stepper(find_activation(name), "euler"), 5)[0]
    moved, by_euler = (r["state 1"] - r["state 0"] for r in (results[0], euler))
    np.testing.assert_allclose(moved, weight * by_euler, rtol=0.0, atol=1e-13)


def test_dual_in_another_layout_is_refused():
    """Fails if a dual in C order ends in an error without words, or is taken as if it were in Fortran order."""
    stepper = make_stepper(find_activation("tanh"), "euler")
    initial = smooth_states(stepper.space, slice(0, 5))
    tape = stepper.tape(5)
    stepper.advance(initial, tape)
    dual = np.ones(initial.shape, order="C")
    with pytest.raises(InvalidInput, match="Fortran order"):
        sweep_back(stepper, tape, dual, kernel_pullback=stepper.kernel.create_pullback(), bias_dual=None)


@pytest.mark.parametrize(("kernel", "scheme"), product(SUMS, EXPLICIT))
def test_every_kernel(kernel, scheme):
    """Fails if a factor, an interval, a sum or the dual of a factor is taken from another place."""
    for name in ("tanh", "gelu"):
        assert_same(both_ways(make_stepper(find_activation(name), scheme, kernel), 3))


@pytest.mark.parametrize("samples", [1, 2, 31, 64, 65, 180])
def test_every_block_size(samples):
    """Fails if runs of numbers begin at another row than they should, or blocks of work are shared by two sizes."""
    for kernel in SUMS:
        for cells in (1, 15, 63, 70):
            stepper = make_stepper(find_activation("tanh"), "heun", kernel, cells=cells)
            for number in (samples, 3, samples):
                assert_same(both_ways(stepper, number))


def test_many_nodes():
    """Fails if a column that is longer than a run meets the bias of other rows, or a large transpose is missing."""
    for kernel in ("separable", "dense"):
        stepper = make_stepper(find_activation("gelu"), "euler", kernel, cells=1300, layers=2, intervals=2)
        assert_same(both_ways(stepper, 3))


@pytest.mark.parametrize("to_initial", [False, True])
@pytest.mark.parametrize("scheme", EXPLICIT)
def test_parts_that_are_not_wanted(scheme, to_initial):
    """Fails if a derivative that nobody wants is computed into other memory, or is needed for the others."""
    stepper = make_stepper(find_activation("tanh"), scheme, "dense + separable + separable")
    assert_same(both_ways(stepper, 4, to_initial=to_initial, incoming=False))
    initial = smooth_states(stepper.space, slice(0, 4))
    found = []
    for evaluation in ("compiled", "layers"):
        stepper.evaluation = evaluation
        tape = stepper.tape(4)
        dual = np.asfortranarray(stepper.advance(initial, tape).copy())
        sweep_back(stepper, tape, dual, kernel_pullback=None, bias_dual=None, to_initial=True)
        found.append({"initial": dual})
    assert_same(found)


@pytest.mark.parametrize("scheme", EXPLICIT)
def test_against_the_assembled_form(scheme):
    """Fails if compiled layers solve another equation than the weak form in UFL says."""
    for name in ACTIVATIONS:
        stepper = make_stepper(find_activation(name), scheme, "dense + separable + separable", layers=3, intervals=3)
        space, tableau, step = stepper.space, stepper.scheme, stepper.grid.step
        equation = SelectionEquation(space, stepper.activation)
        state = smooth_states(space, slice(0, 2))
        final, _ = stepper.advance_without_tape(state)
        for n in range(3):
            rates: list[np.ndarray] = []
            for i in range(tableau.num_stages):
                terms = [a * rate for a, rate in zip(tableau.lower[i], rates, strict=True)]
                stage = np.asfortranarray(state + step * sum(terms, 0.0 * state))
                s = np.asfortranarray(np.repeat(stepper.bias[n][:, None], 2, axis=1))
                stepper.kernel.apply(n, stage, s, keep=True)
                dual = np.column_stack([equation.assemble_rate(s[:, j]) for j in range(2)])
                rates.append(space.riesz(np.asfortranarray(dual)))
            state = np.asfortranarray(state + step * sum(b * r for b, r in zip(tableau.b, rates, strict=True)))
        np.testing.assert_allclose(final, state, rtol=0.0, atol=TOLERANCE)


def test_controls_that_change_between_sweeps():
    """Fails if a sweep keeps the addresses of an earlier kernel or bias."""
    for kernel in SUMS:
        stepper = make_stepper(find_activation("tanh"), "rk4", kernel)
        before = both_ways(stepper, 3)
        stepper.kernel.assign(1.5 * stepper.kernel.parameters())
        stepper.bias += 0.1
        after = both_ways(stepper, 3)
        assert_same(after)
        assert np.max(np.abs(after[0]["final"] - before[0]["final"])) > 1e-3


@pytest.mark.parametrize("evaluation", ["compiled", "layers"])
def test_arrays_of_another_layout(evaluation):
    """Fails if sums are written as if they were contiguous, or lost in a copy, or memory beyond a tape is read."""
    stepper = make_stepper(find_activation("tanh"), "heun", "separable")
    stepper.evaluation = evaluation
    initial = smooth_states(stepper.space, slice(0, 4))
    tape, shape = stepper.tape(4), stepper.bias.shape
    final = stepper.advance(initial, tape).copy(order="F")
    size = stepper.kernel.create_pullback().shape

    def back(dual, pullback, bias_dual):
        sweep_back(stepper, tape, dual, kernel_pullback=pullback, bias_dual=bias_dual, to_initial=True)
        return dual, pullback, bias_dual

    expected = back(final.copy(order="F"), np.zeros(size), np.zeros(shape))
    room = np.zeros((shape[0], 2 * shape[1]))
    for bias_dual in (np.zeros(shape, order="F"), room[:, : shape[1]], room[:, 1::2]):
        room[...] = 0.0
        for pullback in (np.zeros(size), np.zeros((*size[:2], 2, *size[2:]))[:, :, 0]):
            bias_dual[...] = 0.0
            for found, right in zip(back(final.copy(order="F"), pullback, bias_dual), expected, strict=True):
                np.testing.assert_allclose(found, right, rtol=1e-13, atol=1e-13)
    with pytest.raises(ValueError, match="shape"):
        back(np.zeros((shape[1], 9), order="F"), np.zeros(size), np.zeros(shape))


def test_overflow_shows_in_the_state():
    """Fails if a state that is not finite is hidden, or ends the run."""
    stepper = make_stepper(Activation(name="growth", expression=lambda s: ufl.exp(30 * s * s)), "euler")
    final, _ = stepper.advance_without_tape(50.0 + smooth_states(stepper.space, slice(0, 2)))
    assert not np.isfinite(final).all()
    assert stepper.first_bad_layer(50.0 + smooth_states(stepper.space, slice(0, 2))) == 1


def test_what_goes_layer_by_layer(monkeypatch, spaces):
    """Fails if a sweep that compiled code cannot do is given to it: implicit stages, local kernels, Galerkin mode,
    parameters of σ, blocks in another order, machines without a compiler, tiny sweeps."""
    tanh = find_activation("tanh")
    block = np.ones((7, 3), order="F")
    assert make_stepper(tanh, "euler").compiled_for(block) is not None
    assert make_stepper(tanh, "crank_nicolson").compiled_for(block) is None
    assert make_stepper(tanh, "euler").compiled_for(np.ones((7, 3))) is None
    family = ActivationFamily(lambda s, mu: ufl.tanh(mu * s), ["mu"])
    assert make_stepper(family.at("member", {"mu": 2.0}), "euler").compiled_for(block) is None

    def stepper_of(space: StateSpace, kernel: Kernel) -> Stepper:
        bias = np.zeros((1, space.num_local))
        grid = DepthGrid(layers=2, intervals=1)
        return Stepper(space, kernel, bias, activation=tanh, scheme=find_scheme("euler"), grid=grid)

    galerkin = spaces("interval", 6, 1, "galerkin")
    assert stepper_of(galerkin, KERNELS["dense"](galerkin, 1)).compiled_for(block) is None
    collocated = spaces("interval", 6, 1)
    for name in ("local", "local + separable + dense"):
        assert stepper_of(collocated, KERNELS[name](collocated, 1)).compiled_for(block) is None

    monkeypatch.setattr("fem_selection.dynamics.stepper.SMALLEST", 7 * 3 * 2 + 1)
    assert stepper_of(collocated, KERNELS["dense"](collocated, 1)).compiled_for(block) is None
    monkeypatch.setattr("fem_selection.dynamics.stepper.SMALLEST", 7 * 3 * 2)
    assert stepper_of(collocated, KERNELS["dense"](collocated, 1)).compiled_for(block) is not None
    monkeypatch.setattr(compiled, "load_library", lambda *arguments: None)
    compiled._library.cache_clear()
    assert stepper_of(collocated, KERNELS["dense"](collocated, 1)).compiled_for(block) is None
    compiled._library.cache_clear()
