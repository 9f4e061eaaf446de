# SPDX-License-Identifier: MIT
"""Trained networks without their training data: what a run keeps of its samples, and files that moved or changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import PROGRAM, with_settings
from data_files import DATA_FILES
from ranks import launch

import fem_selection as fs
from fem_selection.io import checkpoints

NUMBERS = np.arange(12) % 3
X = 100.0 + np.sin((1 + NUMBERS[:, None]) * np.linspace(0.0, 3.0, 9)) + 0.1 * np.arange(12)[:, None] / 12
SETTINGS = with_settings("optimizer.max_iterations=15")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a case that standardizes, and no data yet."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "case.toml").write_text(DATA_FILES["standardized"].case)
    return tmp_path


def train(call, labels: Any, **options: str) -> None:
    """A run in `run` on these labels of the three classes, whose data file is then gone."""
    np.savez("data.npz", x=X, y=np.asarray(labels)[NUMBERS])
    outcome = call("train", "case.toml", "--output", "run", *SETTINGS, *with_settings(*options.values()))
    assert outcome.status == 0, outcome.err
    shutil.move("data.npz", "moved.npz")


def predicted() -> np.ndarray:
    """The labels that `predict` has written."""
    with np.load("run/predictions.npz", allow_pickle=False) as found:
        return found["labels"]


@pytest.mark.parametrize(
    "labels",
    [
        np.array([-7, 10, 200]),
        np.array([1, 2, 250], dtype=np.uint8),
        np.array(["ape", "cät", "3"]),
        np.array([b"ape", b"cat", b"dog"]),
        np.array([0.0, 1.0, 5.0]),
        np.array([2**63 + 1, 2**63 + 3, 1], dtype=np.uint64),
    ],
)
def test_labels_come_back_as_they_were_given(call, here: Path, labels: np.ndarray) -> None:
    """Fails if labels come back as text or as places among the classes, or if the data of the training are read for
    it: the file is gone."""
    train(call, labels)
    np.savez("new.npz", x=X, y=labels[NUMBERS])
    outcome = call("predict", "run", "--data", "new.npz")
    assert outcome.status == 0, outcome.err
    assert "accuracy 1.0000 on 12 samples" in outcome.out
    assert predicted().dtype == labels.dtype and np.array_equal(predicted(), labels[NUMBERS])


def test_another_file_in_the_place_of_the_training_data(call, here: Path) -> None:
    """Fails if scaling and classes are those that the training file holds now: other labels, or other predictions."""
    train(call, [0, 1, 2])
    np.savez("new.npz", x=X, y=NUMBERS)
    before = call("predict", "run", "--data", "new.npz")
    np.savez("data.npz", x=3.0 * X - 250.0, y=10 * NUMBERS)
    outcome = call("predict", "run", "--data", "new.npz")
    assert outcome.status == 0 and "accuracy 1.0000" in outcome.out and outcome.out == before.out
    assert set(predicted()) == {0, 1, 2}


def test_labels_that_the_network_does_not_know_are_named(call, here: Path) -> None:
    """Fails if an unknown label is taken for a known one, left out of the accuracy, or not named; or if labels of which
    none is known give an accuracy."""
    train(call, [0, 1, 2])
    y = NUMBERS.copy()
    y[[3, 7]] = 77
    np.savez("new.npz", x=X, y=y)
    outcome = call("predict", "run", "--data", "new.npz")
    assert outcome.status == 0 and "accuracy 0.8333 on 12 samples" in outcome.out
    assert "does not know the label 77: 2 samples" in " ".join(outcome.out.split())
    np.savez("new.npz", x=X, y=np.where(y == 77, np.nan, y))  # as pandas marks what is missing
    outcome = call("predict", "run", "--data", "new.npz")
    assert "does not know the label nan: 2 samples" in " ".join(outcome.out.split()), outcome.err
    np.savez("new.npz", x=X[:0], y=NUMBERS[:0])
    outcome = call("predict", "run", "--data", "new.npz")
    assert outcome.status == 2 and "there are no samples" in outcome.err and "array 'y'" not in outcome.err
    for truth, words in (
        (NUMBERS + 40, "40, 41, 42, of which the network knows none; its classes are 0, 1, 2"),
        (NUMBERS.astype(str), "the labels are text and the classes numbers"),
        (NUMBERS[:, None] * [1, 1], "one label for each input"),
        (NUMBERS * 1j, "complex128"),
    ):
        np.savez("new.npz", x=X, y=truth)
        outcome = call("predict", "run", "--data", "new.npz")
        assert outcome.status == 2 and words in outcome.err, outcome.err


@pytest.mark.parametrize(
    ("x", "y"), [(X[0], NUMBERS[0]), (X[:1], NUMBERS[:1]), (X[0], NUMBERS[:1]), (X[:1], NUMBERS[:1, None])]
)
def test_a_single_sample_is_one_sample(call, here: Path, x: np.ndarray, y: np.ndarray) -> None:
    """Fails if an array of the shape of one input is refused, or taken for as many samples as it has values."""
    train(call, [4, 5, 6])
    np.savez("one.npz", x=x, y=4 + y)
    outcome = call("predict", "run", "--data", "one.npz")
    assert outcome.status == 0 and "accuracy 1.0000 on 1 sample\n1 prediction " in outcome.out, outcome.err
    assert predicted().tolist() == [4]


def test_inputs_of_another_width_are_refused(call, here: Path) -> None:
    """Fails if fewer or more columns than those of the training are interpolated as if they were the same features."""
    train(call, ["a", "b", "c"])
    for x in (X[:, :2], np.pad(X, ((0, 0), (0, 3))), X[0, :5], X[:, :, None]):
        np.savez("new.npz", x=x)
        outcome = call("predict", "run", "--data", "new.npz")
        assert outcome.status == 2 and "expected" in outcome.err and str(x.shape) in outcome.err


def test_moved_and_changed_data_of_a_certificate(call, here: Path) -> None:
    """Fails if `certify` and `stability` of a run take other samples for those of the training, do not find them where
    they are now, or say of a missing file anything but its name and the option."""
    train(call, [0, 1, 2])
    for command, more in (("certify", ("--starts", 1)), ("stability", ())):
        outcome = call(command, "run", *more)
        assert outcome.status == 2 and "data.npz is missing" in outcome.err and "--data" in outcome.err
        np.savez("data.npz", x=X + 0.01, y=NUMBERS)
        outcome = call(command, "run", *more)
        assert outcome.status == 2 and "data.npz has changed since the training" in outcome.err
        Path("data.npz").unlink()
        outcome = call(command, "run", *more, "--data", "moved.npz")
        assert outcome.status == 0, outcome.err
    outcome = call("stability", "case.toml", "--data", "moved.npz")
    assert outcome.status == 2 and "data.file" in outcome.err


def test_a_run_of_an_earlier_version(call, here: Path) -> None:
    """Fails if a checkpoint without the form of the samples is not read any more where the training file is the same,
    or is read where it is another; or if a form that a later version has saved is misread."""
    train(call, ["a", "b", "c"])
    np.savez("new.npz", x=X, y=np.array(["a", "b", "c"])[NUMBERS])
    rewrite(Path("run/checkpoint"), lambda state: state.pop("samples"))
    outcome = call("predict", "run", "--data", "new.npz")
    assert outcome.status == 2 and "data.npz is missing" in outcome.err and "earlier version" in outcome.err
    np.savez("data.npz", x=2 * X, y=NUMBERS)
    outcome = call("predict", "run", "--data", "new.npz")
    assert outcome.status == 2 and "has changed since the training" in outcome.err
    shutil.copy("moved.npz", "data.npz")
    outcome = call("predict", "run", "--data", "new.npz")
    assert outcome.status == 0 and "accuracy 1.0000" in outcome.out
    for later in ({"version": 99}, {"version": 1, "lift": "multilinear", "grid": "no"}):
        rewrite(Path("run/checkpoint"), lambda state, later=later: state.update(samples=later))
        outcome = call("predict", "run", "--data", "new.npz")
        assert outcome.status == 2 and "run/checkpoint cannot be used: the form of the samples" in outcome.err


def test_keys_that_an_earlier_version_did_not_know(call, here: Path) -> None:
    """Fails if a checkpoint that lacks a key is refused where the key has its default value, as it had then, or if it
    is read where the key has another value."""
    train(call, [0, 1, 2])
    shutil.move("moved.npz", "data.npz")
    rewrite(Path("run/checkpoint"), lambda state: [state["problem"]["dynamics"].pop(key) for key in ("scheme", "bias")])
    assert call("predict", "run", "--data", "data.npz").status == 0
    again = call("train", "case.toml", "--output", "run", "--resume", *SETTINGS)
    assert again.status == 0, again.err
    rewrite(Path("run/checkpoint"), lambda state: state["problem"]["dynamics"].pop("layers"))  # the case has another
    outcome = call("predict", "run", "--data", "data.npz")
    assert outcome.status == 2 and "dynamics.layers was" in outcome.err


def rewrite(path: Path, change: Any) -> None:
    """Change the state of a checkpoint, with the checksum of its header."""
    content = path.read_bytes()
    size = int.from_bytes(content[8:16], "little")
    header = json.loads(content[16 : 16 + size - 8])
    change(header["state"])
    sums = {name: int(value, 16) for name, value in header["checksums"].items()}
    new = checkpoints._header(header["state"], sums, header["size"])
    path.write_bytes(content[:8] + len(new).to_bytes(8, "little") + new + content[16 + size :])


def test_a_mesh_that_moved(call, here: Path) -> None:
    """Fails if the mesh of a run is not found where `--mesh` says, or another mesh is taken for it."""
    meshes = Path(__file__).parents[2] / "meshes"
    shutil.copy(meshes / "disk.msh", "disk.msh")
    case = Path("case.toml").read_text().replace('shape = "interval"\ncells = 4', 'file = "disk.msh"')
    Path("case.toml").write_text(case.replace("[dynamics]", "[dynamics]\nrepresentation = ['separable']"))
    np.savez("data.npz", x=X.reshape(12, 3, 3), y=NUMBERS)
    outcome = call("train", "case.toml", "--output", "run")
    assert outcome.status == 0, outcome.err
    shutil.move("disk.msh", "elsewhere.msh")
    np.savez("new.npz", x=X[:2].reshape(2, 3, 3))
    assert call("predict", "run", "--data", "new.npz").status == 2
    outcome = call("predict", "run", "--data", "new.npz", "--mesh", "elsewhere.msh")
    assert outcome.status == 0 and "2 predictions" in outcome.out, outcome.err
    outcome = call("predict", "run", "--data", "new.npz", "--mesh", meshes / "annulus.msh")
    assert outcome.status == 2 and "domain.file" in outcome.err


def test_a_mesh_for_a_run_without_one(call, here: Path) -> None:
    """Fails if `--mesh` is refused by names of keys that the user did not give."""
    train(call, [0, 1, 2])
    outcome = call("predict", "run", "--data", "moved.npz", "--mesh", "m.msh")
    assert outcome.status == 2
    assert "--mesh m.msh: this run has no mesh file, for domain.shape = 'interval'" in " ".join(outcome.err.split())


def test_a_network_that_was_trained_on_more_ranks(call, here: Path) -> None:
    """Fails if a run whose mesh was shared by ranks that are not there now is refused, though the numbers do not depend
    on them."""
    train(call, [0, 1, 2])
    case = Path("run/case.toml")
    case.write_text(case.read_text().replace("[parallel]\nspace = 1", "[parallel]\nspace = 4"))
    assert "space = 4" in case.read_text()
    np.savez("new.npz", x=X, y=NUMBERS)
    outcome = call("predict", "run", "--data", "new.npz")
    assert outcome.status == 0 and "accuracy 1.0000" in outcome.out, outcome.err
    outcome = call("stability", "run", "--data", "moved.npz")
    assert outcome.status == 0, outcome.err


def test_what_needs_samples_says_so(call, here: Path) -> None:
    """Fails if a study divides by the number of samples of a network that was loaded without them."""
    train(call, [0, 1, 2])
    case = fs.load_case(Path("run/case.toml"), needs_data=False)
    network, controls = fs.cases.load_network(Path("run"), case)
    for study in (fs.studies.certify, fs.studies.network_stability):
        with pytest.raises(fs.InvalidInput, match="no training samples"):
            study(network, controls)
    with pytest.raises(fs.InvalidInput, match="no training samples"):
        fs.studies.train(network)


@pytest.mark.usefixtures("run_mpi")
def test_predictions_on_two_ranks(call, here: Path) -> None:
    """Fails if a network without samples waits for a rank, or if two ranks predict other labels than one."""
    train(call, ["a", "b", "c"])
    np.savez("new.npz", x=X[:3], y=np.array(["a", "b", "z"]))
    done = launch(2, "-c", PROGRAM, "predict", "run", "--data", "new.npz", timeout=60)
    assert done.returncode == 0, done.stderr
    assert "accuracy 0.6667" in done.stdout and predicted().tolist() == ["a", "b", "c"]
