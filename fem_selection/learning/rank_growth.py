# SPDX-License-Identifier: MIT
"""Which pairs of factors lower the objective most when they are added to a separable kernel, and when none does.

Let g_c = Σ Δt q ⊗ f over samples, steps and stages of control interval I_c: the L² gradient of the data term in w.  The
factors u, v of a stationary separable kernel make g vanish in the directions that keep its rank; what is left is

    n_c = (1 − P_u) g_c (1 − P_v) = Σ_k s_k a_k ⊗ b_k,     P_u and P_v the projections onto the spans of u and of v.

The pair u = √τ a_k, v = −√τ b_k changes J by τ (α |I_c| − s_k) + O(τ²), for the regularization of both factors costs
α |I_c| τ.  So a pair lowers J to first order if and only if s_k > α |I_c|, and if there is none, J has a directional
minimum among the kernels of all ranks with the nuclear norm α Σ_c |I_c| ‖w_c‖_* for a regularization.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.dynamics.tape import Tape
from fem_selection.errors import InvalidInput
from fem_selection.kernels.separable import SeparableKernel
from fem_selection.learning.controls import ControlSpace
from fem_selection.learning.functional import Functional
from fem_selection.linalg.compression import Truncation, truncate
from fem_selection.linalg.orthonormal import orthonormal_directions, outside_of
from fem_selection.typing import Block, Floats, create_block

__all__ = ["NewPairs", "add_pairs", "find_pairs", "replace_factors"]

_ROUND_OFF = 1e-13
_COLUMNS = 4  # times the nodes: so many columns are kept before they are compressed


@dataclass(frozen=True)
class NewPairs:
    """The leading part of n_c of every interval.

    Attributes:
        values: s_k / |I_c|, decreasing in k, shape (intervals, pairs); an interval's pair lowers J if this exceeds α.
        left: a_k, orthonormal in L²(Y), one block of shape (num_local, pairs) for each interval.
        right: b_k, likewise.
    """

    values: Floats
    left: list[Block]
    right: list[Block]


def find_pairs(functional: Functional, controls: Floats, number: int) -> NewPairs:
    """Return the pairs that lower J most, by one sweep forward and back (collective).

    Args:
        functional: J, of a separable kernel.
        controls: Shard of x.
        number: How many pairs of each interval.

    Raises:
        InvalidInput: if the kernel is not separable.
    """
    kernel = functional.stepper.kernel
    if not isinstance(kernel, SeparableKernel):
        raise InvalidInput(f"pairs of factors are added to a separable kernel, not to a {type(kernel).__name__}")
    functional.set_controls(controls)
    gradient = _Gradient(functional)
    functional.clear_duals()
    functional.sweep_blocks(functional.initial, functional.targets, functional.num_samples, observe=gradient.observe)
    space, length = kernel.space, functional.control_space.grid.interval_length
    values, lefts, rights = np.zeros((kernel.num_intervals, number)), [], []
    for c, (u, v) in enumerate(kernel.factors):
        left, right = gradient.of_interval(c)
        left, right = _outside(functional, u, left), _outside(functional, v, right)
        found = truncate(space, left, right, cut=Truncation(rank=number))
        rank = min(found.left.shape[1], number)
        sizes = space.norm(found.left)[:rank]
        values[c, :rank] = sizes**2 / length
        safe = np.where(sizes > 0, sizes, 1.0)
        lefts.append(_filled(found.left[:, :rank] / safe, number))
        rights.append(_filled(found.right[:, :rank] / safe, number))
    return NewPairs(values=values, left=lefts, right=rights)


def add_pairs(source: ControlSpace, target: ControlSpace, controls: Floats, *, pairs: NewPairs, size: Floats) -> Floats:
    """Return controls of a kernel of higher rank: the factors there are, and −τ a_k ⊗ b_k (collective).

    Args:
        source: The space of the controls.
        target: The same with a separable kernel of higher rank.
        controls: Shard of x in the source.
        pairs: The pairs; as many as the rank is higher.
        size: τ of each interval and pair, shape (intervals, pairs).

    Returns:
        Shard of x in the target.
    """
    old = _kernel_of(source)
    values = source.unpack(source.gather(controls))["kernel"].reshape(old.num_intervals, 2, old.rank, -1)
    roots = np.sqrt(size)
    new = np.stack(
        [
            np.stack([(left * root).T, -(right * root).T])
            for left, right, root in zip(pairs.left, pairs.right, roots, strict=True)
        ]
    )
    return _with_kernel(source, target, controls, np.concatenate([values, new], axis=2))


def replace_factors(source: ControlSpace, target: ControlSpace, controls: Floats, *, kernel: SeparableKernel) -> Floats:
    """Return the controls with another kernel, of the rank of the target (collective).

    Args:
        source: The space of the controls.
        target: The same with a separable kernel of another rank.
        controls: Shard of x in the source.
        kernel: The kernel to put in.

    Returns:
        Shard of x in the target.
    """
    return _with_kernel(source, target, controls, kernel.parameters())


class _Gradient:
    """g_c by factors, summed over blocks; compressed when there are more columns than a few times the nodes."""

    def __init__(self, functional: Functional) -> None:
        self._functional, self._stepper = functional, functional.stepper
        intervals = functional.stepper.grid.intervals
        self._left: list[list[Block]] = [[] for _ in range(intervals)]
        self._right: list[list[Block]] = [[] for _ in range(intervals)]

    def observe(self, columns: slice, tape: Tape, incoming: list[list[Block]]) -> None:
        """Add a block's part: q = Δt M⁻¹ (Π σ')ᵀ I of each stage, and the stage's states."""
        stepper = self._stepper
        for k, n in enumerate(tape.layers):
            for i, costate in enumerate(incoming[k]):
                dual = create_block(*costate.shape)
                stepper.derivative(tape.slopes[k][i]).apply_transpose(costate, dual)
                c = stepper.intervals[n][i]
                self._left[c].append(stepper.grid.step * stepper.space.riesz(dual))
                self._right[c].append(np.array(tape.stages[k][i], order="F"))
                self._shorten(c, _COLUMNS * stepper.space.num_nodes)

    def of_interval(self, interval: int) -> tuple[Block, Block]:
        """The factors of g_c, of the samples of all members (collective)."""
        self._shorten(interval, 0)
        space, ensemble = self._stepper.space, self._functional.control_space.ensemble
        mine = self._left[interval] or [create_block(space.num_local, 0)], self._right[interval]
        pairs = ensemble.sample_comm.allgather((mine[0][0], (mine[1] or mine[0])[0]))
        left, right = (np.asfortranarray(np.hstack([pair[side] for pair in pairs])) for side in (0, 1))
        return left, right

    def _shorten(self, c: int, columns: int) -> None:
        if sum(block.shape[1] for block in self._left[c]) > columns:
            left, right = (np.asfortranarray(np.hstack(blocks[c])) for blocks in (self._left, self._right))
            found = truncate(self._stepper.space, left, right, cut=Truncation(tolerance=_ROUND_OFF))
            self._left[c], self._right[c] = [np.asfortranarray(found.left)], [np.asfortranarray(found.right)]


def _outside(functional: Functional, factors: Block, block: Block) -> Block:
    """The part of the columns that is orthogonal in L²(Y) to some factors."""
    space = functional.stepper.space
    basis, _ = orthonormal_directions(space, np.asfortranarray(factors), _ROUND_OFF)
    return outside_of(space, basis, block)


def _filled(block: Block, columns: int) -> Block:
    result = create_block(len(block), columns)
    result[:, : block.shape[1]] = block
    return result


def _kernel_of(space: ControlSpace) -> SeparableKernel:
    if not isinstance(space.kernel, SeparableKernel) or "kernel" not in space.parts:
        raise InvalidInput("the rank changes of a separable kernel that is a control")
    return space.kernel


def _with_kernel(source: ControlSpace, target: ControlSpace, controls: Floats, values: Floats) -> Floats:
    wanted = _kernel_of(target).num_parameters
    if values.size != wanted:
        raise InvalidInput(f"{values.size} values of factors for a kernel of rank {_kernel_of(target).rank}")
    parts = source.unpack(source.gather(controls))
    return target.pack({**parts, "kernel": np.ascontiguousarray(values).ravel()})[target.shard]
