# SPDX-License-Identifier: MIT
"""The fuzzer: commands on odd cases and on damaged files, each by its number, with a limit of time.

    PYTHONPATH=tests:tests/faults uv run python -m fuzz runs 137             # repeats one run and shows all of it
    PYTHONPATH=tests:tests/faults uv run python -m fuzz hostile 12           # a tame case but for values nobody means
    PYTHONPATH=tests:tests/faults uv run python -m fuzz files 20             # one damaged mesh or data file
    PYTHONPATH=tests:tests/faults uv run python -m fuzz broken 4711          # one broken case file
    PYTHONPATH=tests:tests/faults uv run python -m fuzz runs 0 1000          # numbers 0 … 999, the failures alone
    … --keep FOLDER                                                          # leaves the case and what the run wrote

The numbers of a range run in one process of their own (`run_numbers`), so that no crash ends the tests: Python code
that takes too long is ended by a signal, and native code by the end of the process, after which another takes up the
next number.  A run fails by a traceback, a status that `fem_selection.cli.app` does not document, a refusal that names
no key and no file, a report that is no JSON or holds null where a number is promised, or by its time.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from fuzz_cases import broken_case, dimension_of, dump, hostile_case, valid_case
from fuzz_values import KEYS, TABLES

from fem_selection.cli.status import Status

__all__ = ["LIMIT", "Result", "check_broken", "run_numbers"]

LIMIT = 60.0
"""Seconds of CPU that a command may take on a small case."""
_PATIENCE = 600.0
"""Seconds on the clock after which a command is ended wherever it is, on a machine that does other things too."""
STATUSES = (Status.DONE, Status.REFUSED, Status.NOT_FINITE, Status.NOT_REACHED)
"""The documented statuses of a run that nothing interrupts and that has no fault of the program."""

PROMISED = {
    "train": ("objective", "train_cost", "gradient_norm", "iterations", "evaluations", "seconds"),
    "forward": ("end", "steps", "rejected", "evaluations", "seconds"),
    "steady": ("seconds",),
    "stability": ("norm", "numerical_abscissa", "state_residual", "state_residual_allowed", "unstable", "tolerance"),
    "hjb": ("value_at_initial_state", "value_error", "open_loop_objective", "open_loop_cost", "seconds"),
    "certify": ("objective", "gradient_norm", "gradient_allowance", "kkt_residual", "seconds"),
    "verify": ("adjoint_identity_error",),
}
"""Numbers that the reports hold, or the reason at the key with `_declined` behind it."""


@dataclass
class Result:
    """What became of a range of numbers.

    Attributes:
        failures: A text for each number that failed, with what repeats it.
        statuses: How often each command ended with each status.
        seconds: Seconds of CPU of each command, added up.
        slowest: The longest runs, each with its seconds and its number.
        growth: Megabytes by which the memory grew between the first fifth of the runs and their end.
        communicators: Communicators that the runs have not freed.
    """

    failures: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    slowest: list[tuple[float, int, str]] = field(default_factory=list)
    growth: float = 0.0
    communicators: int = 0

    def add(self, other: Result) -> None:
        """Add the result of further numbers."""
        self.failures += other.failures
        self.statuses += other.statuses
        self.seconds += other.seconds
        self.slowest = sorted([*self.slowest, *other.slowest], reverse=True)[:5]
        self.growth, self.communicators = max(self.growth, other.growth), max(self.communicators, other.communicators)


class TooLong(BaseException):
    """The limit of time is over; no `except Exception` catches it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TooLong` in the block when it has taken so many seconds of CPU, or ten times as many on the clock.

    Native code that never returns to Python is beyond this: `faulthandler` ends the process of the runs then.
    """

    def end(number: int, frame: FrameType | None) -> None:
        raise TooLong

    before = {number: signal.signal(number, end) for number in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, 10 * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


# ── broken case files ─────────────────────────────────────────────────────────────────────────────────────────────────


def check_broken(number: int, folder: Path) -> str | None:
    """Load the broken case file of a number and return what is wrong with how it ended; None if nothing is.

    A case that loads is written and read again, to an equal one.

    Args:
        number: The number.
        folder: Where the file is written.
    """
    import tomllib

    from fem_selection.config import dump_case, load_case, parse_case
    from fem_selection.errors import ConfigError

    broken = broken_case(number)
    path = folder / "case.toml"
    path.write_bytes(broken.content)
    about = f"broken {number} ({broken.way})"
    try:
        with time_limit(LIMIT):
            case = load_case(path, broken.settings)
            again = parse_case(tomllib.loads(dump_case(case)))
    except ConfigError as error:
        text = str(error)
        if not all(_names_something(fault, path) for fault in error.faults):
            return f"{about}: a fault names neither key nor file: {text}"
        is_text = "is not text in UTF-8" not in text  # else the error names the file and the byte: no key can be read
        missing = [word for word in broken.words if word not in text] if is_text else []
        return f"{about}: {missing} not in: {text}" if missing else None
    except (Exception, TooLong) as error:
        return f"{about}: {type(error).__name__}: {error}"
    if broken.refused:
        return f"{about}: was accepted: {broken.content[:400]!r}, {broken.settings}"
    return None if again == case else f"{about}: is another case when written and read again"


def _names_something(fault: str, path: Path) -> bool:
    """Whether a fault begins with the path of a key, with what is written where one would be, or with the file."""
    return fault.startswith(str(path)) or ": " in fault


# ── runs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Call:
    """A command as it was called, and what it left.

    Attributes:
        words: The command with its arguments.
        status: The exit status; None if it was ended for its time.
        text: Standard output and standard error.
        error: Standard error.
        report: The file in which it reports.
        seconds: Seconds of CPU.
    """

    words: tuple[str, ...]
    status: int | None
    text: str
    error: str
    report: Path
    seconds: float


def calls_of_run(number: int, folder: Path, draw: Callable[[int, Path], Any] = valid_case) -> Iterator[Call]:
    """The commands on the odd case of a number; `predict`, `certify` and `stability` follow a training."""
    command, tables = draw(number, folder)
    case = folder / "case.toml"
    case.write_text(dump(tables), encoding="utf-8")
    if command == "info":
        yield call(folder, ("info",), folder / "none")
        return
    run = folder / "run"
    first = call(
        folder,
        (command, str(case), "--output", str(run)),
        run / ("verify.json" if command == "verify" else "report.json"),
    )
    yield first
    if command != "train" or first.status != 0:
        return
    follower = ("predict", "certify", "stability")[number // 7 % 3]
    if follower == "predict":
        data = folder / "new.npz"
        _write_inputs(data, number, dimension_of(tables))
        yield call(folder, ("predict", str(run), "--data", str(data)), folder / "none")
    elif follower == "certify":
        yield call(folder, ("certify", str(run), "--starts", "2"), run / "certificate.json")
    else:
        yield call(folder, ("stability", str(run)), run / "stability" / "report.json")


def _write_inputs(path: Path, number: int, dimension: int) -> None:
    import numpy as np

    rng = np.random.default_rng(number)
    np.savez(path, x=rng.standard_normal((3, *(4 for _ in range(dimension)))))


def call(folder: Path, words: tuple[str, ...], report: Path) -> Call:
    """Call the command line in this process, its streams in files of the folder."""
    from commands import call_application

    out, err = folder / "out", folder / "err"
    began, status = time.process_time(), None
    with _streams(out, err):
        try:
            with time_limit(LIMIT):
                status = call_application(*words)
        except TooLong:
            pass
        except BaseException:  # what the program itself does not catch
            import traceback

            traceback.print_exc()
            status = -1
    text, error = (path.read_text(encoding="utf-8", errors="replace") for path in (out, err))
    return Call(words, status, text + error, error, report, time.process_time() - began)


@contextmanager
def _streams(out: Path, err: Path) -> Iterator[None]:
    """Send what Python and native code write to two files."""
    sys.stdout.flush()
    sys.stderr.flush()
    before = [os.dup(number) for number in (1, 2)]
    for number, path in ((1, out), (2, err)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, kept in zip((1, 2), before, strict=True):
            os.dup2(kept, number)
            os.close(kept)


def faults_of(called: Call) -> Iterator[str]:
    """What is wrong with how a command ended."""
    command = called.words[0]
    if called.status is None:
        yield f"took more than {LIMIT:g} s"
        return
    if called.status not in STATUSES or "Traceback" in called.text:
        yield f"status {called.status}"
        return
    with_report = called.status == Status.NOT_REACHED and command in ("forward", "verify")
    if (called.status == Status.DONE or with_report) and called.report.name != "none":
        yield from report_faults(called.report, command)
    elif called.status != Status.DONE and "error: " not in called.error and "Error" not in called.error:
        yield f"status {called.status} without a word"
    if called.status == Status.REFUSED and not names_key_or_file(called.error):
        yield "a refusal that names no key and no file"
    for line in called.error.splitlines():
        if re.search(r"PETSC ERROR|[a-z]Warning: |Exception ignored", line):
            yield f"on standard error: {line}"
            return


def names_key_or_file(text: str) -> bool:
    """Whether a text names a key of a case, a table, an option of the command line, or a file that exists."""
    named = (path for path in (*KEYS, *(f"[{table}]" for table in TABLES)) if "." in path or path[0] == "[")
    words = re.findall(r"[^\s'\",:;()]+", text)
    return (
        any(path in text for path in named)
        or "--" in text
        or any("/" in word and os.path.exists(word) for word in words)
    )


def report_faults(path: Path, command: str) -> Iterator[str]:
    """What is wrong with the report of a command: no file, no JSON, or no number where one is promised."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_json)
    except (OSError, ValueError) as error:
        yield f"the report: {error}"
        return
    if path.parent.name == "stability":  # of a trained network
        return
    missing = [key for key in PROMISED[command] if not isinstance(report.get(key), int | float)]
    silent = [key for key in missing if not report.get(f"{key}_declined")]
    if silent:
        yield f"no number, and no reason, in the report at {', '.join(silent)}"


def _no_json(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


# ── ranges of numbers ─────────────────────────────────────────────────────────────────────────────────────────────────


def repeat(kind: str, number: int) -> str:
    """The command that repeats a number."""
    return f"PYTHONPATH=tests:tests/faults python -m fuzz {kind} {number}"


def run_numbers(kind: str, first: int, end: int, *, patience: float = _PATIENCE) -> Result:
    """Run the numbers first … end − 1 of "runs", "hostile" or "files" in processes of their own.

    Args:
        kind: "runs", "hostile" or "files".
        first: The first number.
        end: The number after the last one.
        patience: Seconds on the clock for one number.
    """
    total = Result()
    here = Path(__file__).resolve().parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here.parent), str(here)])}
    while first < end:
        with tempfile.TemporaryDirectory() as folder:
            words = [sys.executable, "-m", "fuzz", kind, str(first), str(end), "--into", folder]
            words += ["--patience", str(patience)]
            done = subprocess.run(words, env=environment, capture_output=True, text=True, errors="replace")
            lines = (Path(folder) / "results").read_text().splitlines() if (Path(folder) / "results").exists() else []
            for line in lines:
                total.add(_from_json(line))
            if done.returncode == 0:
                break
            started = Path(folder) / "started"
            reached = int(started.read_text()) if started.exists() else first
            why = f"the process ended with status {done.returncode}\n{_end_of(done.stderr, folder)}"
            total.failures.append(f"{kind} {reached}: {why}\nto repeat it: {repeat(kind, reached)}")
            first = reached + 1
    return total


def _end_of(text: str, folder: str) -> str:
    error = Path(folder) / "err"
    inner = error.read_text(errors="replace") if error.exists() else ""
    return (inner + text)[-3000:]


def _run_here(kind: str, first: int, end: int, folder: Path, patience: float) -> None:
    """Run numbers in this process; leave the number that is running and the results of those that ended in files."""
    with open(folder / "results", "w", encoding="utf-8") as results:
        start, room = 0.0, _free_communicators()
        for number in range(first, end):
            (folder / "started").write_text(str(number))
            faulthandler.dump_traceback_later(patience, exit=True)
            result = run_number(kind, number, folder / "work")
            faulthandler.cancel_dump_traceback_later()
            if number - first <= (end - first) // 5:
                start, room = _memory(), _free_communicators()  # what a process makes once is not lost
            result.growth = _memory() - start
            if number == end - 1:
                result.communicators = room - _free_communicators()
            results.write(_to_json(result) + "\n")
            results.flush()


def run_number(kind: str, number: int, folder: Path, *, show: bool = False) -> Result:
    """Run one number in a fresh folder.

    Args:
        kind: "runs", "hostile" or "files".
        number: The number.
        folder: The folder; what was in it is deleted.
        show: Whether to print what the commands print.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if kind == "files":
        from fuzz_files import calls_of_file as calls
    else:
        calls = partial(calls_of_run, draw=hostile_case if kind == "hostile" else valid_case)
    result = Result()
    for called in calls(number, folder):
        command = called.words[0]
        result.statuses[f"{command} {called.status}"] += 1
        result.seconds[command] += called.seconds
        result.slowest.append((round(called.seconds, 2), number, command))
        if show:
            print("$", *called.words, f"\n{called.text}\nstatus {called.status}, {called.seconds:.2f} s")
        for fault in faults_of(called):
            text = called.text[-2500:]
            result.failures.append(
                f"{kind} {number}: {' '.join(called.words)}: {fault}\n{text}\n{_case_of(folder)}\n"
                f"to repeat it: {repeat(kind, number)}"
            )
    return result


def _case_of(folder: Path) -> str:
    path = folder / "case.toml"
    return path.read_text(encoding="utf-8", errors="replace")[:4000] if path.exists() else ""


def _memory() -> float:
    """Megabytes that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _free_communicators() -> int:
    """Number of communicators that this process can still make."""
    from mpi4py import MPI

    gc.collect()
    made: list[MPI.Comm] = []
    try:
        while len(made) < 4000:
            made.append(MPI.COMM_SELF.Dup())
    except MPI.Exception:
        pass
    for comm in made:
        comm.Free()
    return len(made)


def _to_json(result: Result) -> str:
    return json.dumps(vars(result))


def _from_json(line: str) -> Result:
    found = json.loads(line)
    found["statuses"], found["seconds"] = Counter(found["statuses"]), Counter(found["seconds"])
    found["slowest"] = [tuple(entry) for entry in found["slowest"]]
    return Result(**found)


def main() -> None:
    """Repeat one number, or run a range of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("runs", "hostile", "files", "broken"))
    parser.add_argument("first", type=int, metavar="NUMBER")
    parser.add_argument("end", type=int, nargs="?", help="the number after the last one")
    parser.add_argument("--keep", type=Path, help="folder for the case and what the run writes")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--patience", type=float, default=_PATIENCE, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.into is not None:
        _run_here(given.kind, given.first, given.end, given.into, given.patience)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if given.kind == "broken":
            numbers = range(given.first, given.end or given.first + 1)
            failures = [found for number in numbers if (found := check_broken(number, folder))]
            if given.end is None:
                print((folder / "case.toml").read_bytes().decode("utf-8", "backslashreplace"))
        elif given.end is None:
            failures = run_number(given.kind, given.first, folder / "work", show=True).failures
        else:
            result = run_numbers(given.kind, given.first, given.end)
            failures = result.failures
            print(json.dumps({key: value for key, value in vars(result).items() if key != "failures"}, indent=1))
    print(*failures, f"{len(failures)} failed", sep="\n\n")
    raise SystemExit(1 if failures else 0)


if __name__ == "__main__":
    main()
