# SPDX-License-Identifier: MIT
"""What touches the disk: run folders, checkpoints, fields for ParaView.

Reports write themselves (`Report.write`) and `studies.train` its checkpoints; these are the parts, loaded on first use.
"""

from __future__ import annotations

from typing import Any

from fem_selection.lazy import load

_HOMES = {
    "read_checkpoint": "checkpoints",
    "read_columns": "runs",
    "write_checkpoint": "checkpoints",
    "write_states": "fields",
    "write_value": "values",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    return load(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return __all__
