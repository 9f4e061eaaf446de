# SPDX-License-Identifier: MIT
"""Products of blocks in Fortran order, by compiled tiles where the processor has AVX-512 (`products.h`).

C ← α A B + β C.  `linalg.blas` calls it for products layer by layer; `dynamics/sweep.c` contains the same code.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from fem_selection.functions.libraries import has_instructions, load_library
from fem_selection.typing import Block

__all__ = ["HEADER", "Product", "find_product"]

HEADER = Path(__file__).with_name("products.h").read_text()
"""The C code, for libraries that contain it."""

Product = Callable[[float, Block, Block, float, Block], None]
"""Called as product(α, A, B, β, C): C, float64 in Fortran order, is overwritten; A and B are float64 of any strides."""


@cache
def find_product() -> Product | None:
    """Return the compiled product, or None if this processor has no AVX-512 or there is no compiler."""
    if not has_instructions("avx512f"):
        return None
    declaration = re.search(r"^void fem_selection_product\([^)]*\)", HEADER, flags=re.MULTILINE)
    assert declaration is not None
    library = load_library(HEADER, f"{declaration[0]};")
    if library is None:
        return None
    functions, at = (
        library.functions,
        library.address,
    )  # cffi closes a library that nobody holds, also while its functions are in use

    def product(alpha: float, a: Block, b: Block, beta: float, c: Block) -> None:
        (down, right), (b_down, b_right) = a.strides, b.strides
        functions.fem_selection_product(
            *c.shape,
            a.shape[1],
            alpha,
            at(a),
            down >> 3,
            right >> 3,
            at(b),
            b_down >> 3,
            b_right >> 3,
            beta,
            at(c),
        )

    return product
