# SPDX-License-Identifier: MIT
"""The command line: commands, exit status, messages, and the folder that a run leaves.

Most tests call the application in this process; what depends on a fresh interpreter or on several ranks starts one.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import PROGRAM, read_report, with_settings
from ranks import launch

from fem_selection.config import load_case
from fem_selection.io.checkpoints import read_checkpoint
from fem_selection.io.runs import read_columns

REPORT_KEYS = {
    *("objective", "gradient_norm", "reason", "iterations", "evaluations", "seconds", "train_accuracy"),
    *("test_accuracy", "ranks", "samples_per_rank", "rows_per_rank", "resumed_from_iteration", "versions"),
    *("certificate", "stochastic", "forward_sweeps", "adjoint_sweeps", "hessian_actions", "repeated_sweeps"),
}
CASE = """
title = "small"
[domain]
shape = "interval"
cells = 8
[dynamics]
layers = 3
[data]
file = "{name}.npz"
test_fraction = 0.25
[optimizer]
max_iterations = 4
[output]
figures = false
fields = false
checkpoint_every = 2
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the cases small.toml (labels), numbers.toml (regression) and signals.toml (tracking)."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    y, s = np.arange(40) % 3, np.linspace(0, 1, 9)
    x = np.sin(np.pi * (1 + y[:, None]) * s) + 1.5 * rng.normal(size=(40, 9))
    targets = {
        "small": np.array(["ant", "bee", "cow"])[y],
        "numbers": np.stack([y, np.sin(y)], 1),
        "signals": x[:, ::-1],
    }
    losses = {"small": "softmax", "numbers": "least_squares", "signals": "tracking"}
    for name, target in targets.items():
        np.savez(tmp_path / f"{name}.npz", x=x, y=target)
        (tmp_path / f"{name}.toml").write_text(CASE.format(name=name) + f'[objective]\nloss = "{losses[name]}"\n')
    return tmp_path


# ── help and information ──────────────────────────────────────────────────────────────────────────────────────────────


def test_help_imports_no_finite_elements() -> None:
    """Fails if help or version load FEniCSx, NumPy, SciPy, Matplotlib or a library of reports, which takes seconds on a
    cold disk, or if the help lacks a command or an option."""
    code = """
import sys
from fem_selection.cli.app import run
commands = ("train", "verify", "hjb", "forward", "steady", "stability", "predict", "certify", "info")
for arguments in (["--version"], ["--help"], *([command, "--help"] for command in commands)):
    sys.argv = ["fem-selection", *arguments]
    try:
        run()
    except SystemExit as leave:
        assert not leave.code, leave.code
heavy = {"dolfinx", "petsc4py", "ufl", "basix", "ffcx", "numpy", "scipy", "sklearn", "matplotlib", "rich"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for word in ("train", "verify", "predict", "info", "--resume", "--overwrite", "--set", "--output", "--data"):
        assert word in done.stdout


def test_info_lists_versions_and_choices(call) -> None:
    """Fails if `info` ends with an error, or leaves out a library, an activation, a scheme, a loss or an optimizer's
    method."""
    outcome = call("info")
    assert outcome.status == 0
    for word in ("dolfinx", "petsc", "tanh", "rk4", "tracking", "blmvm"):
        assert word in outcome.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], "error: no such command 'trian'; did you mean 'train'?"),
        (["train"], "error: missing argument 'CASE.toml'"),
        (["--nonsense"], "error: no such option: --nonsense"),
        (["predict", "."], "error: missing option '--data'"),
        (["train", "case.toml", "--starts", "x"], "error: invalid value for '--starts'"),
    ],
)
def test_usage_errors_have_status_2(call, arguments: list[str], words: str) -> None:
    """Fails if an unknown command, an unknown option or a missing argument ends with another status than 2, in another
    form than all other errors, or without a word on how the command is called."""
    outcome = call(*arguments)
    assert outcome.status == 2
    assert outcome.err.startswith(words) and "Error" not in outcome.err
    assert "\nusage: fem-selection" in outcome.err and "--help`" in outcome.err


# ── faulty cases ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_faults_at_once(call, here: Path) -> None:
    """Fails if the first fault hides the others, if faults of the file and of `--set` are told apart, or if a folder is
    made for a case that is wrong."""
    (here / "bad.toml").write_text(
        'sed = 1\n[dynamics]\nlayer = 3\nhorizon = "long"\n[space]\ndegree = 9\n[data]\nfile = "missing.npz"\n'
    )
    outcome = call("train", "bad.toml", "--set", "optimizer.methd=cg", "--set", "broken")
    assert outcome.status == 2
    for words in (
        "7 faults",
        "did you mean seed?",
        "did you mean dynamics.layers?",
        "dynamics.horizon: must be a number",
        "space.degree: must be in [0, 6], got 9",
        "did you mean optimizer.method?",
        "broken: malformed override",
        "missing.npz",
    ):
        assert words in outcome.err, outcome.err
    assert not (here / "runs").exists()


def test_missing_files_are_named(call, here: Path) -> None:
    """Fails if the message on a case or data file that does not exist lacks its path."""
    assert "nowhere.toml" in call("train", "nowhere.toml").err
    outcome = call("train", "small.toml", "--set", "data.file=missing.npz")
    assert outcome.status == 2
    assert str(here / "missing.npz") in outcome.err


def test_a_faulty_case_is_found_before_finite_elements_are_loaded(here: Path) -> None:
    """Fails if `train` imports dolfinx before it reads the case."""
    code = """
