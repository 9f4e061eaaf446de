# SPDX-License-Identifier: MIT
"""Options of PETSc in a table: their names as PETSc reads them, and those that contradict the table's other keys.

PETSc compares names without regard to case, and takes `-tao_type` for `tao_type`.  Whether a method reads an option is
known to PETSc alone: `optimize.tao_options` names those that it did not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from fem_selection.settings.names import NEWTON, PONTRYAGIN

__all__ = ["OptionValue", "is_switch", "option_faults", "option_name"]

OptionValue = str | bool | int | float

_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_SWITCH = re.compile(r"(^|_)(monitor|view|converged_reason|cancelmonitors)(_|$)")
_EXACT = "gradient and Hessian are the exact ones of the discrete problem; `fem-selection verify` tests them"
#: What contradicts a key or the method, as a pattern of names, each with the sentence that says why.
_TAKEN: tuple[tuple[str, str], ...] = (
    (r"tao_type", "optimizer.method names the method"),
    (r"tao_max_(it|funcs)", "optimizer.max_iterations says when the run stops"),
    (r"tao_g(a|r|t)tol", "optimizer.gradient_tolerance and optimizer.absolute_tolerance say when the run stops"),
    (r"(.*_)?mat_lmvm_hist_size", "optimizer.memory is the number of pairs"),
    (r"tao_b?lmvm_recycle", "it is set always, for a resumed run rebuilds its memory by it"),
    (r"tao_bnk_as_type", "it is none always, for PETSc's other choice crashes where all variables are at bounds"),
    (r"tao_(fd|mf)_.*|tao_test_.*", _EXACT),
    (r"tao_view(_.*)?", "PETSc reads it after the run alone; report.json and history.csv hold the result"),
)
_TAKEN_BY_NEWTON: tuple[tuple[str, str], ...] = (
    (r"(.*_)?(?<!ksp_)pc_.*", "Newton's equation is preconditioned by the Riesz map"),
    (r"(.*_)?ksp_rtol", "the tolerance of Newton's equation follows the gradient, min(1/2, √(|g|/|g₀|))"),
)


def option_name(text: str) -> str:
    """Return the name of an option as PETSc compares it: in lower case and without leading hyphens."""
    return text.strip().lstrip("-").lower()


def is_switch(name: str) -> bool:
    """Return whether an option turns something on to which PETSc may give a file: there true means no value."""
    return _SWITCH.search(name) is not None


def option_faults(options: Mapping[str, OptionValue], method: str) -> Iterator[str]:
    """Yield the faults of options beside the other keys of `[optimizer]`.

    Args:
        options: The options by name.
        method: `optimizer.method`.
    """
    names = [option_name(text) for text in options]
    if method in PONTRYAGIN and names:
        shown = ", ".join(map(_shown, names))
        yield f"{method} is no method of PETSc and reads no option ({shown}); leave the options out"
        return
    taken = (*_TAKEN, *(_TAKEN_BY_NEWTON if method in NEWTON else ()))
    for name in dict.fromkeys(names):
        if _NAME.fullmatch(name) is None:
            yield f"{_shown(name)!r} is no name of an option of PETSc, such as tao_ls_type"
        elif names.count(name) > 1:
            yield f"{_shown(name)} is given twice, for PETSc passes over case and leading hyphens; leave one out"
        elif (why := next((why for pattern, why in taken if re.fullmatch(pattern, name)), None)) is not None:
            yield f"{_shown(name)} cannot be set: {why}"


def _shown(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:59]}…"
