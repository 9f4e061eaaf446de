# SPDX-License-Identifier: MIT
"""`LearningProblem`: an objective with its samples, its start and its box of controls.

    min J(x)  over  lower ≤ x ≤ upper,     from x₀

`LearningProblem.from_functional` makes one from a user's own functional, `cases.learning.build_problem` from a case
file.  The studies `train`, `certify` and `predict` take either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from fem_selection.data import SampleFormat, Standardization, stratified_split
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import InvalidInput
from fem_selection.learning.batches import SampleBatches, SampleStates
from fem_selection.learning.controls import ControlSpace
from fem_selection.learning.functional import Functional
from fem_selection.learning.scaled import ScaledFunctional
from fem_selection.parallel import Ensemble
from fem_selection.settings import Movement
from fem_selection.settings.names import PARTS
from fem_selection.typing import Block, Floats, Integers, whole_number, whole_numbers

__all__ = ["LearningProblem", "create_box", "predict_labels"]


@dataclass(frozen=True, kw_only=True)
class LearningProblem:
    """An objective with its samples, its start and its box of controls.

    Attributes:
        scaled_functional: J in the optimizer's variable x̂.
        scaled_start: Shard of the first x̂.
        scaled_bounds: Shards of lower and upper bounds in x̂, or None.
        train: The training samples, those of J.
        test: The test samples, or None.
        validation: Samples on which the stochastic phase chooses its best iterate, beside the training samples.  If
            None, the share `StochasticSettings.validation` of the training samples is split off for it, or nothing.
        sample_format: The form of an input, its scaling and the classes, for later predictions.
        movement: How far the stochastic phase moves images at random, or None.
        finer: Builds the same problem on a mesh of cells half as wide, on the same ranks (collective), by which errors
            in width are estimated; may raise InvalidInput with the reason why it cannot.  None if nothing is known.

    Example:
        >>> problem = fs.build_problem(fs.load_case("demos/gap.toml"))
        >>> same = fs.LearningProblem.from_functional(problem.functional)  # starts at the controls that J holds
        >>> print(same.train.num_samples, same.scaled_functional.to_controls(same.scaled_start)[:2])
        2 [0.2 0.2]
    """

    scaled_functional: ScaledFunctional
    scaled_start: Floats
    scaled_bounds: tuple[Floats, Floats] | None = None
    train: SampleStates
    test: SampleStates | None = None
    validation: SampleStates | None = None
    sample_format: SampleFormat = field(default_factory=SampleFormat)
    movement: Movement | None = None
    finer: Callable[[], LearningProblem] | None = None

    @classmethod
    def from_functional(
        cls,
        functional: Functional,
        *,
        start_controls: Floats | None = None,
        bounds: Mapping[str, tuple[float, float]] | None = None,
        labels: Integers | None = None,
        classes: Sequence[object] = (),
        test: SampleStates | None = None,
        validation: SampleStates | None = None,
        finer: Callable[[], LearningProblem] | None = None,
    ) -> LearningProblem:
        """The learning problem of a functional that the caller has built (collective).

        Args:
            functional: J; its samples become the training samples, which every rank then holds.
            start_controls: Shard of the first x; if None, the kernel and bias that the dynamics hold, and a readout of
                zeros.
            bounds: Lower and upper bound, in x, of "kernel", "bias" or "readout"; parts that are not named are free.
            labels: Classes 0 … C − 1 of all training samples, in the order of the members' shares.
            classes: The classes in the order of their numbers, in the type that predictions are to have; their numbers
                if left out.
            test: Samples on which the trained network is judged.
            validation: Samples on which the stochastic phase chooses its best iterate.
            finer: Builds the problem on a mesh of cells half as wide; see the attribute.

        Raises:
            InvalidInput: for labels, classes or a start that do not fit the functional, or bounds of an unknown part.
        """
        control_space = functional.control_space
        if labels is not None:
            outputs = control_space.num_outputs
            classes_at_most = 2 if outputs == 1 else outputs or None
            labels = whole_numbers(labels, "labels", count=functional.num_samples, below=classes_at_most)
        if start_controls is None:
            start_controls = _current_controls(functional)
        else:
            start_controls = control_space.to_shard(start_controls)
        return cls(
            scaled_functional=ScaledFunctional(functional),
            scaled_start=control_space.to_scaled(start_controls),
            scaled_bounds=create_box(control_space, bounds or {}),
            train=SampleStates.from_shares(
                control_space.ensemble, functional.initial, functional.targets, labels=labels
            ),
            test=test,
            validation=validation,
            finer=finer,
            sample_format=SampleFormat(
                class_values=_class_values(labels, classes, control_space.num_outputs),
                num_outputs=control_space.num_outputs,
            ),
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty without labels."""
        return self.sample_format.classes

    @property
    def standardization(self) -> Standardization | None:
        """The standardisation that was applied to the inputs, or None."""
        return self.sample_format.standardization

    @property
    def functional(self) -> Functional:
        """J, on this member's share of the training samples."""
        return self.scaled_functional.functional

    @property
    def ensemble(self) -> Ensemble:
        """The space × sample split of the ranks."""
        return self.functional.control_space.ensemble

    @property
    def space(self) -> StateSpace:
        """The state space."""
        return self.functional.control_space.space

    def require_samples(self) -> None:
        """Raise an error if the problem has no training samples, as that of a network which is only to be applied.

        Raises:
            InvalidInput: if it has none.
        """
        if self.train.num_samples == 0:
            raise InvalidInput(
                "the problem has no training samples, for its network was loaded without them: only predictions need "
                "none; load the run with its samples (cases.load_run)"
            )

    def hold_out(self, fraction: float, seed: int) -> tuple[SampleStates, SampleStates | None]:
        """The samples that the stochastic phase fits, and the samples on which it validates.

        Args:
            fraction: Share of the training samples to validate on, if the problem has no validation samples of its own.
            seed: Seed of the random split.

        Returns:
            The samples to fit, and those to validate on; None for the latter if there are none.

        Raises:
            InvalidInput: if the fraction is not in [0, 1), or a class has too few samples for both sides.
        """
        seed = whole_number(seed, "seed", 0)
        if self.validation is not None or fraction == 0 or self.train.num_samples < 3:
            return self.train, self.validation
        fit, validation = stratified_split(
            self.train.labels, fraction, seed, num_samples=self.train.num_samples, classes=self.classes
        )
        return self.train.subset(fit), self.train.subset(validation)

    def batches(self, batch_size: int, part: SampleStates | None = None) -> SampleBatches:
        """Mini-batches of the training samples, or of another part.

        Args:
            batch_size: Samples of a mini-batch over all members.
            part: The samples; the training samples if None.
        """
        dimension = self.space.domain.dimension
        return SampleBatches(self.ensemble, part or self.train, batch_size, dimension=dimension, movement=self.movement)

    def confusion(self, part: SampleStates, controls: Floats) -> Integers:
        """The confusion matrix: the number of samples of each true class that got each predicted class (collective).

        Args:
            part: The samples, with labels.
            controls: Shard of x.

        Returns:
            Entry (i, j) counts the samples of class i predicted as class j, shape (classes, classes).
        """
        self.functional.set_controls(controls)
        initial, _ = part.share(self.ensemble)
        predicted = predict_labels(self.functional.outputs(initial))
        assert part.labels is not None
        true = part.labels[self.ensemble.samples(part.num_samples)]
        count = len(self.classes)
        matrix = np.zeros((count, count), dtype=np.int64)
        np.add.at(matrix, (true, predicted), 1)
        self.ensemble.sample_comm.Allreduce(MPI.IN_PLACE, matrix)
        return matrix

    def accuracy(self, part: SampleStates, controls: Floats) -> float:
        """The share of the samples that is classified correctly (collective).

        Args:
            part: The samples, with labels.
            controls: Shard of x.
        """
        matrix = self.confusion(part, controls)
        return float(np.trace(matrix) / matrix.sum())

    def mean_cost(self, part: SampleStates, controls: Floats) -> float:
        """The mean terminal cost of a part of the data, without weight and regularization (collective).

        Args:
            part: The samples, with targets.
            controls: Shard of x.
        """
        f = self.functional
        f.set_controls(controls)
        initial, targets = part.share(self.ensemble)
        total = 0.0
        for start in range(0, initial.shape[1], f.block):
            columns = slice(start, start + f.block)
            final, _ = f.stepper.advance_without_tape(initial[:, columns])
            total += f.cost.value(final, targets[:, columns])
        return float(self.ensemble.sample_comm.allreduce(total)) / part.num_samples


