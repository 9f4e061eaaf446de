# SPDX-License-Identifier: MIT
"""Pixel images as functions on a box.

An image on a regular grid of n_1 × … × n_d pixels is the multilinear interpolant of its pixel values on the
(n_1 − 1) × … × (n_d − 1) cells of the box Y = [lower, upper] ⊂ R^d, d = 1, 2, 3.  Outside the box it is a constant,
zero by default.  The positions of the pixels, in coordinates of the unit box:

    d = 1, (M,)        index i            y = i/(M − 1)
    d = 2, (H, W)      row r, column c    y = (c/(W − 1), 1 − r/(H − 1))          pictures look upright
    d = 3, (D, H, W)   k, j, i            y = (i/(W − 1), j/(H − 1), k/(D − 1))   x fastest

Values are computed at given points only, so each rank passes its own nodes and no message is sent.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from fem_selection.errors import InvalidInput

__all__ = ["AffineMaps", "draw_maps", "image_states"]


@dataclass(frozen=True, eq=False)
class AffineMaps:
    """One similarity per sample: x ↦ c + shift + (1 + scale) R (x − c) about the centre c of the box.

    The value of a moved image at y is that of the image at c + Rᵀ (y − c − shift)/(1 + scale).  Maps of zeros move
    nothing.

    Args:
        shift: Shape (num_samples, d), in units of the box's sides.
        rotation: For d = 2 angles of shape (num_samples,), counterclockwise, in radians; for d = 3 rotation vectors of
            shape (num_samples, 3); for d = 1 zeros of shape (num_samples,).
        scale: Shape (num_samples,), greater than −1; the image is magnified by the factor 1 + scale.

    Raises:
        InvalidInput: If shapes disagree, a value is not finite, a scale is not above −1, or a signal is rotated.
    """

    shift: NDArray[np.float64]
    rotation: NDArray[np.float64]
    scale: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in ("shift", "rotation", "scale"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        if self.shift.ndim != 2 or self.shift.shape[1] not in (1, 2, 3):
            raise InvalidInput(f"shift has shape {self.shift.shape}, expected (num_samples, d) with d = 1, 2 or 3")
        num_samples, dimension = self.shift.shape
        shape = (num_samples, 3) if dimension == 3 else (num_samples,)
        if self.rotation.shape != shape or self.scale.shape != (num_samples,):
            raise InvalidInput(
                f"rotation has shape {self.rotation.shape} and scale {self.scale.shape}; beside a shift of shape "
                f"{self.shift.shape} expected {shape} and {(num_samples,)}"
            )
        if not all(np.isfinite(array).all() for array in (self.shift, self.rotation, self.scale)):
            raise InvalidInput("the affine maps hold values that are not finite")
        if num_samples and self.scale.min() <= -1.0:
            raise InvalidInput(f"scale is {self.scale.min()} at least; the factor 1 + scale must be positive")
        if dimension == 1 and self.rotation.any():
            raise InvalidInput("signals on an interval cannot be rotated; give zeros as rotation")

    @property
    def num_samples(self) -> int:
        """Number of maps."""
        return int(self.shift.shape[0])

    @property
    def dimension(self) -> int:
        """Dimension d of the box."""
        return int(self.shift.shape[1])

    def subset(self, indices: ArrayLike | slice) -> AffineMaps:
        """Return the maps of some samples."""
        chosen = indices if isinstance(indices, slice) else np.asarray(indices)
        return AffineMaps(shift=self.shift[chosen], rotation=self.rotation[chosen], scale=self.scale[chosen])


def draw_maps(
    rng: np.random.Generator, num_samples: int, dimension: int, *, shift: float, rotation: float, scale: float
) -> AffineMaps:
    """Draw random maps: normal shifts and rotations, log-normal magnifications.

    The number of values drawn depends on `num_samples` and `dimension` only.  Generators in the same state therefore
    give the same maps on every rank, and a deviation of zero does not change the other draws.

    Args:
        rng: The generator; the draws advance it.
        num_samples: Number of maps.
        dimension: Dimension d of the box, 1, 2 or 3.
        shift: Standard deviation of each component of the shift, in units of the box's sides.
        rotation: Standard deviation of the angle (d = 2) or of each component of the rotation vector (d = 3), radians.
        scale: Standard deviation of log(1 + scale).

    Raises:
        InvalidInput: If the dimension is not 1, 2 or 3, a deviation is negative or not finite, or `rotation` is not
            zero for signals (d = 1).
    """
    if dimension not in (1, 2, 3):
        raise InvalidInput(f"Unsupported {dimension=}, expected 1, 2 or 3")
    if not all(np.isfinite(value) and value >= 0 for value in (shift, rotation, scale)):
        raise InvalidInput(f"standard deviations must be finite and ≥ 0, given {shift=}, {rotation=}, {scale=}")
    if dimension == 1 and rotation != 0:
        raise InvalidInput(f"signals on an interval cannot be rotated, given {rotation=}; set it to 0")
    shape = (num_samples, 3) if dimension == 3 else (num_samples,)
    shifts = shift * rng.standard_normal((num_samples, dimension))
    rotations = rotation * rng.standard_normal(shape)
    scales = np.expm1(scale * rng.standard_normal(num_samples))
    return AffineMaps(shift=shifts, rotation=rotations, scale=scales)


def image_states(
    images: ArrayLike,
    points: ArrayLike,
    bounds: tuple[ArrayLike, ArrayLike],
    *,
    affine: AffineMaps | None = None,
    outside: float = 0.0,
) -> NDArray[np.float64]:
    """Return the values of images, moved or not, at points: the block of initial states at these nodes.

    Args:
        images: Pixel values, shape (num_samples, *grid).
        points: Coordinates, shape (num_points, d) or, as FEniCSx pads them, (num_points, 3); columns beyond d are
            ignored.
        bounds: Lower and upper corner of the box, each of shape (d,).
        affine: How each image is moved; nothing moves if it is not given.
        outside: The value of images outside the box, that of the background (for standardized images the standardized
            value of a background pixel).

    Returns:
        Shape (num_points, num_samples), Fortran-ordered: one contiguous column per sample.

    Raises:
        InvalidInput: If shapes, dimensions or the box cannot be used, or the number of maps is not that of the images.

    Note:
        Not collective.  Costs 2^d gathers over num_points × num_samples values; temporaries are blocks that stay in
        cache.
    """
    array = np.asarray(images, dtype=np.float64)
    if array.ndim not in (2, 3, 4):
        raise InvalidInput(
            f"images have shape {array.shape}, expected (num_samples, *grid) with one to three grid axes"
        )
    box = _Box.create(array.shape[1:], *bounds)
    centred = box.centred(points)
    num_samples, num_points = array.shape[0], centred.shape[0]
    if affine is None:
        return _unmoved(box, array, centred, outside)
    if (affine.num_samples, affine.dimension) != (num_samples, box.dimension):
        raise InvalidInput(
            f"{affine.num_samples} maps in dimension {affine.dimension} were given for {num_samples} images in "
            f"dimension {box.dimension}; one map per image is expected"
        )
    flat = np.ascontiguousarray(array).reshape(num_samples, prod(box.grid))
    states = np.empty((num_samples, num_points))
    matrices, offsets = _pullback(affine, box)
    block = max(1, _BLOCK_VALUES // max(1, num_points))
    for start in range(0, num_samples, block):
        chosen = slice(start, start + block)
        positions = box.pixel_positions(centred, matrices[chosen], offsets[chosen])
        _gather(flat[chosen], positions, box.grid, outside, states[chosen])
    return states.T


_BLOCK_VALUES = 1 << 15  # points × samples moved at once; a dozen arrays of this size fit a core's cache
_OUTSIDE = 1e-10  # a point is outside if it is farther than this from the box, in units of its side


@dataclass(frozen=True, eq=False)
class _Box:
    """A grid of pixels on a box."""

    grid: tuple[int, ...]
    centre: NDArray[np.float64]
    side: NDArray[np.float64]

    @classmethod
    def create(cls, grid: Sequence[int], lower: ArrayLike, upper: ArrayLike) -> _Box:
        """Describe a grid of pixels on the box [lower, upper], after checking that it can be used."""
        sizes = tuple(int(size) for size in grid)
        if len(sizes) not in (1, 2, 3) or min(sizes) < 2:
            raise InvalidInput(f"the pixel grid is {sizes}, expected one to three axes of at least two pixels each")
        low = np.atleast_1d(np.asarray(lower, dtype=np.float64))
        high = np.atleast_1d(np.asarray(upper, dtype=np.float64))
        if low.shape != (len(sizes),) or high.shape != (len(sizes),):
            raise InvalidInput(
                f"the box's corners have shapes {low.shape} and {high.shape}, expected {(len(sizes),)} for images of "
                f"{sizes} pixels"
            )
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
            raise InvalidInput(f"the box [{low.tolist()}, {high.tolist()}] is empty or not finite")
        return cls(grid=sizes, centre=0.5 * (low + high), side=high - low)

    @property
    def dimension(self) -> int:
        return len(self.grid)

    def centred(self, points: ArrayLike) -> NDArray[np.float64]:
        """Points relative to the centre, shape (num_points, d)."""
        array = np.asarray(points, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] not in (self.dimension, 3):
            raise InvalidInput(f"points have shape {array.shape}, expected (num_points, {self.dimension})")
        array = array[:, : self.dimension] - self.centre
        if not np.isfinite(array).all():
            raise InvalidInput("the points' coordinates are not all finite")
        return array

    def pixel_positions(
        self, centred: NDArray[np.float64], matrices: NDArray[np.float64], offsets: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Positions along the array's axes, in pixels, of A_j y + b_j (y and b_j from the centre).

        Args:
            centred: y, shape (num_points, d).
            matrices: A_j, shape (num_maps, d, d).
            offsets: b_j, shape (num_maps, d).

        Returns:
            Shape (d, num_maps, num_points).
        """
        last = np.array(self.grid, dtype=np.float64) - 1.0
        slopes = last / self.side[::-1]  # the last axis of the array is the first coordinate
        if self.dimension == 2:
            slopes[0] = -slopes[0]  # rows are numbered downward
        rows = np.moveaxis(matrices[:, ::-1], 1, 0) * slopes[:, None, None]
        shifts = offsets[:, ::-1].T * slopes[:, None] + 0.5 * last[:, None]
        positions = rows.reshape(-1, self.dimension) @ centred.T
        return positions.reshape(self.dimension, len(matrices), len(centred)) + shifts[:, :, None]


