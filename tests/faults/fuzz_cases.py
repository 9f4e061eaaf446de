# SPDX-License-Identifier: MIT
"""Whole case files from a number: broken ones, as bytes, and odd but valid ones that are small enough to run.

A number always gives the same file.  `broken_case` says how it broke the file, whether it is sure to be refused,
and which words the refusal must hold; `valid_case` draws tables at random and leaves out what the loader refuses,
until it refuses nothing.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from data_files import DATA_FILES
from fuzz_values import (
    BUDGETS,
    FORMULAS,
    KEYS,
    TABLES,
    allowed_names,
    broken_value,
    formula,
    hostile_value,
    valid_value,
)
from mesh_files import FILES, save

from fem_selection.config import parse_case
from fem_selection.errors import ConfigError

__all__ = ["COMMANDS", "BrokenCase", "broken_case", "dimension_of", "dump", "hostile_case", "valid_case"]

COMMANDS = ("train", "forward", "steady", "stability", "hjb", "verify")
"""The commands that begin with a case; `predict`, `certify` and `stability DIR` follow a `train` that ends well."""

Tables = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class BrokenCase:
    """A case file that is broken, or at least odd.

    Attributes:
        way: How it was broken.
        content: The bytes of the file.
        words: Words that a refusal holds.
        refused: Whether the file is sure to be refused.
        settings: Settings `KEY=VALUE` of the command line.
    """

    way: str
    content: bytes
    words: tuple[str, ...] = ()
    refused: bool = False
    settings: tuple[str, ...] = ()


# ── TOML ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def dump(tables: Mapping[str, Any]) -> str:
    """Any mapping as the text of a TOML file, with the values as they are, whether a case may hold them or not."""
    lines = [f"{_key(name)} = {_toml(value)}" for name, value in tables.items() if not isinstance(value, dict)]
    for name, table in tables.items():
        if isinstance(table, dict):
            lines += ["", f"[{_key(name)}]", *(f"{_key(key)} = {_toml(value)}" for key, value in table.items())]
    return "\n".join([*lines, ""])


def _toml(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return _digits(value)
        case float():
            return repr(value)
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{_key(name)} = {_toml(entry)}' for name, entry in value.items())}}}"
        case datetime.date() | datetime.time():
            return value.isoformat()
    raise TypeError(f"no TOML for {value!r}")


def _digits(value: int) -> str:
    return str(value) if abs(value) < 10**4000 else "1" * 5000


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


# ── odd but valid ─────────────────────────────────────────────────────────────────────────────────────────────────────

_DIMENSIONS = {"interval": 1, "rectangle": 2, "box": 3}
_OPTIONS = {"tao_ls_type": "armijo", "tao_max_funcs": 3, "tao_ls_max_funcs": 2, "tao_ls_ftol": 0.5}
_LEARNING = ("train", "verify", "hjb")
_NO_VALUE = {"regularization": ("kernel_depth", "bias_depth"), "hjb": ("lower", "upper")}
"""Keys that leave most cases without a value function."""
_FILES = ("data.file", "domain.file", "domain.group", "output.directory")
"""Keys that `_with_files` sets, for they name what has to be there."""


def valid_case(number: int, folder: Path) -> tuple[str, Tables]:
    """A command and the tables of an odd, small, valid case for it.

    Args:
        number: The number of the case.
        folder: Where the mesh and data files are written that the case names.
    """
    random = Random(f"valid {number}")
    command = "info" if number % 40 == 0 else COMMANDS[number % len(COMMANDS)]
    shape = random.choices(tuple(_DIMENSIONS), (6, 3, 1))[0]
    tables = _small(random, command, shape)
    if random.random() < 0.25 and command != "hjb":
        _with_files(random, tables, command, folder)
    dimension = dimension_of(tables)
    share = random.choice((0.05, 0.1, 0.2, 0.4, 0.7))
    for path in KEYS:
        table, _, name = path.rpartition(".")
        if path in (*_FILES, "domain.shape", "data.source") or random.random() > share:
            continue
        value = valid_value(random, path, dimension)
        if path == "parameters":
            value = {"a": random.choice((0.0, 1.0, -2.5))}
        elif path == "optimizer.options" and random.random() < 0.3:
            value = dict([random.choice(list(_OPTIONS.items()))])
        if value is not None and not (name == "loss" and "target" in tables["data"] and random.random() < 0.7):
            _holder(tables, table)[name] = value
    _fit(random, tables, command, dimension)
    if tables["domain"].get("shape") == "box":  # kinks of kernels are integrated along surfaces, at length
        tables["domain"]["cells"] = [1, random.randint(1, 2), 2]
        tables.get("space", {}).pop("degree", None)
        tables["dynamics"].pop("singularity", None)  # and singularities of kernels that depend on t, anew at every step
    return command, _repaired(tables)


_HOSTILE = {"steady": ("steady",), "stability": ("stability",), "data": ("train", "forward", "steady", "hjb")}
"""The tables whose keys have hostile values, and the commands that read them."""


def hostile_case(number: int, folder: Path) -> tuple[str, Tables]:
    """A command and the tables of a small, tame case for it, but for one to three keys with values that nobody means.

    Args:
        number: The number of the case.
        folder: Unused: no file is written.
    """
    random = Random(f"hostile {number}")
    table = tuple(_HOSTILE)[number % len(_HOSTILE)]
    command = random.choice(_HOSTILE[table])
    tables = _small(random, command, random.choices(("interval", "rectangle"), (5, 1))[0])
    _fit(random, tables, command, dimension_of(tables))
    tables["dynamics"]["activation"] = random.choice(("tanh", "relu", "identity", "sine", "s - s**3"))
    dimension = dimension_of(tables)
    paths = [path for path in KEYS if path.startswith(f"{table}.") and path not in _FILES]
    paths = [path for path in paths if path not in ("data.source", "data.moved", "data.shape")]
    for path in random.sample(paths, random.choice((1, 1, 2, 3))):
        tables[table][path.partition(".")[2]] = hostile_value(random, path, dimension)
    return command, _repaired(tables)


def dimension_of(tables: Tables) -> int:
    """The number of space coordinates of a case; the mesh files of the tests are plane."""
    return _DIMENSIONS[tables["domain"].get("shape", "rectangle")]


def _small(random: Random, command: str, shape: str) -> Tables:
    """The keys that keep a run small, with the parts of the case that its command needs."""
    dimension = _DIMENSIONS[shape]
    tables: Tables = {"parameters": {"a": round(random.uniform(-2, 2), 2)}, "domain": {"shape": shape}}
    for path in BUDGETS:
        table, _, name = path.rpartition(".")
        if path not in ("space.quadrature_degree", "dynamics.rank", "hjb.cells", "hjb.levels", "seed"):
            _holder(tables, table)[name] = valid_value(random, path, dimension)
    tables["domain"]["cells"] = [random.randint(2, 6 if dimension == 1 else 3) for _ in range(dimension)]
    tables["hjb"] |= {"cells": random.choice((4, 8)), "levels": random.choice((1, 2))}
    tables["space"]["degree"] = random.choices((0, 1, 2, 3), (1, 6, 2, 1))[0]
    if tables["space"]["degree"] == 0:
        tables["space"]["family"] = "dg"
    tables["data"] |= {"source": "formula", "initial": formula(random, "ys", dimension)}
    parts = random.choice((["dense"], ["dense"], ["dense"], ["separable"], ["local"], ["dense", "local"]))
    tables["dynamics"]["representation"] = parts
    if "dense" in parts and random.random() < 0.7:
        letters = "tyz" if command in ("forward", *_LEARNING) else "yz"
        tables["dynamics"]["kernel"] = formula(random, letters, dimension)
    if command in _LEARNING:
        tables["data"]["target"] = formula(random, "ys", dimension)
        tables["objective"] = {"loss": "tracking"}
    tables["output"] |= {"figures": random.random() < 0.05, "fields": random.random() < 0.05}
    return tables


def _with_files(random: Random, tables: Tables, command: str, folder: Path) -> None:
    """Let the case take its mesh or its data from a file."""
    if command in _LEARNING and random.random() < 0.7:
        file = random.choice(list(DATA_FILES.values()))
        (folder / "data.npz").write_bytes(file.content)
        found = tomllib.loads(file.case)
        tables["domain"] = found["domain"]
        tables["data"] = {**found["data"], "file": str(folder / "data.npz")}
        tables["objective"] = found["objective"]
    else:
        name = random.choice([name for name in FILES if not name.endswith(".bin")])
        tables["domain"] = {"file": str(save(folder, name))}
        if name.endswith(".msh") and random.random() < 0.5:
            tables["domain"]["group"] = random.choice(("all", "lower"))
    dimension = dimension_of(tables)
    _redraw(random, tables, dimension, depth=3)


def _redraw(random: Random, tables: Tables, dimension: int, depth: int) -> None:
    """Draw the formulas of the case again, for another dimension, and autonomous."""
    for path, letters in FORMULAS.items():
        table, _, name = path.rpartition(".")
        if isinstance(tables.get(table, {}).get(name), str) and name != "activation":
            tables[table][name] = formula(random, letters.replace("t", ""), dimension, depth)


def _fit(random: Random, tables: Tables, command: str, dimension: int) -> None:
    """Make keys that are drawn apart fit together, as often as not."""
    dynamics = tables["dynamics"]
    if command == "hjb" and random.random() < 0.9:
        dynamics["representation"] = ["dense"]
        cells = random.choice((1, 1, 1, 2))
        tables["data"]["samples"] = 2 // cells if random.random() < 0.4 else 1
        tables["domain"] = {"shape": "interval", "cells": cells}
        tables["space"] = {"family": "dg", "degree": 0}
        if cells * tables["data"]["samples"] > 1:  # the box of states has as many dimensions
            tables["dynamics"]["layers"] = random.randint(1, 2)
            tables["hjb"] |= {"cells": 4, "levels": 1, "snapshots": 2, "starts": 1}
        tables["objective"] = {"loss": "tracking", "weight": random.choice((0.1, 1.0, 100.0))}
        for table, keys in _NO_VALUE.items():
            for key in keys:
                tables.get(table, {}).pop(key, None)
        _redraw(random, tables, 1, depth=2)
    if command in ("steady", "stability") and random.random() < 0.9:
        _redraw(random, tables, dimension, depth=3)
        for key in ("convection", "factors"):
            dynamics.pop(key, None)
    if command == "stability" and random.random() < 0.7:
        tables["stability"]["state"] = "0"
        dynamics["activation"] = random.choice(("tanh", "identity", "sine", "s - a*s**3", "s**2 - a", "tanh(s) - a*s"))
        dynamics.pop("bias", None)
        if random.random() < 0.4:
            ends = [random.uniform(-2, 0), random.uniform(0.1, 2)]
            tables["stability"] |= {"parameter": "a", "range": ends if random.random() < 0.7 else ends[::-1]}
            tables["parameters"] = {"a": 0.05}
    for name in ("domain", "hjb"):
        table: Tables = tables.get(name, {})
        if "lower" in table or "upper" in table:
            count = dimension_of(tables) if name == "domain" else random.randint(1, 2)
            corner = [round(random.uniform(-2, 1), 2) for _ in range(count)]
            table |= {"lower": corner, "upper": [x + random.choice((0.1, 1.0, 7.0)) for x in corner]}


def _repaired(tables: Tables) -> Tables:
    """The tables without the keys that the loader refuses."""
    for _ in range(12):
        try:
            parse_case(tables)
        except ConfigError as error:
            faults = error.faults
        else:
            return tables
        for fault in faults:
            named = [path for path in re.findall(r"[a-z_]+\.[a-z_]+", fault) if _given(tables, path)]
            if named:
                table, _, name = named[0].rpartition(".")
                del tables[table][name]
    raise AssertionError(f"no valid case: {faults}")


def _given(tables: Tables, path: str) -> bool:
    table, _, name = path.rpartition(".")
    return path in KEYS and name in tables.get(table, {})


def _holder(tables: Tables, table: str) -> Tables:
    return tables.setdefault(table, {}) if table else tables


# ── broken ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def broken_case(number: int) -> BrokenCase:
    """A case file that is broken in one of many ways, or in several.

    Args:
        number: The number of the case.
    """
    random = Random(f"broken {number}")
    ways = list(_WAYS)
    way = ways[number % len(ways)]
    return _WAYS[way](random, way)


def _base(random: Random) -> Tables:
    """Some valid keys, as a user writes them."""
    tables: Tables = {"title": "a case", "seed": 3}
    for path in random.sample([path for path in KEYS if "." in path and path not in _FILES], 4):
        table, _, name = path.rpartition(".")
        if (value := valid_value(random, path, 2)) is not None:
            _holder(tables, table)[name] = value
    return _repaired(tables)


def _text(random: Random) -> str:
    return dump(_base(random))


def _any_values(random: Random, way: str) -> BrokenCase:
    tables = _base(random)
    paths = random.sample(list(KEYS), random.choice((1, 1, 1, 2, 5, 20)))
    for path in paths:
        table, _, name = path.rpartition(".")
        if isinstance(holder := _holder(tables, table), dict):
            holder[name] = broken_value(random, path)
    text = dump(tables)
    readable = not re.search(r"1{5000}|[^\\]\\ud", text)
    return BrokenCase(way, _bytes(text), tuple(paths[:1]) if len(paths) == 1 and readable else ())


def _misspelt_key(random: Random, way: str) -> BrokenCase:
    tables = _base(random)
    path = random.choice([path for path in KEYS if "." in path and path != "parameters"])
    table, _, name = path.rpartition(".")
    place = random.randrange(len(name))
    wrong = (
        name[:place] + random.choice(("", "x", "_", "-", " ", "é", name[place].upper(), "\n", ".")) + name[place + 1 :]
    )
    if f"{table}.{wrong}" in KEYS:
        wrong += "x"
    _holder(tables, table)[wrong] = valid_value(random, path, 2) or 1
    shown = json.dumps(wrong)[1:-1] if "\n" in wrong else wrong
    return BrokenCase(way, _bytes(dump(tables)), (f"{table}.", shown if "\n" not in wrong else ""), refused=True)


def _unknown_table(random: Random, way: str) -> BrokenCase:
    tables = _base(random)
    name = random.choice(
        ("domains", "Domain", "steady_states", "mesh", "x" * 200, "é", "solver", "[a]", "a.b", "optimiser")
    )
    tables[name] = random.choice(({}, {"a": 1}, {"cells": [3, 3]}, 1, "text", [{"a": 1}], {"a": {"b": {}}}))
    return BrokenCase(way, _bytes(dump(tables)), (name[:40],), refused=True)


def _table_of_another_type(random: Random, way: str) -> BrokenCase:
    tables = _base(random)
    name = random.choice([*TABLES, "parameters"])
    tables[name] = random.choice((1, "text", [], [1], True, 1.5, datetime.date(2020, 1, 1), [[{}]]))
    top = {key: value for key, value in tables.items() if not isinstance(value, dict)}
    return BrokenCase(way, _bytes(dump(top)), (name[:40],), refused=True)


def _beyond_json(random: Random, way: str) -> BrokenCase:
    """Numbers as TOML writes them, and as it does not."""
    texts = (
        "1e400",
        "-1e400",
        "nan",
        "inf",
        "-inf",
        "+nan",
        "1_000",
        "0x10",
        "1e",
        "1__0",
        "0b1",
        ".5",
        "5.",
        "１",
        "1,5",
    )
    path = random.choice([path for path in KEYS if "." in path])
    return BrokenCase(way, _bytes(f"{path} = {random.choice((*texts, '9' * random.choice((20, 400, 5000))))}\n"))


def _duplicates(random: Random, way: str) -> BrokenCase:
    text = _text(random)
    line = random.choice([line for line in text.splitlines() if line])
    again = f"{line}\n{line}\n" if random.random() < 0.5 else f"{line}\n"
    content = text.replace(f"{line}\n", again + f"{line}\n", 1)
    return BrokenCase(way, _bytes(content), ("is not valid TOML",), refused=True)


def _lines_moved(random: Random, way: str) -> BrokenCase:
    lines = _text(random).splitlines(keepends=True)
    for _ in range(random.randint(1, 4)):
        first, second = random.randrange(len(lines)), random.randrange(len(lines))
        match random.randrange(4):
            case 0:
                lines[first], lines[second] = lines[second], lines[first]
            case 1:
                lines[first] = lines[first][: random.randrange(len(lines[first]) + 1)]
            case 2:
                lines.insert(first, lines[second])
            case _:
                lines[first] = (
                    lines[first].replace("=", random.choice(("", "==", ":", "= =", "=\n"))).replace("]", "", 1)
                )
    return BrokenCase(way, _bytes("".join(lines)))


def _bytes_changed(random: Random, way: str) -> BrokenCase:
    content = bytearray(_bytes(_text(random)))
    for _ in range(random.choice((1, 1, 2, 8))):
        if not content:
            break
        place = random.randrange(len(content))
        match random.randrange(4):
            case 0:
                content[place] ^= 1 << random.randrange(8)
            case 1:
                content[place : place + random.randrange(20)] = random.randbytes(random.randrange(6))
            case 2:
                content[place:place] = random.choice(
                    (b"\x00", b"\xff", b"[", b'"""', b"'''", b"{", b"#", b"\r", b"\xe2\x80")
                )
            case _:
                del content[place:]
                content += b" "
    return BrokenCase(way, bytes(content))


