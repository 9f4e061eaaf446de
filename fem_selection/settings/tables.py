# SPDX-License-Identifier: MIT
"""`settings_class` makes a class a checked table of settings; `InvalidSettings` reports its faults.

A settings object is frozen and built by keyword.  Its fields carry their allowed ranges as pydantic's annotations, and
no value is converted: "10" is no integer, true is no number.  NumPy's numbers and arrays are accepted as numbers and
lists, and paths as strings.  What a table derives from its other fields, `dataclasses.replace` derives anew
(`fem_selection.derived`).
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import wraps
from itertools import islice
from typing import Any, dataclass_transform, get_args

import numpy as np
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from fem_selection.derived import rederives
from fem_selection.errors import InvalidInput
from fem_selection.synonyms import closest

__all__ = ["STRICT", "InvalidSettings", "SettingFault", "settings_class", "shorten", "show_value"]

_FEW = 8  # faults of one field that are named
_MANY = 10_000  # faults of one table that are looked at
_LONGEST = 1000  # characters of a message

#: How pydantic reads every table: no unknown keys, no conversions, no inf or nan.
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclasses.dataclass(frozen=True)
class SettingFault:
    """The fault of one value.

    Attributes:
        path: Name of the field, then names and numbers inside its value.
        message: The values that are allowed and the one given; empty for a field that does not exist.
    """

    path: tuple[str | int, ...]
    message: str

    @property
    def key(self) -> str:
        """The path joined by dots, without the indices of entries."""
        return ".".join(name for name in self.path if isinstance(name, str))

    @property
    def place(self) -> str:
        """The path joined by dots, with the indices of entries in brackets."""
        return self.key + "".join(f"[{index}]" for index in self.path if isinstance(index, int))


class InvalidSettings(InvalidInput):
    """Raised when a settings object is built with values that it does not allow.

    Args:
        message: All faults as one text.
        faults: The faults one by one.
    """

    def __init__(self, message: str, faults: Sequence[SettingFault]) -> None:
        super().__init__(message)
        self.faults = tuple(faults)

    def __reduce__(self) -> tuple[type[InvalidSettings], tuple[str, Sequence[SettingFault]]]:
        """Pickle the error with its faults, so that it can be sent to other ranks."""
        return InvalidSettings, (str(self), self.faults)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field, Field))
def settings_class[T](cls: type[T]) -> type[T]:
    """Make a class with annotated fields a frozen, keyword-only dataclass that checks its values when it is built.

    The class may inherit fields of other settings classes.  Building it raises `InvalidSettings` with all faults.
    """
    config = None if hasattr(cls, "__pydantic_config__") else STRICT  # given by the class, or its base
    made: Any = dataclass(frozen=True, config=config)(cls)  # kw_only=True would check the fields in another order
    build, signature = made.__init__, inspect.signature(made)

    @wraps(build)
    def init(self: Any, /, **values: Any) -> None:
        try:
            build(self, **{name: _plain(value) for name, value in values.items()})
        except ValidationError as error:
            faults = _few_of_each_field([_fault(made, entry) for entry in _first_errors(error)])
            raise InvalidSettings("; ".join(_sentence(made, fault) for fault in faults), faults) from error

    made.__init__ = init
    rederives(made)
    keywords = [entry.replace(kind=entry.KEYWORD_ONLY) for entry in signature.parameters.values()]
    made.__signature__ = signature.replace(parameters=keywords)
    return made


def settings_or_default[T](settings: T | None, expected: type[T]) -> T:
    """Return the settings given, or the defaults if None is given.

    Args:
        settings: The settings, or None.
        expected: Their class.

    Raises:
        InvalidInput: if the settings are an object of another class.
    """
    if settings is None:
        return expected()
    if not isinstance(settings, expected):
        raise InvalidInput(f"settings of type {type(settings).__name__}: expected {expected.__name__}")
    return settings


def _plain(value: Any) -> Any:
    """Return Python's own value for a value of NumPy, and the text of a path; anything else as it is."""
    match value:
        case np.generic():
            return value.item()
        case np.ndarray():
            return value.tolist()
        case os.PathLike():
            return os.fspath(value)
        case tuple() | list() if type(value) in (tuple, list):
            return type(value)(_plain(entry) for entry in value)
    return value


