# SPDX-License-Identifier: MIT
"""What touches the disk: run folders, checkpoints, fields for ParaView.

Reports write themselves (`Report.write`) and `studies.train` its checkpoints; these are the parts, loaded on first use.
"""

from __future__ import annotations

from fem_selection.lazy import attach

_HOMES = {
    "read_checkpoint": "checkpoints",
    "read_columns": "runs",
    "write_checkpoint": "checkpoints",
    "write_states": "fields",
    "write_value": "values",
}

__all__ = list(_HOMES)

__getattr__, __dir__ = attach(__name__, _HOMES)
