# SPDX-License-Identifier: MIT
"""One function of y in a two-dimensional picture, from its values at the nodes.

If the nodes form a tensor grid (also a graded one, as Gauss-Lobatto-Legendre nodes do), the values are shaded
bilinearly on this grid.  Otherwise they are shaded linearly on the mesh's triangles or, if these are not given, on
Delaunay's, which also cover holes and bays of a domain.  In three dimensions a surface, whose triangles are given, is
seen obliquely from above; of any other domain the picture shows the plane through the middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import Collection, PolyCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.tri import Triangulation

from fem_selection.errors import InvalidInput

__all__ = [
    "Layout",
    "aspect_ratio",
    "check_coordinates",
    "draw_field",
    "lay_out",
    "sort_nodes",
    "take_slice",
    "tensor_grid",
]

_FACES = 4000  # least number of faces of a surface, so that the single flat faces are not visible
_AZIMUTH, _ELEVATION = np.deg2rad(-50.0), np.deg2rad(35.0)


@dataclass(frozen=True)
class Layout:
    """The places of the nodes in a picture.

    Attributes:
        points: Coordinates in the picture, shape (K, 2).
        triangles: Triangles between the points, shape (num_triangles, 3), the furthest first; None if not known.
        is_surface: Whether nearer triangles hide further ones.
        where: Text to add to labels, such as " at y₃ = 0".
    """

    points: np.ndarray
    triangles: np.ndarray | None = None
    is_surface: bool = False
    where: str = ""


def lay_out(
    coordinates: np.ndarray, values: np.ndarray, triangles: np.ndarray | None = None
) -> tuple[Layout, np.ndarray]:
    """Bring functions of two or three coordinates into a plane.

    Args:
        coordinates: Nodes, shape (N, d), d = 2 or 3.
        values: Functions at the nodes, shape (N, M).
        triangles: Triangles of the mesh, shape (num_triangles, 3), if it is a surface.

    Returns:
        The layout of the points, and the functions at these points, shape (K, M).
    """
    if coordinates.shape[1] == 2:
        return Layout(points=coordinates, triangles=triangles), values
    if triangles is None:
        points, values, level = take_slice(coordinates, values)
        return Layout(points=points, where=rf" at $y_3 = {level:.3g}$"), values
    ca, sa, ce, se = np.cos(_AZIMUTH), np.sin(_AZIMUTH), np.cos(_ELEVATION), np.sin(_ELEVATION)
    across, up = np.array([-sa, ca, 0.0]), np.array([-se * ca, -se * sa, ce])
    nearness = coordinates @ np.array([ce * ca, ce * sa, se])
    order = np.argsort(nearness[triangles].mean(axis=1))
    return Layout(
        points=coordinates @ np.column_stack([across, up]), triangles=triangles[order], is_surface=True
    ), values


def check_coordinates(coordinates: np.ndarray, num_nodes: int) -> np.ndarray:
    """Return the coordinates as an array of floats of shape (N, d).

    Args:
        coordinates: Shape (N, d); an array of shape (N,) counts as d = 1.
        num_nodes: N, the number of nodes that is expected.

    Raises:
        InvalidInput: if the number of nodes is another one, or d is not 1, 2 or 3.
    """
    given = np.asarray(coordinates, dtype=float)
    points = given[:, None] if given.ndim == 1 else given
    if points.ndim != 2 or points.shape[0] != num_nodes or points.shape[1] not in (1, 2, 3):
        raise InvalidInput(f"coordinates of shape {given.shape}, expected ({num_nodes}, d) with d = 1, 2 or 3")
    return points


def _rounded(coordinates: np.ndarray) -> np.ndarray:
    """Coordinates as integers in units of 1e-9 of the domain's extent, so that equal coordinates compare equal."""
    if coordinates.shape[0] == 0:
        return np.zeros(coordinates.shape, dtype=np.int64)
    origin = coordinates.min(axis=0)
    extent = float((coordinates.max(axis=0) - origin).max()) or 1.0
    return np.rint((coordinates - origin) / (1e-9 * extent)).astype(np.int64)


def sort_nodes(coordinates: np.ndarray) -> np.ndarray:
    """Return the order of the nodes by first coordinate, then second, then third, shape (N,)."""
    return np.lexsort(_rounded(coordinates).T[::-1])


def tensor_grid(coordinates: np.ndarray) -> tuple[np.ndarray, tuple[int, int]] | None:
    """Detect nodes in the plane that are all pairs of some abscissae and some ordinates.

    Args:
        coordinates: Nodes in any order, shape (N, 2).

    Returns:
        Order of the nodes and shape (n₁, n₂) such that `coordinates[order].reshape(n₁, n₂, 2)` is the grid; None if
        the nodes form no grid of at least two by two.
    """
    rounded = _rounded(coordinates)
    first, second = np.unique(rounded[:, 0]), np.unique(rounded[:, 1])
    if first.size < 2 or second.size < 2 or first.size * second.size != rounded.shape[0]:
        return None
    if np.unique(rounded, axis=0).shape[0] != rounded.shape[0]:
        return None
    return sort_nodes(coordinates), (first.size, second.size)


