# SPDX-License-Identifier: MIT
"""`ConvolutionKernel`: w(t, y, z) = k(t, y − z), a kernel that is the same at every place, applied by FFT.

    (K f)(y) = ∫_Y k(y − z) f(z) dz,    A F = T M F,    T_ij = k(y_i − y_j)

On a uniform grid of N nodes the displacements form a grid of Π (2 n_a − 1) points, fewer than 2^d N; their values of k
are the parameters.  T is a Toeplitz matrix in each direction, embedded in a circulant one that the FFT makes diagonal:
a product costs O(N log N) for each sample, and nothing of size N² exists.  f is zero outside of Y.

The inner product of the parameters is that of L²(Y × Y) for w, with quadrature at the nodes in either mode: a
displacement weighs Σ m_i m_j over the pairs of nodes that it connects, m the nodal weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import fft

from fem_selection.discretization.coefficients import Source
from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.numbering import hashed_normal
from fem_selection.discretization.spaces import StateSpace
from fem_selection.discretization.tensor_grid import find_tensor_grid
from fem_selection.errors import InvalidInput
from fem_selection.functions.formulas import Formula, coordinate_names
from fem_selection.kernels.base import OperatorByParameters, as_parameters
from fem_selection.kernels.sums import Summable
from fem_selection.typing import Block, Floats, Integers, real_number, whole_number

__all__ = ["ConvolutionKernel"]

_TOGETHER = 2**22  # numbers of the samples that are transformed at a time


class ConvolutionKernel(Summable, OperatorByParameters):
    """A kernel that depends on y − z alone.

    Args:
        space: The state space; its nodes form a uniform grid, whole on this rank.
        num_intervals: Number of control intervals.

    Attributes:
        displacements: The points y − z, shape (number of displacements, d), in the order of the parameters.

    Raises:
        InvalidInput: if the mesh is distributed over ranks, or its nodes form no uniform grid.

    Note:
        Arrays of parameters have the values of k at the displacements, shape (num_intervals, 2 n_1 − 1, …) in C order,
        flattened; the displacement zero is in the middle.

    Example:
        >>> space = fs.StateSpace(fs.interval(MPI.COMM_SELF, cells=4))
        >>> kernel = fs.ConvolutionKernel(space, 1)
        >>> kernel.assign((abs(kernel.displacements[:, 0]) < 0.3).astype(float))  # the integral over neighbours
        >>> one, out = np.ones((5, 1), order="F"), np.empty((5, 1), order="F")
        >>> kernel.apply(0, one, out)
        >>> print(out.T)
        [[0.375 0.625 0.75  0.625 0.375]]
    """

    is_linear = True

    def __init__(self, space: StateSpace, num_intervals: int) -> None:
        self.space, self.num_intervals = space, whole_number(num_intervals, "num_intervals", 1)
        self._grid = find_tensor_grid(space)
        shape = self._grid.shape
        self._wide = tuple(2 * n - 1 for n in shape)
        self._size = tuple(fft.next_fast_len(n, real=True) for n in self._wide)
        self._axes = tuple(range(1, 1 + len(shape)))
        self._shape = (self.num_intervals, *self._wide)
        self.num_parameters = self.num_global_parameters = int(np.prod(self._shape))
        offsets = [np.arange(1 - n, n) for n in shape]
        steps = np.stack(np.meshgrid(*offsets, indexing="ij"), axis=-1).reshape(-1, len(shape))
        self.displacements: Floats = steps * self._grid.spacing
        weights = space.weights[None, :, None][:, self._grid.order, 0].reshape(1, *shape)
        image = fft.rfftn(weights, s=self._size, axes=self._axes)
        self._weights = self._to_displacements(image * np.conj(image))[0].ravel()
        self.assign(np.zeros(self.num_parameters))

    @classmethod
    def interpolate(cls, space: StateSpace, profile: Source, grid: DepthGrid) -> ConvolutionKernel:
        """Create the kernel with the values of k at the displacements at the sample times.

        Args:
            space: The state space.
            profile: k: a number, an array of parameters, a function (t, x) of a time and points x = y − z, shape
                (d, n), or a formula in t and x (or x0, x1, …).
            grid: The depth grid.

        Raises:
            InvalidInput: as the constructor, or if the values have another shape or are not finite.
        """
        kernel = cls(space, grid.intervals)
        values = np.empty((grid.intervals, len(kernel.displacements)))
        for c, t in enumerate(grid.sample_times):
            given: Any = _evaluate(profile, float(t), kernel.displacements.T)
            try:
                values[c] = given
            except (TypeError, ValueError) as error:
                raise InvalidInput(
                    f"the profile of a convolution gives values of shape {np.shape(given)} at "
                    f"{len(kernel.displacements)} displacements: expected one number for each, or one for all"
                ) from error
        if not np.all(np.isfinite(values)):
            raise InvalidInput("the profile of a convolution is not finite at some displacement")
        kernel.assign(values.ravel())
        return kernel

    @classmethod
    def random(cls, space: StateSpace, num_intervals: int, *, scale: float, seed: int) -> ConvolutionKernel:
        """Create a kernel of independent normal values.

        Nodal values of K f have the standard deviation scale · ‖f‖ / |Y|^{1/2} or less, as for a random dense kernel.

        Args:
            space: The state space.
            num_intervals: Number of control intervals.
            scale: The factor of the standard deviation.
            seed: Another seed gives other values.
        """
        kernel, scale = cls(space, num_intervals), real_number(scale, "scale")
        volume, largest = float(space.weights.sum()), float(space.weights.max())
        values = hashed_normal(seed, kernel.canonical_indices()) * scale / np.sqrt(volume * largest)
        kernel.assign(values)
        return kernel

    def values(self, interval: int, nodes: Integers) -> Floats:
        """Return w(y_i, y_k) at some nodes, shape (n, n).

        Args:
            interval: The control interval.
            nodes: Canonical numbers of the n nodes.
        """
        local = np.argsort(self.space.canonical)[nodes]
        index = np.stack(np.unravel_index(self._grid.places[local], self._grid.shape), axis=-1)
        apart = index[:, None] - index[None, :] + np.array(self._grid.shape) - 1
        return np.asarray(self._values[interval][tuple(np.moveaxis(apart, -1, 0))])

    def assign(self, parameters: Floats) -> None:
        """Set the values of k of all intervals and compute their transforms; the array is kept by reference."""
        self._values = as_parameters(parameters, self.num_parameters).reshape(self._shape)
        rolled = np.zeros((self.num_intervals, *self._size))
        rolled[(slice(None), *map(slice, self._wide))] = self._values
        shift = tuple(1 - n for n in self._grid.shape)
        self._images = fft.rfftn(np.roll(rolled, shift, axis=self._axes), axes=self._axes)

    def parameters(self) -> Floats:
        """Return a copy of the values of k, flattened."""
        return self._values.ravel().copy()

    def by_interval(self, parameters: Floats) -> list[Floats]:
        """Return one view: the values of each interval."""
        return [parameters.reshape(self.num_intervals, -1)]

    def create_direction(self) -> ConvolutionKernel:
        """Return a kernel of zeros: K is linear in k."""
        return ConvolutionKernel(self.space, self.num_intervals)

    def canonical_indices(self) -> Integers:
        """Return (interval, displacement) as one number: every rank has all of them."""
        return np.arange(self.num_parameters)

    def apply(self, interval: int, block: Block, out: Block, *, keep: bool = False) -> None:
        """`out` = T M F, plus what `out` held if `keep`.  See `Kernel.apply`."""
        for columns in self._parts(block):
            image = self._transform(self.space.apply_mass(np.asfortranarray(block[:, columns])))
            image *= self._images[interval]
            found = self._back(image)
            out[:, columns] = out[:, columns] + found if keep else found

    def add_transpose(self, interval: int, dual: Block, scale: float, *, out: Block) -> None:
        """`out` += scale · M Tᵀ Q.  See `Kernel.add_transpose`."""
        for columns in self._parts(dual):
            image = self._transform(dual[:, columns])
            image *= np.conj(self._images[interval])
            out[:, columns] += scale * self.space.apply_mass(np.asfortranarray(self._back(image)))

    def create_pullback(self, buffer: Floats | None = None) -> Floats:
        """Return zeros: transforms of the dual of k, shape (num_intervals, …, 2); `buffer` is not used."""
        return np.zeros((*self._images.shape, 2))

    def add_pullback(self, interval: int, dual: Block, block: Block, *, scale: float, out: Floats) -> None:
        """Add Σ_j conj(M F_j)^ Q_j^, the transform of the correlation.  See `Kernel.add_pullback`."""
        total = out[interval].view(np.complex128)[..., 0]
        for columns in self._parts(block):
            left = self._transform(dual[:, columns])
            right = self._transform(self.space.apply_mass(np.asfortranarray(block[:, columns])))
            np.conj(right, out=right)
            left *= right
            total += scale * left.sum(axis=0)

    def add_second_pullback(self, interval: int, dual: Block, block: Block, *, scale: float, out: Floats) -> None:
        """Do nothing: K is linear in k.  See `KernelDirection.add_second_pullback`."""

    def parameter_dual(self, pullback: Floats, out: Floats | None = None) -> Floats:
        """Return the duals of the values of k.  See `Kernel.parameter_dual`."""
        result = np.empty(self.num_parameters) if out is None else out
        result.reshape(self._shape)[...] = self._to_displacements(pullback.view(np.complex128)[..., 0])
        return result

    def apply_mass(self, parameters: Floats) -> Floats:
        """Return each value times the weight of its displacement."""
        return (parameters.reshape(self.num_intervals, -1) * self._weights).ravel()

    def riesz(self, dual: Floats) -> Floats:
        """Return each dual over the weight of its displacement."""
        return (dual.reshape(self.num_intervals, -1) / self._weights).ravel()

    def lumped_mass(self) -> Floats:
        """Return the weights of the displacements, for each interval."""
        return np.tile(self._weights, self.num_intervals)

    def _parts(self, block: Block) -> list[slice]:
        """Groups of columns that are transformed together."""
        together = max(_TOGETHER // int(np.prod(self._size)), 1)
        return [slice(j, j + together) for j in range(0, block.shape[1], together)]

    def _transform(self, block: Block) -> Any:
        """The transforms of columns that are zero outside of the grid, one for each."""
        grid = block.T[:, self._grid.order].reshape(-1, *self._grid.shape)
        return fft.rfftn(grid, s=self._size, axes=self._axes)

    def _back(self, image: Any) -> Block:
        """The values of transforms at the nodes, one column for each."""
        grid = fft.irfftn(image, s=self._size, axes=self._axes)[(slice(None), *map(slice, self._grid.shape))]
        return np.asarray(grid.reshape(len(grid), -1)[:, self._grid.places].T)

    def _to_displacements(self, image: Any) -> Floats:
        """The values of transforms at the displacements, shape (len(image), 2 n_1 − 1, …)."""
        grid = fft.irfftn(image, s=self._size, axes=self._axes)
        shift = tuple(n - 1 for n in self._grid.shape)
        return np.asarray(np.roll(grid, shift, axis=self._axes)[(slice(None), *map(slice, self._wide))])


def _evaluate(profile: Any, time: float, x: Floats) -> Any:
    """What a profile gives at some displacements, shape (d, n)."""
    if isinstance(profile, Formula):
        coordinates = dict(zip(coordinate_names("x", len(x)), (*x[:1], *x) if len(x) == 1 else x, strict=True))
        return profile.evaluate(t=time, **coordinates)
    return profile(time, x) if callable(profile) else profile
