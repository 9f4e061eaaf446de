# SPDX-License-Identifier: MIT
"""Losses ℓ(o, z) of readout outputs o ∈ R^C, summed over the columns of a block, with derivatives in o.

| loss | ℓ(o, z) | z |
|---|---|---|
| softmax | log Σ_k e^{o_k} − ⟨z, o⟩ | one-hot class |
| logistic | Σ_k log(1 + e^{o_k}) − z_k o_k | 0 or 1 for each output |
| least_squares | ½ ‖o − z‖² | any vector |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from fem_selection.errors import InvalidInput
from fem_selection.synonyms import suggest
from fem_selection.typing import Block

__all__ = ["LOSSES", "Loss", "encode_labels", "find_loss"]


@dataclass(frozen=True)
class Loss:
    """A differentiable loss of outputs.

    Attributes:
        name: Its name in case files.
        value_and_derivative: Function of outputs and targets, both (C, J), to the sum over the J columns of ℓ and the
            block of ∂ℓ/∂o.
        curvature: Function of outputs to an array from which `second_derivative` computes ∂²ℓ/∂o² δo.  The target is
            not
            needed: no second derivative depends on it.
        second_derivative: Function of that array and a direction δo, (C, J), to the block of ∂²ℓ/∂o² δo.
    """

    name: str
    value_and_derivative: Callable[[Block, Block], tuple[float, Block]]
    curvature: Callable[[Block], Block]
    second_derivative: Callable[[Block, Block], Block]


def _softmax(outputs: Block, targets: Block) -> tuple[float, Block]:
    top = np.maximum.reduce(outputs, axis=0)
    p = np.subtract(outputs, top)
    np.exp(p, out=p)
    total = np.add.reduce(p, axis=0)
    value = float(np.add.reduce(np.log(total)) + np.add.reduce(top) - np.einsum("ij,ij->", targets, outputs))
    p /= total
    p -= targets
    return value, p


def _softmax_probabilities(outputs: Block) -> Block:
    p = np.exp(outputs - np.maximum.reduce(outputs, axis=0))
    p /= np.add.reduce(p, axis=0)
    return p


def _softmax_second(p: Block, direction: Block) -> Block:
    result = p * direction
    result -= p * np.add.reduce(result, axis=0)
    return result


def _logistic(outputs: Block, targets: Block) -> tuple[float, Block]:
    value = float(np.sum(np.logaddexp(0.0, outputs)) - np.vdot(targets, outputs))
    return value, expit(outputs) - targets


def _logistic_curvature(outputs: Block) -> Block:
    return expit(outputs) * expit(-outputs)


def _least_squares(outputs: Block, targets: Block) -> tuple[float, Block]:
    difference = outputs - targets
    return 0.5 * float(np.vdot(difference, difference)), difference


def _least_squares_curvature(outputs: Block) -> Block:
    return np.ones((1, 1))


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss(
            name="softmax",
            value_and_derivative=_softmax,
            curvature=_softmax_probabilities,
            second_derivative=_softmax_second,
        ),
        Loss(
            name="logistic",
            value_and_derivative=_logistic,
            curvature=_logistic_curvature,
            second_derivative=np.multiply,
        ),
        Loss(
            name="least_squares",
            value_and_derivative=_least_squares,
            curvature=_least_squares_curvature,
            second_derivative=np.multiply,
        ),
    )
}
"""The losses of a readout by name."""


def find_loss(name: str) -> Loss:
    """Return the loss of this name.

    Raises:
        InvalidInput: if there is none; the message lists the names.
    """
    if name not in LOSSES:
        raise InvalidInput(f"unknown loss {name!r}{suggest(name, LOSSES)}; known are {', '.join(LOSSES)}")
    return LOSSES[name]


def encode_labels(labels: np.ndarray, num_classes: int, loss: str) -> Block:
    """Return labels as target columns, shape (C, J): one-hot, or one row of 0 and 1 for logistic with two classes.

    Args:
        labels: Classes 0 … C − 1, shape (J,).
        num_classes: C.
        loss: Name of the loss.
    """
    if loss == "logistic" and num_classes == 2:
        return np.asfortranarray(labels[None, :].astype(np.float64))
    return np.asfortranarray((labels[None, :] == np.arange(num_classes)[:, None]).astype(np.float64))
