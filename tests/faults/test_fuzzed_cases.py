# SPDX-License-Identifier: MIT
"""Ten thousand broken case files: refused with a key or the file in the message, or read, written and read again.

The files come from their numbers (`fuzz_cases`), the values from the settings' classes (`fuzz_values`); `fuzz` says
how one of them is repeated.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz import check_broken, repeat
from fuzz_values import KEYS, TABLES

from fem_selection import settings

PLAIN, ALL = 2000, 10_000


def check_range(first: int, end: int, folder: Path) -> None:
    """That no broken case file of these numbers ends in another way than it should."""
    failures = [
        f"{found}\nto repeat it: {repeat('broken', number)}"
        for number in range(first, end)
        if (found := check_broken(number, folder))
    ]
    assert not failures, "\n\n".join([*failures[:20], f"{len(failures)} of {end - first}"])


def test_broken_case_files(tmp_path: Path) -> None:
    """Fails if a broken case file ends in a traceback or a hang, is refused without key or file, or is accepted."""
    check_range(0, PLAIN, tmp_path)


@pytest.mark.slow
def test_more_broken_case_files(tmp_path: Path) -> None:
    """Fails if a case file of the longer range ends otherwise than `test_broken_case_files` allows."""
    check_range(PLAIN, ALL, tmp_path)


def test_every_setting_is_fuzzed() -> None:
    """Fails if a table or a key of the settings is beyond what the fuzzer draws from."""
    assert {cls.__name__ for cls in TABLES.values()} >= {
        name for name in settings.__all__ if name.endswith("Settings") and f"_{name}" not in _PARTS
    }
    for table, cls in TABLES.items():
        assert {f"{table}.{name}" for name in cls.__pydantic_fields__} <= set(KEYS)


_PARTS = ("_CertificateSettings", "_InvalidSettings", "_LimitSettings", "_NewtonSettings", "_StepSettings")
