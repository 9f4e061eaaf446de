# SPDX-License-Identifier: MIT
"""Blocks of states made from samples: the share of each ensemble member, mini-batches, images moved at random.

Every rank reads all samples, but of a memory map only its own.  It makes the states of the samples that its member
sweeps, at the nodes that it owns.  Every rank draws the same order and the same movements for an epoch, and each member
keeps its columns of every mini-batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_selection.data import AffineMaps, draw_maps, image_states
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import InvalidInput
from fem_selection.parallel import Ensemble, share
from fem_selection.settings import Movement
from fem_selection.typing import Block, Integers, real_array, whole_number, whole_numbers

__all__ = ["SampleBatches", "SampleStates"]

_STATES_AT_ONCE = 2048


@dataclass(frozen=True)
class SampleStates:
    """A part of the data as functions on Y.

    Attributes:
        num_samples: Number of samples of the part, over all members.
        states: A function of sample numbers and of the maps that move these images (None to leave them); it returns
            their initial states, shape (num_local, len(numbers)).
        targets: Targets of all samples, shape (C, num_samples); for target functions (num_local, num_samples).
        labels: Classes 0 … C − 1 of all samples, or None.
    """

    num_samples: int
    states: Callable[[Integers, AffineMaps | None], Block]
    targets: Block
    labels: Integers | None

    @classmethod
    def from_states(cls, initial: Block, targets: Block | None = None, labels: Integers | None = None) -> SampleStates:
        """The part whose samples are given by their initial states; arrays of float64 are kept by reference.

        Args:
            initial: Initial states of all samples at this rank's nodes, shape (num_local, num_samples).
            targets: Their targets, of the shapes above; None if there are none, as for predictions.
            labels: Their classes, or None.

        Raises:
            InvalidInput: if initial states or targets are no real numbers, or the numbers of states, targets and labels
                differ.  `states` raises it later if it is given maps, since these states are not images.
        """
        initial = real_array(initial, "initial states")
        if initial.ndim != 2:
            raise InvalidInput(f"initial states of shape {initial.shape}: expected (num_local, number of samples)")
        count = initial.shape[1]
        targets = np.empty((0, count)) if targets is None else np.atleast_2d(real_array(targets, "targets"))
        if targets.shape[1] != count:
            raise InvalidInput(f"{count} initial states but {targets.shape[1]} targets: give one for each sample")
        labels = None if labels is None else whole_numbers(labels, "labels", count=count)

        def states(numbers: Integers, maps: AffineMaps | None) -> Block:
            if maps is not None:
                raise InvalidInput("states that are no images cannot be moved: leave the movement out")
            return np.asfortranarray(initial[:, numbers])

        return cls(num_samples=count, states=states, targets=targets, labels=labels)

    @classmethod
    def from_images(
        cls, space: StateSpace, inputs: NDArray[Any], *, targets: Block, labels: Integers | None = None
    ) -> SampleStates:
        """The part whose samples are images, or curves or volumes, on a grid of any size over the box of the domain.

        Args:
            space: The state space; the functions that the images represent are interpolated at its nodes.
            inputs: Shape (num_samples, *grid), of any real type; possibly a memory map (`data.open_mapped`), of which
                each rank then reads the samples that it sweeps alone.
            targets: Targets of all samples, shape (C, num_samples).
            labels: Their classes, or None.

        Raises:
            InvalidInput: if the numbers of images, targets and labels differ.
        """
        targets = np.atleast_2d(real_array(targets, "targets"))
        if targets.shape[1] != len(inputs):
            raise InvalidInput(f"{len(inputs)} images but {targets.shape[1]} targets: give one for each sample")
        labels = None if labels is None else whole_numbers(labels, "labels", count=len(inputs))

        def states(numbers: Integers, maps: AffineMaps | None) -> Block:
            own = np.asarray(inputs[numbers], dtype=np.float64)
            return image_states(own, space.coordinates, space.domain.bounds, affine=maps)

        return cls(num_samples=len(inputs), states=states, targets=targets, labels=labels)

    @classmethod
    def from_shares(
        cls, ensemble: Ensemble, initial: Block, targets: Block, *, labels: Integers | None = None
    ) -> SampleStates:
        """The part whose samples are given in shares, one by each ensemble member; all ranks then hold all of them.

        Args:
            ensemble: The space × sample split.
            initial: Initial states of this member's samples, shape (num_local, J_member).
            targets: Their targets, of the shapes above with J_member columns.
            labels: Classes of all samples, or None.

        Raises:
            InvalidInput: if the numbers of states, targets and labels differ.

        Note:
            Collective over the members of the ensemble.
        """
        if ensemble.num_members > 1:
            parts = ensemble.sample_comm.allgather((initial, targets))
            initial, targets = (np.asfortranarray(np.concatenate(part, axis=1)) for part in zip(*parts, strict=True))
        return cls.from_states(initial, targets, labels)

    def share(self, ensemble: Ensemble) -> tuple[Block, Block]:
        """Initial states and targets of this member's share."""
        own = np.arange(self.num_samples)[ensemble.samples(self.num_samples)]
        return self.states(own, None), np.asfortranarray(self.targets[:, own])

    def subset(self, numbers: Integers) -> SampleStates:
        """The part that consists of the samples with these numbers."""
        return SampleStates(
            num_samples=len(numbers),
            states=lambda chosen, maps: self.states(numbers[chosen], maps),
            targets=np.asfortranarray(self.targets[:, numbers]),
            labels=None if self.labels is None else self.labels[numbers],
        )


