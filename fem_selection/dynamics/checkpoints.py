# SPDX-License-Identifier: MIT
"""Where states are stored that a sweep takes up again on its way back: in memory, or in a file."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from fem_selection.errors import InvalidInput
from fem_selection.typing import Block, Floats

__all__ = ["Checkpoints", "FileCheckpoints", "MemoryCheckpoints", "Pool"]


class Pool:
    """Memory for arrays whose shapes change: the arrays of one name share a buffer, so that one at a time is valid."""

    def __init__(self) -> None:
        self._buffers: dict[str, Floats] = {}

    def __call__(self, name: str, shape: tuple[int, ...]) -> Floats:
        """Return an array in the buffer of a name; a buffer that is too small is replaced.

        Args:
            name: The use.
            shape: Shape of the array.
        """
        size = math.prod(shape)
        if name not in self._buffers or self._buffers[name].size < size:
            self._buffers.pop(name, None)
            self._buffers[name] = np.empty(size)
        return self._buffers[name][:size].reshape(shape)


class Checkpoints(Protocol):
    """States by the number of their segment, at most as many at once as there are slots."""

    def clear(self) -> None:
        """Forget all states."""

    def save(self, number: int, blocks: Sequence[Block]) -> None:
        """Store a state.

        Args:
            number: The segment that begins with it.
            blocks: Its blocks, in Fortran order.
        """

    def load(self, number: int, blocks: Sequence[Block], *, forget: bool) -> None:
        """Copy a stored state to blocks.

        Args:
            number: The segment that begins with it.
            blocks: Overwritten.
            forget: Whether its slot becomes free.
        """


class _Slots:
    """Which slot has the state of which segment."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.clear()

    def clear(self) -> None:
        """Forget all states."""
        self._free, self._taken = list(range(self._count)), dict[int, int]()

    def take(self, number: int) -> int:
        """Return a free slot for a segment."""
        self._taken[number] = self._free.pop()
        return self._taken[number]

    def find(self, number: int, forget: bool) -> int:
        """Return the slot of a segment, and free it if `forget`."""
        slot = self._taken[number]
        if forget:
            self._free.append(self._taken.pop(number))
        return slot


class MemoryCheckpoints(_Slots):
    """States in memory.

    Args:
        memory: Shape (slots, blocks of a state, J, num_local).
    """

    def __init__(self, memory: Floats) -> None:
        super().__init__(len(memory))
        self._memory = memory

    def save(self, number: int, blocks: Sequence[Block]) -> None:
        """Store a state.  See `Checkpoints.save`."""
        for stored, block in zip(self._memory[self.take(number)], blocks, strict=True):
            np.copyto(stored, block.T)

    def load(self, number: int, blocks: Sequence[Block], *, forget: bool) -> None:
        """Copy a stored state to blocks.  See `Checkpoints.load`."""
        for stored, block in zip(self._memory[self.find(number, forget)], blocks, strict=True):
            np.copyto(block.T, stored)


class FileCheckpoints(_Slots):
    """States in a file without a name, which the system removes when this process ends, however it ends.

    Args:
        slots: Largest number of states.
        size: Bytes of a state.
        folder: Folder of the file; the system's folder for temporary files if None.

    Attributes:
        slots, size: They.

    Raises:
        InvalidInput: if there is no such folder, or it has not the space, which is reserved at once.
    """

    def __init__(self, slots: int, size: int, folder: str | None) -> None:
        super().__init__(slots)
        self.slots, self.size = slots, size
        total = slots * size
        where = folder or tempfile.gettempdir()
        try:
            self._file = tempfile.TemporaryFile(buffering=0, dir=where)  # noqa: SIM115
            if total:
                os.posix_fallocate(self._file.fileno(), 0, total)
        except OSError as error:
            raise InvalidInput(
                f"tape.directory: no file of {total:.3g} bytes for states can be made in {where}: "
                f"{error.strerror or error}; name another folder, or store fewer states by tape.checkpoints"
            ) from error

    def save(self, number: int, blocks: Sequence[Block]) -> None:
        """Store a state.  See `Checkpoints.save`."""
        self._file.seek(self.take(number) * self.size)
        for block in blocks:
            left = memoryview(block.T).cast("B") if block.size else b""
            while left:
                left = left[self._file.write(left) :]

    def load(self, number: int, blocks: Sequence[Block], *, forget: bool) -> None:
        """Copy a stored state to blocks.  See `Checkpoints.load`."""
        self._file.seek(self.find(number, forget) * self.size)
        for block in blocks:
            left = memoryview(block.T).cast("B") if block.size else b""
            while left:
                if not (count := self._file.readinto(left)):
                    raise OSError("a file of stored states has become shorter")
                left = left[count:]
