# SPDX-License-Identifier: MIT
"""Gmsh's mesh files, MSH 2.2, 4.0 and 4.1, as text or as bytes: nodes, cells and the groups of the cells.

A cell may belong to several groups.  MSH 2 lists it once for each; MSH 4 lists it once, and its entity has the tags of
the groups, negative where the group has the entity's other orientation, which makes no difference here.  Cells of
entities without a group, which gmsh writes if it is asked to save all, have no tags.

References:
    Geuzaine, Remacle: Gmsh, a 3-D finite element mesh generator, https://doi.org/10.1002/nme.2579; the formats are in
    the section "Gmsh file formats" of its manual.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from fem_selection.discretization.meshes.gmsh_numbers import BinaryNumbers, Numbers, TextNumbers, cut
from fem_selection.errors import InvalidInput
from fem_selection.typing import Floats, Integers

__all__ = ["KINDS", "GmshBlock", "GmshFile", "parse_gmsh"]

KINDS = {  # gmsh's number of a cell type: name, dimension, number of nodes
    1: ("line", 1, 2), 2: ("triangle", 2, 3), 3: ("quad", 2, 4), 4: ("tetra", 3, 4), 5: ("hexahedron", 3, 8),
    6: ("wedge", 3, 6), 7: ("pyramid", 3, 5), 8: ("line3", 1, 3), 9: ("triangle6", 2, 6), 10: ("quad9", 2, 9),
    11: ("tetra10", 3, 10), 12: ("hexahedron27", 3, 27), 13: ("wedge18", 3, 18), 14: ("pyramid14", 3, 14),
    15: ("vertex", 0, 1), 16: ("quad8", 2, 8), 17: ("hexahedron20", 3, 20), 18: ("wedge15", 3, 15),
    19: ("pyramid13", 3, 13), 20: ("triangle9", 2, 9), 21: ("triangle10", 2, 10), 22: ("triangle12", 2, 12),
    23: ("triangle15", 2, 15), 24: ("triangle15 without inner nodes", 2, 15), 25: ("triangle21", 2, 21),
    26: ("line4", 1, 4), 27: ("line5", 1, 5), 28: ("line6", 1, 6), 29: ("tetra20", 3, 20), 30: ("tetra35", 3, 35),
    31: ("tetra56", 3, 56), 36: ("quad16", 2, 16), 37: ("quad25", 2, 25), 38: ("quad36", 2, 36),
    92: ("hexahedron64", 3, 64), 93: ("hexahedron125", 3, 125),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class GmshBlock:
    """Cells of one type with the same groups.

    Attributes:
        kind: Gmsh's number of the cell type, a key of `KINDS`.
        groups: Tags of the groups that all of these cells belong to.
        numbers: Numbers of the cells in the file, shape (num_cells,).
        nodes: Numbers of their nodes in the file, in gmsh's order, shape (num_cells, nodes of a cell).
    """

    kind: int
    groups: tuple[int, ...]
    numbers: Integers
    nodes: Integers


@dataclass(frozen=True)
class GmshFile:
    """What a mesh file of gmsh holds.

    Attributes:
        repeats_cells: Whether the format lists a cell once for each of its groups, as MSH 2 does.
        numbers: Numbers of the nodes, shape (num_nodes,).
        points: Their coordinates, shape (num_nodes, 3).
        blocks: The cells.
        names: The tags of a group by its dimension and name.
    """

    repeats_cells: bool
    numbers: Integers
    points: Floats
    blocks: tuple[GmshBlock, ...]
    names: dict[tuple[int, str], tuple[int, ...]]


def parse_gmsh(data: bytes) -> GmshFile:
    """Return the nodes, cells and groups in the bytes of a mesh file of gmsh.

    Args:
        data: The whole file.

    Raises:
        InvalidInput: if this is no such file; the message says what is wrong with it, without the file's name.
    """
    if not data.strip():
        raise InvalidInput("it is empty")
    if not re.search(rb"\$MeshFormat[ \t\r]*\n", data):
        old = ": a file of MSH 1, which gmsh can open and save anew" if b"$NOD" in data else ""
        raise InvalidInput(f"it has no section $MeshFormat, with which a mesh file of gmsh begins{old}")
    sections: dict[str, bytes] = {}
    for name, body in _sections(data):
        if name in sections and name in ("MeshFormat", "PhysicalNames", "Entities", "Nodes", "Elements"):
            raise InvalidInput(f"it has the section ${name} twice")
        sections[name] = body
    version, reader = _format(sections["MeshFormat"])
    for name in ("Nodes", "Elements"):
        if name not in sections:
            parametric = "; gmsh saves it without Mesh.SaveParametric" if "ParametricNodes" in sections else ""
            raise InvalidInput(f"it has no section ${name}{parametric}")
    read_nodes, read_cells = _READERS[version]
    node_section, cell_section = reader("Nodes", sections["Nodes"]), reader("Elements", sections["Elements"])
    numbers, points = read_nodes(node_section)
    tags = _Tags(version)
    for name in ("Entities", "PartitionedEntities"):
        if name in sections and version > 2.2:
            tags.read(reader(name, sections[name]), partitioned=name != "Entities")
    blocks = tuple(read_cells(cell_section, tags))
    for section in (node_section, cell_section):
        section.require_end()
    names = _names(sections.get("PhysicalNames", b""))
    return GmshFile(repeats_cells=version < 4, numbers=numbers, points=points, blocks=blocks, names=names)


def _sections(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The name and the body of each section $Name … $EndName."""
    position, begin = 0, re.compile(rb"\$([A-Za-z]\w*)[ \t\r]*\n")
    while (found := begin.search(data, position)) is not None:
        name = found[1].decode()
        end = data.find(b"$End" + found[1], found.end())
        if end < 0:
            raise InvalidInput(f"it ends within the section ${name}: is it cut short?")
        yield name, data[found.end() : end]
        position = end + len(found[1]) + 4


