# SPDX-License-Identifier: MIT
"""The compiled tanh: its error, special values, layouts, and what happens without a compiler or a cache."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from fem_selection.functions import hyperbolic
from fem_selection.functions.hyperbolic import tanh

POINTS = np.random.default_rng(3)
X = np.concatenate(
    [
        np.linspace(-1.0, 1.0, 40001),
        np.linspace(-25.0, 25.0, 20001),
        POINTS.standard_normal(20000) * 10.0 ** POINTS.integers(-300, 300, 20000),
    ]
)


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """No library loaded and an empty cache; the folder of the cache."""
    hyperbolic._loop.cache_clear()
    monkeypatch.setattr(hyperbolic.jit, "get_options", lambda: {"cache_dir": tmp_path / "cache"})
    yield tmp_path / "cache"
    hyperbolic._loop.cache_clear()


def test_is_compiled():
    """Fails if the source does not compile here, as it has to wherever FFCx compiles forms."""
    assert hyperbolic._loop() is not None


def test_error_is_within_three_units_in_the_last_place():
    """Fails if the polynomial, the reduction by ln 2 or the power of 2 loses digits, near zero above all."""
    exact = np.tanh(X.astype(np.longdouble))
    in_last_place = np.abs(tanh(X, np.empty_like(X)) - exact) / np.spacing(np.abs(exact.astype(np.float64)))
    assert in_last_place.max() <= 3.0


def test_special_values():
    """Fails if the sign of zero or NaN is lost, an infinity does not give ±1, or subnormal numbers are flushed to
    zero."""
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, -1e-310, 19.0, -50.0, 1e308])
    found = tanh(special, np.empty_like(special))
    np.testing.assert_array_equal(found, [0.0, -0.0, 1.0, -1.0, np.nan, 5e-324, -1e-310, 1.0, -1.0, 1.0])
    np.testing.assert_array_equal(np.signbit(found[:2]), [False, True])


def test_odd_and_independent_of_neighbours():
    """Fails if what is left over behind whole vectors is computed by another formula."""
    whole = tanh(X, np.empty_like(X))
    np.testing.assert_array_equal(tanh(-X, np.empty_like(X)), -whole)
    for length in range(1, 12):
        np.testing.assert_array_equal(tanh(X[:length], np.empty(length)), whole[:length])


@pytest.mark.parametrize("layout", ["C", "F", "every other row", "scalar"])
def test_layouts_and_broadcasting(layout, rng):
    """Fails if a stride is ignored: a view, another order, a row, a column, a number, integers, in place."""
    x = rng.standard_normal((6, 5)) if layout != "scalar" else np.array(0.7)

    def out():
        if layout == "every other row":
            return np.full((12, 5), 9.0)[::2]
        return np.empty(x.shape, order="F" if layout == "F" else "C")

    sources = [x, 0.3, np.float64(-0.3), 2]
    if x.ndim:
        sources += [np.asfortranarray(x), np.arange(5), x[0], x[:, :1], np.repeat(x, 2, axis=1)[:, ::2]]
    for source in sources:
        result = out()
        assert tanh(source, out=result) is result
        np.testing.assert_allclose(result, np.broadcast_to(np.tanh(source), result.shape), rtol=1e-15)
    result = out()
    result[...] = x
    np.testing.assert_allclose(tanh(result, result), np.tanh(x), rtol=1e-15)
    if layout == "every other row":
        np.testing.assert_array_equal(result.base[1::2], 9.0)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (0, 2, 1)])
def test_three_axes_in_any_order(rng, order):
    """Fails if the axes of an array that is in neither order are taken for those of its copy."""
    x = rng.standard_normal((2, 3, 4)).transpose(order)
    np.testing.assert_allclose(tanh(x, np.empty_like(x)), np.tanh(x), rtol=1e-15)
    np.testing.assert_allclose(tanh(x, np.empty(x.shape)), np.tanh(x), rtol=1e-15)


def test_overlapping_arrays(rng):
    """Fails if a value is read after its place was written."""
    for source, target in ((slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))):
        numbers = rng.standard_normal(100)
        wanted = np.tanh(numbers[source])
        tanh(numbers[source], numbers[target])
        np.testing.assert_allclose(numbers[target], wanted, rtol=1e-15)


def test_read_only_result(rng):
    """Fails if the loop writes where NumPy would refuse to."""
    numbers = rng.standard_normal(5)
    frozen = numbers.copy()
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        tanh(numbers, frozen)


def test_library_is_kept(fresh, monkeypatch):
    """Fails if a second process compiles again, or if the first leaves other files in the cache."""
    assert hyperbolic._loop() is not None
    (library,) = fresh.iterdir()
    assert library.name.startswith("libfem_selection_tanh_")
    hyperbolic._loop.cache_clear()
    monkeypatch.setattr(hyperbolic, "_compile", lambda library: pytest.fail("compiled again"))
    assert hyperbolic._loop() is not None


def test_broken_library_is_replaced(fresh, monkeypatch):
    """Fails if a file of another machine or another program's is in the way for ever."""
    assert hyperbolic._loop() is not None
    (library,) = fresh.iterdir()
    other = fresh.with_name("other") / library.name  # the loader would answer for a path that it has loaded already
    other.parent.mkdir()
    other.write_bytes(b"no library")
    monkeypatch.setattr(hyperbolic.jit, "get_options", lambda: {"cache_dir": other.parent})
    hyperbolic._loop.cache_clear()
    assert hyperbolic._loop() is not None
    assert other.stat().st_size == library.stat().st_size


