# SPDX-License-Identifier: MIT
"""Three hundred damaged mesh and data files through the commands that read them.

No traceback, no hang, every status a documented one, every report whole, and nothing that grows with the runs.  The
cases come from their numbers; `fuzz` says how one of them is repeated.
"""

from __future__ import annotations

import pytest
from fuzz import Result, run_numbers


def check(result: Result) -> None:
    """That no number failed, and that neither memory nor communicators are lost from run to run."""
    assert not result.failures, "\n\n".join([*result.failures[:10], f"{len(result.failures)} failed"])
    assert result.communicators <= 8, f"{result.communicators} communicators were not freed"
    assert result.growth < 400, f"the memory grew by {result.growth:.0f} megabytes"


def test_damaged_files() -> None:
    """Fails if a damaged mesh or data file ends in a traceback, a crash or a hang, or in an error that names neither
    the file nor a key."""
    check(run_numbers("files", 0, 80))


@pytest.mark.slow
def test_more_damaged_files() -> None:
    """Fails as `test_damaged_files` does."""
    check(run_numbers("files", 80, 300))
