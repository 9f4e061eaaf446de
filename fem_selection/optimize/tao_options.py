# SPDX-License-Identifier: MIT
"""The PETSc options of a TAO object, made from the settings of the optimizer."""

from __future__ import annotations

from petsc4py import PETSc

from fem_selection.errors import InvalidInput
from fem_selection.petsc import is_used, options, unique_prefix
from fem_selection.settings import OptimizerSettings
from fem_selection.settings.names import NEWTON

__all__ = ["set_options"]

_TYPES = {"cg": "bncg"}  # TAO's names of methods, where they differ from ours
_OURS = ("tao_gatol", "tao_grtol", "tao_gttol", "tao_max_it", "tao_max_funcs")  # the settings have keys for these
_Options = dict[str, str | float | bool | None]


def set_options(tao: PETSc.TAO, settings: OptimizerSettings) -> None:
    """Set type and options of a TAO object, and set it up (collective).

    Args:
        tao: The object, which must have its callbacks and vectors already.
        settings: Method, memory and further PETSc options.

    Raises:
        InvalidInput: for an option that PETSc refuses, that the method does not know, or for which the settings have a
            key.
    """
    kind, prefix = _TYPES.get(settings.method, settings.method), unique_prefix("tao")
    asked = _asked(settings)
    values, shared = _defaults(kind, prefix, settings.memory)
    for name, value in asked.items():
        (shared if kind == "lmvm" and name.startswith("tao_lmvm_mat_") else values)[name] = value
    tao.setType(kind)
    tao.setOptionsPrefix(prefix)
    with options("", shared), options(prefix, values):
        try:
            tao.setFromOptions()
            tao.setUp()
        except PETSc.Error as error:
            raise InvalidInput(f"optimizer.options: PETSc refuses them: {str(error).splitlines()[-1]}") from error
        unused = [name for name in asked if not (is_used(name) or is_used(f"{prefix}{name}"))]
    if unused:
        raise InvalidInput(f"optimizer.options: {settings.method} knows no option {', '.join(unused)}")
    tao.setTolerances(gatol=0.0, grtol=0.0, gttol=0.0)
    tao.setMaximumIterations(2**30)  # our limit also counts the iterations before a resume
    tao.setMaximumFunctionEvaluations(2**30)


def _asked(settings: OptimizerSettings) -> _Options:
    """The user's options, with the names as PETSc has them but without leading hyphens."""
    asked: _Options = {name.lstrip("-"): value for name, value in settings.options.items()}
    if taken := [name for name in asked if name in _OURS]:
        raise InvalidInput(
            f"optimizer.options: {', '.join(taken)} cannot be set: gradient_tolerance, absolute_tolerance and "
            "max_iterations of the optimizer say when it stops"
        )
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
    if kind == "bqnls":
        values["tao_bnk_as_type"] = "none"  # the other choice carries a tolerance from step to step
    return values, shared