def _encodings(random: Random, way: str) -> BrokenCase:
    text = _text(random).replace("a case", random.choice(("a case", "ein Fall für σ", "案件", "\u202ecase")))
    encode: tuple[Callable[[str], bytes], ...] = (
        lambda t: t.encode("utf-16"),
        lambda t: t.encode("utf-16-le"),
        lambda t: t.encode("utf-32"),
        lambda t: t.encode("latin-1", "replace") + b"\xe9",
        lambda t: t.encode("utf-7"),
        lambda t: t.encode("shift-jis", "replace"),
        lambda t: b"\xef\xbb\xbf" + t.encode(),
        lambda t: b"\xef\xbb\xbf\xef\xbb\xbf" + t.encode(),
        lambda t: t.replace("\n", "\r\n").encode(),
        lambda t: t.replace("\n", "\r").encode(),
        lambda t: t.replace("\n", "\u2028").encode(),
        lambda t: t.replace(" ", "\xa0").encode(),
        lambda t: t.encode() + b"\x1a",
        lambda t: t.encode() + b"\x00" * 100,
    )
    return BrokenCase(way, random.choice(encode)(text))


def _enormous(random: Random, way: str) -> BrokenCase:
    path = random.choice([path for path in KEYS if "." in path])
    large: tuple[Callable[[], str], ...] = (
        lambda: f"{path} = {'[' * 3000}",
        lambda: f"{path} = {'[' * 300}{']' * 300}",
        lambda: f"{path} = {'{a = ' * 200}1{'}' * 200}",
        lambda: f"{path} = [{'1, ' * 2000}]",
        lambda: f'{path} = "{"x" * 20000}"',
        lambda: f"{path} = {'1' * 3000}",
        lambda: "".join(f"key{k} = {k}\n" for k in range(60)),
        lambda: "".join(f"[table{k}]\na = 1\n" for k in range(60)),
        lambda: f"{'a.' * 300}b = 1",
        lambda: f"# {'x' * 50000}\n{path} = []",
        lambda: f"[{'.'.join('abc' * 50)}]\n",
        lambda: "[[optimizer]]\n" * 200,
    )
    return BrokenCase(way, _bytes(random.choice(large)()))


