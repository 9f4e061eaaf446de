# SPDX-License-Identifier: MIT
"""What frames every command: the case read once, the folder claimed, the report written, tables printed by root."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpi4py import MPI
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fem_selection.cli.common import claim_report_folder, counted, load_case_everywhere, on_root
from fem_selection.errors import InvalidInput

if TYPE_CHECKING:
    from fem_selection.config import Case
    from fem_selection.discretization.spaces import StateSpace
    from fem_selection.studies.report import Report

__all__ = ["Frame"]


class Frame:
    """The frame of one command.

    Args:
        command: Its name, as in the report's "command".

    Attributes:
        console: Prints on root alone.
        case: The case, once it is read.
        folder: The folder of the report, once it is claimed.
    """

    case: Case
    folder: Path

    def __init__(self, command: str) -> None:
        self.command, self.began = command, time.monotonic()
        self.console = Console(quiet=MPI.COMM_WORLD.rank != 0, highlight=False)
        self._title = ""

    def read(self, path: Path, settings: Sequence[str] = ()) -> Case:
        """Read the case file, or that in the folder of a run (collective).

        Args:
            path: The case file, or the folder of a run.
            settings: Overrides `KEY=VALUE`.

        Raises:
            ConfigError: with all faults of the case.
            InvalidInput: for a folder that holds no run.
        """
        if path.is_dir():
            if not (path / "case.toml").exists():
                raise InvalidInput(f"{path} holds no run: there is no case.toml in it")
            path = path / "case.toml"
        self.case = load_case_everywhere(path, settings)
        self._title = self.case.title or path.stem
        return self.case

    def claim(self, output: Path | None, directory: Path | None = None) -> Path:
        """Claim the folder of the report and announce it (collective).

        Args:
            output: The folder, or None for the next number under `directory`.
            directory: Where folders are made; that of the case if left out.
        """
        where = Path(self.case.output.directory) if directory is None else directory
        self.folder = on_root(lambda: claim_report_folder(self.command, output, where))
        self.say(f"[bold]{escape(self._title)}[/bold] → {escape(str(self.folder))}", markup=True)
        return self.folder

    def about(self) -> dict[str, Any]:
        """What the JSON file says beside the report: command, title, seconds, ranks, versions and case."""
        from fem_selection.versions import versions

        return {
            "command": self.command,
            "title": self.case.title,
            "seconds": time.monotonic() - self.began,
            "ranks": MPI.COMM_WORLD.size,
            "versions": versions(),
            "case": dataclasses.asdict(self.case),
        }

    def write(self, report: Report, space: StateSpace | None = None) -> Path:
        """Write a report into the folder, with figures and fields as the case asks; returns the JSON file's path."""
        output = self.case.output
        fields = space if output.fields else None
        return report.write(self.folder, figures=output.figures, space=fields, about=self.about())

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], boxed: bool = True) -> None:
        """Print a table, with or without lines around its cells."""
        table = Table(*columns) if boxed else Table(*columns, box=None, pad_edge=False)
        for row in rows:
            table.add_row(*map(escape, row))
        self.console.print(table)

    def rows(self, rows: Mapping[str, str]) -> None:
        """Print names and values in two columns."""
        summary = Table(show_header=False, box=None, pad_edge=False)
        for name, text in rows.items():
            summary.add_row(name, escape(text))
        self.console.print(summary)

    def say(self, text: str, markup: bool = False) -> None:
        """Print a line."""
        self.console.print(text, markup=markup)

    def seconds(self) -> str:
        """The time since the command began, and on how many ranks, in words."""
        return f"{time.monotonic() - self.began:.1f} on {counted(MPI.COMM_WORLD.size, 'rank')}"
