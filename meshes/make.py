# SPDX-License-Identifier: MIT
"""Regenerate the meshes of this folder from their gmsh sources, and the picture of each.

    uv run --group meshes python meshes/make.py

Each `.geo` file becomes a `.msh` file (format 4.1, text) and a `pictures/NAME.png`.  Gmsh's wheel needs the usual
libraries of a desktop (libGLU, libXrender, libXcursor, libXft, libXinerama); the meshes themselves do not.
"""

from __future__ import annotations

from pathlib import Path

import gmsh
import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from fem_selection.discretization.meshes.mesh_files import read_gmsh

HERE = Path(__file__).resolve().parent
EDGES = {
    "interval": [[0, 1]],
    "triangle": [[0, 1], [1, 2], [2, 0]],
    "quadrilateral": [[0, 1], [1, 2], [2, 3], [3, 0]],
}


def make(source: Path) -> None:
    """One mesh: every named group of highest dimension is saved, and nothing else."""
    gmsh.initialize(["gmsh", "-v", "1"])
    gmsh.option.setNumber("General.NumThreads", 1)  # the same mesh at every run
    gmsh.open(str(source))
    gmsh.option.setNumber("Mesh.MshFileVersion", 4.1)
    gmsh.model.mesh.generate(gmsh.model.getDimension())
    gmsh.write(str(source.with_suffix(".msh")))
    gmsh.finalize()


def draw(path: Path) -> None:
    """The edges of a mesh, in three dimensions its visible faces, coloured by the group that their cell belongs to."""
    mesh = read_gmsh(path)
    d = mesh.points.shape[1]
    figure = plt.figure(figsize=(2.2, 0.5 if d == 1 else 2.2))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), projection="3d" if d == 3 else None)
    for k, members in enumerate(mesh.groups.values()):
        cells = mesh.cells[members]
        if d == 3:
            faces = Poly3DCollection(mesh.points[surface(mesh.cell, cells)], edgecolor=f"C{k}", linewidth=0.5)
            faces.set_facecolor("white")
            axes.add_collection3d(faces)
            continue
        lines = mesh.points[np.unique(np.sort(cells[:, EDGES[mesh.cell]].reshape(-1, 2), axis=1), axis=0)]
        if d == 1:
            axes.plot(lines[..., 0].T, np.zeros((2, len(lines))), "|-", color=f"C{k}", linewidth=0.7, markersize=9)
        else:
            axes.plot(*lines.transpose(2, 1, 0), color=f"C{k}", linewidth=0.6)
    axes.set_axis_off()
    if d == 3:
        low, high = mesh.points.min(axis=0), mesh.points.max(axis=0)
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
        axes.set_box_aspect(high - low, zoom=1.3)
        axes.view_init(elev=35, azim=-45)
    elif d == 2:
        axes.set_aspect("equal")
    (HERE / "pictures").mkdir(exist_ok=True)
    figure.savefig(HERE / "pictures" / f"{path.stem}.png", dpi=100)
    plt.close(figure)


def surface(cell: str, cells: np.ndarray) -> np.ndarray:
    """The triangles of a surface, or those faces of tetrahedra that belong to one only."""
    if cell == "triangle":
        return cells[:, :3]
    faces = np.sort(cells[:, [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]].reshape(-1, 3), axis=1)
    unique, counts = np.unique(faces, axis=0, return_counts=True)
    return unique[counts == 1]


def main() -> None:
    """Every source in this folder."""
    for source in sorted(HERE.glob("*.geo")):
        make(source)
        path = source.with_suffix(".msh")
        draw(path)
        mesh = read_gmsh(path)
        groups = ", ".join(f"{name}: {len(cells)}" for name, cells in mesh.groups.items())
        print(f"{path.name}: {len(mesh.points)} points, {len(mesh.cells)} {mesh.cell} cells ({groups})")


if __name__ == "__main__":
    main()
