# SPDX-License-Identifier: MIT
"""Random values for every key of a case file, valid and broken ones, made from the classes of `fem_selection.settings`.

The type and the range of a key are read from its class; the names that it allows, from the message with which the
class refuses another.  A key that is added to the settings is therefore fuzzed without a word here.  What no class
says stands in three tables: which letters a formula may contain, sizes that keep a run small, and how often a run
departs from the default.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import re
import types
from functools import cache
from random import Random
from typing import Annotated, Any, Union, get_args, get_origin

from fem_selection.config.schema import Case
from fem_selection.settings import InvalidSettings

__all__ = [
    "BUDGETS",
    "FORMULAS",
    "KEYS",
    "TABLES",
    "Key",
    "allowed_names",
    "broken_value",
    "formula",
    "hostile_value",
    "valid_value",
]


@dataclasses.dataclass(frozen=True)
class Key:
    """One key of a case file.

    Attributes:
        path: Its dotted path.
        table: The settings class that holds it.
        name: The name of its field.
        kind: The annotated type.
        limits: What is declared of its range.
        default: Its default value; None if it is left out.
    """

    path: str
    table: type
    name: str
    kind: Any
    limits: tuple[Any, ...]
    default: Any


TABLES: dict[str, type] = {
    entry.name: entry.default_factory
    for entry in dataclasses.fields(Case)
    if isinstance(entry.default_factory, type) and dataclasses.is_dataclass(entry.default_factory)
}
"""The tables of a case file with their classes."""


def _keys_of(prefix: str, table: type) -> dict[str, Key]:
    found = {}
    for name, info in table.__pydantic_fields__.items():  # type: ignore[attr-defined]
        path = f"{prefix}.{name}".lstrip(".")
        default = info.default if info.default_factory is None else info.default_factory()
        found[path] = Key(path, table, name, info.annotation, tuple(info.metadata), default)
    return found


KEYS: dict[str, Key] = {
    **{path: key for path, key in _keys_of("", Case).items() if path not in TABLES},
    **{path: key for table, cls in TABLES.items() for path, key in _keys_of(table, cls).items()},
}
"""Every key of a case file, by its dotted path."""

FORMULAS = {
    "dynamics.activation": "s",
    "dynamics.kernel": "tyz",
    "dynamics.factors": "tyz",
    "dynamics.multiplication": "ty",
    "dynamics.convection": "ty",
    "dynamics.diffusion": "ty",
    "dynamics.bias": "ty",
    "data.initial": "ys",
    "data.target": "ys",
    "stability.state": "y",
}
"""The keys that hold formulas, with the letters of the variables."""

BUDGETS: dict[str, tuple[float, float]] = {
    "domain.cells": (2, 6),
    "dynamics.layers": (1, 4),
    "data.samples": (2, 4),
    "space.degree": (0, 3),
    "space.quadrature_degree": (1, 6),
    "dynamics.rank": (1, 3),
    "hjb.cells": (4, 16),
    "hjb.levels": (1, 3),
    "hjb.snapshots": (2, 5),
    "optimizer.max_iterations": (0, 4),
    "optimizer.memory": (1, 6),
    "stochastic.epochs": (0, 2),
    "stochastic.batch": (1, 5),
    "forward.until": (0.01, 20.0),
    "forward.max_steps": (1, 300),
    "forward.times": (2, 12),
    "steady.horizon": (0.01, 100.0),
    "steady.max_steps": (1, 200),
    "steady.max_iterations": (1, 20),
    "steady.snapshots": (2, 12),
    "steady.starts": (0, 2),
    "steady.triplets": (1, 8),
    "stability.seconds": (0.01, 1.0),
    "stability.points": (2, 20),
    "stability.branches": (1, 3),
    "stability.searches": (0, 2),
    "stability.number": (1, 6),
    "parallel.space": (1, 1),
    "output.checkpoint_every": (1, 3),
    "seed": (0, 2**32 - 2),
}
"""Ranges that keep a run small."""


@cache
def allowed_names(path: str) -> tuple[str, ...]:
    """The names that a key allows, as the message says that refuses another; none if it takes any text."""
    key = KEYS[path]
    for nonsense in ("nonsense", ["nonsense"]):
        try:
            key.table(**{key.name: nonsense})
        except InvalidSettings as error:
            if found := re.search(r"\(allowed: ([^)]*)\)", str(error)):
                return tuple(found[1].split(", "))
    return ()


# ── valid values ──────────────────────────────────────────────────────────────────────────────────────────────────────


def valid_value(random: Random, path: str, dimension: int) -> Any:
    """A value of a key that its class allows, or is likely to allow; None leaves the key out.

    Args:
        random: Where the value is drawn from.
        path: The key's dotted path.
        dimension: Number of space coordinates, for formulas and lists.
    """
    key = KEYS[path]
    return _of_kind(random, key, key.kind, key.limits, dimension)


def _of_kind(random: Random, key: Key, kind: Any, limits: tuple[Any, ...], dimension: int) -> Any:
    origin = get_origin(kind)
    if origin is Annotated:
        inner, *more = get_args(kind)
        return _of_kind(random, key, inner, (*limits, *_flat(more)), dimension)
    if origin in (Union, types.UnionType):
        choices = [choice for choice in get_args(kind) if choice is not type(None)]
        return _of_kind(random, key, random.choice(choices), limits, dimension)
    if origin is tuple:
        return _list(random, key, get_args(kind), limits, dimension)
    if origin is dict:
        return {}
    if dataclasses.is_dataclass(kind):
        keys = _keys_of(key.path, kind)  # type: ignore[arg-type]
        return {k.name: _of_kind(random, k, k.kind, k.limits, dimension) for k in keys.values()}
    if kind is bool:
        return random.random() < 0.5
    if kind is int:
        return _integer(random, key, limits)
    if kind is float:
        return _number(random, key, limits)
    return _text(random, key, dimension)


def _flat(entries: list[Any]) -> list[Any]:
    return [limit for entry in entries for limit in (entry, *getattr(entry, "metadata", ()))]


def _limit(limits: tuple[Any, ...], *names: str) -> float | None:
    stated = [getattr(entry, name, None) for entry in limits for name in names]
    return next((limit for limit in stated if limit is not None), None)


def _list(random: Random, key: Key, kinds: tuple[Any, ...], limits: tuple[Any, ...], dimension: int) -> Any:
    if kinds[-1] is not Ellipsis:
        values = [_of_kind(random, key, kind, (), dimension) for kind in kinds]
        return sorted(values) if all(isinstance(value, int | float) for value in values) else values
    if names := allowed_names(key.path):
        return random.sample(names, random.randint(1, min(len(names), random.choice((1, 1, 2, 3)))))
    length = random.choice((1, dimension, dimension))
    values = [_of_kind(random, key, kinds[0], _flat(list(limits)), dimension) for _ in range(length)]
    return values[0] if length == 1 and random.random() < 0.5 else values


def _integer(random: Random, key: Key, limits: tuple[Any, ...]) -> int:
    least, most = _limit(limits, "ge", "gt"), _limit(limits, "le", "lt")
    low, high = BUDGETS.get(key.path, (least or 0, (least or 0) + 5))
    low, high = max(low, least if least is not None else low), min(high, most if most is not None else high)
    return random.randint(int(low), int(high))


def _number(random: Random, key: Key, limits: tuple[Any, ...]) -> float:
    least, most = _limit(limits, "ge", "gt"), _limit(limits, "le", "lt")
    if key.path in BUDGETS:
        low, high = BUDGETS[key.path]
        return math.exp(random.uniform(math.log(low), math.log(high)))
    way = random.random()
    if way < 0.25 and isinstance(key.default, float) and math.isfinite(key.default):
        value = key.default * 10.0 ** random.uniform(-2, 2)
    elif way < 0.35:
        value = random.choice((0.0, 1.0, 1e-300, 1e-12, 1e12, 1e300, 0.5, float(least or 0), float(most or 1)))
    else:
        value = 10.0 ** random.uniform(-3, 1.5)
    value = -value if least is None and random.random() < 0.4 else value
    if least is not None and not value > least:
        value = least if _limit(limits, "ge") is not None else least + 10.0 ** random.uniform(-3, 1)
    if most is not None and not value < most:
        value = most if _limit(limits, "le") is not None else (least or 0.0) + 0.9 * (most - (least or 0.0))
    return value


def _text(random: Random, key: Key, dimension: int) -> Any:
    letters = FORMULAS.get(key.path)
    names = allowed_names(key.path)
    if letters is not None and (not names or random.random() < 0.3):
        if key.path == "dynamics.factors":
            return formula(random, random.choice(("ty", "tz")), dimension)
        return formula(random, letters, dimension)
    if names:
        return _spelt(random, random.choice(names))
    return random.choice(("a", "b", "0", "", "σ", "$x$", "[red]", "a b", "1.0", "x_1^2", "%s", "{}", "é\t"))


def _spelt(random: Random, name: str) -> str:
    way = random.random()
    return name.upper() if way < 0.05 else name.replace("_", "-") if way < 0.1 else name


_CONSTANTS = ("0", "1", "-1", "0.5", "2", "3", "1e-3", "1e3", "pi", "e", "a", "1e-14")
_TAME = ("sin", "cos", "tanh", "atan", "erf", "abs", "sign")
_WILD = ("exp", "sqrt", "log", "tan", "sinh", "cosh")


def formula(random: Random, letters: str, dimension: int, depth: int = 3) -> str:
    """A formula in some of the variables t, y, z and s, and in the parameter a; one in five has poles and grows.

    Args:
        random: Where it is drawn from.
        letters: The variables, of "tyzs".
        dimension: Number of coordinates of y and z.
        depth: How deep it is nested at most.
    """
    return _formula(random, letters, dimension, depth, random.random() < 0.2)


def _formula(random: Random, letters: str, dimension: int, depth: int, wild: bool) -> str:
    def inner() -> str:
        return _formula(random, letters, dimension, depth - 1, wild)

    way = random.random()
    if depth == 0 or way < 0.25:
        if random.random() < 0.4:
            return random.choice(_CONSTANTS)
        letter = random.choice(letters)
        return letter if letter in "ts" or dimension == 1 else f"{letter}{random.randrange(dimension)}"
    if way < 0.6:
        return f"({inner()} {random.choice('+-*/' if wild else '+-*')} {inner()})"
    if way < 0.85:
        return f"{random.choice(_TAME + _WILD if wild else _TAME)}({inner()})"
    if way < 0.9:
        return f"({inner()})**{random.choice(('2', '3', '0.5', '-1', '0') if wild else ('2', '3'))}"
    if way < 0.95:
        return f"{random.choice(('max', 'min'))}({inner()}, {inner()})"
    return f"where({inner()} < {inner()}, {inner()}, {inner()})"


# ── hostile values ────────────────────────────────────────────────────────────────────────────────────────────────────

_LIMITS = ("max_steps", "max_iterations", "triplets", "states", "number", "points", "branches", "samples", "exponents")
"""Whole numbers that bound what is computed, so that no value of them makes a run long."""
_FAR = (
    5e-324,
    1e-300,
    1e-200,
    1e-100,
    1e-30,
    1e-16,
    1e-12,
    1e-8,
    1e-3,
    1e3,
    1e8,
    1e12,
    1e16,
    1e30,
    1e100,
    1e200,
    1e300,
)
_POLES = ("1/({v})", "log({v} - 0.5)", "1e300*{v}", "1e-320*{v}", "exp(1e3*{v})", "sqrt({v} - 0.5)", "0/({v} - {v})")
_POLES += ("1e200", "1e-200", "where({v} < 2, 0, 1/0)", "({v})**-0.5", "1/(1e-300 + {v})", "sign({v})/0", "tan(pi*{v})")


def hostile_value(random: Random, path: str, dimension: int) -> Any:
    """A value that the class of a key allows and that nobody means: an end of its range, or one far beyond use.

    Args:
        random: Where it is drawn from.
        path: The key's dotted path.
        dimension: Number of space coordinates, for formulas.
    """
    key = KEYS[path]
    limits = tuple(_flat([*key.limits, *(limit for kind in get_args(key.kind) for limit in get_args(kind))]))
    kinds = {kind for kind in (key.kind, *get_args(key.kind)) if isinstance(kind, type)}
    if path in FORMULAS:
        letter = random.choice(FORMULAS[path])
        return random.choice(_POLES).format(v=letter if letter in "ts" or dimension == 1 else f"{letter}0")
    if int in kinds:
        least = int(_limit(limits, "ge") or 0)
        most = _limit(limits, "le")
        far = (10_000, 10**6, 2**31 - 1) if key.name in _LIMITS and path != "data.samples" else (least + 30,)
        return min(random.choice((least, least, least + 1, *far)), 2**31 - 1 if most is None else int(most))
    if float in kinds:
        least, most = _limit(limits, "ge", "gt"), _limit(limits, "le", "lt")
        ends = [_inside(end, limits, sign) for end, sign in ((least, 1), (most, -1)) if end is not None]
        inside = [x for x in _FAR if (least is None or x > least) and (most is None or x < most)]
        signed = inside if least is not None else [*inside, *(-x for x in inside)]
        return random.choice((random.choice(ends), *random.sample(signed, 2)) if ends else signed)
    return valid_value(random, path, dimension)


def _inside(end: float, limits: tuple[Any, ...], sign: int) -> float:
    """The number of a range next to one of its ends."""
    is_open = _limit(limits, "gt" if sign > 0 else "lt") == end
    return math.nextafter(end, sign * math.inf) if is_open else float(end)


# ── broken values ─────────────────────────────────────────────────────────────────────────────────────────────────────

_JUNK: tuple[Any, ...] = (
    *(0, -1, 1, 2**31, 2**63, -(2**64), 10**400, 0.0, -0.5, 1.5, 1e-320, 1e300, -1e300, 5e-324),
    *(math.nan, math.inf, -math.inf, True, False, "", " ", "10", "1.5", "true", "null", "None", "nan", "[1, 2]"),
    *([], [[]], {}, [{}], {"a": {}}, [1, "a"], [1, [2, [3, [4]]]], [True, 1.0], ["a", "a"], [math.nan, 1], [1] * 40),
    *(datetime.date(2020, 5, 19), datetime.time(12, 30), datetime.datetime(2020, 5, 19, tzinfo=datetime.UTC)),
    *(
        "\x00",
        "\ud800",
        "é",
        "σ" * 50,
        "\n",
        "a\nb",
        "../../etc/passwd",
        "/",
        "~",
        "a" * 300,
        "x" * 5000,
        "\\",
        "'",
        '"',
    ),
    *("-", "--help", "%", "{}", "[bold]", "$x$", "__import__('os')", "y +", "1/0", "9**9**9", "(" * 200, "y" * 2100),
)


def broken_value(random: Random, path: str) -> Any:
    """Any value for a key: of another type, out of its range, another name, or anything; it may be valid by chance.

    Args:
        random: Where it is drawn from.
        path: The key's dotted path.
    """
    key = KEYS[path]
    way = random.random()
    limits = tuple(_flat([*key.limits, *(limit for kind in get_args(key.kind) for limit in get_args(kind))]))
    if way < 0.3 and (beyond := _beyond(random, limits)) is not None:
        return beyond if random.random() < 0.8 else [beyond]
    if way < 0.4 and (names := allowed_names(path)):
        return _misspelt(random, random.choice(names))
    if way < 0.5 and path in FORMULAS:
        text = formula(random, "tyzsx", random.randint(1, 4))
        return text if random.random() < 0.5 else _misspelt(random, text)
    if way < 0.6:
        return [random.choice(_JUNK) for _ in range(random.randrange(5))]
    if way < 0.65:
        return {random.choice(("a", "", "é", "shift", "x" * 100)): random.choice(_JUNK) for _ in range(2)}
    if way < 0.7:
        return valid_value(random, random.choice(list(KEYS)), random.randint(1, 3))
    return random.choice(_JUNK)


def _beyond(random: Random, limits: tuple[Any, ...]) -> Any:
    """A number outside of a range, at its end or far from it; None if there is no range."""
    choices: list[Any] = []
    for limit in limits:
        for name, sign in (("ge", -1), ("gt", -1), ("le", 1), ("lt", 1)):
            if (end := getattr(limit, name, None)) is not None:
                choices += [end + sign, end + 1e9 * sign, math.nextafter(end, sign * math.inf), sign * 1e308]
                choices += [end] if name in ("gt", "lt") else []
    return random.choice(choices) if choices else None


def _misspelt(random: Random, text: str) -> str:
    place = random.randrange(len(text) + 1)
    piece = random.choice(("", "", "x", " ", "_", "é", "-", "\t", text[:1].upper(), "(", "1"))
    return text[:place] + piece + text[place + random.randrange(2) :] + random.choice(("", "", "s", " "))
