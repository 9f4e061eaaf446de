# SPDX-License-Identifier: MIT
"""A value function for ParaView: one time-dependent field on the box of states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from dolfinx import fem
from dolfinx import io as dio
from mpi4py import MPI

from fem_selection.discretization.meshes import domains
from fem_selection.errors import InvalidInput
from fem_selection.io.fields import naming
from fem_selection.typing import Floats

__all__ = ["write_value"]


def write_value(
    path: Path, comm: MPI.Intracomm, axes: Sequence[Floats], *, times: Floats, values: Floats, name: str = "V"
) -> Path:
    """Write V(t, x) for ParaView (collective).

    The format is VTX (a folder `.bp`) if dolfinx was built with ADIOS2, else XDMF.

    Args:
        path: The file without suffix.
        comm: Ranks that share the writing.
        axes: Equidistant coordinates in each of one, two or three directions.
        times: t, shape (num_times,).
        values: The same on every rank, shape (num_times, len(axes[0]), …).
        name: Name of the field.

    Returns:
        The path written.

    Raises:
        InvalidInput: if a file stands where the folder is written, or a folder where the file is.
        OSError: if the file could not be written.
    """
    folder, file = path.with_suffix(".bp"), path.with_suffix(".xdmf")
    for taken, in_the_way in ((folder, folder.is_file()), (file, file.is_dir())):
        if comm.bcast(in_the_way):
            raise InvalidInput(f"{taken} is in the way: the field is written there")
    lower, upper = [float(a[0]) for a in axes], [float(a[-1]) for a in axes]
    cells = [len(a) - 1 for a in axes]
    if len(axes) == 1:
        mesh = domains.interval(comm, cells[0], lower=lower[0], upper=upper[0]).mesh
    else:
        mesh = (domains.rectangle if len(axes) == 2 else domains.box)(comm, cells, lower=lower, upper=upper).mesh
    field = fem.Function(fem.functionspace(mesh, ("Lagrange", 1)), name=name)
    nodes = field.function_space.tabulate_dof_coordinates()[:, : len(axes)]
    widths = (np.asarray(upper) - lower) / cells
    places = tuple(np.rint((nodes - lower) / widths).astype(np.int64).T)
    vtx = getattr(dio, "VTXWriter", None)
    if vtx is not None:
        written = path.with_suffix(".bp")
        with naming(written), vtx(comm, written, [field], engine="BP4") as writer:
            for time, value in zip(times, values, strict=True):
                field.x.array[:] = value[places]
                writer.write(float(time))
        return written
    written = path.with_suffix(".xdmf")
    with naming(written), dio.XDMFFile(comm, written, "w") as xdmf:
        xdmf.write_mesh(mesh)
        for time, value in zip(times, values, strict=True):
            field.x.array[:] = value[places]
            xdmf.write_function(field, float(time))
    return written
