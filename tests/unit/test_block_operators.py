# SPDX-License-Identifier: MIT
"""Products and solves of sparse matrices with blocks, against dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sparse
from mpi4py import MPI
from petsc4py import PETSc

from fem_selection.discretization import block_products
from fem_selection.discretization.block_products import BlockProducts
from fem_selection.discretization.block_solver import BlockSolver
from fem_selection.errors import InvalidInput


def petsc_matrix(dense):
    """A matrix in PETSc's sparse format."""
    csr = sparse.csr_matrix(dense)
    matrix = PETSc.Mat().createAIJ(csr.shape, csr=(csr.indptr, csr.indices, csr.data), comm=MPI.COMM_SELF)
    matrix.assemble()
    return matrix


def test_products_with_kept_matrices():
    """Fails if a width that was used before is multiplied by old entries, or returns an older product."""
    rng = np.random.default_rng(1)
    dense = np.where(rng.random((7, 5)) < 0.6, rng.standard_normal((7, 5)), 0.0)
    matrix = petsc_matrix(dense)
    products = BlockProducts(matrix)
    for factor in (1.0, 1.0, -3.0):
        matrix.scale(factor)
        dense = factor * dense
        for columns in (1, 2, 3, 4, 5, 6, 2, 0):
            block, out = rng.standard_normal((5, columns)), np.full((7, columns), np.nan)
            products.apply(block, out)
            np.testing.assert_allclose(out, dense @ block, rtol=0, atol=1e-14 * max(1.0, abs(factor)) * 20)


def test_products_with_large_blocks(monkeypatch):
    """Fails if a block too large to be copied is multiplied wrongly, or read in C order without a word."""
    monkeypatch.setattr(block_products, "_SMALL", 0)
    dense, block = np.tril(np.ones((4, 4))), np.arange(8.0).reshape(4, 2)
    products, out = BlockProducts(petsc_matrix(dense)), np.zeros((4, 2), order="F")
    products.apply(np.asfortranarray(block), out)
    np.testing.assert_allclose(out, dense @ block, rtol=1e-15)
    with pytest.raises(InvalidInput, match="Fortran order"):
        products.apply(block, out)


@pytest.mark.parametrize("transpose", [False, True])
def test_solves(transpose):
    """Fails if a solve uses the matrix where its transpose is meant, or another block's memory."""
    rng = np.random.default_rng(2)
    dense = rng.standard_normal((6, 6)) + 6 * np.eye(6)
    solver = BlockSolver(petsc_matrix(dense))
    for columns in (1, 3, 2, 3):
        right, out = rng.standard_normal((6, columns)), np.zeros((6, columns), order="F")
        solver.solve(right, out, transpose=transpose)
        np.testing.assert_allclose((dense.T if transpose else dense) @ out, right, rtol=0, atol=1e-13)
    solver.destroy()


@pytest.mark.parametrize("columns", [1, 2])
def test_singular_matrix(columns):
    """Fails if a zero pivot raises an error of PETSc, which one block of several columns once did."""
    solver, out = (
        BlockSolver(petsc_matrix(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 2.0]]))),
        np.zeros((3, columns), order="F"),
    )
    solver.solve(np.ones((3, columns)), out)
    assert np.all(np.isinf(out))
