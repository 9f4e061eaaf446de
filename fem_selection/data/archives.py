# SPDX-License-Identifier: MIT
"""Samples from a user's NumPy archive (NPZ); all faults of a file are reported at once.

No code in a file is run: pickled objects are not read.
"""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_selection.data.samples import DataSet, Samples
from fem_selection.errors import InvalidInput
from fem_selection.settings import DataSettings

__all__ = ["load_npz", "load_npz_inputs", "load_npz_truth"]


def load_npz(
    path: str | PathLike[str],
    grid: Sequence[int] | None,
    dimension: int,
    *,
    standardize: bool = DataSettings.standardize,
) -> DataSet:
    """Read samples from a NumPy archive with `x` and `y`, or `x_train`, `y_train` and, optionally, `x_test`, `y_test`.

    Inputs may be (n, M), (n, H, W) or (n, D, H, W).  Rows (n, M) are put on `grid` if it is given; else, in dimension
    d, on a grid of M^(1/d) pixels along each axis.  The type of `y` decides its meaning: integers and strings are
    labels (the sorted distinct values become 0 … C − 1, `classes` keeps them as strings), floats are regression
    targets, even if their values are whole numbers.

    Args:
        path: The file.
        grid: Pixels along each axis, or None to take the file's shape or a grid of equal sides.
        dimension: Dimension d of the domain, 1, 2 or 3.
        standardize: Whether to standardize by the training part (all of `x` if the file has no test part; to split
            first, set this to False and call `DataSet.standardized` afterwards).

    Returns:
        The data; `test` is None if the file has no test part.

    Raises:
        InvalidInput: All faults of the file, one per line: not an archive, damaged, arrays missing or made of objects,
            shapes that fit no grid, unequal numbers of samples, values that are not finite, labels in the test part
            that the training part lacks.
    """
    shape = _check_grid(grid, dimension)
    path = Path(path)
    with _open(path) as archive:
        held = set(archive.files)
        divided = bool(held & {"x_train", "y_train", "x_test", "y_test"})
        if divided and held & {"x", "y"}:
            raise InvalidInput(
                f"{path}: holds {_listed(held)}; expected x and y, or x_train, y_train, x_test and y_test, not both"
            )
        pairs = [("x_train", "y_train")] if divided else [("x", "y")]
        if held & {"x_test", "y_test"}:
            pairs.append(("x_test", "y_test"))
        wanted = [name for pair in pairs for name in pair]
        faults = []
        if missing := [name for name in wanted if name not in held]:
            faults.append(f"{path}: {_listed(missing)} missing; the file holds {_listed(held)}")
        arrays = _read_arrays(archive, path, [name for name in wanted if name in held], faults)
    inputs = _read_inputs(arrays, path, [x for x, _ in pairs], shape, dimension, faults)
    targets, classes = _read_targets(arrays, path, [y for _, y in pairs], faults)
    for x, y in pairs:
        if x in arrays and y in arrays and arrays[x].ndim and arrays[y].ndim and len(arrays[x]) != len(arrays[y]):
            faults.append(
                f"{path}: arrays '{x}' of shape {arrays[x].shape} and '{y}' of shape {arrays[y].shape} differ in the "
                "number of samples; one target per input is expected"
            )
    if faults:
        raise InvalidInput("\n".join(faults))
    parts = [Samples(inputs=inputs[x], targets=targets[y], classes=classes, grid=inputs[x].shape[1:]) for x, y in pairs]
    data = DataSet(samples=parts[0], test=parts[1] if len(parts) == 2 else None)
    return data.standardized() if standardize else data


def load_npz_inputs(path: str | PathLike[str], grid: Sequence[int] | None, dimension: int) -> NDArray[np.float64]:
    """Read the inputs `x` alone, for prediction; they are checked and shaped as in `load_npz`.

    Args:
        path: The file.
        grid: Pixels along each axis, or None to take the file's shape or a grid of equal sides.
        dimension: Dimension d of the domain, 1, 2 or 3.

    Returns:
        Shape (num_samples, *grid), as stored: apply the training data's `Standardization` if there was one.

    Raises:
        InvalidInput: All faults of the file, one per line.
    """
    shape = _check_grid(grid, dimension)
    path = Path(path)
    faults: list[str] = []
    with _open(path) as archive:
        if "x" not in archive.files:
            raise InvalidInput(f"{path}: x missing; the file holds {_listed(archive.files)}")
        arrays = _read_arrays(archive, path, ["x"], faults)
    inputs = _read_inputs(arrays, path, ["x"], shape, dimension, faults)
    if faults:
        raise InvalidInput("\n".join(faults))
    return inputs["x"]


