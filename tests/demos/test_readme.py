# SPDX-License-Identifier: MIT
"""The Python of the README runs as it stands there and prints what its comments say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
FILES = (("branches/report.json", "branches/figures/bifurcations.png"), ("certificate/figures/certificate.png",))


@pytest.mark.parametrize(("block", "files"), zip(BLOCKS, FILES, strict=True), ids=("own equation", "own network"))
def test_python_of_the_readme(
    block: str,
    files: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Fails if a name is gone, a block does not run alone, or a printed value or file is another."""
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    said = re.findall(r"^print\(.*\)  # (.*?)…?$", block, re.MULTILINE)
    assert said
    for text in said:
        assert text.strip("… ") in printed, printed
    for name in files:
        assert (tmp_path / "runs" / name).stat().st_size > 500
