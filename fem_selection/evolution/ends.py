# SPDX-License-Identifier: MIT
"""How a run and each of its samples ended: `Integration` and `SampleEnd`.

A law of growth is fitted when it is first asked for: a run of many samples may end without any fit.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from dataclasses import field as attribute
from functools import cached_property
from typing import Any, Literal

from fem_selection.evolution.growth import Growth, fit_growth
from fem_selection.evolution.history import StepHistory
from fem_selection.evolution.recurrence import ClosedOrbit
from fem_selection.evolution.rest import Rest
from fem_selection.evolution.variation import TimePieces
from fem_selection.typing import Block, Floats

__all__ = ["Integration", "SampleEnd", "SampleGrowth", "SampleOutcome"]

SampleOutcome = Literal["horizon", "steady", "cycle", "unbounded", "blow-up", "stuck", "stopped", "step limit"]


class SampleGrowth:
    """The growth of one sample.

    Args:
        history: The steps of the run.
        sample: The number of the sample.
    """

    def __init__(self, history: StepHistory, sample: int) -> None:
        self._history, self._sample = history, sample

    def __getstate__(self) -> dict[str, Any]:
        """Return the law alone: a copy, in a file or on another rank, leaves the steps."""
        return {"law": self.law}

    @cached_property
    def law(self) -> Growth | None:
        """The law up to the end of the sample, fitted now or before; None if ‖f‖ did not grow."""
        h = self._history.sample(self._sample)
        return fit_growth(h.times, h.norms, h.slopes, allowed=h.delays)


@dataclass(frozen=True, kw_only=True)
class SampleEnd:
    """How the run of one sample ended.

    Attributes:
        outcome: "horizon"; "steady", near its limit; "cycle"; "unbounded", beyond the bound on ‖f‖; "blow-up", at a
            time that was extrapolated; "stuck", where no step is short enough although nothing explodes; "stopped" from
            outside; or "step limit".
        statement: The same as a sentence, with numbers.
        names_growth: Whether the law of growth is a part of the reason.
        note: What `reason` adds; empty if nothing.
        time: The time at which the run of this sample ended.
        rate: ‖∂_t f‖ there.
        fit: The law of growth, not fitted before it is asked for.
        rest: What is known of the limit, if the rate was small at the end.
        cycle: The closed orbit, if one was recognized.
        decay: q with which ‖∂_t f‖ fell like t^{−q} over the second half of the run; NaN if it did not fall.
    """

    outcome: SampleOutcome
    statement: str
    names_growth: bool
    note: str
    time: float
    rate: float
    fit: SampleGrowth = attribute(repr=False, compare=False)
    rest: Rest | None = None
    cycle: ClosedOrbit | None = None
    decay: float = float("nan")

    @property
    def growth(self) -> Growth | None:
        """The law of growth up to the end; None if ‖f‖ did not grow, or obeyed no law and stayed below the bound."""
        law = self.fit.law
        return None if law is not None and law.kind == "other" and self.outcome != "unbounded" else law

    @property
    def reason(self) -> str:
        """The statement, with the law of growth where it belongs to it, and the note."""
        law = self.growth if self.names_growth else None
        parts = [self.statement, "" if law is None else f"‖f‖ {law.sentence}", self.note]
        return "; ".join(part for part in parts if part)

    def as_dict(self) -> dict[str, Any]:
        """Return the end as a mapping for a report."""
        plain = {name: getattr(self, name) for name in ("outcome", "reason", "time", "rate")}
        found = {"growth": self.growth, "rest": self.rest, "cycle": self.cycle}
        return {
            **plain,
            **{name: None if x is None else asdict(x) for name, x in found.items()},
            "decay": self.decay,
        }


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
