# SPDX-License-Identifier: MIT
"""The folder of a run: lock, history and report.

    DIR/case.toml        the resolved case
    DIR/report.json      written when the run ends
    DIR/history.csv      a line for each iteration of the deterministic phase
    DIR/stochastic.csv   a line for each epoch of the stochastic phase
    DIR/checkpoint       see `fem_selection.io.checkpoints`
    DIR/figures/*.png    DIR/states.bp for ParaView
    DIR/.lock            see `fem_selection.io.locks`

Only rank 0 calls what is in this module; the other ranks do not touch the folder.
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from fem_selection.errors import InvalidInput
from fem_selection.io.locks import LOCK, FolderLock
from fem_selection.typing import Floats

__all__ = [
    "History",
    "claim_folder",
    "next_numbered_folder",
    "read_columns",
    "remove_report",
    "remove_run",
    "replacing",
    "to_plain",
    "write_json",
    "write_text",
]

CHECKPOINT = "checkpoint"
_MARKS = ("case.toml", CHECKPOINT, "report.json", "history.csv")
_OF_REPORTS = (
    "report.json",
    "branches.npz",
    *(f"{name}.{kind}" for name in ("states", "value", "steady", "branch_*") for kind in ("bp", "xdmf", "h5")),
)
_OF_RUNS = (
    *(*_MARKS, "stochastic.csv", "verify.json", "certificate.json", "figures/certificate.png", "predictions.npz"),
    "starts/[0-9]*",
)
_FIGURES = (
    *("convergence.png", "levels.png", "states.png", "controls.png", "coefficients.png", "confusion.png"),
    *("value.png", "refinement.png"),
    *("norms.png", "functionals.png"),
    *("steady_states.png", "picard.png", "approach.png"),
    *("spectrum.png", "eigenfunctions.png", "growth.png", "bifurcations.png", "branch_states.png", "exponents.png"),
)


def next_numbered_folder(directory: Path) -> Path:
    """Create the next of the folders `directory`/0001, 0002, … and return it.

    Raises:
        InvalidInput: if it cannot be created.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        numbers = [int(p.name) for p in directory.iterdir() if p.name.isdecimal()]
        number = max(numbers, default=0) + 1
        while True:
            folder = directory / f"{number:04d}"
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                number += 1
    except (OSError, ValueError) as error:
        raise InvalidInput(f"no folder for the run can be created under {directory}: {error}") from error


