# SPDX-License-Identifier: MIT
"""The hypotheses of the estimates, checked on the given data: each with what was measured.

A hypothesis holds if its *defect*, which says how far the data are from satisfying it, is at most what is allowed.  An
estimate is claimed only if all of its hypotheses hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.dynamics.field import SelectionField
from fem_selection.evolution.estimates.activation_properties import ScalarProperties, examine
from fem_selection.evolution.variation import TimePieces, divide_time
from fem_selection.kernels.base import KernelOperator
from fem_selection.linalg.norms import (
    SKEW_ACCURACY,
    SYMMETRIC_ACCURACY,
    operator_norm,
    skew_part_norm,
    symmetric_part_maximum,
)

__all__ = ["Hypothesis", "Premises"]

_ROUND_OFF = 1e-9
"""Relative size of what counts as round-off in kernels."""
_SMALLEST = 1e-290  # smaller ones come from rounding zero outward
_SIGN = 1e-12
"""Size of a wrong sign of σ that counts as round-off; it enters the bounds."""


@dataclass(frozen=True)
class Hypothesis:
    """One hypothesis of an estimate.

    Attributes:
        statement: What it demands.
        holds: Whether the data satisfy it.
        defect: How far the data are from satisfying it.
        allowed: The largest defect that counts as round-off.
        measured: What was found, in words.
        error: The defect, and the error with which it is known: what the bound has to allow for.
    """

    statement: str
    holds: bool
    defect: float
    allowed: float
    measured: str
    error: float = 0.0


class Premises:
    """The hypotheses of all estimates for one right-hand side; expensive quantities are computed when asked for.

    Args:
        field: F.
        pieces: The pieces of time in which kernel and bias vary little, if they are known.

    Attributes:
        sigma: Properties of σ.

    Note:
        Methods that look at the kernel are collective over the space communicator, and raise NotConverged if an
        eigenvalue was not found.
    """

    def __init__(self, field: SelectionField, pieces: TimePieces | None = None) -> None:
        self.field, self._pieces = field, pieces
        self.sigma: ScalarProperties = examine(field.activation)
        self._kernel = KernelOperator(field.kernel)
        self._norm: float | None = None

    @property
    def norm(self) -> float:
        """‖K‖ from L² to L² on V_h, at the field's time (collective)."""
        if self._norm is None:
            self._norm = operator_norm(self.field.space, self._kernel)
        return self._norm

    def pieces(self, start: float, end: float) -> TimePieces:
        """Return the pieces of time in which kernel and bias vary little (collective).

        Args:
            start: Begin of the range of time.
            end: Its end.
        """
        if self._pieces is None:
            self._pieces = divide_time(self.field, start, end)
        return self._pieces

    def lipschitz(self) -> Hypothesis:
        """Return whether σ is Lipschitz."""
        constant, (steepest, at) = self.sigma.lipschitz, self.sigma.steepest
        found = f"|σ'| ≤ {constant:.9g} for all s, and {steepest:.9g} at s = {at:.4g}"
        if self.sigma.not_lipschitz is not None:
            found = self.sigma.not_lipschitz
        return _hypothesis("σ is Lipschitz", 0.0 if np.isfinite(constant) else np.inf, 0.0, found)

    def autonomous(self) -> Hypothesis:
        """Return whether neither w nor b depends on t."""
        holds = self.field.is_autonomous
        found = "neither does" if holds else "their formulas contain t"
        return _hypothesis("w and b do not depend on t", 0.0 if holds else 1.0, 0.0, found)

    def symmetric(self) -> Hypothesis:
        """Return whether K = K* (collective)."""
        skew = skew_part_norm(self.field.space, self._kernel, self.norm)
        defect = skew / self.norm if self.norm > 0 else 0.0
        found = f"‖K − K*‖/2 = {defect:.2e} ‖K‖ as operators on L²"
        return _hypothesis("w(y, z) = w(z, y)", defect, _ROUND_OFF, found, accuracy=SKEW_ACCURACY)

    def dissipative(self) -> Hypothesis:
        """Return whether (K + K*)/2 ≤ 0 (collective)."""
        largest = symmetric_part_maximum(self.field.space, self._kernel, self.norm)
        defect = max(largest, 0.0) / self.norm if self.norm > 0 else 0.0
        found = f"the largest eigenvalue of (K + K*)/2 is {largest:.3e}; ‖K‖ = {self.norm:.3e}"
        statement = "the symmetric part of K is negative semidefinite"
        return _hypothesis(statement, defect, _ROUND_OFF, found, accuracy=SYMMETRIC_ACCURACY)

    def sign_preserving(self) -> Hypothesis:
        """Return whether s σ(s) ≥ 0 for all s."""
        defect, at, value = max(-self.sigma.wrong_sign, 0.0), self.sigma.wrong_at, self.sigma.wrong_value
        if defect <= _SIGN:
            found = f"σ(s) sign(s) ≥ {-defect if defect > _SMALLEST else 0.0:.2g} for all s"
        elif np.isinf(value):
            found = f"σ(s) sign(s) falls without end for s → {'∞' if at > 0 else '−∞'}"
        elif value < 0 and np.isinf(at):
            found = f"σ(s) tends to {np.sign(at) * value:.4g} for s → {'∞' if at > 0 else '−∞'}"
        elif value < 0:
            found = f"σ({at:.4g}) = {np.sign(at) * value if at else value:.4g}"
        elif np.isinf(defect):
            found = "no lower bound of σ(s) sign(s) is known"
        else:
            found = f"σ(s) sign(s) ≥ {-defect:.4g} is the best bound known"
        return _hypothesis("s σ(s) ≥ 0 for all s", defect, _SIGN, found)

    def antiderivative_bounded(self) -> Hypothesis:
        """Return whether some Σ with Σ' = σ is nonnegative."""
        lowest = self.sigma.antiderivative_minimum
        found = self.sigma.not_bounded or f"∫₀ˢ σ ≥ {lowest:.6g} for all s"
        return _hypothesis("there is Σ ≥ 0 with Σ' = σ", 0.0 if np.isfinite(lowest) else np.inf, 0.0, found)

    def coercive(self) -> Hypothesis:
        """Return whether Σ(s) ≥ c|s| − d with c > 0."""
        left, right = self.sigma.slopes
        beyond = f"for s ≥ {self.sigma.start:g}"
        found = f"{beyond} {_bound('−σ(−s)', left, 3)}, and {_bound('σ(s)', right, 3)}"
        return _hypothesis("Σ(s) → ∞ for s → ±∞", max(1e-6 - min(left, right), 0.0), 0.0, found)

    def nonnegative(self) -> Hypothesis:
        """Return whether σ ≥ 0."""
        defect = max(-self.sigma.smallest, 0.0)
        found = f"{_bound('σ(s)', self.sigma.smallest, 4)} for all s; no better bound is known"
        if np.isneginf(self.sigma.smallest):
            found = "no lower bound of σ is known"
        return _hypothesis("σ(s) ≥ 0 for all s", defect, _SIGN, found)

    def pointwise(self) -> Hypothesis:
        """Return whether σ acts at the nodes."""
        holds = self.field.space.is_collocated
        found = "it does" if holds else "in Galerkin mode it is projected to V_h, which keeps no signs"
        return _hypothesis("σ acts at the nodes (collocated mode)", 0.0 if holds else 1.0, 0.0, found)


def _bound(name: str, least: float, digits: int) -> str:
    """A lower bound in words; an infinite one is no number to print."""
    if np.isneginf(least):
        return f"no lower bound of {name} is known"
    return f"{name} is larger than any number" if np.isinf(least) else f"{name} ≥ {least:.{digits}g}"


def _hypothesis(statement: str, defect: float, allowed: float, measured: str, *, accuracy: float = 0.0) -> Hypothesis:
    return Hypothesis(
        statement=statement,
        holds=bool(defect <= allowed),
        defect=float(defect),
        allowed=float(allowed),
        measured=measured,
        error=float(defect + accuracy),
    )
