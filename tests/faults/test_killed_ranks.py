# SPDX-License-Identifier: MIT
"""`kill -9` of a single rank, and at random moments: nothing hangs, the checkpoint is intact, `--resume` works.

`soak.py` does the same for as long as it is told.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killed_runs import (
    differences,
    saved_state,
    send,
    start,
    train_here,
    wait_for_lines,
)
from ranks import find_launcher
from two_phases import ITERATIONS, write_case

from fem_selection.io.runs import History

needs_mpiexec = pytest.mark.skipif(find_launcher() is None, reason="no mpiexec beside this Python and none on the path")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a case and, in `run`, what it gives if nothing interrupts it."""
    folder = tmp_path_factory.mktemp("whole")
    assert train_here(write_case(folder), folder / "run") == 0
    return folder


def finish(whole: Path, output: Path, ranks: int, rtol: float) -> None:
    """Resume on a number of ranks, 0 for this process, and compare."""
    more = ["--resume"] if output.exists() else []
    if ranks == 0:
        assert train_here(whole / "case.toml", output, *more) == 0
    else:
        run = start(whole / "case.toml", output, *more, ranks=ranks, pause=0.0)
        assert run.end() == 0, run.output
    assert not differences(whole / "run", output, rtol)


@needs_mpiexec
@pytest.mark.parametrize(
    ("ranks", "victim"),
    [
        (2, 1),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((2, 0), (3, 0), (3, 1), (3, 2))),
    ],
)
def test_one_rank_is_killed(whole: Path, tmp_path: Path, ranks: int, victim: int) -> None:
    """Fails if the others go on or wait, or if what they do at the end harms the checkpoint."""
    output = tmp_path / "r"
    run = start(whole / "case.toml", output, ranks=ranks)
    wait_for_lines(output / "history.csv", 8, run)
    found = run.ranks()
    assert sorted(found) == list(range(ranks))
    assert send(found[victim], signal.SIGKILL)
    began = time.monotonic()
    status = run.end()
    assert status is not None, f"a rank goes on {time.monotonic() - began:.0f} s after another was killed"
    assert status != 0
    state = saved_state(output)
    assert state["phase"] == "deterministic" and 3 <= state["optimizer"]["iteration"] < ITERATIONS
    assert not (output / "report.json").exists()
    finish(whole, output, 2 if (ranks, victim) == (3, 2) else 0, 1e-6)


@needs_mpiexec
@pytest.mark.slow
@pytest.mark.parametrize(("number", "times"), [(signal.SIGTERM, 3)])
def test_one_rank_is_asked_to_stop(whole: Path, tmp_path: Path, number: int, times: int) -> None:
    """Fails if a signal to one rank, however often it comes, leaves another running or one without a checkpoint behind
    it."""
    output = tmp_path / "r"
    run = start(whole / "case.toml", output, ranks=2)
    wait_for_lines(output / "history.csv", 8, run)
    for _ in range(times):
        send(run.ranks()[1], number)
    assert run.end() == 128 + number, run.output
    assert "Traceback" not in run.output and run.output.count("--resume") == 1
    assert saved_state(output)["optimizer"]["iteration"] >= 7
    finish(whole, output, 0, 1e-6)


def kill_at_random(whole: Path, output: Path, seed: int, kills: int, ranks: tuple[int, ...]) -> None:
    """Kill a run several times, each time resumed, and let it finish."""
    chosen, killed = random.Random(seed), 0
    while killed < kills:
        before = (output / "checkpoint").stat().st_mtime_ns if (output / "checkpoint").exists() else 0
        run = start(
            whole / "case.toml",
            output,
            *(["--resume"] if output.exists() else []),
            "--set",
            f"output.checkpoint_every={chosen.choice((1, 3))}",
            ranks=chosen.choice(ranks),
            pause=0.02,
        )
        # some moments are counted from the start, some from the first checkpoint
        patient = chosen.random() < 0.8
        while patient and run.process.poll() is None:
            if (output / "checkpoint").exists() and (output / "checkpoint").stat().st_mtime_ns > before:
                break
            time.sleep(0.002)
        until = time.monotonic() + chosen.uniform(0.0, 0.4)
        while run.process.poll() is None and time.monotonic() < until:
            time.sleep(0.001)
        killed += send(chosen.choice(sorted(run.ranks().values())), signal.SIGKILL)
        assert run.end() is not None, "a rank goes on"
    finish(whole, output, 0, 1e-6)


def fork(whole: Path, output: Path, *more: str) -> int:
    """Train, slowed, in a child of this process, whose libraries are loaded; returns its number."""
    if (child := os.fork()) == 0:
        try:
            append = History.append

            def slowly(self: History, *values: float) -> None:
                time.sleep(0.02)
                append(self, *values)

            History.append = slowly
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os._exit(train_here(whole / "case.toml", output, *more))
        finally:
            os._exit(1)
    return child


def test_killed_at_random_moments(whole: Path, tmp_path: Path) -> None:
    """Six kills, from the first system call of the run to the last, of one process; fails if one of them leaves a
    folder that `--resume` cannot take up."""
    output, chosen = tmp_path / "r", random.Random(6)
    for _ in range(6):
        more = ["--resume"] if output.exists() else []
        child = fork(whole, output, *more, "--set", f"output.checkpoint_every={chosen.choice((1, 3))}")
        time.sleep(chosen.uniform(0.0, 0.5))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    finish(whole, output, 0, 1e-8)


@needs_mpiexec
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_one_rank_of_a_command_that_keeps_nothing(tmp_path: Path, number: int, status: int) -> None:
    """Fails if it leaves by an exception, on whose way it waits for the other rank, which waits for it."""
    case = tmp_path / "case.toml"
    case.write_text(
        '[domain]\nshape = "interval"\ncells = 60\n'
        '[dynamics]\nactivation = "relu"\nkernel = "-exp(-9*(y - z)**2)"\nbias = "cos(5*y)"\n'
        '[data]\ninitial = "s - y"\nsamples = 40\n[steady]\nhorizon = 1e6\nsteady_tolerance = 1e-14\n'
    )
    run = start(case, tmp_path / "r", ranks=2, command_name="steady")
    while "→" not in run.output:
        assert run.process.poll() is None, run.output
        time.sleep(0.05)
    time.sleep(1.0)
    assert send(run.ranks()[1], number)
    began = time.monotonic()
    assert run.end(30.0) == status, run.output
    assert time.monotonic() - began < 10.0 and "Traceback" not in run.output
    assert not (tmp_path / "r" / "report.json").exists()


@needs_mpiexec
@pytest.mark.slow
def test_a_minute_of_the_soak_loses_nothing() -> None:
    """One minute of the soak, which compares what it resumes; fails if a run of it is lost. Longer ones are `soak.py
    --minutes N`."""
    command = [sys.executable, str(Path(__file__).parent / "soak.py"), "--minutes", "1", "--seed", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    last = done.stdout.splitlines()[-1].split()
    assert done.returncode == 0, done.stdout + done.stderr
    assert last[:3] == ["lost", "0", "of"] and int(last[3]) > 0


@needs_mpiexec
@pytest.mark.slow
def test_killed_at_random_moments_on_several_ranks(whole: Path, tmp_path: Path) -> None:
    """Fails if the death of any rank leaves others running, or a checkpoint that another number of ranks cannot take
    up."""
    kill_at_random(whole, tmp_path / "r", seed=1, kills=4, ranks=(1, 2, 3))
