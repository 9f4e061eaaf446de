# SPDX-License-Identifier: MIT
"""The array code equals the weak form: right-hand side, tangent and adjoint of every activation, in both modes.

The forms are those of `fem_selection.dynamics.equation`, assembled by dolfinx; the tangent among them is UFL's own
derivative of the right-hand side, so that an activation's hand-simplified derivative is held to it as well.
"""

from __future__ import annotations

import numpy as np
import pytest
from dolfinx import mesh
from mpi4py import MPI
from problems import MODES, smooth_states
from weak_forms import blocks_and_forms

from fem_selection.discretization.elements import create_element
from fem_selection.discretization.meshes import domains
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics import SelectionEquation
from fem_selection.dynamics.superposition import create_superposition
from fem_selection.functions.activations import ACTIVATIONS, Activation

SHAPES = [
    ("quadrilateral", 2, 2, "collocated"),
    ("quadrilateral", 2, 1, "galerkin", "dg"),
    ("triangle", 2, 1, "collocated"),
    ("triangle", 2, 3, "galerkin"),
    ("interval", 3, 0, "collocated", "dg"),
]


def check(space, activation):
    """That array code and forms agree to round-off, and that the tape changes no value."""
    s = np.asfortranarray(2.5 * smooth_states(space, slice(0, 3), 0.3))
    ds, dual = smooth_states(space, slice(3, 6)), smooth_states(space, slice(6, 9), 1.0)
    for block, assembled in blocks_and_forms(space, activation, s, ds=ds, dual=dual):
        assert np.abs(assembled).max() > 1e-3  # otherwise nothing is compared
        assert np.abs(block - assembled).max() <= 1e-13 * np.abs(assembled).max()
    operator = create_superposition(SelectionEquation(space, activation))
    without, value = space.create_block(3), space.create_block(3)
    operator.evaluate(s, without)
    operator.evaluate_with_tape(s, value, np.empty((operator.tape_rows, 3), order="F"))
    np.testing.assert_array_equal(without, value)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_array_code_equals_the_forms(spaces, mode, name):
    """Fails if σ or σ' is translated wrongly, evaluated at other points than the form's, weighted differently, or the
    transpose has the mass solve on the wrong side."""
    check(spaces("interval", 4, 2, mode), ACTIVATIONS[name])


@pytest.mark.parametrize("key", SHAPES, ids=lambda key: "-".join(map(str, key)))
def test_other_cells_and_families(spaces, key):
    """Fails if the tabulated basis orders the nodes of edges or faces differently from the form, or mixes up cells."""
    check(spaces(*key), ACTIVATIONS["tanh"])


@pytest.mark.parametrize("mode", MODES)
def test_distorted_cells(mode):
    """Fails if the quadrature weights take the Jacobian of a cell as constant."""
    points = np.array([[0, 0], [1.2, 0.1], [2, -0.2], [0.1, 1], [0.8, 0.7], [2.2, 1.4]])
    cells = np.array([[0, 1, 3, 4], [1, 2, 4, 5]])
    own = mesh.create_mesh(MPI.COMM_SELF, cells, create_element("quadrilateral", "lagrange", 1, shape=(2,)), points)
    check(StateSpace(domains.from_mesh(own), 2, mode=mode), ACTIVATIONS["tanh"])


def test_the_users_own_activation(spaces):
    """Fails if one UFL function is not enough for forms and array code alike."""
    check(
        spaces("interval", 4, 2, "collocated"),
        Activation(name="shifted", expression=lambda s: (s + 0.2) ** 3 / (1 + s**2)),
    )


@pytest.mark.parametrize("mode", MODES)
def test_derivative_and_transpose_are_adjoint(spaces, mode):
    """Fails if ⟨Π σ' ds, d⟩ ≠ ⟨ds, (Π σ')ᵀ d⟩ in the Euclidean product."""
    space = spaces("interval", 4, 2, mode)
    operator = create_superposition(SelectionEquation(space, ACTIVATIONS["tanh"]))
    s, ds, dual = (smooth_states(space, slice(k, k + 3)) for k in (0, 3, 6))
    value, forward, backward = (space.create_block(3) for _ in range(3))
    tape = np.empty((operator.tape_rows, 3), order="F")
    operator.evaluate_with_tape(s, value, tape)
    operator.apply_derivative(tape, ds, forward)
    operator.apply_transpose(tape, dual, backward)
    assert np.vdot(forward, dual) == pytest.approx(np.vdot(ds, backward), rel=1e-13)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("constant", [0.0, 0.7], ids=["zero", "constant"])
def test_activations_whose_forms_vanish(spaces, mode, constant):
    """Fails if a form without integrals ends the run: σ' of a constant vanishes, and σ itself if the constant is 0."""
    space = spaces("interval", 4, 2, mode)
    activation = Activation(name="constant", expression=lambda s: constant + 0 * s)
    s, ds, dual = (smooth_states(space, slice(k, k + 3)) for k in (0, 3, 6))
    for block, assembled in blocks_and_forms(space, activation, s, ds=ds, dual=dual):
        np.testing.assert_allclose(block, assembled, rtol=0, atol=1e-14)
    equation, (g, h) = SelectionEquation(space, activation), (s[:, 0], s[:, 1])
    mass_of_one = space.apply_mass(np.ones((space.num_local, 1), order="F"))[:, 0]
    expected = space.apply_mass(s)[:, 0] - space.apply_mass(s)[:, 1] - 0.3 * constant * mass_of_one
    np.testing.assert_allclose(equation.assemble_stage(g, h, 0.3, s=s[:, 2]), expected, rtol=0, atol=1e-14)
    expected = space.apply_mass(ds)[:, 0]
    found = equation.assemble_stage_tangent(0.3, s[:, 2], ds[:, 0], ds=ds[:, 1])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


def test_the_jacobian_of_a_stage_has_its_own_factor(spaces):
    """Fails if it takes the factor a of the residual that was assembled before."""
    space = spaces("interval", 4, 2, "galerkin")
    equation = SelectionEquation(space, ACTIVATIONS["tanh"])
    s, dg, ds = smooth_states(space, slice(0, 3)).T
    equation.assemble_stage(s, dg, 0.9, s=ds)
    at_zero, once, twice = (equation.assemble_stage_tangent(a, s, dg, ds=ds) for a in (0.0, 0.3, 0.6))
    assert np.abs(once - at_zero).max() > 1e-3
    np.testing.assert_allclose(twice - at_zero, 2 * (once - at_zero), rtol=0, atol=1e-14)
