# SPDX-License-Identifier: MIT
"""Rates by side where σ' jumps at g*: rays of the one-sided linearization.

    ∂_t v = D(v) K v,   D(v) = σ'(g* + 0 · K v),      a ray:  D(v) K v = λ v,  λ real

The slope at a point depends on the sign of K v there, so the equation of small perturbations is positively homogeneous
but not linear.  It has exact solutions e^{λt} v along rays, whose sides do not change.  A ray is found by fixed-point
iteration: the sides give slopes, the slopes an operator, its leading real eigenfunction v or −v the sides again.  A ray
with λ > 0 proves instability.  Rays with λ < 0 prove nothing of perturbations between them, unless A has rank one: then
v and −v are all there is.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from mpi4py import MPI

from fem_selection.dynamics.field import Linearization
from fem_selection.kernels import KernelOperator
from fem_selection.linalg.factors import MAX_RANK, MAX_WHOLE, factorize
from fem_selection.linalg.operators import products
from fem_selection.typing import Block, create_block

__all__ = ["SideRates", "rates_by_side"]

_NEAR = 1e-8  # of 1 + max |g*|: the distance from g* at which σ' is evaluated
_STEPS = 12
_REAL = 1e-8  # of ‖A‖: largest imaginary part of the eigenvalue of a ray


@dataclass(frozen=True, kw_only=True)
class SideRates:
    """The rates of the rays found from either side.

    Attributes:
        above: λ of a ray that begins with K v > 0 where σ' jumps; None if the iteration found none.
        below: λ of a ray that begins with K v < 0 there.
        rank: Rank of K; with rank one the two rays are all perturbations outside of ker K.
    """

    above: float | None
    below: float | None
    rank: int

    @property
    def known(self) -> tuple[float, ...]:
        """The rates that were found."""
        return tuple(rate for rate in (self.above, self.below) if rate is not None)

    @property
    def name(self) -> str:
        """Both rates in words."""
        words = ["no ray found" if rate is None else f"{rate:.6g}" for rate in (self.above, self.below)]
        return f"from above {words[0]}, from below {words[1]}"


def rates_by_side(linearization: Linearization) -> SideRates:
    """Follow the iteration to a ray from both sides (collective over space).

    Args:
        linearization: The linearization at f*, where σ' jumps.
    """
    space, field = linearization.field.space, linearization.field
    limit = space.num_nodes if space.num_nodes <= MAX_WHOLE else MAX_RANK  # then rays are sought in a part of range A
    kernel = factorize(space, KernelOperator(field.kernel, field.interval), max_rank=limit)
    found = [_ray(linearization, side * np.ones_like(linearization.preactivation), limit) for side in (1.0, -1.0)]
    return SideRates(above=found[0], below=found[1], rank=kernel.rank(1e-10))


def _ray(linearization: Linearization, direction: Block, limit: int) -> float | None:
    """The rate of the ray to which the iteration leads from a direction of g; None if it does not settle."""
    space, field = linearization.field.space, linearization.field
    sided, before = copy.copy(linearization), None
    for _ in range(_STEPS):
        slope = _slopes(linearization, direction)
        if before is not None and _agree(linearization, slope, before[0]):
            return before[1]
        sided.slope = slope
        factors = factorize(space, sided, max_rank=limit)
        if factors.norm == 0.0:
            return 0.0
        values, vectors = scipy.linalg.eig(factors.values[:, None] * products(space, factors.right, factors.left))
        real = np.abs(values.imag) <= _REAL * factors.norm
        if not np.any(real) or not np.max(np.abs(values[real].real)) > _REAL * factors.norm:
            return 0.0 if not np.max(np.abs(values)) > _REAL * factors.norm else None
        sizes = np.where(real & (np.abs(values) > _REAL * factors.norm), values.real, -np.inf)
        k = int(np.argmax(sizes))
        v = np.asfortranarray((factors.left @ vectors[:, k].real)[:, None])
        moved = create_block(*v.shape)
        field.kernel.apply(field.interval, v, moved)
        sign = 1.0 if float(products(space, moved, direction)[0, 0]) >= 0 else -1.0
        before, direction = (slope, float(values[k].real)), sign * moved
    return None


def _slopes(linearization: Linearization, direction: Block) -> Block:
    """σ' at g* moved a little in a direction, where σ is evaluated."""
    field, g = linearization.field, linearization.preactivation
    comm = field.space.comm
    size, length = (comm.allreduce(float(np.max(np.abs(x), initial=0.0)), op=MPI.MAX) for x in (g, direction))
    value, slope = create_block(*g.shape), create_block(*linearization.slope.shape)
    moved = np.asfortranarray(g + _NEAR * (1.0 + size) / (length or 1.0) * direction)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        field.superposition.evaluate_to_second(moved, value, slope, curvature=None)
    return slope


def _agree(linearization: Linearization, slope: Block, other: Block) -> bool:
    """Whether two blocks of slopes are those of the same sides (collective)."""
    comm = linearization.field.space.comm
    largest = comm.allreduce(float(np.max(np.abs(slope - other), initial=0.0)), op=MPI.MAX)
    return bool(largest <= 1e-3 * max(1.0, comm.allreduce(float(np.max(np.abs(slope), initial=0.0)), op=MPI.MAX)))
