# SPDX-License-Identifier: MIT
"""Eigenpairs of the Hessian in the L² metric.

They tell whether a stationary point is a strict minimiser, and in which direction the objective is flattest.

    J''(x) v = λ M v,    ⟨v, v⟩_{L²} = 1

Krylov–Schur solves the problem in the optimizer's variable x̂, where M becomes the identity in collocated mode and is
close to it in Galerkin mode; in Galerkin mode the Riesz map inverts the mass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fem_selection.errors import InvalidInput
from fem_selection.learning.hessian import ScaledHessian
from fem_selection.linalg.eigensolver import Limits, Metric, symmetric_eigenpairs
from fem_selection.typing import Floats, whole_number

__all__ = ["HessianEigenpairs", "hessian_eigenpairs", "largest_modulus"]


@dataclass(frozen=True)
class HessianEigenpairs:
    """Eigenpairs at one end of the spectrum.

    Attributes:
        values: The eigenvalues λ, the outermost first.
        vectors: Shards of the eigenvectors v in x, of unit L² norm.
        residuals: ‖J'' v − λ M v‖ / max(|λ|, 1e-300) in x̂, for each pair.
        actions: Number of products with the Hessian that the computation took.
    """

    values: tuple[float, ...]
    vectors: tuple[Floats, ...]
    residuals: tuple[float, ...]
    actions: int


def hessian_eigenpairs(
    hessian: ScaledHessian,
    count: int = 1,
    which: Literal["smallest", "largest"] = "smallest",
    *,
    tolerance: float = 1e-8,
    max_iterations: int = 500,
    basis: int = 128,
    free: Floats | None = None,
) -> HessianEigenpairs:
    """The eigenpairs at one end of the spectrum of a linearized Hessian (collective).

    Args:
        hessian: J'' in x̂, linearized at the point of interest (`ScaledHessian.linearize`).
        count: Number of eigenpairs.
        which: The end, "smallest" or "largest", by value and not by modulus.
        tolerance: Largest residual that is accepted, relative to the eigenvalue.
        max_iterations: Largest number of restarts.
        basis: Vectors of the Krylov basis, at least 2 · count and at most the number of controls.  The lower end of a
            regularized problem's spectrum is crowded: with SLEPc's default of 16 vectors the digits do not converge.
        free: Shard of 1 for entries that may move and 0 for others: the Hessian is reduced to the former, and M is
            lumped (the signs of the eigenvalues do not depend on M); None if all may move.

    Raises:
        InvalidInput: if `which` is neither "smallest" nor "largest".
        NotConverged: if fewer than `count` eigenpairs were found.
    """
    if which not in ("smallest", "largest"):
        raise InvalidInput(f"which = {which!r}: choose from smallest, largest")
    count = whole_number(count, "count", 1)
    control_space, before = hessian.control_space, hessian.hessian.actions
    start = control_space.to_scaled(control_space.random_direction(0))
    reduced = hessian.apply if free is None else _Reduced(hessian, free, which).apply
    values, columns = symmetric_eigenpairs(
        control_space.ensemble.world,
        reduced,
        start if free is None else free * start,
        count=count,
        end=which,
        limits=Limits(tolerance=tolerance, is_relative=True, max_restarts=max_iterations, basis=basis),
        metric=None
        if control_space.space.is_collocated or free is not None
        else Metric(apply=hessian.apply_metric, solve=hessian.precondition),
    )
    vectors, residuals = [], []
    for value, v in zip(values, columns.T.copy(), strict=True):
        apply_metric = hessian.apply_metric if free is None else np.copy
        v /= np.sqrt(control_space.inner(apply_metric(v), v))
        defect = reduced(v) - value * apply_metric(v)
        vectors.append(control_space.to_controls(v))
        residuals.append(hessian.functional.norm(defect) / max(abs(value), 1e-300))
    actions = hessian.hessian.actions - before
    return HessianEigenpairs(
        values=tuple(values.tolist()), vectors=tuple(vectors), residuals=tuple(residuals), actions=actions
    )


def largest_modulus(hessian: ScaledHessian, free: Floats | None = None, *, actions: int = 4) -> float:
    """A lower bound of the largest |λ| of the (reduced) Hessian in x̂, close to it, by a few power steps (collective).

    Args:
        hessian: J'' in x̂, linearized.
        free: As for `hessian_eigenpairs`.
        actions: Number of products.
    """
    control_space, largest = hessian.control_space, 0.0
    mask = np.ones(len(control_space.scale)) if free is None else free
    v = mask * control_space.to_scaled(control_space.random_direction(1))
    for _ in range(actions):
        norm = hessian.functional.norm(v)
        if norm == 0.0:
            break
        v = mask * hessian.apply(v / norm)
        largest = max(largest, hessian.functional.norm(v))
    return largest


class _Reduced:
    """P J'' P + c (1 − P) in x̂, c so far from the wanted end that held entries do not appear there."""

    def __init__(self, hessian: ScaledHessian, free: Floats, which: str) -> None:
        self.hessian, self.free = hessian, free
        size = 2.0 * largest_modulus(hessian, free) + 1e-300
        self.shift = size if which == "smallest" else -size

    def apply(self, v: Floats) -> Floats:
        """The product."""
        return self.free * self.hessian.apply(self.free * v) + self.shift * (1.0 - self.free) * v
