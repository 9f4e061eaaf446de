# SPDX-License-Identifier: MIT
"""One run at a time in a folder: a lock that the kernel releases however the process ends.

    DIR/.lock    empty, or the whereabouts of the run that holds the lock or held it last; the file alone means nothing

Rank 0 alone takes flock(2) on this file.  Local disks, NFS (since Linux 2.6.12) and Lustre mounted with `flock` keep
the lock across all nodes.  On a file system without locks, runs go on without one.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType

from fem_selection.errors import InvalidInput

__all__ = ["LOCK", "FolderLock"]

LOCK = ".lock"


class FolderLock:
    """The right to write in a folder, from construction to `release` or the end of a `with` block.

    There is no lock, and no error, if the folder cannot be written or its file system has no locks.

    Args:
        folder: An existing folder.

    Raises:
        InvalidInput: if another run holds the lock.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor: int | None = None
        try:
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:  # ignored here: the first write reports that the folder is unwritable
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise InvalidInput(
                f"another run is going on in {folder}{f' ({owner})' if owner else ''}: wait for its end, or give "
                "another --output"
            ) from error
        except OSError:  # no locks on this file system
            os.close(descriptor)
            return
        self._descriptor = descriptor
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{_whereabouts()}\n".encode(), 0)
        except OSError:  # the disk is full; the lock is held anyway
            pass

    def release(self) -> None:
        """Release the lock; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _whereabouts() -> str:
    job = os.environ.get("SLURM_JOB_ID")
    return f"process {os.getpid()} on {socket.gethostname()}" + (f", Slurm job {job}" if job else "")
