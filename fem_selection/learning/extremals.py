# SPDX-License-Identifier: MIT
"""States, costates and Hamiltonians of all layers, and the minimisation that Pontryagin's principle requires.

    f_{n+1} = f_n + Δt σ(K_n f_n + b_n),   p_n = p_{n+1} + Δt K_n*(σ'(s_n) p_{n+1}),   H_n = H(f_n, p_{n+1}, ·)

One sweep records states and costates block by block.  Then the members of the ensemble exchange them, so that each
member holds some *layers* of all samples: the minimisation of a layer then needs no further message over the samples,
and its result is the same on any partition.  Memory on a rank: 2 · stages · L · N · J numbers over the number of ranks.

    ∫₀ᵀ (H(w, b) − min H) dt ≈ Δt Σ_n (H_n(w_n, b_n) − min H_n) ≥ 0        the maximum-principle gap
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fem_selection.adjoint.hamiltonian import Control, Hamiltonian, Search
from fem_selection.dynamics.tape import Tape
from fem_selection.errors import InvalidInput
from fem_selection.kernels.dense import DenseKernel
from fem_selection.learning.functional import Functional
from fem_selection.parallel import share
from fem_selection.typing import Block, Floats

__all__ = ["ROUND_OFF", "Extremals", "MaximumPrinciple", "obstacles"]

ROUND_OFF = 8.0 * float(np.finfo(float).eps)
"""Difference of two Hamiltonians that is round-off, relative to the sum of the absolute values of their terms."""


def obstacles(functional: Functional, *, jointly: bool = False, bounded: Sequence[str] = ()) -> list[str]:
    """The reasons why the maximum principle of `Extremals` does not apply to a functional; empty if it applies.

    Args:
        functional: J.
        jointly: Whether all rows are minimised together (`JointHamiltonian`): then Galerkin mode is no obstacle, and
            neither is a weight of zero if the part is bounded.
        bounded: Which of "kernel" and "bias" have finite bounds on both sides.
    """
    r, grid, parts = functional.regularization, functional.stepper.grid, functional.control_space.parts
    found = []
    if not (jointly or functional.control_space.space.is_collocated):
        found.append("Galerkin mode: the Hamiltonian's minimisation decouples over the nodes in collocated mode only")
    if r.has_depth_term:
        found.append("an H¹ term in depth (regularization.kernel_depth, bias_depth): the layers' controls are coupled")
    if grid.intervals != grid.layers:
        found.append(f"several steps per control: {grid.intervals} control intervals for {grid.layers} layers")
    for name, weight in (("kernel", r.kernel), ("bias", r.bias)):
        if name in parts and not weight > 0 and not (jointly and name in bounded):
            found.append(f"regularization.{name} = 0: the Hamiltonian has no minimum over an unbounded {name}")
    if "kernel" not in parts and "bias" not in parts:
        found.append("neither kernel nor bias is optimized")
    if not isinstance(functional.stepper.kernel, DenseKernel):
        found.append("a kernel that is not dense: its values are not free at each pair of nodes")
    return found


@dataclass(frozen=True)
class MaximumPrinciple:
    """How far the controls of all layers are from minimising their Hamiltonians.

    Attributes:
        gap: Δt Σ_n (H_n − the lowest value found).  It is a lower bound of the true gap; for one sample and a scheme
            of one stage it is the true gap.
        gaps: H_n − the lowest value found, for each layer.
        values: H_n along the trajectory.
        starts: Number of starts for each row of each layer.
        local_minimizer: Local array of x: the minimisers in the parts of kernel and bias, zeros elsewhere.
        row_gaps: The share of each of this rank's rows in the gaps, shape (layers, rows); no rows where the
            minimisation does not decouple over them.
        round_off: Size of a gap that is round-off: eight units in the last place of the sums in H.
    """

    gap: float
    gaps: Floats
    values: Floats
    starts: int
    local_minimizer: Floats
    row_gaps: Floats
    round_off: float

    @property
    def drift(self) -> float:
        """max_n H_n − min_n H_n: zero in the limit Δt → 0 along an extremal."""
        return float(np.ptp(self.values))


class Extremals:
    """States and costates under given controls, and the Hamiltonians of this member's layers.

    Args:
        functional: J; its controls are overwritten.

    Raises:
        InvalidInput: if the maximum principle does not apply, with every reason.

    Note:
        `sweep` and everything after it are collective over the world.
    """

    def __init__(self, functional: Functional) -> None:
        reasons = obstacles(functional)
        if reasons:
            raise InvalidInput(f"the maximum principle does not apply here: {'; '.join(reasons)}")
        self.functional = functional
        self.layers = functional.control_space.ensemble.shard(functional.stepper.grid.layers)
        self._local_controls = np.empty(0)
        self._stages: list[Block] = []
        self._incoming: list[Block] = []

    def sweep(self, controls: Floats) -> tuple[float, Floats]:
        """J and the shard of its dual at controls x, a shard; records states and costates (collective).

        Raises:
            NonFinite: as `Functional.evaluate`.
        """
        f = self.functional
        shape = (
            f.stepper.grid.layers,
            f.stepper.scheme.num_stages,
            f.initial.shape[1],
            f.control_space.space.num_local,
        )
        stages, met = np.empty(shape), np.empty(shape)

        def keep(columns: slice, tape: Tape, incoming: list[list[Block]]) -> None:
            for n, layer, costates in zip(tape.layers, tape.stages, incoming, strict=True):
                for i, (stage, costate) in enumerate(zip(layer, costates, strict=True)):
                    stages[n, i, columns] = stage.T
                    met[n, i, columns] = costate.T

        result = f.evaluate(controls, keep)
        self._local_controls = f.control_space.gather(controls)
        self._stages, self._incoming = self._by_layers(stages), self._by_layers(met)
        return result

    def hamiltonian(self, number: int) -> Hamiltonian:
        """The Hamiltonian of one of this member's layers, by its number among them (collective over space)."""
        f = self.functional
        space, r, parts = f.control_space.space, f.regularization, f.control_space.parts
        stages = self._stages[number]
        everywhere = np.concatenate(space.comm.allgather(stages)) if space.comm.size > 1 else stages
        columns = np.concatenate(space.comm.allgather(space.weights)) if space.comm.size > 1 else space.weights
        return Hamiltonian(
            activation=f.stepper.activation,
            states=everywhere,
            costates=self._incoming[number] / space.weights[:, None],
            column_weights=columns,
            row_weights=space.weights,
            alpha_kernel=r.kernel if "kernel" in parts else None,
            alpha_bias=r.bias if "bias" in parts else None,
            row_numbers=space.canonical,
            column_numbers=space.canonical_global,
        )

    def control(self, layer: int, local_controls: Floats | None = None) -> Control:
        """The control of one layer; a part that is not optimized has the value that the dynamics hold.

        Args:
            layer: Number of the layer among all layers.
            local_controls: Local array of x; the controls of the last `sweep` if None.
        """
        stepper = self.functional.stepper
        views = self.functional.control_space.unpack(self._local_controls if local_controls is None else local_controls)
        assert isinstance(stepper.kernel, DenseKernel)
        rows, columns = self.functional.control_space.space.num_local, self.functional.control_space.space.num_nodes
        if "kernel" in views:
            kernel = views["kernel"].reshape(-1, columns, rows)[layer].T
        else:
            kernel = stepper.kernel.weights[layer]
        bias = views["bias"][layer] if "bias" in views else stepper.bias[layer]
        return Control(kernel=kernel, bias=bias)

    def minimize(self, search: Search, local_bounds: tuple[Floats, Floats] | None = None) -> MaximumPrinciple:
        """Minimise the Hamiltonian of every layer (collective).

        Args:
            search: Settings of the search; its seed is varied from layer to layer.
            local_bounds: Local arrays of lower and upper bounds of x, or None.

        Returns:
            Gaps and values of the plain Hamiltonian, also if `search` has a proximal term.  In that case the minimisers
            are those of the augmented Hamiltonian, and the gap of a layer may be negative.
        """
        control_space = self.functional.control_space
        values, falls, sizes, found = [], [], [], []
        for number, layer in enumerate(range(self.layers.start, self.layers.stop)):
            h, present = self.hamiltonian(number), self.control(layer)
            own = replace(search, seed=search.seed + 104729 * layer)
            if local_bounds is not None:
                own = replace(
                    own, lower=self.control(layer, local_bounds[0]), upper=self.control(layer, local_bounds[1])
                )
            control, _ = h.minimize(present, own)
            values.append(h.value(present))
            falls.append(h.row_weights * (h.density(present) - h.density(control)))
            sizes.append(h.magnitude(present))
            found.append(control)
        sums = [float(fall.sum()) for fall in falls]
        shares = np.array([values, sums, sizes]).reshape(3, len(found))
        if control_space.space.comm.size > 1:
            shares = control_space.space.comm.allreduce(shares)
        gather = control_space.ensemble.sample_comm.allgather
        everywhere = np.concatenate(gather(shares), axis=1)
        by_row = np.concatenate(gather(np.array(falls).reshape(len(found), control_space.space.num_local)))
        # without a proximal term a gap is negative by round-off only
        gaps = everywhere[1] if search.proximal > 0 else np.maximum(everywhere[1], 0.0)
        gap = self.functional.stepper.grid.step * float(gaps.sum())
        return MaximumPrinciple(
            gap=gap,
            gaps=gaps,
            values=everywhere[0],
            starts=search.starts,
            local_minimizer=self._collect(found),
            row_gaps=by_row,
            round_off=ROUND_OFF * self.functional.stepper.grid.step * float(everywhere[2].sum()),
        )

    def find_layer_without_minimum(self) -> int | None:
        """The first layer whose Hamiltonian falls without bound where it was asked; None if there is none (collective).

        See `Hamiltonian.falls_without_bound`; only a σ that grows faster than |s| may have such layers.
        """
        numbers = range(self.layers.start, self.layers.stop)
        own = [n for k, n in enumerate(numbers) if self.hamiltonian(k).falls_without_bound(self.control(n))]
        found = [n for part in self.functional.control_space.ensemble.world.allgather(own) for n in part]
        return min(found, default=None)

    def _collect(self, found: list[Control]) -> Floats:
        """A local array of x with the controls of all layers, gathered from the members."""
        control_space = self.functional.control_space
        local = np.zeros(control_space.local_size)
        for part, pieces in (
            ("kernel", [u.kernel.T.ravel() for u in found]),
            ("bias", [u.bias for u in found]),
        ):
            if part in control_space.parts:
                own = np.concatenate(pieces) if pieces else np.empty(0)
                local[control_space.slices[part]] = np.concatenate(control_space.ensemble.sample_comm.allgather(own))
        return local

    def _by_layers(self, recorded: Floats) -> list[Block]:
        """Exchange all layers of this member's samples for all samples of this member's layers.

        Returns one block of shape (rows, stages · J) for each layer.
        """
        ensemble = self.functional.control_space.ensemble
        pieces = [recorded]
        if ensemble.num_members > 1:
            layers = self.functional.stepper.grid.layers
            sent = [recorded[share(layers, ensemble.num_members, k)] for k in range(ensemble.num_members)]
            pieces = ensemble.sample_comm.alltoall(sent)
        everything = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=2)
        return [np.asfortranarray(layer.reshape(-1, layer.shape[-1]).T) for layer in everything]
