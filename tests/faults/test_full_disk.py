# SPDX-License-Identifier: MIT
"""A full disk and a read-only folder: which file could not be written, what was there before intact, `--resume` works.

The disk is a tmpfs of some pages, mounted by the test itself, or, for a user who may not, in a namespace of its own by
`unshare`, in which the test is then run again.  It is full from a chosen moment on.  The tests fail if an error is a
traceback or names no file, if a half-written file stays behind or replaces a good one, if a rank waits for one that has
failed, or if the run cannot go on once there is room.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from commands import Outcome, read_report, with_settings
from killed_runs import PATIENCE, differences, train_here
from ranks import launch
from two_phases import write_case

from fem_selection.io.runs import History
from fem_selection.studies import report, training_report
from fem_selection.studies.training_report import TrainingReport

_SIZE = 512  # KiB of the disk


@dataclass
class Disk:
    """A small disk.

    Attributes:
        path: Where it is mounted.
    """

    path: Path

    @property
    def run(self) -> Path:
        """The folder of the run."""
        return self.path / "r"

    def fill(self) -> None:
        """Leave no page free."""
        with open(self.path / "filler", "ab", buffering=0) as handle:
            while True:
                try:
                    handle.write(b"\0" * 4096)
                except OSError:
                    return

    def clear(self) -> None:
        """Make room again."""
        (self.path / "filler").unlink(missing_ok=True)

    def remount(self, mode: str) -> None:
        """Make it read-only, "ro", or not, "rw"."""
        subprocess.run(["mount", "-o", f"remount,{mode}", str(self.path)], check=True)


def _mount(path: Path) -> str | None:
    """Mount a disk; what went wrong, if anything did."""
    if shutil.which("mount") is None:
        return "there is no mount"
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}k", "tmpfs", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    return None if done.returncode == 0 else done.stderr.strip()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A small disk of the test's own."""
    path = tmp_path / "disk"
    path.mkdir()
    if (reason := _mount(path)) is not None:
        pytest.skip(f"no file system can be mounted: {reason}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture(scope="module", autouse=True)
def _namespace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where mounting is not allowed, this file is run in a namespace where it is, and the tests here are skipped."""
    path = tmp_path_factory.mktemp("probe")
    if (reason := _mount(path)) is None:
        subprocess.run(["umount", "-l", str(path)], check=True)
        return
    if "UNSHARED" in os.environ or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip(f"no file system can be mounted, and none in a namespace: {reason}")
    command = ["unshare", "-rm", sys.executable, "-m", "pytest", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, env={**os.environ, "UNSHARED": "1"}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    if " passed" not in done.stdout:
        pytest.skip(f"no file system can be mounted, in a namespace neither: {reason}")
    pytest.skip("run in a namespace of its own, and passed there")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a case and, in `run`, what it gives where there is room."""
    folder = tmp_path_factory.mktemp("whole")
    case = write_case(folder)
    assert train_here(case, folder / "run") == 0
    return folder


def at_line(monkeypatch: pytest.MonkeyPatch, name: str, number: int, action: Callable[[], None]) -> None:
    """Let something happen before a history gets its line of that number."""
    append = History.append

    def watched(self: History, *values: float) -> None:
        if self._path.name == name and values[0] == number:
            action()
        append(self, *values)

    monkeypatch.setattr(History, "append", watched)


def check_refused(outcome: Outcome, file: Path) -> None:
    """That a call ended with status 2, naming the file and the reason, and left nothing half-written."""
    assert (outcome.status, outcome.err.count("error:")) == (2, 1), outcome.err
    assert str(file) in outcome.err and "No space left on device" in outcome.err, outcome.err
    assert not [p for p in file.parent.glob("**/*partial*")]


@pytest.mark.parametrize(("history", "line"), [("history.csv", 9), ("history.csv", 24), ("stochastic.csv", 3)])
def test_a_full_disk_at_a_checkpoint(disk, whole, call, monkeypatch, history: str, line: int) -> None:
    """Fails if the checkpoint is written in place and the last good one lost, if the error names no file or no way on,
    or if the run cannot be resumed once there is room."""
    saved: list[bytes] = []

    def fill() -> None:
        saved.append((disk.run / "checkpoint").read_bytes())
        disk.fill()

    with monkeypatch.context() as patch:
        at_line(patch, history, line, fill)
        outcome = call("train", whole / "case.toml", "--output", disk.run)
    check_refused(outcome, disk.run / "checkpoint")
    assert "--resume" in outcome.err
    assert (disk.run / "checkpoint").read_bytes() == saved[0]
    assert not (disk.run / "report.json").exists()
    check_refused(call("train", whole / "case.toml", "--output", disk.run, "--resume"), disk.run / "case.toml")
    assert (disk.run / "checkpoint").read_bytes() == saved[0]
    disk.clear()
    assert call("train", whole / "case.toml", "--output", disk.run, "--resume").status == 0
    assert not differences(whole / "run", disk.run, 1e-8)


def test_a_full_disk_at_a_line_of_the_history(disk, whole, call, monkeypatch) -> None:
    """The history needs another page long before the next checkpoint; fails if half a line stays in it, or if the
    resumed run leaves a gap or a repeat."""
    longer = ("--set", "optimizer.max_iterations=70", "--set", "output.checkpoint_every=30")
    assert call("train", whole / "case.toml", "--output", disk.path / "w", *longer).status == 0
    with monkeypatch.context() as patch:
        at_line(patch, "history.csv", 31, disk.fill)
        outcome = call("train", whole / "case.toml", "--output", disk.run, *longer)
    check_refused(outcome, disk.run / "history.csv")
    text = (disk.run / "history.csv").read_text()
    assert text.endswith("\n") and 31 < text.count("\n") < 60
    assert all(line.count(",") == 5 for line in text.splitlines())
    disk.clear()
    assert call("train", whole / "case.toml", "--output", disk.run, *longer, "--resume").status == 0
    one, other = (read_report(folder) for folder in (disk.path / "w", disk.run))
    assert other["resumed_from_iteration"] == 30
    assert other["objective"] == pytest.approx(one["objective"], rel=1e-7)
    lines = (disk.run / "history.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in lines[1:]] == [str(n) for n in range(71)]


@pytest.mark.parametrize(
    ("place", "function", "file"),
    [
        (report, "write_json", "report.json"),
        (training_report, "write_states", "states.bp"),
        (TrainingReport, "draw", "figures/convergence.png"),
    ],
)
def test_a_full_disk_at_the_end(disk, whole, call, monkeypatch, place: object, function: str, file: str) -> None:
    """Fails if a report, fields or a figure that finds no room stays half-written or is not named, or if the finished
    run cannot be completed from its checkpoint."""
    original = getattr(place, function)

    def on_a_full_disk(*arguments: object, **more: object) -> object:
        disk.fill()
        return original(*arguments, **more)

    asked = ("--set", "output.figures=true", "--set", "output.fields=true")
    with monkeypatch.context() as patch:
        patch.setattr(place, function, on_a_full_disk)
        outcome = call("train", whole / "case.toml", "--output", disk.run, *asked)
    assert outcome.status == 2 and str(disk.run / file) in outcome.err, outcome.err
    assert not list(disk.run.glob("**/*partial*"))
    assert (disk.run / "report.json").exists() == (function != "write_json")
    disk.clear()
    assert call("train", whole / "case.toml", "--output", disk.run, "--resume").status == 0
    assert not differences(whole / "run", disk.run, 1e-8)


def test_a_full_disk_at_the_start(disk, whole, call) -> None:
    """Fails if a disk without room for the case ends the run in a traceback, or leaves a folder that the next run
    cannot use."""
    disk.run.mkdir()
    disk.fill()
    check_refused(call("train", whole / "case.toml", "--output", disk.run), disk.run / "case.toml")
    disk.clear()
    assert call("train", whole / "case.toml", "--output", disk.run).status == 0


def test_a_full_disk_under_other_commands(disk, whole, call) -> None:
    """Fails if `predict`, `verify` or `certify` leaves half a file, or does not name the one that found no room."""
    for name in ("r", "v"):
        (disk.path / name).mkdir()
    for name in ("case.toml", "checkpoint", "data.npz"):
        source = whole / name if name == "data.npz" else whole / "run" / name
        shutil.copy(source, disk.run / name)
    disk.fill()
    check_refused(call("predict", disk.run, "--data", whole / "data.npz"), disk.run / "predictions.npz")
    check_refused(call("verify", whole / "case.toml", "--output", disk.path / "v"), disk.path / "v" / "verify.json")
    check_refused(call("certify", disk.run, "--starts", 1), disk.run / "certificate.json")


# fills the disk of root at a line of the history
_FILLING = """
import sys
from pathlib import Path
from fem_selection.io import runs

def append(self, *values, original=runs.History.append):
    if self._path.name == "history.csv" and values[0] == 9:
        with open(self._path.parent.parent / "filler", "ab", buffering=0) as handle:
            try:
                while True:
                    handle.write(bytes(4096))
            except OSError:
                pass
    original(self, *values)

runs.History.append = append
from fem_selection.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.usefixtures("run_mpi")
def test_a_full_disk_on_two_ranks(disk, whole, call) -> None:
    """Fails if rank 1 waits for rank 0, which alone meets the full disk, or if the error is told twice."""
    done = launch(2, "-c", _FILLING, "train", whole / "case.toml", "--output", disk.run, timeout=PATIENCE)
    assert "Traceback" not in done.stderr
    check_refused(Outcome(done.returncode, done.stdout, done.stderr, {}), disk.run / "checkpoint")
    disk.clear()
    assert call("train", whole / "case.toml", "--output", disk.run, "--resume").status == 0
    assert not differences(whole / "run", disk.run, 1e-6)


# ── read-only folders ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_read_only_folder_is_refused_and_left_alone(disk, whole, call) -> None:
    """Fails if a folder that cannot be written, also by root, whom modes do not keep, is refused only after something
    was computed, or if anything in it changes."""
    for name in ("case.toml", "data.npz"):
        shutil.copy(whole / name, disk.path / name)
    shutil.copytree(whole / "run", disk.run)
    before = {p.name: p.read_bytes() for p in disk.run.iterdir() if p.is_file()}
    disk.remount("ro")
    for output, more in ((disk.run, "--resume"), (disk.run, "--overwrite"), (disk.path / "new", "--overwrite")):
        outcome = call("train", disk.path / "case.toml", "--output", output, more)
        assert outcome.status == 2 and str(output) in outcome.err, outcome.err
        assert "cannot be written" in outcome.err
    for arguments in (
        ("predict", disk.run, "--data", disk.path / "data.npz"),
        ("certify", disk.run, "--starts", 1),
        ("verify", disk.path / "case.toml", "--output", disk.path / "v"),
    ):
        outcome = call(*arguments)
        assert outcome.status == 2 and str(disk.path) in outcome.err, outcome.err
        assert "Read-only" in outcome.err or "cannot be written" in outcome.err
    assert {p.name: p.read_bytes() for p in disk.run.iterdir() if p.is_file()} == before
    # a case and data that are only read may lie there
    assert call("train", disk.path / "case.toml", "--output", disk.path.parent / "elsewhere").status == 0
    disk.remount("rw")
    longer = ("--resume", "--set", "optimizer.max_iterations=26")
    assert call("train", whole / "case.toml", "--output", disk.run, *longer).status == 0
    assert read_report(disk.run)["iterations"] == 26


def test_a_folder_without_permission_is_refused(whole, call, tmp_path) -> None:
    """Fails if a folder whose mode forbids writing is noticed only at the first checkpoint."""
    if os.geteuid() == 0:
        pytest.skip("root, whom modes do not keep")
    folder = tmp_path / "r"
    folder.mkdir(mode=0o500)
    outcome = call("train", whole / "case.toml", "--output", folder)
    assert outcome.status == 2 and str(folder) in outcome.err and "cannot be written" in outcome.err


# ── no number ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("array", ["x", "y"])
def test_data_that_are_no_numbers_are_refused(tmp_path, call, array: str, value: float) -> None:
    """Fails if one bad number among the data is trained on, or is told without its file, array and sample."""
    case = write_case(tmp_path)
    with np.load(tmp_path / "data.npz") as held:
        x, y = held["x"].copy(), held["y"].astype(float)
    (x if array == "x" else y).reshape(40, -1)[7, 0] = value
    np.savez(tmp_path / "data.npz", x=x, y=y)
    for command in ("train", "verify"):
        outcome = call(command, case, "--output", tmp_path / "r", "--set", "objective.loss=least_squares")
        assert outcome.status == 2
        for word in (str(tmp_path / "data.npz"), f"'{array}'", "sample 7", "1 NaN or Inf"):
            assert word in outcome.err, outcome.err


def test_numbers_that_overflow_end_with_status_3(tmp_path, call) -> None:
    """Fails if finite data that are too large end in a traceback or with another status than 3, or without the quantity
    and the iteration."""
    case = write_case(tmp_path)
    with np.load(tmp_path / "data.npz") as held:
        np.savez(tmp_path / "data.npz", x=1e200 * held["x"], y=held["y"])
    settings = ("dynamics.activation=identity", "stochastic.epochs=0", "dynamics.horizon=1e150")
    outcome = call("train", case, "--output", tmp_path / "r", *with_settings(*settings))
    assert outcome.status == 3, outcome.err
    assert "is not finite" in outcome.err and "in iteration 0" in outcome.err
