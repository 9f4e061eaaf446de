# SPDX-License-Identifier: MIT
"""Two axes of parallelism: nodes over a *space* communicator, samples over a *sample* communicator.

The `size` ranks of the world form a grid of `size / space` members of `space` ranks each.  The ranks of one member
share a mesh: rows of kernels and states are divided among them.  The members divide the samples among themselves:

    world rank r  =  member · space + space rank

With `space = 1`, the default and the best for small meshes, every rank has the whole mesh and a share of the samples.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import cast

import numpy as np
from mpi4py import MPI
from threadpoolctl import threadpool_limits

from fem_selection.disposal import clean_petsc, hold, release_dropped
from fem_selection.errors import InvalidInput, SelectionError, SelectionWarning
from fem_selection.typing import Floats, whole_number

__all__ = ["Ensemble", "act_on_root", "free_memory_of_rank", "memory_of_machines", "share", "warn_on_root"]


def act_on_root[T](world: MPI.Comm, action: Callable[[], T]) -> T:
    """Call a function on rank 0 and return its result, or raise its error, on every rank (collective).

    Args:
        world: The ranks that receive the result.
        action: The function; its result is sent by pickle.

    Raises:
        InvalidInput: if the function raises OSError, for example because a disk is full or a folder is read-only.
        SelectionError: the one that the function raises.
        RuntimeError: on the other ranks, if the function raises an error that nobody foresaw, which rank 0 raises.
    """
    outcome: tuple[T | None, Exception | None] = (None, None)
    unforeseen: Exception | None = None
    if world.rank == 0:
        try:
            outcome = (action(), None)
        except SelectionError as error:
            outcome = (None, error)
        except OSError as error:
            outcome = (None, InvalidInput(f"{error.filename or 'a file'}: {error.strerror or error}"))
        except Exception as error:  # the others wait for rank 0
            unforeseen = error
            outcome = (None, RuntimeError(f"rank 0 failed with {type(error).__name__}: {error}"))
    result, fault = world.bcast(outcome)
    if unforeseen is not None:
        raise unforeseen
    if fault is not None:
        raise fault
    return cast(T, result)


def warn_on_root(message: str) -> None:
    """Warn on MPI's first rank, at the line outside of this package that called it."""
    if MPI.COMM_WORLD.rank == 0:
        warnings.warn(message, SelectionWarning, skip_file_prefixes=(f"{Path(__file__).parent}/",))


def share(total: int, parts: int, part: int) -> slice:
    """Return one of `parts` contiguous, nearly equal slices of range(total).

    Args:
        total: Length of the range.
        parts: Number of slices.
        part: Which of them, 0 … parts − 1; the earlier slices are longer, by at most one.
    """
    base, extra = divmod(total, parts)
    start = part * base + min(part, extra)
    return slice(start, start + base + (part < extra))


def memory_of_machines(comm: MPI.Intracomm) -> float:
    """Return the bytes of memory that the machines of some ranks have together; infinite if unknown (collective).

    A limit of the container counts as the machine's memory.
    """
    machine = comm.Split_type(MPI.COMM_TYPE_SHARED)
    own = _memory_here() if machine.rank == 0 else 0.0
    machine.Free()
    return comm.allreduce(own)


def free_memory_of_rank(comm: MPI.Intracomm) -> float:
    """Return the free bytes of memory for each rank, the same number on all ranks; infinite if unknown (collective).

    The free memory of a machine is divided among its ranks; the machine with least for a rank counts.  A limit of the
    container counts as the machine's memory.
    """
    machine = comm.Split_type(MPI.COMM_TYPE_SHARED)
    own = _free_memory_here() / machine.size
    machine.Free()
    return comm.allreduce(own, op=MPI.MIN)


def _free_memory_here() -> float:
    found = [_memory_here()]
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024.0 * float(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]))
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):
            found.append(float(Path(limit).read_text()) - float(Path(used).read_text()))
    return max(min(found), 0.0)


