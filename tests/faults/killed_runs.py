# SPDX-License-Identifier: MIT
"""A small training run as a process of its own, slowed by pauses, whose ranks can be found and killed one by one.

What the tests and the soak of this folder share.  Every process of a run carries a token in its environment, by which
`/proc` tells which of them are alive, also after their parent has died.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import numpy as np
from commands import call_application, read_report
from ranks import require_launcher
from two_phases import EPOCHS, ITERATIONS, SLOW

from fem_selection.io.runs import read_columns

PATIENCE = 120.0  # seconds after which a process counts as hanging


@dataclass
class Run:
    """A run that was started.

    Attributes:
        process: The program, or mpiexec.
        token: What its processes are known by.
        log: File of its output.
    """

    process: subprocess.Popen[bytes]
    token: bytes
    log: Path = field(repr=False)

    def alive(self) -> list[int]:
        """Numbers of the processes that have not ended, the launcher's among them."""
        return [pid for pid, _ in self._found()]

    def ranks(self) -> dict[int, int]:
        """Process number by rank; rank 0 is the program itself where there is no launcher."""
        found = {}
        for pid, environment in self._found():
            for variable in environment.split(b"\0"):
                if variable.startswith(b"PMI_RANK="):
                    found[int(variable.partition(b"=")[2])] = pid
        return found or {0: self.process.pid}

    def _found(self) -> list[tuple[int, bytes]]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    environment = (entry / "environ").read_bytes()
                    state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                except OSError:
                    continue
                if self.token in environment and state != "Z":
                    found.append((int(entry.name), environment))
        return found

    def end(self, patience: float = PATIENCE) -> int | None:
        """The exit status, once every process has ended; None, and all are killed, if one hangs."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if self.process.poll() is not None and not self.alive():
                return self.process.returncode
            time.sleep(0.02)
        self.kill_all()
        return None

    def kill_all(self) -> None:
        """End what is left of it."""
        for pid in self.alive():
            send(pid, signal.SIGKILL)
        self.process.wait()

    @property
    def output(self) -> str:
        """What it has printed."""
        return self.log.read_text(errors="replace")


def send(pid: int, number: int) -> bool:
    """Send a signal; whether there was anyone to receive it."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def train_here(case: Path, output: Path, *more: str) -> int:
    """`fem-selection train` in this process; returns the exit status."""
    return call_application("train", case, "--output", output, *more)


def start(
    case: Path, output: Path, *more: str, ranks: int = 0, pause: float = 0.03, command_name: str = "train"
) -> Run:
    """`fem-selection train`, slowed, or another command, as one process or under mpiexec on some ranks."""
    command = [sys.executable, "-c", SLOW, command_name, str(case), "--output", str(output), *more]
    if ranks:
        command = [require_launcher(), "-n", str(ranks), *command]
    token = uuid4().hex
    variables = {name: value for name, value in os.environ.items() if name != "SLURM_RESTART_COUNT"}
    variables |= {"OMP_NUM_THREADS": "1", "PAUSE": str(pause), "RUN_TOKEN": token}
    variables.setdefault("UCX_NET_DEVICES", "lo")
    log = output.with_name(f"{output.name}.{token[:8]}.log")
    with open(log, "wb") as handle:
        process = subprocess.Popen(
            command,
            stdout=handle,
            stderr=subprocess.STDOUT,
            env=variables,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background jobs of a shell ignore it
        )
    return Run(process, f"RUN_TOKEN={token}".encode(), log)


def wait_for_lines(path: Path, lines: int, run: Run) -> None:
    """Until a history has that many lines below its head."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if path.exists() and path.read_text().count("\n") > lines:
            return
        if run.process.poll() is not None:
            raise AssertionError(f"the run ended too early:\n{run.output}")
        time.sleep(0.002)
    run.kill_all()
    raise AssertionError(f"{path.name} did not reach {lines} lines:\n{run.output}")


def saved_state(folder: Path) -> dict:
    """The state in a checkpoint's header."""
    content = (folder / "checkpoint").read_bytes()
    return json.loads(content[16 : 16 + int.from_bytes(content[8:16], "little") - 8])["state"]


def differences(whole: Path, found: Path, rtol: float) -> list[str]:
    """In what a finished run differs from the one that nothing interrupted; nothing if they are the same."""
    one, other = (read_report(folder) for folder in (whole, found))
    told = [
        f"{key}: {other[key]!r} where {one[key]!r} belongs"
        for key in ("iterations", "test_accuracy", "train_accuracy", "stochastic", "controls", "seed")
        if other[key] != one[key]
    ]
    for name, first, last in (("history.csv", 0, ITERATIONS), ("stochastic.csv", 1, EPOCHS)):
        columns, expected = read_columns(found / name), read_columns(whole / name)
        if next(iter(columns.values())).tolist() != list(range(first, last + 1)):
            told.append(f"{name} has gaps or repeats")
        elif (error := np.max(np.abs(columns["objective"] / expected["objective"] - 1))) > rtol:
            told.append(f"{name}: an objective differs by {error:.1e}")
    if not abs(other["objective"] / one["objective"] - 1) <= rtol:
        told.append(f"objective: {other['objective']!r} where {one['objective']!r} belongs")
    return told
