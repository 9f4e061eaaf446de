# SPDX-License-Identifier: MIT
"""What the commands share: reading the case once, and acting on root with all ranks knowing how it ended."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from mpi4py import MPI

from fem_selection import config
from fem_selection.errors import ConfigError, InvalidInput
from fem_selection.io.runs import claim_folder, next_numbered_folder
from fem_selection.parallel import act_on_root

__all__ = ["claim_report_folder", "counted", "end_on_signals", "load_case_everywhere", "on_root"]


def on_root[T](action: Callable[[], T]) -> T:
    """The result of an action that root takes, or the error it raises, on every rank (collective)."""
    return act_on_root(MPI.COMM_WORLD, action)


def counted(number: int, what: str) -> str:
    """ "1 rank", "2 ranks"."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def end_on_signals() -> None:
    """Let SIGTERM, and with several ranks Ctrl-C, end a command that keeps nothing, with status 143 or 130.

    With several ranks at once, without what follows an exception: the others wait for this one, and it would for them
    as soon as it gives back what they share.
    """

    def end(number: int, frame: FrameType | None) -> None:
        if MPI.COMM_WORLD.size > 1:
            MPI.COMM_WORLD.Abort(128 + number)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    if MPI.COMM_WORLD.size > 1 and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, end)


def load_case_everywhere(path: Path, settings: Sequence[str]) -> config.Case:
    """The case, read by root, if it can run on these ranks."""
    case = on_root(lambda: config.load_case(path, settings))
    if MPI.COMM_WORLD.size % case.parallel.space:
        raise ConfigError(
            [f"parallel.space: {case.parallel.space} does not divide the number of ranks, {MPI.COMM_WORLD.size}"]
        )
    return case


def claim_report_folder(command: str, output: Path | None, directory: Path) -> Path:
    """The folder of a command that writes a report: refused if it holds anything but an earlier one of that command.

    Args:
        command: Its name, as in the report's "command".
        output: The folder, or None for the next number under `directory`.
        directory: Where folders are made.
    """
    if output is None:
        return next_numbered_folder(directory)
    report = output / "report.json"
    ours = False
    if report.is_file():
        try:
            content = json.loads(report.read_text(encoding="utf-8"))
            ours = isinstance(content, dict) and content.get("command") == command
        except ValueError:
            ours = False
        if not ours:
            raise InvalidInput(f"{output} already holds the report of another run: give another --output")
    claim_folder(output, resume=False, overwrite=ours, is_run=False)
    return output
