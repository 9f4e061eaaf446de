# SPDX-License-Identifier: MIT
"""What the commands share: reading the case once, and acting on root with all ranks knowing how it ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar, cast

from mpi4py import MPI

from fem_selection import config
from fem_selection.errors import ConfigError, InvalidInput, SelectionError

__all__ = ["load_case_everywhere", "on_root"]

T = TypeVar("T")


def on_root[T](action: Callable[[], T]) -> T:
    """The result of an action that root takes, or the error it raises, on every rank (collective)."""
    world = MPI.COMM_WORLD
    outcome: tuple[T | None, SelectionError | None] = (None, None)
    if world.rank == 0:
        try:
            outcome = (action(), None)
        except SelectionError as error:
            outcome = (None, error)
        except OSError as error:
            outcome = (None, InvalidInput(f"{error.filename or 'a file'}: {error.strerror or error}"))
    result, fault = world.bcast(outcome)
    if fault is not None:
        raise fault
    return cast(T, result)


def load_case_everywhere(path: Path, settings: Sequence[str]) -> config.Case:
    """The case, read by root, if it can run on these ranks."""
    case = on_root(lambda: config.load_case(path, settings))
    if MPI.COMM_WORLD.size % case.parallel.space:
        raise ConfigError(
            [f"parallel.space: {case.parallel.space} does not divide the number of ranks, {MPI.COMM_WORLD.size}"]
        )
    return case
