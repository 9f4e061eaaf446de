# SPDX-License-Identifier: MIT
"""Orthonormal blocks, norms, singular values and compression are the same on 1, 2 and 3 ranks.

Run by mpiexec this file computes on its ranks and prints the numbers as JSON; run by pytest it launches itself.
"""

from __future__ import annotations

import numpy as np
import pytest
from ranks import TWO_OR_THREE, print_results

MODES = ("collocated", "galerkin")


def main() -> None:
    """Prints the numbers of both modes."""
    from mpi4py import MPI

    from fem_selection.discretization.depth import DepthGrid
    from fem_selection.discretization.meshes.domains import interval
    from fem_selection.discretization.spaces import StateSpace
    from fem_selection.kernels import DenseKernel, KernelOperator
    from fem_selection.linalg.coordinates import IsometricCoordinates, IsometricOperator
    from fem_selection.linalg.norms import operator_norm, skew_part_norm, symmetric_part_maximum
    from fem_selection.linalg.operators import products, random_block
    from fem_selection.linalg.orthonormal import orthonormalize
    from fem_selection.linalg.singular import expand

    world, results = MPI.COMM_WORLD, {}
    for mode in MODES:
        space = StateSpace(interval(world, 40), 1, mode=mode)
        dependent = random_block(space, 5, 1)
        dependent[:, 4] = dependent[:, 0] + 1e-12 * dependent[:, 3]
        defects = []
        for block in (dependent, random_block(space, space.num_nodes + 3, 2)):  # more columns than a rank has nodes
            q, r = orthonormalize(space, block)
            defects += [np.abs(products(space, q, q) - np.eye(q.shape[1])).max(), np.abs(q @ r - block).max()]
        kernel = DenseKernel.interpolate(space, lambda t, y, z: np.exp(-np.abs(y[0] - 2 * z[0])), DepthGrid(layers=1))
        operator = KernelOperator(kernel)
        norm = operator_norm(space, operator)
        expansion = expand(IsometricOperator(coordinates=IsometricCoordinates(space), operator=operator), 1e-10, 4)
        many = expand(expansion.operator, 1e-10, 200)  # those of LAPACK, of which the least are tested
        errors = [kernel.compress(tolerance=1e-2)[1], kernel.compress(rank=3)[1]]
        results[mode] = {
            "defect": world.allreduce(max(defects), op=MPI.MAX),
            "norms": [norm, symmetric_part_maximum(space, operator, norm), skew_part_norm(space, operator, norm)],
            "values": [*expansion.values, *many.values[::-1], *errors],
        }
    print_results(results)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ranks", TWO_OR_THREE)
def test_same_linear_algebra(results_on, ranks, mode):
    """Fails if triangles or products lack the rows of other ranks, or a start vector depends on the partition."""
    here, reference = results_on(ranks)[mode], results_on(1)[mode]
    assert here["defect"] <= 1e-13
    np.testing.assert_allclose(here["norms"], reference["norms"], rtol=1e-9)
    np.testing.assert_allclose(here["values"], reference["values"], rtol=1e-10)


if __name__ == "__main__":
    main()
