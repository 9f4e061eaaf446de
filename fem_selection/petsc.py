# SPDX-License-Identifier: MIT
"""PETSc's options under a prefix, and its reasons for stopping in words.

Options are inserted under a mandatory prefix while an object is configured and removed again, so that nothing leaks
into other objects of the process or of the user's program.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count

from petsc4py import PETSc

__all__ = ["is_used", "options", "tao_reason", "unique_prefix"]

_numbers = count()

_TAO_REASONS = {
    3: "the gradient norm fell below the absolute tolerance",
    4: "the gradient norm fell below the tolerance relative to the objective",
    5: "the gradient norm fell below the tolerance relative to the first gradient",
    6: "the step fell below its tolerance",
    7: "the objective fell below the wanted minimum",
    8: "stopped by the user",
    -2: "the iteration limit was reached",
    -4: "the objective or the gradient became infinite or NaN",
    -5: "the limit of evaluations was reached",
    -6: "the line search found no lower objective: the gradient is at the level of round-off",
    -7: "the trust region shrank to nothing",
    -8: "the convergence test of the user failed",
}


def unique_prefix(name: str) -> str:
    """A prefix for PETSc options that no other object of this process has."""
    return f"fem_selection_{name}_{next(_numbers)}_"


@contextmanager
def options(prefix: str, values: Mapping[str, str | float | bool | None]) -> Iterator[None]:
    """Insert options under a prefix for the time of a `with` block, and remove them afterwards."""
    database = PETSc.Options()
    for name, value in values.items():
        database.setValue(f"{prefix}{name}", value)
    try:
        yield
    finally:
        for name in values:
            database.delValue(f"{prefix}{name}")


def is_used(name: str) -> bool:
    """Whether some object has read an option of that whole name; to be asked while it is inserted."""
    return bool(PETSc.Options().used(name))


def tao_reason(reason: int) -> str:
    """TAO's converged reason as a sentence."""
    return _TAO_REASONS.get(int(reason), f"PETSc's TAO stopped with reason {int(reason)}")
