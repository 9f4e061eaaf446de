# SPDX-License-Identifier: MIT
"""`ControlSpace`: kernel, bias and readout as one vector, its layout over the ranks and its L² inner product.

    x = (w_1 … w_C, b_1 … b_C, c, μ),
    ⟨x, x'⟩ = Σ_c Δ_c ( ⟨w_c, w'_c⟩_{L²(Y×Y)} + (b_c, b'_c) ) + (c, c') + μ·μ'

A rank of a space communicator holds the rows of its nodes, the *local* array.  All members of the ensemble hold the
same; as PETSc vectors the controls are distributed over the world, each member owning one contiguous *shard* of the
local array.  Optimizers work on shards; a sweep first gathers the local array from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.numbering import hashed_normal
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import InvalidInput
from fem_selection.kernels.base import Kernel
from fem_selection.objectives.regularizers import depth_laplacian
from fem_selection.parallel import Ensemble
from fem_selection.settings import Regularization
from fem_selection.settings.names import PARTS
from fem_selection.typing import Block, Floats, Integers

__all__ = ["ControlSpace"]


class ControlSpace:
    """Layout and geometry of the controls that are optimized.

    Args:
        ensemble: The space × sample split.
        space: The state space.
        kernel: Gives the layout and inner product of w.
        grid: Depth grid; its intervals carry the controls.
        num_outputs: C, the number of readouts; 0 without a readout.
        parts: Which of "kernel", "bias", "readout" are optimized; the others stay as they are.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        space: StateSpace,
        kernel: Kernel,
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
        unknown = [p for p in parts if p not in PARTS]
        if unknown or not parts:
            raise InvalidInput(f"controls {list(parts)}: choose from {', '.join(PARTS)}")
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
        self._diagonal_of: tuple[Regularization | None, Floats] = (None, np.empty(0))
        self.indices, self.global_size = self._canonical()

    # ── layout ────────────────────────────────────────────────────────────────────────────────────────────────────

    def create_vector(self, shard: Floats | None = None) -> PETSc.Vec:
        """A PETSc vector over the world, holding this shard if given; the caller destroys it (collective)."""
        vector = PETSc.Vec().createMPI((self.shard.stop - self.shard.start, None), comm=self.ensemble.world)
        if shard is not None:
            vector.array[:] = shard
        return vector

    def gather(self, shard: Floats) -> Floats:
        """The local array from the members' shards (collective)."""
        return self.ensemble.gather_shards(shard, np.empty(self.local_size))

    def pack(self, values: Mapping[str, Floats]) -> Floats:
        """The local array from its parts; parts that are not optimized are left out."""
        local = np.zeros(self.local_size)
        for name, where in self.slices.items():
            if where.stop > where.start:
                local[where] = values[name].ravel()
        return local

    def unpack(self, local: Floats) -> dict[str, Floats]:
        """Views of the optimized parts of a local array.

        "kernel" flat, "bias" (intervals, num_local), "readout" (num_outputs, num_local), "offset" (num_outputs,) on
        space rank 0 and (0,) elsewhere.
        """
        shapes = {"bias": (self.grid.intervals, -1), "readout": (self.num_outputs, -1)}
        views = {}
        for part in (*self.parts, "offset"):
            view = local[self.slices[part]]
            views[part] = view.reshape(shapes[part]) if part in shapes and view.size else view
        return views

    # ── geometry ──────────────────────────────────────────────────────────────────────────────────────────────────

    def apply_metric(self, local: Floats) -> Floats:
        """The dual of a local array in the L² inner product (collective over space)."""
        if self.space.is_collocated:
            return self.lumped * local
        return self._map_parts(local, self.kernel.apply_mass, self.space.apply_mass, self.grid.interval_length)

    def riesz(self, local_dual: Floats) -> Floats:
        """The L² representative of a dual; the inverse of `apply_metric` (collective over space)."""
        if self.space.is_collocated:
            return local_dual / self.lumped
        return self._map_parts(local_dual, self.kernel.riesz, self.space.riesz, 1.0 / self.grid.interval_length)

    def regularize(self, regularization: Regularization, shard: Floats) -> tuple[float, Floats]:
        """The shard's share of the regularization's value, and its dual on the shard (collective)."""
        r = regularization
        if self.space.is_collocated and not r.has_depth_term:
            dual = self._diagonal(r) * shard
            return 0.5 * float(dual @ shard), dual
        local = self.gather(shard)
        weights = _weights_of_parts(r)
        weighted = np.empty_like(local)
        for name, where in self.slices.items():
            np.multiply(local[where], weights[name], out=weighted[where])
        for name, beta in (("kernel", r.kernel_depth), ("bias", r.bias_depth)):
            if beta > 0 and name in self.parts:
                for layers, result in zip(self._layers(name, local), self._layers(name, weighted), strict=True):
                    result += beta * depth_laplacian(layers, self.grid.interval_length)
        dual = self.apply_metric(weighted)[self.shard]
        return 0.5 * float(dual @ shard), dual

    def _layers(self, name: str, local: Floats) -> list[Floats]:
        """Views of the kernel or bias of a local array, the intervals as their first axis."""
        part = local[self.slices[name]]
        return self.kernel.by_interval(part) if name == "kernel" else [part.reshape(self.grid.intervals, -1)]

    def _diagonal(self, r: Regularization) -> Floats:
        """The shard of the regularization's matrix where it is diagonal; kept for the last weights."""
        if self._diagonal_of[0] != r:
            diagonal = np.empty(self.local_size)
            for name, weight in _weights_of_parts(r).items():
                where = self.slices[name]
                diagonal[where] = weight * self.lumped[where]
            self._diagonal_of = (r, diagonal[self.shard].copy())
        return self._diagonal_of[1]

    def inner(self, dual: Floats, shard: Floats) -> float:
        """⟨d, x⟩ of a dual and a control, both shards (collective)."""
        return self.ensemble.sum(float(dual @ shard))

    def random_direction(self, seed: int) -> Floats:
        """A shard of normal entries in the variable x̂ = M_L^{1/2} x, of unit norm, the same on any partition."""
        shard = hashed_normal(seed, self.indices)
        shard /= np.sqrt(self.inner(shard, shard))
        return shard / np.sqrt(self.lumped[self.shard])

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

    def operator_factor(self) -> Floats | None:
        """The shard of the diagonal D from controls to what a sweep multiplies by: (A, b, M c, μ) = D (w, b, c, μ).

        None in Galerkin mode, where there is none, and for kernels whose operator is not their parameters times
        weights.  As the transpose, D takes the dual of (A, b, M c, μ) to that of the controls.
        """
        factor = np.ones(self.local_size)
        if not self.space.is_collocated:
            return None
        if "kernel" in self.parts:
            of_kernel = self.kernel.operator_factor()
            if of_kernel is None:
                return None
            factor[self.slices["kernel"]] = of_kernel
        factor[self.slices["readout"]] = np.tile(self.space.weights, self.num_outputs if "readout" in self.parts else 0)
        return factor[self.shard].copy()

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
        """Places of the shard's entries in an order that no partition changes, and the length of that order."""
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


def _weights_of_parts(r: Regularization) -> dict[str, float]:
    return {"kernel": r.kernel, "bias": r.bias, "readout": r.readout, "offset": r.readout}
