# SPDX-License-Identifier: MIT
"""Arrays from a NumPy archive (NPZ): what the file is, whether it is whole, and which arrays it holds.

No code in a file is run: pickled objects are not read.  `data.loading` makes samples of the arrays.
"""

from __future__ import annotations

import errno
import os
import stat
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_selection.errors import InvalidInput

__all__ = ["listed_names", "non_finite", "open_archive", "read_arrays"]

_HOW = "write it with numpy.savez(path, x=…, y=…)"
_OBJECTS = (
    "holds Python objects, which are not read; expected numbers or strings of one type: for labels "
    "numpy.asarray(y, dtype=str), for inputs an array of one shape"
)

# what a file is that is no archive, by its first bytes
_KINDS = (
    (b"\x93NUMPY", f"a single array (numpy.save); {_HOW}"),
    (b"\x80", f"a Python pickle, which is not read, since it may run code; {_HOW}"),
    (b"\x89HDF\r\n", f"an HDF5 file; read its arrays with h5py and {_HOW}"),
    (b"PAR1", f"a Parquet file; read it with pandas and {_HOW}"),
    (b"MATLAB", f"a MATLAB file; read it with scipy.io.loadmat and {_HOW}"),
    (b"\x1f\x8b", f"compressed by gzip; decompress it, or {_HOW}"),
    (b"PK\x03\x04", "an archive that is cut short or damaged, for its table at the end is missing; write it again"),
)


@contextmanager
def open_archive(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """Open an NPZ file, for the time of a `with` block.

    Args:
        path: The file.

    Raises:
        InvalidInput: If there is no such file, it cannot be read, or it is no NPZ file; the message says what it is.
    """
    _refuse_other_files(path)
    with open(path, "rb") as file:  # numpy.load would leave it open where it fails
        try:
            archive = np.load(file, allow_pickle=False)
        except Exception as error:  # of a damaged file zipfile and NumPy raise errors of many kinds
            raise InvalidInput(f"{path}: damaged archive ({error}); write it again with numpy.savez") from error
        yield archive


def listed_names(names: Iterable[str]) -> str:
    """Return names as a text, sorted."""
    return ", ".join(sorted(set(names))) or "no arrays"


def read_arrays(
    archive: np.lib.npyio.NpzFile, path: Path, names: Sequence[str], *, faults: list[str]
) -> dict[str, NDArray[Any]]:
    """Return arrays of an archive by name; the faults of those that cannot be read are appended to `faults`.

    Args:
        archive: The archive.
        path: Its file, for messages.
        names: The names of the arrays; all of them are in the archive.
        faults: The list of faults.
    """
    arrays = {}
    counts = Counter(archive.files)
    for name in names:
        if counts[name] > 1:
            faults.append(f"{path}: holds {counts[name]} arrays with the name '{name}'; write each of them once")
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of headers that an early NumPy wrote
                array = archive[name]
        except Exception as error:
            if "Object arrays" in str(error):
                reason = _OBJECTS
            elif isinstance(error, MemoryError):
                reason = f"does not fit into memory ({error or 'MemoryError'}); or the file is damaged"
            else:
                reason = f"cannot be read ({type(error).__name__}: {error}); the file is damaged, write it again"
            faults.append(f"{path}: array '{name}' {reason}")
            continue
        if isinstance(array, np.ndarray):
            arrays[name] = array
        else:
            faults.append(f"{path}: '{name}' is no NumPy array; {_HOW}")
    return arrays


def non_finite(values: NDArray[np.float64]) -> list[str]:
    """Return a fault if there are NaN or Inf, with their number and the first sample that has one."""
    finite = np.isfinite(values)
    if finite.all():
        return []
    bad = np.flatnonzero(~finite.reshape(len(values), -1).all(axis=1))
    count = int(finite.size - np.count_nonzero(finite))
    return [f"{count} NaN or Inf in {len(bad)} sample(s), first in sample {bad[0]}; expected finite numbers"]


def _refuse_other_files(path: Path) -> None:
    """Raise an error that says what a file is, if it is no readable archive."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise InvalidInput(f"{path}: no such file, but a folder; expected a NumPy archive (numpy.savez)")
        if not stat.S_ISREG(mode):  # a pipe would let the reader wait
            raise InvalidInput(f"{path}: no such file, but a device or pipe; expected a NumPy archive (numpy.savez)")
        with open(path, "rb") as file:
            first = file.read(8)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise InvalidInput(f"{path}: cannot be read: {error.strerror or error}") from error
        raise InvalidInput(f"{path}: no such file; expected a NumPy archive (numpy.savez)") from error
    if not first:
        raise InvalidInput(f"{path}: not a NumPy archive, but empty; {_HOW}")
    if not zipfile.is_zipfile(path):  # also prevents numpy.load from reading pickles and single arrays
        kind = next((kind for start, kind in _KINDS if first.startswith(start)), f"some other file; {_HOW}")
        raise InvalidInput(f"{path}: not a NumPy archive, but {kind}")
