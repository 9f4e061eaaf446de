# SPDX-License-Identifier: MIT
"""Mesh files of other programs: every cell once in every format, and cells that make no mesh.

The files are those of `mesh_files`: a rectangle (0, 1) × (0, 2) whose lower half is the group "lower" and belongs to
"all" too, so that ∫ y₁ is 1/2 over "lower" and 2 over "all".
"""

from __future__ import annotations

import base64
import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import basix
import basix.ufl
import dolfinx.mesh
import numpy as np
import pytest
import ufl
from dolfinx import fem
from dolfinx import io as dio
from mesh_files import FILES, SAVED_ALL, TWO_SQUARES, Part, Sketch, msh22, msh40, msh41, raw_numbers, save, xdmf
from mpi4py import MPI

import fem_selection as fs
from fem_selection.cases.saved import problem_key
from fem_selection.config import parse_case
from fem_selection.discretization.meshes.cell_shapes import DOUBTFUL, SMALLEST, judge_shapes
from fem_selection.discretization.meshes.domains import Domain, from_mesh
from fem_selection.discretization.meshes.mesh_files import describe
from fem_selection.errors import InvalidInput, SelectionWarning

GMSH = [name for name in FILES if name.endswith(".msh")]
XDMF = [name for name in FILES if name.endswith(".xdmf")]
LOWER, ALL = 0.5, 2.0
"""∫ y₁ over the lower square and over both."""


def read(path: Path, group: str | None = None) -> Domain:
    """A mesh file on this process."""
    return Domain.from_file(MPI.COMM_SELF, path, group)


def told(recwarn: pytest.WarningsRecorder) -> str:
    """The warnings of this package so far."""
    return "\n".join(str(w.message) for w in recwarn if issubclass(w.category, SelectionWarning))


def moment(domain: Domain, cells: np.ndarray | None = None) -> float:
    """∫ y₁ over the domain, or over some of this process's cells."""
    y = ufl.SpatialCoordinate(domain.mesh)
    if cells is None:
        return float(fem.assemble_scalar(fem.form(y[1] * ufl.dx(domain.mesh))))
    dx = ufl.Measure("dx", domain=domain.mesh, subdomain_data=[(1, cells.astype(np.int32))])
    return float(fem.assemble_scalar(fem.form(y[1] * dx(1))))


# ── every cell once ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", GMSH)
def test_integrals_over_groups(tmp_path, name):
    """Fails if a cell of two groups is missing in one or counts twice, in whatever format, or if cells, lines and
    points that belong to no group make a file unreadable."""
    path, all_moment = save(tmp_path, name), ALL if name.startswith("two") else LOWER
    whole, lower, both = read(path), read(path, "lower"), read(path, "all")
    assert [moment(d) for d in (whole, lower, both)] == pytest.approx([ALL, LOWER, all_moment], rel=1e-13)
    for domain in (whole, lower, both):
        assert domain.dimension == 2 and domain.cell == "triangle" and domain.doubts == ()
        found = {group: moment(domain, cells) for group, cells in domain.groups.items()}
        expected = {"lower": LOWER, "all": LOWER if domain is lower else all_moment}
        assert found == pytest.approx(expected, rel=1e-13)
        assert all(len(np.unique(cells)) == len(cells) for cells in domain.groups.values())


@pytest.mark.parametrize("name", XDMF)
def test_integrals_of_xdmf(tmp_path, name):
    """Fails if numbers in the XML or in a raw file are not read, or tags on edges, which come first, are the mesh."""
    domain = read(save(tmp_path, name))
    assert (domain.dimension, domain.cell, moment(domain)) == (2, "triangle", pytest.approx(ALL, rel=1e-13))


def test_coordinates_on_the_geometry(tmp_path):
    """Fails if the parameters that gmsh writes behind the coordinates with Mesh.SaveParametric are taken for numbers of
    nodes, or make the file unreadable, in MSH 4.0."""
    lines = FILES["two_40.msh"].split(b"\n")
    begin, end = lines.index(b"$Nodes") + 2, lines.index(b"$EndNodes")
    place, dimension, _, count = lines[begin].split()
    assert (dimension, int(count)) == (b"2", end - begin - 1)
    lines[begin] = b" ".join((place, dimension, b"1", count))
    lines[begin + 1 : end] = [line + b" 0.25 7" for line in lines[begin + 1 : end]]
    assert moment(read(save(tmp_path, "m.msh", b"\n".join(lines)), "lower")) == pytest.approx(LOWER)


