# SPDX-License-Identifier: MIT
"""`RepresenterKernel`: w(t) = Σ_j Ĉ_j(t) ⊗ e_j(t), a kernel on functions e_j that move along with the states.

Anchors A, a block of r states, flow through the layers by the same dynamics as every other state; with their Gram
matrix G = AᵀMA

    e = A P,   P ≈ G^{-1/2},      K F = Ĉ X,   X = P B,   B = AᵀMF;     for the anchors X = P G.

A stationary full kernel has the form Σ_j c_j ⊗ f_j on the states f_j of all samples, so that nothing is lost if all of
them are anchors.  P is G^{-1/2} up to round-off where anchors are independent, and bounded elsewhere
(`linalg.inverse_root`), so the e_j are orthonormal, and the L² norm of Ĉ is that of w in L²(Y × Y), whatever the states
are.  Nothing of size N² exists; a product costs O(N r) for each sample.

The operator differs at every stage of every layer, because the anchors do.  Each of these is a *place*, and calls name
it where those of other kernels name the control interval.  There K has three factors, Ĉ of the interval, P and the
moments M A; a `Place` (`kernels.places`) keeps the latter two, which the flow of the anchors computes
(`dynamics.anchors`).  Sweeps of blocks add to the duals of all three, and the flow's own adjoint carries those of P and
M A back to the parameters Ĉ (`adjoint.anchors`).  All that is known here is that K is trilinear in its factors.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from mpi4py import MPI

from fem_selection.discretization.numbering import hashed_normal
from fem_selection.discretization.spaces import StateSpace
from fem_selection.discretization.transfer import Transfer
from fem_selection.errors import InvalidInput
from fem_selection.kernels.base import OperatorByParameters, as_parameters, map_functions
from fem_selection.kernels.places import FactorDuals, Place, PlaceDirection
from fem_selection.kernels.separable import SeparableKernel
from fem_selection.linalg.blas import add_product
from fem_selection.typing import Block, Floats, Integers, real_number, whole_number

__all__ = ["RepresenterDirection", "RepresenterKernel"]


class RepresenterKernel(OperatorByParameters):
    """A kernel on states that flow.

    Args:
        space: The state space V_h.
        num_intervals: Number of control intervals.
        anchors: The anchors at t = 0, shape (num_local, r); copied.

    Attributes:
        anchors: The anchors at t = 0.
        places: The places, layer by layer and stage by stage, or as many as are kept at once: that of number p is
            `places[p % len(places)]`.  Empty until a `Stepper` takes the kernel.
        follow: Lets the anchors flow with the parameters that were assigned last, up to a place of some number at
            least (collective); the stepper sets it.

    Raises:
        InvalidInput: if there are no anchors, or they are no finite real numbers (collective).

    Note:
        Parameters are the nodal values of Ĉ, shape (num_intervals, r, num_local) in C order, flattened.  One stepper
        uses the kernel at a time.
    """

    is_linear = False

    def __init__(self, space: StateSpace, num_intervals: int, anchors: Block) -> None:
        self.space, self.num_intervals = space, whole_number(num_intervals, "num_intervals", 1)
        self.anchors = space.to_block(anchors, "anchors", fewest=1).copy(order="F")
        if not all(space.comm.allgather(bool(np.all(np.isfinite(self.anchors))))):
            raise InvalidInput("anchors are not finite: they have infinite values or NaN")
        self.rank = self.anchors.shape[1]
        self._shape = (self.num_intervals, self.rank, space.num_local)
        self.num_parameters = int(np.prod(self._shape))
        self.num_global_parameters = self.num_intervals * self.rank * space.num_nodes
        self.places: list[Place] = []
        self.follow: Callable[[int], None] | None = None
        self._intervals: list[int] = []
        self.assign(np.zeros(self.num_parameters))

    @classmethod
    def random(
        cls, space: StateSpace, num_intervals: int, anchors: Block, *, scale: float, seed: int
    ) -> RepresenterKernel:
        """Create a kernel whose K f has nodal values of standard deviation scale · ‖f‖ / |Y|^{1/2} (collective).

        The numbers are the same on every partition.  `DenseKernel.random` has the same deviation on a uniform mesh.

        Args:
            space: The state space V_h.
            num_intervals: Number of control intervals.
            anchors: The anchors at t = 0, shape (num_local, r).
            scale: The factor of the standard deviation.
            seed: Another seed gives other values.
        """
        kernel, volume = cls(space, num_intervals, anchors), space.comm.allreduce(float(space.weights.sum()))
        if real_number(scale, "scale") != 0:
            kernel.assign(scale / np.sqrt(volume) * hashed_normal(seed, kernel.canonical_indices()))
        return kernel

    def bind(self, intervals: list[int], follow: Callable[[int], None], kept: int) -> None:
        """Make the places of a stepper's stages this kernel's places.

        Args:
            intervals: The control interval of each place.
            follow: Lets the anchors flow up to the place of a number, and fills places (collective).
            kept: Number of consecutive places that are kept at once.
        """
        if self._intervals != intervals or len(self.places) != kept:
            self.places = [Place(interval=c, moments=np.empty((0, 0)), number=-1) for c in intervals[:kept]]
            self._intervals = intervals
        self.follow, self.is_current = follow, False

    @property
    def num_places(self) -> int:
        """Number of all places."""
        return len(self._intervals)

    def place(self, number: int) -> Place:
        """Return a place; lets the anchors flow first if it is not at hand for the present parameters (collective).

        Raises:
            InvalidInput: if no stepper has taken the kernel.
        """
        if self.follow is None:
            raise InvalidInput(
                "a representer kernel acts on states along the layers: make a Stepper of it, or take as_separable()"
            )
        if not self.is_current or self.places[number % len(self.places)].number != number:
            self.follow(number)
        return self.places[number % len(self.places)]

    def values(self, interval: int) -> Block:
        """Return Ĉ of an interval, a view of shape (num_local, r)."""
        return self._left[interval]

    @property
    def changes_within_intervals(self) -> str | None:
        """Return why the kernel is not one function w on each control interval; None if it is."""
        if self.num_places == self.num_intervals:
            return None
        return (
            f"the representer kernel has {self.num_places} stages on {self.num_intervals} control intervals and "
            "changes within an interval: it does not with dynamics.scheme = 'euler' and one layer an interval"
        )

    # ── parameters ────────────────────────────────────────────────────────────────────────────────────────────────

    def assign(self, parameters: Floats) -> None:
        """Set Ĉ of all intervals; the array is kept by reference.  The anchors flow again at the next use."""
        self._values = as_parameters(parameters, self.num_parameters).reshape(self._shape)
        self._left = [c.T for c in self._values]
        self.is_current = False

    def parameters(self) -> Floats:
        """Return a copy of the nodal values of Ĉ, flattened."""
        return self._values.ravel().copy()

    def by_interval(self, parameters: Floats) -> list[Floats]:
        """Return one view: Ĉ of each interval."""
        return [parameters.reshape(self.num_intervals, -1)]

    def create_direction(self) -> RepresenterDirection:
        """Return the direction δĈ = 0."""
        return RepresenterDirection(self)

    def canonical_indices(self) -> Integers:
        """Return (interval, j, node) in the canonical numbering of the nodes, as one number."""
        leading = np.arange(self.num_intervals * self.rank).reshape(*self._shape[:2], 1)
        return (leading * self.space.num_nodes + self.space.canonical).ravel()

    def prolong(self, parameters: Floats, transfer: Transfer) -> Floats:
        """Interpolate Ĉ, since the e_j do not depend on the mesh.  See `Prolongable.prolong`."""
        return transfer.apply_to_functions(as_parameters(parameters, self.num_parameters).reshape(self._shape)).ravel()

    def apply_mass(self, parameters: Floats) -> Floats:
        """Return M Ĉ_j of every interval."""
        return map_functions(self.space.apply_mass, parameters.reshape(self._shape)).ravel()

    def riesz(self, dual: Floats) -> Floats:
        """Return M⁻¹ times every dual."""
        return map_functions(self.space.riesz, dual.reshape(self._shape)).ravel()

    def lumped_mass(self) -> Floats:
        """Return the nodal weights, for each Ĉ_j."""
        return np.tile(self.space.weights, self.num_intervals * self.rank)

    def as_separable(self) -> SeparableKernel:
        """Return Σ Ĉ_j ⊗ e_j of every interval as a kernel that no longer follows the anchors (collective).

        Raises:
            InvalidInput: if an interval has several places: then its kernel changes within it.
        """
        self.place(0)
        if self.changes_within_intervals is not None:
            raise InvalidInput(self.changes_within_intervals)
        places = map(self.place, range(self.num_places))
        functions = [self.space.riesz(place.moments) @ place.root.value for place in places]
        return SeparableKernel.from_factors(self.space, list(zip(self._left, functions, strict=True)))

    # ── action ────────────────────────────────────────────────────────────────────────────────────────────────────

    def apply(self, interval: int, block: Block, out: Block, *, keep: bool = False) -> None:
        """`out` = Ĉ P (M A)ᵀ F, plus what `out` held if `keep`; `interval` is a place.  See `Kernel.apply`."""
        place = self.place(interval)
        (b,) = self.project((place.moments, block))
        add_product(1.0, self._left[place.interval], _fortran(place.root.value @ b), out=out, keep=keep)

    def add_transpose(self, interval: int, dual: Block, scale: float, *, out: Block) -> None:
        """`out` += scale · M A P Ĉᵀ Q; `interval` is a place.  See `Kernel.add_transpose`."""
        place = self.place(interval)
        (y,) = self.project((self._left[place.interval], dual))
        add_product(scale, place.moments, _fortran(place.root.value @ y), out=out)

    def create_pullback(self, buffer: Floats | None = None) -> Floats:
        """Return zeros that hold the duals of all factors (see `duals`); `buffer` is not used."""
        rows, rank = self.space.num_local, self.rank
        return np.zeros((self.num_intervals + len(self.places)) * rank * rows + len(self.places) * rank**2)

    def duals(self, pullback: Floats) -> FactorDuals:
        """Return views of a pullback."""
        size = self.rank * self.space.num_local
        a, b = self.num_intervals * size, (self.num_intervals + len(self.places)) * size
        return FactorDuals(
            values=pullback[:a].reshape(self._shape),
            moments=pullback[a:b].reshape(-1, *self._shape[1:]),
            inverses=pullback[b:].reshape(-1, self.rank, self.rank),
        )

    def add_pullback(self, interval: int, dual: Block, block: Block, *, scale: float, out: Floats) -> None:
        """Add Q Xᵀ to the dual of Ĉ, F (P Y)ᵀ to that of M A and Y Bᵀ to that of P, Y = ĈᵀQ, all times `scale`.

        `interval` is a place.  See `Kernel.add_pullback`.
        """
        place, duals, slot = self.place(interval), self.duals(out), interval % len(self.places)
        b, y = self.project((place.moments, block), (self._left[place.interval], dual))
        p = place.root.value
        add_product(scale, dual, _fortran(p @ b), out=duals.values[place.interval].T, transpose_b=True)
        add_product(scale, block, _fortran(p @ y), out=duals.moments[slot].T, transpose_b=True)
        duals.inverses[slot] += scale * (y @ b.T)

    def parameter_dual(self, pullback: Floats, out: Floats | None = None) -> Floats:
        """Return the dual of Ĉ; the anchors' adjoint must have added its part.  See `Kernel.parameter_dual`."""
        result = np.empty(self.num_parameters) if out is None else out
        result[:] = pullback[: self.num_parameters]
        return result

    def project(self, *pairs: tuple[Block, Block]) -> list[Block]:
        """Return UᵀV of pairs of blocks (U, V), summed over the ranks in one message (collective)."""
        found = []
        sums = np.empty(sum(u.shape[1] * v.shape[1] for u, v in pairs))
        start = 0
        for u, v in pairs:
            stop = start + u.shape[1] * v.shape[1]
            found.append(sums[start:stop].reshape((u.shape[1], v.shape[1]), order="F"))
            add_product(1.0, u, v, out=found[-1], transpose_a=True, keep=False)
            start = stop
        if self.space.comm.size > 1:
            self.space.comm.Allreduce(MPI.IN_PLACE, sums)
        return found


