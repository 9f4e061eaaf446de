# SPDX-License-Identifier: MIT
"""How a run and each of its samples ended: `Integration` and `SampleEnd`."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as attribute
from typing import Literal

from fem_selection.evolution.growth import Growth
from fem_selection.evolution.recurrence import ClosedOrbit
from fem_selection.evolution.rest import Rest
from fem_selection.evolution.variation import TimePieces
from fem_selection.typing import Block, Floats

__all__ = ["Integration", "SampleEnd", "SampleOutcome"]

SampleOutcome = Literal["horizon", "steady", "cycle", "unbounded", "blow-up", "stuck", "stopped", "step limit"]


@dataclass(frozen=True, kw_only=True)
class SampleEnd:
    """How the run of one sample ended.

    Attributes:
        outcome: "horizon"; "steady", near its limit; "cycle"; "unbounded", beyond the bound on ‖f‖; "blow-up", at a
            time that was extrapolated; "stuck", where no step is short enough although nothing explodes; "stopped" from
            outside; or "step limit".
        reason: The same as a sentence, with numbers.
        time: The time at which the run of this sample ended.
        rate: ‖∂_t f‖ there.
        growth: The law of growth up to there; None if ‖f‖ did not grow, or obeyed no law and stayed below the bound.
        rest: What is known of the limit, if the rate was small at the end.
        cycle: The closed orbit, if one was recognized.
        decay: q with which ‖∂_t f‖ fell like t^{−q} over the second half of the run; NaN if it did not fall.
    """

    outcome: SampleOutcome
    reason: str
    time: float
    rate: float
    growth: Growth | None = None
    rest: Rest | None = None
    cycle: ClosedOrbit | None = None
    decay: float = float("nan")


@dataclass(frozen=True, kw_only=True)
class Integration:
    """What an adaptive integration found.

    Attributes:
        times: The times asked for that were reached, and the end if it came before the last of them.
        states: Nodal values of the owned nodes at these times, one (num_local, samples) block each; NaN for a sample
            whose run had ended before.
        final: The last state of each sample, shape (num_local, samples).
        rate: ∂_t f of each sample there.
        ends: How the run of each sample ended.
        outcome: That of the samples, if it is the same for all; else "horizon" or whatever ended the run of the last
            samples.
        reason: The same as a sentence.
        steps: Number of steps taken.
        rejected: Number of steps tried and not taken.
        evaluations: Evaluations of F, for all samples at once.
        methods: The time from which on a method was used, and its name, for each.
        steady_time: The time at which all samples were found steady, or None.
        growth: The law by which the largest norm grew, or None.  See `SampleEnd`.
        history: Columns over the steps, thinned if they are many: `times`; `norms`, the largest ‖f_j‖; `slopes`, its
            derivative in time; `rates`, the largest ‖∂_t f_j‖; `steps`, h.
        pieces: The pieces of time in which kernel and bias vary little, which steps do not pass over; None if neither
            depends on time.
    """

    times: Floats
    states: tuple[Block, ...]
    final: Block = attribute(repr=False)
    rate: Block = attribute(repr=False)
    ends: tuple[SampleEnd, ...]
    outcome: SampleOutcome
    reason: str
    steps: int
    rejected: int
    evaluations: int
    methods: tuple[tuple[float, str], ...]
    steady_time: float | None
    growth: Growth | None
    history: dict[str, Floats] = attribute(repr=False)
    pieces: TimePieces | None = attribute(default=None, repr=False)
