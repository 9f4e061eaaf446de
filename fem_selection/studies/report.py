# SPDX-License-Identifier: MIT
"""`Report`, the result of every study: frozen, of plain values and arrays, with a JSON form and figures.

    report = fs.studies.stability(field, state)
    report.verdict, report.eigenvalues            # plain values and NumPy arrays
    report.as_dict()                              # what report.json holds
    report.write("folder")                        # report.json and figures
    report.write("folder", space=field.space)     # fields for ParaView too

A report holds no PETSc object, so that it can be stored and pickled.  It holds arrays, so that `==` cannot compare it.
Arrays that are described as nodal values of this rank differ between ranks; everything else is the same on all ranks.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from mpi4py import MPI

from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import SelectionWarning
from fem_selection.io.runs import to_plain, write_json
from fem_selection.parallel import act_on_root
from fem_selection.settings import OutputSettings

__all__ = ["Progress", "Report", "Teller"]

Progress = Callable[[str, int, int, Mapping[str, float]], None]
"""Called on root with the phase, the numbers of parts done and of all parts, and values to show beside the bar."""


class Report(ABC):
    """The base of all reports; subclasses are frozen dataclasses.

    Attributes:
        file: Name of the file that `write` makes.
    """

    file: ClassVar[str] = "report.json"

    @abstractmethod
    def content(self) -> dict[str, Any]:
        """What the report says: numbers, strings, lists, NumPy's arrays and mappings of these."""

    def as_dict(self) -> dict[str, Any]:
        """Return what the JSON file holds, in Python's own numbers, strings, lists and dictionaries.

        Infinite numbers and NaN, which JSON does not know, are None.
        """
        plain: dict[str, Any] = to_plain(self.content())
        return plain

    def write_file(self, path: Path, about: Mapping[str, Any]) -> None:
        """Write the file, by default as JSON; called on the root rank only.

        Args:
            path: The file; an existing one is replaced.
            about: Further entries of the file.
        """
        write_json(path, {**self.as_dict(), **about})

    def draw(self, folder: Path) -> None:  # noqa: B027 - a report need not have figures
        """Draw the figures into an existing folder, by default none; called on the root rank only."""

    def write_fields(self, folder: Path, space: StateSpace, comm: MPI.Intracomm) -> None:  # noqa: B027 - nor fields
        """Write fields for ParaView, by default none (collective over `comm`).

        Args:
            folder: The folder of the report.
            space: The state space of the nodal values.
            comm: The ranks that hold the report: the ranks of the space, or more if an ensemble has several members.
        """

    def write(
        self,
        folder: str | Path,
        *,
        figures: bool = OutputSettings.figures,
        space: StateSpace | None = None,
        about: Mapping[str, Any] | None = None,
        comm: MPI.Intracomm | None = None,
    ) -> Path:
        """Write the report into a folder, which is created if it does not exist (collective).

        Args:
            folder: The folder; files of the same names in it are replaced.
            figures: Whether to draw the figures, into `folder/figures`.
            space: The state space of the nodal values; fields for ParaView are written if it is given.
            about: Further entries of the JSON file, such as the versions of libraries.
            comm: The ranks that hold the report; all ranks if left out.

        Returns:
            The path of the file.

        Raises:
            InvalidInput: on all ranks, if a file cannot be written.

        Warns:
            SelectionWarning: on root, of each figure that cannot be drawn.
        """
        folder = Path(folder)
        path = folder / self.file

        def write_and_draw() -> None:
            folder.mkdir(parents=True, exist_ok=True)
            self.write_file(path, about or {})
            if figures:
                (folder / "figures").mkdir(exist_ok=True)
                self._draw_or_warn(folder / "figures")

        comm = MPI.COMM_WORLD if comm is None else comm
        act_on_root(comm, write_and_draw)
        if space is not None:
            self.write_fields(folder, space, comm)
        return path

    def _draw_or_warn(self, folder: Path) -> None:
        """Draw what can be drawn: `plots.draw` warns of single figures, and this of all, as where matplotlib fails."""
        try:
            self.draw(folder)
        except OSError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            warnings.warn(
                f"the figures in {folder} could not all be drawn: {reason}; the report does not need them",
                SelectionWarning,
                stacklevel=3,
            )


class Teller:
    """Counts the finished parts of a study and reports them to a progress callback.

    Args:
        progress: The callback; None on all ranks but root, or if there is no callback.
        total: Number of parts.
    """

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def __call__(self, part: str, **shown: float) -> None:
        """Report that one more part is done.

        Args:
            part: Name of the part.
            shown: Numbers to show beside the name.
        """
        self._done += 1
        if self._progress is not None:
            self._progress(part, self._done, self._total, shown)