def _pullback(affine: AffineMaps, box: _Box) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A_j = R_jᵀ/(1 + scale_j) and b_j = −A_j shift_j."""
    if affine.dimension == 1:
        transposed = np.ones((affine.num_samples, 1, 1))
    elif affine.dimension == 2:
        cosine, sine = np.cos(affine.rotation), np.sin(affine.rotation)
        transposed = np.stack([cosine, sine, -sine, cosine], axis=-1).reshape(-1, 2, 2)
    else:
        from scipy.spatial.transform import Rotation

        transposed = Rotation.from_rotvec(affine.rotation).as_matrix().transpose(0, 2, 1)
    matrices = transposed / (1.0 + affine.scale)[:, None, None]
    return matrices, -np.einsum("jkl,jl->jk", matrices, affine.shift * box.side)


def _locate(
    positions: NDArray[np.float64], grid: tuple[int, ...]
) -> tuple[NDArray[np.intp], list[NDArray[np.float64]], NDArray[np.bool_]]:
    """The first pixel (flat index) of each position's cell, coordinates in the cell, and whether it is in the box."""
    first = np.zeros(positions.shape[1:], dtype=np.intp)
    inside = np.ones(positions.shape[1:], dtype=np.bool_)
    fractions = []
    for position, size in zip(positions, grid, strict=True):
        clipped = np.clip(position, 0.0, size - 1.0)
        inside &= np.abs(position - clipped) <= _OUTSIDE * (size - 1)
        cell = np.minimum(clipped.astype(np.intp), size - 2)
        first *= size
        first += cell
        clipped -= cell
        fractions.append(clipped)
    return first, fractions, inside


