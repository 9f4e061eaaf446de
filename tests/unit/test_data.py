# SPDX-License-Identifier: MIT
"""Samples and images: splits, files with their faults, and images as functions at nodes."""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import archive
from numpy.typing import NDArray

from fem_selection.data import (
    AffineMaps,
    SampleFormat,
    Samples,
    Standardization,
    draw_maps,
    image_states,
    load_digits_samples,
    load_new_samples,
    load_npz,
    number_labels,
    split_samples,
    stratified_split,
)
from fem_selection.errors import InvalidInput

BOXES = {1: ([-1.0], [2.0]), 2: ([-1.0, 0.5], [2.0, 1.5]), 3: ([0.0, -1.0, 2.0], [1.0, 1.0, 5.0])}
GRIDS = {1: (9,), 2: (5, 7), 3: (3, 4, 6)}


def pixel_coordinates(dimension: int) -> NDArray[np.float64]:
    """Where the pixels of GRIDS sit in BOXES, written out axis by axis; shape (num_pixels, d), row-major."""
    (low, high), grid = BOXES[dimension], GRIDS[dimension]
    points = []
    for index in np.ndindex(*grid):
        unit = [i / (n - 1) for i, n in zip(index, grid, strict=True)]
        if dimension == 2:
            unit = [unit[1], 1.0 - unit[0]]
        elif dimension == 3:
            unit = unit[::-1]
        points.append([a + u * (b - a) for a, b, u in zip(low, high, unit, strict=True)])
    return np.array(points)


def random_points(dimension: int, num_points: int = 50, inner: float = 1.0) -> NDArray[np.float64]:
    """Points that fill this share of each side of BOXES, about its middle; above 1 some lie outside."""
    low, high = map(np.array, BOXES[dimension])
    unit = np.random.default_rng(1).uniform(0.5 - inner / 2, 0.5 + inner / 2, (num_points, dimension))
    return low + unit * (high - low)


def load_inputs(path: Path, grid: tuple[int, ...] | None, dimension: int) -> NDArray[np.float64]:
    """The inputs of a file for a network that was trained on this grid."""
    return load_new_samples(path, SampleFormat(grid=grid), dimension).inputs


# ---------------------------------------------------------------------------------------------------------- splitting


def test_split_keeps_proportions_and_is_a_partition() -> None:
    """Fails if the labels are not passed on: 10 % of a class of 30 varies by more than one between random splits."""
    labels = np.repeat(np.arange(4), [30, 100, 55, 200])
    for seed in range(20):
        train, test = stratified_split(labels, 0.1, seed, num_samples=len(labels))
        assert sorted([*train, *test]) == list(range(len(labels)))
        assert np.all(np.abs(np.bincount(labels[test]) - 0.1 * np.bincount(labels)) <= 1)


