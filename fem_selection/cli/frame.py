# SPDX-License-Identifier: MIT
"""The common parts of all commands: read the case, claim the folder, write the report, print tables on root."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpi4py import MPI
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fem_selection.cli.streams import visible
from fem_selection.config import Case, load_case
from fem_selection.errors import ConfigError, InvalidInput
from fem_selection.io.runs import CHECKPOINT, claim_folder, next_numbered_folder, remove_report
from fem_selection.parallel import act_on_root
from fem_selection.signals import end_on_signals

if TYPE_CHECKING:
    from fem_selection.discretization.spaces import StateSpace
    from fem_selection.learning import LearningProblem
    from fem_selection.studies.report import Report
    from fem_selection.typing import Floats

__all__ = ["NOT_MOVED", "Frame", "Moved", "on_root"]


@dataclasses.dataclass(frozen=True)
class Moved:
    """Where the files of a run are, if they are no longer where the training found them.

    Attributes:
        data: The data file, or None.
        mesh: The mesh file, or None.
    """

    data: Path | None = None
    mesh: Path | None = None

    @property
    def settings(self) -> list[str]:
        """The overrides `KEY=VALUE` that name the files."""
        files = {"data.file": self.data, "domain.file": self.mesh}
        places = {key: str(path.expanduser().absolute()) for key, path in files.items() if path is not None}
        return [f"{key}={json.dumps(place, ensure_ascii=False)}" for key, place in places.items()]


NOT_MOVED = Moved()

_WIDTH_OF_A_LOG = 100_000  # a log has no width: nothing in it is cut or folded


class Frame:
    """The common parts of one command.

    Args:
        command: The name of the command, as in the report's "command".

    Attributes:
        console: Prints on root only.
        case: The case, after `read` or `read_run`.
        folder: The folder of the report, after `claim`.
    """

    case: Case
    folder: Path

    def __init__(self, command: str) -> None:
        self.command, self._began, self._title = command, time.monotonic(), ""
        quiet, width = MPI.COMM_WORLD.rank != 0, None if sys.stdout.isatty() else _WIDTH_OF_A_LOG
        self.console = Console(quiet=quiet, highlight=False, width=width)

    def read(self, path: Path, settings: Sequence[str] = ()) -> Case:
        """Read a case file (collective).

        Args:
            path: The file.
            settings: Overrides `KEY=VALUE`.

        Raises:
            ConfigError: with all faults of the case, or if it cannot run on these ranks.
        """
        self.case = on_root(lambda: load_case(path, settings))
        if (size := MPI.COMM_WORLD.size) % (space := self.case.parallel.space):
            raise ConfigError([f"parallel.space: {space} does not divide the number of ranks, {size}"])
        self._title = self.case.title or path.stem
        return self.case

    def read_run(
        self, folder: Path, settings: Sequence[str] = (), *, moved: Moved = NOT_MOVED, also: Sequence[str] = ()
    ) -> tuple[LearningProblem, Floats]:
        """The learning problem of a run and the controls that the run has found (collective).

        Args:
            folder: The folder of the run.
            settings: Overrides `KEY=VALUE`.
            moved: Where the run's files are now.
            also: Further tables of the case that must agree with the checkpoint, beside those of the data and those
                that determine the network.

        Returns:
            The problem, and the shard of the controls x.

        Raises:
            InvalidInput: if the folder holds no run, its checkpoint cannot be used, or its data file is missing or
                another than that of the training.
        """
        self._read_case_of(folder, settings, moved)
        from fem_selection.cases.saved import load_run

        end_on_signals()
        return load_run(folder, self.case, also=also)

    def read_network(self, folder: Path, *, moved: Moved = NOT_MOVED) -> tuple[LearningProblem, Floats]:
        """The network of a run, without its samples, and the controls that the run has found (collective).

        Args:
            folder: The folder of the run.
            moved: Where the run's files are now.

        Returns:
            The problem, and the shard of the controls x.

        Raises:
            InvalidInput: if the folder holds no run, or its checkpoint cannot be used.
        """
        self._read_case_of(folder, (), moved)
        from fem_selection.cases.saved import load_network

        end_on_signals()
        return load_network(folder, self.case)

    def _read_case_of(self, folder: Path, settings: Sequence[str], moved: Moved) -> None:
        """Read the case of a run, with its files where they are now (collective)."""
        for name in ("case.toml", CHECKPOINT):
            if not on_root((folder / name).exists):
                raise InvalidInput(f"{folder} holds no run: there is no {name} in it")
        if moved.mesh is not None:
            on_root(lambda: _require_mesh_file(folder / "case.toml", moved.mesh))
        case = on_root(lambda: load_case(folder / "case.toml", [*settings, *moved.settings], needs_data=False))
        # the ranks of the training need not be there: what is computed does not depend on their number
        space = math.gcd(case.parallel.space, MPI.COMM_WORLD.size)
        self.case = dataclasses.replace(case, parallel=dataclasses.replace(case.parallel, space=space))
        self._title = self.case.title or "case"
        if moved.data is not None and (source := self.case.data.source) != "npz":
            raise InvalidInput(f"--data {moved.data}: this run has no data file, for data.source = {source!r}")

    def claim(self, output: Path | None, directory: Path | None = None, *, announced: bool = True) -> Path:
        """Claim the folder of the report and announce it (collective).

        Args:
            output: The folder, or None for the next number under `directory`.
            directory: The folder in which numbered folders are made; that of the case if None.
            announced: Whether to print title and folder.

        Raises:
            InvalidInput: if the folder holds anything but an earlier report of the same command.
        """
        where = Path(self.case.output.directory) if directory is None else directory

        def claimed() -> Path:
            if output is None:
                return next_numbered_folder(where)
            claim_folder(output, command=self.command)
            return output

        self.folder = on_root(claimed)
        if announced:
            self.announce(self.folder)
        return self.folder

    @cached_property
    def elapsed(self) -> float:
        """Seconds from the beginning of the command to the first use of this property, so that file and table agree."""
        return time.monotonic() - self._began

    def about(self, *names: str) -> dict[str, Any]:
        """Further entries of the JSON file, as named: command, title, seconds, ranks, versions, quadrature and case.

        Without names it returns all of them.
        """
        from fem_selection.cases.kernel import describe_quadrature
        from fem_selection.versions import versions

        everything = {
            "command": self.command,
            "title": self.case.title,
            "seconds": self.elapsed,
            "ranks": MPI.COMM_WORLD.size,
            "versions": versions(),
            "quadrature": describe_quadrature(self.case),
            "case": dataclasses.asdict(self.case),
        }
        return {name: everything[name] for name in names or everything}

    def write(self, report: Report, space: StateSpace | None = None, *, about: Sequence[str] = (), **more: str) -> Path:
        """Write a report into the folder, with figures and fields as the case asks (collective).

        Args:
            report: The report of a study.
            space: The state space of the report's nodal values, if it has fields.
            about: Names of the further entries of the JSON file, as for `Frame.about`; all if left out.
            more: Other further entries of the JSON file.

        Returns:
            The path of the JSON file.
        """
        output = self.case.output
        fields = space if output.fields else None
        about_it = {**self.about(*about), **more}
        on_root(lambda: remove_report(self.folder))  # an earlier one may have had other figures and fields
        return report.write(self.folder, figures=output.figures, space=fields, about=about_it)

    # ── what is printed ───────────────────────────────────────────────────────────────────────────────────────────

    def announce(self, folder: Path) -> None:
        """Print the title of the case, the folder of the report, and how a kernel that is not smooth is integrated."""
        from fem_selection.cases.kernel import describe_quadrature

        self._print(f"[bold]{escape(visible(self._title))}[/bold] → {escape(visible(str(folder)))}")
        if (known := describe_quadrature(self.case)) is not None:
            self.say(known)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, boxed: bool = True) -> None:
        """Print a table.

        Args:
            columns: The headings of the columns.
            rows: The cells of each row.
            boxed: Whether to draw lines around the cells on a terminal.
        """
        table = Table() if boxed and self.console.is_terminal else Table(box=None, pad_edge=False)
        for heading in columns:
            table.add_column(heading, overflow="fold")
        self._fill(table, rows)

    def rows(self, rows: Mapping[str, str]) -> None:
        """Print names and values in two columns; a terminal wraps sentences, but no path, so that it can be copied."""
        widest = max(map(len, rows), default=0)
        for name, text in rows.items():
            line = f"{name:<{widest}}  {text}"
            if " " in text and len(line) > self.console.width:
                row = Table.grid(padding=(0, 2, 0, 0))
                row.add_column(no_wrap=True, min_width=widest)
                row.add_column(overflow="fold")
                row.add_row(name, escape(visible(text)))
                self.console.print(row)
            else:
                self.say(line)

    def say(self, text: str) -> None:
        """Print a line, without interpreting markup in it."""
        self._print(escape(visible(text)))

    def _fill(self, table: Table, rows: Iterable[Sequence[str]]) -> None:
        """Print a table with these rows, in a log without the blanks that fill its lines up."""
        for row in rows:
            table.add_row(*(escape(visible(cell)) for cell in row))
        if self.console.is_terminal or self.console.quiet:
            self.console.print(table)
            return
        with self.console.capture() as captured:
            self.console.print(table)
        for line in captured.get().splitlines():
            self.console.out(line.rstrip(), highlight=False)

    def _print(self, markup: str) -> None:
        """Print a line, which the terminal may wrap, but which is one line when it is copied."""
        self.console.print(markup, soft_wrap=True)

    def seconds(self, unit: str = "") -> str:
        """The time that the command took and the number of ranks, as a text."""
        size = MPI.COMM_WORLD.size
        return f"{self.elapsed:.1f}{unit} on {size} rank{'' if size == 1 else 's'}"


def _require_mesh_file(case: Path, mesh: Path | None) -> None:
    """Raise an error if the domain of a run is no mesh file (other faults of its case: see `load_case`)."""
    try:
        domain = tomllib.loads(case.read_text(encoding="utf-8")).get("domain")
    except (OSError, ValueError):
        return
    if isinstance(domain, dict) and "file" not in domain:
        raise InvalidInput(f"--mesh {mesh}: this run has no mesh file, for domain.shape = {domain.get('shape')!r}")


def on_root[T](action: Callable[[], T]) -> T:
    """Run an action on root, and return its result or raise its error on every rank (collective)."""
    return act_on_root(MPI.COMM_WORLD, action)
