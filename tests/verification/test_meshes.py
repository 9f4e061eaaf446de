# SPDX-License-Identifier: MIT
"""Mesh files: what is read of them, what is refused, and every part of the package on each mesh that is shipped."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import meshio
import numpy as np
import pytest
from commands import read_report
from dolfinx import io as dio
from mpi4py import MPI
from problems import KERNELS, make_problem

from fem_selection.config import dump_case, parse_case
from fem_selection.discretization.meshes.domains import Domain, rectangle
from fem_selection.discretization.meshes.mesh_files import describe
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import ConfigError, InvalidInput
from fem_selection.io.triangles import gather_triangles
from fem_selection.learning import verify_gradient
from fem_selection.learning.hessian import Hessian

MESHES = Path(__file__).parents[2] / "meshes"
SIZES = {  # of each group in closed form, and the relative error allowed: that of curved or of straight cells
    "disk": ({"core": np.pi / 4, "ring": 3 * np.pi / 4}, 3e-4),
    "l_shape": ({"l_shape": 3.0}, 1e-12),
    "annulus": ({"right": 3 * np.pi / 8, "left": 3 * np.pi / 8}, 1e-4),
    "graded_interval": ({"interval": 1.0}, 1e-12),
    "ball": ({"upper": 2 * np.pi / 3, "lower": 2 * np.pi / 3}, 0.08),
    "torus": ({"torus": 4 * np.pi**2 * 0.4}, 3e-4),
}


def from_file(name: str, group: str | None = None) -> Domain:
    """A mesh that is shipped, on this process."""
    return Domain.from_file(MPI.COMM_SELF, MESHES / f"{name}.msh", group)


def size_of(domain: Domain) -> float:
    """Length, area or volume of a domain."""
    space = StateSpace(domain, 1, mode="galerkin")
    one = np.ones((space.num_local, 1), order="F")
    return float(space.inner(one, one)[0])


# ── what is read ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", SIZES)
def test_sizes_of_groups(name):
    """Fails if nodes of a cell come in a wrong order, curved edges are cut straight, or a group has other cells."""
    groups, error = SIZES[name]
    assert size_of(from_file(name)) == pytest.approx(sum(groups.values()), rel=error)
    for group, size in groups.items():
        assert size_of(from_file(name, group)) == pytest.approx(size, rel=error)
    whole = from_file(name)
    assert set(whole.groups) == set(groups)
    cells = whole.mesh.topology.index_map(whole.mesh.topology.dim).size_local
    assert sum(len(members) for members in whole.groups.values()) == cells


def test_dimensions_of_domains_from_files():
    """Fails if the third coordinate of plane meshes is kept, or that of a surface dropped."""
    found = {name: from_file(name) for name in SIZES}
    assert {n: d.dimension for n, d in found.items()} == {
        "disk": 2, "l_shape": 2, "annulus": 2, "graded_interval": 1, "ball": 3, "torus": 3
    }  # fmt: skip
    assert [n for n, d in found.items() if d.mesh.topology.dim < d.dimension] == ["torus"]
    for name, domain in found.items():
        assert describe(MESHES / f"{name}.msh").cell == domain.cell


@pytest.mark.parametrize(
    ("kind", "cell", "size"),
    [("tetra10", "tetrahedron", 1 / 6), ("hexahedron27", "hexahedron", 1.0), ("quad9", "quadrilateral", 1.0)],
)
def test_quadratic_cells_have_their_size(tmp_path, kind, cell, size):
    """One cell with all its nodes, written by meshio; fails if the order of edge and face nodes is another."""
    points = reference_nodes(kind)
    meshio.Mesh(points, [(kind, np.arange(len(points))[None])]).write(tmp_path / "one.msh", file_format="gmsh")
    domain = Domain.from_file(MPI.COMM_SELF, tmp_path / "one.msh")
    assert domain.cell == cell and size_of(domain) == pytest.approx(size, rel=1e-12)


def reference_nodes(kind: str) -> np.ndarray:
    """The nodes of a quadratic cell in VTK's order: vertices, middles of edges, of faces, of the cell."""
    if kind == "tetra10":
        v = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=float)
        edges = [(0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3)]
        return np.vstack([v, [0.5 * (v[a] + v[b]) for a, b in edges]])
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=float)
    ring = [(0, 1), (1, 2), (2, 3), (3, 0)]
    if kind == "quad9":
        return np.vstack([square, [0.5 * (square[a] + square[b]) for a, b in ring], square.mean(axis=0)])
    v = np.vstack([square, square + np.array([0, 0, 1])])
    edges = [*ring, *((a + 4, b + 4) for a, b in ring), *((a, a + 4) for a in range(4))]
    faces = [(0, 4, 7, 3), (1, 2, 6, 5), (0, 1, 5, 4), (3, 7, 6, 2), (0, 3, 2, 1), (4, 5, 6, 7)]
    middles = [v[list(face)].mean(axis=0) for face in faces]
    return np.vstack([v, [0.5 * (v[a] + v[b]) for a, b in edges], middles, v.mean(axis=0)])