def test_without_a_compiler_numpy_answers(fresh, monkeypatch):
    """Fails if a machine without a compiler has no tanh, or one that is not NumPy's."""
    monkeypatch.setattr(hyperbolic.shutil, "which", lambda name: None)
    assert hyperbolic._loop() is None
    np.testing.assert_array_equal(tanh(X, np.empty_like(X)), np.tanh(X))


def test_compiler_that_fails(fresh, monkeypatch):
    """Fails if a compiler's error ends the run."""
    monkeypatch.setenv("CC", f"{sys.executable} -c 'raise SystemExit(1)'")
    assert hyperbolic._loop() is None
    for number, name in enumerate(["/no/such/compiler", " ", "gcc '", ""]):
        monkeypatch.setenv("CC", name)
        monkeypatch.setattr(hyperbolic.jit, "get_options", lambda n=number: {"cache_dir": fresh.with_name(f"cache{n}")})
        hyperbolic._loop.cache_clear()
        assert hyperbolic._loop() is not None


def test_library_without_the_function(fresh, monkeypatch):
    """Fails if another library of the name ends the run."""
    assert hyperbolic._loop() is not None
    (library,) = fresh.iterdir()
    other = fresh.with_name("other") / library.name
    other.parent.mkdir()
    source = fresh.with_name("other.c")
    source.write_text("int other(void) { return 1; }")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", other, source], check=True)
    monkeypatch.setattr(hyperbolic.jit, "get_options", lambda: {"cache_dir": other.parent})
    hyperbolic._loop.cache_clear()
    assert hyperbolic._loop() is not None


def test_no_place_for_temporary_files(fresh, monkeypatch):
    """Fails if a machine without a place for temporary files ends the run; NumPy's function answers."""

    def refuse(*arguments, **options):
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(hyperbolic.tempfile, "TemporaryDirectory", refuse)
    assert hyperbolic._loop() is None


def test_compiler_that_hangs(fresh, monkeypatch):
    """Fails if the time limit of the compiler becomes an error of the run."""

    def hang(*arguments, **options):
        raise subprocess.TimeoutExpired("cc", 1.0)

    monkeypatch.setattr(hyperbolic.subprocess, "run", hang)
    assert hyperbolic._loop() is None


def test_cache_that_cannot_be_written(fresh):
    """Fails if the library is lost where the cache's place is taken by a file."""
    fresh.write_text("a file")
    assert hyperbolic._loop() is not None
    np.testing.assert_allclose(tanh(X, np.empty_like(X)), np.tanh(X), rtol=1e-15)