# the exceptions of NumPy and zipfile for damaged, foreign or encrypted files
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    RuntimeError,
    MemoryError,
    OverflowError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def load_npz_truth(path: str | PathLike[str], num_samples: int) -> NDArray[np.str_] | None:
    """Return the labels `y` of an archive as text; None if it has none (floats are no labels).

    Args:
        path: The file, from which `load_npz_inputs` has read.
        num_samples: Number of inputs in it.

    Raises:
        InvalidInput: if `y` cannot be read, or does not hold one label for each input.
    """
    with np.load(path, allow_pickle=False) as arrays:
        if "y" not in arrays:
            return None
        try:
            truth = arrays["y"].ravel()
        except ValueError as error:
            raise InvalidInput(f"{path}: array 'y' cannot be read: {error}") from error
    if truth.dtype.kind == "f":
        return None
    if truth.size != num_samples:
        raise InvalidInput(f"{path}: array 'y' holds {truth.size} labels for {num_samples} inputs")
    return np.char.decode(truth, "latin-1") if truth.dtype.kind == "S" else truth.astype(str)


def _check_grid(grid: Sequence[int] | None, dimension: int) -> tuple[int, ...] | None:
    if dimension not in (1, 2, 3):
        raise InvalidInput(f"Unsupported {dimension=}, expected 1, 2 or 3")
    if grid is None:
        return None
    sizes = tuple(int(size) for size in grid)
    if len(sizes) != dimension or min(sizes) < 2:
        raise InvalidInput(f"{grid=} does not fit {dimension=}: expected {dimension} sizes of at least 2 pixels")
    return sizes


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "no arrays"


def _open(path: Path) -> np.lib.npyio.NpzFile:
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file; expected a NumPy archive (numpy.savez)")
    if not zipfile.is_zipfile(path):  # also prevents numpy.load from reading pickles and single arrays
        raise InvalidInput(f"{path}: not a NumPy archive, or cut short; write it with numpy.savez(path, x=…, y=…)")
    try:
        return np.load(path, allow_pickle=False)
    except _DAMAGE as error:
        raise InvalidInput(f"{path}: damaged archive ({error}); write it again with numpy.savez") from error


def _read_arrays(
    archive: Mapping[str, Any], path: Path, names: Sequence[str], faults: list[str]
) -> dict[str, NDArray[Any]]:
    arrays = {}
    for name in names:
        try:
            array = archive[name]
        except _DAMAGE as error:
            if "Object arrays" in str(error):
                reason = "holds Python objects, which are not read; expected numbers or strings of one type"
            else:
                reason = f"cannot be read ({type(error).__name__}: {error}); the file is damaged, write it again"
            faults.append(f"{path}: array '{name}' {reason}")
            continue
        if isinstance(array, np.ndarray):
            arrays[name] = array
        else:
            faults.append(f"{path}: '{name}' is no NumPy array; write the file with numpy.savez")
    return arrays


def _read_inputs(
    arrays: Mapping[str, NDArray[Any]],
    path: Path,
    names: Sequence[str],
    grid: tuple[int, ...] | None,
    dimension: int,
    faults: list[str],
) -> dict[str, NDArray[np.float64]]:
    """The inputs `names`, float64 on one common pixel grid; faults, such as NaN, are appended to `faults`."""
    inputs = {}
    for name in names:
        if name not in arrays:
            continue
        array = arrays[name]
        place = f"{path}: array '{name}' of shape {array.shape}"
        if array.dtype.kind not in "biuf":
            faults.append(f"{place} has type {array.dtype}, expected real numbers")
            continue
        found = _grid_of(array.shape, grid, dimension)
        if isinstance(found, str):
            faults.append(f"{place}: {found}")
            continue
        values = np.ascontiguousarray(array, dtype=np.float64)
        faults.extend(f"{place}: {fault}" for fault in _non_finite(values))
        inputs[name] = values.reshape(len(array), *found)
    grids = {name: values.shape[1:] for name, values in inputs.items()}
    if len(set(grids.values())) > 1:
        faults.append(f"{path}: the pixel grids of training and test inputs differ: {grids}")
    return inputs


