# SPDX-License-Identifier: MIT
"""Kernels with kinks, jumps and singularities are the same matrices on one rank and on several.

Run by mpiexec this file computes on its ranks and prints the numbers as JSON; run by pytest it launches itself.
"""

from __future__ import annotations

import numpy as np
import pytest
from ranks import TWO_OR_THREE, print_results

CASES = {
    "kink": ("exp(-abs(y-z))", None, {"degree": 3}),
    "jump": ("where(z<y,1+y,z)", None, {"degree": 1}),
    "triangle": ("where(y+z<0.93,1,0)", None, {"degree": 1, "family": "dg"}),
    "root": ("abs(y-z)**(-0.5)", 0.5, {"degree": 2}),
    "galerkin": ("min(y,z)", None, {"degree": 2, "mode": "galerkin"}),
    "galerkin root": ("abs(y-z)**(-0.5)", 0.5, {"degree": 1, "mode": "galerkin"}),
}
PLANE = {
    "jump in the plane": ("where(y0+z0<0.93,1+y1,z1)", None, {}),
    "disk": ("where((z0-y0)**2+z1**2<0.3,1,0)", None, {}),
    "root in the plane": ("((y0-z0)**2+(y1-z1)**2)**(-0.25)", 0.5, {}),
    "galerkin in the plane": ("abs(y0-z1)", None, {"mode": "galerkin"}),
}


def main() -> None:
    """Builds each kernel on all ranks and prints its values at all nodes."""
    from mpi4py import MPI

    import fem_selection as fs
    from fem_selection.functions.formulas import coordinate_names, parse_formula

    results, grid = {}, fs.DepthGrid(layers=1)
    for name, (text, exponent, given) in (CASES | PLANE).items():
        domain = fs.interval(MPI.COMM_WORLD, 11, grading=1.6)
        if name in PLANE:
            domain = fs.rectangle(MPI.COMM_WORLD, (4, 3), cell="triangle", grading=1.6)
        space = fs.StateSpace(domain, **given)
        names = ["t", *coordinate_names("y", domain.dimension), *coordinate_names("z", domain.dimension)]
        source = parse_formula(text, names)
        kernel = fs.DenseKernel.interpolate(space, source, grid, singularity=exponent)
        results[name] = kernel.values(0, np.arange(space.num_nodes)).ravel().tolist()
    print_results(results)


@pytest.mark.parametrize("ranks", TWO_OR_THREE)
def test_same_matrices(results_on, ranks):
    """Fails if a rank knows its own cells only, or adds what belongs to another rank's rows."""
    here, alone = results_on(ranks), results_on(1)
    for name in CASES | PLANE:
        np.testing.assert_allclose(here[name], alone[name], rtol=1e-9, atol=1e-10)


if __name__ == "__main__":
    main()
