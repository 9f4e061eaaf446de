# SPDX-License-Identifier: MIT
"""`ControlSpace`: kernel, bias and readout as one vector, its layout over the ranks, its L² product, its coordinates.

    x = (w_1 … w_C, b_1 … b_C, c, μ),
    ⟨x, x'⟩ = x·M x' = Σ_c Δ_c ( ⟨w_c, w'_c⟩_{L²(Y×Y)} + (b_c, b'_c) ) + (c, c') + μ·μ'

A control has three kinds of coordinates.  The name of a variable says which of them it holds:

| name | coordinates | who uses them |
|---|---|---|
| `controls` | x: nodal values, or the kernel's parameters; the geometry is M | users, results, the functional |
| `scaled`, `scaled_…` | x̂ = M_L^{1/2} x, M_L the lumped mass: L² is the Euclidean product | optimizers |
| `operators` | D x = (A, b, M c, μ): what a sweep multiplies by | kernel, bias and readout of the dynamics |

Derivatives are duals and go the other way, by the transposed map: `dual` is one in x, `scaled_gradient` one in x̂,
`operator_dual` one in D x.  M_L and D are diagonal, so boxes stay boxes.

A rank of a space communicator holds the rows of its nodes, the *local* array; all members of the ensemble hold the same
one.  As PETSc vectors the controls are distributed over the world: each member owns one contiguous *shard* of the local
array.  `controls` and `scaled` are shards, and `operators` holds parts of a local array.  Any other local array has
`local` in its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
from mpi4py import MPI
from petsc4py import PETSc

from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.numbering import hashed_normal
from fem_selection.discretization.spaces import StateSpace
from fem_selection.disposal import clean_petsc
from fem_selection.errors import InvalidInput
from fem_selection.kernels.base import Kernel, KernelDirection
from fem_selection.parallel import Ensemble
from fem_selection.settings.names import PARTS
from fem_selection.typing import Block, Floats, Integers, describe_array, real_array, whole_number

__all__ = ["ControlSpace"]


class ControlSpace:
    """Layout, geometry and coordinates of the controls that are optimized.

    Args:
        ensemble: The space × sample split.
        space: The state space.
        kernel: The kernel; it gives the layout and inner product of w.
        grid: The depth grid; its intervals carry the controls.
        num_outputs: C, the number of readouts; 0 without a readout.
        parts: Which of "kernel", "bias", "readout" are optimized; the others do not change.

    Attributes:
        slices: The place of each part, and of the "offset" μ, in a local array.
        local_size: Length of a local array.
        shard: This member's part of a local array.
        lumped: M_L as a local array: the metric in collocated mode, lumped in Galerkin mode.
        indices: For each entry of the shard its place in the canonical order, which is the same on any partition.
        global_size: The number of controls.

    Raises:
        InvalidInput: for an unknown part, a mesh that is not the ensemble's, or controls at the stages' times.

    Example:
        >>> space, grid = fs.StateSpace(fs.interval(MPI.COMM_SELF, cells=4)), fs.DepthGrid(layers=2)
        >>> kernel, ensemble = fs.DenseKernel(space, 2), fs.Ensemble(MPI.COMM_SELF)
        >>> controls = fs.ControlSpace(ensemble, space, kernel, grid=grid, num_outputs=0, parts=("kernel", "bias"))
        >>> controls.global_size  # two intervals with 5 · 5 values of w and 5 of b
        60
    """

    def __init__(
        self,
        ensemble: Ensemble,
        space: StateSpace,
        kernel: Kernel,
        *,
        grid: DepthGrid,
        num_outputs: int,
        parts: Sequence[str] = PARTS,
    ) -> None:
        if grid.stage_nodes:
            raise InvalidInput("controls sampled at stage times cannot be optimized: use control intervals")
        if MPI.Comm.Compare(space.comm, ensemble.space_comm) not in (MPI.IDENT, MPI.CONGRUENT):
            raise InvalidInput(
                f"the mesh lives on {space.comm.size} ranks, a member of the ensemble on {ensemble.space_comm.size}: "
                "create the mesh on ensemble.space_comm, or the ensemble with space = the ranks of the mesh"
            )
        num_outputs = whole_number(num_outputs, "num_outputs", 0)
        parts = (parts,) if isinstance(parts, str) else parts
        unknown = [p for p in parts if p not in PARTS]
        if unknown or not parts:
            raise InvalidInput(f"controls {list(parts)}: choose from {', '.join(PARTS)}")
        clean_petsc(ensemble.world)  # vectors of earlier control spaces
        self.ensemble, self.space, self.kernel, self.grid = ensemble, space, kernel, grid
        self.num_outputs = num_outputs
        first = space.comm.rank == 0
        n, c = space.num_local, grid.intervals
        lengths = {
            "kernel": kernel.num_parameters if "kernel" in parts else 0,
            "bias": c * n if "bias" in parts else 0,
            "readout": num_outputs * n if "readout" in parts else 0,
            "offset": num_outputs if "readout" in parts and first else 0,
        }
        self.slices: dict[str, slice] = {}
        start = 0
        for name, length in lengths.items():
            self.slices[name] = slice(start, start + length)
            start += length
        self.local_size = start
        self.parts = tuple(p for p in PARTS if p in parts and (p != "readout" or num_outputs))
        self.shard = ensemble.shard(start)
        self.lumped = self._lumped()
        self.indices, self.global_size = self._canonical()

    # ── layout ────────────────────────────────────────────────────────────────────────────────────────────────────

    def create_vector(self, shard: Floats | None = None) -> PETSc.Vec:
        """A new PETSc vector over the world, filled with this shard if it is given (collective).

        The caller destroys the vector.
        """
        vector = PETSc.Vec().createMPI((self.shard.stop - self.shard.start, None), comm=self.ensemble.world)
        if shard is not None:
            vector.array[:] = shard
        return vector

    def to_shard(self, controls: npt.ArrayLike) -> Floats:
        """Return controls that a user gives as a shard of this space (collective).

        Args:
            controls: A list or an array of any real type, not changed.

        Raises:
            InvalidInput: on all ranks, if the array of any rank has another shape or a number that is not finite.
        """
        size = self.shard.stop - self.shard.start
        for (shape, kind), expected in self.ensemble.world.allgather((describe_array(controls), size)):
            if kind is not None:
                raise InvalidInput(f"controls: expected an array of real numbers, got {kind}")
            if shape != (expected,):
                raise InvalidInput(f"controls of shape {shape} on a rank with a shard of shape ({expected},)")
        if not all(self.ensemble.world.allgather(bool(np.all(np.isfinite(controls))))):
            raise InvalidInput("controls: some are not finite numbers")
        return real_array(controls, "controls", (size,))

    def as_shard(self, controls: npt.ArrayLike) -> Floats:
        """Return controls as an array of float64, the array itself if it is one; without communication.

        Raises:
            InvalidInput: if they are no real numbers, or have another shape than a shard.
        """
        return real_array(controls, "controls", (self.shard.stop - self.shard.start,))

    def gather(self, shard: Floats) -> Floats:
        """The local array from the members' shards (collective)."""
        return self.ensemble.gather_shards(shard, np.empty(self.local_size))

    def pack(self, values: Mapping[str, Floats]) -> Floats:
        """A new local array with the values of its parts; parts that are not optimized are left out."""
        local = np.zeros(self.local_size)
        for name, where in self.slices.items():
            if where.stop > where.start:
                local[where] = values[name].ravel()
        return local

    def unpack(self, local: Floats) -> dict[str, Floats]:
        """Views of the optimized parts of a local array, by name.

        The shapes are: "kernel" flat, "bias" (intervals, num_local), "readout" (num_outputs, num_local), "offset"
        (num_outputs,) on rank 0 of the space communicator and (0,) elsewhere.
        """
        shapes = {"bias": (self.grid.intervals, -1), "readout": (self.num_outputs, -1)}
        views = {}
        for part in (*self.parts, "offset"):
            view = local[self.slices[part]]
            views[part] = view.reshape(shapes[part]) if part in shapes and view.size else view
        return views

    # ── x ↔ x̂ ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def scale(self) -> Floats:
        """The shard of M_L^{-1/2}: x = scale · x̂."""
        scale: Floats = 1.0 / np.sqrt(self.lumped[self.shard])
        return scale

    def to_scaled(self, controls: Floats) -> Floats:
        """x̂ = M_L^{1/2} x from x; both are shards."""
        return controls / self.scale

    def to_controls(self, scaled: Floats) -> Floats:
        """x = M_L^{-1/2} x̂ from x̂; both are shards."""
        return scaled * self.scale

    def dual_to_scaled(self, dual: Floats, out: Floats | None = None) -> Floats:
        """The gradient M_L^{-1/2} d in x̂ from a dual d in x: the transpose of `to_controls`.

        Args:
            dual: Shard of a dual in x.
            out: Shard that receives the result, possibly `dual` itself; a new array if None.
        """
        return np.multiply(dual, self.scale, out=out)

    def dual_from_scaled(self, scaled_gradient: Floats) -> Floats:
        """The dual in x from a gradient in x̂, both shards: the transpose of `to_scaled`."""
        return scaled_gradient / self.scale

    # ── x → D x ───────────────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def operator_factor(self) -> Floats | None:
        """The shard of D if D is diagonal: in collocated mode, for kernels that have an `operator_factor`.

        None otherwise.  Then `operators` holds (w, b, M c, μ), and the kernel computes A from its parameters w itself.
        """
        if not self.space.is_collocated:
            return None
        factor = np.ones(self.local_size)
        if "kernel" in self.parts:
            of_kernel = self.kernel.operator_factor()
            if of_kernel is None:
                return None
            factor[self.slices["kernel"]] = of_kernel
        factor[self.slices["readout"]] = np.tile(self.space.weights, self.num_outputs if "readout" in self.parts else 0)
        return factor[self.shard].copy()

    def to_operators(self, controls: Floats, out: Floats) -> dict[str, Floats]:
        """D x on every rank (collective).

        Args:
            controls: Shard of x, or of a direction in x.
            out: A local array, overwritten; most of the returned arrays are views of it.

        Returns:
            The optimized parts as `unpack` returns them, but with M c in place of c, and with μ on every rank.
        """
        if self.operator_factor is not None:
            controls = np.multiply(controls, self.operator_factor, out=out[self.shard])
        operators = self.unpack(self.ensemble.gather_shards(controls, out))
        if "readout" in operators:
            offset = operators["offset"]
            operators["offset"] = offset.copy() if self.space.comm.size == 1 else self.space.comm.bcast(offset)
            if self.operator_factor is None:
                operators["readout"] = self.space.apply_mass(operators["readout"].T).T
        return operators

    def assign_kernel(self, kernel: Kernel | KernelDirection, operators: Mapping[str, Floats]) -> None:
        """Assign the kernel's part of D x to a kernel, or to a direction of it.

        Args:
            kernel: A kernel, or a direction, of the same layout as this space's kernel; overwritten.
            operators: The parts of D x, as `to_operators` returns them; the kernel keeps its part by reference.

        Note:
            Collective.
        """
        (kernel.assign if self.operator_factor is None else kernel.assign_operator)(operators["kernel"])

    def dual_to_controls(self, operator_dual: Floats) -> Floats:
        """The shard of the dual in x from duals in D x, summed over the members (collective).

        This is the transpose of `to_operators`.

        Args:
            operator_dual: Local array with the derivatives of this member's samples, overwritten; with a
                single member this array itself is returned.
        """
        readout = self.slices["readout"]
        if self.operator_factor is None and readout.stop > readout.start:
            moments = operator_dual[readout].reshape(self.num_outputs, -1)
            moments[...] = self.space.apply_mass(moments.T).T
        dual = self.ensemble.sum_to_shard(operator_dual)
        if self.operator_factor is not None:
            dual *= self.operator_factor
        return dual

    # ── geometry ──────────────────────────────────────────────────────────────────────────────────────────────────

    def apply_metric(self, controls: Floats) -> Floats:
        """M x, the dual of x in the L² inner product; both are shards (collective)."""
        if self.space.is_collocated:
            return self.lumped[self.shard] * controls
        return self.apply_metric_locally(self.gather(controls))[self.shard]

    def apply_metric_locally(self, local: Floats) -> Floats:
        """M x for a whole local array of x (collective over space)."""
        if self.space.is_collocated:
            return self.lumped * local
        return self._map_parts(local, self.kernel.apply_mass, self.space.apply_mass, self.grid.interval_length)

    def riesz(self, dual: Floats) -> Floats:
        """M⁻¹ d, the L² (Riesz) representative in x of a dual d in x; both are shards (collective)."""
        if self.space.is_collocated:
            return dual / self.lumped[self.shard]
        local, length = self.gather(dual), 1.0 / self.grid.interval_length
        return self._map_parts(local, self.kernel.riesz, self.space.riesz, length)[self.shard]

    def inner(self, dual: Floats, controls: Floats) -> float:
        """The pairing ⟨d, x⟩ of a dual and a control (collective).

        Args:
            dual: Shard of a dual in x.
            controls: Shard of x.  Two shards in x̂ may be given as well: the result is their Euclidean product.
        """
        return self.ensemble.sum(float(dual @ controls))

    def dual_norm(self, dual: Floats) -> float:
        """The L² norm of the Riesz representative of a dual, a shard in x (collective)."""
        return float(np.sqrt(max(self.inner(dual, self.riesz(dual)), 0.0)))

    def random_direction(self, seed: int) -> Floats:
        """Shard of random controls x whose x̂ is normally distributed and of unit norm, the same on any partition.

        Collective.
        """
        scaled = hashed_normal(seed, self.indices)
        scaled /= np.sqrt(self.inner(scaled, scaled))
        return scaled / np.sqrt(self.lumped[self.shard])

    def _map_parts(
        self,
        local: Floats,
        on_kernel: Callable[[Floats], Floats],
        on_block: Callable[[Block], Block],
        length: float,
    ) -> Floats:
        result = local.copy()  # the offset's metric is 1
        n = self.space.num_local
        for part in self.parts:
            where = self.slices[part]
            if part == "kernel":
                result[where] = on_kernel(local[where]) * length
            else:
                block = np.asfortranarray(local[where].reshape(-1, n).T)
                factor = length if part == "bias" else 1.0
                result[where] = (on_block(block) * factor).T.ravel()
        return result

    def _lumped(self) -> Floats:
        """The diagonal M_L of the metric: exact in collocated mode, lumped in Galerkin mode."""
        length, weights = self.grid.interval_length, self.space.weights
        lumped = np.ones(self.local_size)
        if "kernel" in self.parts:
            lumped[self.slices["kernel"]] = length * self.kernel.lumped_mass()
        if "bias" in self.parts:
            lumped[self.slices["bias"]] = length * np.tile(weights, self.grid.intervals)
        if "readout" in self.parts:
            lumped[self.slices["readout"]] = np.tile(weights, self.num_outputs)
        return lumped

    def _canonical(self) -> tuple[Integers, int]:
        """Places of the shard's entries in the canonical order, the same on any partition, and its length."""
        n = self.space.num_nodes
        rows = self.space.canonical
        pieces, start = [], 0
        for part in self.parts:
            if part == "kernel":
                pieces.append(self.kernel.canonical_indices() + start)
                start += self.kernel.num_global_parameters
            else:
                count = self.grid.intervals if part == "bias" else self.num_outputs
                pieces.append((start + np.arange(count)[:, None] * n + rows).ravel())
                start += count * n
        offset = self.slices["offset"]
        pieces.append(start + np.arange(offset.stop - offset.start))
        if "readout" in self.parts:
            start += self.num_outputs
        return np.concatenate(pieces)[self.shard].astype(np.int64), start
