# SPDX-License-Identifier: MIT
"""What the benchmarks share: workers that take turns, tables, and results as JSON and as a figure.

On a machine that others use too, times drift within minutes.  Competitors therefore stay alive as *workers* and are
asked in turn, round after round; what counts is the median over the rounds of the ratio within a round.
"""

from __future__ import annotations

import json
import os
import platform
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from matplotlib.figure import Figure

__all__ = [
    "PEERS",
    "RESULTS",
    "Worker",
    "chosen_cpus",
    "machine",
    "mpi_command",
    "print_table",
    "save_results",
    "versions",
]

RESULTS = Path(__file__).parent / "results"
PEERS = Path(__file__).parent / "peers"


class Worker:
    """A process, or the ranks of an MPI job, that answers requests; see `peers/serving.py` for its side.

    Args:
        name: For messages.
        command: Program and arguments; "{folder}" in an argument stands for the folder of the pipes.
        ranks: Processes that listen.
        cpus: Processors that it may use; all by default.
        environment: Variables added to ours.
        timeout: Seconds to wait for an answer.

    Attributes:
        ready: What the worker said when it was set up.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        ranks: int = 1,
        cpus: Iterable[int] | None = None,
        environment: Mapping[str, str] | None = None,
        timeout: float = 600.0,
    ) -> None:
        self.name, self.timeout = name, timeout
        self._folder = tempfile.TemporaryDirectory(prefix="benchmark-")
        folder = Path(self._folder.name)
        self._requests = []
        for rank in range(ranks):
            os.mkfifo(folder / f"request-{rank}")
            # opened for reading as well, or opening would wait for the worker
            self._requests.append(os.open(folder / f"request-{rank}", os.O_RDWR))
        os.mkfifo(folder / "reply")
        self._reply = os.open(folder / "reply", os.O_RDONLY | os.O_NONBLOCK)
        self._received = b""
        ours = os.sched_getaffinity(0)
        os.sched_setaffinity(0, ours if cpus is None else set(cpus))  # children inherit it
        try:
            self._process = subprocess.Popen(
                [argument.replace("{folder}", self._folder.name) for argument in command],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                env={**os.environ, **(environment or {})},
            )
        finally:
            os.sched_setaffinity(0, ours)
        self.ready = self._receive()

    def ask(self, do: str, **arguments: Any) -> Any:
        """Call the worker's function of that name, on all its ranks, and wait for what rank 0 returns."""
        line = (json.dumps({"do": do, **arguments}) + "\n").encode()
        for pipe in self._requests:
            os.write(pipe, line)
        return None if do == "stop" else self._receive()

    def close(self) -> None:
        """Let the worker end; kill it if it does not."""
        if self._process.poll() is None:
            self.ask("stop")
            try:
                self._process.wait(30.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for pipe in (*self._requests, self._reply):
            os.close(pipe)
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _receive(self) -> Any:
        end = time.monotonic() + self.timeout
        while b"\n" not in self._received:
            readable, _, _ = select.select([self._reply], [], [], 0.5)
            # an empty read means that the worker has not opened its end yet, or has closed it
            part = os.read(self._reply, 1 << 16) if readable else b""
            self._received += part
            if not part:
                if self._process.poll() is not None:
                    raise RuntimeError(f"the worker {self.name!r} ended with status {self._process.returncode}")
                if time.monotonic() > end:
                    self._process.kill()
                    raise TimeoutError(f"the worker {self.name!r} gave no answer in {self.timeout:g} s")
                if readable:
                    time.sleep(0.05)
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line)


def chosen_cpus(count: int) -> list[int]:
    """The first `count` of the processors that this process may use; fewer if there are fewer."""
    return sorted(os.sched_getaffinity(0))[:count]


def mpi_command(ranks: int, script: str | os.PathLike[str], *arguments: str) -> tuple[list[str], dict[str, str]]:
    """Command and added environment that start a script of ours under MPI, with this interpreter."""
    beside = Path(sys.executable).parent / "mpiexec"
    launcher = str(beside) if beside.exists() else shutil.which("mpiexec")
    if launcher is None:
        raise FileNotFoundError("there is no mpiexec, neither beside this interpreter nor on the path")
    environment = {} if "UCX_NET_DEVICES" in os.environ else {"UCX_NET_DEVICES": "lo"}
    return [launcher, "-n", str(ranks), sys.executable, str(script), *arguments], environment


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> None:
    """Print rows in columns, the first to the left and the others to the right; floats get four digits."""
    lines = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(line[k]) for line in lines) for k in range(len(header))]
    print(f"\n{title}" if title else "")
    for number, line in enumerate(lines):
        cells = [
            cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells))
        if number == 0:
            print("  ".join("─" * w for w in widths))


def save_results(name: str, results: Mapping[str, Any], figure: Figure | None = None) -> Path:
    """Write `results/<name>.json` and, if given, `results/<name>.png`; returns the folder."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if figure is not None:
        figure.savefig(RESULTS / f"{name}.png", dpi=150)
    return RESULTS


def machine() -> dict[str, Any]:
    """What the numbers depend on: processor, its count, system, load when asked."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "processor": model,
        "cpus": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def versions(*packages: str) -> dict[str, str]:
    """Versions of the packages that are installed here."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
