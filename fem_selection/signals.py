# SPDX-License-Identifier: MIT
"""Ctrl-C and SIGTERM: a wish that all ranks grant between two iterations, or the end of what keeps nothing."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mpi4py import MPI

from fem_selection.parallel import Ensemble

__all__ = ["StopRequest", "catch_signals", "end_on_signals"]


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether this process was asked to stop, and by which signal.

    Attributes:
        signal: The signal that all ranks agreed to obey; 0 for none.
        is_leaving: Set by a program that ends because of it: further SIGTERMs are ignored even after the block of
            `catch_signals`, else a late one would turn its exit status into that of a crash.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.is_leaving = False
        self._received = 0

    def listen(self) -> None:
        """Let SIGINT and SIGTERM set this request; again after PETSc was loaded.

        PETSc takes SIGTERM for itself, unless it was told not to, as the program `fem-selection` tells it.
        """
        for number in _SIGNALS:
            signal.signal(number, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._received = number

    def agreed(self, ensemble: Ensemble) -> bool:
        """Whether any rank was asked (collective); afterwards all ranks know the signal."""
        self.signal = ensemble.any(self._received)  # one that comes meanwhile waits for the next question
        return self.signal != 0

    @property
    def exit_status(self) -> int:
        """128 + signal, the shell's convention: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signal


@contextmanager
def catch_signals() -> Iterator[StopRequest]:
    """Within the block SIGINT and SIGTERM, however often they come, only set the request."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    request = StopRequest()
    try:
        request.listen()
        yield request
    finally:
        for number, handler in before.items():
            ignored = request.is_leaving and number == signal.SIGTERM
            signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL if handler is None else handler)


def end_on_signals() -> None:
    """Let SIGTERM, and with several ranks Ctrl-C, end a command that keeps nothing, with status 143 or 130.

    With several ranks the process ends at once, without the clean-up that follows an exception: the other ranks wait
    for this one, and it would wait for them when it returns what they share.
    """

    def end(number: int, frame: FrameType | None) -> None:
        if MPI.COMM_WORLD.size > 1:
            MPI.COMM_WORLD.Abort(128 + number)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    if MPI.COMM_WORLD.size > 1 and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, end)
