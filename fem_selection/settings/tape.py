# SPDX-License-Identifier: MIT
"""Settings of what is stored of a sweep through the layers for the way back."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from fem_selection.settings.fields import one_of
from fem_selection.settings.names import TAPES
from fem_selection.settings.tables import settings_class

__all__ = ["TapeSettings"]


@settings_class
class TapeSettings:
    """`[tape]`: which states of a sweep are stored for the way back; the others are computed again from these.

    Derivatives are the same up to round-off; only memory and time differ.  States are stored at boundaries of segments
    of layers, in the order of Revolve's schedule, and one segment at a time has a tape of all its layers.

    Attributes:
        schedule: `all` stores all layers, `memory` some states in memory, `disk` some or all segments' states in a
            file.  `auto` is `all` where that fits into the memory there is, else `memory`.
        checkpoints: Largest number of states of a block that are stored at once, with `memory` and `disk`.  If left
            out, as many as `memory` allows; on disk those of all segments.
        memory: Bytes that each rank may take for a block's tape and the states that are stored in memory; an action of
            the Hessian may take as many again.  If left out, half of the memory that is free for the rank when the
            problem is made; with `checkpoints`, what segments take of which no layer is swept again more than three
            times; on disk, what a segment of √L layers takes, or one of `checkpoints` + 1 segments.
        directory: Folder of the file on disk, relative to the current one; ~ is the home folder. If left out, the
            system's folder for temporary files.
    """

    schedule: Annotated[str, one_of(TAPES)] = "auto"
    checkpoints: int | None = Field(default=None, ge=1)
    memory: int | None = Field(default=None, ge=1)
    directory: str | None = Field(default=None, min_length=1)

    @field_validator("checkpoints", "memory", "directory")
    @classmethod
    def _has_an_effect(cls, value: Any, info: ValidationInfo) -> Any:
        able = {"checkpoints": ("memory", "disk"), "memory": ("auto", "memory", "disk"), "directory": ("disk",)}
        schedules, given = able[info.field_name or ""], info.data.get("schedule")
        if value is not None and given is not None and given not in schedules:
            names = " or ".join(repr(name) for name in schedules)
            raise ValueError(f"has no effect with tape.schedule = {given!r}: leave it out, or choose {names}")
        return value