def test_split_depends_on_the_seed_alone() -> None:
    """Fails if the split draws from a global stream, or ignores its seed."""
    labels = np.arange(60) % 3
    first, again, other = (stratified_split(labels, 0.25, seed, num_samples=60)[1] for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("labels", [None, np.linspace(0, 1, 40)[:, None]])
def test_split_without_labels_is_random(labels: NDArray[Any] | None) -> None:
    """Fails if, where there are no labels, the last samples make the test part, or another number of them than the
    fraction says."""
    train, test = stratified_split(labels, 0.2, 0, num_samples=40)
    assert (len(train), len(test)) == (32, 8)
    assert not np.array_equal(test, np.arange(32, 40))


@pytest.mark.parametrize(
    ("labels", "fraction", "num_samples"),
    [
        (None, 0.0, 10),
        (None, 1.0, 10),
        (None, float("nan"), 10),
        (None, 0.5, 1),
        (np.array([0, 1, 1, 1]), 0.5, 4),
        (np.arange(20) % 10, 0.1, 20),
        (np.zeros(3, dtype=int), 0.5, 4),
    ],
)
def test_impossible_splits_are_refused(labels: NDArray[Any] | None, fraction: float, num_samples: int) -> None:
    """Fails if a fraction outside (0, 1), too few samples of a class for both parts, or labels of another number than
    the samples give a split."""
    with pytest.raises(InvalidInput):
        stratified_split(labels, fraction, 0, num_samples=num_samples)


def test_digits_and_their_standardization() -> None:
    """Fails if the pixels are not scaled to [0, 1], or if the test part is standardized by its own mean, twice, or by a
    deviation that is round-off."""
    digits = load_digits_samples()
    assert digits.inputs.shape == (1797, 8, 8)
    assert (digits.inputs.min(), digits.inputs.max()) == (0.0, 1.0)
    assert (digits.num_samples, digits.num_classes, digits.classes[3]) == (1797, 10, "3")
    data = split_samples(digits, 0.2, 0)
    assert data.test is not None
    assert (data.samples.num_samples, data.test.num_samples) == (1437, 360)
    standard = data.standardized()
    assert standard.standardization == Standardization.of(data.samples.inputs)
    assert abs(standard.samples.inputs.mean()) < 1e-13
    assert abs(standard.samples.inputs.std() - 1.0) < 1e-13
    assert standard.test is not None
    assert abs(standard.test.inputs.mean()) > 1e-6  # the training part's mean, not its own
    with pytest.raises(InvalidInput, match="already"):
        standard.standardized()
    with pytest.raises(InvalidInput, match="standardised"):
        Standardization.of(np.full((3, 4), 0.1))


def test_subset_keeps_pairs_together() -> None:
    """Fails if inputs and targets are chosen by different numbers, or the classes are numbered anew."""
    digits = load_digits_samples()
    chosen = digits.subset([7, 3])
    assert np.array_equal(chosen.inputs[1], digits.inputs[3])
    assert chosen.targets.tolist() == digits.targets[[7, 3]].tolist()
    assert chosen.classes == digits.classes
    assert digits.subset(slice(0, 5)).num_samples == 5


@pytest.mark.parametrize(
    "arguments",
    [
        {"inputs": np.zeros(3), "targets": np.zeros((3, 1))},
        {"inputs": np.zeros((3, 4)), "targets": np.zeros((2, 1))},
        {"inputs": np.zeros((3, 4)), "targets": np.zeros((3, 1)), "grid": (2, 2)},
        {"inputs": np.zeros((3, 4)), "targets": np.array([0, 1, 2]), "classes": ("a", "b")},
        {"inputs": np.zeros((3, 4)), "targets": np.array([0, -1, 1]), "classes": ("a", "b")},
        {"inputs": np.zeros((3, 4)), "targets": np.zeros((3, 1)), "classes": ("a", "b")},
        {"inputs": np.zeros((3, 4)), "targets": np.array(["a", "b", "a"])},
    ],
)
def test_inconsistent_samples_are_refused(arguments: dict[str, Any]) -> None:
    """Fails if inputs and targets of different numbers, a grid that does not fit, or labels without a class make
    samples."""
    with pytest.raises(InvalidInput):
        Samples(**arguments)


# -------------------------------------------------------------------------------------------------------------- files


def save(path: Path, **arrays: Any) -> Path:
    """The arrays as data.npz in a folder; returns the file."""
    np.savez(path / "data.npz", **arrays)
    return path / "data.npz"


X = np.random.default_rng(0).standard_normal((6, 3, 4))
Y = np.array([2, 5, 5, 2, 9, 9])


def test_npz_images_and_integer_labels(tmp_path: Path) -> None:
    """Fails if labels are not numbered in rising order, if their names are lost, or if images are turned or
    flattened."""
    data = load_npz(save(tmp_path, x=X, y=Y), None, 2)
    assert data.test is None
    assert np.array_equal(data.samples.inputs, X)
    assert data.samples.grid == (3, 4)
    assert data.samples.targets.tolist() == [0, 1, 1, 0, 2, 2]
    assert data.samples.classes == ("2", "5", "9")


def test_npz_rows_on_a_grid(tmp_path: Path) -> None:
    """Fails if rows of values are not laid on the grid that is given, else on a line, a square or a cube."""
    path = save(tmp_path, x=X.reshape(6, 12), y=Y)
    assert np.array_equal(load_npz(path, (3, 4), 2).samples.inputs, X)
    assert load_npz(path, None, 1).samples.grid == (12,)
    assert load_npz(path, (3, 2, 2), 3).samples.grid == (3, 2, 2)
    assert load_npz(save(tmp_path, x=np.ones((2, 784)), y=[0, 1]), None, 2).samples.grid == (28, 28)
    assert load_npz(save(tmp_path, x=np.ones((2, 343)), y=[0, 1]), None, 3).samples.grid == (7, 7, 7)
    assert load_npz(save(tmp_path, x=np.ones((2, 3, 4, 5)), y=[0, 1]), None, 3).samples.grid == (3, 4, 5)


@pytest.mark.parametrize("names", [["cat", "ape", "ape", "cat", "dog", "dog"], [b"cat", b"ape", b"ape", b"cat"]])
def test_npz_string_labels(tmp_path: Path, names: list[Any]) -> None:
    """Fails if classes that are text or bytes are not numbered in the order of their names."""
    data = load_npz(save(tmp_path, x=X[: len(names)], y=np.array(names)), None, 2)
    assert data.samples.classes[:2] == ("ape", "cat")
    assert data.samples.targets[:4].tolist() == [1, 0, 0, 1]


def test_npz_type_of_y_decides(tmp_path: Path) -> None:
    """Fails if whole floats are taken for labels, or a column of integers for targets."""
    regression = load_npz(save(tmp_path, x=X, y=Y.astype(float)), None, 2).samples
    assert not regression.has_labels
    assert np.array_equal(regression.targets, Y[:, None])
    assert regression.num_classes == 0
    assert load_npz(save(tmp_path, x=X, y=Y[:, None]), None, 2).samples.has_labels
    assert load_npz(save(tmp_path, x=X, y=X.astype(np.float32)), None, 2).samples.targets.shape == (6, 12)


def test_npz_with_test_part(tmp_path: Path) -> None:
    """Fails if the test part is standardized by its own mean, or its labels are numbered among themselves."""
    path = save(tmp_path, x_train=X, y_train=Y, x_test=X[:2] + 1, y_test=np.array([9, 2]))
    data = load_npz(path, None, 2, standardize=True)
    assert data.test is not None
    assert data.standardization is not None
    assert data.test.targets.tolist() == [2, 0]
    np.testing.assert_allclose(data.test.inputs, (X[:2] + 1 - X.mean()) / X.std(), rtol=1e-14)
    np.testing.assert_allclose(data.standardization.apply(X), data.samples.inputs, rtol=0)
    assert load_npz(save(tmp_path, x_train=X, y_train=Y), None, 2).test is None


def test_npz_inputs_for_prediction(tmp_path: Path) -> None:
    """Fails if inputs without targets are refused, or laid on another grid than those of the training."""
    assert np.array_equal(load_inputs(save(tmp_path, x=X.reshape(6, 12)), (3, 4), 2), X)
    with pytest.raises(InvalidInput, match="x missing; the file holds z"):
        load_inputs(save(tmp_path, z=X), None, 2)
    with pytest.raises(InvalidInput, match="are no square grid"):
        load_inputs(save(tmp_path, x=X.reshape(6, 12)), None, 2)


BROKEN = X.copy()
BROKEN[4, 0, 1] = np.nan
BROKEN[3, 2, 2] = np.inf


@pytest.mark.parametrize(
    ("arrays", "grid", "message"),
    [
        ({"z": X, "w": Y}, None, "x, y missing; the file holds w, z"),
        ({"x": X}, None, "y missing; the file holds x"),
        ({}, None, "the file holds no arrays"),
        ({"x_train": X, "y_train": Y, "x_test": X}, None, "y_test missing"),
        ({"x": X, "y": Y, "x_test": X, "y_test": Y}, None, "not both"),
        ({"x": X, "y": Y[:4]}, None, r"\(6, 3, 4\) and 'y' of shape \(4,\) differ in the number of samples"),
        ({"x": BROKEN, "y": Y}, None, "'x'.*2 NaN or Inf in 2 .*first in sample 3"),
        ({"x": X, "y": BROKEN[:, 0, 0] + BROKEN[:, 0, 1]}, None, "'y'.*1 NaN or Inf.*first in sample 4"),
        ({"x": X.astype(object), "y": Y}, None, "'x' holds Python objects"),
        ({"x": X, "y": np.array([None] * 6)}, None, "'y' holds Python objects"),
        ({"x": X.astype(complex), "y": Y}, None, "complex128, expected real numbers"),
        ({"x": X, "y": Y * 1j}, None, "complex128, expected integers"),
        ({"x": X.reshape(6, 12), "y": Y}, None, r"'x' of shape \(6, 12\): rows of 12 values are no square grid"),
        ({"x": X.reshape(6, 12), "y": Y}, (3, 5), r"rows of 15 values for a pixel grid of \(3, 5\)"),
        ({"x": X, "y": Y}, (4, 3), r"expected a pixel grid of \(4, 3\)"),
        ({"x": X[..., None], "y": Y}, None, r"expected \(n, H, W\) or \(n, M\) in dimension 2"),
        ({"x": X[:, :, :1], "y": Y}, None, "fewer than 2 pixels"),
        ({"x": X[:0], "y": Y[:0]}, None, "no samples"),
        ({"x": X[:, 0, 0], "y": Y}, None, r"'x' of shape \(6,\)"),
        ({"x": X, "y": np.array(3)}, None, r"'y' of shape \(\)"),
        ({"x": X, "y": np.ones((6, 2), dtype=int)}, None, "store regression targets as floats"),
        ({"x": X, "y": np.zeros(6, dtype=int)}, None, "at least two classes"),
        ({"x_train": X, "y_train": Y, "x_test": X[:1], "y_test": [7]}, None, r"labels \[7\], which 'y_train' lacks"),
        ({"x_train": X, "y_train": Y, "x_test": X[:1], "y_test": ["a"]}, None, "differ in kind"),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :2], "y_test": Y}, None, "pixel grids .* differ"),
        ({"x_train": X, "y_train": X[:, 0], "x_test": X, "y_test": X[:, 0, :2]}, None, "number of outputs"),
    ],
)
def test_npz_faults_are_named(
    tmp_path: Path, arrays: dict[str, Any], grid: tuple[int, ...] | None, message: str
) -> None:
    """Fails if arrays that are no samples are read, or are refused without the file, the array and what is wrong with
    it."""
    with pytest.raises(InvalidInput, match=message) as caught:
        load_npz(save(tmp_path, **arrays), grid, 2)
    assert "data.npz" in str(caught.value)


