# SPDX-License-Identifier: MIT
"""What Python has dropped on every rank is destroyed by all ranks together, at known points.

Destruction of communicators, meshes and PETSc objects is collective, while Python drops an object on each rank at a
moment of its own: a reference cycle may live on one rank and be collected on another.  PETSc therefore only queues such
an object, on its communicator, and the queue is lost with the communicator when the mesh goes: on two ranks a space in
Galerkin mode leaves six communicators behind, of some two thousand that MPI has.

So whoever makes such things (`StateSpace`, `Ensemble`) says with `hold` what they need to be destroyed.  At the next
construction by the same ranks, `release_dropped` asks all of them, and what all have dropped is destroyed everywhere in
one order.  Nothing communicates in a destructor.
"""

from __future__ import annotations

import atexit
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

__all__ = ["clean_petsc", "hold", "release_dropped"]


@dataclass(frozen=True)
class _Held:
    """Things that are released when the watched objects are gone on all ranks."""

    watched: tuple[weakref.ref[object], ...]
    release: Callable[[], None]


_held: dict[tuple[int, ...], list[_Held]] = {}
"""What is held, in the order of creation, by the ranks of MPI's world that share it."""

atexit.register(_held.clear)  # while MPI still runs


def hold(comm: MPI.Comm, *watched: object, release: Callable[[], None]) -> None:
    """Keep `release`, and what it refers to, until all ranks have dropped some objects (collective).

    Args:
        comm: The ranks that share the objects.
        watched: The objects; no reference to them is kept, and `release` must not have one.
        release: Called by `release_dropped`, on all ranks; it may be collective over them.
    """
    entry = _Held(watched=tuple(weakref.ref(thing) for thing in watched), release=release)
    _held.setdefault(_ranks(comm), []).append(entry)


def release_dropped(comm: MPI.Comm) -> None:
    """Release what was held by the same ranks, and all of them have dropped (collective)."""
    entries = _held.get(ranks := _ranks(comm))
    if not entries:
        return
    dropped = np.array([all(ref() is None for ref in entry.watched) for entry in entries], dtype=np.uint8)
    comm.Allreduce(MPI.IN_PLACE, dropped, op=MPI.MIN)
    _held[ranks] = [entry for entry, gone in zip(entries, dropped, strict=True) if not gone]
    for entry, gone in zip(entries, dropped, strict=True):
        if gone:
            entry.release()


def clean_petsc(comm: MPI.Comm) -> None:
    """Destroy the PETSc objects on a communicator that all of its ranks have dropped (collective).

    On one rank PETSc destroys them when Python drops them.
    """
    if comm.size > 1 and "petsc4py.PETSc" in sys.modules:
        sys.modules["petsc4py.PETSc"].garbage_cleanup(comm)


def _ranks(comm: MPI.Comm) -> tuple[int, ...]:
    """The ranks of a communicator by their numbers in MPI's world."""
    own, world = comm.Get_group(), MPI.COMM_WORLD.Get_group()
    numbers = MPI.Group.Translate_ranks(own, None, world)
    own.Free()
    world.Free()
    return tuple(sorted(numbers))
