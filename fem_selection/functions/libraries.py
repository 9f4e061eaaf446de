# SPDX-License-Identifier: MIT
"""Libraries compiled from C source on first use and kept in FFCx's cache.

FEniCSx needs a C compiler for its forms anyway.  A library is compiled for the processor that it runs on; its file is
named after source, options and processor, and after the compiler, so that machines of different kinds can share a cache
and another compiler compiles anew.  A machine without a compiler takes any compiler's library.  There is no lock:
each process that finds no library compiles one (a fifth of a second) and puts it into the cache in one atomic step, so
that a process that is killed while it compiles stands in nobody's way.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cffi
from dolfinx import jit

from fem_selection.compilers import find_compiler
from fem_selection.typing import Floats

__all__ = ["Library", "describe_compiler", "has_instructions", "load_library"]

OPTIONS = ("-O3", "-march=native", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
"""None of them changes what becomes of NaN, infinities, signed zeros or the order of sums."""
_SECONDS = 120.0


@dataclass(frozen=True)
class Library:
    """A loaded library.

    Attributes:
        ffi: Makes C data for the functions.
        functions: The functions, as attributes; they take arrays made by `ffi.from_buffer`.
    """

    ffi: Any
    functions: Any

    def address(self, array: Floats) -> Any:
        """Return the C address of the first number of an array of float64 in any order; the array must live on."""
        flags = array.flags
        if flags.c_contiguous or flags.f_contiguous:  # a buffer takes a fifth of the time of the other way
            return self.ffi.from_buffer("double[]", array if flags.c_contiguous else array.T)
        return self.ffi.cast("double*", array.__array_interface__["data"][0])


@cache
def load_library(source: str, declarations: str) -> Library | None:
    """Return a compiled library, or None if it can neither be loaded nor compiled.

    Args:
        source: The C source of the library.
        declarations: The C declarations of its functions and their types.
    """
    cache_folder = Path(jit.get_options()["cache_dir"])
    name = f"libfem_selection_{_digest(source, OPTIONS, platform.machine(), _processor())}"
    command = find_compiler()
    kept = cache_folder / f"{name}_{_digest(*_identity(command or []))}.so"
    for path in [kept] if command else sorted(cache_folder.glob(f"{name}_*.so")):
        with suppress(OSError, AttributeError):
            return _load(path, declarations)
    with suppress(OSError), tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / kept.name
        if not _compile(source, made):
            return None
        with suppress(OSError):
            _keep(made, kept)
        for path in (kept, made):  # `kept` is missing if the cache cannot be written
            with suppress(OSError, AttributeError):
                return _load(path, declarations)
    return None


def has_instructions(name: str) -> bool:
    """Return whether this processor has a set of instructions, by the name that Linux gives it ("avx512f")."""
    return name in _processor().split()


def describe_compiler() -> str:
    """Return which compiler translates activations, and the widest vectors that it may use, in words.

    A compiler that cannot compile a library of one line is said to fail.
    """
    command = find_compiler()
    if command is None:
        return "none: activations run in NumPy, if no earlier run left them compiled"
    if load_library(*_PROBE) is None:
        return f"{' '.join(command)} fails: activations run in NumPy"
    flags = set(_processor().split())
    vectors = next((name for flag, name in _VECTORS.items() if flag in flags), "the compiler's default vectors")
    return f"{' '.join(command)}, {vectors}"


_PROBE = ("int fem_selection_probe(void) { return 0; }", "int fem_selection_probe(void);")
_VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2", "asimd": "NEON", "sse2": "SSE2"}


def _digest(*contents: object) -> str:
    return hashlib.sha256(repr(contents).encode()).hexdigest()[:20]


def _identity(command: list[str]) -> list[object]:
    """The words of a command with what tells one version of its program from the next: file, size and time.

    The program is not run for its version: a process of an MPI job should start no other without need.
    """
    identity: list[object] = list(command)
    found = shutil.which(command[0]) if command else None
    with suppress(OSError):
        if found is not None:
            state = os.stat(found)
            identity += [os.path.realpath(found), state.st_size, state.st_mtime_ns]
    return identity


@cache
def _processor() -> str:
    """The instruction sets of this machine, as Linux names them; else the processor's name."""
    with suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return value.strip()
    return platform.processor()


def _load(path: Path, declarations: str) -> Library:
    """Open a library.

    Raises:
        OSError: if it is no library.
        AttributeError: if it has not all functions that are declared.
    """
    ffi = cffi.FFI()
    ffi.cdef(declarations)
    functions = ffi.dlopen(str(path))
    for name in dir(functions):
        getattr(functions, name)
    return Library(ffi=ffi, functions=functions)


def _compile(source: str, library: Path) -> bool:
    """Compile the library; return whether the C compiler of this machine succeeded."""
    words = find_compiler()
    if words is None:
        return False
    text = library.with_suffix(".c")
    text.write_text(source)
    command = [*words, *OPTIONS, "-o", str(library), str(text), "-lm"]
    with suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(command, capture_output=True, timeout=_SECONDS).returncode == 0
    return False


def _keep(made: Path, kept: Path) -> None:
    """Copy the library into the cache in one atomic step, since other processes may look for it now."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=kept.parent)
    os.close(handle)
    try:
        shutil.copyfile(made, name)
        os.chmod(name, 0o755)
        os.replace(name, kept)
    except OSError:
        os.unlink(name)
        raise
