# SPDX-License-Identifier: MIT
"""The C compiler of this machine: the one that is named, by `CC` or by Python's build, or one that is found."""

from __future__ import annotations

import os
import shlex
import shutil
import sysconfig
from contextlib import suppress

__all__ = ["find_compiler", "named_compiler"]


def named_compiler() -> list[str]:
    """The words that call the named compiler: that of `CC`, else the one that Python was built with, else `cc`.

    FEniCSx calls this one, whether it is there or not.
    """
    named = (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc")
    return next(words for words in map(_words, named) if words)


def find_compiler() -> list[str] | None:
    """The words that call a compiler that is there: the named one if possible; None if there is none."""
    named = (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc", "clang")
    return next((words for words in map(_words, named) if words and shutil.which(words[0])), None)


def _words(command: str | None) -> list[str]:
    """Split a command as a shell would; empty if that fails."""
    with suppress(ValueError):
        return shlex.split(command or "")
    return []
