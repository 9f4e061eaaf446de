# SPDX-License-Identifier: MIT
"""Samples from a user's NumPy archive (NPZ), for a training or for predictions; all faults of a file at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_selection.data.archives import listed_names, non_finite, open_archive, read_arrays
from fem_selection.data.formats import SampleFormat
from fem_selection.data.labels import class_names
from fem_selection.data.samples import DataSet, Samples
from fem_selection.data.targets import read_targets, read_truth
from fem_selection.errors import InvalidInput
from fem_selection.settings import DataSettings

__all__ = ["NewSamples", "load_new_samples", "load_npz"]


def load_npz(
    path: str | PathLike[str],
    grid: Sequence[int] | None,
    dimension: int,
    *,
    standardize: bool = DataSettings.standardize,
    labels: bool = False,
) -> DataSet:
    """Read samples from a NumPy archive with `x` and `y`, or `x_train`, `y_train` and, optionally, `x_test`, `y_test`.

    Inputs may be (n, M), (n, H, W) or (n, D, H, W).  Rows (n, M) are put on `grid` if it is given; else, in dimension
    d, on a grid of M^(1/d) pixels along each axis.  The type of `y` decides its meaning: integers, truth values and
    strings are labels (the sorted distinct values become 0 … C − 1, `class_values` keeps them), floats are regression
    targets, even if their values are whole numbers.

    Args:
        path: The file.
        grid: Pixels along each axis, or None to take the file's shape or a grid of equal sides.
        dimension: Dimension d of the domain, 1, 2 or 3.
        standardize: Whether to standardize by the training part (all of `x` if the file has no test part; to split
            first, set this to False and call `DataSet.standardized` afterwards).
        labels: Whether only labels will do, as for softmax: floats are then labels too, if they are whole numbers, and
            refused if they are not.

    Returns:
        The data; `test` is None if the file has no test part.

    Raises:
        InvalidInput: All faults of the file, one per line: not an archive, damaged, arrays missing or made of objects,
            shapes that fit no grid, unequal numbers of samples, values that are not finite, labels in the test part
            that the training part lacks.
    """
    shape = _check_grid(grid, dimension)
    path = Path(path)
    faults: list[str] = []
    with open_archive(path) as archive:
        held = set(archive.files)
        divided = bool(held & {"x_train", "y_train", "x_test", "y_test"})
        if divided and held & {"x", "y"}:
            raise InvalidInput(
                f"{path}: holds {listed_names(held)}; expected x and y, or x_train, y_train, x_test and y_test, not "
                "both"
            )
        pairs = [("x_train", "y_train")] if divided else [("x", "y")]
        if held & {"x_test", "y_test"}:
            pairs.append(("x_test", "y_test"))
        wanted = [name for pair in pairs for name in pair]
        if missing := [name for name in wanted if name not in held]:
            what = f"{listed_names(missing)} missing; the file holds {listed_names(held)}"
            faults.append(f"{path}: {what}; give the arrays these names, as by numpy.savez(path, x=…, y=…)")
        arrays = read_arrays(archive, path, [name for name in wanted if name in held], faults=faults)
    inputs = _read_inputs(arrays, path, [x for x, _ in pairs], shape, dimension, faults)
    targets, classes = read_targets(arrays, path, [y for _, y in pairs], only_labels=labels, faults=faults)
    for x, y in pairs:
        if x in arrays and y in arrays and arrays[x].ndim and arrays[y].ndim and len(arrays[x]) != len(arrays[y]):
            faults.append(
                f"{path}: arrays '{x}' of shape {arrays[x].shape} and '{y}' of shape {arrays[y].shape} differ in the "
                "number of samples; one target per input is expected"
            )
    if faults:
        raise InvalidInput("\n".join(faults))
    names = () if classes is None else class_names(classes)
    parts = [
        Samples(inputs=inputs[x], targets=targets[y], classes=names, grid=inputs[x].shape[1:], class_values=classes)
        for x, y in pairs
    ]
    data = DataSet(samples=parts[0], test=parts[1] if len(parts) == 2 else None)
    return data.standardized() if standardize else data


@dataclass(frozen=True, kw_only=True, eq=False)
class NewSamples:
    """Samples to which a trained network is to be applied.

    Attributes:
        inputs: Shape (num_samples, *grid), as stored.
        truth: The true classes, shape (num_samples,), in the type of the file; None if the file does not hold them.
    """

    inputs: NDArray[np.float64]
    truth: NDArray[Any] | None


def load_new_samples(path: str | PathLike[str], sample_format: SampleFormat, dimension: int) -> NewSamples:
    """Read inputs `x` for a trained network and, if it knows classes and the file holds them, the true classes `y`.

    Args:
        path: The file.
        sample_format: The form of the network's samples: inputs of another grid are refused.  An array of the shape of
            one input is one sample.
        dimension: Dimension d of the domain, 1, 2 or 3.

    Raises:
        InvalidInput: All faults of the file, one per line: as for `load_npz`; also if `y` does not hold one label for
            each input, or none that the network knows.
    """
    shape = _check_grid(sample_format.grid, dimension)
    path = Path(path)
    faults: list[str] = []
    classes = sample_format.class_values
    with open_archive(path) as archive:
        wanted = ["x"] if classes is None or "y" not in archive.files else ["x", "y"]
        arrays = _new_arrays(archive, path, wanted, faults)
    inputs = _read_inputs(arrays, path, ["x"], shape, dimension, faults, single=True)
    truth = None
    if classes is not None and "y" in arrays:
        count = len(inputs["x"]) if "x" in inputs else None
        truth = read_truth(arrays["y"], path, classes, num_samples=count, faults=faults)
    if faults:
        raise InvalidInput("\n".join(faults))
    return NewSamples(inputs=inputs["x"], truth=truth)


def _new_arrays(archive: Any, path: Path, names: list[str], faults: list[str]) -> dict[str, NDArray[Any]]:
    """The arrays of a file with new samples, which must hold x."""
    if "x" not in archive.files:
        what = f"x missing; the file holds {listed_names(archive.files)}"
        raise InvalidInput(f"{path}: {what}; give the inputs this name, as by numpy.savez(path, x=…)")
    return read_arrays(archive, path, names, faults=faults)


# ── inputs ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _check_grid(grid: Sequence[int] | None, dimension: int) -> tuple[int, ...] | None:
    if dimension not in (1, 2, 3):
        raise InvalidInput(f"Unsupported {dimension=}, expected 1, 2 or 3")
    if grid is None:
        return None
    sizes = tuple(int(size) for size in grid)
    if len(sizes) != dimension or min(sizes) < 2:
        raise InvalidInput(f"{grid=} does not fit {dimension=}: expected {dimension} sizes of at least 2 pixels")
    return sizes


def _read_inputs(
    arrays: Mapping[str, NDArray[Any]],
    path: Path,
    names: Sequence[str],
    grid: tuple[int, ...] | None,
    dimension: int,
    faults: list[str],
    *,
    single: bool = False,
) -> dict[str, NDArray[np.float64]]:
    """The inputs `names`, float64 on one common pixel grid; faults, such as NaN, are appended to `faults`.

    With `single`, an array of the shape of one input, or of its values in a row, is one sample.
    """
    inputs = {}
    for name in names:
        if name not in arrays:
            continue
        array = arrays[name]
        place = f"{path}: array '{name}' of shape {array.shape}"
        if array.dtype.kind not in "biuf":
            faults.append(f"{place} has type {array.dtype}, expected real numbers")
            continue
        if single and (array.ndim == 1 or (array.shape == grid and len(array.shape) == dimension)):
            array = array[None]
        found = _grid_of(array.shape, grid, dimension, "that of the training" if single else "as asked for")
        if isinstance(found, str):
            faults.append(f"{place}: {found}")
            continue
        with np.errstate(over="ignore"):  # of numbers longer than 64 bits
            values = np.ascontiguousarray(array, dtype=np.float64)
        faults.extend(f"{place}: {fault}" for fault in non_finite(values))
        inputs[name] = values.reshape(len(array), *found)
    grids = {name: values.shape[1:] for name, values in inputs.items()}
    if len(set(grids.values())) > 1:
        faults.append(f"{path}: the pixel grids of training and test inputs differ: {grids}")
    return inputs


def _grid_of(shape: tuple[int, ...], grid: tuple[int, ...] | None, dimension: int, whose: str) -> tuple[int, ...] | str:
    """The pixel grid of inputs of this shape, or a sentence that says why there is none."""
    form = {1: "(n, M)", 2: "(n, H, W) or (n, M)", 3: "(n, D, H, W) or (n, M)"}[dimension]
    if len(shape) not in (2, dimension + 1):
        colours = ""
        if len(shape) == dimension + 2 and shape[-1] in (1, 3, 4):
            colours = f"; if the last axis is that of the channels ({shape[-1]}), keep one, as by x.mean(axis=-1)"
        return f"expected {form} in dimension {dimension}{colours}"
    if shape[0] == 0:
        return "there are no samples, expected at least one"
    if len(shape) == dimension + 1:
        found = shape[1:]
        if grid is not None and found != grid:
            return f"expected a pixel grid of {grid}, {whose}"
    elif grid is not None:
        found = grid
        if prod(grid) != shape[1]:
            return f"expected rows of {prod(grid)} values for a pixel grid of {grid}, {whose}"
    else:
        side = round(shape[1] ** (1.0 / dimension))
        found = (side,) * dimension
        if side**dimension != shape[1]:
            root = {2: "square", 3: "cube"}[dimension]
            return f"rows of {shape[1]} values are no {root} grid; give the pixel grid, or store the inputs as {form}"
    if min(found) < 2:
        return f"the pixel grid {found} has an axis of fewer than 2 pixels"
    return found