def test_groups_of_negative_orientation(tmp_path):
    """Fails if the negative tag of a surface that a group takes the other way round is another group."""
    parts = tuple(replace(part, groups=tuple(-tag for tag in part.groups)) for part in TWO_SQUARES.parts)
    negative = replace(TWO_SQUARES, parts=parts)
    for data in (msh41(negative), msh41(negative, True), msh40(negative), msh22(negative), msh22(negative, True)):
        path = save(tmp_path, "negative.msh", data)
        assert moment(read(path, "lower")) == pytest.approx(LOWER)
        assert moment(read(path, "all")) == pytest.approx(ALL)
    turned = replace(parts[1], groups=(2,), cells=tuple(cell[::-1] for cell in parts[1].cells))
    twice = replace(TWO_SQUARES, parts=(*TWO_SQUARES.parts, turned))
    assert moment(read(save(tmp_path, "turned.msh", msh22(twice)))) == pytest.approx(ALL)


@pytest.mark.parametrize("name", ["two_22.msh", "two_40.msh", "two_41.msh", "two.xdmf"])
def test_lines_of_windows(tmp_path, name):
    """Fails if lines that end as on Windows, comments or a name in other letters than ASCII make a file unreadable."""
    group = "unten α" if name.endswith("msh") else None
    data = FILES[name].replace(b'"lower"', '"unten α"'.encode()).replace(b"\n", b"\r\n")
    if group is not None:
        data = b"$Comments\r\n$Nodes are below\r\n$EndComments\r\n" + data
    assert moment(read(save(tmp_path, name, data), group)) == pytest.approx(LOWER if group else ALL)


def test_groups_of_partitions(tmp_path):
    """Fails if the cells of a mesh that gmsh has divided lose their groups, which the parts of an entity have too."""
    data = FILES["two_41.msh"].decode()
    begin, end = data.index("$Entities"), data.index("$EndEntities")
    counts, *rows = data[begin:end].splitlines()[1:]
    rows = [row.split() for row in rows]  # number, six bounds, groups, bounding entities
    parts = [[row[0], "2", row[0], "1", "1", *row[1:]] for row in rows]
    written = "\n".join(["$PartitionedEntities", "1", "0", counts, *map(" ".join, parts), "$EndPartitionedEntities\n"])
    lost = [" ".join(["9" + row[0], *row[1:7], "0", "0"]) for row in rows]
    data = "\n".join([data[:begin] + "$Entities", counts, *lost, "$EndEntities\n" + written]) + data[end + 13 :]
    path = save(tmp_path, "divided.msh", data.encode())
    assert moment(read(path, "lower")) == pytest.approx(LOWER) and moment(read(path)) == pytest.approx(ALL)


def test_equal_tags_in_two_dimensions(tmp_path):
    """Fails if a group of points whose tag is that of a group of surfaces names these surfaces."""
    names = (*TWO_SQUARES.names, (0, TWO_SQUARES.names[0][1], "corner"))
    domain = read(save(tmp_path, "m.msh", msh41(replace(TWO_SQUARES, names=names))))
    assert sorted(domain.groups) == sorted(name for _, _, name in TWO_SQUARES.names)
    with pytest.raises(InvalidInput, match="no cells in the group 'corner'"):
        read(tmp_path / "m.msh", "corner")


def test_nodes_that_are_listed_twice(tmp_path):
    """Fails if a node that is listed twice at one place makes a file unreadable, or at two places is taken."""
    lines = FILES["two_22.msh"].split(b"\n")
    begin = lines.index(b"$Nodes") + 1
    lines[begin : begin + 2] = [b"%d" % (int(lines[begin]) + 1), lines[begin + 1], lines[begin + 1]]
    assert moment(read(save(tmp_path, "m.msh", b"\n".join(lines)))) == pytest.approx(ALL)
    lines[begin + 1] = b"1 -1.0 0.0 0.0"
    with pytest.raises(InvalidInput, match="has the node 1 twice, at different points"):
        read(save(tmp_path, "m.msh", b"\n".join(lines)))


def test_one_name_in_two_dimensions(tmp_path):
    """Fails if the group of lines hides the surface of the same name, or is not found where it is the only one."""
    path = save(tmp_path, "all_41.msh")
    assert read(path, "lower").cell == "triangle"
    lines = replace(SAVED_ALL, parts=SAVED_ALL.parts[:3])
    domain = read(save(tmp_path, "lines.msh", msh41(lines)), "lower")
    assert domain.cell == "interval" and domain.dimension == 1


