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

__all__ = ["is_used", "ksp_reason", "options", "snes_reason", "tao_reason", "unique_prefix"]

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

_SNES_REASONS = {
    2: "the residual fell below the absolute tolerance",
    3: "the residual fell below the tolerance relative to the first residual",
    4: "the step fell below its tolerance",
    -1: "the residual could not be evaluated there",
    -2: "the limit of evaluations was reached",
    -3: "a linear solve did not converge",
    -4: "the residual became infinite or NaN",
    -5: "the iteration limit was reached",
    -6: "the line search found no smaller residual",
    -8: "a local minimum of the residual was reached that is no solution",
    -9: "the residual grew beyond its bound",
    -11: "the trust region shrank to nothing",
}

_KSP_REASONS = {
    2: "the residual fell below the tolerance relative to the right-hand side",
    3: "the residual fell below the absolute tolerance",
    7: "the solution was found exactly",
    -3: "the iteration limit was reached",
    -4: "the residual grew beyond its bound",
    -5: "the Krylov space broke down",
    -9: "the residual became infinite or NaN",
    -11: "the preconditioner could not be set up",
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


def snes_reason(reason: int) -> str:
    """SNES's converged reason as a sentence."""
    return _SNES_REASONS.get(int(reason), f"PETSc's SNES stopped with reason {int(reason)}")


def ksp_reason(reason: int) -> str:
    """KSP's converged reason as a sentence."""
    return _KSP_REASONS.get(int(reason), f"PETSc's KSP stopped with reason {int(reason)}")
