# SPDX-License-Identifier: MIT
"""The selection equation reduced to (ker K)^⊥: few coordinates, in which a set f* + ker K is one point.

With V an orthonormal basis of (ker K)^⊥, f = V c + f₀ with K f₀ = 0, the preactivation is g = K V c + b and

    c' = V* σ(K V c + b),

whatever f₀ does.  A family f* + ker K of steady states, which every kernel of low rank has, is a single point here, and
the Jacobian V* σ'(g) K V has the nonzero eigenvalues of σ'(g) K.  A steady state of c is one of f if σ(g) = 0.
Otherwise f drifts within ker K at the speed ‖σ(g)‖, while g does not change.

If the kernel depends on a parameter μ, the columns of V span the spaces (ker K(μ))^⊥ for all μ of a range.  The part of
c that lies in ker K(μ) for the present μ is kept at zero by a gauge.  With the projection P(μ) on (ker K(μ))^⊥,

    G(c, μ) = V* σ(K(μ) V c + b(μ)) − (1 − P(μ)) c.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg

from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.field import SelectionField
from fem_selection.errors import NotConverged, TooManyCoordinates
from fem_selection.kernels.base import KernelOperator
from fem_selection.linalg.factors import MAX_RANK, factorize
from fem_selection.linalg.operators import random_block, sum_over_space
from fem_selection.linalg.orthonormal import orthonormal_basis, orthonormalize, outside_of
from fem_selection.steady.equilibria.newton import LineSearch
from fem_selection.typing import Block, Complexes, Floats, create_block

__all__ = ["LINE_SEARCH", "RANK_TOLERANCE", "ReducedEquation", "ReducedFamily"]

RANK_TOLERANCE = 1e-8
"""Size of K, relative to the largest ‖K‖ of a family, up to which a direction counts as one of ker K."""
_SAMPLES = 33
_ZERO = 1e-12
_SOLVED, _ROUND_OFF = 1e-13, 1e-9  # of max(1, |c|)
_SINGULAR = 1e-13  # singular values of G' that count as zero, relative to the largest
_PLACES = (0.137, 0.491, 0.873)  # places in the range at which the rank is computed

LINE_SEARCH = LineSearch(decrease=0.1, shortest=2.0**-11)
"""Limit of Newton's iterations for G: if they are slow, another start is more promising."""