def test_equal_cells(tmp_path, recwarn):
    """Fails if cells that a file lists twice without a reason count twice, or are dropped without a word."""
    part = TWO_SQUARES.parts[0]
    twice = replace(TWO_SQUARES, parts=(*TWO_SQUARES.parts, replace(part, tag=3, cells=part.cells[:3])))
    for name, data in (("m.msh", msh22(twice)), ("m.msh", msh41(twice)), ("m.xdmf", xdmf(twice))):
        recwarn.clear()
        domain = read(save(tmp_path, name, data))
        assert moment(domain) == pytest.approx(ALL)
        assert "cells are listed more than once" in domain.doubts[0] and domain.doubts[0] in told(recwarn)


def test_dolfinx_writes_what_is_read(tmp_path):
    """Fails if the ASCII encoding is not read, an XDMF file has to have the name of its HDF5 file, or a link to a file
    elsewhere does not find it."""
    corners = [np.array([0.0, 0.0]), np.array([1.0, 2.0])]
    mesh = dolfinx.mesh.create_rectangle(MPI.COMM_SELF, corners, [2, 3], dolfinx.mesh.CellType.quadrilateral)
    (tmp_path / "elsewhere").mkdir()
    for name, encoding in (("a.xdmf", dio.XDMFFile.Encoding.ASCII), ("h.xdmf", dio.XDMFFile.Encoding.HDF5)):
        with dio.XDMFFile(mesh.comm, tmp_path / name, "w", encoding=encoding) as file:
            file.write_mesh(mesh)
            file.write_meshtags(dolfinx.mesh.meshtags(mesh, 2, np.arange(3, dtype=np.int32), 4), mesh.geometry)
    shutil.copy(tmp_path / "h.xdmf", tmp_path / "renamed.xdmf")
    (tmp_path / "elsewhere" / "link.xdmf").symlink_to(tmp_path / "h.xdmf")
    for name in ("a.xdmf", "h.xdmf", "renamed.xdmf", "elsewhere/link.xdmf"):
        assert moment(read(tmp_path / name)) == pytest.approx(ALL, rel=1e-13)
    shutil.move(tmp_path / "h.h5", tmp_path / "renamed.h5")
    with pytest.raises(InvalidInput, match=r"keeps its numbers in .*h\.h5, which is not there; if that is renamed\.h5"):
        read(tmp_path / "renamed.xdmf")


@pytest.mark.parametrize("cut", [100, 3000])
def test_broken_hdf5(tmp_path, capfd, cut):
    """Fails if a broken HDF5 file ends in a traceback, or in HDF5's own stack of errors on the terminal."""
    mesh = dolfinx.mesh.create_unit_square(MPI.COMM_SELF, 2, 2)
    with dio.XDMFFile(mesh.comm, tmp_path / "h.xdmf", "w") as file:
        file.write_mesh(mesh)
    (tmp_path / "h.h5").write_bytes((tmp_path / "h.h5").read_bytes()[:cut])
    with pytest.raises(InvalidInput, match=r"h\.xdmf: .*h\.h5 cannot be read at '/Mesh/mesh/topology'"):
        read(tmp_path / "h.xdmf")
    assert capfd.readouterr().err == ""


def test_order_of_the_nodes_of_curved_cells(tmp_path):
    """Fails if the nodes of quadratic cells come from HDF5 in another order than they went there."""
    nodes = np.array([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.6, 0.7), (-0.1, 0.5), (0.5, 0.05)])  # opposite 0, 1, 2
    element = basix.ufl.element("Lagrange", "triangle", 2, basix.LagrangeVariant.equispaced, shape=(2,))
    mesh = dolfinx.mesh.create_mesh(MPI.COMM_SELF, np.arange(6)[None], element, nodes)
    with dio.XDMFFile(mesh.comm, tmp_path / "m.xdmf", "w") as file:
        file.write_mesh(mesh)
    here = moment(Domain(mesh=mesh, name="here", bounds=(nodes.min(axis=0), nodes.max(axis=0))))
    assert moment(read(tmp_path / "m.xdmf")) == pytest.approx(here, rel=1e-13) and here > 0.2


def test_bytes_in_the_other_order(tmp_path):
    """Fails if the numbers of a machine with the other order of bytes are read in this one's."""
    swapped = np.frombuffer(raw_numbers(TWO_SQUARES), dtype="<i8").byteswap().tobytes()
    path = save(tmp_path, "raw.xdmf", FILES["raw.xdmf"].replace(b"Little", b"Big"))
    save(tmp_path, "raw.bin", swapped)
    assert moment(read(path)) == pytest.approx(ALL)


