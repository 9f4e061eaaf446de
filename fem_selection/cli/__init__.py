# SPDX-License-Identifier: MIT
"""The command line. Nothing is imported here, so that `--help` is quick."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Entry point of `fem-selection`."""
    from fem_selection.cli.app import run

    run()