def test_meshes_from_xdmf(tmp_path):
    """Fails if the grid's name is taken for granted, or a mesh is not what was written."""
    mesh = rectangle(MPI.COMM_SELF, (3, 4), cell="triangle").mesh
    mesh.name = "width"
    with dio.XDMFFile(mesh.comm, tmp_path / "m.xdmf", "w") as file:
        file.write_mesh(mesh)
    domain = Domain.from_file(MPI.COMM_SELF, tmp_path / "m.xdmf")
    assert domain.dimension == 2 and domain.cell == "triangle" and size_of(domain) == pytest.approx(1.0)
    assert domain.name == "m.xdmf, 24 triangle cells"
    with pytest.raises(InvalidInput, match="named groups are read from gmsh files"):
        Domain.from_file(MPI.COMM_SELF, tmp_path / "m.xdmf", "left")
    (tmp_path / "m.h5").unlink()
    with pytest.raises(InvalidInput, match=r"keeps its numbers in .*m\.h5, which is not there"):
        Domain.from_file(MPI.COMM_SELF, tmp_path / "m.xdmf")


# ── what is refused ───────────────────────────────────────────────────────────────────────────────────────────────────


def write(path: Path, cells: list, points: np.ndarray | None = None) -> Path:
    """A mesh file with these cells; the points of a square and one more if none are given."""
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 0, 0]], dtype=float)
    meshio.Mesh(square if points is None else points, cells).write(path, file_format="gmsh22")
    return path


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([("triangle", [[1, 2, 4]]), ("quad", [[0, 1, 2, 3]])], "several types, 1 of type triangle, 1 of type quad"),
        ([("vertex", [[0]])], "no cells that make a domain .* it has 1 of type vertex, it has no named groups"),
        ([("wedge", [[0, 1, 2, 3, 4, 1]])], "no cells that make a domain .* 1 of type wedge"),
    ],
)
def test_cells_that_make_no_domain(tmp_path, cells, message):
    """Fails if cells of several types, points or prisms make a mesh, or are refused without saying what the file
    holds."""
    with pytest.raises(InvalidInput, match=message):
        Domain.from_file(MPI.COMM_SELF, write(tmp_path / "m.msh", cells))


def test_faults_of_files(tmp_path):
    """Fails if any of these ends in a traceback or in a mesh."""
    nan = np.array([[0, 0, 0], [1, 0, 0], [np.nan, 1, 0]])
    with pytest.raises(InvalidInput, match="points that are not finite"):
        Domain.from_file(MPI.COMM_SELF, write(tmp_path / "nan.msh", [("triangle", [[0, 1, 2]])], nan))
    with pytest.raises(InvalidInput, match=r"no group 'rim'; its groups are 'core' \(dimension 2\), 'ring'"):
        from_file("disk", "rim")
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        Domain.from_file(MPI.COMM_SELF, tmp_path / "none.msh")
    with pytest.raises(InvalidInput, match=r"not from '\.stl'"):
        shutil.copy(MESHES / "disk.msh", tmp_path / "disk.stl")
        Domain.from_file(MPI.COMM_SELF, tmp_path / "disk.stl")
    text = (MESHES / "disk.msh").read_bytes()
    for part in (0, len(text) // 3, len(text) - 200):
        (tmp_path / "cut.msh").write_bytes(text[:part])
        with pytest.raises(InvalidInput, match=r"cut\.msh"):
            Domain.from_file(MPI.COMM_SELF, tmp_path / "cut.msh")
    (tmp_path / "bad.xdmf").write_text("<Xdmf><Domain></Xdmf>")
    with pytest.raises(InvalidInput, match="no XDMF file"):
        Domain.from_file(MPI.COMM_SELF, tmp_path / "bad.xdmf")
    (tmp_path / "empty.xdmf").write_text("<Xdmf><Domain></Domain></Xdmf>")
    with pytest.raises(InvalidInput, match="no grid with cells and points"):
        Domain.from_file(MPI.COMM_SELF, tmp_path / "empty.xdmf")


# ── every part on each ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("representation", "mode"),
    [
        *((r, "collocated") for r in KERNELS),
        *(pytest.param(r, "galerkin", marks=[] if r == "dense" else pytest.mark.slow) for r in KERNELS),
    ],
)
@pytest.mark.parametrize("name", SIZES)
def test_derivatives_on_every_mesh(name, representation, mode):
    """Fails if an integral on curved cells or a surface is differentiated as something else than what is computed."""
    space = StateSpace(from_file(name), 1, mode=mode)
    problem = make_problem(space, kernel=KERNELS[representation](space, 2), scheme="heun", layers=2, samples=2)
    J, x = problem.functional, problem.moved()
    found = verify_gradient(J, x)
    assert found.taylor_order == pytest.approx(2.0, abs=0.05)
    assert found.adjoint_identity_error <= 1e-12
    hessian, h, k = Hessian(J), problem.control_space.random_direction(3), problem.control_space.random_direction(4)
    hessian.linearize(x)
    a, b = problem.control_space.inner(hessian.apply(h), k), problem.control_space.inner(hessian.apply(k), h)
    assert a == pytest.approx(b, rel=1e-9)