COMPRESSED = (
    "c-rgqaB<`1lHy|G;9!7(|4@)B4&fU>#m%N}X7~4S31VWXU=l)B2m@S942%p6Y=R6ximf0&Gq0q0GgL2|07#HEIW;Gzn41SGsLwzun7YWuAM6B1"
    "21Z5|1_mZ3Mn)E>921mA=QE2iFbXQzGeA7(z+l47VDg`tfq@n1T4rvbV;F&kFn}N@P@V(mX=Wzo{fr31Kn8&|cQXtokSH`OJtWB0736aCm=GbL"
    "_d7Q#A3e-C7)HS;7zLwX6pVsVFbYP&Z~_&#k`oTF+1+^jz<PmZ2?ImOKBoKV?P_@Y8NEFXqk%1F0S*RuyBcqMTAUYQ2s5mKIeAcq&32#89k|-n"
    "Vg&U1i=*<<!)&x&Jqkv_C>RB!U=)mkQ84`4)eQ`88fT9*a3$2FX#iWj7Z^AJi*04i"
)
"""An HDF5 file of h5py with two triangles on (0, 1) × (0, 2), /cells and /points, both with compression="gzip"."""


def test_compressed_numbers(tmp_path, capfd):
    """Fails if an HDF5 file as meshio writes it by default, where HDF5 was built without compression, is called
    unreadable without the reason."""
    (tmp_path / "m.h5").write_bytes(zlib.decompress(base64.b85decode(COMPRESSED)))
    item = '<DataItem Dimensions="{}" Format="HDF">m.h5:/{}</DataItem>'.format
    (tmp_path / "m.xdmf").write_text(
        '<Xdmf Version="3.0"><Domain><Grid Name="Grid">'
        f'<Geometry GeometryType="XY">{item("4 2", "points")}</Geometry>'
        f'<Topology TopologyType="Triangle" NumberOfElements="2">{item("2 3", "cells")}</Topology>'
        "</Grid></Domain></Xdmf>"
    )
    try:
        assert moment(read(tmp_path / "m.xdmf")) == pytest.approx(ALL)
    except InvalidInput as error:
        assert "its numbers are compressed, which" in str(error) and "compression=None" in str(error)
    assert capfd.readouterr().err == ""


def test_numbers_beside_an_xdmf_file_belong_to_a_run(tmp_path):
    """Fails if a run takes a mesh for its own whose points, in the file beside the XML, are others."""
    case = parse_case({"domain": {"file": str(save(tmp_path, "raw.xdmf"))}})
    before = problem_key(case, MPI.COMM_SELF, ("domain",))
    assert problem_key(case, MPI.COMM_SELF, ("domain",)) == before
    points = tuple((x, 3 * y, z) for x, y, z in TWO_SQUARES.points)
    save(tmp_path, "raw.bin", raw_numbers(replace(TWO_SQUARES, points=points)))
    assert problem_key(case, MPI.COMM_SELF, ("domain",)) != before


# ── cells that make no mesh ───────────────────────────────────────────────────────────────────────────────────────────


def flat(*points: tuple[float, float], kind: int, cells: list[tuple[int, ...]]) -> Sketch:
    """Cells in the plane."""
    return Sketch(tuple((*point, 0.0) for point in points), (Part(2, 1, kind, (), tuple(cells)),))


SQUARE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
NO_MESHES = {
    "a node twice": (
        flat(*SQUARE, kind=2, cells=[(1, 2, 3), (1, 3, 3)]),
        r"degenerate cell 2 \(\(0, 0\), \(1, 1\), \(1, 1\)\): the scaled Jacobian is down to 0\.0e\+00",
    ),
    "no height": (
        flat(*SQUARE, (0.5, -1e-13), kind=2, cells=[(1, 2, 3), (1, 3, 4), (1, 2, 5)]),
        r"degenerate cell 3 \(\(0, 0\), \(1, 0\), \(0\.5, -1e-13\)\): the scaled Jacobian is down to [12]\.\de-13",
    ),
    "far away": (
        flat(*((1e16 + 4 * x, 4 * y) for x, y in SQUARE), kind=2, cells=[(1, 2, 3), (1, 3, 4)]),
        r"2 degenerate cells, .*: at their distance from the origin, the coordinates cannot resolve them",
    ),
    "a bow tie": (
        flat(*SQUARE, kind=3, cells=[(1, 3, 2, 4)]),
        r"folded cell 1 .*: the Jacobian changes its sign in them: do edges cross",
    ),
    "a corner inwards": (
        flat((0.0, 0.0), (1.0, 0.0), (0.2, 0.2), (0.0, 1.0), kind=3, cells=[(1, 2, 3, 4)]),
        "folded cell 1",
    ),
    "a straight corner": (
        flat((0.0, 0.0), (1.0, 0.0), (0.5, 0.5), (0.0, 1.0), kind=3, cells=[(1, 2, 3, 4)]),
        "degenerate cell 1",
    ),
    "an inverted triangle": (
        flat(*SQUARE, (1.2, 0.9), kind=2, cells=[(1, 2, 5), (2, 3, 5), (3, 4, 5), (4, 1, 5)]),
        r"neighbours overlap, both on one side of their common facet: cells 1 and 2, 2 and 3",
    ),
    "three at an edge": (
        flat(*SQUARE, (0.8, 0.9), kind=2, cells=[(1, 2, 3), (1, 2, 4), (1, 2, 5)]),
        "neighbours overlap",
    ),
    "a folded curve": (
        flat(
            (0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.5, 0.6), (0.5, 0.5), (0.0, 0.5), kind=9, cells=[(1, 2, 3, 4, 5, 6)]
        ),
        "folded cell 1",
    ),
}


