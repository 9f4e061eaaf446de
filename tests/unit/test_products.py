# SPDX-License-Identifier: MIT
"""Products by compiled tiles against NumPy: remainders of the tiles, strides, special values, places of columns."""

from __future__ import annotations

import gc
from itertools import product

import numpy as np
import pytest

from fem_selection.functions.libraries import load_library
from fem_selection.linalg import blas
from fem_selection.linalg.products import find_product

pytestmark = pytest.mark.skipif(find_product() is None, reason="this processor has no AVX-512, or there is no compiler")

SIZES = (1, 2, 3, 7, 8, 9, 16, 17, 31, 32, 33, 63, 64, 65, 100)
EPSILON = np.finfo(float).eps


def random_block(*shape: int, seed: int = 0) -> np.ndarray:
    """A block in Fortran order."""
    return np.asfortranarray(np.random.default_rng([seed, *shape]).standard_normal(shape))


def check(a: np.ndarray, b: np.ndarray, alpha: float, beta: float) -> None:
    """The product is within the bound of a sum of k terms in any order, (k + 2) ε |A| |B|."""
    c = random_block(a.shape[0], b.shape[1], seed=3)
    expected = alpha * (a @ b) + beta * c
    bound = (a.shape[1] + 4) * EPSILON * (abs(alpha) * (np.abs(a) @ np.abs(b)) + np.abs(beta * c))
    find_product()(alpha, a, b, beta, c)
    assert np.all(np.abs(c - expected) <= bound)


@pytest.mark.parametrize("rows", SIZES)
def test_every_remainder(rows):
    """Fails if a tile at the border leaves rows, columns or terms out, takes others, or forgets α or what C held."""
    for columns, depth in product(SIZES, (1, 5, 64, 255, 256, 257, 600)):
        check(random_block(rows, depth), random_block(depth, columns, seed=1), 0.7, -1.3)


@pytest.mark.parametrize("order", list(product("TN", "TN")))
def test_transposed_factors_and_parts_of_blocks(order):
    """Fails if strides are taken for those of whole blocks in Fortran order."""
    a, b = random_block(80, 90), random_block(90, 70, seed=1)
    a, b = (f.T.copy(order="F").T if o == "T" else f for f, o in zip((a, b), order, strict=True))
    check(a, b, 1.0, 0.0)
    check(a[3:50:2, 5:77], b[5:77, 1:60:3], 1.0, 1.0)


def test_nothing_is_read_where_c_is_overwritten():
    """Fails if β = 0 multiplies what C held: memory that was never written may hold NaN."""
    a, b, c = random_block(33, 9), random_block(9, 7), np.full((33, 7), np.nan, order="F")
    find_product()(1.0, a, b, 0.0, c)
    assert np.all(np.isfinite(c))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_where_it_belongs(value):
    """Fails if rows of zeros that fill a vector, or the neighbours in a tile, take part in a sum."""
    a, b = random_block(35, 20), random_block(20, 11)
    a[34, 3], b[7, 9] = value, value
    c = np.zeros((35, 11), order="F")
    find_product()(1.0, a, b, 0.0, c)
    touched = np.zeros(c.shape, dtype=bool)
    touched[34], touched[:, 9] = True, True
    np.testing.assert_array_equal(~np.isfinite(c), touched)


def test_a_column_does_not_depend_on_its_neighbours():
    """Fails if an entry is summed in another order at another place of the block: results must be equal bit by bit."""
    a, b, before = random_block(64, 300), random_block(300, 40, seed=1), random_block(64, 40, seed=2)
    for alpha, beta in ((1.0, 0.0), (0.7, -1.3)):
        whole = before.copy(order="F")
        find_product()(alpha, a, b, beta, whole)
        for first, last in ((0, 1), (3, 8), (5, 24), (39, 40)):
            part = before[:, first:last].copy(order="F")
            find_product()(alpha, a, np.asfortranarray(b[:, first:last]), beta, part)
            np.testing.assert_array_equal(part, whole[:, first:last])


def test_add_product_takes_it_for_large_blocks_alone(monkeypatch):
    """Fails if blocks of other types reach the compiled code, or small ones pay for the call."""
    seen = []
    real = find_product()
    monkeypatch.setattr(blas, "find_product", lambda: lambda *arguments: (seen.append(arguments), real(*arguments)))
    for size, kind, count in ((64, np.float64, 1), (16, np.float64, 0), (64, np.float32, 0)):
        a, b = random_block(size, size).astype(kind, order="F"), random_block(size, size).astype(kind, order="F")
        out = np.zeros((size, size), order="F")
        blas.add_product(2.0, a, b, out=out, transpose_a=True)
        tolerance = 1e-4 if kind == np.float32 else 1e-13
        np.testing.assert_allclose(out, 2.0 * (a.astype(float).T @ b), rtol=0, atol=tolerance)
        assert len(seen) == count
        seen.clear()


def test_the_library_stays_as_long_as_its_function():
    """Fails if the library is closed when the cache of libraries is emptied: the next call would end the process."""
    load_library.cache_clear()
    gc.collect()
    check(random_block(9, 9), random_block(9, 9, seed=1), 1.0, 0.0)
