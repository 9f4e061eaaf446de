# SPDX-License-Identifier: MIT
"""The image that the Dockerfile describes, built and run: `uv run pytest -m container`.

Fails if the image misses something at run time, if a run has to compile a form of the demos, if the volume of runs
cannot be written or a killed run not be resumed upon it, if MPI does not start inside, or if it runs as root.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import Buildah, Docker, NoEngine, call, checked, find_engine

ROOT = Path(__file__).resolve().parents[2]
TAG = "fem-selection:test"
NO_COMPILER = {"CC": "/bin/false"}
SHORT = ("--set", "output.fields=false")

pytestmark = pytest.mark.container


@pytest.fixture(scope="module")
def engine() -> Iterator[Docker | Buildah]:
    """The engine with the image built."""
    try:
        found = find_engine()
        began = time.monotonic()
        found.build(ROOT, TAG)
    except NoEngine as reason:
        pytest.skip(f"no container can be built here: {reason}")
    print(f"\nbuilt by {type(found).__name__} in {time.monotonic() - began:.0f} s: {found.size(TAG) / 1e6:.0f} MB")
    try:
        yield found
    finally:
        found.clean(TAG)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder that the image's user may write to, as one on a host has to be."""
    folder = tmp_path / "runs"
    folder.mkdir()
    folder.chmod(0o777)
    tmp_path.chmod(0o755)
    return folder


def test_the_main_job_needs_no_compiler(engine: Docker | Buildah, runs: Path) -> None:
    """As the README gives it; fails if a form is not in the image's cache, for there is no compiler, or if a file
    belongs to root."""
    words = ("train", "demos/digits.toml", "--output", "runs/digits")
    text = checked(engine.run(TAG, words, runs, NO_COMPILER))
    assert float(text.split()[-1]) >= 0.98 and "test accuracy" in text
    report = json.loads((runs / "digits" / "report.json").read_text())
    assert report["test_accuracy"] >= 0.98 and report["ranks"] == 1
    assert len(list((runs / "digits" / "figures").iterdir())) == 4
    assert (runs / "digits" / "report.json").stat().st_uid != 0


def test_the_plain_tests_pass_inside(engine: Docker | Buildah, runs: Path) -> None:
    """The plain tests, beside the image's own package: it holds neither them nor pytest, and its Python is another.

    Fails if the package in the image lacks a file or a library, or knows another version of Python than it runs on.
    """
    installer = shutil.which(os.environ.get("UV", "uv"))
    if installer is None:
        pytest.skip("pytest is brought into the container by uv, which is not here")
    python = checked(engine.run(TAG, ["-c", "import sys; print('%d.%d' % sys.version_info[:2])"], runs, {}, "python3"))
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["test"]
    site, clone = runs / "site", runs / "clone"
    install = [installer, "pip", "install", "--quiet", "--python-version", python.strip()]
    checked(call(*install, "--only-binary", ":all:", "--target", site, *wanted, timeout=600))
    clone.mkdir()
    for name in ("tests", "demos", "meshes"):
        shutil.copytree(ROOT / name, clone / name)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, clone)
    for path in (clone, *clone.rglob("*")):
        path.chmod(0o777)
    script = "cd runs/clone && python3 -m pytest -p no:cacheprovider --tb=short"
    text = checked(engine.run(TAG, ["-c", script], runs, {"PYTHONPATH": "/selection/runs/site"}, "sh", timeout=3000))
    last = text.splitlines()[-1]
    print(last)
    passed = re.search(r"(\d+) passed", last)
    assert passed is not None and int(passed[1]) > 2000, last


def test_two_ranks_give_the_numbers_of_one(engine: Docker | Buildah, runs: Path) -> None:
    """Fails if MPI does not start inside the image, or if two ranks give other numbers than one."""
    words = ["demos/digits_optimal.toml", "--set", "optimizer.max_iterations=5", *SHORT, "--output"]
    checked(engine.run(TAG, ["train", *words, "runs/one"], runs, NO_COMPILER))
    checked(engine.run(TAG, ["-n", "2", "fem-selection", "train", *words, "runs/two"], runs, NO_COMPILER, "mpiexec"))
    one, two = (json.loads((runs / n / "report.json").read_text()) for n in ("one", "two"))
    assert two["ranks"] == 2 and sum(two["samples_per_rank"]) == 1437
    assert two["objective"] == pytest.approx(one["objective"], rel=1e-8)


def test_resume_after_a_kill(engine: Docker | Buildah, runs: Path) -> None:
    """Fails if a run that is killed in one container cannot be resumed in another upon the same volume."""
    words = f"demos/digits_optimal.toml --set optimizer.max_iterations=60 {' '.join(SHORT)} --output runs"
    checked(engine.run(TAG, ["train", *words.split()[:-1], "runs/whole"], runs, {}))
    # a shell in the container starts the run and kills it once its history has twenty lines
    script = f"""
        fem-selection train {words}/killed & run=$!
        until [ "$(wc -l < runs/killed/history.csv)" -gt 20 ]; do sleep 0.05; kill -0 $run || exit 3; done 2>/dev/null
        kill -KILL $run; wait $run; test $? -eq 137
    """
    checked(engine.run(TAG, ["-c", script], runs, {}, "sh"))
    assert not (runs / "killed" / "report.json").exists()
    checked(engine.run(TAG, ["train", *words.split()[:-1], "runs/killed", "--resume"], runs, NO_COMPILER))
    whole, killed = (json.loads((runs / n / "report.json").read_text()) for n in ("whole", "killed"))
    assert killed["resumed_from_iteration"] > 0 and killed["iterations"] == whole["iterations"] == 60
    assert killed["objective"] == pytest.approx(whole["objective"], rel=1e-8)


def test_a_form_that_is_not_in_the_cache(engine: Docker | Buildah, runs: Path) -> None:
    """Fails if the compiler of the image does not work for its user: elements of degree 3 in Galerkin mode are in no
    demo."""
    words = ["verify", "demos/digits.toml", "--set", "space.mode=galerkin", "--set", "space.degree=3"]
    checked(engine.run(TAG, [*words, "--set", "domain.cells=[3,3]", "--output", "runs/verify"], runs, {}))
    assert json.loads((runs / "verify" / "verify.json").read_text())["taylor_order"] == pytest.approx(2, abs=0.05)


def test_user_and_folder(engine: Docker | Buildah, runs: Path) -> None:
    """Fails if the container runs as root, if the demos are not in the working directory, or if a program is not on the
    path."""
    script = "id -u; pwd; ls demos/digits.toml meshes/disk.msh; command -v fem-selection; command -v mpiexec"
    lines = checked(engine.run(TAG, ["-c", script], runs, {}, "sh")).split()
    assert lines[0] != "0" and lines[1] == "/selection"
    assert lines[-2:] == ["/opt/selection/bin/fem-selection", "/opt/selection/bin/mpiexec"]
