# SPDX-License-Identifier: MIT
"""The protocols of kernels: all that the dynamics know about the representation of w.

A kernel holds, for each control interval c, parameters θ_c and acts linearly on blocks of nodal values:

    apply            F  ↦ K(θ_c) F
    add_transpose    Q  ↦ K(θ_c)ᵀ Q         ⟨K F, Q⟩ = ⟨F, Kᵀ Q⟩ in the Euclidean product of the coefficients
    add_pullback     (Q, F) ↦ ∂_θ ⟨K(θ) F, Q⟩   the derivative in the parameters, a dual

K is linear in some parameters (values of w, coefficients of a local operator) and not in others (factors of w, which
are multiplied).  A direction δθ is therefore an object of its own, the derivative of the operator along δθ:

    apply                 F ↦ K'(θ_c)δθ F             for a linear kernel K(δθ) F: the direction is a kernel
    add_transpose         Q ↦ (K'(θ_c)δθ)ᵀ Q
    add_second_pullback   (Q, F) ↦ ∂²_θθ ⟨K(θ) F, Q⟩ δθ   zero for a linear kernel, and then not called
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from petsc4py import PETSc

from fem_selection.discretization.transfer import Transfer
from fem_selection.errors import InvalidInput
from fem_selection.typing import Block, Floats, Integers, create_block, real_array, real_block, whole_number

__all__ = [
    "HasLocalPart",
    "HasMatrixTerms",
    "Kernel",
    "KernelDirection",
    "KernelOperator",
    "MatrixTerm",
    "OperatorByParameters",
    "Prolongable",
    "as_parameters",
    "map_functions",
]


@runtime_checkable
class KernelDirection(Protocol):
    """K'(θ)δθ, the derivative of a kernel's operator in the direction δθ.

    θ are the parameters that the kernel holds at the time of the call.
    """

    def assign(self, parameters: Floats) -> None:
        """Set δθ of all intervals on this rank, shape (num_parameters,); kept by reference (collective)."""

    def assign_operator(self, operator: Floats) -> None:
        """Set D δθ of all intervals instead of δθ, if the kernel has an `operator_factor` D; kept by reference."""

    def apply(self, interval: int, block: Block, out: Block, *, keep: bool = False) -> None:
        """`out` = K'(θ)δθ F, plus what `out` held if `keep` (collective over space).

        Args:
            interval: The control interval c.
            block: F, nodal values, shape (num_local, J).
            out: Shape (num_local, J); overwritten, or added to if `keep`.
            keep: Whether to add to `out`.
        """

    def add_transpose(self, interval: int, dual: Block, scale: float, *, out: Block) -> None:
        """`out` += scale · (K'(θ)δθ)ᵀ Q (collective over space).

        Args:
            interval: The control interval c.
            dual: Q, duals of nodal values, shape (num_local, J).
            scale: The factor.
            out: Shape (num_local, J); added to.
        """

    def add_second_pullback(self, interval: int, dual: Block, block: Block, *, scale: float, out: Floats) -> None:
        """`out` += scale · ∂²_θθ ⟨K F, Q⟩ δθ (collective over space).

        Args:
            interval: The control interval c.
            dual: Q, shape (num_local, J).
            block: F, shape (num_local, J).
            scale: The factor.
            out: An array made by the kernel's `create_pullback`; added to.
        """


@runtime_checkable
class Kernel(Protocol):
    """A linear operator on V_h with parameters in each control interval.

    Attributes:
        num_intervals: Number of control intervals.
        num_parameters: Number of parameters on this rank, all intervals together.
        num_global_parameters: The same over all ranks of the space communicator.
        is_linear: Whether K is linear in θ, so that second pullbacks vanish.
    """

    num_intervals: int
    num_parameters: int
    num_global_parameters: int
    is_linear: bool

    def assign(self, parameters: Floats) -> None:
        """Set the parameters of all intervals on this rank, shape (num_parameters,) (collective).

        The array is kept by reference: assign again after changing it.
        """

    def operator_factor(self) -> Floats | None:
        """Return the diagonal D for which D θ are the entries of the operator; None if there is none.

        Its shape is (num_parameters,).  If it exists, `assign_operator` may replace `assign`, and D times a pullback is
        the dual of the parameters.
        """

    def assign_operator(self, operator: Floats) -> None:
        """Set D θ of all intervals, shape (num_parameters,), if `operator_factor` is not None; kept by reference."""

    def parameters(self) -> Floats:
        """Return a copy of this rank's parameters of all intervals, shape (num_parameters,)."""

    def by_interval(self, parameters: Floats) -> list[Floats]:
        """Return views of a parameter array whose first axis is the interval; together they are the whole array."""

    def create_direction(self) -> KernelDirection:
        """Return a new direction δθ of this kernel, zero at first; any number of them may exist."""

    def canonical_indices(self) -> Integers:
        """Return the place of each of this rank's parameters in an order that is the same on every partition."""

    def apply(self, interval: int, block: Block, out: Block, *, keep: bool = False) -> None:
        """`out` = K F, plus what `out` held if `keep` (collective over space).

        Args:
            interval: The control interval c.
            block: F, nodal values, shape (num_local, J).
            out: Nodal values of K f_j, shape (num_local, J); overwritten, or added to if `keep`.
            keep: Whether to add to `out`.
        """

    def add_transpose(self, interval: int, dual: Block, scale: float, *, out: Block) -> None:
        """`out` += scale · Kᵀ Q (collective over space).

        Args:
            interval: The control interval c.
            dual: Q, duals of nodal values, shape (num_local, J).
            scale: The factor.
            out: Shape (num_local, J); added to.
        """

    def create_pullback(self, buffer: Floats | None = None) -> Floats:
        """Return zeros to which `add_pullback` adds; `fill(0)` makes the array ready for another sum.

        The shape is the kernel's own.  With `buffer`, shape (num_parameters,), the array uses that memory if
        `operator_factor` is not None.
        """

    def add_pullback(self, interval: int, dual: Block, block: Block, *, scale: float, out: Floats) -> None:
        """`out` += scale · ∂_θ ⟨K F, Q⟩, in an intermediate form of the kernel's own (collective over space).

        Args:
            interval: The control interval c.
            dual: Q, shape (num_local, J).
            block: F, shape (num_local, J).
            scale: The factor.
            out: An array made by `create_pullback`; added to.
        """

    def parameter_dual(self, pullback: Floats, out: Floats | None = None) -> Floats:
        """Return the dual of the parameters, shape (num_parameters,) (collective over space).

        Args:
            pullback: What `add_pullback` summed.
            out: The array to write to, shape (num_parameters,); a new one if None.
        """

    def apply_mass(self, parameters: Floats) -> Floats:
        """Apply the Gram matrix of the parameters' L² inner product, for every interval (collective over space).

        The inner product is that of L²(Y × Y) for values of w, and of L²(Y) for factors or coefficients: ⟨u, v⟩ is the
        sum of `u @ apply_mass(v)` over the ranks.
        """

    def riesz(self, dual: Floats) -> Floats:
        """Return the L² representative of a dual; the inverse of `apply_mass` (collective over space)."""

    def lumped_mass(self) -> Floats:
        """Return a positive diagonal that is spectrally equivalent to `apply_mass`, shape (num_parameters,)."""


@runtime_checkable
class HasLocalPart(Protocol):
    """A kernel with a local part."""

    def sparse_operator(self, interval: int) -> PETSc.Mat | None:
        """Return the sparse matrix L of an interval, with the rows and columns of the space; None if it is zero.

        (K_local f, φ_i) = Σ_k L_ik F_k.  The kernel keeps the matrix: the caller does not destroy it.
        """


@dataclass(frozen=True)
class MatrixTerm:
    """K of all intervals as matrices of this rank: L Rᵀ, or L alone.

    Attributes:
        left: L, shape (num_intervals, rank, num_local), or (num_intervals, N, N) for L alone; `left[c].T` is the
            matrix of interval c.
        right: R, shape (num_intervals, rank, num_local); None for L alone.
        transposed: Lᵀ of L alone, shape (num_intervals, N, N), if the kernel keeps it.
    """

    left: Floats
    right: Floats | None = None
    transposed: Floats | None = None


@runtime_checkable
class HasMatrixTerms(Protocol):
    """A kernel that is a sum of matrices and of products of matrices, so that compiled sweeps can apply it."""

    def matrix_terms(self) -> list[MatrixTerm] | None:
        """Return the terms of the sum, on the kernel's own memory; None if there is another part."""

    def matrix_duals(self, pullback: Floats) -> list[MatrixTerm]:
        """Return views of a pullback, for each term: where the duals of L and R are added.

        Args:
            pullback: An array made by `create_pullback`.
        """


@runtime_checkable
class Prolongable(Protocol):
    """A kernel whose parameters can be carried to a kernel of the same kind on another mesh."""

    def prolong(self, parameters: Floats, transfer: Transfer) -> Floats:
        """Return parameters on the target of a transfer, for the same intervals (collective over space).

        Args:
            parameters: This kernel's parameters, shape (num_parameters,).
            transfer: The interpolation from this kernel's space.

        Returns:
            The same function w on the other mesh, flattened as that mesh's kernel holds it.
        """


class OperatorByParameters:
    """Base of kernels and directions without an `operator_factor`."""

    def operator_factor(self) -> Floats | None:
        """Return None: the operator is not a diagonal times the parameters."""
        return None

    def assign_operator(self, operator: Floats) -> None:
        """Raise an error: there is no operator factor.

        Raises:
            TypeError: always; ask `operator_factor` first.
        """
        raise TypeError(f"{type(self).__name__} has no operator factor: use assign")


def as_parameters(parameters: Floats, count: int) -> Floats:
    """Return the parameters that a kernel is given as an array of float64, the array itself if it is one.

    Args:
        parameters: A list or an array of any shape.
        count: Number of parameters.

    Raises:
        InvalidInput: if they are no real numbers, or of another number.
    """
    array = real_array(parameters, "parameters of a kernel")
    if array.size != count:
        raise InvalidInput(f"{array.size} parameters of a kernel: expected {count} on this rank")
    return array


class KernelOperator:
    """K of one interval as a linear operator on blocks of nodal values, an `Operator` of `fem_selection.linalg`.

    Args:
        kernel: K.
        interval: Which of its intervals.

    Raises:
        InvalidInput: if the kernel has no such interval.
    """

    def __init__(self, kernel: Kernel, interval: int = 0) -> None:
        self._kernel, self._interval = kernel, whole_number(interval, "interval", 0)
        if self._interval >= kernel.num_intervals:
            raise InvalidInput(f"interval = {interval}: the kernel has {kernel.num_intervals}, counted from 0")

    def apply(self, v: Block) -> Block:
        """Return K v."""
        v = real_block(v, len(v), "a block")
        result = create_block(*v.shape)
        self._kernel.apply(self._interval, v, result)
        return result

    def apply_transpose(self, dual: Block) -> Block:
        """Return Kᵀ d."""
        dual = real_block(dual, len(dual), "a block of duals")
        result = create_block(*dual.shape)
        self._kernel.add_transpose(self._interval, dual, 1.0, out=result)
        return result


def map_functions(operator: Callable[[Block], Block], values: Floats) -> Floats:
    """Apply an operator on blocks to all functions in an array and return the results in the same shape.

    Args:
        operator: A function of blocks, shape (num_local, any), to blocks of the same shape.
        values: Nodal values in C order; the last axis is this rank's nodes.
    """
    block = np.asfortranarray(values.reshape(-1, values.shape[-1]).T)
    return np.ascontiguousarray(operator(block).T).reshape(values.shape)
