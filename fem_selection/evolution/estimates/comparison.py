# SPDX-License-Identifier: MIT
"""`Estimate`: one inequality of the theory, compared with a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.evolution.estimates.hypotheses import Hypothesis
from fem_selection.typing import Floats

__all__ = ["Estimate", "compare_with_bound", "compare_with_past"]


@dataclass(frozen=True)
class Estimate:
    """One estimate on one run.

    Attributes:
        name: See the table of `fem_selection.evolution.estimates`.
        statement: The inequality.
        hypotheses: Its hypotheses, checked on the data.
        claimed: Whether all hypotheses hold; if not, bound and ratio are None.
        measured: What the run did, shape (num_times, samples) (`dependence`: pairs of neighbours; `monotonicity`:
            least increase since the time before).
        bound: The upper bound (`monotonicity`: the lower bound), of the same shape.
        ratio: Measured over bound; for `energy` and `potential`, which may be negative or zero, the part of the whole
            fall that is left.  At most 1 up to the accuracy of the run.  None for `monotonicity`.
        excess: The largest amount by which the bound is missed, relative to the size of what is compared; at most 0 up
            to errors of the run.  NaN if nothing is claimed.
        constants: Numbers that the bound depends on, by name.
        allowance: The largest amount that the defects of the hypotheses, and errors of integrals, add to the bound.
    """

    name: str
    statement: str
    hypotheses: tuple[Hypothesis, ...]
    claimed: bool
    measured: Floats
    bound: Floats | None
    ratio: Floats | None
    excess: float
    constants: dict[str, float]
    allowance: float = 0.0

    @property
    def failed(self) -> tuple[Hypothesis, ...]:
        """The hypotheses that do not hold."""
        return tuple(h for h in self.hypotheses if not h.holds)

    @property
    def largest_ratio(self) -> float | None:
        """The largest ratio; None if there are none."""
        return None if self.ratio is None else float(np.max(self.ratio, initial=0.0))


def compare_with_bound(
    name: str,
    statement: str,
    hypotheses: tuple[Hypothesis, ...],
    *,
    measured: Floats,
    bound: Floats,
    constants: dict[str, float],
    allowance: float = 0.0,
) -> Estimate:
    """Return the estimate for a quantity with a positive bound.

    Args:
        name: Its name.
        statement: The inequality.
        hypotheses: Its hypotheses; if one does not hold, the estimate is not claimed.
        measured: The quantity, shape (num_times, samples).
        bound: Its bound, of the same shape; NaN counts as infinite.
        constants: Numbers that the bound depends on, by name.
        allowance: The part of the bound that stands for defects of hypotheses and errors of integrals.
    """
    if not all(h.holds for h in hypotheses):
        return Estimate(
            name=name,
            statement=statement,
            hypotheses=hypotheses,
            claimed=False,
            measured=measured,
            bound=None,
            ratio=None,
            excess=float("nan"),
            constants=constants,
        )
    bound = np.nan_to_num(bound, nan=np.inf)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(bound > 0, measured / bound, np.where(measured > 0, np.inf, 0.0))
    excess = float(np.max(ratio, initial=0.0)) - 1.0
    return Estimate(
        name=name,
        statement=statement,
        hypotheses=hypotheses,
        claimed=True,
        measured=measured,
        bound=bound,
        ratio=ratio,
        excess=excess,
        constants=constants,
        allowance=allowance,
    )


def compare_with_past(
    name: str,
    statement: str,
    hypotheses: tuple[Hypothesis, ...],
    *,
    values: Floats,
    sizes: Floats,
    constants: dict[str, float],
    allowances: Floats | None = None,
) -> Estimate:
    """Return the estimate for a quantity q that does not grow in time: its bound is its least value at earlier times.

    If the hypotheses hold up to defects, q may grow by what they allow: q(t) ≤ min_{s<t} (q(s) − a(s)) + a(t).

    Args:
        name: Its name.
        statement: The inequality.
        hypotheses: Its hypotheses; if one does not hold, the estimate is not claimed.
        values: The quantity, shape (num_times, samples).
        sizes: The size of its terms, of the same shape; growth is measured relative to the largest of them.
        constants: Numbers that the estimate depends on, by name.
        allowances: a(t), nondecreasing, of the same shape; 0 if None.
    """
    if not all(h.holds for h in hypotheses):
        return Estimate(
            name=name,
            statement=statement,
            hypotheses=hypotheses,
            claimed=False,
            measured=values,
            bound=None,
            ratio=None,
            excess=float("nan"),
            constants=constants,
        )
    lowest, scale = values.min(axis=0), np.maximum(sizes.max(axis=0, initial=0.0), 1e-300)
    fall = values[0] - lowest
    ratio = np.where(fall > 1e-14 * scale, (values - lowest) / np.where(fall > 0, fall, 1.0), 1.0)
    allowed = np.zeros_like(values) if allowances is None else allowances
    excess = float(np.max(np.diff(values - allowed, axis=0) / scale, initial=-np.inf)) if len(values) > 1 else 0.0
    bound = np.minimum.accumulate(values - allowed, axis=0)
    bound = np.concatenate([bound[:1], bound[:-1]]) + allowed
    return Estimate(
        name=name,
        statement=statement,
        hypotheses=hypotheses,
        claimed=True,
        measured=values,
        bound=bound,
        ratio=ratio,
        excess=excess,
        constants=constants,
        allowance=float(np.max(allowed, initial=0.0)),
    )