def _empty_or_binary(random: Random, way: str) -> BrokenCase:
    contents = (
        *(b"", b"\n", b" \t\r\n" * 20, b"# nothing\n", b"\x00", b"\xef\xbb\xbf", b"[]", b"[domain]", b"=", b'""=1'),
        *(
            b"\x89PNG\r\n\x1a\n",
            b"PK\x03\x04",
            b"\x1f\x8b\x08",
            b"%PDF-1.7",
            b"{}",
            b'{"domain": {}}',
            b"domain:\n  cells: 3",
        ),
        *(random.randbytes(random.randrange(300)), b"<xml/>", b"$MeshFormat\n2.2 0 8", b"---\n", b"case", b"null"),
    )
    return BrokenCase(way, random.choice(contents))


def _settings(random: Random, way: str) -> BrokenCase:
    given = []
    for _ in range(random.choice((1, 1, 3))):
        path = random.choice(list(KEYS))
        value = broken_value(random, path)
        text = value if isinstance(value, str) else _toml(value)
        name = random.choice(
            (path, path, path, path.upper(), f" {path} ", f"{path}.a", path.partition(".")[0], f".{path}")
        )
        given.append(f"{name}{random.choice(('=', '=', '=', ' = ', '', ':'))}{text}".replace("\x00", ""))
    return BrokenCase(way, _bytes(_text(random)), settings=tuple(given))


