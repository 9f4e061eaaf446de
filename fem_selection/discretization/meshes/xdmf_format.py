# SPDX-License-Identifier: MIT
"""XDMF files: the grid that makes a domain, its cells and points, from the XML itself, an HDF5 file or raw bytes.

A file may hold several grids, as those of tags on edges beside the mesh.  The domain is the first one of highest
dimension.  The files with its numbers are those that the XML names, beside the file or beside what it links to.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fem_selection.errors import InvalidInput
from fem_selection.typing import Floats, Integers

__all__ = ["XdmfGrid", "files_beside", "find_grid", "read_grid"]

_KINDS = {  # XDMF's name: dolfinx's name, degree of the geometry, dimension, number of nodes
    "polyline": ("interval", 1, 1, 2),
    "edge_3": ("interval", 2, 1, 3),
    "triangle": ("triangle", 1, 2, 3),
    "triangle_6": ("triangle", 2, 2, 6),
    "quadrilateral": ("quadrilateral", 1, 2, 4),
    "quadrilateral_9": ("quadrilateral", 2, 2, 9),
    "tetrahedron": ("tetrahedron", 1, 3, 4),
    "tetrahedron_10": ("tetrahedron", 2, 3, 10),
    "hexahedron": ("hexahedron", 1, 3, 8),
    "hexahedron_27": ("hexahedron", 2, 3, 27),
}
_LAYOUTS = {"XY": 2, "XYZ": 3}


@dataclass(frozen=True)
class XdmfGrid:
    """The grid of an XDMF file that makes the domain.

    Attributes:
        cell: The cell type by dolfinx's name.
        degree: Degree of the geometry; 2 for curved cells.
        dimension: Dimension of the cells.
        num_nodes: Number of nodes of a cell.
        width: Number of coordinates of a point.
        topology: The element that says where the cells are.
        geometry: The element that says where the points are.
    """

    cell: str
    degree: int
    dimension: int
    num_nodes: int
    width: int
    topology: ElementTree.Element
    geometry: ElementTree.Element


def find_grid(path: Path) -> XdmfGrid:
    """Find the first grid of highest dimension with a topology and a geometry of its own.

    Args:
        path: The file.

    Raises:
        InvalidInput: if the file cannot be read or has no such grid, or a file with its numbers is missing.
    """
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InvalidInput(f"{path} is no XDMF file: {error if path.stat().st_size else 'it is empty'}") from error
    found, grids = [], []
    for element in root.iter("Grid"):
        topology, geometry = element.find("Topology"), element.find("Geometry")
        if topology is None or geometry is None:
            continue
        kind = (topology.get("TopologyType") or topology.get("Type") or "").lower()
        found.append(kind)
        if kind in _KINDS:
            layout = (geometry.get("GeometryType") or geometry.get("Type") or "XYZ").upper()
            cell, degree, dimension, num_nodes = _KINDS[kind]
            if layout not in _LAYOUTS:
                raise InvalidInput(f"{path} has points of the type {layout!r}; those that can be read are XY and XYZ")
            grids.append(
                XdmfGrid(
                    cell=cell,
                    degree=degree,
                    dimension=dimension,
                    num_nodes=num_nodes,
                    width=_LAYOUTS[layout],
                    topology=topology,
                    geometry=geometry,
                )
            )
    if not grids:
        kinds = f"grids of type {', '.join(map(repr, found))}" if found else "no grid with cells and points"
        hint = "; those that can be read have all their nodes, also in their middle" if _lacks_nodes(found) else ""
        if "mixed" in found:
            hint = "; write cells of one type as one block: meshio.Mesh(points, {kind: mesh.get_cells_type(kind)})"
        raise InvalidInput(
            f"{path} has no mesh of intervals, triangles, quadrilaterals, tetrahedra or hexahedra; it has {kinds}{hint}"
        )
    grid = max(grids, key=lambda grid: grid.dimension)
    if grid.width < grid.dimension:
        raise InvalidInput(f"{path} has {grid.cell} cells, but points of {grid.width} coordinates")
    for part in (grid.topology, grid.geometry):
        item = _item(path, part)
        if _format_of(item) in ("HDF", "BINARY"):
            _beside(path, item)
    return grid


def read_grid(path: Path, grid: XdmfGrid) -> tuple[Integers, Floats]:
    """Read the cells, in VTK's order of their nodes, and the points of a grid.

    Args:
        path: The file.
        grid: What `find_grid` found.

    Returns:
        Rows of points, shape (num_cells, nodes of a cell), and coordinates, shape (num_points, width).

    Raises:
        InvalidInput: if numbers are missing or of a wrong kind, or cells name points that are not there.
    """
    cells = _numbers(path, grid, grid.topology, np.dtype(np.int64)).reshape(-1)
    points = _numbers(path, grid, grid.geometry, np.dtype(np.float64)).reshape(-1)
    for numbers, width, what in ((cells, grid.num_nodes, "the nodes of its cells"), (points, grid.width, "points")):
        if numbers.size % width or not numbers.size:
            raise InvalidInput(f"{path} has {numbers.size} numbers for {what}, which is no multiple of {width}")
    number = grid.topology.get("NumberOfElements") or grid.topology.get("Dimensions")
    counted = cells.size // grid.num_nodes
    if number is not None and number.strip().isdigit() and int(number) != counted:
        raise InvalidInput(f"{path} has {counted} cells, where {number} are announced")
    cells, points = cells.reshape(-1, grid.num_nodes), points.reshape(-1, grid.width)
    wrong = np.flatnonzero(np.any((cells < 0) | (cells >= len(points)), axis=1))
    if wrong.size:
        k = int(wrong[0])
        raise InvalidInput(
            f"{path}: cell {k} has the nodes {', '.join(map(str, cells[k]))}, but the {len(points)} points have the "
            f"numbers 0 … {len(points) - 1}"
        )
    return cells, points


def files_beside(path: Path) -> list[Path]:
    """Return the files beside an XDMF file that hold numbers of its mesh, each once, those of the cells first.

    Raises:
        InvalidInput: if the file has no mesh, or a file with its numbers is missing.
    """
    grid = find_grid(path)
    items = [_item(path, element) for element in (grid.topology, grid.geometry)]
    return list(dict.fromkeys(_beside(path, item) for item in items if _format_of(item) != "XML"))


def _lacks_nodes(kinds: list[str]) -> bool:
    return any(kind in ("quadrilateral_8", "hexahedron_20", "hexahedron_24") for kind in kinds)


# ── where the numbers are ─────────────────────────────────────────────────────────────────────────────────────────────


def _item(path: Path, element: ElementTree.Element) -> ElementTree.Element:
    """The only DataItem in a topology or geometry, with numbers of its own."""
    items = element.findall("DataItem")
    if len(items) != 1 or items[0].get("Reference") is not None or items[0].findall("DataItem"):
        raise InvalidInput(
            f"{path}: its {element.tag} has {len(items)} DataItems or one that refers to others; "
            "it must hold one with numbers"
        )
    if _format_of(items[0]) not in ("XML", "HDF", "BINARY"):
        raise InvalidInput(f"{path}: the format {_format_of(items[0])!r} is none of XML, HDF and Binary")
    return items[0]


def _format_of(item: ElementTree.Element) -> str:
    return (item.get("Format") or "XML").upper()


def _beside(path: Path, item: ElementTree.Element) -> Path:
    """The file with the numbers of an item: beside the file, or beside what it is a link to."""
    name = (item.text or "").strip()
    name = name.rpartition(":")[0] if _format_of(item) == "HDF" else name
    if not name:
        raise InvalidInput(f"{path}: a DataItem names no file with its numbers")
    places = [path.parent / name, path.resolve().parent / name]
    for place in places:
        if place.is_file():
            return place
    candidates = [path.with_suffix(suffix) for suffix in (".h5", ".hdf5") if path.with_suffix(suffix).is_file()]
    hint = f"; if that is {candidates[0].name} now, write this name into {path.name}" if candidates else ""
    raise InvalidInput(f"{path} keeps its numbers in {places[0]}, which is not there{hint}")


def _numbers(path: Path, grid: XdmfGrid, element: ElementTree.Element, dtype: np.dtype[Any]) -> Any:
    item = _item(path, element)
    try:
        return _WAYS[_format_of(item)](path, grid, element, item, dtype)
    except (ValueError, OverflowError, TypeError, MemoryError, OSError) as error:  # attributes that mean nothing
        raise InvalidInput(f"{path}: the numbers of its {element.tag} cannot be read: {error}") from error


def _from_text(
    _path: Path, _grid: XdmfGrid, _element: ElementTree.Element, item: ElementTree.Element, dtype: Any
) -> Any:
    numbers = np.array((item.text or "").split(), dtype=np.bytes_).astype(dtype)
    return _as_announced(item, numbers)


def _from_bytes(
    path: Path, _grid: XdmfGrid, _element: ElementTree.Element, item: ElementTree.Element, dtype: Any
) -> Any:
    file, order = _beside(path, item), ">" if (item.get("Endian") or "").lower() == "big" else "<"
    kind = {"Float": "f", "Int": "i", "UInt": "u"}.get(item.get("NumberType") or item.get("DataType") or "Float", "f")
    stored, dimensions = np.dtype(f"{order}{kind}{int(item.get('Precision') or 4)}"), item.get("Dimensions") or ""
    number = int(np.prod([int(word) for word in dimensions.split()], dtype=object)) if dimensions else -1
    with file.open("rb") as source:
        source.seek(int(item.get("Seek") or 0))
        data = source.read(-1 if number < 0 else number * stored.itemsize)
    numbers = np.frombuffer(data[: len(data) // stored.itemsize * stored.itemsize], stored)
    return _as_announced(item, numbers.astype(dtype))


def _from_hdf5(path: Path, grid: XdmfGrid, element: ElementTree.Element, item: ElementTree.Element, dtype: Any) -> Any:
    """Let dolfinx read one data set, from links in a folder of our own to a file of any name."""
    from dolfinx import cpp, io
    from dolfinx.mesh import to_type
    from mpi4py import MPI

    place = (item.text or "").strip().rpartition(":")[2]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "mesh.h5").symlink_to(_beside(path, item).resolve())
        text = f'<DataItem Dimensions="{item.get("Dimensions") or ""}" Format="HDF"></DataItem>'
        own, tag = ElementTree.fromstring(text), element.tag
        own.text = f"mesh.h5:{place}"
        if tag == "Topology":
            attributes = {"TopologyType": element.get("TopologyType") or element.get("Type") or ""}
            attributes["NodesPerElement"] = str(grid.num_nodes)
        else:
            attributes = {"GeometryType": "XY" if grid.width == 2 else "XYZ"}
        root = ElementTree.Element("Xdmf")
        own_grid = ElementTree.SubElement(ElementTree.SubElement(root, "Domain"), "Grid", Name="mesh")
        ElementTree.SubElement(own_grid, tag, attributes).append(own)
        ElementTree.ElementTree(root).write(folder / "mesh.xdmf")
        try:
            with _quiet() as said, io.XDMFFile(MPI.COMM_SELF, folder / "mesh.xdmf", "r") as file:
                if tag == "Geometry":
                    return np.asarray(file.read_geometry_data("mesh"), dtype=dtype)
                cells = np.asarray(file.read_topology_data("mesh"), dtype=dtype)
        except RuntimeError as error:
            reason = next(iter(str(error).splitlines()), "")
            if re.search("required filter .* is not registered", "".join(said)):
                reason = (
                    "its numbers are compressed, which the HDF5 of this dolfinx cannot undo; write them without, as by "
                    "meshio.write(…, compression=None) or h5repack -f NONE"
                )
            raise InvalidInput(f"{path}: {_beside(path, item)} cannot be read at {place!r}: {reason}") from error
    order = cpp.io.perm_vtk(to_type(grid.cell), grid.num_nodes)  # dolfinx has put the nodes in its own order
    return cells[:, np.argsort(order)]


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Keep HDF5 from printing its stack of errors: it is in the list that is given, after the block."""
    said: list[str] = []
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # there is nowhere to print to
        yield said
        return
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            sink.seek(0)
            said.append(sink.read().decode(errors="replace"))


def _as_announced(item: ElementTree.Element, numbers: Any) -> Any:
    words = (item.get("Dimensions") or "").split()
    if words and numbers.size != np.prod([int(word) for word in words], dtype=object):
        raise ValueError(f"there are {numbers.size}, where {' × '.join(words)} are announced")
    return numbers


_WAYS: dict[str, Callable[..., Any]] = {"XML": _from_text, "BINARY": _from_bytes, "HDF": _from_hdf5}