def test_npz_reports_all_faults_at_once(tmp_path: Path) -> None:
    """Fails if the first faulty array hides the faults of the others, or if a fault is told twice."""
    path = save(tmp_path, x_train=BROKEN, y_train=Y[:5], x_test=X.reshape(6, 12), y_test=np.array([None] * 6))
    with pytest.raises(InvalidInput) as caught:
        load_npz(path, None, 2)
    faults = str(caught.value).splitlines()
    assert len(faults) == 4
    for part in ("NaN", "number of samples", "no square grid", "Python objects"):
        assert sum(part in fault for fault in faults) == 1


def test_npz_foreign_and_damaged_files(tmp_path: Path) -> None:
    """Fails if a file that is no archive, or one with a changed byte, raises another error than InvalidInput or gives
    other data: checksums see to that."""
    with pytest.raises(InvalidInput, match="no such file"):
        load_npz(tmp_path / "absent.npz", None, 2)
    with pytest.raises(InvalidInput, match="no such file"):
        load_npz(tmp_path, None, 2)
    path = tmp_path / "foreign.npz"
    np.save(tmp_path / "array.npy", X)
    whole = save(tmp_path, x=X, y=Y).read_bytes()
    for content in (b"", b"hello", b"\x80\x04N.", (tmp_path / "array.npy").read_bytes(), whole[:-30], whole[:100]):
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match=r"foreign\.npz: not a NumPy archive"):
            load_npz(path, None, 2)
    rng = np.random.default_rng(0)
    refused = 0
    for position in rng.integers(0, len(whole), 300):
        damaged = bytearray(whole)
        damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            assert np.array_equal(load_npz(path, None, 2).samples.inputs, X)
        except InvalidInput:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\x93NUMPY\x01\x00", "a single array"),
        (b"\x80\x04\x95", "a Python pickle, which is not read"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"PAR1....", "a Parquet file"),
        (b"\x1f\x8b\x08", "compressed by gzip"),
        (b"1.0,2.0\n", "some other file"),
        (archive(x=X, y=Y)[:-30], "an archive that is cut short or damaged"),
    ],
)
def test_what_is_no_archive_is_called_what_it_is(tmp_path: Path, content: bytes, words: str) -> None:
    """Fails if every other file is said to be cut short."""
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(InvalidInput, match=f"not a NumPy archive, but {words}"):
        load_npz(tmp_path / "data.npz", None, 2)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Fails if a file that cannot be opened counts as cut short, if a pipe is waited for, or if a folder is read."""
    loop, pipe = tmp_path / "loop.npz", tmp_path / "pipe.npz"
    loop.symlink_to(loop)
    os.mkfifo(pipe)
    for path, words in (
        (loop, "cannot be read: Too many levels of symbolic links"),
        (pipe, "a device or pipe"),
        (tmp_path, "a folder"),
        (tmp_path / ("x" * 300), "cannot be read: File name too long"),
        (tmp_path / "null\0byte", "no such file"),
    ):
        for read in (lambda p: load_npz(p, None, 2), lambda p: load_inputs(p, None, 2)):
            with pytest.raises(InvalidInput, match=words):
                read(path)


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    """Fails if one of two arrays with the same name is taken without a word."""
    path = tmp_path / "data.npz"
    path.write_bytes(archive(x=X, y=Y))
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as file:
        warnings.simplefilter("ignore")
        file.writestr("y.npy", file.read("y.npy"))
    with pytest.raises(InvalidInput, match="holds 2 arrays with the name 'y'"):
        load_npz(path, None, 2)


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    """Fails if a pickled object is loaded: loading this one makes a file."""
    bomb = np.empty(6, dtype=object)
    bomb[:] = _Bomb(str(tmp_path / "exploded"))
    np.savez(tmp_path / "data.npz", x=X, y=bomb, allow_pickle=True)
    for read in (load_npz, load_inputs):
        with suppress(InvalidInput):
            read(tmp_path / "data.npz", None, 2)
    with pytest.raises(InvalidInput, match=r"Python objects.*numpy\.asarray\(y, dtype=str\)"):
        load_new_samples(tmp_path / "data.npz", SampleFormat(class_values=np.arange(3)), 2)
    assert not (tmp_path / "exploded").exists()


class _Bomb:
    """An object whose pickle calls `open` when it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.astype(">f8"),
        np.asfortranarray,
        lambda x: x.astype(np.longdouble),
        lambda x: x[::-1][::-1],
        lambda x: np.round(x).astype(np.int8),
        lambda x: x.astype(np.float16),
        lambda x: x > 0,
    ],
)
def test_inputs_of_any_real_type(tmp_path: Path, change: Any) -> None:
    """Fails if the order of bytes or axes, or a type of numbers, changes the inputs."""
    given = change(X)
    read = load_npz(save(tmp_path, x=given, y=Y.astype(">i2")), None, 2).samples
    assert read.inputs.dtype == np.float64 and np.array_equal(read.inputs, given.astype(np.float64))
    assert read.targets.tolist() == [0, 1, 1, 0, 2, 2] and read.class_values.tolist() == [2, 5, 9]


