# SPDX-License-Identifier: MIT
"""Versions of the libraries that a report depends on."""

from __future__ import annotations

import platform

__all__ = ["versions"]


def versions() -> dict[str, str]:
    """Return the versions of all libraries that a number in a report may depend on, by name."""
    import basix
    import dolfinx
    import mpi4py
    import numpy
    import petsc4py
    import scipy
    import sklearn
    import ufl
    from petsc4py import PETSc

    from fem_selection import __version__

    found = {
        module.__name__: str(module.__version__)
        for module in (dolfinx, basix, ufl, petsc4py, mpi4py, numpy, scipy, sklearn)
    }
    petsc = ".".join(str(n) for n in PETSc.Sys.getVersion())
    return {"fem_selection": __version__, "python": platform.python_version(), "petsc": petsc, **found}
