# SPDX-License-Identifier: MIT
"""What eigenvalues do not say of a non-normal A: the growth at once, and the largest growth on the way.

    numerical abscissa   ω(A) = max Re (A v, v)/‖v‖² = d/dt ‖e^{tA}‖ at t = 0,   the largest eigenvalue of (A + A*)/2
    transient growth     max_t ‖e^{tA}‖ in L²

For A = U S V* both live on W = span(U, V): e^{tA} is the identity on W^⊥.  Where it tends to a projection that is not
orthogonal, ‖e^{tA}‖ ends on a level and does not fall: that is bounded growth too.

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
_PER_OCTAVE = 6  # times sampled between t and 2t
_OCTAVES = 16
_MORE = 20  # octaves, while ‖e^{tA}‖ has not settled: where ‖A‖ is large, t ‖A‖ = 1000 is a short time


@dataclass(frozen=True)
class TransientGrowth:
    """‖e^{tA}‖ over t.

    Attributes:
        times: t, from 0.
        norms: ‖e^{tA}‖ at these.
        largest: The largest of them.
        time: Where that is.
        is_bounded: Whether the largest lies before the last of the times.
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
        factors: A = U S V*; without them Krylov–Schur takes products with A.

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

    e^{2tA} is the square of e^{tA}: few exponentials serve for all times.

    Args:
        space: The state space.
        factors: A = U S V*.
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
    """Times ‖A‖, the first octave's."""
    return float(2.0 ** (k / _PER_OCTAVE - 6.0))


def _has_fallen(norms: list[float]) -> bool:
    """Whether the largest norm lies before the end, or there is no growth."""
    largest = max(norms)
    return bool(norms[-1] < (1.0 - 1e-6) * largest or largest <= 1.0 + 1e-9)


def _compress(space: StateSpace, factors: Factors) -> tuple[Floats, bool]:
    """A on an orthonormal basis of span(U, V), and whether there is anything besides."""
    basis = orthonormal_basis(space, [factors.left, factors.right], 1e-12)
    left, right = products(space, basis, factors.left), products(space, basis, factors.right)
    return (left * factors.values) @ right.T, basis.shape[1] < space.num_nodes
