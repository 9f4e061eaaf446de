# SPDX-License-Identifier: MIT
"""`DenseKernel`: w(t, ·, ·) ∈ V_h ⊗ V_h, one dense matrix of nodal values W_ik = w(y_i, y_k) per control interval.

    (K f)(y) = Σ_i φ_i(y) Σ_k (W M)_ik F_k

W may hold the weights of product integration instead of nodal values, W_ik m_k ≈ ∫ w(y_i, z) φ_k(z) dz, where w is not
smooth (in `discretization.quadrature`: `product_integration` on intervals, `mesh_integration` in more dimensions).
Everything else, the adjoint, gradients and the training of W, knows W only: K* is the exact adjoint of K in the inner
product of V_h.

Each rank holds the rows of W of its own nodes, in the layout of PETSc's `MATDENSE`, and those of the operator A = W M.
A is computed whenever W changes; a layer is then one matrix product.  On several ranks of a space communicator
the states are gathered (one Allgather per product) and transposed products are reduced (one Reduce-scatter).  Storage
is 2 N² / ranks numbers per interval: for widths beyond some 10⁴ choose a kernel of lower rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sparse
from petsc4py import PETSc

from fem_selection.discretization.coefficients import KernelSource
from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.numbering import hashed_normal
from fem_selection.discretization.quadrature.kernel_samples import sample_kernel
from fem_selection.discretization.spaces import StateSpace
from fem_selection.discretization.transfer import Transfer
from fem_selection.kernels.base import KernelOperator, MatrixTerm, as_parameters, map_functions
from fem_selection.kernels.separable import SeparableKernel
from fem_selection.kernels.sums import Summable
from fem_selection.linalg.blas import add_product
from fem_selection.linalg.compression import Factorization, Truncation, compress
from fem_selection.parallel import warn_on_root
from fem_selection.typing import Block, Floats, Integers, real_number, whole_number

__all__ = ["DenseKernel"]

_SMALL = 256**2  # a transpose is kept for matrices of up to this many entries


class DenseKernel(Summable):
    """A kernel of full rank, time-dependent (several intervals) or constant in depth (one).

    Args:
        space: The state space V_h.
        num_intervals: Number of control intervals.

    Attributes:
        quadrature_declined: Where the quadrature does not know kinks or jumps of the interpolated kernel, in a
            sentence; None if it does.

    Note:
        Arrays of parameters have this rank's rows of all intervals: shape (num_intervals, N, num_local) in C order,
        flattened, so that `weights[c]` is an (num_local, N) matrix in Fortran order, PETSc's layout.
    """

    is_linear = True
    quadrature_declined: str | None = None

    def __init__(self, space: StateSpace, num_intervals: int) -> None:
        self.space, self.num_intervals = space, (num_intervals := whole_number(num_intervals, "num_intervals", 1))
        self._shape = (num_intervals, space.num_nodes, space.num_local)
        self.num_parameters = int(np.prod(self._shape))
        self.num_global_parameters = num_intervals * space.num_nodes**2
        self._weights: Floats | None = np.zeros(self._shape)
        self._own_operator = np.zeros(self._shape)
        self._hold(self._own_operator)
        self._alone = space.comm.size == 1
        self._mass = space.mass_columns
        self._row_slices = [slice(int(a), int(b)) for a, b in zip(space.offsets[:-1], space.offsets[1:], strict=True)]

    @classmethod
    def interpolate(
        cls,
        space: StateSpace,
        source: KernelSource,
        grid: DepthGrid,
        *,
        breaks: Sequence[KernelSource] | None = None,
        singularity: float | None = None,
    ) -> DenseKernel:
        """Create the kernel with the nodal values of w at the sample times of a depth grid (collective).

        w may have kinks, jumps and a weak singularity: there, other values take the place of nodal ones, so that the
        orders of the quadrature stay (see `product_integration` and `mesh_integration` in `discretization.quadrature`).

        Args:
            space: The state space V_h.
            source: w (see `discretization.coefficients`).
            grid: The depth grid.
            breaks: Functions g(t, y, z) at whose zeros w has a kink or a jump; if None those that a formula shows by
                `abs`, `sign`, `max`, `min` and comparisons.
            singularity: a, below the dimension, if w grows like |y − z|^{−a}; 0 if like log|y − z|, −1 if it has a kink
                like |y − z|.

        Warns:
            SelectionWarning: if the quadrature does not know all kinks and jumps (`quadrature_declined`).

        Raises:
            InvalidInput: if the values of w have a wrong shape, or w is infinite on the diagonal and not declared so.

        Example:
            >>> space = fs.StateSpace(fs.interval(MPI.COMM_SELF, cells=2), degree=1)
            >>> kernel = fs.DenseKernel.interpolate(space, lambda t, y, z: y[0] - z[0], fs.DepthGrid(layers=1))
            >>> print(kernel.values(0, np.arange(3)))  # at the nodes 0, 1/2 and 1
            [[ 0.  -0.5 -1. ]
             [ 0.5  0.  -0.5]
             [ 1.   0.5  0. ]]
        """
        kernel = cls(space, grid.intervals)
        times = [float(t) for t in grid.sample_times]
        found = sample_kernel(space, source, times, breaks=breaks, singularity=singularity)
        values = found.values.ravel()
        kernel.assign(kernel.riesz(values) if found.are_integrals else values)
        kernel.quadrature_declined = found.declined
        if found.declined is not None:
            warn_on_root(f"kernel: {found.declined}")
        return kernel

    @classmethod
    def random(cls, space: StateSpace, num_intervals: int, scale: float, *, seed: int) -> DenseKernel:
        """Create a kernel whose operator A has independent normal entries (collective).

        Their standard deviation is scale / √N, and they are the same on every partition.

        Args:
            space: The state space V_h.
            num_intervals: Number of control intervals.
            scale: The factor of the standard deviation.
            seed: Another seed gives other entries.
        """
        kernel, scale = cls(space, num_intervals), real_number(scale, "scale")
        draws = hashed_normal(seed, kernel.canonical_indices()).reshape(kernel._shape)
        weights = np.concatenate(space.comm.allgather(space.weights))
        kernel.assign((scale / np.sqrt(space.num_nodes) * draws / weights[None, :, None]).ravel())
        return kernel

    @property
    def weights(self) -> list[Block]:
        """The matrices W, one (num_local, N) view per interval; call `assign` to change them."""
        return [w.T for w in self._known_weights()]

    def values(self, interval: int, nodes: Integers) -> Floats:
        """Return w(y_i, y_k) at some nodes, shape (n, n), on every rank (collective).

        Args:
            interval: The control interval.
            nodes: Canonical numbers of the n nodes.
        """
        columns = np.argsort(self.space.canonical_global)[nodes]
        return self.space.gather(np.asfortranarray(self.weights[interval][:, columns]))[nodes]

    def matrix(self, interval: int) -> PETSc.Mat:
        """Return W of an interval as a PETSc `MATDENSE` on the same memory (collective).

        The rows are distributed over the space communicator, and the caller destroys the matrix.  After writing into it
        call `assign(parameters())`: this computes the operator anew and moves the weights to new memory, so that
        another matrix is needed for the next change.
        """
        size = (self.space.num_local, self.space.num_nodes)
        return PETSc.Mat().createDense(
            (size, size), array=self._known_weights()[interval].reshape(-1), comm=self.space.comm
        )

    def assign(self, parameters: Floats) -> None:
        """Set W of all intervals and compute A = W M; the array is kept by reference."""
        self._weights = as_parameters(parameters, self.num_parameters).reshape(self._shape)
        self._hold(self._own_operator)
        self._times_mass(self._weights, out=self._own_operator)

    def operator_factor(self) -> Floats | None:
        """Return the columns' nodal weights, since A = W M; None in Galerkin mode, where M is no diagonal."""
        if not self.space.is_collocated:
            return None
        return np.broadcast_to(self._mass[None, :, None], self._shape).ravel()

    def assign_operator(self, operator: Floats) -> None:
        """Set A of all intervals; the array is kept by reference, and W is computed when it is asked for."""
        self._weights = None
        self._hold(as_parameters(operator, self.num_parameters).reshape(self._shape))

    def _hold(self, operator: Floats) -> None:
        self._operator = operator
        self._operators = [a.T for a in operator]
        self._transposes: list[Block | None] = [None] * self.num_intervals
        self._all_transposed: Floats | None = None

    def _known_weights(self) -> Floats:
        if self._weights is None:
            self._weights = self._operator / self._mass[None, :, None]
        return self._weights

    def parameters(self) -> Floats:
        """Return a copy of W of all intervals, flattened."""
        return self._known_weights().ravel().copy()

    def prolong(self, parameters: Floats, transfer: Transfer) -> Floats:
        """Interpolate w in both arguments: W becomes P W Pᵀ.  See `Prolongable.prolong`."""
        every_row = transfer.whole_matrix()
        moved = []
        for w in as_parameters(parameters, self.num_parameters).reshape(self._shape):
            columns = np.concatenate(self.space.comm.allgather(np.ascontiguousarray(w.T)))  # W, shape (N, N)
            own_rows = transfer.matrix @ columns  # (P W)_ik for this rank's rows i
            moved.append(np.asarray(every_row @ own_rows.T))
        return np.concatenate(moved, axis=None)

    def compress(self, tolerance: float | None = None, rank: int | None = None) -> tuple[SeparableKernel, float]:
        """Return a kernel of lower rank, from the singular value decomposition of each interval's w (collective).

        Args:
            tolerance: Keep the lowest rank with ‖w − w_r‖ ≤ tolerance · ‖w‖ in L²(Y × Y) at every interval.
            rank: Keep this rank.

        Returns:
            A kernel with (u_r, u_s) = (v_r, v_s) = s_r δ_rs, the singular values in decreasing order, and the largest
            error ‖w − w_r‖ of all intervals, measured on w itself.

        Raises:
            InvalidInput: unless exactly one of the two is given, and is positive.
        """
        cut = Truncation(rank=rank, tolerance=tolerance)
        found = [self._truncated(c, cut) for c in range(self.num_intervals)]
        kernel = SeparableKernel.from_factors(self.space, [(f.left, f.right) for f in found])
        return kernel, max(f.missed for f in found)

    def _truncated(self, interval: int, cut: Truncation) -> Factorization:
        space, w = self.space, self.weights[interval]

        def residual(left: Block, right: Block) -> float:
            rest = w.copy(order="F")
            columns = np.asfortranarray(np.concatenate(space.comm.allgather(right)))
            add_product(-1.0, np.asfortranarray(left), columns, out=rest, transpose_b=True)
            return self._norm_of(rest)

        return compress(space, KernelOperator(self, interval), residual, norm=self._norm_of(w), cut=cut)

    def _norm_of(self, w: Block) -> float:
        """‖w‖ in L²(Y × Y) of one matrix of nodal values (collective)."""
        if self.space.is_collocated:
            square = float(self.space.weights @ (np.square(w) @ self._mass))
        else:
            square = float(np.vdot(w, self.space.apply_mass(np.asfortranarray((self._mass.T @ w.T).T))))
        return float(np.sqrt(max(self.space.comm.allreduce(square), 0.0)))

    def by_interval(self, parameters: Floats) -> list[Floats]:
        """Return one view: the matrix of each interval."""
        return [parameters.reshape(self.num_intervals, -1)]

    def create_direction(self) -> DenseKernel:
        """Return a dense kernel of zeros on the same space and intervals: K is linear in W."""
        return DenseKernel(self.space, self.num_intervals)

    def canonical_indices(self) -> Integers:
        """Return (interval, column, row) in the canonical numbering of the nodes, as one number."""
        n = self.space.num_nodes
        interval = np.arange(self.num_intervals)[:, None, None]
        column, row = self.space.canonical_global[None, :, None], self.space.canonical[None, None, :]
        return ((interval * n + column) * n + row).ravel()

    def apply(self, interval: int, block: Block, out: Block, *, keep: bool = False) -> None:
        """`out` = A F, plus what `out` held if `keep`.  See `Kernel.apply`."""
        operator = self._operators[interval]
        if self._alone:
            add_product(1.0, operator, block, out=out, keep=keep)
            return
        for number, (rows, part) in enumerate(self._gathered(block)):
            add_product(1.0, operator[:, rows], part, out=out, keep=keep or number > 0)

    def add_transpose(self, interval: int, dual: Block, scale: float, *, out: Block) -> None:
        """`out` += scale · Aᵀ Q.  See `Kernel.add_transpose`."""
        operator = self._operators[interval]
        if self._alone:
            if operator.size <= _SMALL and dual.shape[1] > operator.shape[0]:
                add_product(scale, self._transposed(interval), dual, out=out)
            else:
                add_product(scale, operator, dual, out=out, transpose_a=True)
            return
        samples = dual.shape[1]
        parts = np.empty(self.space.num_nodes * samples)
        for rows in self._row_slices:
            part = _block_of(parts, rows, samples)
            add_product(scale, operator[:, rows], dual, out=part, transpose_a=True, keep=False)
        received = np.empty((self.space.num_local, samples), order="F")
        self.space.comm.Reduce_scatter(parts, received.reshape(-1, order="F"), [n * samples for n in self.space.counts])
        out += received

    def create_pullback(self, buffer: Floats | None = None) -> Floats:
        """Return zeros of shape (num_intervals, N, num_local) for the dual of A; in `buffer` if given."""
        if buffer is None:
            return np.zeros(self._shape)
        buffer.fill(0.0)
        return buffer.reshape(self._shape)

    def add_pullback(self, interval: int, dual: Block, block: Block, *, scale: float, out: Floats) -> None:
        """`out[interval]` += scale · (Q Fᵀ)ᵀ, the dual of A.  See `Kernel.add_pullback`."""
        target = out[interval].T
        if self._alone:
            add_product(scale, dual, block, out=target, transpose_b=True)
            return
        for rows, part in self._gathered(block):
            add_product(scale, dual, part, out=target[:, rows], transpose_b=True)

    def matrix_terms(self) -> list[MatrixTerm]:
        """Return A of all intervals, and Aᵀ if it is small.  See `HasMatrixTerms.matrix_terms`."""
        if self._all_transposed is None and self.space.num_nodes**2 <= _SMALL:
            self._all_transposed = np.ascontiguousarray(self._operator.transpose(0, 2, 1))
        return [MatrixTerm(left=self._operator, transposed=self._all_transposed)]

    def matrix_duals(self, pullback: Floats) -> list[MatrixTerm]:
        """Return the pullback itself, the dual of A.  See `HasMatrixTerms.matrix_duals`."""
        return [MatrixTerm(left=pullback)]

    def add_second_pullback(self, interval: int, dual: Block, block: Block, *, scale: float, out: Floats) -> None:
        """Do nothing: K is linear in W.  See `KernelDirection.add_second_pullback`."""

    def parameter_dual(self, pullback: Floats, out: Floats | None = None) -> Floats:
        """Return the dual of W, that of A = W M times M from the right.  See `Kernel.parameter_dual`."""
        result = np.empty(self.num_parameters) if out is None else out
        self._times_mass(pullback, out=result.reshape(self._shape))
        return result

    def apply_mass(self, parameters: Floats) -> Floats:
        """Return M W M of every interval."""
        right = self._times_mass(parameters.reshape(self._shape), out=np.empty(self._shape))
        return map_functions(self.space.apply_mass, right).ravel()

    def riesz(self, dual: Floats) -> Floats:
        """Return M⁻¹ D M⁻¹ of every interval."""
        left = map_functions(self.space.riesz, dual.reshape(self._shape))
        if self.space.is_collocated:
            return (left / self._mass[None, :, None]).ravel()
        flat = left.transpose(1, 0, 2).reshape(self.space.num_nodes, -1)
        solved = self._mass_factor().solve(np.asfortranarray(flat))
        return solved.reshape(self._shape[1], self._shape[0], self._shape[2]).transpose(1, 0, 2).ravel()

    def lumped_mass(self) -> Floats:
        """Return m_i m_k, the products of the nodal weights."""
        weights = np.concatenate(self.space.comm.allgather(self.space.weights))
        return np.broadcast_to(weights[None, :, None] * self.space.weights[None, None, :], self._shape).ravel()

    def _times_mass(self, weights: Floats, out: Floats) -> Floats:
        """W M for all intervals; the second axis of the arrays is W's column."""
        if self.space.is_collocated:
            return np.multiply(weights, self._mass[None, :, None], out=out)
        for w, result in zip(weights, out, strict=True):
            result[...] = self._mass.T @ w
        return out

    def _transposed(self, interval: int) -> Block:
        """Aᵀ of a small matrix in Fortran order, kept until W changes: BLAS is a quarter faster with it than with A."""
        transpose = self._transposes[interval]
        if transpose is None:
            transpose = self._transposes[interval] = np.asfortranarray(self._operators[interval].T)
        return transpose

    def _gathered(self, block: Block) -> list[tuple[slice, Block]]:
        """The rows of a block from every rank of the space communicator, with their global numbers (collective)."""
        samples = block.shape[1]
        everything = np.empty(self.space.num_nodes * samples)
        self.space.comm.Allgatherv(
            np.asfortranarray(block).reshape(-1, order="F"), [everything, [n * samples for n in self.space.counts]]
        )
        return [(rows, _block_of(everything, rows, samples)) for rows in self._row_slices]

    def _mass_factor(self) -> Any:
        if not hasattr(self, "_factor"):
            from scipy.sparse.linalg import splu

            self._factor = splu(sparse.csc_matrix(self._mass))
        return self._factor


def _block_of(buffer: Floats, rows: slice, samples: int) -> Block:
    """The block of some rows in a buffer that holds the ranks' blocks one after the other."""
    part = buffer[rows.start * samples : rows.stop * samples]
    return part.reshape((rows.stop - rows.start, samples), order="F")
