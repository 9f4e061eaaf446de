# SPDX-License-Identifier: MIT
"""`dynamics.evaluation = "assembled"`: what runs by assembled forms equals what runs by array code."""

from __future__ import annotations

import numpy as np
import pytest
import ufl
from dolfinx import fem
from mpi4py import MPI

import fem_selection as fs
from fem_selection.dynamics.superposition import create_superposition
from fem_selection.errors import InvalidInput
from fem_selection.functions.activations import ACTIVATIONS
from fem_selection.learning.weak_form import _Comparison, measure_weak_form
from fem_selection.steady.stability.regularity import count_kinks
from fem_selection.steady.stability.spectrum import analyze_spectrum

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


def case_of(folder, evaluation: str, mode: str, activation: str, scheme: str) -> fs.Case:
    """A case with one way of evaluation."""
    path = folder / "case.toml"
    path.write_text(CASE.format(mode=mode, activation=activation, scheme=scheme))
    return fs.load_case(path, [f'dynamics.evaluation="{evaluation}"'])


def problem_of(*given) -> fs.learning.LearningProblem:
    """The problem of such a case."""
    return fs.build_problem(case_of(*given))


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


class Damped(fs.SelectionEquation):
    """F(s; φ) = (σ(s) − s²/5, φ)."""

    def state(self, s, test):
        """F(s; φ)."""
        return super().state(s, test) - 0.2 * ufl.inner(s**2, test) * self.space.dx


class Moved(fs.SelectionEquation):
    """F(s; φ) = (σ(s), φ) − (∇s, ∇φ)/50 − (s ∂s, φ)/20, which no function of s at a point is; F' is not symmetric."""

    def state(self, s, test):
        """F(s; φ)."""
        more = 0.02 * ufl.inner(ufl.grad(s), ufl.grad(test)) + 0.05 * s * s.dx(0) * test
        return super().state(s, test) - more * ufl.dx(self.space.domain.mesh)


@pytest.mark.parametrize(("mode", "activation", "scheme"), SETS[:2])
def test_a_changed_form_is_what_runs(tmp_path, mode, activation, scheme):
    """Fails if some way of evaluation runs σ as it was given and not as the form states it."""
    found = []
    for evaluation in ("compiled", "layers", "assembled"):
        case = case_of(tmp_path, evaluation, mode, activation, scheme)
        problem = fs.build_problem(case, equation=Damped)
        functional = problem.functional
        x = functional.control_space.random_direction(1)
        hessian = fs.learning.Hessian(functional)
        hessian.linearize(x)
        found.append((*functional.evaluate(x), hessian.apply(functional.control_space.random_direction(2))))
        plain = fs.build_problem(case).functional.evaluate(x)[0]
        assert abs(plain - found[-1][0]) > 1e-4
        assert measure_weak_form(functional, x).largest < 1e-11
    for value, dual, action in found[:2]:
        assert value == pytest.approx(found[2][0], rel=1e-12)
        for mine, other in ((dual, found[2][1]), (action, found[2][2])):
            np.testing.assert_allclose(mine, other, rtol=0.0, atol=1e-12 * np.max(np.abs(other)))


@pytest.mark.parametrize("scheme", ["heun", "implicit_midpoint"])
def test_a_form_with_a_gradient_runs_by_assembly(tmp_path, scheme):
    """Fails if such a form is taken for a function of s, or its derivatives are not those of the form."""
    with pytest.raises(InvalidInput, match=r"assembled"):
        fs.build_problem(case_of(tmp_path, "compiled", "collocated", "tanh", scheme), equation=Moved)
    functional = fs.build_problem(
        case_of(tmp_path, "assembled", "collocated", "tanh", scheme), equation=Moved
    ).functional
    assert not functional.stepper.equation.is_pointwise
    x = 0.3 * functional.control_space.random_direction(1)
    certificate = fs.learning.verify_gradient(functional, x)
    assert certificate.taylor_order > 1.95 and certificate.adjoint_identity_error < 1e-12
    assert measure_weak_form(functional, x).largest < 1e-11
    h, hessian = functional.control_space.random_direction(2), fs.learning.Hessian(functional)
    hessian.linearize(x)
    step = 1e-5
    difference = (functional.evaluate(x + step * h)[1] - functional.evaluate(x - step * h)[1]) / (2 * step)
    np.testing.assert_allclose(hessian.apply(h), difference, rtol=0.0, atol=1e-7 * np.max(np.abs(difference)))


