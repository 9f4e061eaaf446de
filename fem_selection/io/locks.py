# SPDX-License-Identifier: MIT
"""One run at a time in a folder: a lock that the kernel releases however the process ends.

    DIR/.lock    empty, or where the run that holds it, or held it last, goes on; the file itself means nothing

The lock is flock(2) on this file, by root alone.  Local disks, NFS (since Linux 2.6.12) and Lustre mounted with `flock`
keep it among all nodes; where a file system has no locks, runs go on without.
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

    Args:
        folder: An existing folder.

    Raises:
        InvalidInput: if another run holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor: int | None = None
        try:
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:  # whoever cannot write here will hear of it from who tries
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
        except OSError:  # a full disk; the lock holds all the same
            pass

    def release(self) -> None:
        """Let others write in the folder; a second call does nothing."""
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
