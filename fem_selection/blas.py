# SPDX-License-Identifier: MIT
"""One BLAS call, C ← α op(A) op(B) + β C in place, on blocks in Fortran order."""

from __future__ import annotations

from scipy.linalg.blas import dgemm

from fem_selection.typing import Block

__all__ = ["add_product"]


def add_product(
    scale: float,
    a: Block,
    b: Block,
    out: Block,
    transpose_a: bool = False,
    transpose_b: bool = False,
    keep: bool = True,
) -> None:
    """`out` = scale · op(a) op(b), plus what `out` held if `keep`.

    All three must be in Fortran order: BLAS would work on a silent copy of `out` otherwise.
    """
    assert out.flags.f_contiguous
    if 0 in a.shape or 0 in b.shape:
        if not keep:
            out[...] = 0.0
        return
    dgemm(scale, a, b, float(keep), out, transpose_a, transpose_b, 1)
