# SPDX-License-Identifier: MIT
"""Helpers for PETSc: options under a prefix, matrices and preconditioners given by functions, reasons in words.

Options are inserted under a mandatory prefix while an object is configured and removed again, so that they reach no
other object of the process or of the user's program.

Shell matrices and shell preconditioners call a function on the entries of a vector that this rank owns.  `released`
destroys PETSc's objects at the end of a `with` block: destruction is collective, while Python's collector works on each
rank alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

from fem_selection.typing import Floats

__all__ = [
    "Action",
    "create_shell",
    "is_used",
    "ksp_reason",
    "last_line",
    "options",
    "released",
    "remove_shift",
    "set_preconditioner",
    "snes_reason",
    "tao_reason",
    "unique_prefix",
]

Action = Callable[[Floats, Floats], None]
"""(x, y) ↦ y = A x on this rank's entries, shape (num_local,): reads its first argument, writes its second."""

_numbers = count()
_TAO, _SNES, _KSP = PETSc.TAO.ConvergedReason, PETSc.SNES.ConvergedReason, PETSc.KSP.ConvergedReason

_TAO_REASONS = {
    _TAO.CONVERGED_GATOL: "the gradient norm fell below the absolute tolerance",
    _TAO.CONVERGED_GRTOL: "the gradient norm fell below the tolerance relative to the objective",
    _TAO.CONVERGED_GTTOL: "the gradient norm fell below the tolerance relative to the first gradient",
    _TAO.CONVERGED_STEPTOL: "the step fell below its tolerance",
    _TAO.CONVERGED_MINF: "the objective fell below the wanted minimum",
    _TAO.CONVERGED_USER: "stopped by the user",
    _TAO.DIVERGED_MAXITS: "the iteration limit was reached",
    _TAO.DIVERGED_NAN: "the objective or the gradient became infinite or NaN",
    _TAO.DIVERGED_MAXFCN: "the limit of evaluations was reached",
    _TAO.DIVERGED_LS_FAILURE: "the line search found no lower objective: the gradient is at the level of round-off",
    _TAO.DIVERGED_TR_REDUCTION: "the trust region shrank to nothing",
    _TAO.DIVERGED_USER: "the convergence test of the user failed",
}

_SNES_REASONS = {
    _SNES.CONVERGED_FNORM_ABS: "the residual fell below the absolute tolerance",
    _SNES.CONVERGED_FNORM_RELATIVE: "the residual fell below the tolerance relative to the first residual",
    _SNES.CONVERGED_SNORM_RELATIVE: "the step fell below its tolerance",
    _SNES.DIVERGED_FUNCTION_DOMAIN: "the residual could not be evaluated there",
    _SNES.DIVERGED_FUNCTION_COUNT: "the limit of evaluations was reached",
    _SNES.DIVERGED_LINEAR_SOLVE: "a linear solve did not converge",
    _SNES.DIVERGED_FUNCTION_NANORINF: "the residual became infinite or NaN",
    _SNES.DIVERGED_MAX_IT: "the iteration limit was reached",
    _SNES.DIVERGED_LINE_SEARCH: "the line search found no smaller residual",
    _SNES.DIVERGED_LOCAL_MIN: "a local minimum of the residual was reached that is no solution",
    _SNES.DIVERGED_DTOL: "the residual grew beyond its bound",
    _SNES.DIVERGED_TR_DELTA: "the trust region shrank to nothing",
}

_KSP_REASONS = {
    _KSP.CONVERGED_RTOL: "the residual fell below the tolerance relative to the right-hand side",
    _KSP.CONVERGED_ATOL: "the residual fell below the absolute tolerance",
    _KSP.CONVERGED_HAPPY_BREAKDOWN: "the solution was found exactly",
    _KSP.DIVERGED_MAX_IT: "the iteration limit was reached",
    _KSP.DIVERGED_DTOL: "the residual grew beyond its bound",
    _KSP.DIVERGED_BREAKDOWN: "the Krylov space broke down",
    _KSP.DIVERGED_NANORINF: "the residual became infinite or NaN",
    _KSP.DIVERGED_PCSETUP_FAILED: "the preconditioner could not be set up",
}


def unique_prefix(name: str) -> str:
    """Return a prefix for PETSc options that no other object of this process has; `name` is a part of it."""
    return f"fem_selection_{name}_{next(_numbers)}_"


@contextmanager
def options(prefix: str, values: Mapping[str, str | float | bool | None]) -> Iterator[None]:
    """Insert options into PETSc's database for the duration of a `with` block; what stood there comes back.

    Args:
        prefix: The prefix of the object to be configured.
        values: The options by name, without the prefix.
    """
    database = PETSc.Options()
    names = [f"{prefix}{name}" for name in values]
    before = {name: database.getString(name) for name in names if database.hasName(name)}
    for name, value in zip(names, values.values(), strict=True):
        database.setValue(name, value)
    try:
        yield
    finally:
        for name in names:
            database.delValue(name)
        for name, text in before.items():
            database.setValue(name, text)


