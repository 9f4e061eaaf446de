# SPDX-License-Identifier: MIT
"""Whether the value function, its witness and the attained costs agree within their errors.

    V(0, x(0)) = min over all controls ≤ cost of the open loop, cost of the closed loop

The two costs are attained by controls, so the lower one bounds V from above, whatever the mesh.  Two numbers disagree
if they differ by more than the sum of their error estimates.  A difference within these that is larger than a fifth of
the attained cost (plus the interpolation error of Φ) decides nothing: the mesh is too coarse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["Agreement", "AgreementVerdict", "Comparison", "compare"]

AgreementVerdict = Literal["agree", "disagree", "not decided"]

_SHARE = 0.2  # of the attained cost: numbers that differ by more do not agree, whatever the error estimates


@dataclass(frozen=True)
class Comparison:
    """Two numbers that ought to be equal.

    Attributes:
        first: The name of the first.
        second: The name of the second.
        difference: The first minus the second.
        tolerance: The absolute difference up to which they agree; NaN if an error estimate is missing.
        estimate: The sum of their error estimates; NaN if one is missing.
        verdict: Whether they agree.
    """

    first: str
    second: str
    difference: float
    tolerance: float
    estimate: float
    verdict: AgreementVerdict

    def sentence(self) -> str:
        """The comparison in words."""
        told = f"{self.first} {abs(self.difference):.2e} {'above' if self.difference > 0 else 'below'} {self.second}"
        if not np.isfinite(self.estimate):
            return f"{told}, without an error estimate"
        if self.verdict == "not decided":
            return f"{told}, more than {self.tolerance:.2e} but within the error estimates {self.estimate:.2e}"
        if self.verdict == "disagree":
            return f"{told}, more than {self.estimate:.2e}"
        return f"{told}, no more than {self.tolerance:.2e}"


@dataclass(frozen=True)
class Agreement:
    """All comparisons of one study.

    Attributes:
        comparisons: The comparisons; those with a number that is missing are left out.
    """

    comparisons: tuple[Comparison, ...]

    @property
    def verdict(self) -> AgreementVerdict:
        """`disagree` if one comparison does, `not decided` if one is not decided or there is none, else `agree`."""
        verdicts = {c.verdict for c in self.comparisons} or {"not decided"}
        return next(v for v in ("disagree", "not decided", "agree") if v in verdicts)

    @property
    def reasons(self) -> tuple[str, ...]:
        """A sentence for each comparison that determines the verdict; all of them if they agree."""
        return tuple(c.sentence() for c in self.comparisons if c.verdict == self.verdict)


def compare(
    value: float,
    value_error: float,
    *,
    witness: float,
    witness_error: float,
    open_loop: float,
    open_loop_error: float,
    closed_loop: float,
    resolution: float,
    open_loop_is_optimum: bool = True,
) -> Agreement:
    """Compare V(0, x(0)) by finite elements with dynamic programming and with the attained costs.

    Args:
        value: V by finite elements.
        value_error: Its error estimate; NaN if there is none.
        witness: V by dynamic programming; NaN if it was not run.
        witness_error: Its error estimate; NaN if there is none.
        open_loop: The cost of the best open loop, in continuous depth.
        open_loop_error: How far the objective of the layers is from it.
        closed_loop: The cost of the feedback; NaN if it has none.
        resolution: The interpolation error of Φ on the mesh of V, below which no difference counts.
        open_loop_is_optimum: Whether the optimization of the open loop ended at a stationary point.  If not, its cost
            bounds the others from above and no more: comparisons that find them below it are left out.
    """
    attained = float(np.fmin(open_loop, closed_loop))
    limit = _SHARE * abs(attained) + resolution

    def rows() -> Iterator[Comparison]:
        for name, number, error in (
            ("finite elements", value, value_error),
            ("dynamic programming", witness, witness_error),
        ):
            yield _comparison(name, "the attained cost", number - attained, error + open_loop_error, limit)
        yield _comparison("finite elements", "dynamic programming", value - witness, value_error + witness_error, limit)
        yield _comparison("closed loop", "open loop", closed_loop - open_loop, value_error + open_loop_error, limit)

    def counts(row: Comparison) -> bool:
        bound = row.second == "open loop" or (row.second == "the attained cost" and open_loop <= attained)
        return bool(np.isfinite(row.difference)) and (open_loop_is_optimum or not bound or row.difference > 0)

    return Agreement(comparisons=tuple(row for row in rows() if counts(row)))


def _comparison(first: str, second: str, difference: float, estimate: float, limit: float) -> Comparison:
    size = abs(difference)
    verdict: AgreementVerdict = "agree"
    if np.isfinite(estimate) and size > estimate:
        verdict = "disagree"
    elif not np.isfinite(estimate) or size > limit:
        verdict = "not decided"
    return Comparison(
        first=first,
        second=second,
        difference=float(difference),
        estimate=float(estimate),
        tolerance=float(min(estimate, limit)) if np.isfinite(estimate) else np.nan,
        verdict=verdict,
    )