class ReducedEquation:
    """The reduced equation c' = V* σ(K V c + b) at one value of the parameter.

    Args:
        field: The right-hand side.
        basis: V, shape (num_local, r).
        massed: M V, shape (num_local, r).
        rank: Rank of K for almost all values of the parameter; at single values it may be lower.
        norm: Largest ‖K‖ of the family.

    Attributes:
        significant: Orthonormal basis, in the coordinates c, of the directions on which K is larger than
            `RANK_TOLERANCE` times the norm of the family, shape (r, k).
        moved: K V, shape (num_local, r).
        own: An orthonormal basis of (ker K)^⊥ in the coordinates c, shape (r, rank).
        gauge: 1 − P, shape (r, r).

    Note:
        All methods are collective over space and return the same bits on every rank.
    """

    def __init__(self, field: SelectionField, basis: Block, massed: Block, *, rank: int, norm: float) -> None:
        self.field, self.basis, self._massed, self.norm = field, basis, massed, norm
        self.moved = KernelOperator(field.kernel, field.interval).apply(basis)
        self._range, self._triangle = orthonormalize(field.space, self.moved)
        _, self._values_of_kernel, directions = np.linalg.svd(self._triangle)
        self.significant = directions[self._values_of_kernel > RANK_TOLERANCE * norm].T
        self.own = directions[:rank].T if rank < basis.shape[1] else np.eye(basis.shape[1])  # (ker K)^⊥ in the basis
        self.gauge = np.eye(basis.shape[1]) - self.own @ self.own.T

    def rate(self, c: Floats) -> Floats:
        """The rate V* σ(K V c + b), shape (r,)."""
        with np.errstate(invalid="ignore", over="ignore"):
            return sum_over_space(self.field.space, self._massed.T @ self._values(c)[:, 0])

    def residual(self, c: Floats) -> Floats:
        """G(c), shape (r,).  See `Equation.residual`."""
        return self.rate(c) - self.gauge @ c

    def jacobian(self, c: Floats) -> Floats:
        """∂G/∂c, shape (r, r)."""
        return self._slopes(c) - self.gauge

    def newton_step(self, c: Floats, residual: Floats) -> tuple[Floats, float]:
        """The d of least norm that minimises |G' d − G|, and (G, G' d).  See `Equation.newton_step`.

        Raises:
            NotConverged: if G' is not finite.
        """
        matrix = self.jacobian(c)
        try:
            step = np.linalg.lstsq(matrix, residual, rcond=_SINGULAR)[0]
        except np.linalg.LinAlgError as error:
            raise NotConverged("the derivative became infinite or NaN") from error
        return np.asarray(step), self.inner(residual, matrix @ step)

    def inner(self, a: Floats, b: Floats) -> float:
        """The Euclidean product, which equals that of V a and V b in L².  See `Equation.inner`."""
        return float(a @ b)

    def tolerance(self, c: Floats) -> float:
        """The |G| at which Newton's method stops.  See `Equation.tolerance`."""
        return _SOLVED * max(1.0, float(np.linalg.norm(c)))

    def round_off(self, c: Floats) -> float:
        """The |G| that counts as zero if it falls no further.  See `Equation.round_off`."""
        return _ROUND_OFF * max(1.0, float(np.linalg.norm(c)))

    def eigenvalues(self, c: Floats) -> Complexes:
        """The nonzero eigenvalues of σ'(g) K, by decreasing real part."""
        values = scipy.linalg.eigvals(self.own.T @ self._slopes(c) @ self.own) if self.own.size else np.zeros(0)
        return np.asarray(values, complex)[np.lexsort((-values.imag, -values.real))]

    def linearize(self, c: Floats) -> tuple[Floats, Floats, float]:
        """The linearization V* σ'(g) K V, a basis of (ker K)^⊥ in the coordinates c, and max |σ'(g)|.

        Args:
            c: The coordinates, shape (r,).

        Returns:
            The matrix, shape (r, r); the basis, shape (r, rank), with orthonormal columns; the slope.
        """
        matrix, slope = self._slopes(c), self._slope_tape(self._preactivation(c))
        largest = float(np.max(np.abs(slope), initial=0.0))
        return matrix, self.own, max(self.field.space.comm.allgather(largest))

    def regularity(self, c: Floats) -> float:
        """The least singular value of σ'(g) on range K (collective).

        A steady state at which it is not zero is the only one nearby modulo ker K.
        """
        scaled = self.significant / self._values_of_kernel[: self.significant.shape[1]]
        _, triangle = orthonormalize(self.field.space, self._turn(self._preactivation(c), self.moved @ scaled))
        values = np.linalg.svd(triangle, compute_uv=False)
        return float(values[-1]) if values.size else 0.0

    def pattern(self, c: Floats) -> Floats:
        """K V c in coordinates of range K: its Euclidean distances are those of g in L², shape (r,)."""
        return self._triangle @ c

    def towards(self, value: float) -> Floats:
        """The c of least norm at which g = K V c + b is nearest, in L², to a constant; shape (r,)."""
        return self._solve_pattern(value - self.field.bias)

    def drift(self, c: Floats) -> float:
        """‖σ(g)‖ in L²."""
        return float(self.field.space.norm(self._values(c))[0])

    def without_preactivation(self) -> Floats:
        """The c of least norm that minimises ‖K V c + b‖ in L²; a zero of σ(g) if σ(0) = 0 and b is in range K."""
        return self._solve_pattern(-self.field.bias)

    def _solve_pattern(self, wanted: Floats) -> Floats:
        """The c of least norm that minimises ‖K V c − wanted‖ in L²."""
        space = self.field.space
        right = sum_over_space(space, self._range.T @ space.apply_mass(np.asfortranarray(wanted[:, None]))[:, 0])
        return np.asarray(np.linalg.lstsq(self._triangle, right, rcond=_ZERO)[0])

    def lift(self, c: Floats) -> Block:
        """The state V c, shape (num_local, 1)."""
        return np.asfortranarray((self.basis @ c)[:, None])

    def _preactivation(self, c: Floats) -> Block:
        return np.asfortranarray((self.moved @ c + self.field.bias)[:, None])

    def _values(self, c: Floats) -> Block:
        """σ(g)."""
        g = self._preactivation(c)
        result = create_block(*g.shape)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self.field.superposition.evaluate(g, result)
        return result

    def _slopes(self, c: Floats) -> Floats:
        """V* σ'(g) K V."""
        image = self._turn(self._preactivation(c), self.moved)
        return sum_over_space(self.field.space, self._massed.T @ image)

    def _turn(self, g: Block, block: Floats) -> Block:
        """σ'(g) times the columns of a block."""
        block, slope = np.asfortranarray(block), self._slope_tape(g)
        image = create_block(*block.shape)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self.field.superposition.move(
                np.broadcast_to(slope, (len(slope), block.shape[1])), None, block, out=image, turn=None
            )
        return image

    def _slope_tape(self, g: Block) -> Block:
        """The tape of σ'(g)."""
        value, slope = create_block(*g.shape), create_block(self.field.superposition.tape_rows, 1)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self.field.superposition.evaluate_to_second(g, value, slope, curvature=None)
        return slope


