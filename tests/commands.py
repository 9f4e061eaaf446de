# SPDX-License-Identifier: MIT
"""The command line as tests call it: in this process, with settings as words, and the report that it leaves.

The fixtures `call` and `call_on_case` of conftest.py add the streams.  Under mpiexec: `ranks.run_command_on_ranks`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "PROGRAM",
    "SMALL_FIELD",
    "SMALL_TRAINING",
    "Outcome",
    "call_application",
    "check_whose_report_is_replaced",
    "read_report",
    "with_settings",
]

PROGRAM = "from fem_selection.cli import main; main()"
"""The command line as a program for `python -c`."""
SMALL_TRAINING = """[domain]
shape = "interval"
cells = 4
[dynamics]
layers = 2
[data]
file = "data.npz"
test_fraction = 0.25
[optimizer]
max_iterations = 2
[output]
figures = false
fields = false
"""
"""A case file of a training on `data.npz` that takes no time."""
SMALL_FIELD = """[domain]
shape = "interval"
cells = 4
[dynamics]
kernel = "1"
bias = "0.5"
horizon = 1e3
[data]
source = "formula"
samples = 1
initial = "sin(y)"
[output]
figures = false
fields = false
"""
"""A case file of an equation without data."""


class Outcome(NamedTuple):
    """What a call of the command line leaves.

    Attributes:
        status: Exit status.
        out: Standard output.
        err: Standard error.
        report: Content of report.json in the folder that `--output` names; empty without one.
    """

    status: int
    out: str
    err: str
    report: dict


def call_application(*arguments: object) -> int:
    """Runs `fem-selection` with these arguments in this process and returns the exit status."""
    from fem_selection.cli.app import run

    before, sys.argv = sys.argv, ["fem-selection", *map(str, arguments)]
    try:
        run()
    except SystemExit as leave:
        return int(leave.code or 0)
    finally:
        sys.argv = before
    raise AssertionError("the application did not end")


def with_settings(*settings: str) -> list[str]:
    """The words by which a command gets settings such as "domain.cells=10"."""
    return [word for setting in settings for word in ("--set", setting)]


def read_report(folder: Path) -> dict:
    """The report of a run."""
    return json.loads((folder / "report.json").read_text())


def check_whose_report_is_replaced(command: Callable[..., Outcome]) -> None:
    """Asserts that a command replaces an earlier report of its own and refuses the folder of another's.

    Args:
        command: Calls the command with the folder `output`, below the working directory.
    """
    command(output="mine")
    assert command(output="mine").status == 0
    Path("other").mkdir()
    Path("other/report.json").write_text('{"command": "hjb"}')
    refused = command(output="other")
    assert refused.status == 2 and "report of another run" in refused.err