import sys
from fem_selection.cli.app import run
try:
    run()
finally:
    assert "dolfinx" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "small.toml", "--set", "seed=x"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, "seed: must be an integer" in done.stderr) == (2, True), done.stderr


def test_nan_in_the_data_is_refused(call, here: Path) -> None:
    """Fails if one NaN among the inputs is trained on, or is refused without the file and the number of the sample."""
    with np.load("small.npz") as held:
        x, y = held["x"].copy(), held["y"]
    x[7, 3] = np.nan
    np.savez("small.npz", x=x, y=y)
    outcome = call("train", "small.toml", "--output", "r")
    assert outcome.status == 2
    assert "sample 7" in outcome.err and "small.npz" in outcome.err


def test_data_that_do_not_fit_the_loss_are_refused(call, here: Path) -> None:
    """Fails if numbers pass for labels or labels for functions, or if the message lacks objective.loss."""
    for name, loss in (("numbers", "softmax"), ("small", "tracking")):
        outcome = call("train", f"{name}.toml", "--output", name, "--set", f"objective.loss={loss}")
        assert outcome.status == 2
        assert "objective.loss" in outcome.err


# ── train ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_leaves_everything(call, here: Path) -> None:
    """Fails if a run leaves out a file, a figure, a row of a history or a key of the report, if report and history
    disagree, or if the case in the folder reads back as another one."""
    switches = ("output.figures=true", "output.fields=true", "stochastic.epochs=2", "stochastic.validation=0.2")
    outcome = call("train", "small.toml", "--output", "r", *with_settings(*switches))
    assert outcome.status == 0, outcome.err
    report = read_report(here / "r")
    assert outcome.out.strip().splitlines()[-1] == f"test accuracy {report['test_accuracy']:.4f}"
    assert not REPORT_KEYS - set(report)
    assert report["reason"] == "the iteration limit was reached"
    assert (report["iterations"], report["ranks"], report["resumed_from_iteration"]) == (4, 1, None)
    assert (report["samples_per_rank"], report["rows_per_rank"]) == ([30], [9])
    assert report["stochastic"]["epochs"] == 2
    assert {"dolfinx", "petsc", "numpy", "python", "fem_selection"} <= set(report["versions"])
    assert report["certificate"]["taylor_order"] == pytest.approx(2, abs=0.05)
    assert report["certificate"]["adjoint_identity_error"] < 1e-12
    history = read_columns(here / "r" / "history.csv")
    assert history["iteration"].tolist() == [0, 1, 2, 3, 4]
    assert history["objective"][-1] == report["objective"]
    assert read_columns(here / "r" / "stochastic.csv")["epoch"].tolist() == [1, 2]
    figures = {p.name for p in (here / "r" / "figures").iterdir() if p.stat().st_size > 5000}
    assert figures == {"convergence.png", "confusion.png", "states.png", "controls.png"}
    assert (here / "r" / "states.bp").exists() or (here / "r" / "states.xdmf").exists()
    case = load_case(here / "small.toml", list(switches))
    assert load_case(here / "r" / "case.toml") == case
    assert not list((here / "r").glob("*.partial"))


