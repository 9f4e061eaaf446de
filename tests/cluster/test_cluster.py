# SPDX-License-Identifier: MIT
"""The batch scripts of `demos/cluster` on a real Slurm: stopped, requeued, resumed, and the same result as in one go.

    uv run pytest -m cluster

The program is slowed by a pause at every line of its histories, so that there is time to stop it.  The tests fail if a
signal does not reach the ranks, if a requeued job begins anew, loses or repeats an iteration, if a job that somebody
cancelled comes back, or if runs get into one another's way.  What was measured is printed.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from local_slurm import SlurmUnavailable, local_slurm
from ranks import require_launcher
from two_phases import EPOCHS, ITERATIONS, SLOW, write_case

from fem_selection.io.runs import read_columns

pytestmark = pytest.mark.cluster

SCRIPTS = Path(__file__).parents[2] / "demos" / "cluster"
RANKS = 2
PROGRAM = f"#!{sys.executable}\n{SLOW}"
# stands in for Apptainer, as far as its command line goes: exec --bind A --pwd B IMAGE COMMAND…
APPTAINER = """#!/bin/bash
set -eu
[[ $1 == exec && $2 == --bind && $4 == --pwd && -f $6 ]] || { echo "apptainer: $*" >&2; exit 255; }
cd "$5"
exec "${@:7}"
"""


class Cluster:
    """Submits the scripts from a folder whose name has a space, and watches jobs."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.folder = folder
        programs = folder / "programs"
        programs.mkdir()
        for name, text in (("fem-selection", PROGRAM), ("apptainer", APPTAINER)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        paths = f"{shlex.quote(str(programs))}:{shlex.quote(str(Path(require_launcher()).parent))}"
        self.environment = {
            **environment,
            "UCX_NET_DEVICES": environment.get("UCX_NET_DEVICES", "lo"),
            "HERE": str(SCRIPTS),
            "SETUP": f"export PATH={paths}:$PATH",
        }

    def command(self, *words: str) -> str:
        """What a command of Slurm prints."""
        done = subprocess.run(words, env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout.strip()

    def submit(
        self, output: str, *options: str, script: str = "train.sbatch", more: tuple[str, ...] = (), **variables: str
    ) -> str:
        """The number of a new job that trains in a folder."""
        words = ["sbatch", "--parsable", f"--ntasks-per-node={RANKS}", "--time=10", "--output=%j.out", *options]
        words += [str(SCRIPTS / script), "case.toml", output, *more]
        done = subprocess.run(
            words, env={**self.environment, **variables}, cwd=self.folder, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def text(self, job: str) -> str:
        """What a job has printed."""
        path = self.folder / f"{job}.out"
        return path.read_text(errors="replace") if path.exists() else ""

    def state(self, job: str) -> dict[str, str]:
        """What Slurm knows of a job."""
        return dict(re.findall(r"(\w+)=(\S*)", self.command("scontrol", "show", "job", job)))

    def until(self, what: Callable[[], bool], job: str, seconds: float = 300) -> float:
        """Wait for something to be; the time at which it was."""
        deadline = time.monotonic() + seconds
        while not what():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:.0f} s: {self.state(job)}\n{self.text(job)}")
            time.sleep(0.05)
        return time.monotonic()

    def lines(self, output: str, name: str = "history.csv") -> int:
        """How many lines a history has below its head."""
        path = self.folder / output / name
        return path.read_text().count("\n") - 1 if path.exists() else 0

    def end(self, job: str, seconds: float = 300) -> str:
        """Wait for a job's end; its state and exit status."""
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        self.until(lambda: self.state(job)["JobState"] in over, job, seconds)
        found = self.state(job)
        return f"{found['JobState']} {found['ExitCode']} after {found['Restarts']} restarts"

    def report(self, output: str) -> dict:
        """The report of a run."""
        return json.loads((self.folder / output / "report.json").read_text())


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A Slurm of this machine and a case to train; the tests are skipped where it cannot be started."""
    with tempfile.TemporaryDirectory(prefix="slurm") as short, tempfile.TemporaryDirectory(prefix="a run ") as runs:
        try:
            with local_slurm(Path(short)) as environment:
                made = Cluster(environment, Path(runs))
                write_case(made.folder)
                yield made
        except SlurmUnavailable as reason:
            pytest.skip(f"no Slurm: {reason}")


@pytest.fixture(scope="module")
def whole(cluster: Cluster) -> dict:
    """The report of a run that nothing interrupted."""
    assert cluster.end(cluster.submit("whole")) == "COMPLETED 0:0 after 0 restarts"
    return cluster.report("whole")


def check_same(cluster: Cluster, whole: dict, output: str) -> None:
    """That a run is the uninterrupted one, without gaps or repeats."""
    found = cluster.report(output)
    assert found["ranks"] == whole["ranks"] == RANKS
    assert found["iterations"] == whole["iterations"] == ITERATIONS
    assert found["objective"] == pytest.approx(whole["objective"], rel=1e-8)
    assert found["test_accuracy"] == whole["test_accuracy"]
    assert found["stochastic"] == whole["stochastic"]
    for name, first, last in (("history.csv", 0, ITERATIONS), ("stochastic.csv", 1, EPOCHS)):
        one, other = read_columns(cluster.folder / "whole" / name), read_columns(cluster.folder / output / name)
        assert other[next(iter(other))].tolist() == list(range(first, last + 1)), name
        np.testing.assert_allclose(other["objective"], one["objective"], rtol=1e-8)


# ── stop, requeue, resume ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("launch", "phase"), [("mpiexec", "stochastic.csv"), ("mpiexec", "history.csv"), ("srun", "history.csv")]
)
def test_stopped_jobs_are_requeued_and_resumed(
    cluster: Cluster, whole: dict, capsys: pytest.CaptureFixture[str], launch: str, phase: str
) -> None:
    """TERM to the batch shell, as --signal=B:TERM@… sends it, and once more while the ranks are writing; fails if it
    does not reach the ranks, harms the checkpoint, or if the requeued job begins anew."""
    output = f"{launch} in {phase.removesuffix('.csv')}"
    submitted = time.monotonic()
    pause = "1.5" if phase == "stochastic.csv" else "0.3"  # six epochs have to outlast scancel's two calls
    job = cluster.submit(output, LAUNCH=launch, PAUSE=pause)
    started = cluster.until(lambda: "start 1" in cluster.text(job), job)
    first = cluster.until(lambda: cluster.lines(output, "stochastic.csv") > 0, job)
    cluster.until(lambda: cluster.lines(output, phase) >= 3, job)
    for _ in range(2):
        cluster.command("scancel", "--batch", "--signal=TERM", job)
    signalled = time.monotonic()
    stopped = cluster.until(lambda: "status 143" in cluster.text(job), job)
    assert not (cluster.folder / output / "report.json").exists()
    before = cluster.lines(output, phase)
    again = cluster.until(lambda: "start 2" in cluster.text(job), job)
    more = cluster.until(lambda: cluster.lines(output, phase) > before, job)
    assert cluster.end(job) == "COMPLETED 0:0 after 1 restarts"
    text, report = cluster.text(job), cluster.report(output)
    assert text.count("requeued") == 1 and text.count("--resume") >= 1, text
    assert "Traceback" not in text
    assert (report["resumed_from_iteration" if phase == "history.csv" else "resumed_from_epoch"] or 0) >= 2
    check_same(cluster, whole, output)
    with capsys.disabled():
        print(
            f"\n{output}: queue {started - submitted:.1f} s, start to first epoch {first - started:.1f} s, "
            f"TERM to checkpoint {stopped - signalled:.1f} s, requeue {again - stopped:.1f} s, "
            f"resume to next iteration {more - again:.1f} s"
        )


def test_a_job_at_its_time_limit_is_requeued(cluster: Cluster, whole: dict) -> None:
    """Fails if the signal that Slurm, which looks twice a minute, sends before the limit does not lead to a checkpoint
    and to a requeue."""
    job = cluster.submit("limit", "--time=1", "--signal=B:TERM@30", PAUSE="3")
    # a busy machine may need a third start
    assert re.fullmatch(r"COMPLETED 0:0 after [1-9] restarts", cluster.end(job)), cluster.text(job)
    assert "asked to stop" in cluster.text(job)
    check_same(cluster, whole, "limit")


def test_cancelled_jobs_stay_away(cluster: Cluster) -> None:
    """Fails if a job is requeued after `scancel`, or has no checkpoint to go on from when it is submitted again."""
    job = cluster.submit("cancelled", PAUSE="0.3")
    cluster.until(lambda: cluster.lines("cancelled") >= 3, job)
    cluster.command("scancel", job)
    assert cluster.end(job).startswith("CANCELLED")
    time.sleep(1)
    assert cluster.state(job)["Restarts"] == "0" and "requeued" not in cluster.text(job).replace("not requeued", "")
    job = cluster.submit("cancelled")
    assert cluster.end(job) == "COMPLETED 0:0 after 0 restarts", cluster.text(job)
    assert cluster.report("cancelled")["resumed_from_iteration"] >= 2


def test_restarts_are_bounded(cluster: Cluster) -> None:
    """Fails if a job is requeued more often than RESTARTS allows."""
    job = cluster.submit("bounded", PAUSE="0.3", RESTARTS="0")
    cluster.until(lambda: cluster.lines("bounded", "stochastic.csv") >= 1, job)
    cluster.command("scancel", "--batch", "--signal=TERM", job)
    assert cluster.end(job).startswith("FAILED 143:0 after 0")
    assert "not requeued: it was 0 times" in cluster.text(job)


# ── two jobs at once ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_jobs_in_two_folders(cluster: Cluster, whole: dict) -> None:
    """One is stopped and resumed beside another that is not; fails if one of them is not the run alone."""
    one, two = (cluster.submit(name, PAUSE="0.3") for name in ("one", "two"))
    for name, job in (("one", one), ("two", two)):
        cluster.until(lambda name=name: cluster.lines(name, "stochastic.csv") >= 2, job)
    assert cluster.state(one)["JobState"] == cluster.state(two)["JobState"] == "RUNNING"
    cluster.command("scancel", "--batch", "--signal=TERM", one)
    assert cluster.end(two) == "COMPLETED 0:0 after 0 restarts", cluster.text(two)
    assert cluster.end(one) == "COMPLETED 0:0 after 1 restarts", cluster.text(one)
    for name in ("one", "two"):
        check_same(cluster, whole, name)


def test_two_jobs_in_one_folder(cluster: Cluster, whole: dict) -> None:
    """Fails if a second job enters the folder of one that runs, or is not told which job holds it."""
    first = cluster.submit("shared", PAUSE="0.3")
    cluster.until(lambda: cluster.lines("shared", "stochastic.csv") >= 1, first)
    second = cluster.submit("shared")
    assert cluster.end(second) == "FAILED 2:0 after 0 restarts"
    assert "another run is going on in shared (process" in cluster.text(second)
    assert f"Slurm job {first})" in " ".join(cluster.text(second).split())
    assert cluster.end(first) == "COMPLETED 0:0 after 0 restarts", cluster.text(first)
    check_same(cluster, whole, "shared")


# ── other ways to start ───────────────────────────────────────────────────────────────────────────────────────────────


def test_srun_without_pmi_is_refused(cluster: Cluster) -> None:
    """Each rank is alone then: fails if two runs of one rank start."""
    job = cluster.submit("alone", LAUNCH="srun", MPI_TYPE="none")
    assert cluster.end(job) == "FAILED 2:0 after 0 restarts"
    text = cluster.text(job)
    assert text.count("srun started 2 processes") == 1 and "srun --mpi=pmi2" in text, text
    assert not (cluster.folder / "alone").exists()


def test_fewer_ranks_than_tasks(cluster: Cluster) -> None:
    """Fails if one rank in a batch shell of two tasks, started by mpiexec or not, is taken for ranks that do not see
    each other."""
    for number, prefix in enumerate(("mpiexec -n 1", "")):
        line = f"{cluster.environment['SETUP']}; {prefix} fem-selection train case.toml --output fewer{number}"
        job = cluster.command("sbatch", "--parsable", f"--ntasks={RANKS}", "--output=%j.out", f"--wrap={line}")
        assert cluster.end(job).startswith("COMPLETED"), cluster.text(job)
        assert cluster.report(f"fewer{number}")["ranks"] == 1


def test_the_containers_script_is_resumed_too(cluster: Cluster, whole: dict) -> None:
    """Fails if the container's script, the same but for the command of a rank, does not stop, requeue and resume, or
    runs outside of the image."""
    (cluster.folder / "fem-selection.sif").write_text("an image")
    job = cluster.submit("contained", script="apptainer.sbatch", PAUSE="0.3")
    cluster.until(lambda: cluster.lines("contained") >= 3, job)
    cluster.command("scancel", "--batch", "--signal=TERM", job)
    assert cluster.end(job) == "COMPLETED 0:0 after 1 restarts", cluster.text(job)
    assert "apptainer exec --bind" in cluster.text(job)
    check_same(cluster, whole, "contained")


def test_scripts_say_how_they_are_used(cluster: Cluster) -> None:
    """Fails if a script without arguments begins a run."""
    done = cluster.command("sbatch", "--parsable", "--output=%j.out", str(SCRIPTS / "train.sbatch"))
    assert cluster.end(done) == "FAILED 2:0 after 0 restarts"
    assert "usage: sbatch" in cluster.text(done)


def test_settings_go_through(cluster: Cluster) -> None:
    """Fails if words behind the folder do not reach the program."""
    job = cluster.submit("few", more=("--set", "optimizer.max_iterations=2"))
    assert cluster.end(job).startswith("COMPLETED"), cluster.text(job)
    assert cluster.report("few")["iterations"] == 2