class SampleBatches:
    """Mini-batches of a part of the data, split over the members of an ensemble.

    Args:
        ensemble: The space × sample split.
        part: The samples.
        batch_size: Samples of a mini-batch over all members; an incomplete last batch of an epoch is left out.
        dimension: Dimension d of the images that are moved.
        movement: How far images are moved at random; None to leave them.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        part: SampleStates,
        batch_size: int,
        *,
        dimension: int,
        movement: Movement | None = None,
    ) -> None:
        self.batch_size = min(whole_number(batch_size, "batch_size", 1), part.num_samples)
        self._ensemble, self._part, self._dimension, self._movement = ensemble, part, dimension, movement

    def draw_epoch(self, rng: np.random.Generator) -> _SampleEpoch:
        """Draw a random order and, if images are moved, a map for each sample; return this member's batches.

        Raises:
            InvalidInput: if the movement does not fit the dimension of the images.
        """
        total = self._part.num_samples
        order = rng.permutation(total)
        maps = None
        if self._movement is not None:
            m = self._movement
            maps = draw_maps(rng, total, self._dimension, shift=m.shift, rotation=m.rotation, scale=m.scale)
        num_batches = total // self.batch_size
        batches = order[: num_batches * self.batch_size].reshape(num_batches, self.batch_size)
        own = batches[:, share(self.batch_size, self._ensemble.num_members, self._ensemble.member)]
        return _SampleEpoch(self._part, own, maps)


class _SampleEpoch:
    """This member's batches of one epoch; it makes the states of some thousand samples at a time."""

    def __init__(self, part: SampleStates, numbers: Integers, maps: AffineMaps | None) -> None:
        self.num_batches, self._width = numbers.shape
        self._part, self._numbers, self._maps = part, numbers, maps
        self._group = max(1, _STATES_AT_ONCE // max(1, self._width))
        self._made = -1

    def batch(self, number: int) -> tuple[Block, Block]:
        """This member's initial states and targets of a mini-batch."""
        group = number // self._group
        if group != self._made:
            chosen = self._numbers[group * self._group : (group + 1) * self._group].ravel()
            maps = None if self._maps is None else self._maps.subset(chosen)
            self._states = self._part.states(chosen, maps)
            self._targets = np.asfortranarray(self._part.targets[:, chosen])
            self._made = group
        start = (number - group * self._group) * self._width
        columns = slice(start, start + self._width)
        return self._states[:, columns], self._targets[:, columns]
