# SPDX-License-Identifier: MIT
"""Read a `Case` from a TOML file or a mapping, or raise one error with all the faults found.

Each fault begins with the key's dotted path.  A fault of several keys together is reported only if each of them is
valid by itself, so that one mistake is reported once.
"""

from __future__ import annotations

import copy
import dataclasses
import os.path
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fem_selection.config.checks import check_case
from fem_selection.config.schema import Case
from fem_selection.errors import ConfigError
from fem_selection.settings import InvalidSettings, Movement
from fem_selection.settings.tables import show_value
from fem_selection.synonyms import closest

__all__ = ["load_case", "parse_case"]


def load_case(path: Path, overrides: Sequence[str] = (), *, needs_data: bool = True) -> Case:
    """Return the case in a TOML file.

    Args:
        path: The case file; `data.file` and `domain.file` in it are relative to its folder.  A leading ~ in them and
            in `output.directory` is the home folder; names of environment variables are not replaced.
        overrides: Settings `KEY=VALUE` that replace the file's, KEY a dotted path, VALUE in TOML (see `parse_case`).
        needs_data: Whether a missing `data.file` is a fault.

    Raises:
        ConfigError: if the file cannot be read, or has faults; with all faults.

    Example:
        >>> case = fs.load_case("demos/gap.toml", ["dynamics.layers=20"])
        >>> case.dynamics.layers, case.objective.loss
        (20, 'tracking')
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
    return parse_case(mapping, path.parent, overrides, needs_data=needs_data)


def parse_case(
    mapping: Mapping[str, Any], base: Path | None = None, overrides: Sequence[str] = (), *, needs_data: bool = True
) -> Case:
    """Return the case in a mapping of tables.

    Args:
        mapping: The tables, as a TOML file holds them; not changed.
        base: Folder to which `data.file` and `domain.file` are relative; the current one if left out.
        overrides: Settings `KEY=VALUE`.  VALUE is read as TOML if that succeeds, else as a string; for a key that
            holds a string, a number is taken as it is written.
        needs_data: Whether a missing `data.file` is a fault.

    Raises:
        ConfigError: if the case has faults; with all of them.
    """
    faults: list[str] = []
    invalid: set[str] = set()
    settings = copy.deepcopy(dict(mapping))
    for override in overrides:
        faults += _override(settings, override)
    for name in ("data", "domain"):
        if isinstance(table := settings.get(name), dict) and isinstance(file := table.get("file"), str) and file:
            path = os.path.abspath((base or Path()) / os.path.expanduser(file))
            if unusable := _not_text(f"{name}.file", path):
                faults += unusable
                invalid.add(f"{name}.file")
            table["file"] = _as_text(path)
    if isinstance(table := settings.get("multilevel"), dict) and isinstance(files := table.get("files"), list):
        paths = [
            os.path.abspath((base or Path()) / os.path.expanduser(file)) if isinstance(file, str) and file else file
            for file in files
        ]
        faults += [fault for path in paths if isinstance(path, str) for fault in _not_text("multilevel.files", path)]
        table["files"] = [_as_text(path) if isinstance(path, str) else path for path in paths]
    for name in ("output", "tape"):
        if isinstance(table := settings.get(name), dict) and isinstance(folder := table.get("directory"), str):
            table["directory"] = os.path.expanduser(folder)

    faults += _drop_contradictions(settings.get("domain"))
    tables: dict[str, Any] = {}
    for name, cls in _TABLES.items():
        given = settings.pop(name, {})
        if isinstance(given, dict):
            tables[name] = _build(cls, given, name, faults, invalid)
        else:
            faults.append(f"{name}: must be a table, [{name}], got {show_value(given)}")
            invalid |= {key for key in _KEYS if key.startswith(f"{name}.")}
    if "domain.file" in invalid:
        invalid |= {key for key in _KEYS if key.startswith("domain.")}
    case = _build(Case, settings, "", faults, invalid, tables)
    faults += [str(fault) for fault in check_case(case, needs_data=needs_data) if invalid.isdisjoint(fault.keys)]
    if faults:
        raise ConfigError(faults)
    return case


def _not_text(key: str, path: str) -> list[str]:
    """The fault of a path that a case file, which is text in UTF-8, cannot hold."""
    if path == (shown := _as_text(path)):
        return []
    return [
        f"{key}: the path {shown} has bytes that are not UTF-8, which the case file of a run cannot hold; "
        "rename the file or folder, or link to the file from a folder with another name"
    ]


def _as_text(path: str) -> str:
    """The path, with escapes for bytes that are not UTF-8."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _drop_contradictions(domain: Any) -> list[str]:
    """Remove the keys of a shape from a domain that is a mesh file, and return a fault for each of them."""
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
    """Return the fault of a key that does not exist, with the most similar key that does."""
    table, _, leaf = path.rpartition(".")
    siblings = {key.rpartition(".")[2]: key for key in _KEYS if key.rpartition(".")[0] == table}
    elsewhere = [key for key in _KEYS if key.rpartition(".")[2] == leaf]
    path = path if len(path) <= 60 else f"{path[:59]}…"
    if (near := closest(leaf, siblings)) is not None:
        return f"{path}: unknown key; did you mean {siblings[near]}?"
    if elsewhere:
        return f"{path}: unknown key; did you mean {' or '.join(elsewhere)}?"
    return f"{path}: unknown key; {table or 'the case'} has {', '.join(siblings)}"


# --- overrides ----------------------------------------------------------------------------------------------------


def _override(settings: dict[str, Any], override: str) -> list[str]:
    """Put one `KEY=VALUE` into the settings and return the faults of doing so."""
    try:
        override.encode()
    except UnicodeEncodeError:  # the shell passed bytes that are not text
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
    """Return the value that the text of an override means for the key at `path`."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    value = parsed["value"]
    holds_string = path in _KEYS and _KEYS[path].annotation in (str, str | None)
    if len(parsed) > 1 or (holds_string and type(value) in (int, float)):
        return text
    return value


# --- tables -------------------------------------------------------------------------------------------------------


def _build(
    cls: Callable[..., Any],
    given: dict[str, Any],
    table: str,
    faults: list[str],
    invalid: set[str],
    more: Mapping[str, Any] | None = None,
) -> Any:
    """Return the table in `given`; if it has faults, add them to `faults` and return the table of the valid keys."""
    more = more or {}
    try:
        return cls(**given, **more)
    except InvalidSettings as error:
        found = error.faults
    faulty = {str(fault.path[0]) for fault in found}
    for fault in found:
        key, place = (f"{table}.{path}".lstrip(".") for path in (fault.key, fault.place))
        faults.append(f"{place}: {fault.message}" if fault.message else _unknown(key))
    invalid |= {f"{table}.{key}".lstrip(".") for key in faulty}
    try:
        return cls(**{key: value for key, value in given.items() if key not in faulty}, **more)
    except InvalidSettings:
        invalid |= {key for key in _KEYS if key.startswith(f"{table}.")}
        return cls(**more)