def test_labels_that_are_floats(tmp_path: Path) -> None:
    """Fails if whole floats are no labels where only labels will do, if they lose their type, or if other floats are
    rounded or refused with the shape of a part of the file."""
    found = load_npz(save(tmp_path, x=X, y=Y.astype(np.float32)), None, 2, labels=True).samples
    assert (
        found.has_labels and found.class_values.tolist() == [2.0, 5.0, 9.0] and found.classes == ("2.0", "5.0", "9.0")
    )
    for y, words in (
        (Y + 0.5, r"'y' of shape \(6,\): labels are expected, and sample 0 has the number 2\.5"),
        (np.where(Y == 5, np.nan, Y), "sample 1 has the number nan"),
        (np.ones((6, 2)), r"'y' of shape \(6, 2\) has type float64, so labels"),
    ):
        with pytest.raises(InvalidInput, match=words):
            load_npz(save(tmp_path, x=X, y=y), None, 2, labels=True)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_colour_images_are_named(tmp_path: Path, channels: int) -> None:
    """Fails if the last axis of colour images is taken for one of space, or refused without a way out."""
    x = np.zeros((6, 5, 4, channels), dtype=np.uint8)
    with pytest.raises(InvalidInput, match=rf"that of the channels \({channels}\), keep one, as by x\.mean"):
        load_npz(save(tmp_path, x=x, y=Y), None, 2)


