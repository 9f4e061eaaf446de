# SPDX-License-Identifier: MIT
"""`SeparableKernel`: w(t, ·, ·) = Σ_r u_r(t) ⊗ v_r(t), a kernel of rank R by its factors u_r, v_r ∈ V_h.

    K f = Σ_r u_r (v_r, f),    K* q = Σ_r v_r (u_r, q)

Both factors are parameters, so K is bilinear in them: K'(u, v)(δu, δv) = Σ_r δu_r ⊗ v_r + u_r ⊗ δv_r.  A product costs
O(N R) for each sample and, on several ranks, one Allreduce of R × J numbers; nothing of size N² exists.

The inner product of the parameters is Σ_r (u_r, u'_r) + (v_r, v'_r), and the regularization of a learning problem
α/2 Σ_r ‖u_r‖² + ‖v_r‖².  Its minimum over all factorizations of one w, at rank R ≥ rank w, is α times the nuclear norm
of w, Σ_k s_k: it favours low rank, unlike the α/2 Σ_k s_k² = α/2 ‖w‖² of a dense kernel.  Where all factors vanish the
derivative vanishes as well, so an optimizer must not start there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mpi4py import MPI

from fem_selection.discretization.coefficients import Source, function_values
from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.numbering import hashed_normal
from fem_selection.discretization.spaces import StateSpace
from fem_selection.discretization.transfer import Transfer
from fem_selection.kernels.base import MatrixTerm, OperatorByParameters, as_parameters, map_functions
from fem_selection.kernels.sums import Summable
from fem_selection.linalg.blas import add_product
from fem_selection.linalg.compression import Truncation, truncate
from fem_selection.typing import Block, Floats, Integers, real_block, real_number, whole_number

__all__ = ["SeparableDirection", "SeparableKernel"]


class SeparableKernel(Summable, OperatorByParameters):
    """A kernel of given rank, time-dependent (several intervals) or constant in depth (one).

    Args:
        space: The state space V_h.
        num_intervals: Number of control intervals.
        rank: R, the number of pairs of factors.

    Raises:
        InvalidInput: if the rank is not positive.

    Note:
        Arrays of parameters have the factors' values at this rank's nodes, shape (num_intervals, 2, rank, num_local) in
        C order, flattened; on the second axis 0 is u and 1 is v.
    """

    is_linear = False

    def __init__(self, space: StateSpace, num_intervals: int, rank: int) -> None:
        num_intervals = whole_number(num_intervals, "num_intervals", 1)
        rank = whole_number(rank, "the rank of a separable kernel", 1)
        self.space, self.num_intervals, self.rank = space, num_intervals, rank
        self._shape = (num_intervals, 2, rank, space.num_local)
        self.num_parameters = int(np.prod(self._shape))
        self.num_global_parameters = 2 * num_intervals * rank * space.num_nodes
        self.assign(np.zeros(self.num_parameters))

    @classmethod
    def interpolate(
        cls, space: StateSpace, factors: Sequence[tuple[Source, Source]], grid: DepthGrid
    ) -> SeparableKernel:
        """Create the kernel Σ_r u_r ⊗ v_r with the factors' nodal values at the sample times (collective).

        Args:
            space: The state space V_h.
            factors: Pairs of sources of u_r and v_r (see `discretization.coefficients`).
            grid: The depth grid.

        Raises:
            InvalidInput: if there are no factors, or their values have a wrong shape.

        Example:
            >>> space = fs.StateSpace(fs.interval(MPI.COMM_SELF, cells=2), degree=1)
            >>> product = fs.SeparableKernel.interpolate(space, [(lambda t, y: y[0], 2.0)], fs.DepthGrid(layers=1))
            >>> print(product.values(0, np.arange(3)))  # w(y, z) = 2 y
            [[0. 0. 0.]
             [1. 1. 1.]
             [2. 2. 2.]]
        """
        kernel = cls(space, grid.intervals, len(factors))
        values = np.empty(kernel._shape)
        for c, t in enumerate(grid.sample_times):
            for r, pair in enumerate(factors):
                for side, source in enumerate(pair):
                    values[c, side, r] = function_values(space, source, float(t))
        kernel.assign(values.ravel())
        return kernel

    @classmethod
    def random(cls, space: StateSpace, num_intervals: int, rank: int, *, scale: float, seed: int) -> SeparableKernel:
        """Create a kernel with independent normal factors, ‖u_r‖ ≈ ‖v_r‖, the same on every partition (collective).

        The scaling gives the nodal values of K f the standard deviation scale · ‖f‖ / |Y|^{1/2} on any mesh, as
        `DenseKernel.random` does on a uniform one.

        Args:
            space: The state space V_h.
            num_intervals: Number of control intervals.
            rank: R.
            scale: The factor of the standard deviation.
            seed: Another seed gives other factors.
        """
        kernel, scale = cls(space, num_intervals, rank), real_number(scale, "scale")
        volume = space.comm.allreduce(float(space.weights.sum()))
        balance = (space.num_nodes * rank) ** 0.25 / scale**0.5 if scale else 1.0  # scale² may underflow
        values = hashed_normal(seed, kernel.canonical_indices()).reshape(kernel._shape)
        values[:, 0] *= balance * scale / np.sqrt(rank * volume)
        values[:, 1] /= balance * np.sqrt(space.weights)
        kernel.assign(values.ravel())
        return kernel

    @classmethod
    def from_factors(cls, space: StateSpace, factors: Sequence[tuple[Block, Block]]) -> SeparableKernel:
        """Create a kernel of given factors; its rank is the largest of the intervals' ranks.

        Args:
            space: The state space V_h.
            factors: Nodal values of u and of v for each interval, shape (num_local, any); zeros fill up lower ranks.
        """
        rows = space.num_local
        factors = [(real_block(u, rows, "factors"), real_block(v, rows, "factors")) for u, v in factors]
        kernel = cls(space, len(factors), max(1, *(u.shape[1] for u, _ in factors)))
        values = np.zeros(kernel._shape)
        for c, pair in enumerate(factors):
            for side, block in enumerate(pair):
                values[c, side, : block.shape[1]] = block.T
        kernel.assign(values.ravel())
        return kernel

    def compress(self, tolerance: float | None = None, rank: int | None = None) -> tuple[SeparableKernel, float]:
        """Return a kernel of lower rank, from the singular value decomposition of each interval's w (collective).

        Args:
            tolerance: Keep the lowest rank with ‖w − w_r‖ ≤ tolerance · ‖w‖ in L²(Y × Y) at every interval.
            rank: Keep this rank.

        Returns:
            A kernel with (u_r, u_s) = (v_r, v_s) = s_r δ_rs, the singular values in decreasing order, and the largest
            error ‖w − w_r‖ of all intervals.

        Raises:
            InvalidInput: unless exactly one of the two is given, and is positive.
        """
        cut = Truncation(rank=rank, tolerance=tolerance)
        found = [truncate(self.space, u, v, cut=cut) for u, v in self.factors]
        kernel = SeparableKernel.from_factors(self.space, [(f.left, f.right) for f in found])
        return kernel, max(f.missed for f in found)

    @property
    def factors(self) -> list[tuple[Block, Block]]:
        """u and v of each interval, views of shape (num_local, rank); call `assign` to change them."""
        return list(zip(self._left, (v.T for v in self._values[:, 1]), strict=True))

    def values(self, interval: int, nodes: Integers) -> Floats:
        """Return w(y_i, y_k) at some nodes, shape (n, n), on every rank (collective).

        Args:
            interval: The control interval.
            nodes: Canonical numbers of the n nodes.
        """
        u, v = (self.space.gather(np.asfortranarray(factor))[nodes] for factor in self.factors[interval])
        return np.asarray(u @ v.T)

    def assign(self, parameters: Floats) -> None:
        """Set the factors of all intervals and compute the moments M v; the array is kept by reference."""
        self._values = as_parameters(parameters, self.num_parameters).reshape(self._shape)
        self._left = [u.T for u in self._values[:, 0]]
        self._moments = map_functions(self.space.apply_mass, self._values[:, 1])
        self._right = [v.T for v in self._moments]

    def prolong(self, parameters: Floats, transfer: Transfer) -> Floats:
        """Interpolate the factors.  See `Prolongable.prolong`."""
        return transfer.apply_to_functions(as_parameters(parameters, self.num_parameters).reshape(self._shape)).ravel()

    def parameters(self) -> Floats:
        """Return a copy of the nodal values of the factors, flattened."""
        return self._values.ravel().copy()

    def by_interval(self, parameters: Floats) -> list[Floats]:
        """Return one view: the factors of each interval."""
        return [parameters.reshape(self.num_intervals, -1)]

    def create_direction(self) -> SeparableDirection:
        """Return the direction δu = δv = 0."""
        return SeparableDirection(self)

    def canonical_indices(self) -> Integers:
        """Return (interval, side, r, node) in the canonical numbering of the nodes, as one number."""
        leading = np.arange(2 * self.num_intervals * self.rank).reshape(*self._shape[:3], 1)
        return (leading * self.space.num_nodes + self.space.canonical).ravel()

    def apply(self, interval: int, block: Block, out: Block, *, keep: bool = False) -> None:
        """`out` = u (M v)ᵀ F, plus what `out` held if `keep`.  See `Kernel.apply`."""
        _act(self.space.comm, [self._left[interval]], [self._right[interval]], block, 1.0, out, keep)

    def add_transpose(self, interval: int, dual: Block, scale: float, *, out: Block) -> None:
        """`out` += scale · M v uᵀ Q.  See `Kernel.add_transpose`."""
        _act(self.space.comm, [self._right[interval]], [self._left[interval]], dual, scale, out, True)

    def create_pullback(self, buffer: Floats | None = None) -> Floats:
        """Return zeros of shape (num_intervals, 2, rank, num_local), the duals of u and M v; `buffer` is not used."""
        return np.zeros(self._shape)

    def add_pullback(self, interval: int, dual: Block, block: Block, *, scale: float, out: Floats) -> None:
        """Add Q (Fᵀ M v) to the dual of u and F (Qᵀ u) to the dual of M v, both times `scale`.

        See `Kernel.add_pullback`.
        """
        coefficients = _project(
            self.space.comm, [(self._right[interval], block), (self._left[interval], dual)], block.shape[1]
        )
        add_product(scale, dual, coefficients[0], out=out[interval, 0].T, transpose_b=True)
        add_product(scale, block, coefficients[1], out=out[interval, 1].T, transpose_b=True)

    def matrix_terms(self) -> list[MatrixTerm]:
        """Return u and M v of all intervals.  See `HasMatrixTerms.matrix_terms`."""
        return [MatrixTerm(left=self._values[:, 0], right=self._moments)]

    def matrix_duals(self, pullback: Floats) -> list[MatrixTerm]:
        """Return the duals of u and M v.  See `HasMatrixTerms.matrix_duals`."""
        return [MatrixTerm(left=pullback[:, 0], right=pullback[:, 1])]

    def parameter_dual(self, pullback: Floats, out: Floats | None = None) -> Floats:
        """Return the duals of u and v; that of v is M times that of M v.  See `Kernel.parameter_dual`."""
        result = np.empty(self.num_parameters) if out is None else out
        duals = result.reshape(self._shape)
        duals[:, 0] = pullback[:, 0]
        duals[:, 1] = map_functions(self.space.apply_mass, pullback[:, 1])
        return result

    def apply_mass(self, parameters: Floats) -> Floats:
        """Return M u_r and M v_r of every interval."""
        return map_functions(self.space.apply_mass, parameters.reshape(self._shape)).ravel()

    def riesz(self, dual: Floats) -> Floats:
        """Return M⁻¹ times every factor's dual."""
        return map_functions(self.space.riesz, dual.reshape(self._shape)).ravel()

    def lumped_mass(self) -> Floats:
        """Return the nodal weights, for each factor."""
        return np.tile(self.space.weights, 2 * self.num_intervals * self.rank)