def _format(body: bytes) -> tuple[float, Callable[[str, bytes], Numbers]]:
    """The version of the format, and what reads the numbers of a section."""
    line, _, rest = body.partition(b"\n")
    words = line.split()
    try:
        version, kind, size = float(words[0]), int(words[1]), int(words[2])
    except (IndexError, ValueError):
        raise InvalidInput("its section $MeshFormat does not begin with version, kind and size of numbers") from None
    version = 2.2 if 2 <= version < 3 else version
    if version not in _READERS:
        raise InvalidInput(f"it has version {version:g} of the format; gmsh can save it anew as 4.1")
    if kind == 0:
        return version, TextNumbers
    if size != 8 or version == 4.0:
        raise InvalidInput(f"it has numbers of {size} bytes in version {version:g}; save it as text, or as 4.1")
    orders = [order for order in "<>" if len(rest) >= 4 and np.frombuffer(rest[:4], f"{order}i4")[0] == 1]
    if not orders:
        raise InvalidInput("its section $MeshFormat does not show the order of the bytes")
    return version, lambda name, body: BinaryNumbers(name, body, orders[0])


# ── groups ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _names(body: bytes) -> dict[tuple[int, str], tuple[int, ...]]:
    """The tags of each name; names of two groups of one dimension have two tags."""
    found: dict[tuple[int, str], tuple[int, ...]] = {}
    for dimension, tag, name in re.findall(rb'^\s*(\d+)\s+(-?\d+)\s+"(.*)"\s*$', body, re.MULTILINE):
        key = (int(dimension), name.decode(errors="replace"))
        found[key] = (*found.get(key, ()), abs(int(tag)))
    return found


@dataclass
class _Tags:
    """The tags of the groups that each entity of MSH 4 belongs to, by its dimension and number."""

    version: float
    of: dict[tuple[int, int], tuple[int, ...]] = field(default_factory=dict)

    def read(self, numbers: Numbers, partitioned: bool) -> None:
        """Add the entities of a section."""
        if partitioned:
            numbers.sizes(1)
            ghosts = numbers.count()
            numbers.ints(2 * ghosts)
        for dimension, count in enumerate(numbers.sizes(4)):
            for _ in range(count):
                entity = int(numbers.ints(1)[0])
                if partitioned:
                    numbers.ints(2)
                    numbers.ints(numbers.count())
                numbers.floats(6 if dimension or self.version < 4.1 else 3)
                groups = numbers.ints(numbers.count())
                self.of[dimension, entity] = tuple(sorted({abs(int(group)) for group in groups}))
                if dimension:
                    numbers.ints(numbers.count())


# ── nodes and cells ───────────────────────────────────────────────────────────────────────────────────────────────────


