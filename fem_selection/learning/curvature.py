# SPDX-License-Identifier: MIT
"""Eigenpairs of the Hessian in the L² metric: is a stationary point a strict minimiser, and along what is it flattest?

    J''(x) v = λ M v,    ⟨v, v⟩_{L²} = 1

Solved by Krylov–Schur in the optimizer's variable, where M is the identity in collocated mode and close to it in
Galerkin mode; there the mass is inverted by the Riesz map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fem_selection.errors import InvalidInput
from fem_selection.learning.hessian import ScaledHessian
from fem_selection.linalg.eigensolver import Limits, Metric, symmetric_eigenpairs
from fem_selection.typing import Floats

__all__ = ["HessianEigenpairs", "hessian_eigenpairs"]


@dataclass(frozen=True)
class HessianEigenpairs:
    """What was found.

    Attributes:
        values: λ, the wanted end first.
        vectors: Shards of v as controls, of unit L² norm.
        residuals: ‖J'' v − λ M v‖ / max(|λ|, 1e-300) in x̂, for each pair.
        actions: Products with the Hessian that it took.
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
) -> HessianEigenpairs:
    """The eigenpairs at one end of the spectrum of a linearized Hessian (collective).

    Args:
        hessian: J'' in x̂, linearized.
        count: How many.
        which: "smallest" or "largest", by value, not by modulus.
        tolerance: Of the residual, relative to the eigenvalue.
        max_iterations: Restarts at most.
        basis: Vectors of the Krylov basis, at least 2 · count and at most the number of controls.  The lower end of a
            regularized problem's spectrum is crowded: with SLEPc's default of 16 the digits do not converge.

    Raises:
        InvalidInput: for another end.
        NotConverged: if fewer were found.
    """
    if which not in ("smallest", "largest"):
        raise InvalidInput(f"which = {which!r}: choose from smallest, largest")
    control_space, before = hessian.control_space, hessian.hessian.actions
    values, columns = symmetric_eigenpairs(
        control_space.ensemble.world,
        hessian.apply,
        control_space.to_scaled(control_space.random_direction(0)),
        count=count,
        end=which,
        limits=Limits(tolerance=tolerance, is_relative=True, max_restarts=max_iterations, basis=basis),
        metric=None
        if control_space.space.is_collocated
        else Metric(apply=hessian.apply_metric, solve=hessian.precondition),
    )
    vectors, residuals = [], []
    for value, v in zip(values, columns.T.copy(), strict=True):
        metric = hessian.apply_metric(v)
        v /= np.sqrt(control_space.inner(metric, v))
        defect = hessian.apply(v) - value * hessian.apply_metric(v)
        vectors.append(control_space.to_controls(v))
        residuals.append(hessian.functional.norm(defect) / max(abs(value), 1e-300))
    actions = hessian.hessian.actions - before
    return HessianEigenpairs(
        values=tuple(values.tolist()), vectors=tuple(vectors), residuals=tuple(residuals), actions=actions
    )