@pytest.mark.parametrize("fault", NO_MESHES)
@pytest.mark.parametrize("ending", ["msh", "xdmf"])
def test_cells_that_make_no_mesh(tmp_path, fault, ending):
    """Fails if such cells are accepted, or refused without their numbers in the file and their coordinates."""
    sketch, message = NO_MESHES[fault]
    if ending == "xdmf":  # cells are counted from 0
        message = r"no mesh \(cells and nodes are counted from 0\): "
    path = save(tmp_path, f"m.{ending}", xdmf(sketch) if ending == "xdmf" else msh41(sketch))
    with pytest.raises(InvalidInput, match=message):
        read(path)


@pytest.mark.parametrize("fault", ["a bow tie", "a corner inwards"])
def test_folded_cells_of_surfaces(tmp_path, fault):
    """Fails if a quadrilateral whose edges cross is taken for a mesh because it lies in no coordinate plane."""
    sketch, _ = NO_MESHES[fault]
    points = tuple((x, y, x + 2 * y) for x, y, _ in sketch.points)
    with pytest.raises(InvalidInput, match="folded cell 1"):
        read(save(tmp_path, "m.msh", msh41(replace(sketch, points=points))))


def test_all_faults_at_once(tmp_path):
    """Fails if the first bad cell hides the others."""
    sketch = flat(*SQUARE, kind=3, cells=[(1, 3, 2, 4), (1, 2, 3, 3), (1, 1, 1, 1), (2, 2, 2, 2), (3, 3, 3, 3)])
    with pytest.raises(InvalidInput, match=r"4 degenerate cells, 2 \(.*, 3 \(.*, 4 \(.* and 1 more: .*; folded cell 1"):
        read(save(tmp_path, "m.msh", msh41(sketch)))


def test_nodes_that_are_not_finite(tmp_path):
    """Fails if NaN or infinity gets into a mesh, the node is not named, or a node in no cell is refused for it."""
    for value in (np.nan, np.inf):
        points = [*TWO_SQUARES.points]
        points[6] = (value, 0.5, 0.0)
        sketch = replace(TWO_SQUARES, points=tuple(points))
        for name, data in (("m.msh", msh22(sketch)), ("m.msh", msh41(sketch, binary=True)), ("m.xdmf", xdmf(sketch))):
            node = 6 if name == "m.xdmf" else 7
            with pytest.raises(InvalidInput, match=rf"m\..* has points that are not finite: {node} at \({value}, 0.5"):
                read(save(tmp_path, name, data))
        unused = replace(TWO_SQUARES, points=(*TWO_SQUARES.points, (value, 0.0, 9.0)))
        for name, data in (("m.msh", msh41(unused)), ("m.xdmf", xdmf(unused))):
            domain = read(save(tmp_path, name, data))
            assert (domain.dimension, moment(domain)) == (2, pytest.approx(ALL))
            np.testing.assert_array_equal(domain.bounds, [[0.0, 0.0], [1.0, 2.0]])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"3 4 7", b"3 4 70", "cell 4 has the node 70, which the file does not have"),
        (b"\n2 2 2 4\n", b"\n2 2 2 5\n", "ends too early, or its counts are wrong"),
        (b"\n2 2 2 4\n", b"\n2 2 2 3\n", r"section \$Elements goes on after"),
        (b"\n2 2 2 4\n", b"\n2 2 999 4\n", "cells of gmsh's type 999"),
        (b"0.5 1.5", b"0.5 1.5e", r"section \$Nodes has something else than numbers"),
        (b"4.1 0 8", b"3.0 0 8", "it has version 3 of the format"),
        (b"$EndElements", b"", r"ends within the section \$Elements"),
        (b"Nodes", b"Knots", r"no section \$Nodes"),
    ],
)
def test_faults_of_text(tmp_path, old, new, message):
    """Fails if a count that is wrong drops cells, or a wrong word is not reported."""
    data = FILES["two_41.msh"].replace(old, new)
    with pytest.raises(InvalidInput, match=message):
        read(save(tmp_path, "m.msh", data))


