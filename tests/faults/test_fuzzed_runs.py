# SPDX-License-Identifier: MIT
"""A thousand odd but valid cases, three hundred with hostile values, and three hundred damaged mesh and data files.

No traceback, no hang, every status a documented one, every report whole, and nothing that grows with the runs.  The
cases come from their numbers; `fuzz` says how one of them is repeated.
"""

from __future__ import annotations

import pytest
from fuzz import Result, run_numbers

COMMANDS = ("train", "forward", "steady", "stability", "verify", "info")


def check(result: Result) -> None:
    """That no number failed, and that neither memory nor communicators are lost from run to run."""
    assert not result.failures, "\n\n".join([*result.failures[:10], f"{len(result.failures)} failed"])
    assert result.communicators <= 8, f"{result.communicators} communicators were not freed"
    assert result.growth < 400, f"the memory grew by {result.growth:.0f} megabytes"


def test_odd_cases() -> None:
    """Fails if a valid case ends in a traceback, a hang, a status that no table lists or a report that is not whole, or
    if some command never ends well."""
    result = run_numbers("runs", 0, 25)
    check(result)
    assert {name.split()[0] for name in result.statuses if name.endswith(" 0")} >= set(COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "end"), [(25, 220), (220, 415), (415, 610), (610, 805), (805, 1000)])
def test_more_odd_cases(first: int, end: int) -> None:
    """Fails if a case of the longer range ends otherwise than `test_odd_cases` allows."""
    check(run_numbers("runs", first, end))


def test_hostile_values() -> None:
    """Fails if a value that a key allows and nobody means, such as a tolerance of 5e-324, ends otherwise than
    `test_odd_cases` allows."""
    result = run_numbers("hostile", 24, 28)
    assert not result.failures, "\n\n".join(result.failures)


@pytest.mark.slow
def test_more_hostile_values() -> None:
    """Fails if a case of the longer range ends otherwise than `test_odd_cases` allows."""
    check(run_numbers("hostile", 100, 400))


def test_damaged_files() -> None:
    """Fails if a damaged mesh or data file ends in a traceback, a crash or a hang, or in an error that names neither
    the file nor a key."""
    check(run_numbers("files", 0, 100))


@pytest.mark.slow
def test_more_damaged_files() -> None:
    """Fails if a file of the longer range is taken otherwise than `test_damaged_files` allows."""
    check(run_numbers("files", 100, 300))
