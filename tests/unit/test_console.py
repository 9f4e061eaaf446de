# SPDX-License-Identifier: MIT
"""What surrounds the command line: streams that break, logs, encodings, paths, and the exit statuses.

Most tests call the application in this process with other streams; the slow ones start it in a shell.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

import numpy as np
import pytest
from commands import PROGRAM, SMALL_FIELD, SMALL_TRAINING, call_application, read_report, with_settings
from ranks import launch, require_launcher
from rich.console import Console

from fem_selection import errors
from fem_selection.cli import status
from fem_selection.cli.status import Status
from fem_selection.cli.streams import enduring_streams
from fem_selection.cli.train import _bars
from fem_selection.io.runs import write_json

CASE = f'title = "grün"\n{SMALL_TRAINING}'
FORWARD = f"{SMALL_FIELD}[forward]\nmax_steps = 3\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a case that trains and one that runs forward; the working directory."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("data.npz", x=rng.normal(size=(12, 5)), y=np.arange(12) % 3)
    Path("case.toml").write_text(CASE)
    Path("forward.toml").write_text(FORWARD)
    return tmp_path


def train_with(monkeypatch: pytest.MonkeyPatch, stream: TextIO | None, *more: str) -> int:
    """The status of a training whose standard output is this stream."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        return call_application("train", "case.toml", "--output", "run", *more)


# ── streams that cannot be written ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("broken", ["closed pipe", "full disk", "none"])
def test_a_run_outlives_its_console(here: Path, monkeypatch, capfd, broken: str) -> None:
    """Fails if a reader that has gone, a full disk under the log or a closed stream costs the report or the status, or
    if a full disk is not reported on standard error."""
    if broken == "closed pipe":
        reading, writing = os.pipe()
        os.close(reading)
        stream = os.fdopen(writing, "w")
    else:
        stream = open("/dev/full", "w") if broken == "full disk" else None  # noqa: SIM115
    assert train_with(monkeypatch, stream) == 0
    assert read_report(here / "run")["iterations"] == 2
    told = "cannot be written (No space left on device); the run goes on" if broken == "full disk" else ""
    assert told in (err := capfd.readouterr().err) and err.count("\n") == bool(told)


def test_a_pipe_that_another_handler_watches(here: Path, monkeypatch) -> None:
    """Fails if a reader that has gone ends the process where PETSc, started before, has a handler that aborts."""
    ended = []
    before = signal.signal(signal.SIGPIPE, lambda *arguments: ended.append(arguments))
    try:
        reading, writing = os.pipe()
        os.close(reading)
        assert train_with(monkeypatch, os.fdopen(writing, "w")) == 0
    finally:
        signal.signal(signal.SIGPIPE, before)
    assert not ended


IN_A_SHELL = {
    "head": "{program} train case.toml --output run | head -1; exit ${{PIPESTATUS[0]}}",
    "full": "{program} train case.toml --output run > /dev/full 2>&1",
    "closed": "{program} train case.toml --output run >&- 2>&- <&-",
    "nohup": "nohup {program} train case.toml --output run",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_A_SHELL)