def test_words_of_unusable_files(tmp_path):
    """Fails if nothing follows the colon for an empty file, or incomplete quadratic cells are asked for quadratic
    edges, which they have."""
    with pytest.raises(InvalidInput, match=r"empty\.msh .*: it is empty"):
        read(save(tmp_path, "empty.msh", b""))
    for data in (b"$MeshFormat 4.1 0 8", FILES["two_41.msh"].replace(b"\n", b"\r")):
        with pytest.raises(InvalidInput, match=r"it has no section \$MeshFormat"):
            read(save(tmp_path, "one_line.msh", data))
    with pytest.raises(InvalidInput, match=r"empty\.xdmf is no XDMF file: it is empty"):
        read(save(tmp_path, "empty.xdmf", b""))
    eight = flat(*SQUARE, (0.5, 0.0), (1.0, 0.5), (0.5, 1.0), (0.0, 0.5), kind=16, cells=[(1, 2, 3, 4, 5, 6, 7, 8)])
    with pytest.raises(InvalidInput, match=r"1 of type quad8, .*Mesh\.SecondOrderIncomplete = 0") as error:
        read(save(tmp_path, "eight.msh", msh41(eight)))
    assert "quadratic edges" not in str(error.value)
    saved = replace(TWO_SQUARES, parts=tuple(replace(part, groups=()) for part in TWO_SQUARES.parts))
    with pytest.raises(InvalidInput, match=r"no cell belongs to one .*save it as MSH 4\.1"):
        read(save(tmp_path, "saved.msh", msh22(saved)), "lower")
    with pytest.raises(InvalidInput, match=r"no group 'top'; it has no named groups, only the tags 1, 2"):
        read(save(tmp_path, "tags.msh", msh41(replace(TWO_SQUARES, names=()))), "top")


# ── what is warned of ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_slivers_are_warned_of(tmp_path, recwarn):
    """Fails if a cell of which half of the digits are lost gets no word, or a thin one that is usual gets one."""
    for height, doubted in ((1e-6, True), (1e-3, False)):
        assert doubted == (2 * height < DOUBTFUL) and height > SMALLEST
        sketch = flat(*SQUARE, (0.5, -height), kind=2, cells=[(1, 2, 3), (1, 3, 4), (1, 2, 5)])
        recwarn.clear()
        domain = read(save(tmp_path, "m.msh", msh41(sketch)))
        assert (
            bool(domain.doubts)
            == doubted
            == ("nearly degenerate cell 3 ((0, 0), (1, 0), (0.5, -1e-06))" in told(recwarn))
        )


@pytest.mark.parametrize("away", [0.0, 1e3])
def test_thin_cells_with_right_angles_are_sound(tmp_path, recwarn, away):
    """Fails if a boundary layer in the plane, where no digits are lost and gradients converge, is doubted, or the same
    triangles on a surface are not, where they lose the digits."""
    corners = np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 1e-4), (0.0, 1e-4)]) + away
    sketch = flat(*map(tuple, corners), kind=2, cells=[(1, 2, 3), (1, 3, 4)])
    assert read(save(tmp_path, "m.msh", msh41(sketch))).doubts == () and told(recwarn) == ""
    lifted = replace(sketch, points=tuple((x, y, x - away) for x, y, _ in sketch.points))
    assert (
        "in gradients on curves and surfaces half of the digits"
        in read(save(tmp_path, "m.msh", msh41(lifted))).doubts[0]
    )