def take_slice(coordinates: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Restrict fields to the plane y₃ = const through the middle of a three-dimensional domain.

    If the mesh has a plane of nodes there, the values are those at its nodes; else they are interpolated, linearly on
    the Delaunay tetrahedra, to a grid in that plane.

    Args:
        coordinates: Nodes, shape (N, 3).
        values: Fields at the nodes, shape (N, M).

    Returns:
        Points in the plane, shape (K, 2), the fields there, shape (K, M), and y₃.
    """
    height = coordinates[:, 2]
    if height.size == 0:
        return coordinates[:, :2], values, 0.0
    middle = 0.5 * float(height.min() + height.max())
    level = float(height[np.argmin(np.abs(height - middle))])
    plane = np.flatnonzero(np.abs(height - level) <= 1e-9 * float(np.ptp(height)))
    if plane.size >= max(4, 0.25 * height.size ** (2 / 3)):
        return coordinates[plane, :2], values[plane], level
    # imported here because they take longer to load than all else in this folder, and few figures need them
    from scipy.interpolate import LinearNDInterpolator
    from scipy.spatial import Delaunay, QhullError

    sides = [np.linspace(coordinates[:, axis].min(), coordinates[:, axis].max(), 65) for axis in (0, 1)]
    points = np.stack(np.meshgrid(*sides, [middle], indexing="ij"), axis=-1).reshape(-1, 3)
    try:
        tetrahedra = Delaunay(coordinates)
    except (QhullError, ValueError):  # too few nodes, or all on one plane: show them from above
        return coordinates[:, :2], values, middle
    inside = points[tetrahedra.find_simplex(points) >= 0]
    return inside[:, :2], LinearNDInterpolator(tetrahedra, values)(inside), middle


def aspect_ratio(coordinates: np.ndarray) -> float:
    """The ratio of height to width of a picture of the domain, kept between 1/3 and 3."""
    if coordinates.shape[0] == 0:
        return 1.0
    width, height = (np.ptp(coordinates[:, axis]) for axis in (0, 1))
    return float(np.clip(height / width, 1 / 3, 3)) if width > 0 and height > 0 else 1.0


def draw_field(axes: Axes, layout: Layout, values: np.ndarray, *, scale: tuple[Colormap, Normalize]) -> Collection:
    """Draw nodal values over a plane domain, or on a surface.

    Args:
        axes: The axes to draw into.
        layout: The layout of the nodes (`lay_out`).
        values: Values at the nodes, shape (N,).
        scale: Colour map and norm (`colour_scale`).

    Returns:
        The artist: a mesh on a tensor grid, refined by whole factors to about 64 cells a side; else shaded triangles;
        else points, where there are no triangles (nodes on a line) or a value is not finite.
    """
    colormap, norm = scale
    axes.set_aspect("equal")
    axes.margins(0.01)
    coordinates, triangles = layout.points, layout.triangles
    if layout.is_surface and triangles is not None and np.isfinite(values).all():
        corners, shades = coordinates[triangles], values[triangles]
        while len(corners) < _FACES:
            corners, shades = _quarter(corners), _quarter(shades)
        faces = PolyCollection(corners, cmap=colormap, norm=norm, edgecolors="face", linewidths=0.2)
        faces.set_array(shades.mean(axis=1))
        faces.set_rasterized(True)
        axes.add_collection(faces)
        axes.autoscale_view()
        return faces
    grid = tensor_grid(coordinates)
    x, y = coordinates.T
    if grid is not None:
        order, shape = grid
        pictures = [array[order].reshape(shape).T for array in (x, y, values)]
        # interpolation would leave out all cells at a node that is not finite; flat cells show which node it is
        shading: Literal["gouraud", "nearest"] = "gouraud" if np.isfinite(values).all() else "nearest"
        if shading == "gouraud":
            pictures = [_refine(_refine(picture).T).T for picture in pictures]
        return axes.pcolormesh(*pictures, cmap=colormap, norm=norm, shading=shading, rasterized=True)
    if coordinates.shape[0] >= 3 and np.isfinite(values).all():
        try:
            mesh = Triangulation(x, y, triangles)
            return axes.tripcolor(mesh, values, cmap=colormap, norm=norm, shading="gouraud", rasterized=True)
        except (RuntimeError, ValueError):  # all nodes on one line: no triangles
            pass
    return axes.scatter(x, y, c=values, cmap=colormap, norm=norm, s=9.0, linewidths=0, plotnonfinite=True)


def _quarter(corners: np.ndarray) -> np.ndarray:
    """Cut triangles, shape (num_triangles, 3, …), into four at the middles of their edges; the four stay together."""
    a, b, c = np.moveaxis(corners, 1, 0)
    ab, bc, ca = 0.5 * (a + b), 0.5 * (b + c), 0.5 * (c + a)
    parts = [np.stack(part, axis=1) for part in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
    return np.stack(parts, axis=1).reshape(-1, *corners.shape[1:])


def _refine(array: np.ndarray) -> np.ndarray:
    """Interpolate linearly along the first axis, with each interval cut so that there are about 64 in all.

    Matplotlib's shading cuts the cells of a mesh into triangles, which would be visible on a coarse mesh.
    """
    intervals = array.shape[0] - 1
    cuts = max(1, round(64 / intervals))
    position = np.arange(intervals * cuts + 1) / cuts
    left = np.minimum(position.astype(int), intervals - 1)
    weight = (position - left)[:, None]
    return (1 - weight) * array[left] + weight * array[left + 1]
