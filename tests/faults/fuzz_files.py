# SPDX-License-Identifier: MIT
"""Damaged mesh and data files from a number, and the commands that read them.

The small valid files of `mesh_files` and `data_files` are cut, their bits and bytes are changed, their lines are
swapped, doubled and left out, their numbers are replaced by nan, 1e400, −1 and by counts that are not theirs.  In an
NPZ file also the members inside are damaged, with the sums of the archive right, and whole arrays are changed.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
from data_files import DATA_FILES, NEW_DATA_FILES, archive
from mesh_files import FILES, save

if TYPE_CHECKING:
    from fuzz import Call

__all__ = ["calls_of_file"]

_CASE = """
[domain]
file = "{name}"
{group}
[dynamics]
kernel = "0.1*y0*z0"
[data]
initial = "y0"
samples = 2
[forward]
until = 0.1
times = 2
[output]
figures = false
fields = false
"""


def calls_of_file(number: int, folder: Path) -> Iterator[Call]:
    """The command that reads the damaged file of a number.

    Args:
        number: The number; one in three damages a data file, the others a mesh file.
        folder: The folder of the file, the case and the report.
    """
    random = Random(f"file {number}")
    yield from (_mesh, _mesh, _data)[number % 3](random, folder)


def _mesh(random: Random, folder: Path) -> Iterator[Call]:
    from fuzz import call

    name = random.choice(list(FILES))
    read = name.replace(".bin", ".xdmf")
    save(folder, read)
    (folder / name).write_bytes(_damaged(random, FILES[name]))
    group = random.choice(("", "", 'group = "all"', 'group = "lower"')) if read.endswith(".msh") else ""
    yield _run(folder, "forward", _CASE.format(name=read, group=group), call)


def _data(random: Random, folder: Path) -> Iterator[Call]:
    from fuzz import call

    if random.random() < 0.25:
        trained = DATA_FILES["integer labels"]
        (folder / "data.npz").write_bytes(trained.content)
        yield _run(folder, "train", trained.case, call)
        (folder / "new.npz").write_bytes(_damaged_archive(random, random.choice(list(NEW_DATA_FILES.values()))))
        words = ("predict", str(folder / "run"), "--data", str(folder / "new.npz"))
        yield call(folder, words, folder / "none")
        return
    file = random.choice(list(DATA_FILES.values()))
    (folder / "data.npz").write_bytes(_damaged_archive(random, file.content))
    yield _run(folder, "train", file.case, call)


def _run(folder: Path, command: str, text: str, call: Any) -> Call:
    case, run = folder / "case.toml", folder / "run"
    case.write_text(text, encoding="utf-8")
    found: Call = call(folder, (command, str(case), "--output", str(run)), run / "report.json")
    return found


# ── damage ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_NUMBER = re.compile(rb"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")
_NUMBERS = (
    *(
        b"nan",
        b"inf",
        b"-inf",
        b"1e400",
        b"-1",
        b"0",
        b"1",
        b"2",
        b"3",
        b"4",
        b"7",
        b"1e-320",
        b"1.5",
        b"-0.0",
        b"",
        b"x",
    ),
    *(b"99999", b"2147483648", b"9223372036854775808", b"1e30", b"1e-13", b"1,5", b"0x10", b"1" * 400),
)
_PIECES = (b"\x00", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00" * 8, b"\n", b" ", b"$", b"-", b"\r\n", b"<", b'"')


def _damaged(random: Random, content: bytes) -> bytes:
    """The content with one or several pieces of damage."""
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        content = random.choice(_DAMAGES)(random, content) or b""
    return content


def _cut(random: Random, content: bytes) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _flip(random: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 3, 20)) if changed else 0):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _replace_piece(random: Random, content: bytes) -> bytes:
    place = random.randrange(len(content) + 1)
    return content[:place] + random.choice(_PIECES) + content[place + random.choice((0, 1, 4, 8, 40)) :]


def _lines(random: Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    if len(lines) < 2:
        return content
    first, second = random.randrange(len(lines)), random.randrange(len(lines))
    match random.randrange(5):
        case 0:
            lines[first], lines[second] = lines[second], lines[first]
        case 1:
            del lines[first]
        case 2:
            lines.insert(first, lines[second])
        case 3:
            del lines[min(first, second) : max(first, second)]
        case _:
            lines[first] = lines[first].replace(b" ", random.choice((b"  ", b"\t", b",", b"")))
    return b"".join(lines)


def _numbers(random: Random, content: bytes) -> bytes:
    places = list(_NUMBER.finditer(content))
    if not places:
        return content
    place = random.choice(places)
    return content[: place.start()] + random.choice(_NUMBERS) + content[place.end() :]


def _counts(random: Random, content: bytes) -> bytes:
    """Change a line that is one to four whole numbers, as those of counts and blocks are."""
    places = list(re.finditer(rb"(?m)^\d+(?: \d+){0,3}$", content))
    if not places:
        return _numbers(random, content)
    place = random.choice(places)
    numbers = place[0].split()
    k = random.randrange(len(numbers))
    numbers[k] = str(int(numbers[k]) + random.choice((-1, 1, 1, 7, 10**6, -int(numbers[k])))).encode()
    return content[: place.start()] + b" ".join(numbers) + content[place.end() :]


_DAMAGES = (_cut, _flip, _flip, _replace_piece, _lines, _lines, _numbers, _numbers, _numbers, _counts, _counts)


# ── data ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _damaged_archive(random: Random, content: bytes) -> bytes:
    way = random.random()
    if way < 0.25:
        return _damaged(random, content)
    if way < 0.55:
        return _damaged_member(random, content)
    with np.load(io.BytesIO(content)) as found:
        arrays = dict(found)
    for _ in range(random.choice((1, 1, 2))):
        name = random.choice(list(arrays))
        arrays |= _changed(random, arrays, name)
        if random.random() < 0.1 and len(arrays) > 1:
            del arrays[name]
    return archive(**arrays)


def _damaged_member(random: Random, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        chosen = random.choice(names)
        for name in names:
            member = old.read(name)
            if name == chosen:
                head = member[:128] if random.random() < 0.6 else member  # the text that says type and shape
                member = _damaged(random, head) + member[len(head) :]
            new.writestr(random.choice((name, name, name, "z.npy", name[:-4])) if name == chosen else name, member)
    return out.getvalue()


def _changed(random: Random, arrays: dict[str, Any], name: str) -> dict[str, Any]:
    """One array in another form, or with other values."""
    array = np.atleast_1d(arrays[name])
    if array.size and array.dtype.kind == "f" and random.random() < 0.4:
        array = array.copy()
        array.flat[random.randrange(array.size)] = random.choice((np.nan, np.inf, -np.inf, 1e300, 1e-300, 6e4))
        return {name: array}
    values = array.astype(float) if array.dtype.kind in "biuf" else np.zeros(array.shape)
    with np.errstate(all="ignore"):
        forms: tuple[Any, ...] = (
            *(array[:0], array[:1], array[1:], array[..., None], array[None], array.T, array.ravel(), array[0]),
            *(values, 1e300 * values, values.astype(complex), values.astype(np.float16), values * 0, values + 0.5),
            *(values.astype(np.int8), values.astype(np.uint64), values.astype(str), values.astype("S4"), values > 0),
            *(values.astype("datetime64[s]"), values.astype([("a", float)]), np.array("text"), np.array(1.0)),
            *(values.astype(np.longdouble), values.astype(">f4"), np.concatenate([array, array])),
        )
        return {name: forms[random.randrange(len(forms))]}