def test_hessian_actions_are_counted(call, here: Path) -> None:
    """Fails if a resumed run counts from zero again, or if a method without Hessian actions speaks of them."""
    first = call("train", "small.toml", "--output", "r", "--set", "optimizer.method=nls")
    assert first.status == 0, first.err
    before = read_report(here / "r")
    assert f", {before['hessian_actions']:.0f} Hessian actions" in first.out and before["hessian_actions"] >= 4
    more = ("--resume", "--set", "optimizer.method=nls", "--set", "optimizer.max_iterations=6")
    assert call("train", "small.toml", "--output", "r", *more).status == 0
    after = read_report(here / "r")
    assert after["iterations"] == 6
    for name in ("forward_sweeps", "adjoint_sweeps", "hessian_actions"):
        assert after[name] >= before[name] + 2
    plain = call("train", "small.toml", "--output", "s")
    assert "Hessian" not in plain.out and read_report(here / "s")["hessian_actions"] == 0


@pytest.mark.parametrize(("name", "last"), [("numbers", "test cost"), ("signals", "test cost")])
def test_regression_and_tracking_end_with_a_cost(call, here: Path, name: str, last: str) -> None:
    """Fails if regression or tracking is given an accuracy, or if the last line printed is not the cost on the test
    part."""
    outcome = call("train", f"{name}.toml", "--output", "r")
    assert outcome.status == 0, outcome.err
    report = read_report(here / "r")
    assert report["test_accuracy"] is None and report["test_cost"] > 0
    assert outcome.out.strip().splitlines()[-1] == f"{last} {report['test_cost']:.6g}"


def test_one_sample_without_a_test_part(call, here: Path) -> None:
    """Fails if the split refuses a single sample, or if the last line speaks of a test part that is not there."""
    np.savez("signals.npz", x=np.ones((1, 9)), y=np.zeros((1, 9)))
    outcome = call("train", "signals.toml", "--output", "r", "--set", "data.test_fraction=0.0")
    assert outcome.status == 0, outcome.err
    assert outcome.out.strip().splitlines()[-1].startswith("objective ")


@pytest.mark.parametrize(
    "switches",
    [
        ("space.family=dg", "space.degree=0"),
        ("space.family=dg", "space.degree=2", "space.mode=galerkin"),
        ("domain.cells=1", "dynamics.layers=1"),
        ("objective.loss=logistic", "data.standardize=true"),
        ("stochastic.epochs=2", "stochastic.batch=1000", "optimizer.max_iterations=0"),
        ("optimizer.method=bqnls", "objective.kernel_bounds=[-0.1, 0.1]"),
        ("title=[bold]brackets[/nonsense]",),
    ],
)
def test_odd_cases_run(call, here: Path, switches: tuple[str, ...]) -> None:
    """Fails if constant elements, a single cell and layer, a batch larger than the data, or brackets in a title or
    path, which rich reads as markup, end the run."""
    outcome = call("train", "small.toml", "--output", "[/r] ü", *with_settings(*switches))
    assert outcome.status == 0, outcome.err
    assert (here / "[/r] ü" / "report.json").exists()


def test_class_names_of_any_kind_can_be_drawn(call, here: Path) -> None:
    """Fails if a slash, a dollar sign, a control character, half a surrogate pair or nothing as a class name breaks the
    text of a figure, the name of a field, the report or the checkpoint."""
    names = np.array(["a/b $x_", "", "{$", "é\n\x1b[1m\\", "\ud800"])
    with np.load("small.npz") as held:
        np.savez("small.npz", x=held["x"], y=names[np.arange(40) % 5])
    outcome = call(
        "train", "small.toml", "--output", "r", "--set", "output.figures=true", "--set", "output.fields=true"
    )
    assert outcome.status == 0, outcome.err
    assert "could not be drawn" not in outcome.err
    assert call("predict", "r", "--data", "small.npz").status == 0
    with np.load("r/predictions.npz") as found:
        assert set(found["labels"].tolist()) <= set(names.tolist())