def test_forms_are_known_by_their_values(tmp_path):
    """Fails if a run with one diffusion passes for one with another: at constant s their rates are equal."""

    class MovedMore(Moved):
        def state(self, s, test):
            dx = ufl.dx(self.space.domain.mesh)
            return super().state(s, test) - 0.02 * ufl.inner(ufl.grad(s), ufl.grad(test)) * dx

    MovedMore.__name__ = Moved.__name__
    case = case_of(tmp_path, "assembled", "collocated", "tanh", "euler")
    described = [
        fs.learning.describe_problem(fs.build_problem(case, equation=one))["dynamics"]
        for one in (Moved, MovedMore, Moved)
    ]
    assert described[0]["activation"] == described[1]["activation"]
    assert described[0] == described[2] != described[1]


def forms_that_run_by_assembly():
    """Statements of the equation, and a word of each refusal."""
    dx, ds, inner = ufl.dx, ufl.ds, ufl.inner
    return {
        "grad": lambda e, s, v: inner(ufl.grad(s), ufl.grad(v)) * e.space.dx,
        "depends on the place": lambda e, s, v: (
            ufl.SpatialCoordinate(e.space.domain.mesh)[0] * inner(s, v) * e.space.dx
        ),
        "no value at a point": lambda e, s, v: ufl.cell_avg(s) * v * e.space.dx,
        "on part 1": lambda e, s, v: inner(s, v) * e.space.dx(1),
        "exterior_facet": lambda e, s, v: inner(s, v) * ds(e.space.domain.mesh),
        "quadrature": lambda e, s, v: inner(s, v) * dx(e.space.domain.mesh, metadata={"quadrature_degree": 7}),
        "neither s nor a number": lambda e, s, v: fem.Function(e.space.V) * inner(s, v) * e.space.dx,
    }


@pytest.mark.parametrize("word", list(forms_that_run_by_assembly()))
def test_forms_that_array_code_cannot_run_are_refused(word):
    """Fails if a form is read as a function of s that is none, or the reason is not said."""
    space = fs.StateSpace(fs.interval(MPI.COMM_SELF, cells=3))
    kind = type("Other", (fs.SelectionEquation,), {"state": forms_that_run_by_assembly()[word]})
    equation = kind(space, fs.find_activation("tanh"))
    assert not equation.is_pointwise
    with pytest.raises(InvalidInput, match=word) as caught:
        create_superposition(equation)
    assert "assembled" in str(caught.value)


def statements_that_are_none():
    """What is no form that is linear in the test function, and a word of each refusal."""
    return {
        "square": ("not linear", lambda e, s, v: s * v**2 * e.space.dx),
        "functional": ("not linear", lambda e, s, v: s * e.space.dx),
        "bilinear form": ("not linear", lambda e, s, v: ufl.TrialFunction(e.space.V) * s * v * e.space.dx),
        "expression": ("type Product: return a form", lambda e, s, v: s * v),
        "nothing": ("type NoneType: return a form", lambda e, s, v: None),
    }


@pytest.mark.parametrize("evaluation", ["compiled", "assembled"])
@pytest.mark.parametrize("name", list(statements_that_are_none()))
def test_statements_that_are_no_such_form_are_refused(name, evaluation):
    """Fails if such a statement is assembled: a bilinear form as a vector writes beyond its memory."""
    words, state = statements_that_are_none()[name]
    kind = type("Other", (fs.SelectionEquation,), {"state": lambda e, s, v: state(e, s, v)})
    space = fs.StateSpace(fs.interval(MPI.COMM_SELF, cells=3))
    with pytest.raises(InvalidInput, match=words):
        create_superposition(kind(space, fs.find_activation("tanh")), evaluation)