def _grid_of(shape: tuple[int, ...], grid: tuple[int, ...] | None, dimension: int) -> tuple[int, ...] | str:
    """The pixel grid of inputs of this shape, or a sentence that says why there is none."""
    form = {1: "(n, M)", 2: "(n, H, W) or (n, M)", 3: "(n, D, H, W) or (n, M)"}[dimension]
    if len(shape) not in (2, dimension + 1):
        return f"expected {form} in dimension {dimension}"
    if shape[0] == 0:
        return "there are no samples, expected at least one"
    if len(shape) == dimension + 1:
        found = shape[1:]
        if grid is not None and found != grid:
            return f"expected a pixel grid of {grid}, as asked for"
    elif grid is not None:
        found = grid
        if prod(grid) != shape[1]:
            return f"expected rows of {prod(grid)} values for a pixel grid of {grid}"
    else:
        side = round(shape[1] ** (1.0 / dimension))
        found = (side,) * dimension
        if side**dimension != shape[1]:
            root = {2: "square", 3: "cube"}[dimension]
            return f"rows of {shape[1]} values are no {root} grid; give the pixel grid, or store the inputs as {form}"
    if min(found) < 2:
        return f"the pixel grid {found} has an axis of fewer than 2 pixels"
    return found


def _non_finite(values: NDArray[np.float64]) -> list[str]:
    """A fault if there are NaN or Inf, with their number and the first sample that has one."""
    finite = np.isfinite(values)
    if finite.all():
        return []
    bad = np.flatnonzero(~finite.reshape(len(values), -1).all(axis=1))
    count = int(finite.size - np.count_nonzero(finite))
    return [f"{count} NaN or Inf in {len(bad)} sample(s), first in sample {bad[0]}; expected finite numbers"]


def _read_targets(
    arrays: Mapping[str, NDArray[Any]], path: Path, names: Sequence[str], faults: list[str]
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Labels 0 … C − 1 with the classes' names, or float targets of shape (num_samples, num_outputs)."""
    targets: dict[str, NDArray[Any]] = {}
    kinds: dict[str, str] = {}
    for name in names:
        if name not in arrays:
            continue
        array = arrays[name]
        place = f"{path}: array '{name}' of shape {array.shape}"
        if array.ndim == 0:
            faults.append(f"{place}: expected one target per sample, (n,) or (n, number of outputs)")
        elif array.dtype.kind == "f":
            values = np.ascontiguousarray(array, dtype=np.float64)
            values = values.reshape(len(values), prod(values.shape[1:]))
            faults.extend(f"{place}: {fault}" for fault in _non_finite(values))
            targets[name], kinds[name] = values, "numbers"
        elif array.dtype.kind in "biuUS":
            labels = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
            if labels.ndim != 1:
                faults.append(
                    f"{place} has type {array.dtype}, so labels of shape (n,) are expected; store regression targets "
                    "as floats"
                )
                continue
            targets[name] = np.char.decode(labels, "latin-1") if labels.dtype.kind == "S" else labels
            kinds[name] = "strings" if labels.dtype.kind in "US" else "integers"
        else:
            faults.append(f"{place} has type {array.dtype}, expected integers, strings or real numbers")
    if len(set(kinds.values())) > 1:
        faults.append(f"{path}: training and test targets differ in kind: {kinds}")
        return {}, ()
    if "numbers" in kinds.values():
        widths = {name: values.shape[1] for name, values in targets.items()}
        if len(set(widths.values())) > 1:
            faults.append(f"{path}: training and test targets differ in their number of outputs: {widths}")
        return targets, ()
    return _number_labels(targets, path, names, faults)


def _number_labels(
    labels: Mapping[str, NDArray[Any]], path: Path, names: Sequence[str], faults: list[str]
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Replace each label by its rank among the distinct labels of the training part."""
    if names[0] not in labels:
        return {}, ()
    values = np.unique(labels[names[0]])
    if len(values) < 2:
        faults.append(f"{path}: array '{names[0]}' has the labels {values.tolist()}, expected at least two classes")
        return {}, ()
    numbered: dict[str, NDArray[Any]] = {}
    for name, array in labels.items():
        if len(unknown := np.setdiff1d(array, values)):
            faults.append(f"{path}: array '{name}' has the labels {unknown[:10].tolist()}, which '{names[0]}' lacks")
        else:
            numbered[name] = np.searchsorted(values, array).astype(np.int64)
    return numbered, tuple(str(value) for value in values)