def test_a_fresh_numbered_folder_without_output(call, here: Path) -> None:
    """Fails if a second run without `--output` goes into the folder of the first."""
    for number in ("0001", "0002"):
        assert call("train", "small.toml", "--set", "optimizer.max_iterations=0").status == 0
        assert (here / "runs" / number / "report.json").exists()


def test_a_folder_with_a_run_is_refused_and_can_be_replaced(call, here: Path) -> None:
    """Fails if a run is replaced without `--overwrite`, if `--resume` is taken beside it, or if replacing keeps rows of
    the old history or removes a file that is no run's."""
    assert call("train", "small.toml", "--output", "r").status == 0
    (here / "r" / "notes.txt").write_text("mine")
    before = (here / "r" / "report.json").read_text()
    outcome = call("train", "small.toml", "--output", "r")
    assert outcome.status == 2
    assert "--resume" in outcome.err and "--overwrite" in outcome.err
    assert (here / "r" / "report.json").read_text() == before
    assert call("train", "small.toml", "--output", "r", "--resume", "--overwrite").status == 2
    outcome = call("train", "small.toml", "--output", "r", "--overwrite", "--set", "optimizer.max_iterations=1")
    assert outcome.status == 0
    assert read_report(here / "r")["iterations"] == 1
    assert read_columns(here / "r" / "history.csv")["iteration"].tolist() == [0, 1]
    assert (here / "r" / "notes.txt").read_text() == "mine"


def test_folders_that_cannot_be_made_are_refused(call, here: Path) -> None:
    """Fails if an output folder in place of a file, below one or with too long a name ends in a traceback."""
    (here / "file").write_text("")
    for folder in ("file", "file/below", "x" * 300, "/dev/null/x"):
        outcome = call("train", "small.toml", "--output", folder)
        assert (outcome.status, "Traceback" in outcome.err) == (2, False), outcome.err
    assert call("train", "small.toml", "--set", "output.directory=file").status == 2
    assert call("verify", "small.toml", "--output", "file/below").status == 2


def test_resuming_a_finished_run(call, here: Path) -> None:
    """Fails if a finished run is trained again, or if, with a higher limit, it goes on with a gap in its history or
    leaves the old case in the folder."""
    assert call("train", "small.toml", "--output", "r").status == 0
    first = read_report(here / "r")
    assert call("train", "small.toml", "--output", "r", "--resume").status == 0
    again = read_report(here / "r")
    assert (again["objective"], again["iterations"]) == (first["objective"], 4)
    assert again["resumed_from_iteration"] == 4
    more = ("--resume", "--set", "optimizer.max_iterations=9")
    assert call("train", "small.toml", "--output", "r", *more).status == 0
    assert read_report(here / "r")["iterations"] == 9
    assert read_columns(here / "r" / "history.csv")["iteration"].tolist() == list(range(10))
    assert load_case(here / "r" / "case.toml").optimizer.max_iterations == 9


@pytest.mark.parametrize(
    ("switch", "words"),
    [
        ("dynamics.layers=5", "dynamics.layers was 3 and is 5"),
        ("seed=3", "seed was 0 and is 3"),
        ("dynamics.activation=relu", "dynamics.activation was 'tanh' and is 'relu'"),
        ("optimizer.memory=3", "optimizer.memory was"),
        ("data.standardize=true", "data.standardize was False and is True"),
    ],
)
def test_a_checkpoint_of_another_problem_is_refused_by_key(call, here: Path, switch: str, words: str) -> None:
    """Fails if `--resume` goes on under changed settings, if the message lacks the key with both values, or if the case
    in the folder is replaced before the refusal."""
    assert call("train", "small.toml", "--output", "r", "--set", "optimizer.max_iterations=0").status == 0
    before = (here / "r" / "case.toml").read_text()
    outcome = call("train", "small.toml", "--output", "r", "--resume", "--set", switch)
    assert outcome.status == 2
    assert words in outcome.err and "checkpoint" in outcome.err
    assert (here / "r" / "case.toml").read_text() == before


def test_resume_needs_something_to_resume(call, here: Path) -> None:
    """Fails if `--resume` without a folder, or with one that does not exist, begins a new run."""
    assert call("train", "small.toml", "--resume").status == 2
    outcome = call("train", "small.toml", "--resume", "--output", "nothing")
    assert (outcome.status, "nothing" in outcome.err) == (2, True)