@pytest.mark.parametrize("cell", ["interval", "triangle", "quadrilateral", "tetrahedron", "hexahedron"])
def test_rounding_errors_of_cells(cell):
    """Fails if the relative error of a thin cell's measure is not that of its smallest height, as rounding far from the
    origin shows: a cell is refused of which much is known, or accepted of which nothing is."""
    element = basix.ufl.element("Lagrange", cell, 1, basix.LagrangeVariant.equispaced)
    reference, rng = np.asarray(basix.geometry(element.cell_type)), np.random.default_rng(0)
    d = reference.shape[1]
    slopes = element.tabulate(1, reference.mean(axis=0)[None])[1:, 0]
    for thin in (1.0, 1e-4):
        errors = []
        for _ in range(200):
            rotation, _ = np.linalg.qr(rng.normal(size=(d, d)))
            exact = (reference * np.append(np.ones(d - 1), thin)) @ rotation * rng.uniform(0.8, 0.9)
            away = exact + 2.0**14
            found = np.linalg.det(slopes @ (away - 2.0**14)) / np.linalg.det(slopes @ exact)  # subtraction is exact
            errors.append(abs(found - 1))
        said = judge_shapes(element, np.arange(len(away))[None], away).error[0]
        assert max(errors) < said < 30 * max(errors)


def unmerged(distance: float = 0.0) -> Sketch:
    """Two squares of two triangles each that have their own nodes at the common side."""
    points = (*SQUARE, (1.0 + distance, 0.0), (2.0, 0.0), (2.0, 1.0), (1.0 + distance, 1.0))
    return flat(*points, kind=2, cells=[(1, 2, 3), (1, 3, 4), (5, 6, 7), (5, 7, 8)])


def test_nodes_that_are_not_merged(tmp_path, recwarn):
    """Fails if coinciding nodes are not named, or nodes are taken for one that are apart."""
    for distance, doubted in ((0.0, True), (1e-12, True), (1e-6, False)):
        domain = read(save(tmp_path, "m.msh", msh41(unmerged(distance))))
        assert domain.pieces == 2
        assert [
            d for d in domain.doubts if "nodes coincide, but are not one: 2 and 5 at (1, 0)" in d
        ] != [] or not doubted
        assert bool(domain.doubts) == doubted
    points = [(1e6 + 1e-3 * x, 1e-3 * y, z) for x, y, z in unmerged().points]
    for k in (4, 7):  # the last bit of the coordinate, more than √ε of an edge
        points[k] = (float(np.nextafter(points[k][0], np.inf)), *points[k][1:])
    domain = read(save(tmp_path, "m.msh", msh41(replace(unmerged(), points=tuple(points)))))
    assert any("nodes coincide, but are not one: 2 and 5" in doubt for doubt in domain.doubts)


def test_pieces_matter_to_local_kernels(tmp_path, recwarn):
    """Fails if a local kernel on a mesh of two pieces gets no word, or a dense one gets it."""
    space = fs.StateSpace(read(save(tmp_path, "m.msh", msh41(unmerged(0.1)))))
    fs.DenseKernel(space, 1)
    fs.LocalKernel(space, 1, ("multiplication",))
    assert told(recwarn) == ""
    fs.LocalKernel(space, 1)
    assert "4 triangle cells: 2 parts share no node" in told(recwarn)