class RepresenterDirection(OperatorByParameters):
    """K'(Ĉ)δĈ of a representer kernel, the tangent of the anchors included.

    Args:
        kernel: The kernel; its factors are read at every call.

    Attributes:
        places: The tangents of the anchors at the kernel's places along δĈ, which `adjoint.anchors` computes.
    """

    def __init__(self, kernel: RepresenterKernel) -> None:
        self._kernel = kernel
        self.places: list[PlaceDirection] = []
        self.assign(np.zeros(kernel.num_parameters))

    def assign(self, parameters: Floats) -> None:
        """Set δĈ of all intervals; the array is kept by reference."""
        values = as_parameters(parameters, self._kernel.num_parameters).reshape(self._kernel.num_intervals, -1)
        self._left = [c.reshape(self._kernel.rank, -1).T for c in values]

    def values(self, interval: int) -> Block:
        """Return δĈ of an interval, a view of shape (num_local, r)."""
        return self._left[interval]

    def apply(self, interval: int, block: Block, out: Block, *, keep: bool = False) -> None:
        """`out` = δĈ P B + Ĉ (δP B + P δB) with δB = (M δA)ᵀF; `interval` is a place.  See `KernelDirection.apply`."""
        place, along = self._kernel.place(interval), self.places[interval % len(self.places)]
        b, db = self._kernel.project((place.moments, block), (along.d_moments, block))
        p, c = place.root.value, place.interval
        add_product(1.0, self._left[c], _fortran(p @ b), out=out, keep=keep)
        add_product(1.0, self._kernel.values(c), _fortran(along.d_inverse @ b + p @ db), out=out)

    def add_transpose(self, interval: int, dual: Block, scale: float, *, out: Block) -> None:
        """`out` += scale · (M δA P Y + M A (δP Y + P δY)) with δY = δĈᵀQ; `interval` is a place.

        See `KernelDirection.add_transpose`.
        """
        place, along = self._kernel.place(interval), self.places[interval % len(self.places)]
        y, dy = self._kernel.project((self._kernel.values(place.interval), dual), (self._left[place.interval], dual))
        p = place.root.value
        add_product(scale, along.d_moments, _fortran(p @ y), out=out)
        add_product(scale, place.moments, _fortran(along.d_inverse @ y + p @ dy), out=out)

    def add_second_pullback(self, interval: int, dual: Block, block: Block, *, scale: float, out: Floats) -> None:
        """Add the derivative of `RepresenterKernel.add_pullback` along the factors; `interval` is a place.

        See `KernelDirection.add_second_pullback`.
        """
        kernel = self._kernel
        slot = interval % len(self.places)
        place, along, duals = kernel.place(interval), self.places[slot], kernel.duals(out)
        b, db, y, dy = kernel.project(
            (place.moments, block),
            (along.d_moments, block),
            (kernel.values(place.interval), dual),
            (self._left[place.interval], dual),
        )
        p, dp = place.root.value, along.d_inverse
        add_product(scale, dual, _fortran(dp @ b + p @ db), out=duals.values[place.interval].T, transpose_b=True)
        add_product(scale, block, _fortran(dp @ y + p @ dy), out=duals.moments[slot].T, transpose_b=True)
        duals.inverses[slot] += scale * (dy @ b.T + y @ db.T)


def _fortran(matrix: Floats) -> Block:
    return np.asfortranarray(matrix)
