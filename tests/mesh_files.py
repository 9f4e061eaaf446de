# SPDX-License-Identifier: MIT
"""Small valid mesh files of every format, as bytes: gmsh 2.2, 4.0 and 4.1, text and binary, and XDMF.

`TWO_SQUARES` is the rectangle (0, 1) × (0, 2), each of whose two squares is cut into four triangles.  The lower one
belongs to the groups "lower" and "all", the upper one to "all" alone, so "lower" has area 1 and "all" has area 2.  The
writers take any `Sketch`, also one with faults.  `FILES` holds every valid file by its name; a name that ends in .bin
belongs to the XDMF file beside it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

__all__ = [
    "FILES",
    "SAVED_ALL",
    "TWO_SQUARES",
    "Part",
    "Sketch",
    "msh22",
    "msh40",
    "msh41",
    "raw_numbers",
    "save",
    "xdmf",
]

XDMF_NAMES = {1: "Polyline", 2: "Triangle", 3: "Quadrilateral", 4: "Tetrahedron", 5: "Hexahedron", 9: "Triangle_6"}


@dataclass(frozen=True)
class Part:
    """An entity of a model with its cells.

    Attributes:
        dimension: Of the entity.
        tag: Number of the entity, unique in its dimension.
        kind: Gmsh's number of the cell type: 1 line, 2 triangle, 3 quadrilateral, 4 tetrahedron, 15 point …
        groups: Tags of the groups that the entity belongs to.
        cells: The node numbers of each cell, beginning with 1.
    """

    dimension: int
    tag: int
    kind: int
    groups: tuple[int, ...]
    cells: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Sketch:
    """What a mesh file says.

    Attributes:
        points: Three coordinates each; their numbers begin with 1.
        parts: The entities with cells.
        names: (dimension, tag, name) of each group.
    """

    points: tuple[tuple[float, float, float], ...]
    parts: tuple[Part, ...]
    names: tuple[tuple[int, int, str], ...] = ()

    def without_names(self) -> Sketch:
        """The same mesh without groups."""
        return replace(self, names=(), parts=tuple(replace(part, groups=()) for part in self.parts))

    def listed(self) -> Iterator[tuple[int, int, int, tuple[int, ...]]]:
        """(kind, group, entity, nodes) of the cells as MSH 2.2 lists them: once for each group."""
        for part in self.parts:
            for nodes in part.cells:
                for group in part.groups or (0,):
                    yield part.kind, group, part.tag, nodes


def _head(sketch: Sketch, version: str, binary: bool) -> bytes:
    one = struct.pack("<i", 1) + b"\n" if binary else b""
    head = b"$MeshFormat\n%s %d 8\n%s$EndMeshFormat\n" % (version.encode(), binary, one)
    names = "".join(f'{dimension} {tag} "{name}"\n' for dimension, tag, name in sketch.names)
    return head + f"$PhysicalNames\n{len(sketch.names)}\n{names}$EndPhysicalNames\n".encode()


def _section(name: str, rows: Iterable[Iterable[object]]) -> bytes:
    return "\n".join([f"${name}", *(" ".join(map(str, row)) for row in rows), f"$End{name}\n"]).encode()


def msh22(sketch: Sketch, binary: bool = False) -> bytes:
    """The file in MSH 2.2, which has a cell once for each of its groups."""
    cells = list(sketch.listed())
    if not binary:
        nodes = ((k, *point) for k, point in enumerate(sketch.points, 1))
        rows = ((k, kind, 2, group, tag, *nodes) for k, (kind, group, tag, nodes) in enumerate(cells, 1))
        return (
            _head(sketch, "2.2", False)
            + _section("Nodes", [[len(sketch.points)], *nodes])
            + _section("Elements", [[len(cells)], *rows])
        )
    out = _head(sketch, "2.2", True) + b"$Nodes\n%d\n" % len(sketch.points)
    out += b"".join(struct.pack("<i3d", k, *point) for k, point in enumerate(sketch.points, 1))
    out += b"\n$EndNodes\n$Elements\n%d\n" % len(cells)
    for k, (kind, group, tag, nodes) in enumerate(cells, 1):
        out += struct.pack(f"<{6 + len(nodes)}i", kind, 1, 2, k, group, tag, *nodes)
    return out + b"\n$EndElements\n"


def msh40(sketch: Sketch) -> bytes:
    """The file in MSH 4.0, as text."""
    count, cells = [sum(part.dimension == d for part in sketch.parts) for d in range(4)], iter(range(1, 10**6))
    entities = [
        (part.tag, *[0] * 6, len(part.groups), *part.groups, *[0] * (part.dimension > 0)) for part in _sorted(sketch)
    ]
    blocks = [[len(sketch.parts), sum(len(part.cells) for part in sketch.parts)]]
    for part in sketch.parts:
        blocks += [[part.tag, part.dimension, part.kind, len(part.cells)]]
        blocks += [[next(cells), *nodes] for nodes in part.cells]
    nodes = [[1, len(sketch.points)], [1, 2, 0, len(sketch.points)]]
    nodes += [[k, *point] for k, point in enumerate(sketch.points, 1)]
    head = _head(sketch, "4", False) + _section("Entities", [count, *entities])
    return head + _section("Nodes", nodes) + _section("Elements", blocks)


def msh41(sketch: Sketch, binary: bool = False) -> bytes:
    """The file in MSH 4.1, which has every cell once, and the groups of its entity."""
    number, counts = sum(len(part.cells) for part in sketch.parts), [0] * 4
    for part in sketch.parts:
        counts[part.dimension] += 1
    n = len(sketch.points)
    if not binary:
        entities = [
            (part.tag, *[0] * (6 if part.dimension else 3), len(part.groups), *part.groups, *[0] * (part.dimension > 0))
            for part in _sorted(sketch)
        ]
        nodes = [[1, n, 1, n], [2, 1, 0, n], *([k] for k in range(1, n + 1)), *sketch.points]
        rows: list[list[int]] = [[len(sketch.parts), number, 1, number]]
        cells = iter(range(1, number + 1))
        for part in sketch.parts:
            rows += [[part.dimension, part.tag, part.kind, len(part.cells)]]
            rows += [[next(cells), *nodes_of] for nodes_of in part.cells]
        head = _head(sketch, "4.1", False) + _section("Entities", [counts, *entities])
        return head + _section("Nodes", nodes) + _section("Elements", rows)
    out = _head(sketch, "4.1", True) + b"$Entities\n" + struct.pack("<4Q", *counts)
    for part in _sorted(sketch):
        size = 6 if part.dimension else 3
        out += struct.pack(f"<i{size}dQ", part.tag, *[0.0] * size, len(part.groups))
        out += struct.pack(f"<{len(part.groups)}i", *part.groups) + (struct.pack("<Q", 0) if part.dimension else b"")
    out += b"\n$EndEntities\n$Nodes\n" + struct.pack("<4Q", 1, n, 1, n) + struct.pack("<3iQ", 2, 1, 0, n)
    out += np.arange(1, n + 1, dtype="<u8").tobytes() + np.array(sketch.points, dtype="<f8").tobytes()
    out += b"\n$EndNodes\n$Elements\n" + struct.pack("<4Q", len(sketch.parts), number, 1, number)
    first = 1
    for part in sketch.parts:
        out += struct.pack("<3iQ", part.dimension, part.tag, part.kind, len(part.cells))
        for nodes_of in part.cells:
            out += struct.pack(f"<{1 + len(nodes_of)}Q", first, *nodes_of)
            first += 1
    return out + b"\n$EndElements\n"


def _sorted(sketch: Sketch) -> list[Part]:
    return sorted(sketch.parts, key=lambda part: part.dimension)


def xdmf(sketch: Sketch, *, columns: int = 2, raw: str = "", fields: bool = False) -> bytes:
    """The cells of highest dimension in XDMF, as text in the file, or as numbers in a file `raw` beside it.

    Args:
        sketch: The mesh, with cells of one type in the highest dimension.
        columns: Number of coordinates that are written.
        raw: Name of the file with the numbers that `raw_numbers` makes; empty for text.
        fields: Whether to write two fields of tags beside the cells, and the first one's grid of edges before the mesh.
    """
    cells, points = _top(sketch)
    kind = XDMF_NAMES[max(sketch.parts, key=lambda part: part.dimension).kind]
    seek = (0, cells.nbytes)

    def item(values: np.ndarray, number: int) -> str:
        shape = " ".join(map(str, values.shape))
        attributes = f'Dimensions="{shape}" NumberType="{"Float" if values.dtype.kind == "f" else "Int"}" Precision="8"'
        if raw:
            return f'<DataItem {attributes} Format="Binary" Endian="Little" Seek="{seek[number]}">{raw}</DataItem>'
        text = "\n".join(" ".join(map(repr, row)) for row in values.reshape(len(values), -1).tolist())
        return f'<DataItem {attributes} Format="XML">\n{text}\n</DataItem>'

    layout = {2: "XY", 3: "XYZ"}[columns]
    geometry = f'<Geometry GeometryType="{layout}">{item(np.ascontiguousarray(points[:, :columns]), 1)}</Geometry>'
    attributes, before = "", ""
    if fields:
        for name in ("first", "second"):
            tags = item(np.arange(len(cells)), 0)
            attributes += f'<Attribute Name="{name}" AttributeType="Scalar" Center="Cell">{tags}</Attribute>'
        edges = item(np.array([[0, 1], [1, 2]]), 0)
        before = (
            f'<Grid Name="edges" GridType="Uniform"><Topology TopologyType="PolyLine" NumberOfElements="2" '
            f'NodesPerElement="2">{edges}</Topology>{geometry}</Grid>'
        )
    return (
        '<?xml version="1.0"?>\n<Xdmf Version="3.0"><Domain>'
        f'{before}<Grid Name="mesh" GridType="Uniform"><Topology TopologyType="{kind}" '
        f'NumberOfElements="{len(cells)}" NodesPerElement="{cells.shape[1]}">{item(cells, 0)}</Topology>'
        f"{geometry}{attributes}</Grid></Domain></Xdmf>\n"
    ).encode()


def raw_numbers(sketch: Sketch, columns: int = 2) -> bytes:
    """The cells and points of an XDMF file as numbers, for the file beside it."""
    cells, points = _top(sketch)
    return cells.astype("<i8").tobytes() + np.ascontiguousarray(points[:, :columns]).astype("<f8").tobytes()


def _top(sketch: Sketch) -> tuple[np.ndarray, np.ndarray]:
    highest = max(part.dimension for part in sketch.parts)
    cells = np.array([c for part in sketch.parts if part.dimension == highest for c in part.cells], dtype=np.int64) - 1
    return cells, np.array(sketch.points, dtype=float)


TWO_SQUARES = Sketch(
    points=(
        (0.0, 0.0, 0.0),
        (1.0, 0.0, 0.0),
        (1.0, 1.0, 0.0),
        (0.0, 1.0, 0.0),
        (1.0, 2.0, 0.0),
        (0.0, 2.0, 0.0),
        (0.5, 0.5, 0.0),
        (0.5, 1.5, 0.0),
    ),
    parts=(
        Part(dimension=2, tag=1, kind=2, groups=(1, 2), cells=((1, 2, 7), (4, 1, 7), (2, 3, 7), (3, 4, 7))),
        Part(dimension=2, tag=2, kind=2, groups=(2,), cells=((3, 8, 4), (5, 8, 3), (4, 8, 6), (6, 8, 5))),
    ),
    names=((2, 1, "lower"), (2, 2, "all")),
)

SAVED_ALL = replace(  # with points and lines that belong to no group, and one name in two dimensions
    TWO_SQUARES,
    parts=(
        Part(dimension=0, tag=1, kind=15, groups=(), cells=((1,),)),
        Part(dimension=1, tag=1, kind=1, groups=(1,), cells=((1, 2),)),
        Part(dimension=1, tag=2, kind=1, groups=(), cells=((2, 3), (3, 5))),
        TWO_SQUARES.parts[0],
        replace(TWO_SQUARES.parts[1], groups=()),
    ),
    names=((1, 1, "lower"), (2, 1, "lower"), (2, 2, "all")),
)

FILES: dict[str, bytes] = {
    "two_22.msh": msh22(TWO_SQUARES),
    "two_22_binary.msh": msh22(TWO_SQUARES, binary=True),
    "two_40.msh": msh40(TWO_SQUARES),
    "two_41.msh": msh41(TWO_SQUARES),
    "two_41_binary.msh": msh41(TWO_SQUARES, binary=True),
    "all_22.msh": msh22(SAVED_ALL),
    "all_41.msh": msh41(SAVED_ALL),
    "all_41_binary.msh": msh41(SAVED_ALL, binary=True),
    "two.xdmf": xdmf(TWO_SQUARES),
    "fields.xdmf": xdmf(TWO_SQUARES, fields=True),
    "raw.xdmf": xdmf(TWO_SQUARES, raw="raw.bin"),
    "raw.bin": raw_numbers(TWO_SQUARES),
}


def save(folder: Path, name: str, data: bytes | None = None) -> Path:
    """Write one of `FILES`, or other bytes under this name, and the file beside an XDMF file; return its path.

    Args:
        folder: The folder.
        name: The name of the file.
        data: What it holds; that of `FILES` if None.
    """
    if (beside := name.replace(".xdmf", ".bin")) != name and beside in FILES:
        (folder / beside).write_bytes(FILES[beside])
    (folder / name).write_bytes(FILES[name] if data is None else data)
    return folder / name
