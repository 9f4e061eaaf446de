# SPDX-License-Identifier: MIT
"""Nothing lost: Ctrl-C, SIGTERM and `kill -9` at any moment leave a checkpoint that `--resume` continues.

A run is started as a process of its own, slowed by a pause at every line of its histories, and ended from outside; or
in this process, and ended between two system calls where no signal from outside would hit.  It is then resumed here and
compared with a run that nothing interrupted.  The tests fail if the checkpoint misses a part of the optimizer's state,
if a history has gaps or repeats, or if a damaged checkpoint is taken for a good one.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import read_report
from killed_runs import saved_state, start, wait_for_lines
from killed_runs import train_here as train
from mpi4py import MPI
from two_phases import EPOCHS, EVERY, ITERATIONS, write_case

from fem_selection.cli.app import run
from fem_selection.config import load_case
from fem_selection.io.runs import History, read_columns


class Killed(BaseException):
    """The end of a run by `kill -9`: nothing that it does afterwards may touch the disk."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the case and its data, and in `whole` the run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("nothing_lost")
    write_case(folder)
    assert train(folder / "case.toml", folder / "whole") == 0
    return folder


def check_resumed(data: Path, output: Path, rtol: float = 1e-8, ranks: int = 1) -> None:
    """That a resumed and finished run is the uninterrupted one."""
    whole, found = (read_report(folder) for folder in (data / "whole", output))
    assert found["iterations"] == whole["iterations"] == ITERATIONS
    assert found["objective"] == pytest.approx(whole["objective"], rel=rtol)
    assert found["test_accuracy"] == whole["test_accuracy"]
    assert found["stochastic"] == whole["stochastic"]
    if ranks == 1:  # each member measures the certificate on its own samples
        assert found["certificate"]["taylor_order"] == pytest.approx(whole["certificate"]["taylor_order"], abs=1e-6)
    for name, first, last in (("history.csv", 0, ITERATIONS), ("stochastic.csv", 1, EPOCHS)):
        one, other = read_columns(data / "whole" / name), read_columns(output / name)
        counter = next(iter(other))
        assert other[counter].tolist() == list(range(first, last + 1)), name
        np.testing.assert_allclose(other["objective"], one["objective"], rtol=rtol)
    seconds = read_columns(output / "history.csv")["seconds"]
    assert np.all(np.diff(seconds) > 0), "time runs on over the cut"


# ── signals from outside ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("number", "phase", "status", "times"),
    [
        (signal.SIGINT, "history", 130, 1),
        (signal.SIGTERM, "history", 143, 2),
        (signal.SIGTERM, "stochastic", 143, 1),
        (signal.SIGKILL, "history", -9, 1),
    ],
)
def test_a_run_that_a_signal_ends_goes_on(
    data: Path, tmp_path: Path, number: int, phase: str, status: int, times: int
) -> None:
    """Fails if a signal, once or twice, ends the run with another status than the shell's, loses an iteration that a
    checkpoint should hold, or if the resumed run is another than the uninterrupted one."""
    output = tmp_path / "a run"
    stopped = start(data / "case.toml", output)
    lines = 2 if phase == "stochastic" else 7
    wait_for_lines(output / f"{phase}.csv", lines, stopped)
    for _ in range(times):
        stopped.process.send_signal(number)
    assert stopped.end() == status, stopped.output
    assert not (output / "report.json").exists()
    state = saved_state(output)
    assert state["phase"] == ("deterministic" if phase == "history" else "stochastic")
    if number != signal.SIGKILL:
        said = f"stopped by {signal.Signals(number).name}; continue with --resume --output '{output}'"
        assert said in stopped.output and "Traceback" not in stopped.output
    if phase == "history":
        done = state["optimizer"]["iteration"]
        # a signal loses nothing, a kill what came since the last checkpoint, which follows the line it belongs to
        assert done >= (lines - 1 if number != signal.SIGKILL else lines - 1 - EVERY)
    assert train(data / "case.toml", output, "--resume") == 0
    report = read_report(output)
    if phase == "history":
        assert report["resumed_from_iteration"] == done
    else:
        assert (report["resumed_from_iteration"], report["resumed_from_epoch"]) == (0, state["optimizer"]["epoch"])
    check_resumed(data, output)


