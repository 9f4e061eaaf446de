# SPDX-License-Identifier: MIT
"""Products and sums in place: C ← α op(A) op(B) + β C on blocks in Fortran order, and y ← y + α x.

They are BLAS's; products of some size are those of `linalg.products` where the processor has AVX-512.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.blas import daxpy, dgemm

from fem_selection.errors import InvalidInput
from fem_selection.linalg.products import find_product
from fem_selection.typing import Block, Floats

__all__ = ["add_product", "add_scaled"]

_SMALLEST = 1 << 18  # multiplications; below, the call from Python takes longer than the product gains


def add_product(
    scale: float,
    a: Block,
    b: Block,
    *,
    out: Block,
    transpose_a: bool = False,
    transpose_b: bool = False,
    keep: bool = True,
) -> None:
    """`out` = scale · op(A) op(B), plus what `out` held if `keep`.

    All three must be in Fortran order: otherwise BLAS would work on a copy of `out`, and the result would be lost.

    Args:
        scale: The factor of the product.
        a: A, shape (m, k), or (k, m) if transposed.
        b: B, shape (k, n), or (n, k) if transposed.
        out: Shape (m, n); overwritten, or added to if `keep`.
        transpose_a: Whether op(A) is Aᵀ.
        transpose_b: Whether op(B) is Bᵀ.
        keep: Whether to add to `out`.

    Raises:
        InvalidInput: if `out` is not in Fortran order.
    """
    if not out.flags.f_contiguous:
        raise InvalidInput(
            f"a block of shape {out.shape} that results are written to is not in Fortran order (sample after sample): "
            "make it by StateSpace.create_block or np.asfortranarray"
        )
    if out.size * a.size >= _SMALLEST * out.shape[0] and (product := find_product()) and _are_doubles(a, b, out):
        product(scale, a.T if transpose_a else a, b.T if transpose_b else b, float(keep), out)
    elif a.size and b.size:
        dgemm(scale, a, b, keep, out, transpose_a, transpose_b, 1)
    elif not keep:
        out.fill(0.0)


def _are_doubles(*arrays: Block) -> bool:
    return all(array.dtype == np.float64 for array in arrays)


def add_scaled(scale: float, x: Floats, out: Floats) -> None:
    """`out` += scale · x, for contiguous vectors.

    Args:
        scale: The factor.
        x: The vector that is added.
        out: A vector of the same length; added to.

    Raises:
        InvalidInput: if `out` is no contiguous vector.
    """
    if not out.flags.c_contiguous or out.ndim != 1:
        raise InvalidInput(f"an array of shape {out.shape} that is added to is no contiguous vector: pass a copy")
    if out.size:
        daxpy(x, out, a=scale)