def test_a_class_with_a_single_sample_is_named() -> None:
    """Fails if a split that cannot hold every class on both sides is refused in another library's words, without the
    class, or without what to do."""

    def samples(labels: list[int], *names: str) -> Samples:
        return Samples(inputs=np.zeros((len(labels), 4)), targets=np.array(labels), classes=names)

    with pytest.raises(InvalidInput, match=r"the class 'cat' has a single sample.*keep no part"):
        split_samples(samples([0, 0, 1, 2, 2], "ape", "cat", "dog"), 0.4, 0)
    with pytest.raises(
        InvalidInput, match=r"'0', '1', '2', '3', '4', … .9 classes. has a single.*store them as floats"
    ):
        split_samples(samples(list(range(9)), *map(str, range(9))), 0.4, 0)
    with pytest.raises(InvalidInput, match=r"3 classes cannot be split into 8 and 1: each part needs 3.*0.33 and 0.67"):
        split_samples(samples([0, 1, 2] * 3, "a", "b", "c"), 0.1, 0)


# ------------------------------------------------------------------------------------------------- labels and formats


def test_labels_are_compared_by_value() -> None:
    """Fails if 1, 1.0 and true are different classes, if large integers are rounded, or if text is compared with
    numbers."""
    assert number_labels(np.array([1.0, 0.0, 2.0]), np.array([False, True])).tolist() == [1, 0, -1]
    large = np.array([2**63 + 1, 2**63 + 3], dtype=np.uint64)
    assert number_labels(np.array([2**63 + 3, 2**63 + 2], dtype=np.uint64), large).tolist() == [1, -1]
    assert number_labels(np.array([-1, 5]), large).tolist() == [-1, -1]
    assert number_labels(np.array(["ö", "b", "c"]), np.array(["b", "ö"])).tolist() == [1, 0, -1]
    assert number_labels(np.array(["ö".encode()]), np.array(["ö"])).tolist() == [0]
    with pytest.raises(InvalidInput, match="the labels are text and the classes numbers"):
        number_labels(np.array(["1"]), np.array([1]))
    with pytest.raises(InvalidInput, match="expected integers or strings"):
        number_labels(np.array([1j]), np.array([1]))


