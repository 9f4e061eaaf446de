# SPDX-License-Identifier: MIT
"""The PETSc options of a TAO object, made from the settings of the optimizer."""

from __future__ import annotations

from petsc4py import PETSc

from fem_selection.errors import InvalidInput
from fem_selection.petsc import is_used, last_line, options, unique_prefix
from fem_selection.settings import OptimizerSettings
from fem_selection.settings.names import BOUNDED, NEWTON
from fem_selection.settings.petsc_options import is_switch

__all__ = ["set_options"]

_TYPES = {"cg": "bncg"}  # TAO's names of methods, where they differ from ours
_Options = dict[str, str | float | bool | None]


def set_options(tao: PETSc.TAO, settings: OptimizerSettings) -> None:
    """Set type and options of a TAO object, and set it up (collective).

    Args:
        tao: The object, which must have its callbacks and vectors already.
        settings: Method, memory and further PETSc options.

    Raises:
        InvalidInput: for the options that PETSc refuses, and for those that the method does not read.
    """
    kind, prefix = _TYPES.get(settings.method, settings.method), unique_prefix("tao")
    asked, (values, shared) = _asked(settings), _defaults(kind, prefix, settings.memory)
    tao.setType(kind)
    tao.setOptionsPrefix(prefix)
    try:
        unread = _configure(tao, prefix, values, shared, asked)
    except PETSc.Error as error:
        unread, refused = _one_by_one(tao, prefix, values, shared, asked)
        sentence = f"PETSc refuses {'; '.join(refused or [last_line(error)])}"
        more = f"; {settings.method} knows no option {', '.join(unread)}" if unread else ""
        raise InvalidInput(f"optimizer.options: {sentence}{more}") from error
    if unread:
        raise InvalidInput(f"optimizer.options: {settings.method} knows no option {', '.join(unread)}")
    tao.setTolerances(gatol=0.0, grtol=0.0, gttol=0.0)
    tao.setMaximumIterations(2**30)  # our limit also counts the iterations before a resume
    tao.setMaximumFunctionEvaluations(2**30)


def _configure(tao: PETSc.TAO, prefix: str, values: _Options, shared: _Options, asked: _Options) -> list[str]:
    """Set TAO up with the defaults and the options asked for; return the names that it did not read."""
    kind = tao.getType()
    of_matrix = {name for name in asked if kind == "lmvm" and name.startswith("tao_lmvm_mat_")}
    own = {name: value for name, value in asked.items() if name not in of_matrix}
    with (
        options("", shared | {name: asked[name] for name in of_matrix}),
        options(prefix, values | own),
    ):
        tao.setFromOptions()
        tao.setUp()
        return [
            name if len(name) <= 60 else f"{name[:59]}…"
            for name in asked
            if not is_used(name if name in of_matrix else f"{prefix}{name}")
        ]


def _one_by_one(
    tao: PETSc.TAO, prefix: str, values: _Options, shared: _Options, asked: _Options
) -> tuple[list[str], list[str]]:
    """The names that TAO does not read, and PETSc's sentence for each option that it refuses by itself."""
    unread, refused = [], []
    for name, value in asked.items():
        try:
            unread += _configure(tao, prefix, values, shared, {name: value})
        except PETSc.Error as error:
            refused.append(f"{name}: {last_line(error)}")
    return unread, refused


def _asked(settings: OptimizerSettings) -> _Options:
    """The user's options; a switch that is true has no value for PETSc, and one that is false is left out."""
    asked: _Options = {}
    for name, value in settings.options.items():
        if not (is_switch(name) and isinstance(value, bool)):
            asked[name] = value
        elif value:
            asked[name] = None
    return asked


def _defaults(kind: str, prefix: str, memory: int) -> tuple[_Options, _Options]:
    """The default options to set under the solver's prefix, and those to set without a prefix."""
    values: _Options = {}
    shared: _Options = {}
    # TAO gives the matrix of `lmvm` its own prefix, which does not contain the prefix of the solver
    matrix = "tao_lmvm_" if kind == "lmvm" else f"{prefix}tao_{kind}_"
    if kind not in ("bncg", *NEWTON):
        shared[f"{matrix}mat_lmvm_scale_type"] = "scalar"
        shared[f"{matrix}mat_lmvm_hist_size"] = memory
    if kind in ("lmvm", "blmvm"):
        values[f"tao_{kind}_recycle"] = True
    if kind in BOUNDED and kind != "blmvm":
        # the other choice carries a tolerance from step to step, and crashes where it takes all variables for active
        values["tao_bnk_as_type"] = "none"
    return values, shared
