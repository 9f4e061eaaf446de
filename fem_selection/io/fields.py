# SPDX-License-Identifier: MIT
"""States for ParaView: one time-dependent field per sample."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import basix.ufl
from dolfinx import fem
from dolfinx import io as dio

from fem_selection.discretization.spaces import StateSpace
from fem_selection.typing import Block, Floats

__all__ = ["naming", "write_states"]


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn the errors of a dolfinx writer in a `with` block into an OSError that names the file.

    The writers are collective.  If that of one rank fails, the others may wait for it, so the ranks do not raise this
    error together: the command line ends all of them.

    Raises:
        OSError: if the file could not be written.
    """
    try:
        yield
    except (RuntimeError, OSError) as error:
        reason = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), "")
        raise OSError(errno.EIO, f"could not be written: {reason}", str(path)) from error


def write_states(
    path: Path, space: StateSpace, times: Floats, *, states: Sequence[Block], names: Sequence[str]
) -> Path:
    """Write the trajectories of a few samples for ParaView (collective over the space communicator).

    The format is VTX (a folder `.bp`) if dolfinx was built with ADIOS2, else XDMF with the values at the vertices.

    Args:
        path: The file without suffix.
        space: The state space.
        times: Depths, shape (num_times,).
        states: One (num_local, num_samples) block per time.
        names: Names of the fields, one per sample.

    Returns:
        The path written.

    Raises:
        OSError: if the file could not be written.
    """
    vtx = getattr(dio, "VTXWriter", None)
    degree = max(space.degree, 1) if vtx is not None else 1
    continuous = space.family == "lagrange"
    element = basix.ufl.element("Lagrange", space.domain.cell, degree, discontinuous=vtx is not None and not continuous)
    target = fem.functionspace(space.domain.mesh, element)
    outputs = [fem.Function(target, name=name) for name in names]
    sources = [space.function(name=name) for name in names]

    def refresh(block: Block) -> None:
        for number, (source, output) in enumerate(zip(sources, outputs, strict=True)):
            source.x.array[: space.num_local] = block[:, number]
            source.x.scatter_forward()
            output.interpolate(source)

    if vtx is not None:
        written = path.with_suffix(".bp")
        with naming(written), vtx(space.comm, written, outputs, engine="BP4") as writer:
            for time, block in zip(times, states, strict=True):
                refresh(block)
                writer.write(float(time))
        return written
    written = path.with_suffix(".xdmf")
    with naming(written), dio.XDMFFile(space.comm, written, "w") as file:
        file.write_mesh(space.domain.mesh)
        for time, block in zip(times, states, strict=True):
            refresh(block)
            for output in outputs:
                file.write_function(output, float(time))
    return written
