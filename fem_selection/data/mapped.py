# SPDX-License-Identifier: MIT
"""A single array of inputs (`numpy.save`) as a memory map, so that each rank reads the samples that it sweeps alone.

Use `load_npz` for archives, which are read whole by every rank.
"""

from __future__ import annotations

from os import PathLike

import numpy as np
from numpy.typing import NDArray

from fem_selection.errors import InvalidInput

__all__ = ["open_mapped"]


def open_mapped(path: str | PathLike[str], dimension: int) -> NDArray[np.generic]:
    """Return the array of a file NPY of inputs on a grid, without reading its values.

    Args:
        path: The file, an array of numbers of shape (num_samples, *grid) in C order.
        dimension: Dimension d of the domain, the number of axes of the grid.

    Raises:
        InvalidInput: if the file cannot be read, is no NPY file of real numbers, or has another number of axes.

    Example:
        >>> np.save("images.npy", np.zeros((2, 256, 256), dtype=np.uint8))
        >>> open_mapped("images.npy", 2).shape
        (2, 256, 256)
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InvalidInput(f"{path}: no file of one array, as numpy.save writes it ({error})") from error
    if not isinstance(array, np.memmap):
        array.close()
        raise InvalidInput(f"{path}: an archive of arrays; read it with load_npz, or save the inputs by numpy.save")
    if array.dtype.kind not in "biuf":
        raise InvalidInput(f"{path}: array of type {array.dtype}, expected real numbers")
    if array.ndim != dimension + 1 or 0 in array.shape or min(array.shape[1:]) < 2:
        raise InvalidInput(
            f"{path}: array of shape {array.shape}, expected (num_samples, *grid) with {dimension} axes of at least 2 "
            "points"
        )
    return array
