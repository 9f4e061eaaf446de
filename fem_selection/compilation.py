# SPDX-License-Identifier: MIT
"""Calls that let FEniCSx compile C code: with one error where there is no compiler, and no wait for a dead process.

FFCx creates a file in its cache before it compiles, and other processes wait ten seconds for the library.  A run that
is killed in between leaves the file, and every later run ends with "JIT compilation timed out".  All processes of this
package hold a shared lock while they compile; the operating system takes it from a process that dies.  A process that
has waited in vain asks for the lock alone: as soon as it gets it, no one else is compiling; it moves the file away and
compiles itself, while the others wait for the lock.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import IO

from mpi4py import MPI

from fem_selection.compilers import named_compiler
from fem_selection.errors import CompilationFailed

__all__ = ["compile_with"]

_LOCK = "fem_selection.lock"
_PATIENCE = 600.0  # seconds until a compilation of another process counts as hanging
_WAITED = re.compile(r"JIT compilation timed out.*?remove (?P<file>.+?\.c)\)", re.DOTALL)
_REFUSED = ("VerificationError", "CompileError", "LinkError", "Failed JIT compilation", "JIT c")


def compile_with[T](comm: MPI.Comm, make: Callable[[], T]) -> T:
    """Call a function that lets FEniCSx compile a form or an expression, and return its result (collective).

    Args:
        comm: The ranks for which rank 0 compiles.
        make: The function.  It is called again if the first call has waited in vain for another process.

    Raises:
        CompilationFailed: on all ranks, if there is no C compiler or it fails, or the cache cannot be used.
    """
    is_root = comm.rank == 0
    lock = _take(fcntl.LOCK_SH) if is_root else None
    try:
        with lock or nullcontext():
            return make()
    except Exception as error:  # of cffi, distutils, FFCx and DOLFINx, which have no common class
        words = _words(error)
        lock, fault = _wait(words) if is_root else (None, None)
        if (fault := comm.bcast(fault)) is not None:
            raise CompilationFailed(fault) from error
    try:
        with lock or nullcontext():
            return make()
    except Exception as error:
        fault = _advice(_words(error))
        raise CompilationFailed(comm.bcast(fault)) from error


def _words(error: Exception) -> str:
    """The class and message of an error of a compilation; any other error is raised again."""
    words = f"{type(error).__name__}: {error}"
    if not (isinstance(error, OSError) or any(name in words for name in _REFUSED)):
        raise error
    return words


def _wait(words: str) -> tuple[IO[str] | None, str | None]:
    """The lock for another attempt, once no other process compiles or the library is there; or what the error means."""
    waiting = _WAITED.search(words)
    if waiting is None:
        return None, _advice(words)
    file, began = Path(waiting["file"]), time.monotonic()
    ready = file.with_suffix(".c.cached")
    while time.monotonic() - began < _PATIENCE:
        if ready.exists():
            return _take(fcntl.LOCK_SH), None
        try:
            lock = _take(fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.2)
            continue
        if lock is None:
            break
        if not ready.exists():
            with suppress(OSError):
                os.replace(file, file.with_suffix(".c.left"))
        return lock, None
    return None, (
        f"FEniCSx waits for {file}, which another process began to compile and did not finish: if no other run is "
        "compiling, remove this file"
    )


def _advice(words: str) -> str:
    """The message for a compiler that is missing or fails, or a cache that cannot be written."""
    reason = " ".join(words.split())[:300]
    named = named_compiler()
    compiler = named[0]
    if shutil.which(compiler) is None:
        return (
            f"there is no C compiler {compiler!r}, with which FEniCSx compiles the integrals on a mesh ({reason}): "
            "install one (`apt install gcc libc6-dev`, `dnf install gcc`, or `conda install -c conda-forge c-compiler`)"
            ", or set the environment variable CC to the compiler of this machine"
        )
    return (
        f"FEniCSx could not compile the integrals on a mesh with {' '.join(named)!r} ({reason}): does `{compiler}` "
        "compile a small C file, are the headers of Python there (`apt install python3-dev`), and can the folder "
        f"{_cache()} be written?  Another compiler is named by the environment variable CC, another folder by "
        "XDG_CACHE_HOME"
    )


def _cache() -> Path:
    from dolfinx.jit import get_options

    return Path(get_options()["cache_dir"])


def _take(kind: int) -> IO[str] | None:
    """Take the lock; closing it gives it back.  None where the folder cannot be written or its disk has no locks.

    Raises:
        BlockingIOError: if others have it, and `kind` says not to wait.
    """
    with suppress(PermissionError, FileNotFoundError, NotADirectoryError):
        folder = _cache()
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / _LOCK, "a", encoding="utf-8")  # noqa: SIM115  (closed by the caller)
        try:
            fcntl.flock(lock, kind)
        except BlockingIOError:
            lock.close()
            raise
        except OSError:
            lock.close()
            return None
        return lock
    return None
