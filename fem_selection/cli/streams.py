# SPDX-License-Identifier: MIT
"""Standard streams that a run outlives.

A run of hours must not end because nobody reads what it prints: a pipe whose reader has gone (`| head -1`), a terminal
that was closed, a log on a full disk, a stream that the shell closed (`>&-`).  What cannot be written is lost; the
report holds it all.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Buffer, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

__all__ = ["enduring_streams", "visible"]

_QUIET = (errno.EPIPE, errno.EBADF, errno.EIO)  # nobody reads any more: nothing to tell
_IN_ASCII = {
    **{"σ": "sigma", "ε": "eps", "λ": "lambda", "α": "alpha", "μ": "mu", "ℓ": "l", "Δ": "Delta", "∂": "d", "∞": "inf"},
    **{"−": "-", "–": "-", "—": "-", "→": "->", "…": "...", "·": "*", "×": "x", "±": "+-", "≤": "<=", "≥": ">="},
    **{"‖": "||", "∫": "int ", "∇": "grad ", "²": "^2", "³": "^3", "¹": "^1", "′": "'", "″": "''", "≈": "~"},
    **{"Σ": "Sum ", "⟨": "<", "⟩": ">", "ᵀ": "^T", "⋅": "*", "“": '"', "”": '"', "’": "'", "√": "sqrt "},
}


@contextmanager
def enduring_streams() -> Iterator[None]:
    """Let `sys.stdout` and `sys.stderr` lose what cannot be written, and warnings be single lines, in a `with` block.

    A character that the encoding of a stream lacks (PYTHONIOENCODING=ascii) is spelt in ASCII or shown as an escape.
    """
    _occupy_standard_descriptors()
    _ignore_broken_pipes()
    before = sys.stdout, sys.stderr
    codecs.register_error("fem_selection.spell", _spell)
    sys.stdout, sys.stderr = (_enduring(stream) for stream in before)
    try:
        with warnings.catch_warnings():
            usual = warnings.showwarning

            def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
                if issubclass(category, UserWarning):
                    print(f"warning: {message}", file=sys.stderr, flush=True)
                else:
                    usual(message, category, *where, **more)

            warnings.showwarning = show
            yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def visible(text: str) -> str:
    """Return a text whose control characters, all but line ends, are escapes: names and titles come from files."""
    return text.translate(_ESCAPES)


_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def _occupy_standard_descriptors() -> None:
    """Open the null device in place of standard streams that were closed, so that no file gets their descriptors.

    Otherwise what a library prints would go into the first file that this process opens.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _ignore_broken_pipes() -> None:
    """Let a write into a pipe without a reader fail, as in all Python programs, rather than end the process.

    PETSc replaces Python's choice by a handler that aborts, if the caller's program has started it with one.
    """
    if threading.current_thread() is threading.main_thread():  # elsewhere Python sets no handlers
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def _enduring(stream: TextIO | None) -> TextIO:
    if stream is None or stream.closed:  # None if it was closed before Python began
        return open(os.devnull, "w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream  # a notebook's or a test's
    try:
        descriptor = stream.fileno()
    except OSError:  # in memory
        return stream
    with suppress(OSError):
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Enduring(descriptor)),
        encoding=stream.encoding,
        errors="fem_selection.spell",
        line_buffering=True,
    )


class _Enduring(io.RawIOBase):
    """Writes to a descriptor, which it does not close; what cannot be written is lost."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._told = descriptor, False

    def writable(self) -> bool:
        """True."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._descriptor)

    def write(self, data: Buffer, /) -> int:
        """Write what can be written, and return the number of all bytes."""
        left = memoryview(data)
        size = left.nbytes
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as error:
            self._tell(error)
        return size

    def _tell(self, error: OSError) -> None:
        """Say once on standard error why standard output cannot be written."""
        if self._told or error.errno in _QUIET or self._descriptor == 2:
            return
        self._told = True
        text = f"warning: the standard output cannot be written ({error.strerror}); the run goes on without it\n"
        with suppress(OSError):
            os.write(2, text.encode())


def _spell(error: UnicodeError) -> tuple[str, int]:
    """The handler of characters that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    spelt = "".join(_IN_ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lacking)
    return spelt, error.end
