# SPDX-License-Identifier: MIT
"""Stop requests; whole runs that are stopped are in `tests/faults`."""

from __future__ import annotations

import os
import signal

from mpi4py import MPI

from fem_selection.parallel import Ensemble
from fem_selection.signals import catch_signals


def test_signals_only_set_the_request():
    """Fails if a signal raises, is not seen at the next question, or the handlers are not put back."""
    ensemble, before = Ensemble(MPI.COMM_SELF), signal.getsignal(signal.SIGINT)
    for number in (signal.SIGINT, signal.SIGTERM):
        with catch_signals() as request:
            assert not request.agreed(ensemble)
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
            assert request.agreed(ensemble) and request.exit_status == 128 + number
    assert signal.getsignal(signal.SIGINT) == before


def test_a_signal_between_question_and_answer_is_not_lost(monkeypatch):
    """Fails if the ranks' answer overwrites a signal that came while they agreed on it."""
    ensemble = Ensemble(MPI.COMM_SELF)

    def interrupted(flag: int) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return flag

    with catch_signals() as request:
        with monkeypatch.context() as patch:
            patch.setattr(ensemble, "any", interrupted)
            assert not request.agreed(ensemble)
        assert request.agreed(ensemble) and request.exit_status == 143