@pytest.mark.parametrize(
    "values",
    [
        np.array([1, 7], dtype=">i2"),
        np.array(["a", "ö"]),
        np.array([b"a", b"\xff"]),
        np.array([0.0, 2.0]),
        np.array([False, True]),
    ],
)
def test_formats_survive_json(values: NDArray[Any]) -> None:
    """Fails if grid, scaling, or the type of a class are others after writing and reading."""
    made = SampleFormat(
        grid=(3, 4), standardization=Standardization(mean=0.1, deviation=1 / 3), class_values=values, num_outputs=2
    )
    read = SampleFormat.from_dict(json.loads(json.dumps(made.as_dict())))
    assert (read.grid, read.standardization, read.num_outputs) == ((3, 4), made.standardization, 2)
    assert read.class_values is not None and read.class_values.dtype == values.dtype.newbyteorder("=")
    assert np.array_equal(read.class_values, values) and read.classes == made.classes
    assert np.array_equal(read.prepare(X), (X - 0.1) / (1 / 3))
    with pytest.raises(InvalidInput, match=r"\(4, 3\) for a network that was trained on inputs of shape \(3, 4\)"):
        read.prepare(X.transpose(0, 2, 1))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"lift": "spline"},
        {"grid": "3x4"},
        {"standardization": {"mean": 0.0, "deviation": 0.0}},
        {"classes": {"type": "|O", "values": ["a"]}},
        {"classes": {"type": "<i8", "values": ["a"]}},
        {"num_outputs": None},
    ],
)
def test_formats_that_cannot_be_read_are_refused(change: dict[str, Any]) -> None:
    """Fails if a format of a later version or with foreign values is taken for what it is not."""
    with pytest.raises(InvalidInput, match="the form of the samples"):
        SampleFormat.from_dict(SampleFormat(num_outputs=1).as_dict() | change)


@pytest.mark.parametrize(("grid", "dimension"), [((3, 4), 1), ((3, 1), 2), (None, 4), ((), 2)])
def test_npz_refuses_impossible_grids(tmp_path: Path, grid: tuple[int, ...] | None, dimension: int) -> None:
    """Fails if a grid of another dimension than the domain's, one with a single pixel in a direction, or a domain of
    dimension 4 is accepted."""
    with pytest.raises(InvalidInput):
        load_npz(save(tmp_path, x=X, y=Y), grid, dimension)


# ------------------------------------------------------------------------------------------------------------- images


