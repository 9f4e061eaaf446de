# SPDX-License-Identifier: MIT
"""Every demo runs, on one rank and where it matters on several, and shows what it says it shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-c", "from fem_selection.cli import main; main()"]


def train(case: str, folder: Path, *settings: str, ranks: int = 1) -> dict:
    """Train a demo in a folder and return its report."""
    command = [*PROGRAM, "train", str(ROOT / "demos" / case), "--output", str(folder)]
    for setting in settings:
        command += ["--set", setting]
    if ranks > 1:
        command = [str(Path(sys.executable).parent / "mpiexec"), "-n", str(ranks), *command]
    environment = {"UCX_NET_DEVICES": "lo", **os.environ}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "report.json").read_text())


def test_first_steps(tmp_path: Path) -> None:
    """The literate demo asserts its own number; a wrong gradient or metric changes it."""
    script = str(ROOT / "demos" / "first_steps.py")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "first_steps.png").stat().st_size > 10_000


def test_first_steps_on_three_ranks(tmp_path: Path) -> None:
    """The same number on three ranks: a share of the samples that is lost or counted twice shows here."""
    mpiexec = Path(sys.executable).parent / "mpiexec"
    if not mpiexec.exists():
        pytest.skip("no mpiexec beside this interpreter")
    command = [str(mpiexec), "-n", "3", sys.executable, str(ROOT / "demos" / "first_steps.py")]
    environment = {"UCX_NET_DEVICES": "lo", **os.environ}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_digits(tmp_path: Path) -> None:
    """The main job, as the README gives it: the accuracy that the case was chosen for, and every figure."""
    report = train("digits.toml", tmp_path / "run", "output.fields=false")
    assert report["test_accuracy"] >= 0.98
    assert report["certificate"]["taylor_order"] == pytest.approx(2.0, abs=0.05)
    assert report["certificate"]["adjoint_identity_error"] < 1e-12
    figures = {p.name for p in (tmp_path / "run" / "figures").iterdir()}
    assert figures == {"convergence.png", "states.png", "controls.png", "confusion.png"}


def test_digits_in_galerkin_mode(tmp_path: Path) -> None:
    """Galerkin mode learns the digits too; a few epochs are enough to see it."""
    short = ("space.mode=galerkin", "stochastic.epochs=40", "output.figures=false")
    report = train("digits.toml", tmp_path / "run", *short, "output.fields=false")
    assert report["test_accuracy"] >= 0.95


def test_digits_optimal_descends(tmp_path: Path) -> None:
    """The deterministic case on two ranks: 40 iterations bring the objective from log 10 below 1.5."""
    short = ("optimizer.max_iterations=40", "output.figures=false", "output.fields=false")
    report = train("digits_optimal.toml", tmp_path / "run", *short, ranks=2)
    assert report["iterations"] == 40
    assert report["objective"] < 1.5
    assert report["ranks"] == 2 and sum(report["samples_per_rank"]) == 1437


def test_tracking(tmp_path: Path) -> None:
    """Functions steered to functions: the bumps arrive, so that the data term falls far below its first value."""
    report = train("tracking.toml", tmp_path / "run", "optimizer.max_iterations=100", "output.fields=false")
    assert report["train_cost"] < 0.004
    assert {p.name for p in (tmp_path / "run" / "figures").iterdir()} == {
        "convergence.png",
        "states.png",
        "controls.png",
    }
