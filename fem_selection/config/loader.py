# SPDX-License-Identifier: MIT
"""From a TOML file, or a mapping, to a `Case`; or to one error with all the faults found.

Each fault begins with the key's dotted path.  A fault between several keys is reported when all of them are valid by
themselves, so that one mistake is told once.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import os.path
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fem_selection.config.checks import check_case
from fem_selection.config.schema import Case
from fem_selection.errors import ConfigError
from fem_selection.settings import Movement

__all__ = ["load_case", "parse_case"]


def load_case(path: Path, overrides: Sequence[str] = ()) -> Case:
    """Return the case in a TOML file.

    Args:
        path: The case file; `data.file` and `domain.file` in it are relative to its folder.
        overrides: Settings `KEY=VALUE` that replace the file's, KEY a dotted path, VALUE in TOML (see `parse_case`).

    Raises:
        ConfigError: The file cannot be read, or has faults.
    """
    path = Path(path)
    try:
        mapping = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: is not text in UTF-8 (byte {error.start})"]) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError([f"{path}: is not valid TOML: {error}"]) from error
    return parse_case(mapping, path.parent, overrides)


def parse_case(mapping: Mapping[str, Any], base: Path | None = None, overrides: Sequence[str] = ()) -> Case:
    """Return the case in a mapping of tables.

    Args:
        mapping: What a TOML file holds; it is not changed.
        base: Folder that `data.file` and `domain.file` are relative to; the current one if left out.
        overrides: Settings `KEY=VALUE`.  VALUE is read as TOML if that succeeds, else as a string; for a key that
            holds a string, a number is taken as it is written.

    Raises:
        ConfigError: With all faults.
    """
    faults: list[str] = []
    settings = copy.deepcopy(dict(mapping))
    for override in overrides:
        faults += _override(settings, override)
    for name in ("data", "domain"):
        if isinstance(table := settings.get(name), dict) and isinstance(file := table.get("file"), str) and file:
            table["file"] = os.path.abspath((base or Path()) / file)

    invalid: set[str] = set()
    faults += _drop_contradictions(settings.get("domain"))
    tables: dict[str, Any] = {}
    for name, cls in _TABLES.items():
        given = settings.pop(name, {})
        if isinstance(given, dict):
            tables[name] = _build(cls, given, name, faults, invalid)
        else:
            faults.append(f"{name}: must be a table, [{name}], got {_shown(given)}")
            invalid |= {key for key in _KEYS if key.startswith(f"{name}.")}
    if "domain.file" in invalid:
        invalid |= {key for key in _KEYS if key.startswith("domain.")}
    case = _build(Case, settings, "", faults, invalid, tables)
    faults += [str(fault) for fault in check_case(case) if invalid.isdisjoint(fault.keys)]
    if faults:
        raise ConfigError(faults)
    return case


def _drop_contradictions(domain: Any) -> list[str]:
    """Remove what describes a shape from a domain that is a mesh file, and say so."""
    if not isinstance(domain, dict) or domain.get("file") is None:
        return []
    both = [key for key in domain if key in _BESIDE_SHAPES]
    for key in both:
        del domain[key]
    return [f"domain.{key}: the mesh is that of domain.file; leave out one of the two" for key in both]


_BESIDE_SHAPES = ("shape", "cells", "lower", "upper", "cell", "grading")


# --- the keys there are -------------------------------------------------------------------------------------------

_TABLES: dict[str, Callable[..., Any]] = {
    field.name: field.default_factory
    for field in dataclasses.fields(Case)
    if field.default_factory not in (dataclasses.MISSING, dict)
}


def _fields() -> Iterator[tuple[str, Any]]:
    """Yield the dotted path of every key with pydantic's description of it."""
    tables: dict[str, Any] = {"": Case, **_TABLES, "data.moved": Movement}
    for table, cls in tables.items():
        for name, info in cls.__pydantic_fields__.items():
            yield f"{table}.{name}".lstrip("."), info


_KEYS: dict[str, Any] = dict(_fields())


def _unknown(path: str) -> str:
    """Return the fault of a key that does not exist, with the nearest that does."""
    table, _, leaf = path.rpartition(".")
    siblings = {key.rpartition(".")[2]: key for key in _KEYS if key.rpartition(".")[0] == table}
    elsewhere = [key for key in _KEYS if key.rpartition(".")[2] == leaf]
    if near := get_close_matches(leaf, siblings, n=1):
        return f"{path}: unknown key; did you mean {siblings[near[0]]}?"
    if elsewhere:
        return f"{path}: unknown key; did you mean {' or '.join(elsewhere)}?"
    return f"{path}: unknown key; {table or 'the case'} has {', '.join(siblings)}"


