# SPDX-License-Identifier: MIT
"""The exit statuses of `fem-selection`, all of them; the README repeats this table.

| status | meaning |
|---|---|
| 0 | done: a tolerance, the iteration limit, the horizon or round-off was reached, or states blew up; the reason says |
|   | which |
| 1 | an error that nobody foresaw, with a traceback: a fault of this program, please report it |
| 2 | refused: wrong arguments; a faulty case, folder, checkpoint, mesh or data file, every fault listed; a file that |
|   | cannot be written; a case that does not fit into memory; a library or compiler that is missing; ranks that MPI |
|   | does not see |
| 3 | a state, objective or gradient that is not finite; `train` keeps the last good iterate |
| 4 | the answer is no, or not all of it: `verify` found a derivative that is wrong, `forward` used its steps up |
|   | before the horizon (both leave their report), or an iteration failed, so that there is no report |
| 129, 130, 143 | ended by SIGHUP, Ctrl-C or SIGTERM; `train` leaves a checkpoint, `forward` its report |
"""

from __future__ import annotations

from enum import IntEnum

from fem_selection.errors import InvalidInput, MissingDependency, NonFinite, NotConverged, SelectionError

__all__ = ["Status"]


class Status(IntEnum):
    """The exit statuses; the module says what each means."""

    DONE = 0
    CRASHED = 1
    REFUSED = 2
    NOT_FINITE = 3
    NOT_REACHED = 4
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143

    @classmethod
    def of(cls, error: SelectionError) -> Status:
        """Return the status of an error of this package."""
        for kind, status in _OF_ERRORS.items():
            if isinstance(error, kind):
                return status
        return cls.CRASHED


_OF_ERRORS: dict[type[SelectionError], Status] = {
    NonFinite: Status.NOT_FINITE,
    NotConverged: Status.NOT_REACHED,
    InvalidInput: Status.REFUSED,
    MissingDependency: Status.REFUSED,
}