def show_value(value: object) -> str:
    """Return a value as the messages of faults show it: in TOML's notation, and shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        text = repr(value)
    except ValueError:  # an integer of more than 4300 digits
        return "a number that is too large"
    return text if len(text) <= 60 else f"{text[:59]}…"


def shorten(text: str) -> str:
    """Return the text of a message, without the middle of one that nobody would read to its end."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 200]} … {text[-190:]}"


# --- pydantic's errors in the terms of the case file --------------------------------------------------------------


def _sentence(cls: type, fault: SettingFault) -> str:
    if fault.message:
        return f"{cls.__name__}.{fault.place}: {fault.message}"
    names = [field.name for field in dataclasses.fields(cls)]
    near = closest(str(fault.path[-1]), names)
    hint = f"did you mean {near}?" if near else f"it has {', '.join(names)}"
    return f"{cls.__name__}.{fault.place}: unknown setting; {hint}"


def _first_errors(error: ValidationError) -> list[Any]:
    """Return pydantic's errors, of a very long list the first thousands."""
    return list(islice(error.errors(include_url=False), _MANY))


def _few_of_each_field(faults: Sequence[SettingFault]) -> list[SettingFault]:
    """Return the faults, of each field the first few and a last one that counts the others."""
    kept: list[SettingFault] = []
    numbers = Counter(fault.path[:1] for fault in faults)
    seen: Counter[tuple[str | int, ...]] = Counter()
    for fault in faults:
        field = fault.path[:1]
        seen[field] += 1
        if seen[field] < _FEW or numbers[field] == seen[field] == _FEW:
            kept.append(fault)
        elif seen[field] == _FEW:
            more = numbers[field] - _FEW + 1
            kept.append(SettingFault(path=field, message=f"{more} more entries of the list have faults"))
    return kept


def _fault(cls: type, error: Mapping[str, Any]) -> SettingFault:
    return SettingFault(path=tuple(error["loc"]), message=shorten(_message(cls, error)))


def _message(cls: type, error: Mapping[str, Any]) -> str:
    shown, kind = show_value(error["input"]), error["type"]
    if kind == "unexpected_keyword_argument":
        return ""
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind in _EXPECTED:
        return f"must be {_EXPECTED[kind]}, got {shown}"
    if kind in _BOUNDS:
        declared = list(_constraints(cls, error["loc"]))
        limits = {name: _limit(declared, name, error) for name in _BOUNDS.values()}
        return f"must be {_range({name: limit for name, limit in limits.items() if limit is not None})}, got {shown}"
    return f"{error['msg'][:1].lower()}{error['msg'][1:]}, got {shown}"


_EXPECTED = {
    "int_type": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a string, in quotes",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a table",
    "dataclass_type": "a table",
    "string_too_short": "a string that is not empty",
    "too_short": "a list that is not empty",
}
_BOUNDS = {"greater_than_equal": "ge", "greater_than": "gt", "less_than_equal": "le", "less_than": "lt"}


def _constraints(cls: type, location: Sequence[str | int]) -> Iterator[Any]:
    """Yield what is declared of the innermost field that a location names."""
    info: Any = None
    for name in (name for name in location if isinstance(name, str)):
        fields = getattr(cls, "__pydantic_fields__", {})
        info = fields.get(name)
        if info is None:
            return
        cls = next((kind for kind in (info.annotation, *get_args(info.annotation)) if isinstance(kind, type)), object)
    yield from info.metadata if info is not None else ()


def _limit(declared: Sequence[Any], name: str, error: Mapping[str, Any]) -> float | None:
    """Return the limit called `name` (ge, gt, le, lt) of a field's range."""
    stated = (getattr(entry, name, None) for entry in declared)
    return next((limit for limit in stated if limit is not None), error["ctx"].get(name))


def _range(limits: Mapping[str, float]) -> str:
    low, high = limits.get("ge", limits.get("gt", -math.inf)), limits.get("le", limits.get("lt", math.inf))
    if math.isinf(high):
        return f"at least {low:g}" if "ge" in limits else f"above {low:g}"
    if math.isinf(low):
        return f"at most {high:g}" if "le" in limits else f"below {high:g}"
    return f"in {'[' if 'ge' in limits else '('}{low:g}, {high:g}{']' if 'le' in limits else ')'}"
