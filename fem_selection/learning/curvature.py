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
from fem_selection.typing import Floats

__all__ = ["HessianEigenpairs", "hessian_eigenpairs"]


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

    Raises:
        InvalidInput: if `which` is neither "smallest" nor "largest".
        NotConverged: if fewer than `count` eigenpairs were found.
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