# ── divergence ────────────────────────────────────────────────────────────────────────────────────────────────────────

HUGE = ("dynamics.activation=identity", "dynamics.kernel=exp(700)")
ABSURD = ("dynamics.activation=relu", "stochastic.epochs=9", "stochastic.batch=5", "stochastic.rate=1e200")


# without regularization only the first of a member's ranks sees that the objective is not finite
UNSEEN = (
    *ABSURD,
    "data.file=numbers.npz",
    "objective.loss=least_squares",
    *(f"regularization.{part}=0.0" for part in ("kernel", "bias", "readout")),
)


def test_a_start_that_overflows(call, here: Path) -> None:
    """Fails if states that overflow in the first sweep end the run with another status than 3, without layer and
    iteration, or with a report."""
    outcome = call("train", "small.toml", "--output", "r", *with_settings(*HUGE))
    assert outcome.status == 3
    assert "layer 2 in iteration 0" in outcome.err
    assert not (here / "r" / "report.json").exists()


def test_a_diverging_stochastic_phase(call, here: Path) -> None:
    """Fails if the step that diverged is not named, or if the checkpoint holds an iterate whose objective is not
    finite."""
    from fem_selection.cases.learning import build_problem

    outcome = call("train", "small.toml", "--output", "r", *with_settings(*ABSURD))
    assert outcome.status == 3
    assert "layer" in outcome.err and "in iteration 2" in outcome.err
    problem = build_problem(load_case(here / "r" / "case.toml"))
    controls = problem.functional.control_space
    state, vectors = read_checkpoint(
        here / "r" / "checkpoint", problem.ensemble, controls.indices, global_size=controls.global_size
    )
    assert state["phase"] == "stochastic"
    assert np.isfinite(problem.scaled_functional.evaluate(vectors["best"])[0])


