# SPDX-License-Identifier: MIT
"""Compiled libraries: the cache, broken files in it, compilers that fail, processors of another kind."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fem_selection.functions import libraries
from fem_selection.functions.libraries import describe_compiler, load_library

SOURCE = "int fem_selection_answer(void) { return 42; }"
DECLARATIONS = "int fem_selection_answer(void);"


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """No library loaded and an empty cache; the folder of the cache."""
    load_library.cache_clear()
    monkeypatch.setattr(libraries.jit, "get_options", lambda: {"cache_dir": tmp_path / "cache"})
    yield tmp_path / "cache"
    load_library.cache_clear()


def load():
    """The function of the library, or None."""
    library = load_library(SOURCE, DECLARATIONS)
    return None if library is None else library.functions.fem_selection_answer


def move(monkeypatch, folder):
    """Put the cache elsewhere: the loader would answer for a path that it has loaded already."""
    folder.mkdir(exist_ok=True)
    monkeypatch.setattr(libraries.jit, "get_options", lambda: {"cache_dir": folder})
    load_library.cache_clear()


def test_is_compiled_and_kept(fresh, monkeypatch):
    """Fails if a second process compiles again, or if the first leaves other files in the cache."""
    assert load()() == 42
    (library,) = fresh.iterdir()
    assert library.name.startswith("libfem_selection_")
    load_library.cache_clear()
    monkeypatch.setattr(libraries, "_compile", lambda source, library: pytest.fail("compiled again"))
    assert load()() == 42


def test_another_processor_compiles_its_own(fresh, monkeypatch):
    """Fails if machines that share a cache run each other's instructions."""
    assert load() is not None
    load_library.cache_clear()
    monkeypatch.setattr(libraries, "_processor", lambda: "another")
    assert load() is not None
    assert len(list(fresh.iterdir())) == 2


def test_another_compiler_compiles_its_own(fresh, monkeypatch, tmp_path):
    """Fails if a library of another compiler, or of another version in the same place, is taken for this one's."""
    assert load() is not None
    compiler = tmp_path / "cc"
    for number, version in enumerate(["first", "the second"], start=2):
        compiler.write_text(f'#!/bin/sh\n# {version}\nexec cc "$@"\n')
        compiler.chmod(0o755)
        monkeypatch.setenv("CC", str(compiler))
        load_library.cache_clear()
        assert load()() == 42
        assert len(list(fresh.iterdir())) == number


def test_library_of_an_earlier_run_without_a_compiler(fresh, monkeypatch):
    """Fails if a machine without a compiler overlooks what another machine compiled into the shared cache."""
    assert load() is not None
    load_library.cache_clear()
    monkeypatch.setattr(libraries.shutil, "which", lambda name: None)
    assert load()() == 42


def test_broken_library_is_replaced(fresh, monkeypatch):
    """Fails if a file of another machine or another program's is in the way for ever."""
    assert load() is not None
    (library,) = fresh.iterdir()
    other = fresh.with_name("other")
    move(monkeypatch, other)
    (other / library.name).write_bytes(b"no library")
    assert load()() == 42
    assert (other / library.name).stat().st_size == library.stat().st_size


def test_library_without_the_function(fresh, monkeypatch):
    """Fails if another library of the name ends the run."""
    assert load() is not None
    (library,) = fresh.iterdir()
    other = fresh.with_name("other")
    move(monkeypatch, other)
    source = fresh.with_name("other.c")
    source.write_text("int other(void) { return 1; }")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", other / library.name, source], check=True)
    assert load()() == 42


def test_without_a_compiler(fresh, monkeypatch):
    """Fails if a machine without a compiler gets an error where NumPy would do."""
    monkeypatch.setattr(libraries.shutil, "which", lambda name: None)
    assert load() is None
    assert "NumPy" in describe_compiler()


def test_compiler_that_fails(fresh, monkeypatch):
    """Fails if a compiler's error ends the run, or a compiler that does not exist hides one that does."""
    monkeypatch.setenv("CC", f"{sys.executable} -c 'raise SystemExit(1)'")
    assert load() is None
    assert "fails" in describe_compiler() and "NumPy" in describe_compiler()
    for number, name in enumerate(["/no/such/compiler", " ", "gcc '", ""]):
        monkeypatch.setenv("CC", name)
        move(monkeypatch, fresh.with_name(f"cache{number}"))
        assert load()() == 42


def test_no_place_for_temporary_files(fresh, monkeypatch):
    """Fails if a machine without a place for temporary files ends the run."""

    def refuse(*arguments, **options):
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(libraries.tempfile, "TemporaryDirectory", refuse)
    assert load() is None


def test_compiler_that_hangs(fresh, monkeypatch):
    """Fails if the time limit of the compiler becomes an error of the run."""

    def hang(*arguments, **options):
        raise subprocess.TimeoutExpired("cc", 1.0)

    monkeypatch.setattr(libraries.subprocess, "run", hang)
    assert load() is None


def test_cache_that_cannot_be_written(fresh):
    """Fails if the library is lost where the cache's place is taken by a file."""
    fresh.write_text("a file")
    assert load()() == 42
