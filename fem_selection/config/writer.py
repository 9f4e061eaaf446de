# SPDX-License-Identifier: MIT
"""Write a resolved case as TOML that reads back to an equal case."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from fem_selection.config.schema import Case
from fem_selection.derived import Derived
from fem_selection.settings import DomainSettings

__all__ = ["dump_case"]


def dump_case(case: Case) -> str:
    """Return the case as the text of a TOML file: every key with its value, without the keys whose value is None.

    A value that follows from other keys stands in a comment, so that it still follows if these are changed.
    """
    lines: list[str] = []
    for name, value in _items(case):
        if dataclasses.is_dataclass(value):
            lines += ["", f"[{name}]", *(_line(key, entry) for key, entry in _items(value))]
        else:
            lines.append(f"{name} = {_toml(value)}")
    return "\n".join([*lines, ""])


def _line(key: str, value: object) -> str:
    if isinstance(value, Derived):
        return f"# {key} = {_toml(value)}  (left out)" if value.given is None else f"{key} = {_toml(value.given)}"
    return f"{key} = {_toml(value)}"


def _items(table: Any) -> list[tuple[str, object]]:
    values = ((entry.name, getattr(table, entry.name)) for entry in dataclasses.fields(table))
    if isinstance(table, DomainSettings) and table.file is not None:
        values = ((name, value) for name, value in values if name in ("file", "group"))
    return [(name, value) for name, value in values if value is not None]


def _toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _string(value)
        case list() | tuple():
            return f"[{', '.join(_toml(entry) for entry in value)}]"
        case Mapping():
            return f"{{{', '.join(f'{_key(str(name))} = {_toml(entry)}' for name, entry in value.items())}}}"
        case _ if dataclasses.is_dataclass(value):
            return _toml(dict(_items(value)))
    raise TypeError(f"no TOML for {value!r}")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _string(name)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON's escapes are TOML's, but for DEL
