# SPDX-License-Identifier: MIT
"""Products and solves with blocks are the same on 1, 2 and 3 ranks, whether each rank holds all rows or its own.

Run by mpiexec this file computes on its ranks and prints the numbers as JSON; run by pytest it launches itself.
"""

from __future__ import annotations

import numpy as np
import pytest
from ranks import TWO_OR_THREE, print_results


def main() -> None:
    """Prints products and solves of some columns, in the order of the whole mesh."""
    from mpi4py import MPI

    from fem_selection.discretization import block_products, block_solver
    from fem_selection.discretization.block_products import BlockProducts
    from fem_selection.discretization.block_solver import BlockSolver
    from fem_selection.discretization.depth import DepthGrid
    from fem_selection.discretization.meshes.domains import interval
    from fem_selection.discretization.spaces import StateSpace
    from fem_selection.kernels.local import LocalKernel

    space, results = StateSpace(interval(MPI.COMM_WORLD, 31), 2, mode="galerkin"), {}
    sources = {"multiplication": 2.0, "convection": 0.3, "diffusion": lambda t, y: -0.1 - y[0]}
    matrix = LocalKernel.interpolate(space, sources, DepthGrid(layers=1)).sparse_operator(0)
    for name, most in (("copied, all rows", 10**6), ("in place, own rows", 0)):
        block_products._SMALL = block_solver._FEW = most
        products, solver = BlockProducts(matrix), BlockSolver(matrix)
        for columns in (1, 3, 0):
            block = np.asfortranarray(np.cos(np.arange(1, 1 + columns) * space.coordinates[:, :1]))
            found = [space.create_block(columns) for _ in range(3)]
            products.apply(block, found[0])
            solver.solve(block, found[1])
            solver.solve(block, found[2], transpose=True)
            results[f"{name}, {columns}"] = [space.gather(x).tolist() for x in found]
        solver.destroy()
    print_results(results)


@pytest.mark.parametrize("ranks", TWO_OR_THREE)
def test_same_products_and_solves(results_on, ranks):
    """Fails if rows of other ranks are missing, the columns of gathered blocks are mixed, or none are a fault."""
    here, reference = results_on(ranks), results_on(1)
    for columns in (1, 3, 0):
        expected = np.array(reference[f"copied, all rows, {columns}"])
        for name in ("copied, all rows", "in place, own rows"):
            np.testing.assert_allclose(
                here[f"{name}, {columns}"], expected, rtol=0, atol=1e-12 * np.abs(expected).max(initial=0.0)
            )


if __name__ == "__main__":
    main()
