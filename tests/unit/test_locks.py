# SPDX-License-Identifier: MIT
"""The lock of a run's folder: one holder, released by the kernel, and no obstacle where there are no locks."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from fem_selection.errors import InvalidInput
from fem_selection.io import locks
from fem_selection.io.locks import LOCK, FolderLock
from fem_selection.io.runs import claim_folder

HOLD = """
import sys, time
from pathlib import Path
from fem_selection.io.locks import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_folder_has_one_holder(tmp_path: Path) -> None:
    """Fails if a second lock of a folder is granted, if the message lacks the holder, if the parent is locked too, or
    if a release leaves the folder locked."""
    with FolderLock(tmp_path):
        with pytest.raises(InvalidInput, match=r"another run is going on in .*\(process \d+ on .*\)"):
            FolderLock(tmp_path)
        with FolderLock(tmp_path.parent):
            pass
    FolderLock(tmp_path).release()


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    """Fails if the lock is the file, which `kill -9` leaves behind, and not the kernel's."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        with pytest.raises(InvalidInput, match=f"process {process.pid} on"):
            FolderLock(tmp_path)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    FolderLock(tmp_path).release()
    assert (tmp_path / LOCK).exists(), "the file itself means nothing"


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_without_locks_runs_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Fails if a file system that knows no locks ends the run."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with FolderLock(tmp_path), FolderLock(tmp_path):
        pass


def test_a_folder_in_use_is_not_claimed(tmp_path: Path) -> None:
    """Fails if `--resume` or `--overwrite` enters a folder that another run holds, or if the lock file alone makes a
    folder a run's."""
    with ExitStack() as held:
        claim_folder(tmp_path / "r", resume=False, overwrite=False, held=held)
        (tmp_path / "r" / "checkpoint").write_text("x")
        for resume, overwrite in ((False, False), (True, False), (False, True)):
            with pytest.raises(InvalidInput, match="another run"), ExitStack() as other:
                claim_folder(tmp_path / "r", resume, overwrite, held=other)
    (tmp_path / "r" / "checkpoint").unlink()
    for resume in (False, True):
        with ExitStack() as held:
            claim_folder(tmp_path / "r", resume=resume, overwrite=False, held=held)
