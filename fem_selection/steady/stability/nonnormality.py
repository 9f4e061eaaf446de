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

import numpy as np
import scipy.linalg

from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.field import Linearization
from fem_selection.dynamics.resolvent import resolvents_of
from fem_selection.linalg.factors import Factors
from fem_selection.linalg.norms import symmetric_part_maximum
from fem_selection.linalg.operators import Operator, SymmetricPart, products
from fem_selection.linalg.orthonormal import orthonormal_basis
from fem_selection.typing import Floats

__all__ = ["TransientGrowth", "numerical_abscissa", "transient_growth"]

_RESIDUAL, _RESTARTS = 1e-11, 300  # of Krylov–Schur, the first relative to ‖A‖
_PER_OCTAVE = 6  # number of times sampled between t and 2t
_OCTAVES = 16
_MORE = 20  # further octaves while ‖e^{tA}‖ has not settled: if ‖A‖ is large, t ‖A‖ = 1000 is a short time


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
    small, has_rest = _compress(space, factors)
    largest = float(np.linalg.eigvalsh(0.5 * (small + small.T))[-1])
    return max(largest, 0.0) if has_rest else largest


def transient_growth(space: StateSpace, factors: Factors) -> TransientGrowth:
    """max ‖e^{tA}‖ for t from 1/64 ‖A‖⁻¹ to 1000 ‖A‖⁻¹, or longer if it has not settled there (collective).

    Since e^{2tA} is the square of e^{tA}, few matrix exponentials suffice for all times.

    Args:
        space: The state space.
        factors: The factors of A = U S V*.
    """
    if factors.norm == 0.0:
        return TransientGrowth(times=np.zeros(1), norms=np.ones(1), largest=1.0, time=0.0, is_bounded=True)
    small, has_rest = _compress(space, factors)
    times, norms = [0.0], [1.0]
    powers = [scipy.linalg.expm(_time(k) / factors.norm * small) for k in range(_PER_OCTAVE)]
    for octave in range(_OCTAVES + _MORE):
        for k, power in enumerate(powers):
            size = float(np.linalg.norm(power, 2)) if np.all(np.isfinite(power)) else np.inf
            times.append(2.0**octave * _time(k) / factors.norm)
            norms.append(max(size, 1.0) if has_rest else size)
        if max(norms[-_PER_OCTAVE:]) > 1e100 or (octave + 1 >= _OCTAVES and _has_fallen(norms)):
            break
        powers = [power @ power for power in powers]
    largest = max(norms)
    first = next(k for k, size in enumerate(norms) if size >= (1.0 - 1e-6) * largest)
    stands = norms[-1] <= (1.0 + 1e-6) * norms[-1 - _PER_OCTAVE]  # as where e^{tA} tends to a projection
    return TransientGrowth(
        times=np.array(times),
        norms=np.array(norms),
        largest=largest,
        time=times[first],
        is_bounded=stands or _has_fallen(norms),
    )


def _time(k: int) -> float:
    """The k-th of the sampled times, multiplied by ‖A‖."""
    return float(2.0 ** (k / _PER_OCTAVE - 6.0))


def _has_fallen(norms: list[float]) -> bool:
    """Whether the norm has fallen below its largest value at the end, or there is no growth."""
    largest = max(norms)
    return bool(norms[-1] < (1.0 - 1e-6) * largest or largest <= 1.0 + 1e-9)


def _compress(space: StateSpace, factors: Factors) -> tuple[Floats, bool]:
    """The matrix of A in an orthonormal basis of span(U, V), and whether this is a proper subspace."""
    basis = orthonormal_basis(space, [factors.left, factors.right], 1e-12)
    left, right = products(space, basis, factors.left), products(space, basis, factors.right)
    return (left * factors.values) @ right.T, basis.shape[1] < space.num_nodes
