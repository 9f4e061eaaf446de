# SPDX-License-Identifier: MIT
"""Picard's condition: whether an equation of the first kind, A f = r, has a solution, by the singular values of A.

    A f = Σ_k s_k (f, v_k) u_k,    f† = Σ_{k ≤ rank} (r, u_k) / s_k v_k

If σ vanishes at one s₀ only, the steady states are the solutions of K f = s₀ − b: an affine set, f† + ker K, if the
right-hand side is in the range of K, and the empty set otherwise.  K is compact, so that its range is not closed, and
whether r belongs to it depends on a decay: Picard's condition Σ_k |(r, u_k)|² / s_k² < ∞.  Finitely many ratios cannot
decide it; `PicardReport.verdict` says what they indicate.

References:
    P. C. Hansen, Numer. Algorithms 3 (1992) 299, doi:10.1007/BF02141937 (the discrete Picard condition).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.linalg.singular import SingularExpansion
from fem_selection.typing import Floats, Integers

__all__ = ["PicardReport", "solve_first_kind"]

_ROUND_OFF = 1e-14
_RESOLVED = 3  # a mesh resolves one singular function for so many nodes
_SUMMABLE = -0.5  # k^p is square summable for p below this
_MARGIN = 0.1  # distance of p from it within which no claim is made


@dataclass(frozen=True)
class PicardReport:
    """The analysis of A f = r by the singular value expansion of A.

    Attributes:
        expansion: The singular value expansion of A.
        coefficients: |(r, u_k)|, shape (rank,).
        ratios: |(r, u_k)| / s_k, shape (rank,).
        norm: ‖r‖.
        solution: Nodal values of f†, shape (space.num_local,).
        solution_norm: ‖f†‖.
        residual: ‖A f† − r‖.
        outside: Norm of the part of r outside of the span of the u_k.
        decay: Fitted p in ratio_k ∝ k^p for the envelope of the ratios, k up to a third of the nodes; NaN with fewer
            than 8 ratios above round-off.
        holds: Whether the condition seems to hold.
        verdict: The finding as a phrase.
    """

    expansion: SingularExpansion
    coefficients: Floats
    ratios: Floats
    norm: float
    solution: Floats
    solution_norm: float
    residual: float
    outside: float
    decay: float
    holds: bool
    verdict: str


def solve_first_kind(expansion: SingularExpansion, right_hand_side: Floats) -> PicardReport:
    """The minimal-norm solution of A f = r, truncated at the numerical rank, and the Picard ratios (collective).

    Args:
        expansion: The singular value expansion of A.
        right_hand_side: Nodal values of r, shape (num_local,).
    """
    operator = expansion.operator
    c = operator.coordinates
    r = c.to_euclidean(np.asfortranarray(right_hand_side[:, None]))
    signed = expansion.coefficients(r)
    norm = c.norm(r)
    outside = c.norm(r - expansion.left @ signed)
    x = expansion.pseudo_solve(r)
    coefficients = np.abs(signed[:, 0])
    ratios = coefficients / expansion.values
    resolved = np.arange(ratios.size) < max(c.space.num_nodes // _RESOLVED, 8)
    decay = _decay(ratios, np.flatnonzero(resolved & (coefficients > _ROUND_OFF * norm)))
    holds, verdict = _judge(expansion, norm, outside, decay)
    return PicardReport(
        expansion=expansion,
        coefficients=coefficients,
        ratios=ratios,
        norm=norm,
        solution=c.to_function(x)[:, 0],
        solution_norm=c.norm(x),
        residual=c.norm(operator.apply(x) - r),
        outside=outside,
        decay=decay,
        holds=holds,
        verdict=verdict,
    )


def _decay(ratios: Floats, above: Integers) -> float:
    """The slope of log ratio over log k, for the second half of the ratios at the indices `above`.

    Symmetries make some coefficients small.  Therefore the fit uses the envelope max_{j ≥ k} ratio_j or, if the ratios
    grow, max_{j ≤ k} ratio_j.  The first half is left out, since it says nothing of the asymptotics.
    """
    if above.size < 8:
        return float("nan")
    falling = np.maximum.accumulate(ratios[above][::-1])[::-1]
    growing = np.maximum.accumulate(ratios[above])
    tail = slice(above.size // 2, None)
    number = np.log(above[tail] + 1.0)
    slopes = [float(np.polyfit(number, np.log(envelope[tail]), 1)[0]) for envelope in (falling, growing)]
    return max(slopes, key=abs)


def _judge(expansion: SingularExpansion, norm: float, outside: float, decay: float) -> tuple[bool, str]:
    rank, tolerance = expansion.rank, expansion.tolerance
    if norm == 0.0:
        return True, "the right-hand side is zero: the solutions are the null space"
    part = f"{outside / norm:.1e} of the right-hand side is outside of the first {rank} singular functions"
    if np.isnan(decay):
        if outside <= 100 * tolerance * norm:
            return True, f"solvable: {part}"
        if expansion.is_complete:
            return False, f"not solvable: {part} (numerical rank {rank})"
        return False, f"undecided, with fewer than 8 ratios above round-off: {part}"
    trend = f"the ratios behave as k^{decay:.2f}"
    if decay > _SUMMABLE + _MARGIN:
        return False, f"the Picard condition seems to fail: {trend}, whose squares have no finite sum; {part}"
    if expansion.is_complete and outside > np.sqrt(tolerance) * norm:
        return False, f"the Picard condition seems to fail: {trend}, but {part} (numerical rank {rank})"
    if decay < _SUMMABLE - _MARGIN:
        return True, f"the Picard condition seems to hold: {trend}; {part}"
    return False, f"the Picard condition is on the edge: {trend}; {part}"