def test_a_run_outlives_its_console_in_a_shell(here: Path, name: str) -> None:
    """Fails if a file of the run gets the descriptor of a closed stream, so that what is printed goes into it."""
    program = f"{sys.executable} -c '{PROGRAM}'"
    done = subprocess.run(
        ["bash", "-c", IN_A_SHELL[name].format(program=program)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert read_report(here / "run")["iterations"] == 2
    assert not any("grün" in path.read_text(errors="replace") for path in (here / "run").glob("history.csv"))


@pytest.mark.slow
@pytest.mark.usefixtures("run_mpi")
def test_a_launcher_without_a_reader_leaves_a_run_that_goes_on(here: Path) -> None:
    """mpiexec carries the output of the ranks, and ends them where it cannot; fails if the run cannot be resumed."""
    program = f"{require_launcher()} -n 2 {sys.executable} -c '{PROGRAM}' train case.toml --output run"
    subprocess.run(["bash", "-c", f"{program} | head -1"], capture_output=True, timeout=120)
    time.sleep(2.0)  # until the ranks have ended
    assert call_application("train", "case.toml", "--output", "run", "--resume") == 0
    assert read_report(here / "run")["iterations"] == 2


@pytest.mark.slow
def test_a_terminal_that_is_closed_leaves_a_checkpoint(here: Path) -> None:
    """Fails if SIGHUP kills a training, or if `nohup`, under which it is ignored, does not keep it going."""
    words = ["train", "case.toml", "--output", "run", *with_settings("optimizer.max_iterations=100000")]
    settings = with_settings("optimizer.gradient_tolerance=0.0", "optimizer.method=sqh")
    settings += with_settings("regularization.kernel=0.1", "regularization.bias=0.1")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words, *settings], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    began = time.monotonic()
    while not (here / "run" / "checkpoint").exists() and time.monotonic() < began + 60:
        time.sleep(0.05)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=60)
    assert process.returncode == Status.HUNG_UP, err
    assert (here / "run" / "checkpoint").exists() and not (here / "run" / "report.json").exists()


def test_other_streams_stay_as_they_are() -> None:
    """Fails if a stream in memory, as of a notebook or a test, is written past, or a closed one raises an error."""
    memory, closed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.TextIOWrapper(io.BytesIO())
    closed.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", memory)
        patch.setattr(sys, "stderr", closed)
        with enduring_streams():
            print("out")
            print("err", file=sys.stderr)
        assert sys.stdout is memory and sys.stderr is closed
    assert memory.buffer.getvalue() == b"out\n"  # type: ignore[attr-defined]