@pytest.mark.parametrize("name", ["disk", "annulus", "l_shape", "torus"])
def test_pictures_cover_the_mesh(name):
    """Fails if triangles of a picture overlap, leave a cell out, or are named by other nodes."""
    space = StateSpace(from_file(name), 1)
    triangles = gather_triangles(space)
    y = space.gather(space.coordinates)[triangles]
    sides = np.zeros((len(triangles), 2, 3))
    sides[..., : y.shape[2]] = y[:, 1:] - y[:, :1]
    area = 0.5 * np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1).sum()
    assert area == pytest.approx(sum(SIZES[name][0].values()), rel=0.12)  # of flat triangles
    assert len(np.unique(np.sort(triangles, axis=1), axis=0)) == len(triangles)
    assert gather_triangles(StateSpace(from_file(name), 0, "dg")) is None


CASE = """
[domain]
file = "mesh.msh"
[dynamics]
activation = "tanh"
layers = 3
kernel = "-exp(-(y0 - z0)**2)"
bias = "0.3*y0"
[data]
source = "formula"
samples = 2
initial = "cos(y0 + s)"
target = "0.5*cos(2*y0 + s)"
[objective]
loss = "tracking"
[regularization]
kernel = 1e-2
bias = 1e-2
[optimizer]
max_iterations = 3
[forward]
until = 2.0
times = 5
[steady]
starts = 1
horizon = 10.0
[stability]
state = "0"
number = 2
exponents = 1
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_every_command_on_every_mesh(name, tmp_path, monkeypatch, call):
    """Every command on each mesh, with figures and fields, but `hjb`, which three cells at most allow; fails if one of
    them takes a mesh for an interval, a rectangle or a box."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(MESHES / f"{name}.msh", tmp_path / "mesh.msh")
    (tmp_path / "case.toml").write_text(CASE)

    def run(*words: str) -> str:
        outcome = call(*words)
        assert outcome.status == 0, outcome.err
        return outcome.out

    run("train", "case.toml", "--output", "run")
    run("train", "case.toml", "--output", "run", "--resume", "--set", "optimizer.max_iterations=5")
    run("certify", "run")
    assert "Taylor" in run("verify", "case.toml")
    run("stability", "run")
    if name != "torus":  # no picture covers a surface
        pixels = (5,) * from_file(name).dimension
        np.savez(tmp_path / "new.npz", x=np.random.default_rng(0).random((3, *pixels)))
        assert "3 predictions" in run("predict", "run", "--data", "new.npz")
    run("forward", "case.toml", "--output", "forward")
    run("steady", "case.toml", "--output", "steady")
    run("stability", "case.toml", "--output", "stability", "--set", "dynamics.bias=0")
    report = read_report(tmp_path / "run")
    assert report["domain"].startswith("mesh.msh, ") and report["iterations"] == 5
    assert read_report(tmp_path / "stability")["error_bars"]
    for folder in ("run", "forward", "steady", "stability"):
        assert list((tmp_path / folder / "figures").glob("*.png"))


def test_keys_of_a_mesh(tmp_path):
    """Fails if a fault of the file is not told by its key, or a shape beside a file is passed over."""
    file = str(MESHES / "disk.msh")
    case = parse_case({"domain": {"file": file, "group": "core"}})
    assert (case.domain.dimension, case.domain.cell, case.domain.shape) == (2, "triangle", "mesh")
    assert parse_case(tomllib.loads(dump_case(case))) == case
    for domain, message in [
        ({"file": file, "group": "rim"}, "domain.file: .* has no group 'rim'"),
        ({"file": file, "cells": 3, "shape": "box"}, "domain.cells: the mesh is that of domain.file"),
        ({"group": "core"}, "domain.group: names cells of a mesh file"),
        ({"file": str(tmp_path / "none.msh")}, r"domain.file: .*none\.msh cannot be read"),
    ]:
        with pytest.raises(ConfigError, match=message):
            parse_case({"domain": domain})
    with pytest.raises(ConfigError, match=r"data\.source: 'digits' are images and need"):
        parse_case({"domain": {"file": str(MESHES / "torus.msh")}})
    with pytest.raises(ConfigError, match=r"space\.mode: .* or space\.degree = 1"):
        parse_case({"domain": {"file": file}, "space": {"degree": 2}})
