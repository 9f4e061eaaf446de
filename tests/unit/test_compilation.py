# SPDX-License-Identifier: MIT
"""What happens without a C compiler, and after a run that was killed while it compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mpi4py import MPI

from fem_selection import compilation
from fem_selection.errors import CompilationFailed

SPACE = """
import fem_selection as fs
space = fs.StateSpace(fs.interval(fs.Ensemble().space_comm, 4))
print(space.num_nodes)
"""
CASE = """
domain = { shape = "interval", cells = 4 }
dynamics = { kernel = "0.1" }
data = { source = "formula", initial = "y" }
"""
COMMAND = "import sys; from fem_selection.cli import main; sys.argv[1:] = ['steady', 'case.toml']; main()"
HOLDER = """
import fcntl, sys
lock = open(sys.argv[1], "a")
fcntl.flock(lock, fcntl.LOCK_SH)
print("held", flush=True)
input()
"""


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with a cache of its own."""
    own = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), **environment}
    return subprocess.run(
        [sys.executable, *arguments], env=own, cwd=folder, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize(
    ("compiler", "words"),
    [
        ("/nonexistent/cc", "there is no C compiler '/nonexistent/cc'"),
        pytest.param("/bin/false", "could not compile the integrals", marks=pytest.mark.slow),
    ],
)
def test_without_a_compiler_there_is_one_line(tmp_path, compiler, words):
    """Fails if a traceback is shown, a key of the case is blamed, or the message does not say what to install."""
    (tmp_path / "case.toml").write_text(CASE)
    done = run(tmp_path, "-c", COMMAND, CC=compiler)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    line = done.stderr.splitlines()[0]
    assert line.startswith("error: ") and words in line and "apt install" in line and "CC" in line
    assert "domain." not in line


def leave_unfinished(folder: Path) -> None:
    """What a run leaves behind that is killed while its compiler runs."""
    (source,) = (folder / "cache" / "fenics").glob("libffcx_*.c")
    for other in source.parent.glob(f"{source.stem}*"):
        other.unlink()
    source.touch()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 3])
def test_later_runs_recover_from_a_killed_one(tmp_path, processes):
    """Fails if they end with "JIT compilation timed out", wait for each other, or compile into each other's files."""
    assert run(tmp_path, "-c", SPACE).stdout == "5\n"
    leave_unfinished(tmp_path)
    with ThreadPoolExecutor(processes) as pool:
        done = list(pool.map(lambda _: run(tmp_path, "-c", SPACE), range(processes)))
    assert [(one.stdout, one.stderr) for one in done] == [("5\n", "")] * processes


def fail_once(error: Exception):
    """A function that fails at its first call."""
    calls = []

    def make() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise error
        return "made"

    return make


def test_a_file_that_nobody_compiles_is_moved_away(tmp_path, monkeypatch):
    """Fails if the file of a dead process stays, or that of a live one is taken from it."""
    monkeypatch.setattr(compilation, "_cache", lambda: tmp_path)
    file = tmp_path / "libffcx_forms_1.c"
    waited = TimeoutError(f"JIT compilation timed out. Try cleaning cache (e.g. remove {file}) or increase it.")
    file.touch()
    assert compilation.compile_with(MPI.COMM_SELF, fail_once(waited)) == "made"
    assert not file.exists()
    file.touch()
    monkeypatch.setattr(compilation, "_PATIENCE", 0.5)
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "fem_selection.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None and other.stdout.readline() == "held\n"
    with pytest.raises(CompilationFailed, match=rf"waits for {file}.*remove this file"):
        compilation.compile_with(MPI.COMM_SELF, fail_once(waited))
    assert file.exists()
    other.kill()
    other.communicate()
    assert compilation.compile_with(MPI.COMM_SELF, fail_once(waited)) == "made"


def test_other_errors_pass():
    """Fails if an error of a form is taken for one of the compiler."""
    with pytest.raises(ValueError, match="mine"):
        compilation.compile_with(MPI.COMM_SELF, fail_once(ValueError("mine")))