# ── logs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_nothing_is_cut_in_a_log(here: Path, monkeypatch, encoding: str) -> None:
    """Fails if the width of some terminal cuts or folds a path or a sentence in a log, if lines are filled up with
    blanks, or if an encoding without σ, → or ü ends the run."""
    for name, value in (("COLUMNS", "20"), ("TERM", "dumb"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    folder = "/".join(["a-rather-long-name"] * 8)
    with open("log", "w", encoding=encoding) as stream:
        assert train_with(monkeypatch, stream, "--output", folder, *with_settings("title=σ → \\u001b[1m")) == 0
    text = Path("log").read_text(encoding=encoding)
    assert f"{folder}/report.json\n" in text and "iterations            2 (the iteration limit was reached)\n" in text
    assert "\x1b" not in text and not re.search(r"[ \t]\n", text)
    assert text.startswith("σ → " if encoding == "utf-8" else "sigma -> ")


def test_a_table_in_a_log_has_a_line_for_each_row(capfd) -> None:
    """Fails if cells are folded or cut where there is no terminal, or if lines are drawn around cells of any width."""
    from fem_selection.cli.frame import Frame

    Frame("train").table(["name", "sentence"], [["x" * 300, "of many words " * 30], ["[bold]y", "[/z]"]])
    heading, first, second = capfd.readouterr().out.splitlines()
    assert heading.split() == ["name", "sentence"]
    assert first == "x" * 300 + "  " + ("of many words " * 30).rstrip()
    assert second.split() == ["[bold]y", "[/z]"]


def test_a_path_on_a_terminal_can_be_copied(here: Path) -> None:
    """Fails if a narrow terminal breaks the path of the report, or cuts a word of a sentence."""
    from rich.console import Console

    from fem_selection.cli.frame import Frame

    frame = Frame("train")
    with open("screen", "w", encoding="utf-8") as stream:
        frame.console = Console(file=stream, force_terminal=True, width=30, highlight=False, color_system=None)
        frame.rows({"report": "r/" * 40 + "report.json", "reason": "a sentence that does not fit into one line"})
        frame.table(["name"], [["x" * 70]])
    text = Path("screen").read_text()
    assert "r/" * 40 + "report.json\n" in text
    assert " ".join(text.split()).count("fit into") == 1 and text.count("x") == 70 and "…" not in text


# ── paths ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_folders_with_bytes_that_are_not_text(here: Path, monkeypatch, capfd) -> None:
    """Fails if a folder whose name is not UTF-8 cannot hold a run and what is made of it, or if a case that would have
    to name it is refused without the key and what to do."""
    folder = os.fsdecode(b"caf\xe9")
    os.mkdir(folder)
    settings = with_settings("output.figures=true", "output.fields=true")
    assert call_application("train", "case.toml", "--output", f"{folder}/run", *settings) == 0
    assert call_application("predict", f"{folder}/run", "--data", "data.npz") == 0
    write_json(Path("named.json"), {"run": f"{folder}/run"})  # as the report of `stability DIR` has it
    assert json.loads(Path("named.json").read_text(encoding="utf-8"))["run"] == f"{folder}/run"
    os.rename("data.npz", f"{folder}/data.npz")
    os.rename("case.toml", f"{folder}/case.toml")
    capfd.readouterr()
    assert call_application("train", f"{folder}/case.toml", "--output", "other") == 2
    err = capfd.readouterr().err
    assert "1 fault" in err and r"data.file: the path" in err and r"caf\xe9" in err and "link to the file" in err


def test_arguments_that_are_not_text_reach_no_library(here: Path) -> None:
    """dolfinx reads sys.argv as UTF-8 when it is imported; fails if `fem-selection` leaves its arguments there."""
    code = "import os, sys; sys.argv += [os.fsdecode(b'\\xe9')]; " + PROGRAM
    done = subprocess.run(
        [sys.executable, "-c", code, "info"], capture_output=True, text=True, timeout=60, errors="replace"
    )
    assert done.returncode == 2 and "unexpected extra argument" in done.stderr


@pytest.mark.parametrize("place", ["data.file", "output.directory", "--output"])
def test_the_home_folder_in_paths(here: Path, monkeypatch, place: str) -> None:
    """No shell replaces ~ in a case file or after `=`; fails if a folder of that name is made, or a file is not found
    in the home folder."""
    home = here / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    words = {"data.file": ["--set", "data.file=~/data.npz"], "output.directory": ["--set", "output.directory=~/runs"]}
    if place == "data.file":
        os.rename("data.npz", home / "data.npz")
    assert call_application("train", "case.toml", *words.get(place, ["--output=~/runs/0001"])) == 0
    assert not Path("~").exists()
    (home / "new.npz").write_bytes((Path("data.npz") if place != "data.file" else home / "data.npz").read_bytes())
    run = ("~" if place != "data.file" else ".") + "/runs/0001"
    assert call_application("predict", run, "--data=~/new.npz", "--output=~/p.npz") == 0 and (home / "p.npz").exists()
    where = here if place == "data.file" else home
    assert read_report(where / "runs" / "0001")["iterations"] == 2


def test_environment_variables_are_left_alone(here: Path, call, monkeypatch) -> None:
    """Fails if a dollar sign in a path is replaced, or if the message on a missing file does not say that it is not."""
    monkeypatch.setenv("DATA", "data")
    outcome = call("train", "case.toml", "--set", "data.file=$DATA.npz")
    assert outcome.status == 2 and "environment variables are not replaced" in outcome.err
    os.rename("data.npz", "$DATA.npz")
    assert call("train", "case.toml", "--output", "run", "--set", "data.file=$DATA.npz").status == 0


# ── figures ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_figure_that_fails_does_not_cost_the_report(here: Path, call, monkeypatch) -> None:
    """Fails if the error of one figure ends the run, hides the table, is reported without the figure's path and the
    reason, or keeps the other figures from being drawn."""
    from fem_selection import plots
    from fem_selection.studies.training_report import TrainingReport

    def fail(*_: object, **__: object) -> None:
        raise ValueError("ParseSyntaxException: Expected end of text")

    monkeypatch.setattr(plots, "plot_states", fail)
    outcome = call("train", "case.toml", "--output", "run", "--set", "output.figures=true")
    assert outcome.status == 0 and "test accuracy" in outcome.out
    assert re.search(r"^warning: run/figures/states.png could not be drawn: ValueError: Parse", outcome.err, re.M)
    assert {p.name for p in (here / "run/figures").iterdir()} == {"convergence.png", "controls.png", "confusion.png"}
    monkeypatch.setattr(TrainingReport, "draw", fail)  # as where matplotlib does not load
    outcome = call("train", "case.toml", "--output", "more", "--set", "output.figures=true")  # draws nothing
    assert outcome.status == 0 and outcome.err.startswith("warning: the figures in more/figures could not all be drawn")


# ── exit statuses ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_status_is_documented() -> None:
    """Fails if a status is missing in the table of the module or of the README, or an error has none."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for text in (status.__doc__ or "", readme):
        rows = re.findall(r"^\| ([\d, ]+) \|", text, re.MULTILINE)
        assert {int(number) for row in rows for number in row.split(",") if number.strip()} == set(Status)
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SelectionError)
    ]
    assert len(kinds) >= 8
    for kind in kinds:
        found = Status.of(kind.__new__(kind))
        assert (found == Status.CRASHED) == (kind is errors.SelectionError), kind


def test_the_status_of_each_end(here: Path, call, monkeypatch) -> None:
    """Fails if a command ends with another status than the table says, or if the steps of `forward` that are used up
    cost the report."""
    from fem_selection.studies import gradient
    from fem_selection.studies.gradient import VerificationReport

    assert call("info").status == Status.DONE
    assert call("train", "nowhere.toml").status == Status.REFUSED
    outcome = call("forward", "forward.toml", "--output", "run")
    assert outcome.status == Status.NOT_REACHED and "forward.max_steps" in outcome.out
    assert outcome.report["command"] == "forward" and "run/report.json" in outcome.out
    monkeypatch.setattr(VerificationReport, "passed", False)
    assert call("verify", "case.toml", "--output", "v").status == Status.NOT_REACHED
    for error, expected in (
        (errors.NonFinite("the state"), Status.NOT_FINITE),
        (errors.NotConverged("a stage was not solved"), Status.NOT_REACHED),
        (errors.MissingDependency("cffi is not installed"), Status.REFUSED),
        (MemoryError(), Status.REFUSED),
        (KeyboardInterrupt(), Status.INTERRUPTED),
    ):

        def fail(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(gradient, "verify", fail)
        assert call("verify", "case.toml", "--output", "w").status == expected, error


def test_an_unforeseen_error_has_status_1(here: Path, monkeypatch, capfd) -> None:
    """Fails if it is taken for a fault of the input, or if its traceback, which a report of it needs, is hidden."""
    from fem_selection.studies import gradient

    monkeypatch.setattr(gradient, "verify", lambda *_, **__: 1 / 0)
    assert call_application("verify", "case.toml") == Status.CRASHED
    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("run_mpi")
def test_statuses_on_two_ranks(here: Path) -> None:
    """Fails if the launcher does not pass a status on."""
    words = ("forward", "forward.toml", "--output", "run")
    assert launch(2, "-c", PROGRAM, *words, timeout=120).returncode == Status.NOT_REACHED
    assert read_report(here / "run")["command"] == "forward"


def test_a_phase_that_ends_before_its_limit_shows_the_time_it_took() -> None:
    """Fails if the time left until a limit that was never reached stays on the screen, beside a phase that is over."""
    stream = io.StringIO()
    with _bars(Console(file=stream, force_terminal=True, width=100)) as show:
        for phase in ("first", "second"):
            show(phase, 1, 10**6, {})
    last = stream.getvalue().rpartition("first")[2]
    assert last.count("00:00") == 2 and "--:--" not in last
