# SPDX-License-Identifier: MIT
"""The case file: TOML read into frozen dataclasses, with all its faults reported at once.

`load_case` reads a file, `parse_case` a mapping, `dump_case` writes the resolved case back.  Nothing here imports
FEniCSx or PETSc, so that a command line may refuse a faulty case within a fraction of a second.
"""

from __future__ import annotations

from fem_selection.config.loader import load_case, parse_case
from fem_selection.config.schema import Case
from fem_selection.config.writer import dump_case

__all__ = ["Case", "dump_case", "load_case", "parse_case"]
