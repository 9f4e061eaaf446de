# SPDX-License-Identifier: MIT
"""What a kernel must be able to do: the seam between the dynamics and the representation of w.

A kernel holds, for each control interval c, parameters θ_c and acts on blocks of nodal values, linearly both in the
parameters and in the block:

    apply            F  ↦ K(θ_c) F
    add_transpose    Q  ↦ K(θ_c)ᵀ Q         ⟨K F, Q⟩ = ⟨F, Kᵀ Q⟩ in the Euclidean product of the coefficients
    add_pullback     (Q, F) ↦ ∂_θ ⟨K(θ) F, Q⟩   the derivative in the parameters, a dual

The dynamics know nothing else of w.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from fem_selection.typing import Block, Floats, Integers

__all__ = ["Kernel"]


@runtime_checkable
class Kernel(Protocol):
    """A linear integral operator with parameters in each control interval.

    Attributes:
        num_intervals: Number of control intervals.
        num_parameters: Length of this rank's parameters of all intervals.
        num_global_parameters: The same over all ranks of the space communicator.
    """

    num_intervals: int
    num_parameters: int
    num_global_parameters: int

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

    def create_like(self) -> Kernel:
        """A kernel of the same kind and size with zero parameters, to hold a direction."""

    def canonical_indices(self) -> Integers:
        """For each of this rank's parameters its place in an order that no partition changes."""

    def apply(self, interval: int, block: Block, out: Block, keep: bool = False) -> None:
        """`out` = K F, plus what `out` held if `keep`: nodal values of K f_j for those of f_j (collective)."""

    def add_transpose(self, interval: int, dual: Block, scale: float, out: Block) -> None:
        """`out` += scale · Kᵀ Q (collective over space)."""

    def create_pullback(self, buffer: Floats | None = None) -> Floats:
        """Zeros that `add_pullback` adds to; reusable after `fill(0)`.

        In `buffer`, shape (num_parameters,), if given and `operator_factor` is not None.
        """

    def add_pullback(self, interval: int, dual: Block, block: Block, scale: float, out: Floats) -> None:
        """`out` += scale · ∂_θ ⟨K F, Q⟩, in the kernel's own intermediate form (collective over space)."""

    def parameter_dual(self, pullback: Floats, out: Floats | None = None) -> Floats:
        """The dual of the parameters, shape (num_parameters,), from what `add_pullback` summed; in `out` if given."""

    def apply_mass(self, parameters: Floats) -> Floats:
        """The Gram matrix of the L²(Y × Y) inner product of kernels, for every interval (collective over space).

        ⟨u, v⟩_{L²(Y×Y)}, summed over intervals and ranks, is `u @ apply_mass(v)`.
        """

    def riesz(self, dual: Floats) -> Floats:
        """The inverse of `apply_mass`: the L² representative of a dual (collective over space)."""

    def lumped_mass(self) -> Floats:
        """A diagonal spectrally equivalent to `apply_mass`, shape (num_parameters,), positive."""
