# SPDX-License-Identifier: MIT
"""The files of a training while it runs: histories and checkpoints, written by root.

An error of root is stored until all ranks can raise it, so that no rank waits for another that has left.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fem_selection.cases.saved import default_tables
from fem_selection.errors import InvalidInput
from fem_selection.io.checkpoints import read_checkpoint, refuse_another, write_checkpoint
from fem_selection.io.runs import CHECKPOINT, History, read_columns, remove_run, write_text
from fem_selection.learning import ControlSpace
from fem_selection.parallel import act_on_root
from fem_selection.typing import Floats

__all__ = ["RunFiles", "prepare_folder"]


def prepare_folder(folder: Path, texts: Mapping[str, str], *, parts: str, resume: bool) -> None:
    """Make the folder of a run with runs in it, empty it unless it is resumed, and write its texts (on rank 0).

    Args:
        folder: The folder.
        texts: The contents, by name, of further files that belong to the run.
        parts: Name of the subfolder with the runs in it.
        resume: Whether to leave what is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not resume:
        remove_run(folder)
        shutil.rmtree(folder / parts, ignore_errors=True)
    for name, text in texts.items():
        write_text(folder / name, text)


class RunFiles:
    """Histories and checkpoints of one run; all methods are collective.

    Args:
        control_space: The control space, whose vectors the checkpoints hold.
        folder: The folder; None to keep the histories in memory and write nothing.
        key: The tables that identify the problem; a checkpoint with other tables is refused.
    """

    def __init__(self, control_space: ControlSpace, folder: Path | None, key: Mapping[str, Any]) -> None:
        self.control_space, self.folder, self.key = control_space, folder, key
        self.ensemble = control_space.ensemble
        self._histories: dict[str, tuple[tuple[str, ...], list[tuple[float, ...]]]] = {}
        self._fault: InvalidInput | None = None
        self._began, self._seconds_before = time.monotonic(), 0.0

    def begin(self, texts: Mapping[str, str], *, resumed: bool) -> None:
        """Prepare the folder; the files of an earlier run are removed, unless it is resumed.

        Args:
            texts: The contents, by name, of further files that belong to the run.
            resumed: Whether the run in the folder is continued.

        Raises:
            InvalidInput: on all ranks, if a file cannot be written.
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

    def seconds(self) -> float:
        """The time of the run so far, with that of the run that it resumes."""
        return self._seconds_before + time.monotonic() - self._began

    # ── histories ─────────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def history(self, name: str, columns: tuple[str, ...], keep_up_to: int | None) -> Iterator[Callable[..., None]]:
        """A context manager for a history; within the block it gives a function that adds a line.

        An error with the file is raised by the next collective call, on all ranks.

        Args:
            name: Name of the file.
            columns: Names of the columns; the first is a counter.
            keep_up_to: When resuming, lines with a larger counter are dropped; None to begin a new file.
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
        """The columns of a history by name, read from its file if there is a folder; empty if it was never begun.

        Raises:
            InvalidInput: on all ranks, if the file cannot be read.
        """
        if (folder := self.folder) is not None:
            return act_on_root(self.ensemble.world, lambda: read_columns(folder / name))
        if name not in self._histories:
            return {}
        names, rows = self._histories[name]
        table = np.array(rows, dtype=np.float64).reshape(-1, len(names))
        return dict(zip(names, table.T.copy(), strict=True))

    def raise_fault(self) -> None:
        """Raise on all ranks the error that root had with a history, if there was one (collective).

        Raises:
            InvalidInput: if a history could not be written.
        """
        if self.ensemble.any(self._fault is not None):
            raise self.ensemble.world.bcast(self._fault)

    # ── checkpoint ────────────────────────────────────────────────────────────────────────────────────────────────

    def save(self, state: Mapping[str, Any], vectors: Mapping[str, Floats]) -> None:
        """Write a checkpoint; call it after the line of the history that belongs to it (collective).

        Args:
            state: Values that JSON can hold.
            vectors: Shards by name.

        Raises:
            InvalidInput: on all ranks, if a file cannot be written.
        """
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
        state, vectors = read_checkpoint(
            path,
            self.ensemble,
            c.indices,
            global_size=c.global_size,
            check=lambda found: refuse_another(found, self.key, default_tables()),
        )
        self._seconds_before = float(state["seconds"])
        return state, vectors
