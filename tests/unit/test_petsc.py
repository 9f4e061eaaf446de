# SPDX-License-Identifier: MIT
"""Functions as PETSc's matrices and preconditioners, their release, and reasons in words."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from petsc4py import PETSc

import fem_selection
from fem_selection.petsc import (
    create_shell,
    ksp_reason,
    released,
    remove_shift,
    set_preconditioner,
    snes_reason,
    tao_reason,
)

SIZE = 5


def test_the_first_error_stands_when_objects_cannot_be_destroyed():
    """Fails if the error of a solver is hidden by that of its own destruction, or destruction ends at the first."""
    destroyed = []

    class Broken:
        def destroy(self):
            destroyed.append(self)
            raise PETSc.Error(58)

    with pytest.raises(ZeroDivisionError), released(Broken(), Broken()):
        raise ZeroDivisionError
    assert len(destroyed) == 2


def times(matrix):
    """The product with a dense matrix, as an action."""

    def act(x, y):
        y[:] = matrix @ x

    return act


@pytest.fixture
def dense(rng):
    """A dense matrix that is well conditioned and not symmetric."""
    return np.eye(SIZE) + 0.1 * rng.normal(size=(SIZE, SIZE))


def test_a_shell_is_the_dense_matrix(dense, rng):
    """Fails if the product, its transpose or a shift of the shell are those of another matrix."""
    shell = create_shell(MPI.COMM_SELF, SIZE, times(dense), apply_transpose=times(dense.T))
    x, y = shell.createVecs()
    with released(shell, x, y):
        x.array[:] = rng.normal(size=SIZE)
        shell.mult(x, y)
        np.testing.assert_allclose(y.array_r, dense @ x.array_r, rtol=1e-15)
        shell.multTranspose(x, y)
        np.testing.assert_allclose(y.array_r, dense.T @ x.array_r, rtol=1e-15)
        shell.shift(2.0)
        shell.shift(0.5)
        shell.mult(x, y)
        np.testing.assert_allclose(y.array_r, dense @ x.array_r + 2.5 * x.array_r, rtol=1e-15)
        shell.multTranspose(x, y)
        np.testing.assert_allclose(y.array_r, dense.T @ x.array_r + 2.5 * x.array_r, rtol=1e-15)
        remove_shift(shell)
        shell.mult(x, y)
        np.testing.assert_allclose(y.array_r, dense @ x.array_r, rtol=1e-15)


def test_a_symmetric_shell_is_its_own_transpose(dense, rng):
    """Fails if PETSc is not told of the symmetry, or asks in vain for the product with the transpose."""
    symmetric = dense + dense.T
    shell = create_shell(MPI.COMM_SELF, SIZE, times(symmetric), is_symmetric=True)
    x, y = shell.createVecs()
    with released(shell, x, y):
        assert shell.isSymmetricKnown() == (True, True)
        x.array[:] = rng.normal(size=SIZE)
        shell.multTranspose(x, y)
        np.testing.assert_allclose(y.array_r, symmetric @ x.array_r, rtol=1e-15)


def test_a_shell_without_a_transpose_says_so(dense):
    """Fails if the product with an unknown transpose comes out as some number instead of an error."""
    shell = create_shell(MPI.COMM_SELF, SIZE, times(dense))
    x, y = shell.createVecs()
    with released(shell, x, y), pytest.raises(PETSc.Error):
        shell.multTranspose(x, y)


def test_a_preconditioner_that_is_the_inverse(dense, rng):
    """GMRES needs one iteration. Fails if the preconditioner's function is not called, or its result is not taken."""
    shell = create_shell(MPI.COMM_SELF, SIZE, times(dense))
    x, y = shell.createVecs()
    solver = PETSc.KSP().create(MPI.COMM_SELF)
    with released(solver, shell, x, y):
        y.array[:] = rng.normal(size=SIZE)
        solver.setOperators(shell)
        solver.setType(PETSc.KSP.Type.GMRES)
        set_preconditioner(solver.getPC(), times(np.linalg.inv(dense)))
        solver.setTolerances(rtol=1e-12)
        solver.solve(y, x)
        assert solver.getIterationNumber() == 1
        np.testing.assert_allclose(dense @ x.array_r, y.array_r, rtol=1e-12)


def test_released_objects_are_gone_also_after_an_error(dense):
    """Fails if an object outlives its block, where the destruction that is left to the collector may hang ranks."""
    shell = create_shell(MPI.COMM_SELF, SIZE, times(dense))
    vector = shell.createVecRight()
    with pytest.raises(ZeroDivisionError), released(shell, vector):
        raise ZeroDivisionError
    assert not shell and not vector


def test_reasons_are_sentences():
    """Fails if a reason is taken for another's, or one without a sentence is not told by its number."""
    assert ksp_reason(PETSc.KSP.ConvergedReason.DIVERGED_MAX_IT) == "the iteration limit was reached"
    assert snes_reason(PETSc.SNES.ConvergedReason.DIVERGED_LINEAR_SOLVE) == "a linear solve did not converge"
    assert tao_reason(PETSc.TAO.ConvergedReason.DIVERGED_NAN).endswith("became infinite or NaN")
    assert [reason(-99).split()[-1] for reason in (ksp_reason, snes_reason, tao_reason)] == ["-99"] * 3


@pytest.mark.parametrize("word, home", [("createPython", "petsc.py"), ("SLEPc.EPS", "linalg/eigensolver.py")])
def test_one_place_makes_them(word, home):
    """Fails if a module makes shell matrices or eigensolvers of its own, beside the ones that release their objects."""
    package = Path(fem_selection.__file__).parent
    texts = {path.relative_to(package).as_posix(): path.read_text() for path in package.rglob("*.py")}
    assert [name for name, text in texts.items() if re.search(rf"\b{re.escape(word)}\b", text)] == [home]
