# SPDX-License-Identifier: MIT
"""Inputs from a memory map: the same states as from an array, faults told by the file's name, only own samples read."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI

import fem_selection as fs
from fem_selection.data import open_mapped
from fem_selection.errors import InvalidInput


class Counted:
    """An array that notes which samples are read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.read = array, []

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        self.read += list(numbers)
        return self.array[numbers]


def test_affine_images_are_affine_functions(tmp_path):
    """Fails if rows and columns of a grid that is no square are exchanged, single precision is taken for double, or
    samples are mixed."""
    x, y = np.linspace(0, 2, 7), np.linspace(0, 1, 5)[::-1]  # the first row of an image is at the top
    images = np.stack([x[None, :] + 3 * y[:, None], 1 - y[:, None] + 0 * x]).astype(np.float32)
    np.save(tmp_path / "x.npy", images)
    space = fs.StateSpace(fs.rectangle(MPI.COMM_SELF, cells=(3, 4), upper=(2.0, 1.0)))
    mapped = open_mapped(tmp_path / "x.npy", 2)
    assert isinstance(mapped, np.memmap)
    states = fs.SampleStates.from_images(space, mapped, targets=np.zeros((1, 2))).states(np.array([1, 0]), None)
    a, b = space.coordinates.T
    np.testing.assert_allclose(states, np.column_stack([1 - b, a + 3 * b]), atol=1e-6)


def test_only_the_samples_asked_for_are_read():
    """Fails if a rank reads the samples of another."""
    counted = Counted(np.zeros((5, 3)))
    space = fs.StateSpace(fs.interval(MPI.COMM_SELF, cells=2))
    part = fs.SampleStates.from_images(space, counted, targets=np.zeros((1, 5)))
    assert counted.read == []
    part.states(np.array([1, 3]), None)
    assert counted.read == [1, 3]


@pytest.mark.parametrize(
    ("array", "dimension", "told"),
    [
        (np.zeros((2, 3, 3)), 1, "with 1 axes"),
        (np.zeros((2, 1)), 1, "at least 2"),
        (np.array(["a", "b"]), 1, "real numbers"),
        (np.array([{}, {}]), 1, "no file of one array"),
    ],
)
def test_faults_of_a_file(tmp_path, array, dimension, told):
    """Fails if an unusable array is accepted, or a pickle is read."""
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    with pytest.raises(InvalidInput, match=told):
        open_mapped(tmp_path / "x.npy", dimension)


def test_an_archive_is_refused(tmp_path):
    """Fails if an archive passes for one array."""
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 3)))
    with pytest.raises(InvalidInput, match="load_npz"):
        open_mapped(tmp_path / "x.npz", 1)
