# SPDX-License-Identifier: MIT
"""The files of a training on its way: histories and checkpoints, written by root; without a folder histories alone.

A fault of root is kept until all ranks can raise it, so that none of them waits for one that has left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fem_selection.errors import InvalidInput
from fem_selection.io.checkpoints import read_checkpoint, refuse_another, write_checkpoint
from fem_selection.io.runs import CHECKPOINT, History, read_columns, remove_run, write_text
from fem_selection.learning import ControlSpace
from fem_selection.parallel import act_on_root
from fem_selection.typing import Floats

__all__ = ["RunFiles"]


class RunFiles:
    """Histories and checkpoints of one run; all methods are collective.

    Args:
        control_space: The control space, whose vectors the checkpoints hold.
        folder: The folder; None to keep the histories in memory and nothing else.
        key: What the problem is known by; a checkpoint with another one is refused.
    """

    def __init__(self, control_space: ControlSpace, folder: Path | None, key: Mapping[str, Any]) -> None:
        self.control_space, self.folder, self.key = control_space, folder, key
        self.ensemble = control_space.ensemble
        self._histories: dict[str, tuple[tuple[str, ...], list[tuple[float, ...]]]] = {}
        self._fault: InvalidInput | None = None

    def begin(self, texts: Mapping[str, str], *, resumed: bool) -> None:
        """Make the folder ready: without what an earlier run left in it, unless that is resumed.

        Args:
            texts: Files that belong to the run: their contents by name.
            resumed: Whether the run in the folder goes on.
        """
        if (folder := self.folder) is None:
            return

        def prepare() -> None:
            folder.mkdir(parents=True, exist_ok=True)
            if not resumed:
                remove_run(folder)
            for name, text in texts.items():
                write_text(folder / name, text)

        act_on_root(self.ensemble.world, prepare)

    # ── histories ─────────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def history(self, name: str, columns: tuple[str, ...], keep_up_to: int | None) -> Iterator[Callable[..., None]]:
        """Within the block, a function that adds a line; what goes wrong with the file the next collective call raises.

        Args:
            name: Of the file.
            columns: Names; the first is a counter.
            keep_up_to: When resuming, lines whose counter is larger are dropped; None to begin anew.
        """
        rows: list[tuple[float, ...]] = []
        self._histories[name] = columns, rows
        opened: list[History] = []
        if (folder := self.folder) is not None:
            act_on_root(self.ensemble.world, lambda: opened.append(History(folder / name, columns, keep_up_to)))

        def append(*values: float) -> None:
            rows.append(values)
            if opened and self._fault is None:
                try:
                    opened[0].append(*values)
                except InvalidInput as error:
                    self._fault = error

        try:
            yield append
        finally:
            for file in opened:
                file.close()

    def columns(self, name: str) -> dict[str, Floats]:
        """The columns of a history, from its file where there is one; empty if it was never begun."""
        if (folder := self.folder) is not None:
            return act_on_root(self.ensemble.world, lambda: read_columns(folder / name))
        if name not in self._histories:
            return {}
        names, rows = self._histories[name]
        table = np.array(rows, dtype=np.float64).reshape(-1, len(names))
        return dict(zip(names, table.T.copy(), strict=True))

    def raise_fault(self) -> None:
        """Raise what went wrong on root with a history, on all ranks."""
        if self.ensemble.any(self._fault is not None):
            raise self.ensemble.world.bcast(self._fault)

    # ── checkpoint ────────────────────────────────────────────────────────────────────────────────────────────────

    def save(self, state: Mapping[str, Any], vectors: Mapping[str, Floats]) -> None:
        """Write a checkpoint, after the history's line that it belongs to."""
        self.raise_fault()
        if self.folder is not None:
            c, path = self.control_space, self.folder / CHECKPOINT
            write_checkpoint(path, self.ensemble, c.indices, global_size=c.global_size, state=state, vectors=vectors)

    def read(self) -> tuple[dict[str, Any], dict[str, Floats]] | None:
        """The state and vectors of the checkpoint; None if the run was killed before the first one.

        Raises:
            InvalidInput: without a folder, and for a checkpoint that is damaged or of another problem.
        """
        if (folder := self.folder) is None:
            raise InvalidInput("a training is resumed from its folder: give folder=…")
        path, c = folder / CHECKPOINT, self.control_space
        if not act_on_root(self.ensemble.world, path.exists):
            return None
        check = lambda found: refuse_another(found, self.key)  # noqa: E731
        return read_checkpoint(path, self.ensemble, c.indices, global_size=c.global_size, check=check)