def create_box(
    control_space: ControlSpace, bounds: Mapping[str, tuple[float, float] | None]
) -> tuple[Floats, Floats] | None:
    """Shards of the lower and upper bounds in x̂; None if no part is bounded.

    Args:
        control_space: Layout and coordinates of the controls.
        bounds: Lower and upper bound, in x, of each part of the controls; None, or no entry, leaves a part free.

    Raises:
        InvalidInput: for the name of a part that does not exist.
    """
    if unknown := [part for part in bounds if part not in PARTS]:
        raise InvalidInput(f"bounds of {', '.join(map(repr, unknown))}: choose from {', '.join(PARTS)}")
    if all(box is None for box in bounds.values()):
        return None
    limits = []
    for side, free in ((0, -np.inf), (1, np.inf)):
        local = np.full(control_space.local_size, free)
        for part, box in bounds.items():
            if box is not None:
                local[control_space.slices[part]] = box[side]
        limits.append(control_space.to_scaled(local[control_space.shard]))
    return limits[0], limits[1]


def predict_labels(outputs: Block) -> Integers:
    """The class of each column of outputs: the place of its largest entry; of a single output, 1 if it is positive."""
    return (outputs[0] > 0).astype(np.int64) if outputs.shape[0] == 1 else outputs.argmax(axis=0)


def _class_values(labels: Integers | None, classes: Sequence[object], num_outputs: int) -> NDArray[Any] | None:
    """The classes as an array, after checking that there is one for each label and output; None without labels."""
    needed = max(0 if labels is None else int(np.max(labels)) + 1, 2 if num_outputs == 1 else num_outputs)
    if not isinstance(classes, Sequence | np.ndarray) or isinstance(classes, str | bytes):
        raise InvalidInput(f"classes = {classes!r}: expected a list or an array of names or numbers")
    if len(classes) == 0:
        return None if labels is None else np.arange(needed)
    values = np.array(classes, ndmin=1)
    mixed = values.dtype.kind in "US" and not all(isinstance(value, str | bytes) for value in classes)
    if values.ndim != 1 or values.dtype.kind not in "biufUS" or mixed or len(np.unique(values)) < len(values):
        raise InvalidInput(f"classes {list(classes)!r}: give different strings or numbers, all of one kind")
    if len(values) < needed:
        raise InvalidInput(f"{len(values)} classes for labels and outputs of {needed}: give one for each")
    return values


def _current_controls(functional: Functional) -> Floats:
    """Shard of x with the kernel and bias that the dynamics hold, and a readout of zeros."""
    control_space, stepper = functional.control_space, functional.stepper
    readout = np.zeros((control_space.num_outputs, control_space.space.num_local))
    values = {"kernel": stepper.kernel.parameters(), "bias": stepper.bias, "readout": readout}
    return control_space.pack({**values, "offset": np.zeros(control_space.num_outputs)})[control_space.shard]