def test_pictures_are_upright() -> None:
    """The first row is the top, the last column the right; fails if rows are not counted downward or axes swapped."""
    image = np.array([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])
    corners = np.array([[0, 1], [1, 1], [0, 0], [1, 0], [0.5, 0], [0.5, 0.5]])
    states = image_states(image, corners, ([0, 0], [1, 1]))
    np.testing.assert_allclose(states[:, 0], [1, 3, 4, 6, 5, 3.5], atol=1e-15)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_images_are_exact_at_their_pixels(dimension: int) -> None:
    """Fails if a pixel's place is off by one, an axis runs the other way, or neighbours enter at a pixel itself."""
    images = np.random.default_rng(0).standard_normal((4, *GRIDS[dimension]))
    states = image_states(images, pixel_coordinates(dimension), BOXES[dimension])
    assert states.shape == (images[0].size, 4)
    assert states.flags.f_contiguous
    np.testing.assert_allclose(states, images.reshape(4, -1).T, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_multilinear_functions_are_reproduced(dimension: int) -> None:
    """Fails if a weight of the interpolation belongs to another corner of the cell, or is not linear in each
    coordinate."""

    def function(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.prod(1.0 + points * np.arange(2, 2 + dimension), axis=1)

    images = function(pixel_coordinates(dimension)).reshape(1, *GRIDS[dimension])
    points = random_points(dimension)
    np.testing.assert_allclose(image_states(images, points, BOXES[dimension])[:, 0], function(points), rtol=1e-13)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_zero_maps_move_nothing(dimension: int) -> None:
    """Fails if points are carried to pixels by other operations where a map that moves nothing is given."""
    images = np.random.default_rng(0).standard_normal((5, *GRIDS[dimension]))
    points = np.vstack([random_points(dimension, inner=1.2), pixel_coordinates(dimension)])
    maps = draw_maps(np.random.default_rng(0), 5, dimension, shift=0.0, rotation=0.0, scale=0.0)
    moved = image_states(images, points, BOXES[dimension], affine=maps, outside=-7.0)
    np.testing.assert_allclose(moved, image_states(images, points, BOXES[dimension], outside=-7.0), rtol=0, atol=1e-14)
    assert (moved == -7.0).any()
    pixels = images.reshape(5, -1).T
    np.testing.assert_allclose(moved[-len(pixels) :], pixels, rtol=0, atol=1e-13)
    assert moved.flags.f_contiguous


def test_round_off_leaves_no_boundary_point_outside() -> None:
    """Fails if a point at an end of the box, given as the box is, counts as outside of it by round-off."""
    rng = np.random.default_rng(5)
    for _ in range(200):
        low, high = np.sort(rng.uniform(-1.0, 1.0, 2))
        image = rng.standard_normal((1, int(rng.integers(2, 30))))
        ends = image_states(image, [[low], [high]], ([low], [high]), outside=-7.0)
        np.testing.assert_allclose(ends[:, 0], image[0, [0, -1]], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_moved_linear_functions(dimension: int) -> None:
    """A linear image moved by x ↦ c + s + m R (x − c) is the linear function composed with the inverse.

    The inverse is by `numpy.linalg.solve` and R by the exponential of a skew matrix.  Fails for Rᵀ instead of R, a
    shift of the other sign or not in units of the sides, 1 + scale upside down, or maps given to the wrong samples.
    """
    from scipy.linalg import expm

    low, high = map(np.array, BOXES[dimension])
    centre, slope = (low + high) / 2, np.arange(1.0, dimension + 1)
    images = (pixel_coordinates(dimension) @ slope + 0.3).reshape(1, *GRIDS[dimension])
    num_samples = 400
    maps = draw_maps(
        np.random.default_rng(3), num_samples, dimension, shift=0.03, rotation=0.2 * (dimension > 1), scale=0.1
    )
    points = random_points(dimension, inner=0.2)
    moved = image_states(np.repeat(images, num_samples, axis=0), points, (low, high), affine=maps)
    for j in range(num_samples):
        if dimension == 1:
            rotation = np.eye(1)
        elif dimension == 2:
            rotation = expm(maps.rotation[j] * np.array([[0.0, -1.0], [1.0, 0.0]]))
        else:
            x, y, z = maps.rotation[j]
            rotation = expm(np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]))
        matrix = (1 + maps.scale[j]) * rotation
        origin = centre + np.linalg.solve(matrix, (points - centre - maps.shift[j] * (high - low)).T).T
        if np.all((origin > low) & (origin < high)):
            np.testing.assert_allclose(moved[:, j], origin @ slope + 0.3, rtol=0, atol=1e-13)
    assert np.mean(moved == 0.0) < 0.01  # nearly all stay in the box, so the loop above measured something


def map_of(shift: list[float], rotation: float, scale: float) -> AffineMaps:
    """One affine map of the plane."""
    return AffineMaps(shift=np.array([shift]), rotation=np.array([rotation]), scale=np.array([scale]))


def test_quarter_turn_and_shift_of_a_picture() -> None:
    """Fails if a turn is clockwise as seen, a shift brings zeros in from the other side, or a positive scale makes the
    picture smaller."""
    image = np.arange(1.0, 10.0).reshape(1, 3, 3)
    pixels = [[x, y] for y in (1.0, 0.5, 0.0) for x in (0.0, 0.5, 1.0)]
    turned = image_states(image, pixels, ([0, 0], [1, 1]), affine=map_of([0, 0], np.pi / 2, 0))
    np.testing.assert_allclose(turned.reshape(3, 3), np.rot90(image[0]), atol=1e-14)
    shifted = image_states(image, pixels, ([0, 0], [1, 1]), affine=map_of([0.5, 0], 0, 0))
    np.testing.assert_allclose(shifted.reshape(3, 3), [[0, 1, 2], [0, 4, 5], [0, 7, 8]], atol=1e-14)
    doubled = image_states(image, pixels, ([0, 0], [1, 1]), affine=map_of([0, 0], 0, 1))
    np.testing.assert_allclose(doubled.reshape(3, 3), [[3, 3.5, 4], [4.5, 5, 5.5], [6, 6.5, 7]], atol=1e-14)


def test_a_part_of_points_and_samples_gives_that_part() -> None:
    """Fails if a value depends on which other points or samples are asked for, as ranks and blocks do."""
    images = np.random.default_rng(0).standard_normal((2000, 8, 8))  # several blocks
    points = random_points(2, 61, inner=1.3)
    maps = draw_maps(np.random.default_rng(1), 2000, 2, shift=0.1, rotation=0.2, scale=0.1)
    whole = image_states(images, points, BOXES[2], affine=maps)
    part = image_states(images[300:], points[20:], BOXES[2], affine=maps.subset(slice(300, None)))
    np.testing.assert_allclose(part, whole[20:, 300:], rtol=0, atol=1e-13)
    assert image_states(images, points[:0], BOXES[2], affine=maps).shape == (0, 2000)
    assert image_states(images[:0], points, BOXES[2]).shape == (61, 0)


def test_a_third_coordinate_does_not_enter_in_the_plane() -> None:
    """Fails if the third coordinate, which meshes in the plane carry, moves the picture."""
    points = random_points(2)
    padded = np.hstack([points, np.full((len(points), 1), 9.0)])
    images = np.random.default_rng(0).standard_normal((2, 5, 7))
    assert np.array_equal(image_states(images, padded, BOXES[2]), image_states(images, points, BOXES[2]))


def test_drawn_maps_have_their_deviations() -> None:
    """Fails if a standard deviation is another, if shifts and scales change where rotation is switched off, or if a
    large scale turns an image inside out."""
    maps = draw_maps(np.random.default_rng(0), 20000, 2, shift=0.1, rotation=0.3, scale=0.2)
    again = draw_maps(np.random.default_rng(0), 20000, 2, shift=0.1, rotation=0.0, scale=0.2)
    assert np.array_equal(maps.shift, again.shift)
    assert np.array_equal(maps.scale, again.scale)
    np.testing.assert_allclose(maps.shift.std(axis=0), 0.1, rtol=0.03)
    np.testing.assert_allclose(maps.rotation.std(), 0.3, rtol=0.03)
    np.testing.assert_allclose(np.log1p(maps.scale).std(), 0.2, rtol=0.03)
    assert draw_maps(np.random.default_rng(0), 5000, 3, shift=0.1, rotation=0.1, scale=2.0).scale.min() > -1.0


def test_images_and_maps_that_do_not_fit_are_refused() -> None:
    """Fails if images, points, boxes or maps whose shapes or values do not fit give states."""
    images, points, box = np.zeros((2, 5, 7)), random_points(2), BOXES[2]
    maps = draw_maps(np.random.default_rng(0), 3, 2, shift=0.1, rotation=0.1, scale=0.1)
    for wrong in (
        lambda: image_states(np.zeros(5), points, box),
        lambda: image_states(np.zeros((2, 5, 1)), points, box),
        lambda: image_states(images, points[:, :1], box),
        lambda: image_states(images, points * np.nan, box),
        lambda: image_states(images, points, ([0.0], [1.0])),
        lambda: image_states(images, points, ([0.0, 1.0], [1.0, 1.0])),
        lambda: image_states(images, points, box, affine=maps),
        lambda: AffineMaps(shift=np.zeros((2, 2)), rotation=np.zeros(2), scale=np.array([0.0, -1.0])),
        lambda: AffineMaps(shift=np.zeros((2, 2)), rotation=np.zeros(3), scale=np.zeros(2)),
        lambda: AffineMaps(shift=np.zeros((2, 3)), rotation=np.zeros(2), scale=np.zeros(2)),
        lambda: AffineMaps(shift=np.zeros((2, 1)), rotation=np.ones(2), scale=np.zeros(2)),
        lambda: AffineMaps(shift=np.full((2, 2), np.nan), rotation=np.zeros(2), scale=np.zeros(2)),
        lambda: draw_maps(np.random.default_rng(0), 2, 4, shift=0.1, rotation=0.1, scale=0.1),
        lambda: draw_maps(np.random.default_rng(0), 2, 2, shift=-0.1, rotation=0.1, scale=0.1),
        lambda: draw_maps(np.random.default_rng(0), 2, 1, shift=0.1, rotation=0.1, scale=0.1),
    ):
        with pytest.raises(InvalidInput):
            wrong()