# --- overrides ----------------------------------------------------------------------------------------------------


def _override(settings: dict[str, Any], override: str) -> list[str]:
    """Put one `KEY=VALUE` into the settings and return the faults of doing so."""
    try:
        override.encode()
    except UnicodeEncodeError:  # bytes that the shell handed over
        shown = override.encode(errors="backslashreplace").decode()
        return [f"{shown.partition('=')[0].strip()}: the setting {shown!r} is not text in UTF-8"]
    path, equals, text = (part.strip() for part in override.partition("="))
    names = [name.strip() for name in path.split(".")]
    if not equals or not all(names):
        return [f"{path or override}: malformed override {override!r}; write KEY=VALUE, as in dynamics.layers=20"]
    table = settings
    for depth, name in enumerate(names[:-1], start=1):
        inner = table.setdefault(name, {})
        if not isinstance(inner, dict):
            return [f"{path}: cannot be set, {'.'.join(names[:depth])} is no table"]
        table = inner
    table[names[-1]] = _value(".".join(names), text)
    return []


def _value(path: str, text: str) -> Any:
    """Return the value that an override's text stands for."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    value = parsed["value"]
    holds_string = path in _KEYS and _KEYS[path].annotation in (str, str | None)
    if len(parsed) > 1 or (holds_string and type(value) in (int, float)):
        return text
    return value


# --- pydantic's errors in the case file's words -------------------------------------------------------------------


def _build(
    cls: Callable[..., Any],
    given: dict[str, Any],
    table: str,
    faults: list[str],
    invalid: set[str],
    more: Mapping[str, Any] | None = None,
) -> Any:
    """Return the table in `given`; note its faults, and then return what the valid keys alone make."""
    more = more or {}
    try:
        return cls(**given, **more)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    faulty = {str(entry["loc"][0]) for entry in errors}
    faults += [_fault(table, entry) for entry in errors]
    invalid |= {f"{table}.{key}".lstrip(".") for key in faulty}
    try:
        return cls(**{key: value for key, value in given.items() if key not in faulty}, **more)
    except ValidationError:
        invalid |= {key for key in _KEYS if key.startswith(f"{table}.")}
        return cls(**more)


def _fault(table: str, error: Mapping[str, Any]) -> str:
    names = [name for name in (table, *error["loc"]) if name != ""]
    key = ".".join(str(name) for name in names if isinstance(name, str))
    path = key + "".join(f"[{index}]" for index in names if isinstance(index, int))
    value, kind = error["input"], error["type"]
    if kind == "unexpected_keyword_argument":
        return _unknown(key)
    if kind == "value_error":
        return f"{path}: {error['ctx']['error']}"
    if kind in _EXPECTED:
        return f"{path}: must be {_EXPECTED[kind]}, got {_shown(value)}"
    if kind in _BOUNDS:
        limits = {name: limit for name in _BOUNDS.values() if (limit := _limit(key, name, error)) is not None}
        return f"{path}: must be {_range(limits)}, got {_shown(value)}"
    return f"{path}: {error['msg'][:1].lower()}{error['msg'][1:]}, got {_shown(value)}"


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


def _limit(key: str, name: str, error: Mapping[str, Any]) -> float | None:
    """Return the limit called `name` (ge, gt, le, lt) of a key's range."""
    declared = (getattr(entry, name, None) for entry in (_KEYS[key].metadata if key in _KEYS else ()))
    return next((limit for limit in declared if limit is not None), error["ctx"].get(name))


def _range(limits: Mapping[str, float]) -> str:
    low, high = limits.get("ge", limits.get("gt", -math.inf)), limits.get("le", limits.get("lt", math.inf))
    if math.isinf(high):
        return f"at least {low:g}" if "ge" in limits else f"above {low:g}"
    if math.isinf(low):
        return f"at most {high:g}" if "le" in limits else f"below {high:g}"
    return f"in {'[' if 'ge' in limits else '('}{low:g}, {high:g}{']' if 'le' in limits else ')'}"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        text = repr(value)
    except ValueError:  # an integer of more than 4300 digits
        return "a number that is too large"
    return text if len(text) <= 60 else f"{text[:59]}…"
