# SPDX-License-Identifier: MIT
"""What tests count: products with a kernel, functions of dolfinx, communicators of MPI."""

from __future__ import annotations

import gc
from collections import Counter

from dolfinx import fem
from mpi4py import MPI

from fem_selection.kernels import DenseKernel

__all__ = ["CountingKernel", "next_communicator", "number_of_functions"]


class CountingKernel(DenseKernel):
    """A dense kernel that counts its products, in `counts`."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.counts = Counter()

    def apply(self, *arguments, **switches):
        """Counts and applies."""
        self.counts["apply"] += 1
        super().apply(*arguments, **switches)

    def add_transpose(self, *arguments, **more):
        """Counts and adds the transpose."""
        self.counts["transpose"] += 1
        super().add_transpose(*arguments, **more)

    def add_pullback(self, *arguments, **more):
        """Counts and adds the pullback."""
        self.counts["pullback"] += 1
        super().add_pullback(*arguments, **more)


def number_of_functions() -> int:
    """How many functions of dolfinx Python holds."""
    return sum(isinstance(thing, fem.Function) for thing in gc.get_objects())


def next_communicator(comm: MPI.Intracomm = MPI.COMM_SELF) -> int:
    """The handle that a new communicator gets: MPICH hands out the one freed last, so a leak changes it (collective).

    With another MPI it is always 0.
    """
    new = comm.Dup()
    handle = new.handle if "MPICH" in MPI.Get_library_version() else 0
    new.Free()
    return handle


def count_communicators(comm: MPI.Intracomm = MPI.COMM_SELF) -> int:
    """How many communicators can still be made of one (collective); MPICH has some two thousand in a process."""
    held: list[MPI.Intracomm] = []
    try:
        while len(held) < 5000:
            held.append(comm.Dup())
    except MPI.Exception:
        pass
    for one in held:
        one.Free()
    return len(held)