def is_used(name: str) -> bool:
    """Return whether a PETSc object has read the option with this full name; ask while the option is inserted."""
    return bool(PETSc.Options().used(name))


def create_shell(
    comm: MPI.Comm, num_local: int, apply: Action, *, apply_transpose: Action | None = None, is_symmetric: bool = False
) -> PETSc.Mat:
    """Create a square PETSc matrix whose products are computed by functions (collective).

    Args:
        comm: Ranks that share the vectors.
        num_local: Entries of a vector on this rank.
        apply: (x, y) ↦ y = A x.
        apply_transpose: (x, y) ↦ y = Aᵀ x; not needed if A is symmetric or no one multiplies by Aᵀ.
        is_symmetric: Whether A is symmetric.

    Returns:
        The matrix; the caller destroys it.  PETSc may add multiples of the identity to it, as TAO does if a Hessian is
        indefinite; `remove_shift` removes them.
    """
    apply_transpose = apply if is_symmetric else apply_transpose
    shell = _Shell(apply) if apply_transpose is None else _ShellWithTranspose(apply, apply_transpose)
    matrix = PETSc.Mat().createPython(((num_local, None), (num_local, None)), shell, comm=comm)
    if is_symmetric:
        matrix.setOption(PETSc.Mat.Option.SYMMETRIC, True)
    matrix.setUp()
    return matrix


def remove_shift(matrix: PETSc.Mat) -> None:
    """Remove all multiples of the identity that were added to a matrix made by `create_shell`."""
    matrix.getPythonContext().added = 0.0


def set_preconditioner(pc: PETSc.PC, apply: Action) -> None:
    """Make a PETSc preconditioner call a function.

    Args:
        pc: The preconditioner.
        apply: (x, y) ↦ y = P⁻¹ x.
    """
    pc.setType(PETSc.PC.Type.PYTHON)
    pc.setPythonContext(_Preconditioner(apply))


@contextmanager
def released(*things: Any) -> Iterator[None]:
    """Destroy PETSc's objects at the end of a `with` block, also after an error (collective).

    What a failed solver has left half done may be beyond its own destruction; then the error that made it fail stands.
    """
    try:
        yield
    except BaseException:
        for thing in things:
            with suppress(PETSc.Error, SystemError):
                thing.destroy()
        raise
    for thing in things:
        thing.destroy()


def last_line(error: PETSc.Error) -> str:
    """Return what happened according to an error of PETSc: its last line, without the rank, and shortened."""
    line = re.sub(r"^\[\d+\]\s*", "", (str(error).splitlines() or [""])[-1]).strip()
    return line if len(line) <= 200 else f"{line[:199]}…"


def tao_reason(reason: int) -> str:
    """Return TAO's converged reason as a sentence."""
    return _TAO_REASONS.get(int(reason), f"PETSc's TAO stopped with reason {int(reason)}")


def snes_reason(reason: int) -> str:
    """Return SNES's converged reason as a sentence."""
    return _SNES_REASONS.get(int(reason), f"PETSc's SNES stopped with reason {int(reason)}")


def ksp_reason(reason: int) -> str:
    """Return KSP's converged reason as a sentence."""
    return _KSP_REASONS.get(int(reason), f"PETSc's KSP stopped with reason {int(reason)}")


class _Shell:
    """The Python side of a shell matrix: A plus a multiple of the identity.

    Attributes:
        added: The multiple.
    """

    def __init__(self, apply: Action) -> None:
        self._apply, self.added = apply, 0.0

    def mult(self, matrix: PETSc.Mat, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """y = A x."""
        self._act(self._apply, x, y)

    def shift(self, matrix: PETSc.Mat, by: float) -> None:
        """A ← A + by · 1."""
        self.added += by

    def _act(self, action: Action, x: PETSc.Vec, y: PETSc.Vec) -> None:
        action(x.array_r, y.array)
        if self.added:
            y.axpy(self.added, x)


class _ShellWithTranspose(_Shell):
    """A shell matrix with Aᵀ; PETSc looks for the method `multTranspose` to learn whether Aᵀ is available."""

    def __init__(self, apply: Action, apply_transpose: Action) -> None:
        super().__init__(apply)
        self._apply_transpose = apply_transpose

    def multTranspose(self, matrix: PETSc.Mat, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """y = Aᵀ x."""
        self._act(self._apply_transpose, x, y)


class _Preconditioner:
    """The Python side of a shell preconditioner."""

    def __init__(self, apply: Action) -> None:
        self._apply = apply

    def apply(self, pc: PETSc.PC, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """y = P⁻¹ x."""
        self._apply(x.array_r, y.array)