@pytest.mark.slow
@pytest.mark.usefixtures("run_mpi")
def test_a_run_that_a_signal_to_mpiexec_ends_goes_on(data: Path, tmp_path: Path) -> None:
    """Fails if SIGTERM to the launcher does not stop both ranks with one checkpoint, or if the run does not go on upon
    one rank and upon two."""
    output = tmp_path / "r"
    stopped = start(data / "case.toml", output, ranks=2)
    wait_for_lines(output / "history.csv", 7, stopped)
    stopped.process.send_signal(signal.SIGTERM)
    assert stopped.end() == 143, stopped.output
    assert stopped.output.count("--resume") == 1
    done = saved_state(output)["optimizer"]["iteration"]
    assert done >= 6
    shutil.copytree(output, tmp_path / "one")
    resumed = start(data / "case.toml", output, "--resume", ranks=2, pause=0.0)
    assert resumed.end() == 0, resumed.output
    report = read_report(output)
    assert (report["resumed_from_iteration"], report["ranks"]) == (done, 2)
    assert sum(report["samples_per_rank"]) == 32
    check_resumed(data, output, 1e-6, ranks=2)  # sums over two ranks round in another order from the start
    assert train(data / "case.toml", tmp_path / "one", "--resume") == 0
    check_resumed(data, tmp_path / "one", 1e-6, ranks=2)


# ── an end between two system calls ───────────────────────────────────────────────────────────────────────────────────


def train_and_die(data: Path, output: Path, monkeypatch: pytest.MonkeyPatch, moment: str, count: int) -> None:
    """A run that ends at the count-th time that it comes to a moment."""
    append, replace, left, dead = History.append, os.replace, [count], []

    def at(name: str) -> None:
        if name == moment:
            left[0] -= 1
            if left[0] == 0:
                dead.append(name)
                raise Killed

    def append_and_die(self: History, *values: float) -> None:
        append(self, *values)
        at(Path(self._handle.name).stem)

    def replace_and_die(source: Path, target: Path) -> None:
        assert not dead, "a dead run writes"
        if Path(target).name == "checkpoint":
            at("before the rename")
        replace(source, target)
        if Path(target).name == "checkpoint":
            at("after the rename")

    with monkeypatch.context() as patch:
        patch.setattr(History, "append", append_and_die)
        patch.setattr(os, "replace", replace_and_die)
        patch.setattr(sys, "argv", ["fem-selection", "train", str(data / "case.toml"), "--output", str(output)])
        with pytest.raises((Killed, SystemExit)):  # PETSc may turn the one into the other
            run()
    assert dead, "the run came to its end"


@pytest.mark.parametrize(
    ("moment", "count", "left"),
    [
        # checkpoints: 1 at the start, 2 at epoch 3, 3 at the end of the phase, 4 at iteration 0, then every third
        ("before the rename", 2, ("stochastic", 0)),
        ("stochastic", 5, ("stochastic", 3)),
        ("before the rename", 4, ("stochastic", EPOCHS)),
        ("after the rename", 4, ("deterministic", 0)),
        ("before the rename", 7, ("deterministic", 6)),
    ],
)
def test_killed_at_a_bad_moment(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, count: int, left: tuple[str, int]
) -> None:
    """Fails if a death just before or after a checkpoint is renamed, or between a line and its checkpoint, leaves
    anything but the last whole checkpoint, or a partial file that stays."""
    output = tmp_path / "r"
    train_and_die(data, output, monkeypatch, moment, count)
    state = saved_state(output)
    place = state["optimizer"]["epoch" if state["phase"] == "stochastic" else "iteration"]
    assert (state["phase"], place) == left
    assert train(data / "case.toml", output, "--resume") == 0
    check_resumed(data, output)
    assert not list(output.glob("*.partial"))


