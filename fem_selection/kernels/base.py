# SPDX-License-Identifier: MIT
"""What a kernel must be able to do: the seam between the dynamics and the representation of w.

A kernel holds, for each control interval c, parameters θ_c and acts linearly on blocks of nodal values:

    apply            F  ↦ K(θ_c) F
    add_transpose    Q  ↦ K(θ_c)ᵀ Q         ⟨K F, Q⟩ = ⟨F, Kᵀ Q⟩ in the Euclidean product of the coefficients
    add_pullback     (Q, F) ↦ ∂_θ ⟨K(θ) F, Q⟩   the derivative in the parameters, a dual

In the parameters K is linear (values of w, coefficients of a local operator) or not (factors of w, which are
multiplied).  A direction δθ is therefore an object of its own, the derivative of the operator along δθ:

    apply                 F ↦ K'(θ_c)δθ F             for a linear kernel K(δθ) F: the direction is a kernel
    add_transpose         Q ↦ (K'(θ_c)δθ)ᵀ Q
    add_second_pullback   (Q, F) ↦ ∂²_θθ ⟨K(θ) F, Q⟩ δθ   zero for a linear kernel, and then not called

The dynamics know nothing else of w.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
from petsc4py import PETSc

from fem_selection.typing import Block, Floats, Integers, create_block

__all__ = ["HasLocalPart", "Kernel", "KernelDirection", "KernelOperator", "OperatorByParameters", "map_functions"]


@runtime_checkable
class KernelDirection(Protocol):
    """K'(θ)δθ, the derivative of a kernel's operator at the parameters that the kernel holds when it is applied."""

    def assign(self, parameters: Floats) -> None:
        """Set δθ of all intervals, shape (num_parameters,), on this rank; kept by reference (collective)."""

    def assign_operator(self, operator: Floats) -> None:
        """Set D δθ of all intervals, where the kernel has an `operator_factor` D; kept by reference."""

    def apply(self, interval: int, block: Block, out: Block, *, keep: bool = False) -> None:
        """`out` = K'(θ)δθ F, plus what `out` held if `keep` (collective over space)."""

    def add_transpose(self, interval: int, dual: Block, scale: float, *, out: Block) -> None:
        """`out` += scale · (K'(θ)δθ)ᵀ Q (collective over space)."""

    def add_second_pullback(self, interval: int, dual: Block, block: Block, *, scale: float, out: Floats) -> None:
        """`out` += scale · ∂²_θθ ⟨K F, Q⟩ δθ, in the form of the kernel's pullbacks (collective over space)."""


@runtime_checkable
class Kernel(Protocol):
    """A linear integral operator with parameters in each control interval.

    Attributes:
        num_intervals: Number of control intervals.
        num_parameters: Length of this rank's parameters of all intervals.
        num_global_parameters: The same over all ranks of the space communicator.
        is_linear: Whether K is linear in θ: second pullbacks vanish then.
    """

    num_intervals: int
    num_parameters: int
    num_global_parameters: int
    is_linear: bool

    def assign(self, parameters: Floats) -> None:
        """Set the parameters of all intervals, shape (num_parameters,), on this rank (collective).

        The array is kept by reference: assign again after changing it.
        """

    def operator_factor(self) -> Floats | None:
        """The diagonal D for which D θ are the entries of the operator, shape (num_parameters,); None if there is none.

        Then `assign_operator` may take the place of `assign`, and D times a pullback is the parameters' dual.
        """

    def assign_operator(self, operator: Floats) -> None:
        """Set D θ of all intervals, shape (num_parameters,), where `operator_factor` is not None; kept by reference."""

    def parameters(self) -> Floats:
        """This rank's parameters of all intervals, shape (num_parameters,); a copy."""

    def by_interval(self, parameters: Floats) -> list[Floats]:
        """Views of a parameter array, each with the intervals as its first axis; together they are the whole array."""

    def create_direction(self) -> KernelDirection:
        """An object for directions δθ of this kernel, zero at first; any number of them may exist."""

    def canonical_indices(self) -> Integers:
        """For each of this rank's parameters its place in an order that no partition changes."""

    def apply(self, interval: int, block: Block, out: Block, *, keep: bool = False) -> None:
        """`out` = K F, plus what `out` held if `keep`: nodal values of K f_j for those of f_j (collective)."""

    def add_transpose(self, interval: int, dual: Block, scale: float, *, out: Block) -> None:
        """`out` += scale · Kᵀ Q (collective over space)."""

    def create_pullback(self, buffer: Floats | None = None) -> Floats:
        """Zeros that `add_pullback` adds to; reusable after `fill(0)`.

        In `buffer`, shape (num_parameters,), if given and `operator_factor` is not None.
        """

    def add_pullback(self, interval: int, dual: Block, block: Block, *, scale: float, out: Floats) -> None:
        """`out` += scale · ∂_θ ⟨K F, Q⟩, in the kernel's own intermediate form (collective over space)."""

    def parameter_dual(self, pullback: Floats, out: Floats | None = None) -> Floats:
        """The dual of the parameters, shape (num_parameters,), from what `add_pullback` summed; in `out` if given."""

    def apply_mass(self, parameters: Floats) -> Floats:
        """The Gram matrix of the parameters' L² inner product, for every interval (collective over space).

        For values of w that of L²(Y × Y), for factors or coefficients that of L²(Y): ⟨u, v⟩, summed over intervals and
        ranks, is `u @ apply_mass(v)`.
        """

    def riesz(self, dual: Floats) -> Floats:
        """The inverse of `apply_mass`: the L² representative of a dual (collective over space)."""

    def lumped_mass(self) -> Floats:
        """A diagonal spectrally equivalent to `apply_mass`, shape (num_parameters,), positive."""


@runtime_checkable
class HasLocalPart(Protocol):
    """A kernel with a local part."""

    def sparse_operator(self, interval: int) -> PETSc.Mat | None:
        """L of an interval, the kernel's own matrix, with the rows and columns of the space; None if it is zero.

        (K_local f, φ_i) = Σ_k L_ik F_k.
        """


class OperatorByParameters:
    """Base of kernels and directions whose operator is no diagonal times their parameters."""

    def operator_factor(self) -> Floats | None:
        """None: there is no such diagonal."""
        return None

    def assign_operator(self, operator: Floats) -> None:
        """Not available.

        Raises:
            TypeError: always; ask `operator_factor` first.
        """
        raise TypeError(f"{type(self).__name__} has no operator factor: use assign")


class KernelOperator:
    """K of one interval as a linear operator on blocks of nodal values, for what asks for no more than products.

    Args:
        kernel: K.
        interval: Which of its intervals.
    """

    def __init__(self, kernel: Kernel, interval: int = 0) -> None:
        self._kernel, self._interval = kernel, interval

    def apply(self, v: Block) -> Block:
        """K v."""
        result = create_block(*v.shape)
        self._kernel.apply(self._interval, v, result)
        return result

    def apply_transpose(self, dual: Block) -> Block:
        """Kᵀ d."""
        result = create_block(*dual.shape)
        self._kernel.add_transpose(self._interval, dual, 1.0, out=result)
        return result


def map_functions(operator: Callable[[Block], Block], values: Floats) -> Floats:
    """Apply an operator on blocks to all functions of an array in C order, whose last axis is this rank's nodes."""
    block = np.asfortranarray(values.reshape(-1, values.shape[-1]).T)
    return np.ascontiguousarray(operator(block).T).reshape(values.shape)