def _formulas(random: Random, way: str) -> BrokenCase:
    path = random.choice(list(FORMULAS))
    text = formula(random, random.choice(("tyzs", "y", "s", "x", "tyzs_")), random.randint(1, 3), random.randint(1, 6))
    for _ in range(random.randrange(3)):
        place = random.randrange(len(text) + 1)
        piece = random.choice(
            (*"()+-*/,.<>=[]{}'\"#;:@!^&|~ \\\n", "**", "//", "if", "lambda", "__", "where(", "1e", "σ")
        )
        text = text[:place] + piece + text[place + random.randrange(3) :]
    table, _, name = path.rpartition(".")
    value: Any = [[text, text]] if name == "factors" else text
    shape = random.choices(tuple(_DIMENSIONS), (3, 1, 1))[0]
    tables: Tables = {"domain": {"shape": shape}, "data": {"initial": "0"}, "dynamics": {}}
    _holder(tables, table)[name] = value
    part = "separable" if name == "factors" else "dense" if name in ("kernel", "bias", "activation") else "local"
    tables["dynamics"]["representation"] = part
    return BrokenCase(way, _bytes(dump(tables)))


def _names(random: Random, way: str) -> BrokenCase:
    """Names that no key allows, in the place of a name."""
    path = random.choice([path for path in KEYS if allowed_names(path) and path != "dynamics.activation"])
    table, _, name = path.rpartition(".")
    wrong = random.choice(("default", "none", "auto_", "adamw", "lbfgs", "swish", "ReLU6", "x" * 99, "[]", "é"))
    kind = str(KEYS[path].kind)
    tables = {table: {name: [wrong] if kind.startswith(("tuple", "typing")) and "tuple" in kind else wrong}}
    return BrokenCase(way, _bytes(dump(tables)), (path,), refused=True)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


_WAYS: dict[str, Callable[[Random, str], BrokenCase]] = {
    "any values": _any_values,
    "a misspelt key": _misspelt_key,
    "an unknown table": _unknown_table,
    "a table of another type": _table_of_another_type,
    "numbers": _beyond_json,
    "duplicates": _duplicates,
    "lines moved": _lines_moved,
    "bytes changed": _bytes_changed,
    "encodings": _encodings,
    "enormous": _enormous,
    "empty or binary": _empty_or_binary,
    "settings": _settings,
    "formulas": _formulas,
    "names": _names,
}