def test_killed_before_the_first_checkpoint(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a folder whose run died that early can be neither resumed nor overwritten, if a new run enters it
    unasked, or if a folder that does not exist is resumed."""
    output = tmp_path / "r"
    train_and_die(data, output, monkeypatch, "before the rename", 1)
    shutil.copytree(output, tmp_path / "again")
    assert train(data / "case.toml", tmp_path / "again") == 2
    for folder, switch in ((output, "--resume"), (tmp_path / "again", "--overwrite")):
        assert train(data / "case.toml", folder, switch) == 0
        check_resumed(data, folder)
    (tmp_path / "empty").mkdir()
    assert train(data / "case.toml", tmp_path / "empty", "--resume", "--set", "optimizer.max_iterations=1") == 0
    assert train(data / "case.toml", tmp_path / "nowhere", "--resume") == 2


def test_a_bad_case_overwrites_nothing(data: Path, tmp_path: Path) -> None:
    """Fails if --overwrite removes a run before it is known that the new one can begin."""
    shutil.copytree(data / "whole", tmp_path / "r")
    (tmp_path / "junk.npz").write_text("no archive")
    before = {p.name: p.read_bytes() for p in (tmp_path / "r").iterdir() if p.is_file()}
    for setting in (f"data.file='{tmp_path / 'junk.npz'}'", "parallel.space=2", "dynamics.layers=0"):
        assert train(data / "case.toml", tmp_path / "r", "--overwrite", "--set", setting) == 2
    assert {p.name: p.read_bytes() for p in (tmp_path / "r").iterdir() if p.is_file()} == before


# ── files that are not what they seem ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def checkpoint(data: Path) -> bytes:
    """The last checkpoint of the uninterrupted run."""
    return (data / "whole" / "checkpoint").read_bytes()


def refused(data: Path, folder: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> str:
    """The message with which a checkpoint of this content is refused; nothing in the folder may change but the lock."""
    folder.mkdir(exist_ok=True)
    (folder / "checkpoint").write_bytes(content)
    capfd.readouterr()
    assert train(data / "case.toml", folder, "--resume") == 2
    message = capfd.readouterr().err
    assert str(folder / "checkpoint") in message and "Traceback" not in message
    assert {p.name for p in folder.iterdir()} == {"checkpoint", ".lock"}
    assert (folder / "checkpoint").read_bytes() == content
    return message


def places(content: bytes) -> dict[str, int]:
    """One byte of every part of the file."""
    header = int.from_bytes(content[8:16], "little")
    return {
        "magic": 3,
        "length": 8,
        "high length": 15,
        "header": 16 + header // 2,
        "header's checksum": 16 + header - 1,
        "first number": 16 + header,
        "middle": (16 + header + len(content)) // 2,
        "last": len(content) - 1,
    }


def test_truncated_checkpoints_are_refused(data: Path, tmp_path: Path, checkpoint: bytes, capfd) -> None:
    """Fails if a checkpoint that is cut in any of its parts, or has a byte too many, is read."""
    header = 16 + int.from_bytes(checkpoint[8:16], "little")
    for length in (0, 1, 8, 15, 16, 200, header - 1, header, header + 8, len(checkpoint) // 2, len(checkpoint) - 1):
        message = refused(data, tmp_path / "r", checkpoint[:length], capfd)
        assert "truncated" in message or length < 8, f"{length}: {message}"
    assert "truncated" in refused(data, tmp_path / "r", checkpoint + b"\0", capfd)


def test_damaged_checkpoints_are_refused(data: Path, tmp_path: Path, checkpoint: bytes, capfd) -> None:
    """Fails if a flipped bit in any part of the file passes the checksums."""
    for part, place in places(checkpoint).items():
        for bit in (0, 7):
            content = bytearray(checkpoint)
            content[place] ^= 1 << bit
            message = refused(data, tmp_path / "r", bytes(content), capfd)
            assert any(word in message for word in ("damaged", "foreign", "truncated")), f"{part}: {message}"


def test_foreign_checkpoints_are_refused(data: Path, tmp_path: Path, capfd) -> None:
    """Fails if a file of another kind, a pickle among them, is read, or refused as damaged."""
    archive = (data / "data.npz").read_bytes()
    for content in (b"FEMSEL", b"hello, world, this is a text", archive, os.urandom(4096), b"\x80\x04pickle" * 9):
        assert "foreign" in refused(data, tmp_path / "r", content, capfd)


def test_a_folder_in_place_of_a_checkpoint_is_refused(data: Path, tmp_path: Path, capfd) -> None:
    """Fails if a folder of that name ends in a traceback."""
    (tmp_path / "checkpoint").mkdir()
    assert train(data / "case.toml", tmp_path, "--resume") == 2
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("switch", "words"),
    [
        ("dynamics.layers=8", "dynamics.layers was 4 and is 8"),
        ("domain.cells=9", "domain.cells was [8] and is [9]"),
        ("stochastic.rate=0.5", "stochastic.rate was 0.01 and is 0.5"),
        ("regularization.kernel=0.0", "regularization.kernel was 0.001 and is 0.0"),
    ],
)
def test_checkpoints_of_another_problem_are_refused(data: Path, switch: str, words: str, capfd) -> None:
    """Fails if a run goes on under another problem, mesh, rate or penalty, or is refused without the key and both
    values."""
    assert train(data / "case.toml", data / "whole", "--resume", "--set", switch) == 2
    assert words in capfd.readouterr().err


def test_data_may_move_but_not_change(data: Path, tmp_path: Path, capfd) -> None:
    """Fails if a run, as one in a container, cannot go on where its data file has another path, or goes on with others
    of the same path."""
    moved = tmp_path / "elsewhere"
    shutil.copytree(data, moved, ignore=shutil.ignore_patterns("whole"))
    run, more = tmp_path / "run", "optimizer.max_iterations="
    assert train(data / "case.toml", run, "--set", f"{more}4") == 0
    assert train(moved / "case.toml", run, "--resume", "--set", f"{more}6") == 0
    held = np.load(moved / "data.npz")
    np.savez(moved / "data.npz", x=1.01 * held["x"], y=held["y"])
    capfd.readouterr()
    assert train(moved / "case.toml", run, "--resume", "--set", f"{more}8") == 2
    assert "data.file was 'a file of sha256" in capfd.readouterr().err


# ── partitions ────────────────────────────────────────────────────────────────────────────────────────────────────────


def exchange(data: Path, task: str) -> None:
    """Write, or read and check, controls that every partition knows, by every split of the ranks (collective)."""
    from fem_selection.cases.learning import build_problem
    from fem_selection.io.checkpoints import read_checkpoint, write_checkpoint

    size = MPI.COMM_WORLD.size
    for space in (s for s in range(1, size + 1) if size % s == 0):
        problem = build_problem(load_case(data / "case.toml", [f"parallel.space={space}"]))
        controls = problem.functional.control_space
        where = (problem.ensemble, controls.indices, controls.global_size)
        vectors = {"one": controls.random_direction(1), "two": controls.random_direction(2)}
        if task == "write":
            state = {"space": space}
            write_checkpoint(data / f"from {space}", *where[:2], global_size=where[2], state=state, vectors=vectors)
            continue
        for path in data.glob("from *"):
            state, found = read_checkpoint(path, *where[:2], global_size=where[2])
            assert path.name == f"from {state['space']}"
            for name, vector in vectors.items():
                np.testing.assert_allclose(found[name], vector, rtol=1e-13)


@pytest.mark.slow
def test_any_partition_reads_any_checkpoint(data: Path, tmp_path: Path, run_mpi: Callable[..., str]) -> None:
    """Fails if what two ranks write, by one split or the other, is read as other controls on one rank or on three."""
    for name in ("case.toml", "data.npz"):
        shutil.copy(data / name, tmp_path)
    run_mpi(2, __file__, tmp_path, "write")
    assert sorted(path.name for path in tmp_path.glob("from *")) == ["from 1", "from 2"]
    exchange(tmp_path, "read")
    run_mpi(3, __file__, tmp_path, "read")


if __name__ == "__main__":
    exchange(Path(sys.argv[1]), sys.argv[2])
