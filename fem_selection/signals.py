# SPDX-License-Identifier: MIT
"""Handlers of Ctrl-C, SIGTERM and SIGHUP (a terminal that is closed; `nohup` makes a run ignore it).

A training run stops between two iterations, on all ranks together (`catch_signals`).  A command that has nothing to
save ends at once (`end_on_signals`).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mpi4py import MPI

from fem_selection.parallel import Ensemble

__all__ = ["StopRequest", "catch_signals", "end_on_signals"]


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """Whether this process was asked to stop, and by which signal.

    Attributes:
        signal: The signal that all ranks agreed to obey; 0 for none.
        is_leaving: A program that ends because of the signal sets it.  Further SIGTERMs are then ignored even after the
            block of `catch_signals`: a late one would turn the exit status into that of a crash.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.is_leaving = False
        self._received = 0

    def listen(self) -> None:
        """Install handlers by which SIGINT, SIGTERM and SIGHUP set this request; call it again after PETSc was loaded.

        PETSc installs its own handler of SIGTERM, unless it is told not to, as the program `fem-selection` does.
        """
        for number in _SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._received = number

    def agreed(self, ensemble: Ensemble) -> bool:
        """Return whether any rank was asked to stop; afterwards all ranks know the signal (collective)."""
        self.signal = ensemble.any(self._received)  # a signal that arrives now counts at the next call
        return self.signal != 0

    @property
    def exit_status(self) -> int:
        """128 + signal, the shell's convention: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.signal


@contextmanager
def catch_signals() -> Iterator[StopRequest]:
    """Let SIGINT, SIGTERM and SIGHUP, however often they come, only set a `StopRequest` within the `with` block."""
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
    """Let SIGTERM, and with several ranks Ctrl-C, end a command that has nothing to save.

    With several ranks the process aborts all of them at once, without the clean-up that follows an exception: in the
    clean-up each rank would wait for the others when it frees what they share.

    Raises:
        SystemExit: when a signal arrives, with status 143 (SIGTERM) or 130 (Ctrl-C).
    """

    def end(number: int, frame: FrameType | None) -> None:
        if MPI.COMM_WORLD.size > 1:
            MPI.COMM_WORLD.Abort(128 + number)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    if MPI.COMM_WORLD.size > 1 and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, end)