def _memory_here() -> float:
    found = [np.inf]
    with suppress(OSError, ValueError):  # names that this system does not know
        found.append(float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # there is no such file, or it says "max"
            found.append(float(Path(path).read_text()))
    return min(size for size in found if size > 0)


class Ensemble:
    """Communicators of the space × sample split.

    The constructor limits the linear algebra of this process to one thread: ranks are the unit of parallelism, and
    several threads on every rank are many times slower than one.

    Args:
        comm: The communicator to split, MPI's world by default.  It is duplicated, so messages never mix with the
            caller's.  All ensembles with the same communicator and `space` share the communicators made for the first,
            because an MPI process can hold only about 2000.  The caller may free `comm` at any time: the ensemble's own
            communicators live until no rank uses them any more.
        space: Ranks per member; must divide the size of `comm`.

    Raises:
        InvalidInput: if `space` does not divide the number of ranks.

    Note:
        Collective.

    Example:
        >>> fs.Ensemble(MPI.COMM_SELF).samples(5)  # one rank takes all samples
        slice(0, 5, None)
    """

    def __init__(self, comm: MPI.Intracomm | None = None, space: int = 1) -> None:
        world = comm if comm is not None else MPI.COMM_WORLD
        space = whole_number(space, "parallel.space")
        if space < 1 or world.size % space != 0:
            raise InvalidInput(
                f"parallel.space = {space} does not divide the number of ranks, {world.size}; "
                f"valid values are {', '.join(str(s) for s in range(1, world.size + 1) if world.size % s == 0)}"
            )
        threadpool_limits(limits=1)
        self.world, self.space_comm, self.sample_comm = _communicators(world, space)

    @property
    def num_members(self) -> int:
        """Number of members, which is the number of shares of the samples."""
        return self.sample_comm.size

    @property
    def member(self) -> int:
        """Number of the member that this rank belongs to."""
        return self.sample_comm.rank

    @property
    def is_root(self) -> bool:
        """Whether this is rank 0 of the world, which writes files and shows progress."""
        return self.world.rank == 0

    def samples(self, total: int) -> slice:
        """Return this member's contiguous share of `total` samples."""
        return share(whole_number(total, "total", 0), self.num_members, self.member)

    def sum(self, value: float) -> float:
        """Return the sum of a number over the world (collective)."""
        return float(self.sums(value)[0])

    def sums(self, *values: float) -> Floats:
        """Return the sums of several numbers over the world, in one message (collective)."""
        total = np.array(values, dtype=np.float64)
        if self.world.size > 1:
            self.world.Allreduce(MPI.IN_PLACE, total)
        return total

    def sum_over_samples(self, array: Floats) -> Floats:
        """Sum an array over the members, in place, and return it (collective)."""
        if self.num_members > 1:
            self.sample_comm.Allreduce(MPI.IN_PLACE, array)
        return array

    def shard(self, total: int) -> slice:
        """Return this member's contiguous share of an array of `total` numbers that all members hold."""
        return share(total, self.num_members, self.member)

    def gather_shards(self, shard: Floats, out: Floats) -> Floats:
        """Join the members' shards into one array, on every member (collective).

        Args:
            shard: This member's part, as long as `shard(out.size)`.
            out: The whole array, shape (total,); overwritten.

        Returns:
            `out`
        """
        pieces = self._pieces(out.size)
        out[pieces[self.member]] = shard
        for to, source in self._partners:
            self.sample_comm.Sendrecv(shard, to, recvbuf=out[pieces[source]], source=source)
        return out

    def sum_to_shard(self, array: Floats) -> Floats:
        """Return this member's shard of the sum of the members' equally long arrays (collective).

        The parts are added in the order of the members, so the result does not depend on timing.  With one member the
        result is `array` itself.
        """
        if self.num_members == 1:
            return array
        pieces = self._pieces(array.size)
        own = array[pieces[self.member]]
        parts = np.empty((self.num_members, own.size))
        for to, source in self._partners:
            self.sample_comm.Sendrecv(array[pieces[to]], to, recvbuf=parts[source], source=source)
        ordered = [own if k == self.member else parts[k] for k in range(self.num_members)]
        result = np.add(ordered[0], ordered[1], out=parts[self.member])
        for part in ordered[2:]:
            result += part
        return result

    @cached_property
    def _partners(self) -> list[tuple[int, int]]:
        """The pairs (receiver, sender) of this member, one for each round in which all members exchange data.

        For the short arrays of a mini-batch these exchanges in pairs take a third of the time of Allgatherv and
        Alltoallv.
        """
        n, k = self.num_members, self.member
        return [((k + r) % n, (k - r) % n) for r in range(1, n)]

    def _pieces(self, total: int) -> list[slice]:
        """The shards of all members of an array of this length."""
        if total not in self._pieces_of:
            self._pieces_of[total] = [share(total, self.num_members, k) for k in range(self.num_members)]
        return self._pieces_of[total]

    @cached_property
    def _pieces_of(self) -> dict[int, list[slice]]:
        return {}

    def any(self, flag: bool | int) -> int:
        """Return the largest of the ranks' flags, so that every rank decides alike (collective)."""
        return int(self.world.allreduce(int(flag), op=MPI.MAX))


_Communicators = tuple[MPI.Intracomm, MPI.Intracomm, MPI.Intracomm]


def _leave(comm: MPI.Comm, keyval: int, made: dict[int, _Communicators]) -> None:
    """Let the communicators made from one be freed when no rank uses them any more: its owner frees it now."""
    while made:
        own = made.pop(min(made))
        handles = [MPI.Intracomm(c) for c in own]
        hold(own[0], *own, release=partial(_free, handles))


def _free(communicators: Sequence[MPI.Intracomm]) -> None:
    """Free communicators, with the PETSc objects on them that all ranks have dropped (collective)."""
    for comm in communicators:
        clean_petsc(comm)
    for comm in reversed(communicators):
        comm.Free()


_made = MPI.Comm.Create_keyval(delete_fn=_leave)
"""Attribute of a caller's communicator: the communicators made from it, by the number of ranks per member."""


def _communicators(comm: MPI.Intracomm, space: int) -> _Communicators:
    """A duplicate of `comm`, its parts of `space` ranks, and the ranks of equal number in these parts.

    Collective.  They are made at the first call.  When the caller frees `comm`, they stay as long as anyone uses them.
    """
    release_dropped(comm)
    made = cast(dict[int, _Communicators] | None, comm.Get_attr(_made))
    if made is None:
        made = {}
        comm.Set_attr(_made, made)
    if space not in made:
        world = comm.Dup()
        made[space] = (world, _split(world, world.rank // space), _split(world, world.rank % space))
    return made[space]


def _split(world: MPI.Intracomm, color: int) -> MPI.Intracomm:
    return cast(MPI.Intracomm, world.Split(color=color, key=world.rank))
