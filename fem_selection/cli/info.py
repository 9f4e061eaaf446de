# SPDX-License-Identifier: MIT
"""`fem-selection info`."""

from __future__ import annotations

import numpy as np
from mpi4py import MPI

from fem_selection.cli.frame import Frame

__all__ = ["info_command"]


def info_command() -> int:
    """Print versions and capabilities, and return the exit status."""
    import dolfinx
    from petsc4py import PETSc

    from fem_selection.dynamics import SCHEMES
    from fem_selection.functions.activations import ACTIVATIONS
    from fem_selection.functions.libraries import describe_compiler
    from fem_selection.objectives import LOSSES
    from fem_selection.settings.names import TAO
    from fem_selection.versions import versions

    rows = {
        **versions(),
        "MPI": MPI.Get_library_version().split("\n")[0].strip("\x00"),
        "ranks": str(MPI.COMM_WORLD.size),
        "PETSc scalars": np.dtype(PETSc.ScalarType).name,
        "VTX for ParaView": "yes" if dolfinx.has_adios2 else "no, XDMF instead",
        "MUMPS": "yes" if PETSc.Sys.hasExternalPackage("mumps") else "no",
        "C compiler": describe_compiler(),
        "activations": ", ".join(ACTIVATIONS),
        "schemes": ", ".join(f"{s.name} (order {s.order})" for s in SCHEMES.values()),
        "losses": ", ".join([*LOSSES, "tracking"]),
        "methods": ", ".join(TAO),
    }
    Frame("info").rows(rows)
    return 0