def _corners(fractions: list[NDArray[np.float64]], grid: tuple[int, ...]) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """The 2^d corners of a cell: the offset of each pixel from the cell's first, and its weights."""
    complements = [1.0 - fraction for fraction in fractions]
    strides = [prod(grid[axis + 1 :]) for axis in range(len(grid))]
    for corner in itertools.product((0, 1), repeat=len(grid)):
        factors = [(complements, fractions)[upper][axis] for axis, upper in enumerate(corner)]
        weight = factors[0]
        for factor in factors[1:]:
            weight = weight * factor
        yield sum(stride * upper for stride, upper in zip(strides, corner, strict=True)), weight


def _gather(
    flat: NDArray[np.float64],
    positions: NDArray[np.float64],
    grid: tuple[int, ...],
    outside: float,
    values: NDArray[np.float64],
) -> None:
    """Write the values of image j at its positions to `values`, shape (num_samples, num_points)."""
    first, fractions, inside = _locate(positions, grid)
    first += (flat.shape[1] * np.arange(len(flat), dtype=np.intp))[:, None]
    pixels = flat.reshape(-1)
    values.fill(0.0)
    for offset, weight in _corners(fractions, grid):
        values += weight * pixels[offset:].take(first)
    np.copyto(values, outside, where=~inside)


def _matrix(box: _Box, centred: NDArray[np.float64]) -> scipy.sparse.csr_array:
    """The interpolation matrix for centred points; rows of points outside the box are empty."""
    first, fractions, inside = _locate(_positions_at_rest(box, centred), box.grid)
    rows = np.flatnonzero(inside[0])
    columns, weights = [], []
    for offset, weight in _corners(fractions, box.grid):
        columns.append(first[0, rows] + offset)
        weights.append(weight[0, rows])
    entries = (np.concatenate(weights), (np.tile(rows, len(columns)), np.concatenate(columns)))
    matrix = scipy.sparse.csr_array(entries, shape=(len(centred), prod(box.grid)))
    matrix.eliminate_zeros()
    return matrix


def _positions_at_rest(box: _Box, centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positions of unmoved points, by the same operations as for moved ones; shape (d, 1, num_points)."""
    return box.pixel_positions(centred, np.eye(box.dimension)[None], np.zeros((1, box.dimension)))


def _unmoved(
    box: _Box, images: NDArray[np.float64], centred: NDArray[np.float64], outside: float
) -> NDArray[np.float64]:
    """The values of images that are not moved: one sparse matrix for all."""
    matrix = _matrix(box, centred)
    states = np.asfortranarray(matrix @ images.reshape(len(images), prod(box.grid)).T)
    if outside != 0.0:
        states[np.diff(matrix.indptr) == 0] = outside
    return states
