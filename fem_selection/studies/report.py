# SPDX-License-Identifier: MIT
"""What every study returns: a frozen report of plain values and arrays that knows its JSON form and its figures.

    report = fs.studies.stability(field, state)
    report.verdict, report.eigenvalues            # plain values and NumPy arrays
    report.as_dict()                              # what report.json holds
    report.write("folder")                        # report.json and figures
    report.write("folder", space=field.space)     # fields for ParaView too

A report holds no PETSc object, so that it can be kept, compared and pickled.  Arrays named as nodal values hold the
nodes of this rank; everything else is the same on all ranks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from mpi4py import MPI

from fem_selection.discretization.spaces import StateSpace
from fem_selection.io.runs import write_json
from fem_selection.parallel import act_on_root
from fem_selection.settings import OutputSettings

__all__ = ["Progress", "Report", "Teller"]

Progress = Callable[[str, int, int, Mapping[str, float]], None]
"""Called on root with the phase, the number done, the number in all, and what to show beside the bar."""


class Report(ABC):
    """The base of all reports; subclasses are frozen dataclasses.

    Attributes:
        file: Name of the file that `write` makes.
    """

    file: ClassVar[str] = "report.json"

    @abstractmethod
    def as_dict(self) -> dict[str, Any]:
        """The content of the JSON file: numbers, strings, lists, arrays and mappings of these."""

    def write_file(self, path: Path, about: Mapping[str, Any]) -> None:
        """Write the file; called on the root rank alone.  JSON by default.

        Args:
            path: The file; one that is there is replaced.
            about: Further entries.
        """
        write_json(path, {**self.as_dict(), **about})

    def draw(self, folder: Path) -> None:  # noqa: B027 - a report need not have figures
        """Draw the figures into a folder that exists; called on the root rank alone.  Draws nothing by default."""

    def write_fields(self, folder: Path, space: StateSpace, comm: MPI.Intracomm) -> None:  # noqa: B027 - nor fields
        """Write fields for ParaView (collective over `comm`).  Writes nothing by default.

        Args:
            folder: The folder of the report.
            space: The state space of the nodal values.
            comm: The ranks that hold the report; those of the space where every rank has a part of its mesh.
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
        """Write the report into a folder, which is made if it is not there (collective).

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
        """
        folder = Path(folder)
        path = folder / self.file

        def write_and_draw() -> None:
            folder.mkdir(parents=True, exist_ok=True)
            self.write_file(path, about or {})
            if figures:
                (folder / "figures").mkdir(exist_ok=True)
                self.draw(folder / "figures")

        comm = MPI.COMM_WORLD if comm is None else comm
        act_on_root(comm, write_and_draw)
        if space is not None:
            self.write_fields(folder, space, comm)
        return path


class Teller:
    """Tells a progress which parts of a study are done.

    Args:
        progress: What is called; None on all ranks but root, or if nobody asks.
        total: Number of parts.
    """

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def __call__(self, part: str, **shown: float) -> None:
        """Tell that one more part is done.

        Args:
            part: Its name.
            shown: Numbers to show beside it.
        """
        self._done += 1
        if self._progress is not None:
            self._progress(part, self._done, self._total, shown)
