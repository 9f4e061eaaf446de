# SPDX-License-Identifier: MIT
"""Values that a frozen dataclass derives from its other fields, and that a copy with other fields derives anew.

    case.dynamics.control_intervals                                    # left out in the file: 10, as dynamics.layers
    dataclasses.replace(case.dynamics, layers=8).control_intervals     # 8

`dataclasses.replace` hands every field to the constructor, those that were derived too.  A derived value therefore is
marked, and `rederives` makes the constructor forget the marked ones if it receives every field.  A call that names
some of the fields takes a marked value for what it is: a number, a text, a tuple.
"""

from __future__ import annotations

import dataclasses
from functools import wraps
from typing import Any

__all__ = ["Derived", "derived", "rederives"]


class Derived:
    """Marks a value that an object derived from its other fields.

    Attributes:
        given: The shorter value from which it was made, such as one number for every direction; None if it was left
            out.
    """

    given: Any = None


class _Integer(int, Derived):
    pass


class _Text(str, Derived):
    pass


class _Tuple(tuple[Any, ...], Derived):
    pass


_MARKED: dict[type, type[Any]] = {int: _Integer, str: _Text, tuple: _Tuple}


def derived[T: (int, str, tuple[Any, ...])](value: T, given: Any = None) -> T:
    """Return a value, marked as derived from other fields.

    Args:
        value: An integer, a text or a tuple.
        given: The shorter value from which it was made, if one was given.
    """
    marked: Any = next(marked for kind, marked in _MARKED.items() if isinstance(value, kind))(value)
    marked.given = given
    return marked


def rederives[T](cls: type[T]) -> type[T]:
    """Make the constructor of a dataclass derive the marked values anew if it receives a value for every field."""
    made: Any = cls
    build = made.__init__

    @wraps(build)
    def init(self: Any, /, *arguments: Any, **values: Any) -> None:
        is_copy = not arguments and {entry.name for entry in dataclasses.fields(self) if entry.init} <= values.keys()
        if is_copy:
            values = {name: _as_given(value) for name, value in values.items() if not _is_left_out(value)}
        build(self, *map(_plain, arguments), **{name: _plain(value) for name, value in values.items()})

    made.__init__ = init
    return cls


def _is_left_out(value: object) -> bool:
    return isinstance(value, Derived) and value.given is None


def _as_given(value: Any) -> Any:
    return value.given if isinstance(value, Derived) else value


def _plain(value: Any) -> Any:
    """Return a value without the mark."""
    return next(kind(value) for kind in _MARKED if isinstance(value, kind)) if isinstance(value, Derived) else value
