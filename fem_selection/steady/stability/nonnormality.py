# SPDX-License-Identifier: MIT
"""Growth that the eigenvalues of a non-normal A do not show: the initial rate, and the largest transient growth.

    numerical abscissa   ω(A) = max Re (A v, v)/‖v‖² = d/dt ‖e^{tA}‖ at t = 0,   the largest eigenvalue of (A + A*)/2
    transient growth     max_t ‖e^{tA}‖ in L²

For A = U S V* both are determined on W = span(U, V), since e^{tA} is the identity on W^⊥.  If e^{tA} tends to a
projection that is not orthogonal, ‖e^{tA}‖ tends to a constant above 1 and does not fall; this counts as bounded growth
too.

References:
    L. N. Trefethen, M. Embree, Spectra and Pseudospectra, Princeton 2005, chapters 14 and 17.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.field import Linearization
from fem_selection.dynamics.resolvent import resolvents_of
from fem_selection.linalg.factors import Factors
from fem_selection.linalg.norms import symmetric_part_maximum
from fem_selection.linalg.operators import Operator, SymmetricPart, products
from fem_selection.linalg.orthonormal import orthonormal_basis
from fem_selection.steady.stability.slow_growth import exponential_norms
from fem_selection.typing import Floats

__all__ = ["TransientGrowth", "compressed_matrix", "numerical_abscissa", "transient_growth"]

_MANY, _CONTRACTS = 500, 1e-10  # above so many unknowns ‖e^{tA}‖ of a contraction, ω(A) ≤ 1e-10 ‖A‖, is not computed
_COMPRESSED: WeakKeyDictionary[Factors, tuple[Floats, bool]] = WeakKeyDictionary()
_RESIDUAL, _RESTARTS = 1e-11, 300  # of Krylov–Schur, the first relative to ‖A‖


@dataclass(frozen=True)
class TransientGrowth:
    """‖e^{tA}‖ as a function of t.

    Attributes:
        times: The sampled times t, the first one 0.
        norms: ‖e^{tA}‖ at these times.
        largest: The largest of the norms.
        time: The time of the largest norm.
        is_bounded: Whether the norms have stopped growing before the last time.
    """

    times: Floats
    norms: Floats
    largest: float
    time: float
    is_bounded: bool


def numerical_abscissa(space: StateSpace, operator: Operator, norm: float, *, factors: Factors | None) -> float:
    """ω(A) (collective).

    Args:
        space: The state space.
        operator: A.
        norm: ‖A‖.
        factors: The factors of A = U S V*; if None, Krylov–Schur takes products with A.

    Raises:
        NotConverged: if Krylov–Schur finds nothing.
    """
    if norm == 0.0:
        return 0.0
    if factors is None:
        resolvents = None
        if isinstance(operator, Linearization):
            resolvents = resolvents_of(operator, SymmetricPart(space, operator))
        return symmetric_part_maximum(
            space, operator, norm, tolerance=_RESIDUAL, max_restarts=_RESTARTS, resolvents=resolvents
        )
    small, has_rest = compressed_matrix(space, factors)
    largest = float(np.linalg.eigvalsh(0.5 * (small + small.T))[-1])
    return max(largest, 0.0) if has_rest else largest


def transient_growth(space: StateSpace, factors: Factors) -> TransientGrowth:
    """max ‖e^{tA}‖ for t from 1/64 ‖A‖⁻¹ to 1000 ‖A‖⁻¹, or longer if it has not settled there (collective).

    For a contraction of more than 500 unknowns only t = 0 is looked at.

    Args:
        space: The state space.
        factors: The factors of A = U S V*.
    """
    if factors.norm == 0.0:
        return TransientGrowth(times=np.zeros(1), norms=np.ones(1), largest=1.0, time=0.0, is_bounded=True)
    small, has_rest = compressed_matrix(space, factors)
    if len(small) > _MANY and np.linalg.eigvalsh(0.5 * (small + small.T))[-1] <= _CONTRACTS * factors.norm:
        return TransientGrowth(times=np.zeros(1), norms=np.ones(1), largest=1.0, time=0.0, is_bounded=True)
    curve = exponential_norms(small, factors.norm, has_rest=has_rest)
    largest = float(np.max(curve.norms))
    first = int(np.argmax(curve.norms >= (1.0 - 1e-6) * largest))
    return TransientGrowth(
        times=curve.times,
        norms=curve.norms,
        largest=largest,
        time=float(curve.times[first]),
        is_bounded=curve.is_bounded,
    )


def compressed_matrix(space: StateSpace, factors: Factors) -> tuple[Floats, bool]:
    """Return the matrix of A in an orthonormal basis of span(U, V), and whether this is a proper subspace (collective).

    It is kept as long as the factors are.

    Args:
        space: The state space.
        factors: The factors of A = U S V*.
    """
    if factors not in _COMPRESSED:
        if factors.left.shape[1] == space.num_nodes:  # U is a basis of the whole space
            matrix, is_proper = factors.values[:, None] * products(space, factors.right, factors.left), False
        else:
            basis = orthonormal_basis(space, [factors.left, factors.right], 1e-12)
            left, right = products(space, basis, factors.left), products(space, basis, factors.right)
            matrix, is_proper = (left * factors.values) @ right.T, basis.shape[1] < space.num_nodes
        _COMPRESSED[factors] = (matrix, is_proper)
    return _COMPRESSED[factors]
