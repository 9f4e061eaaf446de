# SPDX-License-Identifier: MIT
"""The forward problem as one call: initial states in, states at layer boundaries out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from fem_selection.dynamics.stepper import Stepper
from fem_selection.errors import InvalidInput, NonFinite, NotConverged
from fem_selection.typing import Block, Floats, whole_number

__all__ = ["Trajectory", "solve_forward"]


@dataclass(frozen=True)
class Trajectory:
    """States at layer boundaries.

    Attributes:
        times: Depths t, shape (num_kept,).
        states: Nodal values of the owned nodes, one (num_local, num_samples) block per time.
    """

    times: Floats
    states: tuple[Block, ...]

    @property
    def final(self) -> Block:
        """The last of the states."""
        return self.states[-1]


def solve_forward(stepper: Stepper, initial: Block, keep: Sequence[int] | None = None) -> Trajectory:
    """Solve ∂_t f = σ(K f + b), f(0) = f^I, for a block of samples.

    Args:
        stepper: The discrete dynamics.
        initial: Nodal values of the initial states, shape (num_local, num_samples), or (num_local,) for one; not
            changed.
        keep: Layer boundaries to keep; all of 0 … layers by default.

    Returns:
        The states at the kept layer boundaries, in increasing order and each once.

    Raises:
        InvalidInput: on all ranks, if the initial states are no real numbers or do not fit the space, or a boundary
            to keep is none.
        NonFinite: if a state is not finite, on all ranks; it names the first layer of which this is true.
        NotConverged: if the reason is an implicit stage that was not solved, on all ranks.

    Note:
        Collective over the space communicator.

    Example:
        >>> stepper = fs.build_problem(fs.load_case("demos/gap.toml")).functional.stepper  # w = 0.2, σ = tanh, T = 0.1
        >>> trajectory = fs.solve_forward(stepper, np.array([[1.0, -3.0]]))
        >>> print(trajectory.times[-1], trajectory.final.round(4))
        0.1 [[ 1.0199 -3.054 ]]
    """
    initial = stepper.space.to_block(initial, "initial states")
    kept = _boundaries(stepper.grid.layers, keep)
    with np.errstate(over="ignore", invalid="ignore"):
        final, states = stepper.advance_without_tape(initial, kept)
        if not stepper.space.comm.allreduce(bool(np.all(np.isfinite(final))), op=MPI.LAND):
            layer = stepper.failed_layer or stepper.first_bad_layer(initial)
            first = stepper.space.comm.allreduce(stepper.grid.layers if layer is None else layer, op=MPI.MIN)
            words = next((w for w in stepper.space.comm.allgather(stepper.take_failure()) if w), None)
            if words is not None:
                raise NotConverged(f"no state at layer {first}: {words}")
            raise NonFinite("the state", layer=first)
    return Trajectory(times=stepper.grid.times[list(kept)], states=tuple(states))


def _boundaries(layers: int, keep: Sequence[int] | None) -> Sequence[int]:
    """The layer boundaries to keep, increasing and each once, as the sweep meets them."""
    if keep is None:
        return range(layers + 1)
    if not isinstance(keep, Iterable):
        raise InvalidInput(f"keep = {keep!r}: expected a list of layer boundaries")
    kept = sorted({whole_number(n, "a layer boundary to keep", 0) for n in keep})
    if kept and kept[-1] > layers:
        raise InvalidInput(f"keep = {kept}: the layer boundaries are 0 to {layers}")
    return kept