class SeparableDirection(OperatorByParameters):
    """K'(u, v)(δu, δv) of a separable kernel, a kernel of twice its rank.

    Args:
        kernel: The kernel; its factors u, v are read at every call.
    """

    def __init__(self, kernel: SeparableKernel) -> None:
        self._kernel = kernel
        self._delta = SeparableKernel(kernel.space, kernel.num_intervals, kernel.rank)

    def assign(self, parameters: Floats) -> None:
        """Set δu, δv of all intervals; the array is kept by reference."""
        self._delta.assign(parameters)

    def apply(self, interval: int, block: Block, out: Block, *, keep: bool = False) -> None:
        """`out` = (δu (M v)ᵀ + u (M δv)ᵀ) F, plus what `out` held if `keep`.  See `KernelDirection.apply`."""
        _act(self._kernel.space.comm, *self._pairs(interval), block, 1.0, out, keep)

    def add_transpose(self, interval: int, dual: Block, scale: float, *, out: Block) -> None:
        """`out` += scale · (M v δuᵀ + M δv uᵀ) Q.  See `KernelDirection.add_transpose`."""
        left, right = self._pairs(interval)
        _act(self._kernel.space.comm, right, left, dual, scale, out, True)

    def add_second_pullback(self, interval: int, dual: Block, block: Block, *, scale: float, out: Floats) -> None:
        """Add the pullback of the kernel with the factors δu, δv, since ⟨K F, Q⟩ is bilinear in u and v.

        See `KernelDirection.add_second_pullback`.
        """
        self._delta.add_pullback(interval, dual, block, scale=scale, out=out)

    def _pairs(self, interval: int) -> tuple[list[Block], list[Block]]:
        own, delta = self._kernel, self._delta
        return [delta._left[interval], own._left[interval]], [own._right[interval], delta._right[interval]]


def _project(comm: MPI.Comm, pairs: Sequence[tuple[Block, Block]], samples: int) -> list[Block]:
    """The coefficients Rᵀ F, shape (rank, J), of pairs (R, F), summed over the ranks in one message (collective)."""
    sums = np.empty((len(pairs), samples, pairs[0][0].shape[1]))
    for (factor, block), target in zip(pairs, sums, strict=True):
        add_product(1.0, factor, block, out=target.T, transpose_a=True, keep=False)
    if comm.size > 1:
        comm.Allreduce(MPI.IN_PLACE, sums)
    return [s.T for s in sums]


def _act(
    comm: MPI.Comm, left: list[Block], right: list[Block], block: Block, scale: float, out: Block, keep: bool
) -> None:
    """`out` = scale · Σ_k L_k R_kᵀ F, plus what `out` held if `keep` (collective)."""
    coefficients = _project(comm, [(r, block) for r in right], block.shape[1])
    for k, (factor, coefficient) in enumerate(zip(left, coefficients, strict=True)):
        add_product(scale, factor, coefficient, out=out, keep=keep or k > 0)
