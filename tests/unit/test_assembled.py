# SPDX-License-Identifier: MIT
"""`dynamics.evaluation = "assembled"`: what runs by assembled forms equals what runs by array code."""

from __future__ import annotations

import numpy as np
import pytest

import fem_selection as fs
from fem_selection.dynamics.superposition import create_superposition
from fem_selection.errors import InvalidInput

CASE = """
[domain]
shape = "interval"
cells = 4
[space]
mode = "{mode}"
[dynamics]
activation = "{activation}"
layers = 3
scheme = "{scheme}"
kernel = "cos(y - z)"
bias = "0.3*sin(2*y)"
[data]
source = "formula"
initial = "cos(3*y) + s"
target = "0.5"
samples = 3
[objective]
loss = "tracking"
controls = ["kernel", "bias"]
"""
SETS = [
    ("collocated", "tanh", "heun"),
    ("collocated", "gelu", "implicit_midpoint"),
    ("galerkin", "softplus", "euler"),
    ("galerkin", "tanh", "crank_nicolson"),
    ("collocated", "0.7", "euler"),
]


def problem_of(folder, evaluation: str, mode: str, activation: str, scheme: str) -> fs.learning.LearningProblem:
    """The problem of a case with one way of evaluation."""
    path = folder / "case.toml"
    path.write_text(CASE.format(mode=mode, activation=activation, scheme=scheme))
    return fs.build_problem(fs.load_case(path, [f'dynamics.evaluation="{evaluation}"']))


@pytest.mark.parametrize(("mode", "activation", "scheme"), SETS)
def test_objective_gradient_and_hessian_are_the_same(tmp_path, mode, activation, scheme):
    """Fails if the forms state another σ, derivative, adjoint or second derivative than the array code, or if a part of
    a sweep does not follow the setting."""
    found = []
    for evaluation in ("compiled", "layers", "assembled"):
        problem = problem_of(tmp_path, evaluation, mode, activation, scheme)
        functional = problem.functional
        assert functional.stepper.evaluation == evaluation
        x = functional.control_space.random_direction(1)
        value, dual = functional.evaluate(x)
        hessian = fs.learning.Hessian(functional)
        hessian.linearize(x)
        found.append((value, dual, hessian.apply(functional.control_space.random_direction(2))))
    for value, dual, action in found[:2]:
        assert value == pytest.approx(found[2][0], rel=1e-12)
        for mine, other in ((dual, found[2][1]), (action, found[2][2])):
            np.testing.assert_allclose(mine, other, rtol=0.0, atol=1e-12 * np.max(np.abs(other)))


def test_a_changed_form_is_what_runs(tmp_path):
    """Fails if "assembled" runs something beside the forms: twice the form must move a state twice as far."""
    stepper = problem_of(tmp_path, "assembled", "collocated", "tanh", "euler").functional.stepper
    initial = np.asfortranarray(np.ones((5, 2)))
    before = stepper.advance_without_tape(initial, (1,))[1][0] - initial
    equation = stepper.superposition.equation
    equation.form = 2 * equation.form
    equation._compiled.clear()
    after = stepper.advance_without_tape(initial, (1,))[1][0] - initial
    np.testing.assert_allclose(after, 2 * before, rtol=1e-13)


def test_unknown_ways_are_refused(tmp_path):
    """Fails if a misspelt evaluation runs as another one."""
    stepper = problem_of(tmp_path, "layers", "collocated", "tanh", "euler").functional.stepper
    with pytest.raises(InvalidInput, match="compiled, layers, assembled"):
        create_superposition(stepper.space, stepper.activation, "asembled")


def test_fields_follow_the_setting(tmp_path):
    """Fails if `forward`, `steady` or `stability` evaluate σ by array code where forms are asked for."""
    path = tmp_path / "case.toml"
    path.write_text(CASE.format(mode="galerkin", activation="tanh", scheme="euler"))
    ways = [[f'dynamics.evaluation="{e}"'] for e in ("compiled", "assembled")]
    fields = [fs.build_field(fs.load_case(path, way)).field for way in ways]
    assert hasattr(fields[1].superposition, "equation")
    f = np.asfortranarray(np.random.default_rng(0).standard_normal((5, 3)))
    np.testing.assert_allclose(*(field.rate(f) for field in fields), rtol=0.0, atol=1e-13)
    first, second = (field.linearize(f) for field in fields)
    np.testing.assert_allclose(first.apply(f), second.apply(f), rtol=0.0, atol=1e-13)
    np.testing.assert_allclose(first.apply_transpose(f), second.apply_transpose(f), rtol=0.0, atol=1e-13)


def test_verify_handles_last_weights_of_zero(tmp_path):
    """Fails if the comparison of `verify` divides by the weight of a last stage that a scheme does not use."""
    stepper = problem_of(tmp_path, "layers", "collocated", "tanh", "euler").functional.stepper
    scheme = fs.Scheme(name="unused", order=1, a=((), (0.5,)), b=(1.0, 0.0))
    other = fs.Stepper(
        stepper.space, stepper.kernel, stepper.bias, activation=stepper.activation, scheme=scheme, grid=stepper.grid
    )
    from fem_selection.learning.weak_form import _Comparison

    initial = np.asfortranarray(np.random.default_rng(0).standard_normal((5, 2)))
    comparison = _Comparison(other, initial, np.random.default_rng(1))
    assert max(max(comparison.errors_of_layer(n)) for n in range(3)) < 1e-12


def test_large_arguments_do_not_overflow(tmp_path):
    """Fails if the derivative runs in UFL's form of tanh', which is infinity over infinity at s = 1000."""
    operator = problem_of(tmp_path, "assembled", "galerkin", "tanh", "euler").functional.stepper.superposition
    s, out = np.full((5, 1), 1e3, order="F"), np.empty((5, 1), order="F")
    for apply in (operator.apply_derivative, operator.apply_transpose):
        apply(s, np.ones_like(s, order="F"), out)
        np.testing.assert_allclose(out, 0.0, atol=1e-300)