def claim_folder(
    folder: Path,
    resume: bool = False,
    overwrite: bool = False,
    *,
    command: str | None = None,
    held: ExitStack | None = None,
) -> None:
    """Make the folder ready for a run, or for the report of a command that cannot be resumed.

    Args:
        folder: The folder.
        resume: Whether the run in it is to be continued.
        overwrite: Whether the run in it may be replaced.
        command: Name of a command that cannot be resumed and that may replace only its own earlier report; None for a
            run.
        held: The stack that is to hold the folder's lock until the run ends; None for no lock.

    Raises:
        InvalidInput: if another run is going on in the folder, if it holds a run and neither `resume` nor `overwrite`
            is set, if there is nothing to resume, or if it cannot be written.

    Note:
        Nothing is removed yet: with `overwrite`, call `remove_run` once the new case is known to work.
    """
    if command is not None:
        overwrite = _holds_report_of(command, folder)
    try:
        if folder.exists() and not folder.is_dir():
            raise InvalidInput(f"{folder} is a file, not a folder")
        if held is not None:  # before reading anything that another run may change
            if not resume and not folder.is_dir():
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise InvalidInput(f"the folder {folder} cannot be written: {error}") from error
            if folder.is_dir():
                held.enter_context(FolderLock(folder))
        holds = [name for name in _MARKS if (folder / name).exists()]
    except (OSError, ValueError) as error:  # for example, the name is too long or has a null byte
        raise InvalidInput(f"the folder {folder} cannot be used: {error}") from error
    if resume:
        if not (folder / CHECKPOINT).exists() and not _was_only_begun(folder):
            raise InvalidInput(f"{folder} holds no checkpoint to resume from")
        if not os.access(folder, os.W_OK):
            raise InvalidInput(f"the folder {folder} cannot be written")
        return
    if holds and not overwrite:
        ways = "give --resume to continue it, --overwrite to replace it, or another"
        ways = ways if command is None else "give another"
        raise InvalidInput(f"{folder} already holds a run ({', '.join(holds)}): {ways} --output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise InvalidInput(f"the folder {folder} cannot be written")
    except (OSError, ValueError) as error:
        raise InvalidInput(f"the folder {folder} cannot be written: {error}") from error


def _holds_report_of(command: str, folder: Path) -> bool:
    """Whether a folder holds a report of this command; raise InvalidInput if it holds that of another."""
    report = folder / "report.json"
    if not report.is_file():
        return False
    if _command_of(report) != command:
        raise InvalidInput(f"{folder} already holds the report of another run: give another --output")
    return True


def _was_only_begun(folder: Path) -> bool:
    """Whether the run in a folder was killed before its first checkpoint."""
    if not folder.is_dir():
        return False
    begun = {"case.toml", CHECKPOINT, "stochastic.csv", "history.csv", "starts", "levels", LOCK}
    return {path.name.removesuffix(".partial") for path in folder.iterdir()} <= begun


def remove_run(folder: Path) -> None:
    """Remove what a run and the commands on it have written, if the folder holds a run; other files stay."""
    if not any((folder / name).exists() for name in _MARKS):
        return
    _remove(folder, _OF_RUNS)
    remove_report(folder)
    assessment = folder / "stability"
    if _command_of(assessment / "report.json") == "stability":
        remove_report(assessment)
    for left in (folder / "starts", assessment / "figures", assessment):
        with suppress(OSError):  # it is not there, or holds somebody else's files
            left.rmdir()


def remove_report(folder: Path) -> None:
    """Remove what any report writes, with its figures and fields: the next may have others; other files stay."""
    _remove(folder, (*_OF_REPORTS, *(f"figures/{figure}" for figure in _FIGURES)))


def _remove(folder: Path, patterns: tuple[str, ...]) -> None:
    for path in [found for pattern in patterns for found in folder.glob(pattern)]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _command_of(report: Path) -> str | None:
    """The command that has written a report, None if it is none, or does not say it."""
    try:
        content = json.loads(report.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content.get("command") if isinstance(content, dict) else None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a file beside `path` to write, and rename that file to `path` at the end of the `with` block.

    Raises:
        InvalidInput: if the file cannot be written, for example because the disk is full; `path` is then unchanged.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> InvalidInput:
    return InvalidInput(f"{path} could not be written: {error.strerror or error}")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically (see `replacing`).

    Args:
        path: The file.
        text: Its contents, written in UTF-8.

    Raises:
        InvalidInput: if the file cannot be written; the old one is then unchanged.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a report as JSON, atomically; infinite numbers and NaN become null.

    Args:
        path: The file.
        content: The report; NumPy's arrays and numbers are allowed.

    Raises:
        InvalidInput: if the file cannot be written; the old one is then unchanged.
    """
    text = json.dumps(to_plain(content), indent=2, ensure_ascii=False)
    # a path may have bytes that are not UTF-8, which Python holds as half a surrogate pair: JSON knows it as an escape
    write_text(path, text.encode(errors="backslashreplace").decode() + "\n")


def to_plain(value: Any) -> Any:
    """A value in Python's own numbers, strings, lists and dictionaries; infinite numbers and NaN become None."""
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [to_plain(v) for v in value]
    if isinstance(value, np.integer | np.floating | np.bool_):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


class History:
    """A CSV file that grows by one whole line at a time; a resumed run continues it without gaps or repeated lines.

    Args:
        path: The file.
        columns: Names of the columns; the first is a counter.
        keep_up_to: For a resumed run: lines with a larger counter are dropped; None to begin a new file.

    Raises:
        InvalidInput: if the file cannot be written.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], keep_up_to: int | None = None) -> None:
        kept = []
        if keep_up_to is not None and path.exists():
            head, *rows = _rows(path) or [[]]
            kept = [
                [dict(zip(head, row, strict=True)).get(name, "") for name in columns]  # an earlier version had others
                for row in rows
                if head[:1] == [columns[0]] and _is_whole(row, tuple(head)) and int(row[0]) <= keep_up_to
            ]
        write_text(path, "".join(",".join(row) + "\n" for row in (columns, *kept)))
        self._path = path
        try:
            self._handle = open(path, "ab", buffering=0)  # noqa: SIM115 - open as long as the run
        except OSError as error:
            raise _unwritable(path, error) from error

    def append(self, *values: float | int) -> None:
        """Append one line, all of it or nothing.

        Raises:
            InvalidInput: if it cannot be written, for example because the disk is full.
        """
        fields = (v if isinstance(v, int) else float(v) for v in values)  # NumPy's numbers have a repr of their own
        line = (",".join("" if math.isnan(v) else repr(v) for v in fields) + "\n").encode()
        before = os.fstat(self._handle.fileno()).st_size
        try:
            if self._handle.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with suppress(OSError):
                self._handle.truncate(before)
            raise _unwritable(self._path, error) from error

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


def _rows(path: Path) -> list[list[str]]:
    """The fields of a history's lines."""
    return [line.split(",") for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]


def _is_whole(row: list[str], columns: tuple[str, ...]) -> bool:
    """Whether `History.append` could have written the line: a counter, then a number or nothing in each column."""
    try:
        [float(field or "nan") for field in row]
    except ValueError:
        return False
    return len(row) == len(columns) and row[0].isascii() and row[0].isdecimal()


def read_columns(path: Path) -> dict[str, Floats]:
    """Return the columns of a history by name, or none if there is no file.

    Empty fields become NaN, and incomplete lines are left out.
    """
    if not path.exists():
        return {}
    head, *rows = _rows(path)
    kept = [[float(field or "nan") for field in row] for row in rows if _is_whole(row, tuple(head))]
    return dict(zip(head, np.array(kept, dtype=np.float64).reshape(-1, len(head)).T, strict=True))