class ReducedFamily:
    """The reduced equation as a function of a parameter.

    Args:
        space: The state space.
        family: Returns the right-hand side, on `space`, at a value of the parameter (collective).
        lower: Smallest value of the parameter.
        upper: Largest value of the parameter.
        max_rank: Largest r that is allowed.

    Attributes:
        norm: Largest ‖K‖ seen in the range.
        missed: Largest size, on random functions, of the part of K that the basis does not see.

    Raises:
        TooManyCoordinates: if the kernels together have a larger rank, as those with local parts on many nodes.
    """

    def __init__(
        self,
        space: StateSpace,
        family: Callable[[float], SelectionField],
        *,
        lower: float,
        upper: float,
        max_rank: int = MAX_RANK,
    ) -> None:
        self.space, self._family = space, family
        self.lower, self.upper = min(lower, upper), max(lower, upper)
        self._cache: dict[float, ReducedEquation] = {}
        self.missed = 0.0
        self.basis, self.norm = self._span(lower, upper, max_rank)
        self._massed = space.apply_mass(self.basis)
        self._rank = max((self._rank_at(lower + x * (upper - lower), self.norm) for x in _PLACES), default=0)

    @property
    def scale(self) -> float:
        """Length of the parameter's range, by which steps and differences in μ are scaled; 1 for a single value."""
        return self.upper - self.lower or 1.0

    @property
    def dimension(self) -> int:
        """r, the number of coordinates."""
        return int(self.basis.shape[1])

    def at(self, parameter: float) -> ReducedEquation:
        """The equation at a value of the parameter; the most recent ones are cached (collective)."""
        if parameter not in self._cache:
            while len(self._cache) > 4:
                self._cache.pop(next(iter(self._cache)))
            field = self._family(parameter)
            self._cache[parameter] = ReducedEquation(field, self.basis, self._massed, rank=self._rank, norm=self.norm)
        return self._cache[parameter]

    def coordinates(self, f: Block) -> Floats:
        """c = V* f of a state, shape (r,) (collective)."""
        return sum_over_space(self.space, self._massed.T @ f[:, 0])

    def _span(self, lower: float, upper: float, max_rank: int) -> tuple[Block, float]:
        """A basis of a space that contains (ker K)^⊥ for all parameters of the range, and the largest ‖K‖."""
        blocks: list[Block] = []
        basis, norm, count = create_block(self.space.num_local, 0), 0.0, 3
        known: set[float] = set()
        while count <= _SAMPLES:
            grew = False
            for value in np.linspace(lower, upper, count if upper != lower else 1).tolist():
                operator = self._operator(value)
                if value in known or not self._misses(operator, basis, norm):
                    continue
                known.add(value)
                factors = factorize(self.space, operator, RANK_TOLERANCE / 10, max_rank=max_rank)
                if not factors.is_complete:
                    raise TooManyCoordinates(
                        f"the kernel has a numerical rank above {max_rank}: branches of steady states are followed in "
                        "as many coordinates; use a smooth or separable kernel, or fewer nodes"
                    )
                norm, grew = max(norm, factors.norm), True
                blocks.append(np.asfortranarray(factors.right * factors.values))
                basis = orthonormal_basis(self.space, blocks, RANK_TOLERANCE / 10)
            if not grew and count > 3:
                break
            count = 2 * count - 1
        return basis, norm

    def _operator(self, parameter: float) -> KernelOperator:
        field = self._family(parameter)
        return KernelOperator(field.kernel, field.interval)

    def _rank_at(self, parameter: float, norm: float) -> int:
        """The rank of K on the span of the basis."""
        moved = self._operator(parameter).apply(self.basis)
        _, triangle = orthonormalize(self.space, moved)
        return int(np.sum(np.linalg.svd(triangle, compute_uv=False) > _ZERO * norm))

    def _misses(self, operator: KernelOperator, basis: Block, norm: float) -> bool:
        """Whether the basis does not span (ker K)^⊥: K does not vanish on random functions orthogonal to the basis."""
        probe = random_block(self.space, 2, 7)
        left = float(np.max(self.space.norm(operator.apply(outside_of(self.space, basis, probe)))))
        self.missed = max(self.missed, left) if left <= RANK_TOLERANCE * norm else self.missed
        return left > RANK_TOLERANCE * norm
