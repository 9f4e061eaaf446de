# SPDX-License-Identifier: MIT
"""Kinds of values that more than one table of a case file uses: one of several names, lists, bounds."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainValidator

from fem_selection.functions.formulas import FUNCTIONS
from fem_selection.settings.names import ELSEWHERE
from fem_selection.settings.tables import show_value
from fem_selection.synonyms import suggest

__all__ = [
    "Anchors",
    "Bounds",
    "Ends",
    "Factors",
    "ListOrScalar",
    "Option",
    "SumOrList",
    "TomlList",
    "name_or_formula",
    "one_of",
]


def one_of(names: Sequence[str], aliases: Mapping[str, str] | None = None) -> AfterValidator:
    """Return a validator that accepts a name or an alias, in upper or lower case and with `-` for `_`.

    Args:
        names: The names that are allowed.
        aliases: Further spellings, each with the name that the validator returns for it.
    """
    return AfterValidator(_chooser(names, aliases or {}))


def name_or_formula(names: Sequence[str], variable: str) -> AfterValidator:
    """Return a validator that accepts a name, as `one_of` does, or any text that may be a formula.

    A single word that is not the variable counts as a name.

    Args:
        names: The names that are allowed.
        variable: The variable of the formula.
    """
    choose = _chooser(names, {})

    def check(value: str) -> str:
        word = value.strip()
        if re.fullmatch(r"[A-Za-z][\w-]*", word) is None or word == variable:
            return value
        if FUNCTIONS.get(word) == 1 and word not in names and not suggest(word, names):
            raise ValueError(f"unknown name {value!r}; did you mean the formula '{word}({variable})'?")
        return choose(value)

    return AfterValidator(check)


def _chooser(names: Sequence[str], aliases: Mapping[str, str]) -> Callable[[str], str]:
    def choose(value: str) -> str:
        name = value.strip().lower().replace("-", "_")
        name = aliases.get(name, name)
        if name in names:
            return name
        hint = suggest(value, names, {key: others for key, others in ELSEWHERE.items() if others != tuple(names)})
        raise ValueError(f"unknown name {show_value(value)}{hint} (allowed: {', '.join(names)})")

    return choose


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _scalar_as_tuple(value: Any) -> Any:
    return _as_tuple(value) if isinstance(value, list | tuple) else (value,)


def _sum_as_tuple(value: Any) -> Any:
    return tuple(part.strip() for part in value.split("+")) if isinstance(value, str) else _as_tuple(value)


def _pair(value: Any) -> Any:
    value = _as_tuple(value)
    if not isinstance(value, tuple) or len(value) != 2:
        raise ValueError(f"must be a list of two numbers, [lower, upper], got {show_value(value)}")
    return value


def _formula_pair(value: Any) -> Any:
    value = _as_tuple(value)
    if not isinstance(value, tuple) or len(value) != 2:
        raise ValueError(f"must be a list of two formulas, [u, v], got {show_value(value)}")
    return value


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] >= value[1]:
        raise ValueError(f"the lower bound {value[0]} must be below the upper bound {value[1]}")
    return value


def _distinct(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] == value[1] or not all(math.isfinite(end) for end in value):
        raise ValueError(f"must be two different finite numbers, got {list(value)}")
    return value


def _anchors(value: Any) -> Any:
    value = _as_tuple(value)
    if isinstance(value, str) and value.strip().lower() == "all":
        return "all"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    if isinstance(value, tuple) and value and all(isinstance(text, str) for text in value):
        return value
    raise ValueError(f"must be 'all', a number of samples, or a list of formulas in y, got {show_value(value)}")


def _option(value: Any) -> Any:
    if not isinstance(value, str | bool | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"must be a string, a finite number or true/false, got {show_value(value)}")
    if isinstance(value, int) and abs(value) > 2**31 - 1:
        raise ValueError(f"must be in ±{2**31 - 1}, the integers of PETSc, got {show_value(value)}")
    return value


Anchors = Annotated[str | int | tuple[str, ...], PlainValidator(_anchors)]
TomlList = BeforeValidator(_as_tuple)
ListOrScalar = BeforeValidator(_scalar_as_tuple)
SumOrList = BeforeValidator(_sum_as_tuple)
Bounds = Annotated[tuple[float, float], AfterValidator(_ordered), BeforeValidator(_pair)]
Ends = Annotated[tuple[float, float], AfterValidator(_distinct), BeforeValidator(_pair)]
Factors = Annotated[tuple[str, str], BeforeValidator(_formula_pair)]
Option = Annotated[str | bool | int | float, PlainValidator(_option)]
