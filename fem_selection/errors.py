# SPDX-License-Identifier: MIT
"""The exceptions of this package, all derived from `SelectionError`.

Every message says what was given, what was expected and what to do.  The command line turns each class into an
exit status (see `fem_selection.cli`); a library user catches `SelectionError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

__all__ = [
    "CompilationFailed",
    "ConfigError",
    "InvalidInput",
    "MissingDependency",
    "NoBranch",
    "NonFinite",
    "NotConverged",
    "SelectionError",
    "SelectionWarning",
    "TooManyCoordinates",
    "missing_fenicsx",
]


class SelectionError(Exception):
    """Base of all errors that this package raises on purpose."""


class SelectionWarning(UserWarning):
    """What this package did not do, or doubts, while it goes on; the message names the file or key and the reason."""


class InvalidInput(SelectionError):
    """An argument, a file or a combination of settings cannot be used."""


class ConfigError(InvalidInput):
    """A case file has faults; the error lists all of them at once.

    Args:
        faults: One sentence per fault, each beginning with the key's path (`dynamics.layers: …`).
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[Sequence[str]]]:
        """Pickle the faults, from which the receiving rank makes the same error."""
        return ConfigError, (self.faults,)


class MissingDependency(SelectionError):
    """A library that this task needs is not installed; the message says how to install it."""


class CompilationFailed(MissingDependency):
    """The C compiler that FEniCSx needs is missing or fails; the message says what to install."""


def missing_fenicsx(error: ModuleNotFoundError) -> MissingDependency | None:
    """Return the error that says how to install FEniCSx; None if another module is missing."""
    if error.name is None or error.name.split(".")[0] not in ("dolfinx", "petsc4py", "ufl", "basix", "ffcx"):
        return None
    return MissingDependency(
        f"{error.name} is not installed. Either install the wheels, `pip install fem-selection[wheels]` "
        "(Linux x86_64), or use an environment that has FEniCSx (conda-forge `fenics-dolfinx`, a container)"
    )


class NotConverged(SelectionError):
    """An iterative solver stopped before it reached its tolerance."""


class NoBranch(InvalidInput):
    """There is no steady state near the start at the value of the parameter where a branch begins."""


class TooManyCoordinates(InvalidInput):
    """The rank of a kernel is too large for the reduced coordinates of its steady states."""


class NonFinite(SelectionError):
    """A state, objective or gradient became infinite or NaN.

    Args:
        what: What became non-finite ("the state", "the gradient").
        layer: Layer at which it was first seen, if it is known.
        iteration: Iteration of the optimizer, if it is known.
        reason: The cause, if it is known and is not an overflow: an iterative solver that fails sets the state to NaN.
    """

    def __init__(
        self, what: str, layer: int | None = None, iteration: int | None = None, *, reason: str | None = None
    ) -> None:
        self.what, self.layer, self.iteration, self.reason = what, layer, iteration, reason
        place = f" at layer {layer}" if layer is not None else ""
        time = f" in iteration {iteration}" if iteration is not None else ""
        super().__init__(f"{what} is not finite{place}{time}" + (f": {reason}" if reason else ""))

    def __reduce__(self) -> tuple[partial[NonFinite], tuple[str, int | None, int | None]]:
        """Pickle the parts of the message, from which the receiving rank makes the same error."""
        return partial(NonFinite, reason=self.reason), (self.what, self.layer, self.iteration)

    def at_iteration(self, iteration: int) -> NonFinite:
        """Return a copy of this error that names an iteration of the optimizer."""
        return NonFinite(self.what, self.layer, iteration, reason=self.reason)