def ways_to_state_the_sine():
    """∫ sin(s) φ dy, written otherwise."""
    return {
        "derivative of an energy": lambda e, s, v: ufl.derivative(-ufl.cos(s) * e.space.dx, s, v),
        "derivative in a variable": lambda e, s, v: (
            (lambda x: ufl.diff(-ufl.cos(x), x))(ufl.variable(s)) * v * e.space.dx
        ),
        "two integrals": lambda e, s, v: 2 * ufl.sin(s) * v * e.space.dx - ufl.inner(ufl.sin(s), v) * e.space.dx,
        "with terms that vanish": lambda e, s, v: ufl.sin(s) * v * e.space.dx + 0 * s * v * e.space.dx,
        "two components": lambda e, s, v: (
            ufl.inner(ufl.as_vector([ufl.sin(s), s]), ufl.as_vector([v, 0 * v])) * e.space.dx
        ),
    }


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
@pytest.mark.parametrize("way", list(ways_to_state_the_sine()))
def test_the_way_in_which_it_is_written_does_not_matter(way, mode):
    """Fails if a function of s is read wrongly, or refused, because UFL has to differentiate or to expand first."""
    kind = type("Other", (fs.SelectionEquation,), {"state": lambda e, s, v: ways_to_state_the_sine()[way](e, s, v)})
    space = fs.StateSpace(fs.interval(MPI.COMM_SELF, cells=3), mode=mode)
    operators = [
        create_superposition(kind(space, fs.find_activation("tanh"))),
        create_superposition(kind(space, fs.find_activation("tanh")), "assembled"),
        create_superposition(fs.SelectionEquation(space, fs.find_activation("sine"))),
    ]
    s, found = np.asfortranarray(2.0 * np.random.default_rng(0).standard_normal((4, 2))), []
    for operator in operators:
        value, slope, tape = s.copy(order="F"), s.copy(order="F"), np.empty((operator.tape_rows, 2), order="F")
        operator.evaluate_with_tape(s, value, tape)
        operator.apply_derivative(tape, s, slope)
        found.append(np.stack([value, slope]))
    np.testing.assert_allclose(found[0], found[2], rtol=0.0, atol=1e-13)
    np.testing.assert_allclose(found[1], found[2], rtol=0.0, atol=1e-13)


def test_an_equation_at_rest():
    """Fails if a form without integrals is no form: F = 0."""
    space = fs.StateSpace(fs.interval(MPI.COMM_SELF, cells=3))
    kind = type("Rest", (fs.SelectionEquation,), {"state": lambda e, s, v: 0 * super(kind, e).state(s, v)})
    for evaluation in ("compiled", "assembled"):
        operator = create_superposition(kind(space, fs.find_activation("tanh")), evaluation)
        operator.evaluate(np.ones((4, 2), order="F"), out := np.ones((4, 2), order="F"))
        np.testing.assert_array_equal(out, 0.0)


class Restated(fs.SelectionEquation):
    """F(s; φ) = (σ(s), φ), stated by a method of its own."""

    def state(self, s, test):
        """F(s; φ)."""
        return super().state(s, test)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_stated_activation_is_the_given_one(name):
    """Fails if reading the form makes another object of σ, whose programs would be translated and compiled anew."""
    given = fs.find_activation(name)
    for mode in ("collocated", "galerkin"):
        space = fs.StateSpace(fs.interval(MPI.COMM_SELF, cells=3), mode=mode)
        assert Restated(space, given).activation is given
        assert fs.SelectionEquation(space, given).activation is given


def test_unknown_ways_are_refused(tmp_path):
    """Fails if a misspelt evaluation runs as another one."""
    stepper = problem_of(tmp_path, "layers", "collocated", "tanh", "euler").functional.stepper
    with pytest.raises(InvalidInput, match="compiled, layers, assembled"):
        create_superposition(stepper.equation, "asembled")


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


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_verdicts_are_those_of_the_derivative(tmp_path, mode):
    """Fails if what judges steady states takes the tape of assembled forms, s itself, for σ'(s): 0 at a zero of tanh,
    where σ' is 1, and without the kink of ReLU."""
    found = []
    for evaluation in ("compiled", "assembled"):
        both = []
        for activation in ("tanh", "relu"):
            field = fs.build_field(case_of(tmp_path, evaluation, mode, activation, "euler")).field
            field.bias[:] = 0.0
            at = field.linearize(np.zeros((5, 1), order="F"))
            both.append((float(np.abs(at.derivative()).max()), count_kinks(at, 1.0)))
        field = fs.build_field(case_of(tmp_path, evaluation, mode, "tanh", "euler")).field
        both.append(analyze_spectrum(field, np.ones((5, 1), order="F")).slope_range)
        found.append(both)
    assert found[0][:2] == found[1][:2] and found[0][2] == pytest.approx(found[1][2], rel=1e-13)
    assert found[0][0] == (1.0, 0) and found[0][1][1] > 0


def test_verify_handles_last_weights_of_zero(tmp_path):
    """Fails if the comparison of `verify` divides by the weight of a last stage that a scheme does not use."""
    stepper = problem_of(tmp_path, "layers", "collocated", "tanh", "euler").functional.stepper
    scheme = fs.Scheme(name="unused", order=1, a=((), (0.5,)), b=(1.0, 0.0))
    other = fs.Stepper(
        stepper.space, stepper.kernel, stepper.bias, activation=stepper.activation, scheme=scheme, grid=stepper.grid
    )
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