def test_three_cells_at_an_edge_of_a_surface(tmp_path):
    """Fails if a surface that branches is refused or loses a cell, or gets no word."""
    points = ((0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    sketch = Sketch(points, (Part(2, 1, 2, (), ((1, 2, 3), (1, 2, 4), (1, 2, 5))),))
    domain = read(save(tmp_path, "m.msh", msh41(sketch)))
    assert domain.dimension == 3 and moment(domain) == pytest.approx(0.5)
    assert domain.doubts == ("up to 3 cells meet at one facet; a local kernel couples them all there",)


@pytest.mark.parametrize(
    ("z", "dimension", "word"),
    [
        (1e-17, 2, None),
        (1e-10, 3, r"z is .* everywhere up to 1\.0e-10; the mesh counts as a surface in R\^3"),
        (1e-3, 3, None),
    ],
)
def test_noise_in_the_third_coordinate(tmp_path, z, dimension, word, recwarn):
    """Fails if rounding errors make a surface of a plane mesh, or a nearly plane one is a surface without a word."""
    points = tuple((x, y, z * (k % 2)) for k, (x, y, _) in enumerate(TWO_SQUARES.points))
    path = save(tmp_path, "m.msh", msh41(replace(TWO_SQUARES, points=points)))
    domain = read(path)
    assert domain.dimension == describe(path).dimension == dimension
    assert (word is None and domain.doubts == ()) or told(recwarn).count("surface in R^3") == 1
    flat_points = tuple((x, y, 0.25) for x, y, _ in TWO_SQUARES.points)
    path = save(tmp_path, "m.xdmf", xdmf(replace(TWO_SQUARES, points=flat_points), columns=3))
    doubt = read(path).doubts[0]
    assert "z is 0.25 everywhere; the mesh counts as a surface in R^3" in doubt and doubt.endswith("leave z out")


# ── meshes and shapes that no file made ───────────────────────────────────────────────────────────────────────────────


def test_a_mesh_of_the_user_is_examined(recwarn):
    """Fails if `from_mesh` takes a mesh in single precision, cells that are not supported, a moved node that makes
    cells degenerate or overlap, NaN, or an object that is no mesh."""
    with pytest.raises(InvalidInput, match=r"m has coordinates of type float32: give it dtype=numpy\.float64"):
        from_mesh(dolfinx.mesh.create_unit_square(MPI.COMM_SELF, 2, 2, dtype=np.float32), "m")
    with pytest.raises(InvalidInput, match="expected a mesh of dolfinx, got an object of type str"):
        from_mesh("m.msh")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="m has prism cells; supported are interval"):
        from_mesh(dolfinx.mesh.create_unit_cube(MPI.COMM_SELF, 1, 1, 1, dolfinx.mesh.CellType.prism), "m")
    element = fem.coordinate_element(dolfinx.mesh.CellType.triangle, 1)
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    with pytest.raises(InvalidInput, match="a mesh that was made with an element of UFL"):
        from_mesh(dolfinx.mesh.create_mesh(MPI.COMM_SELF, np.array([[0, 1, 2]]), element, corners))
    for place, message in (
        ((1.0, 0.5), "m has cells that make no mesh .*2 degenerate cells"),
        ((np.nan, 0.5), "coordinates are not finite in 6 cells"),
        ((1.4, 0.5), "neighbours overlap"),
    ):
        mesh = dolfinx.mesh.create_unit_square(MPI.COMM_SELF, 2, 2)
        middle = np.argmin(np.abs(mesh.geometry.x[:, :2] - 0.5).sum(axis=1))
        mesh.geometry.x[middle, :2] = place
        with pytest.raises(InvalidInput, match=message):
            from_mesh(mesh, "m")
    assert told(recwarn) == ""


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("cell", ["triangle", "quadrilateral", "tetrahedron", "hexahedron"])
def test_curved_meshes_are_meshes(cell, degree, recwarn):
    """Fails if cells of higher degree, whose nodes are moved by a smooth map, are taken for folded ones."""
    kind = dolfinx.mesh.to_type(cell)
    create, d = (dolfinx.mesh.create_unit_square, 2) if cell in ("triangle", "quadrilateral") else (None, 3)
    square = (
        create(MPI.COMM_SELF, 2, 2, kind) if create else dolfinx.mesh.create_unit_cube(MPI.COMM_SELF, 2, 2, 2, kind)
    )
    V = fem.functionspace(square, ("Lagrange", degree, (d,)))
    x = fem.Function(V)
    x.interpolate(lambda y: y[:d] + 0.05 * np.sin(3 * y[:d][::-1]))
    element = basix.ufl.element("Lagrange", cell, degree, basix.LagrangeVariant.gll_warped, shape=(d,))
    nodes = x.x.array.reshape(-1, d)
    mesh = dolfinx.mesh.create_mesh(MPI.COMM_SELF, V.dofmap.list.astype(np.int64), element, nodes)
    assert from_mesh(mesh).pieces == 1 and told(recwarn) == ""
    mesh.geometry.x[:, 0] *= 1e-9 if cell in ("triangle", "tetrahedron") else 0.0
    with pytest.raises(InvalidInput, match="degenerate cells"):
        from_mesh(mesh)


def test_shapes_that_cannot_be_resolved(recwarn):
    """Fails if cells below rounding are made, or cells of half the digits without a word."""
    with pytest.raises(InvalidInput, match="no larger than the rounding errors"):
        fs.interval(MPI.COMM_SELF, 8, lower=1e16, upper=1e16 + 8)
    with pytest.raises(InvalidInput, match="no larger than the rounding errors"):
        fs.rectangle(MPI.COMM_SELF, (9, 9), grading=1e-17)
    with pytest.raises(InvalidInput, match="upper must be above lower"):
        fs.interval(MPI.COMM_SELF, 8, lower=1.0, upper=1.0)
    with pytest.raises(InvalidInput, match="a box needs 3 finite numbers as upper"):
        fs.box(MPI.COMM_SELF, (1, 1, 1), upper=(1.0, 1.0, np.inf))
    domain = fs.interval(MPI.COMM_SELF, 10, lower=1e8, upper=1e8 + 1)
    assert "relative errors up to 4.4e-07" in domain.doubts[0] and domain.doubts[0] in told(recwarn)
    assert fs.rectangle(MPI.COMM_SELF, (3, 3), upper=(1.0, 1e-9)).doubts == ()