def test_a_diverging_optimizer(call, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a non-finite objective inside TAO loses its layer or iteration, or if the run cannot go on from its last
    row."""
    from fem_selection.errors import NonFinite
    from fem_selection.learning import Functional

    evaluate, calls = Functional.evaluate, []

    def overflow_later(self: Functional, shard: np.ndarray) -> tuple[float, np.ndarray]:
        calls.append(1)
        if len(calls) > 6:
            raise NonFinite("the objective", layer=2)
        return evaluate(self, shard)

    monkeypatch.setattr(Functional, "evaluate", overflow_later)
    outcome = call("train", "small.toml", "--output", "r", "--set", "optimizer.max_iterations=50")
    assert outcome.status == 3
    last = int(read_columns(here / "r" / "history.csv")["iteration"][-1])
    assert last > 1 and f"layer 2 in iteration {last}" in outcome.err  # it has a row, with a step of length zero
    monkeypatch.undo()
    monkeypatch.chdir(here)
    more = ("--resume", "--set", f"optimizer.max_iterations={last + 2}")
    assert call("train", "small.toml", "--output", "r", *more).status == 0
    assert read_report(here / "r")["resumed_from_iteration"] == last


@pytest.mark.parametrize(
    ("switches", "status", "message"),
    [
        pytest.param(("parallel.space=2", *UNSEEN), 3, "in iteration 2", marks=pytest.mark.slow),
        (("seed=x", "a=1"), 2, "2 faults"),
    ],
)
@pytest.mark.usefixtures("run_mpi")
def test_exit_status_under_mpi(here: Path, switches: tuple[str, ...], status: int, message: str) -> None:
    """Fails if the launcher does not pass the status on, if two ranks tell the error, or if one rank waits for
    another."""
    words = ["train", "small.toml", "--output", "r", *with_settings(*switches)]
    done = launch(2, "-c", PROGRAM, *words, timeout=60)
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stderr.count(message) == 1, done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_inside_a_library(call, here: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int) -> None:
    """PETSc calls back, the signal's exception ends the callback, and the library's own error comes out.

    Fails if that one is shown as a crash, or the status is another than the shell's.
    """
    from fem_selection.studies import gradient

    def verify_gradient(*_: object) -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        except BaseException as error:
            raise SystemError("a callback returned a result with an exception set") from error

    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    monkeypatch.setattr(gradient, "verify_gradient", verify_gradient)
    try:
        outcome = call("verify", "small.toml")
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
    assert outcome.status == status and outcome.err == ""


def test_a_regression_is_validated_by_its_cost(call, here: Path) -> None:
    """Fails if the cost of the validation part stands as an accuracy in the history, or with the other sign."""
    settings = with_settings("stochastic.epochs=3", "stochastic.validation=0.3", "stochastic.rate=0.002")
    outcome = call("train", "numbers.toml", "--output", "r", *settings)
    assert outcome.status == 0, outcome.err
    history = read_columns(here / "r" / "stochastic.csv")
    assert list(history) == ["epoch", "objective", "rate", "validation_cost"]
    assert (history["validation_cost"] > 0).all()
    assert outcome.report["stochastic"]["best_epoch"] == 1 + np.argmin(history["validation_cost"])


def test_figures_of_the_run_that_is_replaced(call, here: Path) -> None:
    """Fails if a figure of the earlier run, of local coefficients, passes for one of a run that has none."""
    local = with_settings("dynamics.representation=['local']", "output.figures=true")
    assert call("train", "small.toml", "--output", "r", *local).status == 0
    assert (here / "r" / "figures" / "coefficients.png").exists()
    again = call("train", "small.toml", "--output", "r", "--overwrite", *with_settings("output.figures=true"))
    assert again.status == 0
    assert not (here / "r" / "figures" / "coefficients.png").exists()
    assert (here / "r" / "figures" / "controls.png").exists()


# ── predict and verify ────────────────────────────────────────────────────────────────────────────────────────────────


def split_of(here: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of the test part, split as the case says."""
    from fem_selection import data

    held = data.load_npz(here / f"{name}.npz", None, 1)
    found = data.split_samples(held.samples, 0.25, 0).test
    assert found is not None
    names = np.array(held.samples.classes)
    return found.inputs, names[found.targets] if len(names) else found.targets


@pytest.mark.parametrize("standardize", ["false", "true"])
def test_predict_reproduces_the_test_accuracy(call, here: Path, standardize: str) -> None:
    """Fails if `predict` standardizes by other numbers than the training did, names other classes, or claims an
    accuracy where there are no labels."""
    settings = ("--set", "optimizer.max_iterations=1", "--set", f"data.standardize={standardize}")
    assert call("train", "small.toml", "--output", "r", *settings).status == 0
    x, y = split_of(here, "small")
    np.savez("new.npz", x=x, y=y)
    outcome = call("predict", "r", "--data", "new.npz")
    assert outcome.status == 0, outcome.err
    accuracy = read_report(here / "r")["test_accuracy"]
    assert 0 < accuracy < 1, "this run tests nothing"
    assert f"accuracy {accuracy:.4f} on {len(y)} samples" in outcome.out
    with np.load(here / "r" / "predictions.npz", allow_pickle=False) as found:
        assert found["outputs"].shape == (len(y), 3)
        assert np.mean(found["labels"] == y) == accuracy
    # without labels there is nothing to compare with
    np.savez("new.npz", x=x)
    outcome = call("predict", "r", "--data", "new.npz", "--output", "elsewhere")
    assert (outcome.status, "accuracy" in outcome.out, Path("elsewhere.npz").exists()) == (0, False, True)


def test_predict_reproduces_the_tracking_cost(call, here: Path) -> None:
    """Fails if predicted functions are not the final states at the nodes, in the order of the data: their distance from
    the targets, by the trapezoidal rule, is the report's cost."""
    assert call("train", "signals.toml", "--output", "r").status == 0
    x, y = split_of(here, "signals")
    np.savez("new.npz", x=x)
    assert call("predict", "r", "--data", "new.npz").status == 0
    with np.load(here / "r" / "predictions.npz") as found:
        outputs = found["outputs"]
    weights = np.full(9, 1 / 8)
    weights[[0, -1]] /= 2  # the trapezoidal rule is the inner product of the collocated interval
    cost = 0.5 * np.mean(((outputs - y) ** 2) @ weights)
    assert cost == pytest.approx(read_report(here / "r")["test_cost"], rel=1e-12)


def test_predict_names_what_does_not_fit(call, here: Path) -> None:
    """Fails if a missing run, data that are missing, foreign or not finite, an output that cannot be written or a case
    changed by hand is predicted from, or is refused without its name."""
    assert call("train", "small.toml", "--output", "r").status == 0
    np.savez("nan.npz", x=np.full((2, 9), np.nan))
    np.savez("short.npz", x=np.ones((4, 9)), y=np.arange(3))
    for arguments, words in (
        (["nowhere", "--data", "small.npz"], "nowhere"),
        (["r", "--data", "nothing.npz"], "nothing.npz"),
        (["r", "--data", "small.toml"], "small.toml"),
        (["r", "--data", "nan.npz"], "NaN"),
        (["r", "--data", "short.npz"], "3 labels for 4 inputs"),
        (["r", "--data", "small.npz", "--output", "/dev/null/x"], "/dev/null/x"),
    ):
        outcome = call("predict", *arguments)
        assert (outcome.status, words in outcome.err, "Traceback" in outcome.err) == (2, True, False), outcome.err
    # a case that was changed by hand does not fit its checkpoint
    text = (here / "r" / "case.toml").read_text()
    (here / "r" / "case.toml").write_text(text.replace("horizon = 1.0", "horizon = 2.0"))
    outcome = call("predict", "r", "--data", "small.npz")
    assert (outcome.status, "dynamics.horizon was 1.0 and is 2.0" in outcome.err) == (2, True), outcome.err


def test_verify_passes(call, here: Path) -> None:
    """Fails if the derivatives of a sound case do not pass, or if verify.json is missing, in the folder named or in a
    numbered one."""
    outcome = call("verify", "small.toml", "--output", "v")
    assert outcome.status == 0
    found = json.loads((here / "v" / "verify.json").read_text())
    assert found["passed"] is True
    assert found["taylor_order"] == pytest.approx(2, abs=0.05)
    assert found["adjoint_identity_error"] < 1e-12
    assert "Taylor order" in outcome.out and "passed" in outcome.out
    assert call("verify", "small.toml").status == 0
    assert (here / "runs" / "0001" / "verify.json").exists()


@pytest.mark.parametrize("fault", ["gradient", "adjoint"])
def test_verify_finds_a_wrong_adjoint(call, here: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Fails if `verify` passes a factor of 1 + 1e-3 in the sweep back, or sees it in the other of its two numbers.

    The factor is in the functional's derivative, or where the adjoint identity is measured.
    """
    name = {"gradient": "fem_selection.learning.functional", "adjoint": "fem_selection.learning.verification"}[fault]
    module = importlib.import_module(name)
    sweep = module.sweep_back

    def wrong(stepper, tape, dual, *more, **options):
        return sweep(stepper, tape, 1.001 * dual, *more, **options)

    monkeypatch.setattr(module, "sweep_back", wrong)
    outcome = call("verify", "small.toml", "--output", "v")
    assert outcome.status == 4
    found = json.loads((here / "v" / "verify.json").read_text())
    assert found["passed"] is False
    assert (found["taylor_order"] < 1.9, found["adjoint_identity_error"] > 1e-10) == (
        fault == "gradient",
        fault == "adjoint",
    )
    assert "FAILED" in outcome.out


PONTRYAGIN = ("--set", "regularization.kernel=0.1", "--set", "regularization.bias=0.1")


@pytest.mark.parametrize("method", ["msa", "damped_msa", "sqh"])
def test_training_by_the_maximum_principle(call, here: Path, method: str) -> None:
    """Fails if a method of Pontryagin cannot be chosen in a case, or does not leave gap and drift in the history."""
    outcome = call("train", "small.toml", "--output", here / "run", "--set", f"optimizer.method={method}", *PONTRYAGIN)
    assert outcome.status == 0, outcome.err
    history = read_columns(here / "run" / "history.csv")
    assert np.isfinite(history["maximum_principle_gap"]).all() and np.isfinite(history["hamiltonian_drift"]).all()
    assert read_report(here / "run")["iterations"] == 4


@pytest.mark.parametrize(
    ("switch", "key"),
    [
        ("space.mode=galerkin", "space.mode"),
        ("dynamics.control_intervals=1", "one control per layer"),
        ("regularization.kernel_depth=1.0", "regularization.kernel_depth"),
        ("regularization.bias=0.0", "regularization.bias"),
        ('objective.controls=["readout"]', "the kernel or the bias"),
        ("objective.readout_bounds=[-1.0,1.0]", "objective.readout_bounds"),
    ],
)
def test_what_the_maximum_principle_needs_is_named(call, here: Path, switch: str, key: str) -> None:
    """Fails if a case that the principle does not cover runs, or is refused without the key."""
    outcome = call(
        "train",
        "small.toml",
        "--output",
        here / "run",
        "--set",
        "optimizer.method=sqh",
        *PONTRYAGIN,
        "--set",
        switch,
    )
    assert outcome.status == 2
    assert key in outcome.err


def test_certify_leaves_its_certificate(call, here: Path) -> None:
    """Fails if a key of the certificate is missing, or a trained run cannot be certified."""
    assert call("train", "small.toml", "--output", here / "run").status == 0
    outcome = call("certify", here / "run", "--starts", 3)
    assert outcome.status == 0, outcome.err
    found = json.loads((here / "run" / "certificate.json").read_text())
    names = {"gradient_norm", "kkt_residual", "maximum_principle_gap", "maximum_principle_starts", "hamiltonian_drift"}
    assert names | {"kernel_rank", "lowest_hessian_eigenvalue"} <= set(found)
    assert set(found["declined"]) == {"kernel_rank_bound"}
    assert found["maximum_principle_starts"] == 3 and len(found["kernel_rank"]) == 3
    assert found["gradient_norm"] == pytest.approx(found["kkt_residual"])
    assert (here / "run" / "figures" / "certificate.png").stat().st_size > 1000
    assert "not optimal" in outcome.out  # after four iterations


def test_several_starts_are_listed(call, here: Path) -> None:
    """Fails if a start of the training is not listed, or another than the best is kept or certified."""
    outcome = call("train", "small.toml", "--output", here / "run", "--starts", 3)
    assert outcome.status == 0, outcome.err
    ends = [end["objective"] for end in outcome.report["starts"]]
    assert len(ends) == 3 and outcome.report["objective"] == min(ends)
    assert all(f"{end:.8g}" in outcome.out for end in ends)
    asked = call("certify", here / "run", "--starts", 1, "--starts-of-training", 2)
    assert asked.status == 0, asked.err
    found = json.loads((here / "run" / "certificate.json").read_text())
    assert found["objective"] == pytest.approx(min(ends), rel=1e-12) and len(found["trainings"]) == 2
    assert f"{found['trainings'][1]['objective']:.8g}" in asked.out and found["conclusion"] in asked.out


def test_certify_declines_by_name(call, here: Path) -> None:
    """Fails if a box or an H¹ term is passed over, or ends the command."""
    box = ("--set", "optimizer.method=blmvm", "--set", "objective.kernel_bounds=[-1.0, 1.0]")
    assert call("train", "small.toml", "--output", here / "box", *box).status == 0
    outcome = call("certify", here / "box")
    assert outcome.status == 0 and "declined: a box" in " ".join(outcome.out.split())
    assert call("train", "small.toml", "--output", here / "h1", "--set", "regularization.bias_depth=0.1").status == 0
    outcome = call("certify", here / "h1")
    assert outcome.status == 0
    found = json.loads((here / "h1" / "certificate.json").read_text())
    assert found["maximum_principle_gap"] is None and "H¹" in found["declined"]["maximum_principle_gap"]
    assert found["lowest_hessian_eigenvalue"] is not None


def test_certify_refuses_what_is_no_run(call, here: Path) -> None:
    """Fails if a folder without a run ends `certify` with a traceback instead of a sentence."""
    outcome = call("certify", here)
    assert outcome.status == 2 and "no case.toml" in outcome.err


def test_the_gap_that_gradients_do_not_see(call, here: Path) -> None:
    """Fails if the demo's stationary point loses its gap: gradient below 1e-7, gap above 0.03."""
    demo = Path(__file__).parents[2] / "demos" / "gap.toml"
    assert call("train", demo, "--output", here / "gap", "--set", "output.figures=false").status == 0
    assert call("certify", here / "gap").status == 0
    found = json.loads((here / "gap" / "certificate.json").read_text())
    assert found["gradient_norm"] <= 1e-7
    assert found["maximum_principle_gap"] >= 0.03
    assert found["lowest_hessian_eigenvalue"] > 0
