# SPDX-License-Identifier: MIT
"""`StepHistory`: norms and rates of every sample over the steps of a run, thinned as it becomes long."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.typing import Floats

__all__ = ["SampleHistory", "StepHistory"]

_KEPT, _LEAST = 4096, 256  # most and fewest steps that remain when every second one is dropped
_LARGEST = 2**21  # numbers kept for all samples together


@dataclass(frozen=True, kw_only=True)
class SampleHistory:
    """One sample over the steps of a run.

    Attributes:
        times: Ends of the kept steps.
        norms: ‖f_j‖.
        slopes: d‖f_j‖/dt.
        rates: ‖∂_t f_j‖.
        delays: Local errors allowed to the steps since the kept step before, over ‖∂_t f_j‖: as times.
    """

    times: Floats
    norms: Floats
    slopes: Floats
    rates: Floats
    delays: Floats


class StepHistory:
    """The steps of a run.

    Of a long run every second, fourth, … step is kept, and always the last one.

    Args:
        num_samples: Number of samples on this rank.
    """

    def __init__(self, num_samples: int) -> None:
        self._kept: list[tuple[float, float, Floats]] = []
        self._last: tuple[float, float, Floats] | None = None
        self._delays = np.zeros(num_samples)
        self._stride, self._count = 1, 0
        self._most = 2 * int(np.clip(_LARGEST // (8 * max(num_samples, 1)), _LEAST, _KEPT))
        self._largest: list[tuple[float, float, float]] = []
        self._stacked: tuple[int, Floats, Floats] | None = None

    def add(self, time: float, step: float, values: Floats, *, largest: tuple[float, float, float]) -> None:
        """Add a step.

        Args:
            time: End of the step.
            step: Length of the step.
            values: Norm, its slope, rate and delay of each sample, shape (4, num_samples); NaN for samples that ended.
            largest: The largest norm, its slope and the largest rate, over all ranks.
        """
        self._delays = self._delays + np.nan_to_num(values[3])
        row = np.vstack([values[:3], self._delays])
        self._last = (time, step, row)
        if self._count % self._stride == 0:
            self._kept.append(self._last)
            self._largest.append(largest)
            if len(self._kept) >= self._most:
                del self._kept[1::2], self._largest[1::2]
                self._stride *= 2
        self._count += 1
        self._last_largest = largest

    @property
    def begin(self) -> float:
        """The time at which the run began."""
        return self._kept[0][0]

    def columns(self) -> dict[str, Floats]:
        """Return the kept steps as arrays `times`, `norms`, `slopes`, `rates`, `steps`; norms are the largest ones."""
        times, steps, _ = self._rows()
        largest = list(self._largest)
        if len(largest) < times.size:
            largest.append(self._last_largest)
        table = np.array(largest, dtype=np.float64).reshape(-1, 3).T.copy()
        return {"times": times, "norms": table[0], "slopes": table[1], "rates": table[2], "steps": steps}

    def sample(self, j: int) -> SampleHistory:
        """Return the history of one sample up to its end."""
        times, table = self._table()
        norms, slopes, rates, delays = table[:, :, j].T
        lives = np.isfinite(norms)
        return SampleHistory(
            times=times[lives],
            norms=norms[lives],
            slopes=slopes[lives],
            rates=rates[lives],
            delays=np.diff(delays[lives], prepend=0.0),
        )

    def recent_rates(self, since: float) -> tuple[Floats, Floats]:
        """Return the kept times from `since` on, and the rates, shape (num_times, num_samples)."""
        times, _, rows = self._rows()
        first = int(np.searchsorted(times, since))
        return times[first:], np.array([row[2] for row in rows[first:]])

    def _table(self) -> tuple[Floats, Floats]:
        """Kept times, and their rows as one array of shape (num_times, 4, num_samples); made anew after a step."""
        if self._stacked is None or self._stacked[0] != self._count:
            times, _, rows = self._rows()
            self._stacked = self._count, times, np.array(rows)
        return self._stacked[1:]

    def _rows(self) -> tuple[Floats, Floats, list[Floats]]:
        rows = list(self._kept)
        if self._last is not None and rows[-1] is not self._last:
            rows.append(self._last)
        return np.array([r[0] for r in rows]), np.array([r[1] for r in rows]), [r[2] for r in rows]
