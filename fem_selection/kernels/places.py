# SPDX-License-Identifier: MIT
"""What a representer kernel holds at its *places*, the stages of the layers: the anchors, their tangents, and duals.

K = Ĉ P (M A)ᵀ with Ĉ of the control interval (`kernels.representer`), A the anchors at the place, P the inverse root of
their Gram matrix G = AᵀMA.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fem_selection.linalg.inverse_root import InverseRoot
from fem_selection.typing import Block, Floats

__all__ = ["FactorDuals", "Place", "PlaceDirection"]


@dataclass
class Place:
    """The anchors at one stage of one layer.

    Attributes:
        interval: The control interval of the stage.
        moments: M A, shape (num_local, r); of another shape before the anchors flow.
        number: Its number among all places; −1 if the other attributes are of other parameters.
        root: P with its derivatives, and G.
    """

    interval: int
    moments: Block
    number: int
    root: InverseRoot = field(init=False)


@dataclass
class PlaceDirection:
    """A tangent of the anchors at one place.

    Attributes:
        d_moments: M δA, shape (num_local, r).
        d_gram: δG, shape (r, r).
        d_inverse: δP, shape (r, r).
    """

    d_moments: Block
    d_gram: Floats
    d_inverse: Floats


@dataclass(frozen=True)
class FactorDuals:
    """Views of a pullback: the duals of the three factors.

    Attributes:
        values: That of Ĉ, shape (num_intervals, r, num_local).
        moments: That of M A, shape (places that are kept, r, num_local).
        inverses: That of P, shape (places that are kept, r, r); the same on all ranks of a space communicator.
    """

    values: Floats
    moments: Floats
    inverses: Floats
