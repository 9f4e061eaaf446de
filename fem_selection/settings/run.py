# SPDX-License-Identifier: MIT
"""Settings of a run: how the ranks share the work, and which files the run writes."""

from __future__ import annotations

from pydantic import Field

from fem_selection.settings.tables import settings_class

__all__ = [
    "OutputSettings",
    "ParallelSettings",
]


@settings_class
class ParallelSettings:
    """`[parallel]`: how the ranks share the work.

    Attributes:
        space: Number of ranks of a space communicator; it divides the number of all ranks.
        block: Largest number of samples of a block.
    """

    space: int = Field(default=1, ge=1)
    block: int = Field(default=192, ge=1)


@settings_class
class OutputSettings:
    """`[output]`: the files that a run writes.

    Attributes:
        directory: Folder in which each run makes its own folder; relative to the current one; ~ is the home folder.
        checkpoint_every: Iterations, or epochs, between two checkpoints; None for as often as 2 % of the time allows.
        figures: Whether figures are drawn.
        fields: Whether fields are written for ParaView.
    """

    directory: str = Field(default="runs", min_length=1)
    checkpoint_every: int | None = Field(default=None, ge=1)
    figures: bool = True
    fields: bool = True