def _nodes_2(numbers: Numbers) -> tuple[Integers, Floats]:
    return numbers.numbered(numbers.line())


def _cells_2(numbers: Numbers, tags: _Tags) -> Iterator[GmshBlock]:
    """Rows of number, type, tags, nodes as text; as bytes in blocks of one type with as many tags."""
    total = numbers.line()
    parts: dict[tuple[int, int], list[Integers]] = {}  # rows of number, group and nodes
    if numbers.is_text:
        flat = numbers.ints(numbers.left)
        words, position = flat.tolist(), 0
        starts: dict[tuple[int, int], list[int]] = {}
        for _ in range(total):
            if position + 3 > len(words):
                cut("Elements", total, len(words))
            _, kind, num_tags = words[position : position + 3]
            starts.setdefault((kind, num_tags), []).append(position)
            position += 3 + max(num_tags, 0) + _num_nodes(kind)
        if position > len(words):
            cut("Elements", position, len(words))
        for (kind, num_tags), begins in starts.items():
            columns = [0, *range(3, 3 + max(num_tags, 0) + _num_nodes(kind))]
            parts[kind, num_tags] = [flat[np.array(begins)[:, None] + columns]]
    else:
        while total > 0:
            kind, count, num_tags = (int(value) for value in numbers.ints(3))
            width = 1 + max(num_tags, 0) + _num_nodes(kind)
            if count < 1:
                cut("Elements", count, total)
            parts.setdefault((kind, num_tags), []).append(numbers.ints(count * width).reshape(count, width))
            total -= count
    for (kind, num_tags), pieces in parts.items():
        rows = np.concatenate(pieces)
        groups = np.abs(rows[:, 1]) if num_tags > 0 else np.zeros(len(rows), dtype=np.int64)
        for group in np.unique(groups):
            here = rows[groups == group]
            yield GmshBlock(
                kind=kind,
                groups=(int(group),) if group else (),
                numbers=here[:, 0],
                nodes=here[:, 1 + max(num_tags, 0) :],
            )


def _nodes_4(numbers: Numbers, *, old: bool = False) -> tuple[Integers, Floats]:
    blocks = int(numbers.sizes(2 if old else 4)[0])
    if blocks > numbers.left:
        cut("Nodes", blocks, numbers.left)
    found, points = [np.zeros(0, dtype=np.int64)], [np.zeros((0, 3))]
    for _ in range(blocks):
        a, b, parametric = numbers.ints(3)
        count = numbers.count()
        width = 3 + (int(b if old else a) if parametric else 0)
        if old:
            here, x = numbers.numbered(count, width)
        else:
            here, x = numbers.sizes(count), numbers.floats(count * width).reshape(-1, width)
        found.append(here)
        points.append(x[:, :3])
    return np.concatenate(found), np.concatenate(points)


def _cells_4(numbers: Numbers, tags: _Tags, *, old: bool = False) -> Iterator[GmshBlock]:
    blocks = int(numbers.sizes(2 if old else 4)[0])
    if blocks > numbers.left:
        cut("Elements", blocks, numbers.left)
    for _ in range(blocks):
        a, b, kind = (int(value) for value in numbers.ints(3))
        dimension, entity = (b, a) if old else (a, b)
        count, width = numbers.count(), 1 + _num_nodes(kind)
        rows = numbers.sizes(count * width).reshape(-1, width)
        yield GmshBlock(kind=kind, groups=tags.of.get((dimension, entity), ()), numbers=rows[:, 0], nodes=rows[:, 1:])


def _num_nodes(kind: int) -> int:
    if kind not in KINDS:
        raise InvalidInput(f"it has cells of gmsh's type {kind}, which cannot be read")
    return KINDS[kind][2]


def _nodes_40(numbers: Numbers) -> tuple[Integers, Floats]:
    return _nodes_4(numbers, old=True)


def _cells_40(numbers: Numbers, tags: _Tags) -> Iterator[GmshBlock]:
    return _cells_4(numbers, tags, old=True)


_READERS: dict[
    float,
    tuple[Callable[[Numbers], tuple[Integers, Floats]], Callable[[Numbers, _Tags], Iterator[GmshBlock]]],
] = {2.2: (_nodes_2, _cells_2), 4.0: (_nodes_40, _cells_40), 4.1: (_nodes_4, _cells_4)}
